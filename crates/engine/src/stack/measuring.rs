//! Pass 1: every frame is measured on its own; frames that cannot be used are lost.

use stillframe_runtime::phase::UnitResult;

use super::burst::{Burst, BurstSpec, FrameFile};
use super::calibration::{self, defects_from_lights};
use super::error::StackError;
use super::inputs::Inputs;
use super::measure::{FrameMeasure, LevelBoxes, MeasureSpec, Measured};
use super::phases::MeasurePhase;
use super::report::FrameOutcome;
use super::requests;
use super::run::{Run, identity};
use crate::recipe::{HotPixels, Linearity, StackRecipe};
use crate::resume::StageKey;

/// Stars that are kept of each frame of a burst of `n`: all frames together stay below a bound, so
/// that memory does not grow with their number.
pub(crate) fn stars_per_frame(n: usize, recipe: &StackRecipe) -> usize {
    const ALL_FRAMES: usize = 400_000;
    const LEAST: usize = 300;
    (ALL_FRAMES / n.max(1)).max(LEAST).min(recipe.metrics.max_stars)
}

/// Pass 1; `boxes` are those of the usable frames, in order. Frames that cannot be used are lost; the
/// measures are those of the usable ones, which are the frames of the burst, in order.
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
        return Err(inputs.too_few(needed));
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
