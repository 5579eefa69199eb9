//! Points in square cells, to find the nearest one.

use stillframe_image::Point;

use crate::register::fit::bounding_box;

/// Points sorted into square cells.
#[derive(Clone, Debug)]
pub(super) struct PointGrid {
    points: Vec<Point>,
    low: Point,
    high: Point,
    cell: f64,
    columns: usize,
    rows: usize,
    /// Index into `items` of the first point of each cell, and one past the last cell.
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl PointGrid {
    /// `points` in cells that hold about two each. At least one point, all finite.
    pub(super) fn new(points: Vec<Point>) -> Self {
        let (low, high) =
            bounding_box(points.iter().copied()).unwrap_or((Point::default(), Point::default()));
        let size = high - low;
        let n = points.len().max(1) as f64;
        let cell = (2.0 * size.dx * size.dy / n).sqrt().max(size.dx.max(size.dy) / 256.0).max(1.0);
        let columns = (size.dx / cell) as usize + 1;
        let rows = (size.dy / cell) as usize + 1;
        let mut grid = Self {
            points,
            low,
            high,
            cell,
            columns,
            rows,
            starts: vec![0; columns * rows + 1],
            items: Vec::new(),
        };
        grid.sort_into_cells();
        grid
    }

    fn sort_into_cells(&mut self) {
        let cells: Vec<usize> = self.points.iter().map(|&p| self.cell_of(p)).collect();
        for &c in &cells {
            self.starts[c + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        let mut next = self.starts.clone();
        self.items = vec![0; self.points.len()];
        for (i, &c) in cells.iter().enumerate() {
            self.items[next[c] as usize] = i as u32;
            next[c] += 1;
        }
    }

    fn cell_of(&self, p: Point) -> usize {
        self.row_of(p.y) * self.columns + self.column_of(p.x)
    }

    fn column_of(&self, x: f64) -> usize {
        // Negative values saturate to 0.
        (((x - self.low.x) / self.cell) as usize).min(self.columns - 1)
    }

    fn row_of(&self, y: f64) -> usize {
        (((y - self.low.y) / self.cell) as usize).min(self.rows - 1)
    }

    /// The points in their own order.
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// Corners of the smallest rectangle around the points.
    pub(super) fn bounds(&self) -> (Point, Point) {
        (self.low, self.high)
    }

    /// Whether `p` lies in the smallest rectangle around the points, grown by `margin`.
    pub(super) fn is_inside(&self, p: Point, margin: f64) -> bool {
        p.x >= self.low.x - margin
            && p.y >= self.low.y - margin
            && p.x <= self.high.x + margin
            && p.y <= self.high.y + margin
    }

    /// Index and squared distance of the point nearest to `p` within `radius`; of two at the same
    /// distance the first.
    pub(super) fn nearest(&self, p: Point, radius: f64) -> Option<(u32, f64)> {
        if !self.is_inside(p, radius) {
            return None;
        }
        let mut best: Option<(u32, f64)> = None;
        let (first, last) = (self.column_of(p.x - radius), self.column_of(p.x + radius));
        for row in self.row_of(p.y - radius)..=self.row_of(p.y + radius) {
            let start = self.starts[row * self.columns + first] as usize;
            let end = self.starts[row * self.columns + last + 1] as usize;
            for &i in &self.items[start..end] {
                let d = (self.points[i as usize] - p).norm_squared();
                let is_nearer = best.is_none_or(|(j, b)| d < b || (d == b && i < j));
                if d <= radius * radius && is_nearer {
                    best = Some((i, d));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    proptest! {
        #[test]
        fn nearest_is_what_a_search_through_all_finds(
            n in 1usize..200, radius in 0.1f64..300.0, seed in 0u64..1000,
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let mut point = || Point::new(rng.range(-50.0, 900.0), rng.range(10.0, 300.0));
            let grid = PointGrid::new((0..n).map(|_| point()).collect());
            for _ in 0..20 {
                let p = point();
                let all = grid.points.iter().enumerate()
                    .map(|(i, q)| (i as u32, (*q - p).norm_squared()))
                    .filter(|(_, d)| *d <= radius * radius)
                    .min_by(|a, b| a.1.total_cmp(&b.1));
                prop_assert_eq!(grid.nearest(p, radius), all);
            }
        }
    }
}
