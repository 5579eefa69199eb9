//! The results: FITS, preview, report, registration, telemetry; each appears whole or not at all.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;
use stillframe_image::{Header, Image, Rect, Shape, Value};
use stillframe_io::fits::FitsWriter;
use stillframe_io::preview::{PreviewOptions, write_png};
use stillframe_io::sink::{Existing, OutputFolder, write_file};
use stillframe_io::spool::ScratchDir;
use stillframe_kernels::ops::background::{Background, BackgroundParams, BackgroundScratch};
use stillframe_kernels::ops::metrics::frame_metrics;
use stillframe_kernels::ops::noise::difference_sigma;
use stillframe_kernels::ops::stars::{StarParams, StarScratch, detect};
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::Event;
use stillframe_runtime::usage;

use super::combine::Block;
use super::error::StackError;
use super::gauge::GaugedBy;
use super::geometry::median;
use super::inputs::Inputs;
use super::measure::FrameMeasure;
use super::pipeline::StackOutcome;
use super::registration;
use super::report::{
    FrameFigures, FrameGeometry, FrameOutcome, FrameReport, ResultFigures, StackReport,
};
use super::run::{Run, StackJob};
use super::solve::Solved;
use super::synthetic::shares;
use super::weights::effective_number;
use crate::recipe::Recipe;

/// The image that a run makes.
pub(crate) const IMAGE: &str = "stack.fits";

/// Files that a run writes.
const FILES: [&str; 6] =
    [IMAGE, "preview.png", "report.json", "registration.json", "recipe.json", "telemetry.json"];

/// The combined planes.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) planes: Vec<StackPlane>,
    pub(super) rejected_of_frame: Vec<u64>,
}

/// One plane of the result and its maps.
#[derive(Debug)]
pub(super) struct StackPlane {
    pub(super) value: Image<f32>,
    pub(super) weight: Image<f32>,
    pub(super) coverage: Image<i32>,
    pub(super) rejected: Image<i32>,
}

impl Stack {
    pub(super) fn new(shape: Shape, planes: usize, frames: usize) -> Self {
        let plane = || StackPlane {
            value: Image::filled(shape, 0.0),
            weight: Image::filled(shape, 0.0),
            coverage: Image::filled(shape, 0),
            rejected: Image::filled(shape, 0),
        };
        Self { planes: (0..planes).map(|_| plane()).collect(), rejected_of_frame: vec![0; frames] }
    }

    /// Puts a block where it belongs.
    pub(super) fn put(&mut self, rect: Rect, block: &Block) {
        for (plane, part) in self.planes.iter_mut().zip(&block.planes) {
            for row in 0..rect.height {
                let from = row * rect.width..(row + 1) * rect.width;
                let to = rect.x..rect.x_end();
                let y = rect.y + row;
                plane.value.row_mut(y)[to.clone()].copy_from_slice(&part.value[from.clone()]);
                plane.weight.row_mut(y)[to.clone()].copy_from_slice(&part.weight[from.clone()]);
                let counts = plane.coverage.row_mut(y)[to.clone()].iter_mut();
                for (c, n) in counts.zip(&part.coverage[from.clone()]) {
                    *c = *n as i32;
                }
                for (c, n) in plane.rejected.row_mut(y)[to].iter_mut().zip(&part.rejected[from]) {
                    *c = *n as i32;
                }
            }
            for (sum, n) in self.rejected_of_frame.iter_mut().zip(&part.rejected_of_frame) {
                *sum += n;
            }
        }
    }
}

/// Refuses to overwrite what is there, and makes the folder.
///
/// # Errors
/// [`StackError::Output`].
pub(super) fn check_folder(job: &StackJob, inputs: &[PathBuf]) -> Result<(), StackError> {
    let existing = if job.overwrite { Existing::Replace } else { Existing::Refuse };
    OutputFolder::create(&job.output, existing, &FILES, inputs)?;
    Ok(())
}

/// Why the output folder cannot be used.
pub(crate) fn folder_error(job: &StackJob, e: &std::io::Error) -> StackError {
    StackError::Output { path: job.output.clone(), reason: e.to_string() }
}

