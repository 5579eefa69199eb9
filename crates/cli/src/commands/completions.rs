//! `stillframe completions`.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::{CommandResult, ExitStatus};
use crate::output;

pub(super) fn run(args: &CompletionsArgs) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stillframe", &mut script);
    output::print(&String::from_utf8(script)?)?;
    Ok(ExitStatus::Done)
}
