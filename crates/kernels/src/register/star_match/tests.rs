use proptest::prelude::*;
use stillframe_image::{Rng, Vec2};

use super::*;

/// A sky seen twice.
#[derive(Clone, Debug)]
struct Scene {
    /// Side lengths of both frames, pixels.
    size: Vec2,
    /// Stars per frame.
    stars: usize,
    /// Fraction of each list that the other lacks.
    spurious: f64,
    /// Largest displacement by smooth distortion, pixels.
    distortion_px: f64,
    noise_px: f64,
}

const SCENE: Scene = Scene {
    size: Vec2::new(1900.0, 1100.0),
    stars: 300,
    spurious: 0.3,
    distortion_px: 2.0,
    noise_px: 0.2,
};

impl Scene {
    fn centre(&self) -> Point {
        Point::new(self.size.dx / 2.0, self.size.dy / 2.0)
    }

    fn contains(&self, p: Point) -> bool {
        p.x >= 0.0 && p.y >= 0.0 && p.x < self.size.dx && p.y < self.size.dy
    }

    /// Reference and frame, where `ref_from_frame` is the truth.
    fn lists(&self, ref_from_frame: &Transform, seed: u64) -> (Vec<MatchStar>, Vec<MatchStar>) {
        let mut rng = Rng::new(seed, 11, 0);
        let frame_from_ref = ref_from_frame.inverse().unwrap();
        let density = self.stars as f64 * (1.0 - self.spurious) / (self.size.dx * self.size.dy);
        let margin = 2.0 * (self.size.dx + self.size.dy);
        let total = (density * margin * margin) as usize;
        let phase: Vec<f64> = (0..4).map(|_| rng.range(0.0, 6.0)).collect();
        let bend = |p: Point| {
            let wave = |a: f64, b: f64| math::sin(a / 400.0 + b);
            Vec2::new(
                wave(p.x, phase[0]) * wave(p.y, phase[1]),
                wave(p.y, phase[2]) * wave(p.x, phase[3]),
            ) * self.distortion_px
        };
        let (mut reference, mut frame) = (Vec::new(), Vec::new());
        let star = |position: Point, flux: f64, rng: &mut Rng| MatchStar {
            position: position + Vec2::new(rng.normal(), rng.normal()) * self.noise_px,
            sigma_px: self.noise_px as f32,
            flux: (flux * (1.0 + 0.1 * rng.normal())) as f32,
        };
        for _ in 0..total {
            let c = self.centre();
            let p = Point::new(
                rng.range(c.x - margin / 2.0, c.x + margin / 2.0),
                rng.range(c.y - margin / 2.0, c.y + margin / 2.0),
            );
            let flux = 1.0 / rng.range(0.001, 1.0);
            if self.contains(p) {
                reference.push(star(p, flux, &mut rng));
            }
            let q = frame_from_ref * p;
            let q = q + bend(q);
            if self.contains(q) {
                frame.push(star(q, flux, &mut rng));
            }
        }
        for list in [&mut reference, &mut frame] {
            for _ in 0..(self.stars as f64 * self.spurious) as usize {
                let p = Point::new(rng.range(0.0, self.size.dx), rng.range(0.0, self.size.dy));
                let flux = 1.0 / rng.range(0.001, 1.0);
                list.push(star(p, flux, &mut rng));
            }
        }
        (reference, frame)
    }

    /// A turn about the centre, then a shift that leaves about `overlap` of the frame.
    fn transform(
        &self,
        scale: f64,
        angle_rad: f64,
        mirrored: bool,
        overlap: f64,
        toward: f64,
    ) -> Transform {
        let c = self.centre();
        let to_origin = Transform::translation(Vec2::new(-c.x, -c.y));
        let flip = Transform::affine(if mirrored { -1.0 } else { 1.0 }, 0.0, 0.0, 0.0, 1.0, 0.0);
        // Along `toward`, the axis that runs out of overlap first decides.
        let (x, y) = (math::cos(toward), math::sin(toward));
        let reach = (x.abs() / self.size.dx).max(y.abs() / self.size.dy);
        let distance = (1.0 - overlap) / reach * 0.7;
        let shift = Vec2::new(c.x + distance * x, c.y + distance * y);
        Transform::similarity(scale, angle_rad, shift) * flip * to_origin
    }
}

/// Largest error over the part of the frame that lies on the reference.
fn error_px(scene: &Scene, found: &Transform, truth: &Transform) -> f64 {
    let mut worst = 0.0f64;
    for i in 0..=10 {
        for j in 0..=10 {
            let p = Point::new(
                scene.size.dx * f64::from(i) / 10.0,
                scene.size.dy * f64::from(j) / 10.0,
            );
            if scene.contains(*truth * p) {
                worst = worst.max((*found * p).distance(*truth * p));
            }
        }
    }
    worst
}

