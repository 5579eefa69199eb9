//! Pass 2: blocks of the grid. Each reads what lies under it from every image, resamples once, corrects,
//! rejects and combines.

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Image, Point, Rect, Shape, mask};
use stillframe_io::wcs::{PixelMap, Wcs};
use stillframe_kernels::combine::{
    Combination, Combined, Combiner, NoiseModel, Rejection, SampleStack, SampleWeights,
};
use stillframe_kernels::normalise::overlaps::Correction;
use stillframe_kernels::ops::demosaic::{demosaic, demosaiced_mask};
use stillframe_kernels::reproject::{Coordinates, Corners, ExactOutput, ExactOverlap};
use stillframe_kernels::warp::{Border, Source, Void, WarpKernel, Warper};

use super::grid::Grid;
use crate::stack::burst::{Burst, DEFECT_REACH, FrameBuffer};
use crate::wire;

/// How samples get onto the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resample {
    /// Interpolation.
    Interpolate(WarpKernel),
    /// Mean over the sky that pixels share.
    Exact,
}

/// An image as it goes into the mosaic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tile {
    /// Index in the burst.
    pub(crate) frame: usize,
    pub(crate) wcs: Wcs,
    pub(crate) shape: Shape,
    /// Pixels of the grid that it may touch.
    pub(crate) bounds: Rect,
    /// Of each output plane.
    pub(crate) corrections: Vec<Correction>,
    pub(crate) weight: f32,
    /// Noise of a sample after the gain.
    pub(crate) sigma: f32,
    /// Limit on ringing before the gain (see [`Warper`]).
    pub(crate) undershoot: f32,
}

impl Tile {
    pub(crate) fn middle(&self) -> Point {
        let half = |size: usize| 0.5 * (size as f64 - 1.0);
        Point::new(half(self.shape.width), half(self.shape.height))
    }
}

/// What pass 2 does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AssembleSpec {
    pub(crate) grid: Grid,
    pub(crate) tiles: Vec<Tile>,
    pub(crate) cfa: Option<CfaPattern>,
    pub(crate) planes: usize,
    pub(crate) resample: Resample,
    pub(crate) rejection: Rejection,
    pub(crate) combination: Combination,
    /// Sky of the mosaic in each plane.
    pub(crate) levels: Vec<f32>,
    /// Variance per unit of signal: photon noise.
    pub(crate) shot: f32,
    /// Share of a signal by which tiles differ through seeing.
    pub(crate) relative: f32,
    /// Mean variance of the empty sky of all tiles.
    pub(crate) mean_variance: f64,
    pub(crate) feather_px: f64,
    /// Blocks of so many output pixels a side; scheduling only.
    pub(crate) block_side: usize,
}

impl AssembleSpec {
    /// The blocks, row by row.
    pub(crate) fn blocks(&self) -> Vec<Rect> {
        let Shape { height, width } = self.grid.shape;
        let side = self.block_side.max(1);
        let mut blocks = Vec::new();
        for y in (0..height).step_by(side) {
            for x in (0..width).step_by(side) {
                blocks.push(Rect::new(x, y, side.min(width - x), side.min(height - y)));
            }
        }
        blocks
    }

    /// Indices of the tiles that may touch `rect`, in order.
    fn touching(&self, rect: Rect) -> Vec<usize> {
        let touches = |t: &Tile| !t.bounds.intersect(rect).is_empty();
        (0..self.tiles.len()).filter(|&t| touches(&self.tiles[t])).collect()
    }

    fn sample_weights(&self) -> SampleWeights {
        if self.feather_px > 0.0 || self.resample == Resample::Exact {
            SampleWeights::Given
        } else {
            SampleWeights::Equal
        }
    }

    /// What block `rect` needs.
    pub(crate) fn need(&self, rect: Rect) -> (u64, u64) {
        let cost =
            BlockCost::new(self.touching(rect).len(), self.planes, self.sample_weights(), self.cfa);
        let pixels = rect.shape().len() as u64;
        (cost.work_per_pixel * pixels + cost.overhead, cost.result_per_pixel * pixels)
    }

    /// What a pixel costs where most tiles meet, for the plan.
    pub(crate) fn cost(&self, deepest: usize) -> BlockCost {
        BlockCost::new(deepest, self.planes, self.sample_weights(), self.cfa)
    }
}

