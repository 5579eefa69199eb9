//! Motion tensors: the data term, linearised.

use super::images::Grid;
use crate::register::flow::params::ConstAssumption;

/// J11, J22, J33, J12, J13, J23 of one channel: the data energy of an increment (du, dv) is
/// `J11 du² + J22 dv² + J33 + 2 (J12 du dv + J13 du + J23 dv)`.
pub(super) type Tensor = [Grid; 6];

/// Keeps `1 / (fxx² + fxy²)` finite where the image is flat.
const ZETA_SQUARED: f64 = 1e-6;
/// Width of the smoothed sign of the census, in grey values per pixel.
const CENSUS_EPS: f64 = 0.1 / 255.0;

/// The tensor of `fixed` and the warped frame for pixels `spacing` (x, y) apart.
pub(super) fn tensor(
    term: ConstAssumption,
    fixed: &Grid,
    warped: &Grid,
    spacing: [f64; 2],
) -> Tensor {
    match term {
        ConstAssumption::Gradient => gradient(fixed, warped, spacing),
        ConstAssumption::Gray => gray(fixed, warped, spacing, 1.0),
        ConstAssumption::Census => census(fixed, warped, spacing),
    }
}

/// Removes the data where (x + u, y + v) is not between the outermost pixel centres.
pub(super) fn forget_outside(j: &mut Tensor, u: &Grid, v: &Grid, spacing: [f64; 2]) {
    let (last_x, last_y) = ((u.width() - 1) as f64, (u.height() - 1) as f64);
    for y in 0..u.height() {
        for x in 0..u.width() {
            let p = x as f64 + u.at(x, y) / spacing[0];
            let q = y as f64 + v.at(x, y) / spacing[1];
            if !((0.0..=last_x).contains(&p) && (0.0..=last_y).contains(&q)) {
                for plane in j.iter_mut() {
                    plane.set(x, y, 0.0);
                }
            }
        }
    }
}

fn zero(like: &Grid) -> Tensor {
    std::array::from_fn(|_| Grid::filled(like.shape(), 0.0))
}

/// The pixel at (x + dx, y + dy), the ends repeated.
fn at(f: &Grid, x: usize, y: usize, dx: i64, dy: i64) -> f64 {
    let near = |i: usize, d: i64, n: usize| (i as i64 + d).clamp(0, n as i64 - 1) as usize;
    f.at(near(x, dx, f.width()), near(y, dy, f.height()))
}

/// Central difference along x (`axis` 0) or y (1).
fn difference(f: &Grid, axis: usize, spacing: [f64; 2]) -> Grid {
    let (dx, dy) = if axis == 0 { (1, 0) } else { (0, 1) };
    Grid::from_fn(f.shape(), |x, y| {
        (at(f, x, y, dx, dy) - at(f, x, y, -dx, -dy)) / (2.0 * spacing[axis])
    })
}

fn second_difference(f: &Grid, axis: usize, spacing: [f64; 2]) -> Grid {
    let (dx, dy) = if axis == 0 { (1, 0) } else { (0, 1) };
    Grid::from_fn(f.shape(), |x, y| {
        (at(f, x, y, dx, dy) - 2.0 * f.at(x, y) + at(f, x, y, -dx, -dy))
            / (spacing[axis] * spacing[axis])
    })
}

fn zip(a: &Grid, b: &Grid, f: impl Fn(f64, f64) -> f64) -> Grid {
    Grid::from_fn(a.shape(), |x, y| f(a.at(x, y), b.at(x, y)))
}

/// Adds `scale · (fx, fy, ft)(fx, fy, ft)ᵀ` of one pixel.
fn add_outer(j: &mut Tensor, x: usize, y: usize, scale: f64, [fx, fy, ft]: [f64; 3]) {
    let terms = [fx * fx, fy * fy, ft * ft, fx * fy, fx * ft, fy * ft];
    for (plane, term) in j.iter_mut().zip(terms) {
        plane.set(x, y, plane.at(x, y) + scale * term);
    }
}

/// # Source
/// Zimmer, Bruhn & Weickert (2011), doi:10.1007/s11263-011-0422-6, section 2.2 (normalisation).
fn gradient(fixed: &Grid, warped: &Grid, spacing: [f64; 2]) -> Tensor {
    let mean = zip(fixed, warped, |a, b| 0.5 * (a + b));
    let change = zip(fixed, warped, |a, b| b - a);
    let fxx = second_difference(&mean, 0, spacing);
    let fyy = second_difference(&mean, 1, spacing);
    let fxy = difference(&difference(&mean, 0, spacing), 1, spacing);
    let (fxt, fyt) = (difference(&change, 0, spacing), difference(&change, 1, spacing));
    let mut j = zero(fixed);
    for y in 0..fixed.height() {
        for x in 0..fixed.width() {
            let (xx, xy, yy) = (fxx.at(x, y), fxy.at(x, y), fyy.at(x, y));
            let scale = |a: f64, b: f64| 1.0 / (a * a + b * b + ZETA_SQUARED);
            add_outer(&mut j, x, y, scale(xx, xy), [xx, xy, fxt.at(x, y)]);
            add_outer(&mut j, x, y, scale(xy, yy), [xy, yy, fyt.at(x, y)]);
        }
    }
    j
}

