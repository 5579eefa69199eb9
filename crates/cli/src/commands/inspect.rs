//! `stillframe inspect`.

use stillframe_engine::inspect::inspect;

use crate::args::InspectArgs;
use crate::exit::{CommandResult, ExitStatus};
use crate::output;

pub(super) fn run(args: &InspectArgs) -> CommandResult {
    let inspection = inspect(&args.file)?;
    if args.json {
        output::print(&(serde_json::to_string_pretty(&inspection)? + "\n"))?;
    } else {
        output::print(&inspection.to_string())?;
    }
    Ok(ExitStatus::Done)
}
