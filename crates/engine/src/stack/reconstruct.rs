//! Literal Methodik v4: every tile is an image of its own, with one shift per frame, and the tiles
//! are added with overlapping windows.
//!
//! One unit is one tile; it works on itself in bands of rows, so that memory does not grow with the
//! number of frames. Tiles are committed in order by one thread. In weight space: the result at a
//! pixel is Σ w·ψ·I·W / Σ w·ψ·W over the tiles, with w their windows (which add up to 1), W the sum
//! of their frames' weights there, and ψ = exp(−v / 2σ²) for the variance v of a tile's shifts.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Rect, Shape, Transform, Vec2};
use stillframe_kernels::combine::{OverlapAdd, variance_factor};
use stillframe_kernels::register::tiles::{Tile, TileGrid};
use stillframe_kernels::warp::Geometry;
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::burst::Burst;
use super::canvas::Canvas;
use super::combine::{Block, BlockPlane, BlockScratch, CombineSpec, work_rect};
use super::error::StackError;
use super::geometry::Fields;
use super::output::{Stack, StackPlane};
use super::phases::ReconstructPhase;
use super::run::Run;
use super::tile_pass::{TileMotion, TileRegistration, tile_centre};

/// A tile of the canvas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReconstructTile {
    /// Its pixels of the canvas.
    rect: Rect,
    /// Its window, by column and row of `rect`.
    columns: Vec<f64>,
    rows: Vec<f64>,
    /// ψ.
    factor: f64,
    /// Shift of each frame beyond its transform; a frame without one is left out.
    shifts: Vec<Option<Vec2>>,
}

/// What the tiles of the canvas are made from.
pub(super) struct TileSources<'a> {
    pub(super) canvas: &'a Canvas,
    /// The lattice, if the image has room for one.
    pub(super) grid: TileGrid,
    /// What the image says, on a lattice of its own that is then used instead of `grid`.
    pub(super) registration: Option<&'a TileRegistration>,
    /// What the stars say.
    pub(super) fields: Option<&'a Fields>,
    pub(super) n_frames: usize,
    /// σ in ψ, pixels.
    pub(super) sigma_px: f64,
}

/// The tiles of the canvas in order. A tile that the image did not register has the shifts that the
/// star field has in its middle, or none: then the transforms alone place its frames, and in the
/// overlaps it counts as little as the least certain tile.
pub(super) fn tiles(sources: &TileSources<'_>) -> Vec<ReconstructTile> {
    let grid = sources.registration.map_or(&sources.grid, |r| &r.grid);
    grid.tiles()
        .iter()
        .enumerate()
        .map(|(index, tile)| {
            let motion = sources.registration.and_then(|r| r.motions[index].as_ref());
            let centre = tile_centre(sources.canvas.first, tile.rect);
            let (shifts, variance) = match (motion, sources.fields) {
                (Some(TileMotion { shifts, variance_px2, .. }), _) => {
                    (shifts.clone(), *variance_px2)
                }
                (None, Some(fields)) => {
                    let shifts: Vec<Vec2> = fields.fields.iter().map(|f| f.at(centre)).collect();
                    let variance = variance_px2(&shifts);
                    (shifts.into_iter().map(Some).collect(), variance)
                }
                (None, None) => (vec![Some(Vec2::default()); sources.n_frames], f64::INFINITY),
            };
            place(tile, sources.canvas, shifts, variance_factor(variance, sources.sigma_px))
        })
        .collect()
}

/// Variance of both axes together.
fn variance_px2(shifts: &[Vec2]) -> f64 {
    let n = shifts.len() as f64;
    let mean = shifts.iter().fold(Vec2::default(), |sum, v| sum + *v) * (1.0 / n.max(1.0));
    shifts.iter().map(|v| (*v - mean).norm_squared()).sum::<f64>() / (n - 1.0).max(1.0)
}

/// A tile of the reference plane on the canvas, which may be finer.
fn place(tile: &Tile, canvas: &Canvas, shifts: Vec<Option<Vec2>>, factor: f64) -> ReconstructTile {
    let rect = tile.rect;
    let x = span(rect.x..rect.x_end(), canvas.step, canvas.shape.width);
    let y = span(rect.y..rect.y_end(), canvas.step, canvas.shape.height);
    let along = |pixels: &std::ops::Range<usize>, first: usize, window: &[f32]| -> Vec<f64> {
        let here = pixels.clone().map(|i| f64::from(window[under(i, canvas.step) - first]));
        here.collect()
    };
    ReconstructTile {
        columns: along(&x, rect.x, tile.window().columns()),
        rows: along(&y, rect.y, tile.window().rows()),
        rect: Rect::new(x.start, y.start, x.len(), y.len()),
        factor,
        shifts,
    }
}

