//! MAT v5, the format of MATLAB up to v7. (v7.3 is HDF5.)
//!
//! Variables that were saved uncompressed are read in place. Compressed ones can only be unpacked
//! from their beginning: each keeps its place between reads, so that reading on is cheap and
//! reading back starts over, with a few hundred kilobytes of memory in any case.
//!
//! # Source
//! MAT-File Format (The MathWorks, R2023b), chapter 1: "Level 5 MAT-File Format".

mod element;
mod sink;
mod source;

pub(super) use sink::{MatSink, fits as fits_v5};
pub(super) use source::MatSource;
