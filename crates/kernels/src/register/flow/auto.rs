//! How smooth a recording's motion is, found by prediction.
//!
//! The right weight of the smoothness depends on the noise and on the motion, and neither is known.
//! But a flow that is right for one half of a frame's pixels predicts the other half, whose noise
//! is independent: one that fits noise, or that flattens the motion, predicts it worse.

use stillframe_image::{Image, Shape};

use super::filter::Preprocessor;
use super::params::{FlowError, FlowParams};
use super::warp::{Interpolation, Warp};
use super::{Flow, FlowField};

/// A choice of `alpha`, and what it was chosen from.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoAlpha {
    /// The choice along x and y.
    pub alpha: [f64; 2],
    /// How badly each candidate predicted the other half of the pixels, from 0 to 1, in the order of
    /// their trial.
    pub tried: Vec<([f64; 2], f64)>,
}

/// Candidates are this factor apart.
const STEP: f64 = 2.0;
/// Most steps away from where the search begins.
const MOST_STEPS: i32 = 4;

/// Chooses `alpha` for `frames` against `reference` (channels of each, neither normalised nor
/// smoothed), beginning with `params.alpha`.
///
/// The rows of every frame are split into even and odd ones; each half is completed by
/// interpolation, preprocessed and registered to the same half of the reference, and judged by how
/// well its flow registers the other half. `alpha` is doubled or halved while that improves, first
/// along both axes together, then along y alone: scanning microscopes expose rows one after the
/// other, so motion changes faster from row to row.
///
/// A few frames spread over a recording are enough. The cost is that of 10 to 20 flows per frame.
///
/// # Errors
/// Those of [`Flow`].
///
/// # Source
/// Stone (1974), doi:10.1111/j.2517-6161.1974.tb00994.x (cross-validation); Batson & Royer (2019),
/// arXiv:1901.11365 (independent halves of one image).
pub fn choose_alpha(
    params: &FlowParams,
    reference: &[Image<f32>],
    frames: &[&[Image<f32>]],
    preprocessor: &mut Preprocessor,
) -> Result<AutoAlpha, FlowError> {
    let shape = reference.first().map_or(Shape::new(0, 0), Image::shape);
    let mut halves = |planes: &[Image<f32>]| {
        [0, 1].map(|parity| {
            let half: Vec<_> = planes.iter().map(|p| half_of_rows(p, parity)).collect();
            let mut out = half.clone();
            preprocessor.run(&half, &mut out);
            out
        })
    };
    let reference = halves(reference);
    let frames: Vec<_> = frames.iter().map(|frame| halves(frame)).collect();
    let mut search = Search {
        params,
        shape,
        reference: &reference,
        frames: &frames,
        scales: Vec::new(),
        tried: Vec::new(),
    };
    let start = params.alpha;
    let both = search.descend(&|k| start.map(|a| a * STEP.powi(k)))?;
    let alpha = search.descend(&|k| [both[0], both[1] * STEP.powi(k)])?;
    Ok(AutoAlpha { alpha, tried: search.tried })
}

/// The rows of one parity, those between them interpolated.
fn half_of_rows(plane: &Image<f32>, parity: usize) -> Image<f32> {
    let height = plane.height();
    Image::from_fn(plane.shape(), |x, y| {
        if y % 2 == parity {
            return plane.at(x, y);
        }
        match (y.checked_sub(1), y + 1 < height) {
            (Some(above), true) => 0.5 * (plane.at(x, above) + plane.at(x, y + 1)),
            (Some(above), false) => plane.at(x, above),
            (None, true) => plane.at(x, y + 1),
            (None, false) => plane.at(x, y),
        }
    })
}

/// Both halves of a frame's channels.
type Halves = [Vec<Image<f32>>; 2];

struct Search<'a> {
    params: &'a FlowParams,
    shape: Shape,
    reference: &'a Halves,
    frames: &'a [Halves],
    /// Per channel, the error at which the score levels off.
    scales: Vec<f64>,
    tried: Vec<([f64; 2], f64)>,
}

