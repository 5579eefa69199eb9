//! What a mosaic will do and need, from headers alone.

use std::fmt;

use serde::Serialize;
use stillframe_image::{Rect, Shape};
use stillframe_io::wcs::PixelMap;
use stillframe_kernels::combine::SampleWeights;
use stillframe_runtime::budget::format_bytes;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::ordered::Lanes;
use stillframe_runtime::plan::{
    ParallelPlan, PhaseKind, PhaseRequest, PlannedUnit, UnitRule, plan as plan_phase,
};

use super::assemble::{AssembleSpec, BlockCost, Resample};
use super::error::MosaicError;
use super::footprint::footprint;
use super::pipeline::{choose_grid, lose_unseen, resample, solve_headers};
use super::run::MosaicJob;
use super::sink::MosaicSink;
use crate::stack::light::LightPhases;
use crate::stack::measuring::stars_per_frame;
use crate::stack::run::resolve_lights;
use crate::stack::{FrameOutcome, StackError, inputs, requests};

/// Largest side of a block, output pixels: larger ones read no less.
const LARGEST_SIDE: usize = 512;

/// What assembling asks of the machine.
pub(super) fn assemble_request(spec: &AssembleSpec, masters_bytes: u64) -> PhaseRequest {
    let bounds: Vec<Rect> = spec.tiles.iter().map(|t| t.bounds).collect();
    let deepest = deepest(&bounds);
    request(spec.grid.shape, spec.planes, spec.tiles.len(), spec.cost(deepest), masters_bytes)
}

fn request(
    shape: Shape,
    planes: usize,
    n: usize,
    cost: BlockCost,
    masters_bytes: u64,
) -> PhaseRequest {
    let mut request = PhaseRequest::new(
        PhaseKind::MOSAIC_COMBINE,
        UnitRule::Blocks {
            height: shape.height,
            width: shape.width,
            halo: 0,
            min_side: 32,
            max_side: LARGEST_SIDE,
            multiple: 32,
            overhead_bytes: cost.overhead,
            work_bytes_per_pixel: cost.work_per_pixel,
            result_bytes_per_pixel: cost.result_per_pixel,
        },
    );
    request.n_frames = n;
    request.shared_bytes = masters_bytes + MosaicSink::bytes(shape, planes, LARGEST_SIDE);
    request
}

/// The most bounds that meet in one place.
fn deepest(bounds: &[Rect]) -> usize {
    // the deepest place has the left side of one and the top of another as its own
    let mut most = 0;
    for (k, a) in bounds.iter().enumerate() {
        // neighbours in the list are neighbours on the sky as a rule: a few corners say enough, and the
        // needs of each block are counted exactly
        if bounds.len() > DEEPEST_SAMPLES && k % bounds.len().div_ceil(DEEPEST_SAMPLES) != 0 {
            continue;
        }
        for (x, y) in
            [(a.x, a.y), (a.x + a.width / 2, a.y + a.height / 2), (a.x_end() - 1, a.y_end() - 1)]
        {
            let holds = |b: &&Rect| x >= b.x && x < b.x_end() && y >= b.y && y < b.y_end();
            most = most.max(bounds.iter().filter(holds).count());
        }
    }
    most.max(1)
}

/// Images whose corners are looked at for the depth.
const DEEPEST_SAMPLES: usize = 512;

/// A mosaic as it would run here: grid, phases, units, memory, bytes to read.
#[derive(Clone, Debug, Serialize)]
pub struct MosaicPlan {
    /// Files that were found.
    pub n_inputs: usize,
    /// Files that cannot be used, with the reason, by header alone.
    pub lost: Vec<(String, String)>,
    /// Size of the grid.
    pub shape: Shape,
    /// Side of an output pixel in its middle, arcseconds.
    pub scale_arcsec_per_px: Option<f64>,
    /// Most images that meet in one place.
    pub deepest: usize,
    /// Bytes of the usable images.
    pub input_bytes: u64,
    /// Plan of each heavy phase.
    pub phases: Vec<ParallelPlan>,
    /// Largest predicted peak of all phases, bytes.
    pub peak_bytes: u64,
    /// The machine.
    pub capabilities: Capabilities,
}

