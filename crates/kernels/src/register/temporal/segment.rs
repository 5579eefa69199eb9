//! Where a series is cut.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Vec2};

use super::median;

/// Where the telescope pointed in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Where a fixed point of the sensor, best its centre, lies in the reference; pixels. In a
    /// series without a gauge: the measured displacement.
    pub centre: Point,
    /// Rotation of the frame in radians.
    pub angle_rad: f64,
}

/// What it means when a frame leaves the track and one of the next two is back on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excursion {
    /// The mount was moved: for positions that are sure, as those from star patterns.
    Dither,
    /// The measurement failed: for positions that may be wrong, as those from tiles.
    Outlier,
}

/// What cuts a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentParams {
    /// A jump of this many pixels off the drift, from one frame to the next, is a dither.
    pub step_px: f64,
    /// A pause longer than this many median intervals is a gap.
    pub gap_factor: f64,
    /// A turn of this angle from one frame to the next is a flip, radians.
    pub flip_rad: f64,
    /// How to read single frames off the track.
    pub excursion: Excursion,
}

impl Default for SegmentParams {
    fn default() -> Self {
        Self { step_px: 3.0, gap_factor: 10.0, flip_rad: 0.5, excursion: Excursion::Dither }
    }
}

/// A frame with a known pose.
#[derive(Clone, Copy)]
struct Fix {
    frame: usize,
    time: f64,
    pose: Pose,
}

/// Runs of frames without dither, gap or flip: ranges of frame indices that follow each other and
/// cover `0..times.len()`.
///
/// `times` are in any unit and ascend; frames without a pose go with the one before. O(n).
///
/// # Panics
/// If `times` and `poses` differ in length.
pub fn segments(
    times: &[f64],
    poses: &[Option<Pose>],
    params: &SegmentParams,
) -> Vec<Range<usize>> {
    assert_eq!(times.len(), poses.len(), "one pose for each time");
    let fixes: Vec<Fix> = poses
        .iter()
        .enumerate()
        .filter_map(|(frame, pose)| Some(Fix { frame, time: times[frame], pose: (*pose)? }))
        .collect();
    let mut cuts = vec![0];
    for run in pointings(&fixes, params) {
        cuts.extend(
            dithers(&fixes[run.clone()], params).into_iter().map(|i| fixes[run.start + i].frame),
        );
        cuts.push(fixes.get(run.end).map_or(times.len(), |f| f.frame));
    }
    cuts.push(times.len());
    cuts.dedup();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// Runs of fixes between gaps and flips.
fn pointings(fixes: &[Fix], params: &SegmentParams) -> Vec<Range<usize>> {
    let mut intervals: Vec<f64> = fixes.windows(2).map(|w| w[1].time - w[0].time).collect();
    let pause = params.gap_factor * median(&mut intervals).unwrap_or(0.0);
    let mut runs = Vec::new();
    let mut start = 0;
    for (i, w) in fixes.windows(2).enumerate() {
        let turn = (w[1].pose.angle_rad - w[0].pose.angle_rad + PI).rem_euclid(TAU) - PI;
        if w[1].time - w[0].time > pause || turn.abs() >= params.flip_rad {
            runs.push(start..i + 1);
            start = i + 1;
        }
    }
    if start < fixes.len() {
        runs.push(start..fixes.len());
    }
    runs
}

/// Intervals on each side from which the drift is taken.
const DRIFT_REACH: usize = 5;

/// Drift per unit of time around each interval: the median of its neighbours' on both sides.
fn drifts(fixes: &[Fix]) -> Vec<Vec2> {
    let rates: Vec<Vec2> = fixes
        .windows(2)
        .map(|w| {
            let dt = w[1].time - w[0].time;
            // Frames at the same time have no rate.
            (w[1].pose.centre - w[0].pose.centre) * if dt > 0.0 { 1.0 / dt } else { 0.0 }
        })
        .collect();
    (0..rates.len())
        .map(|i| {
            let around = i.saturating_sub(DRIFT_REACH)..(i + DRIFT_REACH + 1).min(rates.len());
            let others = || around.clone().filter(|&j| j != i);
            let mut dx: Vec<f64> = others().map(|j| rates[j].dx).collect();
            let mut dy: Vec<f64> = others().map(|j| rates[j].dy).collect();
            Vec2::new(median(&mut dx).unwrap_or(0.0), median(&mut dy).unwrap_or(0.0))
        })
        .collect()
}

/// Indices of the fixes that begin a new pointing, without the first.
fn dithers(fixes: &[Fix], params: &SegmentParams) -> Vec<usize> {
    /// Frames after a jump that may be back on the track.
    const LOOK_AHEAD: usize = 2;
    let drifts = drifts(fixes);
    let agree = |a: usize, b: usize| {
        let (from, to) = (&fixes[a], &fixes[b]);
        let expected = from.pose.centre + drifts[a] * (to.time - from.time);
        to.pose.centre.distance(expected) < params.step_px
    };
    let mut begins = Vec::new();
    let mut on_track = 0;
    for i in 1..fixes.len() {
        if !agree(on_track, i) {
            let comes_back = params.excursion == Excursion::Outlier
                && (i + 1..fixes.len().min(i + 1 + LOOK_AHEAD)).any(|j| agree(on_track, j));
            if comes_back {
                continue;
            }
            begins.push(i);
        }
        on_track = i;
    }
    if params.excursion == Excursion::Outlier {
        // A single frame at an end has nothing to come back to.
        begins.retain(|&i| i != 1 && i + 1 != fixes.len());
    }
    begins
}
