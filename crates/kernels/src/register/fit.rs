//! Least-squares transforms from point pairs.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Transform};

use super::solve::Normal;

/// Family of plane transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Scale, rotation, shift, either handedness.
    Similarity,
    /// Any linear map and a shift.
    Affine,
    /// Any projective map.
    Homography,
}

impl Model {
    /// Number of free parameters.
    pub const fn parameters(self) -> usize {
        match self {
            Self::Similarity => 4,
            Self::Affine => 6,
            Self::Homography => 8,
        }
    }

    /// Number of pairs that determine the transform.
    pub const fn min_pairs(self) -> usize {
        self.parameters() / 2
    }
}

/// The transform `target_from_source` of the family `model` that minimises
/// `Σ weight · |T source − target|²` over `pairs` of (source, target, weight).
///
/// Pairs with a weight of 0 do not count; weights are usually `1/σ²`. A similarity takes the
/// handedness that fits better, and keeps orientation where both fit alike. `None` if the pairs do
/// not determine the transform (too few, coincident, or in a line), or are not finite. O(pairs).
///
/// # Source
/// Coordinates are centred and scaled first: Hartley (1997), doi:10.1109/34.601246. Similarity:
/// Umeyama (1991), doi:10.1109/34.88573, in complex numbers. The homography starts from the linear
/// solution and is refined by Gauss-Newton steps on the distance in the target.
pub fn fit_transform(model: Model, pairs: &[(Point, Point, f64)]) -> Option<Transform> {
    let used = pairs.iter().filter(|p| p.2 > 0.0).count();
    if used < model.min_pairs() {
        return None;
    }
    let source = Frame::of(pairs.iter().map(|p| (p.0, p.2)))?;
    let target = Frame::of(pairs.iter().map(|p| (p.1, p.2)))?;
    let local: Vec<(Point, Point, f64)> = pairs
        .iter()
        .filter(|p| p.2 > 0.0)
        .map(|p| (source.local(p.0), target.local(p.1), p.2 / source.weight))
        .collect();
    let transform = match model {
        Model::Similarity => similarity(&local),
        Model::Affine => affine(&local)?,
        Model::Homography => homography(&local)?,
    };
    let transform = target.global_from_local() * transform * source.local_from_global();
    let finite = transform.m.iter().flatten().all(|v| v.is_finite());
    (finite && transform.inverse().is_some()).then_some(transform)
}

/// A coordinate system about the centroid of points, in units of their rms distance from it.
struct Frame {
    centre: Point,
    unit: f64,
    weight: f64,
}

impl Frame {
    fn of(points: impl Iterator<Item = (Point, f64)> + Clone) -> Option<Self> {
        let (mut x, mut y, mut weight) = (0.0, 0.0, 0.0);
        for (p, w) in points.clone().filter(|p| p.1 > 0.0) {
            x += w * p.x;
            y += w * p.y;
            weight += w;
        }
        let centre = Point::new(x / weight, y / weight);
        let spread: f64 =
            points.filter(|p| p.1 > 0.0).map(|(p, w)| w * (p - centre).norm_squared()).sum();
        let unit = (spread / weight).sqrt();
        // Coincident points: nothing but rounding noise is left of their distances.
        let size = centre.x.abs().max(centre.y.abs()).max(1.0);
        (unit.is_finite() && unit > 1e-9 * size).then_some(Self { centre, unit, weight })
    }

    fn local(&self, p: Point) -> Point {
        Point::new((p.x - self.centre.x) / self.unit, (p.y - self.centre.y) / self.unit)
    }

    fn local_from_global(&self) -> Transform {
        let s = 1.0 / self.unit;
        Transform::affine(s, 0.0, -self.centre.x * s, 0.0, s, -self.centre.y * s)
    }

    fn global_from_local(&self) -> Transform {
        let u = self.unit;
        Transform::affine(u, 0.0, self.centre.x, 0.0, u, self.centre.y)
    }
}

