//! `stillframe plan`.

use stillframe_engine::stack::plan;

use super::{job, stack};
use crate::args::{PlanCommand, PlanStackArgs};
use crate::exit::{CommandResult, ExitStatus};
use crate::output;

pub(super) fn run(command: PlanCommand) -> CommandResult {
    match command {
        PlanCommand::Stack(args) => plan_stack(*args),
    }
}

fn plan_stack(args: PlanStackArgs) -> CommandResult {
    let job = job::stack_job(args.inputs)?;
    let plan = plan(&job).map_err(stack::failure)?;
    let text = if args.json { serde_json::to_string_pretty(&plan)? } else { plan.to_string() };
    output::print(&(text + "\n"))?;
    Ok(ExitStatus::Done)
}
