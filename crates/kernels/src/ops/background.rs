//! Sky background and noise as a mesh.
//!
//! The frame is cut into cells. In each, samples beyond 3 σ of their median are clipped until
//! none is left to clip; level is the mode that median and mean point to, noise the standard
//! deviation of the rest. Cells full of sources take their neighbours' values, a 3×3 median takes
//! out what single sources did to the mesh, and a bicubic surface runs through the nodes.

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Colour, Image, Point, Rect, Shape};

mod cell;
mod mesh;
mod surface;

/// About as many samples as a cell's level is made of: its standard error is then 3-7 % of the
/// noise, and the surface's 1-2 %.
const CELL_SAMPLES: usize = 1024;

/// Which pixels of a frame a background is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// All.
    All,
    /// Those of one colour of a mosaic.
    Colour(CfaPattern, Colour),
}

impl Sites {
    /// Distance between the sites of a lattice along a row and down the rows, and the first
    /// column of the lattice in row `y`, if there is one.
    fn in_row(self, y: usize) -> Option<(usize, usize)> {
        match self {
            Self::All => Some((0, 1)),
            Self::Colour(cfa, colour) => {
                (0..2).find(|&x| cfa.colour_at(x, y) == colour).map(|first| (first, 2))
            }
        }
    }
}

/// How a background is modelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackgroundParams {
    /// Side of a mesh cell in pixels: larger than the sources, smaller than what the sky does.
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
        "no cell of the {shape} frame has enough unmasked pixels for a background; is all of it masked?"
    )]
    NoPixels {
        /// Size of the frame.
        shape: Shape,
    },
}

/// Memory that [`Background::fit`] reuses from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct BackgroundScratch {
    cell: cell::CellScratch,
}

/// A smooth model of the sky level and of the noise of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Background {
    shape: Shape,
    nodes: Shape,
    level: Vec<f32>,
    noise: Vec<f32>,
    median_level: f32,
    median_noise: f32,
}

impl Background {
    /// The background of `image`; pixels with any `mask` bit do not count. Pixels are thinned to
    /// about 1000 a cell by a fixed pattern. O(n), allocates the mesh only.
    ///
    /// # Errors
    /// [`BackgroundError::NoPixels`] if no cell has enough pixels with an empty mask.
    ///
    /// # Panics
    /// If `mask` has another shape than `image`.
    ///
    /// # Source
    /// Bertin & Arnouts (1996), doi:10.1051/aas:1996164, section 3. We differ: the first σ comes
    /// from the quantiles below the median, which sources do not reach; cells of which sources
    /// took more than half are filled from the others; the mesh is continued by straight lines
    /// before its median is taken, so that a gradient is not bent at the border; the surface
    /// is Keys's cubic convolution (doi:10.1109/TASSP.1981.1163711), not a natural spline.
    pub fn fit(
        image: &Image<f32>,
        mask: &Image<u8>,
        params: &BackgroundParams,
        scratch: &mut BackgroundScratch,
    ) -> Result<Self, BackgroundError> {
        assert_eq!(image.shape(), mask.shape(), "mask and image differ in shape");
        let shape = image.shape();
        let count = |pixels: usize| {
            ((pixels as f64 / params.cell_px.max(8) as f64).round() as usize).max(1)
        };
        let nodes = Shape::new(count(shape.height), count(shape.width));
        let mut cells = Vec::with_capacity(nodes.len());
        for j in 0..nodes.height {
            for i in 0..nodes.width {
                let rect = cell::rect(shape, nodes, i, j);
                cells.push(cell::sky(image, mask, rect, params.sites, &mut scratch.cell));
            }
        }
        let (level, noise) =
            mesh::complete(&cells, nodes).ok_or(BackgroundError::NoPixels { shape })?;
        let middle = |values: &[f32]| crate::ops::stats::median(&mut values.to_vec());
        let (median_level, median_noise) =
            (middle(&level).unwrap_or(0.0), middle(&noise).unwrap_or(0.0));
        Ok(Self { shape, nodes, level, noise, median_level, median_noise })
    }

    /// The level of the pixels of `rect` alone, found as that of a mesh cell is; `None` if too few of them
    /// are good, or most are sources.
    ///
    /// # Panics
    /// If `rect` leaves the image.
    pub fn level_of(
        image: &Image<f32>,
        mask: &Image<u8>,
        rect: Rect,
        sites: Sites,
        scratch: &mut BackgroundScratch,
    ) -> Option<f32> {
        cell::sky(image, mask, rect, sites, &mut scratch.cell).map(|sky| sky.level)
    }

    /// Size of the frame.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of mesh nodes down and across.
    pub fn nodes(&self) -> Shape {
        self.nodes
    }

    /// Position of the node in column `i` and row `j` of the mesh, pixels of the frame: the
    /// centre of its cell.
    pub fn node(&self, i: usize, j: usize) -> Point {
        let centre = |k: usize, pixels: usize, cells: usize| {
            (k as f64 + 0.5) * pixels as f64 / cells as f64 - 0.5
        };
        Point::new(
            centre(i, self.shape.width, self.nodes.width),
            centre(j, self.shape.height, self.nodes.height),
        )
    }

    /// Levels at the nodes, row-major.
    pub fn levels(&self) -> &[f32] {
        &self.level
    }

    /// Noise (standard deviation of a pixel) at the nodes, row-major; 0 for a noise-free frame.
    pub fn noises(&self) -> &[f32] {
        &self.noise
    }

    /// Median of the levels.
    pub fn median_level(&self) -> f32 {
        self.median_level
    }

