//! Positions of output pixels in a frame, exact on a coarse lattice and interpolated between.

use multiversion::multiversion;
use stillframe_image::{Point, Rect};

/// Most that an interpolated position may differ from the exact one along an axis, pixels.
pub const MAX_ERROR_PX: f64 = 0.01;

/// Side of the cells in which positions are interpolated, output pixels; a power of two.
///
/// Gnomonic maps of a degree bend by 1e-4 px over it, and one exact position costs as much as
/// interpolating some fifty, so that larger cells would save nothing.
const CELL: usize = 32;

/// The measured bend of a cell may miss by this factor what lies between the places of measure.
const SAFETY: f64 = 2.0;

/// Exact positions are rounded to 2⁻²⁴ px: below anything that shows, but above what the
/// trigonometric functions of two systems differ by.
const GRAIN: f64 = (1 << 24) as f64;

/// Where the pixels of a rectangle of the output lie in a frame; NaN where they have no place there.
///
/// Positions are exact at the corners of cells of 32 pixels and bilinear inside. The error of bilinear
/// interpolation over a cell of side h is at most h²/8 · (max |f_xx| + max |f_yy|), which is what the
/// middle of a cell deviates by if the second derivatives are constant. It is measured at the middle
/// and at the middles of the four sides; where twice the largest deviation exceeds [`MAX_ERROR_PX`], or
/// a position does not exist, the cell is cut into four, down to single pixels. Cells lie at multiples of
/// 32 of the absolute output pixel, so that a position does not depend on the rectangle that asks.
#[derive(Clone, Debug, Default)]
pub struct Coordinates {
    x: Vec<f64>,
    y: Vec<f64>,
    width: usize,
    /// Exact positions every half cell: two lines of the lattice and the one between.
    lattice: Vec<Option<Point>>,
}

type Map<'a> = dyn Fn(Point) -> Option<Point> + 'a;

impl Coordinates {
    /// Finds the positions of the pixels of `rect`; `frame_from_output` gives the exact position in the
    /// frame of any position of the output, outside of `rect` too.
    pub fn fill(&mut self, rect: Rect, frame_from_output: &Map<'_>) {
        let n = rect.shape().len();
        self.x.resize(n, f64::NAN);
        self.y.resize(n, f64::NAN);
        self.width = rect.width;
        if n == 0 {
            return;
        }
        let exact = |x: f64, y: f64| frame_from_output(Point::new(x, y)).map(rounded);
        let (first_x, first_y) = (rect.x / CELL, rect.y / CELL);
        let (columns, rows) =
            (rect.x_end().div_ceil(CELL) - first_x, rect.y_end().div_ceil(CELL) - first_y);
        let across = 2 * columns + 1;
        let half = CELL as f64 / 2.0;
        let line = |j: usize, out: &mut Vec<Option<Point>>| {
            let y = first_y as f64 * CELL as f64 + j as f64 * half;
            out.extend(
                (0..across).map(|i| exact(first_x as f64 * CELL as f64 + i as f64 * half, y)),
            );
        };
        let mut lattice = std::mem::take(&mut self.lattice);
        lattice.clear();
        line(0, &mut lattice);
        for row in 0..rows {
            // the last line of the row above is the first of this one
            lattice.drain(..lattice.len() - across);
            line(2 * row + 1, &mut lattice);
            line(2 * row + 2, &mut lattice);
            for column in 0..columns {
                let at = |i: usize, j: usize| lattice[j * across + 2 * column + i];
                let nodes = [
                    [at(0, 0), at(1, 0), at(2, 0)],
                    [at(0, 1), at(1, 1), at(2, 1)],
                    [at(0, 2), at(1, 2), at(2, 2)],
                ];
                let cell =
                    Cell { x: (first_x + column) * CELL, y: (first_y + row) * CELL, side: CELL };
                self.cell(rect, cell, &nodes, &exact);
            }
        }
        self.lattice = lattice;
    }

    /// Columns of the positions, row by row of the rectangle.
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Rows of the positions, row by row of the rectangle.
    pub fn y(&self) -> &[f64] {
        &self.y
    }

    /// The smallest and largest column and row of all positions; `None` if none exists.
    pub fn bounds(&self) -> Option<(Point, Point)> {
        let (low_x, high_x) = span(&self.x);
        let (low_y, high_y) = span(&self.y);
        (low_x <= high_x).then(|| (Point::new(low_x, low_y), Point::new(high_x, high_y)))
    }

