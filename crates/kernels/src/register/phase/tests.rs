use stillframe_image::{Image, Point, Rng, Shape, Transform, math};

use super::*;

/// Clouds of many sizes, or a planet: anything smooth at any place.
#[derive(Default)]
struct Scene {
    blobs: Vec<(Point, f64, f64, f64)>,
}

/// Side of the cells in which blobs are looked up, pixels.
const CELL: f64 = 40.0;

impl Scene {
    /// Gaussians with scales from `small` to `large` pixels.
    fn nebula(small: f64, large: f64, n: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 31, 0);
        let blobs = (0..n)
            .map(|_| {
                let p = Point::new(rng.range(-250.0, 550.0), rng.range(-250.0, 550.0));
                let size = small * math::exp(rng.uniform() * math::ln(large / small));
                (p, size, 0.3 + rng.uniform(), 100.0 * rng.uniform())
            })
            .collect();
        Self { blobs }
    }

    /// The blobs that reach each cell of 30×30 cells from (−300, −300).
    fn cells(&self) -> Vec<Vec<usize>> {
        let mut cells = vec![Vec::new(); 900];
        for (i, (p, size, flat, _)) in self.blobs.iter().enumerate() {
            let index = |v: f64| (((v + 300.0) / CELL).max(0.0) as usize).min(29);
            let (rx, ry) = (6.4 * size, 6.4 * size / flat.sqrt());
            for y in index(p.y - ry)..=index(p.y + ry) {
                for x in index(p.x - rx)..=index(p.x + rx) {
                    cells[30 * y + x].push(i);
                }
            }
        }
        cells
    }

    /// Seen through `scene_from_image`.
    fn image(
        &self,
        shape: Shape,
        scene_from_image: &Transform,
        noise: f64,
        seed: u64,
    ) -> Image<f32> {
        let mut rng = Rng::new(seed, 32, 0);
        let cells = self.cells();
        Image::from_fn(shape, |x, y| {
            let p = *scene_from_image * Point::new(x as f64, y as f64);
            let index = |v: f64| (((v + 300.0) / CELL).max(0.0) as usize).min(29);
            let light: f64 = cells[30 * index(p.y) + index(p.x)]
                .iter()
                .map(|&i| {
                    let (c, size, flat, height) = self.blobs[i];
                    let d = p - c;
                    let r2 = (d.dx * d.dx + d.dy * d.dy * flat) / (size * size);
                    if r2 < 40.0 { height * math::exp(-0.5 * r2) } else { 0.0 }
                })
                .sum();
            (500.0 + light + noise * rng.normal()) as f32
        })
    }
}

fn shift(dx: f64, dy: f64) -> Transform {
    Transform::translation(Vec2::new(dx, dy))
}

#[test]
fn smooth_images_are_placed_to_a_fiftieth_of_a_pixel() {
    let mut scratch = PhaseScratch::default();
    for seed in 0..6 {
        let scene = Scene::nebula(2.0, 30.0, 150, seed);
        let mut rng = Rng::new(seed, 33, 0);
        for reach in [0.5, 8.0, 40.0] {
            let truth = Vec2::new(rng.range(-reach, reach), rng.range(-reach, reach));
            let shape = Shape::new(150, 200);
            let reference = scene.image(shape, &Transform::IDENTITY, 0.0, 1);
            // ref_from_frame is the shift, and the scene is the reference's plane.
            let frame = scene.image(shape, &shift(truth.dx, truth.dy), 0.0, 2);
            let params = PhaseParams::default();
            let found =
                phase_correlate(&reference, &frame, None, None, &params, &mut scratch).unwrap();
            let error = (found.peaks[0].shift - truth).norm();
            assert!(error < 0.02, "seed {seed}, {truth:?}: {error}");
            assert!(found.confidence > 1.2, "{}", found.confidence);
        }
    }
}