fn gray(fixed: &Grid, warped: &Grid, spacing: [f64; 2], scale: f64) -> Tensor {
    let mean = zip(fixed, warped, |a, b| 0.5 * (a + b));
    let (fx, fy) = (difference(&mean, 0, spacing), difference(&mean, 1, spacing));
    let mut j = zero(fixed);
    for y in 0..fixed.height() {
        for x in 0..fixed.width() {
            let ft = warped.at(x, y) - fixed.at(x, y);
            add_outer(&mut j, x, y, scale, [fx.at(x, y), fy.at(x, y), ft]);
        }
    }
    j
}

/// # Source
/// Zabih & Woodfill (1994), doi:10.1007/BFb0028345, its sign replaced by a smooth one.
fn census(fixed: &Grid, warped: &Grid, spacing: [f64; 2]) -> Tensor {
    let signature = |f: &Grid, dx: i64, dy: i64| {
        let (lx, ly) = (spacing[0] * dx as f64, spacing[1] * dy as f64);
        let distance = (lx * lx + ly * ly).sqrt();
        Grid::from_fn(f.shape(), |x, y| {
            let r = (at(f, x, y, dx, dy) - f.at(x, y)) / distance;
            0.5 * (1.0 + r / (r * r + CENSUS_EPS * CENSUS_EPS).sqrt())
        })
    };
    let mut sum = zero(fixed);
    for (dx, dy) in [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
        let (a, b) = (signature(fixed, dx, dy), signature(warped, dx, dy));
        for (total, part) in sum.iter_mut().zip(gray(&a, &b, spacing, 2.0 / 8.0)) {
            for (t, p) in total.pixels_mut().iter_mut().zip(part.pixels()) {
                *t += p;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;

    /// A quadratic image moved by (a, b): its tensor is known in closed form away from the border.
    #[test]
    fn the_gradient_term_of_a_moved_parabola_vanishes_at_the_motion() {
        let shape = Shape::new(12, 15);
        let spacing = [1.5, 1.25];
        let image = |x: f64, y: f64| 0.3 * x * x - 0.2 * x * y + 0.5 * y * y;
        let (du, dv) = (0.4, -0.3);
        let (fixed, moved) = ([0.0, 0.0], [du, dv]);
        let make = |s: [f64; 2]| {
            Grid::from_fn(shape, |x, y| {
                image(x as f64 * spacing[0] - s[0], y as f64 * spacing[1] - s[1])
            })
        };
        let j = gradient(&make(fixed), &make(moved), spacing);
        let (x, y) = (6, 6);
        let [j11, j22, j33, j12, j13, j23] = j.map(|p| p.at(x, y));
        let energy = |u: f64, v: f64| {
            j11 * u * u + j22 * v * v + j33 + 2.0 * (j12 * u * v + j13 * u + j23 * v)
        };
        assert!(energy(du, dv).abs() < 1e-9, "{}", energy(du, dv));
        // rx = 1 / (fxx² + fxy²) with fxx = 0.6, fxy = -0.2, fyy = 1
        let (xx, xy, yy) = (0.6, -0.2, 1.0);
        let (rx, ry) = (1.0 / (xx * xx + xy * xy + 1e-6), 1.0 / (xy * xy + yy * yy + 1e-6));
        assert!((j11 - (rx * xx * xx + ry * xy * xy)).abs() < 1e-9);
        assert!((j12 - (rx * xx * xy + ry * xy * yy)).abs() < 1e-9);
    }

    #[test]
    fn the_gray_term_of_a_moved_ramp_vanishes_at_the_motion() {
        let shape = Shape::new(9, 9);
        let ramp = |s: f64| Grid::from_fn(shape, |x, y| 0.5 * (x as f64 - s) + 0.25 * y as f64);
        let j = gray(&ramp(0.0), &ramp(0.8), [1.0, 1.0], 1.0);
        let [j11, _, j33, _, j13, _] = j.map(|p| p.at(4, 4));
        assert!((j11 - 0.25).abs() < 1e-12 && (j13 / j11 + 0.8).abs() < 1e-12);
        assert!((j33 - 0.16).abs() < 1e-12);
    }

    #[test]
    fn the_census_ignores_a_change_of_brightness() {
        let shape = Shape::new(10, 10);
        let image = Grid::from_fn(shape, |x, y| ((x * 7 + y * 13) % 11) as f64 / 11.0);
        let brighter = image.map(|v| v + 0.5);
        let [.., j33, _, j13, j23] = census(&image, &brighter, [1.0, 1.0]);
        for plane in [j33, j13, j23] {
            assert!(plane.pixels().iter().all(|v| v.abs() < 1e-12));
        }
    }
}
