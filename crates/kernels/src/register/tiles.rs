//! The lattice of overlapping tiles, its windows and its refinement.

use serde::{Deserialize, Serialize};
use stillframe_image::{Rect, Shape};

/// How tiles are laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileParams {
    /// FWHM of the stars, pixels.
    pub fwhm_px: f64,
    /// Largest tile side, pixels.
    pub max_size: usize,
    /// Fraction of the side shared with the neighbour, 0.25-0.5.
    pub overlap: f64,
}

/// One tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Its pixels.
    pub rect: Rect,
    /// How often it was split.
    pub level: u8,
}

/// Tiles that cover an image.
#[derive(Clone, Debug, PartialEq)]
pub struct TileGrid {
    shape: Shape,
    tiles: Vec<Tile>,
}

impl TileGrid {
    /// The tiles.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// The image that they cover.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
