//! A heavy phase: what its units are, and how it is run, watched and measured.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::capabilities;
use crate::clock::Stopwatch;
use crate::executor::{ExecutorKind, WorkerCommand};
use crate::observe::{Event, Observer, PhaseStatus};
use crate::ordered::{Lanes, Limits, Need, OrderedError, Pressure, Work, map_ordered};
use crate::plan::{ParallelPlan, admitted_need};
use crate::processes::Processes;
use crate::usage;

/// Why bytes are not a result.
pub type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// A heavy phase: units with an index, the bytes each needs, and what is done with one.
///
/// [`Phase::work`] is a pure function of the phase and the index: it sees no thread, no other
/// unit, and nothing of the scratch but reusable memory.
pub trait Phase: Sync {
    /// Result of a unit.
    type Output: Send;
    /// Buffers that a worker reuses from unit to unit.
    type Scratch: Send;

    /// Name in logs and messages.
    fn name(&self) -> &str;

    /// Number of units.
    fn units(&self) -> usize;

    /// Everything that unit `index` will ever hold, the scratch included.
    fn need(&self, index: usize) -> Need;

    /// New buffers.
    fn scratch(&self) -> Self::Scratch;

    /// The result of unit `index`.
    fn work(&self, index: usize, scratch: &mut Self::Scratch) -> Self::Output;

    /// Bytes from which a worker process builds this phase again; `None` if it cannot, and then
    /// threads stand in for processes. Paths and parameters, never pixels: below 100 kB or so.
    fn job(&self) -> Option<Vec<u8>> {
        None
    }

    /// Appends `output` to `bytes`, exactly: every bit must come back from [`Phase::decode`].
    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>);

    /// The result that [`Phase::encode`] has written.
    ///
    /// # Errors
    /// If `bytes` are none.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError>;
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitResult<T> {
    /// Its result.
    Done(T),
    /// There is none, and why: its worker process died again and again.
    Failed(String),
}

/// What a phase has achieved, for the log and the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// Units that were committed.
    pub committed: usize,
    /// Wall time, in seconds.
    pub wall_secs: f64,
    /// CPU time, in seconds, worker processes included; `None` where the system does not tell.
    pub cpu_secs: Option<f64>,
    /// Mean load of all logical cores that may be used, in percent: 100 is all of them, all the time.
    pub mean_cpu_percent: Option<f64>,
    /// Most units that were in work at once.
    pub peak_workers: usize,
    /// Most bytes that were held at once: shared, in work, idle scratch and waiting results.
    pub peak_bytes: u64,
    /// Highest resident memory of the process since it started, worker processes included.
    pub peak_rss_bytes: Option<u64>,
    /// How often there were fewer workers for a while than planned, for lack of memory.
    pub shrinks: usize,
    /// Units that were run again because their worker process died.
    pub repeated_units: usize,
}

/// What a phase runs with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Whether to stop.
    pub cancel: &'a Cancel,
    /// How worker processes are started; `None` if this program has no worker command.
    pub worker: Option<&'a WorkerCommand>,
    /// An existing folder for scratch files that shared memory has no room for.
    pub scratch: &'a Path,
}

/// Why a phase did not end well.
pub type RunError<E> = OrderedError<E>;

