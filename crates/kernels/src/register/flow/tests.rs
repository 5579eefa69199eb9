//! Laws of whole flows: what moves is found, the backends agree, bits repeat.

use std::f64::consts::TAU;

use stillframe_image::{Image, Rng, Shape, math};

use super::auto::choose_alpha;
use super::filter::{Normalisation, Preprocessor};
use super::*;

/// A texture of smooth waves, defined everywhere.
struct Scene {
    waves: Vec<[f64; 4]>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0, 0);
        let wave = |rng: &mut Rng| {
            let (period, angle) = (rng.range(7.0, 40.0), rng.range(0.0, TAU));
            let k = TAU / period;
            [k * math::cos(angle), k * math::sin(angle), rng.range(0.0, TAU), rng.range(0.3, 1.0)]
        };
        Self { waves: (0..24).map(|_| wave(&mut rng)).collect() }
    }

    fn at(&self, x: f64, y: f64) -> f32 {
        let sum: f64 =
            self.waves.iter().map(|w| w[3] * math::cos(w[0] * x + w[1] * y + w[2])).sum();
        (0.5 + 0.04 * sum) as f32
    }

    /// The frame whose flow against `still` is `flow`, given by its inverse: the point at q of the
    /// frame shows the scene at `q + back(q)`.
    fn frame(&self, shape: Shape, back: impl Fn(f64, f64) -> (f64, f64)) -> Image<f32> {
        Image::from_fn(shape, |x, y| {
            let (x, y) = (x as f64, y as f64);
            let (dx, dy) = back(x, y);
            self.at(x + dx, y + dy)
        })
    }

    fn still(&self, shape: Shape) -> Image<f32> {
        self.frame(shape, |_, _| (0.0, 0.0))
    }
}

fn with_noise(image: &Image<f32>, sd: f64, seed: u64) -> Image<f32> {
    let mut rng = Rng::new(seed, 1, 1);
    image.map(|v| v + (sd * rng.normal()) as f32)
}

fn flow_of(params: FlowParams, reference: &[Image<f32>], frame: &[Image<f32>]) -> FlowField {
    let mut flow = Flow::new(params, reference[0].shape(), reference.len()).unwrap();
    flow.set_reference(reference).unwrap();
    flow.compute(frame, None).unwrap()
}

fn mean_distance(a: &FlowField, b: &FlowField) -> f64 {
    let pairs = |a: &Image<f32>, b: &Image<f32>| -> Vec<f64> {
        a.pixels().iter().zip(b.pixels()).map(|(a, b)| f64::from(a - b)).collect()
    };
    let (du, dv) = (pairs(&a.u, &b.u), pairs(&a.v, &b.v));
    du.iter().zip(&dv).map(|(u, v)| (u * u + v * v).sqrt()).sum::<f64>() / du.len() as f64
}

/// Mean error inside a margin.
fn error_inside(
    field: &FlowField,
    margin: usize,
    truth: impl Fn(usize, usize) -> (f64, f64),
) -> f64 {
    let shape = field.u.shape();
    let (mut sum, mut n) = (0.0, 0.0);
    for y in margin..shape.height - margin {
        for x in margin..shape.width - margin {
            let (u, v) = truth(x, y);
            let (du, dv) = (f64::from(field.u.at(x, y)) - u, f64::from(field.v.at(x, y)) - v);
            sum += (du * du + dv * dv).sqrt();
            n += 1.0;
        }
    }
    sum / n
}

fn is_finite(field: &FlowField) -> bool {
    field.u.pixels().iter().chain(field.v.pixels()).all(|v| v.is_finite())
}

