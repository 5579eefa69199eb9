//! The coarse half of the preconditioner: tiles of one pointing move together, and what is left is
//! factorised.
//!
//! Differences within a pointing are known well from the tiles themselves; it is the surfaces of whole
//! pointings that are known only through long chains of neighbours. Their equations are few enough for a
//! direct solution by blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, Terms, add_product, inverse, times, times_transposed};
use super::gradients::Normal;
use super::{MAX_TERMS, Shared};

/// Tiles that share at least this part of the objects of the larger are of one pointing.
const SAME_POINTING: f64 = 0.75;
/// Added to the diagonal, as a share of the evidence: the mean level of a component is known by nothing.
const LEAST_PULL: f64 = 1e-9;

/// Number of the pointing of each tile, and how many there are. The lowest tile without a pointing
/// begins one and takes those in that see nearly the same.
pub(super) fn pointings(n_tiles: usize, shared: &Shared) -> (Vec<usize>, usize) {
    let mut objects_of = vec![Vec::new(); n_tiles];
    for (o, range) in shared.objects().enumerate() {
        for s in &shared.sightings[range] {
            let seen: &mut Vec<usize> = &mut objects_of[s.tile as usize];
            if seen.last() != Some(&o) {
                seen.push(o);
            }
        }
    }
    let mut number = vec![usize::MAX; n_tiles];
    let mut together = vec![0usize; n_tiles];
    let mut count = 0;
    for first in 0..n_tiles {
        if number[first] != usize::MAX {
            continue;
        }
        number[first] = count;
        let mut touched = Vec::new();
        for &o in &objects_of[first] {
            for tile in distinct_tiles(shared, o) {
                if together[tile] == 0 {
                    touched.push(tile);
                }
                together[tile] += 1;
            }
        }
        for tile in touched {
            let most = objects_of[first].len().max(objects_of[tile].len());
            let is_same = together[tile] as f64 >= SAME_POINTING * most as f64;
            if number[tile] == usize::MAX && is_same {
                number[tile] = count;
            }
            together[tile] = 0;
        }
        count += 1;
    }
    (number, count)
}

/// The tiles that have seen object `o`, each once.
fn distinct_tiles(shared: &Shared, o: usize) -> BTreeSet<usize> {
    let seen = &shared.sightings[shared.starts[o]..shared.starts[o + 1]];
    seen.iter().map(|s| s.tile as usize).collect()
}

/// One eliminated pointing: the inverse of its pivot, and its blocks against those eliminated later.
struct Column {
    pointing: usize,
    inverse: Block,
    below: Vec<(usize, Block)>,
}

/// The equations of the pointings, factorised as `L D Lᵀ` by blocks.
pub(super) struct Coarse<'a> {
    pointing_of: &'a [usize],
    shifts: Vec<[f64; 2]>,
    columns: Vec<Column>,
}

impl<'a> Coarse<'a> {
    /// Forms and factorises the equations of `normal`, whose tiles belong to `n` pointings.
    pub(super) fn new(normal: &Normal<'_>, pointing_of: &'a [usize], n: usize) -> Self {
        let shifts = shifts(normal.shared, pointing_of, n);
        let mut rows = equations(normal, pointing_of, &shifts, n);
        let order = elimination_order(&rows);
        let mut place = vec![0; n];
        for (k, &pointing) in order.iter().enumerate() {
            place[pointing] = k;
        }
        let mut columns = Vec::with_capacity(n);
        for (k, &pointing) in order.iter().enumerate() {
            let row = std::mem::take(&mut rows[pointing]);
            let inverse = inverse(&row[&pointing]);
            // A block (i, j) says how i answers to j; kept with the earlier of both
            let below: Vec<(usize, Block)> =
                row.into_iter().filter(|(i, _)| place[*i] > k).collect();
            for (i, of_i) in &below {
                let mut scaled = [[0.0; MAX_TERMS]; MAX_TERMS];
                add_product(of_i, &inverse, 1.0, &mut scaled);
                for (j, of_j) in below.iter().filter(|(j, _)| place[*j] <= place[*i]) {
                    let target = rows[*j].entry(*i).or_insert([[0.0; MAX_TERMS]; MAX_TERMS]);
                    add_product(&scaled, &transposed(of_j), -1.0, target);
                }
            }
            // the earlier of two keeps their block
            columns.push(Column { pointing, inverse, below });
        }
        Self { pointing_of, shifts, columns }
    }

    /// Adds the coarse answer to `residual` to `out`.
    pub(super) fn add(&self, residual: &[Terms], out: &mut [Terms]) {
        let mut x = vec![[0.0; MAX_TERMS]; self.columns.len()];
        for ((r, &g), &shift) in residual.iter().zip(self.pointing_of).zip(&self.shifts) {
            let r = times_transposed(&shifted(shift), r);
            for k in 0..MAX_TERMS {
                x[g][k] += r[k];
            }
        }
        for column in &self.columns {
            let scaled = times(&column.inverse, &x[column.pointing]);
            for (i, block) in &column.below {
                let part = times(block, &scaled);
                for k in 0..MAX_TERMS {
                    x[*i][k] -= part[k];
                }
            }
        }
        for column in self.columns.iter().rev() {
            let mut left = x[column.pointing];
            for (i, block) in &column.below {
                let part = times_transposed(block, &x[*i]);
                for k in 0..MAX_TERMS {
                    left[k] -= part[k];
                }
            }
            x[column.pointing] = times(&column.inverse, &left);
        }
        for ((out, &g), &shift) in out.iter_mut().zip(self.pointing_of).zip(&self.shifts) {
            let own = times(&shifted(shift), &x[g]);
            for k in 0..MAX_TERMS {
                out[k] += own[k];
            }
        }
    }
}

