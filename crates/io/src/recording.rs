//! Recordings: series of frames of one or more channels in one file, or one file per channel.
//!
//! [`open`] reads HDF5, TIFF and MAT files; [`create`] and [`resume`] write them batch by batch.
//! Pixels are handed over as `f32`, planar: `[frame][channel][row][column]`. 32-bit integers and
//! 64-bit floats are rounded to `f32`, which holds whole numbers up to 2²⁴ exactly.

mod error;
mod samples;

use std::ops::Range;
use std::path::{Path, PathBuf};

use stillframe_image::Shape;

pub use error::RecordingError;
pub use samples::SampleType;

use crate::Existing;

/// Everything known about a recording without its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingInfo {
    /// Number of frames.
    pub frames: usize,
    /// Size of one channel of a frame.
    pub shape: Shape,
    /// Number of channels.
    pub channels: usize,
    /// Number format of the file.
    pub sample: SampleType,
}

impl RecordingInfo {
    /// Samples of one frame with all its channels.
    pub const fn frame_len(&self) -> usize {
        self.channels * self.shape.len()
    }
}

/// A recording that can be read, any frame at any time.
pub trait RecordingSource: Send + Sync {
    /// What is known without the pixels.
    fn info(&self) -> &RecordingInfo;

    /// Fills `out` with `frames`, planar: `[frame][channel][row][column]`. Any thread may call at
    /// any time; memory beyond `out` does not grow with the length of the recording.
    ///
    /// # Errors
    /// If the range or the buffer is wrong, or the file is cut off, damaged or gone.
    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError>;
}

/// How a recording is to be understood, where its file does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Datasets (HDF5) or variables (MAT) that are the channels, in this order; empty: those that
    /// look like channels.
    pub dataset_names: Vec<String>,
    /// TIFF: this many consecutive pages are the channels of one frame.
    pub deinterleave: Option<usize>,
    /// HDF5 and MAT: which of the stored axes are the rows, the columns and the frames. MAT counts
    /// the axes as MATLAB does; `[0, 1, 2]` is its default, `[1, 2, 0]` that of HDF5.
    pub dimension_ordering: Option<[usize; 3]>,
}

/// A recording that is being written. Batches are appended in order; the file is whole up to the
/// last [`RecordingSink::sync`] at any moment, also when the process is killed.
pub trait RecordingSink: Send {
    /// Appends a whole number of frames, planar: `[frame][channel][row][column]`. Integer types are
    /// rounded to the nearest value, ties to even, and saturated; NaN becomes 0.
    ///
    /// # Errors
    /// If `frames` is no whole number of frames, or the disk is full.
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError>;

    /// Puts everything so far on the disk: a process killed afterwards leaves a readable file with
    /// these frames.
    ///
    /// # Errors
    /// If the system reports one.
    fn sync(&mut self) -> Result<(), RecordingError>;

    /// Completes the file.
    ///
    /// # Errors
    /// If the system reports one.
    fn finish(self: Box<Self>) -> Result<(), RecordingError>;
}

/// The file formats that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordingFormat {
    /// One file with the datasets `ch1`, `ch2`, … of frames × rows × columns.
    Hdf5,
    /// One BigTIFF with a page per frame; channels are the samples of a pixel.
    Tiff,
    /// One MAT file with the variables `ch1`, `ch2`, … of rows × columns × frames.
    Mat,
    /// One BigTIFF with a page per channel: frame 0 channel 0, frame 0 channel 1, frame 1 …
    Suite2pTiff,
    /// One file per channel with the dataset `mov`.
    CaimanHdf5,
    /// As [`RecordingFormat::Hdf5`], one file per channel.
    MultifileHdf5,
    /// As [`RecordingFormat::Tiff`], one file per channel.
    MultifileTiff,
    /// As [`RecordingFormat::Mat`], one file per channel.
    MultifileMat,
}

impl RecordingFormat {
    /// Whether each channel has a file of its own.
    pub const fn is_multifile(self) -> bool {
        matches!(
            self,
            Self::CaimanHdf5 | Self::MultifileHdf5 | Self::MultifileTiff | Self::MultifileMat
        )
    }

    /// Names of the files that a recording of this format has: `stem.hdf5`, or `stem_ch1.hdf5`,
    /// `stem_ch2.hdf5`, …
    pub fn file_names(self, stem: &str, channels: usize) -> Vec<String> {
        let extension = match self {
            Self::Hdf5 | Self::CaimanHdf5 | Self::MultifileHdf5 => "hdf5",
            Self::Tiff | Self::Suite2pTiff | Self::MultifileTiff => "tiff",
            Self::Mat | Self::MultifileMat => "mat",
        };
        if !self.is_multifile() {
            return vec![format!("{stem}.{extension}")];
        }
        (1..=channels).map(|c| format!("{stem}_ch{c}.{extension}")).collect()
    }
}

/// Opens a recording: one file, or several files or a folder with one file per channel.
///
/// # Errors
/// If a file is no recording, is damaged, or has a form that is not read; the message names the
/// file, what was found and what is needed.
pub fn open(
    paths: &[PathBuf],
    options: &OpenOptions,
) -> Result<Box<dyn RecordingSource>, RecordingError> {
    let _ = options;
    let path = paths.first().ok_or(RecordingError::Nothing)?;
    Err(RecordingError::unsupported(path, "this kind of file", "HDF5, TIFF or MAT is needed"))
}

/// Starts the files of a recording in `folder` (see [`RecordingFormat::file_names`]). `info.frames`
/// is the expected number of frames, 0 if it is not known; the files hold what is appended.
///
/// # Errors
/// If a file exists and may not be replaced, the folder cannot be written to, or the format cannot
/// hold the recording.
pub fn create(
    folder: &Path,
    stem: &str,
    format: RecordingFormat,
    info: &RecordingInfo,
    existing: Existing,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let _ = (folder, stem, info, existing);
    Err(RecordingError::CannotHold {
        format: "this format",
        found: format!("{format:?}"),
        remedy: "choose another one",
    })
}

/// Continues the files that [`create`] with the same arguments has begun, after their first
/// `frames_done` frames; what was written beyond them is dropped.
///
/// # Errors
/// [`RecordingError::NotResumable`] if a file is missing, holds fewer frames, or was begun with
/// other arguments.
pub fn resume(
    folder: &Path,
    stem: &str,
    format: RecordingFormat,
    info: &RecordingInfo,
    frames_done: usize,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let _ = (stem, format, info, frames_done);
    Err(RecordingError::not_resumable(folder, "nothing was begun"))
}

/// Starts an HDF5 file of several stacks of frames × rows × columns, one dataset per name and
/// channel of `info`; displacement fields are `["u", "v"]` in `f32`, valid masks `["idx"]` in `u8`
/// with 0 and 255.
///
/// # Errors
/// As [`create`].
pub fn create_stack(
    path: &Path,
    names: &[&str],
    info: &RecordingInfo,
    existing: Existing,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let _ = (names, info, existing);
    Err(RecordingError::not_resumable(path, "nothing was begun"))
}

/// Continues a file of [`create_stack`], as [`resume`].
///
/// # Errors
/// As [`resume`].
pub fn resume_stack(
    path: &Path,
    names: &[&str],
    info: &RecordingInfo,
    frames_done: usize,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let _ = (names, info, frames_done);
    Err(RecordingError::not_resumable(path, "nothing was begun"))
}
