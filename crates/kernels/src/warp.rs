//! From frame pixels to output pixels, once: the warp with interpolation kernels, and drizzle.
//!
//! All kernels work *backwards*: for an output pixel they find the place in the frame that it
//! shows, and gather samples there. The position is computed from the absolute number of the output
//! pixel, so a block of the canvas has the bits that the whole canvas would have there.
//!
//! Results go into one slice of a sample stack ([`crate::combine::SampleStack`]), the only place
//! where NaN is used: it is the compact mark for "no sample".
#![allow(clippy::inline_always, reason = "helpers take the vector width of the loop they are in")]
#![allow(clippy::needless_bitwise_bool, reason = "vector loops must not branch")]

mod drizzle;
mod gather;
mod geometry;
mod green;
mod interpolate;
mod kernel;
mod position;
mod taps;
mod void;

pub use drizzle::Drizzle;
pub use geometry::{Geometry, Grid, Source, Void, source_rect};
pub use green::GreenPlane;
pub use interpolate::Warper;
pub use kernel::WarpKernel;
pub use taps::Border;
