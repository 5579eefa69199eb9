//! Gaussian and band-pass filters of registration images.

use multiversion::multiversion;
use stillframe_image::{Image, math};

use super::ecc::TAPS;

/// Symmetric kernel of a Gaussian: the middle, then one side, cut at three standard deviations;
/// its sum is 1.
fn gaussian(sigma_px: f64) -> Vec<f32> {
    let radius = (3.0 * sigma_px).ceil() as usize;
    let side: Vec<f64> = (0..=radius)
        .map(|i| math::exp(-0.5 * (i as f64 / sigma_px) * (i as f64 / sigma_px)))
        .collect();
    let sum = 2.0 * side.iter().sum::<f64>() - side[0];
    side.iter().map(|v| (v / sum) as f32).collect()
}

/// A Gaussian minus a wider one: what is neither noise from pixel to pixel nor background.
#[derive(Clone, Debug)]
pub(crate) struct BandPass {
    narrow: Vec<f32>,
    wide: Vec<f32>,
    /// Sum of the squares of the two-dimensional kernel: variance that white noise of variance 1
    /// keeps.
    noise_gain: f64,
}

/// Buffers of the filters.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterScratch {
    rows: Vec<f32>,
    padded: Vec<f32>,
    wide: Vec<f32>,
}

impl BandPass {
    /// With these standard deviations, pixels, `narrow_px < wide_px`.
    pub(crate) fn new(narrow_px: f64, wide_px: f64) -> Self {
        let (narrow, wide) = (gaussian(narrow_px), gaussian(wide_px));
        let at = |k: &[f32], i: usize| k.get(i).map_or(0.0, |v| f64::from(*v));
        let times = |i: usize| if i == 0 { 1.0 } else { 2.0 };
        let mut noise_gain = 0.0;
        for y in 0..wide.len() {
            for x in 0..wide.len() {
                let k = at(&narrow, x) * at(&narrow, y) - at(&wide, x) * at(&wide, y);
                noise_gain += times(x) * times(y) * k * k;
            }
        }
        Self { narrow, wide, noise_gain }
    }

    /// See the field.
    pub(crate) fn noise_gain(&self) -> f64 {
        self.noise_gain
    }

    /// Variance that white noise of variance 1 keeps when, after the filter, it is interpolated
    /// with these weights of the neighbours along x and along y.
    pub(crate) fn interpolated_noise_gain(&self, x: [f32; TAPS], y: [f32; TAPS]) -> f64 {
        // Products of kernels that are separable: narrow², narrow · wide, wide².
        let products = |taps: [f32; TAPS]| {
            let (n, w) = (convolved(&self.narrow, taps), convolved(&self.wide, taps));
            let shift = (w.len() - n.len()) / 2;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            [dot(&n, &n), dot(&n, &w[shift..]), dot(&w, &w)]
        };
        let (x, y) = (products(x), products(y));
        x[0] * y[0] - 2.0 * x[1] * y[1] + x[2] * y[2]
    }

    /// Filters `image` into `out`; beyond the border the outermost pixels are repeated.
    pub(crate) fn run(
        &self,
        image: &Image<f32>,
        out: &mut Image<f32>,
        scratch: &mut FilterScratch,
    ) {
        let FilterScratch { rows, padded, wide } = scratch;
        out.reset(image.shape(), 0.0);
        wide.resize(image.shape().len(), 0.0);
        blur(image, &self.wide, wide, rows, padded);
        blur(image, &self.narrow, out.pixels_mut(), rows, padded);
        for (o, w) in out.pixels_mut().iter_mut().zip(wide.iter()) {
            *o -= w;
        }
    }
}

/// The kernel whose middle and one side is `half`, convolved with the taps of an interpolation.
fn convolved(half: &[f32], taps: [f32; TAPS]) -> Vec<f64> {
    let radius = half.len() - 1;
    let mut out = vec![0.0; 2 * radius + TAPS];
    for i in 0..=2 * radius {
        for (j, tap) in taps.iter().enumerate() {
            out[i + j] += f64::from(half[i.abs_diff(radius)]) * f64::from(*tap);
        }
    }
    out
}