    /// Median of the noises.
    pub fn median_noise(&self) -> f32 {
        self.median_noise
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, mask};

    use super::*;

    fn fit(image: &Image<f32>, mask: &Image<u8>, sites: Sites) -> Background {
        let params = BackgroundParams { sites, ..BackgroundParams::default() };
        Background::fit(image, mask, &params, &mut BackgroundScratch::default()).unwrap()
    }

    fn rms_and_mean(b: &Background, truth: impl Fn(usize, usize) -> f64) -> (f64, f64) {
        let shape = b.shape();
        let mut row = vec![0.0; shape.width];
        let (mut sum, mut squares) = (0.0, 0.0);
        for y in 0..shape.height {
            b.row(y, 0, &mut row);
            for (x, &v) in row.iter().enumerate() {
                let d = f64::from(v) - truth(x, y);
                sum += d;
                squares += d * d;
            }
        }
        ((squares / shape.len() as f64).sqrt(), sum / shape.len() as f64)
    }

    #[test]
    fn pure_noise_is_unbiased_to_a_hundredth_of_sigma() {
        let shape = Shape::new(640, 960);
        let mask = Image::filled(shape, 0u8);
        let (mut bias, mut noise) = (0.0, 0.0);
        for seed in 0..3 {
            let mut rng = Rng::new(seed, 1, 0);
            let image = Image::from_fn(shape, |_, _| (500.0 + 20.0 * rng.normal()) as f32);
            let b = fit(&image, &mask, Sites::All);
            let (rms, mean) = rms_and_mean(&b, |_, _| 500.0);
            assert!(rms < 0.05 * 20.0, "{rms}");
            bias += mean / 3.0;
            noise += f64::from(b.median_noise()) / 3.0;
        }
        assert!(bias.abs() < 0.01 * 20.0, "bias {bias}");
        assert!((noise / 20.0 - 1.0).abs() < 0.01, "noise {noise}");
    }

    #[test]
    fn stars_and_missing_pixels_do_not_lift_a_gradient() {
        let shape = Shape::new(500, 700);
        let truth = |x: usize, y: usize| 300.0 + 0.05 * x as f64 - 0.03 * y as f64;
        let mut rng = Rng::new(5, 1, 0);
        let mut image = Image::from_fn(shape, |x, y| (truth(x, y) + 17.0 * rng.normal()) as f32);
        for _ in 0..700 {
            let (cx, cy) = (rng.range(0.0, 700.0), rng.range(0.0, 500.0));
            let peak = 30.0 * stillframe_image::math::exp(1.2 * rng.exponential());
            for y in (cy as usize).saturating_sub(9)..(cy as usize + 9).min(500) {
                for x in (cx as usize).saturating_sub(9)..(cx as usize + 9).min(700) {
                    let r2 = (x as f64 - cx).powi(2) + (y as f64 - cy).powi(2);
                    let v = image.at(x, y) + (peak / (1.0 + r2 / 7.0).powi(3)) as f32;
                    image.set(x, y, v);
                }
            }
        }
        let mut bits = Image::filled(shape, 0u8);
        for y in 100..260 {
            image.row_mut(y)[300..460].fill(0.0);
            bits.row_mut(y)[300..460].fill(mask::NO_DATA);
        }
        let b = fit(&image, &bits, Sites::All);
        let (rms, mean) = rms_and_mean(&b, truth);
        assert!(rms < 0.15 * 17.0 && mean.abs() < 0.1 * 17.0, "rms {rms} mean {mean}");
    }

    #[test]
    fn each_colour_of_a_mosaic_has_its_own_level() {
        let (shape, level) = (Shape::new(257, 321), [900.0f32, 400.0, 250.0]);
        let mask = Image::filled(shape, 0u8);
        for cfa in CfaPattern::ALL {
            let mut rng = Rng::new(9, 1, 0);
            let mosaic = Image::from_fn(shape, |x, y| {
                level[cfa.colour_at(x, y).plane()] + 5.0 * rng.normal() as f32
            });
            for colour in Colour::ALL {
                let b = fit(&mosaic, &mask, Sites::Colour(cfa, colour));
                let want = level[colour.plane()];
                assert!((b.median_level() - want).abs() < 0.3, "{cfa:?} {colour:?}");
                assert!((b.median_noise() - 5.0).abs() < 0.2);
            }
        }
    }

    #[test]
    fn a_fully_masked_frame_is_an_error() {
        let shape = Shape::new(100, 100);
        let (image, mask) = (Image::filled(shape, 1.0), Image::filled(shape, mask::NO_DATA));
        let params = BackgroundParams::default();
        let got = Background::fit(&image, &mask, &params, &mut BackgroundScratch::default());
        assert_eq!(got, Err(BackgroundError::NoPixels { shape }));
    }

    #[test]
    fn tiny_and_empty_frames_are_served() {
        for (h, w) in [(1, 1), (3, 200), (70, 2)] {
            let shape = Shape::new(h, w);
            let b = fit(&Image::filled(shape, 3.0), &Image::filled(shape, 0u8), Sites::All);
            assert_eq!((b.at(Point::new(0.0, 0.0)), b.median_noise()), (3.0, 0.0));
        }
        let shape = Shape::new(0, 0);
        let params = BackgroundParams::default();
        let (image, mask) = (Image::filled(shape, 0.0), Image::filled(shape, 0u8));
        assert!(
            Background::fit(&image, &mask, &params, &mut BackgroundScratch::default()).is_err()
        );
    }
}
