//! The mean of a registered recording, and where every frame has data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_io::Existing;
use stillframe_io::recording::{
    OpenOptions, RecordingFormat, RecordingInfo, SampleType, create, create_stack, open,
};

use crate::motion::chunks::{FramesWork, SideJob, Window, over_frames};
use crate::motion::error::MotionError;
use crate::motion::source::SourceSpec;
use crate::motion::spec::planes_of;
use crate::runner::Runner;
use crate::wire;

/// Names of the files, and the stem of the first.
pub(super) const AVERAGE_STEM: &str = "temporal_average";
pub(super) const AVERAGE: &str = "temporal_average.hdf5";
pub(super) const VALID: &str = "valid_idx.h5";

/// Sums of groups of frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mean;

#[derive(Serialize, Deserialize)]
pub(crate) struct Sums(#[serde(with = "wire::pod")] Vec<f64>);

impl FramesWork for Mean {
    type Ready = ();
    type Output = Sums;

    const NAME: &'static str = "session_mean";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Mean(spec)
    }

    fn ready(&self) -> Result<(), MotionError> {
        Ok(())
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        8 * info.frame_len() as u64
    }

    fn planes(&self, info: &RecordingInfo) -> (usize, usize) {
        (0, 2 * info.channels)
    }

    fn work((): &(), window: &Window<'_>) -> Result<Sums, String> {
        let mut sums = vec![0.0f64; window.info.frame_len()];
        for t in window.frames.clone() {
            let frame = window.frame(t);
            sums.iter_mut().zip(frame).for_each(|(s, v)| *s += f64::from(*v));
        }
        Ok(Sums(sums))
    }
}

/// Pixels that have data in all of a group of masks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Common;

impl FramesWork for Common {
    type Ready = ();
    type Output = Vec<bool>;

    const NAME: &'static str = "session_valid";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Common(spec)
    }

    fn ready(&self) -> Result<(), MotionError> {
        Ok(())
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        info.frame_len() as u64
    }

    fn planes(&self, _: &RecordingInfo) -> (usize, usize) {
        (0, 1)
    }

    fn work((): &(), window: &Window<'_>) -> Result<Vec<bool>, String> {
        let mut common = vec![true; window.info.frame_len()];
        for t in window.frames.clone() {
            let mask = window.frame(t);
            common.iter_mut().zip(mask).for_each(|(c, m)| *c &= *m > 0.0);
        }
        Ok(common)
    }
}

/// Writes the mean of the recording `compensated` and the pixels that all of `masks` have to
/// `folder`.
///
/// # Errors
/// [`MotionError`].
pub(super) fn summarise(
    runner: &mut Runner<'_>,
    compensated: &Path,
    masks: &Path,
    folder: &Path,
) -> Result<(), MotionError> {
    let source = SourceSpec::whole(compensated);
    let info = source.open()?.info().clone();
    let mut sums = vec![0.0f64; info.frame_len()];
    over_frames(runner, &source, &Mean, |_, part| {
        sums.iter_mut().zip(&part.0).for_each(|(s, v)| *s += v);
        Ok(())
    })?;
    let mean: Vec<f32> = sums.iter().map(|s| (s / info.frames as f64) as f32).collect();
    write_planes(folder, &info, &mean)?;

    let mut common = vec![true; info.shape.len()];
    over_frames(runner, &SourceSpec::whole(masks), &Common, |_, part| {
        common.iter_mut().zip(&part).for_each(|(c, m)| *c &= m);
        Ok(())
    })?;
    let mask =
        Image::from_vec(info.shape, common.iter().map(|&c| if c { 255 } else { 0 }).collect());
    write_mask(&folder.join(VALID), &mask)
}

fn write_planes(folder: &Path, info: &RecordingInfo, planes: &[f32]) -> Result<(), MotionError> {
    let info = RecordingInfo { frames: 1, sample: SampleType::F32, ..info.clone() };
    let format = RecordingFormat::Hdf5;
    let mut sink = create(folder, AVERAGE_STEM, format, &info, Existing::Replace)?;
    sink.append(planes)?;
    Ok(sink.finish()?)
}

/// Writes a mask as a file of one frame of the dataset `idx`.
pub(super) fn write_mask(path: &Path, mask: &Image<u8>) -> Result<(), MotionError> {
    let (shape, sample) = (mask.shape(), SampleType::U8);
    let info = RecordingInfo { frames: 1, shape, channels: 1, sample };
    let mut sink = create_stack(path, &["idx"], &info, Existing::Replace)?;
    sink.append(mask.map(f32::from).pixels())?;
    Ok(sink.finish()?)
}

/// The planes of the only frame of a file, of the datasets `names` (empty: those that look like
/// channels).
///
/// # Errors
/// If it cannot be read.
pub(super) fn read_planes(path: &Path, names: &[&str]) -> Result<Vec<Image<f32>>, MotionError> {
    let names = names.iter().map(|&n| n.to_owned()).collect();
    let options = OpenOptions { dataset_names: names, ..OpenOptions::default() };
    let source = open(&[path.to_path_buf()], &options)?;
    let (shape, len) = (source.info().shape, source.info().frame_len());
    let mut planes = vec![0.0; len];
    source.read(0..1, &mut planes)?;
    Ok(planes_of(shape, &planes))
}

/// The mask of a file, whose shape must be `shape`.
pub(super) fn read_mask(path: &Path, shape: Shape) -> Result<Image<u8>, MotionError> {
    let planes = read_planes(path, &["idx"])?;
    match planes.first() {
        Some(mask) if mask.shape() == shape => Ok(mask.map(|v| if v > 0.0 { 255 } else { 0 })),
        _ => Err(MotionError::Inputs(format!("{}: no mask of {shape}", path.display()))),
    }
}
