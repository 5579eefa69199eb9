//! The surface through the nodes of a mesh.

use multiversion::multiversion;
use stillframe_image::{Point, Shape};

use super::Background;

/// Between which nodes a position lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Node at or before it; −1 before the first.
    node: i64,
    /// Distance from that node in units of the node distance.
    t: f64,
}

impl Place {
    fn of(position: f64, pixels: usize, cells: usize) -> Self {
        let u = (position + 0.5) * cells as f64 / pixels as f64 - 0.5;
        // half a cell outside the outer nodes belongs to the line that continues the mesh
        let node = (u.floor() as i64).clamp(-1, cells as i64 - 1);
        Self { node, t: u - node as f64 }
    }
}

/// Value of node `k` of a line of `n`; outside, the line goes straight on.
fn node(k: i64, n: usize, at: impl Fn(usize) -> f64) -> f64 {
    let last = n as i64 - 1;
    let inside = k.clamp(0, last);
    let value = at(inside as usize);
    if k == inside || n == 1 {
        return value;
    }
    let inner = if k < 0 { 1 } else { last - 1 };
    value + (k - inside).abs() as f64 * (value - at(inner as usize))
}

/// Coefficients of 1, t, t², t³ between the second and the third of four values.
fn cubic([p, a, b, q]: [f64; 4]) -> [f64; 4] {
    [a, 0.5 * (b - p), p - 2.5 * a + 2.0 * b - 0.5 * q, 0.5 * (q - p) + 1.5 * (a - b)]
}

/// Weights of the four nodes round a position, as indices of real nodes.
struct Taps {
    index: [usize; 4],
    weight: [f64; 4],
}

impl Taps {
    fn of(place: Place, n: usize) -> Self {
        let first = usize::try_from(place.node - 1).unwrap_or(0).min(n.saturating_sub(4));
        let index = [0, 1, 2, 3].map(|k| (first + k).min(n - 1));
        let mut weight = [0.0; 4];
        let mut add = |node: i64, w: f64| weight[node as usize - first] += w;
        let (t, last) = (place.t, n as i64 - 1);
        let basis = [
            t * (-0.5 + t * (1.0 - 0.5 * t)),
            1.0 + t * t * (1.5 * t - 2.5),
            t * (0.5 + t * (2.0 - 1.5 * t)),
            t * t * (0.5 * t - 0.5),
        ];
        for (node, w) in (place.node - 1..).zip(basis) {
            let inside = node.clamp(0, last);
            let beyond = (node - inside).abs() as f64;
            if beyond == 0.0 || n == 1 {
                add(inside, w);
            } else {
                // the line through the outer two nodes goes on
                add(inside, w * (1.0 + beyond));
                add(if inside == 0 { 1 } else { last - 1 }, -w * beyond);
            }
        }
        Self { index, weight }
    }

