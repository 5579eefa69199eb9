//! What the acceptance list asks of a whole run and no smaller test can show.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod night;

use std::sync::atomic::{AtomicUsize, Ordering};

use night::{
    Night, aperture, calm, digests, median, nearest, planes_of, result_of, small, stack_all,
    stars_of,
};
use stillframe_engine::image::{CfaPattern, Colour, Image, Point, Shape, Transform};
use stillframe_engine::io::fits::{FitsSource, OpenOptions};
use stillframe_engine::recipe::{
    Canvas, ColourMethod, Combination, DrizzleRecipe, FieldMethod, GaugeMethod, Kernel, Linearity,
    RejectionMethod, ScaleMethod, SkyMethod, StackRecipe, SyntheticRecipe, WeightScheme,
};
use stillframe_engine::runtime::Cancel;
use stillframe_engine::runtime::observe::{Event, Observer, Silent};
use stillframe_engine::simulate::{BurstOptions, DetectorKind};
use stillframe_engine::stack::{FrameOutcome, StackError, StackJob, StackOutcome, run};

/// The gain of the simulated camera.
const E_PER_ADU: f64 = 0.8;

/// Where the burst as a whole sees a point of the scene, in reference pixels.
fn mean_place(night: &Night, outcome: &StackOutcome, p: Point) -> Point {
    let used: Vec<_> = outcome.report.frames.iter().filter(|f| f.outcome.is_used()).collect();
    let (mut x, mut y) = (0.0, 0.0);
    for frame in &used {
        let m = frame.geometry.as_ref().unwrap().ref_from_frame;
        let at = Transform { m } * night.burst.frame_truth(frame.index).frame_position(p);
        x += at.x / used.len() as f64;
        y += at.y / used.len() as f64;
    }
    Point::new(x, y)
}

/// Median of found over true flux of isolated stars, in one plane; `scale` canvas pixels make a pixel.
fn throughput(
    night: &Night,
    outcome: &StackOutcome,
    plane: &Image<f32>,
    colour: Colour,
    scale: f64,
) -> f64 {
    let stars = night.burst.truth().stars;
    let is_alone = |k: usize| {
        stars.iter().enumerate().all(|(j, other)| {
            j == k
                || other.flux_e < 0.02 * stars[k].flux_e
                || other.position.distance(stars[k].position) > 12.0
        })
    };
    let ratios: Vec<f64> = (0..stars.len())
        .filter(|&k| (5e3..1e5).contains(&stars[k].flux_e) && is_alone(k))
        .filter_map(|k| {
            let at = mean_place(night, outcome, stars[k].position);
            // Pixel centres are whole numbers: the canvas' outer edge stays where it is.
            let on_canvas = Point::new(scale * (at.x + 0.5) - 0.5, scale * (at.y + 0.5) - 0.5);
            let found = aperture(plane, on_canvas, 8.0 * scale)?;
            Some(E_PER_ADU * found / stars[k].flux_in(colour))
        })
        .collect();
    assert!(ratios.len() >= 8, "{} stars", ratios.len());
    median(ratios)
}

/// Stars that stand alone under a dark, steady sky.
fn bright(frames: usize) -> BurstOptions {
    BurstOptions { stars_per_mpx: 2500.0, faintest_star_e: 1500.0, ..calm(frames) }
}

/// Rms of the medians of 24-pixel blocks about their mean, over their mean.
fn unevenness(image: &Image<f32>) -> f64 {
    let mut blocks = Vec::new();
    for y in (24..image.height() - 48).step_by(24) {
        for x in (24..image.width() - 48).step_by(24) {
            let pixels = (y..y + 24).flat_map(|y| image.row(y)[x..x + 24].iter());
            blocks.push(median(pixels.map(|v| f64::from(*v)).collect()));
        }
    }
    let mean = blocks.iter().sum::<f64>() / blocks.len() as f64;
    let off: Vec<f64> = blocks.iter().map(|b| b / mean - 1.0).collect();
    night::rms(&off)
}

