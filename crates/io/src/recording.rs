//! Recordings: series of frames of one or more channels in one file, or one file per channel.
//!
//! [`open`] reads HDF5, TIFF and MAT files; [`create`] and [`resume`] write them batch by batch.
//! Pixels are handed over as `f32`, planar: `[frame][channel][row][column]`. 32-bit integers and
//! 64-bit floats are rounded to `f32`, which holds whole numbers up to 2²⁴ exactly.

mod axes;
mod discover;
mod error;
mod files;
mod hdf5;
mod mat;
mod samples;
mod sink;
mod sniff;
mod tiff;

use std::ops::Range;
use std::path::{Path, PathBuf};

use stillframe_image::Shape;

pub use error::RecordingError;
pub use samples::SampleType;

use crate::error::ReadErrorKind;
use crate::{Existing, limits};
use hdf5::{Hdf5Sink, Stack};
use mat::MatSink;
use sniff::FileKind;
use tiff::TiffSink;

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
    Ok(match sniff::kind_of(path)? {
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
    begin(folder, stem, format, info, Start::New(existing))
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
    begin(folder, stem, format, info, Start::After(frames_done))
}

/// Starts an HDF5 file of several stacks of frames × rows × columns, one dataset per name and
/// channel of `info`: displacement fields are `["u", "v"]` in `f32`, valid masks `["idx"]` in `u8`
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
    hdf5_sink(path, names, info, Stack::Plain, Start::New(existing))
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
    hdf5_sink(path, names, info, Stack::Plain, Start::After(frames_done))
}

/// Writes columns of numbers, such as one per frame, as one-dimensional `float64` datasets of an
/// HDF5 file; whole or not at all.
///
/// # Errors
/// If the file exists and may not be replaced, or cannot be written.
pub fn write_table(
    path: &Path,
    columns: &[(&str, &[f64])],
    existing: Existing,
) -> Result<(), RecordingError> {
    hdf5::table(path, columns, existing)
}

/// How a sink begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    New(Existing),
    After(usize),
}

fn begin(
    folder: &Path,
    stem: &str,
    format: RecordingFormat,
    info: &RecordingInfo,
    start: Start,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let names = format.file_names(stem, info.channels);
    if format.is_multifile() {
        let one = RecordingInfo { channels: 1, ..info.clone() };
        let sinks = names.iter().map(|name| begin_file(&folder.join(name), format, &one, start));
        let sinks = sinks.collect::<Result<_, _>>()?;
        return Ok(Box::new(sink::Multifile { info: info.clone(), sinks }));
    }
    begin_file(&folder.join(&names[0]), format, info, start)
}

fn begin_file(
    path: &Path,
    format: RecordingFormat,
    info: &RecordingInfo,
    start: Start,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    use RecordingFormat as Format;
    let numbered: Vec<String> = (1..=info.channels).map(|c| format!("ch{c}")).collect();
    let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
    match format {
        Format::Hdf5 | Format::MultifileHdf5 => {
            hdf5_sink(path, &numbered, info, Stack::Recording, start)
        }
        Format::CaimanHdf5 => hdf5_sink(path, &["mov"], info, Stack::Recording, start),
        Format::Tiff | Format::MultifileTiff => tiff_sink(path, info, info.channels, start),
        Format::Suite2pTiff => tiff_sink(path, info, 1, start),
        Format::Mat | Format::MultifileMat if mat::fits_v5(info) => Ok(Box::new(match start {
            Start::New(existing) => MatSink::create(path, info, existing)?,
            Start::After(done) => MatSink::resume(path, info, done)?,
        })),
        Format::Mat | Format::MultifileMat => hdf5_sink(path, &numbered, info, Stack::Mat, start),
    }
}

fn hdf5_sink(
    path: &Path,
    names: &[&str],
    info: &RecordingInfo,
    stack: Stack,
    start: Start,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    let info = &RecordingInfo { channels: names.len(), ..info.clone() };
    let names: Vec<String> = names.iter().map(|&n| n.into()).collect();
    Ok(Box::new(match start {
        Start::New(existing) => Hdf5Sink::create(path, &names, info, stack, existing)?,
        Start::After(done) => Hdf5Sink::resume(path, &names, info, stack, done)?,
    }))
}

fn tiff_sink(
    path: &Path,
    info: &RecordingInfo,
    samples: usize,
    start: Start,
) -> Result<Box<dyn RecordingSink>, RecordingError> {
    Ok(Box::new(match start {
        Start::New(existing) => TiffSink::create(path, info, samples, existing)?,
        Start::After(done) => TiffSink::resume(path, info, samples, done)?,
    }))
}
