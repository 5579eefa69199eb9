//! Where the frames lie relative to each other: star patterns, phase correlation, tile-local
//! alignment, and what becomes of the measured displacements over time and over the tiles.

pub mod fft2;
pub mod fit;
pub mod patch;
pub mod phase;
mod solve;
pub mod star_match;
pub mod temporal;
pub mod tiles;
