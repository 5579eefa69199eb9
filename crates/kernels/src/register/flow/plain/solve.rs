//! The linear systems of one level and their relaxation.

use stillframe_image::{Shape, math};

use super::images::Grid;
use super::tensor::Tensor;
use crate::register::flow::params::FlowParams;
use crate::register::flow::pyramid::Level;

/// Keeps the robust weights finite.
const EPS: f64 = 1e-5;

/// The level's energy: data and weights per channel, the flow so far.
pub(super) struct System<'a> {
    pub(super) tensors: &'a [Tensor],
    pub(super) weights: &'a [Grid],
    pub(super) u: &'a Grid,
    pub(super) v: &'a Grid,
    pub(super) level: &'a Level,
}

/// Exponents of the two terms and the share `beta` of their robust weights.
pub(super) struct Robustness {
    pub(super) data: Vec<f64>,
    pub(super) smooth: f64,
    pub(super) beta: f64,
}

impl Robustness {
    /// Derivative of `(s² + eps)^a` by s², mixed with 1 in graduated non-convexity.
    fn weight(&self, exponent: f64, squared: f64) -> f64 {
        let psi = exponent * math::pow(squared.max(0.0) + EPS, exponent - 1.0);
        if exponent > 0.0 && exponent < 1.0 { 1.0 - self.beta + self.beta * psi } else { psi }
    }
}

/// A plane with one more pixel on each side, first repeated from the nearest pixel.
fn padded(f: &Grid) -> Grid {
    Grid::from_fn(Shape::new(f.height() + 2, f.width() + 2), |x, y| {
        f.at(x.clamp(1, f.width()) - 1, y.clamp(1, f.height()) - 1)
    })
}

/// Gives the outer ring the values of its inner neighbours, rows first.
fn neumann(f: &mut Grid) {
    let (w, h) = (f.width(), f.height());
    for x in 0..w {
        f.set(x, 0, f.at(x, 1));
        f.set(x, h - 1, f.at(x, h - 2));
    }
    for y in 0..h {
        f.set(0, y, f.at(1, y));
        f.set(w - 1, y, f.at(w - 2, y));
    }
}

/// The increments (du, dv) after all sweeps from zero.
///
/// # Source
/// Brox, Bruhn, Papenberg & Weickert (2004), doi:10.1007/978-3-540-24673-2_3, section 3.2 (lagged
/// nonlinearity); Young (1954), doi:10.1090/S0002-9947-1954-0059635-7 (over-relaxation).
pub(super) fn solve(system: &System, robustness: &Robustness, params: &FlowParams) -> (Grid, Grid) {
    let inner = system.u.shape();
    let ring = Shape::new(inner.height + 2, inner.width + 2);
    let (u, v) = (padded(system.u), padded(system.v));
    let (mut du, mut dv) = (Grid::filled(ring, 0.0), Grid::filled(ring, 0.0));
    let mut psi_data: Vec<Grid> = system.tensors.iter().map(|_| Grid::filled(inner, 1.0)).collect();
    let mut psi_smooth = Grid::filled(ring, 1.0);
    for k in 1..=params.iterations {
        if k % params.update_lag == 0 {
            for (c, psi) in psi_data.iter_mut().enumerate() {
                *psi = Grid::from_fn(inner, |x, y| {
                    let [j11, j22, j33, j12, j13, j23] =
                        std::array::from_fn(|i| system.tensors[c][i].at(x, y));
                    let (a, b) = (du.at(x + 1, y + 1), dv.at(x + 1, y + 1));
                    let squared =
                        j11 * a * a + j22 * b * b + j33 + 2.0 * (j12 * a * b + j13 * a + j23 * b);
                    robustness.weight(robustness.data[c], squared)
                });
            }
            if robustness.smooth != 1.0 {
                let sum = |f: &Grid, d: &Grid| Grid::from_fn(ring, |x, y| f.at(x, y) + d.at(x, y));
                let (a, b) = (sum(&u, &du), sum(&v, &dv));
                psi_smooth = Grid::from_fn(ring, |x, y| {
                    let squared = slope_squared(&a, x, y, system.level.spacing)
                        + slope_squared(&b, x, y, system.level.spacing);
                    robustness.weight(robustness.smooth, squared)
                });
            }
        }
        neumann(&mut du);
        neumann(&mut dv);
        let psi = Psi { data: &psi_data, smooth: &psi_smooth };
        sweep(system, [&u, &v], [&mut du, &mut dv], &psi, params.relaxation);
    }
    let cut = |f: &Grid| Grid::from_fn(inner, |x, y| f.at(x + 1, y + 1));
    (cut(&du), cut(&dv))
}

