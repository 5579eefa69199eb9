use std::ops::Range;

use proptest::prelude::*;
use stillframe_image::{Point, Rng, math};

use super::*;

const SAVITZKY_GOLAY: Smoothing = Smoothing::SavitzkyGolay { window: 11, order: 3 };

fn times(n: usize) -> Vec<f64> {
    (0..n).map(|i| 11.0 * i as f64).collect()
}

/// Measurements of `truth` with errors of `sigma_px` per axis.
fn measured(truth: &[Vec2], sigma_px: f64, rng: &mut Rng) -> Vec<Option<Measurement>> {
    let noisy = |t: &Vec2| *t + Vec2::new(rng.normal(), rng.normal()) * sigma_px;
    let value: Vec<Vec2> = truth.iter().map(noisy).collect();
    value.into_iter().map(|value| Some(Measurement { value, sigma_px })).collect()
}

fn rms(series: &[Option<Measurement>], truth: &[Vec2]) -> f64 {
    let sum: f64 =
        series.iter().zip(truth).map(|(m, t)| (m.unwrap().value - *t).norm_squared()).sum();
    (sum / (2 * truth.len()) as f64).sqrt()
}

fn poses(series: &[Option<Measurement>]) -> Vec<Option<Pose>> {
    let pose = |m: Measurement| Pose { centre: Point::default() + m.value, angle_rad: 0.0 };
    series.iter().map(|m| m.map(pose)).collect()
}

fn pose(x: f64, y: f64, angle_rad: f64) -> Pose {
    Pose { centre: Point::new(x, y), angle_rad }
}

/// A drift of 20 px and a field rotation of 5° over the session, seen 900 px from the axis.
fn drifting(n: usize) -> Vec<Vec2> {
    (0..n)
        .map(|i| {
            let t = i as f64 / (n - 1) as f64;
            let angle = (5.0 * t).to_radians();
            let (c, s) = (math::cos(angle), math::sin(angle));
            Vec2::new(20.0 * t + 900.0 * (c - 1.0), 900.0 * s)
        })
        .collect()
}

fn whole(n: usize) -> Vec<Range<usize>> {
    std::iter::once(0..n).collect()
}

proptest! {
    #[test]
    fn savitzky_golay_keeps_cubics_at_uneven_times(seed in 0u64..200, n in 6usize..40) {
        let mut rng = Rng::new(seed, 0, 0);
        let mut time = 0.0;
        let times: Vec<f64> = (0..n).map(|_| { time += rng.range(0.5, 2.0); time }).collect();
        let c: Vec<f64> = (0..8).map(|_| rng.normal()).collect();
        let cubic = |t: f64, c: &[f64]| c[0] + t * (c[1] + t * (c[2] + t * c[3] / 10.0) / 10.0);
        let truth: Vec<Vec2> = times.iter()
            .map(|&t| Vec2::new(cubic(t, &c[..4]), cubic(t, &c[4..]))).collect();
        let series: Vec<_> = truth.iter()
            .map(|&value| (n < 12 || rng.uniform() < 0.8).then(|| Measurement { value, sigma_px: rng.range(0.1, 1.0) }))
            .collect();
        for (i, s) in smooth(&times, &series, &whole(n), SAVITZKY_GOLAY).iter().enumerate() {
            let scale = 1.0 + truth[i].norm();
            let s = s.unwrap();
            // Too few neighbours lower the degree: nothing is promised there.
            let near = i.saturating_sub(5).min(n.saturating_sub(11))..(i.saturating_sub(5) + 11).min(n);
            if series[near].iter().flatten().count() >= 7 {
                prop_assert!((s.value - truth[i]).norm() < 1e-6 * scale, "{i}");
            }
        }
    }

    #[test]
    fn segments_partition_the_frames(seed in 0u64..500, n in 0usize..80) {
        let mut rng = Rng::new(seed, 0, 0);
        let mut time = 0.0;
        let times: Vec<f64> = (0..n).map(|_| {
            time += if rng.uniform() < 0.05 { 500.0 } else { 10.0 };
            time
        }).collect();
        let poses: Vec<_> = (0..n).map(|_| {
            if rng.uniform() < 0.1 { None } else { Some(pose(4.0 * rng.normal(), 4.0 * rng.normal(), rng.range(0.0, 1.0))) }
        }).collect();
        for excursion in [Excursion::Dither, Excursion::Outlier] {
            let params = SegmentParams { excursion, ..SegmentParams::default() };
            let segments = segments(&times, &poses, &params);
            let mut next = 0;
            for s in &segments {
                prop_assert_eq!(s.start, next);
                prop_assert!(s.end > s.start);
                next = s.end;
            }
            prop_assert_eq!(next, n);
        }
    }
}

