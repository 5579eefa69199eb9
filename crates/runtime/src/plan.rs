//! How many workers, how large a unit, and whether to spool: a pure function of what a phase needs,
//! what the user allows and what the machine has.
//!
//! The plan is scheduling: nothing in it may change a bit of the result.

mod choose;
mod fit;
mod summary;
mod units;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::capabilities::Capabilities;
use crate::executor::{ExecutorError, ExecutorKind, Registry};

pub use choose::plan;
pub(crate) use fit::admitted_need;
pub use summary::PlanSummary;
pub use units::{PlannedUnit, UnitRule};

/// Most bytes that one unit may hold, however large the machine is.
///
/// Larger units would not run faster (the admission of one costs microseconds, and 48 MiB is past
/// the cache of a core anyway), but memory would grow with every frame that is added to a pixel's
/// column of samples. With it, more frames give smaller units instead.
pub const UNIT_CAP_BYTES: u64 = 48 << 20;

/// Name of a kind of phase. Pipelines may make their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhaseKind(Cow<'static, str>);

impl PhaseKind {
    /// Calibration masters of a stack; unit = a band of rows.
    pub const STACK_MASTERS: Self = Self::new("stack_masters");
    /// First pass over the frames of a stack; unit = a frame.
    pub const STACK_MEASURE: Self = Self::new("stack_measure");
    /// Star matching of a stack; unit = a frame.
    pub const STACK_MATCH: Self = Self::new("stack_match");
    /// Local registration of a stack; unit = a tile block.
    pub const STACK_TILES: Self = Self::new("stack_tiles");
    /// Warp, rejection and combination of a stack; unit = a square block.
    pub const STACK_COMBINE: Self = Self::new("stack_combine");
    /// Registration of a recording; unit = a frame.
    pub const MOTION_FRAMES: Self = Self::new("motion_frames");
    /// Master tiles of a mosaic; unit = a band of a group.
    pub const MOSAIC_TILES: Self = Self::new("mosaic_tiles");
    /// Photometric overlaps of a mosaic; unit = a pair.
    pub const MOSAIC_OVERLAPS: Self = Self::new("mosaic_overlaps");
    /// Final assembly of a mosaic; unit = an output band.
    pub const MOSAIC_COMBINE: Self = Self::new("mosaic_combine");

    /// A kind of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a phase asks of the planner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRequest {
    /// The kind of phase.
    pub kind: PhaseKind,
    /// How the phase may be cut into units, and what each holds.
    pub units: UnitRule,
    /// Bytes that are held for the whole phase whatever the workers (masters, accumulators). Worker
    /// processes hold them once each.
    pub shared_bytes: u64,
    /// Number of frames that take part; for the log only, bytes per unit say what it costs.
    pub n_frames: usize,
    /// How the phase would run with its data in mapped scratch; `None` if it cannot.
    pub spool: Option<Spool>,
    /// Executors that the phase can live with.
    pub executors: Vec<ExecutorKind>,
}

/// The same phase with some of its data in mapped scratch files instead of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spool {
    /// What the scratch files take on disk, in bytes.
    pub scratch_bytes: u64,
    /// The units then; usually the same cut with fewer bytes.
    pub units: UnitRule,
    /// Bytes that stay in memory for the whole phase.
    pub shared_bytes: u64,
}

impl PhaseRequest {
    /// A phase that shares nothing, spools nothing and runs on any executor.
    pub fn new(kind: PhaseKind, units: UnitRule) -> Self {
        Self {
            kind,
            units,
            shared_bytes: 0,
            n_frames: 0,
            spool: None,
            executors: ExecutorKind::ALL.to_vec(),
        }
    }
}

