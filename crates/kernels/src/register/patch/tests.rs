use stillframe_image::{Rng, math};

use super::*;

/// A star field seen at any shift, with the noise of its light.
struct Field {
    stars: Vec<(Point, f64)>,
    fwhm_px: f64,
    sky: f64,
}

impl Field {
    /// `n` stars per tile of `side`, fluxes as in the sky.
    fn new(side: usize, n: usize, fwhm_px: f64, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 21, 0);
        let margin = 24.0;
        let width = side as f64 + 2.0 * margin;
        let count = (n as f64 * width * width / (side * side) as f64) as usize;
        let stars = (0..count)
            .map(|_| {
                let p = Point::new(
                    rng.range(-margin, width - margin),
                    rng.range(-margin, width - margin),
                );
                (p, 1000.0 / rng.range(0.02, 1.0))
            })
            .collect();
        Self { stars, fwhm_px, sky: 200.0 }
    }

    /// The tile whose stars are moved by `-shift`: `ref_from_frame` is then `shift`.
    fn tile(&self, shape: Shape, shift: Vec2, noise: Option<&mut Rng>) -> Image<f32> {
        let s2 = self.fwhm_px * self.fwhm_px / (8.0 * std::f64::consts::LN_2);
        let mut image = Image::filled(shape, self.sky as f32);
        for (p, flux) in &self.stars {
            let p = *p - shift;
            let reach = 5.0 * self.fwhm_px;
            let span = |c: f64, n: usize| {
                ((c - reach).max(0.0) as usize)..((c + reach + 1.0).clamp(0.0, n as f64) as usize)
            };
            for y in span(p.y, shape.height) {
                for x in span(p.x, shape.width) {
                    let d = (Point::new(x as f64, y as f64) - p).norm_squared();
                    let v = flux / (std::f64::consts::TAU * s2) * math::exp(-0.5 * d / s2);
                    image.set(x, y, image.at(x, y) + v as f32);
                }
            }
        }
        match noise {
            Some(rng) => {
                image.map(|v| rng.poisson(f64::from(v)) as f32 + 4.0 * rng.normal() as f32)
            }
            None => image,
        }
    }
}

fn direction(rng: &mut Rng, length: f64) -> Vec2 {
    let angle = rng.range(0.0, 6.2);
    Vec2::new(math::cos(angle), math::sin(angle)) * length
}

/// Errors in pixels of the trials; infinite for those refused.
fn trials(
    side: usize,
    length: f64,
    n: u64,
    mut spoil: impl FnMut(&mut Image<f32>, u64),
) -> Vec<f64> {
    let mut scratch = PatchScratch::default();
    let params = PatchParams::default();
    (0..n)
        .map(|seed| {
            let mut rng = Rng::new(seed, 22, (length * 10.0) as u64);
            let shape = Shape::new(side, side);
            let field = Field::new(side, 12, 3.0, seed);
            let shift = direction(&mut rng, length);
            let mut reference = field.tile(shape, Vec2::default(), Some(&mut rng));
            let mut frame = field.tile(shape, shift, Some(&mut rng));
            spoil(&mut reference, seed);
            spoil(&mut frame, seed);
            let found =
                align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch);
            found.map_or(f64::INFINITY, |f| (f.shift - shift).norm())
        })
        .collect()
}

fn share_below(errors: &[f64], limit: f64) -> f64 {
    errors.iter().filter(|e| **e < limit).count() as f64 / errors.len() as f64
}

