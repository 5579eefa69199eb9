//! `stillframe worker`: what the `processes` executor starts.

use stillframe_engine::serve_worker;

use crate::exit::{CommandResult, ExitStatus};
use crate::interrupt;

pub(super) fn run() -> CommandResult {
    interrupt::leave_ctrl_c_to_parent()?;
    serve_worker()?;
    Ok(ExitStatus::Done)
}