/// Both centroids are at 0: `t = a s` or `t = a s̄` with complex numbers, whichever has the larger
/// `|a|`, for `Σ w |t − a s|² = Σ w |t|² − |a|² Σ w |s|²`.
fn similarity(pairs: &[(Point, Point, f64)]) -> Transform {
    let (mut direct, mut mirrored, mut norm) = ([0.0; 2], [0.0; 2], 0.0);
    for (s, t, w) in pairs {
        direct[0] += w * (t.x * s.x + t.y * s.y);
        direct[1] += w * (t.y * s.x - t.x * s.y);
        mirrored[0] += w * (t.x * s.x - t.y * s.y);
        mirrored[1] += w * (t.y * s.x + t.x * s.y);
        norm += w * (s.x * s.x + s.y * s.y);
    }
    let power = |a: [f64; 2]| a[0] * a[0] + a[1] * a[1];
    // Two pairs, or pairs in a line, fit both alike to rounding.
    if power(mirrored) > power(direct) * (1.0 + 1e-9) {
        let (c, s) = (mirrored[0] / norm, mirrored[1] / norm);
        Transform::affine(c, s, 0.0, s, -c, 0.0)
    } else {
        let (c, s) = (direct[0] / norm, direct[1] / norm);
        Transform::affine(c, -s, 0.0, s, c, 0.0)
    }
}

fn affine(pairs: &[(Point, Point, f64)]) -> Option<Transform> {
    // Both coordinates of the target share the matrix.
    let (mut x, mut y) = (Normal::<3>::new(), Normal::<3>::new());
    for (s, t, w) in pairs {
        let row = [s.x, s.y, 1.0];
        x.add(&row, t.x, *w);
        y.add(&row, t.y, *w);
    }
    let (a, b) = (x.solve()?, y.solve()?);
    Some(Transform::affine(a[0], a[1], a[2], b[0], b[1], b[2]))
}

/// Steps after which a homography has converged: the linear start is already within a few percent
/// of the noise.
const HOMOGRAPHY_STEPS: usize = 5;

fn homography(pairs: &[(Point, Point, f64)]) -> Option<Transform> {
    // The centroid of the source goes to a finite point, so m[2][2] = 1 is no loss here.
    let mut h = [0.0; 8];
    let mut normal = Normal::<8>::new();
    for (s, t, w) in pairs {
        normal.add(&[s.x, s.y, 1.0, 0.0, 0.0, 0.0, -t.x * s.x, -t.x * s.y], t.x, *w);
        normal.add(&[0.0, 0.0, 0.0, s.x, s.y, 1.0, -t.y * s.x, -t.y * s.y], t.y, *w);
    }
    h.copy_from_slice(&normal.solve()?);
    let mut best = (h, cost(&h, pairs));
    for _ in 0..HOMOGRAPHY_STEPS {
        let mut normal = Normal::<8>::new();
        for (s, t, w) in pairs {
            let (p, d) = project(&h, *s);
            let (u, v) = (s.x / d, s.y / d);
            let (rx, ry) = (t.x - p.x, t.y - p.y);
            normal.add(&[u, v, 1.0 / d, 0.0, 0.0, 0.0, -p.x * u, -p.x * v], rx, *w);
            normal.add(&[0.0, 0.0, 0.0, u, v, 1.0 / d, -p.y * u, -p.y * v], ry, *w);
        }
        for (v, step) in h.iter_mut().zip(normal.solve()?) {
            *v += step;
        }
        let now = cost(&h, pairs);
        if now.is_nan() || now >= best.1 {
            break;
        }
        best = (h, now);
    }
    let h = best.0;
    // A line at infinity that cuts through the points is no image of the sky.
    let in_front = pairs.iter().all(|(s, _, _)| project(&h, *s).1 > 0.1);
    in_front.then_some(Transform { m: [[h[0], h[1], h[2]], [h[3], h[4], h[5]], [h[6], h[7], 1.0]] })
}

fn project(h: &[f64; 8], s: Point) -> (Point, f64) {
    let d = h[6] * s.x + h[7] * s.y + 1.0;
    let p = Point::new((h[0] * s.x + h[1] * s.y + h[2]) / d, (h[3] * s.x + h[4] * s.y + h[5]) / d);
    (p, d)
}

fn cost(h: &[f64; 8], pairs: &[(Point, Point, f64)]) -> f64 {
    pairs.iter().map(|(s, t, w)| w * (project(h, *s).0 - *t).norm_squared()).sum()
}

/// A robust fit.
#[derive(Clone, Debug, PartialEq)]
pub struct RobustFit {
    /// `target_from_source`.
    pub transform: Transform,
    /// Standard deviation per axis of the residuals in units of `1/√weight`, from their median.
    pub scale: f64,
    /// For each pair the factor in [0, 1] that its weight was given; 0 for outliers.
    pub factors: Vec<f64>,
}

