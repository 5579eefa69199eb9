//! Quality of frames and of tiles.
//!
//! The weights that Methodik v4 makes of it are in [`v4`].

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Rect};

use crate::ops::background::Background;
use crate::ops::stars::Star;
use crate::ops::stats;

pub mod v4;

/// About as many pixels as the gradient energy of a frame is made of: its standard error is 1 %.
const FRAME_SAMPLES: usize = 32_768;
/// The same for a tile, of which a frame has hundreds: 4 %.
const TILE_SAMPLES: usize = 1024;
/// Signal-to-noise ratio from which on a star's width says something.
const LEAST_SNR: f32 = 20.0;
/// If fewer stars reach it, fainter ones count too.
const ENOUGH_STARS: usize = 5;

/// Quality of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameMetrics {
    /// Median background, units of the image.
    pub background: f32,
    /// Standard deviation of the noise of a pixel, units of the image.
    pub noise: f32,
    /// Median squared Sobel magnitude, squared units of the image.
    pub gradient_energy: f32,
    /// Median FWHM of the good stars, pixels; none without stars.
    pub fwhm_px: Option<f32>,
    /// Median minor over major axis of the good stars; none without stars.
    pub roundness: Option<f32>,
    /// Stars about which nothing is special.
    pub n_stars: usize,
}

/// Quality of one tile of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileMetrics {
    /// Background in the middle of the tile, units of the image.
    pub background: f32,
    /// Noise of a pixel there, units of the image.
    pub noise: f32,
    /// Median squared Sobel magnitude, squared units of the image.
    pub gradient_energy: f32,
    /// Stars in the tile about which nothing is special.
    pub n_stars: usize,
    /// Their median FWHM, pixels; none without stars.
    pub fwhm_px: Option<f32>,
    /// Their median minor over major axis; none without stars.
    pub roundness: Option<f32>,
    /// `p / (p + 2 · background)` of their median peak p, which is `(max − min) / (max + min)`
    /// without the pixels that spoil it; none without stars.
    pub contrast: Option<f32>,
}

/// Quality of one frame. Pixels with any `mask` bit do not count. O(n), allocates the samples.
///
/// # Panics
/// If `mask` has another shape than `image`.
pub fn frame_metrics(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    stars: &[Star],
) -> FrameMetrics {
    let clean: Vec<Star> = stars.iter().copied().filter(Star::is_clean).collect();
    FrameMetrics {
        background: background.median_level(),
        noise: background.median_noise(),
        gradient_energy: gradient_energy(image, mask, image.shape().rect(), FRAME_SAMPLES),
        fwhm_px: median_of(&clean, |s| s.fwhm_px),
        roundness: median_of(&clean, |s| s.roundness),
        n_stars: clean.len(),
    }
}

/// Quality of the tile `rect` of one frame; the part of it outside the frame is ignored. Pixels
/// with any `mask` bit do not count. O(pixels of the tile + stars).
///
/// # Panics
/// If `mask` has another shape than `image`.
pub fn tile_metrics(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    stars: &[Star],
    rect: Rect,
) -> TileMetrics {
    let inside = |s: &&Star| {
        let (x, y) = (s.position.x.round(), s.position.y.round());
        s.is_clean()
            && x >= rect.x as f64
            && y >= rect.y as f64
            && x < rect.x_end() as f64
            && y < rect.y_end() as f64
    };
    let clean: Vec<Star> = stars.iter().filter(inside).copied().collect();
    let middle = stillframe_image::Point::new(
        rect.x as f64 + 0.5 * (rect.width as f64 - 1.0),
        rect.y as f64 + 0.5 * (rect.height as f64 - 1.0),
    );
    let level = background.at(middle);
    TileMetrics {
        background: level,
        noise: background.noise_at(middle),
        gradient_energy: gradient_energy(image, mask, rect, TILE_SAMPLES),
        n_stars: clean.len(),
        fwhm_px: median_of(&clean, |s| s.fwhm_px),
        roundness: median_of(&clean, |s| s.roundness),
        contrast: median_of(&clean, |s| s.peak)
            .map(|peak| peak / (peak + 2.0 * level.max(0.0)).max(f32::MIN_POSITIVE)),
    }
}

/// Median of a quantity over the stars that are bright enough to have it.
fn median_of(clean: &[Star], of: impl Fn(&Star) -> f32) -> Option<f32> {
    let bright = clean.iter().filter(|s| s.snr() >= LEAST_SNR);
    let mut values: Vec<f32> = bright.map(&of).collect();
    if values.len() < ENOUGH_STARS {
        values = clean.iter().map(of).collect();
    }
    stats::median(&mut values)
}

