//! Shift, and rotation with scale, of one image relative to another from their spectra: for images
//! without stars to match.

mod correlation;
mod log_polar;
mod mellin;
mod reduced;
mod refinement;
mod shift;
mod subpixel;
mod window;

use serde::{Deserialize, Serialize};
use stillframe_image::Vec2;
use thiserror::Error;

use self::correlation::Correlator;
pub use self::mellin::{FourierMellin, fourier_mellin};
pub use self::shift::phase_correlate;
use super::ecc::EccScratch;
use super::fft2::Fft2Cache;
use super::filter::FilterScratch;

/// How to correlate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseParams {
    /// Largest shift along each axis, pixels; `None` is half of the larger image.
    pub max_shift_px: Option<f64>,
    /// Standard deviation of the Gaussian that takes off noise from pixel to pixel, pixels.
    pub smooth_px: f64,
    /// Standard deviation of the Gaussian that is taken off as background, pixels.
    pub flatten_px: f64,
    /// Largest number of hypotheses to return.
    pub n_peaks: usize,
}

impl Default for PhaseParams {
    fn default() -> Self {
        Self { max_shift_px: None, smooth_px: 1.0, flatten_px: 24.0, n_peaks: 3 }
    }
}

/// One hypothesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhasePeak {
    /// `ref_from_frame` in pixels: add it to a position in the frame to get the position in the
    /// reference.
    pub shift: Vec2,
    /// Height of the peak in standard deviations of the correlation surface.
    pub significance: f64,
}

/// Result of a phase correlation.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseCorrelation {
    /// Likeliest first, never empty. The first is exact to a fraction of a pixel, the others to a
    /// pixel.
    pub peaks: Vec<PhasePeak>,
    /// Highest over second-highest peak of the surface, at least 1.
    pub confidence: f64,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PhaseError {
    /// An image is smaller than 16 pixels, has no good pixels or the same value everywhere.
    #[error("the {image} has no structure to correlate")]
    Flat {
        /// "reference" or "frame".
        image: &'static str,
    },
    /// No peak stands out of the noise.
    #[error(
        "no common structure: the best peak has {significance:.1} standard deviations, \
         {needed:.1} are needed"
    )]
    NotSignificant {
        /// Of the best peak.
        significance: f64,
        /// Threshold.
        needed: f64,
    },
    /// Rotation, scale and shift were found, but the images are too unlike after them.
    #[error(
        "the images are not alike: their correlation is {correlation:.2}, their noise lets expect \
         {expected:.2}"
    )]
    Unlike {
        /// Correlation coefficient of the aligned, band-passed images; 0 if they could not be
        /// aligned.
        correlation: f64,
        /// What it would be if they differed by noise alone.
        expected: f64,
    },
}

/// Buffers and plans, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct PhaseScratch {
    fft: Fft2Cache,
    correlator: Correlator,
    ecc: EccScratch,
    filter: FilterScratch,
}

/// Smallest side of an image, pixels.
const MIN_SIDE: usize = 16;
#[cfg(test)]
mod tests;
