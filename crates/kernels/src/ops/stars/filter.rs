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
    /// Filtered value above its surroundings in units of the noise of a pixel: the
    /// signal-to-noise ratio if the noise is white.
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

/// Local maxima of `filtered` that rise above the median of the ring around them by
/// `threshold` times the noise of a pixel, row by row.
pub(super) fn maxima(
    filtered: &Image<f32>,
    background: &Background,
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
    let mut noises: Vec<f32> = Vec::with_capacity(w.div_ceil(THRESHOLD_CELL));
    for y in 1..h - 1 {
        if noises.is_empty() || y % THRESHOLD_CELL == 0 {
            noises.clear();
            let middle = (y / THRESHOLD_CELL * THRESHOLD_CELL + THRESHOLD_CELL / 2) as f64;
            noises.extend((0..w).step_by(THRESHOLD_CELL).map(|x| {
                let at = Point::new((x + THRESHOLD_CELL / 2) as f64, middle);
                background.noise_at(at).max(f32::MIN_POSITIVE)
            }));
        }
        let row = filtered.row(y);
        for (cell, &noise) in noises.iter().enumerate() {
            let start = cell * THRESHOLD_CELL;
            let end = (start + THRESHOLD_CELL).min(w);
            let limit = threshold * noise;
            if !any_above(&row[start..end], limit) {
                continue;
            }
            for x in start.max(1)..end.min(w - 1) {
                let value = row[x];
                if value > limit && is_maximum(filtered, x, y) {
                    let rise = value - ring_median(filtered, x, y, &ring);
                    if rise > limit {
                        found.push(Candidate { x: x as u32, y: y as u32, snr: rise / noise });
                    }
                }
            }
        }
    }
}

#[inline]
fn any_above(values: &[f32], limit: f32) -> bool {
    values.iter().fold(false, |any, &v| any | (v > limit))
}

/// Whether no neighbour is higher; of equal ones the first in reading order counts.
fn is_maximum(image: &Image<f32>, x: usize, y: usize) -> bool {
    let value = image.at(x, y);
    let before = [(x - 1, y - 1), (x, y - 1), (x + 1, y - 1), (x - 1, y)];
    let after = [(x + 1, y), (x - 1, y + 1), (x, y + 1), (x + 1, y + 1)];
    before.iter().all(|&(i, j)| image.at(i, j) < value)
        && after.iter().all(|&(i, j)| image.at(i, j) <= value)
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
    background: &Background,
    sigma: f64,
    scratch: &mut Vec<f32>,
) -> f32 {
    let lag = (RING * sigma).ceil() as usize;
    let (w, h) = (filtered.width(), filtered.height());
    scratch.clear();
    if w > 2 * lag {
        for y in (4..h).step_by(8) {
            let row = filtered.row(y);
            for start in (lag..w - lag).step_by(THRESHOLD_CELL) {
                let end = (start + THRESHOLD_CELL).min(w - lag);
                let at = Point::new((start + THRESHOLD_CELL / 2) as f64, y as f64);
                let noise = background.noise_at(at);
                if noise > 0.0 {
                    let middles = (start..end).step_by(8);
                    let bend = |x: usize| row[x - lag] - 2.0 * row[x] + row[x + lag];
                    scratch.extend(middles.map(|x| bend(x).abs() / noise));
                }
            }
        }
    }
    if scratch.len() < 64 {
        return 1.0;
    }
    // 1² + 2² + 1² = 6
    let scale = (stats::SIGMA_PER_MAD / 6.0f64.sqrt()) as f32;
    let first = stats::median(scratch).unwrap_or(0.0);
    let limit = 3.0 * stats::SIGMA_PER_MAD as f32 * first;
    let kept = scratch.iter().filter(|&&d| d <= limit).count();
    let (_, &mut median, _) = scratch.select_nth_unstable_by(kept / 2, f32::total_cmp);
    if median > 0.0 { median * scale } else { 1.0 }
}
