//! The result against the simulator's truth: sharp, in place, in proportion, without seams.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod night;

use night::{
    Night, Stacked, aperture, calm, median, nearest, read_frame, result_of, rms, small, stack_all,
    stars_of, write_frame,
};
use stillframe_engine::image::{Image, Point, Shape, Transform};
use stillframe_engine::recipe::{FieldMethod, GaugeMethod, HotPixels};
use stillframe_engine::simulate::{BurstOptions, FrameTruth};
use stillframe_engine::stack::{StackJob, StackOutcome};

/// A calm night with stars that stand alone and well above the noise.
fn bright(frames: usize) -> BurstOptions {
    BurstOptions { stars_per_mpx: 2500.0, faintest_star_e: 1500.0, ..calm(frames) }
}

/// Scene stars of middling brightness: no neighbour spoils them, none saturates.
fn targets(night: &Night, range: std::ops::Range<f64>) -> Vec<Point> {
    let stars = night.burst.truth().stars;
    let is_alone = |k: usize| {
        let s = &stars[k];
        // Neighbours count from a fiftieth of its flux.
        stars.iter().enumerate().all(|(j, other)| {
            j == k || other.flux_e < 0.02 * s.flux_e || other.position.distance(s.position) > 12.0
        })
    };
    let wanted = (0..stars.len()).filter(|&k| range.contains(&stars[k].flux_e) && is_alone(k));
    wanted.map(|k| stars[k].position).collect()
}

/// Where the burst as a whole sees the scene point `p`, in reference pixels: the mean over the
/// frames of where each sees it, brought over by the frame's transform.
fn mean_place(night: &Night, outcome: &StackOutcome, p: Point) -> Point {
    let frames = &outcome.report.frames;
    let (mut x, mut y) = (0.0, 0.0);
    for frame in frames {
        let m = frame.geometry.as_ref().unwrap().ref_from_frame;
        let truth: FrameTruth = night.burst.frame_truth(frame.index);
        let at = Transform { m } * truth.frame_position(p);
        x += at.x / frames.len() as f64;
        y += at.y / frames.len() as f64;
    }
    Point::new(x, y)
}

/// Distances of the result's stars from the mean geometry, along each axis.
fn astrometry(night: &Night, outcome: &StackOutcome, stacked: &Stacked) -> Vec<f64> {
    // At the border the mean of the frames that see a star is another.
    let is_in_all = |p: &Point| {
        let q = outcome.report.frames.iter().map(|f| night.burst.frame_truth(f.index));
        let (w, h) = (310.0, 230.0);
        q.map(|f| f.frame_position(*p)).all(|q| q.x > 10.0 && q.y > 10.0 && q.x < w && q.y < h)
    };
    let mut targets = targets(night, 3e3..2e5);
    targets.retain(is_in_all);
    let places: Vec<Point> = targets.iter().map(|p| mean_place(night, outcome, *p)).collect();
    let found = nearest(&stars_of(stacked.mono()), &places, 1.5);
    let mut off = Vec::new();
    for (star, place) in found.iter().zip(&places).filter_map(|(s, p)| Some((s.as_ref()?, p))) {
        off.extend([star.position.x - place.x, star.position.y - place.y]);
    }
    assert!(off.len() >= 30, "only {} coordinates to compare", off.len());
    off
}

fn fwhm_out(outcome: &StackOutcome) -> f64 {
    outcome.report.result.as_ref().unwrap().fwhm_out_px.unwrap()
}

/// With the local field and with the gauge alone.
fn with_and_without_field(night: &Night) -> [(StackOutcome, Stacked); 2] {
    [FieldMethod::Auto, FieldMethod::Off].map(|method| {
        let out = format!("{method:?}");
        result_of(&night.job_with(&out, |recipe| recipe.field.method = method))
    })
}

