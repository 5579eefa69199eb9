//! The stillframe pipelines: recipes, plans, units, reports. The only place where pixels, files
//! and workers meet.
#![forbid(unsafe_code)]

pub mod compare;
pub mod inspect;
pub mod mosaic;
pub mod motion;
pub mod recipe;
mod resume;
mod runner;
pub mod simulate;
pub mod stack;
mod watch;
mod wire;
mod worker;

pub use stillframe_image as image;
pub use stillframe_io as io;
pub use stillframe_runtime as runtime;
pub use worker::{WorkerFailure, serve_worker};
