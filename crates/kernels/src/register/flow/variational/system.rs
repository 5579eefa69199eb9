//! The linear system of a level, updated between sweeps.

use super::data::Factor;
use super::sweep::{Cell, Cells, Smoothness};
use crate::register::flow::lanes::{Group, LANES, Lanes, power};
use crate::register::flow::skew::Skew;

/// Keeps the robust weights finite.
const EPS: f32 = 1e-5;

/// What the smoothness of the flow so far demands of one group: the weighted differences of its
/// neighbours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bend {
    pub(super) u: Lanes,
    pub(super) v: Lanes,
}

/// Derivative of `(s² + eps)^exponent` by s², mixed with 1 in graduated non-convexity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Penalty {
    pub(super) exponent: f32,
    pub(super) beta: f32,
}

/// `offset + scale · (s² + eps)^power`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    power: f32,
    scale: f32,
    offset: f32,
}

impl Penalty {
    pub(super) fn prepared(self) -> Prepared {
        let is_mixed = self.exponent > 0.0 && self.exponent < 1.0;
        let beta = if is_mixed { self.beta } else { 1.0 };
        Prepared { power: self.exponent - 1.0, scale: beta * self.exponent, offset: 1.0 - beta }
    }
}

impl Prepared {
    #[inline(always)]
    pub(super) fn weight(self, squared: f32) -> f32 {
        self.offset + self.scale * power(squared + EPS, self.power)
    }
}

/// Weight of the data term of each channel.
#[derive(Clone, Copy)]
pub(super) enum DataWeight<'a> {
    /// The same everywhere, per channel.
    Uniform(&'a [f32]),
    /// Per group and channel, at `channels · cell + channel`.
    Map(&'a [Lanes]),
}

/// What a level's system is made of.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) skew: &'a Skew,
    /// At `channels · cell + channel`.
    pub(super) factors: &'a [Factor],
    /// What the factors leave, if anything.
    pub(super) rest: Option<&'a [Lanes]>,
    pub(super) weight: DataWeight<'a>,
    /// One per channel.
    pub(super) penalties: &'a [Penalty],
    pub(super) bends: &'a [Bend],
    /// Sum of the weights of a pixel's neighbours, if it is not the same everywhere.
    pub(super) bend_weights: Option<&'a [Lanes]>,
    pub(super) smoothness: Smoothness,
}

/// Writes the system of diagonal `sum`; the robust weights are those of the increment (`du`, `dv`),
/// or 1 without one.
#[inline(always)]
pub(super) fn assemble<const ROBUST: bool>(
    terms: &Terms,
    sum: usize,
    du: &[f32],
    dv: &[f32],
    cells: &mut Cells,
) {
    let here = terms.skew.diagonal(sum as isize);
    let (row, n) = here.groups();
    let (du, dv) = (terms.skew.window(du, sum, 0, 0), terms.skew.window(dv, sum, 0, 0));
    let channels = terms.penalties.len();
    let factors = &terms.factors[here.cell * channels..][..n * channels];
    let bends = &terms.bends[here.cell..][..n];
    let cells = cells.of(sum, n);
    let omega = terms.smoothness.omega;
    let weight = 2.0 * terms.smoothness.ax + 2.0 * terms.smoothness.ay;
    for (i, factors) in factors.chunks_exact(channels).enumerate() {
        let bend = &bends[i];
        let mut cell = Cell { bu: bend.u, bv: bend.v, ..Cell::default() };
        // Sums of the diagonal, inverted at the end.
        cell.ru = terms.bend_weights.map_or(Lanes([weight; LANES]), |w| w[here.cell + i]);
        cell.rv = cell.ru;
        for (c, factor) in factors.iter().enumerate() {
            let place = (here.cell + i) * channels + c;
            let weight = match terms.weight {
                DataWeight::Uniform(w) => [w[c]; LANES],
                DataWeight::Map(w) => w[place].0,
            };
            let rest = terms.rest.map_or([0.0; LANES], |r| r[place].0);
            if ROBUST && terms.penalties[c].exponent != 1.0 {
                add_robust(&mut cell, factor, &weight, &rest, (&du[i], &dv[i]), terms.penalties[c]);
            } else {
                add_quadratic(&mut cell, factor, &weight);
            }
        }
        let is_edge = i == 0 || i == n - 1;
        let (first, end) = if is_edge {
            let base = row + i * LANES;
            (here.first.saturating_sub(base), here.end - base)
        } else {
            (0, LANES)
        };
        for l in 0..LANES {
            let is_inside = l >= first && l < end;
            // One division for both; a diagonal of 0 moves nothing.
            let (du, dv) = (cell.ru.0[l], cell.rv.0[l]);
            let product = du * dv;
            let per_product = if is_inside && product != 0.0 { omega / product } else { 0.0 };
            cell.ru.0[l] = per_product * dv;
            cell.rv.0[l] = per_product * du;
        }
        cells[i] = cell;
    }
}

