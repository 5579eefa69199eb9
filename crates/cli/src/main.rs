//! The `stillframe` command: parses the command line, asks the engine, shows what happened.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod interrupt;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::ExitStatus;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. A closed pipe is no reason to fail.
            let _ = error.print();
            let status = if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Done };
            return status.into();
        }
    };
    match commands::run(cli.command) {
        Ok(status) => status.into(),
        Err(failure) => {
            output::print_failure(&failure);
            failure.status.into()
        }
    }
}
