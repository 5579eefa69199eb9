//! Sources that read a rectangle of a frame; sinks that appear whole or not at all.
//!
//! * [`fits::FitsSource`] reads FITS frames (plain, `.gz`, tile-compressed) as physical `f32`
//!   pixels and mask bits; [`fits::FitsWriter`] writes FITS files.
//!
//! No function here panics on bad input: every fault of a file is a [`ReadError`] that says what
//! was found, what was needed, and what to do.
#![forbid(unsafe_code)]

pub mod error;
pub mod fits;
pub mod limits;
mod positioned;
pub mod sink;

pub use error::{ReadError, ReadErrorKind, WriteError, WriteErrorKind};
pub use sink::{AtomicFile, Existing, write_file};
