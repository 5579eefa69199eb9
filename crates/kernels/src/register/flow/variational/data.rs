//! The data term as a triangular factor per pixel.
//!
//! The energy of an increment is `(p du + q dv + r)² + (s dv + t)²`, plus a `rest` that does not
//! depend on it and that only the census has: the factor of the
//! motion tensor rather than the tensor, because in float32 the sum of squares stays exact where
//! the tensor's terms cancel.

use crate::register::flow::lanes::{Group, LANES, Lanes, groups_mut};
use crate::register::flow::params::ConstAssumption;
use crate::register::flow::skew::{Skew, repeat_end, resized};

/// The factor of one channel in one group of pixels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Factor {
    pub(super) p: Lanes,
    pub(super) q: Lanes,
    pub(super) r: Lanes,
    pub(super) s: Lanes,
    pub(super) t: Lanes,
}

/// Keeps `1 / (fxx² + fxy²)` finite where the image is flat.
const ZETA_SQUARED: f32 = 1e-6;
/// Width of the smoothed sign of the census, in grey values per pixel.
const CENSUS_EPS: f32 = 0.1 / 255.0;
/// Below this squared length a column of a factor is not turned.
const TINY: f32 = 1e-30;

/// Two planes whose margin (1 pixel) repeats the border, and the distance of their pixels.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) fixed: &'a [f32],
    pub(super) warped: &'a [f32],
    pub(super) spacing: [f32; 2],
}

/// Where the factors of a channel go: to `all[stride · cell + channel]`.
pub(super) struct Factors<'a> {
    pub(super) all: &'a mut [Factor],
    /// As `all`; written for the census only.
    pub(super) rest: &'a mut [Lanes],
    pub(super) stride: usize,
    pub(super) channel: usize,
}

/// Linearises the data term of one channel.
///
/// `signatures` is memory that only the census uses.
pub(super) fn linearise(
    term: ConstAssumption,
    skew: &Skew,
    pair: Pair,
    out: &mut Factors,
    signatures: &mut [Vec<Lanes>; 2],
) {
    match term {
        ConstAssumption::Gradient => gradient(skew, pair, out),
        ConstAssumption::Gray => gray(skew, pair, out),
        ConstAssumption::Census => census(skew, pair, out, signatures),
    }
}

/// Removes the data of the pixels at which the skewed plane `mask` is 0, of one channel.
pub(super) fn forget(skew: &Skew, mask: &[f32], out: &mut Factors) {
    for sum in 0..skew.n_diagonals() {
        let cell = skew.diagonal(sum as isize).cell;
        for (i, mask) in skew.window(mask, sum, 0, 0).iter().enumerate() {
            if mask.iter().all(|&m| m == 1.0) {
                continue;
            }
            let place = (cell + i) * out.stride + out.channel;
            let f = &mut out.all[place];
            for values in [&mut f.p, &mut f.q, &mut f.r, &mut f.s, &mut f.t] {
                values.0.iter_mut().zip(mask).for_each(|(v, m)| *v *= m);
            }
            if let Some(rest) = out.rest.get_mut(place) {
                rest.0.iter_mut().zip(mask).for_each(|(v, m)| *v *= m);
            }
        }
    }
}

/// The 3×3 pixels around every pixel of a diagonal.
struct Window<'a>([&'a [Group]; 9]);

impl<'a> Window<'a> {
    #[inline(always)]
    fn new(skew: &Skew, plane: &'a [f32], sum: usize) -> Self {
        let mut windows: [&[Group]; 9] = [&[]; 9];
        for (i, window) in windows.iter_mut().enumerate() {
            *window = skew.window(plane, sum, i as isize % 3 - 1, i as isize / 3 - 1);
        }
        Self(windows)
    }

    #[inline(always)]
    fn at(&self, i: usize, l: usize) -> [f32; 9] {
        let w = &self.0;
        [
            w[0][i][l], w[1][i][l], w[2][i][l], w[3][i][l], w[4][i][l], w[5][i][l], w[6][i][l],
            w[7][i][l], w[8][i][l],
        ]
    }
}

