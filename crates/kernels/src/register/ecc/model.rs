//! The linear model of one step: how the moved image changes with the parameters.

use multiversion::multiversion;
use stillframe_image::{Point, Transform, Vec2};

use super::{EccScratch, MAX_STEP_PX, Template};
use crate::register::solve::Normal;

/// Derivatives of the model by its parameters along one row: shift, linear part, gain, offset.
fn regressors<const N: usize>(
    template: &Template,
    y: usize,
    centre: Point,
    unit: f64,
    out: &mut [f32],
) {
    let width = template.image.width();
    let (gx, gy) = (template.gradient_x.row(y), template.gradient_y.row(y));
    let v = ((y as f64 - centre.y) / unit) as f32;
    let mut rows = out.chunks_exact_mut(width);
    let mut next = |f: &dyn Fn(usize) -> f32| {
        if let Some(row) = rows.next() {
            for (x, o) in row.iter_mut().enumerate() {
                *o = f(x);
            }
        }
    };
    let u = |x: usize| ((x as f64 - centre.x) / unit) as f32;
    next(&|x| gx[x]);
    next(&|x| gy[x]);
    if N == 6 {
        next(&|x| gx[x] * u(x) + gy[x] * v);
        next(&|x| gy[x] * u(x) - gx[x] * v);
    }
    if N == 8 {
        next(&|x| gx[x] * u(x));
        next(&|x| gx[x] * v);
        next(&|x| gy[x] * u(x));
        next(&|x| gy[x] * v);
    }
    let image = template.image.row(y);
    next(&|x| image[x]);
    next(&|_| 1.0);
}

const LANES: usize = 8;

/// `sum[i] += a[j] · b[j]` for j = i, i + 8, …
#[multiversion(targets("x86_64+avx2"))]
fn add_products(a: &[f32], b: &[f32], sum: &mut [f64; LANES]) {
    let mut lanes = *sum;
    let (a8, a_rest) = a.as_chunks::<LANES>();
    let (b8, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..LANES {
            lanes[i] += f64::from(a[i] * b[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f64::from(a * b);
    }
    *sum = lanes;
}

fn fold(l: &[f64; LANES]) -> f64 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

pub(super) fn normal_equations<const N: usize>(
    template: &Template,
    scratch: &mut EccScratch,
    centre: Point,
    unit: f64,
) -> Normal<N> {
    let shape = template.shape();
    let width = shape.width;
    scratch.regressors.resize(N * width, 0.0);
    scratch.weighted.resize(width, 0.0);
    let mut matrix = [[[0.0f64; LANES]; N]; N];
    let mut rhs = [[0.0f64; LANES]; N];
    for y in 0..shape.height {
        let range = y * width..(y + 1) * width;
        let weights = &scratch.weights[range.clone()];
        let values = &scratch.warped[range];
        regressors::<N>(template, y, centre, unit, &mut scratch.regressors);
        for i in 0..N {
            let row = |i: usize| &scratch.regressors[i * width..(i + 1) * width];
            scratch.weighted.copy_from_slice(row(i));
            multiply(&mut scratch.weighted, weights);
            for j in 0..=i {
                add_products(&scratch.weighted, row(j), &mut matrix[i][j]);
            }
            add_products(&scratch.weighted, values, &mut rhs[i]);
        }
    }
    let mut normal = Normal::<N>::new();
    for i in 0..N {
        for j in 0..=i {
            normal.matrix[i][j] = fold(&matrix[i][j]);
        }
        normal.rhs[i] = fold(&rhs[i]);
    }
    normal
}

/// A prior on the linear part of an affine warp.
pub(super) fn hold<const N: usize>(
    normal: &mut Normal<N>,
    transform: &Transform,
    gain: f64,
    unit: f64,
    firmness: f64,
) {
    let m = &transform.m;
    let linear = [m[0][0] - 1.0, m[0][1], m[1][0], m[1][1] - 1.0];
    // Both in units of the gain.
    let information = (firmness / gain) * (firmness / gain);
    for (i, part) in linear.into_iter().enumerate() {
        normal.matrix[2 + i][2 + i] += information;
        // The step is taken off the warp: a step of `part · unit` would bring it to 0.
        normal.rhs[2 + i] += information * part * unit * gain;
    }
}

/// The deformation part of a solution, its shift cut to the longest step.
pub(super) fn limited<const N: usize>(solution: &[f64; N], gain: f64) -> [f64; N] {
    let mut step = solution.map(|v| v / gain);
    let length = Vec2::new(step[0], step[1]).norm();
    if length > MAX_STEP_PX {
        for v in &mut step {
            *v *= MAX_STEP_PX / length;
        }
    }
    step
}

pub(super) fn corner_shift<const N: usize>(step: &[f64; N]) -> f64 {
    step[..N - 2].iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The plane transform of a step. Linear parameters are displacements at a distance of `unit`.
pub(super) fn deformation<const N: usize>(step: &[f64; N], centre: Point, unit: f64) -> Transform {
    let [a, b, c, d] = match N {
        6 => [step[2], -step[3], step[3], step[2]],
        8 => [step[2], step[3], step[4], step[5]],
        _ => [0.0; 4],
    }
    .map(|v| v / unit);
    let dx = step[0] - a * centre.x - b * centre.y;
    let dy = step[1] - c * centre.x - d * centre.y;
    Transform::affine(1.0 + a, b, dx, c, 1.0 + d, dy)
}

/// See [`EccScratch::influence`].
pub(super) fn influence<const N: usize>(
    template: &Template,
    scratch: &mut EccScratch,
    centre: Point,
    unit: f64,
    inverse: &[[f64; N]; N],
    gain: f64,
) {
    let shape = template.shape();
    let width = shape.width;
    for (parameter, scale, out) in [0, 1, N - 2]
        .into_iter()
        .zip([1.0 / gain, 1.0 / gain, 1.0])
        .zip(&mut scratch.influence)
        .map(|((p, s), o)| (p, s, o))
    {
        out.resize(shape.len(), 0.0);
        for y in 0..shape.height {
            let range = y * width..(y + 1) * width;
            regressors::<N>(template, y, centre, unit, &mut scratch.regressors);
            let target = &mut out[range.clone()];
            target.fill(0.0);
            for (row, factor) in scratch.regressors.chunks_exact(width).zip(&inverse[parameter]) {
                let factor = (factor * scale) as f32;
                for (t, r) in target.iter_mut().zip(row) {
                    *t += factor * r;
                }
            }
            multiply(target, &scratch.weights[range]);
        }
    }
}

#[multiversion(targets("x86_64+avx2"))]
pub(super) fn multiply(target: &mut [f32], factor: &[f32]) {
    for (t, f) in target.iter_mut().zip(factor) {
        *t *= f;
    }
}
