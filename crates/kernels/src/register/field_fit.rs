//! The smooth displacement field of a frame from scattered displacement vectors.
//!
//! A Gaussian process with Matérn covariance (smoothness ν = 2), written as a Gauss-Markov random
//! field on the lattice of a cubic B-spline: the precision is a band matrix, so one fit costs
//! O(n b²) for n nodes in bands of b, milliseconds where dense kriging takes a second.
//!
//! # Source
//! Lindgren, Rue & Lindström (2011), doi:10.1111/j.1467-9868.2011.00777.x, eqs. (2), (3), (11):
//! `Q = τ² (κ² + L)³` with `τ² = 1 / (8 π κ⁴ σ²)`. We differ: the coefficients of a B-spline take
//! the place of piecewise linear elements, with unit mass matrix.

use stillframe_image::{DisplacementField, Point, Shape, Vec2, math};

use super::band::BandMatrix;

/// κ·r at which the Matérn correlation of smoothness 2, `(κr)² K₂(κr) / 2`, falls to 1/e.
const KAPPA_R_AT_1_E: f64 = 2.55;

/// Residuals beyond this many standard errors lose weight (Huber 1964, doi:10.1214/aoms/1177703732).
const HUBER: f64 = 2.5;

/// A measured displacement of a point of the reference plane.
#[derive(Clone, Copy, Debug)]
pub struct FieldObservation {
    /// Position in the reference plane, pixels.
    pub position: Point,
    /// Measured displacement there, pixels.
    pub displacement: Vec2,
    /// Its standard error per axis, pixels, above 0.
    pub sigma_px: f64,
}

/// A fitted field.
#[derive(Clone, Debug)]
pub struct FieldFit {
    /// The posterior mean.
    pub field: DisplacementField,
    /// Logarithm of the evidence of both components given the correlation length and the prior's
    /// standard deviation.
    pub log_evidence: f64,
}

/// Fits fields on one lattice with one correlation length.
#[derive(Clone, Debug)]
pub struct FieldFitter {
    lattice: DisplacementField,
    /// `(κ² + L)³`, to be scaled by τ².
    precision: BandMatrix,
    log_det_precision: f64,
    kappa: f64,
}

/// Buffers of a fit. After it, they hold the factor of the posterior precision.
#[derive(Clone, Debug, Default)]
pub struct FieldScratch {
    system: BandMatrix,
    rhs: [Vec<f64>; 2],
    solution: [Vec<f64>; 2],
    trust: Vec<f64>,
    unit: Vec<f64>,
}

impl FieldFitter {
    /// A fitter of fields over the pixels of `shape` placed at `first`, with nodes `spacing`
    /// pixels apart, whose correlation falls to 1/e at `correlation_px`.
    ///
    /// `spacing` should be at most about half of `correlation_px`.
    pub fn new(first: Point, shape: Shape, spacing: f64, correlation_px: f64) -> Self {
        let lattice = DisplacementField::covering(first, shape, spacing);
        let nodes = lattice.nodes();
        let kappa = KAPPA_R_AT_1_E * spacing / correlation_px;
        let band = 3 * nodes.width.min(nodes.height) + 3;
        let mut precision = BandMatrix::zeros(nodes.len(), band);
        for row in 0..nodes.height {
            for column in 0..nodes.width {
                let i = number(nodes, column, row);
                for (c, r, v) in cubed_operator_row(nodes, column, row, kappa * kappa) {
                    precision.add(i, number(nodes, c, r), v);
                }
            }
        }
        let mut factor = precision.clone();
        assert!(factor.factorise(), "κ² > 0 makes the prior precision positive definite");
        Self { lattice, log_det_precision: factor.log_det_of_factor(), precision, kappa }
    }

    /// The empty lattice.
    pub fn lattice(&self) -> &DisplacementField {
        &self.lattice
    }

