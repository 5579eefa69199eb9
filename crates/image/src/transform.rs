//! Plane transforms, named `target_from_source`.

use std::ops::Mul;

use serde::{Deserialize, Serialize};

use crate::math;
use crate::point::{Point, Vec2};

/// A projective transform of the plane: `b_from_a * p` takes a point of `a` to a point of `b`.
///
/// Similarities and affine maps are those whose last row is (0, 0, 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// Row-major 3×3 matrix that acts on (x, y, 1), scaled so that `m[2][2]` is 1.
    pub m: [[f64; 3]; 3],
}

impl Transform {
    /// The transform that moves nothing.
    pub const IDENTITY: Self = Self { m: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] };

    /// `(a x + b y + c, d x + e y + f)`.
    pub const fn affine(a: f64, b: f64, c: f64, d: f64, e: f64, f: f64) -> Self {
        Self { m: [[a, b, c], [d, e, f], [0.0, 0.0, 1.0]] }
    }

    /// Adds `v`.
    pub const fn translation(v: Vec2) -> Self {
        Self::affine(1.0, 0.0, v.dx, 0.0, 1.0, v.dy)
    }

    /// Scales by `scale` and turns by `angle_rad` (from +x towards +y) about the origin, then adds
    /// `shift`.
    pub fn similarity(scale: f64, angle_rad: f64, shift: Vec2) -> Self {
        let (c, s) = (scale * math::cos(angle_rad), scale * math::sin(angle_rad));
        Self::affine(c, -s, shift.dx, s, c, shift.dy)
    }

    /// Whether parallel lines stay parallel.
    pub fn is_affine(&self) -> bool {
        self.m[2] == [0.0, 0.0, 1.0]
    }

    /// Determinant of the linear part at the origin; negative if the transform mirrors.
    pub fn determinant(&self) -> f64 {
        self.m[0][0] * self.m[1][1] - self.m[0][1] * self.m[1][0]
    }

    /// Square root of the area scale of the linear part.
    pub fn scale(&self) -> f64 {
        self.determinant().abs().sqrt()
    }

    /// Angle in radians, from +x towards +y, by which the transform turns the x axis.
    pub fn angle_rad(&self) -> f64 {
        math::atan2(self.m[1][0], self.m[0][0])
    }

    /// Where `p` goes.
    pub fn apply(&self, p: Point) -> Point {
        let m = &self.m;
        let x = m[0][0] * p.x + m[0][1] * p.y + m[0][2];
        let y = m[1][0] * p.x + m[1][1] * p.y + m[1][2];
        if self.is_affine() {
            return Point::new(x, y);
        }
        let w = m[2][0] * p.x + m[2][1] * p.y + m[2][2];
        Point::new(x / w, y / w)
    }

    /// The transform that undoes this one; `None` if it is singular or not finite.
    pub fn inverse(&self) -> Option<Self> {
        let m = &self.m;
        let cof = |r: usize, c: usize| {
            let (r1, r2) = ((r + 1) % 3, (r + 2) % 3);
            let (c1, c2) = ((c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let det = m[0][0] * cof(0, 0) + m[0][1] * cof(0, 1) + m[0][2] * cof(0, 2);
        let mut inv = [[0.0; 3]; 3];
        for (r, row) in inv.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = cof(c, r) / det;
            }
        }
        if self.is_affine() {
            inv[2] = [0.0, 0.0, 1.0];
        }
        Self { m: inv }.normalised()
    }

    fn normalised(mut self) -> Option<Self> {
        let w = self.m[2][2];
        if w != 1.0 {
            for v in self.m.iter_mut().flatten() {
                *v /= w;
            }
            self.m[2][2] = 1.0;
        }
        self.m.iter().flatten().all(|v| v.is_finite()).then_some(self)
    }
}

impl Mul for Transform {
    type Output = Self;

    /// `c_from_b * b_from_a` is `c_from_a`.
    fn mul(self, rhs: Self) -> Self {
        let mut m = [[0.0; 3]; 3];
        for (r, row) in m.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = (0..3).map(|k| self.m[r][k] * rhs.m[k][c]).sum();
            }
        }
        if self.is_affine() && rhs.is_affine() {
            m[2] = [0.0, 0.0, 1.0];
        }
        let product = Self { m };
        product.normalised().unwrap_or(product)
    }
}

impl Mul<Point> for Transform {
    type Output = Point;
    fn mul(self, p: Point) -> Point {
        self.apply(p)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn inverse_undoes(angle in -3.1f64..3.1, scale in 0.5f64..2.0, dx in -100.0f64..100.0,
                          dy in -100.0f64..100.0, g in -1e-5f64..1e-5, h in -1e-5f64..1e-5,
                          x in 0.0f64..2000.0, y in 0.0f64..2000.0) {
            let mut t = Transform::similarity(scale, angle, Vec2::new(dx, dy));
            t.m[2][0] = g;
            t.m[2][1] = h;
            let p = Point::new(x, y);
            let back = t.inverse().unwrap() * (t * p);
            prop_assert!(back.distance(p) < 1e-6);
        }

        #[test]
        fn product_is_composition(a in -3.1f64..3.1, b in -3.1f64..3.1, x in 0.0f64..2000.0) {
            let ta = Transform::similarity(1.1, a, Vec2::new(3.0, -2.0));
            let tb = Transform::similarity(0.9, b, Vec2::new(-7.0, 1.0));
            let p = Point::new(x, 5.0);
            prop_assert!(((ta * tb) * p).distance(ta * (tb * p)) < 1e-8);
        }
    }

    #[test]
    fn singular_has_no_inverse() {
        assert!(Transform::affine(1.0, 2.0, 0.0, 2.0, 4.0, 0.0).inverse().is_none());
    }
}
