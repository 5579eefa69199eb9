//! The order of a stack's steps.

use std::path::PathBuf;

use stillframe_image::{CfaPattern, Point, Shape, Transform};
use stillframe_io::inputs::Inputs as Found;
use stillframe_kernels::combine::{Combination, Rejection, RejectionMethod};
use stillframe_kernels::register::fit::Model;
use stillframe_kernels::warp::WarpKernel;
use stillframe_runtime::Budget;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::PlannedUnit;

use super::burst::{Burst, BurstSpec, FrameFile};
use super::calibration::{self, defects_from_lights};
use super::canvas::Canvas;
use super::combine::{ColourMode, CombineFrame, CombineSpec, Resample};
use super::error::StackError;
use super::gauge::{Gauged, choose_reference, gauge};
use super::geometry::{
    Evidence, FieldRequest, MatchedFrame, fit_fields, joint_frames, mean_geometry, median,
    residuals,
};
use super::inputs::{self, Alike, Inputs};
use super::measure::{FrameMeasure, LevelBoxes, MeasureSpec, Measured};
use super::output::{self, Stack};
use super::phases::{CombinePhase, MeasurePhase};
use super::photometry::{Member, WeightLattice, scales, skies};
use super::reconstruct::{ReconstructTile, TileSources, reconstruct, tiles};
use super::report::{FrameOutcome, StackReport};
use super::requests;
use super::resume::{StageKey, Stages};
use super::run::{PhaseRecord, Run, StackJob, identity, resolve_lights};
use super::synthetic::Synthetic;
use super::tile_gauge::tile_gauge;
use super::tile_pass::{
    TileRegistration, TileView, register_tiles, tile_grid, tile_size, tiles_to_register,
};
use super::weighing::{Weighing, weigh};
use crate::recipe::{
    self, Clamping, ColourMethod, FieldMethod, GaugeMethod, HotPixels, Kernel, Linearity,
    ReconstructionMethod, StackRecipe,
};
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
        observer,
        cancel,
        capabilities,
        stages: Stages::new(&job.output, job.resume),
        scratch: scratch.path().to_path_buf(),
        warnings: Vec::new(),
        phases: Vec::new(),
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
    let (burst, measures) = measure_all(&mut run, &mut inputs, prepared, LevelBoxes::default())?;
    let mut solved = solve(&mut run, &mut inputs, &burst, &measures)?;
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
        return Err(too_few(inputs, needed));
    }
    Ok(())
}

fn too_few(inputs: &Inputs, needed: usize) -> StackError {
    let first = inputs.files.iter().find_map(|f| match &f.lost {
        Some(FrameOutcome::Failed { reason } | FrameOutcome::Skipped { reason }) => {
            Some(format!("{}: {reason}", f.path.display()))
        }
        _ => None,
    });
    StackError::TooFewFrames {
        usable: inputs.usable().len(),
        given: inputs.files.len(),
        needed,
        first_reason: first.unwrap_or_else(|| "no other frame was given".into()),
    }
}

/// Stars that are kept of each frame of a burst of `n`: all frames together stay below a bound, so
/// that memory does not grow with their number.
pub(crate) fn stars_per_frame(n: usize, recipe: &StackRecipe) -> usize {
    const ALL_FRAMES: usize = 400_000;
    const LEAST: usize = 300;
    (ALL_FRAMES / n.max(1)).max(LEAST).min(recipe.metrics.max_stars)
}