#[test]
fn calibration_gives_the_scene_back() {
    let raw = BurstOptions {
        detector: DetectorKind::Raw,
        hot_fraction: 1e-3,
        stars_per_mpx: 1500.0,
        faintest_star_e: 1500.0,
        dither_px: 6.0,
        bias_frames: 12,
        dark_frames: 12,
        flat_frames: 12,
        ..calm(12)
    };
    let night = Night::new(raw);
    let (outcome, calibrated) = result_of(&night.job("calibrated"));
    let mut job = night.job("raw");
    (job.bias, job.dark, job.flat) = (Vec::new(), Vec::new(), Vec::new());
    let (_, raw) = result_of(&job);
    let (flat, uneven) = (unevenness(calibrated.mono()), unevenness(raw.mono()));
    assert!(flat < 0.006, "the calibrated sky varies by {flat}, the raw one by {uneven}");
    assert!(uneven > 3.0 * flat, "this sensor needs no calibration: {uneven}, {flat}");
    let sky = median(calibrated.mono().pixels().iter().map(|v| f64::from(*v)).collect());
    let truth: Vec<f64> = (0..12).map(|i| night.burst.frame_truth(i).sky.level_e).collect();
    // A flat is divided by the median of its middle, so the sky is that of the middle.
    let response = night.burst.detector().response();
    let middle = (60..180).flat_map(|y| response.row(y)[80..240].iter().map(|v| f64::from(*v)));
    let middle = median(middle.collect());
    let want = middle * truth.iter().sum::<f64>() / 12.0 / E_PER_ADU;
    assert!((sky / want - 1.0).abs() < 0.01, "{sky} ADU of sky, {want} in the scene");
    let ratio = throughput(&night, &outcome, calibrated.mono(), Colour::Green, 1.0);
    assert!((0.93..1.01).contains(&ratio), "{ratio} of the light was found");
}

/// A dirty and a clean sky over the same scene, with the same noise wherever nothing hit.
fn dirty_and_clean() -> [Night; 2] {
    let dirty = BurstOptions { trail_probability: 0.6, cosmics_per_mpx: 150.0, ..calm(24) };
    [dirty.clone(), BurstOptions { trail_probability: 0.0, cosmics_per_mpx: 0.0, ..dirty }]
        .map(Night::new)
}

#[test]
fn rejection_removes_what_hits_single_frames_and_keeps_clean_pixels() {
    let [dirty, clean] = dirty_and_clean();
    let stack = |night: &Night, method: RejectionMethod| {
        let job = night.job_with(&format!("{method:?}"), |r| r.rejection.method = method);
        result_of(&job).1.mono().clone()
    };
    let truth = stack(&clean, RejectionMethod::None);
    let off = |image: &Image<f32>| -> Vec<f64> {
        let pairs = image.pixels().iter().zip(truth.pixels());
        pairs.map(|(a, b)| f64::from(a - b)).collect()
    };
    let hit = off(&stack(&dirty, RejectionMethod::None));
    let noise = difference_noise(&truth);
    let is_hit: Vec<bool> = hit.iter().map(|d| *d > 4.0 * noise).collect();
    let n_hit = is_hit.iter().filter(|h| **h).count();
    assert!(n_hit > 1000, "{n_hit} pixels were hit");
    for method in [
        RejectionMethod::KappaSigma,
        RejectionMethod::WinsorizedSigma,
        RejectionMethod::LinearFit,
        RejectionMethod::Median,
    ] {
        let left = off(&stack(&dirty, method));
        let still = left.iter().zip(&is_hit).filter(|(d, h)| **h && **d > 4.0 * noise).count();
        assert!(still * 20 <= n_hit, "{method:?}: {still} of {n_hit} pixels are left");
        let kept = difference_noise(&stack(&clean, method));
        assert!(kept < 1.05 * noise, "{method:?}: noise {kept}, {noise} without rejection");
    }
}

/// Robust noise from differences of neighbours in a row.
fn difference_noise(image: &Image<f32>) -> f64 {
    let steps = (0..image.height())
        .flat_map(|y| image.row(y).windows(2).map(|w| f64::from((w[1] - w[0]).abs())));
    median(steps.collect()) / 0.6745 / 2f64.sqrt()
}