#[test]
fn noise_masks_and_sizes_do_not_matter() {
    let mut scratch = PhaseScratch::default();
    for seed in 0..6 {
        let scene = Scene::nebula(2.0, 30.0, 2000, seed + 50);
        let truth = Vec2::new(-23.3, 31.8);
        let reference = scene.image(Shape::new(160, 220), &Transform::IDENTITY, 5.0, 2 * seed);
        let mut frame =
            scene.image(Shape::new(130, 150), &shift(truth.dx, truth.dy), 5.0, 2 * seed + 1);
        let mut mask = Image::filled(frame.shape(), 0u8);
        for y in 0..130 {
            for x in 30..45 {
                frame.set(x, y, 60_000.0);
                mask.set(x, y, 1);
            }
        }
        frame.set(80, 80, f32::NAN);
        let params = PhaseParams::default();
        let found =
            phase_correlate(&reference, &frame, None, Some(&mask), &params, &mut scratch).unwrap();
        let error = (found.peaks[0].shift - truth).norm();
        assert!(error < 0.3, "seed {seed}: {error} {found:?}");
    }
}

#[test]
fn unrelated_images_are_refused() {
    let mut scratch = PhaseScratch::default();
    let params = PhaseParams::default();
    let empty = Scene::default();
    for seed in 0..10 {
        let shape = Shape::new(100 + 7 * seed as usize, 180);
        let a = empty.image(shape, &Transform::IDENTITY, 5.0, 2 * seed);
        let b = empty.image(shape, &Transform::IDENTITY, 5.0, 2 * seed + 1);
        let found = phase_correlate(&a, &b, None, None, &params, &mut scratch);
        assert!(matches!(found, Err(PhaseError::NotSignificant { .. })), "{found:?}");
        let found = fourier_mellin(&a, &b, None, None, &mut scratch);
        assert!(matches!(found, Err(PhaseError::NotSignificant { .. })), "{found:?}");
    }
    // Each has one star that outshines all else: two such fit each other at one place.
    for seed in 0..5 {
        let mut a = Scene::nebula(1.2, 1.4, 2500, seed);
        let mut b = Scene::nebula(1.2, 1.4, 2500, seed + 1000);
        a.blobs.push((Point::new(60.0, 80.0), 1.3, 1.0, 800.0));
        b.blobs.push((Point::new(140.0, 50.0), 1.3, 1.0, 800.0));
        let shape = Shape::new(150, 200);
        let a = a.image(shape, &Transform::IDENTITY, 3.0, seed);
        let b = b.image(shape, &Transform::IDENTITY, 3.0, seed + 1);
        let found = phase_correlate(&a, &b, None, None, &params, &mut scratch);
        assert!(found.is_err(), "{found:?}");
        assert!(fourier_mellin(&a, &b, None, None, &mut scratch).is_err());
    }
    let flat = Image::filled(Shape::new(50, 50), 3.0);
    let found = phase_correlate(&flat, &flat, None, None, &params, &mut scratch);
    assert_eq!(found, Err(PhaseError::Flat { image: "reference" }));
    let small = Image::filled(Shape::new(5, 50), 3.0);
    assert!(fourier_mellin(&small, &flat, None, None, &mut scratch).is_err());
    let nothing = Image::filled(Shape::new(50, 50), f32::NAN);
    assert!(phase_correlate(&nothing, &flat, None, None, &params, &mut scratch).is_err());
}

/// Largest error over the frame's corners and centre.
fn error_px(found: &Transform, truth: &Transform, shape: Shape) -> f64 {
    let (w, h) = (shape.width as f64 - 1.0, shape.height as f64 - 1.0);
    [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h), (w / 2.0, h / 2.0)]
        .into_iter()
        .map(|(x, y)| (*found * Point::new(x, y)).distance(*truth * Point::new(x, y)))
        .fold(0.0, f64::max)
}

/// A similarity about the middle of a frame that is to lie near the middle of the reference.
fn about(centre: Point, scale: f64, angle_rad: f64, off: Vec2) -> Transform {
    Transform::translation(centre - Point::default() + off)
        * Transform::similarity(scale, angle_rad, Vec2::default())
        * Transform::translation(Point::default() - centre)
}