#[test]
fn the_field_sharpens_and_straightens_what_bends() {
    let bent = BurstOptions { distortion_px: 1.3, distortion_scale_px: 80.0, ..bright(16) };
    let night = Night::new(bent);
    let [(field, with), (gauge, without)] = with_and_without_field(&night);
    let (fine, coarse) = (fwhm_out(&field), fwhm_out(&gauge));
    assert!(fine < 0.95 * coarse, "FWHM {fine:.3} px with the field, {coarse:.3} px without");
    assert!(fine < 3.15, "frames of 3.0 px FWHM gave {fine:.3} px");
    for frame in &field.report.frames {
        let geometry = frame.geometry.as_ref().unwrap();
        let (before, after) = (geometry.residual_rms_px, geometry.field_residual_rms_px.unwrap());
        assert!(after < 0.5 * before, "frame {}: {before:.3} px, {after:.3} px", frame.index);
    }
    // More than 1 px of distortion in each frame, and a result in the mean of all.
    let (fine, coarse) =
        (rms(&astrometry(&night, &field, &with)), rms(&astrometry(&night, &gauge, &without)));
    assert!(fine < 0.1, "{fine:.3} px from the mean geometry; gauge alone: {coarse:.3} px");
}

#[test]
fn the_field_leaves_straight_frames_alone() {
    let night = Night::new(BurstOptions { distortion_px: 0.0, ..bright(16) });
    let [(field, with), (gauge, without)] = with_and_without_field(&night);
    let (fine, coarse) = (fwhm_out(&field), fwhm_out(&gauge));
    assert!((fine / coarse - 1.0).abs() < 0.01, "{fine:.3} px with the field, {coarse:.3} without");
    let (fine, coarse) =
        (rms(&astrometry(&night, &field, &with)), rms(&astrometry(&night, &gauge, &without)));
    assert!(fine < 1.1 * coarse && fine < 0.03, "{fine:.4} px with the field, {coarse:.4} without");
}

/// Found over true flux of the stars at these scene points in a stack of the night; `None` beyond
/// its borders.
fn throughput(night: &Night, stars: &[Point], radius: f64) -> Vec<Option<f64>> {
    let (outcome, stacked) = result_of(&night.job("out"));
    let truth = night.burst.truth().stars;
    let of_star = |p: &Point| {
        let flux_e = truth.iter().find(|s| s.position == *p).unwrap().flux_e;
        let found = aperture(stacked.mono(), mean_place(night, &outcome, *p), radius)?;
        Some(E_PER_ADU * found / flux_e)
    };
    stars.iter().map(of_star).collect()
}

/// The gain of the simulated camera.
const E_PER_ADU: f64 = 0.8;

#[test]
fn more_light_is_as_much_more_flux_whatever_the_sky() {
    let [faint, bright] = [(1500.0, 200.0), (3000.0, 800.0)].map(|(faintest_star_e, sky_e)| {
        Night::new(BurstOptions { faintest_star_e, sky_e, ..bright(12) })
    });
    let stars = targets(&faint, 5e3..2e5);
    let pairs = throughput(&faint, &stars, 7.0).into_iter().zip(throughput(&bright, &stars, 7.0));
    let ratios: Vec<f64> = pairs.filter_map(|(a, b)| Some(b? / a?)).collect();
    assert!(ratios.len() >= 12, "{} stars", ratios.len());
    let ratio = median(ratios);
    assert!((ratio - 1.0).abs() < 0.005, "{ratio}");
}

#[test]
fn sky_and_fluxes_are_those_of_the_scene() {
    let night = Night::new(bright(12));
    let (_, stacked) = result_of(&night.job("sky"));
    let sky = median(stacked.mono().pixels().iter().map(|v| f64::from(*v)).collect());
    let skies: Vec<f64> = (0..12).map(|i| night.burst.frame_truth(i).sky.level_e).collect();
    // 200 ADU of pedestal are in it: there is no bias frame.
    let want = 200.0 + skies.iter().sum::<f64>() / 12.0 / E_PER_ADU;
    assert!((sky - want).abs() < 0.005 * want, "{sky} ADU of sky, {want} in the frames");
    let stars = targets(&night, 5e3..2e5);
    let ratio = median(throughput(&night, &stars, 8.0).into_iter().flatten().collect());
    // The wings of a star reach beyond any aperture.
    assert!((0.93..1.005).contains(&ratio), "{ratio} of the light was found");
}

