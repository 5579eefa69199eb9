//! `stillframe session`.

use std::path::Path;

use anyhow::anyhow;
use stillframe_engine::motion::{SessionJob, SessionOutcome, SessionPart, Setting, run_session};
use stillframe_engine::recipe::{FileOf, Recipe, SessionRecipe};
use stillframe_engine::runtime::Cancel;

use super::job::{resources, worker_command};
use super::motion::failure;
use super::stack::{phase_rows, table};
use crate::args::{ConfiguredArgs, SessionArgs};
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

/// Where schedulers put the number of a task, counted from 1.
const TASK_VARIABLES: [&str; 3] = ["SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX"];

pub(super) fn run(args: &SessionArgs) -> CommandResult {
    let recipe = configured::<SessionRecipe>(&args.job)?;
    let job = SessionJob { recipe, setting: setting(&args.job), part: part(args)? };
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.job.progress);
    let result = run_session(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = result.map_err(failure)?;
    if !args.job.progress.quiet && !args.job.progress.json_events {
        output::print(&summary(&outcome))?;
    }
    Ok(ExitStatus::Done)
}

/// The recipe of a configuration.
///
/// # Errors
/// If it cannot be read or is wrong: exit code 2.
pub(super) fn configured<R: Recipe>(args: &ConfiguredArgs) -> Result<R, Failure> {
    let file = FileOf::<R>::load(Some(&args.config), &args.set).map_err(Failure::usage)?;
    Ok(file.recipe)
}

/// Where and with what a configuration is worked on.
pub(super) fn setting(args: &ConfiguredArgs) -> Setting {
    let base = args.config.parent().filter(|p| !p.as_os_str().is_empty());
    Setting {
        base: base.unwrap_or(Path::new(".")).to_path_buf(),
        resources: resources(&args.resources),
        overwrite: args.overwrite,
        resume: args.resume,
        worker: worker_command(),
    }
}

fn part(args: &SessionArgs) -> Result<SessionPart, Failure> {
    let index =
        if args.array { Some(task_index(|name| std::env::var(name).ok())?) } else { args.index };
    match (args.stage, index) {
        (None, None) => Ok(SessionPart::Whole),
        (None | Some(1), index) => Ok(SessionPart::Register(index)),
        (Some(2), None) => Ok(SessionPart::Displacements),
        (Some(_), None) => Ok(SessionPart::Align),
        (Some(stage), Some(_)) => Err(Failure::usage(anyhow!(
            "--index and --array are for stage 1; stage {stage} needs all recordings together"
        ))),
    }
}

/// The index of the recording that this task stands for.
fn task_index(variable: impl Fn(&str) -> Option<String>) -> Result<usize, Failure> {
    let Some((name, value)) = TASK_VARIABLES.iter().find_map(|n| Some((n, variable(n)?))) else {
        return Err(Failure::usage(anyhow!(
            "--array: none of {} is set; give --index",
            TASK_VARIABLES.join(", ")
        )));
    };
    let task = value.trim().parse::<usize>().ok().and_then(|task| task.checked_sub(1));
    task.ok_or_else(|| {
        Failure::usage(anyhow!("{name}: found {value:?}, needed a whole number from 1"))
    })
}

/// What came out, as a table.
fn summary(outcome: &SessionOutcome) -> String {
    let n = outcome.recordings.len();
    let centre = outcome.recordings.get(outcome.centre).map(|p| p.display().to_string());
    let mut rows = vec![("recordings", n.to_string())];
    rows.extend(centre.map(|name| ("centre", name)));
    for found in &outcome.displacements {
        let shift = found.shift.map_or_else(
            || "no shift found".to_owned(),
            |[x, y]| format!("shift {x:.2}, {y:.2} px"),
        );
        let mean = found.displacement.mean_disp;
        rows.push(("to centre", format!("{}: {shift}, mean length {mean:.2} px", found.name)));
    }
    if let Some(fraction) = outcome.valid_fraction {
        rows.push(("valid", format!("{:.1} % of the pixels, in all frames", 100.0 * fraction)));
    }
    rows.extend(outcome.aligned.iter().map(|file| ("aligned", file.display().to_string())));
    rows.extend(phase_rows(&outcome.phases));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_schedulers_count_from_one() {
        let of = |set: &'static str, value: &'static str| {
            task_index(move |name| (name == set).then(|| value.to_owned()))
        };
        assert_eq!(of("SLURM_ARRAY_TASK_ID", "1").unwrap(), 0);
        assert_eq!(of("PBS_ARRAY_INDEX", "12").unwrap(), 11);
        for (name, value) in [("SGE_TASK_ID", "undefined"), ("SGE_TASK_ID", "0"), ("OTHER", "3")] {
            assert_eq!(of(name, value).unwrap_err().status, ExitStatus::Usage);
        }
    }
}
