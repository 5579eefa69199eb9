//! Where the frames lie relative to each other: star patterns, phase correlation, tile-local
//! alignment, the mean geometry of all, the smooth local field of each, and optical flow.

mod band;
pub mod depth;
mod ecc;
pub mod fft2;
pub mod field_fit;
mod filter;
pub mod fit;
pub mod flow;
pub mod joint;
pub mod patch;
pub mod phase;
mod solve;
pub mod star_match;
pub mod temporal;
pub mod tiles;