fn median(errors: &mut [f64]) -> f64 {
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn shifts_up_to_fifteen_pixels_are_found_with_the_right_sign() {
    for side in [96, 128] {
        for length in [0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0] {
            let mut errors = trials(side, length, 40, |_, _| {});
            let share = share_below(&errors, 0.3);
            let middle = median(&mut errors);
            assert!(share >= 0.95 && middle < 0.1, "{side} px tile, {length} px: {share} {middle}");
        }
    }
}

#[test]
fn static_hot_pixels_do_not_hold_the_tile() {
    let mut errors = trials(96, 4.0, 60, |image, seed| {
        let mut rng = Rng::new(seed, 23, 0);
        for _ in 0..92 {
            let (x, y) = (rng.below(96), rng.below(96));
            image.set(x, y, image.at(x, y) + rng.range(100.0, 20_000.0) as f32);
        }
    });
    let share = share_below(&errors, 0.3);
    assert!(share >= 0.95 && median(&mut errors) < 0.1, "{share} {errors:?}");
}

#[test]
fn cosmic_rays_and_background_do_not_count() {
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(96, 96);
    let mut errors: Vec<f64> = (0..40)
        .map(|seed| {
            let mut rng = Rng::new(seed, 24, 0);
            let field = Field::new(96, 12, 3.0, seed);
            let shift = Vec2::new(3.4, -2.2);
            let reference = field.tile(shape, Vec2::default(), Some(&mut rng));
            let mut frame = field.tile(shape, shift, Some(&mut rng));
            // A streak of a few pixels, a gradient, another gain.
            let (x, y) = (10 + rng.below(70), 10 + rng.below(70));
            for i in 0..8 {
                frame.set(x + i, y + i / 2, 30_000.0);
            }
            let frame =
                Image::from_fn(shape, |x, y| 0.6 * frame.at(x, y) + 3.0 * x as f32 + y as f32);
            let params = PatchParams::default();
            let found = align_patch(
                &reference,
                &frame,
                None,
                None,
                Vec2::new(3.0, -2.0),
                &params,
                &mut scratch,
            );
            found.map_or(f64::INFINITY, |f| (f.shift - shift).norm())
        })
        .collect();
    let share = share_below(&errors, 0.3);
    assert!(share >= 0.95 && median(&mut errors) < 0.1, "{share} {errors:?}");
}

#[test]
fn errors_are_what_they_are_said_to_be() {
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(96, 96);
    for (stars, warp) in [
        (12, PatchWarp::Translation),
        (3, PatchWarp::Translation),
        (12, PatchWarp::Affine { edge_px: 0.3 }),
    ] {
        let params = PatchParams { warp, max_sigma_px: 1.0, ..PatchParams::default() };
        let (mut chi2, mut n, mut refused) = (0.0, 0.0, 0);
        for seed in 0..250 {
            let mut rng = Rng::new(seed, 25, stars as u64);
            let field = Field::new(96, stars, 3.0, seed);
            let reference = field.tile(shape, Vec2::default(), None);
            let shift = direction(&mut rng, 1.3);
            let frame = field.tile(shape, shift, Some(&mut rng));
            let Ok(f) =
                align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch)
            else {
                refused += 1;
                continue;
            };
            let e = f.shift - shift;
            let [xx, xy, yy] = f.covariance;
            let det = xx * yy - xy * xy;
            chi2 += (yy * e.dx * e.dx - 2.0 * xy * e.dx * e.dy + xx * e.dy * e.dy) / det;
            n += 1.0;
        }
        let mean = chi2 / n;
        assert!((0.6..1.7).contains(&(mean / 2.0)), "{stars} stars, {warp:?}: {}", mean / 2.0);
        assert!(refused < 25);
    }
}

#[test]
fn empty_tiles_give_no_signal() {
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(96, 96);
    let params = PatchParams::default();
    let mut lies = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed, 26, 0);
        let empty = Field { stars: Vec::new(), fwhm_px: 3.0, sky: 200.0 };
        let stars = Field::new(96, 12, 3.0, seed);
        let reference = if seed % 2 == 0 { &empty } else { &stars };
        let reference = reference.tile(shape, Vec2::default(), Some(&mut rng));
        let frame = empty.tile(shape, Vec2::default(), Some(&mut rng));
        let found =
            align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch);
        if !matches!(found, Err(PatchError::NoSignal { .. })) {
            println!("seed {seed}: {found:?}");
            lies += 1;
        }
    }
    assert_eq!(lies, 0);
}

#[test]
fn a_turned_tile_is_measured_at_its_centre() {
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(128, 128);
    let centre = Point::new(63.5, 63.5);
    let turn = Transform::translation(centre - Point::default())
        * Transform::similarity(1.0, 0.01, Vec2::new(0.8, -0.4))
        * Transform::translation(Point::default() - centre);
    for (warp, limit) in [(PatchWarp::Affine { edge_px: 1.0 }, 0.05), (PatchWarp::Translation, 0.3)]
    {
        let params = PatchParams { warp, ..PatchParams::default() };
        let mut errors = Vec::new();
        for seed in 0..30 {
            let mut rng = Rng::new(seed, 27, 0);
            let mut field = Field::new(128, 30, 3.0, seed);
            let reference = field.tile(shape, Vec2::default(), Some(&mut rng));
            let frame_from_ref = turn.inverse().unwrap();
            for star in &mut field.stars {
                star.0 = frame_from_ref * star.0;
            }
            let frame = field.tile(shape, Vec2::default(), Some(&mut rng));
            let found =
                align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch)
                    .unwrap();
            errors.push((found.shift - Vec2::new(0.8, -0.4)).norm());
            if params.warp != PatchWarp::Translation {
                assert!((found.linear[1][0] - 0.01).abs() < 0.006, "{:?}", found.linear);
            }
        }
        assert!(median(&mut errors) < limit, "{warp:?}: {errors:?}");
    }
}