#[test]
fn smoothing_calms_a_noisy_track() {
    let truth = drifting(60);
    let mut rng = Rng::new(1, 0, 0);
    for (smoothing, at_most) in [
        (SAVITZKY_GOLAY, 0.7),
        // On a drift a median picks one of the neighbours more than it averages them.
        (Smoothing::RunningMedian { window: 11 }, 0.85),
        (Smoothing::Auto, 0.6),
        (Smoothing::None, 1.0),
    ] {
        let (mut raw, mut calm) = (0.0, 0.0);
        for _ in 0..20 {
            let series = measured(&truth, 0.3, &mut rng);
            raw += rms(&series, &truth).powi(2);
            calm += rms(&smooth(&times(60), &series, &whole(60), smoothing), &truth).powi(2);
        }
        assert!((calm / raw).sqrt() <= at_most, "{smoothing:?}: {}", (calm / raw).sqrt());
    }
}

#[test]
fn dithers_survive_smoothing() {
    for excursion in [Excursion::Dither, Excursion::Outlier] {
        for seed in 0..40 {
            let mut rng = Rng::new(seed, 2, 0);
            let mut truth = drifting(60);
            let mut offset = Vec2::default();
            for (i, t) in truth.iter_mut().enumerate() {
                if i % 8 == 5 {
                    let angle = rng.range(0.0, 6.3);
                    let length = rng.range(5.0, 12.0);
                    offset = offset + Vec2::new(math::cos(angle), math::sin(angle)) * length;
                }
                *t = *t + offset;
            }
            let series = measured(&truth, 0.05, &mut rng);
            let params = SegmentParams { excursion, ..SegmentParams::default() };
            let segments = segments(&times(60), &poses(&series), &params);
            let starts: Vec<usize> = segments.iter().map(|s| s.start).collect();
            assert_eq!(starts, [0, 5, 13, 21, 29, 37, 45, 53], "seed {seed}");
            for smoothing in
                [SAVITZKY_GOLAY, Smoothing::RunningMedian { window: 11 }, Smoothing::Auto]
            {
                let smoothed = smooth(&times(60), &series, &segments, smoothing);
                for (s, t) in smoothed.iter().zip(&truth) {
                    assert!((s.unwrap().value - *t).norm() < 0.2, "{smoothing:?}, seed {seed}");
                }
            }
        }
    }
}

#[test]
fn a_dither_at_every_frame_leaves_nothing_to_smooth() {
    let mut rng = Rng::new(9, 0, 0);
    let truth: Vec<Vec2> =
        (0..40).map(|_| Vec2::new(rng.range(-30.0, 30.0), rng.range(-30.0, 30.0))).collect();
    let series = measured(&truth, 0.1, &mut rng);
    let segments = segments(&times(40), &poses(&series), &SegmentParams::default());
    assert!(segments.len() > 30);
    let smoothed = smooth(&times(40), &series, &segments, Smoothing::Auto);
    assert!(rms(&smoothed, &truth) < 0.12);
}

#[test]
fn auto_keeps_independent_distortions() {
    for (distortion, sigma) in [(0.5, 0.05), (0.3, 0.3), (0.05, 0.3)] {
        let mut rng = Rng::new(7, 0, 0);
        let (mut raw, mut auto, mut golay, mut claimed) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..40 {
            let truth: Vec<Vec2> =
                (0..60).map(|_| Vec2::new(rng.normal(), rng.normal()) * distortion).collect();
            let series = measured(&truth, sigma, &mut rng);
            let with = |s| smooth(&times(60), &series, &whole(60), s);
            raw += rms(&series, &truth).powi(2);
            golay += rms(&with(SAVITZKY_GOLAY), &truth).powi(2);
            auto += rms(&with(Smoothing::Auto), &truth).powi(2);
            claimed += with(Smoothing::Auto)[30].unwrap().sigma_px.powi(2);
        }
        let (raw, auto, golay) = (raw.sqrt(), auto.sqrt(), golay.sqrt());
        assert!(auto < 1.02 * raw, "{distortion} {sigma}: {auto} raw {raw}");
        assert!(auto < 1.05 * golay, "{distortion} {sigma}: {auto} golay {golay}");
        let honesty = claimed.sqrt() / auto;
        assert!((0.8..1.25).contains(&honesty), "{distortion} {sigma}: {honesty}");
    }
}

