//! Triangles of neighbouring stars, described so that shift, rotation, scale and mirroring do not
//! matter.

use stillframe_image::{Point, math};

/// Three stars of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Triangle {
    /// The stars opposite the longest, the middle and the shortest side.
    pub(super) stars: [u16; 3],
    /// Middle and shortest side over the longest.
    pub(super) ratios: [f32; 2],
    /// Natural logarithm of the longest side in pixels.
    pub(super) ln_size: f32,
    /// Direction of the longest side, from the second star to the third, radians.
    pub(super) direction: f32,
    /// Uncertainty of the ratios.
    pub(super) tolerance: f32,
    /// Whether the three stars come in the order in which +x turns into +y.
    pub(super) turns_positive: bool,
}

/// Two stars closer than this, pixels, are no side of a triangle: their direction is noise.
const MIN_SIDE_PX: f64 = 5.0;
/// Error of a side: centroids, and the share of the length that distortion may take.
const SIDE_ERROR_PX: f64 = 0.7;
const SIDE_ERROR_RELATIVE: f64 = 0.008;

impl Triangle {
    fn new(stars: [u16; 3], points: &[Point]) -> Option<Self> {
        let at = |k: usize| points[stars[k] as usize];
        let mut sides = [
            (at(1).distance(at(2)), stars[0]),
            (at(2).distance(at(0)), stars[1]),
            (at(0).distance(at(1)), stars[2]),
        ];
        sides.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        if sides[2].0 < MIN_SIDE_PX {
            return None;
        }
        let size = sides[0].0;
        let stars = sides.map(|s| s.1);
        let [a, b, c] = stars.map(|s| points[s as usize]);
        let (ab, ac, bc) = (b - a, c - a, c - b);
        Some(Self {
            stars,
            ratios: [(sides[1].0 / size) as f32, (sides[2].0 / size) as f32],
            ln_size: math::ln(size) as f32,
            direction: math::atan2(bc.dy, bc.dx) as f32,
            tolerance: (SIDE_ERROR_PX / size + SIDE_ERROR_RELATIVE) as f32,
            turns_positive: ab.dx * ac.dy > ab.dy * ac.dx,
        })
    }

    /// The same triangle with the stars at `i` and `j` taken for each other.
    fn swapped(mut self, i: usize, j: usize, points: &[Point]) -> Self {
        self.stars.swap(i, j);
        self.turns_positive = !self.turns_positive;
        let d = points[self.stars[2] as usize] - points[self.stars[1] as usize];
        self.direction = math::atan2(d.dy, d.dx) as f32;
        self
    }
}

/// Indices of the `k` points nearest to each point, nearest first.
pub(super) fn neighbours(points: &[Point], k: usize) -> Vec<Vec<u16>> {
    let mut order: Vec<(f64, u16)> = Vec::with_capacity(points.len());
    points
        .iter()
        .enumerate()
        .map(|(i, p)| {
            order.clear();
            order.extend(
                points
                    .iter()
                    .enumerate()
                    .filter(|(j, _)| *j != i)
                    .map(|(j, q)| ((*q - *p).norm_squared(), j as u16)),
            );
            let by_distance =
                |a: &(f64, u16), b: &(f64, u16)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            if order.len() > k {
                order.select_nth_unstable_by(k, by_distance);
                order.truncate(k);
            }
            order.sort_unstable_by(by_distance);
            order.iter().map(|o| o.1).collect()
        })
        .collect()
}

/// Every triangle of a point and two of its first `k` neighbours, once, in a fixed order.
///
/// # Source
/// Triangles as asterisms: Valdes et al. (1995), doi:10.1086/133667; of near neighbours only:
/// Beroiz, Cabral & Sanchez (2020), doi:10.1016/j.ascom.2020.100384.
pub(super) fn triangles(points: &[Point], neighbours: &[Vec<u16>], k: usize) -> Vec<Triangle> {
    let mut triples: Vec<[u16; 3]> = Vec::new();
    for (i, near) in neighbours.iter().enumerate() {
        let near = &near[..near.len().min(k)];
        for (n, &j) in near.iter().enumerate() {
            for &l in &near[..n] {
                let mut triple = [i as u16, j, l];
                triple.sort_unstable();
                triples.push(triple);
            }
        }
    }
    triples.sort_unstable();
    triples.dedup();
    triples.into_iter().filter_map(|t| Triangle::new(t, points)).collect()
}