/// Every way of computing a flow.
fn backends() -> Vec<(&'static str, FlowParams)> {
    let refined = DisParams { refine_to: Some(1), ..DisParams::default() };
    let auto = FlowParams::automatic;
    vec![
        ("default", FlowParams::default()),
        ("fast", auto(Quality::Fast)),
        ("balanced", auto(Quality::Balanced)),
        ("quality", auto(Quality::Quality)),
        (
            "reference",
            FlowParams { backend: Backend::Reference, iterations: 20, ..auto(Quality::Balanced) },
        ),
        (
            "dis",
            FlowParams {
                backend: Backend::Dis,
                dis: DisParams { finest_scale: 1, ..DisParams::default() },
                ..FlowParams::default()
            },
        ),
        ("dis, refined", FlowParams { backend: Backend::Dis, dis: refined, ..auto(Quality::Fast) }),
    ]
}

#[test]
fn a_frame_that_moved_right_and_up_has_positive_u_and_negative_v() {
    let (shape, scene) = (Shape::new(80, 96), Scene::new(1));
    let still = [scene.still(shape)];
    // The scene appears 3.3 px further right and 2.1 px further up.
    let moved = [scene.frame(shape, |_, _| (-3.3, 2.1))];
    for (name, params) in backends() {
        let field = flow_of(params, &still, &moved);
        let error = error_inside(&field, 16, |_, _| (3.3, -2.1));
        assert!(error < 0.08, "{name}: {error}");
        let mut registered = still[0].clone();
        register(
            &moved[0],
            &field,
            &still[0],
            Interpolation::Cubic,
            Positions::Exact,
            &mut registered,
        );
        for y in 16..64 {
            for x in 16..80 {
                let e = registered.at(x, y) - still[0].at(x, y);
                assert!(e.abs() < 0.02, "{name} {x} {y}: {e}");
            }
        }
    }
}

#[test]
fn a_smooth_field_is_found_with_channels_that_see_different_things() {
    let shape = Shape::new(96, 112);
    let (one, two) = (Scene::new(2), Scene::new(3));
    let back = |x: f64, y: f64| (2.0 * math::sin(x / 30.0), 1.5 * math::cos(y / 25.0));
    let still = [one.still(shape), two.still(shape)];
    let moved = [one.frame(shape, back), two.frame(shape, back)];
    // w(x) = -back(x + w(x))
    let truth = |x: usize, y: usize| {
        let (mut u, mut v) = (0.0, 0.0);
        for _ in 0..50 {
            let (bx, by) = back(x as f64 + u, y as f64 + v);
            (u, v) = (-bx, -by);
        }
        (u, v)
    };
    let params = FlowParams { alpha: [8.0, 8.0], ..FlowParams::automatic(Quality::Balanced) };
    for (name, params) in [
        ("balanced", params.clone()),
        ("default", FlowParams::default()),
        ("weights", FlowParams { weight: vec![0.2, 0.8], a_data: vec![0.4, 0.6], ..params }),
    ] {
        let error = error_inside(&flow_of(params, &still, &moved), 10, truth);
        assert!(error < 0.08, "{name}: {error}");
    }
}

