//! Small convex polygons in a plane.

/// Most corners of the overlap of two quadrilaterals.
const MOST: usize = 8;

/// A convex polygon, corners in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polygon {
    corners: [[f64; 2]; MOST],
    n: usize,
}

impl Polygon {
    /// A quadrilateral whose corners run counter-clockwise; turned round if they do not.
    pub(super) fn quadrilateral(corners: [[f64; 2]; 4]) -> Self {
        let mut polygon = Self { corners: [[0.0; 2]; MOST], n: 4 };
        polygon.corners[..4].copy_from_slice(&corners);
        if polygon.signed_area() < 0.0 {
            polygon.corners[..4].reverse();
        }
        polygon
    }

    fn signed_area(&self) -> f64 {
        let [x0, y0] = self.corners[0];
        let mut twice = 0.0;
        for k in 1..self.n.saturating_sub(1) {
            let ([x1, y1], [x2, y2]) = (self.corners[k], self.corners[k + 1]);
            twice += (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
        }
        0.5 * twice
    }

    /// Its area.
    pub(super) fn area(&self) -> f64 {
        self.signed_area().abs()
    }

    /// The part of it that lies in the convex polygon `other`, whose corners run counter-clockwise.
    ///
    /// # Source
    /// Sutherland & Hodgman (1974), doi:10.1145/360767.360802.
    pub(super) fn overlap(&self, other: &Self) -> Self {
        let mut subject = *self;
        for k in 0..other.n {
            let (a, b) = (other.corners[k], other.corners[(k + 1) % other.n]);
            subject = subject.left_of(a, b);
            if subject.n < 3 {
                subject.n = 0;
                break;
            }
        }
        subject
    }

    /// The part on the left of the line from `a` to `b`.
    fn left_of(&self, a: [f64; 2], b: [f64; 2]) -> Self {
        let side = |p: [f64; 2]| (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
        let mut out = Self { corners: [[0.0; 2]; MOST], n: 0 };
        for k in 0..self.n {
            let (p, q) = (self.corners[k], self.corners[(k + 1) % self.n]);
            let (from, to) = (side(p), side(q));
            if from >= 0.0 {
                out.push(p);
            }
            if (from >= 0.0) != (to >= 0.0) {
                let t = from / (from - to);
                out.push([p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]);
            }
        }
        out
    }

    /// Rounding may make a ninth corner where two coincide; it is one of them and left out.
    fn push(&mut self, p: [f64; 2]) {
        if self.n < MOST {
            self.corners[self.n] = p;
            self.n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Polygon {
        Polygon::quadrilateral([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])
    }

    #[test]
    fn overlaps_have_their_areas() {
        let unit = square(0.0, 0.0, 1.0);
        assert_eq!(unit.overlap(&square(0.5, 0.25, 1.0)).area(), 0.375);
        assert_eq!(unit.overlap(&square(-1.0, -1.0, 4.0)).area(), 1.0);
        assert_eq!(square(-1.0, -1.0, 4.0).overlap(&unit).area(), 1.0);
        assert_eq!(unit.overlap(&square(1.0, 0.0, 1.0)).area(), 0.0);
        assert_eq!(unit.overlap(&square(5.0, 5.0, 1.0)).area(), 0.0);
        // clockwise corners, and a square on its tip: an octagon
        let tip = Polygon::quadrilateral([[0.5, -0.2], [-0.2, 0.5], [0.5, 1.2], [1.2, 0.5]]);
        assert!((unit.overlap(&tip).area() - (1.0 - 2.0 * 0.3 * 0.3)).abs() < 1e-12);
        assert!((tip.overlap(&unit).area() - 0.82).abs() < 1e-12);
    }
}
