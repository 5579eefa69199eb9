//! What can be wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

/// A file that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path:?}: {kind}")]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ReadErrorKind,
}

/// What is wrong with a file that should be read. The messages do not name the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// The system refuses to read it.
    #[error("cannot be read: {source}")]
    Unreadable {
        /// The system's reason.
        source: io::Error,
    },
    /// It has no bytes.
    #[error("the file is empty (0 bytes); copy it again from where it came")]
    Empty,
    /// It is another kind of file.
    #[error("not a FITS file: {looks_like}")]
    NotFits {
        /// What it seems to be, and the remedy.
        looks_like: String,
    },
    /// It ends before its data do.
    #[error(
        "the file is cut off: {found} bytes found, {needed} needed; copy it again from where it came"
    )]
    Truncated {
        /// Bytes in the file (unpacked, if it is compressed).
        found: u64,
        /// Bytes that its headers ask for.
        needed: u64,
    },
    /// A header breaks the rules so that the data cannot be found.
    #[error("damaged header: {reason}")]
    BadHeader {
        /// Which card, what it says, what was expected.
        reason: String,
    },
    /// It is sound FITS, but there is no image in it.
    #[error("no image in the file: {found}")]
    NoImage {
        /// What is in it instead.
        found: String,
    },
    /// The image has a form that is not read.
    #[error("{found} cannot be read; {needed}")]
    UnsupportedLayout {
        /// The form found.
        found: String,
        /// The forms that can be read, or the option to give.
        needed: String,
    },
    /// The image is larger than [`crate::limits`] allow.
    #[error("{what} is {found}, at most {limit} is read: the header is probably damaged")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The compressed data do not unpack.
    #[error("the compressed data are damaged: {reason}; copy the file again from where it came")]
    BadCompression {
        /// What the decoder says.
        reason: String,
    },
    /// The file is no longer the one that was opened.
    #[error("the file was changed while it was in use; start the run again")]
    Changed,
}

impl ReadErrorKind {
    /// A short name for reports that does not change between versions: `truncated`, `not_fits`, …
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unreadable { .. } => "unreadable",
            Self::Empty => "empty",
            Self::NotFits { .. } => "not_fits",
            Self::Truncated { .. } => "truncated",
            Self::BadHeader { .. } => "bad_header",
            Self::NoImage { .. } => "no_image",
            Self::UnsupportedLayout { .. } => "unsupported_layout",
            Self::TooLarge { .. } => "too_large",
            Self::BadCompression { .. } => "bad_compression",
            Self::Changed => "changed",
        }
    }

    pub(crate) fn header(reason: impl Into<String>) -> Self {
        Self::BadHeader { reason: reason.into() }
    }

    pub(crate) fn at(self, path: &Path) -> ReadError {
        ReadError { path: path.to_path_buf(), kind: self }
    }
}

impl From<io::Error> for ReadErrorKind {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Unreadable { source },
        }
    }
}

/// A file or folder that could not be written, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path:?}: {kind}")]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What went wrong.
    pub kind: WriteErrorKind,
}

/// Why a file could not be written. The messages do not name the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteErrorKind {
    /// The disk is full.
    #[error("the disk is full; free some space or choose another folder")]
    DiskFull,
    /// There is not enough space for what is about to be written.
    #[error("{needed} bytes are needed, {free} are free; free some space or choose another folder")]
    NotEnoughSpace {
        /// Bytes to be written.
        needed: u64,
        /// Bytes free for this user.
        free: u64,
    },
    /// The folder or file may not be written to.
    #[error("no permission to write here; choose another folder")]
    ReadOnly,
    /// The folder in which the file should appear does not exist.
    #[error("the folder does not exist; create it first")]
    NoFolder,
    /// The result is there already.
    #[error("exists already; give --overwrite to replace it")]
    Exists,
    /// Writing would replace an input.
    #[error("is an input of this run and would be overwritten; choose another output folder")]
    IsInput,
    /// Something that is not a folder is in the way.
    #[error("is not a folder; choose another name")]
    NotAFolder,
    /// A header card has a form that FITS cannot hold.
    #[error("header card {key:?} cannot be written: {reason}")]
    BadCard {
        /// Its keyword.
        key: String,
        /// Why not.
        reason: &'static str,
    },
    /// The planes of one image differ in shape, or there are not 1 or 3 of them.
    #[error("{found} cannot be written as one image; one plane or three of the same shape needed")]
    BadPlanes {
        /// What was given.
        found: String,
    },
    /// An image got fewer or more pixels than its shape has.
    #[error("{found} pixels were given for an image of {needed}")]
    Incomplete {
        /// Pixels given.
        found: usize,
        /// Pixels of the shape.
        needed: usize,
    },
    /// The PNG encoder refused.
    #[error("the PNG encoder failed: {reason}")]
    Png {
        /// What it says.
        reason: String,
    },
    /// Anything else that the system reports.
    #[error("cannot be written: {source}")]
    Other {
        /// The system's reason.
        source: io::Error,
    },
}

impl WriteErrorKind {
    pub(crate) fn at(self, path: &Path) -> WriteError {
        WriteError { path: path.to_path_buf(), kind: self }
    }
}

impl From<io::Error> for WriteErrorKind {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::NotFound => Self::NoFolder,
            io::ErrorKind::NotADirectory => Self::NotAFolder,
            io::ErrorKind::AlreadyExists => Self::Exists,
            _ => Self::Other { source },
        }
    }
}
