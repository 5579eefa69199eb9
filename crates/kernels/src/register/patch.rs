//! Sub-pixel alignment of a tile of a frame to the same tile of the reference.
//!
//! Both tiles are cleaned of hot pixels, freed of their background and of noise from pixel to pixel
//! (a band-pass that suits the stars), and windowed, in floating point. A correlation of the whole
//! search range gives a few candidate shifts, of which the one that makes the tiles most alike where
//! they overlap is refined by Gauss-Newton steps ([`super`]'s `ecc`). The errors are those that the
//! residuals imply, pixel by pixel, with the correlation that the filter gives to the noise.

mod clean;
mod seed;
mod uncertainty;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Point, Shape, Transform, Vec2};
use thiserror::Error;

use self::clean::clean;
use self::seed::{Candidate, SeedScratch, Seeds};
use super::ecc::{Aligned, EccScratch, Failure, Limits, Moving, Template, Warp, align};
use super::filter::{BandPass, FilterScratch};

/// How a tile may be deformed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchWarp {
    /// Shift only.
    Translation,
    /// Shift, and a linear part about the tile's centre that is held near 0.
    Affine {
        /// Expected displacement of the tile's edges by it, pixels.
        edge_px: f64,
    },
}

/// How to align.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchParams {
    /// Deformation.
    pub warp: PatchWarp,
    /// FWHM of the stars, pixels: sets the band that is looked at.
    pub fwhm_px: f64,
    /// Largest distance of the result from the start, pixels, along each axis.
    pub max_shift_px: f64,
    /// Gauss-Newton iterations, 1 to 50.
    pub max_iterations: usize,
    /// The iteration ends when a step is shorter than this, pixels.
    pub tolerance_px: f64,
    /// A result with a larger standard error, along the axis where it is largest, is
    /// [`PatchError::NoSignal`]; pixels.
    pub max_sigma_px: f64,
}

impl Default for PatchParams {
    fn default() -> Self {
        Self {
            warp: PatchWarp::Translation,
            fwhm_px: 3.0,
            max_shift_px: 16.0,
            max_iterations: 30,
            tolerance_px: 0.003,
            max_sigma_px: 0.5,
        }
    }
}

/// Where a tile of the frame lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchAlignment {
    /// `ref_from_frame` at the tile's centre: add it to a position in the frame's tile to get the
    /// position in the reference's tile; pixels.
    pub shift: Vec2,
    /// Linear part of `ref_from_frame` minus the identity, about the tile's centre, row-major; 0
    /// for a translation.
    pub linear: [[f64; 2]; 2],
    /// Covariance of `shift`: xx, xy, yy; square pixels.
    pub covariance: [f64; 3],
    /// Correlation coefficient of the aligned, band-passed tiles.
    pub cc: f64,
    /// Brightness of the frame in units of the reference.
    pub gain: f64,
    /// `gain` in units of the error that it would have if the frame were empty.
    pub significance: f64,
    /// Gauss-Newton iterations done.
    pub iterations: usize,
}

impl PatchAlignment {
    /// Standard error along the axis where it is largest, pixels.
    pub fn sigma_px(&self) -> f64 {
        let [xx, xy, yy] = self.covariance;
        let half = 0.5 * (xx - yy);
        (0.5 * (xx + yy) + (half * half + xy * xy).sqrt()).max(0.0).sqrt()
    }
}

/// Why a tile has no alignment.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Too little structure in common for a measurement.
    #[error("no signal: standard error {sigma_px:.2} px, {significance:.1} σ of likeness")]
    NoSignal {
        /// Standard error along the worse axis, pixels; infinite where it could not be estimated.
        sigma_px: f64,
        /// Likeness of the tiles in units of its standard error.
        significance: f64,
    },
    /// Too few good pixels.
    #[error("only {found} of {total} pixels of the {tile} are good")]
    TooFewPixels {
        /// "reference" or "frame".
        tile: &'static str,
        /// Good pixels.
        found: usize,
        /// Pixels of the tile.
        total: usize,
    },
    /// The best alignment lies outside the search range.
    #[error("the alignment ran {distance_px:.1} px away from its start")]
    OutOfRange {
        /// Distance from the start, pixels.
        distance_px: f64,
    },
    /// The tiles differ in size, or are smaller than 16 pixels.
    #[error(
        "the tiles are {reference} and {frame} pixels; they must be alike, and 16×16 or larger"
    )]
    BadShape {
        /// Size of the reference's tile.
        reference: Shape,
        /// Size of the frame's tile.
        frame: Shape,
    },
}

