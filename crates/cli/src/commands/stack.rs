//! `stillframe stack`.

use std::fmt::Write;
use std::path::Path;

use stillframe_engine::runtime::{Cancel, format_bytes};
use stillframe_engine::stack::{
    FrameOutcome, PhaseRecord, StackError, StackOutcome, run as run_stack,
};

use super::job;
use crate::args::StackArgs;
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::{Progress, phase_title};

/// Frames that were not used are listed one by one up to this number.
const LISTED_FRAMES: usize = 20;

pub(super) fn run(args: StackArgs) -> CommandResult {
    let mut job = job::stack_job(args.inputs)?;
    job.overwrite = args.overwrite;
    job.resume = args.resume;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let result = run_stack(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = result.map_err(failure)?;
    if !args.progress.quiet && !args.progress.json_events {
        output::print(&summary(&outcome))?;
    }
    Ok(status(&outcome))
}

/// The exit code of a finished run.
pub(super) fn status(outcome: &StackOutcome) -> ExitStatus {
    if outcome.lost_too_many { ExitStatus::FramesLost } else { ExitStatus::Done }
}

/// The failure that `error` is to the user.
pub(super) fn failure(error: StackError) -> Failure {
    let status = match error {
        StackError::Interrupted => ExitStatus::Interrupted,
        StackError::Recipe(_) => ExitStatus::Usage,
        _ => ExitStatus::Failed,
    };
    Failure { status, error: error.into() }
}

/// What came out, as a table.
pub(super) fn summary(outcome: &StackOutcome) -> String {
    let report = &outcome.report;
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.push(("frames", format!("{} used of {}", report.used(), report.frames.len())));
    if let Some(figures) = &report.result {
        if let (Some(before), Some(after)) = (figures.fwhm_in_px, figures.fwhm_out_px) {
            rows.push(("FWHM", format!("{before:.2} px in, {after:.2} px out")));
        }
        let gain = if figures.noise_out > 0.0 { figures.noise_in / figures.noise_out } else { 0.0 };
        rows.push((
            "noise",
            format!(
                "{:.4} in, {:.4} out ({gain:.1} times less)",
                figures.noise_in, figures.noise_out
            ),
        ));
        let planes = if figures.planes == 1 { "mono" } else { "colour" };
        rows.push((
            "image",
            format!(
                "{}×{}, {planes}, {:.1} % covered, {:.2} % of the samples rejected",
                figures.width,
                figures.height,
                100.0 * figures.covered_fraction,
                100.0 * figures.rejected_fraction
            ),
        ));
        rows.push((
            "exposure",
            format!(
                "{:.0} s, worth {:.1} equal frames",
                figures.exposure_secs, figures.effective_frames
            ),
        ));
    }
    rows.extend(costs(
        outcome.wall_secs,
        outcome.cpu_secs,
        outcome.peak_rss_bytes,
        &outcome.phases,
    ));
    let frames = report.frames.iter().map(|frame| (frame.file.as_str(), &frame.outcome));
    rows.extend(lost_rows(frames));
    table(&rows)
}

/// Rows of time, memory and plans.
pub(super) fn costs(
    wall_secs: f64,
    cpu_secs: Option<f64>,
    peak_rss_bytes: Option<u64>,
    phases: &[PhaseRecord],
) -> Vec<(&'static str, String)> {
    let cpu = cpu_secs.map(|s| format!(", {s:.1} s of processor time"));
    let mut rows = vec![("time", format!("{wall_secs:.1} s{}", cpu.unwrap_or_default()))];
    if let Some(bytes) = peak_rss_bytes {
        rows.push(("peak memory", format_bytes(bytes)));
    }
    rows.extend(phase_rows(phases));
    rows
}

/// One row for the plan of each phase.
pub(super) fn phase_rows(phases: &[PhaseRecord]) -> Vec<(&'static str, String)> {
    let row = |phase: &PhaseRecord| {
        let plan = &phase.plan;
        let s = if plan.workers == 1 { "" } else { "s" };
        let text = format!(
            "{}: {} worker{s} ({}), {} units, {:.1} s",
            phase_title(&phase.phase),
            plan.workers,
            plan.executor,
            plan.n_units,
            phase.achieved.wall_secs
        );
        ("plan", text)
    };
    phases.iter().map(row).collect()
}

/// One row for each frame that was not used, up to a limit.
pub(super) fn lost_rows<'a>(
    frames: impl Iterator<Item = (&'a str, &'a FrameOutcome)>,
) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&str, String)> = frames
        .filter_map(|(file, outcome)| match outcome {
            FrameOutcome::Used { .. } => None,
            FrameOutcome::Skipped { reason } => Some(("skipped", lost_frame(file, reason))),
            FrameOutcome::Failed { reason } => Some(("failed", lost_frame(file, reason))),
        })
        .collect();
    if rows.len() > LISTED_FRAMES {
        let more = rows.len() - LISTED_FRAMES;
        rows.truncate(LISTED_FRAMES);
        rows.push(("", format!("and {more} more, see report.json")));
    }
    rows
}

/// The name of the file, without its folder, and why it was not used.
fn lost_frame(file: &str, reason: &str) -> String {
    let name = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
    format!("{name}: {reason}")
}

/// Rows in two columns; a title that repeats is left out.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut before = "";
    for (title, value) in rows {
        let shown = if *title == before { "" } else { title };
        let _ = writeln!(text, "{shown:<12} {value}");
        before = title;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_shown_once() {
        let rows = [("plan", "a".to_owned()), ("plan", "b".to_owned()), ("time", "c".to_owned())];
        assert_eq!(table(&rows), "plan         a\n             b\ntime         c\n");
    }

    #[test]
    fn only_recipes_and_interrupts_have_codes_of_their_own() {
        let code = |error| failure(error).status;
        assert_eq!(code(StackError::Interrupted), ExitStatus::Interrupted);
        assert_eq!(code(StackError::Recipe(String::new())), ExitStatus::Usage);
        assert_eq!(code(StackError::Inputs(String::new())), ExitStatus::Failed);
    }
}
