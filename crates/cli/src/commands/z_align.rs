//! `stillframe z-align`.

use stillframe_engine::motion::{ZAlignJob, ZAlignOutcome, run_z_align};
use stillframe_engine::recipe::ZAlignRecipe;
use stillframe_engine::runtime::Cancel;

use super::motion::failure;
use super::session::{configured, setting};
use super::stack::{phase_rows, table};
use crate::args::ZAlignArgs;
use crate::exit::{CommandResult, ExitStatus};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

pub(super) fn run(args: &ZAlignArgs) -> CommandResult {
    let recipe = configured::<ZAlignRecipe>(&args.job)?;
    let job = ZAlignJob { recipe, setting: setting(&args.job) };
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.job.progress);
    let result = run_z_align(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = result.map_err(failure)?;
    if !args.job.progress.quiet && !args.job.progress.json_events {
        output::print(&summary(&outcome))?;
    }
    Ok(ExitStatus::Done)
}

/// What came out, as a table.
fn summary(outcome: &ZAlignOutcome) -> String {
    let report = &outcome.report;
    let low = report.depths.iter().copied().fold(f64::INFINITY, f64::min);
    let high = report.depths.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut rows = vec![
        (
            "recording",
            format!("{} frames in a stack of {} slices", report.depths.len(), report.slices),
        ),
        ("depth", format!("slices {low:.2} to {high:.2}, counted from 1")),
        ("corrected to", format!("slice {}", report.anchor)),
    ];
    rows.extend(outcome.files.iter().map(|file| ("results", file.display().to_string())));
    rows.extend(phase_rows(&outcome.phases));
    table(&rows)
}
