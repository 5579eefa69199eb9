//! The plan as it stands in the log.

use serde::{Deserialize, Serialize};

use super::{ParallelPlan, PlannedUnit};
use crate::executor::ExecutorKind;

/// The event `parallel_plan_summary`: one flat record for each heavy phase, with every field
/// present, so that it can be read as a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The kind of phase.
    pub phase: String,
    /// Where the units run.
    pub executor: ExecutorKind,
    /// Units that are worked on at the same time.
    pub cpu_workers: usize,
    /// Number of units.
    pub n_units: usize,
    /// Number of frames that take part.
    pub n_frames: usize,
    /// What one unit and its result hold, in bytes.
    pub max_chunk_bytes: u64,
    /// Rows of a unit, if units are bands.
    pub rows_per_chunk: Option<usize>,
    /// Side of a unit in pixels, if units are blocks.
    pub block_side: Option<usize>,
    /// Tiles in a unit, if units are blocks.
    pub tiles_per_chunk: Option<usize>,
    /// Whether data are kept in mapped scratch files.
    pub use_memmap: bool,
    /// What the scratch files take, in bytes.
    pub spool_bytes: u64,
    /// What is held for the whole phase, in bytes.
    pub shared_bytes: u64,
    /// Predicted peak, in bytes.
    pub peak_bytes: u64,
    /// The limit, in bytes.
    pub budget_bytes: u64,
    /// Whether a device is used; none is yet.
    pub use_gpu: bool,
    /// Rows of a unit on a device.
    pub gpu_rows_per_chunk: Option<usize>,
    /// Bytes of a unit on a device.
    pub gpu_max_chunk_bytes: Option<u64>,
}

impl ParallelPlan {
    /// The plan as it stands in the log.
    pub fn summary(&self) -> PlanSummary {
        let (rows_per_chunk, block_side, tiles_per_chunk) = match self.unit {
            PlannedUnit::Frame => (None, None, None),
            PlannedUnit::Rows { rows } => (Some(rows), None, None),
            PlannedUnit::Block { side, tiles } => (None, Some(side), Some(tiles)),
        };
        PlanSummary {
            phase: self.kind.name().to_owned(),
            executor: self.executor,
            cpu_workers: self.workers,
            n_units: self.n_units,
            n_frames: self.n_frames,
            max_chunk_bytes: self.work_bytes.saturating_add(self.result_bytes),
            rows_per_chunk,
            block_side,
            tiles_per_chunk,
            use_memmap: self.use_spool,
            spool_bytes: self.spool_bytes,
            shared_bytes: self.shared_bytes,
            peak_bytes: self.peak_bytes,
            budget_bytes: self.budget.bytes,
            use_gpu: false,
            gpu_rows_per_chunk: None,
            gpu_max_chunk_bytes: None,
        }
    }
}
