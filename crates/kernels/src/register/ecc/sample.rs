//! The moving image at the places of the template's pixels.

use multiversion::multiversion;
use stillframe_image::{Point, Transform};

use super::Moving;

/// Samples on each axis from which a value is made.
pub(crate) const TAPS: usize = 6;

/// Weights of the samples around a place at `t` in [0, 1) past the third: Lagrange's polynomial of
/// degree 5. Four samples (cubic convolution) would pull stars of 3 px FWHM by up to 0.01 px.
pub(crate) fn interpolation(t: f64) -> [f32; TAPS] {
    let mut weights = [0.0f32; TAPS];
    for (k, weight) in weights.iter_mut().enumerate() {
        let node = k as f64 - 2.0;
        let mut w = 1.0;
        for j in (0..TAPS).filter(|j| *j != k) {
            let other = j as f64 - 2.0;
            w *= (t - other) / (node - other);
        }
        *weight = w as f32;
    }
    weights
}

/// Values and validity at `transform · (x, y)` for every x; both 0 where not all neighbours exist.
pub(super) fn warp_row(
    moving: &Moving,
    transform: &Transform,
    y: usize,
    values: &mut [f32],
    valid: &mut [f32],
    row: &mut Vec<f32>,
) {
    values.fill(0.0);
    valid.fill(0.0);
    let m = &transform.m;
    let is_shift = m[0][0] == 1.0 && m[0][1] == 0.0 && m[1][0] == 0.0 && m[1][1] == 1.0;
    if is_shift && transform.is_affine() {
        shift_row(moving, m[0][2], y as f64 + m[1][2], values, valid, row);
        return;
    }
    for (x, (value, valid)) in values.iter_mut().zip(valid).enumerate() {
        let p = transform.apply(Point::new(x as f64, y as f64));
        if let Some((v, ok)) = sample(moving, p) {
            (*value, *valid) = (v, ok);
        }
    }
}

/// The first of the neighbours and the fraction past the third; `None` if not all exist.
fn neighbours(position: f64, length: usize) -> Option<(usize, f64)> {
    let cell = position.floor();
    let exists = cell >= 2.0 && cell + 3.0 < length as f64;
    exists.then(|| (cell as usize - 2, position - cell))
}

/// Every pixel is moved by the same fraction: one combination of rows, then of columns.
fn shift_row(
    moving: &Moving,
    dx: f64,
    y: f64,
    values: &mut [f32],
    valid: &mut [f32],
    row: &mut Vec<f32>,
) {
    let (width, height) = (moving.image.width(), moving.image.height());
    let Some((top, ty)) = neighbours(y, height) else { return };
    row.resize(width, 0.0);
    let rows = [0, 1, 2, 3, 4, 5].map(|i| moving.image.row(top + i));
    combine(row, rows, interpolation(ty));
    let cell = dx.floor();
    // Beyond any image, or not a number.
    let is_near = cell.abs() < 1e6;
    if !is_near {
        return;
    }
    let (offset, tx) = (cell as i64, dx - cell);
    // Column x needs columns x + offset − 2 to x + offset + 3.
    let first = (2 - offset).max(0);
    let last = (width as i64 - 3 - offset).min(values.len() as i64);
    if first >= last {
        return;
    }
    let source = (first + offset - 2) as usize;
    let (first, n) = (first as usize, (last - first) as usize);
    let columns = [0, 1, 2, 3, 4, 5].map(|i| &row[source + i..source + i + n]);
    combine(&mut values[first..first + n], columns, interpolation(tx));
    let nearest_y = top + 2 + usize::from(ty >= 0.5);
    let nearest_x = source + 2 + usize::from(tx >= 0.5);
    valid[first..first + n].copy_from_slice(&moving.valid.row(nearest_y)[nearest_x..nearest_x + n]);
}

#[multiversion(targets("x86_64+avx2"))]
fn combine(out: &mut [f32], rows: [&[f32]; TAPS], weights: [f32; TAPS]) {
    let n = out.len();
    let [a, b, c, d, e, f] = rows.map(|r| &r[..n]);
    let [wa, wb, wc, wd, we, wf] = weights;
    for i in 0..n {
        let (outer, middle) = (wa * a[i] + wf * f[i], wb * b[i] + we * e[i]);
        out[i] = (outer + middle) + (wc * c[i] + wd * d[i]);
    }
}

fn sample(moving: &Moving, p: Point) -> Option<(f32, f32)> {
    let (left, tx) = neighbours(p.x, moving.image.width())?;
    let (top, ty) = neighbours(p.y, moving.image.height())?;
    let (wx, wy) = (interpolation(tx), interpolation(ty));
    let mut sum = 0.0;
    for (i, w) in wy.iter().enumerate() {
        let r = &moving.image.row(top + i)[left..left + TAPS];
        let (outer, middle) = (wx[0] * r[0] + wx[5] * r[5], wx[1] * r[1] + wx[4] * r[4]);
        sum += w * ((outer + middle) + (wx[2] * r[2] + wx[3] * r[3]));
    }
    let valid =
        moving.valid.at(left + 2 + usize::from(tx >= 0.5), top + 2 + usize::from(ty >= 0.5));
    Some((sum, valid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Image, Rng, Shape, Vec2};

    use super::*;

    proptest! {
        #[test]
        fn a_shift_is_a_transform(dx in -30.0f64..30.0, dy in -30.0f64..30.0, seed in 0u64..99) {
            let mut rng = Rng::new(seed, 0, 0);
            let shape = Shape::new(25, 31);
            let image = Image::from_fn(shape, |_, _| rng.normal() as f32);
            let valid = image.map(|v| if v > -1.0 { 1.0 } else { 0.0 });
            let moving = Moving { image, valid };
            let transform = Transform::translation(Vec2::new(dx, dy));
            let (mut values, mut ok, mut row) = (vec![9.0; 40], vec![9.0; 40], Vec::new());
            for y in 0..30 {
                warp_row(&moving, &transform, y, &mut values, &mut ok, &mut row);
                for x in 0..40 {
                    let p = Point::new(x as f64 + dx, y as f64 + dy);
                    let (v, valid) = sample(&moving, p).unwrap_or((0.0, 0.0));
                    prop_assert!((values[x] - v).abs() < 1e-4);
                    prop_assert_eq!(ok[x], valid);
                }
            }
        }
    }
}
