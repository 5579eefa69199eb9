//! Pass 2: blocks of the canvas. Each reads what lies under it from every frame, resamples once,
//! rejects and combines.

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Colour, DisplacementField, Rect, Shape, Transform, mask};
use stillframe_kernels::combine::{
    Combination, Combined, Combiner, NoiseModel, Rejection, SampleStack, SampleWeights,
};
use stillframe_kernels::normalise::sky::SkySurface;
use stillframe_kernels::ops::demosaic::{demosaic, demosaiced_mask};
use stillframe_kernels::warp::{
    Drizzle, Geometry, GreenPlane, Grid, Source, Void, WarpKernel, Warper, source_rect,
};

use super::burst::{Burst, DEFECT_REACH, FrameBuffer};
use super::canvas::Canvas;
use super::weights::WeightField;
use crate::wire;

/// How a frame's samples get onto the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Resample {
    /// Interpolation.
    Warp { kernel: WarpKernel },
    /// Samples dropped as squares of side `pixfrac`.
    Drizzle { pixfrac: f64 },
}

impl Resample {
    /// Whether samples of output plane `plane` have weights of their own.
    fn sample_weights(self, colour: ColourMode, plane: usize) -> SampleWeights {
        match (self, colour) {
            (Self::Warp { .. }, ColourMode::Mosaic(_)) if plane == Colour::Green.plane() => {
                SampleWeights::Equal
            }
            (Self::Drizzle { .. }, _) | (_, ColourMode::Mosaic(_)) => SampleWeights::Given,
            (Self::Warp { .. }, _) => SampleWeights::Equal,
        }
    }
}

/// How colours come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ColourMode {
    /// As many output planes as the frames have.
    Planes,
    /// Three planes, each from the mosaic samples of its colour.
    Mosaic(CfaPattern),
    /// Three planes, each frame demosaiced before the warp.
    Demosaic(CfaPattern),
}

/// A frame as it goes into the combination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CombineFrame {
    /// Index in the burst.
    pub(super) frame: usize,
    pub(super) frame_from_ref: Transform,
    pub(super) field: Option<DisplacementField>,
    /// Factor that brings its fluxes to the mean transparency, of each output plane.
    pub(super) scale: Vec<f32>,
    /// Its sky less the mean sky, after scaling, of each output plane.
    pub(super) sky: Vec<SkySurface>,
    pub(super) weight: WeightField,
    /// Noise of a sample after scaling: scatter below it is no reason to reject.
    pub(super) sigma_floor: f32,
    /// Limit on ringing before scaling (see [`Warper::warp`]).
    pub(super) undershoot: f32,
    /// Group for the synthetic frames; 0 if there are none.
    pub(super) group: usize,
}

/// What pass 2 does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CombineSpec {
    pub(super) frames: Vec<CombineFrame>,
    pub(super) n_groups: usize,
    pub(super) canvas: Canvas,
    pub(super) resample: Resample,
    pub(super) colour: ColourMode,
    pub(super) planes: usize,
    pub(super) rejection: Rejection,
    pub(super) combination: Combination,
    /// Mean sky of each output plane.
    pub(super) levels: Vec<f32>,
    /// Variance per unit of signal: photon noise.
    pub(super) shot: f32,
    /// Blocks of so many output pixels a side; scheduling only.
    pub(super) block_side: usize,
}

impl CombineSpec {
    /// The blocks, row by row.
    pub(super) fn blocks(&self) -> Vec<Rect> {
        let Shape { height, width } = self.canvas.shape;
        let side = self.block_side.max(1);
        let mut blocks = Vec::new();
        for y in (0..height).step_by(side) {
            for x in (0..width).step_by(side) {
                blocks.push(Rect::new(x, y, side.min(width - x), side.min(height - y)));
            }
        }
        blocks
    }

    fn grid(&self) -> Grid {
        Grid { first: self.canvas.first, step: self.canvas.step }
    }

    /// What a block costs.
    pub(super) fn cost(&self) -> BlockCost {
        BlockCost::new(self.frames.len(), self.planes, self.colour, self.resample)
    }
}

