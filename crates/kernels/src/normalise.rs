//! Photometric normalisation of the frames of a burst: transparency from stars, sky from meshes.

pub mod scale;
pub mod sky;
