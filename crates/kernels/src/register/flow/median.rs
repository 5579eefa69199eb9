//! Median of 5×5 pixels along the diagonals.

use super::lanes::{Group, LANES, groups_mut};
use super::skew::Skew;

/// The five pixels of a column part, in rising order, for every lane.
type Column = [Group; 5];

/// Memory for the sorted columns of five diagonals.
#[derive(Clone, Debug, Default)]
pub(crate) struct MedianScratch {
    columns: Vec<Column>,
}

/// Puts the smaller of two places first.
macro_rules! exchange {
    ($v:ident, $(($a:literal, $b:literal))*) => {
        $({
            let (a, b) = ($v[$a], $v[$b]);
            $v[$a] = if a < b { a } else { b };
            $v[$b] = if a < b { b } else { a };
        })*
    };
}

/// Sorts five numbers in 9 exchanges (the fewest possible).
#[inline(always)]
fn sort_five(mut v: [f32; 5]) -> [f32; 5] {
    exchange!(v, (0, 1)(3, 4)(2, 4)(2, 3)(1, 4)(0, 3)(0, 2)(1, 3)(1, 2));
    v
}

/// The median of five sorted columns; number `5 c + r` is rank r of column c.
///
/// Rows are sorted first, after which 13 numbers are left that can be the median; these are merged
/// (Batcher 1968, doi:10.1145/1468075.1468121). Exchanges that are redundant for sorted columns
/// were removed one by one, checking all 6⁵ inputs of zeros and ones (the test does it again).
#[inline(always)]
fn median_of_sorted_columns(mut v: [f32; 25]) -> f32 {
    exchange!(v, (15, 20)(10, 20)(10, 15)(5, 20)(0, 15)(5, 15)(1, 6)(11, 21)(6, 21)(1, 11)(6, 16));
    exchange!(v, (6, 11)(2, 7)(17, 22)(12, 22)(12, 17)(7, 22)(2, 17)(2, 12)(7, 12)(3, 8)(18, 23));
    exchange!(v, (13, 18)(8, 23)(3, 18)(3, 13)(8, 18)(8, 13)(4, 9)(19, 24)(14, 24)(14, 19)(4, 19));
    exchange!(v, (9, 14)(3, 15)(11, 3)(17, 15)(17, 3)(20, 8)(12, 8)(12, 20)(3, 20)(3, 7)(17, 12));
    exchange!(v, (15, 8)(15, 12)(15, 7)(12, 20)(4, 9)(21, 13)(4, 21)(4, 16)(21, 16)(9, 21)(7, 16));
    exchange!(v, (7, 4)(20, 21)(20, 4)(12, 9)(15, 12)(12, 20));
    v[20]
}

/// Writes the median of the 5×5 pixels around every pixel to `dst`. The margin of `src` (2 pixels)
/// has been filled.
pub(crate) fn median(skew: &Skew, src: &[f32], dst: &mut [f32], scratch: &mut MedianScratch) {
    let per_diagonal = skew.shape().height.div_ceil(LANES);
    scratch.columns.resize(5 * per_diagonal, [[0.0; LANES]; 5]);
    run(skew, src, dst, &mut scratch.columns, per_diagonal);
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn run(skew: &Skew, src: &[f32], dst: &mut [f32], columns: &mut [Column], per_diagonal: usize) {
    let n_diagonals = skew.n_diagonals() as isize;
    for newest in -2..n_diagonals + 2 {
        // Every group that a pixel within two diagonals needs.
        let from = skew.diagonal(newest.max(2) - 2).first / LANES;
        let end = skew.diagonal((newest + 2).min(n_diagonals - 1)).end.div_ceil(LANES);
        let sorted = &mut columns[(newest + 5) as usize % 5 * per_diagonal..][from..end];
        let n = sorted.len() * LANES;
        let mut rows: [&[Group]; 5] = [&[]; 5];
        for (r, row) in rows.iter_mut().enumerate() {
            let dy = r as isize - 2;
            let start = skew.diagonal(newest + dy).origin as isize + (from * LANES) as isize + dy;
            *row = src[start as usize..start as usize + n].as_chunks().0;
        }
        for (i, out) in sorted.iter_mut().enumerate() {
            for l in 0..LANES {
                let five = sort_five([
                    rows[0][i][l],
                    rows[1][i][l],
                    rows[2][i][l],
                    rows[3][i][l],
                    rows[4][i][l],
                ]);
                for r in 0..5 {
                    out[r][l] = five[r];
                }
            }
        }
        let centre = newest - 2;
        if centre < 0 {
            continue;
        }
        let span = skew.span(centre as usize);
        let first = skew.diagonal(centre).first / LANES;
        let out = groups_mut(&mut dst[span]);
        let mut around: [&[Column]; 5] = [&[]; 5];
        for (c, part) in around.iter_mut().enumerate() {
            *part = &columns[(centre + c as isize + 3) as usize % 5 * per_diagonal..]
                [first..first + out.len()];
        }
        for (i, out) in out.iter_mut().enumerate() {
            for l in 0..LANES {
                let mut v = [0.0; 25];
                for c in 0..5 {
                    for r in 0..5 {
                        v[5 * c + r] = around[c][i][r][l];
                    }
                }
                out[l] = median_of_sorted_columns(v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Shape};

    use super::*;
    use crate::register::flow::skew::mirror;

    /// The zero-one principle: a network that finds the median of all sorted columns of zeros and
    /// ones finds it of all sorted columns.
    #[test]
    fn the_network_finds_the_median_of_any_sorted_columns() {
        for code in 0..7776 {
            let mut v = [0.0; 25];
            let (mut code, mut ones) = (code, 0);
            for c in 0..5 {
                let zeros = code % 6;
                code /= 6;
                for r in zeros..5 {
                    v[5 * c + r] = 1.0;
                    ones += 1;
                }
            }
            assert_eq!(median_of_sorted_columns(v), f32::from(u8::from(ones >= 13)));
        }
        for code in 0..32 {
            let v = sort_five([0, 1, 2, 3, 4].map(|i| f32::from(u8::from(code >> i & 1 == 1))));
            assert!(v.windows(2).all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn medians_are_those_of_sorted_windows() {
        for shape in [Shape::new(6, 6), Shape::new(7, 50), Shape::new(50, 9), Shape::new(37, 41)] {
            let skew = Skew::new(shape);
            let mut rng = Rng::new(3, 0, 0);
            let rows: Vec<f32> = (0..shape.len()).map(|_| rng.normal() as f32).collect();
            let mut src = vec![0.0; skew.groups() * LANES];
            let mut dst = src.clone();
            skew.store(&rows, &mut src);
            skew.fill_margin(&mut src, 2, mirror);
            median(&skew, &src, &mut dst, &mut MedianScratch::default());
            let mut got = vec![0.0; shape.len()];
            skew.add_to_rows(&dst, &mut got);
            let (w, h) = (shape.width as isize, shape.height as isize);
            for y in 0..h {
                for x in 0..w {
                    let mut window: Vec<f32> = (0..25)
                        .map(|i| {
                            let (dx, dy) = (i % 5 - 2, i / 5 - 2);
                            rows[(mirror(y + dy, h) * w + mirror(x + dx, w)) as usize]
                        })
                        .collect();
                    window.sort_by(f32::total_cmp);
                    assert_eq!(got[(y * w + x) as usize], window[12], "{shape} {x} {y}");
                }
            }
        }
    }
}