/// Memory that a block of pass 2 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockCost {
    /// Bytes of work per output pixel.
    pub(super) work_per_pixel: u64,
    /// Bytes of result per output pixel.
    pub(super) result_per_pixel: u64,
    /// Bytes besides: kernel tables, row buffers, read chunks.
    pub(super) overhead: u64,
}

/// What stays in memory of every frame (stars, field, weights), bytes. It is held once, but counted to
/// every block: more frames give smaller blocks, and the peak stays where it is.
const KEPT_PER_FRAME: u64 = 12 << 10;

impl BlockCost {
    /// The cost for `n` frames and `planes` output planes.
    pub(super) fn new(n: usize, planes: usize, colour: ColourMode, resample: Resample) -> Self {
        let row = Shape::new(1, 1024);
        let stack = |plane| SampleStack::bytes(n, row, resample.sample_weights(colour, plane));
        let stacks = (0..planes).map(stack).sum::<usize>() as u64 / 1024;
        // Besides the stacks: the source rectangle, its mask and what demosaicing holds, of up to
        // 1.6 times the block's area for a rotated frame.
        let source = match colour {
            ColourMode::Demosaic(_) => 56,
            ColourMode::Planes | ColourMode::Mosaic(_) => 28,
        };
        Self {
            work_per_pixel: stacks + source,
            result_per_pixel: 16 * planes as u64,
            overhead: (1 << 20) + KEPT_PER_FRAME * n as u64,
        }
    }
}

/// One block of the result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) planes: Vec<BlockPlane>,
}

/// One colour of a block.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BlockPlane {
    /// Combined value; 0 where there is no coverage.
    #[serde(with = "wire::pod")]
    pub(super) value: Vec<f32>,
    /// Sum of the weights.
    #[serde(with = "wire::pod")]
    pub(super) weight: Vec<f32>,
    /// Samples that went in.
    #[serde(with = "wire::pod")]
    pub(super) coverage: Vec<u32>,
    /// Samples that were rejected.
    #[serde(with = "wire::pod")]
    pub(super) rejected: Vec<u32>,
    /// Rejected samples of each frame.
    pub(super) rejected_of_frame: Vec<u64>,
}

/// Buffers of a worker.
#[derive(Debug)]
pub(super) struct BlockScratch {
    buffer: FrameBuffer,
    resampler: Resampler,
    combiner: Combiner,
    combined: Combined,
}

impl BlockScratch {
    pub(super) fn new(spec: &CombineSpec) -> Self {
        let (kernel, drizzle) = match spec.resample {
            Resample::Warp { kernel } => (kernel, Drizzle::cubic(CUBIC_STRETCH)),
            Resample::Drizzle { pixfrac } => (WarpKernel::Nearest, Drizzle::square(pixfrac)),
        };
        Self {
            buffer: FrameBuffer::new(),
            resampler: Resampler {
                stacks: (0..spec.planes).map(|_| SampleStack::new()).collect(),
                warper: Warper::new(kernel),
                drizzle,
                green: GreenPlane::new(),
            },
            combiner: Combiner::new(spec.rejection, spec.combination)
                .expect("the rejection was checked when the recipe was"),
            combined: Combined::default(),
        }
    }
}

/// Works on one block; the error names a frame that can no longer be read.
pub(super) fn work_block(
    burst: &Burst,
    spec: &CombineSpec,
    rect: Rect,
    scratch: &mut BlockScratch,
) -> Result<Block, String> {
    let place = |slot: usize| {
        let CombineFrame { frame_from_ref, ref field, .. } = spec.frames[slot];
        Some(Geometry { frame_from_ref, field: field.as_ref() })
    };
    work_rect(burst, spec, rect, &place, scratch)
}

