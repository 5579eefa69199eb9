//! Shift, and rotation with scale, of one image relative to another from their spectra.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Transform, Vec2};
use thiserror::Error;

/// How to correlate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseParams {
    /// Largest shift along each axis, pixels; `None` is half of the larger image.
    pub max_shift_px: Option<f64>,
    /// Standard deviation of the Gaussian low-pass, pixels.
    pub smooth_px: f64,
    /// Standard deviation of the Gaussian whose complement is the high-pass, pixels.
    pub flatten_px: f64,
    /// Number of hypotheses to return.
    pub n_peaks: usize,
}

/// One hypothesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhasePeak {
    /// `ref_from_frame`: add it to a position in the frame to get the position in the reference.
    pub shift: Vec2,
    /// Height of the peak in standard deviations of the correlation surface.
    pub significance: f64,
}

/// Result of a phase correlation.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseCorrelation {
    /// Highest first, never empty; only the first has sub-pixel accuracy.
    pub peaks: Vec<PhasePeak>,
    /// Highest over second-highest peak, ≥ 1.
    pub confidence: f64,
}

/// Why there is no shift.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PhaseError {
    /// An image has no structure.
    #[error("the {image} has no structure to correlate")]
    Flat {
        /// Which image.
        image: &'static str,
    },
    /// No peak stands out of the noise.
    #[error(
        "no common structure: the best peak has {significance:.1} standard deviations, {needed:.1} are needed"
    )]
    NotSignificant {
        /// Of the best peak.
        significance: f64,
        /// Threshold.
        needed: f64,
    },
}

/// Buffers and plans, reused from call to call.
#[derive(Debug, Default)]
pub struct PhaseScratch {}

/// The shift `ref_from_frame`.
///
/// # Errors
/// See [`PhaseError`].
pub fn phase_correlate(
    _reference: &Image<f32>,
    _frame: &Image<f32>,
    _reference_mask: Option<&Image<u8>>,
    _frame_mask: Option<&Image<u8>>,
    _params: &PhaseParams,
    _scratch: &mut PhaseScratch,
) -> Result<PhaseCorrelation, PhaseError> {
    Err(PhaseError::Flat { image: "reference" })
}

/// Rotation, scale and shift `ref_from_frame`, and the confidence (as in [`PhaseCorrelation`]).
///
/// # Errors
/// See [`PhaseError`].
pub fn fourier_mellin(
    _reference: &Image<f32>,
    _frame: &Image<f32>,
    _reference_mask: Option<&Image<u8>>,
    _frame_mask: Option<&Image<u8>>,
    _scratch: &mut PhaseScratch,
) -> Result<(Transform, f64), PhaseError> {
    Err(PhaseError::Flat { image: "reference" })
}
