//! Laws of the star list, on simulated fields.

use stillframe_image::{Image, Point, Rng, Shape, mask, math};

use super::{Star, StarParams, StarScratch, detect, flag};
use crate::ops::background::{Background, BackgroundParams, BackgroundScratch};
use crate::ops::simulated::Model;

const SKY: f64 = 400.0;
const NOISE: f64 = 20.0;

fn noise_only(shape: Shape, seed: u64) -> Image<f32> {
    noisy(&Image::filled(shape, SKY as f32), seed)
}

fn noisy(clean: &Image<f32>, seed: u64) -> Image<f32> {
    let mut rng = Rng::new(seed, 77, 0);
    clean.map(|v| v + (NOISE * rng.normal()) as f32)
}

/// Stars of one flux at random places of a coarse grid, without noise.
fn clean_field(shape: Shape, pitch: usize, model: Model, flux: f64) -> (Image<f32>, Vec<Point>) {
    let mut rng = Rng::new(1, 78, 0);
    let mut image = Image::filled(shape, SKY as f32);
    let mut truth = Vec::new();
    for y in (pitch / 2..shape.height - pitch / 3).step_by(pitch) {
        for x in (pitch / 2..shape.width - pitch / 3).step_by(pitch) {
            let at = Point::new(x as f64 + rng.uniform(), y as f64 + rng.uniform());
            model.add(&mut image, at, flux);
            truth.push(at);
        }
    }
    (image, truth)
}

fn field(
    shape: Shape,
    pitch: usize,
    model: Model,
    flux: f64,
    seed: u64,
) -> (Image<f32>, Vec<Point>) {
    let (clean, truth) = clean_field(shape, pitch, model, flux);
    (noisy(&clean, seed), truth)
}

fn run(image: &Image<f32>, bits: &Image<u8>, params: &StarParams) -> Vec<Star> {
    let mut scratch = BackgroundScratch::default();
    let background =
        Background::fit(image, bits, &BackgroundParams::default(), &mut scratch).unwrap();
    detect(image, bits, &background, params, &mut StarScratch::default())
}

fn stars_of(image: &Image<f32>) -> Vec<Star> {
    run(image, &Image::filled(image.shape(), 0), &StarParams::default())
}

fn median(mut values: Vec<f64>) -> f64 {
    crate::ops::stats::median_f64(&mut values).unwrap()
}

fn nearest(stars: &[Star], at: Point) -> Option<&Star> {
    let near = stars.iter().filter(|s| s.position.distance(at) < 1.5);
    near.min_by(|a, b| a.position.distance(at).total_cmp(&b.position.distance(at)))
}

#[test]
fn fwhm_is_that_of_the_profile() {
    let shape = Shape::new(400, 400);
    for beta in [2.5, 3.2, 4.5, 99.0] {
        for fwhm in [2.0, 2.5, 3.0, 4.0, 5.0] {
            let model = Model::round(fwhm, beta);
            let (image, truth) = field(shape, 50, model, 40_000.0, 3);
            let stars = stars_of(&image);
            assert!(stars.len() >= truth.len(), "β {beta} FWHM {fwhm}: {}", stars.len());
            let got = median(stars[..truth.len()].iter().map(|s| f64::from(s.fwhm_px)).collect());
            assert!((got / fwhm - 1.0).abs() < 0.03, "β {beta} FWHM {fwhm}: {got}");
            let round = median(stars[..64].iter().map(|s| f64::from(s.roundness)).collect());
            assert!(round > 0.97, "β {beta} FWHM {fwhm}: {round}");
        }
    }
}