/// Smallest side of a tile, pixels.
const MIN_SIDE: usize = 16;
/// Smallest share of good pixels.
const MIN_GOOD: f64 = 0.3;
/// Part of each side over which the window rises.
const TAPER: f64 = 0.12;
/// Likeness in standard errors that chance does not reach in a search over a thousand places.
const MIN_SIGNIFICANCE: f64 = 5.5;
/// Farthest that Gauss-Newton may move from a candidate, pixels.
const MAX_REFINEMENT_PX: f64 = 4.0;

/// Buffers, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct PatchScratch {
    cleaned: Buffer,
    moving: MovingTile,
    filter: FilterScratch,
    seed: SeedScratch,
    ecc: EccScratch,
    filtered: Buffer,
}

/// An image that starts without pixels.
#[derive(Clone, Debug)]
struct Buffer(Image<f32>);

impl Default for Buffer {
    fn default() -> Self {
        Self(Image::filled(Shape::new(0, 0), 0.0))
    }
}

#[derive(Clone, Debug)]
struct MovingTile(Moving);

impl Default for MovingTile {
    fn default() -> Self {
        let empty = || Image::filled(Shape::new(0, 0), 0.0);
        Self(Moving { image: empty(), valid: empty() })
    }
}

/// A tile of the reference, prepared for many frames.
#[derive(Clone, Debug)]
pub struct PatchReference {
    params: PatchParams,
    filter: BandPass,
    template: Template,
    seeds: Seeds,
}

impl PatchReference {
    /// Prepares `reference`, `height × width`; pixels whose `mask` is not 0, or that are not finite,
    /// do not count.
    ///
    /// # Errors
    /// [`PatchError::TooFewPixels`], [`PatchError::BadShape`].
    pub fn new(
        reference: &Image<f32>,
        mask: Option<&Image<u8>>,
        params: &PatchParams,
        scratch: &mut PatchScratch,
    ) -> Result<Self, PatchError> {
        let shape = reference.shape();
        if shape.width.min(shape.height) < MIN_SIDE {
            return Err(PatchError::BadShape { reference: shape, frame: shape });
        }
        // Half of the stars' width keeps their sharpness, three times takes off what is no star.
        let sigma = params.fwhm_px / 2.355;
        let filter = BandPass::new((0.5 * sigma).clamp(0.6, 2.0), (3.0 * sigma).clamp(2.5, 8.0));
        let (mut image, mut valid) = (reference.clone(), reference.clone());
        prepare("reference", reference, mask, params, &filter, (&mut image, &mut valid), scratch)?;
        let seeds = Seeds::new(&image, &valid, params.max_shift_px, &mut scratch.seed);
        for (y, wy) in taper(shape.height).enumerate() {
            for (v, wx) in valid.row_mut(y).iter_mut().zip(taper(shape.width)) {
                *v *= wx * wy;
            }
        }
        let template = Template::new(image, valid);
        Ok(Self { params: params.clone(), filter, template, seeds })
    }

