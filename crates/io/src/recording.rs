//! Recordings: series of frames of one or more channels in one file, or one file per channel.
//!
//! [`open`] reads HDF5, TIFF and MAT files; [`create`] and [`resume`] write them batch by batch.
//! Pixels are handed over as `f32`, planar: `[frame][channel][row][column]`. 32-bit integers and
//! 64-bit floats are rounded to `f32`, which holds whole numbers up to 2²⁴ exactly.
//!
//! | file | what is taken for what |
//! |---|---|
//! | HDF5 | three axes: frames × rows × columns, one dataset per channel; four: × channels; five: frames × planes × rows × columns × channels. Another order of three by the attribute or option `dimension_ordering`. Any storage: contiguous, chunked, deflate, lzf, lz4, zstd, blosc |
//! | MAT v5, v7.3 | rows × columns × frames, one variable per channel |
//! | TIFF, BigTIFF | pages are frames; the texts of ImageJ, OME, ScanImage and tifffile say which page is which channel; samples of a pixel are channels. Strips and tiles, plain, LZW, Deflate, PackBits |
//! | several files, a folder | one file per channel; files of single frames without numbered channels in their names: one file per frame |
//!
//! Which datasets or variables are the channels: those named in [`OpenOptions::dataset_names`]; else
//! names that end in `ch`, `chan` or `channel` and a number; else `mov`, `data` or `dataset`; else
//! all that share the largest shape. Planes of volumes are taken as frames. Signed bytes are read as
//! `int16`, 64-bit integers as `float64`.
//!
//! Memory does not grow with the number of frames: readers hold a few megabytes beside the caller's
//! buffer and 16 bytes per TIFF page, writers one block of 8 MiB and 8 bytes per frame. Compressed
//! variables of MAT v5 can only be unpacked from their beginning, so reading back starts over.
//!
//! ```
//! use stillframe_image::Shape;
//! use stillframe_io::Existing;
//! use stillframe_io::recording::{
//!     OpenOptions, RecordingFormat, RecordingInfo, SampleType, create, open, resume,
//! };
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let shape = Shape::new(4, 6);
//! let info = RecordingInfo { frames: 3, shape, channels: 2, sample: SampleType::U16 };
//! let format = RecordingFormat::Hdf5;
//! let mut sink = create(folder, "compensated", format, &info, Existing::Refuse)?;
//! sink.append(&vec![7.4; 2 * info.frame_len()])?;
//! sink.sync()?;
//! drop(sink); // a killed run
//!
//! let mut sink = resume(folder, "compensated", format, &info, 2)?;
//! sink.append(&vec![1e9; info.frame_len()])?;
//! sink.finish()?;
//!
//! let recording = open(&[folder.join("compensated.hdf5")], &OpenOptions::default())?;
//! assert_eq!(recording.info(), &info);
//! let mut frames = vec![0.0; 2 * info.frame_len()];
//! recording.read(1..3, &mut frames)?;
//! assert_eq!((frames[0], frames[info.frame_len()]), (7.0, 65535.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axes;
mod discover;
mod error;
mod files;
mod formats;
mod hdf5;
mod mat;
mod npy;
mod samples;
mod sink;
mod sniff;
mod tiff;

use std::ops::Range;
use std::path::{Path, PathBuf};

use stillframe_image::Shape;

pub use error::RecordingError;
pub use formats::{RecordingFormat, create, create_stack, resume, resume_stack, write_table};
pub use npy::write_npy;
pub use samples::SampleType;

use crate::error::ReadErrorKind;
use crate::limits;
use sniff::FileKind;

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

impl OpenOptions {
    /// Refuses an option that says nothing about this kind of file.
    fn check(&self, path: &Path, kind: FileKind) -> Result<(), RecordingError> {
        let is_tiff = kind == FileKind::Tiff;
        let stray = match self {
            Self { dataset_names, .. } if is_tiff && !dataset_names.is_empty() => "dataset_names",
            Self { dimension_ordering: Some(_), .. } if is_tiff => "dimension_ordering",
            Self { deinterleave: Some(_), .. } if !is_tiff => "deinterleave",
            _ => return Ok(()),
        };
        let needed = if is_tiff { "HDF5 and MAT files" } else { "TIFF files" };
        let found = format!("this file with the option {stray}");
        Err(RecordingError::unsupported(path, found, format!("the option is for {needed}")))
    }
}