#[test]
fn places_without_data_are_nan_and_every_sample_is_counted() {
    let night = Night::new(BurstOptions { rotation_deg_per_frame: 1.5, ..small(12) });
    let (_, stacked) = result_of(&night.job_with("out", |r| r.canvas = Canvas::Union));
    let (value, coverage) = (stacked.mono(), &stacked.coverage[0]);
    let (rejected, weight) = (&stacked.rejected[0], &stacked.weight[0]);
    let (mut empty, mut full) = (0, 0);
    for k in 0..value.pixels().len() {
        let (v, c) = (value.pixels()[k], coverage.pixels()[k]);
        assert_eq!(v.is_nan(), c == 0.0, "value {v} of {c} samples");
        assert_eq!(weight.pixels()[k] > 0.0, c > 0.0);
        let all = c + rejected.pixels()[k];
        assert!(all <= 12.0, "{all} samples of 12 frames");
        empty += usize::from(c == 0.0);
        full += usize::from(all == 12.0);
    }
    assert!(empty > 500, "a turned burst leaves corners: {empty}");
    assert!(full > 30_000, "{full} pixels are seen by every frame");
}

/// Each frame's share of the result.
fn shares(outcome: &StackOutcome) -> Vec<f64> {
    let share = |o: &FrameOutcome| match o {
        FrameOutcome::Used { weight_fraction } => *weight_fraction,
        _ => panic!("a frame was lost"),
    };
    outcome.report.frames.iter().map(|f| share(&f.outcome)).collect()
}

#[test]
fn each_factor_of_the_weights_can_be_switched_off() {
    let mixed = BurstOptions {
        fwhm_min_px: 2.4,
        fwhm_max_px: 5.0,
        cloud_loss: 0.3,
        distortion_px: 1.0,
        distortion_scale_px: 60.0,
        ..calm(14)
    };
    let night = Night::new(mixed);
    let with = |out: &str, [global, local, registration]: [bool; 3]| {
        let (outcome, stacked) = result_of(&night.job_with(out, |r| {
            r.weights.global = global;
            r.weights.local = local;
            r.weights.registration = registration;
            r.rejection.method = RejectionMethod::None;
        }));
        (shares(&outcome), stacked.mono().clone())
    };
    let (equal, plain) = with("none", [false, false, false]);
    assert!(equal.iter().all(|s| (s - 1.0 / 14.0).abs() < 1e-6), "{equal:?}");
    let (global, _) = with("global", [true, false, false]);
    let spread = global.iter().fold(0.0f64, |a, s| a.max((s * 14.0 - 1.0).abs()));
    assert!(spread > 0.2, "clear and cloudy frames count alike: {global:?}");
    for (out, factors) in [("local", [false, true, false]), ("registration", [false, false, true])]
    {
        let (_, image) = with(out, factors);
        assert!(image.pixels() != plain.pixels(), "the {out} factor changes nothing");
    }
}

#[test]
fn colours_come_out_in_their_own_planes_and_in_one_place() {
    for cfa in [CfaPattern::Rggb, CfaPattern::Bggr, CfaPattern::Grbg, CfaPattern::Gbrg] {
        let night = Night::new(BurstOptions { bayer: Some(cfa), dither_px: 8.0, ..bright(24) });
        for method in [ColourMethod::CfaDrizzle, ColourMethod::Demosaic] {
            let out = format!("{cfa:?}-{method:?}");
            let (outcome, stacked) = result_of(&night.job_with(&out, |r| r.colour.method = method));
            assert_eq!(stacked.value.len(), 3);
            for colour in [Colour::Red, Colour::Green, Colour::Blue] {
                let plane = &stacked.value[colour.plane()];
                let ratio = throughput(&night, &outcome, plane, colour, 1.0);
                assert!((0.90..1.03).contains(&ratio), "{out} {colour:?}: {ratio} of the light");
            }
            let green = stars_of(&stacked.value[1]);
            let places: Vec<Point> = green.iter().map(|s| s.position).collect();
            for plane in [0, 2] {
                let found = nearest(&stars_of(&stacked.value[plane]), &places, 1.0);
                let pairs: Vec<_> =
                    found.iter().zip(&places).filter_map(|(s, p)| Some((s.as_ref()?, p))).collect();
                assert!(pairs.len() >= 10, "{out}: {} stars", pairs.len());
                let dx = median(pairs.iter().map(|(s, p)| s.position.x - p.x).collect());
                let dy = median(pairs.iter().map(|(s, p)| s.position.y - p.y).collect());
                assert!(dx.hypot(dy) < 0.05, "{out}: plane {plane} is off by ({dx:.3}, {dy:.3})");
            }
        }
    }
}

