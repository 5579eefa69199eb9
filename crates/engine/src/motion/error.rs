//! Why a recording was not registered.

use std::path::PathBuf;

use stillframe_io::WriteError;
use stillframe_io::recording::RecordingError;
use stillframe_kernels::register::flow::FlowError;
use stillframe_runtime::executor::ExecutorError;
use stillframe_runtime::plan::PlanError;

use crate::runner::PhaseFailure;

/// Why there is no registered recording, or only a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MotionError {
    /// The recipe cannot be met by this recording.
    #[error("{0}")]
    Recipe(String),
    /// The recording or its reference is no use.
    #[error("{0}")]
    Inputs(String),
    /// A recording cannot be read or written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A parameter of the flow is out of its range.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// No executor can be used.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The plan does not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
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
    /// Frames could not be registered for good.
    #[error("frames from {first}: {reason}")]
    Frames {
        /// The first of them.
        first: usize,
        /// Why.
        reason: String,
    },
    /// The run was cancelled; `--resume` goes on after the last finished batch.
    #[error("interrupted; the finished batches are kept, --resume goes on from there")]
    Interrupted,
    /// A bug.
    #[error("internal error: {0}; this is a bug, please report it")]
    Internal(String),
}

impl From<PhaseFailure<Self>> for MotionError {
    fn from(failure: PhaseFailure<Self>) -> Self {
        match failure {
            PhaseFailure::Commit(error) => error,
            PhaseFailure::Interrupted => Self::Interrupted,
            PhaseFailure::Internal(message) => Self::Internal(message),
        }
    }
}
