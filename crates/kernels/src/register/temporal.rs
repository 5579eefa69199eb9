//! Displacements over time: segments, smoothing, outliers.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Vec2};

/// A measured displacement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Displacement in pixels.
    pub value: Vec2,
    /// Standard error per axis, pixels.
    pub sigma_px: f64,
}

/// Where a series is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentParams {
    /// A jump of at least this many pixels from one frame to the next is a dither.
    pub step_px: f64,
    /// A pause longer than this many median intervals is a gap.
    pub gap_factor: f64,
    /// A turn of at least this angle from one frame to the next is a flip.
    pub flip_rad: f64,
}

/// How to smooth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smoothing {
    /// Not at all.
    None,
    /// Weighted local polynomial of this many frames and this degree.
    SavitzkyGolay {
        /// Frames, odd.
        window: usize,
        /// Degree.
        order: usize,
    },
    /// Median of this many frames.
    RunningMedian {
        /// Frames, odd.
        window: usize,
    },
    /// As much as the leave-one-out prediction error says.
    Auto,
}

/// Runs of frames without dither, gap or flip.
pub fn segments(
    _times: &[f64],
    _positions: &[Option<(Point, f64)>],
    _params: &SegmentParams,
) -> Vec<Range<usize>> {
    Vec::new()
}