/// The fast backend follows the definition to rounding, whatever the options.
#[test]
fn variational_agrees_with_the_reference() {
    let shape = Shape::new(41, 58);
    let (one, two) = (Scene::new(4), Scene::new(5));
    let back = |x: f64, y: f64| (0.8 + 0.02 * y, -0.6 + 0.5 * math::sin(x / 9.0));
    let still = [with_noise(&one.still(shape), 0.01, 1), two.still(shape)];
    let moved = [with_noise(&one.frame(shape, back), 0.01, 2), two.frame(shape, back)];
    let base = FlowParams { iterations: 23, alpha: [3.0, 2.0], ..FlowParams::default() };
    let cases = [
        ("plain", base.clone()),
        ("few levels", FlowParams { min_level: 3, eta: 0.7, ..base.clone() }),
        (
            "gray",
            FlowParams {
                const_assumption: ConstAssumption::Gray,
                alpha: [0.05; 2],
                ..base.clone()
            },
        ),
        (
            "census",
            FlowParams {
                const_assumption: ConstAssumption::Census,
                alpha: [0.5; 2],
                ..base.clone()
            },
        ),
        ("quadratic", FlowParams { a_data: vec![1.0], ..base.clone() }),
        (
            "exponents",
            FlowParams { a_data: vec![0.5, 0.9], weight: vec![0.7, 0.4], ..base.clone() },
        ),
        ("smoothness", FlowParams { a_smooth: 0.7, ..base.clone() }),
        ("lag of one", FlowParams { update_lag: 1, ..base.clone() }),
        ("no update", FlowParams { update_lag: 99, ..base.clone() }),
        (
            "graduated",
            FlowParams {
                gnc_schedule: vec![0.0, 0.5, 1.0],
                warping_steps: 2,
                min_level: 2,
                ..base.clone()
            },
        ),
        (
            "repaired",
            FlowParams {
                refinements: 2,
                definition: Definition::Repaired,
                relaxation: 1.8,
                alpha: [20.0, 10.0],
                ..base.clone()
            },
        ),
        ("32nds", FlowParams { positions: Positions::Thirtyseconds, min_level: 4, ..base }),
    ];
    for (name, params) in cases {
        for channels in [1, 2] {
            if params.a_data.len() == 2 && channels == 1 {
                continue;
            }
            let reference = FlowParams { backend: Backend::Reference, ..params.clone() };
            let want = flow_of(reference, &still[..channels], &moved[..channels]);
            let got = flow_of(params.clone(), &still[..channels], &moved[..channels]);
            let distance = mean_distance(&got, &want);
            // Every stage of the graduated flow passes its rounding errors on to the next.
            let most = if params.gnc_schedule.is_empty() { 5e-3 } else { 2e-2 };
            assert!(distance < most, "{name}, {channels} channels: {distance}");
        }
    }
}

#[test]
fn weight_maps_agree_with_the_reference_and_silence_a_channel() {
    let shape = Shape::new(40, 44);
    let (one, two) = (Scene::new(6), Scene::new(7));
    let still = [one.still(shape), two.still(shape)];
    // The second channel contradicts the first on the right half, where its weight is 0.
    let moved = [
        one.frame(shape, |_, _| (-1.0, 0.0)),
        two.frame(shape, |x, _| if x < 22.0 { (-1.0, 0.0) } else { (3.0, 3.0) }),
    ];
    let maps =
        [Image::filled(shape, 0.5), Image::from_fn(shape, |x, _| if x < 18 { 0.5 } else { 0.0 })];
    let run = |backend| {
        let params = FlowParams { backend, ..FlowParams::default() };
        let mut flow = Flow::new(params, shape, 2).unwrap();
        flow.set_weight_maps(&maps).unwrap();
        flow.set_reference(&still).unwrap();
        flow.compute(&moved, None).unwrap()
    };
    let field = run(Backend::Variational);
    assert!(error_inside(&field, 8, |_, _| (1.0, 0.0)) < 0.1);
    let distance = mean_distance(&field, &run(Backend::Reference));
    assert!(distance < 3e-3, "{distance}");
}

#[test]
fn a_start_helps_where_the_pyramid_alone_cannot_follow() {
    let (shape, scene) = (Shape::new(64, 64), Scene::new(8));
    let still = [scene.still(shape)];
    let moved = [scene.frame(shape, |_, _| (-17.0, 0.0))];
    let params = FlowParams { levels: 1, ..FlowParams::automatic(Quality::Balanced) };
    let mut flow = Flow::new(params, shape, 1).unwrap();
    flow.set_reference(&still).unwrap();
    let mut start = FlowField::zero(shape);
    start.u.pixels_mut().fill(16.0);
    let (cold, warm) =
        (flow.compute(&moved, None).unwrap(), flow.compute(&moved, Some(&start)).unwrap());
    let error = |f: &FlowField| {
        // What moved out of the frame at the right cannot be seen.
        let seen = Image::from_fn(Shape::new(64, 40), |x, y| f.u.at(x, y));
        let seen = FlowField { v: Image::filled(seen.shape(), 0.0), u: seen };
        error_inside(&seen, 6, |_, _| (17.0, 0.0))
    };
    assert!(error(&warm) < 0.2 && error(&cold) > 1.0, "{} {}", error(&warm), error(&cold));
}

