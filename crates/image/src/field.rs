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

    /// Componentwise bounds of the displacements of all points in the box from `first` to `last`
    /// (both included): the B-spline lies in the convex hull of its coefficients.
    ///
    /// The bounds are safe, not tight. O(nodes under the box).
    pub fn bounds_over(&self, first: Point, last: Point) -> (Vec2, Vec2) {
        let span = |from: f64, to: f64, nodes: usize| {
            let cell = |offset: f64| (offset / self.spacing - 1.0).floor();
            let top = nodes as f64 - 4.0;
            let (low, high) = (cell(from), cell(to));
            let inside = low >= 0.0 && high <= top;
            // a NaN position clamps to the first node; the field is 0 there
            let low = low.min(top).max(0.0) as usize;
            let high = high.min(top).max(0.0) as usize + 4;
            (low..high.max(low).min(nodes), inside)
        };
        let (columns, inside_x) =
            span(first.x - self.origin.x, last.x - self.origin.x, self.nodes.width);
        let (rows, inside_y) =
            span(first.y - self.origin.y, last.y - self.origin.y, self.nodes.height);
        // outside of the lattice the field is 0
        let start = if inside_x && inside_y { [f64::INFINITY, -f64::INFINITY] } else { [0.0; 2] };
        let mut low = [start[0]; 2];
        let mut high = [start[1]; 2];
        for row in rows {
            let row = &self.coefficients[row * self.nodes.width..][..self.nodes.width];
            for c in &row[columns.clone()] {
                for k in 0..2 {
                    low[k] = low[k].min(f64::from(c[k]));
                    high[k] = high[k].max(f64::from(c[k]));
                }
            }
        }
        (Vec2::new(low[0], low[1]), Vec2::new(high[0], high[1]))
    }

    /// Displacements of the points (`xs[i]`, `y`), written to `dx` and `dy`: what [`Self::at`]
    /// gives to 1e-6 px. `xs` ascends. Each value depends on its own point only, so any piece of a
    /// row has the bits of the whole row.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[allow(clippy::inline_always, reason = "the loop takes the vector width of its caller")]
    #[inline(always)]
    pub fn along_row(&self, xs: &[f64], y: f64, dx: &mut [f64], dy: &mut [f64]) {
        assert!(xs.len() == dx.len() && xs.len() == dy.len(), "slices of different length");
        let row = self.cell(y - self.origin.y, self.nodes.height);
        let mut start = 0;
        while start < xs.len() {
            let (cell, cell_end) = self.column_of(xs[start]);
            let end = start + xs[start..].partition_point(|&x| x < cell_end).max(1);
            let run = start..end;
            start = end;
            let last = self.nodes.width as f64 - 4.0;
            let Some((row, ty)) = row.filter(|_| cell >= 0.0 && cell <= last) else {
                dx[run.clone()].fill(0.0);
                dy[run].fill(0.0);
                continue;
            };
            // All columns of one lattice cell share one cubic polynomial per component.
            let (px, py) = self.pieces(cell as usize, row, ty);
            let (scale, first) = (1.0 / self.spacing, self.origin.x + (cell + 1.0) * self.spacing);
            let points = xs[run.clone()].iter().zip(&mut dx[run.clone()]).zip(&mut dy[run]);
            for ((x, dx), dy) in points {
                let t = (x - first) * scale;
                *dx = horner(px, t);
                *dy = horner(py, t);
            }
        }
    }

    /// The lattice column (perhaps outside of the lattice) whose cell holds `x`, and where it ends.
    fn column_of(&self, x: f64) -> (f64, f64) {
        let start_of = |cell: f64| self.origin.x + (cell + 1.0) * self.spacing;
        let mut cell = ((x - self.origin.x) / self.spacing - 1.0).floor();
        // the division may have rounded over the border
        if x >= start_of(cell + 1.0) {
            cell += 1.0;
        } else if x < start_of(cell) {
            cell -= 1.0;
        }
        (cell, start_of(cell + 1.0))
    }

    /// The polynomials of both components in the cell whose first node is (`column`, `row`), at
    /// `ty` past the second row of nodes.
    fn pieces(&self, column: usize, row: usize, ty: f64) -> ([f64; 4], [f64; 4]) {
        let wy = bspline_weights(ty);
        let mut nodes = [[0.0f64; 4]; 2];
        for (k, w) in wy.iter().enumerate() {
            let start = (row + k) * self.nodes.width + column;
            for (i, c) in self.coefficients[start..start + 4].iter().enumerate() {
                nodes[0][i] += f64::from(c[0]) * w;
                nodes[1][i] += f64::from(c[1]) * w;
            }
        }
        (power_basis(nodes[0]), power_basis(nodes[1]))
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

#[inline]
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
        fn pieces_of_a_row_agree_with_the_row_and_with_at(
            seed in 0u64..50, x0 in -60.0f64..40.0, y in -10.0f64..90.0, step in 0.3f64..2.0,
            cut in 1usize..149,
        ) {
            let f = field(seed);
            let xs: Vec<f64> = (0..150).map(|i| x0 + step * f64::from(i)).collect();
            let (mut dx, mut dy) = (vec![9.0; 150], vec![9.0; 150]);
            f.along_row(&xs, y, &mut dx, &mut dy);
            let (mut px, mut py) = (vec![9.0; 150], vec![9.0; 150]);
            f.along_row(&xs[..cut], y, &mut px[..cut], &mut py[..cut]);
            f.along_row(&xs[cut..], y, &mut px[cut..], &mut py[cut..]);
            prop_assert_eq!((&px, &py), (&dx, &dy));
            for i in 0..150 {
                let v = f.at(Point::new(xs[i], y));
                prop_assert!((dx[i] - v.dx).abs() < 1e-6 && (dy[i] - v.dy).abs() < 1e-6);
            }
        }

        #[test]
        fn bounds_hold_everywhere_in_the_box(
            seed in 0u64..50, x0 in -60.0f64..100.0, y0 in -30.0f64..90.0,
            w in 0.0f64..90.0, h in 0.0f64..60.0, u in 0.0f64..1.0, v in 0.0f64..1.0,
        ) {
            let f = field(seed);
            let (low, high) = f.bounds_over(Point::new(x0, y0), Point::new(x0 + w, y0 + h));
            let d = f.at(Point::new(x0 + u * w, y0 + v * h));
            prop_assert!(low.dx <= d.dx + 1e-9 && d.dx <= high.dx + 1e-9, "{low:?} {d:?} {high:?}");
            prop_assert!(low.dy <= d.dy + 1e-9 && d.dy <= high.dy + 1e-9, "{low:?} {d:?} {high:?}");
        }

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
