//! Level and noise of one cell.

use stillframe_image::{Image, Rect, Shape};

use super::{CELL_SAMPLES, Sites};
use crate::ops::noise::LAG;
use crate::ops::stats;

/// Clipping limit in standard deviations, of SExtractor.
const CLIP: f64 = 3.0;
/// Standard deviation of a normal distribution over that of its part within 3 σ:
/// `1 / sqrt(1 − 2·3·φ(3) / (2Φ(3) − 1))`.
const UNCLIPPED_PER_CLIPPED: f64 = 1.013_604;
/// Clipping rounds; three to five do.
const ROUNDS: usize = 12;
/// A cell with a smaller share of its sites unmasked says nothing.
const LEAST_GOOD: f64 = 0.125;
/// A cell of which clipping leaves less is full of sources.
const LEAST_KEPT: f64 = 0.5;
/// Mean above median, in units of the noise, from which on the cell counts as crowded and the
/// median is taken for the mode (SExtractor's number).
const CROWDED: f64 = 0.3;

/// Memory reused from cell to cell.
#[derive(Clone, Debug, Default)]
pub(super) struct CellScratch {
    keys: Vec<i32>,
    differences: Vec<f32>,
    sums: Vec<(f64, f64)>,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sky {
    /// Mode of the pixels.
    pub(super) level: f32,
    /// Standard deviation of the clipped pixels: noise and structure.
    pub(super) spread: f32,
    /// Standard deviation of the noise of a pixel.
    pub(super) noise: f32,
}

/// Pixels of the cell in column `i`, row `j` of a mesh of `nodes` cells.
pub(super) fn rect(shape: Shape, nodes: Shape, i: usize, j: usize) -> Rect {
    let edge = |k: usize, pixels: usize, cells: usize| k * pixels / cells;
    let (x, y) = (edge(i, shape.width, nodes.width), edge(j, shape.height, nodes.height));
    let x_end = edge(i + 1, shape.width, nodes.width);
    let y_end = edge(j + 1, shape.height, nodes.height);
    Rect::new(x, y, x_end - x, y_end - y)
}

/// Level and noise of the cell `rect`; none if too few pixels are left.
pub(super) fn sky(
    image: &Image<f32>,
    mask: &Image<u8>,
    rect: Rect,
    sites: Sites,
    scratch: &mut CellScratch,
) -> Option<Sky> {
    let n_sites = gather(image, mask, rect, sites, scratch);
    let n = scratch.keys.len();
    if n == 0 || (n as f64) < LEAST_GOOD * n_sites as f64 {
        return None;
    }
    scratch.keys.sort_unstable();
    let (level, spread) = clipped(&scratch.keys, &mut scratch.sums)?;
    let noise = difference_noise(&mut scratch.differences).unwrap_or(spread);
    Some(Sky { level, spread, noise })
}

/// Standard deviation of a pixel from absolute differences of pairs, which are reordered; none
/// if they are fewer than 32.
fn difference_noise(differences: &mut [f32]) -> Option<f32> {
    if differences.len() < 32 {
        return None;
    }
    Some(stats::sigma_of_magnitudes(differences)? * std::f32::consts::FRAC_1_SQRT_2)
}

/// Collects sort keys of the unmasked samples of a cell, and of every other line differences of
/// pixels; returns how many sites were looked at.
fn gather(
    image: &Image<f32>,
    mask: &Image<u8>,
    rect: Rect,
    sites: Sites,
    scratch: &mut CellScratch,
) -> usize {
    let CellScratch { keys, differences, .. } = scratch;
    keys.clear();
    differences.clear();
    let per_row = if sites == Sites::All { 1 } else { 2 };
    let n_all = (rect.width / per_row) * (rect.height / per_row);
    let step = ((n_all as f64 / CELL_SAMPLES as f64).sqrt().round() as usize).max(1);
    let mut n_sites = 0;
    let rows = (rect.y..rect.y_end()).filter_map(|y| Some((y, sites.in_row(y)?)));
    for (line, (y, (first, pitch))) in rows.step_by(step).enumerate() {
        // every line starts one site later than the one before: no column is left out for good
        let start = rect.x + (first + rect.x) % pitch + pitch * (line % step);
        let (start, stride) = (start.min(rect.x_end()), pitch * step);
        let pixels = &image.row(y)[start..rect.x_end()];
        let bits = &mask.row(y)[start..rect.x_end()];
        n_sites += pixels.len().div_ceil(stride);
        let samples = pixels.chunks(stride).map(|c| c[0]);
        let wants_differences = line % 2 == 0 && pixels.len() > LAG;
        let near = pixels.len().saturating_sub(LAG);
        if bits.iter().all(|&m| m == 0) {
            keys.extend(samples.map(key));
            if wants_differences {
                let pairs = pixels[..near].chunks(stride).zip(pixels[LAG..].chunks(stride));
                differences.extend(pairs.map(|(v, w)| (v[0] - w[0]).abs()));
            }
        } else {
            let good = samples.zip(bits.chunks(stride)).filter(|(_, m)| m[0] == 0);
            keys.extend(good.map(|(v, _)| key(v)));
            if wants_differences {
                let pairs = (0..near).step_by(stride).filter(|&k| bits[k] | bits[k + LAG] == 0);
                differences.extend(pairs.map(|k| (pixels[k] - pixels[k + LAG]).abs()));
            }
        }
    }
    n_sites
}

/// An integer that sorts as the number does.
fn key(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

fn value(key: i32) -> f64 {
    f64::from(f32::from_bits((key ^ (((key >> 31) as u32) >> 1) as i32) as u32))
}

/// Median of samples `lo..hi` of the sorted; equal ones, as whole numbers are, are thought to be
/// spread evenly between the middles to their neighbours.
fn middle_between_steps(sorted: &[i32], lo: usize, hi: usize) -> f64 {
    let half = 0.5 * (lo + hi) as f64;
    let (before, at) = (sorted[(lo + hi - 1) / 2], sorted[usize::midpoint(lo, hi)]);
    let here = value(at);
    if before != at {
        return 0.5 * (value(before) + here);
    }
    let first = sorted.partition_point(|&k| k < at);
    let end = sorted.partition_point(|&k| k <= at);
    if end - first == 1 || first == 0 || end == sorted.len() {
        return here;
    }
    let (lower, upper) =
        (0.5 * (value(sorted[first - 1]) + here), 0.5 * (here + value(sorted[end])));
    lower + (upper - lower) * (half - first as f64) / (end - first) as f64
}

/// Mode and standard deviation of the sorted samples after clipping; none if too few remain.
fn clipped(sorted: &[i32], sums: &mut Vec<(f64, f64)>) -> Option<(f32, f32)> {
    let n = sorted.len();
    let middle = |lo: usize, hi: usize| middle_between_steps(sorted, lo, hi);
    // moments about the median, so that differences of the running sums stay exact enough
    let pivot = middle(0, n);
    sums.clear();
    sums.push((0.0, 0.0));
    let (mut s, mut ss) = (0.0, 0.0);
    for &k in sorted {
        let d = value(k) - pivot;
        s += d;
        ss += d * d;
        sums.push((s, ss));
    }
    let moments = |lo: usize, hi: usize| {
        let count = (hi - lo) as f64;
        let mean = (sums[hi].0 - sums[lo].0) / count;
        (mean + pivot, ((sums[hi].1 - sums[lo].1) / count - mean * mean).max(0.0).sqrt())
    };
    // 15.87 % of a normal distribution lie below −1 σ
    let mut centre = pivot;
    let mut sigma = pivot - value(sorted[(n as f64 * 0.1587) as usize]);
    let (mut lo, mut hi) = (0, n);
    for _ in 0..ROUNDS {
        let (low, high) = (centre - CLIP * sigma, centre + CLIP * sigma);
        let new_lo = sorted.partition_point(|&k| value(k) < low);
        let new_hi = sorted.partition_point(|&k| value(k) <= high);
        if new_hi <= new_lo || (new_lo, new_hi) == (lo, hi) {
            break;
        }
        (lo, hi) = (new_lo, new_hi);
        centre = middle(lo, hi);
        sigma = moments(lo, hi).1 * UNCLIPPED_PER_CLIPPED;
    }
    if ((hi - lo) as f64) < LEAST_KEPT * n as f64 {
        return None;
    }
    let (mean, deviation) = moments(lo, hi);
    let spread = deviation * UNCLIPPED_PER_CLIPPED;
    let level =
        if (mean - centre).abs() < CROWDED * spread { 2.5 * centre - 1.5 * mean } else { centre };
    Some((level as f32, spread as f32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_numbers(a in proptest::num::f32::NORMAL, b in proptest::num::f32::NORMAL) {
            prop_assert_eq!(key(a).cmp(&key(b)), a.total_cmp(&b));
            prop_assert_eq!(value(key(a)), f64::from(a));
        }

        #[test]
        fn cells_tile_the_frame(h in 1usize..300, w in 1usize..300, j in 1usize..6, i in 1usize..6) {
            let (shape, nodes) = (Shape::new(h, w), Shape::new(j.min(h), i.min(w)));
            let mut covered = Image::filled(shape, 0u8);
            for j in 0..nodes.height {
                for i in 0..nodes.width {
                    let r = rect(shape, nodes, i, j);
                    for y in r.y..r.y_end() {
                        covered.row_mut(y)[r.x..r.x_end()].iter_mut().for_each(|c| *c += 1);
                    }
                }
            }
            prop_assert!(covered.pixels().iter().all(|&c| c == 1));
        }
    }

    #[test]
    fn whole_numbers_have_a_level_between_them() {
        for (seed, level) in [100.0, 100.2, 100.5, 100.8].into_iter().enumerate() {
            let mut rng = Rng::new(seed as u64, 0, 0);
            let mut keys: Vec<i32> =
                (0..20_000).map(|_| key((level + 1.3 * rng.normal()).round() as f32)).collect();
            keys.sort_unstable();
            let got = clipped(&keys, &mut Vec::new()).unwrap();
            assert!((f64::from(got.0) - level).abs() < 0.06, "{level}: {got:?}");
        }
    }

    /// The same clipping, by repeated passes over the samples.
    fn plain(samples: &[f32]) -> (f32, f32) {
        let mut kept: Vec<f64> = samples.iter().map(|&v| f64::from(v)).collect();
        kept.sort_by(f64::total_cmp);
        let n = kept.len();
        let median = |v: &[f64]| (v[(v.len() - 1) / 2] + v[v.len() / 2]) * 0.5;
        let all = kept.clone();
        let mut sigma = median(&kept) - kept[(n as f64 * 0.1587) as usize];
        loop {
            let centre = median(&kept);
            let next: Vec<f64> =
                all.iter().copied().filter(|v| (v - centre).abs() <= 3.0 * sigma).collect();
            let same = next.len() == kept.len();
            kept = next;
            let mean = kept.iter().sum::<f64>() / kept.len() as f64;
            let var = kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / kept.len() as f64;
            sigma = var.sqrt() * UNCLIPPED_PER_CLIPPED;
            if same {
                let centre = median(&kept);
                let mode = 2.5 * centre - 1.5 * mean;
                return (mode as f32, sigma as f32);
            }
        }
    }

    #[test]
    fn running_sums_agree_with_repeated_passes() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed, 0, 0);
            let samples: Vec<f32> = (0..900)
                .map(|i| {
                    let star = if i % 20 == 0 { 200.0 * rng.exponential() } else { 0.0 };
                    (1000.0 + 15.0 * rng.normal() + star) as f32
                })
                .collect();
            let mut keys: Vec<i32> = samples.iter().map(|&v| key(v)).collect();
            keys.sort_unstable();
            let got = clipped(&keys, &mut Vec::new()).unwrap();
            let want = plain(&samples);
            assert!((got.0 - want.0).abs() < 1e-3, "{got:?} {want:?}");
            assert!((got.1 - want.1).abs() < 1e-3, "{got:?} {want:?}");
            assert!((got.0 - 1000.0).abs() < 4.0 && (got.1 / 15.0 - 1.0).abs() < 0.15);
        }
    }

    #[test]
    fn clipped_share_of_a_normal_distribution_is_made_up_for() {
        let (phi, tail) = (0.004_431_848_411_938, 0.001_349_898_031_630);
        let kept: f64 = 1.0 - 2.0 * tail;
        let want = 1.0 / (1.0 - 6.0 * phi / kept).sqrt();
        assert!((UNCLIPPED_PER_CLIPPED - want).abs() < 1e-5, "{want}");
    }

    #[test]
    fn constant_cells_have_no_noise() {
        let image = Image::filled(Shape::new(16, 16), 7.5f32);
        let mask = Image::filled(Shape::new(16, 16), 0u8);
        let mut scratch = CellScratch::default();
        let sky = sky(&image, &mask, Rect::new(0, 0, 16, 16), Sites::All, &mut scratch);
        assert_eq!(sky, Some(Sky { level: 7.5, spread: 0.0, noise: 0.0 }));
    }
}
