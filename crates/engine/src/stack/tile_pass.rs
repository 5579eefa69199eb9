//! Which tiles must be registered on the image, and what becomes of the shifts that are found.

use stillframe_image::{Point, Rect, Shape, Transform, Vec2};
use stillframe_kernels::register::field_fit::FieldObservation;
use stillframe_kernels::register::patch::{PatchParams, PatchWarp};
use stillframe_kernels::register::tiles::{TileGrid, TileParams};
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::burst::Burst;
use super::error::StackError;
use super::geometry::{Fields, median};
use super::photometry::WeightLattice;
use super::phases::TilesPhase;
use super::run::Run;
use super::tiles::{FirstReference, TileFrame, TileResult, TilesSpec};
use crate::recipe::{FieldMethod, StackRecipe, Temporal};

/// The tiles in which the stars leave the field uncertain; all of them without a star field.
pub(super) fn tiles_to_register(
    region: Shape,
    fwhm_px: f64,
    fields: Option<&Fields>,
    lattice: &WeightLattice,
    recipe: &StackRecipe,
) -> Vec<Rect> {
    if recipe.field.method == FieldMethod::Stars {
        return Vec::new();
    }
    let tile = &recipe.field.tile;
    let params = TileParams {
        fwhm_px: fwhm_px * tile.size_factor / 32.0,
        max_size: tile.max_px,
        overlap: tile.overlap,
    };
    let Some(grid) = TileGrid::new(region, &params) else { return Vec::new() };
    let sigma_at = |rect: &Rect| -> f64 {
        let Some(fields) = fields else { return f64::INFINITY };
        let node = |first: f64, at: f64, n: usize| {
            (((at - first) / lattice.spacing).round().max(0.0) as usize).min(n - 1)
        };
        let x = lattice.first.x + rect.x as f64 + 0.5 * rect.width as f64;
        let y = lattice.first.y + rect.y as f64 + 0.5 * rect.height as f64;
        let k = node(lattice.first.y, y, lattice.nodes.height) * lattice.nodes.width
            + node(lattice.first.x, x, lattice.nodes.width);
        median(fields.sigma_px.iter().map(|s| f64::from(s[k])).collect())
    };
    let is_all = recipe.field.method == FieldMethod::Tiles;
    grid.tiles()
        .iter()
        .map(|t| t.rect)
        .filter(|rect| is_all || sigma_at(rect) > recipe.field.max_sigma_px)
        .collect()
}

/// What tile registration knows of the burst.
pub(super) struct TileView<'a> {
    pub(super) members: &'a [usize],
    pub(super) fields: Option<&'a Fields>,
    pub(super) scales: &'a [Vec<f64>],
    pub(super) fwhm_px: f64,
    /// Size of the reference plane that tiles lie in.
    pub(super) plane: Shape,
    pub(super) uses_stars: bool,
}

/// Registers every member in every one of `tiles`; gives displacement vectors by member.
///
/// Without a gauge, each member's median shift becomes part of its transform.
pub(super) fn register_tiles(
    run: &mut Run<'_>,
    burst: &Burst,
    view: &TileView<'_>,
    tiles: Vec<Rect>,
    ref_from_frame: &mut [Transform],
) -> Result<Vec<Vec<FieldObservation>>, StackError> {
    let recipe = &run.job.recipe;
    let n = view.members.len();
    let frames = (0..n)
        .map(|k| TileFrame {
            frame: view.members[k],
            frame_from_ref: ref_from_frame[k].inverse().expect("checked when it was matched"),
            field: view.fields.map(|f| f.fields[k].clone()),
            scale: (1.0 / view.scales[k][view.scales[k].len() / 2]) as f32,
            weight: 1.0,
        })
        .collect();
    let spec = TilesSpec {
        tiles,
        frames,
        first_reference: if view.uses_stars { FirstReference::Mean } else { FirstReference::Middle },
        iterations: recipe.field.iterations,
        convergence: recipe.field.convergence,
        min_correlation: recipe.field.min_correlation,
        params: PatchParams {
            warp: PatchWarp::Translation,
            fwhm_px: view.fwhm_px,
            ..PatchParams::default()
        },
        shape: view.plane,
    };
    let side = spec.tiles.iter().map(|t| t.width.max(t.height)).max().unwrap_or(0) as u64 + 64;
    // Sums, patch, reference, masks and spectra: 120 bytes a pixel.
    let need = Need { work: 120 * side * side + (1 << 20), result: 64 * n as u64 };
    let mut plan_request = PhaseRequest::new(
        PhaseKind::STACK_TILES,
        UnitRule::Frames {
            count: spec.tiles.len(),
            work_bytes: need.work,
            result_bytes: need.result,
        },
    );
    plan_request.n_frames = n;
    plan_request.shared_bytes = burst.spec.masters.bytes();
    let plan = run.plan(&plan_request)?;
    let files =
        (run.spec_file(&plan, "burst", &burst.spec)?, run.spec_file(&plan, "tiles", &spec)?);
    let files = files.0.as_deref().zip(files.1.as_deref());
    let phase = TilesPhase { burst, spec: &spec, need, files };
    let mut results: Vec<TileResult> = Vec::with_capacity(spec.tiles.len());
    run.run_phase(&phase, &plan, |_, result| match result {
        UnitResult::Done(Ok(result)) => {
            results.push(result);
            Ok(())
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => Err(StackError::Unit(reason)),
    })?;
    let failed = results.iter().filter(|r| r.shifts.iter().all(Option::is_none)).count();
    if failed > 0 {
        run.warn(format!(
            "{failed} of {} tiles hold no signal to register on; their field is that of their \
             neighbours",
            results.len()
        ));
    }
    smooth(&mut results, &run.job.recipe);
    Ok(vectors(&spec, &results, view, ref_from_frame))
}