/// Works on `rect` of the canvas with the frames where `place` puts them; frames that it does not
/// place are left out.
pub(super) fn work_rect<'a>(
    burst: &Burst,
    spec: &CombineSpec,
    rect: Rect,
    place: &dyn Fn(usize) -> Option<Geometry<'a>>,
    scratch: &mut BlockScratch,
) -> Result<Block, String> {
    let BlockScratch { buffer, resampler, combiner, combined } = scratch;
    for (plane, stack) in resampler.stacks.iter_mut().enumerate() {
        let weights = spec.resample.sample_weights(spec.colour, plane);
        stack.reset(spec.frames.len(), rect.shape(), weights);
    }
    for (slot, frame) in spec.frames.iter().enumerate() {
        let Some(geometry) = place(slot) else {
            resampler.stacks.iter_mut().for_each(|stack| stack.clear_frame(slot));
            continue;
        };
        resample(burst, spec, (frame, slot), &geometry, rect, buffer, resampler)
            .map_err(|e| e.to_string())?;
        for (plane, stack) in resampler.stacks.iter_mut().enumerate() {
            normalise(spec, frame, plane, rect, stack.frame_mut(slot));
        }
    }
    let sigma: Vec<f32> = spec.frames.iter().map(|f| f.sigma_floor).collect();
    let groups: Vec<usize> = spec.frames.iter().map(|f| f.group).collect();
    let mut weights = |slot: usize, row: usize, out: &mut [f32]| {
        let first = spec.canvas.reference_point(rect.x as f64, (rect.y + row) as f64);
        spec.frames[slot].weight.row(first.x, spec.canvas.step, first.y, out);
    };
    let planes = resampler
        .stacks
        .iter()
        .zip(&spec.levels)
        .map(|(stack, &level)| {
            let noise = NoiseModel {
                sigma: &sigma,
                mean_variance: None,
                level,
                shot: spec.shot,
                relative: SEEING_SCATTER,
            };
            if spec.n_groups > 1 {
                combiner.combine_groups(stack, Some(&noise), &groups, &mut weights, combined);
            } else {
                combiner.combine(stack, Some(&noise), &mut weights, combined);
            }
            BlockPlane {
                value: combined.value.pixels().to_vec(),
                weight: combined.weight.pixels().to_vec(),
                coverage: combined.coverage.pixels().to_vec(),
                rejected: combined.rejected.pixels().to_vec(),
                rejected_of_frame: combined.rejected_of_frame.clone(),
            }
        })
        .collect();
    Ok(Block { planes })
}

/// The stacks that frames are resampled into, and how.
#[derive(Debug)]
struct Resampler {
    stacks: Vec<SampleStack>,
    warper: Warper,
    drizzle: Drizzle,
    green: GreenPlane,
}

