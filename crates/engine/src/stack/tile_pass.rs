//! Which tiles must be registered on the image, and what becomes of the shifts that are found.

use stillframe_image::{Point, Rect, Shape, Transform, Vec2};
use stillframe_kernels::register::field_fit::FieldObservation;
use stillframe_kernels::register::patch::{PatchParams, PatchWarp};
use stillframe_kernels::register::temporal::{
    Excursion, Measurement, OutlierParams, Pose, SegmentParams, Smoothing, outliers, segments,
    smooth,
};
use stillframe_kernels::register::tiles::{
    DisplacementVariance, RefineParams, TileGrid, TileParams,
};
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::burst::Burst;
use super::error::StackError;
use super::geometry::{Fields, median};
use super::phases::TilesPhase;
use super::photometry::WeightLattice;
use super::run::Run;
use super::tiles::{FirstReference, TileFrame, TileResult, TilesSpec};
use crate::recipe::{FieldMethod, StackRecipe, Temporal};

/// What tile registration knows of the burst.
pub(super) struct TileView<'a> {
    pub(super) members: &'a [usize],
    /// When each member was taken, any unit.
    pub(super) times: &'a [f64],
    pub(super) fields: Option<&'a Fields>,
    pub(super) scales: &'a [Vec<f64>],
    pub(super) fwhm_px: f64,
    /// Reference point of the first pixel of the plane that the tiles lie in, and its size.
    pub(super) origin: Point,
    pub(super) plane: Shape,
    pub(super) uses_stars: bool,
}

/// Series of one tile: a displacement for each member.
type Series = Vec<Option<Measurement>>;

/// The lattice, and which of its tiles the stars leave uncertain (all without a star field);
/// `None` if there is nothing to register.
pub(super) fn tiles_to_register(
    view: &TileView<'_>,
    lattice: &WeightLattice,
    recipe: &StackRecipe,
) -> Option<(TileGrid, Vec<bool>)> {
    if recipe.field.method == FieldMethod::Stars {
        return None;
    }
    let tile = &recipe.field.tile;
    let params = TileParams {
        fwhm_px: view.fwhm_px * tile.size_factor / 32.0,
        max_size: tile.max_px.max(tile.min_px),
        overlap: tile.overlap,
    };
    // An image too small for tiles has the gauge alone.
    let grid = TileGrid::new(view.plane, &params).ok()?;
    let sigma_at = |rect: &Rect| -> f64 {
        let Some(fields) = view.fields else { return f64::INFINITY };
        let node = |at: f64, n: usize| ((at / lattice.spacing).round() as usize).min(n - 1);
        let (x, y) =
            (rect.x as f64 + 0.5 * rect.width as f64, rect.y as f64 + 0.5 * rect.height as f64);
        let k = node(y, lattice.nodes.height) * lattice.nodes.width + node(x, lattice.nodes.width);
        median(fields.sigma_px.iter().map(|s| f64::from(s[k])).collect())
    };
    let is_all = recipe.field.method == FieldMethod::Tiles;
    let wanted: Vec<bool> = grid
        .tiles()
        .iter()
        .map(|t| is_all || sigma_at(&t.rect) > recipe.field.max_sigma_px)
        .collect();
    wanted.contains(&true).then_some((grid, wanted))
}

