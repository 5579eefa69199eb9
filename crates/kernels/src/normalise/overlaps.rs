//! Corrections of many tiles, solved together from everything that two or more of them have seen.
//!
//! The same equations serve offsets of the sky (objects are places, values are sky levels) and gains
//! (objects are stars, values are logarithms of fluxes): tile `t` sees object `o`, whose true value
//! nobody knows, as `value = truth_o + surface_t(u, v) + error`.

mod block;
mod coarse;
mod correct;
mod gradients;

use block::Terms;
use coarse::{Coarse, pointings};
pub use correct::Correction;
use gradients::{Normal, solve_normal};

/// Terms of the richest surface.
pub const MAX_TERMS: usize = 6;

/// One tile has seen one object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting {
    /// The tile.
    pub tile: u32,
    /// What was seen, any number.
    pub object: u32,
    /// How, in any unit.
    pub value: f64,
    /// Standard error of `value`, above 0.
    pub sigma: f64,
    /// Where in the tile: -1 to 1 across.
    pub u: f64,
    /// Where in the tile: -1 to 1 down.
    pub v: f64,
}

/// What is corrected of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// One number.
    Offset,
    /// A plane: 3 numbers.
    Plane,
    /// A quadratic surface: 6 numbers.
    Quadratic,
}

impl Surface {
    /// Number of terms.
    pub const fn terms(self) -> usize {
        match self {
            Self::Offset => 1,
            Self::Plane => 3,
            Self::Quadratic => MAX_TERMS,
        }
    }
}

/// The terms at a place: products of Legendre polynomials, nearly independent over a tile.
pub fn terms(u: f64, v: f64) -> [f64; MAX_TERMS] {
    [1.0, u, v, 1.5 * u * u - 0.5, u * v, 1.5 * v * v - 0.5]
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlaps {
    /// Coefficients of [`terms`] for each tile, to be subtracted from its values; the mean offset of the
    /// tiles of a component is 0.
    pub coefficients: Vec<[f64; MAX_TERMS]>,
    /// Tiles that are connected by shared objects have the same number, the lowest tile's place in the
    /// order of components.
    pub component: Vec<usize>,
    /// Number of components; a tile without shared objects is one of its own.
    pub n_components: usize,
    /// Sightings of shared objects.
    pub n_sightings: usize,
    /// Robust scatter of the residuals over their standard errors; 0 without sightings.
    pub scatter: f64,
    /// Share of the sightings that were left out or weighed less than half in the end.
    pub outlier_fraction: f64,
}

/// How overlaps are solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlapParams {
    /// What is corrected of a tile.
    pub surface: Surface,
    /// Pull of the slopes towards 0, as a share of a tile's evidence. It decides only what overlaps
    /// cannot: the gradient of the whole.
    pub slope_shrinkage: f64,
    /// The same of the curvatures, which skies have less of.
    pub curvature_shrinkage: f64,
}

/// Rounds of reweighting; weights change by less than a percent after five.
const ROUNDS: usize = 6;
/// Conjugate gradients that take more steps than this get new factors in the next round.
const STEPS_WITH_OLD_FACTORS: usize = 60;
/// Residuals beyond this many scatters have weight 0: Tukey's biweight with 95 % efficiency.
const TUKEY: f64 = 4.685;
/// Standard errors may be too large by this factor; where residuals scatter even less (data without
/// noise) nothing is an outlier.
const LEAST_SCATTER: f64 = 0.25;
/// Scatter of Gaussian residuals over their median magnitude.
const SIGMA_OF_MEDIAN: f64 = 1.482_602_218_505_602;

