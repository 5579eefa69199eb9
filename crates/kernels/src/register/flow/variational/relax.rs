//! All sweeps of a level, a few at a time while the diagonals are in the cache.

use super::sweep::{Cells, Edge, sweep};
use super::system::{Terms, assemble};

/// What is done to a diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The system with robust weights of 1.
    Start,
    /// The system with the robust weights of the increment so far.
    Update,
    Sweep,
}

/// Bytes that the diagonals in flight may take, of a core's second-level cache.
const IN_FLIGHT: usize = 600 << 10;

/// The stages of all sweeps of a level, cut into passes over the image.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Per pass: the stages, and by how many diagonals each lags behind the first.
    passes: Vec<Vec<(Stage, usize)>>,
}

impl Schedule {
    /// `iterations` sweeps with an update before every `update_lag`-th one, for diagonals of
    /// at most `longest` pixels.
    ///
    /// A sweep follows the one before at a distance of two diagonals: then no diagonal is read in
    /// the same step in which it was written. A pass begins with a new system, so that systems need
    /// not be kept between passes. How the sweeps are cut into passes changes no bit.
    pub(super) fn new(
        iterations: usize,
        update_lag: usize,
        longest: usize,
        channels: usize,
    ) -> Self {
        let starts_system = |k: usize| k == 1 || k.is_multiple_of(update_lag);
        let bytes_per_sweep = 2 * longest * 4 * (9 + 5 * channels);
        let most = (IN_FLIGHT / bytes_per_sweep).max(1);
        let mut passes: Vec<Vec<(Stage, usize)>> = Vec::new();
        let mut in_pass = 0;
        for k in 1..=iterations {
            let until_next = (k + 1..=iterations + 1)
                .find(|&next| starts_system(next) || next > iterations)
                .map_or(1, |next| next - k);
            if k == 1 || starts_system(k) && in_pass + until_next > most {
                passes.push(Vec::new());
                in_pass = 0;
            }
            let lag = 2 * in_pass;
            if let Some(stages) = passes.last_mut() {
                if k.is_multiple_of(update_lag) {
                    stages.push((Stage::Update, lag));
                } else if k == 1 {
                    stages.push((Stage::Start, lag));
                }
                stages.push((Stage::Sweep, lag));
            }
            in_pass += 1;
        }
        Self { passes }
    }

    /// Relaxes (`du`, `dv`), which start at 0 everywhere, margin included.
    pub(super) fn run(
        &self,
        terms: &Terms,
        edges: &[Edge],
        du: &mut [f32],
        dv: &mut [f32],
        cells: &mut Cells,
    ) {
        for stages in &self.passes {
            cells.reserve(terms.skew, stages.last().map_or(0, |s| s.1) + 1);
            pass(stages, terms, edges, du, dv, cells);
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn pass(
    stages: &[(Stage, usize)],
    terms: &Terms,
    edges: &[Edge],
    du: &mut [f32],
    dv: &mut [f32],
    cells: &mut Cells,
) {
    let n = terms.skew.n_diagonals();
    let lag = stages.last().map_or(0, |s| s.1);
    for step in 0..n + lag {
        for &(stage, lag) in stages {
            let Some(sum) = step.checked_sub(lag).filter(|&sum| sum < n) else { continue };
            match stage {
                Stage::Start => assemble::<false>(terms, sum, du, dv, cells),
                Stage::Update => assemble::<true>(terms, sum, du, dv, cells),
                Stage::Sweep => sweep(terms.skew, sum, du, dv, cells, edges, terms.smoothness),
            }
        }
    }
}
