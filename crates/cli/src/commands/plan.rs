//! `stillframe plan`.

use std::fmt::Display;

use serde::Serialize;
use stillframe_engine::{mosaic, stack};

use super::{job, mosaic as mosaic_command, stack as stack_command};
use crate::args::PlanCommand;
use crate::exit::{CommandResult, ExitStatus};
use crate::output;

pub(super) fn run(command: PlanCommand) -> CommandResult {
    match command {
        PlanCommand::Stack(args) => {
            let job = job::stack_job(args.inputs)?;
            print(&stack::plan(&job).map_err(stack_command::failure)?, args.json)
        }
        PlanCommand::Mosaic(args) => {
            let job = job::mosaic_job(args.inputs)?;
            print(&mosaic::plan(&job).map_err(mosaic_command::failure)?, args.json)
        }
    }
}

fn print(plan: &(impl Serialize + Display), as_json: bool) -> CommandResult {
    let text = if as_json { serde_json::to_string_pretty(plan)? } else { plan.to_string() };
    output::print(&(text + "\n"))?;
    Ok(ExitStatus::Done)
}
