//! All sweeps of a level, a few at a time while the diagonals are in the cache.

use super::sweep::{Cells, Edge, sweep};
use super::system::{Terms, assemble};
use super::varying;

/// What is done to a diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The system with robust weights of 1.
    Start,
    /// The system with the robust weights of the increment so far.
    Update,
    Sweep,
}

/// How neighbours are weighted in the sweeps.
#[derive(Clone, Copy)]
pub(super) enum Coupling<'a> {
    /// The same everywhere; the edges say what border pixels lack.
    Uniform(&'a [Edge]),
    /// By a skewed plane with a margin.
    Varying(&'a [f32]),
}

/// Bytes that the diagonals in flight may take, of a core's second-level cache.
const IN_FLIGHT: usize = 600 << 10;

/// Several sweeps that go over the image together.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// What is done, and by how many diagonals it lags behind the first.
    stages: Vec<(Stage, usize)>,
}

/// All sweeps of a level, cut into passes.
///
/// A sweep follows the one before at a distance of two diagonals: then no diagonal is read in the
/// same step in which it was written. A pass begins with a new system, so that systems need not be
/// kept between passes. How the sweeps are cut into passes changes no bit.
pub(super) fn schedule(
    iterations: usize,
    update_lag: usize,
    longest: usize,
    channels: usize,
) -> Vec<Pass> {
    let bytes_per_sweep = 2 * longest * 4 * (9 + 5 * channels);
    cut(iterations, update_lag, (IN_FLIGHT / bytes_per_sweep).max(1))
}

/// As [`schedule`], with one system per pass: for systems that need the whole increment.
pub(super) fn schedule_one_by_one(iterations: usize, update_lag: usize) -> Vec<Pass> {
    cut(iterations, update_lag, 1)
}

/// Passes of at most `most` sweeps, or of one system if it has more.
fn cut(iterations: usize, update_lag: usize, most: usize) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    let mut first = 1;
    while first <= iterations {
        // The sweeps of one system: up to the next multiple of `update_lag`.
        let end = ((first / update_lag + 1) * update_lag).min(iterations + 1);
        let kind = if first.is_multiple_of(update_lag) { Stage::Update } else { Stage::Start };
        let n_sweeps = |p: &Pass| p.stages.iter().filter(|s| s.0 == Stage::Sweep).count();
        let before = match passes.last() {
            Some(pass) if n_sweeps(pass) + end - first <= most => n_sweeps(pass),
            _ => {
                passes.push(Pass { stages: Vec::new() });
                0
            }
        };
        if let Some(pass) = passes.last_mut() {
            pass.stages.push((kind, 2 * before));
            let lags = (before..before + end - first).map(|i| (Stage::Sweep, 2 * i));
            pass.stages.extend(lags);
        }
        first = end;
    }
    passes
}

impl Pass {
    /// Whether it begins with robust weights of the increment so far.
    pub(super) fn begins_with_update(&self) -> bool {
        self.stages.first().is_some_and(|s| s.0 == Stage::Update)
    }

    /// Relaxes (`du`, `dv`), which were 0 everywhere, margin included, before the first pass.
    pub(super) fn run(
        &self,
        terms: &Terms,
        coupling: Coupling,
        du: &mut [f32],
        dv: &mut [f32],
        cells: &mut Cells,
    ) {
        let depth = self.stages.last().map_or(0, |s| s.1);
        cells.reserve(terms.skew, depth + 1);
        match coupling {
            Coupling::Uniform(edges) => uniform(&self.stages, depth, terms, edges, (du, dv), cells),
            Coupling::Varying(psi) => varied(&self.stages, depth, terms, psi, (du, dv), cells),
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn uniform(
    stages: &[(Stage, usize)],
    depth: usize,
    terms: &Terms,
    edges: &[Edge],
    (du, dv): (&mut [f32], &mut [f32]),
    cells: &mut Cells,
) {
    let n = terms.skew.n_diagonals();
    for step in 0..n + depth {
        for &(stage, lag) in stages {
            if step < lag || step - lag >= n {
                continue;
            }
            let sum = step - lag;
            match stage {
                Stage::Start => assemble::<false>(terms, sum, du, dv, cells),
                Stage::Update => assemble::<true>(terms, sum, du, dv, cells),
                Stage::Sweep => sweep(terms.skew, sum, du, dv, cells, edges, terms.smoothness),
            }
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn varied(
    stages: &[(Stage, usize)],
    depth: usize,
    terms: &Terms,
    psi: &[f32],
    (du, dv): (&mut [f32], &mut [f32]),
    cells: &mut Cells,
) {
    let n = terms.skew.n_diagonals();
    for step in 0..n + depth {
        for &(stage, lag) in stages {
            if step < lag || step - lag >= n {
                continue;
            }
            let sum = step - lag;
            match stage {
                Stage::Start => assemble::<false>(terms, sum, du, dv, cells),
                Stage::Update => assemble::<true>(terms, sum, du, dv, cells),
                Stage::Sweep => {
                    varying::sweep(terms.skew, sum, (du, dv), psi, cells, terms.smoothness);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_all_sweeps_and_updates_in_order() {
        for (iterations, lag, most) in [(50, 5, 10), (50, 5, 1), (7, 20, 3), (3, 1, 2), (9, 4, 99)]
        {
            let passes = cut(iterations, lag, most);
            let stages: Vec<Stage> =
                passes.iter().flat_map(|p| p.stages.iter().map(|s| s.0)).collect();
            let mut want = Vec::new();
            for k in 1..=iterations {
                if k % lag == 0 {
                    want.push(Stage::Update);
                } else if k == 1 {
                    want.push(Stage::Start);
                }
                want.push(Stage::Sweep);
            }
            assert_eq!(stages, want);
            for pass in &passes {
                assert_ne!(pass.stages[0].0, Stage::Sweep);
                let sweeps = pass.stages.iter().filter(|s| s.0 == Stage::Sweep);
                assert!(sweeps.enumerate().all(|(i, s)| s.1 == 2 * i));
            }
        }
    }
}
