//! Resizing, sampling and the median.

use stillframe_image::{Image, Shape};

use crate::register::flow::params::Positions;
use crate::register::flow::taps::{Taps, antialias_sigma, cubic};

/// A plane in double precision.
pub(super) type Grid = Image<f64>;

/// `src` at another size, horizontally first, rounded to float32 before, between and after.
pub(super) fn resize(src: &Grid, shape: Shape) -> Grid {
    let (from, to) = ([src.height(), src.width()], [shape.height, shape.width]);
    let sigma = antialias_sigma(from, to);
    let rows = Taps::resize(from[0], to[0], sigma);
    let columns = Taps::resize(from[1], to[1], sigma);
    let single = |x: f64| f64::from(x as f32);
    apply(&src.map(single), &rows, &columns).map(single)
}

/// `src` enlarged by plain cubic convolution with repeated ends.
pub(super) fn enlarge(src: &Grid, shape: Shape) -> Grid {
    let rows = Taps::enlarge(src.height(), shape.height);
    let columns = Taps::enlarge(src.width(), shape.width);
    apply(src, &rows, &columns)
}

fn apply(src: &Grid, rows: &Taps, columns: &Taps) -> Grid {
    let mix = |taps: &Taps, i: usize, at: &dyn Fn(usize) -> f64| -> f64 {
        let (index, weight) = taps.of(i);
        index.iter().zip(weight).map(|(&j, w)| w * at(j as usize)).sum()
    };
    let wide = Grid::from_fn(Shape::new(src.height(), columns.n_out()), |x, y| {
        f64::from(mix(columns, x, &|j| src.at(j, y)) as f32)
    });
    Grid::from_fn(Shape::new(rows.n_out(), columns.n_out()), |x, y| {
        mix(rows, y, &|j| wide.at(x, j))
    })
}

/// `moving(x + u/hx, y + v/hy)` by cubic convolution, rounded to float32; where that position is
/// outside the frame, the pixel of `fixed`.
pub(super) fn warp(
    moving: &Grid,
    fixed: &Grid,
    u: &Grid,
    v: &Grid,
    spacing: [f64; 2],
    positions: Positions,
) -> Grid {
    let (w, h) = (moving.width(), moving.height());
    let place = |p: f64, n: usize| -> Option<(i64, f64)> {
        let p = f64::from(p as f32);
        if !(p >= 0.0 && p < n as f64) {
            return None;
        }
        let p = p.min(n as f64 - 1.0);
        let p = match positions {
            Positions::Exact => p,
            Positions::Thirtyseconds => (32.0 * p).round_ties_even() / 32.0,
        };
        Some((p.floor() as i64, p - p.floor()))
    };
    let near = |i: i64, n: usize| i.clamp(0, n as i64 - 1) as usize;
    Grid::from_fn(moving.shape(), |x, y| {
        let (Some((ix, fx)), Some((iy, fy))) = (
            place(x as f64 + u.at(x, y) / spacing[0], w),
            place(y as f64 + v.at(x, y) / spacing[1], h),
        ) else {
            return f64::from(fixed.at(x, y) as f32);
        };
        let mut sum = 0.0;
        for b in -1..3 {
            for a in -1..3 {
                let weight = cubic(fx - a as f64) * cubic(fy - b as f64);
                sum += weight * moving.at(near(ix + a, w), near(iy + b, h));
            }
        }
        f64::from(sum as f32)
    })
}

/// Median of the 5×5 pixels around each pixel; the frame is mirrored at its outermost pixels, which
/// are not repeated.
pub(super) fn median_5x5(src: &Grid) -> Grid {
    let mirror = |i: i64, n: usize| {
        let last = n as i64 - 1;
        let i = i.abs();
        (if i > last { 2 * last - i } else { i }) as usize
    };
    Grid::from_fn(src.shape(), |x, y| {
        let mut window = [0.0; 25];
        for (i, value) in window.iter_mut().enumerate() {
            let (dx, dy) = (i as i64 % 5 - 2, i as i64 / 5 - 2);
            *value =
                src.at(mirror(x as i64 + dx, src.width()), mirror(y as i64 + dy, src.height()));
        }
        window.sort_by(f64::total_cmp);
        window[12]
    })
}
