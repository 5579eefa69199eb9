//! One relaxation sweep along a diagonal.

use crate::register::flow::lanes::{Group, LANES, Lanes};
use crate::register::flow::skew::Skew;

/// What the linear system says about one group of pixels:
/// `u = omega · (neighbours + bu - a · dv) / diagonal`, and `ru = omega / diagonal`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) ru: Lanes,
    pub(super) bu: Lanes,
    pub(super) a: Lanes,
    pub(super) rv: Lanes,
    pub(super) bv: Lanes,
}

/// The cells of the diagonals in flight; they are made again in every pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    all: Vec<Cell>,
    slots: usize,
    per_slot: usize,
}

impl Cells {
    /// Makes room for `slots` diagonals of a skew.
    pub(super) fn reserve(&mut self, skew: &Skew, slots: usize) {
        self.slots = slots;
        self.per_slot = skew.shape().height.div_ceil(LANES);
        self.all.resize((slots * self.per_slot).max(self.all.len()), Cell::default());
    }

    /// The `n` cells of diagonal `sum`.
    #[inline(always)]
    pub(super) fn of(&mut self, sum: usize, n: usize) -> &mut [Cell] {
        &mut self.all[sum % self.slots * self.per_slot..][..n]
    }
}

/// Smoothness along x and y in units of the level's pixels, and the over-relaxation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Smoothness {
    pub(super) omega: f32,
    pub(super) ax: f32,
    pub(super) ay: f32,
}

/// One component of the increment around a diagonal.
struct Component<'a> {
    own: &'a mut [Group],
    left: &'a [Group],
    up: &'a [Group],
    right: &'a [Group],
    down: &'a [Group],
}

impl<'a> Component<'a> {
    #[inline(always)]
    fn new(plane: &'a mut [f32], [before, here, after]: [usize; 3], n: usize) -> Self {
        let n = n * LANES;
        let (earlier, rest) = plane.split_at_mut(here);
        let (own, later) = rest.split_at_mut(n);
        let after = after - here - n;
        Self {
            own: own.as_chunks_mut().0,
            left: earlier[before..before + n].as_chunks().0,
            up: earlier[before - 1..before - 1 + n].as_chunks().0,
            right: later[after..after + n].as_chunks().0,
            down: later[after + 1..after + 1 + n].as_chunks().0,
        }
    }
}

/// Relaxes group `i` of both components; `edge` is the weight of missing neighbours, which count as
/// equal to the pixel itself.
///
/// One loop with all that happens to a pixel, results in local arrays: this is what compilers turn
/// into whole registers; several short loops they do not.
#[inline(always)]
fn relax<const EDGE: bool>(
    u: &mut Component,
    v: &mut Component,
    cell: &Cell,
    i: usize,
    s: Smoothness,
    edge: &Group,
) {
    let (mut new_u, mut new_v) = ([0.0; LANES], [0.0; LANES]);
    let (ul, uu, ur, ud, old_u) = (&u.left[i], &u.up[i], &u.right[i], &u.down[i], &u.own[i]);
    let (vl, vu, vr, vd, old_v) = (&v.left[i], &v.up[i], &v.right[i], &v.down[i], &v.own[i]);
    for l in 0..LANES {
        let a = cell.a.0[l];
        let mut nu = s.ax * (ul[l] + ur[l]) + s.ay * (uu[l] + ud[l]);
        let mut nv = s.ax * (vl[l] + vr[l]) + s.ay * (vu[l] + vd[l]);
        if EDGE {
            nu += edge[l] * old_u[l];
            nv += edge[l] * old_v[l];
        }
        let nu = nu + cell.bu.0[l] - a * old_v[l];
        let u = (1.0 - s.omega) * old_u[l] + cell.ru.0[l] * nu;
        let nv = nv + cell.bv.0[l] - a * u;
        new_u[l] = u;
        new_v[l] = (1.0 - s.omega) * old_v[l] + cell.rv.0[l] * nv;
    }
    u.own[i] = new_u;
    v.own[i] = new_v;
}

/// Sweeps diagonal `sum` of (`du`, `dv`).
#[inline(always)]
pub(super) fn sweep(
    skew: &Skew,
    sum: usize,
    du: &mut [f32],
    dv: &mut [f32],
    cells: &mut Cells,
    edges: &[Edge],
    s: Smoothness,
) {
    let here = skew.diagonal(sum as isize);
    let (row, n) = here.groups();
    let places = [
        skew.diagonal(sum as isize - 1).origin + row,
        here.origin + row,
        skew.diagonal(sum as isize + 1).origin + row,
    ];
    let mut u = Component::new(du, places, n);
    let mut v = Component::new(dv, places, n);
    let cells = cells.of(sum, n);
    let edge = &edges[sum];
    relax::<true>(&mut u, &mut v, &cells[0], 0, s, &edge[0].0);
    for i in 1..n - 1 {
        relax::<false>(&mut u, &mut v, &cells[i], i, s, &[0.0; LANES]);
    }
    if n > 1 {
        relax::<true>(&mut u, &mut v, &cells[n - 1], n - 1, s, &edge[1].0);
    }
}

/// Weight of the neighbours that border pixels lack, in the first and the last group of a diagonal.
pub(super) type Edge = [Lanes; 2];

/// The edges of every diagonal.
pub(super) fn edges(skew: &Skew, s: Smoothness) -> Vec<Edge> {
    let shape = skew.shape();
    let if_missing = |is_missing: bool, a: f32| if is_missing { a } else { 0.0 };
    let mut out = Vec::with_capacity(skew.n_diagonals());
    for sum in 0..skew.n_diagonals() {
        let here = skew.diagonal(sum as isize);
        let (row, n) = here.groups();
        let mut edge = [Lanes::default(); 2];
        let mut add = |y: usize, weight: f32| {
            let (group, lane) = ((y - row) / LANES, (y - row) % LANES);
            if group == 0 {
                edge[0].0[lane] += weight;
            } else if group == n - 1 {
                edge[1].0[lane] += weight;
            }
        };
        let (first, last) = (here.first, here.end - 1);
        add(first, if_missing(first == 0, s.ay));
        add(first, if_missing(sum - first + 1 == shape.width, s.ax));
        add(last, if_missing(last + 1 == shape.height, s.ay));
        add(last, if_missing(sum == last, s.ax));
        out.push(edge);
    }
    out
}
