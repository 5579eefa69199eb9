//! Matched filter and its local maxima.

use multiversion::multiversion;
use stillframe_image::{Image, Point, math};

use crate::ops::background::Background;
use crate::ops::stats;

/// Half width of the kernel in standard deviations: 0.6 % of its peak is cut off.
const REACH: f64 = 3.2;
/// Pixels that are filtered together; their sums stay in registers.
const BLOCK: usize = 32;
/// Side of the squares within which one threshold holds.
const THRESHOLD_CELL: usize = 32;
/// Distance of the ring that a maximum must rise above, in standard deviations of the kernel: a
/// star's filtered image has fallen to 1 % there.
const RING: f64 = 4.5;

/// A local maximum of the filtered image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) x: u32,
    pub(super) y: u32,
    /// Filtered value above its surroundings in units of the noise of a pixel.
    pub(super) rise: f32,
    /// The same in units of the filtered noise: the signal-to-noise ratio. As large as `rise` if
    /// the noise is white.
    pub(super) snr: f32,
}

/// One half of a Gaussian of unit sum of squares, centre first.
pub(super) fn half_kernel(sigma: f64) -> Vec<f32> {
    let reach = (REACH * sigma).ceil().max(1.0) as usize;
    let raw: Vec<f64> = (0..=reach).map(|k| math::exp(-0.5 * (k as f64 / sigma).powi(2))).collect();
    let squares = 2.0 * raw[1..].iter().map(|v| v * v).sum::<f64>() + raw[0] * raw[0];
    raw.iter().map(|v| (v / squares.sqrt()) as f32).collect()
}

/// Memory of [`convolve`].
#[derive(Clone, Debug, Default)]
pub(super) struct ConvolveScratch {
    padded: Vec<f32>,
    rows: Vec<f32>,
}

