//! The best transform that all stars support, and how rich it may be.

use stillframe_image::{Point, Transform, Vec2, math};

use super::grid::PointGrid;
use super::{MatchParams, MatchStar};
use crate::register::fit::{Model, RobustFit, bounding_box, fit_robust};

/// Result of the refinement; indices into the full lists.
pub(super) struct Refined {
    pub(super) ref_from_frame: Transform,
    pub(super) model: Model,
    pub(super) pairs: Vec<(u32, u32)>,
    pub(super) rms_px: f64,
}

/// Matching and fitting alternate; the search radius of each round in units of the tolerance: wide
/// where the field may still be bent by what a similarity lacks.
const ROUNDS: [f64; 4] = [3.0, 2.0, 1.0, 1.0];
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
    /// Improves `start`. `None` if fewer than three stars are left.
    pub(super) fn refine(&self, start: Transform, params: &MatchParams) -> Option<Refined> {
        let mut transform = start;
        let mut model = Model::Similarity;
        let mut kept = Vec::new();
        let mut rms_px = 0.0;
        for (round, width) in ROUNDS.iter().enumerate() {
            // The first round only collects the faint stars.
            let max_model = if round == 0 { Model::Similarity } else { params.max_model };
            let radius = self.search_radius(width * params.tolerance_px);
            let mut found = self.nearest_pairs(&transform, radius);
            self.drop_chance_pairs(&mut found, &transform, radius);
            let pairs = self.weighted(&found, &transform);
            let chosen = choose(&pairs, &transform, self.frame, max_model)?;
            (model, transform) = (chosen.0, chosen.1.transform);
            kept.clear();
            let mut sum = 0.0;
            for ((pair, f), factor) in pairs.iter().zip(&found).zip(&chosen.1.factors) {
                if *factor > 0.0 {
                    sum += (transform * pair.0 - pair.1).norm_squared();
                    kept.push(*f);
                }
            }
            if kept.len() < 3 {
                return None;
            }
            rms_px = f64::sqrt(sum / kept.len() as f64);
        }
        Some(Refined { ref_from_frame: transform, model, pairs: kept, rms_px })
    }

    /// Removes the pairs that are as far apart as unrelated stars are: their distances within
    /// `radius` are taken as a mixture of a normal distribution per axis and a uniform one.
    ///
    /// # Source
    /// Dempster, Laird & Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x.
    fn drop_chance_pairs(&self, found: &mut Vec<(u32, u32)>, transform: &Transform, radius: f64) {
        const STEPS: usize = 15;
        let squared: Vec<f64> = found
            .iter()
            .map(|&(r, f)| {
                let landed = *transform * self.frame[f as usize].position;
                (landed - self.reference[r as usize].position).norm_squared()
            })
            .collect();
        let n = squared.len() as f64;
        let (mut variance, mut share) = (radius * radius / 16.0, 0.8);
        // Densities of r²/2: exp(−r²/2σ²)/σ² and 2/R².
        let odds = |q: f64, variance: f64, share: f64| {
            let normal = share * math::exp(-0.5 * q / variance) / variance;
            normal / (normal + (1.0 - share) * 2.0 / (radius * radius))
        };
        for _ in 0..STEPS {
            let (mut sum, mut weight) = (0.0, 0.0);
            for &q in &squared {
                let p = odds(q, variance, share);
                sum += p * 0.5 * q;
                weight += p;
            }
            variance = (sum / weight).max(MIN_SIGMA_PX * MIN_SIGMA_PX);
            // Without a chance pair the odds of a far pair would stay undecided.
            share = (weight / n).min(1.0 - 1.0 / (n + 1.0));
        }
        let mut odds = squared.iter().map(|&q| odds(q, variance, share));
        found.retain(|_| odds.next().is_some_and(|p| p > 0.5));
    }

    /// At most `wanted`, and so small that no more than one place in six has a star by chance.
    fn search_radius(&self, wanted: f64) -> f64 {
        wanted.min((0.16 / (std::f64::consts::PI * self.density)).sqrt())
    }

    /// Each star of the reference with the star of the frame that lands nearest to it.
    fn nearest_pairs(&self, transform: &Transform, radius: f64) -> Vec<(u32, u32)> {
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
/// Schwarz (1978), doi:10.1214/aos/1176344136, on residuals clipped at Tukey's limit, with the
/// number of independent ones.
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
    let richest = &fits[fits.len() - 1].1;
    let limit = 4.685 * 4.685 * richest.scale * richest.scale;
    let loss = |fit: &RobustFit| -> f64 {
        let clipped =
            |p: &(Point, Point, f64)| (p.2 * (fit.transform * p.0 - p.1).norm_squared()).min(limit);
        pairs.iter().map(clipped).sum()
    };
    let independent = (2 * pairs.len()) as f64 / redundancy(pairs, richest);
    let score = |(model, fit): &(Model, RobustFit)| {
        independent * math::ln((loss(fit) / pairs.len() as f64).max(1e-12))
            + model.parameters() as f64 * math::ln(independent)
    };
    let mut best = 0;
    for i in 1..fits.len() {
        if score(&fits[i]) < score(&fits[best]) - MIN_BIC_GAIN {
            best = i;
        }
    }
    Some(fits.swap_remove(best))
}

/// Residuals that tell the same: smooth distortion moves neighbours together, and a thousand stars
/// then are no thousand witnesses for a richer model. The variance of the sums over blocks of two
/// sizes, in units of what independent residuals would have; at least 1.
fn redundancy(pairs: &[(Point, Point, f64)], fit: &RobustFit) -> f64 {
    const PER_BLOCK: [f64; 2] = [8.0, 24.0];
    let Some((low, high)) = bounding_box(pairs.iter().map(|p| p.0)) else { return 1.0 };
    let mut largest = 1.0f64;
    for per_block in PER_BLOCK {
        let blocks = ((pairs.len() as f64 / per_block).sqrt() as usize).max(1);
        let index = |v: f64, low: f64, high: f64| {
            (((v - low) / (high - low) * blocks as f64) as usize).min(blocks - 1)
        };
        let mut sums = vec![Vec2::default(); blocks * blocks];
        let mut alone = 0.0;
        for ((s, t, w), factor) in pairs.iter().zip(&fit.factors) {
            if *factor > 0.0 {
                let r = (fit.transform * *s - *t) * w.sqrt();
                let block = index(s.y, low.y, high.y) * blocks + index(s.x, low.x, high.x);
                sums[block] = sums[block] + r;
                alone += r.norm_squared();
            }
        }
        let together: f64 = sums.iter().map(|s| s.norm_squared()).sum();
        // 0/0 if every residual is 0.
        largest = largest.max(together / alone);
    }
    largest
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