/// Stops a run once so many units were committed.
struct StopAfter<'a> {
    commits: usize,
    seen: AtomicUsize,
    cancel: &'a Cancel,
}

impl Observer for StopAfter<'_> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::PhaseProgress { .. })
            && self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.commits
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_resumes_to_the_same_bytes() {
    let with_calibration =
        BurstOptions { bias_frames: 3, dark_frames: 3, flat_frames: 3, ..small(12) };
    let night = Night::new(with_calibration);
    let whole = StackJob { block_side: Some(80), ..night.job("whole") };
    stack_all(&whole);
    let want = digests(&whole.output);
    let mut stopped = 0;
    for commits in [1, 3, 6, 11, 17, 24, 30] {
        let out = format!("stopped-{commits}");
        let mut job = StackJob { block_side: Some(80), ..night.job(&out) };
        let cancel = Cancel::new();
        let observer = StopAfter { commits, seen: AtomicUsize::new(0), cancel: &cancel };
        match run(&job, &observer, &cancel) {
            Err(StackError::Interrupted) => stopped += 1,
            Err(e) => panic!("after {commits} commits: {e}"),
            Ok(_) => continue,
        }
        assert!(!job.output.join("stack.fits").exists(), "whole or absent");
        job.resume = true;
        stack_all(&job);
        assert_eq!(digests(&job.output), want, "after {commits} commits");
    }
    assert!(stopped >= 5, "only {stopped} runs were stopped in their course");
}

#[test]
fn every_choice_of_the_recipe_makes_an_image_with_the_light_of_the_scene() {
    type Change = fn(&mut StackRecipe);
    let night = Night::new(bright(14));
    let choices: [(&str, f64, Change); 22] = [
        ("bicubic", 1.0, |r| r.resampling.kernel = Kernel::Bicubic),
        ("bilinear", 1.0, |r| r.resampling.kernel = Kernel::Bilinear),
        ("nearest", 1.0, |r| r.resampling.kernel = Kernel::Nearest),
        ("median", 1.0, |r| r.combination = Combination::Median),
        ("unrejected", 1.0, |r| r.rejection.method = RejectionMethod::None),
        ("kappa", 1.0, |r| r.rejection.method = RejectionMethod::KappaSigma),
        ("winsorized", 1.0, |r| r.rejection.method = RejectionMethod::WinsorizedSigma),
        ("linear fit", 1.0, |r| r.rejection.method = RejectionMethod::LinearFit),
        ("mad", 1.0, |r| r.rejection.method = RejectionMethod::Median),
        ("intersection", 1.0, |r| r.canvas = Canvas::Intersection),
        ("union", 1.0, |r| r.canvas = Canvas::Union),
        ("drizzle", 1.0, |r| r.drizzle = Some(DrizzleRecipe { scale: 1.0, pixfrac: 0.8 })),
        ("drizzle twice", 2.0, |r| r.drizzle = Some(DrizzleRecipe { scale: 2.0, pixfrac: 0.8 })),
        ("sky plane", 1.0, |r| r.normalization.sky = SkyMethod::Plane),
        ("sky constant", 1.0, |r| r.normalization.sky = SkyMethod::Offset),
        ("sky as it is", 1.0, |r| r.normalization.sky = SkyMethod::None),
        ("scale of the sky", 1.0, |r| r.normalization.scale = ScaleMethod::Background),
        ("unscaled", 1.0, |r| r.normalization.scale = ScaleMethod::None),
        ("equal weights", 1.0, |r| r.weights.scheme = WeightScheme::Equal),
        ("v4 weights", 1.0, |r| r.weights.scheme = WeightScheme::V4),
        ("tiles", 1.0, |r| r.field.method = FieldMethod::Tiles),
        ("synthetic", 1.0, |r| {
            r.synthetic =
                SyntheticRecipe { enabled: true, frames_min: 2, ..SyntheticRecipe::default() };
        }),
    ];
    for (name, scale, change) in choices {
        let (outcome, stacked) = result_of(&night.job_with(name, change));
        let plane = stacked.mono();
        if matches!(name, "union" | "intersection") {
            // Another origin: the canvas is what differs, not the pixels on it.
            let reference = Shape::new(240, 320);
            let (less, more) = (plane.shape().len(), reference.len());
            assert!(if name == "union" { less > more } else { less < more }, "{name}: {less}");
            continue;
        }
        // Drizzle keeps the brightness of a place: a pixel of a quarter of the area has the same value.
        let ratio = throughput(&night, &outcome, plane, Colour::Green, scale) / (scale * scale);
        assert!((0.93..1.02).contains(&ratio), "{name}: {ratio} of the light was found");
    }
}

