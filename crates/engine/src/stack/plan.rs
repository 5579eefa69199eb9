//! What a stack will do and need, from headers alone.

use std::fmt;

use serde::Serialize;
use stillframe_image::Shape;
use stillframe_runtime::budget::format_bytes;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::ordered::Lanes;
use stillframe_runtime::plan::{ParallelPlan, PlannedUnit, plan as plan_phase};

use super::choices::resampling;
use super::combine::BlockCost;
use super::error::StackError;
use super::inputs::{self, Alike};
use super::light::LightPhases;
use super::measuring::stars_per_frame;
use super::report::FrameOutcome;
use super::requests;
use super::run::{StackJob, resolve, resolve_lights};

/// A stack as it would run here: phases, units, memory, bytes to read.
#[derive(Clone, Debug, Serialize)]
pub struct StackPlan {
    /// Files that were found.
    pub n_inputs: usize,
    /// Files that cannot be used, with the reason, by header alone.
    pub lost: Vec<(String, String)>,
    /// Size of a frame.
    pub shape: Shape,
    /// `mono`, `RGB` or the colour pattern.
    pub colour: String,
    /// Bytes of the usable light frames.
    pub input_bytes: u64,
    /// Bytes that will be read of them: once whole, once block by block with what overlaps.
    pub read_bytes: u64,
    /// Plan of each heavy phase.
    pub phases: Vec<ParallelPlan>,
    /// Largest predicted peak of all phases, bytes.
    pub peak_bytes: u64,
    /// The machine.
    pub capabilities: Capabilities,
}

/// Plans a stack: opens headers, runs nothing.
///
/// # Errors
/// Whatever [`super::run`] would fail with on inputs, shapes, recipe or budget.
pub fn plan(job: &StackJob) -> Result<StackPlan, StackError> {
    let capabilities = Capabilities::detect();
    let cancel = Cancel::new();
    let light = LightPhases { lanes: Lanes::Calling, cancel: &cancel };
    let found = resolve_lights(job)?;
    let inputs = inputs::open(found, &job.recipe.input, Alike::Frames, &light)?;
    let usable = inputs.usable();
    let (shape, n) = (inputs.shape, usable.len());
    let ask = |request| plan_phase(&request, &job.resources, &capabilities);
    let mut phases = Vec::new();
    let mut masters = 0;
    for (given, what) in [(&job.bias, "bias"), (&job.dark, "dark"), (&job.flat, "flat")] {
        if given.is_empty() {
            continue;
        }
        let files = resolve(given, what)?;
        masters += 1;
        if files.len() > 1 {
            phases.push(ask(requests::master(shape, files.len()))?);
        }
    }
    let masters_bytes = masters * 4 * shape.len() as u64;
    let max_stars = stars_per_frame(n, &job.recipe);
    let need = requests::measure_need(shape, inputs.planes, max_stars);
    phases.push(ask(requests::measure(need, n, masters_bytes))?);
    let (colour, resample) = resampling(&job.recipe, n, inputs.cfa);
    let planes = if inputs.cfa.is_some() { 3 } else { inputs.planes };
    let scale = job.recipe.drizzle.as_ref().map_or(1.0, |d| d.scale);
    let side = |size: usize| (size as f64 * scale) as usize;
    let canvas = Shape::new(side(shape.height), side(shape.width));
    let cost = BlockCost::new(n, planes, colour, resample);
    let combine = ask(requests::combine(canvas, n, cost, masters_bytes))?;
    let input_bytes: u64 = usable.iter().map(|&i| inputs.info(i).file_bytes).sum();
    // A block is read with a margin of interpolation and defects.
    let margin = match combine.unit {
        PlannedUnit::Block { side, .. } => 1.0 + 16.0 * scale / side as f64,
        _ => 1.0,
    };
    phases.push(combine);
    Ok(StackPlan {
        n_inputs: inputs.files.len(),
        lost: inputs
            .files
            .iter()
            .filter_map(|f| match &f.lost {
                Some(FrameOutcome::Failed { reason } | FrameOutcome::Skipped { reason }) => {
                    Some((f.path.display().to_string(), reason.clone()))
                }
                _ => None,
            })
            .collect(),
        shape,
        colour: match (inputs.planes, inputs.cfa) {
            (3, _) => "RGB".into(),
            (_, Some(cfa)) => cfa.name().into(),
            _ => "mono".into(),
        },
        input_bytes,
        read_bytes: input_bytes + (input_bytes as f64 * margin * margin) as u64,
        peak_bytes: phases.iter().map(|p| p.peak_bytes).max().unwrap_or(0),
        phases,
        capabilities,
    })
}

impl fmt::Display for StackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} frames, {} {}, {} to read ({} of input)",
            self.n_inputs - self.lost.len(),
            self.n_inputs,
            self.shape,
            self.colour,
            format_bytes(self.read_bytes),
            format_bytes(self.input_bytes),
        )?;
        for (file, reason) in &self.lost {
            writeln!(f, "  not {file}: {reason}")?;
        }
        writeln!(
            f,
            "{:<16} {:<11} {:>7} {:>7} {:>12} {:>12} {:>12}",
            "phase", "executor", "workers", "units", "unit", "a unit", "peak"
        )?;
        for p in &self.phases {
            let unit = match p.unit {
                PlannedUnit::Frame => "frame".to_owned(),
                PlannedUnit::Rows { rows } => format!("{rows} rows"),
                PlannedUnit::Block { side, .. } => format!("{side}×{side} px"),
            };
            writeln!(
                f,
                "{:<16} {:<11} {:>7} {:>7} {:>12} {:>12} {:>12}",
                p.kind.name(),
                p.executor.name(),
                p.workers,
                p.n_units,
                unit,
                format_bytes(p.work_bytes + p.result_bytes),
                format_bytes(p.peak_bytes),
            )?;
        }
        let budget = self.phases.first().map_or(0, |p| p.budget.bytes);
        write!(
            f,
            "predicted peak {} of a budget of {}",
            format_bytes(self.peak_bytes),
            format_bytes(budget)
        )
    }
}
