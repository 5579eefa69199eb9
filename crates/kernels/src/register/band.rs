//! Symmetric positive definite band systems.

/// Lower half of a symmetric band matrix: row `i` keeps the entries `j` in `i - band ..= i`.
#[derive(Clone, Debug, Default)]
pub(crate) struct BandMatrix {
    n: usize,
    band: usize,
    rows: Vec<f64>,
}

/// Dot product in eight fixed lanes, so that it has one result on every machine.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (mut ca, mut cb) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in (&mut ca).zip(&mut cb) {
        for k in 0..8 {
            lanes[k] += x[k] * y[k];
        }
    }
    for (k, (x, y)) in ca.remainder().iter().zip(cb.remainder()).enumerate() {
        lanes[k] += x * y;
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

impl BandMatrix {
    pub(crate) fn zeros(n: usize, band: usize) -> Self {
        Self { n, band, rows: vec![0.0; n * (band + 1)] }
    }

    /// Takes the size and `scale` times the entries of `other`.
    pub(crate) fn set_scaled(&mut self, other: &Self, scale: f64) {
        self.n = other.n;
        self.band = other.band;
        self.rows.clear();
        self.rows.extend(other.rows.iter().map(|v| v * scale));
    }

    /// Adds to the entry of row `i` and column `j`; only the half with `j ≤ i` is stored, the
    /// other is ignored.
    pub(crate) fn add(&mut self, i: usize, j: usize, value: f64) {
        if j <= i {
            debug_assert!(i - j <= self.band);
            self.rows[i * (self.band + 1) + self.band - (i - j)] += value;
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.rows[i * (self.band + 1)..(i + 1) * (self.band + 1)]
    }

    /// Replaces the matrix by its Cholesky factor. `false` if it is not positive definite, and
    /// then the content is undefined. Cost: n b² / 2 multiplications.
    pub(crate) fn factorise(&mut self) -> bool {
        let (band, stride) = (self.band, self.band + 1);
        for i in 0..self.n {
            let first = i.saturating_sub(band);
            let (done, current) = self.rows.split_at_mut(i * stride);
            let current = &mut current[..stride];
            for j in first..i {
                let row_j = &done[j * stride..(j + 1) * stride];
                let start = first.max(j.saturating_sub(band));
                let a = &current[band + start - i..band + j - i];
                let b = &row_j[band + start - j..band];
                let v = (current[band + j - i] - dot(a, b)) / row_j[band];
                current[band + j - i] = v;
            }
            let a = &current[band + first - i..band];
            let pivot = current[band] - dot(a, a);
            if pivot.is_nan() || pivot <= 0.0 {
                return false;
            }
            current[band] = pivot.sqrt();
        }
        true
    }

    /// Logarithm of the determinant of the matrix of which this is the factor.
    pub(crate) fn log_det_of_factor(&self) -> f64 {
        (0..self.n).map(|i| 2.0 * stillframe_image::math::ln(self.row(i)[self.band])).sum()
    }

    /// Solves `L y = x` in place from entry `first` on (the ones before must be 0).
    pub(crate) fn forward(&self, first: usize, x: &mut [f64]) {
        for i in first..self.n {
            let start = i.saturating_sub(self.band).max(first);
            let row = self.row(i);
            let s = dot(&row[self.band + start - i..self.band], &x[start..i]);
            x[i] = (x[i] - s) / row[self.band];
        }
    }

    /// Solves `Lᵀ y = x` in place.
    pub(crate) fn backward(&self, x: &mut [f64]) {
        for i in (0..self.n).rev() {
            let row = self.row(i);
            let v = x[i] / row[self.band];
            x[i] = v;
            let start = i.saturating_sub(self.band);
            for (xk, l) in x[start..i].iter_mut().zip(&row[self.band + start - i..self.band]) {
                *xk -= v * l;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn solution_satisfies_the_system() {
        let (n, band) = (40, 7);
        let mut rng = Rng::new(3, 0, 0);
        let mut m = BandMatrix::zeros(n, band);
        let mut dense = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in i.saturating_sub(band)..=i {
                let v = if i == j { 20.0 } else { rng.normal() };
                m.add(i, j, v);
                dense[i][j] = v;
                dense[j][i] = v;
            }
        }
        let want: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mut x: Vec<f64> =
            dense.iter().map(|row| row.iter().zip(&want).map(|(a, b)| a * b).sum()).collect();
        assert!(m.factorise());
        m.forward(0, &mut x);
        m.backward(&mut x);
        for (a, b) in x.iter().zip(&want) {
            assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn indefinite_is_refused() {
        let mut m = BandMatrix::zeros(2, 1);
        m.add(0, 0, 1.0);
        m.add(1, 1, 1.0);
        m.add(1, 0, 2.0);
        assert!(!m.factorise());
    }
}