/// Plans a mosaic: opens headers, runs nothing.
///
/// # Errors
/// Whatever [`super::run`] would fail with on inputs, grid, recipe or budget.
pub fn plan(job: &MosaicJob) -> Result<MosaicPlan, MosaicError> {
    let capabilities = Capabilities::detect();
    let cancel = Cancel::new();
    let light = LightPhases { lanes: Lanes::Calling, cancel: &cancel };
    let measuring = job.measuring();
    let found = resolve_lights(&measuring)?;
    let alike = inputs::Alike::Colours;
    let mut inputs = inputs::open(found, &job.recipe.stack.input, alike, &light)?;
    let wcs = solve_headers(&mut inputs);
    let grid = choose_grid(job, &inputs, &wcs)?;
    lose_unseen(&grid, &mut inputs, &wcs)?;
    let usable = inputs.usable();
    let n = usable.len();
    let ask =
        |request| plan_phase(&request, &job.resources, &capabilities).map_err(StackError::from);
    let mut bounds = Vec::with_capacity(n);
    for &i in &usable {
        let Some(tile) = &wcs[i] else { continue };
        if let Ok(map) = PixelMap::new(tile, &grid.wcs) {
            bounds.extend(footprint(&map, inputs.info(i).shape, grid.shape));
        }
    }
    let largest = usable.iter().map(|&i| inputs.info(i).shape).max_by_key(|s| s.len());
    let largest = largest.unwrap_or(Shape::new(0, 0));
    let planes = if inputs.cfa.is_some() { 3 } else { inputs.planes };
    let max_stars = stars_per_frame(n, &job.recipe.stack);
    let need = requests::measure_need(largest, inputs.planes, max_stars);
    let weights = if job.recipe.weights.feather_px > 0.0 || resample(&job.recipe) == Resample::Exact
    {
        SampleWeights::Given
    } else {
        SampleWeights::Equal
    };
    let deepest = deepest(&bounds);
    let cost = BlockCost::new(deepest, planes, weights, inputs.cfa);
    let phases =
        vec![ask(requests::measure(need, n, 0))?, ask(request(grid.shape, planes, n, cost, 0))?];
    let middle =
        stillframe_image::Point::new(0.5 * grid.shape.width as f64, 0.5 * grid.shape.height as f64);
    Ok(MosaicPlan {
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
        shape: grid.shape,
        scale_arcsec_per_px: grid.wcs.scale_arcsec_per_px(middle),
        deepest,
        input_bytes: usable.iter().map(|&i| inputs.info(i).file_bytes).sum(),
        peak_bytes: phases.iter().map(|p| p.peak_bytes).max().unwrap_or(0),
        phases,
        capabilities,
    })
}

impl fmt::Display for MosaicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} images ({}), grid {} of {:.3} arcsec/px, up to {} images deep",
            self.n_inputs - self.lost.len(),
            self.n_inputs,
            format_bytes(self.input_bytes),
            self.shape,
            self.scale_arcsec_per_px.unwrap_or(0.0),
            self.deepest,
        )?;
        for (file, reason) in &self.lost {
            writeln!(f, "  not {file}: {reason}")?;
        }
        for p in &self.phases {
            let unit = match p.unit {
                PlannedUnit::Frame => "image".to_owned(),
                PlannedUnit::Rows { rows } => format!("{rows} rows"),
                PlannedUnit::Block { side, .. } => format!("{side}×{side} px"),
            };
            writeln!(
                f,
                "{:<16} {:<11} {} workers, {} units of {unit}, {} a unit, peak {}",
                p.kind.name(),
                p.executor.name(),
                p.workers,
                p.n_units,
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
