//! Frames as units that any executor can run.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_io::recording::RecordingSource;
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::{DecodeError, Phase};
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::frame::{FrameOutput, FrameScratch, Registrar};
use super::source::SourceSpec;
use super::spec::FrameSpec;
use crate::runner::{encode_into, read_spec};
use crate::worker::{self, ServePhase};

/// What a worker process is told: where the specification is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    spec: PathBuf,
}

/// What a worker process builds its phase from.
#[derive(Serialize, Deserialize)]
pub(super) struct SegmentSpec {
    pub(super) source: SourceSpec,
    pub(super) frames: FrameSpec,
    pub(super) range: Range<usize>,
    pub(super) chunk: usize,
}

/// Consecutive frames that are registered in the same way; units are some frames each.
pub(super) struct FramesPhase<'a> {
    pub(super) source: &'a dyn RecordingSource,
    pub(super) registrar: &'a Registrar,
    pub(super) range: Range<usize>,
    /// Frames of a unit.
    pub(super) chunk: usize,
    pub(super) need: Need,
    pub(super) spec_file: Option<&'a Path>,
}

/// Pixels of a unit at which its overhead no longer matters.
const UNIT_PIXELS: usize = 1 << 19;
/// Most frames of a unit.
const MOST_FRAMES: usize = 16;

/// Frames of a unit for frames of `len` samples.
pub(super) fn chunk_of(len: usize) -> usize {
    (UNIT_PIXELS / len.max(1)).clamp(1, MOST_FRAMES)
}

/// What a unit of `chunk` frames holds.
pub(super) fn need(spec: &FrameSpec, chunk: usize, radius: usize) -> Need {
    let pixels = spec.shape.len() as u64;
    let channels = spec.channels as u64;
    // Of the smoothing, the flow (tensors, increments, pyramid) and the sampling, measured.
    let work = pixels * (120 + 60 * channels);
    let window = (chunk + 2 * radius) as u64 * 4 * channels * pixels;
    let wants = spec.wants;
    let mut planes = channels;
    planes += if wants.fields_from.is_some() { 2 } else { 0 };
    planes += u64::from(wants.valid);
    planes += if wants.smoothed_from.is_some() { channels } else { 0 };
    Need { work: work + window, result: chunk as u64 * 4 * pixels * planes }
}

/// What registering `n_units` units asks of the machine.
pub(super) fn request(spec: &FrameSpec, need: Need, n_units: usize, n: usize) -> PhaseRequest {
    let rule =
        UnitRule::Frames { count: n_units, work_bytes: need.work, result_bytes: need.result };
    let mut request = PhaseRequest::new(PhaseKind::MOTION_FRAMES, rule);
    request.n_frames = n;
    // The reference, raw, smoothed and as a pyramid, in rows and skewed.
    request.shared_bytes = 4 * spec.shape.len() as u64 * 8 * spec.channels as u64;
    request
}

/// Frame `i` of a series of `n` that is continued by its mirror image.
fn reflected(i: isize, n: usize) -> usize {
    let p = i.rem_euclid(2 * n as isize) as usize;
    p.min(2 * n - 1 - p)
}

impl Phase for FramesPhase<'_> {
    type Output = Result<Vec<FrameOutput>, String>;
    type Scratch = FrameScratch;

    fn name(&self) -> &str {
        "motion_frames"
    }

    fn units(&self) -> usize {
        self.range.len().div_ceil(self.chunk)
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> FrameScratch {
        self.registrar.scratch()
    }

    fn work(&self, index: usize, scratch: &mut FrameScratch) -> Self::Output {
        let first = self.range.start + index * self.chunk;
        let last = (first + self.chunk).min(self.range.end);
        let info = self.source.info();
        let (n, len) = (info.frames, info.frame_len());
        let radius = self.registrar.radius();
        let read = first.saturating_sub(radius)..(last + radius).min(n);
        let mut pixels = std::mem::take(&mut scratch.window);
        pixels.resize(read.len() * len, 0.0);
        self.source.read(read.clone(), &mut pixels).map_err(|e| e.to_string())?;
        let missing: Vec<usize> =
            pixels.chunks_exact_mut(len).map(|f| self.registrar.fill_missing(f)).collect();
        let frame = |t: usize| &pixels[(t - read.start) * len..(t - read.start + 1) * len];
        let outputs = (first..last)
            .map(|t| {
                let around = t as isize - radius as isize..=(t + radius) as isize;
                let window: Vec<&[f32]> = around.map(|i| frame(reflected(i, n))).collect();
                self.registrar.register(t, &window, missing[t - read.start], scratch)
            })
            .collect();
        scratch.window = pixels;
        outputs
    }

    fn job(&self) -> Option<Vec<u8>> {
        worker::Job::Motion(Job { spec: self.spec_file?.to_path_buf() }).bytes()
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// The other side of [`Phase::job`]: builds the phase in a worker process and hands it to `serve`.
///
/// # Errors
/// If the specification or the recording cannot be read.
pub(crate) fn with_job<R>(job: &Job, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    let SegmentSpec { source, frames, range, chunk } = read_spec(&job.spec)?;
    let source = source.open()?;
    let registrar = Registrar::new(frames, None)?;
    Ok(serve.serve(&FramesPhase {
        source: &*source,
        registrar: &registrar,
        range,
        chunk,
        need: Need::default(),
        spec_file: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::reflected;

    #[test]
    fn series_are_continued_by_their_mirror_image() {
        let got: Vec<usize> = (-4..8).map(|i| reflected(i, 3)).collect();
        assert_eq!(got, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(reflected(-5, 1), 0);
    }
}
