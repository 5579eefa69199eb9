//! Where an output pixel lies in a frame.

use serde::{Deserialize, Serialize};
use stillframe_image::{DisplacementField, Image, Point, Rect, Shape, Transform};

/// The pixels of the output canvas, placed in the reference plane: pixel (i, j) is the reference
/// point `first + step · (i, j)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Reference point under the centre of output pixel (0, 0).
    pub first: Point,
    /// Reference pixels per output pixel: 1, or 1/scale when the output is finer (drizzle).
    pub step: f64,
}

impl Grid {
    /// The canvas whose pixels are those of the reference plane.
    pub const REFERENCE: Self = Self { first: Point::new(0.0, 0.0), step: 1.0 };

    /// The reference point under the centre of output pixel (`x`, `y`).
    pub fn reference_point(&self, x: usize, y: usize) -> Point {
        Point::new(self.first.x + self.step * x as f64, self.first.y + self.step * y as f64)
    }
}

/// How one frame was bent: the reference point `p` is seen at
/// `frame_from_ref * (p + field(p))` in the frame.
#[derive(Clone, Copy, Debug)]
pub struct Geometry<'a> {
    /// The gauge: similarity, affine or homography.
    pub frame_from_ref: Transform,
    /// The smooth local residual in reference pixels, if there is one.
    pub field: Option<&'a DisplacementField>,
}

impl Geometry<'_> {
    /// Where the reference point `p` is seen in the frame.
    pub fn source_point(&self, p: Point) -> Point {
        self.frame_from_ref * self.field.map_or(p, |field| p + field.at(p))
    }
}

/// Pixels that hold no usable value: those whose bits in `bits` meet `any_of`.
#[derive(Clone, Copy, Debug)]
pub struct Void<'a> {
    /// Mask of the shape of the source pixels ([`stillframe_image::mask`]).
    pub bits: &'a Image<u8>,
    /// The bits that make a pixel unusable.
    pub any_of: u8,
}

/// A rectangle of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Finite values, any linear unit.
    pub pixels: &'a Image<f32>,
    /// Column and row of its first pixel in the frame.
    pub origin: (usize, usize),
    /// Its unusable pixels, if there are any.
    pub void: Option<Void<'a>>,
}

impl<'a> Source<'a> {
    /// A whole frame without unusable pixels.
    pub fn whole(pixels: &'a Image<f32>) -> Self {
        Self { pixels, origin: (0, 0), void: None }
    }
}

/// The part of a frame of shape `source_shape` that the output pixels `out_rect` may touch with a
/// kernel of reach `halo`; `None` if they cannot touch the frame.
///
/// Safe, not tight: the displacement field is bounded by its coefficients. A homography that sends
/// a corner of `out_rect` to the horizon or behind it takes the whole frame.
pub fn source_rect(
    geometry: &Geometry<'_>,
    grid: &Grid,
    out_rect: Rect,
    source_shape: Shape,
    halo: usize,
) -> Option<Rect> {
    if out_rect.is_empty() || source_shape.is_empty() {
        return None;
    }
    let mut first = grid.reference_point(out_rect.x, out_rect.y);
    let mut last = grid.reference_point(out_rect.x_end() - 1, out_rect.y_end() - 1);
    if let Some(field) = geometry.field {
        let (low, high) = field.bounds_over(first, last);
        first = first + low;
        last = last + high;
    }
    let m = &geometry.frame_from_ref;
    let corners = [first, Point::new(last.x, first.y), Point::new(first.x, last.y), last];
    let depth = corners.map(|p| m.m[2][0] * p.x + m.m[2][1] * p.y + m.m[2][2]);
    let seen = corners.map(|p| *m * p);
    let is_bounded =
        depth.iter().all(|&w| w > 0.0) && seen.iter().all(|p| p.x.is_finite() && p.y.is_finite());
    if !is_bounded {
        return Some(source_shape.rect());
    }
    let x = span(seen.map(|p| p.x), source_shape.width, halo)?;
    let y = span(seen.map(|p| p.y), source_shape.height, halo)?;
    Some(Rect::new(x.0, y.0, x.1 - x.0, y.1 - y.0))
}

/// First and one-after-last whole pixel within `halo` of the span of `positions`, cut to `0..size`.
fn span(positions: [f64; 4], size: usize, halo: usize) -> Option<(usize, usize)> {
    // one pixel more: positions of single pixels round differently from those of the corners
    let reach = halo as f64 + 1.0;
    let low = positions.iter().fold(f64::INFINITY, |a, &b| a.min(b)).floor() - reach;
    let high = positions.iter().fold(-f64::INFINITY, |a, &b| a.max(b)).ceil() + reach;
    let first = low.max(0.0);
    let end = (high + 1.0).min(size as f64);
    (first < end).then_some((first as usize, end as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, Vec2};

    use super::*;

    proptest! {
        #[test]
        fn every_position_that_touches_the_frame_is_inside_the_rectangle(
            seed in 0u64..1000, angle in -3.1f64..3.1, scale in 0.8f64..1.25,
            dx in -300.0f64..300.0, dy in -300.0f64..300.0, tilt in -3e-4f64..3e-4,
            x in 0usize..200, y in 0usize..200, u in 0usize..40, v in 0usize..30,
            step in 0.33f64..1.0,
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let mut field =
                DisplacementField::covering(Point::new(0.0, 0.0), Shape::new(150, 180), 32.0);
            for c in field.coefficients_mut() {
                *c = [3.0 * rng.normal() as f32, 3.0 * rng.normal() as f32];
            }
            let mut frame_from_ref = Transform::similarity(scale, angle, Vec2::new(dx, dy));
            frame_from_ref.m[2][0] = tilt;
            let geometry = Geometry { frame_from_ref, field: Some(&field) };
            let grid = Grid { first: Point::new(-7.25, 3.5), step };
            let shape = Shape::new(120, 160);
            let rect = source_rect(&geometry, &grid, Rect::new(x, y, 40, 30), shape, 3);
            let p = geometry.source_point(grid.reference_point(x + u, y + v));
            for (tx, ty) in [(-2.0, -2.0), (3.0, 3.0), (0.0, 0.0), (-2.0, 3.0)] {
                let (sx, sy) = (p.x.floor() + tx, p.y.floor() + ty);
                if sx >= 0.0 && sy >= 0.0 && sx < 160.0 && sy < 120.0 {
                    let r = rect.expect("a tap lies in the frame");
                    let (sx, sy) = (sx as usize, sy as usize);
                    prop_assert!(sx >= r.x && sx < r.x_end() && sy >= r.y && sy < r.y_end());
                }
            }
        }
    }

    #[test]
    fn blocks_beside_the_frame_need_no_source() {
        let geometry = Geometry { frame_from_ref: Transform::IDENTITY, field: None };
        let rect = Rect::new(500, 0, 64, 64);
        assert_eq!(source_rect(&geometry, &Grid::REFERENCE, rect, Shape::new(400, 400), 3), None);
        let rect = Rect::new(380, 10, 64, 20);
        let source = source_rect(&geometry, &Grid::REFERENCE, rect, Shape::new(400, 400), 3);
        assert_eq!(source, Some(Rect::new(376, 6, 24, 28)));
    }
}
