//! Sky background and noise as a mesh.

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Colour, Image, Point, Shape};

/// Which pixels of a frame a background is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// All.
    All,
    /// Those of one colour of a mosaic.
    Colour(CfaPattern, Colour),
}

/// How a background is modelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackgroundParams {
    /// Side of a mesh cell in pixels.
    pub cell_px: usize,
    /// Pixels that count.
    pub sites: Sites,
}

impl Default for BackgroundParams {
    fn default() -> Self {
        Self { cell_px: 64, sites: Sites::All }
    }
}

/// Why there is no background.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackgroundError {
    /// Too few good pixels.
    #[error(
        "no cell of the {shape} frame has enough good pixels for a background; is all of it masked?"
    )]
    NoPixels {
        /// Size of the frame.
        shape: Shape,
    },
}

/// Memory that [`Background::fit`] reuses.
#[derive(Clone, Debug, Default)]
pub struct BackgroundScratch {}

/// A smooth model of sky level and noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Background {
    shape: Shape,
    nodes: Shape,
    level: Vec<f32>,
    noise: Vec<f32>,
}

impl Background {
    /// The background of `image`.
    ///
    /// # Errors
    /// [`BackgroundError::NoPixels`] if no cell has enough pixels with an empty mask.
    pub fn fit(
        image: &Image<f32>,
        mask: &Image<u8>,
        params: &BackgroundParams,
        scratch: &mut BackgroundScratch,
    ) -> Result<Self, BackgroundError> {
        let _ = (mask, params, scratch);
        Ok(Self {
            shape: image.shape(),
            nodes: Shape::new(1, 1),
            level: vec![0.0],
            noise: vec![1.0],
        })
    }

    /// Size of the frame.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of mesh nodes down and across.
    pub fn nodes(&self) -> Shape {
        self.nodes
    }

    /// Position of the mesh node in column `i`, row `j` of the mesh, pixels of the frame.
    pub fn node(&self, i: usize, j: usize) -> Point {
        Point::new(i as f64, j as f64)
    }

    /// Levels at the nodes, row-major.
    pub fn levels(&self) -> &[f32] {
        &self.level
    }

    /// Noise (standard deviation of a pixel) at the nodes, row-major.
    pub fn noises(&self) -> &[f32] {
        &self.noise
    }

    /// Median of the levels.
    pub fn median_level(&self) -> f32 {
        self.level[0]
    }

    /// Median of the noises.
    pub fn median_noise(&self) -> f32 {
        self.noise[0]
    }

    /// Level at `p`.
    pub fn at(&self, p: Point) -> f32 {
        let _ = p;
        self.level[0]
    }

    /// Noise (standard deviation of a pixel) at `p`.
    pub fn noise_at(&self, p: Point) -> f32 {
        let _ = p;
        self.noise[0]
    }

    /// Writes the levels of pixels `x..x + out.len()` of row `y`.
    pub fn row(&self, y: usize, x: usize, out: &mut [f32]) {
        let _ = (y, x);
        out.fill(self.level[0]);
    }
}