/// Memory that a block needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockCost {
    /// Bytes of work per output pixel.
    pub(crate) work_per_pixel: u64,
    /// Bytes of result per output pixel.
    pub(crate) result_per_pixel: u64,
    /// Bytes besides.
    pub(crate) overhead: u64,
}

impl BlockCost {
    pub(crate) fn new(
        n: usize,
        planes: usize,
        weights: SampleWeights,
        cfa: Option<CfaPattern>,
    ) -> Self {
        let stack = SampleStack::bytes(n, Shape::new(1, 1024), weights) as u64 / 1024;
        // positions, samples, weights of one tile; then its pixels and mask, as many as the block's for
        // equal scales, twice that for a turned tile; demosaicing holds three planes more
        let source = if cfa.is_some() { 2 * 20 } else { 2 * 9 };
        Self {
            work_per_pixel: planes as u64 * stack + 24 + source,
            result_per_pixel: 8 * planes as u64,
            overhead: 2 << 20,
        }
    }
}

/// One block of the mosaic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) planes: Vec<BlockPlane>,
    /// Tile, samples in the result, samples rejected, over all planes.
    pub(crate) used: Vec<(u32, u64, u64)>,
}

/// One colour of a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlockPlane {
    /// Combined value; NaN where there is no coverage.
    #[serde(with = "wire::pod")]
    pub(crate) value: Vec<f32>,
    /// Sum of the weights.
    #[serde(with = "wire::pod")]
    pub(crate) weight: Vec<f32>,
}

/// Buffers of a worker.
#[derive(Debug)]
pub(crate) struct BlockScratch {
    buffer: FrameBuffer,
    coordinates: Coordinates,
    warper: Warper,
    exact: ExactScratch,
    samples: Vec<f32>,
    shares: Vec<f32>,
    stacks: Vec<SampleStack>,
    combiner: Combiner,
    /// For blocks of one tile.
    plain: Combiner,
    combined: Combined,
}

#[derive(Debug, Default)]
struct ExactScratch {
    source: Corners,
    output: Corners,
    lattice: Lattice,
}