/// Pass 1; `boxes` are those of the usable frames, in order. Frames that cannot be used are lost; the measures are those of the usable ones, which
/// are the frames of the burst, in order.
pub(crate) fn measure_all(
    run: &mut Run<'_>,
    inputs: &mut Inputs,
    prepared: calibration::Prepared,
    boxes: LevelBoxes,
) -> Result<(Burst, Vec<FrameMeasure>), StackError> {
    let recipe = &run.job.recipe;
    let usable = inputs.usable();
    let mut spec = BurstSpec {
        shape: inputs.shape,
        planes: inputs.planes,
        cfa: inputs.cfa,
        saturation: recipe.input.saturation.map(|s| s as f32),
        frames: usable
            .iter()
            .zip(&prepared.dark_scale)
            .map(|(&i, &dark_scale)| {
                let path = inputs.files[i].path.clone();
                let pixels = if inputs.files[i].needs_spool {
                    run.scratch.join(format!("frame_{i:06}.fits"))
                } else {
                    path.clone()
                };
                let shape = inputs.info(i).shape;
                FrameFile { path, pixels, dark_scale, shape }
            })
            .collect(),
        masters: prepared.masters,
    };
    let key = StageKey::of(&(
        usable.iter().map(|&i| identity(inputs.info(i))).collect::<Vec<_>>(),
        run.calibration_identity()?,
        (&recipe.input, &recipe.calibration, &recipe.metrics, &boxes),
    ));
    let wants_lights = match recipe.calibration.hot_pixels {
        HotPixels::Frames => true,
        HotPixels::Auto => run.job.dark.is_empty(),
        HotPixels::Dark | HotPixels::Off => false,
    };
    let is_one_camera = spec.frames.iter().all(|f| f.shape == spec.shape);
    // Two frames cannot tell a defect from a star.
    if wants_lights && inputs.planes == 1 && usable.len() >= 3 && is_one_camera {
        let packed = spec.frames.iter().any(|f| f.pixels != f.path);
        let mut plain = spec.clone();
        plain.frames.iter_mut().for_each(|f| f.pixels.clone_from(&f.path));
        let name = if packed { "defects_packed" } else { "defects" };
        let found = if let Some(found) = run.stages.load(name, key) {
            found
        } else {
            let found = defects_from_lights(run, &Burst::open(plain)?)?;
            run.save_stage(name, key, &found)?;
            found
        };
        let (hot, cold): (Vec<u32>, Vec<u32>) = found;
        merge_sorted(&mut spec.masters.hot, hot);
        merge_sorted(&mut spec.masters.cold, cold);
    }
    let stage: Option<Vec<Measured>> = run.stages.load("measure", key);
    let is_spooled = spec.frames.iter().all(|f| f.pixels.exists());
    let burst = Burst::new(spec);
    let measured = match stage {
        Some(measured) if is_spooled && measured.len() == usable.len() => measured,
        _ => {
            let measured = measure_phase(run, &burst, boxes)?;
            run.save_stage("measure", key, &measured)?;
            measured
        }
    };
    let mut kept = Vec::new();
    let mut measures: Vec<FrameMeasure> = Vec::new();
    for (k, (result, &index)) in measured.into_iter().zip(&usable).enumerate() {
        let file = |i: usize| inputs.files[i].path.display().to_string();
        let lost = match &result {
            Err(reason) => Some(FrameOutcome::Failed { reason: reason.clone() }),
            Ok(m) => match kept.iter().zip(&measures).find(|(_, other)| other.sha256 == m.sha256) {
                Some((&(_, other), _)) => Some(FrameOutcome::Skipped {
                    reason: format!("it holds the same bytes as {}", file(other)),
                }),
                None => match (&m.stretched, recipe.input.linearity) {
                    (Some(reason), Linearity::Require) => {
                        Some(FrameOutcome::Failed { reason: format!("it is not linear: {reason}") })
                    }
                    _ => None,
                },
            },
        };
        match (lost, result) {
            (Some(outcome), _) => inputs.lose(index, outcome),
            (None, Ok(measure)) => {
                kept.push((k, index));
                measures.push(measure);
            }
            (None, Err(_)) => {}
        }
    }
    let stretched = measures.iter().filter(|m| m.stretched.is_some()).count();
    if stretched > 0 {
        let reason = measures.iter().find_map(|m| m.stretched.clone()).unwrap_or_default();
        run.warn(format!("{stretched} frame(s) do not look linear ({reason}); stack linear data"));
    }
    let needed = run.job.recipe.input.min_frames.max(1);
    if measures.len() < needed {
        return Err(too_few(inputs, needed));
    }
    let mut spec = burst.spec;
    spec.frames = kept.iter().map(|(k, _)| spec.frames[*k].clone()).collect();
    Ok((Burst::open(spec)?, measures))
}

fn merge_sorted(into: &mut Vec<u32>, more: Vec<u32>) {
    into.extend(more);
    into.sort_unstable();
    into.dedup();
}

