//! Rejection and combination of the samples of one block.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};

use crate::combine::accept::{FrameNoise, RowLimits, RowSums};
use crate::combine::clip::Clip;
use crate::combine::column::Column;
use crate::combine::median::Medians;
use crate::combine::rejection::{NoiseModel, Rejection, RejectionError, RejectionMethod};
use crate::combine::sort::{LANES, sort_columns};
use crate::combine::stack::SampleStack;

/// How the samples that were kept become one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combination {
    /// Σ w·v / Σ w.
    #[default]
    Mean,
    /// The value at which half of the weight is reached; the mean of two if it is reached exactly
    /// between them. 25 % noisier than the mean.
    Median,
}

/// A combined block: the same shape for all planes.
#[derive(Clone, Debug, PartialEq)]
pub struct Combined {
    /// The result; 0 where there is no coverage.
    pub value: Image<f32>,
    /// Σ w of the samples in the result.
    pub weight: Image<f32>,
    /// Number of samples in the result.
    pub coverage: Image<u32>,
    /// Number of samples that were rejected.
    pub rejected: Image<u32>,
    /// Number of samples of the block that were rejected, for each frame.
    pub rejected_of_frame: Vec<u64>,
}

impl Default for Combined {
    fn default() -> Self {
        let none = Shape::new(0, 0);
        Self {
            value: Image::filled(none, 0.0),
            weight: Image::filled(none, 0.0),
            coverage: Image::filled(none, 0),
            rejected: Image::filled(none, 0),
            rejected_of_frame: Vec::new(),
        }
    }
}

impl Combined {
    fn reset(&mut self, shape: Shape, n_frames: usize) {
        self.value.reset(shape, 0.0);
        self.weight.reset(shape, 0.0);
        self.coverage.reset(shape, 0);
        self.rejected.reset(shape, 0);
        self.rejected_of_frame.clear();
        self.rejected_of_frame.resize(n_frames, 0);
    }
}

/// Smooth weights of one frame along one row of the block: called as
/// `weights(frame_index, row, &mut [f32])`, it fills in the weight of each pixel of the row.
/// Samples whose weight is not above 0 are left out.
pub type RowWeights<'a> = dyn FnMut(usize, usize, &mut [f32]) + 'a;

/// Rejects and combines blocks of samples, row by row; reuse it for all blocks of a worker.
///
/// Rejection sorts the samples of 32 pixels at a time (O(n log² n), n frames), judges each pixel's
/// scatter on the sorted samples, then compares every sample in frame order with the limits of its
/// pixel. Sums are in `f64` in frame order, rounded once.
#[derive(Clone, Debug)]
pub struct Combiner {
    rejection: Rejection,
    combination: Combination,
    clip: Clip,
    sorted: Vec<[f32; LANES]>,
    column: Column,
    limits: RowLimits,
    sums: RowSums,
    group_mean: Vec<(f64, u32)>,
    /// Weights of one row for one frame, or for every frame if the median needs them.
    weights: Vec<f32>,
    medians: Medians,
}

impl Combiner {
    /// A combiner of this kind.
    ///
    /// # Errors
    /// [`RejectionError`] if the rejection is out of range.
    pub fn new(rejection: Rejection, combination: Combination) -> Result<Self, RejectionError> {
        rejection.check()?;
        Ok(Self {
            rejection,
            combination,
            clip: Clip::new(&rejection),
            sorted: Vec::new(),
            column: Column::default(),
            limits: RowLimits::default(),
            sums: RowSums::default(),
            group_mean: Vec::new(),
            weights: Vec::new(),
            medians: Medians::default(),
        })
    }

