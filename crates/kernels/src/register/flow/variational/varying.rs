//! Smoothness whose weight changes from pixel to pixel (`a_smooth` other than 1).

use super::sweep::{Cells, Smoothness};
use super::system::{Bend, Penalty};
use crate::register::flow::lanes::{Group, LANES, Lanes, groups_mut};
use crate::register::flow::skew::Skew;

/// Writes the robust weight of the smoothness of (`u`, `v`), total flows with a margin of a pixel,
/// to `psi`, margin included.
pub(super) fn weigh(
    skew: &Skew,
    u: &[f32],
    v: &[f32],
    spacing: [f32; 2],
    penalty: Penalty,
    psi: &mut [f32],
) {
    weigh_inside(skew, u, v, spacing, penalty, psi);
    // The margin has differences of its own: none across the border.
    let (w, h) = (skew.shape().width as isize, skew.shape().height as isize);
    let prepared = penalty.prepared();
    let mut at = |x: isize, y: isize| {
        let slope = |f: &[f32]| {
            let near = |x: isize, y: isize| f[skew.place(x.clamp(-1, w), y.clamp(-1, h))];
            let (x0, x1) = ((x - 1).max(-1), (x + 1).min(w));
            let (y0, y1) = ((y - 1).max(-1), (y + 1).min(h));
            let fx = (near(x1, y) - near(x0, y)) / ((x1 - x0) as f32 * spacing[0]);
            let fy = (near(x, y1) - near(x, y0)) / ((y1 - y0) as f32 * spacing[1]);
            fx * fx + fy * fy
        };
        psi[skew.place(x, y)] = prepared.weight(slope(u) + slope(v));
    };
    for x in -1..=w {
        at(x, -1);
        at(x, h);
    }
    for y in 0..h {
        at(-1, y);
        at(w, y);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn weigh_inside(
    skew: &Skew,
    u: &[f32],
    v: &[f32],
    spacing: [f32; 2],
    penalty: Penalty,
    psi: &mut [f32],
) {
    let penalty = penalty.prepared();
    let (per_x, per_y) = (0.5 / spacing[0], 0.5 / spacing[1]);
    for sum in 0..skew.n_diagonals() {
        let (u, v) = (Sides::new(skew, u, sum), Sides::new(skew, v, sum));
        let here = skew.diagonal(sum as isize);
        let first = here.groups().0;
        let out = groups_mut(&mut psi[skew.span(sum)]);
        for (i, out) in out.iter_mut().enumerate() {
            let mut weights = *out;
            for l in 0..LANES {
                let (ux, uy) = (u.along_x(i, l) * per_x, u.along_y(i, l) * per_y);
                let (vx, vy) = (v.along_x(i, l) * per_x, v.along_y(i, l) * per_y);
                let squared = (ux * ux + uy * uy) + (vx * vx + vy * vy);
                let y = first + i * LANES + l;
                let is_inside = y >= here.first && y < here.end;
                // Places outside belong to the margin of other diagonals.
                weights[l] = if is_inside { penalty.weight(squared) } else { weights[l] };
            }
            *out = weights;
        }
    }
}

/// The four neighbours of a diagonal's pixels.
struct Sides<'a> {
    left: &'a [Group],
    right: &'a [Group],
    up: &'a [Group],
    down: &'a [Group],
}

impl<'a> Sides<'a> {
    #[inline(always)]
    fn new(skew: &Skew, plane: &'a [f32], sum: usize) -> Self {
        Self {
            left: skew.window(plane, sum, -1, 0),
            right: skew.window(plane, sum, 1, 0),
            up: skew.window(plane, sum, 0, -1),
            down: skew.window(plane, sum, 0, 1),
        }
    }

    #[inline(always)]
    fn along_x(&self, i: usize, l: usize) -> f32 {
        self.right[i][l] - self.left[i][l]
    }

    #[inline(always)]
    fn along_y(&self, i: usize, l: usize) -> f32 {
        self.down[i][l] - self.up[i][l]
    }
}

/// The demands of the weighted smoothness on every group, and the sums of the neighbours' weights.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn bend(
    skew: &Skew,
    u: &[f32],
    v: &[f32],
    psi: &[f32],
    s: Smoothness,
    bends: &mut [Bend],
    weights: &mut [Lanes],
) {
    for sum in 0..skew.n_diagonals() {
        let cell = skew.diagonal(sum as isize).cell;
        let centres = [u, v, psi].map(|f| skew.window(f, sum, 0, 0));
        let [u, v, psi] = [u, v, psi].map(|f| Sides::new(skew, f, sum));
        for i in 0..centres[0].len() {
            let (mut bend, mut weight) = (Bend::default(), Lanes::default());
            for l in 0..LANES {
                let (uc, vc, pc) = (centres[0][i][l], centres[1][i][l], centres[2][i][l]);
                let left = s.ax * 0.5 * (pc + psi.left[i][l]);
                let right = s.ax * 0.5 * (pc + psi.right[i][l]);
                let up = s.ay * 0.5 * (pc + psi.up[i][l]);
                let down = s.ay * 0.5 * (pc + psi.down[i][l]);
                bend.u.0[l] = (left * (u.left[i][l] - uc) + right * (u.right[i][l] - uc))
                    + (up * (u.up[i][l] - uc) + down * (u.down[i][l] - uc));
                bend.v.0[l] = (left * (v.left[i][l] - vc) + right * (v.right[i][l] - vc))
                    + (up * (v.up[i][l] - vc) + down * (v.down[i][l] - vc));
                weight.0[l] = (left + right) + (up + down);
            }
            bends[cell + i] = bend;
            weights[cell + i] = weight;
        }
    }
}