/// Everything that may only change time and memory. Never hashed, never part of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The executor that was asked for.
    pub executor: Option<ExecutorKind>,
    /// The number of workers that was asked for.
    pub workers: Option<NonZeroUsize>,
    /// The budget that was asked for, in bytes.
    pub memory_bytes: Option<u64>,
    /// Free bytes where scratch files would go, if known.
    pub scratch_free_bytes: Option<u64>,
    /// Executors that can be used in this process.
    pub registry: Registry,
}

impl Default for Resources {
    /// Nothing asked for; executors without a worker command.
    fn default() -> Self {
        Self {
            executor: None,
            workers: None,
            memory_bytes: None,
            scratch_free_bytes: None,
            registry: Registry::in_process(),
        }
    }
}

/// How a phase will run. See [`plan()`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParallelPlan {
    /// The kind of phase.
    pub kind: PhaseKind,
    /// Where the units run.
    pub executor: ExecutorKind,
    /// Units that are worked on at the same time, at least 1.
    pub workers: usize,
    /// Size of a unit.
    pub unit: PlannedUnit,
    /// Number of units.
    pub n_units: usize,
    /// Number of frames that take part.
    pub n_frames: usize,
    /// What the largest unit holds while it is worked on, beside its result, in bytes.
    pub work_bytes: u64,
    /// What the result of the largest unit holds until it is committed, in bytes.
    pub result_bytes: u64,
    /// What is held for the whole phase, in bytes, all processes together.
    pub shared_bytes: u64,
    /// What units and results may hold together: the limit of admission, in bytes.
    pub admission_bytes: u64,
    /// Predicted peak: `shared_bytes + admission_bytes`; at most `budget`.
    pub peak_bytes: u64,
    /// The limit that was planned for.
    pub budget: Budget,
    /// Whether the phase shall keep its data in mapped scratch.
    pub use_spool: bool,
    /// What the scratch files take then, in bytes; else 0.
    pub spool_bytes: u64,
    /// What is done differently from what was asked, and why.
    pub warnings: Vec<String>,
}

/// Why a phase cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The smallest unit does not fit.
    #[error(
        "{kind} needs at least {} of memory ({} held throughout, {} for one unit), but the budget \
         is {budget}; give it more (--memory {}) or use fewer or smaller frames",
        crate::budget::format_bytes(*.need_bytes),
        crate::budget::format_bytes(*.shared_bytes),
        crate::budget::format_bytes(.need_bytes - .shared_bytes),
        remedy(*.need_bytes)
    )]
    BudgetTooSmall {
        /// The kind of phase.
        kind: PhaseKind,
        /// The least with which it can run, in bytes.
        need_bytes: u64,
        /// What of it is held for the whole phase, in bytes.
        shared_bytes: u64,
        /// What may be used.
        budget: Budget,
    },
    /// It would fit with mapped scratch files, but there is no room for them.
    #[error(
        "{kind} needs {} of memory or {} of scratch space, but the budget is {budget} and only {} \
         are free; give it more memory (--memory {}) or free some space",
        crate::budget::format_bytes(*.need_bytes),
        crate::budget::format_bytes(*.scratch_bytes),
        crate::budget::format_bytes(*.free_bytes),
        remedy(*.need_bytes)
    )]
    ScratchTooSmall {
        /// The kind of phase.
        kind: PhaseKind,
        /// The least with which it can run without scratch files, in bytes.
        need_bytes: u64,
        /// What the scratch files take, in bytes.
        scratch_bytes: u64,
        /// What is free, in bytes.
        free_bytes: u64,
        /// What may be used.
        budget: Budget,
    },
    /// No executor that the phase supports can be used.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// `bytes` rounded up to whole MiB, as `--memory` takes it.
fn remedy(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}

/// Logical cores that a phase uses unless the user gives a number: all of three or fewer, else nine
/// tenths rounded down, which is 75-90 % and leaves at least one core for the commit and for people.
fn default_workers(capabilities: &Capabilities) -> usize {
    match capabilities.logical_cores.max(1) {
        few @ 1..=3 => few,
        cores => cores * 9 / 10,
    }
}