#[test]
fn good_frames_are_kept_and_gross_outliers_are_not() {
    let (mut good, mut kept, mut bad, mut rejected) = (0, 0, 0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed, 3, 0);
        let sigma = [0.02, 0.1, 0.3][seed as usize % 3];
        let mut series = measured(&drifting(60), sigma, &mut rng);
        let mut is_bad = [false; 60];
        for (m, bad) in series.iter_mut().zip(&mut is_bad) {
            *bad = rng.uniform() < 0.05;
            if *bad {
                let m = m.as_mut().unwrap();
                let sign = |rng: &mut Rng| if rng.uniform() < 0.5 { -10.0 } else { 10.0 };
                m.value = m.value + Vec2::new(sign(&mut rng), sign(&mut rng));
            }
        }
        let params = SegmentParams { excursion: Excursion::Outlier, ..SegmentParams::default() };
        let segments = segments(&times(60), &poses(&series), &params);
        let flags = outliers(&times(60), &series, &segments, &OutlierParams::default());
        for (flag, is_bad) in flags.iter().zip(is_bad) {
            if is_bad {
                bad += 1;
                rejected += i32::from(*flag);
            } else {
                good += 1;
                kept += i32::from(!flag);
            }
        }
    }
    assert!(kept * 100 >= good * 98, "kept {kept} of {good}");
    assert!(rejected * 100 >= bad * 99, "rejected {rejected} of {bad}");
}

#[test]
fn independent_distortions_are_no_outliers() {
    let mut rng = Rng::new(8, 0, 0);
    let mut flagged = 0;
    for _ in 0..20 {
        let truth: Vec<Vec2> =
            drifting(60).iter().map(|&t| t + Vec2::new(rng.normal(), rng.normal()) * 0.6).collect();
        let series = measured(&truth, 0.05, &mut rng);
        let flags = outliers(&times(60), &series, &whole(60), &OutlierParams::default());
        flagged += flags.iter().filter(|f| **f).count();
    }
    assert!(flagged <= 12, "{flagged} of 1200");
}

#[test]
fn gaps_and_flips_cut() {
    let mut t = times(30);
    for time in &mut t[20..] {
        *time += 1000.0;
    }
    let mut p: Vec<Option<Pose>> =
        (0..30).map(|i| Some(pose(0.1 * f64::from(i), 0.0, 3.1))).collect();
    for pose in &mut p[8..] {
        pose.as_mut().unwrap().angle_rad = 0.02;
    }
    p[12] = None;
    let params = SegmentParams::default();
    assert_eq!(segments(&t, &p, &params), [0..8, 8..20, 20..30]);
    // 3.1 and −3.1 are almost the same angle.
    for pose in p[8..].iter_mut().flatten() {
        pose.angle_rad = -3.1;
    }
    assert_eq!(segments(&t, &p, &params), [0..20, 20..30]);
    assert_eq!(segments(&t[..3], &[None; 3], &params), whole(3));
}

#[test]
fn a_lone_frame_off_the_track_is_a_dither_or_an_outlier() {
    let mut p: Vec<Option<Pose>> =
        (0..30).map(|i| Some(pose(0.1 * f64::from(i), 0.0, 0.0))).collect();
    for i in [0, 10, 29] {
        p[i] = Some(pose(12.0, 9.0, 0.0));
    }
    let cut = |excursion| {
        segments(&times(30), &p, &SegmentParams { excursion, ..SegmentParams::default() })
    };
    assert_eq!(cut(Excursion::Dither), [0..1, 1..10, 10..11, 11..29, 29..30]);
    assert_eq!(cut(Excursion::Outlier), whole(30));
}

#[test]
fn missing_frames_are_filled_from_their_neighbours() {
    let truth = drifting(40);
    let mut series = measured(&truth, 0.1, &mut Rng::new(2, 0, 0));
    for i in [0, 7, 8, 39] {
        series[i] = None;
    }
    for smoothing in [SAVITZKY_GOLAY, Smoothing::Auto] {
        let smoothed = smooth(&times(40), &series, &whole(40), smoothing);
        for (s, t) in smoothed.iter().zip(&truth) {
            assert!((s.unwrap().value - *t).norm() < 1.0);
        }
    }
    let alone = [None, series[1], None];
    let smoothed = smooth(&times(3), &alone, &whole(3), Smoothing::Auto);
    assert_eq!(smoothed, alone);
}