/// Tells the observer what became of every frame.
pub(super) fn tell_frames(run: &Run<'_>, report: &StackReport) {
    for frame in &report.frames {
        let (outcome, reason) = match &frame.outcome {
            FrameOutcome::Used { .. } => ("used", None),
            FrameOutcome::Skipped { reason } => ("skipped", Some(reason.clone())),
            FrameOutcome::Failed { reason } => ("failed", Some(reason.clone())),
        };
        run.observer.event(&Event::Frame {
            index: frame.index,
            file: frame.file.clone(),
            outcome: outcome.into(),
            reason,
            fields: std::collections::BTreeMap::new(),
        });
    }
}

/// Scratch space of the run, inside the output folder: results and scratch need the same disk.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn make_scratch(job: &StackJob) -> Result<ScratchDir, StackError> {
    Ok(ScratchDir::create(&job.output, 0)?)
}

/// The report: one outcome for every input, and the figures of the result.
pub(super) fn report(
    run: &Run<'_>,
    inputs: &Inputs,
    measures: &[FrameMeasure],
    solved: &Solved,
    stack: &Stack,
) -> StackReport {
    let usable: Vec<usize> = inputs.usable();
    // The burst's frames are the measured ones; those lost at registration are among them.
    let shares = frame_shares(solved);
    let mut frames: Vec<FrameReport> = inputs
        .files
        .iter()
        .enumerate()
        .map(|(index, file)| FrameReport {
            index,
            file: file.path.display().to_string(),
            outcome: file.lost.clone().unwrap_or(FrameOutcome::Failed { reason: String::new() }),
            figures: None,
            geometry: None,
        })
        .collect();
    for (k, &index) in usable.iter().enumerate() {
        let measure = &measures[solved.members[k]];
        let weight_fraction = shares[k];
        let report = &mut frames[index];
        report.outcome = FrameOutcome::Used { weight_fraction };
        report.figures = Some(FrameFigures {
            sha256: measure.sha256.clone(),
            exposure_secs: inputs.info(index).exposure_secs,
            stars: measure.stars.len(),
            fwhm_px: measure.metrics.fwhm_px.map(f64::from),
            roundness: measure.metrics.roundness.map(f64::from),
            background: f64::from(measure.metrics.background),
            noise: f64::from(measure.metrics.noise),
            saturated_fraction: measure.saturated_fraction,
        });
        let t = &solved.ref_from_frame[k];
        let (model, mirrored) = match solved.gauged[k] {
            GaugedBy::Stars { model, mirrored } => (format!("{model:?}").to_lowercase(), mirrored),
            GaugedBy::Phase => ("phase".into(), t.determinant() < 0.0),
            GaugedBy::Tiles => ("tiles".into(), false),
            GaugedBy::Nothing => ("identity".into(), false),
        };
        report.geometry = Some(FrameGeometry {
            ref_from_frame: t.m,
            model,
            rotation_deg: t.angle_rad().to_degrees(),
            scale: t.scale(),
            mirrored,
            matched_stars: solved.sightings[k],
            residual_rms_px: solved.residual_rms_px[k],
            field_residual_rms_px: solved.field_rms_px.as_ref().map(|f| f[k]),
            transparency: solved.transparency[k],
        });
    }
    StackReport {
        software: software(),
        recipe_sha256: run.job.recipe.sha256(),
        reference: usable
            .get(solved.members.iter().position(|&m| m == solved.reference).unwrap_or(usize::MAX))
            .copied(),
        warnings: run.warnings.clone(),
        frames,
        synthetic: solved.synthetic.as_ref().map(|s| s.report.clone()),
        result: Some(figures(inputs, measures, solved, stack)),
    }
}

/// Share of each frame in the result.
fn frame_shares(solved: &Solved) -> Vec<f64> {
    let frames = &solved.spec.frames;
    let weights: Vec<f64> = frames.iter().map(|f| f.weight.mean()).collect();
    let groups: Vec<usize> = frames.iter().map(|f| f.group).collect();
    shares(&weights, &groups)
}

pub(crate) fn software() -> String {
    format!("stillframe {}", env!("CARGO_PKG_VERSION"))
}

