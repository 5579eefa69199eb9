//! The gauge: where every frame lies, to a similarity, an affine map or a homography.

use stillframe_image::{Image, Point, Shape, Transform, Vec2};
use stillframe_kernels::register::fit::Model;
use stillframe_kernels::register::phase::{PhaseScratch, fourier_mellin};
use stillframe_kernels::register::star_match::{MatchParams, MatchStar, ReferenceIndex};

use super::burst::{Burst, FrameBuffer};
use super::error::StackError;
use super::geometry::MatchedFrame;
use super::light::LightPhases;
use super::measure::FrameMeasure;
use crate::recipe::{GaugeMethod, GaugeModel, GaugeRecipe, ReferenceFrame};

/// How a frame was registered.
#[derive(Clone, Debug)]
pub(super) enum Gauged {
    /// By its stars.
    Stars { matched: MatchedFrame, mirrored: bool },
    /// By phase correlation.
    Phase { ref_from_frame: Transform },
    /// By what its tiles have in common, where the recipe wants no gauge.
    Tiles { ref_from_frame: Transform },
    /// Taken as it lies.
    Identity,
    /// Not at all.
    Failed { reason: String },
}

/// How a frame of the solution was gauged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GaugedBy {
    /// A transform of that model between its stars and those of the reference.
    Stars { model: Model, mirrored: bool },
    /// Phase correlation.
    Phase,
    /// What its tiles have in common.
    Tiles,
    /// Nothing: it is taken as it lies.
    Nothing,
}

impl Gauged {
    /// The frame's transform and stars, and how they were found; or why there are none.
    pub(super) fn into_matched(self) -> Result<(MatchedFrame, GaugedBy), String> {
        // Without stars the transform stays what was found on the image.
        let starless = |ref_from_frame| MatchedFrame {
            stars: Vec::new(),
            ref_from_frame,
            model: Model::Similarity,
        };
        Ok(match self {
            Self::Stars { matched, mirrored } => {
                let by = GaugedBy::Stars { model: matched.model, mirrored };
                (matched, by)
            }
            Self::Phase { ref_from_frame } => (starless(ref_from_frame), GaugedBy::Phase),
            Self::Tiles { ref_from_frame } => (starless(ref_from_frame), GaugedBy::Tiles),
            Self::Identity => (starless(Transform::IDENTITY), GaugedBy::Nothing),
            Self::Failed { reason } => return Err(reason),
        })
    }
}

/// The best frame near the middle of the burst: many stars, small FWHM, central in time, so that
/// no frame is turned farther away from it than need be.
pub(super) fn choose_reference(measures: &[FrameMeasure], recipe: &GaugeRecipe) -> usize {
    if let ReferenceFrame::Frame(index) = recipe.reference {
        return index;
    }
    let n = measures.len() as f64;
    let most = measures.iter().map(|m| m.stars.len()).max().unwrap_or(0).max(1) as f64;
    let sharpest = measures.iter().filter_map(|m| m.metrics.fwhm_px).fold(f32::INFINITY, f32::min);
    let score = |i: usize| {
        let m = &measures[i];
        let off_centre = ((i as f64 + 0.5) / n - 0.5) / 0.25;
        let sharpness = m.metrics.fwhm_px.map_or(0.5, |f| f64::from(sharpest / f));
        (m.stars.len() as f64 / most) * sharpness * sharpness / (1.0 + off_centre * off_centre)
    };
    (0..measures.len()).max_by(|a, b| score(*a).total_cmp(&score(*b)).then(b.cmp(a))).unwrap_or(0)
}

/// Stars of a frame for matching.
pub(super) fn match_stars(measure: &FrameMeasure) -> Vec<MatchStar> {
    measure
        .stars
        .iter()
        .map(|s| MatchStar { position: s.position(), sigma_px: s.sigma_px, flux: s.flux })
        .collect()
}

