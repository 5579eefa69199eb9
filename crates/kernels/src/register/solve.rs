//! Small symmetric systems.

/// The symmetric positive definite `N × N` matrix and right-hand side of a least-squares problem.
#[derive(Clone, Debug)]
pub(crate) struct Normal<const N: usize> {
    /// `Σ w j jᵀ`; only the lower triangle counts.
    pub(crate) matrix: [[f64; N]; N],
    /// `Σ w j r`.
    pub(crate) rhs: [f64; N],
}

impl<const N: usize> Normal<N> {
    /// No equations yet.
    pub(crate) const fn new() -> Self {
        Self { matrix: [[0.0; N]; N], rhs: [0.0; N] }
    }

    /// Adds the equation `row · unknowns = value` with weight `weight`.
    pub(crate) fn add(&mut self, row: &[f64; N], value: f64, weight: f64) {
        for i in 0..N {
            let wi = weight * row[i];
            for j in 0..=i {
                self.matrix[i][j] += wi * row[j];
            }
            self.rhs[i] += wi * value;
        }
    }

    /// Lower Cholesky factor; `None` if the matrix is not numerically positive definite.
    fn factor(&self) -> Option<[[f64; N]; N]> {
        let mut l = self.matrix;
        for j in 0..N {
            for k in 0..j {
                for i in j..N {
                    l[i][j] -= l[i][k] * l[j][k];
                }
            }
            // Below this the pivot is rounding noise: the unknown is not determined.
            let is_determined = l[j][j] > 1e-13 * self.matrix[j][j].abs();
            if !is_determined {
                return None;
            }
            let root = l[j][j].sqrt();
            for row in l.iter_mut().skip(j) {
                row[j] /= root;
            }
        }
        Some(l)
    }

    /// The unknowns; `None` if the equations do not determine them.
    pub(crate) fn solve(&self) -> Option<[f64; N]> {
        let l = self.factor()?;
        let x = substitute(&l, self.rhs);
        x.iter().all(|v| v.is_finite()).then_some(x)
    }

    /// The inverse of the matrix; `None` if the equations do not determine the unknowns.
    pub(crate) fn inverse(&self) -> Option<[[f64; N]; N]> {
        let l = self.factor()?;
        let mut inverse = [[0.0; N]; N];
        for (column, row) in inverse.iter_mut().enumerate() {
            let mut unit = [0.0; N];
            unit[column] = 1.0;
            *row = substitute(&l, unit);
        }
        Some(inverse)
    }
}

/// Solves `l lᵀ x = b`.
fn substitute<const N: usize>(l: &[[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        for k in 0..i {
            b[i] -= l[i][k] * b[k];
        }
        b[i] /= l[i][i];
    }
    for i in (0..N).rev() {
        for k in i + 1..N {
            b[i] -= l[k][i] * b[k];
        }
        b[i] /= l[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn solution_satisfies_the_equations_and_the_inverse_inverts() {
        let mut rng = Rng::new(1, 0, 0);
        let truth = [1.0, -2.0, 0.5, 3.0];
        let mut normal = Normal::<4>::new();
        for _ in 0..20 {
            let row = [rng.normal(), rng.normal(), rng.normal(), rng.normal()];
            let value = row.iter().zip(truth).map(|(a, b)| a * b).sum();
            normal.add(&row, value, rng.range(0.1, 2.0));
        }
        for (x, t) in normal.solve().unwrap().iter().zip(truth) {
            assert!((x - t).abs() < 1e-12);
        }
        let inverse = normal.inverse().unwrap();
        for i in 0..4 {
            for j in 0..4 {
                let m = |a: usize, b: usize| normal.matrix[a.max(b)][a.min(b)];
                let product: f64 = (0..4).map(|k| inverse[i][k] * m(k, j)).sum();
                assert!((product - f64::from(i == j)).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn undetermined_is_refused() {
        let mut normal = Normal::<2>::new();
        normal.add(&[1.0, 2.0], 1.0, 1.0);
        normal.add(&[2.0, 4.0], 2.0, 1.0);
        assert!(normal.solve().is_none());
        assert!(Normal::<3>::new().inverse().is_none());
    }
}
