use stillframe_image::{CfaPattern, Colour, Point, math};

use super::*;
use crate::simulate::DetectorKind;

/// A few bright stars on an even, known sky.
fn sparse() -> BurstOptions {
    BurstOptions {
        width: 400,
        height: 300,
        stars_per_mpx: 60.0,
        faintest_star_e: 2e4,
        nebula_e: 0.0,
        galaxies_per_mpx: 0.0,
        trail_probability: 0.0,
        distortion_px: 1.0,
        rotation_deg_per_frame: 3.0,
        detector: DetectorKind::Ideal,
        ..BurstOptions::default()
    }
}

/// Positions of the stars that are alone within `clear` pixels and that far inside the frame.
fn lonely(burst: &SimulatedBurst, truth: &FrameTruth, clear: f64) -> Vec<(Star, Point)> {
    let stars = burst.truth().stars;
    let seen: Vec<(Star, Point)> =
        stars.iter().map(|s| (*s, truth.frame_position(s.position))).collect();
    let (w, h) = (burst.options.width as f64, burst.options.height as f64);
    let inside = |p: Point| p.x > clear && p.y > clear && p.x < w - clear && p.y < h - clear;
    let alone = |p: Point| seen.iter().filter(|(_, q)| q.distance(p) < 2.0 * clear).count() == 1;
    seen.iter().filter(|(_, p)| inside(*p) && alone(*p)).copied().collect()
}

