//! The formats that are written, and what begins them.

use std::path::Path;

use super::hdf5::{self, Hdf5Sink, Stack};
use super::mat::{self, MatSink};
use super::sink::Multifile;
use super::tiff::TiffSink;
use super::{RecordingError, RecordingInfo, RecordingSink};
use crate::Existing;

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

/// Starts the files of a recording in `folder` (see [`RecordingFormat::file_names`]), under their own
/// names, so that they can be looked at while they grow. `info.frames` is the expected number of
/// frames, 0 if it is not known; the files hold what is appended.
///
/// MAT files are v5; of unknown length, or with variables of 2 GiB and more, v7.3.
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
        return Ok(Box::new(Multifile { info: info.clone(), sinks }));
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