/// Tukey's biweight: 95 % efficient for normal residuals.
const TUKEY: f64 = 4.685;
/// Median of |r| for two-dimensional normal residuals of unit variance per axis: √(2 ln 2).
const MEDIAN_RADIUS: f64 = 1.1774100225154747;

/// As [`fit_transform`], with pairs that disagree given less or no weight: iteratively reweighted
/// least squares with Tukey's biweight, from `start`.
///
/// `min_scale` is the smallest believable standard deviation of the residuals in units of
/// `1/√weight`. `None` as for [`fit_transform`].
///
/// # Source
/// Holland & Welsch (1977), doi:10.1080/03610927708827533.
pub fn fit_robust(
    model: Model,
    pairs: &[(Point, Point, f64)],
    start: &Transform,
    min_scale: f64,
    iterations: usize,
) -> Option<RobustFit> {
    let mut fit = RobustFit { transform: *start, scale: min_scale, factors: Vec::new() };
    let mut weighted = pairs.to_vec();
    for _ in 0..iterations.max(1) {
        let radii: Vec<f64> =
            pairs.iter().map(|(s, t, w)| (fit.transform * *s - *t).norm() * w.sqrt()).collect();
        let mut sorted: Vec<f64> =
            radii.iter().zip(pairs).filter(|(_, p)| p.2 > 0.0).map(|(r, _)| *r).collect();
        if sorted.is_empty() {
            return None;
        }
        let middle = sorted.len() / 2;
        let median = *sorted.select_nth_unstable_by(middle, f64::total_cmp).1;
        // The fit takes up some of the noise.
        let observations = (2 * sorted.len()) as f64;
        let freedom = (observations - model.parameters() as f64).max(1.0);
        fit.scale = (median / MEDIAN_RADIUS * (observations / freedom).sqrt()).max(min_scale);
        fit.factors.clear();
        for ((w, p), r) in weighted.iter_mut().zip(pairs).zip(&radii) {
            let u = r / (TUKEY * fit.scale);
            let factor = if u < 1.0 { (1.0 - u * u) * (1.0 - u * u) } else { 0.0 };
            fit.factors.push(factor);
            w.2 = p.2 * factor;
        }
        let next = fit_transform(model, &weighted)?;
        let moved = pairs
            .iter()
            .map(|(s, _, _)| (next * *s - fit.transform * *s).norm_squared())
            .fold(0.0, f64::max);
        fit.transform = next;
        if moved < 1e-10 {
            break;
        }
    }
    Some(fit)
}