#[test]
fn masks_shapes_and_odd_sizes() {
    let mut scratch = PatchScratch::default();
    let params = PatchParams::default();
    let field = Field::new(128, 30, 3.0, 5);
    let mut rng = Rng::new(1, 28, 0);
    let shape = Shape::new(97, 115);
    let shift = Vec2::new(-4.3, 6.1);
    let reference = field.tile(shape, Vec2::default(), Some(&mut rng));
    let mut frame = field.tile(shape, shift, Some(&mut rng));
    let mut mask = Image::filled(shape, 0u8);
    for y in 0..97 {
        for x in 70..115 {
            frame.set(x, y, if x % 3 == 0 { 60_000.0 } else { 0.0 });
            mask.set(x, y, 1);
        }
    }
    let zero = Vec2::default();
    let found = align_patch(&reference, &frame, None, Some(&mask), zero, &params, &mut scratch);
    assert!((found.unwrap().shift - shift).norm() < 0.2, "{found:?}");
    mask.pixels_mut().fill(1);
    let none = align_patch(&reference, &frame, Some(&mask), None, zero, &params, &mut scratch);
    assert!(matches!(none, Err(PatchError::TooFewPixels { tile: "reference", found: 0, .. })));
    let small = Image::filled(Shape::new(8, 8), 0.0);
    let none = align_patch(&small, &small, None, None, zero, &params, &mut scratch);
    assert!(matches!(none, Err(PatchError::BadShape { .. })));
    let nan = Image::filled(shape, f32::NAN);
    let none = align_patch(&reference, &nan, None, None, zero, &params, &mut scratch);
    assert!(matches!(none, Err(PatchError::TooFewPixels { tile: "frame", .. })));
    let flat = Image::filled(shape, 5.0);
    let none = align_patch(&flat, &flat, None, None, zero, &params, &mut scratch);
    assert!(matches!(none, Err(PatchError::NoSignal { .. })));
}

#[test]
fn interpolation_does_not_pull() {
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(96, 96);
    let mut sum = 0.0;
    for seed in 0..40 {
        let field = Field::new(96, 12, 2.5, seed);
        let shift = direction(&mut Rng::new(seed, 29, 0), 1.3);
        let reference = field.tile(shape, Vec2::default(), None);
        let frame = field.tile(shape, shift, None);
        let params = PatchParams { fwhm_px: 2.5, ..PatchParams::default() };
        let found =
            align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch)
                .unwrap();
        sum += (found.shift - shift).norm_squared() / 40.0;
    }
    assert!(sum.sqrt() < 0.02, "{}", sum.sqrt());
}

#[test]
fn bits_are_pinned() {
    // A change here is a change of bits on every machine; a difference between machines is a
    // broken promise.
    let mut scratch = PatchScratch::default();
    let shape = Shape::new(97, 110);
    let field = Field::new(96, 12, 2.8, 11);
    let mut rng = Rng::new(1, 30, 0);
    let reference = field.tile(shape, Vec2::default(), Some(&mut rng));
    let frame = field.tile(shape, Vec2::new(3.3, -5.2), Some(&mut rng));
    let params = PatchParams { warp: PatchWarp::Affine { edge_px: 0.5 }, ..PatchParams::default() };
    let found = align_patch(&reference, &frame, None, None, Vec2::default(), &params, &mut scratch)
        .unwrap();
    let [xx, xy, yy] = found.covariance;
    let numbers = [found.shift.dx, found.shift.dy, found.linear[0][1], xx, xy, yy, found.cc];
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for v in numbers {
        hash = (hash ^ v.to_bits()).wrapping_mul(0x0100_0000_01b3);
    }
    assert_eq!(hash, 0x2aee_bd0c_7a59_ba07, "{hash:#x}");
}
