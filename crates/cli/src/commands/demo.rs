//! `stillframe demo`.

mod picture;

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use stillframe_engine::io::Existing;
use stillframe_engine::recipe::StackRecipe;
use stillframe_engine::runtime::{Cancel, Observer};
use stillframe_engine::simulate::{BurstFiles, BurstOptions, SimulatedBurst, write_burst};
use stillframe_engine::stack::{StackJob, StackOutcome, run as run_stack};

use super::{job, simulate, stack};
use crate::args::DemoArgs;
use crate::exit::{CommandResult, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

/// Enough frames for everything to happen (clouds, a satellite, rotation), few enough to wait for.
const FRAMES: usize = 40;
/// Bias, dark and flat frames, of each kind.
const CALIBRATION_FRAMES: usize = 10;

pub(super) fn run(args: &DemoArgs) -> CommandResult {
    refuse_foreign_folder(args)?;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let result = simulate_and_stack(args, &progress, &cancel);
    progress.finish()?;
    let (files, outcome) = result?;
    let folder = args.output.join("result");
    let (image, pair) = (folder.join("stack.fits"), args.output.join("demo.png"));
    picture::write_side_by_side(&files.lights[FRAMES / 2], &image, &pair)?;
    if !args.progress.json_events {
        let mut text = stack::summary(&outcome);
        let preview = folder.join("preview.png");
        for (title, path) in [("image", &image), ("picture", &preview), ("one frame", &pair)] {
            let _ = writeln!(text, "{title:<12} {}", path.display());
        }
        output::print(&text)?;
    }
    Ok(stack::status(&outcome))
}

fn simulate_and_stack(
    args: &DemoArgs,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(BurstFiles, StackOutcome), Failure> {
    let options = BurstOptions {
        frames: FRAMES,
        seed: args.seed,
        bias_frames: CALIBRATION_FRAMES,
        dark_frames: CALIBRATION_FRAMES,
        flat_frames: CALIBRATION_FRAMES,
        ..BurstOptions::default()
    };
    let burst = SimulatedBurst::new(options).map_err(Failure::usage)?;
    let resources = job::resources(&args.resources);
    let data = args.output.join("data");
    let files = write_burst(&burst, &data, Existing::Replace, &resources, observer, cancel)
        .map_err(simulate::failure)?;
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    };
    let job = StackJob {
        inputs: names(&files.lights),
        output: args.output.join("result"),
        bias: names(&files.bias),
        dark: names(&files.dark),
        flat: names(&files.flat),
        recipe: StackRecipe::default(),
        resources,
        block_side: None,
        overwrite: true,
        resume: false,
        worker: job::worker_command(),
    };
    let outcome = run_stack(&job, observer, cancel).map_err(stack::failure)?;
    Ok((files, outcome))
}

/// A folder that an earlier demo did not make is left alone.
fn refuse_foreign_folder(args: &DemoArgs) -> Result<(), Failure> {
    let is_empty = match std::fs::read_dir(&args.output) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(error.into()),
    };
    if is_empty || args.output.join("data").join("truth").is_dir() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "{} is neither empty nor the folder of an earlier demo; choose another with --output",
        args.output.display()
    )))
}