#[test]
fn residuals_of_positions_and_fluxes_are_as_large_as_claimed() {
    let shape = Shape::new(480, 480);
    for fwhm in [2.2, 3.0, 4.5] {
        for snr in [10.0, 30.0, 100.0, 300.0] {
            let model = Model::round(fwhm, 3.2);
            // the noise under a matched filter of this width is about 1.7 · FWHM pixels' worth
            let (clean, truth) = clean_field(shape, 60, model, snr * NOISE * 1.7 * fwhm);
            let (mut squares, mut flux_squares, mut n) = (0.0, 0.0, 0.0);
            for seed in 0..6 {
                let stars = stars_of(&noisy(&clean, seed));
                let found: Vec<(&Star, Point)> = truth
                    .iter()
                    .filter_map(|&t| Some((nearest(&stars, t).filter(|s| s.is_clean())?, t)))
                    .collect();
                assert!(found.len() * 100 >= truth.len() * 90, "{fwhm} {snr} {}", found.len());
                let mean = median(found.iter().map(|(s, _)| f64::from(s.flux)).collect());
                for (star, at) in found {
                    let (d, s) = (star.position - at, f64::from(star.position_sigma_px));
                    squares += d.norm_squared() / (2.0 * s * s);
                    flux_squares +=
                        ((f64::from(star.flux) - mean) / f64::from(star.flux_sigma)).powi(2);
                    n += 1.0;
                }
            }
            let (rms, flux_rms) = ((squares / n).sqrt(), (flux_squares / n).sqrt());
            assert!((rms - 1.0).abs() < 0.2, "FWHM {fwhm} SNR {snr}: {rms}");
            assert!((flux_rms - 1.0).abs() < 0.2, "FWHM {fwhm} SNR {snr}: flux {flux_rms}");
        }
    }
}

#[test]
fn flux_share_does_not_depend_on_brightness_or_seeing() {
    let shape = Shape::new(400, 400);
    let mut shares = Vec::new();
    for fwhm in [2.2, 3.0, 4.5] {
        for flux in [6_000.0, 60_000.0, 600_000.0] {
            let (image, truth) = field(shape, 57, Model::round(fwhm, 3.2), flux, 9);
            let stars = stars_of(&image);
            let fluxes = truth.iter().filter_map(|&t| Some(f64::from(nearest(&stars, t)?.flux)));
            shares.push(median(fluxes.collect()) / flux);
        }
    }
    assert!(shares.iter().all(|s| (s / 0.92 - 1.0).abs() < 0.02), "{shares:?}");
}

#[test]
fn elongation_and_its_direction_are_measured() {
    for angle_rad in [-1.2, 0.0, 0.5, 1.4] {
        let model = Model { fwhm: 3.2, beta: 3.2, elongation: 1.3, angle_rad };
        let (image, truth) = field(Shape::new(400, 400), 50, model, 60_000.0, 5);
        let stars = stars_of(&image);
        assert!(stars.len() >= truth.len());
        let round = median(stars[..64].iter().map(|s| f64::from(s.roundness)).collect());
        assert!((round * 1.3 - 1.0).abs() < 0.05, "{round}");
        let got = median(stars[..64].iter().map(|s| f64::from(s.angle_rad)).collect());
        assert!((got - angle_rad).abs() < 0.05, "{got} {angle_rad}");
    }
}

#[test]
fn the_green_of_a_mosaic_has_the_stars_of_the_sky() {
    use crate::ops::demosaic::{GREEN_PLANE_VARIANCE, green_plane};
    let params = StarParams { blur_variance_px2: GREEN_PLANE_VARIANCE, ..StarParams::default() };
    for fwhm in [2.5, 3.0, 4.0] {
        let model = Model::round(fwhm, 3.2);
        let (mosaic, truth) = field(Shape::new(400, 400), 50, model, 12_000.0 * fwhm, 4);
        let mut green = Image::filled(mosaic.shape(), 0.0);
        green_plane(&mosaic, stillframe_image::CfaPattern::Grbg, &mut green);
        let stars = run(&green, &Image::filled(mosaic.shape(), 0), &params);
        let mut squares = Vec::new();
        for &at in &truth {
            let star = nearest(&stars, at).expect("a bright star is found");
            let (d, s) = (star.position - at, f64::from(star.position_sigma_px));
            squares.push(d.norm_squared() / (2.0 * s * s));
        }
        let got = median(stars.iter().map(|s| f64::from(s.fwhm_px)).collect());
        assert!((got / fwhm - 1.0).abs() < 0.04, "{fwhm}: {got}");
        let rms = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        assert!((rms - 1.0).abs() < 0.25, "{fwhm}: {rms}");
    }
}

