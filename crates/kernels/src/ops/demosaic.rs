//! From a Bayer mosaic to full planes.
//!
//! Values are linear and of any range: nothing is clipped, negative values are as good as others.

use multiversion::multiversion;
use stillframe_image::{CfaPattern, Colour, Image, Shape, mask};

mod directional;

pub use directional::demosaic;

/// Pixels to each side that a demosaiced sample is made of.
const REACH: usize = 2;

/// Variance that [`green_plane`] adds to a star along each axis, square pixels.
pub const GREEN_PLANE_VARIANCE: f32 = 0.5;

/// Writes the green of `mosaic` at full resolution into `green`, for registration. O(n), no
/// allocation if `green` has been used before.
///
/// Each pixel is the mean of the green samples among its nine neighbours with binomial weights
/// (1 2 1) × (1 2 1): the four nearest where the pixel is not green, half of itself and an eighth
/// of each diagonal one where it is. So every pixel has nearly the same noise (½ and 0.56 of a
/// sample's), and every star the same blur, [`GREEN_PLANE_VARIANCE`]; the mean is symmetric and
/// moves a star by no more than its aliasing: 0.02 px at worst for a FWHM of 2.5 px. The border is
/// mirrored. A mosaic of less than two rows or columns is copied.
pub fn green_plane(mosaic: &Image<f32>, cfa: CfaPattern, green: &mut Image<f32>) {
    let (w, h) = (mosaic.width(), mosaic.height());
    if green.shape() != mosaic.shape() {
        green.reset(mosaic.shape(), 0.0);
    }
    if w < 2 || h < 2 {
        green.pixels_mut().copy_from_slice(mosaic.pixels());
        return;
    }
    for y in 0..h {
        let above = mosaic.row(if y > 0 { y - 1 } else { 1 });
        let below = mosaic.row(if y + 1 < h { y + 1 } else { h - 2 });
        let rows = [above, mosaic.row(y), below];
        let first = usize::from(cfa.colour_at(0, y) != Colour::Green);
        let out = green.row_mut(y);
        binomial(rows, first, &mut out[1..w - 1]);
        for (x, inner) in [(0, 1), (w - 1, w - 2)] {
            let [a, b, c] = rows;
            let is_green = x % 2 == first;
            let nearest = (a[x] + c[x]) + 2.0 * b[inner];
            let diagonal = 2.0 * (a[inner] + c[inner]);
            out[x] = if is_green { 0.5 * b[x] + 0.125 * diagonal } else { 0.25 * nearest };
        }
    }
}

/// Columns 1.. of [`green_plane`]; columns of the parity of `first` are green.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn binomial([above, row, below]: [&[f32]; 3], first: usize, out: &mut [f32]) {
    let n = out.len();
    let [a, b, c] = [above, row, below].map(|r| [&r[..n], &r[1..=n], &r[2..n + 2]]);
    for i in 0..n {
        let nearest = (a[1][i] + c[1][i]) + (b[0][i] + b[2][i]);
        let diagonal = (a[0][i] + a[2][i]) + (c[0][i] + c[2][i]);
        let is_green = (i ^ first) & 1 == 1;
        out[i] = if is_green { 0.5 * b[1][i] + 0.125 * diagonal } else { 0.25 * nearest };
    }
}

/// The mask of planes demosaiced from a mosaic with this `bits`: a pixel has no data, or is
/// saturated, if a sample that it may be made of (two pixels to each side) is; other bits stay
/// where they are. O(n).
pub fn demosaiced_mask(bits: &Image<u8>) -> Image<u8> {
    let spreading = mask::NO_DATA | mask::SATURATED;
    let Shape { width, height } = bits.shape();
    let mut out = bits.clone();
    let affected = |pixels: &[u8]| pixels.iter().any(|&m| m & spreading != 0);
    for y in 0..height {
        let row = bits.row(y);
        if !affected(row) {
            continue;
        }
        for x in (0..width).filter(|&x| row[x] & spreading != 0) {
            let (x0, x1) = (x.saturating_sub(REACH), (x + REACH + 1).min(width));
            for j in y.saturating_sub(REACH)..(y + REACH + 1).min(height) {
                for m in &mut out.row_mut(j)[x0..x1] {
                    *m |= row[x] & spreading;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    fn plain(mosaic: &Image<f32>, cfa: CfaPattern) -> Image<f32> {
        let (w, h) = (mosaic.width() as i64, mosaic.height() as i64);
        let mirrored = |k: i64, n: i64| {
            if k < 0 {
                1
            } else if k >= n {
                n - 2
            } else {
                k
            }
        };
        Image::from_fn(mosaic.shape(), |x, y| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for (dx, dy) in (0..9i64).map(|k| (k % 3 - 1, k / 3 - 1)) {
                let i = mirrored(x as i64 + dx, w) as usize;
                let j = mirrored(y as i64 + dy, h) as usize;
                if cfa.colour_at(i, j) == Colour::Green {
                    let weight = ((2 - dx.abs()) * (2 - dy.abs())) as f32;
                    sum += weight * mosaic.at(i, j);
                    weights += weight;
                }
            }
            sum / weights
        })
    }

    proptest! {
        #[test]
        fn green_is_that_of_the_definition(
            h in 2usize..20, w in 2usize..40, pattern in 0usize..4, seed in 0u64..99
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let mosaic = Image::from_fn(Shape::new(h, w), |_, _| rng.normal() as f32);
            let cfa = CfaPattern::ALL[pattern];
            let mut green = Image::filled(Shape::new(1, 1), 0.0);
            green_plane(&mosaic, cfa, &mut green);
            let want = plain(&mosaic, cfa);
            for (g, w) in green.pixels().iter().zip(want.pixels()) {
                prop_assert!((g - w).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn masks_spread_by_their_reach_and_no_further() {
        let mut bits = Image::filled(Shape::new(9, 9), 0u8);
        bits.set(4, 4, mask::SATURATED);
        bits.set(0, 8, mask::NO_DATA | mask::HOT);
        let out = demosaiced_mask(&bits);
        assert_eq!(out.pixels().iter().filter(|&&m| m & mask::SATURATED != 0).count(), 25);
        assert_eq!((out.at(2, 2), out.at(1, 4)), (mask::SATURATED, 0));
        assert_eq!((out.at(0, 8), out.at(2, 6)), (5, mask::NO_DATA | mask::SATURATED));
        assert_eq!(out.at(1, 8), mask::NO_DATA);
    }
}