    fn cell(
        &mut self,
        rect: Rect,
        cell: Cell,
        nodes: &[[Option<Point>; 3]; 3],
        exact: &dyn Fn(f64, f64) -> Option<Point>,
    ) {
        let inner = cell.within(rect);
        if inner.is_empty() {
            return;
        }
        if let Some(corners) = flat_corners(nodes) {
            self.interpolate(rect, cell, inner, corners);
            return;
        }
        if cell.side == 1 {
            let at = (cell.y - rect.y) * self.width + cell.x - rect.x;
            let p = nodes[0][0].unwrap_or(Point::new(f64::NAN, f64::NAN));
            (self.x[at], self.y[at]) = (p.x, p.y);
            return;
        }
        let side = cell.side / 2;
        let quarter = side as f64 / 2.0;
        for (x, y) in [(0, 0), (side, 0), (0, side), (side, side)] {
            let part = Cell { x: cell.x + x, y: cell.y + y, side };
            let mut nodes = [[None; 3]; 3];
            for (j, row) in nodes.iter_mut().enumerate() {
                for (i, node) in row.iter_mut().enumerate() {
                    // a single pixel is asked for once, at its centre
                    if side > 1 || (i, j) == (0, 0) {
                        *node = exact(
                            part.x as f64 + i as f64 * quarter,
                            part.y as f64 + j as f64 * quarter,
                        );
                    }
                }
            }
            self.cell(rect, part, &nodes, exact);
        }
    }

    fn interpolate(&mut self, rect: Rect, cell: Cell, inner: Rect, corners: [[Point; 2]; 2]) {
        let scale = 1.0 / cell.side as f64;
        let [[a, b], [c, d]] = corners;
        for y in inner.y..inner.y_end() {
            let t = (y - cell.y) as f64 * scale;
            let start = (y - rect.y) * self.width + inner.x - rect.x;
            let range = start..start + inner.width;
            let first = inner.x - cell.x;
            let lerp = |a: f64, b: f64| a + (b - a) * t;
            line(lerp(a.x, c.x), lerp(b.x, d.x), scale, first, &mut self.x[range.clone()]);
            line(lerp(a.y, c.y), lerp(b.y, d.y), scale, first, &mut self.y[range]);
        }
    }
}

/// A square of output pixels at absolute position.
#[derive(Clone, Copy)]
struct Cell {
    x: usize,
    y: usize,
    side: usize,
}

impl Cell {
    fn within(self, rect: Rect) -> Rect {
        let (x, y) = (self.x.max(rect.x), self.y.max(rect.y));
        let (x_end, y_end) =
            ((self.x + self.side).min(rect.x_end()), (self.y + self.side).min(rect.y_end()));
        Rect::new(x, y, x_end.saturating_sub(x), y_end.saturating_sub(y))
    }
}

/// The corners, if the cell may be interpolated between them.
fn flat_corners(nodes: &[[Option<Point>; 3]; 3]) -> Option<[[Point; 2]; 2]> {
    let n = |i: usize, j: usize| nodes[j][i];
    let corners = [[n(0, 0)?, n(2, 0)?], [n(0, 2)?, n(2, 2)?]];
    let middle = |a: Point, b: Point| Point::new(0.5 * (a.x + b.x), 0.5 * (a.y + b.y));
    let [[a, b], [c, d]] = corners;
    let places = [
        (n(1, 0)?, middle(a, b)),
        (n(0, 1)?, middle(a, c)),
        (n(2, 1)?, middle(b, d)),
        (n(1, 2)?, middle(c, d)),
        (n(1, 1)?, middle(middle(a, b), middle(c, d))),
    ];
    let is_flat = |(p, q): &(Point, Point)| {
        SAFETY * (p.x - q.x).abs() <= MAX_ERROR_PX && SAFETY * (p.y - q.y).abs() <= MAX_ERROR_PX
    };
    places.iter().all(is_flat).then_some(corners)
}

fn rounded(p: Point) -> Point {
    Point::new((p.x * GRAIN).round() / GRAIN, (p.y * GRAIN).round() / GRAIN)
}

#[multiversion(targets("x86_64+avx2"))]
fn line(left: f64, right: f64, scale: f64, first: usize, out: &mut [f64]) {
    let step = (right - left) * scale;
    for (i, out) in out.iter_mut().enumerate() {
        *out = left + step * (first + i) as f64;
    }
}