fn measure_phase(
    run: &mut Run<'_>,
    burst: &Burst,
    boxes: LevelBoxes,
) -> Result<Vec<Measured>, StackError> {
    let recipe = &run.job.recipe;
    let n = burst.spec.frames.len();
    let spec = MeasureSpec {
        mesh_px: recipe.metrics.mesh_px,
        detection_sigma: recipe.metrics.detection_sigma,
        max_stars: stars_per_frame(n, recipe),
        judge_linearity: recipe.input.linearity != Linearity::Off,
        boxes,
    };
    let shapes = burst.spec.frames.iter().map(|f| f.shape);
    let largest = shapes.max_by_key(|s| s.len()).unwrap_or(burst.spec.shape);
    let need = requests::measure_need(largest, burst.spec.planes, spec.max_stars);
    let request = requests::measure(need, n, burst.spec.masters.bytes());
    let plan = run.plan(&request)?;
    let files =
        (run.spec_file(&plan, "burst", &burst.spec)?, run.spec_file(&plan, "measure", &spec)?);
    let files = files.0.as_deref().zip(files.1.as_deref());
    let phase = MeasurePhase { burst, spec: &spec, need, files };
    let mut measured = Vec::with_capacity(n);
    run.run_phase(&phase, &plan, |_, result| {
        measured.push(match result {
            UnitResult::Done(output) => output,
            UnitResult::Failed(reason) => Err(reason),
        });
        Ok(())
    })?;
    Ok(measured)
}

/// What lies between the passes: how every member of the burst is to be combined.
#[derive(Debug)]
pub(super) struct Solved {
    pub(super) spec: CombineSpec,
    /// Index in the burst of each frame of `spec`.
    pub(super) members: Vec<usize>,
    pub(super) gauged: Vec<Gauged>,
    pub(super) ref_from_frame: Vec<Transform>,
    pub(super) sightings: Vec<usize>,
    pub(super) residual_rms_px: Vec<f64>,
    pub(super) field_rms_px: Option<Vec<f64>>,
    pub(super) correlation_px: Option<f64>,
    pub(super) transparency: Vec<f64>,
    /// Index of the reference in the burst.
    pub(super) reference: usize,
    pub(super) fwhm_px: f64,
    pub(super) shrinkage: f64,
    /// The groups of the frames, if the recipe wants any.
    pub(super) synthetic: Option<Synthetic>,
    /// What tiles have found on the image.
    pub(super) registration: Option<TileRegistration>,
    /// The tiles that the result is put together from; without them the fields are used.
    pub(super) tiles: Option<Vec<ReconstructTile>>,
}

/// FWHM that is assumed where no star tells, pixels (the original's figure).
const FALLBACK_FWHM_PX: f64 = 3.0;

