//! What is known of a frame after its registration.

use serde::{Deserialize, Serialize};

/// Figures of one registered frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Mean length of the displacement, pixels.
    pub mean_disp: f64,
    /// Greatest length, pixels.
    pub max_disp: f64,
    /// Mean divergence.
    pub mean_div: f64,
    /// Length of the mean displacement, pixels.
    pub mean_translation: f64,
    /// Correlation of the frame with the reference; `None` if one of them is constant.
    pub correlation_before: Option<f64>,
    /// The same of the registered frame, over the pixels that come from inside the frame.
    pub correlation_after: Option<f64>,
    /// Root mean square difference from the reference over those pixels, in units of the range of
    /// the reference.
    pub residual: f64,
    /// Part of the pixels that come from outside the frame.
    pub outside_fraction: f64,
    /// Pixels that were not finite, and were taken from the reference.
    pub missing_pixels: usize,
    /// What one should look at.
    pub flags: Vec<MotionFlag>,
}

/// Something that is unusual about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MotionFlag {
    /// More than a quarter of the pixels come from outside the frame.
    OutOfFrame,
    /// The longest displacement exceeds a quarter of the shorter side.
    LargeMotion,
    /// The frame was more like the reference before than after.
    Worse,
    /// Pixels were not finite.
    MissingPixels,
    /// No common structure was found for a rigid shift, which is that of the start.
    NoStructure,
}

/// How much lower the correlation must be to be told.
const WORSE_BY: f64 = 0.01;

impl FrameRecord {
    /// Finds what is unusual, beside what `found` says already; `short_side` of the frame in pixels.
    pub(super) fn flagged(mut self, short_side: usize, found: Option<MotionFlag>) -> Self {
        let worse = match (self.correlation_before, self.correlation_after) {
            (Some(before), Some(after)) => after < before - WORSE_BY,
            _ => false,
        };
        let rules = [
            (self.outside_fraction > 0.25, MotionFlag::OutOfFrame),
            (self.max_disp > 0.25 * short_side as f64, MotionFlag::LargeMotion),
            (worse, MotionFlag::Worse),
            (self.missing_pixels > 0, MotionFlag::MissingPixels),
        ];
        self.flags = rules.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
        self.flags.extend(found);
        self
    }
}