/// A recording that is being written. Batches are appended in order; at any moment, also when the
/// process is killed, other programs find a sound file with all frames up to the last
/// [`RecordingSink::sync`], or a few more. (MAT v5: with zeros for the frames to come.)
pub trait RecordingSink: Send {
    /// Appends a whole number of frames, planar: `[frame][channel][row][column]`. Integer types are
    /// rounded to the nearest value, ties to even, and saturated; NaN becomes 0.
    ///
    /// # Errors
    /// If `frames` is no whole number of frames, or the disk is full.
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError>;

    /// Hands everything so far to the system: a process killed afterwards leaves a readable file
    /// with these frames. Cheap; the disk itself is waited for in [`RecordingSink::finish`] only.
    ///
    /// # Errors
    /// If the system reports one.
    fn sync(&mut self) -> Result<(), RecordingError>;

    /// Completes the file and waits until it is on the disk. If fewer frames were appended than
    /// announced, it has those.
    ///
    /// # Errors
    /// If the system reports one.
    fn finish(self: Box<Self>) -> Result<(), RecordingError>;
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
    let first = paths.first().ok_or(RecordingError::Nothing)?;
    if paths.len() == 1 && first.is_dir() {
        return files::open(&files::in_folder(first)?, options);
    }
    files::open(paths, options)
}

fn open_file(
    path: &Path,
    options: &OpenOptions,
) -> Result<Box<dyn RecordingSource>, RecordingError> {
    let kind = sniff::kind_of(path)?;
    options.check(path, kind)?;
    Ok(match kind {
        FileKind::Hdf5(counting) => Box::new(hdf5::Hdf5Source::open(path, counting, options)?),
        FileKind::Tiff => Box::new(tiff::TiffSource::open(path, options)?),
        FileKind::Mat => Box::new(mat::MatSource::open(path, options)?),
    })
}

/// Most channels of a recording. Hyperspectral microscopes have some hundred.
const MAX_CHANNELS: usize = 4096;

/// Most frames: nine days at 1 kHz, with room.
const MAX_FRAMES: usize = 1 << 30;

fn check_info(path: &Path, info: &RecordingInfo) -> Result<(), RecordingError> {
    let too_large = |what, found: usize, limit: u64| {
        let kind = ReadErrorKind::TooLarge { what, found: found as u64, limit };
        if found as u64 > limit { Err(RecordingError::read(path, kind)) } else { Ok(()) }
    };
    let Shape { height, width } = info.shape;
    if info.frames == 0 || info.channels == 0 || info.shape.is_empty() {
        let found = format!("{} frames of {height} × {width}", info.frames);
        return Err(RecordingError::unsupported(path, found, "at least one pixel is needed"));
    }
    too_large("the number of rows", height, limits::MAX_SIDE)?;
    too_large("the number of columns", width, limits::MAX_SIDE)?;
    too_large("the number of pixels", info.shape.len(), limits::MAX_PIXELS)?;
    too_large("the number of channels", info.channels, MAX_CHANNELS as u64)?;
    too_large("the number of samples of a frame", info.frame_len(), limits::MAX_PIXELS)?;
    too_large("the number of frames", info.frames, MAX_FRAMES as u64)
}

fn check_read(
    info: &RecordingInfo,
    frames: &Range<usize>,
    out: &[f32],
) -> Result<(), RecordingError> {
    if frames.start > frames.end || frames.end > info.frames {
        return Err(RecordingError::OutOfRange { frames: frames.clone(), found: info.frames });
    }
    let needed = frames.len() * info.frame_len();
    if out.len() != needed {
        return Err(RecordingError::BadBuffer { found: out.len(), needed: needed.to_string() });
    }
    Ok(())
}