/// The reference pixel that the middle of canvas pixel `i` lies in.
fn under(i: usize, step: f64) -> usize {
    ((i as f64 + 0.5) * step) as usize
}

/// The canvas pixels whose middles lie in the reference pixels `range`.
fn span(range: std::ops::Range<usize>, step: f64, size: usize) -> std::ops::Range<usize> {
    let first = |at: usize| {
        let mut i = ((at as f64 / step) as usize).saturating_sub(2);
        while i < size && under(i, step) < at {
            i += 1;
        }
        i.min(size)
    };
    first(range.start)..first(range.end)
}

/// Memory for the samples of one band of a tile; smaller than a unit may hold, for a tile has its
/// result besides.
const BAND_BYTES: u64 = 16 << 20;

/// Rows of a band of a tile that is `width` pixels wide. Scheduling only: a pixel knows nothing of
/// its band.
fn band_rows(spec: &CombineSpec, width: usize) -> usize {
    let row = spec.cost().work_per_pixel * width.max(1) as u64;
    ((BAND_BYTES / row.max(1)) as usize).max(1)
}

/// What a tile needs.
pub(super) fn need(spec: &CombineSpec, tile: &ReconstructTile) -> Need {
    let cost = spec.cost();
    let shape = tile.rect.shape();
    let band = band_rows(spec, shape.width).min(shape.height) * shape.width;
    Need {
        work: cost.work_per_pixel * band as u64 + cost.overhead,
        // While the bands are put together, the last of them is there twice.
        result: cost.result_per_pixel * (shape.len() + band) as u64,
    }
}

/// Combines all frames in one tile; the error names a frame that can no longer be read.
pub(super) fn work_tile(
    burst: &Burst,
    spec: &CombineSpec,
    tile: &ReconstructTile,
    scratch: &mut BlockScratch,
) -> Result<Block, String> {
    let place = |slot: usize| {
        let shift = tile.shifts[slot]?;
        let frame_from_ref = spec.frames[slot].frame_from_ref * Transform::translation(shift);
        Some(Geometry { frame_from_ref, field: None })
    };
    let Rect { x, y, width, height } = tile.rect;
    let mut whole = Block { planes: vec![BlockPlane::default(); spec.planes] };
    let rows = band_rows(spec, width);
    for first in (0..height).step_by(rows) {
        let band = Rect::new(x, y + first, width, rows.min(height - first));
        let block = work_rect(burst, spec, band, &place, scratch)?;
        for (whole, part) in whole.planes.iter_mut().zip(block.planes) {
            whole.value.extend(part.value);
            whole.weight.extend(part.weight);
            whole.coverage.extend(part.coverage);
            whole.rejected.extend(part.rejected);
            whole.rejected_of_frame.resize(spec.frames.len(), 0);
            for (sum, n) in whole.rejected_of_frame.iter_mut().zip(part.rejected_of_frame) {
                *sum += n;
            }
        }
    }
    Ok(whole)
}

/// Sums of one plane over the tiles.
struct Blend {
    values: OverlapAdd,
    /// Σ w·ψ of the tiles that have data at a pixel.
    norm: Image<f32>,
    /// Σ w·ψ times samples, and times rejected samples.
    coverage: Image<f32>,
    rejected: Image<f32>,
}

impl Blend {
    fn new(shape: Shape) -> Self {
        let zero = || Image::filled(shape, 0.0f32);
        Self { values: OverlapAdd::new(shape), norm: zero(), coverage: zero(), rejected: zero() }
    }

    /// Bytes a pixel.
    const BYTES: u64 = 16 + 3 * 4;