/// # Source
/// Zimmer, Bruhn & Weickert (2011), doi:10.1007/s11263-011-0422-6, section 2.2 (normalisation).
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gradient(skew: &Skew, pair: Pair, out: &mut Factors) {
    let [hx, hy] = pair.spacing;
    let (xx, xy, yy) = (1.0 / (hx * hx), 0.25 / (hx * hy), 1.0 / (hy * hy));
    let (x, y) = (0.5 / hx, 0.5 / hy);
    for sum in 0..skew.n_diagonals() {
        let fixed = Window::new(skew, pair.fixed, sum);
        let warped = Window::new(skew, pair.warped, sum);
        let cell = skew.diagonal(sum as isize).cell;
        for i in 0..fixed.0[0].len() {
            let factor = &mut out.all[(cell + i) * out.stride + out.channel];
            for l in 0..LANES {
                let (a, b) = (fixed.at(i, l), warped.at(i, l));
                let mut m = [0.0; 9];
                for k in 0..9 {
                    m[k] = 0.5 * (a[k] + b[k]);
                }
                let fxx = (m[5] - 2.0 * m[4] + m[3]) * xx;
                let fyy = (m[7] - 2.0 * m[4] + m[1]) * yy;
                let fxy = ((m[8] - m[6]) - (m[2] - m[0])) * xy;
                let fxt = ((b[5] - a[5]) - (b[3] - a[3])) * x;
                let fyt = ((b[7] - a[7]) - (b[1] - a[1])) * y;
                let rx = 1.0 / (fxx * fxx + fxy * fxy + ZETA_SQUARED).sqrt();
                let ry = 1.0 / (fxy * fxy + fyy * fyy + ZETA_SQUARED).sqrt();
                let (a1, b1, c1) = (rx * fxx, rx * fxy, rx * fxt);
                let (a2, b2, c2) = (ry * fxy, ry * fyy, ry * fyt);
                let (cos, sin) = turn(a1, a2);
                factor.p.0[l] = cos * a1 + sin * a2;
                factor.q.0[l] = cos * b1 + sin * b2;
                factor.r.0[l] = cos * c1 + sin * c2;
                factor.s.0[l] = cos * b2 - sin * b1;
                factor.t.0[l] = cos * c2 - sin * c1;
            }
        }
    }
}

