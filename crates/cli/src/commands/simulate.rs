//! `stillframe simulate`.

use std::fmt::Write;

use stillframe_engine::io::Existing;
use stillframe_engine::runtime::Cancel;
use stillframe_engine::simulate::{
    BurstFiles, BurstOptions, MosaicOptions, SimulatedBurst, SimulatedMosaic, WriteBurstError,
    write_burst, write_mosaic,
};

use super::job;
use crate::args::{SimulateBurstArgs, SimulateCommand, SimulateMosaicArgs};
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::interrupt;
use crate::output;
use crate::progress::Progress;

pub(super) fn run(command: SimulateCommand) -> CommandResult {
    match command {
        SimulateCommand::Burst(args) => burst(&args),
        SimulateCommand::Mosaic(args) => mosaic(&args),
    }
}

fn burst(args: &SimulateBurstArgs) -> CommandResult {
    let options = BurstOptions {
        frames: args.frames.get(),
        width: args.width.get(),
        height: args.height.get(),
        seed: args.seed,
        bayer: args.bayer.map(Into::into),
        bias_frames: args.calibration,
        dark_frames: args.calibration,
        flat_frames: args.calibration,
        ..BurstOptions::default()
    };
    let burst = SimulatedBurst::new(options).map_err(Failure::usage)?;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let resources = job::resources(&args.resources);
    let result =
        write_burst(&burst, &args.output, Existing::Refuse, &resources, &progress, &cancel);
    progress.finish()?;
    let files = result.map_err(failure)?;
    if !args.progress.quiet && !args.progress.json_events {
        output::print(&next_step(args, &files))?;
    }
    Ok(ExitStatus::Done)
}

fn mosaic(args: &SimulateMosaicArgs) -> CommandResult {
    let options = MosaicOptions {
        seed: args.seed,
        columns: args.columns.get(),
        rows: args.rows.get(),
        frames: args.frames.get(),
        width: args.width.get(),
        height: args.height.get(),
        overlap: args.overlap,
        ..MosaicOptions::default()
    };
    let mosaic = SimulatedMosaic::new(options).map_err(Failure::usage)?;
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_ctrl_c(move || stop.cancel())?;
    let progress = Progress::new(args.progress);
    let resources = job::resources(&args.resources);
    let result =
        write_mosaic(&mosaic, &args.output, Existing::Refuse, &resources, &progress, &cancel);
    progress.finish()?;
    let files = result.map_err(failure)?;
    if !args.progress.quiet && !args.progress.json_events {
        let folder = args.output.display();
        output::print(&format!(
            "{} frames in {folder}/lights; put them together with\n  stillframe mosaic {folder}/lights -o \
             {folder}/result --grid {folder}/truth/grid.hdr\n",
            files.lights.len()
        ))?;
    }
    Ok(ExitStatus::Done)
}

/// The failure that `error` is to the user.
pub(super) fn failure(error: WriteBurstError) -> Failure {
    match error {
        WriteBurstError::Interrupted => {
            Failure { status: ExitStatus::Interrupted, error: error.into() }
        }
        other => other.into(),
    }
}

/// What was made, and the command that stacks it.
fn next_step(args: &SimulateBurstArgs, files: &BurstFiles) -> String {
    let folder = args.output.display();
    let mut command = format!("stillframe stack {folder}/lights -o {folder}/result");
    for (name, paths) in [("bias", &files.bias), ("dark", &files.dark), ("flat", &files.flat)] {
        if !paths.is_empty() {
            let _ = write!(command, " --{name} {folder}/{name}");
        }
    }
    format!(
        "{} light frames in {folder}/lights; stack them with\n  {command}\n",
        files.lights.len()
    )
}