    fn of_values(&self, at: impl Fn(usize) -> f64) -> f64 {
        let part = |k: usize| self.weight[k] * at(self.index[k]);
        (part(0) + part(1)) + (part(2) + part(3))
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn fill_cubic(out: &mut [f32], first_t: f32, step_t: f32, c: [f32; 4]) {
    for (k, value) in out.iter_mut().enumerate() {
        let t = first_t + k as i32 as f32 * step_t;
        *value = c[0] + t * (c[1] + t * (c[2] + t * c[3]));
    }
}

impl Background {
    fn value_at(&self, values: &[f32], p: Point) -> f32 {
        let Shape { height, width } = self.nodes;
        let across = Taps::of(Place::of(p.x, self.shape.width, width), width);
        let down = Taps::of(Place::of(p.y, self.shape.height, height), height);
        across.of_values(|i| down.of_values(|j| f64::from(values[j * width + i]))) as f32
    }

    /// Level at `p`, pixels of the frame; outside the frame the surface goes on.
    pub fn at(&self, p: Point) -> f32 {
        self.value_at(&self.level, p)
    }

    /// Noise (standard deviation of a pixel) at `p`; never below 0.
    pub fn noise_at(&self, p: Point) -> f32 {
        self.value_at(&self.noise, p).max(0.0)
    }

    /// Writes the levels of pixels `x..x + out.len()` of row `y`. O(out.len()).
    pub fn row(&self, y: usize, x: usize, out: &mut [f32]) {
        let Shape { height, width } = self.nodes;
        let down = Taps::of(Place::of(y as f64, self.shape.height, height), height);
        let on_row = |i: usize| down.of_values(|j| f64::from(self.level[j * width + i]));
        let per_pixel = width as f64 / self.shape.width as f64;
        let last = width as i64 - 1;
        let mut place = Place::of(x as f64, self.shape.width, width);
        let mut around = [-1, 0, 1, 2].map(|d| node(place.node + d, width, on_row));
        let mut done = 0;
        while done < out.len() {
            let left = out.len() - done;
            let to_next = ((1.0 - place.t) / per_pixel).ceil() as usize;
            let run = if place.node == last { left } else { to_next.clamp(1, left) };
            let c = cubic(around).map(|c| c as f32);
            fill_cubic(&mut out[done..done + run], place.t as f32, per_pixel as f32, c);
            done += run;
            let next = Place::of((x + done) as f64, self.shape.width, width);
            if next.node == place.node + 1 {
                around.rotate_left(1);
                around[3] = node(next.node + 2, width, on_row);
            } else {
                around = [-1, 0, 1, 2].map(|d| node(next.node + d, width, on_row));
            }
            place = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    fn surface(shape: Shape, nodes: Shape, f: impl Fn(Point) -> f64) -> Background {
        let mut b = Background {
            shape,
            nodes,
            level: vec![0.0; nodes.len()],
            noise: vec![1.0; nodes.len()],
            median_level: 0.0,
            median_noise: 1.0,
        };
        for j in 0..nodes.height {
            for i in 0..nodes.width {
                b.level[j * nodes.width + i] = f(b.node(i, j)) as f32;
            }
        }
        b
    }

    proptest! {
        #[test]
        fn a_row_is_the_surface_at_its_pixels(
            h in 1usize..90, w in 1usize..200, nj in 1usize..5, ni in 1usize..7, x in 0usize..50, y in 0usize..90
        ) {
            let mut rng = Rng::new((h * w) as u64, ni as u64, nj as u64);
            let values: Vec<f64> = (0..35).map(|_| rng.normal()).collect();
            let b = surface(Shape::new(h, w), Shape::new(nj, ni), |p| values[(p.x + 3.0 * p.y) as usize % 35]);
            let (x, y) = (x.min(w), y.min(h - 1));
            let mut row = vec![0.0; w - x];
            b.row(y, x, &mut row);
            for (k, &v) in row.iter().enumerate() {
                let want = b.at(Point::new((x + k) as f64, y as f64));
                prop_assert!((v - want).abs() < 1e-4, "{} {}: {} {}", x + k, y, v, want);
            }
        }
    }

    #[test]
    fn planes_are_reproduced_up_to_the_corners_and_parabolas_inside() {
        let (shape, nodes) = (Shape::new(200, 300), Shape::new(4, 6));
        let plane = |p: Point| 0.3 * p.x - 0.2 * p.y + 7.0;
        let b = surface(shape, nodes, plane);
        for (x, y) in [(0.0, 0.0), (299.0, 199.0), (0.0, 199.0), (150.3, 99.7), (20.0, 3.0)] {
            assert!((f64::from(b.at(Point::new(x, y))) - plane(Point::new(x, y))).abs() < 1e-4);
        }
        let bowl = |p: Point| 1e-3 * ((p.x - 120.0).powi(2) + (p.x - 100.0) * (p.y - 80.0));
        let b = surface(shape, nodes, bowl);
        for (x, y) in [(100.0, 90.0), (170.0, 120.0), (149.0, 80.5)] {
            assert!((f64::from(b.at(Point::new(x, y))) - bowl(Point::new(x, y))).abs() < 1e-3);
        }
    }
}
