//! How deep a frame lies in a stack of images of the same tissue: the axial motion of a recording.
//!
//! The gradients of a frame are compared with those of every slice, patch by patch; the slice at
//! which they differ least, and a fraction from the slopes beside it, is the depth. Depths count
//! slices from 0.

mod estimate;
mod gradients;
mod patches;
mod slices;

pub use estimate::{DepthEstimator, least};
pub use gradients::Gradients;
pub use patches::PatchGrid;
pub use slices::{at_depth, moved_to};