/// Sweeps diagonal `sum` of (`du`, `dv`) with the smoothness weighted by `psi`.
#[inline(always)]
pub(super) fn sweep(
    skew: &Skew,
    sum: usize,
    (du, dv): (&mut [f32], &mut [f32]),
    psi: &[f32],
    cells: &mut Cells,
    s: Smoothness,
) {
    let here = *skew.diagonal(sum as isize);
    // The missing neighbours of border pixels are equal to the pixel itself; they stay in the margin
    // until the next sweep, for the weights of the smoothness.
    let (w, h) = (skew.shape().width as isize, skew.shape().height as isize);
    for y in [here.first as isize, here.end as isize - 1] {
        let x = sum as isize - y;
        let columns = [(x == 0).then_some(-1), (x == w - 1).then_some(w), Some(x)];
        let rows = [(y == 0).then_some(-1), (y == h - 1).then_some(h), Some(y)];
        for column in columns.into_iter().flatten() {
            for row in rows.into_iter().flatten() {
                for plane in [&mut *du, &mut *dv] {
                    plane[skew.place(column, row)] = plane[skew.place(x, y)];
                }
            }
        }
    }
    let (first_row, n) = here.groups();
    let cells = cells.of(sum, n);
    let centre = skew.window(psi, sum, 0, 0);
    let psi = Sides::new(skew, psi, sum);
    for i in 0..n {
        let (u, v) = (Sides::new(skew, du, sum), Sides::new(skew, dv, sum));
        let (old_u, old_v) = (&skew.window(du, sum, 0, 0)[i], &skew.window(dv, sum, 0, 0)[i]);
        let cell = &cells[i];
        let (mut new_u, mut new_v) = ([0.0; LANES], [0.0; LANES]);
        for l in 0..LANES {
            let pc = centre[i][l];
            let left = s.ax * 0.5 * (pc + psi.left[i][l]);
            let right = s.ax * 0.5 * (pc + psi.right[i][l]);
            let up = s.ay * 0.5 * (pc + psi.up[i][l]);
            let down = s.ay * 0.5 * (pc + psi.down[i][l]);
            let nu = (left * u.left[i][l] + right * u.right[i][l])
                + (up * u.up[i][l] + down * u.down[i][l]);
            let nv = (left * v.left[i][l] + right * v.right[i][l])
                + (up * v.up[i][l] + down * v.down[i][l]);
            let a = cell.a.0[l];
            let nu = nu + cell.bu.0[l] - a * old_v[l];
            let u = (1.0 - s.omega) * old_u[l] + cell.ru.0[l] * nu;
            let nv = nv + cell.bv.0[l] - a * u;
            let v = (1.0 - s.omega) * old_v[l] + cell.rv.0[l] * nv;
            let y = first_row + i * LANES + l;
            let is_inside = y >= here.first && y < here.end;
            new_u[l] = if is_inside { u } else { old_u[l] };
            new_v[l] = if is_inside { v } else { old_v[l] };
        }
        let span = skew.span(sum);
        groups_mut(&mut du[span.clone()])[i] = new_u;
        groups_mut(&mut dv[span])[i] = new_v;
    }
}
