//! `motion`: a 2-photon recording in, the same recording held still.
//!
//! Every frame is brought to the range of the reference, smoothed, registered to the reference by a
//! dense displacement, and sampled where that points. Frames do not depend on each other, except
//! where the recipe carries something from batch to batch, so they are the units of work.

mod alpha;
mod array;
mod backend;
mod batches;
mod chunks;
mod error;
mod estimator;
mod files;
mod frame;
mod job;
mod live;
mod phase;
mod prepare;
mod preview;
mod record;
mod reference;
mod report;
mod run;
mod session;
mod source;
mod spec;
mod status;
mod steps;
mod z_align;

pub use alpha::AlphaChoice;
pub use array::{
    Callbacks, Compensated, Compensation, FrameCallback, ProgressCallback, compensate,
};
pub use backend::{BACKENDS, BackendInfo, Displacement};
pub(crate) use chunks::{SideJob, with_side_job};
pub use error::MotionError;
pub use job::MotionJob;
pub use live::{Live, LiveFrame, LiveReference, LiveUpdate};
pub(crate) use phase::{Job, with_job};
pub use record::{FrameRecord, MotionFlag};
pub use report::{MotionReport, MotionSummary};
pub use run::{MotionOutcome, run};
pub use session::{SessionJob, SessionOutcome, SessionPart, run_session};
pub use source::MemoryRecording;
pub use steps::Setting;
pub use z_align::{ZAlignJob, ZAlignOutcome, run_z_align};