/// Solves for the corrections of `n_tiles` tiles.
///
/// Minimised is `Σ ρ((value - surface_t(u, v) - truth_o) / sigma)` over all corrections and truths with
/// Tukey's biweight ρ, by reweighted least squares; with the truths eliminated this is the sum over all
/// pairs of tiles that share an object. Each round is solved by conjugate gradients under a preconditioner
/// of two levels (every tile alone, and all pointings together by a sparse factorisation), so the number of
/// steps does not grow with the mosaic. Objects that fewer than two tiles have seen
/// do not count. The order of `sightings` does not matter beyond rounding; the same order gives the same
/// bits.
///
/// # Panics
/// If a tile is `n_tiles` or more.
///
/// # Source
/// The idea is that of ubercal (Padmanabhan et al. 2008, doi:10.1086/524677); the weights: Beaton &
/// Tukey (1974), doi:10.1080/00401706.1974.10489171.
pub fn solve(n_tiles: usize, sightings: &[Sighting], params: OverlapParams) -> Overlaps {
    let shared = Shared::new(sightings);
    let component = components(n_tiles, &shared);
    let n_components = component.iter().max().map_or(0, |c| c + 1);
    let mut coefficients = vec![[0.0; MAX_TERMS]; n_tiles];
    let n = shared.sightings.len();
    let mut robust = vec![1.0; n];
    let n_terms = params.surface.terms();
    let solved_for = |s: &Sighting| {
        let mut t = terms(s.u, s.v);
        t[n_terms..].fill(0.0);
        t
    };
    let terms: Vec<Terms> = shared.sightings.iter().map(solved_for).collect();
    let mut residuals = vec![0.0; n];
    let mut scatter = 0.0;
    if n > 0 {
        let (pointing_of, n_pointings) = pointings(n_tiles, &shared);
        let mut coarse = None;
        for round in 0..ROUNDS {
            let variances = shared.sightings.iter().map(|s| s.sigma * s.sigma);
            let weights: Vec<f64> = robust.iter().zip(variances).map(|(w, v)| w / v).collect();
            let normal = Normal {
                shared: &shared,
                weights: &weights,
                terms: &terms,
                n_tiles,
                params: &params,
            };
            let factorised =
                coarse.take().unwrap_or_else(|| Coarse::new(&normal, &pointing_of, n_pointings));
            let steps = solve_normal(&normal, &factorised, &mut coefficients);
            // weights that have changed much deserve factors of their own
            coarse = (steps <= STEPS_WITH_OLD_FACTORS).then_some(factorised);
            normal.residuals(&coefficients, &mut residuals);
            scatter = scatter_of(&residuals);
            if round + 1 < ROUNDS {
                reweigh(&residuals, scatter, &mut robust);
            }
        }
        centre(&mut coefficients, &component, n_components);
    }
    let outliers = robust.iter().filter(|w| **w < 0.5).count();
    Overlaps {
        coefficients,
        component,
        n_components,
        n_sightings: n,
        scatter,
        outlier_fraction: if n > 0 { outliers as f64 / n as f64 } else { 0.0 },
    }
}

/// Sightings of objects that two or more tiles have seen, object by object.
pub(crate) struct Shared {
    pub(crate) sightings: Vec<Sighting>,
    /// Start of each object's sightings, and the end of the last.
    pub(crate) starts: Vec<usize>,
}

impl Shared {
    fn new(all: &[Sighting]) -> Self {
        let mut sorted: Vec<Sighting> = all.to_vec();
        // stable: within an object in the order given
        sorted.sort_by_key(|s| s.object);
        let (mut sightings, mut starts) = (Vec::with_capacity(sorted.len()), vec![0]);
        for group in sorted.chunk_by(|a, b| a.object == b.object) {
            if group.iter().any(|s| s.tile != group[0].tile) {
                sightings.extend_from_slice(group);
                starts.push(sightings.len());
            }
        }
        Self { sightings, starts }
    }

    /// Ranges of the sightings of one object each.
    pub(crate) fn objects(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }
}

/// Number of the component of each tile, by union and find.
fn components(n_tiles: usize, shared: &Shared) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..n_tiles).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for range in shared.objects() {
        let first = root(&mut parent, shared.sightings[range.start].tile as usize);
        for s in &shared.sightings[range] {
            let other = root(&mut parent, s.tile as usize);
            // the lowest tile is the root
            let (low, high) = (first.min(other), first.max(other));
            let low_root = root(&mut parent, low);
            let high_root = root(&mut parent, high);
            let (low, high) = (low_root.min(high_root), low_root.max(high_root));
            parent[high] = low;
        }
    }
    let mut number = vec![usize::MAX; n_tiles];
    let mut count = 0;
    (0..n_tiles)
        .map(|t| {
            let r = root(&mut parent, t);
            if number[r] == usize::MAX {
                number[r] = count;
                count += 1;
            }
            number[r]
        })
        .collect()
}

/// Robust scatter of residuals in units of their standard errors, from the median magnitude.
fn scatter_of(residuals: &[f64]) -> f64 {
    let mut magnitudes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    let middle = magnitudes.len() / 2;
    let (_, median, _) = magnitudes.select_nth_unstable_by(middle, f64::total_cmp);
    SIGMA_OF_MEDIAN * *median
}

fn reweigh(residuals: &[f64], scatter: f64, weights: &mut [f64]) {
    let reach = TUKEY * scatter.max(LEAST_SCATTER);
    for (w, r) in weights.iter_mut().zip(residuals) {
        let x = r / reach;
        let inside = 1.0 - x * x;
        *w = if inside > 0.0 { inside * inside } else { 0.0 };
    }
}

/// Takes the mean offset of every component off.
fn centre(coefficients: &mut [[f64; MAX_TERMS]], component: &[usize], n_components: usize) {
    let mut sums = vec![(0.0, 0usize); n_components];
    for (c, &k) in coefficients.iter().zip(component) {
        sums[k].0 += c[0];
        sums[k].1 += 1;
    }
    for (c, &k) in coefficients.iter_mut().zip(component) {
        c[0] -= sums[k].0 / sums[k].1 as f64;
    }
}

#[cfg(test)]
mod tests;
