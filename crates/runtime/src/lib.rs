//! What the machine has, how much of it may be used, and in which order work runs.
//!
//! Bytes and indices, never pixels. The engine describes a heavy [`Phase`] (how many units, what
//! each holds, what to do with one), asks [`plan()`] for a [`ParallelPlan`] and calls [`run_phase`]:
//! units are admitted in index order within the budget, worked on wherever the executor says, and
//! committed in index order by the calling thread, so that neither workers nor budget nor executor
//! can change a bit of the result.
//!
//! Only this crate starts threads and processes, and only this crate reads clocks.
#![forbid(unsafe_code)]

pub mod budget;
pub mod cancel;
pub mod capabilities;
pub mod clock;
pub mod event_log;
pub mod executor;
pub mod observe;
pub mod ordered;
pub mod phase;
pub mod plan;
mod processes;
pub mod scratch;
pub mod telemetry;
pub mod usage;
pub mod worker;

pub use budget::{Budget, format_bytes, parse_bytes};
pub use cancel::Cancel;
pub use capabilities::{Capabilities, Device};
pub use clock::Stopwatch;
pub use event_log::EventLog;
pub use executor::{ExecutorKind, Registry, WorkerCommand};
pub use observe::{Event, Fanout, Observer, Silent};
pub use ordered::{Need, map_ordered};
pub use phase::{Achieved, Context, Phase, RunError, UnitResult, run_phase};
pub use plan::{
    ParallelPlan, PhaseKind, PhaseRequest, PlanError, PlannedUnit, Resources, Spool, UnitRule, plan,
};
pub use scratch::ScratchFolder;
pub use telemetry::Telemetry;