    /// Where `frame`, the same tile of a frame, lies; `start` is the expected `ref_from_frame`.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub fn align(
        &self,
        frame: &Image<f32>,
        mask: Option<&Image<u8>>,
        start: Vec2,
        scratch: &mut PatchScratch,
    ) -> Result<PatchAlignment, PatchError> {
        let (shape, params) = (self.template.image.shape(), &self.params);
        if frame.shape() != shape {
            return Err(PatchError::BadShape { reference: shape, frame: frame.shape() });
        }
        let mut moving = std::mem::take(&mut scratch.moving);
        let target = (&mut moving.0.image, &mut moving.0.valid);
        let prepared = prepare("frame", frame, mask, params, &self.filter, target, scratch);
        let result = prepared.and_then(|()| self.search(&moving.0, start, scratch));
        scratch.moving = moving;
        result
    }

    /// Refines the candidates, the best first, until one is significant.
    fn search(
        &self,
        moving: &Moving,
        start: Vec2,
        scratch: &mut PatchScratch,
    ) -> Result<PatchAlignment, PatchError> {
        let range = self.params.max_shift_px;
        let candidates = self.seeds.find(&self.template, moving, start, range, &mut scratch.seed);
        let mut failure = PatchError::NoSignal { sigma_px: f64::INFINITY, significance: 0.0 };

        for (tried, candidate) in candidates.iter().enumerate() {
            match self.refine(moving, candidate, start, scratch) {
                Ok(found) => return Ok(found),
                // The failure of the likeliest place says most.
                Err(error) if tried == 0 => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    fn refine(
        &self,
        moving: &Moving,
        candidate: &Candidate,
        start: Vec2,
        scratch: &mut PatchScratch,
    ) -> Result<PatchAlignment, PatchError> {
        let params = &self.params;
        let (warp, edge_px) = match params.warp {
            PatchWarp::Translation => (Warp::Translation, 0.0),
            PatchWarp::Affine { edge_px } => (Warp::Affine, edge_px),
        };
        let limits = Limits {
            max_iterations: params.max_iterations.clamp(1, 50),
            tolerance_px: params.tolerance_px,
            max_distance_px: MAX_REFINEMENT_PX,
            edge_px,
        };
        let from = Transform::translation(-candidate.shift);
        let aligned = align(&self.template, moving, from, warp, &limits, &mut scratch.ecc)
            .map_err(|failure| match failure {
                Failure::RanAway(px) => {
                    let distance_px = px + (candidate.shift - start).norm();
                    PatchError::OutOfRange { distance_px }
                }
                Failure::Undetermined | Failure::Unlike => {
                    PatchError::NoSignal { sigma_px: f64::INFINITY, significance: 0.0 }
                }
            })?;
        self.measured(&aligned, start, scratch)
    }

    fn measured(
        &self,
        aligned: &Aligned,
        start: Vec2,
        scratch: &mut PatchScratch,
    ) -> Result<PatchAlignment, PatchError> {
        let no_signal = PatchError::NoSignal { sigma_px: f64::INFINITY, significance: 0.0 };
        let shape = self.template.image.shape();
        let centre =
            Point::new((shape.width as f64 - 1.0) / 2.0, (shape.height as f64 - 1.0) / 2.0);
        let ref_from_frame = aligned.moving_from_template.inverse().ok_or(no_signal)?;
        let shift = ref_from_frame * centre - centre;
        let m = &ref_from_frame.m;
        let linear = [[m[0][0] - 1.0, m[0][1]], [m[1][0], m[1][1] - 1.0]];
        let errors = uncertainty::errors(&self.template.image, -shift, &self.filter, scratch);
        let found = PatchAlignment {
            shift,
            linear,
            covariance: errors.covariance,
            cc: aligned.cc,
            gain: aligned.gain,
            significance: aligned.gain / errors.empty_gain,
            iterations: aligned.iterations,
        };

        let (sigma_px, significance) = (found.sigma_px(), found.significance);
        let is_measured = sigma_px <= self.params.max_sigma_px && significance >= MIN_SIGNIFICANCE;
        if !is_measured {
            return Err(PatchError::NoSignal { sigma_px, significance });
        }
        let off = shift - start;
        if off.dx.abs().max(off.dy.abs()) > self.params.max_shift_px + 0.5 {
            return Err(PatchError::OutOfRange { distance_px: off.norm() });
        }
        Ok(found)
    }
}

/// Where the tile `frame` lies on the tile `reference` of the same size: `ref_from_frame`, expected
/// near `start`. For many frames on one reference use [`PatchReference`].
///
/// Pixels whose mask is not 0, or that are not finite, do not count. Any linear unit; background and
/// brightness may differ.
///
/// # Errors
/// See [`PatchError`].
///
/// # Source
/// Evangelidis & Psarakis (2008), doi:10.1109/TPAMI.2008.113; Baker & Matthews (2004),
/// doi:10.1023/B:VISI.0000011205.11775.fd.
pub fn align_patch(
    reference: &Image<f32>,
    frame: &Image<f32>,
    reference_mask: Option<&Image<u8>>,
    frame_mask: Option<&Image<u8>>,
    start: Vec2,
    params: &PatchParams,
    scratch: &mut PatchScratch,
) -> Result<PatchAlignment, PatchError> {
    PatchReference::new(reference, reference_mask, params, scratch)?
        .align(frame, frame_mask, start, scratch)
}

/// Cleans and filters a tile: the registration image and the pixels that count.
fn prepare(
    tile: &'static str,
    image: &Image<f32>,
    mask: Option<&Image<u8>>,
    params: &PatchParams,
    filter: &BandPass,
    (out, valid): (&mut Image<f32>, &mut Image<f32>),
    scratch: &mut PatchScratch,
) -> Result<(), PatchError> {
    let total = image.shape().len();
    let found = clean(image, mask, params.fwhm_px, &mut scratch.cleaned.0, valid);
    if (found as f64) < MIN_GOOD * total as f64 {
        return Err(PatchError::TooFewPixels { tile, found, total });
    }
    filter.run(&scratch.cleaned.0, out, &mut scratch.filter);
    Ok(())
}

/// Raised cosine at both ends.
fn taper(length: usize) -> impl Iterator<Item = f32> + Clone {
    let rise = (TAPER * length as f64).max(1.0);
    (0..length).map(move |i| {
        let edge = (i.min(length - 1 - i) as f64 + 0.5) / rise;
        let t = std::f64::consts::PI * edge.min(1.0);
        (0.5 - 0.5 * stillframe_image::math::cos(t)) as f32
    })
}

#[cfg(test)]
mod tests;
