//! `stillframe motion`.

use stillframe_engine::motion::{MotionError, MotionJob, MotionOutcome, run as run_motion};
use stillframe_engine::recipe::{FileOf, MotionRecipe};
use stillframe_engine::runtime::Cancel;

use super::job::{resources, worker_command};
use super::stack::{costs, table};
use crate::args::{MotionArgs, MotionChoices};
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

pub(super) fn run(args: MotionArgs) -> CommandResult {
    let mut sets = args.recipe.set;
    sets.extend(overrides(&args.choices));
    let file = FileOf::<MotionRecipe>::load(args.recipe.recipe.as_deref(), &sets);
    let job = MotionJob {
        inputs: args.inputs,
        output: args.output,
        recipe: file.map_err(Failure::usage)?.recipe,
        resources: resources(&args.resources),
        overwrite: args.overwrite,
        resume: args.resume,
        worker: worker_command(),
    };
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let result = run_motion(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = result.map_err(failure)?;
    if !args.progress.quiet && !args.progress.json_events {
        output::print(&summary(&outcome))?;
    }
    Ok(ExitStatus::Done)
}

/// The short options as overrides of the recipe.
fn overrides(choices: &MotionChoices) -> Vec<String> {
    let format = choices.format.as_ref().map(|f| f.to_ascii_uppercase().replace('-', "_"));
    let batch = choices.buffer_size.map(|n| n.to_string());
    let flag = |given: bool| given.then(|| "true".to_owned());
    [
        ("quality_setting", choices.quality.clone()),
        ("flow_backend", choices.backend.clone()),
        ("reference_frames", choices.reference.clone()),
        ("buffer_size", batch),
        ("output_format", format),
        ("save_w", flag(choices.save_w)),
        ("save_valid_idx", flag(choices.save_valid)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
    .collect()
}

/// The failure that `error` is to the user.
pub(super) fn failure(error: MotionError) -> Failure {
    let status = match error {
        MotionError::Interrupted => ExitStatus::Interrupted,
        MotionError::Recipe(_) | MotionError::Flow(_) => ExitStatus::Usage,
        _ => ExitStatus::Failed,
    };
    Failure { status, error: error.into() }
}

/// What came out, as a table.
fn summary(outcome: &MotionOutcome) -> String {
    let report = &outcome.report;
    let [frames, channels, height, width] = report.shape;
    let s = if channels == 1 { "" } else { "s" };
    let mut rows =
        vec![("recording", format!("{frames} frames of {width}×{height}, {channels} channel{s}"))];
    let whole = &report.summary;
    rows.push((
        "motion",
        format!("{:.2} px on average, {:.1} px at most", whole.mean_disp, whole.max_disp),
    ));
    if let (Some(before), Some(after)) = (whole.correlation_before, whole.correlation_after) {
        let text = format!("{before:.3} before, {after:.3} after, with the reference");
        rows.push(("correlation", text));
    }
    if whole.flagged > 0 {
        let text = format!("{} frames, see the flags in report.json", whole.flagged);
        rows.push(("to look at", text));
    }
    let rate = outcome.frames_now as f64 / outcome.wall_secs.max(1e-9);
    rows.push(("speed", format!("{rate:.1} frames a second, reference and files included")));
    let phases = &outcome.phases;
    rows.extend(costs(outcome.wall_secs, outcome.cpu_secs, outcome.peak_rss_bytes, phases));
    rows.extend(outcome.files.first().map(|file| ("result", file.display().to_string())));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_options_are_keys_of_the_recipe() {
        let choices = MotionChoices {
            quality: Some("fast".into()),
            format: Some("suite2p-tiff".into()),
            save_valid: true,
            ..MotionChoices::default()
        };
        let sets = overrides(&choices);
        assert_eq!(
            sets,
            ["quality_setting=fast", "output_format=SUITE2P_TIFF", "save_valid_idx=true"]
        );
        FileOf::<MotionRecipe>::load(None, &sets).unwrap();
    }

    #[test]
    fn only_recipes_and_interrupts_have_codes_of_their_own() {
        let code = |error| failure(error).status;
        assert_eq!(code(MotionError::Interrupted), ExitStatus::Interrupted);
        assert_eq!(code(MotionError::Recipe(String::new())), ExitStatus::Usage);
        assert_eq!(code(MotionError::Inputs(String::new())), ExitStatus::Failed);
    }
}
