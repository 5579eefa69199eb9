//! Sub-pixel alignment of a tile of a frame to the same tile of the reference.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Vec2};
use thiserror::Error;

/// How a tile may be deformed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchWarp {
    /// Shift only.
    Translation,
    /// Shift and a small linear part about the tile's centre.
    Affine,
}

/// How to align.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchParams {
    /// Deformation.
    pub warp: PatchWarp,
    /// FWHM of the stars, pixels: sets the band that is looked at.
    pub fwhm_px: f64,
    /// Largest distance of the result from the start, pixels, per axis.
    pub max_shift_px: f64,
    /// Gauss-Newton iterations, 1-50.
    pub max_iterations: usize,
    /// The iteration ends when a step is shorter than this, pixels.
    pub tolerance_px: f64,
    /// A result with a larger standard error (larger axis) is [`PatchError::NoSignal`], pixels.
    pub max_sigma_px: f64,
}

/// Where the tile of the frame lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchAlignment {
    /// `ref_from_frame` at the tile's centre, pixels: add it to a position in the frame's tile.
    pub shift: Vec2,
    /// `ref_from_frame` linear part minus the identity, about the tile's centre, row-major.
    pub linear: [[f64; 2]; 2],
    /// Covariance of `shift`, square pixels: xx, xy, yy.
    pub covariance: [f64; 3],
    /// Correlation coefficient of the aligned, band-passed tiles.
    pub cc: f64,
    /// Gauss-Newton iterations done.
    pub iterations: usize,
}

/// Why a tile has no alignment.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Too little structure for a measurement.
    #[error("no signal: standard error {sigma_px:.2} px, correlation {cc:.2}")]
    NoSignal {
        /// Standard error along the worse axis, pixels; infinite if it could not be estimated.
        sigma_px: f64,
        /// Correlation coefficient.
        cc: f64,
    },
    /// Too few good pixels in common.
    #[error("only {found} of {total} pixels are good in both tiles")]
    TooFewPixels {
        /// Good pixels.
        found: usize,
        /// Pixels of the tile.
        total: usize,
    },
    /// The iteration left the search range.
    #[error("the alignment ran {distance_px:.1} px away from its start")]
    OutOfRange {
        /// Distance from the start.
        distance_px: f64,
    },
}

/// Buffers, reused from call to call.
#[derive(Debug, Default)]
pub struct PatchScratch {}

/// The shift of `moving` relative to `reference`.
///
/// # Errors
/// See [`PatchError`].
pub fn align_patch(
    _reference: &Image<f32>,
    _moving: &Image<f32>,
    _reference_mask: Option<&Image<u8>>,
    _moving_mask: Option<&Image<u8>>,
    _start: Vec2,
    _params: &PatchParams,
    _scratch: &mut PatchScratch,
) -> Result<PatchAlignment, PatchError> {
    Err(PatchError::NoSignal { sigma_px: f64::INFINITY, cc: 0.0 })
}
