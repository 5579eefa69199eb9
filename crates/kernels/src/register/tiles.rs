//! The lattice of overlapping tiles: its layout, its windows, its refinement.
//!
//! Every pixel lies in at least one tile, and the windows of the tiles add up to 1 at every pixel,
//! before and after refinement.

mod refine;
mod window;

use serde::{Deserialize, Serialize};
use stillframe_image::{Rect, Shape};
use thiserror::Error;

pub use self::refine::{DisplacementVariance, RefineParams, Refinement};
pub use self::window::TileWindow;

/// How tiles are laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileParams {
    /// FWHM of the stars, pixels; sets the side `clip(32 · fwhm_px, 64, max_size)`.
    pub fwhm_px: f64,
    /// Largest side of a tile, pixels, at least 64.
    pub max_size: usize,
    /// Part of a side that is shared with the neighbour, 0.25 to 0.5.
    pub overlap: f64,
}

impl Default for TileParams {
    fn default() -> Self {
        Self { fwhm_px: 3.0, max_size: 128, overlap: 0.25 }
    }
}

/// Why there is no lattice.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TileError {
    /// The image is smaller than the smallest tile.
    #[error("the image is {shape} pixels, a tile needs 64×64; use the gauge alone")]
    ImageTooSmall {
        /// Of the image.
        shape: Shape,
    },
    /// A parameter is out of range.
    #[error("{name} is {value}, it must lie in {range}")]
    OutOfRange {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Allowed values.
        range: &'static str,
    },
}

/// Smallest side of a tile, pixels: below, a tile of a normal star field is often empty.
pub const MIN_TILE: usize = 64;
/// Side of a tile in units of the FWHM.
const SIDES_PER_FWHM: f64 = 32.0;

/// One tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Its pixels. The first has even coordinates, so that a colour mosaic keeps its phase.
    pub rect: Rect,
    /// How often it was split.
    pub level: u8,
    window: TileWindow,
}

impl Tile {
    /// Its weight in the overlap-add.
    pub fn window(&self) -> &TileWindow {
        &self.window
    }
}

/// Tiles that cover an image.
#[derive(Clone, Debug, PartialEq)]
pub struct TileGrid {
    shape: Shape,
    overlap: f64,
    tiles: Vec<Tile>,
}

impl TileGrid {
    /// The lattice for an image of `shape`: sides `T = clip(32 · FWHM, 64, max_size)`, even;
    /// overlap `O = ⌈overlap · T⌉`, even; starts 0, `T − O`, 2(`T − O`), … and one more tile that
    /// ends at the border. An odd last column or row makes the last tiles odd; every start is
    /// even. Row by row from the top left.
    ///
    /// # Errors
    /// [`TileError::ImageTooSmall`] if a side of the image is below 64 pixels;
    /// [`TileError::OutOfRange`] if a parameter is.
    pub fn new(shape: Shape, params: &TileParams) -> Result<Self, TileError> {
        if shape.width.min(shape.height) < MIN_TILE {
            return Err(TileError::ImageTooSmall { shape });
        }
        let fail = |name, value, range| Err(TileError::OutOfRange { name, value, range });
        if !(0.25..=0.5).contains(&params.overlap) {
            return fail("overlap", params.overlap, "0.25 to 0.5");
        }
        if params.max_size < MIN_TILE {
            return fail("max_size", params.max_size as f64, "64 and above");
        }
        let is_positive = params.fwhm_px > 0.0 && params.fwhm_px.is_finite();
        if !is_positive {
            return fail("fwhm_px", params.fwhm_px, "above 0");
        }
        let side = (SIDES_PER_FWHM * params.fwhm_px).clamp(MIN_TILE as f64, params.max_size as f64);
        let side = even(side as usize);
        let columns = spans(shape.width, side, params.overlap);
        let rows = spans(shape.height, side, params.overlap);
        let x_windows = window::ramps(&columns);
        let y_windows = window::ramps(&rows);
        let mut tiles = Vec::with_capacity(columns.len() * rows.len());
        for (&(y, height), wy) in rows.iter().zip(&y_windows) {
            for (&(x, width), wx) in columns.iter().zip(&x_windows) {
                let window = TileWindow { x: wx.clone(), y: wy.clone() };
                tiles.push(Tile { rect: Rect::new(x, y, width, height), level: 0, window });
            }
        }
        Ok(Self { shape, overlap: params.overlap, tiles })
    }

    /// The tiles; their order is part of the result.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// The image that they cover.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// The next even number from below.
const fn even(n: usize) -> usize {
    n & !1
}

/// Start and length of the tiles along one axis of `length` pixels.
fn spans(length: usize, side: usize, overlap: f64) -> Vec<(usize, usize)> {
    if length <= side + 1 {
        return vec![(0, length)];
    }
    let shared = (side as f64 * overlap).ceil() as usize;
    let step = side - (shared + shared % 2);
    let last = even(length - side);
    let mut spans: Vec<(usize, usize)> = (0..last).step_by(step).map(|s| (s, side)).collect();
    spans.push((last, length - last));
    spans
}

#[cfg(test)]
mod tests;