/// Blocks of the equations: `rows[j][i]` says how pointing i answers to j. Both halves are there; in the
/// elimination only the one with the earlier is used.
type Rows = Vec<BTreeMap<usize, Block>>;

/// How far every tile's places (u, v) must be moved to be those of the first of its pointing.
fn shifts(shared: &Shared, pointing_of: &[usize], n: usize) -> Vec<[f64; 2]> {
    let mut first = vec![usize::MAX; n];
    for (t, &g) in pointing_of.iter().enumerate() {
        first[g] = first[g].min(t);
    }
    let mut sums = vec![([0.0; 2], 0usize); pointing_of.len()];
    for range in shared.objects() {
        let seen = &shared.sightings[range];
        for a in seen.iter().filter(|a| first[pointing_of[a.tile as usize]] == a.tile as usize) {
            let g = pointing_of[a.tile as usize];
            for b in seen.iter().filter(|b| b.tile != a.tile && pointing_of[b.tile as usize] == g) {
                let (sum, count) = &mut sums[b.tile as usize];
                sum[0] += a.u - b.u;
                sum[1] += a.v - b.v;
                *count += 1;
            }
        }
    }
    sums.into_iter().map(|(sum, count)| sum.map(|s| s / count.max(1) as f64)).collect()
}

/// Coefficients of a surface for places that are moved by `[du, dv]`: [`super::terms`] of a sum, sorted.
fn shifted([du, dv]: [f64; 2]) -> Block {
    [
        [1.0, du, dv, 1.5 * du * du, du * dv, 1.5 * dv * dv],
        [0.0, 1.0, 0.0, 3.0 * du, dv, 0.0],
        [0.0, 0.0, 1.0, 0.0, du, 3.0 * dv],
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    ]
}

fn equations(normal: &Normal<'_>, pointing_of: &[usize], shifts: &[[f64; 2]], n: usize) -> Rows {
    let zero = [[0.0; MAX_TERMS]; MAX_TERMS];
    let mut rows: Rows = (0..n).map(|g| BTreeMap::from([(g, zero)])).collect();
    let pull = normal.pull();
    for range in normal.shared.objects() {
        // sum of weight · terms of each pointing: what the mean over the object takes away
        let mut sums: BTreeMap<usize, Terms> = BTreeMap::new();
        let mut total = 0.0;
        for i in range {
            let tile = normal.shared.sightings[i].tile as usize;
            let (w, g) = (normal.weights[i], pointing_of[tile]);
            let mut t = times_transposed(&shifted(shifts[tile]), &normal.terms[i]);
            t[normal.params.surface.terms()..].fill(0.0);
            let own = rows[g].get_mut(&g).expect("every pointing has its own block");
            let sum = sums.entry(g).or_insert([0.0; MAX_TERMS]);
            for a in 0..MAX_TERMS {
                for b in 0..MAX_TERMS {
                    own[a][b] += w * t[a] * t[b];
                }
                own[a][a] += w * (pull[a] + LEAST_PULL);
                sum[a] += w * t[a];
            }
            total += w;
        }
        if total <= 0.0 {
            continue;
        }
        for (g, of_g) in &sums {
            for (h, of_h) in &sums {
                let block = rows[*g].entry(*h).or_insert(zero);
                for a in 0..MAX_TERMS {
                    for b in 0..MAX_TERMS {
                        block[a][b] -= of_h[a] * of_g[b] / total;
                    }
                }
            }
        }
    }
    for (g, row) in rows.iter_mut().enumerate() {
        let own = row.get_mut(&g).expect("every pointing has its own block");
        for (a, row) in own.iter_mut().enumerate() {
            if row[a] <= 0.0 {
                row[a] = 1.0;
            }
        }
    }
    rows
}

/// The order of least degree: always the pointing with the fewest neighbours, the lowest of them.
fn elimination_order(rows: &Rows) -> Vec<usize> {
    let mut neighbours: Vec<BTreeSet<usize>> = rows
        .iter()
        .enumerate()
        .map(|(g, row)| row.keys().copied().filter(|h| *h != g).collect())
        .collect();
    let mut queue: BTreeSet<(usize, usize)> =
        neighbours.iter().enumerate().map(|(g, all)| (all.len(), g)).collect();
    let mut order = Vec::with_capacity(rows.len());
    while let Some((_, g)) = queue.pop_first() {
        order.push(g);
        let around = std::mem::take(&mut neighbours[g]);
        for &h in &around {
            queue.remove(&(neighbours[h].len(), h));
            neighbours[h].remove(&g);
            neighbours[h].extend(around.iter().copied().filter(|i| *i != h));
            queue.insert((neighbours[h].len(), h));
        }
    }
    order
}

fn transposed(m: &Block) -> Block {
    let mut out = [[0.0; MAX_TERMS]; MAX_TERMS];
    for (a, row) in m.iter().enumerate() {
        for (b, v) in row.iter().enumerate() {
            out[b][a] = *v;
        }
    }
    out
}
