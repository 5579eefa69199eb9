//! A stack from the first file to the last byte.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use serde::Serialize;
use stillframe_io::fits::FitsSource;
use stillframe_io::inputs::Inputs as Found;
use stillframe_runtime::executor::{ExecutorKind, WorkerCommand};
use stillframe_runtime::ordered::Lanes;
use stillframe_runtime::phase::{Phase, UnitResult};
use stillframe_runtime::plan::{ParallelPlan, PhaseRequest, Resources};

use super::error::StackError;
use super::light::LightPhases;
use super::masters::Kind;
use super::output;
use crate::recipe::StackRecipe;
use crate::resume::{StageKey, Stages};
use crate::runner::{PhaseFailure, Runner};

/// What is to be stacked, into what, how, and with what.
#[derive(Clone, Debug)]
pub struct StackJob {
    /// Files, folders and patterns of the light frames.
    pub inputs: Vec<String>,
    /// Folder of the results.
    pub output: PathBuf,
    /// Files, folders and patterns of bias frames, or one master.
    pub bias: Vec<String>,
    /// The same of darks.
    pub dark: Vec<String>,
    /// The same of flats.
    pub flat: Vec<String>,
    /// Everything that may change a bit of the result.
    pub recipe: StackRecipe,
    /// Everything that may only change time and memory.
    pub resources: Resources,
    /// Side of the blocks of pass 2 in pixels, for tests; chosen by the plan if absent.
    pub block_side: Option<usize>,
    /// Whether an existing result may be replaced.
    pub overwrite: bool,
    /// Whether finished passes of an interrupted run are used.
    pub resume: bool,
    /// How worker processes are started; without it, threads stand in for processes.
    pub worker: Option<WorkerCommand>,
}

/// State of a run that all its steps share.
pub(crate) struct Run<'a> {
    pub(crate) job: &'a StackJob,
    pub(crate) stages: Stages,
    pub(crate) runner: Runner<'a>,
}

impl<'a> Deref for Run<'a> {
    type Target = Runner<'a>;

    fn deref(&self) -> &Runner<'a> {
        &self.runner
    }
}

impl<'a> DerefMut for Run<'a> {
    fn deref_mut(&mut self) -> &mut Runner<'a> {
        &mut self.runner
    }
}

impl Run<'_> {
    /// The loop for small work between the passes.
    pub(crate) fn light(&self) -> LightPhases<'_> {
        let sequential = self.job.resources.executor == Some(ExecutorKind::Sequential);
        let cores = self.capabilities.logical_cores;
        let workers = self.job.resources.workers.map_or(cores, std::num::NonZeroUsize::get);
        let lanes = match std::num::NonZeroUsize::new(workers) {
            Some(workers) if !sequential && workers.get() > 1 => Lanes::Threads(workers),
            _ => Lanes::Calling,
        };
        LightPhases { lanes, cancel: self.cancel }
    }

    /// The plan of a heavy phase.
    pub(crate) fn plan(&self, request: &PhaseRequest) -> Result<ParallelPlan, StackError> {
        Ok(self.runner.plan(request)?)
    }

    /// Writes the specification of a phase for worker processes, if there will be any.
    pub(crate) fn spec_file(
        &self,
        plan: &ParallelPlan,
        name: &str,
        spec: &impl Serialize,
    ) -> Result<Option<PathBuf>, StackError> {
        let written = self.runner.spec_file(plan, name, spec);
        written.map_err(|(path, e)| StackError::Output { path, reason: e.to_string() })
    }

    /// Runs a heavy phase and records plan and achievement.
    pub(crate) fn run_phase<P: Phase>(
        &mut self,
        phase: &P,
        plan: &ParallelPlan,
        commit: impl FnMut(usize, UnitResult<P::Output>) -> Result<(), StackError>,
    ) -> Result<(), StackError> {
        self.runner.run_phase(phase, plan, commit).map_err(|e| match e {
            PhaseFailure::Commit(error) => error,
            PhaseFailure::Interrupted => StackError::Interrupted,
            PhaseFailure::Internal(message) => StackError::Internal(message),
        })
    }

    /// Stores a finished stage; a full disk is no reason to lose the run.
    pub(crate) fn save_stage(
        &mut self,
        name: &str,
        key: StageKey,
        value: &impl Serialize,
    ) -> Result<(), StackError> {
        if let Err(e) = self.stages.save(name, key, value) {
            self.warn(format!("the finished stage {name} could not be kept for --resume: {e}"));
        }
        Ok(())
    }

    /// Files of one kind of calibration frames.
    pub(crate) fn resolve_calibration(&mut self, kind: Kind) -> Result<Vec<PathBuf>, StackError> {
        let given = match kind {
            Kind::Bias => &self.job.bias,
            Kind::Dark => &self.job.dark,
            Kind::Flat => &self.job.flat,
        };
        if given.is_empty() {
            return Ok(Vec::new());
        }
        resolve(given, kind.name())
    }

    /// What tells these calibration files from others.
    pub(crate) fn calibration_identity(&mut self) -> Result<Vec<(PathBuf, u64)>, StackError> {
        let mut files = Vec::new();
        for kind in [Kind::Bias, Kind::Dark, Kind::Flat] {
            for path in self.resolve_calibration(kind)? {
                let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
                files.push((path, bytes));
            }
        }
        Ok(files)
    }

    /// Key of a master: the files it is made of and how.
    pub(crate) fn master_key(&self, kind: Kind, sources: &[FitsSource], offset: bool) -> StageKey {
        let files: Vec<_> = sources.iter().map(|s| identity(s.info())).collect();
        StageKey::of(&(kind.name(), files, offset, &self.job.recipe.calibration))
    }
}

/// What tells a file from a changed one: path, size, time.
pub(crate) fn identity(info: &stillframe_io::fits::FrameInfo) -> (&Path, u64, i64) {
    (&info.path, info.file_bytes, info.modified_nanos)
}

/// The light frames of a job. An earlier result of its own in a folder of lights is no light,
/// unless it is named by its name.
pub(crate) fn resolve_lights(job: &StackJob) -> Result<Found, StackError> {
    let mut found = find(&job.inputs, "input")?;
    let real = |path: &Path| path.canonicalize().ok();
    if let Some(own) = real(&job.output.join(output::IMAGE)) {
        let is_own = |path: &PathBuf| real(path).is_some_and(|p| p == own);
        if !job.inputs.iter().map(PathBuf::from).any(|given| is_own(&given)) {
            found.files.retain(|path| !is_own(path));
            found.duplicates.retain(|d| !is_own(&d.same_as));
        }
    }
    if found.files.is_empty() {
        return Err(StackError::Inputs("input: only an earlier result was found".into()));
    }
    Ok(found)
}

/// Files that `given` stand for.
pub(crate) fn resolve(given: &[String], what: &str) -> Result<Vec<PathBuf>, StackError> {
    find(given, what).map(|found| found.files)
}

fn find(given: &[String], what: &str) -> Result<Found, StackError> {
    stillframe_io::inputs::resolve(given).map_err(|e| StackError::Inputs(format!("{what}: {e}")))
}
