//! Why a run did not give a result.

use std::path::PathBuf;

use stillframe_io::{ReadError, WriteError};
use stillframe_runtime::plan::PlanError;

/// Why there is no result. A bad frame is an outcome in the report, not an error of the run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The recipe cannot be met by these inputs.
    #[error("{0}")]
    Recipe(String),
    /// The inputs cannot be found or are no burst.
    #[error("{0}")]
    Inputs(String),
    /// Fewer frames are left than the recipe asks for.
    #[error(
        "{usable} of {given} frames can be used, at least {needed} are needed ({first_reason})"
    )]
    TooFewFrames {
        /// Frames that are left.
        usable: usize,
        /// Frames that were given.
        given: usize,
        /// What the recipe asks for.
        needed: usize,
        /// The first lost frame and why.
        first_reason: String,
    },
    /// A calibration file is no use.
    #[error("{kind} {path:?}: {reason}")]
    Calibration {
        /// bias, dark or flat.
        kind: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The plan does not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A frame that was readable no longer is.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The output folder cannot be used.
    #[error("output folder {path:?}: {reason}")]
    Output {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A unit of work failed for good.
    #[error("{0}")]
    Unit(String),
    /// The run was cancelled; `--resume` goes on from the last finished pass.
    #[error("interrupted; the finished passes are kept, --resume goes on from there")]
    Interrupted,
    /// A bug.
    #[error("internal error: {0}; this is a bug, please report it")]
    Internal(String),
}