/// Triangles sorted by shape.
#[derive(Clone, Debug)]
pub(super) struct ShapeIndex {
    triangles: Vec<Triangle>,
    starts: Vec<u32>,
}

/// Side of a cell of the shape space. Both ratios lie in [0, 1].
const CELL: f32 = 0.02;
const CELLS: usize = 51;

fn cell(ratio: f32) -> usize {
    ((ratio / CELL) as usize).min(CELLS - 1)
}

impl ShapeIndex {
    /// The index of `triangles`; those with two sides of nearly the same length are entered with
    /// both orders of their stars.
    pub(super) fn new(mut triangles: Vec<Triangle>, points: &[Point]) -> Self {
        for i in 0..triangles.len() {
            let t = triangles[i];
            if t.ratios[0] > 1.0 - 2.0 * t.tolerance {
                triangles.push(t.swapped(0, 1, points));
            }
            if t.ratios[0] - t.ratios[1] < 2.0 * t.tolerance {
                triangles.push(t.swapped(1, 2, points));
            }
        }
        let key = |t: &Triangle| cell(t.ratios[0]) * CELLS + cell(t.ratios[1]);
        triangles.sort_by_key(key);
        let mut starts = vec![0u32; CELLS * CELLS + 1];
        for t in &triangles {
            starts[key(t) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        Self { triangles, starts }
    }

    /// Calls `found` with every triangle that has the shape of `t` and, up to a factor of
    /// `e^max_ln_scale`, its size.
    pub(super) fn similar(
        &self,
        t: &Triangle,
        max_ln_scale: f32,
        mut found: impl FnMut(&Triangle),
    ) {
        // The other triangle is at most this much smaller, and so less certain.
        let reach = 2.0 * t.tolerance;
        let columns = (cell(t.ratios[1] - reach), cell(t.ratios[1] + reach));
        for row in cell(t.ratios[0] - reach)..=cell(t.ratios[0] + reach) {
            let start = self.starts[row * CELLS + columns.0] as usize;
            let end = self.starts[row * CELLS + columns.1 + 1] as usize;
            for other in &self.triangles[start..end] {
                let limit = t.tolerance + other.tolerance;
                let is_similar = (other.ln_size - t.ln_size).abs() <= max_ln_scale + limit
                    && (other.ratios[0] - t.ratios[0]).abs() <= limit
                    && (other.ratios[1] - t.ratios[1]).abs() <= limit;
                if is_similar {
                    found(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Transform, Vec2};

    use super::*;

    #[test]
    fn a_moved_triangle_has_the_same_shape() {
        let mut rng = Rng::new(3, 0, 0);
        for _ in 0..200 {
            let points: Vec<Point> =
                (0..3).map(|_| Point::new(rng.range(0.0, 300.0), rng.range(0.0, 300.0))).collect();
            let near = neighbours(&points, 2);
            let own = triangles(&points, &near, 2);
            let mirror = Transform::affine(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0);
            let moved =
                Transform::similarity(1.1, rng.range(-3.0, 3.0), Vec2::new(5.0, 2.0)) * mirror;
            let other: Vec<Point> = points.iter().map(|&p| moved * p).collect();
            let others = triangles(&other, &neighbours(&other, 2), 2);
            assert_eq!(own.len(), others.len());
            let index = ShapeIndex::new(others, &other);
            for t in &own {
                let mut same_stars = 0;
                index.similar(t, 0.1, |o| {
                    if o.stars == t.stars {
                        assert_ne!(o.turns_positive, t.turns_positive);
                        same_stars += 1;
                    }
                });
                assert_eq!(same_stars, 1);
            }
        }
    }
}