    /// Combines the block into `out`, which takes the shape of the block.
    ///
    /// `noise.sigma` has one entry per frame of the stack.
    ///
    /// # Panics
    /// If `noise.sigma` has another length than the stack has frames.
    pub fn combine(
        &mut self,
        stack: &SampleStack,
        noise: Option<&NoiseModel<'_>>,
        weights: &mut RowWeights<'_>,
        out: &mut Combined,
    ) {
        let (shape, n_frames) = (stack.shape(), stack.n_frames());
        out.reset(shape, n_frames);
        let frames = self.frame_noise(n_frames, noise);
        for row in 0..shape.height {
            self.find_limits(stack, noise, &frames, row);
            self.sums.reset(shape.width);
            let is_median = self.combination == Combination::Median;
            self.weights.resize(shape.width * if is_median { n_frames } else { 1 }, 0.0);
            for frame_index in 0..n_frames {
                let slot = if is_median { frame_index } else { 0 };
                let w = &mut self.weights[slot * shape.width..][..shape.width];
                row_weights(stack, weights, frame_index, row, w);
                let values = stack.row(frame_index, row);
                out.rejected_of_frame[frame_index] +=
                    self.sums.add(values, w, &self.limits, frames[frame_index]);
            }
            if is_median {
                self.medians.run(stack, row, &self.weights, &self.limits, &frames);
            }
            for (x, value) in out.value.row_mut(row).iter_mut().enumerate() {
                if self.sums.weight[x] > 0.0 {
                    *value = match self.combination {
                        Combination::Mean => (self.sums.weighted[x] / self.sums.weight[x]) as f32,
                        Combination::Median => self.medians.of_pixel(x),
                    };
                }
            }
            self.write_maps(row, out);
        }
    }

    /// Combines the block into the mean of the weighted means of groups of frames.
    ///
    /// `group_of_frame[f]` is the group of frame `f`; groups count the same whatever their size,
    /// and a group without samples at a pixel is left out there. Rejection is over all frames. The
    /// weight map is Σ w over all groups.
    ///
    /// # Panics
    /// If `group_of_frame` or `noise.sigma` has another length than the stack has frames.
    pub fn combine_groups(
        &mut self,
        stack: &SampleStack,
        noise: Option<&NoiseModel<'_>>,
        group_of_frame: &[usize],
        weights: &mut RowWeights<'_>,
        out: &mut Combined,
    ) {
        let (shape, n_frames) = (stack.shape(), stack.n_frames());
        assert_eq!(group_of_frame.len(), n_frames, "one group for each frame");
        out.reset(shape, n_frames);
        let frames = self.frame_noise(n_frames, noise);
        // stable: frame order within each group
        let mut order: Vec<usize> = (0..n_frames).collect();
        order.sort_by_key(|&f| group_of_frame[f]);
        self.weights.resize(shape.width, 0.0);
        for row in 0..shape.height {
            self.find_limits(stack, noise, &frames, row);
            self.group_mean.clear();
            self.group_mean.resize(shape.width, (0.0, 0));
            self.sums.reset(shape.width);
            for group in order.chunk_by(|&a, &b| group_of_frame[a] == group_of_frame[b]) {
                self.sums.start_group();
                for &frame_index in group {
                    let w = &mut self.weights[..];
                    row_weights(stack, weights, frame_index, row, w);
                    let values = stack.row(frame_index, row);
                    out.rejected_of_frame[frame_index] +=
                        self.sums.add(values, w, &self.limits, frames[frame_index]);
                }
                let sums = self.sums.weighted.iter().zip(&self.sums.weight);
                let totals = self.group_mean.iter_mut().zip(out.weight.row_mut(row));
                for (((total, n), weight), (weighted, w)) in totals.zip(sums) {
                    if *w > 0.0 {
                        *total += weighted / w;
                        *n += 1;
                        *weight += *w as f32;
                    }
                }
            }
            for (value, (total, n)) in out.value.row_mut(row).iter_mut().zip(&self.group_mean) {
                if *n > 0 {
                    *value = (total / f64::from(*n)) as f32;
                }
            }
            out.coverage.row_mut(row).copy_from_slice(&self.sums.coverage);
            out.rejected.row_mut(row).copy_from_slice(&self.sums.rejected);
        }
    }

    fn write_maps(&self, row: usize, out: &mut Combined) {
        for (weight, sum) in out.weight.row_mut(row).iter_mut().zip(&self.sums.weight) {
            *weight = *sum as f32;
        }
        out.coverage.row_mut(row).copy_from_slice(&self.sums.coverage);
        out.rejected.row_mut(row).copy_from_slice(&self.sums.rejected);
    }

