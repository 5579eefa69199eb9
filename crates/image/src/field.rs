//! Smooth displacement fields on a coarse lattice.

use serde::{Deserialize, Serialize};

use crate::point::{Point, Vec2};
use crate::shape::Shape;

/// A displacement for every point of the plane: a uniform cubic B-spline whose coefficients sit on
/// a square lattice. It has continuous second derivatives; outside the lattice it is 0.
///
/// Node (`column`, `row`) sits at `origin + spacing · (column, row)`; a point is influenced by the
/// 4×4 nodes around it.
///
/// # Source
/// Unser (1999), doi:10.1109/79.799930, eq. (6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisplacementField {
    origin: Point,
    spacing: f64,
    nodes: Shape,
    /// dx then dy of each node, row by row, pixels.
    coefficients: Vec<[f32; 2]>,
}

/// The four weights of a uniform cubic B-spline at `t` in [0, 1) past the second node.
pub fn bspline_weights(t: f64) -> [f64; 4] {
    let s = 1.0 - t;
    [
        s * s * s / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
        t * t * t / 6.0,
    ]
}

impl DisplacementField {
    /// A field of zeros whose lattice covers `shape` placed at `first` (the position of its first
    /// pixel), with nodes about `spacing` pixels apart.
    pub fn covering(first: Point, shape: Shape, spacing: f64) -> Self {
        let cells = |n: usize| ((n.max(1) as f64 - 1.0) / spacing).floor() as usize + 1;
        let nodes = Shape::new(cells(shape.height) + 3, cells(shape.width) + 3);
        let origin = Point::new(first.x - spacing, first.y - spacing);
        Self { origin, spacing, nodes, coefficients: vec![[0.0; 2]; nodes.len()] }
    }

    /// Number of rows and columns of nodes.
    pub fn nodes(&self) -> Shape {
        self.nodes
    }

    /// Distance of neighbouring nodes in pixels.
    pub fn spacing(&self) -> f64 {
        self.spacing
    }

    /// Position of a node.
    pub fn node_position(&self, column: usize, row: usize) -> Point {
        Point::new(
            self.origin.x + self.spacing * column as f64,
            self.origin.y + self.spacing * row as f64,
        )
    }

    /// dx and dy coefficients, row by row.
    pub fn coefficients(&self) -> &[[f32; 2]] {
        &self.coefficients
    }

    /// dx and dy coefficients, row by row.
    pub fn coefficients_mut(&mut self) -> &mut [[f32; 2]] {
        &mut self.coefficients
    }

    /// Index of the first of the 4×4 nodes around `p`, and the weights along x and y; `None`
    /// outside the lattice.
    pub fn support(&self, p: Point) -> Option<(usize, [f64; 4], [f64; 4])> {
        let (cx, tx) = self.cell(p.x - self.origin.x, self.nodes.width)?;
        let (cy, ty) = self.cell(p.y - self.origin.y, self.nodes.height)?;
        Some((cy * self.nodes.width + cx, bspline_weights(tx), bspline_weights(ty)))
    }

    /// First of the four nodes along one axis and the fraction past the second.
    fn cell(&self, offset: f64, nodes: usize) -> Option<(usize, f64)> {
        let u = offset / self.spacing - 1.0;
        let cell = u.floor();
        if !(cell >= 0.0 && cell + 4.0 <= nodes as f64) {
            return None;
        }
        Some((cell as usize, u - cell))
    }

    /// The displacement at `p` in pixels.
    pub fn at(&self, p: Point) -> Vec2 {
        let Some((first, wx, wy)) = self.support(p) else { return Vec2::default() };
        let mut sum = Vec2::default();
        for (row, wy) in wy.iter().enumerate() {
            let start = first + row * self.nodes.width;
            for (c, wx) in self.coefficients[start..start + 4].iter().zip(wx) {
                let w = wx * wy;
                sum = sum + Vec2::new(f64::from(c[0]) * w, f64::from(c[1]) * w);
            }
        }
        sum
    }

    /// Whether every coefficient is 0.
    pub fn is_zero(&self) -> bool {
        self.coefficients.iter().all(|c| *c == [0.0; 2])
    }