#[expect(clippy::too_many_lines, reason = "the steps of one solution, in order")]
fn solve(
    run: &mut Run<'_>,
    inputs: &mut Inputs,
    burst: &Burst,
    measures: &[FrameMeasure],
) -> Result<Solved, StackError> {
    let recipe = &run.job.recipe;
    let usable = inputs.usable();
    let mut gauge_recipe = recipe.gauge.clone();
    if let recipe::ReferenceFrame::Frame(index) = gauge_recipe.reference {
        let place = usable.iter().position(|&i| i == index).ok_or_else(|| {
            StackError::Recipe(format!(
                "gauge.reference is frame {index}, which is not among the {} usable frames",
                usable.len()
            ))
        })?;
        gauge_recipe.reference = recipe::ReferenceFrame::Frame(place);
    }
    let reference = choose_reference(measures, &gauge_recipe);
    let all = match tile_gauge(run, burst, measures)? {
        Some(all) => all,
        None => gauge(burst, measures, reference, &gauge_recipe, &run.light())?,
    };
    let (mut members, mut gauged) = (Vec::new(), Vec::new());
    for (i, g) in all.into_iter().enumerate() {
        match g {
            Gauged::Failed { reason } => inputs.lose(
                usable[i],
                FrameOutcome::Failed { reason: format!("not registered: {reason}") },
            ),
            g => {
                members.push(i);
                gauged.push(g);
            }
        }
    }
    let needed = recipe.input.min_frames.max(1);
    if members.len() < needed {
        return Err(too_few(inputs, needed));
    }
    let n = members.len();
    let shape = burst.spec.shape;
    let fwhm_px = {
        let all: Vec<f64> =
            members.iter().filter_map(|&i| measures[i].metrics.fwhm_px.map(f64::from)).collect();
        if all.is_empty() { FALLBACK_FWHM_PX } else { median(all) }
    };
    let matched: Vec<MatchedFrame> = gauged.iter().map(as_matched).collect();
    let frames = joint_frames(&matched);
    let place = members.iter().position(|&i| i == reference).unwrap_or(0);
    let centre = Point::new(0.5 * (shape.width as f64 - 1.0), 0.5 * (shape.height as f64 - 1.0));
    let uses_stars = recipe.gauge.method != GaugeMethod::None;
    let mut joint = uses_stars.then(|| mean_geometry(&frames, place, centre));
    let ref_from_frame: Vec<Transform> = match &joint {
        Some(joint) => joint.ref_from_frame.clone(),
        None => matched.iter().map(|m| m.ref_from_frame).collect(),
    };
    let residual_rms_px =
        joint.as_ref().map_or_else(|| vec![0.0; n], |joint| residuals(joint, &frames));

    let drizzle_scale = recipe.drizzle.as_ref().map_or(1.0, |d| d.scale);
    let canvas =
        Canvas::new(recipe.canvas, shape, &ref_from_frame, drizzle_scale).ok_or_else(|| {
            StackError::Recipe(format!(
                "canvas: {} leaves no area that can be made; use canvas: reference",
                serde_json::to_string(&recipe.canvas).unwrap_or_default()
            ))
        })?;
    let region = canvas.reference_shape();
    let lattice = weight_lattice(&canvas, fwhm_px, recipe);
    let request = FieldRequest {
        first: canvas.first,
        shape: region,
        spacing: recipe
            .field
            .spacing_px
            .unwrap_or((0.6 * tile_size(fwhm_px, recipe)).clamp(32.0, 160.0)),
        // The outer nodes of the weights lie beyond the canvas.
        probes: lattice
            .points()
            .iter()
            .map(|p| {
                let last = |first: f64, size: usize| first + size as f64 - 1.0;
                Point::new(
                    p.x.min(last(canvas.first.x, region.width)),
                    p.y.min(last(canvas.first.y, region.height)),
                )
            })
            .collect(),
    };
    let mut fields = None;
    let mut registration = None;
    let wants_field = recipe.field.method != FieldMethod::Off;
    if wants_field && n < recipe.field.min_burst_frames {
        if n > 1 {
            run.warn(format!(
                "{n} frames are fewer than field.min_burst_frames = {}: the gauge alone is used, \
                 without local fields",
                recipe.field.min_burst_frames
            ));
        }
    } else if wants_field {
        let by_stars = recipe.field.method != FieldMethod::Tiles;
        if by_stars && let Some(joint) = &mut joint {
            let evidence = Evidence { stars: Some((joint, &frames)), vectors: &[], n_frames: n };
            fields = fit_fields(evidence, &request, &run.light())?;
        }
        let list = member_list(&members, measures, &ref_from_frame);
        let scale = scales(&list, joint.as_ref(), &recipe.normalization);
        let times = times(inputs, &members);
        let view = TileView {
            members: &members,
            times: &times,
            fields: fields.as_ref(),
            scales: &scale,
            fwhm_px,
            origin: canvas.first,
            plane: region,
        };
        if let Some(tiles) = tiles_to_register(&view, &lattice, recipe) {
            let found = register_tiles(run, burst, &view, tiles, &ref_from_frame)?;
            let stars = match (&mut joint, by_stars) {
                (Some(joint), true) => Some((joint, frames.as_slice())),
                _ => None,
            };
            let evidence = Evidence { stars, vectors: &found.vectors, n_frames: n };
            fields = fit_fields(evidence, &request, &run.light())?;
            registration = Some(found);
        }
    }
    let field_rms_px = match (&joint, &fields) {
        (Some(joint), Some(fields)) => Some(
            (0..n)
                .map(|i| {
                    let left = joint
                        .observations(&frames, i)
                        .into_iter()
                        .map(|o| (o.displacement - fields.fields[i].at(o.position)).norm());
                    median(left.collect()) / 1.1774
                })
                .collect(),
        ),
        _ => None,
    };
    let list = member_list(&members, measures, &ref_from_frame);
    let scale = scales(&list, joint.as_ref(), &recipe.normalization);
    let planes = if burst.spec.cfa.is_some() { 3 } else { burst.spec.planes };
    let mut sky = vec![Vec::new(); n];
    let mut levels = Vec::new();
    for plane in 0..planes {
        let (surfaces, level) = skies(&list, &scale, plane, &canvas, &recipe.normalization);
        for (all, s) in sky.iter_mut().zip(surfaces) {
            all.push(s);
        }
        levels.push(level);
    }
    let weighed = weigh(
        run,
        burst,
        &Weighing {
            list: &list,
            members: &members,
            inputs: &inputs.usable(),
            scales: &scale,
            fields: fields.as_ref(),
            tiles: registration.as_ref(),
            lattice: &lattice,
            nodes: &request.probes,
            tile_px: tile_size(fwhm_px, recipe),
            residual_px: field_rms_px.as_deref().unwrap_or(&residual_rms_px),
        },
    )?;
    let (colour, resample) = resampling(recipe, n, burst.spec.cfa);
    let gain = inputs.info(inputs.usable()[0]).gain_e_per_adu;
    let frames: Vec<CombineFrame> = members
        .iter()
        .enumerate()
        .map(|(k, &i)| {
            let noise = measures[i].metrics.noise;
            CombineFrame {
                frame: i,
                frame_from_ref: list[k].frame_from_ref,
                field: fields.as_ref().map(|f| f.fields[k].clone()),
                scale: scale[k].iter().map(|s| (1.0 / s) as f32).collect(),
                sky: std::mem::take(&mut sky[k]),
                weight: weighed.weights[k].clone(),
                sigma_floor: noise / scale[k][planes / 2] as f32,
                undershoot: match recipe.resampling.clamping {
                    Clamping::Lobes => UNDERSHOOT_SIGMA * noise,
                    Clamping::None => f32::INFINITY,
                },
                group: weighed.group(k),
            }
        })
        .collect();
    let tiles = match recipe.reconstruction.method {
        ReconstructionMethod::Field => None,
        ReconstructionMethod::Tiles => tile_grid(region, fwhm_px, recipe).map(|grid| {
            tiles(&TileSources {
                canvas: &canvas,
                grid,
                registration: registration.as_ref(),
                fields: fields.as_ref(),
                n_frames: n,
                sigma_px: recipe.reconstruction.variance_window_sigma_px,
            })
        }),
    };
    if tiles.is_none() && recipe.reconstruction.method == ReconstructionMethod::Tiles {
        run.warn(format!("{region} pixels are too few for tiles: the gauge alone is used"));
    }
    Ok(Solved {
        spec: CombineSpec {
            frames,
            n_groups: weighed.n_groups(),
            canvas,
            resample,
            colour,
            planes,
            rejection: rejection(&recipe.rejection),
            combination: match recipe.combination {
                recipe::Combination::Mean => Combination::Mean,
                recipe::Combination::Median => Combination::Median,
            },
            levels,
            shot: gain.map_or(0.0, |g| (1.0 / g) as f32),
            block_side: 0,
        },
        sightings: joint
            .as_ref()
            .map_or_else(|| vec![0; n], |j| j.sightings.iter().map(Vec::len).collect()),
        members,
        gauged,
        ref_from_frame,
        residual_rms_px,
        field_rms_px,
        correlation_px: fields.map(|f| f.correlation_px),
        transparency: scale.iter().map(|s| s[planes / 2]).collect(),
        reference,
        fwhm_px,
        shrinkage: weighed.shrinkage,
        synthetic: weighed.synthetic,
        registration,
        tiles,
    })
}

