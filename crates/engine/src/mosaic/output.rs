//! The results: FITS, preview, report, telemetry; each appears whole or not at all.

use std::path::PathBuf;

use serde_json::json;
use stillframe_image::{Card, Header, Value};
use stillframe_io::preview::{PreviewOptions, write_png};
use stillframe_io::sink::{Existing, OutputFolder};
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::Event;
use stillframe_runtime::usage;

use super::error::MosaicError;
use super::grid::Grid;
use super::pipeline::MosaicOutcome;
use super::report::{MosaicReport, TileReport};
use super::run::MosaicJob;
use super::sink::Preview;
use crate::recipe::Recipe;
use crate::stack::FrameOutcome;
use crate::stack::inputs::Inputs;
use crate::stack::output::{KEPT, software, write_json};
use crate::stack::run::Run;

/// The mosaic.
pub(super) const SCIENCE: &str = "mosaic_science.fits";
/// The sum of the weights.
pub(super) const COVERAGE: &str = "mosaic_coverage.fits";
/// Files that a run writes.
pub(super) const FILES: [&str; 6] =
    [SCIENCE, COVERAGE, "preview.png", "report.json", "recipe.json", "telemetry.json"];

/// What to do with results that are there already.
pub(super) fn existing(job: &MosaicJob) -> Existing {
    if job.overwrite || job.resume { Existing::Replace } else { Existing::Refuse }
}

/// Refuses to overwrite what is there, and makes the folder.
pub(super) fn check_folder(job: &MosaicJob, inputs: &[PathBuf]) -> Result<(), MosaicError> {
    let existing = if job.overwrite { Existing::Replace } else { Existing::Refuse };
    OutputFolder::create(&job.output, existing, &FILES, inputs)?;
    Ok(())
}

/// Header of the mosaic or its coverage.
pub(super) fn header(
    run: &Run<'_>,
    job: &MosaicJob,
    inputs: &Inputs,
    grid: &Grid,
    what: &str,
) -> Header {
    let mut h = Header::default();
    let usable = inputs.usable();
    if let Some(&first) = usable.first() {
        let same = |card: &Card| {
            let of = |i: &usize| inputs.info(*i).header.card(&card.key).map(|c| c.value.clone());
            usable.iter().all(|i| of(i) == Some(card.value.clone()))
        };
        let is_pointing = |key: &str| matches!(key, "RA" | "DEC" | "OBJCTRA" | "OBJCTDEC");
        for card in &inputs.info(first).header.cards {
            if KEPT.contains(&card.key.as_str()) && !is_pointing(&card.key) && same(card) {
                h.cards.push(card.clone());
            }
        }
    }
    h.cards.extend(grid.wcs.cards().iter().cloned());
    let total: f64 = usable.iter().filter_map(|&i| inputs.info(i).exposure_secs).sum();
    h.push_integer("NRAWINIT", inputs.files.len() as i64, "images that were given");
    h.push_integer("NCOMBINE", usable.len() as i64, "images in this mosaic");
    h.push_real("EXPTOTAL", total, "[s] sum of the exposures");
    let dates = usable.iter().filter_map(|&i| inputs.info(i).date_obs.clone());
    let (first, last) = (dates.clone().min(), dates.max());
    if let (Some(first), Some(last)) = (first, last) {
        h.push_text("DATE-OBS", &first, "start of the first exposure");
        h.push_text("DATE-END", &last, "start of the last exposure");
    }
    h.push_text("IMAGETYP", what, "");
    h.push_text("SOFTWARE", &software(), "");
    h.push_text("RECIPSHA", &job.recipe.sha256(), "SHA-256 of the recipe");
    h.push_text("RECIPE", &job.recipe.canonical_json(), "");
    for warning in &run.warnings {
        h.push_history(&format!("warning: {warning}"));
    }
    h.cards.push(Card {
        key: "COMMENT".into(),
        value: Value::None,
        comment: "No cosmetic step was applied. Pixels without coverage are NaN; mosaic_coverage.fits holds \
                  the sum of the weights."
            .into(),
    });
    h
}

/// Tells the observer what became of every image.
pub(super) fn tell_tiles(run: &Run<'_>, tiles: &[TileReport]) {
    for tile in tiles {
        let (outcome, reason) = match &tile.outcome {
            FrameOutcome::Used { .. } => ("used", None),
            FrameOutcome::Skipped { reason } => ("skipped", Some(reason.clone())),
            FrameOutcome::Failed { reason } => ("failed", Some(reason.clone())),
        };
        run.observer.event(&Event::Frame {
            index: tile.index,
            file: tile.file.clone(),
            outcome: outcome.into(),
            reason,
            fields: std::collections::BTreeMap::new(),
        });
    }
}

/// Writes everything but the two images, which are there already.
pub(super) fn write(
    run: &Run<'_>,
    job: &MosaicJob,
    report: &MosaicReport,
    preview: Preview,
    watch: &Stopwatch,
    outcome: &mut MosaicOutcome,
) -> Result<(), MosaicError> {
    let existing = existing(job);
    let path = |name: &str| job.output.join(name);
    let (planes, bits) = preview.finish();
    let planes: Vec<_> = planes.iter().collect();
    write_png(&path("preview.png"), existing, &planes, Some(&bits), &PreviewOptions::default())?;
    write_json(path("report.json"), report, existing)?;
    write_json(path("recipe.json"), &job.recipe, existing)?;
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