impl Search<'_> {
    /// Walks `candidate(0)`, `candidate(±1)`, … downhill; the least before the score rises.
    fn descend(&mut self, candidate: &dyn Fn(i32) -> [f64; 2]) -> Result<[f64; 2], FlowError> {
        let mut best = (0, self.score(candidate(0))?);
        for direction in [1, -1] {
            if best.0 != 0 {
                break;
            }
            for k in 1..=MOST_STEPS {
                let score = self.score(candidate(direction * k))?;
                if score >= best.1 {
                    break;
                }
                best = (direction * k, score);
            }
        }
        Ok(candidate(best.0))
    }

    /// Mean robust error with which the flow of each half registers the other.
    fn score(&mut self, alpha: [f64; 2]) -> Result<f64, FlowError> {
        if let Some(known) = self.tried.iter().find(|t| t.0 == alpha) {
            return Ok(known.1);
        }
        let params = FlowParams { alpha, ..self.params.clone() };
        let channels = self.reference[0].len();
        let mut flow = Flow::new(params, self.shape, channels)?;
        let mut field = FlowField::zero(self.shape);
        let mut errors = vec![Vec::new(); channels];
        for half in [0, 1] {
            flow.set_reference(&self.reference[half])?;
            for frame in self.frames {
                flow.compute_into(&frame[half], None, &mut field)?;
                self.judge(&field, 1 - half, frame, &mut errors);
            }
        }
        if self.scales.is_empty() {
            self.scales = errors.iter_mut().map(|e| scale_of(e)).collect();
        }
        let n = errors.iter().map(Vec::len).sum::<usize>().max(1) as f64;
        let sum: f64 = errors.iter().zip(&self.scales).map(|(e, &k)| robust_sum(e, k)).sum();
        self.tried.push((alpha, sum / n));
        Ok(sum / n)
    }

    /// Appends to `errors` what `field` leaves of the other half of the frame, per channel, without
    /// the outer tenth of the sides, where the flow is guessed rather than seen.
    fn judge(&self, field: &FlowField, half: usize, frame: &Halves, errors: &mut [Vec<f32>]) {
        let shape = self.shape;
        let warp = Warp {
            shape,
            per_spacing: [1.0; 2],
            interpolation: Interpolation::Cubic,
            positions: self.params.positions,
        };
        let (u, v) = (field.u.pixels(), field.v.pixels());
        let mut warped = vec![0.0; shape.len()];
        let mut mask = warped.clone();
        warp.mask(u, v, &mut mask);
        let (left, top) = (shape.width / 10, shape.height / 10);
        for ((moving, fixed), errors) in frame[half].iter().zip(&self.reference[half]).zip(errors) {
            warp.run(moving.pixels(), fixed.pixels(), u, v, &mut warped);
            for y in top..shape.height - top {
                for i in y * shape.width + left..(y + 1) * shape.width - left {
                    if mask[i] > 0.0 {
                        errors.push(warped[i] - fixed.pixels()[i]);
                    }
                }
            }
        }
    }
}

/// Twice the standard deviation of normal errors with this median.
fn scale_of(errors: &mut [f32]) -> f64 {
    let mut sizes: Vec<f32> = errors.iter().map(|e| e.abs()).collect();
    let middle = sizes.len() / 2;
    if sizes.is_empty() {
        return 1.0;
    }
    let median = *sizes.select_nth_unstable_by(middle, f32::total_cmp).1;
    (2.0 * 1.4826 * f64::from(median)).max(1e-6)
}

/// Sum of `e² / (e² + scale²)`: cells that flash count as little as possible, for a flow that
/// deforms them to explain the flash would predict it in both halves.
///
/// # Source
/// Geman & McClure (1987), Bull. Int. Stat. Inst. 52, 5-21.
fn robust_sum(errors: &[f32], scale: f64) -> f64 {
    let terms = errors.iter().map(|&e| {
        let squared = f64::from(e) * f64::from(e);
        squared / (squared + scale * scale)
    });
    terms.sum()
}
