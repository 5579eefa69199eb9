//! What every pipeline's run shares: who is told, what may be used, and how a heavy phase is run
//! and recorded.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::executor::{ExecutorKind, WorkerCommand};
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::ordered::OrderedError;
use stillframe_runtime::phase::{Achieved, Context, DecodeError, Phase, UnitResult, run_phase};
use stillframe_runtime::plan::{ParallelPlan, PhaseRequest, PlanError, Resources, plan};

/// A plan that was made and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseRecord {
    /// Name of the phase.
    pub phase: String,
    /// Its plan.
    pub plan: ParallelPlan,
    /// What was achieved.
    pub achieved: Achieved,
}

/// Why a phase did not end well.
#[derive(Debug)]
pub(crate) enum PhaseFailure<E> {
    /// A commit failed.
    Commit(E),
    /// The run was cancelled.
    Interrupted,
    /// Anything else.
    Internal(String),
}

/// State that all steps of a run share.
pub(crate) struct Runner<'a> {
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: &'a Cancel,
    pub(crate) capabilities: Capabilities,
    pub(crate) resources: &'a Resources,
    /// How worker processes are started; without it, threads stand in for processes.
    pub(crate) worker: Option<&'a WorkerCommand>,
    pub(crate) scratch: PathBuf,
    pub(crate) warnings: Vec<String>,
    pub(crate) phases: Vec<PhaseRecord>,
}

impl Runner<'_> {
    /// Records that something is done differently from what was asked.
    pub(crate) fn warn(&mut self, message: String) {
        if !self.warnings.contains(&message) {
            self.observer.event(&Event::warning(message.clone()));
            self.warnings.push(message);
        }
    }

    /// The plan of a heavy phase.
    pub(crate) fn plan(&self, request: &PhaseRequest) -> Result<ParallelPlan, PlanError> {
        plan(request, self.resources, &self.capabilities)
    }

    /// Writes the specification of a phase for worker processes, if there will be any.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub(crate) fn spec_file(
        &self,
        plan: &ParallelPlan,
        name: &str,
        spec: &impl Serialize,
    ) -> Result<Option<PathBuf>, (PathBuf, std::io::Error)> {
        if plan.executor != ExecutorKind::Processes {
            return Ok(None);
        }
        let path = self.scratch.join(format!("{name}.spec"));
        match write_spec(&path, spec) {
            Ok(()) => Ok(Some(path)),
            Err(e) => Err((path, e)),
        }
    }

    /// Runs a heavy phase and records plan and achievement.
    pub(crate) fn run_phase<P: Phase, E>(
        &mut self,
        phase: &P,
        plan: &ParallelPlan,
        commit: impl FnMut(usize, UnitResult<P::Output>) -> Result<(), E>,
    ) -> Result<(), PhaseFailure<E>> {
        let observer = self.observer;
        self.run_phase_watched(phase, plan, observer, commit)
    }

    /// As [`Self::run_phase`]; `observer` is told what happens in it.
    pub(crate) fn run_phase_watched<P: Phase, E>(
        &mut self,
        phase: &P,
        plan: &ParallelPlan,
        observer: &dyn Observer,
        commit: impl FnMut(usize, UnitResult<P::Output>) -> Result<(), E>,
    ) -> Result<(), PhaseFailure<E>> {
        let scratch = self.scratch.clone();
        let context =
            Context { observer, cancel: self.cancel, worker: self.worker, scratch: &scratch };
        let achieved = run_phase(phase, plan, &context, commit).map_err(|e| match e {
            OrderedError::Commit { source, .. } => PhaseFailure::Commit(source),
            OrderedError::Interrupted { .. } => PhaseFailure::Interrupted,
            other => PhaseFailure::Internal(other.to_string()),
        })?;
        if achieved.repeated_units > 0 {
            self.warn(format!(
                "{}: {} unit(s) were run again because a worker process died",
                phase.name(),
                achieved.repeated_units
            ));
        }
        self.phases.push(PhaseRecord {
            phase: phase.name().to_owned(),
            plan: plan.clone(),
            achieved,
        });
        Ok(())
    }
}

/// Writes a specification for worker processes.
///
/// # Errors
/// If the scratch folder cannot be written.
pub(crate) fn write_spec<T: Serialize>(path: &Path, spec: &T) -> std::io::Result<()> {
    fs::write(path, postcard::to_stdvec(spec).map_err(std::io::Error::other)?)
}

/// Reads what [`write_spec`] has written.
///
/// # Errors
/// If the file is gone or damaged.
pub(crate) fn read_spec<T: DeserializeOwned>(path: &Path) -> Result<T, DecodeError> {
    Ok(postcard::from_bytes(&fs::read(path)?)?)
}

/// Appends the encoded `value` to `bytes`.
pub(crate) fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let encoded = postcard::to_stdvec(value).expect("results are plain data");
    bytes.extend_from_slice(&encoded);
}