#[test]
fn clouds_are_measured() {
    let night = Night::new(BurstOptions { cloud_loss: 0.15, ..bright(12) });
    let outcome = stack_all(&night.job("out"));
    let truth: Vec<f64> = (0..12).map(|i| night.burst.frame_truth(i).transparency).collect();
    let mean = truth.iter().sum::<f64>() / 12.0;
    let spread = truth.iter().fold(0.0f64, |a, t| a.max((t / mean - 1.0).abs()));
    assert!(spread > 0.1, "these clouds are no test: {spread}");
    for (frame, truth) in outcome.report.frames.iter().zip(&truth) {
        let found = frame.geometry.as_ref().unwrap().transparency;
        let off = found / (truth / mean) - 1.0;
        assert!(off.abs() < 0.015, "frame {}: {found}, in truth {}", frame.index, truth / mean);
    }
}

/// Writes `frames` over the lights of a night, with the headers that are there.
fn replace_lights(night: &Night, mut frame: impl FnMut(usize, &Image<f32>) -> Image<f32>) {
    for (k, path) in night.files.lights.iter().enumerate() {
        let (image, header) = read_frame(path);
        write_frame(path, &header, &frame(k, &image));
    }
}

#[test]
fn identical_frames_without_noise_give_that_frame() {
    let night =
        Night::new(BurstOptions { dither_px: 0.0, rotation_deg_per_frame: 0.0, ..calm(12) });
    let scene = night.burst.expected_light(&night.burst.frame_truth(0));
    replace_lights(&night, |_, _| scene.map(|v| v + 100.0));
    for (out, method) in [("stars", GaugeMethod::Stars), ("none", GaugeMethod::None)] {
        let (outcome, stacked) = result_of(&night.job_with(out, |recipe| {
            recipe.gauge.method = method;
            recipe.calibration.hot_pixels = HotPixels::Off;
            if method == GaugeMethod::None {
                // Tiles measure shifts of 0.002 px here, which is not nothing on the flank of a star.
                recipe.field.method = FieldMethod::Off;
            }
        }));
        let worst = scene
            .pixels()
            .iter()
            .zip(stacked.mono().pixels())
            .map(|(a, b)| f64::from((b - 100.0 - a).abs() / (a + 100.0)))
            .fold(0.0, f64::max);
        assert!(worst < 1e-4, "gauge {out}: off by {worst:e} of the value");
        assert!(outcome.report.result.as_ref().unwrap().rejected_fraction < 1e-3);
    }
}

#[test]
fn frames_of_one_value_give_that_value_to_the_corners() {
    let night = Night::new(calm(12));
    replace_lights(&night, |_, image| image.map(|_| 321.5));
    // Tiles find nothing to hold on to in frames of one value: they are taken as they lie.
    for field in [FieldMethod::Off, FieldMethod::Auto, FieldMethod::Tiles] {
        let out = format!("{field:?}");
        let (_, stacked) = result_of(&night.job_with(&out, |recipe| {
            recipe.gauge.method = GaugeMethod::None;
            recipe.field.method = field;
            recipe.field.tile.min_valid_fraction = 0.0;
        }));
        let wrong = stacked.mono().pixels().iter().filter(|v| **v != 321.5).count();
        assert_eq!(wrong, 0, "field {out}");
    }
}

