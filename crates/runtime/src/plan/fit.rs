//! The planner: the largest unit and the most workers that the budget lets.

use super::{
    ParallelPlan, PhaseRequest, PlanError, Resources, UNIT_CAP_BYTES, UnitRule, default_workers,
};
use crate::budget::{Budget, format_bytes};
use crate::capabilities::Capabilities;
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

/// What an idle worker process holds: program, heap, stacks. Measured at 4-9 MiB.
const PROCESS_OVERHEAD_BYTES: u64 = 16 << 20;

/// A way to run the phase that the budget lets.
struct Fit {
    size: usize,
    workers: usize,
    need: Need,
    shared_bytes: u64,
    admission_bytes: u64,
}

/// One way to cut the phase, on one executor.
struct Attempt<'a> {
    rule: &'a UnitRule,
    shared_bytes: u64,
    executor: ExecutorKind,
    wanted_workers: usize,
    budget: Budget,
}

/// How `request` will run with `resources` on a machine with `capabilities`. Pure.
///
/// A unit never holds more than [`UNIT_CAP_BYTES`] unless it cannot be cut that small, and is small
/// enough to give each worker several. If the budget is small, units shrink to their least size
/// first; then there are fewer workers; then the data go to mapped scratch; then threads stand in
/// for processes, which hold more. More memory never gives smaller units or fewer workers with the
/// same use of scratch, and never turns scratch on.
///
/// # Errors
/// [`PlanError`] if the smallest unit does not fit, or no executor can be used.
///
/// # Examples
/// ```
/// use stillframe_runtime::{Capabilities, PhaseKind, PhaseRequest, Resources, UnitRule, plan};
///
/// let units = UnitRule::Frames { count: 60, work_bytes: 40 << 20, result_bytes: 1000 };
/// let request = PhaseRequest::new(PhaseKind::STACK_MEASURE, units);
/// let machine = Capabilities {
///     logical_cores: 8,
///     physical_cores: 4,
///     total_memory_bytes: 16 << 30,
///     available_memory_bytes: 12 << 30,
///     devices: Vec::new(),
/// };
/// let plan = plan(&request, &Resources::default(), &machine)?;
/// assert_eq!((plan.workers, plan.n_units), (7, 60));
/// assert!(plan.peak_bytes < 300 << 20);
/// # Ok::<(), stillframe_runtime::PlanError>(())
/// ```
pub fn plan(
    request: &PhaseRequest,
    resources: &Resources,
    capabilities: &Capabilities,
) -> Result<ParallelPlan, PlanError> {
    let budget = Budget::resolve(resources.memory_bytes, capabilities);
    let wanted = resources.workers.map_or_else(|| default_workers(capabilities), usize::from);
    let backend = request.kind.name();
    let (executor, warning) =
        resources.registry.resolve(resources.executor, backend, &request.executors)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if budget.bytes > capabilities.available_memory_bytes {
        warnings.push(format!(
            "a budget of {budget} was asked for, but only {} of memory are available",
            format_bytes(capabilities.available_memory_bytes)
        ));
    }

    let mut tightest = None;
    for kind in executors_to_try(executor, request, resources) {
        let attempt = |rule, shared_bytes| Attempt {
            rule,
            shared_bytes,
            executor: kind,
            wanted_workers: if kind == ExecutorKind::Sequential { 1 } else { wanted },
            budget,
        };
        let in_memory = attempt(&request.units, request.shared_bytes);
        let spooled = request
            .spool
            .as_ref()
            .map(|spool| (attempt(&spool.units, spool.shared_bytes), spool.scratch_bytes));
        let (fit, rule, spool_bytes) = match choose(&in_memory, spooled, resources) {
            Ok(found) => found,
            Err(error) => {
                tightest = Some(error.with_kind(request));
                continue;
            }
        };
        if kind != executor {
            warnings.push(format!(
                "worker processes need more memory than the budget of {budget}; falling back to \
                 '{kind}'"
            ));
        }
        let n_units = rule.count(fit.size);
        if let Some(asked) = resources.workers
            && kind != ExecutorKind::Sequential
            && fit.workers < usize::from(asked).min(n_units)
        {
            warnings.push(format!(
                "{asked} workers were asked for, but the budget of {budget} has room for {} only",
                fit.workers
            ));
        }
        return Ok(ParallelPlan {
            kind: request.kind.clone(),
            executor: kind,
            workers: fit.workers,
            unit: rule.planned(fit.size),
            n_units,
            n_frames: request.n_frames,
            work_bytes: fit.need.work,
            result_bytes: fit.need.result,
            shared_bytes: fit.shared_bytes,
            admission_bytes: fit.admission_bytes,
            peak_bytes: fit.shared_bytes + fit.admission_bytes,
            budget,
            use_spool: spool_bytes.is_some(),
            spool_bytes: spool_bytes.unwrap_or(0),
            warnings,
        });
    }
    // the last executor that was tried needs the least
    Err(tightest.expect("at least the executor that was resolved has been tried"))
}