/// Adds the data term of one channel with the robust weight of the increment.
#[inline(always)]
fn add_robust(
    cell: &mut Cell,
    f: &Factor,
    weight: &Group,
    rest: &Group,
    (du, dv): (&Group, &Group),
    penalty: Penalty,
) {
    let penalty = penalty.prepared();
    let mut out = *cell;
    for l in 0..LANES {
        let (p, q, r) = (f.p.0[l], f.q.0[l], f.r.0[l]);
        let (s, t) = (f.s.0[l], f.t.0[l]);
        let first = p * du[l] + q * dv[l] + r;
        let second = s * dv[l] + t;
        let weight = weight[l] * penalty.weight(first * first + second * second + rest[l]);
        out.ru.0[l] += weight * (p * p);
        out.rv.0[l] += weight * (q * q + s * s);
        out.a.0[l] += weight * (p * q);
        out.bu.0[l] -= weight * (p * r);
        out.bv.0[l] -= weight * (q * r + s * t);
    }
    *cell = out;
}

/// Adds the data term of one channel.
#[inline(always)]
fn add_quadratic(cell: &mut Cell, f: &Factor, weight: &Group) {
    let mut out = *cell;
    for l in 0..LANES {
        let (p, q, r) = (f.p.0[l], f.q.0[l], f.r.0[l]);
        let (s, t) = (f.s.0[l], f.t.0[l]);
        out.ru.0[l] += weight[l] * (p * p);
        out.rv.0[l] += weight[l] * (q * q + s * s);
        out.a.0[l] += weight[l] * (p * q);
        out.bu.0[l] -= weight[l] * (p * r);
        out.bv.0[l] -= weight[l] * (q * r + s * t);
    }
    *cell = out;
}

/// The demands of a quadratic smoothness: `bends` from the flow so far, whose margin (1 pixel)
/// repeats the border.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn bend(skew: &Skew, u: &[f32], v: &[f32], s: Smoothness, bends: &mut [Bend]) {
    for sum in 0..skew.n_diagonals() {
        let cell = skew.diagonal(sum as isize).cell;
        let (u, v) = (Cross::new(skew, u, sum), Cross::new(skew, v, sum));
        for i in 0..u.centre.len() {
            let mut bend = Bend::default();
            for l in 0..LANES {
                bend.u.0[l] = s.ax * u.along_x(i, l) + s.ay * u.along_y(i, l);
                bend.v.0[l] = s.ax * v.along_x(i, l) + s.ay * v.along_y(i, l);
            }
            bends[cell + i] = bend;
        }
    }
}

/// A diagonal and its four neighbours.
struct Cross<'a> {
    centre: &'a [Group],
    left: &'a [Group],
    right: &'a [Group],
    up: &'a [Group],
    down: &'a [Group],
}

impl<'a> Cross<'a> {
    #[inline(always)]
    fn new(skew: &Skew, plane: &'a [f32], sum: usize) -> Self {
        Self {
            centre: skew.window(plane, sum, 0, 0),
            left: skew.window(plane, sum, -1, 0),
            right: skew.window(plane, sum, 1, 0),
            up: skew.window(plane, sum, 0, -1),
            down: skew.window(plane, sum, 0, 1),
        }
    }

    #[inline(always)]
    fn along_x(&self, i: usize, l: usize) -> f32 {
        (self.left[i][l] - self.centre[i][l]) + (self.right[i][l] - self.centre[i][l])
    }

    #[inline(always)]
    fn along_y(&self, i: usize, l: usize) -> f32 {
        (self.up[i][l] - self.centre[i][l]) + (self.down[i][l] - self.centre[i][l])
    }
}
