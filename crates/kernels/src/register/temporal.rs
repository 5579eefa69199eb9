//! Displacements over time: segments, smoothing, outliers.
//!
//! A series has one entry per frame, in the order of the frames; `None` where nothing was measured.
//! Nothing is smoothed across a dither, a gap or a flip: first cut the series with [`segments`],
//! then remove what [`outliers`] finds, then [`smooth`].

mod local;
mod outlier;
mod segment;
mod smooth;

use stillframe_image::Vec2;

pub use self::outlier::{OutlierParams, outliers};
pub use self::segment::{Excursion, Pose, SegmentParams, segments};
pub use self::smooth::{Smoothing, smooth};

/// A measured displacement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Displacement in pixels.
    pub value: Vec2,
    /// Standard error per axis, pixels.
    pub sigma_px: f64,
}

/// Standard errors below this are taken as this, pixels: no measurement is better, and none may
/// outweigh all others.
const MIN_SIGMA_PX: f64 = 1e-3;

impl Measurement {
    fn variance(&self) -> f64 {
        let s = self.sigma_px.max(MIN_SIGMA_PX);
        s * s
    }
}

/// Median; the mean of the middle two of an even number. `None` of nothing.
fn median(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    Some(0.5 * (values[n / 2] + values[(n - 1) / 2]))
}

#[cfg(test)]
mod tests;