#[test]
fn nebulae_are_turned_scaled_and_shifted_back() {
    let mut scratch = PhaseScratch::default();
    let shape = Shape::new(200, 240);
    let centre = Point::new(119.5, 99.5);
    for seed in 0..8 {
        let mut rng = Rng::new(seed, 34, 0);
        let scene = Scene::nebula(2.0, 30.0, 600, seed + 100);
        let angle = if seed % 3 == 0 { std::f64::consts::PI } else { rng.range(-3.1, 3.1) };
        let off = Vec2::new(rng.range(-20.0, 20.0), rng.range(-20.0, 20.0));
        let truth = about(centre, rng.range(0.85, 1.18), angle, off);
        let reference = scene.image(shape, &Transform::IDENTITY, 2.0, 2 * seed);
        let frame = scene.image(shape, &truth, 2.0, 2 * seed + 1);
        let found = fourier_mellin(&reference, &frame, None, None, &mut scratch)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let error = error_px(&found.ref_from_frame, &truth, shape);
        assert!(error < 0.3, "seed {seed}: {error} {found:?} {truth:?}");
    }
}

#[test]
fn a_planet_is_turned_back() {
    let mut scratch = PhaseScratch::default();
    let shape = Shape::new(220, 200);
    let centre = Point::new(99.5, 109.5);
    // A disc with dark belts and spots.
    let mut rng = Rng::new(3, 35, 0);
    let spots: Vec<(Point, f64)> = (0..25)
        .map(|_| (Point::new(rng.range(50.0, 150.0), rng.range(60.0, 160.0)), rng.range(1.5, 5.0)))
        .collect();
    let planet = |p: Point| {
        let r = p.distance(centre) / 60.0;
        let disc = 1.0 / (1.0 + math::exp(20.0 * (r - 1.0)));
        let belts = 1.0 + 0.15 * math::sin(p.y / 5.0) + 0.1 * math::sin(p.y / 2.7);
        let dark: f64 = spots
            .iter()
            .map(|(c, s)| 0.3 * math::exp(-0.5 * (p - *c).norm_squared() / (s * s)))
            .sum();
        3000.0 * disc * (belts - dark)
    };
    for (i, angle) in [0.3, 2.0, 3.0, -1.2].into_iter().enumerate() {
        let truth = about(centre, 1.05, angle, Vec2::new(14.0, -9.0));
        let mut rng = Rng::new(i as u64, 36, 0);
        let reference = Image::from_fn(shape, |x, y| {
            (planet(Point::new(x as f64, y as f64)) + 20.0 * rng.normal()) as f32
        });
        let frame = Image::from_fn(shape, |x, y| {
            (planet(truth * Point::new(x as f64, y as f64)) + 20.0 * rng.normal()) as f32
        });
        let found = fourier_mellin(&reference, &frame, None, None, &mut scratch)
            .unwrap_or_else(|e| panic!("{angle}: {e}"));
        let error = error_px(&found.ref_from_frame, &truth, shape);
        assert!(error < 0.5, "{angle}: {error} {found:?}");
    }
}

#[test]
fn large_and_unequal_images_are_turned_back() {
    let mut scratch = PhaseScratch::default();
    let scene = Scene::nebula(6.0, 60.0, 200, 7);
    let truth = Transform::similarity(0.95, 0.7, Vec2::new(180.0, -120.0));
    let (r, f) = (Shape::new(500, 801), Shape::new(560, 470));
    // The scene spans 800 pixels: enlarge it by 1.25 about the origin.
    let scene_from_ref = Transform::affine(0.8, 0.0, -100.0, 0.0, 0.8, -50.0);
    let reference = scene.image(r, &scene_from_ref, 3.0, 1);
    let frame = scene.image(f, &(scene_from_ref * truth), 3.0, 2);
    let found = fourier_mellin(&reference, &frame, None, None, &mut scratch).unwrap();
    let error = error_px(&found.ref_from_frame, &truth, f);
    assert!(error < 0.3, "{error} {found:?}");
}
