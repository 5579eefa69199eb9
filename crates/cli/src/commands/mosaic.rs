//! `stillframe mosaic`.

use stillframe_engine::mosaic::{MosaicError, MosaicOutcome, run as run_mosaic};
use stillframe_engine::runtime::{Cancel, format_bytes};

use super::job;
use super::stack::{failure as stack_failure, lost_rows, phase_rows, table};
use crate::args::MosaicArgs;
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

pub(super) fn run(args: MosaicArgs) -> CommandResult {
    let mut job = job::mosaic_job(args.inputs)?;
    job.overwrite = args.overwrite;
    job.resume = args.resume;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let result = run_mosaic(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = result.map_err(failure)?;
    if !args.progress.quiet && !args.progress.json_events {
        output::print(&summary(&outcome))?;
    }
    Ok(if outcome.lost_too_many { ExitStatus::FramesLost } else { ExitStatus::Done })
}

/// The failure that `error` is to the user.
pub(super) fn failure(error: MosaicError) -> Failure {
    match error {
        MosaicError::Stack(error) => stack_failure(error),
        error => Failure { status: ExitStatus::Failed, error: error.into() },
    }
}

/// What came out, as a table.
fn summary(outcome: &MosaicOutcome) -> String {
    let report = &outcome.report;
    let figures = &report.result;
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.push(("images", format!("{} used of {}", report.used(), report.tiles.len())));
    let planes = if figures.planes == 1 { "mono" } else { "colour" };
    rows.push((
        "mosaic",
        format!(
            "{}×{}, {planes}, {:.1} % covered, {:.2} % of the samples rejected",
            figures.width,
            figures.height,
            100.0 * figures.covered_fraction,
            100.0 * figures.rejected_fraction
        ),
    ));
    rows.push((
        "photometry",
        format!(
            "{} sightings of stars (scatter {:.2} σ), {} of the sky ({:.2} σ), {} group{}",
            figures.star_sightings,
            figures.star_scatter,
            figures.sky_sightings,
            figures.sky_scatter,
            figures.components,
            if figures.components == 1 { "" } else { "s" }
        ),
    ));
    let cpu = outcome.cpu_secs.map(|s| format!(", {s:.1} s of processor time"));
    rows.push(("time", format!("{:.1} s{}", outcome.wall_secs, cpu.unwrap_or_default())));
    if let Some(bytes) = outcome.peak_rss_bytes {
        rows.push(("peak memory", format_bytes(bytes)));
    }
    rows.extend(phase_rows(&outcome.phases));
    let lost = report.tiles.iter().map(|tile| (tile.file.as_str(), &tile.outcome));
    rows.extend(lost_rows(lost));
    table(&rows)
}
