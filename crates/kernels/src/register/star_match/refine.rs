//! The best transform that all stars support, and how rich it may be.

use stillframe_image::{Point, Transform, math};

use super::grid::PointGrid;
use super::{MatchParams, MatchStar};
use crate::register::fit::{Model, RobustFit, fit_robust};

/// Result of the refinement; indices into the full lists.
pub(super) struct Refined {
    pub(super) ref_from_frame: Transform,
    pub(super) model: Model,
    pub(super) pairs: Vec<(u32, u32)>,
    pub(super) rms_px: f64,
}

/// Matching and fitting alternate this often: each round the tolerance follows the residuals.
const ROUNDS: usize = 3;
/// Smallest standard error of a centroid that is believed, pixels.
const MIN_SIGMA_PX: f64 = 0.02;

pub(super) struct Lists<'a> {
    pub(super) reference: &'a [MatchStar],
    pub(super) grid: &'a PointGrid,
    /// Stars of the reference per square pixel.
    pub(super) density: f64,
    pub(super) frame: &'a [MatchStar],
}

impl Lists<'_> {
    /// Improves `start`, whose residuals are about `rms_px`. `None` if fewer than three stars are
    /// left.
    pub(super) fn refine(
        &self,
        start: Transform,
        rms_px: f64,
        params: &MatchParams,
    ) -> Option<Refined> {
        let mut transform = start;
        let mut model = Model::Similarity;
        let mut scatter = rms_px.max(params.tolerance_px / 3.0);
        let mut kept = Vec::new();
        let mut rms = rms_px;
        for round in 0..ROUNDS {
            // The first round only collects the faint stars.
            let max_model = if round == 0 { Model::Similarity } else { params.max_model };
            let found = self.nearest_pairs(&transform, 4.0 * scatter);
            let pairs = self.weighted(&found, &transform);
            let chosen = choose(&pairs, &transform, self.frame, max_model)?;
            (model, transform) = (chosen.0, chosen.1.transform);
            kept = Vec::with_capacity(found.len());
            let (mut sum, mut n) = (0.0, 0.0);
            for ((pair, f), factor) in pairs.iter().zip(&found).zip(&chosen.1.factors) {
                if *factor > 0.0 {
                    sum += (transform * pair.0 - pair.1).norm_squared();
                    n += 1.0;
                    kept.push(*f);
                }
            }
            if kept.len() < 3 {
                return None;
            }
            rms = f64::sqrt(sum / n);
            scatter = rms.max(0.25);
        }
        Some(Refined { ref_from_frame: transform, model, pairs: kept, rms_px: rms })
    }

    /// Each star of the reference with the star of the frame that lands nearest to it.
    fn nearest_pairs(&self, transform: &Transform, radius: f64) -> Vec<(u32, u32)> {
        // Beyond this, one place in six has a star by chance.
        let radius = radius.min((0.16 / (std::f64::consts::PI * self.density)).sqrt());
        let mut found: Vec<(u32, f64, u32)> = self
            .frame
            .iter()
            .enumerate()
            .filter_map(|(i, s)| {
                let (r, d) = self.grid.nearest(*transform * s.position, radius)?;
                Some((r, d, i as u32))
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        found.dedup_by_key(|f| f.0);
        found.into_iter().map(|(r, _, f)| (r, f)).collect()
    }

    /// Weights 1/σ², where σ holds the centroid errors of both stars and the scatter that they do
    /// not explain (distortion, seeing), without which the brightest stars alone would decide.
    fn weighted(&self, found: &[(u32, u32)], transform: &Transform) -> Vec<(Point, Point, f64)> {
        let scale = transform.scale();
        let mut excess: Vec<f64> = Vec::with_capacity(found.len());
        let mut pairs: Vec<(Point, Point, f64)> = Vec::with_capacity(found.len());
        for &(r, f) in found {
            let (star, reference) = (&self.frame[f as usize], &self.reference[r as usize]);
            let (s, t) = (f64::from(star.sigma_px) * scale, f64::from(reference.sigma_px));
            let variance = (s * s + t * t).max(MIN_SIGMA_PX * MIN_SIGMA_PX);
            let variance = if variance.is_finite() { variance } else { 1.0 };
            let residual = *transform * star.position - reference.position;
            // The median of |r|² for a variance of 1 per axis is 2 ln 2.
            excess.push(residual.norm_squared() / (2.0 * std::f64::consts::LN_2) - variance);
            pairs.push((star.position, reference.position, variance));
        }
        let middle = excess.len() / 2;
        let unexplained = if excess.is_empty() {
            0.0
        } else {
            excess.select_nth_unstable_by(middle, f64::total_cmp).1.max(0.0)
        };
        for pair in &mut pairs {
            pair.2 = 1.0 / (pair.2 + unexplained);
        }
        pairs
    }
}

/// Evidence that a richer model must have over a simpler one: a factor of about 150 in probability.
const MIN_BIC_GAIN: f64 = 10.0;

/// What a richer model needs beside evidence, so that it is safe where no star was matched: pairs,
/// and how far these reach in every direction compared with all the stars of the frame.
const fn needs(model: Model) -> (usize, f64) {
    match model {
        Model::Similarity => (2, 0.0),
        Model::Affine => (12, 0.5),
        Model::Homography => (24, 0.7),
    }
}

/// The simplest model that the pairs do not contradict.
///
/// # Source
/// Schwarz (1978), doi:10.1214/aos/1176344136, on residuals clipped at Tukey's limit.
fn choose(
    pairs: &[(Point, Point, f64)],
    start: &Transform,
    frame: &[MatchStar],
    max_model: Model,
) -> Option<(Model, RobustFit)> {
    const SIMPLE_ITERATIONS: usize = 10;
    const RICH_ITERATIONS: usize = 3;
    let simple = fit_robust(Model::Similarity, pairs, start, 1e-3, SIMPLE_ITERATIONS)?;
    let reach = reach(pairs, &simple.factors, frame);
    let mut fits = vec![(Model::Similarity, simple)];
    for model in [Model::Affine, Model::Homography] {
        let (min_pairs, min_reach) = needs(model);
        let last = &fits[fits.len() - 1].1;
        let kept = last.factors.iter().filter(|f| **f > 0.0).count();
        if model > max_model || kept < min_pairs || reach < min_reach {
            break;
        }
        let Some(fit) = fit_robust(model, pairs, &last.transform, 1e-3, RICH_ITERATIONS) else {
            break;
        };
        fits.push((model, fit));
    }
    let scale = fits[fits.len() - 1].1.scale;
    let observations = (2 * pairs.len()) as f64;
    let score = |(model, fit): &(Model, RobustFit)| {
        let limit = 4.685 * 4.685 * scale * scale;
        let loss: f64 = pairs
            .iter()
            .map(|(s, t, w)| (w * (fit.transform * *s - *t).norm_squared()).min(limit))
            .sum();
        observations * math::ln((loss / observations).max(1e-12))
            + model.parameters() as f64 * math::ln(observations)
    };
    let mut best = 0;
    for i in 1..fits.len() {
        if score(&fits[i]) < score(&fits[best]) - MIN_BIC_GAIN {
            best = i;
        }
    }
    Some(fits.swap_remove(best))
}

/// How far the pairs reach compared with all stars of the frame: the ratio of standard deviations
/// in the direction where it is smallest.
fn reach(pairs: &[(Point, Point, f64)], factors: &[f64], frame: &[MatchStar]) -> f64 {
    let used = pairs.iter().zip(factors).filter(|(_, f)| **f > 0.0).map(|(p, _)| p.0);
    let a = second_moments(used);
    let b = second_moments(frame.iter().map(|s| s.position));
    // Smaller root of det(a − λ b) = 0.
    let p = b[0] * b[2] - b[1] * b[1];
    let q = a[0] * b[2] + a[2] * b[0] - 2.0 * a[1] * b[1];
    let r = a[0] * a[2] - a[1] * a[1];
    if p <= 0.0 || q <= 0.0 {
        return 0.0;
    }
    let root = (q * q - 4.0 * p * r).max(0.0).sqrt();
    (2.0 * r / (q + root)).max(0.0).sqrt()
}

/// Variance of x, covariance, variance of y.
fn second_moments(points: impl Iterator<Item = Point> + Clone) -> [f64; 3] {
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for p in points.clone() {
        x += p.x;
        y += p.y;
        n += 1.0;
    }
    let centre = Point::new(x / n, y / n);
    let mut m = [0.0; 3];
    for p in points {
        let d = p - centre;
        m[0] += d.dx * d.dx / n;
        m[1] += d.dx * d.dy / n;
        m[2] += d.dy * d.dy / n;
    }
    m
}
