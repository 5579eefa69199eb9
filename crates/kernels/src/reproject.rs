//! From the pixels of images with celestial coordinates to those of one grid on the sky.
//!
//! Kernels know no headers: the map between pixels, or from pixels to directions on the sky, comes as
//! a function. Interpolation asks it on a coarse lattice only ([`Coordinates`]) and hands the
//! positions to [`crate::warp::Warper::warp_at`]; [`ExactOverlap`] conserves flux.

mod coordinates;
mod exact;
mod polygon;

pub use coordinates::{Coordinates, MAX_ERROR_PX};
pub use exact::{Corners, ExactOutput, ExactOverlap};