/// Registers every frame to frame `reference`.
///
/// # Errors
/// If the run is cancelled.
pub(super) fn gauge(
    burst: &Burst,
    measures: &[FrameMeasure],
    reference: usize,
    recipe: &GaugeRecipe,
    phases: &LightPhases<'_>,
) -> Result<Vec<Gauged>, StackError> {
    let n = measures.len();
    match recipe.method {
        GaugeMethod::None => return Ok(vec![Gauged::Identity; n]),
        GaugeMethod::Phase => {
            let mut gauged = vec![Gauged::Identity; n];
            let others: Vec<usize> = (0..n).filter(|i| *i != reference).collect();
            by_phase(burst, reference, &others, recipe, phases, &mut gauged)?;
            return Ok(gauged);
        }
        GaugeMethod::Stars => {}
    }
    let stars: Vec<Vec<MatchStar>> = measures.iter().map(match_stars).collect();
    let params = MatchParams {
        max_scale_change: recipe.max_scale_change,
        max_model: match recipe.model {
            GaugeModel::Similarity => Model::Similarity,
            GaugeModel::Affine => Model::Affine,
            GaugeModel::Auto | GaugeModel::Homography => Model::Homography,
        },
        ..MatchParams::default()
    };
    let index = ReferenceIndex::new(&stars[reference]);
    let mut gauged = phases.map(
        n,
        || (),
        |i, ()| {
            if i == reference {
                return stars_gauge(&stars[i], Transform::IDENTITY, Model::Similarity, false);
            }
            match index.match_frame(&stars[i], &params) {
                Ok(m) => stars_gauge(&stars[i], m.ref_from_frame, m.model, m.mirrored),
                Err(e) => Gauged::Failed { reason: e.to_string() },
            }
        },
    )?;
    through_neighbours(&stars, &params, &mut gauged);
    let failed: Vec<usize> =
        (0..n).filter(|&i| matches!(gauged[i], Gauged::Failed { .. })).collect();
    by_phase(burst, reference, &failed, recipe, phases, &mut gauged)?;
    for g in &mut gauged {
        check_limits(g, burst.spec.shape, recipe);
    }
    Ok(gauged)
}

fn stars_gauge(stars: &[MatchStar], t: Transform, model: Model, mirrored: bool) -> Gauged {
    let matched = MatchedFrame { stars: stars.to_vec(), ref_from_frame: t, model };
    Gauged::Stars { matched, mirrored }
}

/// A frame that shares too little with the reference is matched with the nearest frame that could
/// be; the joint solution then ties it to all.
fn through_neighbours(stars: &[Vec<MatchStar>], params: &MatchParams, gauged: &mut [Gauged]) {
    let n = gauged.len();
    let mut progress = true;
    while progress {
        progress = false;
        for i in 0..n {
            if !matches!(gauged[i], Gauged::Failed { .. }) {
                continue;
            }
            let nearest = (0..n)
                .filter_map(|k| match &gauged[k] {
                    Gauged::Stars { matched, mirrored } => {
                        Some((k, matched.ref_from_frame, matched.model, *mirrored))
                    }
                    _ => None,
                })
                .min_by_key(|(k, ..)| k.abs_diff(i));
            let Some((k, ref_from_neighbour, model, mirrored)) = nearest else { return };
            // Only a frame right beside it adds something that the reference did not have.
            if k.abs_diff(i) > 1 {
                continue;
            }
            if let Ok(m) = ReferenceIndex::new(&stars[k]).match_frame(&stars[i], params) {
                let t = ref_from_neighbour * m.ref_from_frame;
                gauged[i] = stars_gauge(&stars[i], t, model.max(m.model), mirrored != m.mirrored);
                progress = true;
            }
        }
    }
}

/// Longest side of the images that phase correlation works on.
const PHASE_SIDE: usize = 1024;

/// Registers `frames` by phase correlation with rotation; those that it cannot register stay as
/// they are, with its reason added.
fn by_phase(
    burst: &Burst,
    reference: usize,
    frames: &[usize],
    recipe: &GaugeRecipe,
    phases: &LightPhases<'_>,
    gauged: &mut [Gauged],
) -> Result<(), StackError> {
    if frames.is_empty() {
        return Ok(());
    }
    let bin = burst.spec.shape.width.max(burst.spec.shape.height).div_ceil(PHASE_SIDE).max(1);
    let small = binned(burst, reference, bin, &mut FrameBuffer::new())?;
    let results = phases.map(
        frames.len(),
        || (FrameBuffer::new(), PhaseScratch::default()),
        |k, (buffer, scratch)| {
            let frame = binned(burst, frames[k], bin, buffer).map_err(|e| e.to_string())?;
            fourier_mellin(&small.0, &frame.0, Some(&small.1), Some(&frame.1), scratch)
                .map(|found| unbin(found.ref_from_frame, bin))
                .map_err(|e| e.to_string())
        },
    )?;
    for (&i, result) in frames.iter().zip(results) {
        gauged[i] = match result {
            Ok(ref_from_frame) => Gauged::Phase { ref_from_frame },
            Err(phase) => Gauged::Failed {
                reason: match &gauged[i] {
                    Gauged::Failed { reason } => format!("{reason}; by phase correlation: {phase}"),
                    _ => phase,
                },
            },
        };
        check_limits(&mut gauged[i], burst.spec.shape, recipe);
    }
    Ok(())
}

