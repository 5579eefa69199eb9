//! One module per command: asks the engine, shows the answer.

mod compare;
mod completions;
mod inspect;
mod recipe;

use crate::args::Command;
use crate::exit::CommandResult;

/// Runs `command`.
///
/// # Errors
/// The failure that ends it, with its exit code.
pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Recipe(command) => recipe::run(command),
        Command::Completions(args) => completions::run(&args),
        _ => Err(anyhow::anyhow!("not yet").into()),
    }
}
