//! Recordings as the pipeline reads them: from memory, binned, or some of their frames.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillframe_image::Shape;
use stillframe_io::recording::{
    OpenOptions, RecordingError, RecordingInfo, RecordingSource, SampleType, open,
};

use super::error::MotionError;

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct MemoryRecording {
    info: RecordingInfo,
    samples: Vec<f32>,
}

impl MemoryRecording {
    /// The frames `samples`, planar: `[frame][channel][row][column]`.
    ///
    /// # Errors
    /// [`MotionError::Inputs`] if they are no whole number of frames, or none.
    pub fn new(shape: Shape, channels: usize, samples: Vec<f32>) -> Result<Self, MotionError> {
        let frame = shape.len() * channels;
        if frame == 0 || samples.is_empty() || !samples.len().is_multiple_of(frame) {
            return Err(MotionError::Inputs(format!(
                "found {} samples, needed one or more frames of {channels} channels of {shape}",
                samples.len()
            )));
        }
        let frames = samples.len() / frame;
        let info = RecordingInfo { frames, shape, channels, sample: SampleType::F32 };
        Ok(Self { info, samples })
    }
}

fn check(info: &RecordingInfo, frames: &Range<usize>, out: &[f32]) -> Result<(), RecordingError> {
    if frames.start > frames.end || frames.end > info.frames {
        return Err(RecordingError::OutOfRange { frames: frames.clone(), found: info.frames });
    }
    let needed = frames.len() * info.frame_len();
    if out.len() == needed {
        return Ok(());
    }
    Err(RecordingError::BadBuffer { found: out.len(), needed: needed.to_string() })
}

impl RecordingSource for MemoryRecording {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check(&self.info, &frames, out)?;
        let n = self.info.frame_len();
        out.copy_from_slice(&self.samples[frames.start * n..frames.end * n]);
        Ok(())
    }
}

/// Means of consecutive frames, in float; the last is of the frames that are left.
struct Binned {
    source: Arc<dyn RecordingSource>,
    bin: usize,
    info: RecordingInfo,
}

impl RecordingSource for Binned {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check(&self.info, &frames, out)?;
        let mut one = vec![0.0; self.info.frame_len()];
        let mut sum = vec![0.0f64; one.len()];
        for (i, out) in frames.zip(out.chunks_exact_mut(one.len())) {
            let members = i * self.bin..((i + 1) * self.bin).min(self.source.info().frames);
            sum.fill(0.0);
            for t in members.clone() {
                self.source.read(t..t + 1, &mut one)?;
                sum.iter_mut().zip(&one).for_each(|(s, v)| *s += f64::from(*v));
            }
            let n = members.len() as f64;
            out.iter_mut().zip(&sum).for_each(|(o, s)| *o = (s / n) as f32);
        }
        Ok(())
    }
}

/// Some frames of a recording, in any order.
struct Chosen {
    source: Arc<dyn RecordingSource>,
    indices: Vec<usize>,
    info: RecordingInfo,
}

impl RecordingSource for Chosen {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check(&self.info, &frames, out)?;
        for (&t, out) in
            self.indices[frames].iter().zip(out.chunks_exact_mut(self.info.frame_len()))
        {
            self.source.read(t..t + 1, out)?;
        }
        Ok(())
    }
}

/// `source` with `bin` frames averaged to one.
pub(super) fn binned(source: Arc<dyn RecordingSource>, bin: usize) -> Arc<dyn RecordingSource> {
    if bin <= 1 {
        return source;
    }
    let info = source.info();
    let info = RecordingInfo { frames: info.frames.div_ceil(bin), ..info.clone() };
    Arc::new(Binned { source, bin, info })
}

/// The frames `indices` of `source`.
pub(super) fn chosen(
    source: Arc<dyn RecordingSource>,
    indices: Vec<usize>,
) -> Arc<dyn RecordingSource> {
    let info = RecordingInfo { frames: indices.len(), ..source.info().clone() };
    Arc::new(Chosen { source, indices, info })
}

/// How a worker process opens the recording again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SourceSpec {
    pub(super) paths: Vec<PathBuf>,
    pub(super) deinterleave: Option<usize>,
    pub(super) bin: usize,
    /// The frames that count, if not all.
    pub(super) indices: Option<Vec<usize>>,
}

impl SourceSpec {
    /// All frames of the file `path`, as it says.
    pub(super) fn whole(path: &std::path::Path) -> Self {
        Self { paths: vec![path.to_path_buf()], deinterleave: None, bin: 1, indices: None }
    }

    /// # Errors
    /// If a file is no recording, damaged, or gone.
    pub(super) fn open(&self) -> Result<Arc<dyn RecordingSource>, RecordingError> {
        let options = OpenOptions { deinterleave: self.deinterleave, ..OpenOptions::default() };
        let source = binned(Arc::from(open(&self.paths, &options)?), self.bin);
        Ok(match &self.indices {
            Some(indices) => chosen(source, indices.clone()),
            None => source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(frames: usize) -> Arc<dyn RecordingSource> {
        let samples = (0..frames * 6).map(|i| (i / 6) as f32).collect();
        Arc::new(MemoryRecording::new(Shape::new(2, 3), 1, samples).unwrap())
    }

    #[test]
    fn bins_are_means_and_the_last_is_of_what_is_left() {
        let source = binned(ramp(7), 3);
        assert_eq!(source.info().frames, 3);
        let mut out = vec![0.0; 12];
        source.read(1..3, &mut out).unwrap();
        assert_eq!((out[0], out[6]), (4.0, 6.0));
        assert!(source.read(2..4, &mut out).is_err());
    }

    #[test]
    fn chosen_frames_come_in_the_order_asked_for() {
        let source = chosen(ramp(7), vec![5, 0, 5]);
        let mut out = vec![0.0; 18];
        source.read(0..3, &mut out).unwrap();
        assert_eq!((out[0], out[6], out[12]), (5.0, 0.0, 5.0));
    }

    #[test]
    fn a_recording_needs_a_frame() {
        assert!(MemoryRecording::new(Shape::new(2, 3), 1, Vec::new()).is_err());
        assert!(MemoryRecording::new(Shape::new(2, 3), 1, vec![0.0; 7]).is_err());
    }
}