    /// The field that best explains `observations` when, before them, its standard deviation per
    /// axis is `prior_sigma_px` (above 0). Observations outside the lattice are left out; those
    /// that disagree with their neighbours lose weight. Without observations the field is 0.
    pub fn fit(
        &self,
        observations: &[FieldObservation],
        prior_sigma_px: f64,
        scratch: &mut FieldScratch,
    ) -> FieldFit {
        scratch.trust.clear();
        scratch.trust.resize(observations.len(), 1.0);
        self.solve(observations, prior_sigma_px, scratch);
        let mut field = self.field(scratch);
        let mut changed = false;
        for (trust, o) in scratch.trust.iter_mut().zip(observations) {
            let excess = (o.displacement - field.at(o.position)).norm() / o.sigma_px / HUBER;
            if excess > 1.0 {
                // Beyond twice the limit a vector is a wrong match, not a noisy one.
                *trust = if excess > 2.0 { 1e-6 } else { 1.0 / excess };
                changed = true;
            }
        }
        let mut log_evidence = self.log_evidence(observations, prior_sigma_px, scratch);
        if changed {
            self.solve(observations, prior_sigma_px, scratch);
            field = self.field(scratch);
            log_evidence = self.log_evidence(observations, prior_sigma_px, scratch);
        }
        FieldFit { field, log_evidence }
    }

