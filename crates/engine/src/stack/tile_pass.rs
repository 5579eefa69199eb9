//! Which tiles must be registered on the image, and what becomes of the shifts that are found.

use stillframe_image::{Point, Rect, Shape, Transform, Vec2};
use stillframe_kernels::register::field_fit::FieldObservation;
use stillframe_kernels::register::patch::{PatchParams, PatchWarp};
use stillframe_kernels::register::temporal::{Measurement, Pose};
use stillframe_kernels::register::tiles::{
    DisplacementVariance, MIN_TILE, RefineParams, TileGrid, TileParams,
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
use super::tile_series::{Series, Track, centre, common_shifts, less_common, reject_lonely};
use super::tiles::{FirstReference, TileFrame, TileResult, TilesSpec};
use crate::recipe::{FieldMethod, FieldRecipe, StackRecipe};

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

/// How the frames lie in one tile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TileMotion {
    /// What is missing to each member's transform; `None` where neither the image nor its neighbours
    /// in time say.
    pub(super) shifts: Vec<Option<Vec2>>,
    /// Correlation of each member with the reference; `None` where it was not accepted.
    pub(super) cc: Vec<Option<f64>>,
    /// Variance of the shifts over the members, both axes, square pixels.
    pub(super) variance_px2: f64,
}

/// What registering tiles on the image has given.
#[derive(Debug)]
pub(super) struct TileRegistration {
    /// The tiles.
    pub(super) grid: TileGrid,
    /// Reference point of the first pixel of the plane that they lie in.
    pub(super) origin: Point,
    /// One for each tile; `None` where the stars sufficed or the image did not.
    pub(super) motions: Vec<Option<TileMotion>>,
    /// Displacement vectors by member, for the fields.
    pub(super) vectors: Vec<Vec<FieldObservation>>,
    /// Members that no tile places; none of them with a gauge.
    pub(super) lost: Vec<usize>,
}

impl TileRegistration {
    /// The point of the reference in the middle of tile `index`.
    pub(super) fn centre(&self, index: usize) -> Point {
        tile_centre(self.origin, self.grid.tiles()[index].rect)
    }
}

/// The point of the reference in the middle of `rect`, pixels of a plane that begins at `origin`.
pub(super) fn tile_centre(origin: Point, rect: Rect) -> Point {
    Point::new(
        origin.x + rect.x as f64 + 0.5 * (rect.width as f64 - 1.0),
        origin.y + rect.y as f64 + 0.5 * (rect.height as f64 - 1.0),
    )
}

/// T = clip(factor · FWHM, min, max), pixels.
pub(super) fn tile_size(fwhm_px: f64, recipe: &StackRecipe) -> f64 {
    let tile = &recipe.field.tile;
    (tile.size_factor * fwhm_px).min(tile.max_px as f64).max(tile.min_px as f64)
}

/// The lattice of the tiles; `None` if the plane is too small for any.
pub(super) fn tile_grid(plane: Shape, fwhm_px: f64, recipe: &StackRecipe) -> Option<TileGrid> {
    let tile = &recipe.field.tile;
    let params = TileParams {
        // The lattice makes tiles of 32 FWHM.
        fwhm_px: tile_size(fwhm_px, recipe) / 32.0,
        max_size: tile.max_px.max(tile.min_px).max(MIN_TILE),
        overlap: tile.overlap,
    };
    TileGrid::new(plane, &params).ok()
}

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
    let grid = tile_grid(view.plane, view.fwhm_px, recipe)?;
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

/// The tiles as they were measured.
struct Measured {
    grid: TileGrid,
    /// One for each tile; `None` where it was not wanted.
    series: Vec<Option<Series>>,
    cc: Vec<Vec<Option<f64>>>,
}

/// Registers every member in the wanted tiles.
///
/// Without a gauge, what all tiles have in common in a frame becomes part of its transform.
///
/// # Errors
/// Without a gauge also if fewer tiles than the recipe asks for can be registered.
pub(super) fn register_tiles(
    run: &mut Run<'_>,
    burst: &Burst,
    view: &TileView<'_>,
    tiles: (TileGrid, Vec<bool>),
    ref_from_frame: &mut [Transform],
) -> Result<TileRegistration, StackError> {
    let recipe = run.job.recipe.field.clone();
    let Measured { grid, mut series, cc } = measure_tiles(run, burst, view, tiles, ref_from_frame)?;
    let n = view.members.len();
    let common = common_shifts(&series, n);
    let poses = poses(view, &common, ref_from_frame, burst.spec.shape);
    let mut lost = Vec::new();
    if !view.uses_stars {
        for s in series.iter_mut().flatten() {
            *s = less_common(s, &common);
        }
        lost.extend((0..n).filter(|&k| common[k].is_none()));
        for (t, common) in ref_from_frame.iter_mut().zip(&common) {
            // A point p of the reference lies at p + displacement in the frame.
            *t = Transform::translation(-common.unwrap_or_default()) * *t;
        }
    }
    let centres: Vec<Point> =
        grid.tiles().iter().map(|t| tile_centre(view.origin, t.rect)).collect();
    let track = Track::new(view.times, &poses);
    for s in series.iter_mut().flatten() {
        track.reject(s, &recipe);
    }
    reject_lonely(&mut series, &centres, recipe.max_delta_px);
    let motions = motions(view, (&mut series, &cc), &centres, &track, &recipe);
    tell_invalid(run, view, &series, &motions)?;
    let mut vectors = vec![Vec::new(); n];
    for ((series, motion), &position) in series.iter().zip(&motions).zip(&centres) {
        let (Some(series), Some(_)) = (series, motion) else { continue };
        for (vectors, m) in vectors.iter_mut().zip(series) {
            vectors.extend(m.map(|m| FieldObservation {
                position,
                displacement: m.value,
                sigma_px: m.sigma_px.max(LEAST_SIGMA_PX),
            }));
        }
    }
    Ok(TileRegistration { grid, origin: view.origin, motions, vectors, lost })
}