    fn add(&mut self, tile: &ReconstructTile, plane: &BlockPlane) {
        let rect = tile.rect;
        let windows = (tile.columns.as_slice(), tile.rows.as_slice());
        self.values.add(rect, (&plane.value, &plane.weight), windows, tile.factor);
        for (row, wy) in tile.rows.iter().enumerate() {
            let from = row * rect.width..(row + 1) * rect.width;
            let to = rect.x..rect.x_end();
            let norm = &mut self.norm.row_mut(rect.y + row)[to.clone()];
            let coverage = &mut self.coverage.row_mut(rect.y + row)[to.clone()];
            let rejected = &mut self.rejected.row_mut(rect.y + row)[to];
            let counts = plane.coverage[from.clone()].iter().zip(&plane.rejected[from]);
            for ((((norm, coverage), rejected), (c, r)), wx) in
                norm.iter_mut().zip(coverage).zip(rejected).zip(counts).zip(&tile.columns)
            {
                if *c > 0 {
                    let w = (wx * wy * tile.factor) as f32;
                    *norm += w;
                    *coverage += w * *c as f32;
                    *rejected += w * *r as f32;
                }
            }
        }
    }

    /// The blended plane: weight, coverage and rejected samples are the means of the tiles that have
    /// data at a pixel.
    fn finish(self) -> StackPlane {
        let (value, mut weight) = self.values.finish();
        for (w, norm) in weight.pixels_mut().iter_mut().zip(self.norm.pixels()) {
            *w = if *norm > 0.0 { *w / norm } else { 0.0 };
        }
        let mean = |sum: &Image<f32>, least: i32| {
            let means = sum.pixels().iter().zip(self.norm.pixels()).map(|(sum, norm)| {
                if *norm > 0.0 { ((sum / norm).round() as i32).max(least) } else { 0 }
            });
            Image::from_vec(sum.shape(), means.collect())
        };
        let (coverage, rejected) = (mean(&self.coverage, 1), mean(&self.rejected, 0));
        StackPlane { value, weight, coverage, rejected }
    }
}

