//! Where the frames lie relative to each other: star patterns, phase correlation, tile-local
//! alignment, what becomes of the measured displacements over time and over the tiles, and optical
//! flow.

mod ecc;
pub mod fft2;
mod filter;
pub mod fit;
pub mod flow;
pub mod patch;
pub mod phase;
mod solve;
pub mod star_match;
pub mod temporal;
pub mod tiles;