/// Median of `Gx² + Gy²` over the pixels of `rect` all of whose nine neighbours are good, with
/// the Sobel kernels (1 2 1) × (−1 0 1); 0 if there are none. Thinned to about `samples` pixels.
///
/// # Source
/// Methodik v4, global and local metric E. The median, not the mean: a single hot pixel must not
/// decide.
fn gradient_energy(image: &Image<f32>, mask: &Image<u8>, rect: Rect, samples: usize) -> f32 {
    assert_eq!(image.shape(), mask.shape(), "mask and image differ in shape");
    let (x0, y0) = (rect.x.max(1), rect.y.max(1));
    let x1 = rect.x_end().min(image.width().saturating_sub(1));
    let y1 = rect.y_end().min(image.height().saturating_sub(1));
    if x1 <= x0 || y1 <= y0 {
        return 0.0;
    }
    let n = (x1 - x0) * (y1 - y0);
    let step = ((n as f64 / samples as f64).sqrt().round() as usize).max(1);
    let mut energies = Vec::with_capacity(n / (step * step) + 1);
    for y in (y0..y1).step_by(step) {
        let [a, b, c] = [y - 1, y, y + 1].map(|y| image.row(y));
        let bits = [y - 1, y, y + 1].map(|y| mask.row(y));
        for x in (x0..x1).step_by(step) {
            if bits.iter().any(|row| row[x - 1] | row[x] | row[x + 1] != 0) {
                continue;
            }
            let gx = (a[x + 1] - a[x - 1]) + 2.0 * (b[x + 1] - b[x - 1]) + (c[x + 1] - c[x - 1]);
            let gy = (c[x - 1] - a[x - 1]) + 2.0 * (c[x] - a[x]) + (c[x + 1] - a[x + 1]);
            energies.push(gx * gx + gy * gy);
        }
    }
    stats::median(&mut energies).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Point, Rng, Shape, mask};

    use super::*;
    use crate::ops::background::{BackgroundParams, BackgroundScratch};

    fn star(x: f64, y: f64, fwhm_px: f32, snr: f32, flags: u8) -> Star {
        Star {
            position: Point::new(x, y),
            position_sigma_px: 0.1,
            flux: snr * 10.0,
            flux_sigma: 10.0,
            peak: 300.0,
            fwhm_px,
            roundness: 0.9,
            angle_rad: 0.0,
            flags,
        }
    }

    fn sky(shape: Shape) -> (Image<f32>, Image<u8>, Background) {
        let mut rng = Rng::new(1, 0, 0);
        let image = Image::from_fn(shape, |_, _| (100.0 + 4.0 * rng.normal()) as f32);
        let bits = Image::filled(shape, 0u8);
        let params = BackgroundParams::default();
        let b = Background::fit(&image, &bits, &params, &mut BackgroundScratch::default());
        (image, bits, b.unwrap())
    }

    #[test]
    fn energy_of_a_slope_is_that_of_the_kernel() {
        let shape = Shape::new(20, 30);
        let image = Image::from_fn(shape, |x, y| 3.0 * x as f32 - 2.0 * y as f32);
        let bits = Image::filled(shape, 0u8);
        // (8 · 3)² + (8 · 2)²
        assert_eq!(gradient_energy(&image, &bits, shape.rect(), 9999), 832.0);
        assert_eq!(gradient_energy(&image, &bits, Rect::new(5, 6, 4, 3), 9999), 832.0);
        assert_eq!(gradient_energy(&image, &bits, Rect::new(0, 0, 1, 1), 9999), 0.0);
    }

    #[test]
    fn masked_and_hot_pixels_do_not_change_the_energy() {
        let shape = Shape::new(64, 64);
        let mut image = Image::from_fn(shape, |x, _| 2.0 * x as f32);
        let mut bits = Image::filled(shape, 0u8);
        let want = gradient_energy(&image, &bits, shape.rect(), 9999);
        image.row_mut(10).fill(-5e4);
        bits.row_mut(10).fill(mask::NO_DATA);
        image.set(30, 30, 6e4);
        assert_eq!(gradient_energy(&image, &bits, shape.rect(), 9999), want);
    }

    #[test]
    fn energy_of_noise_is_known() {
        let (image, bits, _) = sky(Shape::new(300, 300));
        // each kernel has variance 12 σ²; the median of a χ² of two degrees is 2 ln 2
        let want = 12.0 * 16.0 * 2.0 * std::f32::consts::LN_2;
        let got = gradient_energy(&image, &bits, image.shape().rect(), 9999);
        assert!((got / want - 1.0).abs() < 0.03, "{got} {want}");
    }

    #[test]
    fn frames_are_judged_by_their_good_stars() {
        let (image, bits, background) = sky(Shape::new(200, 200));
        let mut stars: Vec<Star> = (0..9)
            .map(|k| star(20.0 * f64::from(k), 50.0, 2.9 + 0.05 * k as f32, 50.0, 0))
            .collect();
        stars.push(star(5.0, 5.0, 9.0, 90.0, crate::ops::stars::flag::SATURATED));
        stars.push(star(6.0, 90.0, 7.0, 8.0, 0));
        let m = frame_metrics(&image, &bits, &background, &stars);
        assert!((m.fwhm_px.unwrap() - 3.1).abs() < 1e-6);
        assert_eq!((m.roundness, m.n_stars), (Some(0.9), 10));
        assert!((m.background - 100.0).abs() < 0.3 && (m.noise - 4.0).abs() < 0.15);
        let none = frame_metrics(&image, &bits, &background, &[]);
        assert_eq!((none.fwhm_px, none.roundness, none.n_stars), (None, None, 0));
    }

    #[test]
    fn tiles_know_their_own_stars_only() {
        let (image, bits, background) = sky(Shape::new(200, 200));
        let stars = [star(49.4, 10.0, 3.0, 50.0, 0), star(49.6, 10.0, 4.0, 50.0, 0)];
        let left = tile_metrics(&image, &bits, &background, &stars, Rect::new(0, 0, 50, 50));
        let right = tile_metrics(&image, &bits, &background, &stars, Rect::new(50, 0, 50, 50));
        assert_eq!((left.n_stars, left.fwhm_px), (1, Some(3.0)));
        assert_eq!((right.n_stars, right.fwhm_px), (1, Some(4.0)));
        assert!((left.contrast.unwrap() - 300.0 / (300.0 + 200.0)).abs() < 5e-3);
        let empty = tile_metrics(&image, &bits, &background, &stars, Rect::new(150, 150, 50, 50));
        assert_eq!((empty.n_stars, empty.contrast), (0, None));
    }
}
