//! Ctrl-C: once stops cleanly, twice stops at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::exit::ExitStatus;

/// Calls `stop` at the first Ctrl-C and ends the process at the second.
///
/// # Errors
/// If the system does not let a handler be set.
pub(crate) fn on_ctrl_c(stop: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let seen = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::AcqRel) {
            std::process::exit(ExitStatus::Interrupted as i32);
        }
        // Nobody is left to tell if this fails.
        let _ =
            writeln!(std::io::stderr(), "\nstopping cleanly; press Ctrl-C again to stop at once");
        stop();
    })
    .context("cannot listen for Ctrl-C")
}

/// Leaves Ctrl-C to the parent: a terminal sends it to every process of the group.
///
/// # Errors
/// If the system does not let a handler be set.
pub(crate) fn leave_ctrl_c_to_parent() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {}).context("cannot listen for Ctrl-C")
}
