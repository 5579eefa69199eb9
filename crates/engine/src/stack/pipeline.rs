//! The order of a stack's steps.

use std::path::PathBuf;

use stillframe_io::inputs::Inputs as Found;
use stillframe_runtime::Budget;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::PlannedUnit;

use super::burst::Burst;
use super::calibration;
use super::combine::CombineSpec;
use super::error::StackError;
use super::inputs::{self, Alike, Inputs};
use super::measure::LevelBoxes;
use super::measuring::measure_all;
use super::output::{self, Stack};
use super::phases::CombinePhase;
use super::reconstruct::reconstruct;
use super::report::StackReport;
use super::requests;
use super::run::{Run, StackJob, resolve_lights};
use super::solve::solve;
use crate::resume::Stages;
use crate::runner::{PhaseRecord, Runner};
use crate::watch::{Ended, watched};

/// What a run has made.
#[derive(Debug)]
pub struct StackOutcome {
    /// Every frame's fate and the figures of the result.
    pub report: StackReport,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
    /// Wall time, seconds.
    pub wall_secs: f64,
    /// CPU time, seconds, where the system tells.
    pub cpu_secs: Option<f64>,
    /// Highest resident memory, bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// Whether more frames were lost than the recipe allows: the result is there, but to be looked
    /// at.
    pub lost_too_many: bool,
}

/// Stacks a burst.
///
/// # Errors
/// [`StackError`]. Whatever the error, no result of that name is left half-written, and inputs are
/// never touched.
pub fn run(
    job: &StackJob,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<StackOutcome, StackError> {
    let watch = Stopwatch::start();
    let found = resolve_lights(job)?;
    output::check_folder(job, &found.files)?;
    let ended = |result: &Result<StackOutcome, StackError>| match result {
        Ok(outcome) if outcome.lost_too_many => Ended::FramesLost,
        Ok(_) => Ended::Done,
        Err(StackError::Interrupted) => Ended::Interrupted,
        Err(e) => Ended::Failed(e.to_string()),
    };
    watched(&job.output, observer, &watch, ended, |everyone| {
        run_watched(job, found, everyone, cancel, &watch)
    })
    .map_err(|e| output::folder_error(job, &e))?
}

fn run_watched(
    job: &StackJob,
    found: Found,
    observer: &dyn Observer,
    cancel: &Cancel,
    watch: &Stopwatch,
) -> Result<StackOutcome, StackError> {
    let capabilities = Capabilities::detect();
    let scratch = output::make_scratch(job)?;
    let mut run = Run {
        job,
        stages: Stages::new(&job.output, job.resume),
        runner: Runner {
            observer,
            cancel,
            capabilities,
            resources: &job.resources,
            worker: job.worker.as_ref(),
            scratch: scratch.path().to_path_buf(),
            warnings: Vec::new(),
            phases: Vec::new(),
        },
    };
    let budget = Budget::resolve(job.resources.memory_bytes, &run.capabilities);
    observer.event(&Event::RunStart {
        command: "stack".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        n_inputs: found.files.len() + found.duplicates.len(),
        budget_bytes: budget.bytes,
        capabilities: run.capabilities.clone(),
    });
    let mut inputs = inputs::open(found, &job.recipe.input, Alike::Frames, &run.light())?;
    check_gates(&mut run, &inputs)?;
    let prepared = calibration::prepare(&mut run, &inputs)?;
    let (burst, mut measures) =
        measure_all(&mut run, &mut inputs, prepared, LevelBoxes::default())?;
    let mut solved = solve(&mut run, &mut inputs, &burst, &measures)?;
    // What pass 2 works with grows with the number of frames as it is.
    measures.iter_mut().for_each(|m| m.meshes = Vec::new());
    let stack = match &solved.tiles {
        Some(tiles) => reconstruct(&mut run, &burst, &solved.spec, tiles)?,
        None => combine(&mut run, &burst, &mut solved.spec)?,
    };
    let report = output::report(&run, &inputs, &measures, &solved, &stack);
    output::tell_frames(&run, &report);
    let lost_too_many = report.lost_fraction() > job.recipe.input.max_lost_fraction;
    let mut outcome = StackOutcome {
        report,
        phases: std::mem::take(&mut run.phases),
        wall_secs: 0.0,
        cpu_secs: None,
        peak_rss_bytes: None,
        files: Vec::new(),
        lost_too_many,
    };
    output::write(&run, &inputs, &measures, &solved, &stack, watch, &mut outcome)?;
    run.stages.clear();
    Ok(outcome)
}

/// The recipe's gates on the number of readable frames.
fn check_gates(run: &mut Run<'_>, inputs: &Inputs) -> Result<(), StackError> {
    let usable = inputs.usable().len();
    let gates = &run.job.recipe.gates;
    let needed = run.job.recipe.input.min_frames.max(gates.frames_min).max(1);
    if usable < needed {
        return Err(inputs.too_few(needed));
    }
    Ok(())
}

/// Pass 2: blocks of the canvas, committed in order.
fn combine(run: &mut Run<'_>, burst: &Burst, spec: &mut CombineSpec) -> Result<Stack, StackError> {
    let shape = spec.canvas.shape;
    let masters_bytes = burst.spec.masters.bytes();
    let request = requests::combine(shape, spec.frames.len(), spec.cost(), masters_bytes);
    let plan = run.plan(&request)?;
    spec.block_side = match (run.job.block_side, plan.unit) {
        (Some(side), _) => side.max(1),
        (None, PlannedUnit::Block { side, .. }) => side,
        (None, _) => 256,
    };
    let files =
        (run.spec_file(&plan, "burst", &burst.spec)?, run.spec_file(&plan, "combine", spec)?);
    let blocks = spec.blocks();
    let phase = CombinePhase {
        burst,
        spec,
        blocks: &blocks,
        files: files.0.as_deref().zip(files.1.as_deref()),
    };
    let mut stack = Stack::new(shape, spec.planes, spec.frames.len());
    run.run_phase(&phase, &plan, |index, result| match result {
        UnitResult::Done(Ok(block)) => {
            stack.put(blocks[index], &block);
            Ok(())
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => Err(StackError::Unit(reason)),
    })?;
    Ok(stack)
}
