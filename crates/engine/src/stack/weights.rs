//! W = G·L·R: how much each frame counts, and where.
//!
//! G is one number per frame, L and R vary smoothly over the field and are kept on the lattice of
//! the tiles. All three together are shrunk towards equal weights until the effective number of
//! frames is not below the recipe's share.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Shape, math};

/// A frame's weight over the canvas: bilinear between nodes, constant beyond the outer ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WeightField {
    pub(super) first: Point,
    pub(super) spacing: f64,
    pub(super) nodes: Shape,
    pub(super) values: Vec<f32>,
}

impl WeightField {
    /// Weights of the points (`x0` + i·`step`, `y`), written to `out`.
    pub(super) fn row(&self, x0: f64, step: f64, y: f64, out: &mut [f32]) {
        let (width, height) = (self.nodes.width, self.nodes.height);
        if width * height == 1 {
            out.fill(self.values[0]);
            return;
        }
        let (r0, r1, ty) = bracket((y - self.first.y) / self.spacing, height);
        let node = |c: usize| {
            let (a, b) = (self.values[r0 * width + c], self.values[r1 * width + c]);
            f64::from(a) + (f64::from(b) - f64::from(a)) * ty
        };
        let mut cell = usize::MAX;
        let (mut left, mut slope) = (0.0, 0.0);
        for (i, out) in out.iter_mut().enumerate() {
            let (c0, c1, tx) = bracket((x0 + step * i as f64 - self.first.x) / self.spacing, width);
            if c0 != cell {
                cell = c0;
                left = node(c0);
                slope = node(c1) - left;
            }
            *out = (left + slope * tx) as f32;
        }
    }

    /// Mean of the nodes.
    pub(super) fn mean(&self) -> f64 {
        self.values.iter().map(|v| f64::from(*v)).sum::<f64>() / self.values.len() as f64
    }
}

/// The two nodes around `u` and the fraction between them, held at the ends.
fn bracket(u: f64, n: usize) -> (usize, usize, f64) {
    let u = u.clamp(0.0, (n - 1) as f64);
    let low = (u.floor() as usize).min(n.saturating_sub(2));
    (low, (low + 1).min(n - 1), u - low as f64)
}

/// (Σ w)² / Σ w².
pub(super) fn effective_number(weights: impl Iterator<Item = f64>) -> f64 {
    let (sum, squares) = weights.fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Raises all weights to the largest power k in [0, 1] that leaves at least `min_fraction` of the
/// frames effective at every node; then scales them to a mean of 1. Returns k.
pub(super) fn shrink(fields: &mut [WeightField], min_fraction: f64) -> f64 {
    let n = fields.len();
    if n == 0 {
        return 1.0;
    }
    let nodes = fields.iter().map(|f| f.values.len()).max().unwrap_or(1);
    let value = |f: &WeightField, k: usize| f64::from(f.values[k % f.values.len()]);
    let enough = |power: f64| {
        (0..nodes).all(|k| {
            let weights = fields.iter().map(|f| math::pow(value(f, k), power));
            effective_number(weights) >= min_fraction * n as f64
        })
    };
    let mut power = 1.0;
    if !enough(1.0) {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..20 {
            power = 0.5 * (low + high);
            if enough(power) { low = power } else { high = power }
        }
        power = low;
    }
    for v in fields.iter_mut().flat_map(|f| &mut f.values) {
        *v = math::pow(f64::from(*v), power) as f32;
    }
    let mean = fields.iter().map(WeightField::mean).sum::<f64>() / n as f64;
    for v in fields.iter_mut().flat_map(|f| &mut f.values) {
        *v = (f64::from(*v) / mean) as f32;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(values: &[f32]) -> WeightField {
        WeightField {
            first: Point::new(10.0, 20.0),
            spacing: 50.0,
            nodes: Shape::new(2, values.len() / 2),
            values: values.to_vec(),
        }
    }

    #[test]
    fn rows_are_bilinear_and_held_at_the_ends() {
        let f = field(&[1.0, 3.0, 5.0, 7.0]);
        let mut row = [0.0; 3];
        f.row(-40.0, 75.0, 45.0, &mut row);
        assert_eq!(row, [3.0, 4.0, 5.0]);
        f.row(10.0, 25.0, 500.0, &mut row);
        assert_eq!(row, [5.0, 6.0, 7.0]);
    }

    #[test]
    fn shrinking_keeps_the_effective_number() {
        let mut fields: Vec<WeightField> =
            (0..40).map(|i| field(&[1.0, 1.0, 1.0, (i as f32 + 1.0).powi(4)])).collect();
        let power = shrink(&mut fields, 0.6);
        assert!(power > 0.0 && power < 1.0);
        let worst = effective_number(fields.iter().map(|f| f64::from(f.values[3])));
        assert!((worst - 24.0).abs() < 0.1, "{worst}");
        let mut equal = vec![field(&[2.0; 4]); 5];
        assert_eq!(shrink(&mut equal, 1.0), 1.0);
        assert_eq!(equal[0].values[0], 1.0);
    }
}