    /// Standard deviation per axis of the field at `position` after the fit that filled `scratch`,
    /// pixels. Cost: one band substitution.
    pub fn posterior_sigma_px(&self, position: Point, scratch: &mut FieldScratch) -> f64 {
        let Some((first, wx, wy)) = self.lattice.support(position) else { return f64::INFINITY };
        let nodes = self.lattice.nodes();
        scratch.unit.clear();
        scratch.unit.resize(nodes.len(), 0.0);
        let mut lowest = nodes.len();
        for (i, w) in entries(nodes, first, wx, wy) {
            scratch.unit[i] = w;
            lowest = lowest.min(i);
        }
        scratch.system.forward(lowest, &mut scratch.unit);
        scratch.unit.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    fn tau_squared(&self, prior_sigma_px: f64) -> f64 {
        let kappa_4 = self.kappa * self.kappa * self.kappa * self.kappa;
        1.0 / (8.0 * std::f64::consts::PI * kappa_4 * prior_sigma_px * prior_sigma_px)
    }

    fn solve(&self, observations: &[FieldObservation], sigma: f64, scratch: &mut FieldScratch) {
        let nodes = self.lattice.nodes();
        scratch.system.set_scaled(&self.precision, self.tau_squared(sigma));
        for rhs in &mut scratch.rhs {
            rhs.clear();
            rhs.resize(nodes.len(), 0.0);
        }
        for (o, trust) in observations.iter().zip(&scratch.trust) {
            let Some((first, wx, wy)) = self.lattice.support(o.position) else { continue };
            let weight = trust / (o.sigma_px * o.sigma_px);
            let basis = entries(nodes, first, wx, wy);
            for (i, bi) in basis {
                scratch.rhs[0][i] += weight * bi * o.displacement.dx;
                scratch.rhs[1][i] += weight * bi * o.displacement.dy;
                for (j, bj) in basis {
                    scratch.system.add(i, j, weight * bi * bj);
                }
            }
        }
        assert!(scratch.system.factorise(), "prior precision plus squares is positive definite");
        for (x, rhs) in scratch.solution.iter_mut().zip(&scratch.rhs) {
            x.clone_from(rhs);
            scratch.system.forward(0, x);
            scratch.system.backward(x);
        }
    }

    fn field(&self, scratch: &FieldScratch) -> DisplacementField {
        let mut field = self.lattice.clone();
        let nodes = field.nodes();
        for row in 0..nodes.height {
            for column in 0..nodes.width {
                let i = number(nodes, column, row);
                field.coefficients_mut()[row * nodes.width + column] =
                    [scratch.solution[0][i] as f32, scratch.solution[1][i] as f32];
            }
        }
        field
    }

    fn log_evidence(&self, obs: &[FieldObservation], sigma: f64, s: &FieldScratch) -> f64 {
        let n = self.lattice.nodes().len() as f64;
        let log_det_prior = n * math::ln(self.tau_squared(sigma)) + self.log_det_precision;
        let (mut misfit, mut log_noise) = (0.0, 0.0);
        for (o, trust) in obs.iter().zip(&s.trust) {
            let variance = o.sigma_px * o.sigma_px / trust;
            misfit += o.displacement.norm_squared() / variance;
            log_noise += 2.0 * math::ln(2.0 * std::f64::consts::PI * variance);
        }
        for (x, rhs) in s.solution.iter().zip(&s.rhs) {
            misfit -= x.iter().zip(rhs).map(|(a, b)| a * b).sum::<f64>();
        }
        log_det_prior - s.system.log_det_of_factor() - 0.5 * (misfit + log_noise)
    }
}

/// Number of a node: along the shorter side first, which keeps the band narrow.
fn number(nodes: Shape, column: usize, row: usize) -> usize {
    if nodes.width <= nodes.height {
        row * nodes.width + column
    } else {
        column * nodes.height + row
    }
}

/// The 16 nodes around a point, by number, with their weights.
fn entries(nodes: Shape, first: usize, wx: [f64; 4], wy: [f64; 4]) -> [(usize, f64); 16] {
    let (column, row) = (first % nodes.width, first / nodes.width);
    std::array::from_fn(|k| {
        let (dx, dy) = (k % 4, k / 4);
        (number(nodes, column + dx, row + dy), wx[dx] * wy[dy])
    })
}

/// One row of `(κ² + L)³`, L the graph Laplacian of the lattice (no flow across its border).
fn cubed_operator_row(
    nodes: Shape,
    column: usize,
    row: usize,
    kappa_squared: f64,
) -> Vec<(usize, usize, f64)> {
    const R: i64 = 3;
    const SIDE: usize = 7;
    let inside = |x: i64, y: i64| {
        let (c, r) = (column as i64 + x, row as i64 + y);
        c >= 0 && r >= 0 && c < nodes.width as i64 && r < nodes.height as i64
    };
    let index = |x: i64, y: i64| ((y + R) as usize) * SIDE + (x + R) as usize;
    let mut v = [0.0f64; SIDE * SIDE];
    v[index(0, 0)] = 1.0;
    for _ in 0..3 {
        let mut out = [0.0f64; SIDE * SIDE];
        for y in -R..=R {
            for x in -R..=R {
                if v[index(x, y)] == 0.0 {
                    continue;
                }
                let value = v[index(x, y)];
                out[index(x, y)] += kappa_squared * value;
                for (nx, ny) in [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)] {
                    if inside(nx, ny) && nx.abs() <= R && ny.abs() <= R {
                        out[index(x, y)] += value;
                        out[index(nx, ny)] -= value;
                    }
                }
            }
        }
        v = out;
    }
    let mut row_entries = Vec::with_capacity(25);
    for y in -R..=R {
        for x in -R..=R {
            let value = v[index(x, y)];
            if value != 0.0 {
                row_entries.push(((column as i64 + x) as usize, (row as i64 + y) as usize, value));
            }
        }
    }
    row_entries
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    const SHAPE: Shape = Shape::new(600, 900);

    /// A random smooth field: plane waves whose correlation falls to 1/e at 200 px.
    fn waves(seed: u64, rms: f64) -> impl Fn(Point) -> Vec2 {
        let mut rng = Rng::new(seed, 1, 0);
        let modes: Vec<[f64; 6]> = (0..80)
            .map(|_| {
                let (kx, ky) = (rng.normal() / 140.0, rng.normal() / 140.0);
                let two_pi = 2.0 * std::f64::consts::PI;
                [kx, ky, rng.range(0.0, two_pi), rng.range(0.0, two_pi), rng.normal(), rng.normal()]
            })
            .collect();
        let scale = rms / 40.0f64.sqrt();
        move |p| {
            modes.iter().fold(Vec2::default(), |sum, m| {
                let phase = m[0] * p.x + m[1] * p.y;
                sum + Vec2::new(
                    m[4] * scale * math::cos(phase + m[2]),
                    m[5] * scale * math::cos(phase + m[3]),
                )
            })
        }
    }