/// The transform of full-size pixels, from that of images binned by `bin`.
fn unbin(small: Transform, bin: usize) -> Transform {
    let b = bin as f64;
    let centre = 0.5 * (b - 1.0);
    let full_from_small = Transform::similarity(b, 0.0, Vec2::new(centre, centre));
    let small_from_full = full_from_small.inverse().expect("binning is invertible");
    full_from_small * small * small_from_full
}

/// A frame (green of a colour frame) averaged over squares of `bin` pixels, and its mask.
fn binned(
    burst: &Burst,
    frame: usize,
    bin: usize,
    buffer: &mut FrameBuffer,
) -> Result<(Image<f32>, Image<u8>), StackError> {
    let shape = burst.spec.shape;
    burst.read(frame, burst.spec.planes / 2, shape.rect(), buffer)?;
    let mut green = Image::filled(Shape::new(0, 0), 0.0);
    let pixels = match burst.spec.cfa {
        None => &buffer.pixels,
        Some(cfa) => {
            stillframe_kernels::ops::demosaic::green_plane(&buffer.pixels, cfa, &mut green);
            &green
        }
    };
    let small = Shape::new(shape.height / bin, shape.width / bin);
    let mut bits = Image::filled(small, 0u8);
    let image = Image::from_fn(small, |x, y| {
        let (mut sum, mut n) = (0.0f64, 0.0f64);
        for yy in y * bin..(y + 1) * bin {
            for xx in x * bin..(x + 1) * bin {
                if buffer.mask.at(xx, yy) & stillframe_image::mask::NO_DATA == 0 {
                    sum += f64::from(pixels.at(xx, yy));
                    n += 1.0;
                }
            }
        }
        if n > 0.0 {
            (sum / n) as f32
        } else {
            bits.set(x, y, stillframe_image::mask::NO_DATA);
            0.0
        }
    });
    Ok((image, bits))
}

/// Refuses a transform beyond the recipe's limits.
fn check_limits(gauged: &mut Gauged, shape: Shape, recipe: &GaugeRecipe) {
    let t = match gauged {
        Gauged::Stars { matched, .. } => matched.ref_from_frame,
        Gauged::Phase { ref_from_frame } => *ref_from_frame,
        Gauged::Tiles { .. } | Gauged::Identity | Gauged::Failed { .. } => return,
    };
    let change = t.scale().max(1.0 / t.scale()) - 1.0;
    let overlap = overlap_fraction(&t, shape);
    if change > recipe.max_scale_change {
        let reason = format!(
            "its scale differs by {:.0} % from the reference, the recipe allows {:.0} %",
            100.0 * change,
            100.0 * recipe.max_scale_change
        );
        *gauged = Gauged::Failed { reason };
    } else if overlap < recipe.min_overlap {
        let reason = format!(
            "it shares {:.0} % of its area with the reference, the recipe needs {:.0} %",
            100.0 * overlap,
            100.0 * recipe.min_overlap
        );
        *gauged = Gauged::Failed { reason };
    }
}

/// Share of the frame that falls inside the reference, on a raster of points.
fn overlap_fraction(ref_from_frame: &Transform, shape: Shape) -> f64 {
    const SIDE: usize = 32;
    let (w, h) = (shape.width as f64, shape.height as f64);
    let at = |k: usize, size: f64| (k as f64 + 0.5) / SIDE as f64 * size - 0.5;
    let inside = (0..SIDE * SIDE)
        .filter(|k| {
            let p = *ref_from_frame * Point::new(at(k % SIDE, w), at(k / SIDE, h));
            p.x >= -0.5 && p.y >= -0.5 && p.x <= w - 0.5 && p.y <= h - 0.5
        })
        .count();
    inside as f64 / (SIDE * SIDE) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binned_transforms_scale_up() {
        let full = Transform::similarity(1.01, 0.1, Vec2::new(30.0, -12.0));
        let to_small = Transform::similarity(4.0, 0.0, Vec2::new(1.5, 1.5)).inverse().unwrap();
        let small = to_small * full * to_small.inverse().unwrap();
        let back = unbin(small, 4);
        let p = Point::new(100.0, 200.0);
        assert!((back * p).distance(full * p) < 1e-9);
    }

    #[test]
    fn overlap_of_a_half_shifted_frame_is_a_half() {
        let shift = Transform::translation(Vec2::new(100.0, 0.0));
        let f = overlap_fraction(&shift, Shape::new(50, 200));
        assert!((f - 0.5).abs() < 0.02);
    }
}
