//! Where a frame lies on the reference.

pub mod flow;