/// Squared gradient: central differences, one-sided at the edge.
fn slope_squared(f: &Grid, x: usize, y: usize, spacing: [f64; 2]) -> f64 {
    let (x0, x1) = (x.saturating_sub(1), (x + 1).min(f.width() - 1));
    let (y0, y1) = (y.saturating_sub(1), (y + 1).min(f.height() - 1));
    let fx = (f.at(x1, y) - f.at(x0, y)) / ((x1 - x0) as f64 * spacing[0]);
    let fy = (f.at(x, y1) - f.at(x, y0)) / ((y1 - y0) as f64 * spacing[1]);
    fx * fx + fy * fy
}

/// Robust weights: of the data per channel, of the smoothness with its ring.
struct Psi<'a> {
    data: &'a [Grid],
    smooth: &'a Grid,
}

fn sweep(system: &System, [u, v]: [&Grid; 2], [du, dv]: [&mut Grid; 2], psi: &Psi, omega: f64) {
    let level = system.level;
    let ax = level.alpha[0] / (level.spacing[0] * level.spacing[0]);
    let ay = level.alpha[1] / (level.spacing[1] * level.spacing[1]);
    for y in 1..u.height() - 1 {
        for x in 1..u.width() - 1 {
            let here = psi.smooth.at(x, y);
            let neighbours = [(x - 1, y, ax), (x, y - 1, ay), (x + 1, y, ax), (x, y + 1, ay)]
                .map(|(nx, ny, a)| (nx, ny, a * 0.5 * (here + psi.smooth.at(nx, ny))));
            let (mut nu, mut nv, mut smooth) = (0.0, 0.0, 0.0);
            for (nx, ny, g) in neighbours {
                nu += g * (u.at(nx, ny) + du.at(nx, ny) - u.at(x, y));
                nv += g * (v.at(nx, ny) + dv.at(nx, ny) - v.at(x, y));
                smooth += g;
            }
            let (mut a11, mut a22, mut a12) = (smooth, smooth, 0.0);
            for ((j, weight), psi) in system.tensors.iter().zip(system.weights).zip(psi.data) {
                let [j11, j22, _, j12, j13, j23] = std::array::from_fn(|i| j[i].at(x - 1, y - 1));
                let q = weight.at(x - 1, y - 1) * psi.at(x - 1, y - 1);
                a11 += q * j11;
                a22 += q * j22;
                a12 += q * j12;
                nu -= q * j13;
                nv -= q * j23;
            }
            let quotient = |n: f64, d: f64| if d == 0.0 { 0.0 } else { n / d };
            let new_du =
                (1.0 - omega) * du.at(x, y) + omega * quotient(nu - a12 * dv.at(x, y), a11);
            du.set(x, y, new_du);
            let new_dv = (1.0 - omega) * dv.at(x, y) + omega * quotient(nv - a12 * new_du, a22);
            dv.set(x, y, new_dv);
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    fn random(shape: Shape, seed: u64, scale: f64) -> Grid {
        let mut rng = Rng::new(seed, 0, 0);
        Grid::from_fn(shape, |_, _| scale * rng.normal())
    }

    /// A tensor of two random equations per pixel, hence with a unique minimum everywhere.
    fn random_tensor(shape: Shape, seed: u64) -> Tensor {
        let rows: [Grid; 6] = std::array::from_fn(|i| random(shape, 10 * seed + i as u64, 0.5));
        let [a, b, c, d, e, f] = &rows;
        let product = |p: &Grid, q: &Grid, r: &Grid, s: &Grid| {
            Grid::from_fn(shape, |x, y| p.at(x, y) * q.at(x, y) + r.at(x, y) * s.at(x, y))
        };
        [
            product(a, a, d, d),
            product(b, b, e, e),
            product(c, c, f, f),
            product(a, b, d, e),
            product(a, c, d, f),
            product(b, c, e, f),
        ]
    }

    /// With quadratic terms the fixed point of the sweeps is the minimum of the energy: the
    /// gradient of the energy vanishes there.
    #[test]
    fn many_sweeps_reach_the_stationary_point() {
        let shape = Shape::new(7, 9);
        let tensors = [random_tensor(shape, 1), random_tensor(shape, 2)];
        let weights = [Grid::filled(shape, 0.3), Grid::filled(shape, 0.7)];
        let (u, v) = (random(shape, 3, 1.0), random(shape, 4, 1.0));
        let level = Level { shape, spacing: [1.5, 1.25], alpha: [2.0, 3.0] };
        let system = System { tensors: &tensors, weights: &weights, u: &u, v: &v, level: &level };
        let robustness = Robustness { data: vec![1.0, 1.0], smooth: 1.0, beta: 1.0 };
        let params = FlowParams { iterations: 4000, ..FlowParams::default() };
        let (du, dv) = solve(&system, &robustness, &params);
        let (ax, ay) = (2.0 / (1.5 * 1.5), 3.0 / (1.25 * 1.25));
        for y in 0..shape.height {
            for x in 0..shape.width {
                let mut residual = [0.0, 0.0];
                for (total, step, r) in [(&u, &du, 0), (&v, &dv, 1)].map(|(f, d, r)| (f, d, r)) {
                    let w = |x: usize, y: usize| total.at(x, y) + step.at(x, y);
                    if x > 0 {
                        residual[r] += ax * (w(x - 1, y) - w(x, y));
                    }
                    if x + 1 < shape.width {
                        residual[r] += ax * (w(x + 1, y) - w(x, y));
                    }
                    if y > 0 {
                        residual[r] += ay * (w(x, y - 1) - w(x, y));
                    }
                    if y + 1 < shape.height {
                        residual[r] += ay * (w(x, y + 1) - w(x, y));
                    }
                }
                for (j, weight) in tensors.iter().zip([0.3, 0.7]) {
                    let [j11, j22, _, j12, j13, j23] = std::array::from_fn(|i| j[i].at(x, y));
                    let (a, b) = (du.at(x, y), dv.at(x, y));
                    residual[0] -= weight * (j11 * a + j12 * b + j13);
                    residual[1] -= weight * (j12 * a + j22 * b + j23);
                }
                assert!(residual[0].abs() < 1e-9 && residual[1].abs() < 1e-9, "{residual:?}");
            }
        }
    }

    #[test]
    fn robust_weights_are_the_derivative_of_the_penaliser() {
        let r = Robustness { data: vec![], smooth: 1.0, beta: 1.0 };
        for (a, s) in [(0.45, 0.3), (0.7, 2.0), (1.0, 0.1)] {
            let rho = |s: f64| math::pow(s + EPS, a);
            let slope = (rho(s + 1e-6) - rho(s - 1e-6)) / 2e-6;
            assert!((r.weight(a, s) - slope).abs() < 1e-6);
        }
        let convex = Robustness { beta: 0.0, ..r };
        assert_eq!(convex.weight(0.45, 7.0), 1.0);
    }
}
