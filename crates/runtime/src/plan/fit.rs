//! The largest unit and the most workers that fit, for one way to cut a phase on one executor.

use super::{UNIT_CAP_BYTES, UnitRule};
use crate::executor::ExecutorKind;
use crate::ordered::Need;

/// Units that each worker shall have at least, if they can be made small enough: with four, a
/// worker that is late by a whole unit costs a fifth of the phase at most.
const UNITS_PER_WORKER: usize = 4;

/// Results that may wait for an older unit, per worker, the one in work included: with three, a unit
/// may take three times as long as its neighbours before they must wait for it.
const RESULTS_PER_WORKER: usize = 3;

/// Copies of a result that a worker process needs beside the result itself: its own, the encoded
/// one, the one in the shared file, and the encoded one in the parent.
pub(crate) const PROCESS_RESULT_COPIES: u64 = 4;

/// What a worker process holds beside its units: program, stacks, what the allocator keeps. An idle
/// one was measured at 2.4 MiB; a larger program and its libraries take more.
const PROCESS_OVERHEAD_BYTES: u64 = 16 << 20;

/// A way to run the phase that the budget lets.
pub(super) struct Fit {
    pub(super) size: usize,
    pub(super) workers: usize,
    pub(super) need: Need,
    pub(super) shared_bytes: u64,
    pub(super) admission_bytes: u64,
}

/// One way to cut the phase, on one executor.
pub(super) struct Attempt<'a> {
    pub(super) rule: &'a UnitRule,
    pub(super) shared_bytes: u64,
    pub(super) executor: ExecutorKind,
    pub(super) wanted_workers: usize,
    pub(super) budget_bytes: u64,
}

impl Attempt<'_> {
    /// The most workers, then the largest unit, that the budget lets.
    pub(super) fn fit(&self) -> Option<Fit> {
        let sizes = self.rule.sizes();
        let smallest = sizes.smallest();
        let wanted = self.useful_workers();
        if self.peak_bytes(wanted, smallest) > self.budget_bytes {
            let workers = self.workers_at(smallest)?;
            return Some(self.fitted(workers, smallest));
        }
        let most_units = self.rule.count(smallest);
        let enough_units = self.wanted_workers.saturating_mul(UNITS_PER_WORKER).min(most_units);
        let size = sizes.largest(|size| {
            let Need { work, result } = self.rule.need(size);
            work.saturating_add(result) <= UNIT_CAP_BYTES
                && self.rule.count(size) >= enough_units
                && self.peak_bytes(wanted, size) <= self.budget_bytes
        });
        Some(self.fitted(wanted, size.unwrap_or(smallest)))
    }

    /// Workers if memory is no matter: never more than units.
    pub(super) fn useful_workers(&self) -> usize {
        let most_units = self.rule.count(self.rule.sizes().smallest());
        self.wanted_workers.clamp(1, most_units.max(1))
    }

    /// Workers for units of `size`, if there is room for one.
    fn workers_at(&self, size: usize) -> Option<usize> {
        let room = self.budget_bytes.checked_sub(self.shared_bytes)?;
        let each = self.held_per_worker().saturating_add(self.unit_bytes(self.rule.need(size)));
        let workers = room.checked_div(each)? as usize;
        (workers > 0).then_some(workers)
    }

    fn fitted(&self, workers: usize, size: usize) -> Fit {
        let need = self.rule.need(size);
        let shared_bytes = self.held_bytes(workers);
        let n_results = match self.executor {
            ExecutorKind::Sequential => 1,
            _ => (workers * RESULTS_PER_WORKER).min(self.rule.count(size)).max(workers),
        };
        let in_work = self.unit_bytes(need).saturating_mul(workers as u64);
        let waiting = need.result.saturating_mul((n_results - workers) as u64);
        Fit {
            size,
            workers,
            need,
            shared_bytes,
            admission_bytes: in_work
                .saturating_add(waiting)
                .min(self.budget_bytes.saturating_sub(shared_bytes)),
        }
    }

    /// Least peak with `workers` on units of `size`: no result waits.
    fn peak_bytes(&self, workers: usize, size: usize) -> u64 {
        let in_work = self.unit_bytes(self.rule.need(size)).saturating_mul(workers as u64);
        self.held_bytes(workers).saturating_add(in_work)
    }

    /// Peak of one worker on the smallest unit.
    pub(super) fn least_bytes(&self) -> u64 {
        self.peak_bytes(1, self.rule.sizes().smallest())
    }

    /// Held for the whole phase, all processes together.
    pub(super) fn held_bytes(&self, workers: usize) -> u64 {
        self.shared_bytes.saturating_add(self.held_per_worker().saturating_mul(workers as u64))
    }

    fn held_per_worker(&self) -> u64 {
        match self.executor {
            ExecutorKind::Processes => self.shared_bytes.saturating_add(PROCESS_OVERHEAD_BYTES),
            ExecutorKind::Sequential | ExecutorKind::Threads => 0,
        }
    }

    /// What a unit holds on this executor.
    fn unit_bytes(&self, need: Need) -> u64 {
        let Need { work, result } = admitted_need(self.executor, need);
        work.saturating_add(result)
    }
}

/// What a unit that needs `need` by itself asks for on `executor`.
pub(crate) fn admitted_need(executor: ExecutorKind, need: Need) -> Need {
    let copies = match executor {
        ExecutorKind::Processes => PROCESS_RESULT_COPIES,
        ExecutorKind::Sequential | ExecutorKind::Threads => 0,
    };
    Need { work: need.work.saturating_add(need.result.saturating_mul(copies)), result: need.result }
}