/// Registers every member in the wanted tiles; gives displacement vectors by member.
///
/// Without a gauge, each member's median shift becomes part of its transform.
pub(super) fn register_tiles(
    run: &mut Run<'_>,
    burst: &Burst,
    view: &TileView<'_>,
    (mut grid, mut wanted): (TileGrid, Vec<bool>),
    ref_from_frame: &mut [Transform],
) -> Result<Vec<Vec<FieldObservation>>, StackError> {
    let recipe = run.job.recipe.field.clone();
    let mut spec = tiles_spec(run, view, ref_from_frame);
    let mut series: Vec<Option<Series>> = vec![None; wanted.len()];
    let mut open: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i]).collect();
    for pass in 0..=recipe.refine.passes {
        spec.tiles = open.iter().map(|&i| grid.tiles()[i].rect).collect();
        for (result, &i) in run_tiles(run, burst, &spec)?.iter().zip(&open) {
            series[i] = Some(measurements(result));
        }
        if pass == recipe.refine.passes {
            break;
        }
        let variances: Vec<Option<DisplacementVariance>> = series
            .iter()
            .map(|s| DisplacementVariance::of(&about_common(s.as_ref()?, &series)))
            .collect();
        let refined = grid.refine(
            &variances,
            &RefineParams {
                max_variance_px2: recipe.refine.variance_px2,
                min_size: recipe.refine.min_px,
                max_level: recipe.refine.passes as u8,
            },
        );
        if refined.changed.is_empty() {
            break;
        }
        series = refined.parents.iter().map(|&p| series[p].clone()).collect();
        wanted = refined.parents.iter().map(|&p| wanted[p]).collect();
        open = refined.changed.into_iter().filter(|&i| wanted[i]).collect();
        grid = refined.grid;
    }
    let poses: Vec<Option<Pose>> = poses(view, &series, ref_from_frame, burst.spec.shape);
    let least = recipe.tile.min_frames.min(view.members.len());
    let n_wanted = wanted.iter().filter(|w| **w).count();
    let mut invalid = 0;
    for series in series.iter_mut().flatten() {
        *series = tidy(series, view.times, &poses, &run.job.recipe);
        let variance = DisplacementVariance::of(series).map_or(0.0, |v| v.real_px2());
        let wild = view.uses_stars && variance > recipe.tile.max_variance_px2;
        if series.iter().flatten().count() < least || wild {
            series.fill(None);
            invalid += 1;
        }
    }
    if invalid > 0 {
        run.warn(format!(
            "{invalid} of {n_wanted} tiles cannot be registered on the image (too little signal or \
             too few frames); their field is that of their neighbours"
        ));
    }
    let valid_fraction = 1.0 - invalid as f64 / n_wanted.max(1) as f64;
    if view.fields.is_none() && valid_fraction < recipe.tile.min_valid_fraction {
        run.warn(format!(
            "only {:.0} % of the tiles could be registered (field.tile.min_valid_fraction is {:.0} \
             %): the gauge stands alone in the others",
            100.0 * valid_fraction,
            100.0 * recipe.tile.min_valid_fraction
        ));
    }
    if !view.uses_stars {
        shift_transforms(&mut series, ref_from_frame);
    }
    let mut vectors = vec![Vec::new(); view.members.len()];
    for (tile, series) in grid.tiles().iter().zip(&series) {
        let rect = tile.rect;
        let centre = Point::new(
            view.origin.x + rect.x as f64 + 0.5 * (rect.width as f64 - 1.0),
            view.origin.y + rect.y as f64 + 0.5 * (rect.height as f64 - 1.0),
        );
        for (k, m) in series.iter().flatten().enumerate() {
            if let Some(m) = m {
                let known = view.fields.map_or(Vec2::default(), |f| f.fields[k].at(centre));
                vectors[k].push(FieldObservation {
                    position: centre,
                    displacement: known + m.value,
                    sigma_px: m.sigma_px.max(LEAST_SIGMA_PX),
                });
            }
        }
    }
    Ok(vectors)
}

/// A shift that is not better than this says less than the neighbouring tiles do.
const MOST_SIGMA_PX: f64 = 0.5;

/// An image shift is not better than this, whatever its noise says: the tile is not rigid.
const LEAST_SIGMA_PX: f64 = 0.03;

fn tiles_spec(run: &Run<'_>, view: &TileView<'_>, ref_from_frame: &[Transform]) -> TilesSpec {
    let recipe = &run.job.recipe.field;
    let middle = view.scales.first().map_or(0, |s| s.len() / 2);
    TilesSpec {
        tiles: Vec::new(),
        frames: (0..view.members.len())
            .map(|k| TileFrame {
                frame: view.members[k],
                frame_from_ref: ref_from_frame[k].inverse().expect("checked when it was matched"),
                field: view.fields.map(|f| f.fields[k].clone()),
                scale: (1.0 / view.scales[k][middle]) as f32,
                weight: 1.0,
            })
            .collect(),
        first_reference: if view.uses_stars {
            FirstReference::Mean
        } else {
            FirstReference::Middle
        },
        iterations: recipe.iterations,
        convergence: recipe.convergence,
        min_correlation: recipe.min_correlation,
        params: PatchParams {
            warp: PatchWarp::Translation,
            fwhm_px: view.fwhm_px,
            max_shift_px: super::tiles::MARGIN as f64,
            max_iterations: 50,
            tolerance_px: 1e-3,
            max_sigma_px: MOST_SIGMA_PX,
        },
        origin: view.origin,
        shape: view.plane,
    }
}

