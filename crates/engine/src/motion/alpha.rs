//! `alpha: auto`: the smoothness that suits the noise of a recording.

use serde::{Deserialize, Serialize};
use stillframe_image::Image;
use stillframe_io::recording::RecordingSource;
use stillframe_kernels::register::flow::auto::choose_alpha;

use super::error::MotionError;
use super::spec::{FrameSpec, planes_of};

/// Most frames that are looked at: each costs ten to twenty flows.
const MOST_FRAMES: usize = 4;
/// One frame is looked at for so many.
const FRAMES_PER_TRIAL: usize = 8;

/// How `alpha` was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlphaChoice {
    /// Along x and y.
    pub alpha: [f64; 2],
    /// Frames that were looked at.
    pub frames: Vec<usize>,
    /// What was tried, and how badly the flow of one half of the rows registered the other, from 0
    /// to 1.
    pub tried: Vec<([f64; 2], f64)>,
}

impl AlphaChoice {
    /// What was done and why, in a line.
    pub(super) fn explained(&self) -> String {
        let [x, y] = self.alpha;
        let tried: Vec<String> = self
            .tried
            .iter()
            .map(|([x, y], misses)| format!("{x:.4}, {y:.4} misses by {misses:.4}"))
            .collect();
        format!(
            "alpha: auto takes {x:.4} along x and {y:.4} along y: of {} frames, the flow of one \
             half of the rows then registers the other half best ({})",
            self.frames.len(),
            tried.join("; ")
        )
    }
}

/// Chooses the smoothness from some frames of `source`, spread over all.
///
/// # Errors
/// If a frame cannot be read, or the parameters are out of range.
pub(super) fn choose(
    source: &dyn RecordingSource,
    spec: &FrameSpec,
) -> Result<AlphaChoice, MotionError> {
    let info = source.info();
    let count = info.frames.div_ceil(FRAMES_PER_TRIAL).clamp(1, MOST_FRAMES);
    let indices: Vec<usize> = (0..count).map(|i| (2 * i + 1) * info.frames / (2 * count)).collect();
    let mut frames: Vec<Vec<Image<f32>>> = Vec::with_capacity(count);
    let mut buffer = vec![0.0; info.frame_len()];
    for &t in &indices {
        source.read(t..t + 1, &mut buffer)?;
        for (v, r) in buffer.iter_mut().zip(&spec.raw_reference) {
            if !v.is_finite() {
                *v = *r;
            }
        }
        frames.push(planes_of(spec.shape, &buffer));
    }
    let frames: Vec<&[Image<f32>]> = frames.iter().map(Vec::as_slice).collect();
    let reference = planes_of(spec.shape, &spec.raw_reference);
    let found = choose_alpha(&spec.params, &reference, &frames, &mut spec.preprocessor())?;
    Ok(AlphaChoice { alpha: found.alpha, frames: indices, tried: found.tried })
}