/// Pass 2 in tiles.
///
/// # Errors
/// If a frame can no longer be read, the plan does not fit, or the run is cancelled.
pub(super) fn reconstruct(
    run: &mut Run<'_>,
    burst: &Burst,
    spec: &CombineSpec,
    tiles: &[ReconstructTile],
) -> Result<Stack, StackError> {
    let shape = spec.canvas.shape;
    let most = |of: fn(&Need) -> u64| tiles.iter().map(|t| of(&need(spec, t))).max().unwrap_or(0);
    let mut request = PhaseRequest::new(
        PhaseKind::new("stack_reconstruct"),
        UnitRule::Frames {
            count: tiles.len(),
            work_bytes: most(|n| n.work),
            result_bytes: most(|n| n.result),
        },
    );
    request.n_frames = spec.frames.len();
    request.shared_bytes =
        burst.spec.masters.bytes() + Blend::BYTES * spec.planes as u64 * shape.len() as u64;
    let plan = run.plan(&request)?;
    let files = [
        run.spec_file(&plan, "burst", &burst.spec)?,
        run.spec_file(&plan, "combine", spec)?,
        run.spec_file(&plan, "reconstruct", &tiles)?,
    ];
    let files = match &files {
        [Some(burst), Some(combine), Some(tiles)] => {
            Some([burst.as_path(), combine.as_path(), tiles.as_path()])
        }
        _ => None,
    };
    let phase = ReconstructPhase { burst, spec, tiles, files };
    // Samples in an overlap count in each of its tiles.
    let mut rejected_of_frame = vec![0; spec.frames.len()];
    let mut blends: Vec<Blend> = (0..spec.planes).map(|_| Blend::new(shape)).collect();
    run.run_phase(&phase, &plan, |index, result| match result {
        UnitResult::Done(Ok(block)) => {
            for (blend, plane) in blends.iter_mut().zip(&block.planes) {
                blend.add(&tiles[index], plane);
                for (sum, n) in rejected_of_frame.iter_mut().zip(&plane.rejected_of_frame) {
                    *sum += n;
                }
            }
            Ok(())
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => Err(StackError::Unit(reason)),
    })?;
    Ok(Stack { planes: blends.into_iter().map(Blend::finish).collect(), rejected_of_frame })
}

#[cfg(test)]
mod tests {
    use stillframe_image::Point;
    use stillframe_kernels::register::tiles::TileParams;

    use super::*;

    fn canvas(height: usize, width: usize, step: f64) -> Canvas {
        Canvas { first: Point::new(0.0, 0.0), step, shape: Shape::new(height, width) }
    }

    fn lattice(shape: Shape) -> TileGrid {
        TileGrid::new(shape, &TileParams { max_size: 96, ..TileParams::default() }).unwrap()
    }

    fn sources<'a>(
        canvas: &'a Canvas,
        registration: Option<&'a TileRegistration>,
    ) -> TileSources<'a> {
        TileSources {
            canvas,
            grid: lattice(canvas.reference_shape()),
            registration,
            fields: None,
            n_frames: 2,
            sigma_px: 2.0,
        }
    }

    /// Every pixel of `tile` with this value, weight 1 and 2 samples.
    fn plane(tile: &ReconstructTile, value: f32) -> BlockPlane {
        let n = tile.rect.shape().len();
        BlockPlane {
            value: vec![value; n],
            weight: vec![1.0; n],
            coverage: vec![2; n],
            rejected: vec![1; n],
            rejected_of_frame: vec![],
        }
    }

    #[test]
    fn windows_add_up_to_one_on_any_canvas() {
        for step in [1.0, 0.5, 1.0 / 1.7, 1.0 / 3.0] {
            let canvas = canvas((130.0 / step) as usize, (211.0 / step) as usize, step);
            let mut sums = Image::filled(canvas.shape, 0.0f64);
            for tile in tiles(&sources(&canvas, None)) {
                for (j, wy) in tile.rows.iter().enumerate() {
                    let row = &mut sums.row_mut(tile.rect.y + j)[tile.rect.x..];
                    row.iter_mut().zip(&tile.columns).for_each(|(sum, wx)| *sum += wx * wy);
                }
            }
            assert!(sums.pixels().iter().all(|s| (s - 1.0).abs() < 1e-6), "{step}");
        }
    }

    #[test]
    fn a_constant_comes_back_exactly_to_the_corners_whatever_the_tiles_are_trusted() {
        let canvas = canvas(130, 211, 1.0);
        let mut blend = Blend::new(canvas.shape);
        for (i, mut tile) in tiles(&sources(&canvas, None)).into_iter().enumerate() {
            tile.factor = variance_factor(i as f64, 2.0);
            blend.add(&tile, &plane(&tile, 1234.567));
        }
        let out = blend.finish();
        assert!(out.value.pixels().iter().all(|v| *v == 1234.567));
        assert!(out.weight.pixels().iter().all(|w| (w - 1.0).abs() < 1e-5));
        assert!(out.coverage.pixels().iter().all(|c| *c == 2));
        assert!(out.rejected.pixels().iter().all(|r| *r == 1));
    }

    #[test]
    fn places_without_data_stay_empty_and_do_not_dim_their_neighbours() {
        let canvas = canvas(64, 160, 1.0);
        let mut blend = Blend::new(canvas.shape);
        let all = tiles(&sources(&canvas, None));
        for (i, tile) in all.iter().enumerate() {
            let mut plane = plane(tile, 7.0);
            if i == 0 {
                plane.weight.fill(0.0);
                plane.coverage.fill(0);
                plane.rejected.fill(0);
            }
            blend.add(tile, &plane);
        }
        let out = blend.finish();
        let second = all[1].rect.x;
        for (x, c) in out.coverage.row(30).iter().enumerate() {
            assert_eq!(*c, if x < second { 0 } else { 2 }, "{x}");
            assert_eq!(out.value.at(x, 30), if x < second { 0.0 } else { 7.0 });
            assert!(x < second || (out.weight.at(x, 30) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn tiles_that_were_not_registered_stay_with_the_gauge_and_count_least() {
        let canvas = canvas(130, 211, 1.0);
        let grid = lattice(canvas.shape);
        let mut motions = vec![None; grid.tiles().len()];
        let shifts = vec![Some(Vec2::new(0.5, -1.0)), None];
        motions[1] = Some(TileMotion { shifts: shifts.clone(), cc: vec![], variance_px2: 8.0 });
        let found = TileRegistration { grid, origin: canvas.first, motions, vectors: Vec::new() };
        let tiles = tiles(&sources(&canvas, Some(&found)));
        assert_eq!(tiles[0].shifts, [Some(Vec2::default()); 2]);
        assert_eq!(tiles[1].shifts, shifts);
        assert!((tiles[1].factor - (-1.0f64).exp()).abs() < 1e-9 && tiles[0].factor == 1e-3);
    }
}
