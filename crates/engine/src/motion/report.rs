//! What a run says of itself: figures of every frame and of the whole.
//!
//! Nothing here depends on the machine, the executor or the time. Times, plans and peaks are in
//! `telemetry.json`.

use serde::{Deserialize, Serialize};

use super::alpha::AlphaChoice;
use super::record::FrameRecord;

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MotionReport {
    /// Program and version.
    pub software: String,
    /// SHA-256 of the canonical recipe, hexadecimal.
    pub recipe_sha256: String,
    /// Frames, channels, rows and columns.
    pub shape: [usize; 4],
    /// How alpha was chosen, if it was.
    pub alpha: Option<AlphaChoice>,
    /// What was done differently from what was asked, and why.
    pub warnings: Vec<String>,
    /// The recording as a whole.
    pub summary: MotionSummary,
    /// Every frame.
    pub frames: Vec<FrameRecord>,
}

/// Figures of the whole recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MotionSummary {
    /// Mean over the frames of the mean length of the displacement, pixels.
    pub mean_disp: f64,
    /// Longest displacement of all, pixels.
    pub max_disp: f64,
    /// Mean correlation with the reference before.
    pub correlation_before: Option<f64>,
    /// Mean correlation with the reference after.
    pub correlation_after: Option<f64>,
    /// Frames that have a flag.
    pub flagged: usize,
}

impl MotionSummary {
    /// Of these frames.
    pub(super) fn of(frames: &[FrameRecord]) -> Self {
        let mean = |values: Vec<f64>| {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Self {
            mean_disp: mean(frames.iter().map(|f| f.mean_disp).collect()).unwrap_or(0.0),
            max_disp: frames.iter().map(|f| f.max_disp).fold(0.0, f64::max),
            correlation_before: mean(frames.iter().filter_map(|f| f.correlation_before).collect()),
            correlation_after: mean(frames.iter().filter_map(|f| f.correlation_after).collect()),
            flagged: frames.iter().filter(|f| !f.flags.is_empty()).count(),
        }
    }
}