#[test]
fn flows_do_not_depend_on_what_was_computed_before() {
    let (shape, scene) = (Shape::new(60, 70), Scene::new(9));
    let still = [scene.still(shape)];
    let frames: Vec<[Image<f32>; 1]> =
        (0..3).map(|i| [scene.frame(shape, |_, _| (f64::from(i), -0.5))]).collect();
    for (name, params) in backends() {
        let mut flow = Flow::new(params, shape, 1).unwrap();
        flow.set_reference(&still).unwrap();
        let mut clone = flow.clone();
        let in_order: Vec<_> = frames.iter().map(|f| flow.compute(f, None).unwrap()).collect();
        let mut out = FlowField::zero(shape);
        for i in [2, 0, 1] {
            clone.compute_into(&frames[i], None, &mut out).unwrap();
            assert!(out == in_order[i], "{name}");
        }
    }
}

/// The same bits on every processor: the hash was computed with SSE2, AVX2 and AVX-512 code.
#[test]
fn flows_have_the_bits_that_they_have_everywhere() {
    let (shape, scene) = (Shape::new(75, 91), Scene::new(10));
    let back = |x: f64, y: f64| (1.5 + 0.01 * y, math::sin(x / 17.0));
    let still = [with_noise(&scene.still(shape), 0.02, 3), scene.still(shape)];
    let moved = [with_noise(&scene.frame(shape, back), 0.02, 4), scene.frame(shape, back)];
    let smoothing = FlowParams { a_smooth: 0.7, min_level: 2, ..FlowParams::default() };
    let census = FlowParams {
        const_assumption: ConstAssumption::Census,
        min_level: 2,
        ..FlowParams::default()
    };
    let mut cases = backends();
    cases.extend([("smoothness", smoothing), ("census", census)]);
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (_, params) in cases {
        let field = flow_of(params, &still, &moved);
        for value in field.u.pixels().iter().chain(field.v.pixels()) {
            for byte in value.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    assert_eq!(format!("{hash:016x}"), GOLDEN);
}

const GOLDEN: &str = "4a884af793431c03";

#[test]
fn odd_frames_give_finite_flows() {
    for (name, params) in backends() {
        for shape in [(1, 1), (1, 40), (40, 1), (2, 3), (7, 9), (10, 10), (6, 200), (17, 16)] {
            let shape = Shape::new(shape.0, shape.1);
            let mut rng = Rng::new(5, 5, 5);
            let mut noise = || [Image::from_fn(shape, |_, _| rng.uniform() as f32)];
            assert!(is_finite(&flow_of(params.clone(), &noise(), &noise())), "{name} {shape}");
            let flat = [Image::filled(shape, 0.25)];
            let field = flow_of(params.clone(), &flat, &flat);
            assert!(is_finite(&field), "{name} {shape}");
            assert!(field.statistics().max_disp < 1e-6, "{name} {shape}");
        }
    }
}

#[test]
fn alpha_is_chosen_for_the_motion_and_in_spite_of_the_noise() {
    let (shape, scene) = (Shape::new(96, 96), Scene::new(11));
    let reference = [scene.still(shape)];
    let back = |x: f64, y: f64| (1.0 + 0.6 * math::sin(x / 20.0), 0.5 * math::cos(y / 20.0));
    let truth = |x: usize, y: usize| {
        let (mut u, mut v) = (0.0, 0.0);
        for _ in 0..50 {
            let (bx, by) = back(x as f64 + u, y as f64 + v);
            (u, v) = (-bx, -by);
        }
        (u, v)
    };
    let frames: Vec<_> =
        (0..2).map(|i| [with_noise(&scene.frame(shape, back), 0.05, 100 + i)]).collect();
    let frames: Vec<&[Image<f32>]> = frames.iter().map(|f| &f[..]).collect();
    let normalisation = Normalisation::of(&reference);
    let mut preprocessor = Preprocessor::new(shape, &[[1.0; 2]], &[normalisation]);
    let start = FlowParams { alpha: [1.0, 1.0], ..FlowParams::automatic(Quality::Balanced) };
    let choice = choose_alpha(&start, &reference, &frames, &mut preprocessor).unwrap();
    let error = |alpha: [f64; 2]| {
        let params = FlowParams { alpha, ..start.clone() };
        let (mut fixed, mut moving) = (reference.clone(), reference.clone());
        preprocessor.clone().run(&reference, &mut fixed);
        preprocessor.clone().run(frames[0], &mut moving);
        error_inside(&flow_of(params, &fixed, &moving), 10, truth)
    };
    let best = choice.tried.iter().map(|t| error(t.0)).fold(f64::INFINITY, f64::min);
    let (chosen, before) = (error(choice.alpha), error(start.alpha));
    assert!(chosen < 0.7 * before && chosen < 1.25 * best, "{chosen} {before} {best} {choice:?}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let shape = Shape::new(20, 30);
    let bad = |change: fn(&mut FlowParams)| {
        let mut params = FlowParams::default();
        change(&mut params);
        match Flow::new(params, shape, 2) {
            Err(FlowError::Parameter { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bad(|p| p.alpha[1] = 0.0), "alpha");
    assert_eq!(bad(|p| p.levels = 0), "levels");
    assert_eq!(bad(|p| p.iterations = 0), "iterations");
    assert_eq!(bad(|p| p.update_lag = 0), "update_lag");
    assert_eq!(bad(|p| p.eta = 1.01), "eta");
    assert_eq!(bad(|p| p.a_data = vec![0.5; 3]), "a_data");
    assert_eq!(bad(|p| p.a_data = vec![f64::NAN]), "a_data");
    assert_eq!(bad(|p| p.a_smooth = -0.1), "a_smooth");
    assert_eq!(bad(|p| p.weight = vec![1.0]), "weight");
    assert_eq!(bad(|p| p.gnc_schedule = vec![0.0, 0.9]), "gnc_schedule");
    assert_eq!(bad(|p| p.relaxation = 2.0), "relaxation");
    assert_eq!(bad(|p| p.dis.iterations = 0), "dis.iterations");
    assert!(matches!(
        Flow::new(FlowParams::default(), Shape::new(0, 3), 1),
        Err(FlowError::Empty { .. })
    ));
    let mut flow = Flow::new(FlowParams::default(), shape, 1).unwrap();
    let image = Image::filled(shape, 0.0);
    assert_eq!(flow.compute(std::slice::from_ref(&image), None), Err(FlowError::NoReference));
    let odd = Image::filled(Shape::new(20, 31), 0.0);
    assert!(matches!(flow.set_reference(&[odd]), Err(FlowError::Shape { .. })));
    assert!(matches!(flow.set_reference(&[image.clone(), image]), Err(FlowError::Shape { .. })));
}

#[test]
fn parameters_survive_a_round_trip_and_flows_may_cross_threads() {
    fn may_cross_threads<T: Send + Sync>() {}
    may_cross_threads::<Flow>();
    let params = FlowParams::automatic(Quality::Fast);
    let text = serde_json::to_string(&params).unwrap();
    assert_eq!(serde_json::from_str::<FlowParams>(&text).unwrap(), params);
    assert!(serde_json::from_str::<FlowParams>(r#"{"alhpa": [1, 1]}"#).is_err());
    let short: FlowParams = serde_json::from_str(r#"{"const_assumption": "census"}"#).unwrap();
    assert_eq!(short.const_assumption, ConstAssumption::Census);
}
