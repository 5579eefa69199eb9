//! HDF5, and MAT v7.3, which is HDF5 with a block of text before it.
//!
//! Reading goes through `rust-hdf5`. Files are written by our own few [`structure`]s, because a
//! file must be readable at any moment of a run.

mod index;
mod sink;
mod source;
mod structure;

pub(super) use sink::{Hdf5Sink, Stack, table};
pub(super) use source::Hdf5Source;
