//! Flux-conserving reprojection: the overlap of spherical polygons.

use stillframe_image::{Rect, Shape};

use super::polygon::Polygon;
use crate::warp::Source;

/// Directions on the sky of the corners of the pixels of a rectangle: unit vectors of the lattice of
/// `(height + 1) × (width + 1)` corners, row by row; NaN where there is no sky.
#[derive(Clone, Debug, Default)]
pub struct Corners {
    width: usize,
    directions: Vec<[f64; 3]>,
}

impl Corners {
    /// Finds the corners of the pixels of `rect`; `direction(x, y)` gives the unit vector towards a
    /// position in pixels.
    pub fn fill(&mut self, rect: Rect, direction: impl Fn(f64, f64) -> Option<[f64; 3]>) {
        self.width = rect.width + 1;
        self.directions.clear();
        for y in 0..=rect.height {
            for x in 0..=rect.width {
                let (x, y) = ((rect.x + x) as f64 - 0.5, (rect.y + y) as f64 - 0.5);
                self.directions.push(direction(x, y).unwrap_or([f64::NAN; 3]));
            }
        }
    }

    /// The corners of pixel (`x`, `y`) of the rectangle, in order.
    fn of_pixel(&self, x: usize, y: usize) -> [[f64; 3]; 4] {
        let at = |x: usize, y: usize| self.directions[y * self.width + x];
        [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)]
    }
}

/// Reprojects by overlap: an output pixel is the mean of the frame's pixels weighted by the area of sky
/// that they share with it.
///
/// Pixel sides are great circles. Around each output pixel the sky is projected gnomonically, where
/// great circles are straight lines, the polygons are clipped and their plane areas taken: over a pixel
/// the plane's scale changes by the square of its size only (1e-6 for a pixel of 3 arcminutes).
///
/// # Source
/// The rule of Montage (Jacob et al. 2009, arXiv:1005.4454, section 3) and of `reproject_exact`. We
/// differ: polygons are clipped in the tangent plane of the pixel, not on the sphere.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactOverlap;

/// A rectangle of output pixels as [`ExactOverlap`] needs it.
#[derive(Clone, Copy, Debug)]
pub struct ExactOutput<'a> {
    /// Size of the rectangle.
    pub shape: Shape,
    /// Its corners on the sky.
    pub corners: &'a Corners,
    /// Positions in the frame of the lattice of corners, columns and rows, in the same order.
    pub positions: (&'a [f64], &'a [f64]),
}

impl ExactOverlap {
    /// Writes the values of the output pixels to `out` (NaN where nothing overlaps) and to `covered`
    /// the share of each pixel that the frame covers, 0 to 1. `source_corners` are those of the pixels
    /// of `source`.
    ///
    /// # Panics
    /// If slices do not fit the rectangle.
    pub fn run(
        self,
        source: &Source<'_>,
        source_corners: &Corners,
        output: &ExactOutput<'_>,
        out: &mut [f32],
        covered: &mut [f32],
    ) {
        let shape = output.shape;
        assert_eq!(out.len(), shape.len(), "output slice does not fill the rectangle");
        assert_eq!(covered.len(), shape.len(), "coverage does not fill the rectangle");
        for y in 0..shape.height {
            for x in 0..shape.width {
                let (value, share) = self.pixel(source, source_corners, output, x, y);
                out[y * shape.width + x] = value;
                covered[y * shape.width + x] = share;
            }
        }
    }

    fn pixel(
        self,
        source: &Source<'_>,
        source_corners: &Corners,
        output: &ExactOutput<'_>,
        x: usize,
        y: usize,
    ) -> (f32, f32) {
        const NOTHING: (f32, f32) = (f32::NAN, 0.0);
        let Some(near) = near(source, output, x, y) else { return NOTHING };
        let corners = output.corners.of_pixel(x, y);
        let Some(plane) = TangentPlane::at(&corners) else { return NOTHING };
        let target = Polygon::quadrilateral(corners.map(|c| plane.project(c)));
        let area = target.area();
        let (mut sum, mut weights) = (0.0, 0.0);
        for row in near.y..near.y_end() {
            for column in near.x..near.x_end() {
                let is_void =
                    source.void.is_some_and(|void| void.bits.at(column, row) & void.any_of != 0);
                let corners = source_corners.of_pixel(column, row);
                if is_void || corners.iter().any(|c| !c[0].is_finite()) {
                    continue;
                }
                let quad = Polygon::quadrilateral(corners.map(|c| plane.project(c)));
                let weight = quad.overlap(&target).area();
                if weight > 0.0 {
                    sum += weight * f64::from(source.pixels.at(column, row));
                    weights += weight;
                }
            }
        }
        // slivers are rounding
        if weights > 1e-9 * area {
            ((sum / weights) as f32, (weights / area) as f32)
        } else {
            NOTHING
        }
    }
}

/// Pixels of the source that output pixel (`x`, `y`) may touch, relative to the source.
fn near(source: &Source<'_>, output: &ExactOutput<'_>, x: usize, y: usize) -> Option<Rect> {
    let width = output.shape.width + 1;
    let nodes = [y * width + x, y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1];
    let range = |positions: &[f64], origin: usize, size: usize| {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for at in nodes {
            let v = positions[at];
            if v.is_nan() {
                return None;
            }
            (low, high) = (low.min(v), high.max(v));
        }
        // pixel k reaches from k - 0.5 to k + 0.5; a tenth more for curved sides
        let first = (low + 0.4).floor() - origin as f64;
        let end = (high + 0.6).ceil() - origin as f64;
        let (first, end) = (first.max(0.0), end.min(size as f64));
        (first < end).then_some((first as usize, end as usize))
    };
    let shape = source.pixels.shape();
    let (x0, x1) = range(output.positions.0, source.origin.0, shape.width)?;
    let (y0, y1) = range(output.positions.1, source.origin.1, shape.height)?;
    Some(Rect::new(x0, y0, x1 - x0, y1 - y0))
}

/// The gnomonic plane that touches the sphere in the middle of a pixel.
struct TangentPlane {
    centre: [f64; 3],
    right: [f64; 3],
    up: [f64; 3],
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    let length = dot(a, a).sqrt();
    a.map(|v| v / length)
}

impl TangentPlane {
    /// `None` if a corner is missing.
    fn at(corners: &[[f64; 3]; 4]) -> Option<Self> {
        let sum = [0, 1, 2].map(|k| corners.iter().map(|c| c[k]).sum::<f64>());
        if !sum.iter().all(|v| v.is_finite()) {
            return None;
        }
        let centre = unit(sum);
        // any direction that is not along the centre
        let axis = if centre[2].abs() < 0.7 { [0.0, 0.0, 1.0] } else { [1.0, 0.0, 0.0] };
        let right = unit(cross(axis, centre));
        Some(Self { centre, right, up: cross(centre, right) })
    }

    fn project(&self, direction: [f64; 3]) -> [f64; 2] {
        let depth = dot(direction, self.centre);
        [dot(direction, self.right) / depth, dot(direction, self.up) / depth]
    }
}