/// Ringing is limited to this many σ of the noise (see [`stillframe_kernels::warp::Warper`]).
const UNDERSHOOT_SIGMA: f32 = 2.5;

fn as_matched(gauged: &Gauged) -> MatchedFrame {
    match gauged {
        Gauged::Stars { matched, .. } => matched.clone(),
        // Without stars the transform stays what phase correlation found.
        Gauged::Phase { ref_from_frame } | Gauged::Tiles { ref_from_frame } => MatchedFrame {
            stars: Vec::new(),
            ref_from_frame: *ref_from_frame,
            model: Model::Similarity,
        },
        Gauged::Identity | Gauged::Failed { .. } => MatchedFrame {
            stars: Vec::new(),
            ref_from_frame: Transform::IDENTITY,
            model: Model::Similarity,
        },
    }
}

fn member_list<'a>(
    members: &[usize],
    measures: &'a [FrameMeasure],
    ref_from_frame: &[Transform],
) -> Vec<Member<'a>> {
    members
        .iter()
        .zip(ref_from_frame)
        .map(|(&i, &ref_from_frame)| Member {
            measure: &measures[i],
            ref_from_frame,
            frame_from_ref: ref_from_frame
                .inverse()
                .expect("matching refuses transforms that cannot be undone"),
        })
        .collect()
}

