//! Shift, and rotation with scale, of one image relative to another from their spectra: for images
//! without stars to match.

mod correlation;
mod log_polar;
mod mellin;
mod reduced;
mod refinement;
mod subpixel;
mod window;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape, Vec2};
use thiserror::Error;

use self::correlation::{Correlator, Peak};
pub use self::mellin::{FourierMellin, fourier_mellin};
use self::window::{Frame, Taper};
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
/// Peaks lower than this part of the highest are not looked at a second time.
const WORTH_A_LOOK: f64 = 0.5;
/// Taper of the first look, which must leave room for an overlap at any side.
const FIRST_TAPER: f64 = 0.15;

/// The shift `ref_from_frame`, to a few hundredths of a pixel on smooth images.
///
/// The images are `height × width`, of any two sizes and in any linear unit; pixels whose mask is
/// not 0, or that are not finite, do not count. A first correlation of the whole images proposes
/// shifts; for each, windows are laid on what would be the overlap, each at its own place, and the
/// images correlated again: so nothing but the common part is compared, and the window does not
/// pull the result towards 0. O(n log n), some 10 transforms.
///
/// # Errors
/// [`PhaseError::Flat`], [`PhaseError::NotSignificant`].
///
/// # Source
/// Kuglin & Hines (1975). Sub-pixel: Guizar-Sicairos, Thurman & Fienup (2008),
/// doi:10.1364/OL.33.000156. We differ: each frequency counts by how far its power exceeds the
/// noise, and the maximum of the trigonometric polynomial is found by Newton's method, which is the
/// limit of their upsampling.
pub fn phase_correlate(
    reference: &Image<f32>,
    frame: &Image<f32>,
    reference_mask: Option<&Image<u8>>,
    frame_mask: Option<&Image<u8>>,
    params: &PhaseParams,
    scratch: &mut PhaseScratch,
) -> Result<PhaseCorrelation, PhaseError> {
    let reference = Frame::new(reference, reference_mask, "reference")?;
    let frame = Frame::new(frame, frame_mask, "frame")?;
    let PhaseScratch { fft, correlator, .. } = scratch;
    let (r, f) = (reference.shape(), frame.shape());
    let larger = |a: usize, b: usize| a.max(b);
    let range = |n: usize| params.max_shift_px.unwrap_or(0.5 * n as f64);
    let side = |n: usize| larger(n, (2.0 * range(n)).ceil() as usize);
    let padded = Shape::new(side(larger(r.height, f.height)), side(larger(r.width, f.width)));
    let limit = Vec2::new(range(larger(r.width, f.width)), range(larger(r.height, f.height)));

    correlator.set_band(params.smooth_px, params.flatten_px);
    correlator.load(0, &reference, &Taper::whole(r, FIRST_TAPER), padded, fft)?;
    correlator.load(1, &frame, &Taper::whole(f, FIRST_TAPER), padded, fft)?;
    correlator.correlate(fft);
    let first = correlator.peaks(limit, params.n_peaks.max(1));
    let highest = first.first().map_or(0.0, |p| p.significance);
    let mut looks: Vec<Look> = Vec::new();
    for peak in first.iter().filter(|p| p.significance >= WORTH_A_LOOK * highest) {
        if let Some(look) = second_look(&reference, &frame, peak.shift, padded, correlator, fft) {
            looks.push(look);
        }
    }
    looks.sort_by(|a, b| b.peak.significance.total_cmp(&a.peak.significance));
    let needed = looks.first().map_or_else(|| correlator.needed(), |l| l.needed);
    let failure = |significance| PhaseError::NotSignificant { significance, needed };
    let Some(Look { peak: best, confidence, .. }) = looks.first() else {
        return Err(failure(highest));
    };
    if best.significance < needed {
        return Err(failure(best.significance));
    }
    let shift = refine(&reference, &frame, best.shift, padded, correlator, fft);
    let mut peaks = vec![PhasePeak { shift, significance: best.significance }];
    let others = first.iter().filter(|p| (p.shift - best.shift).norm() > correlation::APART_PX);
    peaks.extend(others.map(|p| PhasePeak { shift: p.shift, significance: p.significance }));
    Ok(PhaseCorrelation { peaks, confidence: *confidence })
}

/// What the correlation of an overlap says.
struct Look {
    peak: Peak,
    confidence: f64,
    /// Significance that chance does not reach.
    needed: f64,
}

/// The correlation of the overlap at `shift`: its peak near there, and how far that stands out of
/// the next one. `None` if there is hardly an overlap.
fn second_look(
    reference: &Frame<'_>,
    frame: &Frame<'_>,
    shift: Vec2,
    padded: Shape,
    correlator: &mut Correlator,
    fft: &mut Fft2Cache,
) -> Option<Look> {
    load_overlap(reference, frame, shift, padded, correlator, fft)?;
    correlator.correlate(fft);
    let peak = correlator.peak_near(shift);
    let next = correlator.highest_apart_from(peak.shift);
    let confidence = (peak.significance / next).max(1.0);
    Some(Look { peak, confidence, needed: correlator.needed() })
}

/// Windows both images on the overlap at `shift`. `None` if there is hardly an overlap.
fn load_overlap(
    reference: &Frame<'_>,
    frame: &Frame<'_>,
    shift: Vec2,
    padded: Shape,
    correlator: &mut Correlator,
    fft: &mut Fft2Cache,
) -> Option<()> {
    let window = Taper::overlap(reference.shape(), frame.shape(), shift)?;
    correlator.load(0, reference, &window, padded, fft).ok()?;
    correlator.load(1, frame, &window.moved(-shift), padded, fft).ok()
}

/// Newton's method, with the windows following the shift.
fn refine(
    reference: &Frame<'_>,
    frame: &Frame<'_>,
    start: Vec2,
    padded: Shape,
    correlator: &mut Correlator,
    fft: &mut Fft2Cache,
) -> Vec2 {
    const ROUNDS: usize = 2;
    let mut shift = start;
    for _ in 0..ROUNDS {
        if load_overlap(reference, frame, shift, padded, correlator, fft).is_none() {
            break;
        }
        shift = correlator.maximum_near(shift);
    }
    shift
}

#[cfg(test)]
mod tests;