/// Runs the heavy phase over the tiles of `spec`.
fn run_tiles(
    run: &mut Run<'_>,
    burst: &Burst,
    spec: &TilesSpec,
) -> Result<Vec<TileResult>, StackError> {
    let n = spec.frames.len();
    let side = spec.tiles.iter().map(|t| t.width.max(t.height)).max().unwrap_or(0) as u64 + 64;
    // Sums, patch, reference, masks and spectra: 120 bytes a pixel.
    let need = Need { work: 120 * side * side + (1 << 20), result: 64 * n as u64 };
    let count = spec.tiles.len();
    let mut request = PhaseRequest::new(
        PhaseKind::STACK_TILES,
        UnitRule::Frames { count, work_bytes: need.work, result_bytes: need.result },
    );
    request.n_frames = n;
    request.shared_bytes = burst.spec.masters.bytes();
    let plan = run.plan(&request)?;
    let files = (run.spec_file(&plan, "burst", &burst.spec)?, run.spec_file(&plan, "tiles", spec)?);
    let files = files.0.as_deref().zip(files.1.as_deref());
    let phase = TilesPhase { burst, spec, need, files };
    let mut results = Vec::with_capacity(count);
    run.run_phase(&phase, &plan, |_, result| match result {
        UnitResult::Done(Ok(result)) => {
            results.push(result);
            Ok(())
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => Err(StackError::Unit(reason)),
    })?;
    Ok(results)
}

fn measurements(result: &TileResult) -> Series {
    let one = |s: &super::tiles::TileShift| Measurement {
        value: s.displacement,
        sigma_px: s.sigma_px.max(LEAST_SIGMA_PX),
    };
    result.shifts.iter().map(|s| s.as_ref().map(one)).collect()
}

/// A tile's series less what all tiles have in common in each frame: what is left differs from
/// place to place, which is what smaller tiles could resolve.
fn about_common(series: &Series, all: &[Option<Series>]) -> Series {
    series
        .iter()
        .enumerate()
        .map(|(k, m)| {
            let common = common_shift(all, k)?;
            (*m).map(|m| Measurement { value: m.value - common, sigma_px: m.sigma_px })
        })
        .collect()
}

/// Median displacement of frame `k` over all tiles.
fn common_shift(all: &[Option<Series>], k: usize) -> Option<Vec2> {
    let here: Vec<Vec2> = all.iter().flatten().filter_map(|s| s[k]).map(|m| m.value).collect();
    (!here.is_empty()).then(|| {
        Vec2::new(
            median(here.iter().map(|v| v.dx).collect()),
            median(here.iter().map(|v| v.dy).collect()),
        )
    })
}

/// Where each member pointed: from its transform, or, without a gauge, from the tiles.
fn poses(
    view: &TileView<'_>,
    series: &[Option<Series>],
    ref_from_frame: &[Transform],
    shape: Shape,
) -> Vec<Option<Pose>> {
    let centre = Point::new(0.5 * (shape.width as f64 - 1.0), 0.5 * (shape.height as f64 - 1.0));
    (0..view.members.len())
        .map(|k| {
            if view.uses_stars {
                let t = &ref_from_frame[k];
                return Some(Pose { centre: *t * centre, angle_rad: t.angle_rad() });
            }
            let v = common_shift(series, k)?;
            Some(Pose { centre: Point::new(v.dx, v.dy), angle_rad: 0.0 })
        })
        .collect()
}

/// A tile's series without outliers and, as the recipe says, smoothed in time.
fn tidy(series: &Series, times: &[f64], poses: &[Option<Pose>], recipe: &StackRecipe) -> Series {
    let params = SegmentParams { excursion: Excursion::Dither, ..SegmentParams::default() };
    let segments = segments(times, poses, &params);
    let window = recipe.field.temporal_window;
    let judge =
        OutlierParams { limit_px: recipe.field.max_delta_px, window, ..OutlierParams::default() };
    let wrong = outliers(times, series, &segments, &judge);
    let kept: Series = series.iter().zip(&wrong).map(|(m, wrong)| m.filter(|_| !wrong)).collect();
    let smoothing = match recipe.field.temporal {
        Temporal::Auto => Smoothing::Auto,
        Temporal::None => Smoothing::None,
        Temporal::Median => Smoothing::RunningMedian { window },
        Temporal::SavitzkyGolay => Smoothing::SavitzkyGolay { window, order: 3 },
    };
    smooth(times, &kept, &segments, smoothing)
}

/// Moves each frame's common shift from its tiles into its transform.
fn shift_transforms(series: &mut [Option<Series>], ref_from_frame: &mut [Transform]) {
    for k in 0..ref_from_frame.len() {
        let Some(common) = common_shift(series, k) else { continue };
        // A point p of the reference lies at p + displacement in the frame.
        ref_from_frame[k] = Transform::translation(-common) * ref_from_frame[k];
        for m in series.iter_mut().flatten().filter_map(|s| s[k].as_mut()) {
            m.value = m.value - common;
        }
    }
}
