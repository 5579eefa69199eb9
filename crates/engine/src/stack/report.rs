//! What a run says of itself: one outcome for every input, and the figures of the result.
//!
//! Nothing here depends on the machine, the executor or the time: `report.json` of two runs of the
//! same recipe on the same inputs are equal byte for byte. Times, plans and peaks are in
//! `telemetry.json`.

use serde::{Deserialize, Serialize};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FrameOutcome {
    /// In the result.
    Used {
        /// Its share of the total weight, 0 to 1.
        weight_fraction: f64,
    },
    /// Left out on purpose: readable, but not to be combined.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Could not be read or registered.
    Failed {
        /// Why.
        reason: String,
    },
}

impl FrameOutcome {
    /// Whether the frame is in the result.
    pub fn is_used(&self) -> bool {
        matches!(self, Self::Used { .. })
    }
}

/// What was measured on a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameFigures {
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Exposure time, seconds.
    pub exposure_secs: Option<f64>,
    /// Detected stars.
    pub stars: usize,
    /// Median full width at half maximum, pixels; absent without stars.
    pub fwhm_px: Option<f64>,
    /// Median ratio of minor to major axis of the stars.
    pub roundness: Option<f64>,
    /// Median sky level after calibration, the file's unit.
    pub background: f64,
    /// Noise of a pixel of empty sky after calibration, the file's unit.
    pub noise: f64,
    /// Share of the pixels at or above saturation.
    pub saturated_fraction: f64,
}

/// Where a frame lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameGeometry {
    /// Row-major 3×3 matrix from frame pixels to reference pixels.
    pub ref_from_frame: [[f64; 3]; 3],
    /// `similarity`, `affine` or `homography`; `phase`, `tiles` or `identity` without stars.
    pub model: String,
    /// Angle of the frame, degrees, from +x to +y.
    pub rotation_deg: f64,
    /// Reference pixels per frame pixel.
    pub scale: f64,
    /// Whether the frame is mirrored.
    pub mirrored: bool,
    /// Stars shared with the burst.
    pub matched_stars: usize,
    /// Robust rms per axis of its stars about the transform, pixels.
    pub residual_rms_px: f64,
    /// The same about transform and local field.
    pub field_residual_rms_px: Option<f64>,
    /// Throughput relative to the mean frame.
    pub transparency: f64,
}

/// One input and its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameReport {
    /// Place in the sorted list of inputs.
    pub index: usize,
    /// File as given.
    pub file: String,
    /// Outcome and, where there is one, the reason.
    #[serde(flatten)]
    pub outcome: FrameOutcome,
    /// Measurements, if it could be read.
    pub figures: Option<FrameFigures>,
    /// Geometry, if it could be registered.
    pub geometry: Option<FrameGeometry>,
}

/// Figures of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultFigures {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Colour planes: 1 or 3.
    pub planes: usize,
    /// Sum of the exposures of the used frames, seconds.
    pub exposure_secs: f64,
    /// Median FWHM of the used frames, pixels.
    pub fwhm_in_px: Option<f64>,
    /// Median FWHM of the result, pixels.
    pub fwhm_out_px: Option<f64>,
    /// Median noise of the used frames, normalised to the mean transparency, the file's unit.
    pub noise_in: f64,
    /// Noise of the result, the file's unit.
    pub noise_out: f64,
    /// Effective number of frames, (Σ w)² / Σ w².
    pub effective_frames: f64,
    /// Share of the samples that were rejected.
    pub rejected_fraction: f64,
    /// Share of the canvas that has data.
    pub covered_fraction: f64,
}

/// A group of frames whose mean is one synthetic frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyntheticGroup {
    /// Its frames, places in the sorted list of inputs.
    pub frames: Vec<usize>,
    /// Those of them that come from a cluster that was too small.
    pub joined: Vec<usize>,
    /// Mean of the v4 global weight G of its frames.
    pub mean_global_weight: f64,
    /// Mean of the v4 local quality Q of its frames, over all places.
    pub mean_local_quality: f64,
}

/// The synthetic frames of Methodik v4: the result is the mean of the means of these groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyntheticReport {
    /// Why none were made; absent if they were.
    pub skipped: Option<String>,
    /// Number of clusters that were looked for, or of quantiles.
    pub clusters: usize,
    /// Whether a cluster stayed empty, so that frames of like global weight were grouped instead.
    pub by_quantiles: bool,
    /// The groups; none if they were skipped.
    pub groups: Vec<SyntheticGroup>,
    /// Effective number of frames that the weights would have left without groups.
    pub effective_frames_without: f64,
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackReport {
    /// Program and version.
    pub software: String,
    /// SHA-256 of the canonical recipe, hexadecimal.
    pub recipe_sha256: String,
    /// Index of the reference frame.
    pub reference: Option<usize>,
    /// What was done differently from what was asked, and why.
    pub warnings: Vec<String>,
    /// Every input.
    pub frames: Vec<FrameReport>,
    /// The synthetic frames, if the recipe wants them and its gate allows them.
    pub synthetic: Option<SyntheticReport>,
    /// The result.
    pub result: Option<ResultFigures>,
}

impl StackReport {
    /// Number of frames in the result.
    pub fn used(&self) -> usize {
        self.frames.iter().filter(|f| f.outcome.is_used()).count()
    }

    /// Share of the inputs that are not in the result.
    pub fn lost_fraction(&self) -> f64 {
        if self.frames.is_empty() {
            return 0.0;
        }
        1.0 - self.used() as f64 / self.frames.len() as f64
    }
}
