//! What runs of several steps share: the setting, and the registration of a recording as a step.

use std::path::{Path, PathBuf};

use serde::Serialize;
use stillframe_io::spool::ScratchDir;
use stillframe_runtime::Budget;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::executor::WorkerCommand;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::plan::Resources;
use stillframe_runtime::usage;

use super::error::MotionError;
use super::files::STAGE as BATCHES;
use super::job::{MotionJob, identity};
use super::run::run;
use super::status::Status;
use crate::recipe::{MotionRecipe, NamingConvention, OutputFormat};
use crate::resume::{FOLDER, StageKey};
use crate::runner::Runner;

/// Where a run of several steps works, and with what.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Folder to which the paths of the recipe are relative: that of its file.
    pub base: PathBuf,
    /// Everything that may only change time and memory.
    pub resources: Resources,
    /// Whether existing results may be replaced.
    pub overwrite: bool,
    /// Whether finished steps, and finished batches of an interrupted one, are kept.
    pub resume: bool,
    /// How worker processes are started; without it, threads stand in for processes.
    pub worker: Option<WorkerCommand>,
}

impl Setting {
    /// The folder `root` of a recipe.
    pub(super) fn root(&self, root: &str) -> PathBuf {
        // Without the dots that make messages hard to read.
        self.base.join(root).components().collect()
    }

    /// # Errors
    /// [`MotionError::Output`] if one of `files` is in `folder` and may not be replaced.
    pub(super) fn refuse_existing(
        &self,
        folder: &Path,
        files: &[impl AsRef<str>],
    ) -> Result<(), MotionError> {
        let in_the_way = files.iter().map(|f| folder.join(f.as_ref())).find(|f| f.exists());
        match in_the_way {
            Some(path) if !self.overwrite && !self.resume => {
                let reason = "there is a result already; give --overwrite or --resume".into();
                Err(MotionError::Output { path, reason })
            }
            _ => Ok(()),
        }
    }
}

/// The name of the registered recording of a step.
pub(super) const COMPENSATED: &str = "compensated.hdf5";

/// Makes `folder` and lets `work` run there; tells the observer of its begin and end.
///
/// # Errors
/// Those of `work`, or if the folder cannot be written to.
pub(super) fn in_folder<T>(
    command: &str,
    folder: &Path,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: impl FnOnce(&mut Runner<'_>) -> Result<T, MotionError>,
) -> Result<T, MotionError> {
    let watch = Stopwatch::start();
    let at = |e: std::io::Error| MotionError::Output { path: folder.into(), reason: e.to_string() };
    std::fs::create_dir_all(folder).map_err(at)?;
    let scratch = ScratchDir::create(folder, 0)?;
    let capabilities = Capabilities::detect();
    observer.event(&Event::RunStart {
        command: command.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        n_inputs: 1,
        budget_bytes: Budget::resolve(setting.resources.memory_bytes, &capabilities).bytes,
        capabilities: capabilities.clone(),
    });
    let mut runner = Runner {
        observer,
        cancel,
        capabilities,
        resources: &setting.resources,
        worker: setting.worker.as_ref(),
        scratch: scratch.path().to_path_buf(),
        warnings: Vec::new(),
        phases: Vec::new(),
    };
    let result = work(&mut runner);
    let (status, exit_code) = match &result {
        Ok(_) => ("done", 0),
        Err(MotionError::Interrupted) => ("interrupted", 130),
        Err(_) => ("failed", 1),
    };
    observer.event(&Event::RunEnd {
        status: status.into(),
        exit_code,
        wall_secs: watch.wall_secs(),
        cpu_secs: watch.cpu_secs(),
        peak_rss_bytes: usage::peak_rss_bytes(),
    });
    result
}

/// What the registration of `inputs` by `recipe` depends on.
pub(super) fn registration_key(inputs: &[PathBuf], recipe: &MotionRecipe) -> StageKey {
    let files: Vec<_> = inputs.iter().map(|p| identity(p)).collect();
    StageKey::of(&("registration", recipe, files, identity(Path::new(&recipe.reference_frames))))
}

/// The recipe with which a step registers: one HDF5 file under one name.
pub(super) fn as_step(recipe: &MotionRecipe, masks: Masks) -> MotionRecipe {
    MotionRecipe {
        output_format: OutputFormat::Hdf5,
        naming_convention: NamingConvention::Default,
        save_valid_idx: recipe.save_valid_idx || masks == Masks::Written,
        ..recipe.clone()
    }
}

/// Whether a step needs the masks of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Masks {
    Written,
    AsRecipe,
}

/// Registers `inputs` into `folder`, unless that was done. `recipe` is one of [`as_step`].
///
/// # Errors
/// [`MotionError`].
pub(super) fn register_step(
    runner: &mut Runner<'_>,
    setting: &Setting,
    inputs: &[PathBuf],
    recipe: &MotionRecipe,
    folder: &Path,
) -> Result<StageKey, MotionError> {
    const STEP: &str = "registration";
    const BEGUN: &str = "registration begun";
    let key = registration_key(inputs, recipe);
    let mut status = Status::of(folder);
    if setting.resume && status.has(STEP, key) {
        return Ok(key);
    }
    setting.refuse_existing(folder, &[COMPENSATED])?;
    status.begin(STEP)?;
    // Only a batch of this very registration is worth a look; others would be told as missing.
    let has_batch = folder.join(FOLDER).join(BATCHES).is_file() && status.has(BEGUN, key);
    let job = MotionJob {
        inputs: inputs.to_vec(),
        output: folder.to_path_buf(),
        recipe: recipe.clone(),
        resources: setting.resources.clone(),
        overwrite: setting.overwrite || setting.resume,
        resume: setting.resume && has_batch,
        worker: setting.worker.clone(),
    };
    let at = |e: std::io::Error| MotionError::Output { path: folder.into(), reason: e.to_string() };
    std::fs::create_dir_all(folder).map_err(at)?;
    status.finish(BEGUN, key, &[""; 0])?;
    let outcome = run(&job, runner.observer, runner.cancel)?;
    for warning in &outcome.report.warnings {
        // Told already; kept for the report.
        runner.warnings.push(format!("{}: {warning}", folder.display()));
    }
    runner.phases.extend(outcome.phases);
    let mut files = vec![COMPENSATED, "statistics.h5", "reference_frame.tiff"];
    files.extend(recipe.save_valid_idx.then_some(super::files::MASKS));
    status.finish(STEP, key, &files)?;
    Ok(key)
}

/// Writes `value` as readable JSON.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), MotionError> {
    use stillframe_io::sink::{Existing, write_file};
    let text =
        serde_json::to_string_pretty(value).map_err(|e| MotionError::Internal(e.to_string()))?;
    Ok(write_file(path, Existing::Replace, (text + "\n").as_bytes())?)
}
