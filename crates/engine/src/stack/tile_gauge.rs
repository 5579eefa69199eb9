//! Where the recipe wants no gauge but tiles: what the tiles of a frame have in common becomes its
//! transform.
//!
//! Literal Methodik v4 registers every tile from nothing. Its frames must then be aligned to begin
//! with: the mean of a tile that drifts is a smear. So each tile is first followed from the middle
//! frame to both ends of the burst, and the common part of its tiles' shifts, a similarity, places
//! each frame; tiles then register what is left, as with any gauge.

use stillframe_image::{Point, Shape, Transform, Vec2};
use stillframe_kernels::register::fit::{Model, fit_robust};

use super::burst::Burst;
use super::error::StackError;
use super::gauge::Gauged;
use super::geometry::median;
use super::measure::FrameMeasure;
use super::run::Run;
use super::tile_pass::{patch_params, run_tiles, tile_centre, tile_grid};
use super::tiles::{Against, TileFrame, TileResult, TileShift, TilesSpec};
use crate::recipe::{FieldMethod, GaugeMethod, TileRecipe};

/// A similarity needs more tiles than its four parameters to be believed; fewer give a shift.
const LEAST_FOR_SIMILARITY: usize = 6;

/// A frame that a smaller part of the tiles places might be placed by chance.
const LEAST_SHARE: f64 = 0.1;

/// FWHM that is assumed where no star tells, pixels (the original's figure).
const FALLBACK_FWHM_PX: f64 = 3.0;

/// A burst of which no frame is farther off than this is aligned: a frame that its tiles do not place
/// is then taken as it lies.
const ALIGNED_PX: f64 = 1.0;

/// Where every frame lies by its tiles; `None` if the recipe has a gauge, or none and no tiles, or if
/// it leaves the choice and the image does not support one.
///
/// # Errors
/// If fewer tiles than the recipe asks for can be registered, a frame can no longer be read, the
/// plan does not fit, or the run is cancelled.
pub(super) fn tile_gauge(
    run: &mut Run<'_>,
    burst: &Burst,
    measures: &[FrameMeasure],
) -> Result<Option<Vec<Gauged>>, StackError> {
    let recipe = &run.job.recipe;
    let uses_tiles = matches!(recipe.field.method, FieldMethod::Tiles | FieldMethod::Auto);
    let n = measures.len();
    if recipe.gauge.method != GaugeMethod::None || !uses_tiles || n < recipe.field.min_burst_frames
    {
        return Ok(None);
    }
    let fwhm: Vec<f64> = measures.iter().filter_map(|m| m.metrics.fwhm_px.map(f64::from)).collect();
    let fwhm_px = if fwhm.is_empty() { FALLBACK_FWHM_PX } else { median(fwhm) };
    let shape = burst.spec.shape;
    let Some(grid) = tile_grid(shape, fwhm_px, recipe) else { return Ok(None) };
    let still = TileFrame {
        frame: 0,
        frame_from_ref: Transform::IDENTITY,
        field: None,
        scale: 1.0,
        weight: 1.0,
    };
    let spec = TilesSpec {
        tiles: grid.tiles().iter().map(|t| t.rect).collect(),
        frames: (0..n).map(|frame| TileFrame { frame, ..still.clone() }).collect(),
        against: Against::MiddleFrame,
        iterations: 1,
        convergence: 0.0,
        min_correlation: recipe.field.min_correlation,
        params: patch_params(fwhm_px),
        origin: Point::default(),
        shape,
    };
    let found = run_tiles(run, burst, &spec)?;
    if let Err(reason) = check_valid(&found, n, &recipe.field.tile) {
        if recipe.field.method == FieldMethod::Tiles {
            return Err(StackError::Recipe(reason));
        }
        run.warn(format!("{reason}; the frames are taken as they lie"));
        return Ok(None);
    }
    let origin = Point::default();
    let places: Vec<Point> = spec.tiles.iter().map(|rect| tile_centre(origin, *rect)).collect();
    let placed: Vec<Option<Transform>> = (0..n).map(|k| place(&places, &found, k)).collect();
    Ok(Some(centred(&placed, shape)))
}

/// Refuses a burst of which too few tiles say anything.
fn check_valid(found: &[TileResult], n: usize, recipe: &TileRecipe) -> Result<(), String> {
    let least = recipe.min_frames.min(n);
    let is_valid = |t: &&TileResult| t.shifts.iter().flatten().count() >= least;
    let valid = found.iter().filter(is_valid).count();
    let fraction = valid as f64 / found.len().max(1) as f64;
    if fraction >= recipe.min_valid_fraction {
        return Ok(());
    }
    Err(format!(
        "without a gauge {valid} of {} tiles ({:.0} %) can be registered, \
         field.tile.min_valid_fraction is {:.0} %; use gauge.method: stars",
        found.len(),
        100.0 * fraction,
        100.0 * recipe.min_valid_fraction
    ))
}

