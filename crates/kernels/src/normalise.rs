//! Photometric normalisation: of the frames of a burst (transparency from stars, sky from meshes) and
//! of the tiles of a mosaic, from what they see in common.

pub mod overlaps;
pub mod scale;
pub mod sky;