fn figures(
    inputs: &Inputs,
    measures: &[FrameMeasure],
    solved: &Solved,
    stack: &Stack,
) -> ResultFigures {
    let middle = &stack.planes[stack.planes.len() / 2];
    let shape = middle.value.shape();
    let bits = middle.coverage.map(|c| if c > 0 { 0 } else { stillframe_image::mask::NO_DATA });
    let background = Background::fit(
        &middle.value,
        &bits,
        &BackgroundParams::default(),
        &mut BackgroundScratch::default(),
    );
    let fwhm_out_px = background.ok().and_then(|background| {
        let stars = detect(
            &middle.value,
            &bits,
            &background,
            &StarParams::default(),
            &mut StarScratch::default(),
        );
        frame_metrics(&middle.value, &bits, &background, &stars).fwhm_px.map(f64::from)
    });
    let frames = &solved.spec.frames;
    let fwhm: Vec<f64> =
        frames.iter().filter_map(|f| measures[f.frame].metrics.fwhm_px.map(f64::from)).collect();
    let samples: f64 = stack.planes.iter().map(|p| sum(&p.coverage) + sum(&p.rejected)).sum();
    let rejected: f64 = stack.planes.iter().map(|p| sum(&p.rejected)).sum();
    let covered = middle.coverage.pixels().iter().filter(|c| **c > 0).count();
    ResultFigures {
        width: shape.width,
        height: shape.height,
        planes: stack.planes.len(),
        exposure_secs: exposure(inputs),
        fwhm_in_px: (!fwhm.is_empty()).then(|| median(fwhm)),
        fwhm_out_px,
        noise_in: median(frames.iter().map(|f| f64::from(f.sigma_floor)).collect()),
        noise_out: difference_sigma(&middle.value, &bits).map_or(0.0, f64::from),
        effective_frames: effective_number(frame_shares(solved).into_iter()),
        rejected_fraction: if samples > 0.0 { rejected / samples } else { 0.0 },
        covered_fraction: covered as f64 / shape.len().max(1) as f64,
    }
}

fn sum(counts: &Image<i32>) -> f64 {
    counts.pixels().iter().map(|c| f64::from(*c)).sum()
}

fn exposure(inputs: &Inputs) -> f64 {
    inputs.usable().iter().filter_map(|&i| inputs.info(i).exposure_secs).sum()
}

/// Writes everything.
///
/// # Errors
/// [`StackError::Write`]: full disk, read-only folder.
pub(super) fn write(
    run: &Run<'_>,
    inputs: &Inputs,
    measures: &[FrameMeasure],
    solved: &Solved,
    stack: &Stack,
    watch: &Stopwatch,
    outcome: &mut StackOutcome,
) -> Result<(), StackError> {
    let existing = if run.job.overwrite { Existing::Replace } else { Existing::Refuse };
    let path = |name: &str| run.job.output.join(name);
    write_fits(run, inputs, measures, solved, stack, path(IMAGE), existing)?;
    let planes: Vec<&Image<f32>> = stack.planes.iter().map(|p| &p.value).collect();
    let is_covered = |k: usize| stack.planes.iter().all(|p| p.coverage.pixels()[k] > 0);
    let bits = (0..planes[0].shape().len())
        .map(|k| if is_covered(k) { 0 } else { stillframe_image::mask::NO_DATA })
        .collect();
    let bits = Image::from_vec(planes[0].shape(), bits);
    write_png(&path("preview.png"), existing, &planes, Some(&bits), &PreviewOptions::default())?;
    write_json(path("report.json"), &outcome.report, existing)?;
    registration::write(&path("registration.json"), existing, solved, &inputs.usable())?;
    write_json(path("recipe.json"), &run.job.recipe, existing)?;
    outcome.wall_secs = watch.wall_secs();
    outcome.cpu_secs = watch.cpu_secs();
    outcome.peak_rss_bytes = usage::peak_rss_bytes();
    let telemetry = json!({
        "wall_secs": outcome.wall_secs,
        "cpu_secs": outcome.cpu_secs,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "capabilities": run.capabilities,
        "phases": outcome.phases,
    });
    write_json(path("telemetry.json"), &telemetry, existing)?;
    outcome.files = FILES.iter().map(|f| path(f)).collect();
    Ok(())
}