    fn observe(
        seed: u64,
        n: usize,
        sigma: f64,
        truth: &impl Fn(Point) -> Vec2,
    ) -> Vec<FieldObservation> {
        let mut rng = Rng::new(seed, 2, 0);
        (0..n)
            .map(|_| {
                let position = Point::new(rng.range(0.0, 899.0), rng.range(0.0, 599.0));
                let noise = Vec2::new(sigma * rng.normal(), sigma * rng.normal());
                FieldObservation {
                    position,
                    displacement: truth(position) + noise,
                    sigma_px: sigma,
                }
            })
            .collect()
    }

    fn rms_error(field: &DisplacementField, truth: &impl Fn(Point) -> Vec2) -> f64 {
        let mut sum = 0.0;
        let mut n = 0.0;
        for y in (20..580).step_by(20) {
            for x in (20..880).step_by(20) {
                let p = Point::new(f64::from(x), f64::from(y));
                sum += (field.at(p) - truth(p)).norm_squared() / 2.0;
                n += 1.0;
            }
        }
        (sum / n).sqrt()
    }

    #[test]
    fn recovers_a_smooth_field_far_below_the_noise_of_one_star() {
        let truth = waves(5, 0.6);
        let fitter = FieldFitter::new(Point::default(), SHAPE, 64.0, 200.0);
        let fit = fitter.fit(&observe(5, 400, 0.15, &truth), 0.6, &mut FieldScratch::default());
        let error = rms_error(&fit.field, &truth);
        assert!(error < 0.06, "{error}");
    }

    #[test]
    fn posterior_sigma_is_honest() {
        let mut scratch = FieldScratch::default();
        let fitter = FieldFitter::new(Point::default(), SHAPE, 64.0, 200.0);
        let (mut claimed, mut real, mut n) = (0.0, 0.0, 0.0);
        for seed in 0..6 {
            let truth = waves(seed, 0.6);
            let fit = fitter.fit(&observe(seed, 60, 0.1, &truth), 0.6, &mut scratch);
            for (x, y) in
                [(100.0, 100.0), (450.0, 300.0), (800.0, 500.0), (300.0, 450.0), (600.0, 150.0)]
            {
                let p = Point::new(x, y);
                claimed += fitter.posterior_sigma_px(p, &mut scratch).powi(2);
                real += (fit.field.at(p) - truth(p)).norm_squared() / 2.0;
                n += 1.0;
            }
        }
        let ratio = (claimed / n).sqrt() / (real / n).sqrt();
        assert!((0.6..1.7).contains(&ratio), "claimed/real {ratio}");
    }

    #[test]
    fn evidence_prefers_the_true_correlation_length() {
        let truth = waves(9, 0.6);
        let obs = observe(9, 500, 0.1, &truth);
        let evidence = |length: f64| {
            FieldFitter::new(Point::default(), SHAPE, 40.0, length)
                .fit(&obs, 0.6, &mut FieldScratch::default())
                .log_evidence
        };
        let at = [80.0, 200.0, 800.0].map(evidence);
        assert!(at[1] > at[0] && at[1] > at[2], "{at:?}");
    }

    #[test]
    fn wrong_matches_do_not_bend_the_field() {
        let truth = waves(2, 0.4);
        let mut obs = observe(2, 400, 0.1, &truth);
        for o in obs.iter_mut().step_by(20) {
            o.displacement = o.displacement + Vec2::new(2.0, -2.5);
        }
        let fitter = FieldFitter::new(Point::default(), SHAPE, 64.0, 200.0);
        let fit = fitter.fit(&obs, 0.4, &mut FieldScratch::default());
        let error = rms_error(&fit.field, &truth);
        assert!(error < 0.08, "{error}");
    }

    #[test]
    fn no_observation_gives_no_displacement() {
        let fitter = FieldFitter::new(Point::default(), SHAPE, 64.0, 200.0);
        assert!(fitter.fit(&[], 1.0, &mut FieldScratch::default()).field.is_zero());
    }
}
