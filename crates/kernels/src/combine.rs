//! Many registered samples per pixel to one: rejection, weighted mean and median, groups,
//! overlap-add, and clipped means for calibration masters.
//!
//! Every pixel is on its own and its frames are folded in frame order, so a result does not depend
//! on how the canvas is cut into blocks.
#![allow(clippy::inline_always, reason = "helpers take the vector width of the loop they are in")]
#![allow(clippy::needless_bitwise_bool, reason = "vector loops must not branch")]

mod accept;
mod clip;
mod clipped_mean;
mod column;
mod combiner;
mod median;
mod overlap_add;
mod rejection;
mod sort;
mod stack;

pub use clipped_mean::ClippedMean;
pub use combiner::{Combination, Combined, Combiner, RowWeights};
pub use overlap_add::{OverlapAdd, axis_windows, variance_factor};
pub use rejection::{NoiseModel, Rejection, RejectionError, RejectionMethod};
pub use stack::{SampleStack, SampleWeights};
