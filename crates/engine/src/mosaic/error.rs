//! Why a run did not give a mosaic.

use std::path::PathBuf;

use stillframe_io::WriteError;
use stillframe_io::wcs::{GridHeaderError, WcsError};

use crate::stack::StackError;

/// Why there is no mosaic. A bad image is an outcome in the report, not an error of the run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MosaicError {
    /// What the passes that are shared with `stack` have to say: inputs, calibration, plan, files.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The grid header cannot be read.
    #[error("grid header {path:?}: {reason}")]
    GridFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The grid header is none.
    #[error("grid header {path:?}: {source}")]
    Grid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: GridHeaderError,
    },
    /// No grid can be made for these images.
    #[error("{0}")]
    NoGrid(String),
    /// An image's celestial system cannot be brought to that of the grid.
    #[error("{path:?}: {source}")]
    Frames {
        /// The image.
        path: PathBuf,
        /// Why.
        source: WcsError,
    },
}
