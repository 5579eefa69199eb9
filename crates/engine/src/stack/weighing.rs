//! How much each frame counts: the factors that the recipe asks for, gathered from wherever they
//! are measured, and the groups of the synthetic frames.

use stillframe_image::Point;
use stillframe_kernels::ops::metrics::v4::GlobalShares;

use super::burst::Burst;
use super::error::StackError;
use super::geometry::Fields;
use super::local_metrics::measure_local;
use super::photometry::{Member, WeightLattice, weight_fields};
use super::run::Run;
use super::synthetic::{self, StateSources, Synthetic, shares};
use super::tile_pass::TileRegistration;
use super::v4_weights::{correlation_factors, local_factors};
use super::weights::{WeightField, effective_number, shrink};
use crate::recipe::{SyntheticWeighting, WeightScheme};

/// What weights are made of.
pub(super) struct Weighing<'a> {
    pub(super) list: &'a [Member<'a>],
    /// Index in the burst, and in the list of inputs, of each member.
    pub(super) members: &'a [usize],
    pub(super) inputs: &'a [usize],
    pub(super) scales: &'a [Vec<f64>],
    pub(super) fields: Option<&'a Fields>,
    pub(super) tiles: Option<&'a TileRegistration>,
    pub(super) lattice: &'a WeightLattice,
    /// The nodes of the lattice, held inside the canvas.
    pub(super) nodes: &'a [Point],
    /// Side of the tiles, pixels.
    pub(super) tile_px: f64,
    /// Robust rms of the stars about the registration, pixels.
    pub(super) residual_px: &'a [f64],
}

/// The weights of the members.
pub(super) struct Weighed {
    pub(super) weights: Vec<WeightField>,
    /// Power that the weights were raised to.
    pub(super) shrinkage: f64,
    pub(super) synthetic: Option<Synthetic>,
}

impl Weighed {
    /// Group of member `k`.
    pub(super) fn group(&self, k: usize) -> usize {
        self.synthetic.as_ref().map_or(0, |s| s.group[k])
    }

    /// Number of groups.
    pub(super) fn n_groups(&self) -> usize {
        self.synthetic.as_ref().map_or(1, |s| s.n_groups)
    }
}

/// Weighs the members, and groups them if the recipe wants synthetic frames.
///
/// # Errors
/// If the frames must be read again and cannot, or the run is cancelled.
pub(super) fn weigh(
    run: &mut Run<'_>,
    burst: &Burst,
    w: &Weighing<'_>,
) -> Result<Weighed, StackError> {
    let job = run.job;
    let mut recipe = job.recipe.weights.clone();
    let is_v4 = recipe.scheme == WeightScheme::V4;
    let wants_synthetic = synthetic::is_wanted(run, w.members.len());
    let metrics = if wants_synthetic || (is_v4 && recipe.local) {
        measure_local(run, burst, (w.list, w.members), w.scales, (w.nodes, w.tile_px))?
    } else {
        Vec::new()
    };
    let local = local_factors(&metrics);
    let mut synthetic = wants_synthetic.then(|| {
        let sources = StateSources {
            members: w.list,
            shares: GlobalShares {
                background: recipe.alpha,
                noise: recipe.beta,
                gradient: recipe.gamma,
            },
            metrics: &metrics,
            local: &local,
            nodes: w.nodes,
            tiles: w.tiles,
            fields: w.fields,
            residual_px: w.residual_px,
        };
        synthetic::group(run, &sources, w.inputs)
    });
    let is_grouped = synthetic.as_ref().is_some_and(|s| s.n_groups > 1);
    if is_grouped && job.recipe.synthetic.weighting == SyntheticWeighting::Global {
        recipe.local = false;
    }
    let correlation = if is_v4 && recipe.registration {
        let floor = job.recipe.field.min_correlation;
        let (n, how) = (w.members.len(), (recipe.registration_beta, floor));
        let (factors, without) = correlation_factors(w.tiles, n, w.nodes, how);
        if without > 0 {
            run.warn(format!(
                "weights: at {without} of {} places no tile was registered on the image: the \
                 registration factor is 1 there",
                w.nodes.len()
            ));
        }
        Some(factors)
    } else {
        None
    };
    let local = (!metrics.is_empty()).then_some(local.as_slice());
    let lattice = w.lattice;
    let mut weights =
        weight_fields(w.list, w.scales, w.fields, local, correlation.as_deref(), lattice, &recipe);
    let shrinkage = shrink(&mut weights, recipe.min_effective_fraction);
    if let Some(synthetic) = &mut synthetic {
        tell_cost(run, synthetic, &weights);
    }
    Ok(Weighed { weights, shrinkage, synthetic })
}

/// Loss of effective frames by grouping that is worth a warning.
const COSTLY: f64 = 0.95;

/// Groups count the same whatever their size; that costs signal-to-noise, and never in silence.
fn tell_cost(run: &mut Run<'_>, synthetic: &mut Synthetic, weights: &[WeightField]) {
    let means: Vec<f64> = weights.iter().map(WeightField::mean).collect();
    let without = effective_number(means.iter().copied());
    let with = effective_number(shares(&means, &synthetic.group).into_iter());
    synthetic.report.effective_frames_without = without;
    if synthetic.n_groups > 1 && with < COSTLY * without {
        run.warn(format!(
            "{} synthetic frames that count the same leave {with:.1} effective frames of {without:.1}; \
             synthetic.enabled: false keeps them",
            synthetic.n_groups
        ));
    }
}
