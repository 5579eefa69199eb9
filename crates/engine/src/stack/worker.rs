//! The worker process of the `processes` executor.

use stillframe_runtime::phase::Phase;

use super::phases::{ServePhase, with_job};
