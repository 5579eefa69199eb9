//! A recording from its files to its results.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use stillframe_io::recording::{
    RecordingFormat, RecordingInfo, RecordingSource, SampleType, create, write_table,
};
use stillframe_io::sink::{Existing, OutputFolder, write_file};
use stillframe_io::spool::ScratchDir;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::plan::Resources;
use stillframe_runtime::{Budget, usage};

use super::batches::Batches;
use super::error::MotionError;
use super::files::{FIELDS, Files, MASKS, checkpoint};
use super::job::MotionJob;
use super::prepare::{Prepared, prepare, resources_for};
use super::preview;
use super::record::FrameRecord;
use super::reference::Origin;
use super::report::{MotionReport, MotionSummary};
use super::source::SourceSpec;
use super::spec::planes_of;
use crate::recipe::Recipe;
use crate::resume::{StageKey, Stages};
use crate::runner::{PhaseRecord, Runner};
use crate::watch::{Ended, watched};

/// What a run has made.
#[derive(Debug)]
pub struct MotionOutcome {
    /// Figures of every frame and of the whole.
    pub report: MotionReport,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
    /// Frames that were registered now; the others were there already.
    pub frames_now: usize,
    /// Wall time, seconds.
    pub wall_secs: f64,
    /// CPU time, seconds, where the system tells.
    pub cpu_secs: Option<f64>,
    /// Highest resident memory, bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
}

/// Files that every run writes beside the recording.
const OWN_FILES: [&str; 6] = [
    "statistics.h5",
    "reference_frame.tiff",
    "report.json",
    "recipe.json",
    "telemetry.json",
    "preview.png",
];

/// Registers a recording.
///
/// # Errors
/// [`MotionError`]. Whatever the error, inputs are never touched, and what was written is readable
/// up to the last finished batch.
pub fn run(
    job: &MotionJob,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<MotionOutcome, MotionError> {
    let watch = Stopwatch::start();
    job.recipe.validate().map_err(|e| MotionError::Recipe(e.to_string()))?;
    let spec = SourceSpec {
        paths: job.inputs.clone(),
        deinterleave: job.recipe.deinterleave,
        bin: job.recipe.bin_size,
        indices: None,
    };
    let source = spec.open()?;
    let folder = check_folder(job, source.info())?;
    let opened = Opened { job, source, spec, folder, watch: &watch };
    let ended = |result: &Result<MotionOutcome, MotionError>| match result {
        Ok(_) => Ended::Done,
        Err(MotionError::Interrupted) => Ended::Interrupted,
        Err(e) => Ended::Failed(e.to_string()),
    };
    watched(&job.output, observer, &watch, ended, |everyone| opened.run(everyone, cancel))
        .map_err(|e| MotionError::Output { path: job.output.clone(), reason: e.to_string() })?
}

/// Refuses to overwrite what is there, and makes the folder.
fn check_folder(job: &MotionJob, info: &RecordingInfo) -> Result<OutputFolder, MotionError> {
    let replaces = job.overwrite || job.resume;
    let existing = if replaces { Existing::Replace } else { Existing::Refuse };
    let recording = job.format().file_names(&job.stem(), info.channels);
    let mut names: Vec<&str> = OWN_FILES.to_vec();
    names.extend(recording.iter().map(String::as_str));
    names.extend(job.recipe.save_w.then_some(FIELDS));
    names.extend(job.recipe.save_valid_idx.then_some(MASKS));
    Ok(OutputFolder::create(&job.output, existing, &names, &job.inputs)?)
}

/// A run whose input and output are open.
struct Opened<'a> {
    job: &'a MotionJob,
    source: Arc<dyn RecordingSource>,
    spec: SourceSpec,
    folder: OutputFolder,
    watch: &'a Stopwatch,
}

