//! Work on a recording some frames at a time, on any executor.

use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stillframe_io::recording::{RecordingInfo, RecordingSource};
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::{DecodeError, Phase, UnitResult};
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::error::MotionError;
use super::phase::chunk_of;
use super::source::SourceSpec;
use super::{session, z_align};
use crate::runner::{Runner, encode_into, read_spec};
use crate::worker::{self, ServePhase};

/// What is done with the frames of a recording. Results do not depend on how frames are grouped,
/// unless a result is one of a group, and groups depend on the size of a frame alone.
pub(super) trait FramesWork: Clone + Serialize + DeserializeOwned + Sync {
    /// Whatever has to be made of `self` once per process.
    type Ready: Sync;
    /// Result of a group of frames.
    type Output: Serialize + DeserializeOwned + Send;

    /// Name in logs and messages.
    const NAME: &'static str;

    /// What a worker process is told; `spec` has the rest.
    fn job(spec: PathBuf) -> SideJob;

    /// # Errors
    /// If what it is made from cannot be read.
    fn ready(&self) -> Result<Self::Ready, MotionError>;

    /// Neighbours on each side that a frame needs.
    fn radius(&self) -> usize {
        0
    }

    /// Bytes that [`Self::ready`] holds for a recording of such frames.
    fn shared_bytes(&self, info: &RecordingInfo) -> u64;

    /// Planes of `f32` that a frame takes while it is worked on, and in the result, beside its own.
    fn planes(&self, info: &RecordingInfo) -> (usize, usize);

    /// # Errors
    /// Why there is no result.
    fn work(ready: &Self::Ready, window: &Window<'_>) -> Result<Self::Output, String>;
}

/// Some frames of a recording and their neighbours.
pub(super) struct Window<'a> {
    /// The frames that are asked for.
    pub(super) frames: Range<usize>,
    pub(super) info: &'a RecordingInfo,
    first: usize,
    pixels: &'a [f32],
}

impl Window<'_> {
    /// Planes of frame `t` of the recording, which lies at most the radius from the frames asked for.
    pub(super) fn frame(&self, t: usize) -> &[f32] {
        let len = self.info.frame_len();
        let at = t - self.first;
        &self.pixels[at * len..(at + 1) * len]
    }
}

/// What a worker process is told when it works for a session or a depth.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SideJob {
    Mean(PathBuf),
    Common(PathBuf),
    Between(PathBuf),
    Align(PathBuf),
    Anchor(PathBuf),
    Depths(PathBuf),
    Correct(PathBuf),
}

/// Builds the phase of `job` in a worker process and hands it to `serve`.
///
/// # Errors
/// If what it is made from cannot be read.
pub(crate) fn with_side_job<R>(job: &SideJob, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    match job {
        SideJob::Mean(spec) => with_frames::<session::Mean, R>(spec, serve),
        SideJob::Common(spec) => with_frames::<session::Common, R>(spec, serve),
        SideJob::Align(spec) => with_frames::<session::Align, R>(spec, serve),
        SideJob::Between(spec) => session::with_between(spec, serve),
        SideJob::Anchor(spec) => with_frames::<z_align::Anchor, R>(spec, serve),
        SideJob::Depths(spec) => with_frames::<z_align::Depths, R>(spec, serve),
        SideJob::Correct(spec) => with_frames::<z_align::Correct, R>(spec, serve),
    }
}

/// What a worker process builds its phase from.
#[derive(Serialize, Deserialize)]
struct Parcel<W> {
    source: SourceSpec,
    work: W,
}

struct FramesOf<'a, W: FramesWork> {
    source: Arc<dyn RecordingSource>,
    ready: &'a W::Ready,
    radius: usize,
    need: Need,
    spec_file: Option<&'a Path>,
    work: PhantomData<W>,
}

impl<W: FramesWork> FramesOf<'_, W> {
    fn chunk(&self) -> usize {
        chunk_of(self.source.info().frame_len())
    }
}

impl<W: FramesWork> Phase for FramesOf<'_, W> {
    type Output = Result<W::Output, String>;
    type Scratch = Vec<f32>;

    fn name(&self) -> &str {
        W::NAME
    }

    fn units(&self) -> usize {
        self.source.info().frames.div_ceil(self.chunk())
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> Vec<f32> {
        Vec::new()
    }

    fn work(&self, index: usize, pixels: &mut Vec<f32>) -> Self::Output {
        let info = self.source.info();
        let first = index * self.chunk();
        let frames = first..(first + self.chunk()).min(info.frames);
        let read = first.saturating_sub(self.radius)..(frames.end + self.radius).min(info.frames);
        pixels.resize(read.len() * info.frame_len(), 0.0);
        self.source.read(read.clone(), pixels).map_err(|e| e.to_string())?;
        pixels.iter_mut().for_each(|v| *v = if v.is_finite() { *v } else { 0.0 });
        W::work(self.ready, &Window { frames, info, first: read.start, pixels })
    }

    fn job(&self) -> Option<Vec<u8>> {
        worker::Job::Side(W::job(self.spec_file?.to_path_buf())).bytes()
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

fn with_frames<W: FramesWork, R>(spec: &Path, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    let Parcel::<W> { source, work } = read_spec(spec)?;
    let ready = work.ready()?;
    Ok(serve.serve(&FramesOf::<W> {
        source: source.open()?,
        ready: &ready,
        radius: work.radius(),
        need: Need::default(),
        spec_file: None,
        work: PhantomData,
    }))
}

/// Does `work` on all frames of the recording; `commit` gets the results in order, each with its
/// first frame.
///
/// # Errors
/// [`MotionError`], also that of `commit`.
pub(super) fn over_frames<W: FramesWork>(
    runner: &mut Runner<'_>,
    source: &SourceSpec,
    work: &W,
    mut commit: impl FnMut(usize, W::Output) -> Result<(), MotionError>,
) -> Result<(), MotionError> {
    let opened = source.open()?;
    let info = opened.info().clone();
    let chunk = chunk_of(info.frame_len());
    let (at_work, in_result) = work.planes(&info);
    let bytes = |planes: usize| 4 * (planes * info.shape.len()) as u64;
    let window = bytes((chunk + 2 * work.radius()) * info.channels);
    let need = Need { work: window + bytes(at_work), result: bytes(chunk * in_result) };
    let rule = UnitRule::Frames {
        count: info.frames.div_ceil(chunk),
        work_bytes: need.work,
        result_bytes: need.result,
    };
    let mut request = PhaseRequest::new(PhaseKind::new(W::NAME), rule);
    request.n_frames = info.frames;
    request.shared_bytes = work.shared_bytes(&info);
    let plan = runner.plan(&request)?;
    let parcel = Parcel { source: source.clone(), work: work.clone() };
    let spec_file = runner
        .spec_file(&plan, W::NAME, &parcel)
        .map_err(|(path, e)| MotionError::Output { path, reason: e.to_string() })?;
    let ready = work.ready()?;
    let phase = FramesOf::<W> {
        source: opened,
        ready: &ready,
        radius: work.radius(),
        need,
        spec_file: spec_file.as_deref(),
        work: PhantomData,
    };
    runner.run_phase(&phase, &plan, |unit, result| match result {
        UnitResult::Done(Ok(output)) => commit(unit * chunk, output),
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => {
            Err(MotionError::Frames { first: unit * chunk, reason })
        }
    })?;
    Ok(())
}
