//! How far pixels stand out from their neighbours.

use multiversion::multiversion;
use stillframe_image::Image;

use crate::ops::stats;

/// Side of the parts of a sensor within which the noise is one number.
const PART: usize = 32;
/// Lines that one part is thinned by.
const THINNING: usize = 2;
/// A part is never thought quieter than this share of the typical one.
const LEAST_SHARE: f32 = 0.5;

/// Column or row of an image that is mirrored about its outer pixels, so that the colour of a
/// mosaic is kept.
fn mirrored(position: i64, n: usize) -> usize {
    let last = n as i64 - 1;
    let inside = if position < 0 { -position } else { position };
    let inside = if inside > last { 2 * last - inside } else { inside };
    inside.clamp(0, last) as usize
}

/// Memory of [`residual_row`].
#[derive(Clone, Debug, Default)]
pub(super) struct RowScratch {
    padded: [Vec<f32>; 3],
}

/// Writes row `y` of `image` less the median of each pixel and its eight neighbours at distance
/// `pitch` (1, or 2 in a mosaic).
pub(super) fn residual_row(
    image: &Image<f32>,
    y: usize,
    pitch: usize,
    out: &mut [f32],
    scratch: &mut RowScratch,
) {
    let (w, h) = (image.width(), image.height());
    for (k, padded) in scratch.padded.iter_mut().enumerate() {
        let from = mirrored(y as i64 + (k as i64 - 1) * pitch as i64, h);
        padded.clear();
        let row = image.row(from);
        padded.extend((0..pitch).map(|i| row[mirrored(i as i64 - pitch as i64, w)]));
        padded.extend_from_slice(row);
        padded.extend((0..pitch).map(|i| row[mirrored((w + i) as i64, w)]));
    }
    let [above, here, below] = &scratch.padded;
    less_median([above, here, below], pitch, out);
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn less_median(rows: [&[f32]; 3], pitch: usize, out: &mut [f32]) {
    let n = out.len();
    let at = |row: usize, k: usize| &rows[row][k * pitch..k * pitch + n];
    let (a, b, c) = (at(0, 0), at(0, 1), at(0, 2));
    let (d, e, f) = (at(1, 0), at(1, 1), at(1, 2));
    let (g, h, i) = (at(2, 0), at(2, 1), at(2, 2));
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    let (e, f, g, h, i) = (&e[..n], &f[..n], &g[..n], &h[..n], &i[..n]);
    for x in 0..n {
        let median = median_of_9([a[x], b[x], c[x], d[x], e[x], f[x], g[x], h[x], i[x]]);
        out[x] = e[x] - median;
    }
}

/// Median of nine by 19 exchanges without a branch.
///
/// # Source
/// Smith (1996), "Implementing median filters in XC4000E FPGAs".
#[inline]
fn median_of_9([a, b, c, d, e, f, g, h, i]: [f32; 9]) -> f32 {
    let sort = |a: f32, b: f32| if b < a { (b, a) } else { (a, b) };
    let sort_3 = |a: f32, b: f32, c: f32| {
        let (b, c) = sort(b, c);
        let (a, b) = sort(a, b);
        let (b, c) = sort(b, c);
        (a, b, c)
    };
    let (a, b, c) = sort_3(a, b, c);
    let (d, e, f) = sort_3(d, e, f);
    let (g, h, i) = sort_3(g, h, i);
    // the largest of the least, the middle of the middle, the least of the largest
    let low = sort(sort(a, d).1, g).1;
    let high = sort(sort(c, f).0, i).0;
    let (_, middle, _) = sort_3(b, e, h);
    let (_, median, _) = sort_3(low, middle, high);
    median
}

/// Median of the samples of `frames` at every column; the samples are reordered.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn median_down(frames: &mut [Vec<f32>], out: &mut [f32]) {
    let n = frames.len();
    // bubbles: after round k the k largest are in place; half of the rounds reach the middle
    for end in (n / 2..n).rev() {
        for k in 0..end {
            let (low, high) = frames.split_at_mut(k + 1);
            for (a, b) in low[k].iter_mut().zip(&mut high[0]) {
                let (v, w) = (*a, *b);
                *a = if w < v { w } else { v };
                *b = if w < v { v } else { w };
            }
        }
    }
    if n % 2 == 1 {
        out.copy_from_slice(&frames[n / 2]);
        return;
    }
    // the next one down is the largest of the lower half
    for k in 0..n / 2 - 1 {
        let (low, high) = frames.split_at_mut(k + 1);
        for (a, b) in low[k].iter().zip(&mut high[0]) {
            *b = if *a > *b { *a } else { *b };
        }
    }
    let (low, high) = frames.split_at(n / 2);
    for ((out, a), b) in out.iter_mut().zip(&low[n / 2 - 1]).zip(&high[0]) {
        *out = 0.5 * (a + b);
    }
}