/// Matched rightly, refused, or wrong.
fn trial(scene: &Scene, truth: &Transform, seed: u64) -> Option<Result<StarMatch, StarMatch>> {
    let (reference, frame) = scene.lists(truth, seed);
    let found = match_stars(&reference, &frame, &MatchParams::default()).ok()?;
    let limit = 1.0 + 2.0 * scene.distortion_px + 3.0 * scene.noise_px;
    let is_right = error_px(scene, &found.ref_from_frame, truth) < limit
        && found.mirrored == (truth.determinant() < 0.0);
    Some(if is_right { Ok(found) } else { Err(found) })
}

#[test]
fn ninety_nine_of_a_hundred_are_found_and_none_is_wrong() {
    let mut rng = Rng::new(5, 0, 0);
    let (mut right, mut trials) = (0, 0);
    for seed in 0..400 {
        let scene = Scene { stars: [60, 150, 300, 900][seed as usize % 4], ..SCENE };
        let half_turn = seed % 5 == 0;
        let angle = if half_turn { std::f64::consts::PI } else { rng.range(-3.1, 3.1) };
        let overlap = rng.range(0.3, 1.0);
        let truth = scene.transform(
            rng.range(0.834, 1.2),
            angle,
            seed % 3 == 0,
            overlap,
            rng.range(0.0, 6.2),
        );
        trials += 1;
        match trial(&scene, &truth, seed) {
            Some(Ok(_)) => right += 1,
            Some(Err(wrong)) => panic!("seed {seed}: wrong transform {wrong:?}, truth {truth:?}"),
            None => println!("seed {seed}: refused, {} stars, overlap {overlap:.2}", scene.stars),
        }
    }
    assert!(right * 100 >= trials * 99, "{right} of {trials}");
}

#[test]
fn unrelated_lists_are_refused() {
    for seed in 0..200 {
        let scene = Scene {
            stars: [4, 5, 6, 8, 12, 20, 60, 300][seed as usize % 8],
            spurious: 0.0,
            ..SCENE
        };
        let (reference, _) = scene.lists(&Transform::IDENTITY, seed);
        let (_, frame) = scene.lists(&Transform::IDENTITY, seed + 10_000);
        let result = match_stars(&reference, &frame, &MatchParams::default());
        assert!(result.is_err(), "seed {seed}: {result:?}");
    }
}

#[test]
fn sparse_fields_match_when_five_stars_and_half_of_all_are_common() {
    for (stars, spurious) in [(8, 0.0), (12, 0.3), (20, 0.3)] {
        let mut rng = Rng::new(6, stars as u64, 0);
        let mut asked = 0;
        for seed in 0..200 {
            // A turned rectangle covers the other only in part, a turned square most of it.
            let scene = Scene {
                size: Vec2::new(1500.0, 1500.0),
                stars,
                spurious,
                noise_px: 0.1,
                distortion_px: 0.5,
            };
            let angle = rng.range(-3.1, 3.1);
            let truth = scene.transform(1.0, angle, seed % 2 == 0, 0.97, 1.0);
            let (reference, frame) = scene.lists(&truth, seed);
            let is_common = |s: &&MatchStar| {
                reference.iter().any(|r| r.position.distance(truth * s.position) < 2.0)
            };
            let common = frame.iter().filter(is_common).count();
            let found = trial(&scene, &truth, seed);
            assert!(!matches!(found, Some(Err(_))), "{stars} stars, seed {seed}: {found:?}");
            if common >= 5 && 2 * common >= frame.len().max(reference.len()) {
                asked += 1;
                assert!(found.is_some(), "{stars} stars, {common} common, seed {seed}: refused");
            }
        }
        assert!(asked > 50, "{asked}");
    }
}

