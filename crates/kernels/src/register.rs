//! Registration: from stars, from patches of image, from whole frames.

mod band;
pub mod field_fit;
