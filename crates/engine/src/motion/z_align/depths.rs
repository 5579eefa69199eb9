//! The depth of every cell of every frame.

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_io::recording::RecordingInfo;
use stillframe_kernels::register::depth::{DepthEstimator, PatchGrid};
use stillframe_kernels::register::flow::filter::{Smoother, temporal_weights};

use super::inputs::Inputs;
use super::volume::{VolumeSpec, smoothed_gradients};
use crate::motion::chunks::{FramesWork, SideJob, Window, over_frames};
use crate::motion::error::MotionError;
use crate::recipe::ZAlignRecipe;
use crate::runner::Runner;
use crate::wire;

/// Compares patches of frames with the slices around the anchor.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Depths {
    volume: VolumeSpec,
    slices: Range<usize>,
    grid: PatchGrid,
    sigma: f64,
    temporal_sigma: f64,
    flatness: f64,
}

/// The slices, and the smoothing of a frame.
pub(crate) struct Ready {
    estimator: DepthEstimator,
    sigma: f64,
    temporal: Vec<f32>,
}

/// Cells of one frame after the other.
#[derive(Serialize, Deserialize)]
pub(crate) struct Cells(#[serde(with = "wire::pod")] Vec<f32>);

impl FramesWork for Depths {
    type Ready = Ready;
    type Output = Cells;

    const NAME: &'static str = "z_align_depths";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Depths(spec)
    }

    fn ready(&self) -> Result<Ready, MotionError> {
        let slices = self.volume.gradients(self.slices.clone(), self.sigma)?;
        let (grid, first) = (self.grid.clone(), self.slices.start);
        Ok(Ready {
            estimator: DepthEstimator::new(grid, first, slices, self.flatness),
            sigma: self.sigma,
            temporal: temporal_weights(self.temporal_sigma),
        })
    }

    fn radius(&self) -> usize {
        temporal_weights(self.temporal_sigma).len() / 2
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        8 * (self.slices.len() * info.frame_len()) as u64
    }

    fn planes(&self, info: &RecordingInfo) -> (usize, usize) {
        (6 * info.channels + 2, 1)
    }

    fn work(ready: &Ready, window: &Window<'_>) -> Result<Cells, String> {
        let info = window.info;
        let mut smoother = Smoother::new(info.shape, ready.sigma, ready.sigma);
        let mut mixed = vec![0.0f32; info.frame_len()];
        let mut cells = Vec::new();
        for t in window.frames.clone() {
            mixed.fill(0.0);
            for (at, weight) in around(&ready.temporal, t, info.frames) {
                let frame = window.frame(at);
                mixed.iter_mut().zip(frame).for_each(|(m, v)| *m += weight * v);
            }
            let frame = smoothed_gradients(info.shape, &mixed, &mut smoother);
            cells.extend(ready.estimator.depths(&frame));
        }
        Ok(Cells(cells))
    }
}

/// Depths of all cells, smoothed along time, and figures of them.
pub(super) struct Found {
    pub(super) grid: PatchGrid,
    /// Cells of one frame after the other, slices from 0.
    pub(super) cells: Vec<f32>,
    /// Mean of each frame.
    pub(super) means: Vec<f64>,
    pub(super) at_the_end_fraction: f64,
}

/// Finds the depth of every cell of every frame in the slices around `anchor`.
///
/// # Errors
/// [`MotionError`].
pub(super) fn depths(
    runner: &mut Runner<'_>,
    inputs: &Inputs,
    recipe: &ZAlignRecipe,
    anchor: usize,
) -> Result<Found, MotionError> {
    let first = anchor.saturating_sub(recipe.win_half);
    let slices = first..(anchor + recipe.win_half + 1).min(inputs.slices);
    let grid = PatchGrid::new(inputs.volume.shape, recipe.patch_size, recipe.overlap);
    let work = Depths {
        volume: inputs.volume.clone(),
        slices: slices.clone(),
        grid: grid.clone(),
        sigma: recipe.spatial_sigma,
        temporal_sigma: recipe.temporal_sigma,
        flatness: recipe.flatness,
    };
    let mut raw = Vec::with_capacity(inputs.frames * grid.n_cells());
    over_frames(runner, &inputs.recording, &work, |_, Cells(cells)| {
        raw.extend(cells);
        Ok(())
    })?;
    let ends = [slices.start as f32, (slices.end - 1) as f32];
    let at_the_end = raw.iter().filter(|d| ends.contains(d)).count();
    let at_the_end_fraction =
        if slices.len() > 1 { at_the_end as f64 / raw.len() as f64 } else { 0.0 };
    let cells = along_time(&raw, grid.n_cells(), recipe.z_smooth_sigma_temporal);
    let areas = grid.areas();
    let total: f64 = areas.iter().sum();
    let mean = |cells: &[f32]| {
        cells.iter().zip(&areas).map(|(c, a)| f64::from(*c) * a).sum::<f64>() / total
    };
    let means = cells.chunks_exact(grid.n_cells()).map(mean).collect();
    Ok(Found { grid, cells, means, at_the_end_fraction })
}

/// The frames around frame `t` of `n` and their weights, which are those of `weights` (an odd number)
/// scaled to a sum of 1. At the ends of the recording the window is cut on both sides alike: cut on
/// one side, or continued by its mirror image, it would pull a moving depth towards the inside.
fn around(weights: &[f32], t: usize, n: usize) -> impl Iterator<Item = (usize, f32)> {
    let middle = weights.len() / 2;
    let radius = middle.min(t).min(n - 1 - t);
    let kept = &weights[middle - radius..=middle + radius];
    let sum: f32 = kept.iter().sum();
    kept.iter().enumerate().map(move |(k, w)| (t - radius + k, w / sum))
}

/// Frames of `n` cells, smoothed by a Gaussian of `sigma` frames.
fn along_time(cells: &[f32], n: usize, sigma: f64) -> Vec<f32> {
    let weights = temporal_weights(sigma);
    let frames = cells.len() / n;
    let mut out = vec![0.0f32; cells.len()];
    for (t, out) in out.chunks_exact_mut(n).enumerate() {
        for (at, weight) in around(&weights, t, frames) {
            let cells = &cells[at * n..(at + 1) * n];
            out.iter_mut().zip(cells).for_each(|(o, c)| *o += weight * c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::along_time;

    #[test]
    fn constant_depths_stay_and_steps_become_ramps() {
        let flat = along_time(&[3.0; 12], 3, 1.5);
        assert!(flat.iter().all(|d| (d - 3.0).abs() < 1e-6));
        let step: Vec<f32> = (0..20).flat_map(|t| [if t < 10 { 1.0 } else { 2.0 }, 5.0]).collect();
        let out = along_time(&step, 2, 1.5);
        assert!((out[0] - 1.0).abs() < 1e-3 && (out[38] - 2.0).abs() < 1e-3);
        assert!(out[18] > 1.1 && out[20] < 1.9 && (out[18] + out[20] - 3.0).abs() < 1e-5);
        assert_eq!(along_time(&[4.0], 1, 1.5), [4.0]);
        let line: Vec<f32> = (0..20).map(|t| 0.3 * t as f32).collect();
        let out = along_time(&line, 1, 1.5);
        assert!(out.iter().zip(&line).all(|(o, l)| (o - l).abs() < 1e-5), "{out:?}");
    }
}