/// Measures the wanted tiles, and again in parts those that the recipe wants finer.
fn measure_tiles(
    run: &mut Run<'_>,
    burst: &Burst,
    view: &TileView<'_>,
    (mut grid, mut wanted): (TileGrid, Vec<bool>),
    ref_from_frame: &[Transform],
) -> Result<Measured, StackError> {
    let refine = run.job.recipe.field.refine.clone();
    let n = view.members.len();
    let mut spec = tiles_spec(run, view, ref_from_frame);
    let mut series: Vec<Option<Series>> = vec![None; wanted.len()];
    let mut cc = vec![Vec::new(); wanted.len()];
    let mut open: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i]).collect();
    for pass in 0..=refine.passes {
        spec.tiles = open.iter().map(|&i| grid.tiles()[i].rect).collect();
        for (result, &i) in run_tiles(run, burst, &spec)?.iter().zip(&open) {
            series[i] = Some(measurements(result));
            cc[i] = result.shifts.iter().map(|s| s.map(|s| s.cc)).collect();
        }
        if pass == refine.passes {
            break;
        }
        let common = common_shifts(&series, n);
        let variances: Vec<Option<DisplacementVariance>> = series
            .iter()
            .map(|s| DisplacementVariance::of(&less_common(s.as_ref()?, &common)))
            .collect();
        let refined = grid.refine(
            &variances,
            &RefineParams {
                max_variance_px2: refine.variance_px2,
                min_size: refine.min_px,
                max_level: refine.passes as u8,
            },
        );
        if refined.changed.is_empty() {
            break;
        }
        series = refined.parents.iter().map(|&p| series[p].clone()).collect();
        cc = refined.parents.iter().map(|&p| cc[p].clone()).collect();
        wanted = refined.parents.iter().map(|&p| wanted[p]).collect();
        open = refined.changed.into_iter().filter(|&i| wanted[i]).collect();
        grid = refined.grid;
    }
    Ok(Measured { grid, series, cc })
}

/// Smooths the series in time, and gives the motions of the tiles that are valid.
fn motions(
    view: &TileView<'_>,
    (series, cc): (&mut [Option<Series>], &[Vec<Option<f64>>]),
    centres: &[Point],
    track: &Track<'_>,
    recipe: &FieldRecipe,
) -> Vec<Option<TileMotion>> {
    let least = recipe.tile.min_frames.min(view.members.len());
    let motion = |series: &mut Series, cc: &[Option<f64>], position: Point| {
        let cc: Vec<Option<f64>> =
            cc.iter().zip(series.iter()).map(|(cc, m)| cc.filter(|_| m.is_some())).collect();
        *series = track.smoothed(series, recipe);
        if !view.uses_stars {
            centre(series);
        }
        let is_wild = DisplacementVariance::of(series)
            .is_some_and(|v| v.real_px2() > recipe.tile.max_variance_px2);
        if is_wild || cc.iter().flatten().count() < least {
            return None;
        }
        // Within a star field the image says what is missing to it.
        for (k, m) in series.iter_mut().enumerate() {
            if let (Some(m), Some(fields)) = (m, view.fields) {
                m.value = m.value + fields.fields[k].at(position);
            }
        }
        Some(TileMotion {
            shifts: series.iter().map(|m| m.as_ref().map(|m| m.value)).collect(),
            cc,
            variance_px2: DisplacementVariance::of(series).map_or(0.0, |v| v.total_px2),
        })
    };
    series
        .iter_mut()
        .zip(cc)
        .zip(centres)
        .map(|((series, cc), &position)| motion(series.as_mut()?, cc, position))
        .collect()
}

/// Says which tiles could not be registered; without a gauge too few are an error.
fn tell_invalid(
    run: &mut Run<'_>,
    view: &TileView<'_>,
    series: &[Option<Series>],
    motions: &[Option<TileMotion>],
) -> Result<(), StackError> {
    let wanted = series.iter().flatten().count();
    let valid = motions.iter().flatten().count();
    let fraction = valid as f64 / wanted.max(1) as f64;
    let needed = run.job.recipe.field.tile.min_valid_fraction;
    if !view.uses_stars && fraction < needed {
        return Err(StackError::Recipe(format!(
            "{valid} of {wanted} tiles ({:.0} %) could be registered without a gauge, \
             field.tile.min_valid_fraction is {:.0} %; use gauge.method: stars",
            100.0 * fraction,
            100.0 * needed
        )));
    }
    if valid < wanted {
        run.warn(format!(
            "{} of {wanted} tiles cannot be registered on the image (too little signal or too few \
             frames); their field is that of their neighbours",
            wanted - valid
        ));
    }
    Ok(())
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

/// Where each member pointed: from its transform, or, without a gauge, from the tiles.
fn poses(
    view: &TileView<'_>,
    common: &[Option<Vec2>],
    ref_from_frame: &[Transform],
    shape: Shape,
) -> Vec<Option<Pose>> {
    let centre = Point::new(0.5 * (shape.width as f64 - 1.0), 0.5 * (shape.height as f64 - 1.0));
    ref_from_frame
        .iter()
        .zip(common)
        .map(|(t, common)| {
            if view.uses_stars {
                return Some(Pose { centre: *t * centre, angle_rad: t.angle_rad() });
            }
            let v = (*common)?;
            Some(Pose { centre: Point::new(v.dx, v.dy), angle_rad: 0.0 })
        })
        .collect()
}