/// When each member was taken: seconds if all headers say, else its place in the list.
fn times(inputs: &Inputs, members: &[usize]) -> Vec<f64> {
    let usable = inputs.usable();
    let starts: Vec<Option<f64>> = usable.iter().map(|&i| inputs.info(i).start_secs).collect();
    let ascend = starts.windows(2).all(|w| w[0].is_some() && w[0] <= w[1]);
    match starts.iter().copied().collect::<Option<Vec<f64>>>() {
        Some(secs) if ascend && secs.len() == members.len() => secs,
        _ => (0..members.len()).map(|k| k as f64).collect(),
    }
}

fn weight_lattice(canvas: &Canvas, fwhm_px: f64, recipe: &StackRecipe) -> WeightLattice {
    let spacing = tile_size(fwhm_px, recipe) * (1.0 - recipe.field.tile.overlap);
    let region = canvas.reference_shape();
    let nodes = |size: usize| (size as f64 / spacing).ceil() as usize + 1;
    WeightLattice {
        first: canvas.first,
        spacing,
        nodes: Shape::new(nodes(region.height), nodes(region.width)),
    }
}

pub(crate) fn kernel(kernel: Kernel) -> WarpKernel {
    match kernel {
        Kernel::Lanczos3 => WarpKernel::Lanczos3,
        Kernel::Bicubic => WarpKernel::Bicubic,
        Kernel::Bilinear => WarpKernel::Bilinear,
        Kernel::Nearest => WarpKernel::Nearest,
    }
}

pub(crate) fn rejection(r: &recipe::RejectionRecipe) -> Rejection {
    Rejection {
        method: match r.method {
            recipe::RejectionMethod::None => RejectionMethod::None,
            recipe::RejectionMethod::KappaSigma => RejectionMethod::KappaSigma,
            recipe::RejectionMethod::WinsorizedSigma => RejectionMethod::WinsorizedSigma,
            recipe::RejectionMethod::LinearFit => RejectionMethod::LinearFit,
            recipe::RejectionMethod::Median => RejectionMethod::Median,
        },
        low: r.low as f32,
        high: r.high as f32,
        iterations: r.iterations as u32,
        min_fraction: r.min_fraction as f32,
    }
}

/// How colours come about and how samples get onto the canvas, for a burst of `n` frames.
pub(super) fn resampling(
    recipe: &StackRecipe,
    n: usize,
    cfa: Option<CfaPattern>,
) -> (ColourMode, Resample) {
    let few = n < recipe.colour.min_frames_for_drizzle;
    let colour = match (cfa, recipe.colour.method) {
        (None, _) => ColourMode::Planes,
        (Some(cfa), ColourMethod::CfaDrizzle) => ColourMode::Mosaic(cfa),
        (Some(cfa), ColourMethod::Auto) if !few => ColourMode::Mosaic(cfa),
        (Some(cfa), ColourMethod::Auto | ColourMethod::Demosaic) => ColourMode::Demosaic(cfa),
    };
    let resample = match (colour, &recipe.drizzle, recipe.colour.pixfrac) {
        (_, Some(d), _) => Resample::Drizzle { pixfrac: d.pixfrac },
        (ColourMode::Mosaic(_), None, Some(pixfrac)) => Resample::Drizzle { pixfrac },
        (_, None, _) => Resample::Warp { kernel: kernel(recipe.resampling.kernel) },
    };
    (colour, resample)
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
