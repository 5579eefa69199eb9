//! One module per command: asks the engine, shows the answer.

mod compare;
mod completions;
mod demo;
mod inspect;
mod job;
mod mosaic;
mod motion;
mod plan;
mod recipe;
mod session;
mod simulate;
mod stack;
mod worker;
mod z_align;

use crate::args::Command;
use crate::exit::CommandResult;

/// Runs `command`.
///
/// # Errors
/// The failure that ends it, with its exit code.
pub(crate) fn run(command: Command) -> CommandResult {
    match command {
        Command::Stack(args) => stack::run(*args),
        Command::Motion(args) => motion::run(*args),
        Command::Session(args) => session::run(&args),
        Command::ZAlign(args) => z_align::run(&args),
        Command::Mosaic(args) => mosaic::run(*args),
        Command::Plan(command) => plan::run(command),
        Command::Simulate(command) => simulate::run(command),
        Command::Inspect(args) => inspect::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Recipe(command) => recipe::run(command),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Worker => worker::run(),
    }
}
