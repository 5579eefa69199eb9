//! The planner: which executor, in memory or spooled, and what is said about it.

use super::fit::{Attempt, Fit};
use super::{ParallelPlan, PhaseRequest, PlanError, Resources, UnitRule, default_workers};
use crate::budget::{Budget, format_bytes};
use crate::capabilities::Capabilities;
use crate::executor::ExecutorKind;

/// How `request` will run with `resources` on a machine with `capabilities`. Pure.
///
/// A unit never holds more than [`UNIT_CAP_BYTES`](super::UNIT_CAP_BYTES) unless it cannot be cut that small, and is small
/// enough to give each worker several. If the budget is small, units shrink to their least size
/// first; then the data go to mapped scratch; then there are fewer workers; then threads stand in
/// for processes, which hold more. More memory never means fewer workers, nor more use of scratch,
/// nor (with the same use of scratch) smaller units.
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
    let planner = Planner {
        request,
        resources,
        budget,
        wanted_workers: resources
            .workers
            .map_or_else(|| default_workers(capabilities), usize::from),
    };
    let (resolved, warning) =
        resources.registry.resolve(resources.executor, request.kind.name(), &request.executors)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if budget.bytes > capabilities.available_memory_bytes {
        warnings.push(format!(
            "a budget of {budget} was asked for, but only {} of memory are available",
            format_bytes(capabilities.available_memory_bytes)
        ));
    }
    let (executor, choice) = planner.choose_executor(resolved);
    let choice = choice?;
    if executor != resolved {
        warnings.push(format!(
            "'{resolved}' needs more memory than the budget of {budget}. Falling back to \
             '{executor}'."
        ));
    }
    warnings.extend(planner.fewer_workers(executor, &choice));
    Ok(planner.describe(executor, &choice, warnings))
}

/// What is the same for every executor.
struct Planner<'a> {
    request: &'a PhaseRequest,
    resources: &'a Resources,
    budget: Budget,
    wanted_workers: usize,
}

/// What was chosen on one executor.
struct Choice<'a> {
    fit: Fit,
    rule: &'a UnitRule,
    /// Size of the scratch files, if the data go there.
    spool_bytes: Option<u64>,
}

impl<'a> Planner<'a> {
    /// The choice on `resolved`; if nothing fits there, on an executor that holds less.
    fn choose_executor(
        &self,
        resolved: ExecutorKind,
    ) -> (ExecutorKind, Result<Choice<'a>, PlanError>) {
        let lighter: &[ExecutorKind] = match resolved {
            ExecutorKind::Processes => &[ExecutorKind::Threads, ExecutorKind::Sequential],
            ExecutorKind::Threads | ExecutorKind::Sequential => &[],
        };
        let is_usable = |kind: &&ExecutorKind| {
            self.resources.registry.has(**kind) && self.request.executors.contains(*kind)
        };
        let mut chosen = (resolved, self.choose(resolved));
        for &kind in lighter.iter().filter(is_usable) {
            if chosen.1.is_ok() {
                break;
            }
            chosen = (kind, self.choose(kind));
        }
        chosen
    }

    /// In memory if that leaves all workers, else spooled if there is room, else in memory with
    /// fewer workers: to write the data once and read them back costs less than idle cores.
    fn choose(&self, executor: ExecutorKind) -> Result<Choice<'a>, PlanError> {
        let in_memory = self.attempt(executor, &self.request.units, self.request.shared_bytes);
        let held =
            in_memory.fit().map(|fit| Choice { fit, rule: in_memory.rule, spool_bytes: None });
        let Some(spool) = &self.request.spool else {
            return held.ok_or_else(|| self.too_small(&in_memory));
        };
        let held = match held {
            Some(choice) if choice.fit.workers == in_memory.useful_workers() => return Ok(choice),
            held => held,
        };
        let spooled = self.attempt(executor, &spool.units, spool.shared_bytes);
        let Some(fit) = spooled.fit() else {
            let is_less = spooled.least_bytes() < in_memory.least_bytes();
            let least = if is_less { &spooled } else { &in_memory };
            return held.ok_or_else(|| self.too_small(least));
        };
        match self.resources.scratch_free_bytes {
            Some(free_bytes) if free_bytes < spool.scratch_bytes => {
                held.ok_or_else(|| PlanError::ScratchTooSmall {
                    kind: self.request.kind.clone(),
                    need_bytes: in_memory.least_bytes(),
                    scratch_bytes: spool.scratch_bytes,
                    free_bytes,
                    budget: self.budget,
                })
            }
            _ => Ok(Choice { fit, rule: spooled.rule, spool_bytes: Some(spool.scratch_bytes) }),
        }
    }

    fn attempt(
        &self,
        executor: ExecutorKind,
        rule: &'a UnitRule,
        shared_bytes: u64,
    ) -> Attempt<'a> {
        let is_alone = executor == ExecutorKind::Sequential;
        Attempt {
            rule,
            shared_bytes,
            executor,
            wanted_workers: if is_alone { 1 } else { self.wanted_workers },
            budget_bytes: self.budget.bytes,
        }
    }

    fn too_small(&self, attempt: &Attempt<'_>) -> PlanError {
        PlanError::BudgetTooSmall {
            kind: self.request.kind.clone(),
            need_bytes: attempt.least_bytes(),
            shared_bytes: attempt.held_bytes(1),
            budget: self.budget,
        }
    }

    /// What to say if the budget lets fewer workers than the user has asked for.
    fn fewer_workers(&self, executor: ExecutorKind, choice: &Choice<'_>) -> Option<String> {
        let asked = self.resources.workers.filter(|_| executor != ExecutorKind::Sequential)?;
        let useful = usize::from(asked).min(choice.rule.count(choice.fit.size));
        (choice.fit.workers < useful).then(|| {
            format!(
                "{asked} workers were asked for, but the budget of {} has room for {} only",
                self.budget, choice.fit.workers
            )
        })
    }

    fn describe(
        &self,
        executor: ExecutorKind,
        choice: &Choice<'_>,
        warnings: Vec<String>,
    ) -> ParallelPlan {
        let Choice { fit, rule, spool_bytes } = choice;
        ParallelPlan {
            kind: self.request.kind.clone(),
            executor,
            workers: fit.workers,
            unit: rule.planned(fit.size),
            n_units: rule.count(fit.size),
            n_frames: self.request.n_frames,
            work_bytes: fit.need.work,
            result_bytes: fit.need.result,
            shared_bytes: fit.shared_bytes,
            admission_bytes: fit.admission_bytes,
            peak_bytes: fit.shared_bytes.saturating_add(fit.admission_bytes),
            budget: self.budget,
            use_spool: spool_bytes.is_some(),
            spool_bytes: spool_bytes.unwrap_or(0),
            warnings,
        }
    }
}