/// Runs all units of `phase` as planned, and commits their results in index order on the calling
/// thread. Tells the observer the plan, the start, each commit, and at the end what was achieved.
///
/// If worker processes were planned but cannot be had, threads do the work, with a warning.
///
/// # Errors
/// [`RunError`].
pub fn run_phase<P: Phase, E>(
    phase: &P,
    plan: &ParallelPlan,
    context: &Context<'_>,
    mut commit: impl FnMut(usize, UnitResult<P::Output>) -> Result<(), E>,
) -> Result<Achieved, RunError<E>> {
    let (observer, name, total) = (context.observer, phase.name(), phase.units());
    let watch = Stopwatch::start();
    for warning in &plan.warnings {
        observer.event(&Event::warning(warning));
    }
    observer.event(&Event::ParallelPlanSummary(plan.summary()));
    observer.event(&Event::PhaseStart { phase: name.to_owned(), total });
    let tell_and_commit = |index: usize, output| {
        commit(index, output)?;
        let (phase, done) = (name.to_owned(), index + 1);
        observer.event(&Event::PhaseProgress { phase, done, total });
        Ok(())
    };

    let (mut achieved, result) = match start_processes(phase, plan, context) {
        None => {
            run_units(&Here(phase), phase, plan, ExecutorKind::Threads, context, tell_and_commit)
        }
        Some(processes) => {
            let executor = ExecutorKind::Processes;
            let (mut achieved, result) =
                run_units(&&processes, phase, plan, executor, context, tell_and_commit);
            achieved.repeated_units = processes.repeated_units();
            achieved.shrinks += processes.shrinks();
            achieved.peak_rss_bytes =
                achieved.peak_rss_bytes.map(|bytes| bytes + processes.ended_peak_rss());
            (achieved, result)
        }
    };
    achieved.wall_secs = watch.wall_secs();
    achieved.cpu_secs = watch.cpu_secs();
    let core_secs = achieved.wall_secs * capabilities::logical_cores() as f64;
    achieved.mean_cpu_percent = achieved.cpu_secs.map(|cpu| 100.0 * cpu / core_secs.max(1e-9));

    let status = match &result {
        Ok(()) => PhaseStatus::Done,
        Err(RunError::Interrupted { .. }) => PhaseStatus::Interrupted,
        Err(_) => PhaseStatus::Failed,
    };
    observer.event(&Event::PhaseEnd { phase: name.to_owned(), status, achieved });
    result.map(|()| achieved)
}

/// Worker processes, if they were planned and can be had.
fn start_processes<'a, P: Phase>(
    phase: &'a P,
    plan: &ParallelPlan,
    context: &Context<'a>,
) -> Option<Processes<'a, P>> {
    if plan.executor != ExecutorKind::Processes {
        return None;
    }
    // encoded results may be somewhat larger than they are in memory
    let slot_bytes = plan.result_bytes.saturating_mul(2 * plan.workers as u64);
    let Context { observer, worker, scratch, .. } = *context;
    let started = worker
        .ok_or_else(|| "no worker command is known".to_owned())
        .and_then(|command| Processes::start(phase, command, observer, scratch, slot_bytes));
    match started {
        Ok(processes) => Some(processes),
        Err(reason) => {
            observer.event(&Event::warning(format!(
                "{}: worker processes cannot be used: {reason}. Falling back to 'threads'.",
                phase.name()
            )));
            None
        }
    }
}

/// Runs the units through `work`; times are filled in by the caller.
fn run_units<P: Phase, W: Work, E>(
    work: &W,
    phase: &P,
    plan: &ParallelPlan,
    executor: ExecutorKind,
    context: &Context<'_>,
    commit: impl FnMut(usize, W::Output) -> Result<(), E>,
) -> (Achieved, Result<(), RunError<E>>) {
    let needs: Vec<Need> =
        (0..phase.units()).map(|index| admitted_need(executor, phase.need(index))).collect();
    let pressure = Pressure::of_this_machine();
    let limits = Limits {
        lanes: match (plan.executor, NonZeroUsize::new(plan.workers)) {
            (ExecutorKind::Sequential, _) | (_, None) => Lanes::Calling,
            (_, Some(workers)) => Lanes::Threads(workers),
        },
        bytes: admission_bytes(plan, &needs),
        cancel: context.cancel,
        pressure: Some(&pressure),
    };
    let (stats, result) = map_ordered(work, &needs, limits, commit);
    let achieved = Achieved {
        committed: stats.committed,
        peak_workers: stats.peak_workers,
        peak_bytes: plan.shared_bytes + stats.peak_bytes,
        peak_rss_bytes: usage::peak_rss_bytes(),
        shrinks: stats.shrinks,
        ..Achieved::default()
    };
    (achieved, result)
}

/// Units in this process.
struct Here<'a, P>(&'a P);

impl<P: Phase> Work for Here<'_, P> {
    type Scratch = P::Scratch;
    type Output = UnitResult<P::Output>;

    fn scratch(&self) -> P::Scratch {
        self.0.scratch()
    }

    fn work(&self, index: usize, scratch: &mut P::Scratch) -> UnitResult<P::Output> {
        UnitResult::Done(self.0.work(index, scratch))
    }
}

/// What was planned; more only if the largest unit needs more and the budget has it.
fn admission_bytes(plan: &ParallelPlan, needs: &[Need]) -> u64 {
    let largest = needs.iter().map(|need| need.total()).max().unwrap_or(0);
    let room = plan.budget.bytes.saturating_sub(plan.shared_bytes);
    plan.admission_bytes.max(largest.min(room))
}