    fn frame_noise(&self, n_frames: usize, noise: Option<&NoiseModel<'_>>) -> Vec<FrameNoise> {
        if let Some(noise) = noise {
            assert_eq!(noise.sigma.len(), n_frames, "one sigma for each frame");
        }
        let of_frame = |frame_index: usize| {
            let sigma = noise.map_or(0.0, |noise| noise.sigma[frame_index]);
            FrameNoise {
                low_squared: self.rejection.low * self.rejection.low,
                high_squared: self.rejection.high * self.rejection.high,
                variance: sigma * sigma,
            }
        };
        (0..n_frames).map(of_frame).collect()
    }

    /// Judges every pixel of a row.
    fn find_limits(
        &mut self,
        stack: &SampleStack,
        noise: Option<&NoiseModel<'_>>,
        frames: &[FrameNoise],
        row: usize,
    ) {
        let (width, n_frames) = (stack.shape().width, stack.n_frames());
        self.limits.resize(width);
        if self.rejection.method == RejectionMethod::None {
            (0..width).for_each(|i| self.limits.open(i));
            return;
        }
        let mean_variance =
            frames.iter().map(|f| f64::from(f.variance)).sum::<f64>() / n_frames.max(1) as f64;
        self.sorted.resize(n_frames, [0.0; LANES]);
        for x in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - x);
            let mut present = [0u32; LANES];
            for (frame_index, sorted) in self.sorted.iter_mut().enumerate() {
                let values = &stack.row(frame_index, row)[x..x + lanes];
                load_row(values, sorted, &mut present);
            }
            sort_columns(&mut self.sorted);
            for lane in 0..lanes {
                self.judge_pixel(x + lane, lane, present[lane] as usize, noise, mean_variance);
            }
        }
        for (frame_index, &frame) in frames.iter().enumerate() {
            self.limits.count(stack.row(frame_index, row), frame);
        }
        self.limits.open_overclipped(self.rejection.min_fraction);
    }

    fn judge_pixel(
        &mut self,
        x: usize,
        lane: usize,
        present: usize,
        noise: Option<&NoiseModel<'_>>,
        mean_variance: f64,
    ) {
        if present == 0 {
            self.limits.open(x);
            return;
        }
        let sorted = |rank: usize| self.sorted[rank][lane];
        let median =
            f64::from(sorted((present - 1) / 2)) * 0.5 + f64::from(sorted(present / 2)) * 0.5;
        let signal_variance = noise.map_or(0.0, |noise| {
            let signal = (median - f64::from(noise.level)).max(0.0);
            let relative = f64::from(noise.relative) * signal;
            f64::from(noise.shot) * signal + relative * relative
        });
        let floor = (mean_variance + signal_variance).sqrt();
        if self.clip.agrees(present, sorted, floor) {
            self.limits.open(x);
            return;
        }
        self.column.load(self.sorted[..present].iter().map(|row| row[lane]));
        let verdict = self.clip.judge(&self.column, floor);
        self.limits.centre[x] = verdict.centre as f32;
        self.limits.low[x] = (verdict.low * verdict.low) as f32;
        self.limits.high[x] = (verdict.high * verdict.high) as f32;
        self.limits.signal_variance[x] = signal_variance as f32;
    }
}

/// Puts up to [`LANES`] samples where they are sorted, the missing last, and counts those present.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn load_row(values: &[f32], sorted: &mut [f32; LANES], present: &mut [u32; LANES]) {
    sorted.fill(f32::INFINITY);
    for ((sorted, present), &v) in sorted.iter_mut().zip(present).zip(values) {
        *sorted = if v.is_nan() { f32::INFINITY } else { v };
        *present += u32::from(!v.is_nan());
    }
}

/// Weights of the samples of one frame's row: smooth weight times the sample's own.
fn row_weights(
    stack: &SampleStack,
    weights: &mut RowWeights<'_>,
    frame_index: usize,
    row: usize,
    out: &mut [f32],
) {
    weights(frame_index, row, out);
    if let Some(own) = stack.row_weights(frame_index, row) {
        for (w, own) in out.iter_mut().zip(own) {
            *w *= own;
        }
    }
}