/// `image` convolved with the separable kernel whose middle and one side is `kernel`.
fn blur(
    image: &Image<f32>,
    kernel: &[f32],
    out: &mut [f32],
    rows: &mut Vec<f32>,
    padded: &mut Vec<f32>,
) {
    let (height, width) = (image.height(), image.width());
    let radius = kernel.len() - 1;
    rows.resize(height * width, 0.0);
    padded.resize(width + 2 * radius, 0.0);
    for y in 0..height {
        let row = image.row(y);
        padded[..radius].fill(row[0]);
        padded[radius..radius + width].copy_from_slice(row);
        padded[radius + width..].fill(row[width - 1]);
        let target = &mut rows[y * width..][..width];
        scaled(target, &padded[radius..][..width], kernel[0]);
        for (i, &k) in kernel.iter().enumerate().skip(1) {
            add_both(target, &padded[radius - i..][..width], &padded[radius + i..][..width], k);
        }
    }
    for y in 0..height {
        let row = |y: usize| &rows[y * width..][..width];
        let target = &mut out[y * width..][..width];
        scaled(target, row(y), kernel[0]);
        for (i, &k) in kernel.iter().enumerate().skip(1) {
            add_both(target, row(y.saturating_sub(i)), row((y + i).min(height - 1)), k);
        }
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn scaled(target: &mut [f32], source: &[f32], factor: f32) {
    for (t, s) in target.iter_mut().zip(source) {
        *t = factor * s;
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn add_both(target: &mut [f32], a: &[f32], b: &[f32], factor: f32) {
    for ((t, a), b) in target.iter_mut().zip(a).zip(b) {
        *t += factor * (a + b);
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Shape};

    use super::*;

    #[test]
    fn blur_is_the_convolution() {
        let mut rng = Rng::new(1, 0, 0);
        let image = Image::from_fn(Shape::new(19, 23), |_, _| rng.normal() as f32);
        let kernel = gaussian(1.7);
        let (mut rows, mut padded) = (Vec::new(), Vec::new());
        let mut out = vec![0.0; image.shape().len()];
        blur(&image, &kernel, &mut out, &mut rows, &mut padded);
        let r = kernel.len() as i64 - 1;
        for y in 0..19i64 {
            for x in 0..23i64 {
                let mut sum = 0.0;
                for dy in -r..=r {
                    for dx in -r..=r {
                        let k =
                            kernel[dx.unsigned_abs() as usize] * kernel[dy.unsigned_abs() as usize];
                        let (px, py) = ((x + dx).clamp(0, 22), (y + dy).clamp(0, 18));
                        sum += f64::from(k) * f64::from(image.at(px as usize, py as usize));
                    }
                }
                assert!((f64::from(out[(y * 23 + x) as usize]) - sum).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn band_pass_removes_constants_and_scales_noise_as_it_says() {
        let filter = BandPass::new(0.8, 4.0);
        let (mut out, mut scratch) =
            (Image::filled(Shape::new(1, 1), 0.0), FilterScratch::default());
        filter.run(&Image::filled(Shape::new(40, 40), 1000.0), &mut out, &mut scratch);
        assert!(out.pixels().iter().all(|v| v.abs() < 1e-3));
        let mut rng = Rng::new(2, 0, 0);
        let noise = Image::from_fn(Shape::new(200, 200), |_, _| rng.normal() as f32);
        filter.run(&noise, &mut out, &mut scratch);
        let power: f64 = out.pixels().iter().map(|v| f64::from(v * v)).sum::<f64>() / 40_000.0;
        assert!((power / filter.noise_gain() - 1.0).abs() < 0.05);
        let none = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        assert!(
            (filter.interpolated_noise_gain(none, none) / filter.noise_gain() - 1.0).abs() < 1e-6
        );
        let half = [0.0, 0.0, 0.5, 0.5, 0.0, 0.0];
        let mut power = 0.0;
        for y in 0..199 {
            for x in 0..199 {
                let sum = out.at(x, y) + out.at(x + 1, y) + out.at(x, y + 1) + out.at(x + 1, y + 1);
                power += f64::from(sum * sum) / 16.0 / (199.0 * 199.0);
            }
        }
        assert!((power / filter.interpolated_noise_gain(half, half) - 1.0).abs() < 0.05);
    }
}