#[test]
fn noise_has_no_stars() {
    let stars = stars_of(&noise_only(Shape::new(1000, 1000), 4));
    assert!(stars.len() <= 2, "{}", stars.len());
}

#[test]
fn correlated_noise_has_no_stars() {
    let shape = Shape::new(800, 800);
    let white = noise_only(shape, 6);
    let image = Image::from_fn(shape, |x, y| {
        let (l, u) = (x.saturating_sub(1), y.saturating_sub(1));
        0.25 * (white.at(x, y) + white.at(l, y) + white.at(x, u) + white.at(l, u))
    });
    let stars = stars_of(&image);
    assert!(stars.len() <= 2, "{}", stars.len());
}

#[test]
fn cosmic_rays_hot_pixels_and_trails_are_not_stars() {
    let (mut image, truth) = field(Shape::new(600, 600), 60, Model::round(2.6, 3.2), 20_000.0, 2);
    let mut rng = Rng::new(1, 5, 0);
    for k in 0..120 {
        let (x, y) = (rng.below(580) + 10, rng.below(580) + 10);
        if truth.iter().any(|t| t.distance(Point::new(x as f64, y as f64)) < 15.0) {
            continue;
        }
        let value = rng.range(400.0, 9000.0) as f32;
        image.set(x, y, image.at(x, y) + value);
        if k % 2 == 0 {
            image.set(x + 1, y, image.at(x + 1, y) + 0.9 * value);
        }
    }
    // a trail 1.5 px wide, from (0, 29) to (600, 329): between the rows of stars
    for x in 0..600 {
        for y in 0..600 {
            let d = (y as f64 - 29.0 - 0.5 * x as f64) / 1.25f64.sqrt();
            let v = 400.0 * math::exp(-0.5 * (d / 1.5) * (d / 1.5));
            image.set(x, y, image.at(x, y) + v as f32);
        }
    }
    let stars = stars_of(&image);
    let on_trail = |p: Point| (p.y - 29.0 - 0.5 * p.x).abs() < 12.0;
    let clear: Vec<Point> = truth.iter().copied().filter(|&t| !on_trail(t)).collect();
    let found = clear.iter().filter(|&&t| nearest(&stars, t).is_some()).count();
    assert!(found * 100 >= clear.len() * 99, "{found} of {}", clear.len());
    let false_ones =
        stars.iter().filter(|s| truth.iter().all(|t| t.distance(s.position) > 1.5)).count();
    assert!(false_ones <= 3, "{false_ones} false stars");
}

