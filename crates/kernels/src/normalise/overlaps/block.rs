//! Sums and products of the terms of one tile, and of blocks of the equations of two.

use super::MAX_TERMS;

/// One number for each term.
pub(super) type Terms = [f64; MAX_TERMS];
/// How the terms of one tile answer to those of another.
pub(super) type Block = [[f64; MAX_TERMS]; MAX_TERMS];

pub(super) fn dot(a: &Terms, b: &Terms) -> f64 {
    let mut sum = 0.0;
    for k in 0..MAX_TERMS {
        sum += a[k] * b[k];
    }
    sum
}

/// `m x`.
pub(super) fn times(m: &Block, x: &Terms) -> Terms {
    m.map(|row| dot(&row, x))
}

/// `mᵀ x`.
pub(super) fn times_transposed(m: &Block, x: &Terms) -> Terms {
    let mut out = [0.0; MAX_TERMS];
    for (row, x) in m.iter().zip(x) {
        for (out, v) in out.iter_mut().zip(row) {
            *out += v * x;
        }
    }
    out
}

/// `out += factor · a b`.
pub(super) fn add_product(a: &Block, b: &Block, factor: f64, out: &mut Block) {
    for (out, a) in out.iter_mut().zip(a) {
        for (a, b) in a.iter().zip(b) {
            let a = factor * a;
            for (out, b) in out.iter_mut().zip(b) {
                *out += a * b;
            }
        }
    }
}

/// Inverse of a symmetric positive matrix by Gauss and Jordan; a pivot that vanishes counts as
/// infinite, which leaves its term alone.
pub(super) fn inverse(m: &Block) -> Block {
    let mut a = *m;
    let mut out = [[0.0; MAX_TERMS]; MAX_TERMS];
    for (k, row) in out.iter_mut().enumerate() {
        row[k] = 1.0;
    }
    for pivot in 0..MAX_TERMS {
        let p = a[pivot][pivot];
        if p <= 1e-12 * m[pivot][pivot] {
            for row in &mut a {
                row[pivot] = 0.0;
            }
            a[pivot] = [0.0; MAX_TERMS];
            out[pivot] = [0.0; MAX_TERMS];
            for row in &mut out {
                row[pivot] = 0.0;
            }
            continue;
        }
        for j in 0..MAX_TERMS {
            a[pivot][j] /= p;
            out[pivot][j] /= p;
        }
        for i in 0..MAX_TERMS {
            let factor = a[i][pivot];
            if i != pivot && factor != 0.0 {
                for j in 0..MAX_TERMS {
                    a[i][j] -= factor * a[pivot][j];
                    out[i][j] -= factor * out[pivot][j];
                }
            }
        }
    }
    out
}