/// Noise of an image of residuals, part by part.
#[derive(Clone, Debug)]
pub(super) struct PartNoise {
    across: usize,
    sigma: Vec<f32>,
}

impl PartNoise {
    /// From the median absolute value within each part and the parts about it, of which the
    /// noisiest counts: where a noisy part of the sensor ends, it ends within a part. At least
    /// half of what is typical.
    pub(super) fn of(residual: &Image<f32>) -> Self {
        let (w, h) = (residual.width(), residual.height());
        let across = w.div_ceil(PART).max(1);
        let mut sigma = Vec::with_capacity(across * h.div_ceil(PART));
        let mut magnitudes = Vec::with_capacity(PART * PART / THINNING);
        for top in (0..h).step_by(PART) {
            for left in (0..w).step_by(PART) {
                magnitudes.clear();
                for y in (top..(top + PART).min(h)).step_by(THINNING) {
                    let row = &residual.row(y)[left..(left + PART).min(w)];
                    magnitudes.extend(row.iter().map(|v| v.abs()));
                }
                sigma.push(about_zero(&mut magnitudes));
            }
        }
        let typical = stats::median(&mut sigma.clone()).unwrap_or(0.0);
        let least = (LEAST_SHARE * typical).max(f32::MIN_POSITIVE);
        let down = sigma.len() / across;
        let noisiest = |i: usize, j: usize| {
            let rows = j.saturating_sub(1)..(j + 2).min(down);
            let columns = i.saturating_sub(1)..(i + 2).min(across);
            rows.flat_map(|j| columns.clone().map(move |i| (i, j)))
                .fold(least, |noisiest, (i, j)| noisiest.max(sigma[j * across + i]))
        };
        let sigma = (0..sigma.len()).map(|k| noisiest(k % across, k / across)).collect();
        Self { across, sigma }
    }

    pub(super) fn at(&self, x: usize, y: usize) -> f32 {
        self.sigma[y / PART * self.across + x / PART]
    }
}

/// Standard deviation of residuals from their magnitudes. A pixel that is the median of its nine
/// has residual 0, which one in nine is: they are left out, unless they are nearly all.
fn about_zero(magnitudes: &mut Vec<f32>) -> f32 {
    let n = magnitudes.len();
    magnitudes.retain(|&m| m > 0.0);
    if magnitudes.len() * 5 < n {
        return 0.0;
    }
    stats::sigma_of_magnitudes(magnitudes).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, Shape};

    use super::*;

    fn plain(values: &[f32]) -> f32 {
        stats::median(&mut values.to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn median_of_nine_is_the_fifth(v in proptest::array::uniform9(-9i8..9)) {
            let v = v.map(f32::from);
            prop_assert_eq!(median_of_9(v), plain(&v));
        }

        #[test]
        fn median_down_is_that_of_each_column(n in 1usize..18, w in 1usize..40, seed in 0u64..99) {
            let mut rng = Rng::new(seed, 0, 0);
            let mut frames: Vec<Vec<f32>> =
                (0..n).map(|_| (0..w).map(|_| rng.below(9) as f32).collect()).collect();
            let want: Vec<f32> = (0..w)
                .map(|x| plain(&frames.iter().map(|f| f[x]).collect::<Vec<_>>()))
                .collect();
            let mut got = vec![0.0; w];
            median_down(&mut frames, &mut got);
            prop_assert_eq!(got, want);
        }

        #[test]
        fn residuals_are_those_of_the_definition(
            h in 3usize..9, w in 3usize..30, pitch in 1usize..3, seed in 0u64..99
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let image = Image::from_fn(Shape::new(h, w), |_, _| rng.below(50) as f32);
            let mut out = vec![0.0; w];
            for y in 0..h {
                residual_row(&image, y, pitch, &mut out, &mut RowScratch::default());
                for (x, &got) in out.iter().enumerate() {
                    let around: Vec<f32> = (0..9)
                        .map(|k| {
                            let (dx, dy) = ((k % 3 - 1) * pitch as i64, (k / 3 - 1) * pitch as i64);
                            image.at(mirrored(x as i64 + dx, w), mirrored(y as i64 + dy, h))
                        })
                        .collect();
                    prop_assert_eq!(got, image.at(x, y) - plain(&around));
                }
            }
        }
    }

    #[test]
    fn mirrors_keep_the_colour() {
        assert_eq!([-2, -1, 0, 4, 5, 6].map(|p| mirrored(p, 5)), [2, 1, 0, 4, 3, 2]);
        assert_eq!(mirrored(-2, 1), 0);
    }
}
