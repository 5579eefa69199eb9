//! Where the frames lie relative to each other: star patterns, phase correlation, tile-local
//! alignment, and what becomes of the measured displacements over time and over the tiles.

mod ecc;
pub mod fft2;
mod filter;
pub mod fit;
pub mod patch;
pub mod phase;
mod solve;
pub mod star_match;
pub mod temporal;
pub mod tiles;
