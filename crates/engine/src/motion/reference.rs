//! What frames are registered onto.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use stillframe_io::recording::{OpenOptions, RecordingInfo, RecordingSource, open};

use super::backend::Displacement;
use super::batches::{Batches, Carry, FrameSink};
use super::error::MotionError;
use super::frame::FrameOutput;
use super::source::{SourceSpec, chosen};
use super::spec::FrameSpec;
use crate::recipe::{Alpha, FrameChoice, MotionRecipe, QualitySetting};
use crate::runner::Runner;

/// Frames of the automatic choice, and where it begins: a recording settles at first.
const AUTO_FRAMES: usize = 100;
const AUTO_FIRST: usize = 50;
/// Each pass registers the frames to the mean of the pass before; the first mean is blurred.
const PASSES: usize = 2;
/// Added to the smoothing along x, y and time, and to alpha: a mean of many frames shows no detail
/// that one frame would not.
const EXTRA_SIGMA: [f64; 3] = [1.0, 1.0, 0.5];
const EXTRA_ALPHA: f64 = 2.0;

/// A recording as the reference is made from it.
pub(super) struct Origin<'a> {
    pub(super) source: &'a Arc<dyn RecordingSource>,
    pub(super) source_spec: Option<&'a SourceSpec>,
    pub(super) custom: Option<Arc<dyn Displacement>>,
}

/// The planes of the reference that `recipe` asks for.
///
/// # Errors
/// If its frames cannot be read, it does not fit the recording, or the run is cancelled.
pub(super) fn resolve(
    runner: &mut Runner<'_>,
    recipe: &MotionRecipe,
    origin: &Origin<'_>,
) -> Result<Vec<f32>, MotionError> {
    let info = origin.source.info();
    let indices = match FrameChoice::parse(&recipe.reference_frames).map_err(MotionError::Recipe)? {
        FrameChoice::File(path) => return from_file(path.into(), recipe, info),
        FrameChoice::Auto => {
            let count = AUTO_FRAMES.min(info.frames);
            let first = AUTO_FIRST.min(info.frames - count);
            (first..first + count).collect()
        }
        FrameChoice::Indices(ranges) => within(runner, &ranges, info.frames)?,
    };
    let source = chosen(Arc::clone(origin.source), indices.clone());
    let mut reference = mean(&*source)?;
    if indices.len() > 1 {
        let source_spec = origin
            .source_spec
            .map(|spec| SourceSpec { indices: Some(indices.clone()), ..spec.clone() });
        let gentle = gentle(recipe, info.channels);
        for _ in 0..PASSES {
            let spec = FrameSpec::new(&gentle, info.shape, info.channels, reference);
            let mut batches = Batches {
                source: &source,
                source_spec: source_spec.as_ref(),
                spec,
                custom: origin.custom.clone(),
                batch: usize::MAX,
                carries_start: false,
                carries_reference: false,
                title: "motion_reference",
            };
            let mut sum = Sum { sum: vec![0.0; info.frame_len()], n: 0 };
            batches.run(runner, Carry::default(), &mut sum)?;
            reference = sum.mean();
        }
    }
    Ok(reference)
}

/// The recipe with which reference frames are registered to each other.
fn gentle(recipe: &MotionRecipe, channels: usize) -> MotionRecipe {
    let mut gentle = recipe.clone();
    gentle.sigma = (0..channels)
        .flat_map(|c| {
            let s = recipe.sigma_of(c);
            [0, 1, 2].map(|i| s[i] + EXTRA_SIGMA[i])
        })
        .collect();
    match &mut gentle.alpha {
        Alpha::Fixed(alpha) => alpha.iter_mut().for_each(|a| *a += EXTRA_ALPHA),
        // The finest levels add nothing that survives the mean.
        Alpha::Auto if gentle.quality_setting == QualitySetting::Quality => {
            gentle.quality_setting = QualitySetting::Balanced;
        }
        Alpha::Auto => {}
    }
    gentle
}

/// The indices that the recording has.
fn within(
    runner: &mut Runner<'_>,
    ranges: &[Range<usize>],
    frames: usize,
) -> Result<Vec<usize>, MotionError> {
    let cut = |r: &Range<usize>| r.start.min(frames)..r.end.min(frames);
    let indices: Vec<usize> = ranges.iter().flat_map(cut).collect();
    if indices.is_empty() {
        return Err(MotionError::Recipe(format!(
            "reference_frames: none of them is in the recording, which has the frames 0..{frames}"
        )));
    }
    let asked: usize = ranges.iter().map(Range::len).sum();
    if indices.len() < asked {
        runner.warn(format!(
            "reference_frames: {} of {asked} indices are beyond the recording, which has the \
             frames 0..{frames}; they are left out",
            asked - indices.len()
        ));
    }
    Ok(indices)
}

/// The mean of the frames of a file.
fn from_file(
    path: PathBuf,
    recipe: &MotionRecipe,
    info: &RecordingInfo,
) -> Result<Vec<f32>, MotionError> {
    let options = OpenOptions { deinterleave: recipe.deinterleave, ..OpenOptions::default() };
    let source = open(std::slice::from_ref(&path), &options)?;
    let found = source.info();
    if (found.shape, found.channels) != (info.shape, info.channels) {
        return Err(MotionError::Inputs(format!(
            "the reference {} has {} channels of {}, but the recording has {} of {}",
            path.display(),
            found.channels,
            found.shape,
            info.channels,
            info.shape
        )));
    }
    mean(&*source)
}

/// The mean of all frames over the values that are finite; where there are none, over the plane.
pub(super) fn mean(source: &dyn RecordingSource) -> Result<Vec<f32>, MotionError> {
    let info = source.info();
    let mut frame = vec![0.0f32; info.frame_len()];
    let mut sums = vec![(0.0f64, 0u32); frame.len()];
    for t in 0..info.frames {
        source.read(t..t + 1, &mut frame)?;
        for ((sum, n), &v) in sums.iter_mut().zip(&frame) {
            if v.is_finite() {
                *sum += f64::from(v);
                *n += 1;
            }
        }
    }
    let mut out = Vec::with_capacity(sums.len());
    for plane in sums.chunks_exact(info.shape.len()) {
        let known = plane.iter().filter(|(_, n)| *n > 0);
        let (total, n) =
            known.fold((0.0, 0u32), |(s, k), (sum, n)| (s + sum / f64::from(*n), k + 1));
        let fill = if n > 0 { total / f64::from(n) } else { 0.0 };
        out.extend(
            plane.iter().map(|&(sum, n)| (if n > 0 { sum / f64::from(n) } else { fill }) as f32),
        );
    }
    Ok(out)
}

/// The sum of the registered frames.
struct Sum {
    sum: Vec<f64>,
    n: usize,
}

impl Sum {
    fn mean(&self) -> Vec<f32> {
        self.sum.iter().map(|s| (s / self.n.max(1) as f64) as f32).collect()
    }
}

impl FrameSink for Sum {
    fn frame(&mut self, _: usize, output: FrameOutput) -> Result<(), MotionError> {
        self.sum.iter_mut().zip(&output.registered).for_each(|(s, v)| *s += f64::from(*v));
        self.n += 1;
        Ok(())
    }

    fn batch_end(&mut self, _: &Carry) -> Result<(), MotionError> {
        Ok(())
    }
}
