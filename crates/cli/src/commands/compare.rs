//! `stillframe compare`.

use serde_json::json;
use stillframe_engine::compare::compare;

use crate::args::CompareArgs;
use crate::exit::{CommandResult, ExitStatus};
use crate::output;

pub(super) fn run(args: &CompareArgs) -> CommandResult {
    let comparison = compare(&args.a, &args.b)?;
    let is_identical = comparison.is_identical();
    if args.json {
        let mut value = serde_json::to_value(&comparison)?;
        value["identical"] = json!(is_identical);
        output::print(&(serde_json::to_string_pretty(&value)? + "\n"))?;
    } else {
        output::print(&comparison.to_string())?;
    }
    Ok(if is_identical { ExitStatus::Done } else { ExitStatus::Failed })
}