impl Opened<'_> {
    fn run(&self, observer: &dyn Observer, cancel: &Cancel) -> Result<MotionOutcome, MotionError> {
        let job = self.job;
        let (resources, warning) = resources_for(job.recipe.flow_backend, None, &job.resources)?;
        let scratch = ScratchDir::create(&job.output, 0)?;
        let mut runner = self.runner(observer, cancel, &resources, &scratch);
        if let Some(warning) = warning {
            runner.warn(warning);
        }
        let stages = Stages::new(&job.output, job.resume);
        let mut kept = serde_json::to_value(&job.recipe).unwrap_or_default();
        // Unless something is carried from batch to batch, their size changes no bit.
        if !job.recipe.update_reference && !job.recipe.update_initialization_w {
            kept["buffer_size"] = json!(null);
        }
        let key = StageKey::of(&(kept, job.identity()));
        let mut prepared = self.prepared(&mut runner, &stages, key)?;
        let info = self.source.info();
        let wants = &mut prepared.spec.wants;
        wants.fields_from = job.recipe.save_w.then_some(0);
        wants.valid = job.recipe.save_valid_idx;
        wants.raw_step = Some(preview::step(info.frames));
        let checkpoint = checkpoint(&stages, key);
        if job.resume && checkpoint.is_none() {
            runner.warn(
                "no finished batch of this recipe and recording was found: all frames are \
                         registered"
                    .into(),
            );
        }
        let carry = checkpoint.as_ref().map(|c| c.carry.clone()).unwrap_or_default();
        let frames_now = info.frames - carry.next;
        let mut files = Files::open(job, info, &stages, key, checkpoint)?;
        let mut batches = Batches {
            source: &self.source,
            source_spec: Some(&self.spec),
            spec: prepared.spec.clone(),
            custom: None,
            batch: job.recipe.buffer_size,
            carries_start: job.recipe.update_initialization_w,
            carries_reference: job.recipe.update_reference,
            title: "motion_frames",
        };
        batches.run(&mut runner, carry, &mut files)?;
        files.complaints.drain(..).for_each(|complaint| runner.warn(complaint));
        let (records, means) = files.finish()?;
        let outcome = self.write(runner, &prepared, records, &means, frames_now)?;
        stages.clear();
        Ok(outcome)
    }

    fn runner<'r>(
        &'r self,
        observer: &'r dyn Observer,
        cancel: &'r Cancel,
        resources: &'r Resources,
        scratch: &ScratchDir,
    ) -> Runner<'r> {
        let capabilities = Capabilities::detect();
        let budget = Budget::resolve(resources.memory_bytes, &capabilities);
        observer.event(&Event::RunStart {
            command: "motion".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            n_inputs: self.job.inputs.len(),
            budget_bytes: budget.bytes,
            capabilities: capabilities.clone(),
        });
        Runner {
            observer,
            cancel,
            capabilities,
            resources,
            worker: self.job.worker.as_ref(),
            scratch: scratch.path().to_path_buf(),
            warnings: Vec::new(),
            phases: Vec::new(),
        }
    }

    /// Reference and alpha, of this run or of the interrupted one.
    fn prepared(
        &self,
        runner: &mut Runner<'_>,
        stages: &Stages,
        key: StageKey,
    ) -> Result<Prepared, MotionError> {
        const STAGE: &str = "prepared";
        if let Some(prepared) = stages.load(STAGE, key) {
            return Ok(prepared);
        }
        let origin = Origin { source: &self.source, source_spec: Some(&self.spec), custom: None };
        let prepared = prepare(runner, &self.job.recipe, &origin, None)?;
        if let Err(e) = stages.save(STAGE, key, &prepared) {
            runner.warn(format!("the reference could not be kept for --resume: {e}"));
        }
        Ok(prepared)
    }

    /// The files that are written at the end.
    fn write(
        &self,
        runner: Runner<'_>,
        prepared: &Prepared,
        records: Vec<FrameRecord>,
        means: &preview::Means,
        frames_now: usize,
    ) -> Result<MotionOutcome, MotionError> {
        let (job, info) = (self.job, self.source.info());
        let Runner { warnings, phases, .. } = runner;
        statistics(&self.folder, &records)?;
        let one = RecordingInfo { frames: 1, sample: SampleType::F32, ..info.clone() };
        let replace = Existing::Replace;
        let mut sink =
            create(&job.output, "reference_frame", RecordingFormat::Tiff, &one, replace)?;
        sink.append(&prepared.spec.raw_reference)?;
        sink.finish()?;
        let reference = &planes_of(info.shape, &prepared.spec.raw_reference)[0];
        preview::write(&self.folder.path_of("preview.png"), reference, means, &records)?;
        let report = MotionReport {
            software: concat!("stillframe ", env!("CARGO_PKG_VERSION")).into(),
            recipe_sha256: job.recipe.sha256(),
            shape: [info.frames, info.channels, info.shape.height, info.shape.width],
            alpha: prepared.alpha.clone(),
            warnings,
            summary: MotionSummary::of(&records),
            frames: records,
        };
        let wall_secs = self.watch.wall_secs();
        let (cpu_secs, peak_rss_bytes) = (self.watch.cpu_secs(), usage::peak_rss_bytes());
        let telemetry = json!({
            "wall_secs": wall_secs, "cpu_secs": cpu_secs, "peak_rss_bytes": peak_rss_bytes,
            "frames": frames_now, "phases": &phases,
        });
        for (name, value) in [
            ("report.json", serde_json::to_value(&report)),
            ("recipe.json", serde_json::to_value(&job.recipe)),
            ("telemetry.json", Ok(telemetry)),
        ] {
            let value = value.map_err(|e| MotionError::Internal(e.to_string()))?;
            let text = format!("{value:#}\n");
            write_file(&self.folder.path_of(name), replace, text.as_bytes())?;
        }
        let mut files = job.format().file_names(&job.stem(), info.channels);
        files.extend(job.recipe.save_w.then(|| FIELDS.to_owned()));
        files.extend(job.recipe.save_valid_idx.then(|| MASKS.to_owned()));
        files.extend(OWN_FILES.map(str::to_owned));
        let files = files.iter().map(|name| job.output.join(name)).collect();
        Ok(MotionOutcome { report, phases, frames_now, wall_secs, cpu_secs, peak_rss_bytes, files })
    }
}

/// One column per figure, one value per frame; NaN where there is none.
fn statistics(folder: &OutputFolder, records: &[FrameRecord]) -> Result<(), MotionError> {
    let column =
        |of: &dyn Fn(&FrameRecord) -> f64| -> Vec<f64> { records.iter().map(of).collect() };
    let known = |v: Option<f64>| v.unwrap_or(f64::NAN);
    let columns = [
        ("mean_disp", column(&|r| r.mean_disp)),
        ("max_disp", column(&|r| r.max_disp)),
        ("mean_div", column(&|r| r.mean_div)),
        ("mean_translation", column(&|r| r.mean_translation)),
        ("correlation_before", column(&|r| known(r.correlation_before))),
        ("correlation_after", column(&|r| known(r.correlation_after))),
        ("residual", column(&|r| r.residual)),
        ("outside_fraction", column(&|r| r.outside_fraction)),
    ];
    let columns: Vec<(&str, &[f64])> = columns.iter().map(|(n, v)| (*n, v.as_slice())).collect();
    let path = folder.path_of("statistics.h5");
    Ok(write_table(&path, &columns, Existing::Replace)?)
}