#[test]
fn a_brighter_file_of_the_same_frame_changes_nothing() {
    let night = Night::new(calm(12));
    replace_lights(&night, |_, image| image.clone());
    let (_, plain) = result_of(&night.job("plain"));
    replace_lights(&night, |k, image| image.map(|v| if k == 4 { 1.3 * v } else { v }));
    let (outcome, scaled) = result_of(&night.job("scaled"));
    let relative = outcome.report.frames.iter().map(|f| f.geometry.as_ref().unwrap().transparency);
    let relative: Vec<f64> = relative.collect();
    let others = median(relative.clone());
    assert!((relative[4] / others - 1.3).abs() < 0.02, "{relative:?}");
    // The scale of the result is the mean frame's, which is brighter by a fortieth.
    let mean = (11.0 + 1.3) / 12.0;
    let noise = f64::from(plain_noise(plain.mono()));
    let differences: Vec<f64> = plain
        .mono()
        .pixels()
        .iter()
        .zip(scaled.mono().pixels())
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .map(|(a, b)| f64::from(*b) / mean - f64::from(*a))
        .collect();
    let centre = median(differences.clone());
    let off: Vec<f64> = differences.iter().map(|d| d - centre).collect();
    let spread = median(off.iter().map(|d| d.abs()).collect()) / 0.6745;
    assert!(spread < 0.15 * noise, "{spread} where the noise is {noise}");
    assert!(centre.abs() < 0.005 * 550.0, "the sky moved by {centre}");
}

/// Robust noise of an image from differences of neighbours.
fn plain_noise(image: &Image<f32>) -> f32 {
    let steps = (0..image.height()).flat_map(|y| {
        image.row(y).windows(2).map(|w| f64::from((w[1] - w[0]).abs())).collect::<Vec<_>>()
    });
    (median(steps.collect()) / 0.6745 / 2f64.sqrt()) as f32
}

/// Largest step between neighbouring columns (of means over the rows), and the typical one.
fn column_steps(image: &Image<f32>, margin: usize) -> (f64, f64) {
    let mean = |x: usize| {
        let column = (margin..image.height() - margin).map(|y| f64::from(image.at(x, y)));
        median(column.collect())
    };
    let means: Vec<f64> = (margin..image.width() - margin).map(mean).collect();
    let steps: Vec<f64> = means.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    (steps.iter().copied().fold(0.0, f64::max), median(steps))
}

#[test]
fn frames_of_mixed_quality_leave_no_seams() {
    let mixed = BurstOptions {
        fwhm_min_px: 2.5,
        fwhm_max_px: 5.0,
        cloud_loss: 0.2,
        sky_gradient: 0.3,
        ..calm(16)
    };
    let night = Night::new(mixed);
    let job = StackJob { block_side: Some(64), ..night.job("out") };
    let (_, stacked) = result_of(&job);
    let turned = Image::from_fn(Shape::new(320, 240), |x, y| stacked.mono().at(y, x));
    for (image, axis) in [(stacked.mono(), "columns"), (&turned, "rows")] {
        // Beyond the margin some frames end, and the noise changes.
        let (largest, typical) = column_steps(image, 60);
        assert!(largest < 7.0 * typical, "{axis}: a step of {largest}, typical are {typical}");
    }
}

#[test]
fn turned_and_mirrored_frames_find_their_place() {
    let night = Night::new(small(12));
    let (plain, _) = result_of(&night.job("plain"));
    let mirrored = |k: usize| k == 3;
    let turned = |k: usize| k >= 7;
    replace_lights(&night, |k, image| {
        let (w, h) = (image.width() - 1, image.height() - 1);
        Image::from_fn(image.shape(), |x, y| {
            let x = if turned(k) || mirrored(k) { w - x } else { x };
            image.at(x, if turned(k) { h - y } else { y })
        })
    });
    let (outcome, _) = result_of(&night.job("turned"));
    let reference = outcome.report.reference.unwrap();
    assert!(!mirrored(reference));
    for frame in &outcome.report.frames {
        let geometry = frame.geometry.as_ref().unwrap();
        assert_eq!(geometry.mirrored, mirrored(frame.index), "frame {}", frame.index);
        if !geometry.mirrored {
            let want = if turned(frame.index) == turned(reference) { 0.0 } else { 180.0 };
            let off = (geometry.rotation_deg.abs() - want).abs();
            assert!(off < 2.0, "frame {}: {}°", frame.index, geometry.rotation_deg);
        }
    }
    let (before, after) = (fwhm_out(&plain), fwhm_out(&outcome));
    assert!(after < 1.05 * before, "FWHM {after:.3} px, {before:.3} px without turns");
}