/// Smallest rectangle around `points` as (low corner, high corner); `None` if there are none.
pub(crate) fn bounding_box(points: impl Iterator<Item = Point>) -> Option<(Point, Point)> {
    points.fold(None, |bounds, p| {
        let (low, high) = bounds.unwrap_or((p, p));
        Some((
            Point::new(low.x.min(p.x), low.y.min(p.y)),
            Point::new(high.x.max(p.x), high.y.max(p.y)),
        ))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, Vec2};

    use super::*;

    fn worst(t: &Transform, pairs: &[(Point, Point, f64)]) -> f64 {
        pairs.iter().map(|(s, p, _)| (*t * *s).distance(*p)).fold(0.0, f64::max)
    }

    fn pairs(truth: &Transform, n: usize, noise: f64, seed: u64) -> Vec<(Point, Point, f64)> {
        let mut rng = Rng::new(seed, 0, 0);
        (0..n)
            .map(|_| {
                let s = Point::new(rng.range(0.0, 1900.0), rng.range(0.0, 1100.0));
                let t = *truth * s;
                let e = Vec2::new(noise * rng.normal(), noise * rng.normal());
                (s, t + e, rng.range(0.5, 2.0))
            })
            .collect()
    }

    proptest! {
        #[test]
        fn exact_pairs_give_back_the_transform(
            angle in -3.1f64..3.1, scale in 0.5f64..2.0, dx in -3000.0f64..3000.0,
            shear in -0.05f64..0.05, g in -2e-5f64..2e-5, mirror in any::<bool>(), seed in 0u64..99,
        ) {
            let flip = Transform::affine(if mirror { -1.0 } else { 1.0 }, 0.0, 0.0, 0.0, 1.0, 0.0);
            let similarity = Transform::similarity(scale, angle, Vec2::new(dx, -0.3 * dx)) * flip;
            let affine = similarity * Transform::affine(1.0, shear, 0.0, -shear / 3.0, 1.0 + shear, 2.0);
            let mut homography = affine;
            homography.m[2] = [g, -0.7 * g, 1.0];
            for (model, truth) in [
                (Model::Similarity, similarity), (Model::Affine, affine), (Model::Homography, homography),
            ] {
                let p = pairs(&truth, model.min_pairs() + 3, 0.0, seed);
                let fit = fit_transform(model, &p).unwrap();
                prop_assert!(worst(&fit, &p) < 1e-6, "{model:?} {}", worst(&fit, &p));
                prop_assert_eq!(fit.determinant() < 0.0, mirror);
            }
        }

        #[test]
        fn no_nearby_transform_fits_better(seed in 0u64..40) {
            let truth = Transform::similarity(1.05, 0.4, Vec2::new(20.0, -7.0));
            let p = pairs(&truth, 30, 1.0, seed);
            let sum = |t: &Transform| -> f64 {
                p.iter().map(|(s, q, w)| w * (*t * *s - *q).norm_squared()).sum()
            };
            for model in [Model::Similarity, Model::Affine, Model::Homography] {
                let fit = fit_transform(model, &p).unwrap();
                let here = sum(&fit);
                let mut steps = vec![(0, 2, 1e-3), (1, 2, 1e-3)];
                if model != Model::Similarity {
                    steps.extend([(0, 0, 1e-6), (0, 1, 1e-6), (1, 0, 1e-6), (1, 1, 1e-6)]);
                }
                if model == Model::Homography {
                    steps.extend([(2, 0, 1e-9), (2, 1, 1e-9)]);
                }
                for (r, c, step) in steps {
                    for sign in [-1.0, 1.0] {
                        let mut t = fit;
                        t.m[r][c] += sign * step;
                        prop_assert!(sum(&t) >= here - 1e-9 * here, "{model:?} {r} {c}");
                    }
                }
                if model == Model::Similarity {
                    for turn in [-1e-6, 1e-6] {
                        let t = fit * Transform::similarity(1.0 + turn, 0.0, Vec2::default());
                        prop_assert!(sum(&t) >= here - 1e-9 * here);
                        let t = fit * Transform::similarity(1.0, turn, Vec2::default());
                        prop_assert!(sum(&t) >= here - 1e-9 * here);
                    }
                }
            }
        }
    }

    #[test]
    fn degenerate_pairs_have_no_fit() {
        let p = |x: f64, y: f64| (Point::new(x, y), Point::new(x + 1.0, y), 1.0);
        assert!(fit_transform(Model::Similarity, &[p(1.0, 2.0)]).is_none());
        assert!(fit_transform(Model::Similarity, &[p(1.0, 2.0), p(1.0, 2.0)]).is_none());
        let line: Vec<_> = (0..9).map(|i| p(f64::from(i), 2.0 * f64::from(i))).collect();
        assert!(fit_transform(Model::Similarity, &line).unwrap().determinant() > 0.0);
        assert!(fit_transform(Model::Affine, &line).is_none());
        assert!(fit_transform(Model::Homography, &line).is_none());
        let mut weightless = pairs(&Transform::IDENTITY, 9, 0.0, 1);
        for pair in &mut weightless[1..] {
            pair.2 = 0.0;
        }
        assert!(fit_transform(Model::Similarity, &weightless).is_none());
        assert!(fit_transform(Model::Similarity, &[p(f64::NAN, 0.0), p(1.0, 1.0)]).is_none());
    }

    #[test]
    fn robust_fit_survives_a_third_of_outliers() {
        let truth = Transform::similarity(0.97, 2.0, Vec2::new(500.0, 80.0));
        for seed in 0..20 {
            let mut p = pairs(&truth, 90, 0.2, seed);
            let mut rng = Rng::new(seed, 1, 0);
            for pair in p.iter_mut().step_by(3) {
                pair.1 = pair.1 + Vec2::new(rng.range(5.0, 30.0), rng.range(-30.0, 30.0));
            }
            let start = truth * Transform::translation(Vec2::new(2.0, -1.0));
            let fit = fit_robust(Model::Affine, &p, &start, 0.01, 20).unwrap();
            for corner in [Point::new(0.0, 0.0), Point::new(1900.0, 1100.0)] {
                assert!((fit.transform * corner).distance(truth * corner) < 0.3, "seed {seed}");
            }
            assert!(fit.factors.iter().step_by(3).filter(|f| **f > 0.0).count() <= 1);
            assert!((0.1..0.5).contains(&fit.scale), "{}", fit.scale);
        }
    }
}