pub(crate) fn write_json(
    path: PathBuf,
    value: &impl Serialize,
    existing: Existing,
) -> Result<(), StackError> {
    let mut text = serde_json::to_string_pretty(value).expect("reports are plain data");
    text.push('\n');
    write_file(&path, existing, text.as_bytes())?;
    Ok(())
}

fn write_fits(
    run: &Run<'_>,
    inputs: &Inputs,
    measures: &[FrameMeasure],
    solved: &Solved,
    stack: &Stack,
    path: PathBuf,
    existing: Existing,
) -> Result<(), StackError> {
    let mut writer = FitsWriter::create(&path, existing)?;
    let header = header(run, inputs, measures, solved);
    let values: Vec<Image<f32>> = stack
        .planes
        .iter()
        .map(|p| {
            let mut value = p.value.clone();
            for (v, c) in value.pixels_mut().iter_mut().zip(p.coverage.pixels()) {
                if *c == 0 {
                    *v = f32::NAN;
                }
            }
            value
        })
        .collect();
    writer.write_image(None, &header, &values.iter().collect::<Vec<_>>())?;
    drop(values);
    let none = Header::default();
    let weights: Vec<&Image<f32>> = stack.planes.iter().map(|p| &p.weight).collect();
    writer.write_image(Some("WEIGHT"), &none, &weights)?;
    let coverage: Vec<&Image<i32>> = stack.planes.iter().map(|p| &p.coverage).collect();
    writer.write_image(Some("COVERAGE"), &none, &coverage)?;
    let rejected: Vec<&Image<i32>> = stack.planes.iter().map(|p| &p.rejected).collect();
    writer.write_image(Some("REJECTED"), &none, &rejected)?;
    writer.finish()?;
    Ok(())
}

/// Keywords of the reference frame that describe the whole burst as well.
pub(crate) const KEPT: [&str; 16] = [
    "OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "SITELAT", "SITELONG", "FILTER", "GAIN", "EGAIN",
    "FOCALLEN", "XPIXSZ", "YPIXSZ", "RA", "DEC", "OBJCTRA", "OBJCTDEC",
];

fn header(run: &Run<'_>, inputs: &Inputs, measures: &[FrameMeasure], solved: &Solved) -> Header {
    let mut h = Header::default();
    let usable = inputs.usable();
    let place = solved.members.iter().position(|&m| m == solved.reference).unwrap_or(0);
    let reference = inputs.info(usable[place]);
    for card in &reference.header.cards {
        if KEPT.contains(&card.key.as_str()) {
            h.cards.push(card.clone());
        }
    }
    super::wcs_cards::copy(&reference.header, &solved.spec.canvas, &mut h);
    let total = exposure(inputs);
    h.push_integer("NCOMBINE", usable.len() as i64, "frames in this image");
    h.push_real("EXPTIME", total, "[s] sum of the exposures");
    let dates = usable.iter().filter_map(|&i| inputs.info(i).date_obs.clone());
    let (first, last) = (dates.clone().min(), dates.max());
    if let (Some(first), Some(last)) = (first, last) {
        h.push_text("DATE-OBS", &first, "start of the first exposure");
        h.push_text("DATE-END", &last, "start of the last exposure");
    }
    h.push_text("IMAGETYP", "Stack", "");
    h.push_text("SOFTWARE", &software(), "");
    h.push_text("RECIPSHA", &run.job.recipe.sha256(), "SHA-256 of the recipe");
    h.push_text("RECIPE", &run.job.recipe.canonical_json(), "");
    h.push_integer("REFFRAME", usable[place] as i64, "index of the reference frame, from 0");
    for warning in &run.warnings {
        h.push_history(&format!("warning: {warning}"));
    }
    for (k, &index) in usable.iter().enumerate() {
        let name = inputs.files[index].path.file_name().map(|n| n.to_string_lossy().into_owned());
        let sha = &measures[solved.members[k]].sha256;
        h.push_history(&format!("input {index}: {} sha256 {sha}", name.unwrap_or_default()));
    }
    h.cards.push(stillframe_image::Card {
        key: "COMMENT".into(),
        value: Value::None,
        comment: "Pixels without coverage are NaN. WEIGHT, COVERAGE and REJECTED are extensions."
            .into(),
    });
    h
}
