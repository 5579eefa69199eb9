//! Positions in the frame of a row of output pixels.

use multiversion::multiversion;
use stillframe_image::{DisplacementField, Point, Transform};

use crate::warp::geometry::{Geometry, Grid};

/// Reused memory for the positions of one row; see [`Positions::fill`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions {
    /// Position in the frame of each pixel of the row, pixels.
    pub(crate) x: Vec<f64>,
    pub(crate) y: Vec<f64>,
    ref_x: Vec<f64>,
    ref_y: Vec<f64>,
}

impl Positions {
    /// Computes where output pixels `x0..x0 + width` of row `y` are seen.
    ///
    /// Each position is a function of the absolute output pixel: it does not depend on `x0`.
    pub(crate) fn fill(
        &mut self,
        geometry: &Geometry<'_>,
        grid: &Grid,
        x0: usize,
        width: usize,
        y: usize,
    ) {
        for v in [&mut self.x, &mut self.y, &mut self.ref_x, &mut self.ref_y] {
            v.resize(width, 0.0);
        }
        let first = grid.reference_point(0, y);
        reference_columns(first.x, grid.step, x0, &mut self.ref_x);
        match geometry.field {
            None => self.ref_y.fill(first.y),
            Some(field) => {
                let displacements = (&mut self.x[..], &mut self.y[..]);
                displace(field, first.y, displacements, &mut self.ref_x, &mut self.ref_y);
            }
        }
        transform(&geometry.frame_from_ref, &self.ref_x, &self.ref_y, &mut self.x, &mut self.y);
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn reference_columns(first: f64, step: f64, x0: usize, out: &mut [f64]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = first + step * (x0 + i) as f64;
    }
}

/// Moves the points (`ref_x`, `y`) by the field; `dx` and `dy` are scratch.
#[multiversion(targets("x86_64+avx2"))]
fn displace(
    field: &DisplacementField,
    y: f64,
    (dx, dy): (&mut [f64], &mut [f64]),
    ref_x: &mut [f64],
    ref_y: &mut [f64],
) {
    field.along_row(ref_x, y, dx, dy);
    for ((ref_x, ref_y), (dx, dy)) in ref_x.iter_mut().zip(ref_y).zip(dx.iter().zip(dy.iter())) {
        *ref_x += dx;
        *ref_y = y + dy;
    }
}

/// [`Transform::apply`] on every point.
#[multiversion(targets("x86_64+avx2"))]
fn transform(t: &Transform, ref_x: &[f64], ref_y: &[f64], x: &mut [f64], y: &mut [f64]) {
    let points = ref_x.iter().zip(ref_y).zip(x.iter_mut().zip(y.iter_mut()));
    if t.is_affine() {
        let [[a, b, c], [d, e, f], _] = t.m;
        for ((&px, &py), (x, y)) in points {
            *x = a * px + b * py + c;
            *y = d * px + e * py + f;
        }
    } else {
        for ((&px, &py), (x, y)) in points {
            let p = t.apply(Point::new(px, py));
            (*x, *y) = (p.x, p.y);
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Shape, Vec2};

    use super::*;

    fn field() -> DisplacementField {
        let mut rng = Rng::new(3, 0, 0);
        let mut field =
            DisplacementField::covering(Point::new(0.0, 0.0), Shape::new(100, 300), 64.0);
        for c in field.coefficients_mut() {
            *c = [rng.normal() as f32, rng.normal() as f32];
        }
        field
    }

    #[test]
    fn rows_are_the_source_points_and_pieces_have_the_same_bits() {
        let field = field();
        let mut tilted = Transform::similarity(1.01, 0.3, Vec2::new(4.2, -7.1));
        let straight = tilted;
        tilted.m[2][0] = 1e-5;
        let grid = Grid { first: Point::new(-3.3, 0.1), step: 1.0 / 3.0 };
        let (mut whole, mut piece) = (Positions::default(), Positions::default());
        for frame_from_ref in [straight, tilted] {
            for field in [None, Some(&field)] {
                let geometry = Geometry { frame_from_ref, field };
                whole.fill(&geometry, &grid, 0, 500, 77);
                for i in 0..500 {
                    let p = geometry.source_point(grid.reference_point(i, 77));
                    assert!(p.distance(Point::new(whole.x[i], whole.y[i])) < 1e-5);
                }
                piece.fill(&geometry, &grid, 123, 200, 77);
                assert_eq!(&whole.x[123..323], &piece.x[..]);
                assert_eq!(&whole.y[123..323], &piece.y[..]);
            }
        }
    }
}