/// Writes `image` convolved with the kernel along both axes into `out`; outside, it is 0.
pub(super) fn convolve(
    image: &Image<f32>,
    half: &[f32],
    out: &mut Image<f32>,
    scratch: &mut ConvolveScratch,
) {
    let (w, h) = (image.width(), image.height());
    let reach = half.len() - 1;
    let ring = 2 * reach + 1;
    // whole blocks, so that the inner loops have a fixed length
    let stride = w.div_ceil(BLOCK) * BLOCK;
    scratch.padded.clear();
    scratch.padded.resize(stride + 2 * reach, 0.0);
    scratch.rows.clear();
    scratch.rows.resize(ring * stride, 0.0);
    if out.shape() != image.shape() {
        out.reset(image.shape(), 0.0);
    }
    let mut above_and_below = vec![0; ring];
    for step in 0..h + reach {
        let slot = step % ring;
        let row = &mut scratch.rows[slot * stride..(slot + 1) * stride];
        if step < h {
            scratch.padded[reach..reach + w].copy_from_slice(image.row(step));
            along_row(&scratch.padded, half, row);
        } else {
            row.fill(0.0);
        }
        if step >= reach {
            let y = step - reach;
            for (k, start) in above_and_below.iter_mut().enumerate() {
                // slot of row y − reach + k; slots of rows before the first still hold zeros
                *start = (step + 1 + k) % ring * stride;
            }
            down_rows(&scratch.rows, &above_and_below, half, out.row_mut(y));
        }
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn along_row(padded: &[f32], half: &[f32], out: &mut [f32]) {
    let reach = half.len() - 1;
    for (b, block) in out.chunks_exact_mut(BLOCK).enumerate() {
        let at = b * BLOCK + reach;
        let mut sums = [0.0f32; BLOCK];
        let centre = &padded[at..at + BLOCK];
        for (s, &c) in sums.iter_mut().zip(centre) {
            *s = half[0] * c;
        }
        for (k, &g) in half.iter().enumerate().skip(1) {
            let (left, right) = (&padded[at - k..at - k + BLOCK], &padded[at + k..at + k + BLOCK]);
            for ((s, &l), &r) in sums.iter_mut().zip(left).zip(right) {
                *s += g * (l + r);
            }
        }
        block.copy_from_slice(&sums);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn down_rows(rows: &[f32], starts: &[usize], half: &[f32], out: &mut [f32]) {
    let reach = half.len() - 1;
    for (b, block) in out.chunks_mut(BLOCK).enumerate() {
        let of = |k: usize| &rows[starts[k] + b * BLOCK..starts[k] + (b + 1) * BLOCK];
        let mut sums = [0.0f32; BLOCK];
        for (s, &c) in sums.iter_mut().zip(of(reach)) {
            *s = half[0] * c;
        }
        for (k, &g) in half.iter().enumerate().skip(1) {
            for ((s, &a), &b) in sums.iter_mut().zip(of(reach - k)).zip(of(reach + k)) {
                *s += g * (a + b);
            }
        }
        block.copy_from_slice(&sums[..block.len()]);
    }
}

/// Offsets of eight points on a circle of `radius` pixels.
fn ring_offsets(radius: f64) -> [(i64, i64); 8] {
    let r = radius.round() as i64;
    let d = (radius * std::f64::consts::FRAC_1_SQRT_2).round() as i64;
    [(r, 0), (-r, 0), (0, r), (0, -r), (d, d), (-d, -d), (d, -d), (-d, d)]
}

/// Noise of a pixel in the squares of a frame, never 0.
#[derive(Clone, Debug, Default)]
pub(super) struct NoiseGrid {
    across: usize,
    noise: Vec<f32>,
}

impl NoiseGrid {
    pub(super) fn fill(&mut self, background: &Background) {
        let shape = background.shape();
        self.across = shape.width.div_ceil(THRESHOLD_CELL);
        self.noise.clear();
        let middle = |k: usize| (k + THRESHOLD_CELL / 2) as f64;
        for y in (0..shape.height).step_by(THRESHOLD_CELL) {
            let row = (0..shape.width).step_by(THRESHOLD_CELL).map(|x| {
                background.noise_at(Point::new(middle(x), middle(y))).max(f32::MIN_POSITIVE)
            });
            self.noise.extend(row);
        }
    }

    pub(super) fn at(&self, x: usize, y: usize) -> f32 {
        self.noise[y / THRESHOLD_CELL * self.across + x / THRESHOLD_CELL]
    }
}

/// Local maxima of `filtered` that rise above the median of the ring around them by
/// `threshold` times the noise of a pixel, row by row.
pub(super) fn maxima(
    filtered: &Image<f32>,
    noise: &NoiseGrid,
    sigma: f64,
    threshold: f32,
    found: &mut Vec<Candidate>,
) {
    found.clear();
    let (w, h) = (filtered.width(), filtered.height());
    if w < 3 || h < 3 {
        return;
    }
    let ring = ring_offsets(RING * sigma);
    let mut limits = vec![0.0f32; w];
    let mut is_peak = vec![0u8; w];
    for y in 1..h - 1 {
        if y == 1 || y % THRESHOLD_CELL == 0 {
            for (cell, limits) in limits.chunks_mut(THRESHOLD_CELL).enumerate() {
                limits.fill(threshold * noise.at(cell * THRESHOLD_CELL, y));
            }
        }
        let rows = [filtered.row(y - 1), filtered.row(y), filtered.row(y + 1)];
        mark_peaks(rows, &limits, &mut is_peak);
        for (block, marks) in is_peak.chunks(BLOCK).enumerate() {
            if marks.iter().fold(0, |any, &m| any | m) == 0 {
                continue;
            }
            for x in (0..marks.len()).filter(|&k| marks[k] != 0).map(|k| block * BLOCK + k) {
                let rise = rows[1][x] - ring_median(filtered, x, y, &ring);
                if rise > limits[x] {
                    let rise = rise / limits[x] * threshold;
                    found.push(Candidate { x: x as u32, y: y as u32, rise, snr: rise });
                }
            }
        }
    }
}

/// Marks pixels of the middle row above their limit of which no neighbour is higher; of equal
/// neighbours the first in reading order counts. The ends of the row are no peaks.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn mark_peaks(rows: [&[f32]; 3], limits: &[f32], marks: &mut [u8]) {
    let n = marks.len();
    marks[0] = 0;
    marks[n - 1] = 0;
    let shifted = |row: usize, by: usize| &rows[row][by..by + n - 2];
    let (above_l, above_c, above_r) = (shifted(0, 0), shifted(0, 1), shifted(0, 2));
    let (left, centre, right) = (shifted(1, 0), shifted(1, 1), shifted(1, 2));
    let (below_l, below_c, below_r) = (shifted(2, 0), shifted(2, 1), shifted(2, 2));
    let (limits, marks) = (&limits[1..n - 1], &mut marks[1..n - 1]);
    let higher = |a: f32, b: f32| u8::from(a > b);
    let not_lower = |a: f32, b: f32| u8::from(a >= b);
    for i in 0..n - 2 {
        let v = centre[i];
        let above = higher(v, above_l[i]) & higher(v, above_c[i]) & higher(v, above_r[i]);
        let beside = higher(v, left[i]) & not_lower(v, right[i]) & higher(v, limits[i]);
        let below = not_lower(v, below_l[i]) & not_lower(v, below_c[i]) & not_lower(v, below_r[i]);
        marks[i] = above & beside & below;
    }
}

fn ring_median(image: &Image<f32>, x: usize, y: usize, ring: &[(i64, i64); 8]) -> f32 {
    let mut values = [0.0f32; 8];
    let mut n = 0;
    for &(dx, dy) in ring {
        let (i, j) = (x as i64 + dx, y as i64 + dy);
        if i >= 0 && j >= 0 && (i as usize) < image.width() && (j as usize) < image.height() {
            values[n] = image.at(i as usize, j as usize);
            n += 1;
        }
    }
    stats::median(&mut values[..n]).unwrap_or(0.0)
}

/// Standard deviation of the filtered noise in units of the noise of a pixel: 1 if it is white,
/// more if neighbours share noise; 1 if there are too few pixels. From second differences, which
/// gradients of nebulae do not reach, of pixels that share no noise.
pub(super) fn noise_gain(
    filtered: &Image<f32>,
    noise: &NoiseGrid,
    sigma: f64,
    scratch: &mut Vec<f32>,
) -> f32 {
    let lag = (RING * sigma).ceil() as usize;
    let (w, h) = (filtered.width(), filtered.height());
    scratch.clear();
    if w > 2 * lag {
        for y in (4..h).step_by(8) {
            let row = filtered.row(y);
            let bend = |x: usize| row[x - lag] - 2.0 * row[x] + row[x + lag];
            let middles = (lag..w - lag).step_by(8);
            scratch.extend(middles.map(|x| bend(x).abs() / noise.at(x, y)));
        }
    }
    if scratch.len() < 64 {
        return 1.0;
    }
    // variance of a second difference: 1² + 2² + 1²
    let sigma = stats::sigma_of_magnitudes(scratch).unwrap_or(0.0) / 6.0f32.sqrt();
    if sigma > 0.0 { sigma } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, Shape};

    use super::*;

    fn random(shape: Shape, seed: u64, levels: f64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| (rng.normal() * levels).round() as f32)
    }

    /// The same convolution, tap by tap.
    fn plain(image: &Image<f32>, half: &[f32]) -> Image<f64> {
        let reach = half.len() as i64 - 1;
        let tap = |k: i64| f64::from(half[k.unsigned_abs() as usize]);
        Image::from_fn(image.shape(), |x, y| {
            let mut sum = 0.0;
            for dy in -reach..=reach {
                for dx in -reach..=reach {
                    let (i, j) = ((x as i64 + dx) as usize, (y as i64 + dy) as usize);
                    if i < image.width() && j < image.height() {
                        sum += tap(dx) * tap(dy) * f64::from(image.at(i, j));
                    }
                }
            }
            sum
        })
    }

    fn is_peak(image: &Image<f32>, x: usize, y: usize) -> bool {
        let value = image.at(x, y);
        let before = [(x - 1, y - 1), (x, y - 1), (x + 1, y - 1), (x - 1, y)];
        let after = [(x + 1, y), (x - 1, y + 1), (x, y + 1), (x + 1, y + 1)];
        before.iter().all(|&(i, j)| image.at(i, j) < value)
            && after.iter().all(|&(i, j)| image.at(i, j) <= value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn convolution_is_that_of_the_definition(
            h in 1usize..30, w in 1usize..70, sigma in 0.4f64..3.0, seed in 0u64..99
        ) {
            let image = random(Shape::new(h, w), seed, 100.0);
            let half = half_kernel(sigma);
            let mut out = Image::filled(Shape::new(0, 0), 0.0);
            convolve(&image, &half, &mut out, &mut ConvolveScratch::default());
            let want = plain(&image, &half);
            for (got, want) in out.pixels().iter().zip(want.pixels()) {
                prop_assert!((f64::from(*got) - want).abs() < 1e-2, "{} {}", got, want);
            }
        }

        #[test]
        fn peaks_are_those_of_the_definition(w in 3usize..70, seed in 0u64..99) {
            // few levels: many ties
            let image = random(Shape::new(3, w), seed, 1.5);
            let mut marks = vec![7u8; w];
            let rows = [image.row(0), image.row(1), image.row(2)];
            mark_peaks(rows, &vec![0.5; w], &mut marks);
            for (x, &mark) in marks.iter().enumerate() {
                let inside = x > 0 && x + 1 < w;
                let want = inside && image.at(x, 1) > 0.5 && is_peak(&image, x, 1);
                prop_assert_eq!(mark, u8::from(want), "{}", x);
            }
        }
    }

    #[test]
    fn kernel_keeps_the_noise() {
        for sigma in [0.5, 1.3, 4.0] {
            let half = half_kernel(sigma);
            let squares: f32 =
                half.iter().enumerate().map(|(k, v)| v * v * if k > 0 { 2.0 } else { 1.0 }).sum();
            assert!((squares - 1.0).abs() < 1e-5);
        }
    }
}
