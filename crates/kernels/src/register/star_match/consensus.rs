//! From a candidate pair of triangles to a transform that the other stars confirm, or do not.

use stillframe_image::{Point, Transform, math};

use super::grid::PointGrid;
use crate::register::fit::{Model, fit_transform};

/// The brightest stars of one list, as hypotheses are tested on them.
pub(super) struct Field<'a> {
    pub(super) reference: &'a PointGrid,
    /// Stars per square pixel that a star of the reference has around itself.
    pub(super) density: f64,
    pub(super) frame: &'a [Point],
    /// Nearest neighbours of each star of the frame.
    pub(super) neighbours: &'a [Vec<u16>],
    /// Largest believable distance of a matched star from its place, pixels.
    pub(super) tolerance_px: f64,
}

/// A transform with the stars that agree.
#[derive(Clone, Debug)]
pub(super) struct Consensus {
    pub(super) ref_from_frame: Transform,
    /// Indices into the lists of the [`Field`]: reference, frame.
    pub(super) pairs: Vec<(u32, u32)>,
    /// Stars of the frame that fall among those of the reference.
    pub(super) candidates: usize,
    /// Natural logarithm of the expected number of equally good transforms between unrelated lists.
    pub(super) ln_false_alarms: f64,
}

/// Density of the surroundings of a typical member of `points`, per square pixel: where stars
/// crowd, chance matches crowd too.
pub(super) fn density(points: &[Point], neighbours: &[Vec<u16>], bounds: (Point, Point)) -> f64 {
    const NEIGHBOUR: usize = 5;
    let size = bounds.1 - bounds.0;
    let n = points.len() as f64;
    let mean = n / (size.dx.max(1.0) * size.dy.max(1.0));
    let local: f64 = points
        .iter()
        .zip(neighbours)
        .filter_map(|(p, near)| {
            let last = near.len().min(NEIGHBOUR);
            let far = points[*near.get(last.checked_sub(1)?)? as usize];
            let area = std::f64::consts::PI * (far - *p).norm_squared().max(1.0);
            Some((last as f64 - 1.0) / area)
        })
        .sum();
    mean.max(local / n)
}

/// The similarity (mirrored or not) that takes `from` to `to` exactly.
pub(super) fn from_two_pairs(from: [Point; 2], to: [Point; 2], mirrored: bool) -> Transform {
    let (s, t) = (from[1] - from[0], to[1] - to[0]);
    let norm = s.norm_squared();
    let (c, d, sign) = if mirrored {
        ((t.dx * s.dx - t.dy * s.dy) / norm, (t.dy * s.dx + t.dx * s.dy) / norm, -1.0)
    } else {
        ((t.dx * s.dx + t.dy * s.dy) / norm, (t.dy * s.dx - t.dx * s.dy) / norm, 1.0)
    };
    let p = from[0];
    let dx = to[0].x - (c * p.x - sign * d * p.y);
    let dy = to[0].y - (d * p.x + sign * c * p.y);
    Transform::affine(c, -sign * d, dx, d, sign * c, dy)
}

/// Rounds in which the agreeing stars may spread over the field.
const MAX_ROUNDS: usize = 10;
/// Chance neighbours of a predicted place beyond which a match there says nothing.
const MAX_CHANCE: f64 = 0.1;