/// Positions of the corners of output pixels in a tile.
#[derive(Debug, Default)]
struct Lattice {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl BlockScratch {
    pub(crate) fn new(spec: &AssembleSpec) -> Self {
        let kernel = match spec.resample {
            Resample::Interpolate(kernel) => kernel,
            Resample::Exact => WarpKernel::Nearest,
        };
        let combiner = |rejection| {
            Combiner::new(rejection, spec.combination)
                .expect("the rejection was checked when the recipe was")
        };
        Self {
            buffer: FrameBuffer::new(),
            coordinates: Coordinates::default(),
            warper: Warper::new(kernel),
            exact: ExactScratch::default(),
            samples: Vec::new(),
            shares: Vec::new(),
            stacks: (0..spec.planes).map(|_| SampleStack::new()).collect(),
            combiner: combiner(spec.rejection),
            plain: combiner(Rejection::NONE),
            combined: Combined::default(),
        }
    }
}

/// Works on one block; the error names an image that can no longer be read.
pub(crate) fn work_block(
    burst: &Burst,
    spec: &AssembleSpec,
    rect: Rect,
    scratch: &mut BlockScratch,
) -> Result<Block, String> {
    let touching = spec.touching(rect);
    for stack in &mut scratch.stacks {
        stack.reset(touching.len(), rect.shape(), spec.sample_weights());
        (0..touching.len()).for_each(|slot| stack.clear_frame(slot));
    }
    for (slot, &t) in touching.iter().enumerate() {
        resample(burst, spec, &spec.tiles[t], slot, rect, scratch).map_err(|e| e.to_string())?;
    }
    let tiles: Vec<&Tile> = touching.iter().map(|&t| &spec.tiles[t]).collect();
    let sigma: Vec<f32> = tiles.iter().map(|t| t.sigma).collect();
    let mut used: Vec<(u32, u64, u64)> = touching.iter().map(|&t| (t as u32, 0, 0)).collect();
    let mut planes = Vec::with_capacity(spec.planes);
    for (plane, stack) in scratch.stacks.iter().enumerate() {
        let noise = NoiseModel {
            sigma: &sigma,
            mean_variance: Some(spec.mean_variance),
            level: spec.levels[plane],
            shot: spec.shot,
            relative: spec.relative,
        };
        let mut weights = |slot: usize, _: usize, out: &mut [f32]| out.fill(tiles[slot].weight);
        let combiner = if tiles.len() > 1 { &mut scratch.combiner } else { &mut scratch.plain };
        combiner.combine(stack, Some(&noise), &mut weights, &mut scratch.combined);
        let Combined { value, weight, rejected_of_frame, .. } = &mut scratch.combined;
        for (v, w) in value.pixels_mut().iter_mut().zip(weight.pixels()) {
            if *w <= 0.0 {
                *v = f32::NAN;
            }
        }
        for (slot, (used, rejected)) in used.iter_mut().zip(rejected_of_frame).enumerate() {
            let present = stack.frame(slot).iter().filter(|v| !v.is_nan()).count() as u64;
            used.1 += present - *rejected;
            used.2 += *rejected;
        }
        planes
            .push(BlockPlane { value: value.pixels().to_vec(), weight: weight.pixels().to_vec() });
    }
    used.retain(|(_, kept, rejected)| kept + rejected > 0);
    Ok(Block { planes, used })
}

/// Pixels around a sample that demosaicing looks at.
const DEMOSAIC_REACH: usize = 6;

/// Fills the slot of one tile in the stacks of all planes, where it touches the block.
fn resample(
    burst: &Burst,
    spec: &AssembleSpec,
    tile: &Tile,
    slot: usize,
    rect: Rect,
    scratch: &mut BlockScratch,
) -> Result<(), stillframe_io::ReadError> {
    let part = tile.bounds.intersect(rect);
    let Ok(map) = PixelMap::new(&spec.grid.wcs, &tile.wcs) else { return Ok(()) };
    scratch.coordinates.fill(part, &|p| map.at(p));
    let halo = match spec.resample {
        Resample::Interpolate(kernel) => kernel.halo(),
        // an output pixel reaches half its side beyond its centre
        Resample::Exact => 2 + exact_reach(spec, tile),
    };
    let halo = halo + DEFECT_REACH + if spec.cfa.is_some() { DEMOSAIC_REACH } else { 0 };
    let Some(source) = source_rect(&scratch.coordinates, tile.shape, halo) else { return Ok(()) };
    let source = if spec.cfa.is_some() { whole_cells(source, tile.shape) } else { source };
    if spec.resample == Resample::Exact {
        scratch.exact.fill(&map, tile, part, source);
    }
    let n = part.shape().len();
    for plane in 0..burst.spec.planes {
        burst.read(tile.frame, plane, source, &mut scratch.buffer)?;
        let colours = spec.cfa.map(|cfa| demosaic(&scratch.buffer.pixels, cfa));
        let bits = spec.cfa.map(|_| demosaiced_mask(&scratch.buffer.mask));
        let images: Vec<&Image<f32>> = match &colours {
            Some(colours) => colours.iter().collect(),
            None => vec![&scratch.buffer.pixels],
        };
        let void =
            Void { bits: bits.as_ref().unwrap_or(&scratch.buffer.mask), any_of: mask::NO_DATA };
        for (k, pixels) in images.into_iter().enumerate() {
            let plane = plane + k;
            let source = Source { pixels, origin: (source.x, source.y), void: Some(void) };
            scratch.samples.resize(n, 0.0);
            scratch.shares.resize(n, 1.0);
            let positions = (scratch.coordinates.x(), scratch.coordinates.y());
            match spec.resample {
                Resample::Interpolate(kernel) => scratch.warper.warp_at(
                    &source,
                    positions,
                    tile.undershoot,
                    border_of(kernel),
                    &mut scratch.samples,
                ),
                Resample::Exact => {
                    scratch.exact.run(&source, part, &mut scratch.samples, &mut scratch.shares);
                }
            }
            tile.corrections[plane].apply(positions, tile.shape, &mut scratch.samples);
            put(&mut scratch.stacks[plane], slot, rect, part, &scratch.samples, |i, out| {
                *out = feather(spec, tile, positions, i);
                if spec.resample == Resample::Exact {
                    *out *= scratch.shares[i];
                }
            });
        }
    }
    Ok(())
}

/// Interpolation with negative lobes ends where its taps do; the others where the frame does.
fn border_of(kernel: WarpKernel) -> Border {
    match kernel {
        WarpKernel::Nearest | WarpKernel::Bilinear => Border::Held,
        WarpKernel::Bicubic | WarpKernel::Lanczos3 => Border::Missing,
    }
}

/// Weight of sample `i` by its distance from the border of its tile.
fn feather(spec: &AssembleSpec, tile: &Tile, positions: (&[f64], &[f64]), i: usize) -> f32 {
    if spec.feather_px <= 0.0 {
        return 1.0;
    }
    let (x, y) = (positions.0[i], positions.1[i]);
    let inside = |p: f64, size: usize| (p + 0.5).min(size as f64 - 0.5 - p);
    let distance = inside(x, tile.shape.width).min(inside(y, tile.shape.height));
    // never quite 0: a pixel that only borders see is still seen
    (distance / spec.feather_px).clamp(FEATHER_FLOOR, 1.0) as f32
}

/// Least weight of a feathered sample.
const FEATHER_FLOOR: f64 = 1e-3;

/// Puts the samples of `part` where they belong in the slot of the block `rect`.
fn put(
    stack: &mut SampleStack,
    slot: usize,
    rect: Rect,
    part: Rect,
    samples: &[f32],
    weight: impl Fn(usize, &mut f32),
) {
    let has_weights = stack.frame_weights(slot).is_some();
    for row in 0..part.height {
        let start = (part.y - rect.y + row) * rect.width + part.x - rect.x;
        let to = start..start + part.width;
        let from = row * part.width..(row + 1) * part.width;
        if has_weights {
            let (values, weights) = stack.frame_with_weights_mut(slot);
            values[to.clone()].copy_from_slice(&samples[from.clone()]);
            for (i, w) in from.zip(&mut weights[to]) {
                weight(i, w);
            }
        } else {
            stack.frame_mut(slot)[to].copy_from_slice(&samples[from]);
        }
    }
}

/// The part of a tile of shape `shape` within `halo` of any position; `None` if there is none.
fn source_rect(coordinates: &Coordinates, shape: Shape, halo: usize) -> Option<Rect> {
    let (low, high) = coordinates.bounds()?;
    let reach = halo as f64 + 1.0;
    let span = |low: f64, high: f64, size: usize| {
        let first = (low.floor() - reach).max(0.0);
        let end = (high.ceil() + reach + 1.0).min(size as f64);
        (first < end).then_some((first as usize, end as usize))
    };
    let (x0, x1) = span(low.x, high.x, shape.width)?;
    let (y0, y1) = span(low.y, high.y, shape.height)?;
    Some(Rect::new(x0, y0, x1 - x0, y1 - y0))
}

/// `rect` grown to even borders, so that a mosaic starts in it as it does in the frame.
fn whole_cells(rect: Rect, shape: Shape) -> Rect {
    let (x, y) = (rect.x & !1, rect.y & !1);
    let even = |end: usize, size: usize| (end + (end & 1)).min(size);
    let (x_end, y_end) = (even(rect.x_end(), shape.width), even(rect.y_end(), shape.height));
    Rect::new(x, y, x_end - x, y_end - y)
}

/// Tile pixels that half an output pixel reaches across.
fn exact_reach(spec: &AssembleSpec, tile: &Tile) -> usize {
    let middle = |s: Shape| Point::new(0.5 * s.width as f64, 0.5 * s.height as f64);
    let output = spec.grid.wcs.scale_arcsec_per_px(middle(spec.grid.shape));
    let input = tile.wcs.scale_arcsec_per_px(tile.middle());
    match (output, input) {
        (Some(output), Some(input)) => (0.75 * output / input).ceil() as usize,
        _ => 2,
    }
}

impl ExactScratch {
    /// Corners on the sky of the pixels of both, in the system of the tile.
    fn fill(&mut self, map: &PixelMap<'_>, tile: &Tile, part: Rect, source: Rect) {
        self.source.fill(source, |x, y| Some(tile.wcs.sky_from_pixel(Point::new(x, y))?.to_unit()));
        self.output.fill(part, |x, y| Some(map.sky(Point::new(x, y))?.to_unit()));
        let Lattice { x, y } = &mut self.lattice;
        x.clear();
        y.clear();
        for row in 0..=part.height {
            for column in 0..=part.width {
                let corner =
                    Point::new((part.x + column) as f64 - 0.5, (part.y + row) as f64 - 0.5);
                let p = map.at(corner).unwrap_or(Point::new(f64::NAN, f64::NAN));
                x.push(p.x);
                y.push(p.y);
            }
        }
    }

    fn run(&self, source: &Source<'_>, part: Rect, out: &mut [f32], shares: &mut [f32]) {
        let output = ExactOutput {
            shape: part.shape(),
            corners: &self.output,
            positions: (&self.lattice.x, &self.lattice.y),
        };
        ExactOverlap.run(source, &self.source, &output, out, shares);
    }
}