/// The rotation that takes (`a`, `b`) to (√(a² + b²), 0).
#[inline(always)]
fn turn(a: f32, b: f32) -> (f32, f32) {
    let squared = a * a + b * b;
    let per_length = 1.0 / squared.max(TINY).sqrt();
    let is_long = squared > TINY;
    (if is_long { a * per_length } else { 1.0 }, if is_long { b * per_length } else { 0.0 })
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gray(skew: &Skew, pair: Pair, out: &mut Factors) {
    let (x, y) = (0.5 / pair.spacing[0], 0.5 / pair.spacing[1]);
    for sum in 0..skew.n_diagonals() {
        let fixed = Window::new(skew, pair.fixed, sum);
        let warped = Window::new(skew, pair.warped, sum);
        let cell = skew.diagonal(sum as isize).cell;
        for i in 0..fixed.0[0].len() {
            let factor = &mut out.all[(cell + i) * out.stride + out.channel];
            *factor = Factor::default();
            for l in 0..LANES {
                let (a, b) = (fixed.at(i, l), warped.at(i, l));
                let mut m = [0.0; 9];
                for k in 0..9 {
                    m[k] = 0.5 * (a[k] + b[k]);
                }
                factor.p.0[l] = (m[5] - m[3]) * x;
                factor.q.0[l] = (m[7] - m[1]) * y;
                factor.r.0[l] = b[4] - a[4];
            }
        }
    }
}

/// # Source
/// Zabih & Woodfill (1994), doi:10.1007/BFb0028345, its sign replaced by a smooth one.
fn census(skew: &Skew, pair: Pair, out: &mut Factors, signatures: &mut [Vec<Lanes>; 2]) {
    for factor in out.all.iter_mut().skip(out.channel).step_by(out.stride) {
        *factor = Factor::default();
    }
    for rest in out.rest.iter_mut().skip(out.channel).step_by(out.stride) {
        *rest = Lanes::default();
    }
    for (dx, dy) in [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] {
        for (plane, signature) in [pair.fixed, pair.warped].into_iter().zip(&mut *signatures) {
            resized(signature, skew);
            let signature = bytemuck::cast_slice_mut(signature);
            sign_towards(skew, plane, (dx, dy), pair.spacing, signature);
            skew.fill_margin(signature, 1, repeat_end);
        }
        let [fixed, warped] = [0, 1].map(|i| bytemuck::cast_slice(&signatures[i]));
        absorb_gray(skew, Pair { fixed, warped, ..pair }, 0.25, out);
    }
}

/// The smoothed sign of the neighbour at (dx, dy) minus the pixel, per distance, in 0..1.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sign_towards(
    skew: &Skew,
    plane: &[f32],
    (dx, dy): (isize, isize),
    spacing: [f32; 2],
    out: &mut [f32],
) {
    let (x, y) = (spacing[0] * dx as f32, spacing[1] * dy as f32);
    let per_distance = 1.0 / (x * x + y * y).sqrt();
    for sum in 0..skew.n_diagonals() {
        let centre = skew.window(plane, sum, 0, 0);
        let neighbour = skew.window(plane, sum, dx, dy);
        let out = groups_mut(&mut out[skew.span(sum)]);
        for ((out, centre), neighbour) in out.iter_mut().zip(centre).zip(neighbour) {
            for l in 0..LANES {
                let r = (neighbour[l] - centre[l]) * per_distance;
                out[l] = 0.5 + 0.5 * (r / (r * r + CENSUS_EPS * CENSUS_EPS).sqrt());
            }
        }
    }
}

/// Adds `scale` times the energy of constant grey values to the factors.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn absorb_gray(skew: &Skew, pair: Pair, scale: f32, out: &mut Factors) {
    let root = scale.sqrt();
    let (x, y) = (0.5 * root / pair.spacing[0], 0.5 * root / pair.spacing[1]);
    for sum in 0..skew.n_diagonals() {
        let fixed = Window::new(skew, pair.fixed, sum);
        let warped = Window::new(skew, pair.warped, sum);
        let cell = skew.diagonal(sum as isize).cell;
        for i in 0..fixed.0[0].len() {
            let place = (cell + i) * out.stride + out.channel;
            let (factor, rest) = (&mut out.all[place], &mut out.rest[place]);
            for l in 0..LANES {
                let (a, b) = (fixed.at(i, l), warped.at(i, l));
                let fx = 0.5 * ((a[5] + b[5]) - (a[3] + b[3])) * x;
                let fy = 0.5 * ((a[7] + b[7]) - (a[1] + b[1])) * y;
                let ft = (b[4] - a[4]) * root;
                let (p, q, r) = (factor.p.0[l], factor.q.0[l], factor.r.0[l]);
                let (cos, sin) = turn(p, fx);
                factor.p.0[l] = cos * p + sin * fx;
                factor.q.0[l] = cos * q + sin * fy;
                factor.r.0[l] = cos * r + sin * ft;
                let (fy, ft) = (cos * fy - sin * q, cos * ft - sin * r);
                let (s, t) = (factor.s.0[l], factor.t.0[l]);
                let (cos, sin) = turn(s, fy);
                factor.s.0[l] = cos * s + sin * fy;
                factor.t.0[l] = cos * t + sin * ft;
                let ft = cos * ft - sin * t;
                rest.0[l] += ft * ft;
            }
        }
    }
}