#[test]
fn four_stars_are_enough() {
    let places = [(100.0, 120.0), (900.0, 300.0), (420.0, 800.0), (700.0, 640.0)];
    let star = |p: Point| MatchStar { position: p, sigma_px: 0.1, flux: 1.0 };
    let frame: Vec<MatchStar> = places.iter().map(|&(x, y)| star(Point::new(x, y))).collect();
    let truth = Transform::similarity(1.1, 2.5, Vec2::new(1500.0, 40.0));
    let reference: Vec<MatchStar> = frame.iter().map(|s| star(truth * s.position)).collect();
    let found = match_stars(&reference, &frame, &MatchParams::default()).unwrap();
    assert_eq!(found.pairs, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(found.model, Model::Similarity);
    assert!(found.rms_px < 1e-6);
    let few = match_stars(&reference[..3], &frame, &MatchParams::default());
    assert_eq!(few, Err(MatchError::TooFewStars { list: "reference", found: 3, needed: 4 }));
}

#[test]
fn a_shallow_frame_matches_a_deep_reference() {
    // The frame sees only the brightest stars, which are no neighbours in the reference.
    for seed in 0..30 {
        let scene = Scene { stars: 600, spurious: 0.0, distortion_px: 0.5, ..SCENE };
        let truth = scene.transform(1.0, 0.3, false, 0.9, 1.0);
        let (reference, mut frame) = scene.lists(&truth, seed);
        frame.sort_by(|a, b| b.flux.total_cmp(&a.flux));
        frame.truncate(15);
        let found = match_stars(&reference, &frame, &MatchParams::default()).unwrap();
        assert!(error_px(&scene, &found.ref_from_frame, &truth) < 3.0, "seed {seed}");
    }
}

#[test]
fn a_crowded_cluster_matches() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed, 3, 0);
        let truth = Transform::similarity(0.9, 1.0 + 0.2 * seed as f64, Vec2::new(900.0, 100.0));
        let frame: Vec<MatchStar> = (0..1500)
            .map(|_| MatchStar {
                position: Point::new(950.0 + 150.0 * rng.normal(), 550.0 + 150.0 * rng.normal()),
                sigma_px: 0.3,
                flux: rng.exponential() as f32,
            })
            .collect();
        let mut reference: Vec<MatchStar> = Vec::new();
        for s in &frame {
            if rng.uniform() < 0.7 {
                let e = Vec2::new(rng.normal(), rng.normal()) * 0.3;
                let flux = s.flux * (1.0 + 0.2 * rng.normal()) as f32;
                reference.push(MatchStar { position: truth * s.position + e, sigma_px: 0.3, flux });
            }
        }
        let found = match_stars(&reference, &frame, &MatchParams::default()).unwrap();
        assert!(
            (found.ref_from_frame * Point::new(950.0, 550.0))
                .distance(truth * Point::new(950.0, 550.0))
                < 0.1
        );
        assert!(found.pairs.len() > 900, "{}", found.pairs.len());
    }
}

#[test]
fn the_model_is_the_simplest_that_fits() {
    let scene = Scene { distortion_px: 0.0, spurious: 0.1, noise_px: 0.1, ..SCENE };
    let similarity = Transform::similarity(1.01, 0.2, Vec2::new(150.0, -40.0));
    let affine = similarity * Transform::affine(1.002, 0.001, 0.0, -0.0005, 0.999, 0.0);
    let mut homography = affine;
    homography.m[2] = [3e-6, -2e-6, 1.0];
    for (truth, model) in
        [(similarity, Model::Similarity), (affine, Model::Affine), (homography, Model::Homography)]
    {
        for seed in 0..20 {
            let found = trial(&scene, &truth, seed).unwrap().unwrap();
            assert_eq!(found.model, model, "seed {seed}");
            let error = error_px(&scene, &found.ref_from_frame, &truth);
            assert!(error < 0.12, "{model:?} {error}");
        }
    }
}

#[test]
fn a_narrow_overlap_is_not_extrapolated_by_a_rich_model() {
    let scene = Scene { distortion_px: 2.0, ..SCENE };
    for seed in 0..20 {
        let truth = scene.transform(1.0, 0.02, false, 0.5, 0.0);
        let found = trial(&scene, &truth, seed).unwrap().unwrap();
        let far = Point::new(1900.0, 1100.0);
        assert!(found.model <= Model::Affine);
        assert!((found.ref_from_frame * far).distance(truth * far) < 12.0, "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn order_of_the_lists_does_not_matter(seed in 0u64..1000, angle in -3.0f64..3.0) {
        let scene = Scene { stars: 100, ..SCENE };
        let truth = scene.transform(1.05, angle, false, 0.8, angle);
        let (reference, frame) = scene.lists(&truth, seed);
        let found = match_stars(&reference, &frame, &MatchParams::default()).unwrap();
        let reversed: Vec<MatchStar> = frame.iter().rev().copied().collect();
        let again = match_stars(&reference, &reversed, &MatchParams::default()).unwrap();
        let last = frame.len() as u32 - 1;
        let pairs: Vec<(u32, u32)> = again.pairs.iter().map(|&(r, f)| (r, last - f)).collect();
        prop_assert_eq!(found.pairs, pairs);
    }
}

#[test]
fn odd_input_is_answered() {
    let star = |x: f64, y: f64| MatchStar { position: Point::new(x, y), sigma_px: 0.0, flux: 1.0 };
    let line: Vec<MatchStar> = (0..9).map(|i| star(f64::from(i * i), 5.0)).collect();
    let same = vec![star(7.0, 7.0); 9];
    let mut lost: Vec<MatchStar> = (0..9).map(|i| star(f64::from(i * i), f64::from(i))).collect();
    lost[3].position.x = f64::NAN;
    lost[4].flux = f32::NAN;
    lost[5].sigma_px = f32::NAN;
    for a in [&line, &same, &lost] {
        for b in [&line, &same, &lost, &Vec::new()] {
            let _ = match_stars(a, b, &MatchParams::default());
        }
    }
}
