//! The slice about which a recording lies.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_io::recording::RecordingInfo;
use stillframe_kernels::register::depth::{DepthEstimator, PatchGrid};
use stillframe_kernels::register::flow::filter::Smoother;

use super::inputs::Inputs;
use super::spread;
use super::volume::{VolumeSpec, smoothed_gradients};
use crate::motion::chunks::{FramesWork, SideJob, Window, over_frames};
use crate::motion::error::MotionError;
use crate::motion::source::SourceSpec;
use crate::recipe::ZAlignRecipe;
use crate::runner::Runner;

/// Compares whole frames with all slices.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Anchor {
    volume: VolumeSpec,
    slices: usize,
    sigma: f64,
}

/// All slices, and the smoothing of a frame.
pub(crate) struct Ready {
    estimator: DepthEstimator,
    sigma: f64,
}

impl FramesWork for Anchor {
    type Ready = Ready;
    /// Costs of the slices, frame by frame.
    type Output = Vec<Vec<f64>>;

    const NAME: &'static str = "z_align_anchor";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Anchor(spec)
    }

    fn ready(&self) -> Result<Ready, MotionError> {
        let shape = self.volume.shape;
        let whole = PatchGrid::new(shape, shape.height.max(shape.width), 0.0);
        let slices = self.volume.gradients(0..self.slices, self.sigma)?;
        Ok(Ready { estimator: DepthEstimator::new(whole, 0, slices, 0.0), sigma: self.sigma })
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        8 * (self.slices * info.frame_len()) as u64
    }

    fn planes(&self, info: &RecordingInfo) -> (usize, usize) {
        (5 * info.channels + 2, 1)
    }

    fn work(ready: &Ready, window: &Window<'_>) -> Result<Vec<Vec<f64>>, String> {
        let shape = window.info.shape;
        let mut smoother = Smoother::new(shape, ready.sigma, ready.sigma);
        let costs = |t: usize| {
            let frame = smoothed_gradients(shape, window.frame(t), &mut smoother);
            ready.estimator.costs(&frame)
        };
        Ok(window.frames.clone().map(costs).collect())
    }
}

/// The slice from which the chosen frames, spread evenly over the recording, differ least together.
///
/// # Errors
/// [`MotionError`].
pub(super) fn anchor(
    runner: &mut Runner<'_>,
    inputs: &Inputs,
    recipe: &ZAlignRecipe,
) -> Result<usize, MotionError> {
    let indices = spread(recipe.anchor_frames, inputs.frames);
    let source = SourceSpec { indices: Some(indices), ..inputs.recording.clone() };
    let work = Anchor {
        volume: inputs.volume.clone(),
        slices: inputs.slices,
        sigma: recipe.spatial_sigma,
    };
    let mut sums = vec![0.0f64; inputs.slices];
    over_frames(runner, &source, &work, |_, frames| {
        for costs in frames {
            sums.iter_mut().zip(&costs).for_each(|(s, c)| *s += c);
        }
        Ok(())
    })?;
    let best = (0..sums.len()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]));
    best.ok_or_else(|| MotionError::Inputs("the stack has no slice".into()))
}
