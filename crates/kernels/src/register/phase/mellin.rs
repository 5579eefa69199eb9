//! Rotation, scale and shift from spectra.

use stillframe_image::{Image, Point, Shape, Transform, Vec2, math};

use super::correlation::Correlator;
use super::log_polar::{angle_step, log_polar, radius_step};
use super::reduced::{Reduced, full_from_reduced};
use super::refinement::{Refined, refine};
use super::window::{Frame, Taper};
use super::{PhaseError, PhaseScratch};
use crate::register::fft2::{Fft2Cache, Spectrum, fast_len};

/// How an image lies on another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FourierMellin {
    /// A similarity that takes positions in the frame to positions in the reference.
    pub ref_from_frame: Transform,
    /// Highest over second-highest peak of the correlation after rotation and scale are undone, at
    /// least 1.
    pub confidence: f64,
    /// Height of that peak in standard deviations.
    pub significance: f64,
}

/// Side to which images are reduced for the search, pixels.
const SEARCH_SIDE: usize = 384;
/// Largest side at which the result is refined, pixels.
const REFINE_SIDE: usize = 2048;
/// Pairs of rotation and scale that are tried, each also turned by 180°.
const CANDIDATES: usize = 5;
/// Largest scale change in either direction, with a margin.
const MAX_SCALE: f64 = 1.3;
/// Band of the search, pixels of the reduced images.
const SMOOTH_PX: f64 = 1.0;
const FLATTEN_PX: f64 = 24.0;
/// Candidates that are refined.
const REFINED: usize = 4;
/// Part of the likeness that noise allows for, below which a result is not believed: seeing and a
/// partial overlap take some of it, a wrong rotation takes most.
const MIN_LIKENESS: f64 = 0.5;

/// Rotation (any), scale (up to 1.3 either way) and shift `ref_from_frame` of an image of nebulae,
/// a planet or anything with structure; not mirrored.
///
/// Sizes may differ. Pixels whose mask is not 0, or that are not finite, do not count. The result is
/// refined by Gauss-Newton steps on the images, to some hundredths of a pixel where they are alike.
/// Some 40 transforms of 384×384, and a few passes over the pixels.
///
/// # Errors
/// [`PhaseError::Flat`], [`PhaseError::NotSignificant`], [`PhaseError::Unlike`].
///
/// # Source
/// Reddy & Chatterji (1996), doi:10.1109/83.506761. We differ: each frequency is standardised over
/// the directions instead of weighted with a fixed high-pass; several peaks are tried; the result is
/// refined.
pub fn fourier_mellin(
    reference: &Image<f32>,
    frame: &Image<f32>,
    reference_mask: Option<&Image<u8>>,
    frame_mask: Option<&Image<u8>>,
    scratch: &mut PhaseScratch,
) -> Result<FourierMellin, PhaseError> {
    // Checks both before anything is computed.
    Frame::new(reference, reference_mask, "reference")?;
    Frame::new(frame, frame_mask, "frame")?;
    let longest = |i: &Image<f32>| i.width().max(i.height());
    let side = longest(reference).max(longest(frame));
    let factor = side.div_ceil(SEARCH_SIDE);
    let reduced =
        (Reduced::new(reference, reference_mask, factor), Reduced::new(frame, frame_mask, factor));
    let candidates = search(&reduced.0, &reduced.1, &mut scratch.correlator, &mut scratch.fft)?;
    let (found, aligned) = alike(&reduced.0, &reduced.1, &candidates, scratch)?;
    let scale = full_from_reduced(factor);
    let mut transform = scale * aligned * scale.inverse().unwrap_or(Transform::IDENTITY);
    let mut level = factor;
    while level > 1 && side / (level / 2) <= REFINE_SIDE {
        level /= 2;
        let scale = full_from_reduced(level);
        let inverse = scale.inverse().unwrap_or(Transform::IDENTITY);
        let r = Reduced::new(reference, reference_mask, level);
        let f = Reduced::new(frame, frame_mask, level);
        let Some(better) = refine(&r, &f, &(inverse * transform * scale), scratch) else { break };
        transform = scale * better.ref_from_frame * inverse;
    }
    let FourierMellin { confidence, significance, .. } = found;
    Ok(FourierMellin { ref_from_frame: transform, confidence, significance })
}