/// Flux and centre of light within `radius` of `near`.
fn measure(image: &Image<f32>, near: Point, radius: f64) -> (f64, Point) {
    let (mut sum, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
    for y in 0..image.height() {
        for (x, &v) in image.row(y).iter().enumerate() {
            let p = Point::new(x as f64, y as f64);
            if p.distance(near) < radius {
                sum += f64::from(v);
                x_sum += f64::from(v) * p.x;
                y_sum += f64::from(v) * p.y;
            }
        }
    }
    (sum, Point::new(x_sum / sum, y_sum / sum))
}

#[test]
fn stars_are_where_and_as_bright_as_the_truth_says() {
    let burst = SimulatedBurst::new(sparse()).unwrap();
    let mut found = 0;
    for index in [0, 5, 31] {
        let truth = burst.frame_truth(index);
        let mut light = burst.expected_light(&truth);
        let shape = light.shape();
        for y in 0..shape.height {
            for (x, v) in light.row_mut(y).iter_mut().enumerate() {
                *v -= truth.sky.at(Point::new(x as f64, y as f64), shape) as f32;
            }
        }
        for (star, p) in lonely(&burst, &truth, 25.0) {
            let (flux, centre) = measure(&light, p, 24.0);
            assert!(centre.distance(p) < 0.05, "{p:?} {centre:?}");
            let want = star.flux_e * truth.transparency;
            assert!((flux / want - 1.0).abs() < 0.01, "{flux} {want}");
            found += 1;
        }
    }
    assert!(found > 10, "{found}");
}

#[test]
fn the_nebula_moves_with_the_stars() {
    let options = BurstOptions {
        stars_per_mpx: 0.0,
        nebula_e: 2000.0,
        distortion_px: 2.0,
        sky_gradient: 0.0,
        sky_e: 0.0,
        cloud_loss: 0.0,
        ..sparse()
    };
    let burst = SimulatedBurst::new(options).unwrap();
    let (first, later) = (burst.frame_truth(0), burst.frame_truth(9));
    let (a, b) = (burst.expected_light(&first), burst.expected_light(&later));
    let at = |image: &Image<f32>, p: Point| -> Option<f64> {
        let (x, y) = (p.x.floor(), p.y.floor());
        if x < 0.0 || y < 0.0 || x > 398.0 || y > 298.0 {
            return None;
        }
        let (u, v, x, y) = (p.x - x, p.y - y, x as usize, y as usize);
        let mix = |a: f32, b: f32, t: f64| f64::from(a) * (1.0 - t) + f64::from(b) * t;
        let top = mix(image.at(x, y), image.at(x + 1, y), u);
        let bottom = mix(image.at(x, y + 1), image.at(x + 1, y + 1), u);
        Some(top * (1.0 - v) + bottom * v)
    };
    let (mut compared, mut largest) = (0, 0.0f64);
    for y in (20..280).step_by(9) {
        for x in (20..380).step_by(9) {
            let p = Point::new(f64::from(x), f64::from(y));
            let scene = first.scene_position(p);
            let Some(other) = at(&b, later.frame_position(scene)) else { continue };
            let here = f64::from(a.at(x as usize, y as usize));
            largest = largest.max(here);
            assert!((here - other).abs() < 0.02 * here + 1.0, "{p:?}: {here} {other}");
            compared += 1;
        }
    }
    assert!(compared > 300 && largest > 100.0, "{compared} {largest}");
}

#[test]
fn galaxies_are_where_the_truth_says() {
    let options = BurstOptions {
        stars_per_mpx: 0.0,
        galaxies_per_mpx: 20.0,
        sky_gradient: 0.0,
        cloud_loss: 0.0,
        ..sparse()
    };
    let burst = SimulatedBurst::new(options).unwrap();
    let mut found = 0;
    for index in [0, 40] {
        let truth = burst.frame_truth(index);
        let mut light = burst.expected_light(&truth);
        let sky = truth.sky.level_e as f32;
        light.pixels_mut().iter_mut().for_each(|v| *v -= sky);
        for galaxy in burst.truth().galaxies {
            let p = truth.frame_position(galaxy.position);
            if p.x < 10.0 || p.y < 10.0 || p.x > 390.0 || p.y > 290.0 {
                continue;
            }
            let brightest = (0..49)
                .map(|i| (p.x.round() as usize + i % 7 - 3, p.y.round() as usize + i / 7 - 3))
                .max_by(|a, b| light.at(a.0, a.1).total_cmp(&light.at(b.0, b.1)))
                .unwrap();
            let at = Point::new(brightest.0 as f64, brightest.1 as f64);
            assert!(at.distance(p) < 1.5, "{p:?} {at:?}");
            let peak = f64::from(light.at(brightest.0, brightest.1));
            assert!(peak > 0.85 * galaxy.peak_e, "{peak} {galaxy:?}");
            found += 1;
        }
    }
    assert!(found > 2, "{found}");
}

#[test]
fn every_mosaic_samples_the_same_colours() {
    let frames: Vec<Image<f32>> = CfaPattern::ALL
        .iter()
        .map(|&cfa| {
            let options = BurstOptions { bayer: Some(cfa), ..sparse() };
            let burst = SimulatedBurst::new(options).unwrap();
            burst.expected_light(&burst.frame_truth(2))
        })
        .collect();
    // Two patterns that show the same colour at a pixel show the same light there.
    for (a, first) in CfaPattern::ALL.iter().zip(&frames) {
        for (b, second) in CfaPattern::ALL.iter().zip(&frames) {
            for y in 0..300 {
                for x in 0..400 {
                    if a.colour_at(x, y) == b.colour_at(x, y) {
                        assert_eq!(first.at(x, y), second.at(x, y));
                    }
                }
            }
        }
    }
}

#[test]
fn stars_have_their_colours_in_every_pattern() {
    for cfa in CfaPattern::ALL {
        let options = BurstOptions { bayer: Some(cfa), sky_e: 0.0, ..sparse() };
        let burst = SimulatedBurst::new(options).unwrap();
        let truth = burst.frame_truth(4);
        let light = burst.expected_light(&truth);
        let stars = lonely(&burst, &truth, 25.0);
        assert!(!stars.is_empty());
        for (star, p) in stars {
            for colour in Colour::ALL {
                let mut plane = light.clone();
                for y in 0..300 {
                    for (x, v) in plane.row_mut(y).iter_mut().enumerate() {
                        if cfa.colour_at(x, y) != colour {
                            *v = 0.0;
                        }
                    }
                }
                let samples_per_pixel = if colour == Colour::Green { 0.5 } else { 0.25 };
                let flux = measure(&plane, p, 24.0).0 / samples_per_pixel;
                let want = star.flux_in(colour) * truth.transparency;
                assert!((flux / want - 1.0).abs() < 0.03, "{cfa:?} {colour:?} {flux} {want}");
            }
        }
    }
}

#[test]
fn a_frame_is_the_same_whatever_the_burst() {
    let options = BurstOptions { width: 160, height: 120, ..BurstOptions::default() };
    let long = SimulatedBurst::new(BurstOptions { frames: 1000, ..options.clone() }).unwrap();
    let short = SimulatedBurst::new(BurstOptions { frames: 8, ..options.clone() }).unwrap();
    let other = SimulatedBurst::new(BurstOptions { seed: 2, ..options }).unwrap();
    assert_eq!(long.light(7), short.light(7));
    assert_eq!(long.truth().frames[7], short.frame_truth(7));
    assert_ne!(short.light(7), short.light(6));
    assert_ne!(short.light(7).image, other.light(7).image);
}

#[test]
fn trails_and_cosmics_are_where_the_truth_says() {
    let options = BurstOptions {
        trail_probability: 1.0,
        cosmics_per_mpx: 100.0,
        stars_per_mpx: 0.0,
        cloud_loss: 0.0,
        ..sparse()
    };
    let burst = SimulatedBurst::new(options).unwrap();
    for index in 0..4 {
        let truth = burst.frame_truth(index);
        let trail = truth.trail.unwrap();
        let light = burst.expected_light(&truth);
        let (x, y) = (trail.through.x.round(), trail.through.y.round());
        let d = (x - trail.through.x) * math::sin(trail.angle_rad)
            - (y - trail.through.y) * math::cos(trail.angle_rad);
        let want = trail.peak_e * math::exp(-0.5 * d * d / (trail.sigma_px * trail.sigma_px))
            + truth.sky.at(Point::new(x, y), light.shape());
        let got = f64::from(light.at(x as usize, y as usize));
        assert!((got / want - 1.0).abs() < 1e-3, "{got} {want}");

        let frame = burst.light(index).image;
        for cosmic in &truth.cosmics {
            let (x, y) = (cosmic.from.x.round() as usize, cosmic.from.y.round() as usize);
            let adu = f64::from(frame.at(x, y)) - 200.0;
            let excess = adu * 0.8 - f64::from(light.at(x, y));
            let noise = (f64::from(light.at(x, y)) + 3.0).sqrt();
            let steps = (2.0 * cosmic.length_px).ceil();
            assert!(excess > cosmic.charge_e / steps - 6.0 * noise, "{excess} {cosmic:?}");
        }
        assert!(!truth.cosmics.is_empty());
    }
}

#[test]
fn the_truth_survives_json() {
    let options = BurstOptions { frames: 2, width: 64, height: 64, ..BurstOptions::default() };
    let truth = SimulatedBurst::new(options).unwrap().truth();
    let text = serde_json::to_string(&truth).unwrap();
    assert_eq!(serde_json::from_str::<BurstTruth>(&text).unwrap(), truth);
}

/// The bits of a frame: a change of any of them is a change of the simulator.
#[test]
fn the_bits_of_a_frame_are_known() {
    use sha2::{Digest, Sha256};
    let options = BurstOptions {
        width: 96,
        height: 64,
        bayer: Some(CfaPattern::Grbg),
        trail_probability: 1.0,
        ..BurstOptions::default()
    };
    let image = SimulatedBurst::new(options).unwrap().light(3).image;
    let bytes: Vec<u8> = image.pixels().iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(
        format!("{:x}", Sha256::digest(bytes)),
        "b370afb1611574fbc0e062d7ff148f6e83bcba42ea127883a12691891e5ad7f9"
    );
}