#[test]
fn phase_correlation_serves_where_stars_are_not_matched() {
    let night =
        Night::new(BurstOptions { rotation_deg_per_frame: 0.3, distortion_px: 0.0, ..bright(12) });
    let (stars, _) = result_of(&night.job("stars"));
    let (phase, stacked) = result_of(&night.job_with("phase", |r| {
        r.gauge.method = GaugeMethod::Phase;
        r.field.method = FieldMethod::Off;
    }));
    for (a, b) in stars.report.frames.iter().zip(&phase.report.frames) {
        let [a, b] = [a, b].map(|f| f.geometry.as_ref().unwrap());
        assert!(b.model == "phase" || b.model == "identity", "{}", b.model);
        assert!((a.rotation_deg - b.rotation_deg).abs() < 0.15, "{a:?} {b:?}");
    }
    let by_phase =
        phase.report.frames.iter().filter(|f| f.geometry.as_ref().unwrap().model == "phase");
    assert_eq!(by_phase.count(), 11, "all but the reference");
    let fwhm = phase.report.result.as_ref().unwrap().fwhm_out_px.unwrap();
    assert!(fwhm < 3.6, "frames of 3.0 px gave {fwhm:.2} px");
    assert!(stars_of(stacked.mono()).len() > 20);
}

#[test]
fn stretched_frames_are_told_from_linear_ones() {
    let night = Night::new(BurstOptions { width: 640, height: 480, ..small(12) });
    let linear = stack_all(&night.job_with("linear", |r| r.input.linearity = Linearity::Require));
    assert!(linear.report.warnings.is_empty(), "{:?}", linear.report.warnings);
    for (path, k) in night.files.lights.iter().zip(0..) {
        let (image, header) = night::read_frame(path);
        if k < 3 {
            // What a display's gamma does to data without their pedestal.
            let stretched =
                image.map(|v| 65_535.0 * ((v - 150.0).max(0.0) / 65_535.0).powf(1.0 / 2.2));
            night::write_frame(path, &header, &stretched);
        }
    }
    let job = night.job_with("mixed", |r| r.input.linearity = Linearity::Require);
    let outcome = run(&job, &Silent, &Cancel::new()).unwrap();
    for frame in &outcome.report.frames {
        assert_eq!(frame.outcome.is_used(), frame.index >= 3, "frame {}", frame.index);
    }
}

#[test]
fn one_frame_is_calibrated_and_written() {
    let night = Night::new(small(1));
    let (outcome, stacked) = result_of(&night.job("one"));
    assert_eq!(outcome.report.used(), 1);
    let source = FitsSource::open(&night.files.lights[0], &OpenOptions::default()).unwrap();
    let frame = planes_of(&source).remove(0);
    let off = frame.pixels().iter().zip(stacked.mono().pixels()).filter(|(a, b)| a != b).count();
    // Nothing is resampled; a pixel is another only where it was hot.
    assert!(off < frame.pixels().len() / 500, "{off} pixels are others");
}
