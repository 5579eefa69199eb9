//! Rotation, scale and shift from spectra.

use stillframe_image::{Image, Point, Shape, Transform, Vec2, math};

use super::correlation::Correlator;
use super::log_polar::{angle_step, log_polar, radius_step};
use super::reduced::{Reduced, full_from_reduced};
use super::refinement::{most_alike, refine};
use super::window::{Frame, Taper};
use super::{PhaseError, PhaseScratch};
use crate::register::ecc::Warp;
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
/// Shifts that are tried for each rotation: the highest may be of two bright stars.
const SHIFTS: usize = 3;
/// Candidates that are refined, beside the two without a measured rotation.
const REFINED: usize = 4;

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
    let candidates: Vec<(FourierMellin, Transform)> =
        candidates.into_iter().map(|c| (c, c.ref_from_frame)).collect();
    let (found, aligned) =
        most_alike(&reduced.0, &reduced.1, &candidates, Warp::Similarity, scratch)?;
    let scale = full_from_reduced(factor);
    let mut transform = scale * aligned * scale.inverse().unwrap_or(Transform::IDENTITY);
    let mut level = factor;
    while level > 1 && side / (level / 2) <= REFINE_SIDE {
        level /= 2;
        let scale = full_from_reduced(level);
        let inverse = scale.inverse().unwrap_or(Transform::IDENTITY);
        let r = Reduced::new(reference, reference_mask, level);
        let f = Reduced::new(frame, frame_mask, level);
        let start = inverse * transform * scale;
        let Some(better) = refine(&r, &f, &start, Warp::Similarity, scratch) else { break };
        transform = scale * better.ref_from_frame * inverse;
    }
    let FourierMellin { confidence, significance, .. } = found;
    Ok(FourierMellin { ref_from_frame: transform, confidence, significance })
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
    // With its place in the order of the rotations: not turned comes first.
    let mut found: Vec<(usize, FourierMellin)> = Vec::new();
    let mut failure = (0.0, 0.0);
    for (place, linear) in linear.into_iter().enumerate() {
        let turned = frame.turned(&linear, plane);
        let Ok(turned) = turned.frame("frame") else { continue };
        if correlator.load(1, &turned, &Taper::whole(plane, 0.15), plane, fft).is_err() {
            continue;
        }
        correlator.correlate(fft);
        let needed = correlator.needed();
        for peak in correlator.peaks(limit, SHIFTS) {
            let significance = peak.significance;
            if significance < needed {
                if significance > failure.0 {
                    failure = (significance, needed);
                }
                continue;
            }
            let confidence = (significance / correlator.highest_apart_from(peak.shift)).max(1.0);
            let ref_from_frame = Transform::translation(middle + peak.shift)
                * linear
                * Transform::translation(Point::default() - frame.centre());
            found.push((place, FourierMellin { ref_from_frame, confidence, significance }));
        }
    }
    if found.is_empty() {
        return Err(PhaseError::NotSignificant { significance: failure.0, needed: failure.1 });
    }
    found.sort_by(|a, b| b.1.significance.total_cmp(&a.1.significance));
    let mut others = 0;
    found.retain(|(place, _)| {
        let is_unturned = *place < 2;
        others += usize::from(!is_unturned);
        is_unturned || others <= REFINED
    });
    Ok(found.into_iter().map(|(_, candidate)| candidate).collect())
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
    // The reference's spectrum at (r, θ) is the frame's at (scale · r, θ − rotation). Not turned
    // at all is likely without any evidence.
    let measured = peaks
        .iter()
        .map(|peak| (peak.shift.dx * angle_step(), math::exp(-peak.shift.dy * radius_step())));
    let found = std::iter::once((0.0, 1.0)).chain(measured).flat_map(|(angle, scale)| {
        [0.0, std::f64::consts::PI]
            .map(|half_turn| Transform::similarity(scale, angle + half_turn, Vec2::default()))
    });
    Ok(found.collect())
}