/// `executor`, and those that need less memory than it and can be used.
fn executors_to_try(
    executor: ExecutorKind,
    request: &PhaseRequest,
    resources: &Resources,
) -> Vec<ExecutorKind> {
    let mut kinds = vec![executor];
    if executor == ExecutorKind::Processes {
        kinds.extend(
            [ExecutorKind::Threads, ExecutorKind::Sequential]
                .into_iter()
                .filter(|kind| resources.registry.has(*kind) && request.executors.contains(kind)),
        );
    }
    kinds
}

/// Why neither way fits.
enum Misfit {
    Budget { need_bytes: u64, shared_bytes: u64, budget: Budget },
    Scratch { need_bytes: u64, scratch_bytes: u64, free_bytes: u64, budget: Budget },
}

impl Misfit {
    fn with_kind(self, request: &PhaseRequest) -> PlanError {
        let kind = request.kind.clone();
        match self {
            Self::Budget { need_bytes, shared_bytes, budget } => {
                PlanError::BudgetTooSmall { kind, need_bytes, shared_bytes, budget }
            }
            Self::Scratch { need_bytes, scratch_bytes, free_bytes, budget } => {
                PlanError::ScratchTooSmall { kind, need_bytes, scratch_bytes, free_bytes, budget }
            }
        }
    }
}

/// In memory if that fits at all, else spooled. Gives the scratch bytes if spooled.
fn choose<'a>(
    in_memory: &Attempt<'a>,
    spooled: Option<(Attempt<'a>, u64)>,
    resources: &Resources,
) -> Result<(Fit, &'a UnitRule, Option<u64>), Misfit> {
    if let Some(fit) = in_memory.fit() {
        return Ok((fit, in_memory.rule, None));
    }
    let budget = in_memory.budget;
    let mut least = in_memory;
    if let Some((spooled, scratch_bytes)) = &spooled {
        if let Some(fit) = spooled.fit() {
            return match resources.scratch_free_bytes {
                Some(free_bytes) if free_bytes < *scratch_bytes => Err(Misfit::Scratch {
                    need_bytes: in_memory.least_bytes(),
                    scratch_bytes: *scratch_bytes,
                    free_bytes,
                    budget,
                }),
                _ => Ok((fit, spooled.rule, Some(*scratch_bytes))),
            };
        }
        if spooled.least_bytes() < in_memory.least_bytes() {
            least = spooled;
        }
    }
    Err(Misfit::Budget {
        need_bytes: least.least_bytes(),
        shared_bytes: least.held_bytes(1),
        budget,
    })
}

impl Attempt<'_> {
    /// The most workers, then the largest unit, that the budget lets.
    fn fit(&self) -> Option<Fit> {
        let sizes = self.rule.sizes();
        let smallest = sizes.smallest();
        let n_smallest = self.rule.count(smallest);
        let wanted = self.wanted_workers.clamp(1, n_smallest.max(1));
        if self.peak_bytes(wanted, smallest) > self.budget.bytes {
            let workers = self.workers_at(smallest)?;
            return Some(self.fitted(workers, smallest));
        }
        let enough_units = self.wanted_workers.saturating_mul(UNITS_PER_WORKER).min(n_smallest);
        let size = sizes.largest(|size| {
            let Need { work, result } = self.rule.need(size);
            work.saturating_add(result) <= UNIT_CAP_BYTES
                && self.rule.count(size) >= enough_units
                && self.peak_bytes(wanted, size) <= self.budget.bytes
        });
        Some(self.fitted(wanted, size.unwrap_or(smallest)))
    }

    /// Workers for units of `size`, if there is room for one.
    fn workers_at(&self, size: usize) -> Option<usize> {
        let room = self.budget.bytes.checked_sub(self.shared_bytes)?;
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
                .min(self.budget.bytes.saturating_sub(shared_bytes)),
        }
    }

    /// Least peak with `workers` on units of `size`: no result waits.
    fn peak_bytes(&self, workers: usize, size: usize) -> u64 {
        let in_work = self.unit_bytes(self.rule.need(size)).saturating_mul(workers as u64);
        self.held_bytes(workers).saturating_add(in_work)
    }

    /// Peak of one worker on the smallest unit.
    fn least_bytes(&self) -> u64 {
        self.peak_bytes(1, self.rule.sizes().smallest())
    }

    /// Held for the whole phase, all processes together.
    fn held_bytes(&self, workers: usize) -> u64 {
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