#[test]
fn what_is_special_about_a_star_is_flagged() {
    let shape = Shape::new(300, 300);
    let mut image = noise_only(shape, 8);
    let mut bits = Image::filled(shape, 0u8);
    let model = Model::round(3.0, 3.2);
    let mut rng = Rng::new(2, 5, 0);
    for k in 0..36 {
        let at = Point::new(
            f64::from(k % 6) * 50.0 + 25.0 + rng.uniform(),
            f64::from(k / 6) * 50.0 + 25.0 + rng.uniform(),
        );
        model.add(&mut image, at, 30_000.0);
    }
    let places = [(50.0, 50.0), (100.0, 50.0), (150.0, 50.0), (200.0, 50.0)];
    for (x, y) in places {
        model.add(&mut image, Point::new(x, y), 50_000.0);
    }
    bits.set(50, 50, mask::SATURATED);
    bits.set(101, 51, mask::HOT);
    bits.row_mut(53)[148..152].fill(mask::NO_DATA);
    model.add(&mut image, Point::new(204.5, 50.5), 20_000.0);
    Model::round(6.0, 3.2).add(&mut image, Point::new(50.0, 100.0), 100_000.0);
    model.add(&mut image, Point::new(2.0, 150.0), 50_000.0);
    let stars = run(&image, &bits, &StarParams::default());
    let flags = |x: f64, y: f64| nearest(&stars, Point::new(x, y)).map(|s| s.flags);
    assert_eq!(flags(50.0, 50.0), Some(flag::SATURATED));
    assert_eq!(flags(100.0, 50.0), Some(flag::DEFECT));
    assert_eq!(flags(150.0, 50.0), Some(flag::EDGE));
    assert_eq!(flags(200.0, 50.0), Some(flag::BLENDED));
    assert_eq!(flags(50.0, 100.0), Some(flag::EXTENDED));
    assert_eq!(flags(2.0, 150.0), Some(flag::EDGE));
    assert!(stars.iter().filter(|s| s.is_clean()).count() >= 34);
}

#[test]
fn every_region_is_served_before_any_gets_a_second_helping() {
    let shape = Shape::new(400, 800);
    let (mut image, _) = field(shape, 40, Model::round(3.0, 3.2), 6_000.0, 1);
    let mut rng = Rng::new(3, 5, 0);
    for _ in 0..60 {
        let at = Point::new(rng.range(10.0, 150.0), rng.range(10.0, 150.0));
        Model::round(3.0, 3.2).add(&mut image, at, 50_000.0);
    }
    let bits = Image::filled(shape, 0);
    let stars = run(&image, &bits, &StarParams { max_stars: 64, ..StarParams::default() });
    assert_eq!(stars.len(), 64);
    assert!(stars.windows(2).all(|w| w[0].flux >= w[1].flux));
    let crowded = stars.iter().filter(|s| s.position.x < 160.0 && s.position.y < 160.0).count();
    assert!(crowded < 16, "{crowded} of 64 in 8 % of the frame");
}

#[test]
fn wide_and_narrow_stars_are_found_by_a_filter_of_their_own() {
    for (fwhm, flux) in [(8.0, 9_000.0), (1.5, 2_000.0)] {
        let (image, truth) = field(Shape::new(500, 500), 80, Model::round(fwhm, 3.2), flux, 1);
        let stars = stars_of(&image);
        let found = truth.iter().filter(|&&t| nearest(&stars, t).is_some()).count();
        assert!(found * 100 >= truth.len() * 95, "FWHM {fwhm}: {found} of {}", truth.len());
        let width = median(stars.iter().map(|s| f64::from(s.fwhm_px)).collect());
        assert!((width / fwhm - 1.0).abs() < 0.1, "FWHM {fwhm}: {width}");
    }
}

#[test]
fn frames_without_room_give_no_stars() {
    for (h, w) in [(1, 1), (2, 50), (50, 2), (12, 12)] {
        assert!(stars_of(&Image::filled(Shape::new(h, w), 5.0)).is_empty());
    }
}

#[test]
fn scratch_of_another_frame_changes_nothing() {
    let small = field(Shape::new(150, 130), 50, Model::round(4.5, 3.2), 30_000.0, 1).0;
    let large = field(Shape::new(200, 300), 50, Model::round(2.5, 3.2), 30_000.0, 2).0;
    let mut scratch = StarScratch::default();
    let mut background_scratch = BackgroundScratch::default();
    for image in [&small, &large, &small] {
        let bits = Image::filled(image.shape(), 0);
        let params = BackgroundParams::default();
        let b = Background::fit(image, &bits, &params, &mut background_scratch).unwrap();
        let got = detect(image, &bits, &b, &StarParams::default(), &mut scratch);
        assert_eq!(got, stars_of(image));
        assert!(!got.is_empty());
    }
}
