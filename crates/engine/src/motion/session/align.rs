//! A recording brought into the frame of the centre.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_io::Existing;
use stillframe_io::recording::{RecordingFormat, RecordingInfo, create};
use stillframe_kernels::register::flow::{FlowField, Interpolation, Positions, register};

use crate::motion::chunks::{FramesWork, SideJob, Window, over_frames};
use crate::motion::error::MotionError;
use crate::motion::source::SourceSpec;
use crate::motion::spec::planes_of;
use crate::runner::Runner;
use crate::wire;

/// Samples every frame by the same displacement.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Align {
    shape: Shape,
    #[serde(with = "wire::pod")]
    u: Vec<f32>,
    #[serde(with = "wire::pod")]
    v: Vec<f32>,
    /// Planes that pixels from outside take.
    #[serde(with = "wire::pod")]
    fill: Vec<f32>,
}

/// Field and fill.
pub(crate) struct Ready {
    field: FlowField,
    fill: Vec<Image<f32>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Planes(#[serde(with = "wire::pod")] pub(super) Vec<f32>);

impl FramesWork for Align {
    type Ready = Ready;
    type Output = Planes;

    const NAME: &'static str = "session_align";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Align(spec)
    }

    fn ready(&self) -> Result<Ready, MotionError> {
        let plane = |values: &[f32]| Image::from_vec(self.shape, values.to_vec());
        let field = FlowField { u: plane(&self.u), v: plane(&self.v) };
        Ok(Ready { field, fill: planes_of(self.shape, &self.fill) })
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        8 * (info.frame_len() + 2 * info.shape.len()) as u64
    }

    fn planes(&self, info: &RecordingInfo) -> (usize, usize) {
        (2, info.channels)
    }

    fn work(ready: &Ready, window: &Window<'_>) -> Result<Planes, String> {
        let info = window.info;
        let mut out = Vec::with_capacity(window.frames.len() * info.frame_len());
        let mut registered = Image::filled(info.shape, 0.0);
        for t in window.frames.clone() {
            let planes = window.frame(t).chunks_exact(info.shape.len());
            for (plane, fill) in planes.zip(&ready.fill) {
                let plane = Image::from_vec(info.shape, plane.to_vec());
                let (how, where_) = (Interpolation::Cubic, Positions::Exact);
                register(&plane, &ready.field, fill, how, where_, &mut registered);
                out.extend_from_slice(registered.pixels());
            }
        }
        Ok(Planes(out))
    }
}

/// Writes the frames of `compensated`, sampled where `field` points, to `folder` under the name
/// `stem`; pixels from outside are those of `fill`. Whole numbers are rounded and saturate.
///
/// # Errors
/// [`MotionError`].
pub(super) fn align(
    runner: &mut Runner<'_>,
    compensated: &Path,
    field: &FlowField,
    fill: &[Image<f32>],
    target: (&Path, &str, RecordingFormat),
) -> Result<(), MotionError> {
    let source = SourceSpec::whole(compensated);
    let info = source.open()?.info().clone();
    let (folder, stem, format) = target;
    let mut sink = create(folder, stem, format, &info, Existing::Replace)?;
    let work = Align {
        shape: info.shape,
        u: field.u.pixels().to_vec(),
        v: field.v.pixels().to_vec(),
        fill: fill.iter().flat_map(Image::pixels).copied().collect(),
    };
    over_frames(runner, &source, &work, |_, Planes(frames)| Ok(sink.append(&frames)?))?;
    Ok(sink.finish()?)
}