    /// Displacements of the points (`x0` + i, `y`) for i in `0..dx.len()`, written to `dx` and
    /// `dy`: what [`Self::at`] gives, one row at a time.
    ///
    /// # Panics
    /// If `dx` and `dy` differ in length.
    pub fn row(&self, x0: f64, y: f64, dx: &mut [f32], dy: &mut [f32]) {
        assert_eq!(dx.len(), dy.len());
        dx.fill(0.0);
        dy.fill(0.0);
        let Some((cy, ty)) = self.cell(y - self.origin.y, self.nodes.height) else { return };
        let wy = bspline_weights(ty);
        let width = self.nodes.width;
        let collapsed = |column: usize| {
            let mut sum = [0.0f64; 2];
            for (row, w) in wy.iter().enumerate() {
                let c = self.coefficients[(cy + row) * width + column];
                sum[0] += f64::from(c[0]) * w;
                sum[1] += f64::from(c[1]) * w;
            }
            sum
        };
        let mut i = 0;
        while i < dx.len() {
            let Some((cell, _)) = self.cell(x0 + i as f64 - self.origin.x, width) else {
                i += 1;
                continue;
            };
            // All columns of one lattice cell share one cubic polynomial per component.
            let nodes = [0, 1, 2, 3].map(|k| collapsed(cell + k));
            let (px, py) = (power_basis(nodes.map(|n| n[0])), power_basis(nodes.map(|n| n[1])));
            while i < dx.len() {
                let Some((now, t)) = self.cell(x0 + i as f64 - self.origin.x, width) else { break };
                if now != cell {
                    break;
                }
                dx[i] = horner(px, t) as f32;
                dy[i] = horner(py, t) as f32;
                i += 1;
            }
        }
    }
}

/// Coefficients of 1, t, t², t³ of the B-spline piece with control values `c`.
fn power_basis(c: [f64; 4]) -> [f64; 4] {
    [
        (c[0] + 4.0 * c[1] + c[2]) / 6.0,
        (c[2] - c[0]) / 2.0,
        (c[0] - 2.0 * c[1] + c[2]) / 2.0,
        (c[3] - c[0] + 3.0 * (c[1] - c[2])) / 6.0,
    ]
}

fn horner(p: [f64; 4], t: f64) -> f64 {
    ((p[3] * t + p[2]) * t + p[1]) * t + p[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    fn field(seed: u64) -> DisplacementField {
        let mut f = DisplacementField::covering(Point::new(-5.0, 3.0), Shape::new(70, 121), 16.0);
        let mut rng = Rng::new(seed, 0, 0);
        for c in f.coefficients_mut() {
            *c = [rng.normal() as f32, rng.normal() as f32];
        }
        f
    }

    #[test]
    fn weights_are_a_partition_of_unity() {
        for i in 0..100 {
            let sum: f64 = bspline_weights(f64::from(i) / 100.0).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn constant_coefficients_give_a_constant_field_on_the_whole_shape() {
        let mut f = field(1);
        f.coefficients_mut().fill([0.25, -2.0]);
        for (x, y) in [(-5.0, 3.0), (115.0, 72.0), (115.0, 3.0), (30.4, 50.2)] {
            let v = f.at(Point::new(x, y));
            assert!((v.dx - 0.25).abs() < 1e-6 && (v.dy + 2.0).abs() < 1e-6, "{x} {y}");
        }
        assert_eq!(f.at(Point::new(-500.0, 0.0)), Vec2::default());
    }

    proptest! {
        #[test]
        fn row_agrees_with_at(seed in 0u64..50, x0 in -40.0f64..40.0, y in -10.0f64..90.0) {
            let f = field(seed);
            let (mut dx, mut dy) = (vec![0.0f32; 150], vec![0.0f32; 150]);
            f.row(x0, y, &mut dx, &mut dy);
            for i in 0..150 {
                let v = f.at(Point::new(x0 + i as f64, y));
                prop_assert!((f64::from(dx[i]) - v.dx).abs() < 1e-6);
                prop_assert!((f64::from(dy[i]) - v.dy).abs() < 1e-6);
            }
        }
    }
}