impl Resampler {
    /// Fills in and resamples the green plane of a mosaic.
    fn green(
        &mut self,
        spec: &CombineSpec,
        frame: &CombineFrame,
        slot: usize,
        (source, cfa): (&Source<'_>, CfaPattern),
        geometry: &Geometry<'_>,
        rect: Rect,
    ) {
        self.green.fill(source, cfa);
        self.warper.warp(
            &self.green.source(),
            geometry,
            &spec.grid(),
            rect,
            frame.undershoot,
            self.stacks[Colour::Green.plane()].frame_mut(slot),
        );
    }

    /// Resamples one plane of a frame into its slot.
    fn plane(
        &mut self,
        spec: &CombineSpec,
        frame: &CombineFrame,
        (slot, plane): (usize, usize),
        source: &Source<'_>,
        geometry: &Geometry<'_>,
        rect: Rect,
    ) {
        let (grid, stack) = (spec.grid(), &mut self.stacks[plane]);
        match spec.resample {
            Resample::Warp { .. } => self.warper.warp(
                source,
                geometry,
                &grid,
                rect,
                frame.undershoot,
                stack.frame_mut(slot),
            ),
            Resample::Drizzle { .. } => {
                let out = stack.frame_with_weights_mut(slot);
                self.drizzle.drizzle(source, None, geometry, &grid, rect, out);
            }
        }
    }
}

/// Stretch of the cubic drops of red and blue samples: 3.13 px stars and 0.97 of the noise where
/// square drops of a pixel give 3.22 and 1 (see [`Drizzle`]).
const CUBIC_STRETCH: f64 = 1.3;

/// Share of a star's signal by which frames differ through seeing.
const SEEING_SCATTER: f32 = 0.1;

/// Pixels around a sample that demosaicing looks at.
const DEMOSAIC_REACH: usize = 6;

/// Fills the slot of one frame in the stacks of all planes.
fn resample(
    burst: &Burst,
    spec: &CombineSpec,
    (frame, slot): (&CombineFrame, usize),
    geometry: &Geometry<'_>,
    rect: Rect,
    buffer: &mut FrameBuffer,
    resampler: &mut Resampler,
) -> Result<(), stillframe_io::ReadError> {
    let grid = spec.grid();
    let reach = match (spec.resample, spec.colour) {
        (Resample::Drizzle { .. }, _) => resampler.drizzle.halo(geometry, &grid),
        (Resample::Warp { kernel }, ColourMode::Demosaic(_)) => kernel.halo() + DEMOSAIC_REACH,
        (Resample::Warp { kernel }, ColourMode::Mosaic(_)) => {
            (kernel.halo() + GreenPlane::HALO).max(resampler.drizzle.halo(geometry, &grid))
        }
        (Resample::Warp { kernel }, ColourMode::Planes) => kernel.halo(),
    };
    let shape = burst.spec.shape;
    let Some(source) = source_rect(geometry, &grid, rect, shape, reach + DEFECT_REACH) else {
        resampler.stacks.iter_mut().for_each(|stack| stack.clear_frame(slot));
        return Ok(());
    };
    let source = whole_cells(source, shape);
    for plane in 0..burst.spec.planes {
        burst.read(frame.frame, plane, source, buffer)?;
        let origin = (source.x, source.y);
        let void = Some(Void { bits: &buffer.mask, any_of: mask::NO_DATA });
        let source = Source { pixels: &buffer.pixels, origin, void };
        match spec.colour {
            ColourMode::Mosaic(cfa) => {
                for colour in Colour::ALL {
                    if spec.resample.sample_weights(spec.colour, colour.plane())
                        == SampleWeights::Equal
                    {
                        resampler.green(spec, frame, slot, (&source, cfa), geometry, rect);
                        continue;
                    }
                    let out = resampler.stacks[colour.plane()].frame_with_weights_mut(slot);
                    let filter = Some((cfa, colour));
                    resampler.drizzle.drizzle(&source, filter, geometry, &grid, rect, out);
                }
            }
            ColourMode::Demosaic(cfa) => {
                let planes = demosaic(source.pixels, cfa);
                let bits = demosaiced_mask(&buffer.mask);
                let void = Some(Void { bits: &bits, any_of: mask::NO_DATA });
                for (colour, pixels) in planes.iter().enumerate() {
                    let source = Source { pixels, origin, void };
                    resampler.plane(spec, frame, (slot, colour), &source, geometry, rect);
                }
            }
            ColourMode::Planes => {
                resampler.plane(spec, frame, (slot, plane), &source, geometry, rect);
            }
        }
    }
    Ok(())
}

/// `rect` grown to even borders, so that a mosaic starts in it as it does in the frame.
fn whole_cells(rect: Rect, shape: Shape) -> Rect {
    let (x, y) = (rect.x & !1, rect.y & !1);
    let even = |end: usize, size: usize| (end + (end & 1)).min(size);
    let (x_end, y_end) = (even(rect.x_end(), shape.width), even(rect.y_end(), shape.height));
    Rect::new(x, y, x_end - x, y_end - y)
}

/// Brings the samples of one frame to the mean transparency and the mean sky.
fn normalise(spec: &CombineSpec, frame: &CombineFrame, plane: usize, rect: Rect, out: &mut [f32]) {
    let (sky, scale) = (&frame.sky[plane], frame.scale[plane]);
    for (row, samples) in out.chunks_exact_mut(rect.width).enumerate() {
        let first = spec.canvas.reference_point(rect.x as f64, (rect.y + row) as f64);
        let [a, b, c] = sky.along_row(first.y);
        // Absolute pixel numbers, so that the bits do not depend on where the block begins.
        for (i, v) in samples.iter_mut().enumerate() {
            let x = spec.canvas.first.x + spec.canvas.step * (rect.x + i) as f64;
            *v = *v * scale - ((c * x + b) * x + a) as f32;
        }
    }
}
