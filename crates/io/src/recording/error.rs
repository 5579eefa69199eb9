//! What can be wrong with a recording.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{ReadError, ReadErrorKind, WriteError, WriteErrorKind};

/// A recording that could not be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A file that could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file that could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No file was named.
    #[error("no recording is named; give a file, a folder with one file per channel, or a list")]
    Nothing,
    /// A folder without a recording.
    #[error(
        "{path:?}: none of the {n_entries} entries of the folder is a recording (.h5, .hdf5, .hdf, \
         .tif, .tiff, .mat); folders inside it are not searched"
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// Entries of the folder.
        n_entries: usize,
    },
    /// Files that should be the channels or frames of one recording differ.
    #[error(
        "{path:?} has {found}, but {first:?} has {needed}; the files of one recording must agree"
    )]
    FilesDiffer {
        /// The file that does not fit.
        path: PathBuf,
        /// What it has.
        found: String,
        /// The file that it is compared with.
        first: PathBuf,
        /// What that one has.
        needed: String,
    },
    /// Frames beyond the end were asked for.
    #[error("frames {frames:?} were asked for, but the recording has {found}")]
    OutOfRange {
        /// Frames asked for.
        frames: Range<usize>,
        /// Frames that there are.
        found: usize,
    },
    /// A buffer that does not hold what is asked for, or no whole number of frames.
    #[error("a buffer of {found} samples was given; {needed} are needed")]
    BadBuffer {
        /// Samples of the buffer.
        found: usize,
        /// What it must hold.
        needed: String,
    },
    /// A format that cannot hold this recording.
    #[error("{format} cannot hold {found}; {remedy}")]
    CannotHold {
        /// The format.
        format: &'static str,
        /// What should be written.
        found: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A file that cannot be continued.
    #[error("{path:?} cannot be continued: {reason}; start the run again without --resume")]
    NotResumable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl RecordingError {
    pub(crate) fn read(path: &Path, kind: impl Into<ReadErrorKind>) -> Self {
        Self::Read(kind.into().at(path))
    }

    pub(crate) fn write(path: &Path, kind: impl Into<WriteErrorKind>) -> Self {
        Self::Write(kind.into().at(path))
    }

    /// A form that is not read: what it is, and what can be read or which option to give.
    pub(crate) fn unsupported(
        path: &Path,
        found: impl Into<String>,
        needed: impl Into<String>,
    ) -> Self {
        let kind = ReadErrorKind::UnsupportedLayout { found: found.into(), needed: needed.into() };
        Self::read(path, kind)
    }

    /// A structure that breaks the rules of its format.
    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::read(path, ReadErrorKind::header(reason))
    }

    pub(crate) fn not_resumable(path: &Path, reason: impl Into<String>) -> Self {
        Self::NotResumable { path: path.to_path_buf(), reason: reason.into() }
    }
}
