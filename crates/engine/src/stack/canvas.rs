//! The output canvas: which part of the reference plane, at which scale.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Shape, Transform, Vec2};

use crate::recipe::Canvas as CanvasRule;

/// Output pixel (i, j) is the reference point `first + step · (i, j)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Canvas {
    /// Reference point of the first pixel.
    pub(super) first: Point,
    /// Reference pixels per output pixel: 1 / drizzle scale.
    pub(super) step: f64,
    /// Size in output pixels.
    pub(super) shape: Shape,
}

/// A canvas larger than this in pixels is an error of the geometry, not a wish.
const MOST_PIXELS: f64 = 4e9;

impl Canvas {
    /// The canvas for frames of size `frame` that lie at `ref_from_frame`; `None` if it would be
    /// empty or absurdly large.
    pub(super) fn new(
        rule: CanvasRule,
        frame: Shape,
        ref_from_frame: &[Transform],
        drizzle_scale: f64,
    ) -> Option<Self> {
        let whole = (Point::new(0.0, 0.0), last_pixel(frame));
        let (low, high) = match rule {
            CanvasRule::Reference => whole,
            CanvasRule::Union => bounding_box(frame, ref_from_frame),
            CanvasRule::Intersection => inscribed_box(frame, ref_from_frame)?,
        };
        let (low, high) = if rule == CanvasRule::Union {
            (Point::new(low.x.floor(), low.y.floor()), Point::new(high.x.ceil(), high.y.ceil()))
        } else {
            (Point::new(low.x.ceil(), low.y.ceil()), Point::new(high.x.floor(), high.y.floor()))
        };
        let (width, height) = (high.x - low.x + 1.0, high.y - low.y + 1.0);
        if !(width >= 1.0 && height >= 1.0)
            || width * height * drizzle_scale * drizzle_scale > MOST_PIXELS
        {
            return None;
        }
        let step = 1.0 / drizzle_scale;
        // The outer edges of the first and last pixels stay where they are at any scale.
        let inset = 0.5 * (1.0 - step);
        Some(Self {
            first: low - Vec2::new(inset, inset),
            step,
            shape: Shape::new(
                (height * drizzle_scale).floor() as usize,
                (width * drizzle_scale).floor() as usize,
            ),
        })
    }

    /// Reference point of output pixel (`x`, `y`).
    pub(super) fn reference_point(&self, x: f64, y: f64) -> Point {
        Point::new(self.first.x + self.step * x, self.first.y + self.step * y)
    }

    /// Size of the canvas in reference pixels, rounded up.
    pub(super) fn reference_shape(&self) -> Shape {
        let side = |n: usize| (n as f64 * self.step).ceil() as usize;
        Shape::new(side(self.shape.height), side(self.shape.width))
    }
}

fn last_pixel(shape: Shape) -> Point {
    Point::new(shape.width as f64 - 1.0, shape.height as f64 - 1.0)
}

fn corners(frame: Shape, t: &Transform) -> [Point; 4] {
    let last = last_pixel(frame);
    [(0.0, 0.0), (last.x, 0.0), (last.x, last.y), (0.0, last.y)].map(|(x, y)| *t * Point::new(x, y))
}

fn bounding_box(frame: Shape, transforms: &[Transform]) -> (Point, Point) {
    let mut low = Point::new(f64::INFINITY, f64::INFINITY);
    let mut high = Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY);
    for p in transforms.iter().flat_map(|t| corners(frame, t)) {
        low = Point::new(low.x.min(p.x), low.y.min(p.y));
        high = Point::new(high.x.max(p.x), high.y.max(p.y));
    }
    (low, high)
}