/// Smallest and largest value; NaN does not count.
#[multiversion(targets("x86_64+avx2"))]
fn span(values: &[f64]) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for l in 0..LANES {
            low[l] = if chunk[l] < low[l] { chunk[l] } else { low[l] };
            high[l] = if chunk[l] > high[l] { chunk[l] } else { high[l] };
        }
    }
    let low = low.iter().chain(rest).fold(f64::INFINITY, |a, &b| a.min(b));
    let high = high.iter().chain(rest).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    (low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::math;

    use super::*;

    /// Gnomonic output at 2 px per pixel of an oblique stereographic frame with strong cubic
    /// distortion: everything that bends.
    fn bent(scale: f64, turn: f64, distortion: f64) -> impl Fn(Point) -> Option<Point> {
        move |p: Point| {
            let (x, y) = ((p.x - 300.0) * scale, (p.y - 200.0) * scale);
            let r = (1.0 + x * x + y * y).sqrt();
            let v = [1.0 / r, x / r, y / r];
            let (s, c) = (math::sin(turn), math::cos(turn));
            let w = [c * v[0] - s * v[1], s * v[0] + c * v[1], v[2]];
            if w[0] < 0.1 {
                return None;
            }
            let (u, v) = (2.0 * w[1] / (1.0 + w[0]) / scale, 2.0 * w[2] / (1.0 + w[0]) / scale);
            let q = distortion * (u * u + v * v) * 1e-6;
            Some(Point::new(u + q * u + 0.3 * q * v, v + q * v))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn no_position_is_off_by_more_than_the_bound(
            scale in -5.0f64..-1.8, turn in -1.5f64..1.5, distortion in -3.0f64..3.0,
            x in 0usize..500, y in 0usize..300, width in 1usize..90, height in 1usize..70,
        ) {
            let map = bent(math::pow(10.0, scale), turn, distortion);
            let rect = Rect::new(x, y, width, height);
            let mut coordinates = Coordinates::default();
            coordinates.fill(rect, &map);
            for (i, (px, py)) in coordinates.x().iter().zip(coordinates.y()).enumerate() {
                let p = Point::new((x + i % width) as f64, (y + i / width) as f64);
                match map(p) {
                    Some(want) => {
                        prop_assert!((px - want.x).abs() <= MAX_ERROR_PX && (py - want.y).abs() <= MAX_ERROR_PX,
                            "{p:?}: {px} {py}, exact {want:?}");
                    }
                    None => prop_assert!(px.is_nan() && py.is_nan()),
                }
            }
        }

        #[test]
        fn positions_do_not_depend_on_the_rectangle(
            x in 0usize..400, y in 0usize..250, width in 1usize..90, height in 1usize..70,
        ) {
            let map = bent(2e-3, 0.6, 1.0);
            let (mut whole, mut part) = (Coordinates::default(), Coordinates::default());
            whole.fill(Rect::new(0, 0, 500, 330), &map);
            part.fill(Rect::new(x, y, width, height), &map);
            for (i, (px, py)) in part.x().iter().zip(part.y()).enumerate() {
                let at = (y + i / width) * 500 + x + i % width;
                prop_assert_eq!(px.to_bits(), whole.x()[at].to_bits());
                prop_assert_eq!(py.to_bits(), whole.y()[at].to_bits());
            }
        }
    }

    #[test]
    fn smooth_maps_are_asked_rarely_and_jumps_to_the_pixel() {
        let asked = std::cell::Cell::new(0usize);
        let rect = Rect::new(0, 0, 640, 640);
        let mut coordinates = Coordinates::default();
        coordinates.fill(rect, &|p| {
            asked.set(asked.get() + 1);
            Some(Point::new(0.9 * p.x + 0.1 * p.y, p.y))
        });
        assert_eq!(asked.get(), 41 * 41);
        assert_eq!(coordinates.bounds(), Some((Point::new(0.0, 0.0), Point::new(639.0, 639.0))));
        // right ascension jumps from 360 to 0 degrees somewhere
        let jump = |p: Point| Some(Point::new(if p.x < 77.3 { p.x } else { p.x - 1e4 }, p.y));
        coordinates.fill(rect, &jump);
        for (i, x) in coordinates.x().iter().enumerate() {
            let p = Point::new((i % 640) as f64, 0.0);
            assert_eq!(Some(*x), jump(p).map(|p| p.x));
        }
    }

    #[test]
    fn nothing_to_see_has_no_bounds() {
        let mut coordinates = Coordinates::default();
        coordinates.fill(Rect::new(7, 9, 40, 3), &|_| None);
        assert_eq!(coordinates.bounds(), None);
        assert!(coordinates.x().iter().all(|x| x.is_nan()));
        coordinates.fill(Rect::new(0, 0, 0, 0), &|_| None);
        assert!(coordinates.x().is_empty());
    }
}
