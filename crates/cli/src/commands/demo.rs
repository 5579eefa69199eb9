//! `stillframe demo`.

mod picture;

use std::fmt::Write;

use anyhow::anyhow;
use stillframe_engine::io::Existing;
use stillframe_engine::recipe::StackRecipe;
use stillframe_engine::runtime::Cancel;
use stillframe_engine::simulate::{BurstOptions, SimulatedBurst, write_burst};
use stillframe_engine::stack::{StackJob, run as run_stack};

use super::{job, simulate, stack};
use crate::args::DemoArgs;
use crate::exit::{CommandResult, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

/// Enough frames for everything to happen (clouds, a satellite, rotation), few enough to wait for.
const FRAMES: usize = 40;

pub(super) fn run(args: &DemoArgs) -> CommandResult {
    let data = args.output.join("data");
    let result = args.output.join("result");
    refuse_foreign_folder(args)?;
    let options = BurstOptions {
        frames: FRAMES,
        seed: args.seed,
        bias_frames: 10,
        dark_frames: 10,
        flat_frames: 10,
        ..BurstOptions::default()
    };
    let burst = SimulatedBurst::new(options).map_err(Failure::usage)?;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let resources = job::resources(&args.resources);
    let files = write_burst(&burst, &data, Existing::Replace, &resources, &progress, &cancel)
        .map_err(simulate::failure)?;
    let names = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    };
    let job = StackJob {
        inputs: names(&files.lights),
        output: result.clone(),
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
    let outcome = run_stack(&job, &progress, &cancel);
    progress.finish()?;
    let outcome = outcome.map_err(stack::failure)?;
    let (image, pair) = (result.join("stack.fits"), args.output.join("demo.png"));
    let middle_frame = &files.lights[FRAMES / 2];
    picture::write_side_by_side(middle_frame, &image, &pair)?;
    if !args.progress.json_events {
        let mut text = stack::summary(&outcome);
        let preview = result.join("preview.png");
        for (title, path) in [("image", &image), ("picture", &preview), ("one frame", &pair)] {
            let _ = writeln!(text, "{title:<12} {}", path.display());
        }
        output::print(&text)?;
    }
    Ok(stack::status(&outcome))
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