impl Field<'_> {
    /// Whether a star or two near the triangle confirm `hypothesis`, which takes the stars `second`
    /// and `third` of the frame, its longest side, to their places exactly: cheap, and right often
    /// enough.
    pub(super) fn is_plausible(&self, hypothesis: &Transform, stars: [u16; 3]) -> bool {
        // The triangle itself counts three.
        let needed = if self.frame.len() < 40 { 4 } else { 5 };
        let [first, second, third] = stars.map(|i| self.frame[i as usize]);
        let size = second.distance(third);
        let middle = Point::new(0.5 * (second.x + third.x), 0.5 * (second.y + third.y));
        let lands = |p: Point| {
            let radius = (1.5 + 1.5 * p.distance(middle) / size).min(self.max_radius());
            self.reference.nearest(*hypothesis * p, radius).is_some()
        };
        let mut found = usize::from(lands(first));
        for &i in &self.neighbours[stars[0] as usize] {
            found += usize::from(lands(self.frame[i as usize]));
            if found >= needed {
                return true;
            }
        }
        false
    }

    fn max_radius(&self) -> f64 {
        (MAX_CHANCE / (std::f64::consts::PI * self.density)).sqrt()
    }

    /// Grows the agreement from the pairs of a triangle over the whole field. `None` if it falls
    /// apart.
    pub(super) fn grow(&self, seed: &Transform, pairs: [(Point, Point); 3]) -> Option<Consensus> {
        let mut transform = *seed;
        let mut support: Vec<(Point, Point, f64)> =
            pairs.iter().map(|&(r, f)| (f, r, 1.0)).collect();
        let mut matched: Vec<(u32, u32)> = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let before = matched.len();
            matched = self.matches(&transform, &support);
            if matched.len() < 3 {
                return None;
            }
            let points = self.reference.points();
            support.clear();
            support.extend(
                matched.iter().map(|&(r, f)| (self.frame[f as usize], points[r as usize], 1.0)),
            );
            transform = fit_transform(Model::Similarity, &support)?;
            if matched.len() == before {
                break;
            }
        }
        let candidates =
            self.frame.iter().filter(|&&p| self.reference.is_inside(transform * p, 0.0)).count();
        let candidates = candidates.max(matched.len());
        let ln_false_alarms = self.ln_false_alarms(&transform, &support, candidates);
        Some(Consensus { ref_from_frame: transform, pairs: matched, candidates, ln_false_alarms })
    }

    /// Stars of the frame that `transform` takes near one of the reference, each star used once.
    /// How near, follows from the uncertainty of a similarity that was fitted to `support`.
    fn matches(&self, transform: &Transform, support: &[(Point, Point, f64)]) -> Vec<(u32, u32)> {
        let n = support.len() as f64;
        let (mut x, mut y) = (0.0, 0.0);
        for s in support {
            x += s.0.x / n;
            y += s.0.y / n;
        }
        let centre = Point::new(x, y);
        let spread: f64 = support.iter().map(|s| (s.0 - centre).norm_squared()).sum();
        let residual: f64 =
            support.iter().map(|s| (*transform * s.0 - s.1).norm_squared()).sum::<f64>() / n;
        let scatter = residual.sqrt().max(self.tolerance_px / 3.0);
        let max_radius = self.max_radius();
        let mut found: Vec<(u32, f64, u32)> = Vec::new();
        for (i, &p) in self.frame.iter().enumerate() {
            let variance = 1.0 + 1.0 / n + (p - centre).norm_squared() / spread;
            let radius = 3.0 * scatter * variance.sqrt();
            if radius > max_radius {
                continue;
            }
            if let Some((r, d)) = self.reference.nearest(*transform * p, radius) {
                found.push((r, d, i as u32));
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        found.dedup_by_key(|f| f.0);
        found.into_iter().map(|(r, _, f)| (r, f)).collect()
    }

    /// Two pairs make a hypothesis; each further star lands within `r` of one of the reference by
    /// chance with probability `density · π r²`; the most telling `r` is taken.
    ///
    /// # Source
    /// Moisan & Stival (2004), doi:10.1023/B:VISI.0000013094.38752.54, eq. (9), for points under a
    /// similarity.
    fn ln_false_alarms(
        &self,
        transform: &Transform,
        pairs: &[(Point, Point, f64)],
        candidates: usize,
    ) -> f64 {
        const MIN_RADIUS_PX: f64 = 0.5;
        let mut squared: Vec<f64> =
            pairs.iter().map(|p| (*transform * p.0 - p.1).norm_squared()).collect();
        squared.sort_unstable_by(f64::total_cmp);
        let (n, m) = (self.frame.len() as f64, self.reference.points().len() as f64);
        // Ordered pairs on one side, unordered on the other; two handednesses; the radius.
        let ln_tests = math::ln(n * (n - 1.0) * m * (m - 1.0) * candidates as f64);
        let others = candidates - 2;
        let mut ln_choose = 0.0;
        let mut best = f64::INFINITY;
        for k in 1..squared.len() - 1 {
            ln_choose += math::ln((others + 1 - k) as f64 / k as f64);
            let area = std::f64::consts::PI * squared[k + 1].max(MIN_RADIUS_PX * MIN_RADIUS_PX);
            let ln_chance = math::ln((self.density * area).min(1.0));
            best = best.min(ln_tests + ln_choose + k as f64 * ln_chance);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pairs_are_met_exactly() {
        let from = [Point::new(3.0, 4.0), Point::new(-20.0, 11.0)];
        let to = [Point::new(100.0, 7.0), Point::new(90.0, -15.0)];
        for mirrored in [false, true] {
            let t = from_two_pairs(from, to, mirrored);
            assert!((t * from[0]).distance(to[0]) < 1e-9 && (t * from[1]).distance(to[1]) < 1e-9);
            assert_eq!(t.determinant() < 0.0, mirrored);
        }
    }
}
