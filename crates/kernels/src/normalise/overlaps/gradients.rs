//! One weighted least-squares round, by conjugate gradients.

use super::block::{Block, Terms, dot, inverse, times};
use super::coarse::Coarse;
use super::{MAX_TERMS, OverlapParams, Shared};

/// The normal equations of one round; never formed.
pub(super) struct Normal<'a> {
    pub(super) shared: &'a Shared,
    /// Weight of each sighting: robust weight over variance.
    pub(super) weights: &'a [f64],
    /// Terms of each sighting that are solved for; the others 0.
    pub(super) terms: &'a [Terms],
    pub(super) n_tiles: usize,
    pub(super) params: &'a OverlapParams,
}

/// Residuals below this share of the right-hand side end the iteration: far below any noise, but a chain
/// of tiles adds up what is left.
const TOLERANCE: f64 = 1e-8;
/// A long chain of tiles needs about as many steps as it has links.
const MOST_STEPS: usize = 5000;

impl Normal<'_> {
    /// For each object: `value(i)` of its sightings less their weighted mean goes to `take(i, value)`.
    fn centred(&self, value: impl Fn(usize) -> f64, mut take: impl FnMut(usize, f64)) {
        for range in self.shared.objects() {
            let (mut sum, mut total) = (0.0, 0.0);
            for i in range.clone() {
                let w = self.weights[i];
                sum += w * value(i);
                total += w;
            }
            if total > 0.0 {
                let mean = sum / total;
                for i in range {
                    take(i, value(i) - mean);
                }
            }
        }
    }

    fn of_tile<'t>(&self, all: &'t [Terms], i: usize) -> &'t Terms {
        &all[self.shared.sightings[i].tile as usize]
    }

    /// `out = A x`.
    fn apply(&self, x: &[Terms], evidence: &[f64], out: &mut [Terms]) {
        let pull = self.pull();
        for (out, (x, evidence)) in out.iter_mut().zip(x.iter().zip(evidence)) {
            for k in 0..MAX_TERMS {
                out[k] = evidence * pull[k] * x[k];
            }
        }
        let seen = |i: usize| dot(&self.terms[i], self.of_tile(x, i));
        self.centred(seen, |i, value| self.add(i, value, out));
    }

    /// Adds weight · value · terms of sighting `i` to its tile.
    fn add(&self, i: usize, value: f64, out: &mut [Terms]) {
        let (w, t) = (self.weights[i] * value, &self.terms[i]);
        let out = &mut out[self.shared.sightings[i].tile as usize];
        for k in 0..MAX_TERMS {
            out[k] += w * t[k];
        }
    }

    /// The right-hand side.
    fn right(&self) -> Vec<Terms> {
        let mut b = vec![[0.0; MAX_TERMS]; self.n_tiles];
        self.centred(|i| self.shared.sightings[i].value, |i, value| self.add(i, value, &mut b));
        b
    }

    /// Residual of every sighting over its standard error, widened for the truth that was fitted.
    pub(super) fn residuals(&self, coefficients: &[Terms], out: &mut [f64]) {
        out.fill(0.0);
        let left = |i: usize| {
            self.shared.sightings[i].value - dot(&self.terms[i], self.of_tile(coefficients, i))
        };
        for range in self.shared.objects() {
            let n = range.len() as f64;
            let (mut sum, mut total) = (0.0, 0.0);
            for i in range.clone() {
                // a sighting that was thrown out may come back: never quite 0
                let w = self.weights[i].max(1e-6 / self.shared.sightings[i].sigma.powi(2));
                sum += w * left(i);
                total += w;
            }
            let mean = sum / total;
            for i in range {
                out[i] = (left(i) - mean) / self.shared.sightings[i].sigma * (n / (n - 1.0)).sqrt();
            }
        }
    }

    /// Pull on each term, as a share of a tile's evidence; 0 for terms that are not solved for.
    pub(super) fn pull(&self) -> Terms {
        let OverlapParams { slope_shrinkage: slope, curvature_shrinkage: curvature, .. } =
            *self.params;
        let mut pull = [0.0, slope, slope, curvature, curvature, curvature];
        pull[self.params.surface.terms()..].fill(0.0);
        pull
    }

    /// Evidence (sum of the weights) of each tile, and the inverse of its own block of A.
    fn blocks(&self) -> (Vec<f64>, Vec<Block>) {
        let mut blocks = vec![[[0.0; MAX_TERMS]; MAX_TERMS]; self.n_tiles];
        for i in 0..self.shared.sightings.len() {
            let (w, t) = (self.weights[i], &self.terms[i]);
            let block = &mut blocks[self.shared.sightings[i].tile as usize];
            for (a, row) in block.iter_mut().enumerate() {
                for (b, v) in row.iter_mut().enumerate() {
                    *v += w * t[a] * t[b];
                }
            }
        }
        let evidence: Vec<f64> = blocks.iter().map(|b| b[0][0]).collect();
        let (pull, n_terms) = (self.pull(), self.params.surface.terms());
        for (block, evidence) in blocks.iter_mut().zip(&evidence) {
            for k in 0..MAX_TERMS {
                block[k][k] += evidence * pull[k];
                if k >= n_terms || block[k][k] <= 0.0 {
                    // a term that is not solved for stays 0 whatever stands here
                    block[k][k] = 1.0;
                }
            }
            *block = inverse(block);
        }
        (evidence, blocks)
    }
}

/// Improves `x`, the solution of the round before, and returns the number of steps. `coarse` may be that
/// of an earlier round: it only guides.
pub(super) fn solve_normal(normal: &Normal<'_>, coarse: &Coarse<'_>, x: &mut [Terms]) -> usize {
    let (evidence, inverse_blocks) = normal.blocks();
    let b = normal.right();
    let mut product = vec![[0.0; MAX_TERMS]; normal.n_tiles];
    normal.apply(x, &evidence, &mut product);
    let mut residual: Vec<Terms> = b.iter().zip(&product).map(|(b, p)| sub(b, p)).collect();
    let precondition = |r: &[Terms]| -> Vec<Terms> {
        let mut z: Vec<Terms> = r.iter().zip(&inverse_blocks).map(|(r, m)| times(m, r)).collect();
        coarse.add(r, &mut z);
        z
    };
    let mut z = precondition(&residual);
    let mut direction = z.clone();
    let mut rho = inner(&residual, &z);
    let target = TOLERANCE * TOLERANCE * inner(&b, &precondition(&b));
    for steps in 0..MOST_STEPS {
        if rho <= target || rho <= 0.0 {
            return steps;
        }
        normal.apply(&direction, &evidence, &mut product);
        let curvature = inner(&direction, &product);
        if curvature <= 0.0 {
            return steps;
        }
        let step = rho / curvature;
        for t in 0..normal.n_tiles {
            for k in 0..MAX_TERMS {
                x[t][k] += step * direction[t][k];
                residual[t][k] -= step * product[t][k];
            }
        }
        z = precondition(&residual);
        let next = inner(&residual, &z);
        let beta = next / rho;
        rho = next;
        for (d, z) in direction.iter_mut().zip(&z) {
            for k in 0..MAX_TERMS {
                d[k] = z[k] + beta * d[k];
            }
        }
    }
    MOST_STEPS
}

fn sub(a: &Terms, b: &Terms) -> Terms {
    let mut out = *a;
    for k in 0..MAX_TERMS {
        out[k] -= b[k];
    }
    out
}

fn inner(a: &[Terms], b: &[Terms]) -> f64 {
    a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()
}
