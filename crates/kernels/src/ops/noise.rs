//! Noise of a frame, without a background model or with one.

use stillframe_image::Image;

use crate::ops::background::Background;
use crate::ops::stats;

/// Columns between the pixels whose difference measures the noise: beyond the reach of what
/// interpolation correlates, the same colour of a mosaic, and nearer than what the sky does.
pub(super) const LAG: usize = 4;

/// About as many pixels as a frame's noise is made of: its standard error is then 0.5 %.
const SAMPLES: usize = 65_536;

/// Standard deviation of the noise of a pixel, from differences of pixels four columns apart.
///
/// Sky, gradients and nebulae cancel; stars are clipped. Pixels with any `mask` bit do not count.
/// None without a pair of good pixels. O(n), allocates the samples (0.3 MiB).
///
/// # Panics
/// If `mask` has another shape than `image`.
pub fn difference_sigma(image: &Image<f32>, mask: &Image<u8>) -> Option<f32> {
    assert_eq!(image.shape(), mask.shape(), "mask and image differ in shape");
    let mut magnitudes = Vec::new();
    for_samples(image, |y, columns| {
        let (row, bits) = (image.row(y), mask.row(y));
        let pairs = columns.filter(|&x| x + LAG < row.len() && bits[x] | bits[x + LAG] == 0);
        magnitudes.extend(pairs.map(|x| (row[x] - row[x + LAG]).abs()));
    });
    Some(stats::sigma_of_magnitudes(&mut magnitudes)? * std::f32::consts::FRAC_1_SQRT_2)
}

/// Standard deviation of the pixels about the background: noise, and the structure that the mesh
/// does not follow. From the median absolute deviation; pixels with any `mask` bit do not count.
/// None without good pixels. O(n), allocates the samples (0.3 MiB).
///
/// # Panics
/// If `mask` or `background` has another shape than `image`.
pub fn residual_sigma(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
) -> Option<f32> {
    assert_eq!(image.shape(), mask.shape(), "mask and image differ in shape");
    assert_eq!(image.shape(), background.shape(), "background and image differ in shape");
    let mut magnitudes = Vec::new();
    let mut level = vec![0.0; image.width()];
    for_samples(image, |y, columns| {
        background.row(y, 0, &mut level);
        let (row, bits) = (image.row(y), mask.row(y));
        let good = columns.filter(|&x| bits[x] == 0);
        magnitudes.extend(good.map(|x| (row[x] - level[x]).abs()));
    });
    Some(stats::median(&mut magnitudes)? * stats::SIGMA_PER_MAD as f32)
}

/// Calls `visit(y, columns)` for the rows and columns of a lattice of about [`SAMPLES`] pixels.
fn for_samples(
    image: &Image<f32>,
    mut visit: impl FnMut(usize, std::iter::StepBy<std::ops::Range<usize>>),
) {
    let step = ((image.shape().len() as f64 / SAMPLES as f64).sqrt() as usize).max(1);
    for (line, y) in (0..image.height()).step_by(step).enumerate() {
        visit(y, ((line % step).min(image.width())..image.width()).step_by(step));
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Shape, mask};

    use super::*;
    use crate::ops::background::{BackgroundParams, BackgroundScratch};

    fn background(image: &Image<f32>, bits: &Image<u8>) -> Background {
        let params = BackgroundParams::default();
        Background::fit(image, bits, &params, &mut BackgroundScratch::default()).unwrap()
    }

    #[test]
    fn both_find_the_noise_on_a_gradient_with_stars_and_masked_pixels() {
        let shape = Shape::new(700, 900);
        let mut rng = Rng::new(1, 0, 0);
        let mut bits = Image::filled(shape, 0u8);
        let image = Image::from_fn(shape, |x, y| {
            if (x / 8 + y / 8) % 29 == 0 {
                return 5000.0;
            }
            if x > 600 {
                bits.set(x, y, mask::NO_DATA);
                return 0.0;
            }
            (100.0 + 0.1 * x as f64 + 0.2 * y as f64 + 12.0 * rng.normal()) as f32
        });
        let difference = difference_sigma(&image, &bits).unwrap();
        assert!((difference / 12.0 - 1.0).abs() < 0.06, "{difference}");
        let residual = residual_sigma(&image, &bits, &background(&image, &bits)).unwrap();
        assert!((residual / 12.0 - 1.0).abs() < 0.08, "{residual}");
    }

    #[test]
    fn structure_widens_the_residuals_but_not_the_differences() {
        let shape = Shape::new(600, 600);
        let mut rng = Rng::new(2, 0, 0);
        let wave = |v: usize| 40.0 * stillframe_image::math::sin(v as f64 * 0.12);
        let image = Image::from_fn(shape, |_, y| (300.0 + wave(y) + 10.0 * rng.normal()) as f32);
        let bits = Image::filled(shape, 0);
        let difference = difference_sigma(&image, &bits).unwrap();
        let residual = residual_sigma(&image, &bits, &background(&image, &bits)).unwrap();
        assert!((difference / 10.0 - 1.0).abs() < 0.03, "{difference}");
        assert!(residual > 20.0, "{residual}");
    }

    #[test]
    fn nothing_to_measure_is_none() {
        let image = Image::filled(Shape::new(9, 4), 1.0);
        assert_eq!(difference_sigma(&image, &Image::filled(image.shape(), 0)), None);
        let image = Image::filled(Shape::new(9, 40), 1.0);
        let bits = Image::filled(image.shape(), mask::NO_DATA);
        assert_eq!(difference_sigma(&image, &bits), None);
        let good = Image::filled(image.shape(), 0);
        assert_eq!(difference_sigma(&image, &good), Some(0.0));
        assert_eq!(residual_sigma(&image, &bits, &background(&image, &good)), None);
    }
}
