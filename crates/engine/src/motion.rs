//! `motion`: a 2-photon recording in, the same recording held still.
//!
//! Every frame is brought to the range of the reference, smoothed, registered to the reference by a
//! dense displacement, and sampled where that points. Frames do not depend on each other, except
//! where the recipe carries something from batch to batch, so they are the units of work.

mod alpha;
mod array;
mod backend;
mod batches;
mod error;
mod estimator;
mod files;
mod frame;
mod job;
mod phase;
mod prepare;
mod preview;
mod record;
mod reference;
mod report;
mod run;
mod source;
mod spec;

pub use alpha::AlphaChoice;
pub use array::{Callbacks, Compensated, Compensation, compensate};
pub use backend::{BACKENDS, BackendInfo, Displacement};
pub use error::MotionError;
pub use job::MotionJob;
pub(crate) use phase::{Job, with_job};
pub use record::{FrameRecord, MotionFlag};
pub use report::{MotionReport, MotionSummary};
pub use run::{MotionOutcome, run};
pub use source::MemoryRecording;