/// `ref_from_frame` of frame `k` from the tiles at `places`; `None` if too few have found it.
fn place(places: &[Point], found: &[TileResult], k: usize) -> Option<Transform> {
    let seen: Vec<(Point, TileShift)> =
        places.iter().zip(found).filter_map(|(p, t)| Some((*p, t.shifts[k]?))).collect();
    if seen.is_empty() || (seen.len() as f64) < LEAST_SHARE * places.len() as f64 {
        return None;
    }
    let shift = Vec2::new(
        median(seen.iter().map(|(_, s)| s.displacement.dx).collect()),
        median(seen.iter().map(|(_, s)| s.displacement.dy).collect()),
    );
    // A point p of the reference lies at p + displacement in the frame.
    let start = Transform::translation(-shift);
    if seen.len() < LEAST_FOR_SIMILARITY {
        return Some(start);
    }
    let pairs: Vec<(Point, Point, f64)> = seen
        .iter()
        .map(|(p, s)| {
            let sigma = s.sigma_px.max(LEAST_SIGMA_PX);
            (*p + s.displacement, *p, 1.0 / (sigma * sigma))
        })
        .collect();
    let fit = fit_robust(Model::Similarity, &pairs, &start, 1.0, ITERATIONS);
    Some(fit.map_or(start, |fit| fit.transform))
}

/// Tiles lie in a distorted frame: no shift is believed better than this, pixels.
const LEAST_SIGMA_PX: f64 = 0.1;
const ITERATIONS: usize = 20;

/// The frames with the origin at their median pointing instead of that of the middle frame. One that
/// has not found its place is lost, unless all others lie where it does.
fn centred(placed: &[Option<Transform>], shape: Shape) -> Vec<Gauged> {
    let middle = Point::new(0.5 * (shape.width as f64 - 1.0), 0.5 * (shape.height as f64 - 1.0));
    let off = |t: &Transform| *t * middle - middle;
    let common = Vec2::new(
        median(placed.iter().flatten().map(|t| off(t).dx).collect()),
        median(placed.iter().flatten().map(|t| off(t).dy).collect()),
    );
    let is_aligned = placed.iter().flatten().all(|t| off(t).norm() < ALIGNED_PX);
    let gauged = |t: &Option<Transform>| match t {
        Some(t) => Gauged::Tiles { ref_from_frame: Transform::translation(-common) * *t },
        None if is_aligned => Gauged::Identity,
        None => Gauged::Failed { reason: "too few of its tiles are like the others\'".into() },
    };
    placed.iter().map(gauged).collect()
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    fn lattice() -> Vec<Point> {
        (0..20)
            .map(|i| Point::new(40.0 + 72.0 * f64::from(i % 5), 40.0 + 72.0 * f64::from(i / 5)))
            .collect()
    }

    fn result(shift: Option<Vec2>) -> TileResult {
        let shift = shift.map(|displacement| TileShift { displacement, sigma_px: 0.05, cc: 0.8 });
        TileResult { shifts: vec![shift], iterations: 1 }
    }

    #[test]
    fn tiles_of_a_turned_frame_give_its_transform() {
        let truth = Transform::similarity(1.0, 0.04, Vec2::new(-25.0, 7.0));
        let frame_from_ref = truth.inverse().unwrap();
        let mut rng = Rng::new(2, 0, 0);
        let places = lattice();
        let found: Vec<TileResult> = places
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let wrong = if i % 7 == 3 { 12.0 } else { 0.05 };
                let noise = Vec2::new(wrong * rng.normal(), wrong * rng.normal());
                result((i % 5 != 4).then_some(frame_from_ref * *p - *p + noise))
            })
            .collect();
        let t = place(&places, &found, 0).unwrap();
        for p in &places {
            assert!((t * (frame_from_ref * *p)).distance(*p) < 0.2);
        }
    }

    #[test]
    fn few_tiles_give_a_shift_and_one_in_twenty_nothing() {
        let places = lattice();
        let seen = |n: usize| -> Vec<TileResult> {
            (0..20).map(|i| result((i < n).then_some(Vec2::new(3.0, -1.0)))).collect()
        };
        assert_eq!(place(&places, &seen(1), 0), None);
        let t = place(&places, &seen(2), 0).unwrap();
        assert_eq!(t, Transform::translation(Vec2::new(-3.0, 1.0)));
    }

    #[test]
    fn the_origin_is_the_median_pointing() {
        let moved = |dx: f64| Some(Transform::translation(Vec2::new(dx, 2.0)));
        let level = |t: Transform| Transform::translation(Vec2::new(0.0, -2.0)) * t;
        let gauged = centred(&[moved(1.0), None, moved(2.0), moved(9.0)], Shape::new(10, 10));
        let dx = |g: &Gauged| match g {
            Gauged::Tiles { ref_from_frame } => Some((*ref_from_frame * Point::default()).x),
            _ => None,
        };
        let all: Vec<Option<f64>> = gauged.iter().map(dx).collect();
        assert_eq!(all, [Some(-1.0), None, Some(0.0), Some(7.0)]);
        assert!(matches!(gauged[1], Gauged::Failed { .. }));
        let still =
            centred(&[moved(0.1), None, moved(-0.1)].map(|t| t.map(level)), Shape::new(10, 10));
        assert!(matches!(still[1], Gauged::Identity));
        assert!(matches!(
            centred(&[None, None], Shape::new(10, 10))[..],
            [Gauged::Identity, Gauged::Identity]
        ));
    }

    #[test]
    fn too_few_valid_tiles_are_refused() {
        let found: Vec<TileResult> =
            (0..20).map(|i| result((i < 5).then_some(Vec2::default()))).collect();
        let recipe = TileRecipe { min_valid_fraction: 0.3, ..TileRecipe::default() };
        assert!(check_valid(&found, 1, &recipe).unwrap_err().contains("25 %"));
        let recipe = TileRecipe { min_valid_fraction: 0.25, ..recipe };
        check_valid(&found, 1, &recipe).unwrap();
    }
}