/// The largest upright rectangle (on a raster of rows) inside all frames.
fn inscribed_box(frame: Shape, transforms: &[Transform]) -> Option<(Point, Point)> {
    const ROWS: usize = 96;
    let (low, high) = bounding_box(frame, transforms);
    let quads: Vec<[Point; 4]> = transforms.iter().map(|t| corners(frame, t)).collect();
    let rows: Vec<(f64, f64, f64)> = (0..=ROWS)
        .filter_map(|k| {
            let y = low.y + (high.y - low.y) * k as f64 / ROWS as f64;
            let (mut left, mut right) = (f64::NEG_INFINITY, f64::INFINITY);
            for quad in &quads {
                let (l, r) = chord(quad, y)?;
                left = left.max(l);
                right = right.min(r);
            }
            (right > left).then_some((y, left, right))
        })
        .collect();
    let mut best: Option<(f64, Point, Point)> = None;
    // The common area is convex: between two rows its borders do not come closer than at them.
    for (i, top) in rows.iter().enumerate() {
        for bottom in &rows[i + 1..] {
            let (left, right) = (top.1.max(bottom.1), top.2.min(bottom.2));
            let area = (right - left) * (bottom.0 - top.0);
            if right > left && best.as_ref().is_none_or(|b| area > b.0) {
                best = Some((area, Point::new(left, top.0), Point::new(right, bottom.0)));
            }
        }
    }
    best.map(|(_, low, high)| (low, high))
}

/// Where the horizontal line at `y` enters and leaves a convex quadrilateral.
fn chord(quad: &[Point; 4], y: f64) -> Option<(f64, f64)> {
    let (mut left, mut right) = (f64::INFINITY, f64::NEG_INFINITY);
    for k in 0..4 {
        let (a, b) = (quad[k], quad[(k + 1) % 4]);
        if (a.y - y) * (b.y - y) > 0.0 {
            continue;
        }
        let xs = if a.y == b.y {
            if a.y != y {
                continue;
            }
            [a.x, b.x]
        } else {
            [a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y); 2]
        };
        left = left.min(xs[0].min(xs[1]));
        right = right.max(xs[0].max(xs[1]));
    }
    (right >= left).then_some((left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Shape = Shape::new(100, 200);

    #[test]
    fn canvases_of_two_shifted_frames() {
        let shifted = [Transform::IDENTITY, Transform::translation(Vec2::new(30.0, -10.0))];
        let make = |rule| Canvas::new(rule, FRAME, &shifted, 1.0).unwrap();
        let union = make(CanvasRule::Union);
        assert_eq!((union.first, union.shape), (Point::new(0.0, -10.0), Shape::new(110, 230)));
        assert_eq!(make(CanvasRule::Reference).shape, FRAME);
        let common = make(CanvasRule::Intersection);
        assert_eq!(common.first.x, 30.0);
        assert!(common.shape.width == 170 && (87..=90).contains(&common.shape.height));
    }

    #[test]
    fn intersection_lies_inside_every_rotated_frame() {
        let turned: Vec<Transform> = (0..5)
            .map(|i| Transform::similarity(1.0, 0.02 * f64::from(i), Vec2::new(3.0, f64::from(i))))
            .collect();
        let c = Canvas::new(CanvasRule::Intersection, FRAME, &turned, 1.0).unwrap();
        let last = last_pixel(c.shape);
        for t in &turned {
            for (x, y) in [(0.0, 0.0), (last.x, 0.0), (0.0, last.y), (last.x, last.y)] {
                let p = t.inverse().unwrap() * c.reference_point(x, y);
                assert!(p.x >= -1e-9 && p.y >= -1e-9 && p.x <= 199.0 + 1e-9 && p.y <= 99.0 + 1e-9);
            }
        }
    }

    #[test]
    fn frames_that_do_not_meet_have_no_intersection() {
        let apart = [Transform::IDENTITY, Transform::translation(Vec2::new(500.0, 0.0))];
        assert!(Canvas::new(CanvasRule::Intersection, FRAME, &apart, 1.0).is_none());
    }

    #[test]
    fn drizzle_keeps_the_outer_edges() {
        let c = Canvas::new(CanvasRule::Reference, FRAME, &[], 2.0).unwrap();
        assert_eq!(
            (c.shape, c.step, c.first),
            (Shape::new(200, 400), 0.5, Point::new(-0.25, -0.25))
        );
        assert_eq!(c.reference_point(399.0, 0.0).x, 199.25);
    }
}