/// Of the candidates the one that makes the images most alike, and its transform refined.
fn alike(
    reference: &Reduced,
    frame: &Reduced,
    candidates: &[FourierMellin],
    scratch: &mut PhaseScratch,
) -> Result<(FourierMellin, Transform), PhaseError> {
    let mut best: Option<(FourierMellin, Refined)> = None;
    for candidate in candidates {
        let Some(refined) = refine(reference, frame, &candidate.ref_from_frame, scratch) else {
            continue;
        };
        if best.as_ref().is_none_or(|b| refined.correlation > b.1.correlation) {
            best = Some((*candidate, refined));
        }
    }
    let Some((candidate, refined)) = best else {
        return Err(PhaseError::Unlike { correlation: 0.0, expected: 1.0 });
    };
    let Refined { correlation, expected, ref_from_frame } = refined;
    if correlation < MIN_LIKENESS * expected {
        return Err(PhaseError::Unlike { correlation, expected });
    }
    Ok((candidate, ref_from_frame))
}

/// Candidates on reduced images, the most significant first.
fn search(
    reference: &Reduced,
    frame: &Reduced,
    correlator: &mut Correlator,
    fft: &mut Fft2Cache,
) -> Result<Vec<FourierMellin>, PhaseError> {
    let (r, f) = (reference.frame("reference")?, frame.frame("frame")?);
    let linear = rotations(&r, &f, correlator, fft)?;
    // Wide enough for the turned frame, and for a shift of half a side.
    let side = |s: Shape| s.width.max(s.height);
    let longest = side(r.shape()).max((1.2 * side(f.shape()) as f64) as usize);
    let plane = Shape::new(longest, longest);
    let limit = Vec2::new(0.5 * longest as f64, 0.5 * longest as f64);
    let middle = Vec2::new((longest as f64 - 1.0) / 2.0, (longest as f64 - 1.0) / 2.0);
    correlator.set_band(SMOOTH_PX, FLATTEN_PX);
    correlator.load(0, &r, &Taper::whole(r.shape(), 0.15), plane, fft)?;
    let mut found: Vec<FourierMellin> = Vec::new();
    let mut failure = (0.0, 0.0);
    for linear in linear {
        let turned = frame.turned(&linear, plane);
        let Ok(turned) = turned.frame("frame") else { continue };
        if correlator.load(1, &turned, &Taper::whole(plane, 0.15), plane, fft).is_err() {
            continue;
        }
        correlator.correlate(fft);
        let Some(&peak) = correlator.peaks(limit, 1).first() else { continue };
        if peak.significance < correlator.needed() {
            if peak.significance > failure.0 {
                failure = (peak.significance, correlator.needed());
            }
            continue;
        }
        let next = correlator.highest_apart_from(peak.shift);
        let ref_from_frame = Transform::translation(middle + peak.shift)
            * linear
            * Transform::translation(Point::default() - frame.centre());
        let confidence = (peak.significance / next).max(1.0);
        found.push(FourierMellin { ref_from_frame, confidence, significance: peak.significance });
    }
    if found.is_empty() {
        return Err(PhaseError::NotSignificant { significance: failure.0, needed: failure.1 });
    }
    found.sort_by(|a, b| b.significance.total_cmp(&a.significance));
    found.truncate(REFINED);
    Ok(found)
}

/// Likely rotations and scales (`ref_from_frame` without shift), each with its half turn.
fn rotations(
    reference: &Frame<'_>,
    frame: &Frame<'_>,
    correlator: &mut Correlator,
    fft: &mut Fft2Cache,
) -> Result<Vec<Transform>, PhaseError> {
    let (r, f) = (reference.shape(), frame.shape());
    let side = fast_len([r.width, r.height, f.width, f.height].into_iter().fold(0, usize::max));
    let square = Shape::new(side, side);
    let mut spectrum = |image: &Frame<'_>| {
        let mut plane = Image::filled(square, 0.0);
        let window = Taper::whole(image.shape(), 0.5);
        image.write(&window, &mut plane).ok_or(PhaseError::Flat { image: image.name() })?;
        let mut spectrum = Spectrum::default();
        fft.plan(square).forward(&plane, &mut spectrum);
        Ok(log_polar(&spectrum, side))
    };
    let (a, b) = (spectrum(reference)?, spectrum(frame)?);
    correlator.set_band(0.7, 1e3);
    correlator.load_plane(0, &a, fft);
    correlator.load_plane(1, &b, fft);
    correlator.correlate(fft);
    let max_radii = math::ln(MAX_SCALE) / radius_step();
    let peaks = correlator.peaks(Vec2::new(a.width() as f64, max_radii), CANDIDATES);
    let mut found = Vec::with_capacity(2 * peaks.len());
    for peak in peaks {
        // The reference's spectrum at (r, θ) is the frame's at (scale · r, θ − rotation).
        let angle = peak.shift.dx * angle_step();
        let scale = math::exp(-peak.shift.dy * radius_step());
        for half_turn in [0.0, std::f64::consts::PI] {
            found.push(Transform::similarity(scale, angle + half_turn, Vec2::default()));
        }
    }
    Ok(found)
}
