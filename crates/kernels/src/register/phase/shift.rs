//! The shift of one image relative to another.

use stillframe_image::{Image, Shape, Transform, Vec2};

use super::correlation::{APART_PX, Correlator, Peak};
use super::reduced::{Reduced, full_from_reduced};
use super::refinement::{most_alike, refine};
use super::window::{Frame, Taper};
use super::{PhaseCorrelation, PhaseError, PhaseParams, PhasePeak, PhaseScratch};
use crate::register::ecc::Warp;
use crate::register::fft2::Fft2Cache;

/// Peaks lower than this part of the highest are not looked at a second time.
const WORTH_A_LOOK: f64 = 0.5;
/// Taper of the first look, which must leave room for an overlap at any side.
const FIRST_TAPER: f64 = 0.15;

/// Side to which images are reduced to see whether they are alike, pixels.
const COMPARED_SIDE: usize = 768;

/// The shift `ref_from_frame`, to a few hundredths of a pixel on smooth images.
///
/// The images are `height × width`, of any two sizes and in any linear unit; pixels whose mask is
/// not 0, or that are not finite, do not count. A first correlation of the whole images proposes
/// shifts; for each, windows are laid on what would be the overlap, each at its own place, and the
/// images correlated again: so nothing but the common part is compared, and the window does not
/// pull the result towards 0. Of several shifts the one is taken that makes the images most alike,
/// and if that is not enough, none: two stars are as sharp a peak as two images. O(n log n), some 10
/// transforms.
///
/// # Errors
/// [`PhaseError::Flat`], [`PhaseError::NotSignificant`], [`PhaseError::Unlike`].
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
    let images = Pair {
        reference: Frame::new(reference, reference_mask, "reference")?,
        frame: Frame::new(frame, frame_mask, "frame")?,
    };
    let (r, f) = (images.reference.shape(), images.frame.shape());
    let larger = Shape::new(r.height.max(f.height), r.width.max(f.width));
    let range = |n: usize| params.max_shift_px.unwrap_or(0.5 * n as f64);
    let side = |n: usize| n.max((2.0 * range(n)).ceil() as usize);
    let padded = Shape::new(side(larger.height), side(larger.width));
    let limit = Vec2::new(range(larger.width), range(larger.height));

    let PhaseScratch { fft, correlator, .. } = &mut *scratch;
    correlator.set_band(params.smooth_px, params.flatten_px);
    let window = (Taper::whole(r, FIRST_TAPER), Taper::whole(f, FIRST_TAPER));
    correlator.load(0, &images.reference, &window.0, padded, fft)?;
    correlator.load(1, &images.frame, &window.1, padded, fft)?;
    correlator.correlate(fft);
    let first = correlator.peaks(limit, params.n_peaks.max(1));
    let looks = images.looks(&first, padded, correlator, fft)?;

    let factor = larger.width.max(larger.height).div_ceil(COMPARED_SIDE);
    let (full, reduced) = (full_from_reduced(factor), full_from_reduced(factor).inverse());
    let reduced = reduced.unwrap_or(Transform::IDENTITY);
    let candidates: Vec<(Look, Transform)> =
        looks.iter().map(|l| (*l, reduced * Transform::translation(l.peak.shift) * full)).collect();
    let small =
        (Reduced::new(reference, reference_mask, factor), Reduced::new(frame, frame_mask, factor));
    let (best, aligned) = most_alike(&small.0, &small.1, &candidates, Warp::Translation, scratch)?;
    let aligned = full * aligned * reduced;
    let shift = if images.reference.has_holes() || images.frame.has_holes() {
        // What fills a hole is no more than a guess, which would pull; here holes do not count.
        let r = Reduced::new(reference, reference_mask, 1);
        let f = Reduced::new(frame, frame_mask, 1);
        let refined = refine(&r, &f, &aligned, Warp::Translation, scratch);
        let moved = refined.map_or(aligned, |better| better.ref_from_frame);
        Vec2::new(moved.m[0][2], moved.m[1][2])
    } else {
        let PhaseScratch { fft, correlator, .. } = scratch;
        images.placed(best.peak.shift, padded, correlator, fft)
    };
    let mut peaks = vec![PhasePeak { shift, significance: best.peak.significance }];
    let others = first.iter().filter(|p| (p.shift - best.peak.shift).norm() > APART_PX);
    peaks.extend(others.map(|p| PhasePeak { shift: p.shift, significance: p.significance }));
    Ok(PhaseCorrelation { peaks, confidence: best.confidence })
}

/// What the correlation of an overlap says.
#[derive(Clone, Copy)]
struct Look {
    peak: Peak,
    confidence: f64,
}

struct Pair<'a> {
    reference: Frame<'a>,
    frame: Frame<'a>,
}

impl Pair<'_> {
    /// The significant ones among `peaks`, looked at again with windows on the overlap.
    fn looks(
        &self,
        peaks: &[Peak],
        padded: Shape,
        correlator: &mut Correlator,
        fft: &mut Fft2Cache,
    ) -> Result<Vec<Look>, PhaseError> {
        let highest = peaks.first().map_or(0.0, |p| p.significance);
        let mut failure = (highest, correlator.needed());
        let mut looks = Vec::new();
        for peak in peaks.iter().filter(|p| p.significance >= WORTH_A_LOOK * highest) {
            if !self.load_overlap(peak.shift, padded, correlator, fft) {
                continue;
            }
            correlator.correlate(fft);
            let (again, needed) = (correlator.peak_near(peak.shift), correlator.needed());
            if again.significance >= needed {
                let next = correlator.highest_apart_from(again.shift);
                let confidence = (again.significance / next).max(1.0);
                looks.push(Look { peak: again, confidence });
            } else if looks.is_empty() {
                failure = (again.significance, needed);
            }
        }
        if looks.is_empty() {
            let (significance, needed) = failure;
            return Err(PhaseError::NotSignificant { significance, needed });
        }
        Ok(looks)
    }

    /// Windows both images on the overlap at `shift`; false if there is hardly an overlap.
    fn load_overlap(
        &self,
        shift: Vec2,
        padded: Shape,
        correlator: &mut Correlator,
        fft: &mut Fft2Cache,
    ) -> bool {
        let (r, f) = (self.reference.shape(), self.frame.shape());
        Taper::overlap(r, f, shift).is_some_and(|window| {
            correlator.load(0, &self.reference, &window, padded, fft).is_ok()
                && correlator.load(1, &self.frame, &window.moved(-shift), padded, fft).is_ok()
        })
    }

    /// Newton's method, with the windows following the shift.
    fn placed(
        &self,
        start: Vec2,
        padded: Shape,
        correlator: &mut Correlator,
        fft: &mut Fft2Cache,
    ) -> Vec2 {
        const ROUNDS: usize = 2;
        let mut shift = start;
        for _ in 0..ROUNDS {
            if !self.load_overlap(shift, padded, correlator, fft) {
                break;
            }
            shift = correlator.maximum_near(shift);
        }
        shift
    }
}
