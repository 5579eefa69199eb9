//! The mean geometry of a burst: one position for every star, one transform for every frame,
//! solved together.
//!
//! Registering everything to one frame would bake that frame's own distortion into the result.
//! Here a star's position is what all frames say of it, and the shear and scale that are left free
//! by that are those of the mean frame; only origin and orientation come from the reference.

use stillframe_image::{DisplacementField, Point, Transform, Vec2};

use super::field_fit::FieldObservation;
use super::fit::{Model, fit_transform};
use super::star_match::MatchStar;

/// Centroids are not better than this, whatever their photons say: undersampling, pixel response.
const CENTROID_FLOOR_PX: f64 = 0.02;

/// One frame of the burst.
#[derive(Clone, Copy, Debug)]
pub struct JointFrame<'a> {
    /// Its stars.
    pub stars: &'a [MatchStar],
    /// Where it lies, from matching it to the reference.
    pub ref_from_frame: Transform,
    /// The model that its transform may use.
    pub model: Model,
}

/// A star of the common list.
#[derive(Clone, Copy, Debug)]
pub struct CommonStar {
    /// Mean position in the reference plane.
    pub position: Point,
    /// Factor on its centroid errors: above 1 if it scatters more than they say (blends).
    pub error_scale: f64,
    /// Number of frames that saw it.
    pub sightings: u32,
}

/// Star `index` of a frame is star `star` of the common list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Index in the common list.
    pub star: u32,
    /// Index in the frame's list.
    pub index: u32,
}

/// Common stars, who saw them, and where the frames lie.
#[derive(Clone, Debug)]
pub struct Joint {
    /// The common stars.
    pub stars: Vec<CommonStar>,
    /// Sightings by frame.
    pub sightings: Vec<Vec<Sighting>>,
    /// Transforms by frame.
    pub ref_from_frame: Vec<Transform>,
}

impl Joint {
    /// Links the stars of all frames into common stars.
    ///
    /// Frames are taken in index order, after frame `reference`; a star within `tolerance_px` of a
    /// common star is a sighting of it (the nearest one; each common star once per frame), else it
    /// becomes a new one. Common stars with fewer than two sightings are dropped (with one frame:
    /// none).
    pub fn link(frames: &[JointFrame], reference: usize, tolerance_px: f64) -> Self {
        let mut grid = Grid::new(tolerance_px);
        let mut sightings = vec![Vec::new(); frames.len()];
        let order = std::iter::once(reference).chain((0..frames.len()).filter(|i| *i != reference));
        for frame in order {
            let here: Vec<Point> = frames[frame]
                .stars
                .iter()
                .map(|s| frames[frame].ref_from_frame * s.position)
                .collect();
            let mut pairs: Vec<(f64, u32, u32)> = Vec::new();
            for (index, q) in here.iter().enumerate() {
                grid.near(*q, |star, distance| pairs.push((distance, star, index as u32)));
            }
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            let mut star_taken = vec![false; grid.points.len()];
            let mut linked = vec![false; here.len()];
            for (_, star, index) in pairs {
                if !star_taken[star as usize] && !linked[index as usize] {
                    star_taken[star as usize] = true;
                    linked[index as usize] = true;
                    sightings[frame].push(Sighting { star, index });
                }
            }
            for (index, q) in here.iter().enumerate() {
                if !linked[index] {
                    sightings[frame].push(Sighting { star: grid.add(*q), index: index as u32 });
                }
            }
        }
        let mut joint = Self {
            stars: grid
                .points
                .iter()
                .map(|&position| CommonStar { position, error_scale: 1.0, sightings: 0 })
                .collect(),
            sightings,
            ref_from_frame: frames.iter().map(|f| f.ref_from_frame).collect(),
        };
        joint.prune(if frames.len() > 1 { 2 } else { 1 });
        joint
    }

    fn prune(&mut self, least: u32) {
        for s in self.sightings.iter().flatten() {
            self.stars[s.star as usize].sightings += 1;
        }
        let mut new_index = vec![None; self.stars.len()];
        let mut kept = Vec::new();
        for (star, index) in self.stars.iter().zip(&mut new_index) {
            if star.sightings >= least {
                *index = Some(kept.len() as u32);
                kept.push(*star);
            }
        }
        self.stars = kept;
        for list in &mut self.sightings {
            list.retain_mut(|s| new_index[s.star as usize].map(|i| s.star = i).is_some());
            list.sort_by_key(|s| s.star);
        }
    }

    /// Where frame `frame` puts one of its stars in the reference plane, and the standard error
    /// per axis of that.
    fn seen_at(&self, frames: &[JointFrame], frame: usize, sighting: Sighting) -> (Point, f64) {
        let star = &frames[frame].stars[sighting.index as usize];
        let transform = &self.ref_from_frame[frame];
        let sigma = f64::from(star.sigma_px).hypot(CENTROID_FLOOR_PX) * transform.scale();
        (transform.apply(star.position), sigma)
    }

    /// Mean positions of the common stars, given the frames' transforms and fields, and each star's
    /// `error_scale`.
    ///
    /// `distortion_px` is the scatter per axis that is left in the positions besides centroid
    /// errors: the local distortion before it is known, about 0 after.
    pub fn update_stars(
        &mut self,
        frames: &[JointFrame],
        fields: Option<&[DisplacementField]>,
        distortion_px: f64,
    ) {
        let mut seen: Vec<Vec<(Point, f64)>> =
            self.stars.iter().map(|s| Vec::with_capacity(s.sightings as usize)).collect();
        for frame in 0..frames.len() {
            for &s in &self.sightings[frame] {
                let (mut q, sigma) = self.seen_at(frames, frame, s);
                if let Some(fields) = fields {
                    q = q - fields[frame].at(self.stars[s.star as usize].position);
                }
                seen[s.star as usize].push((q, sigma.hypot(distortion_px)));
            }
        }
        for (star, seen) in self.stars.iter_mut().zip(&seen) {
            if seen.is_empty() {
                continue;
            }
            let (position, chi) = robust_mean(seen);
            star.position = position;
            star.error_scale = chi.max(1.0);
        }
    }

    /// Transforms of the frames, given the stars; then the mean shear and scale of all frames is
    /// taken out of stars and transforms alike.
    pub fn update_transforms(&mut self, frames: &[JointFrame], distortion_px: f64) {
        for (frame, joint_frame) in frames.iter().enumerate() {
            let pairs: Vec<(Point, Point, f64)> = self.sightings[frame]
                .iter()
                .map(|&s| {
                    let (_, sigma) = self.seen_at(frames, frame, s);
                    let star = &self.stars[s.star as usize];
                    let variance = (sigma * star.error_scale).powi(2) + distortion_px.powi(2);
                    (joint_frame.stars[s.index as usize].position, star.position, 1.0 / variance)
                })
                .collect();
            if let Some(transform) = fit_transform(joint_frame.model, &pairs) {
                self.ref_from_frame[frame] = transform;
            }
        }
    }

    /// Takes the mean shear and scale of all frames out of stars and transforms: the reference
    /// plane becomes that of the mean frame. `pivot` (reference plane) stays where it is.
    pub fn centre_gauge(&mut self, pivot: Point) {
        let mut mean = [[0.0f64; 2]; 2];
        for t in &self.ref_from_frame {
            let stretch = left_stretch(t);
            for r in 0..2 {
                for c in 0..2 {
                    mean[r][c] += stretch[r][c] / self.ref_from_frame.len() as f64;
                }
            }
        }
        let det = mean[0][0] * mean[1][1] - mean[0][1] * mean[1][0];
        let (a, b) = (mean[1][1] / det, -mean[0][1] / det);
        let (c, d) = (-mean[1][0] / det, mean[0][0] / det);
        let gauge = Transform::affine(
            a,
            b,
            pivot.x - a * pivot.x - b * pivot.y,
            c,
            d,
            pivot.y - c * pivot.x - d * pivot.y,
        );
        for star in &mut self.stars {
            star.position = gauge * star.position;
        }
        for t in &mut self.ref_from_frame {
            *t = gauge * *t;
        }
    }

    /// What the stars of `frame` say of its displacement field: position of the common star,
    /// displacement, error.
    pub fn observations(&self, frames: &[JointFrame], frame: usize) -> Vec<FieldObservation> {
        self.sightings[frame]
            .iter()
            .map(|&s| {
                let star = &self.stars[s.star as usize];
                let (q, sigma) = self.seen_at(frames, frame, s);
                FieldObservation {
                    position: star.position,
                    displacement: q - star.position,
                    sigma_px: sigma * star.error_scale,
                }
            })
            .collect()
    }

    /// Root mean square per axis of the displacements of `frame`, robust, pixels; `None` without
    /// stars.
    pub fn residual_rms_px(&self, frames: &[JointFrame], frame: usize) -> Option<f64> {
        let mut squares: Vec<f64> = self
            .observations(frames, frame)
            .iter()
            .map(|o| o.displacement.norm_squared())
            .collect();
        squares.sort_by(f64::total_cmp);
        // The median of a Rayleigh distribution is 1.1774 σ.
        squares.get(squares.len() / 2).map(|m| m.sqrt() / 1.1774)
    }
}

/// Symmetric factor S of the linear part A = S·R (S² = A Aᵀ).
fn left_stretch(t: &Transform) -> [[f64; 2]; 2] {
    let m = &t.m;
    let (p, q) = (m[0][0] * m[0][0] + m[0][1] * m[0][1], m[1][0] * m[1][0] + m[1][1] * m[1][1]);
    let o = m[0][0] * m[1][0] + m[0][1] * m[1][1];
    // Square root of a symmetric 2×2 matrix: (M + √det · I) / √(trace + 2 √det).
    let root_det = (p * q - o * o).max(0.0).sqrt();
    let norm = (p + q + 2.0 * root_det).sqrt();
    [[(p + root_det) / norm, o / norm], [o / norm, (q + root_det) / norm]]
}

/// Huber mean of positions with errors, and how much larger their scatter is than the errors say.
fn robust_mean(seen: &[(Point, f64)]) -> (Point, f64) {
    let mean = |weight: &dyn Fn(usize) -> f64| {
        let (mut sum, mut total) = (Vec2::default(), 0.0);
        for (i, (q, _)) in seen.iter().enumerate() {
            let w = weight(i);
            sum = sum + Vec2::new(q.x, q.y) * w;
            total += w;
        }
        Point::new(sum.dx / total, sum.dy / total)
    };
    let inverse_variance = |i: usize| 1.0 / (seen[i].1 * seen[i].1);
    let mut centre = mean(&inverse_variance);
    let mut chi = 1.0f64;
    for _ in 0..3 {
        let deviation = |i: usize| (seen[i].0 - centre).norm() / seen[i].1;
        let mut all: Vec<f64> = (0..seen.len()).map(deviation).collect();
        all.sort_by(f64::total_cmp);
        if seen.len() >= 4 {
            chi = all[all.len() / 2] / 1.1774;
        }
        let limit = 2.5 * chi.max(1.0);
        let old = centre;
        centre = mean(&|i| {
            let d = (seen[i].0 - old).norm() / seen[i].1;
            inverse_variance(i) * if d > limit { limit / d } else { 1.0 }
        });
    }
    (centre, chi)
}

/// Points in square cells, in a table of fixed order.
struct Grid {
    cell: f64,
    cells: std::collections::BTreeMap<(i32, i32), Vec<u32>>,
    points: Vec<Point>,
}

impl Grid {
    fn new(radius: f64) -> Self {
        Self { cell: radius, cells: std::collections::BTreeMap::new(), points: Vec::new() }
    }

    fn key(&self, p: Point) -> (i32, i32) {
        ((p.y / self.cell).floor() as i32, (p.x / self.cell).floor() as i32)
    }

    fn add(&mut self, p: Point) -> u32 {
        let index = self.points.len() as u32;
        self.cells.entry(self.key(p)).or_default().push(index);
        self.points.push(p);
        index
    }

    fn near(&self, p: Point, mut found: impl FnMut(u32, f64)) {
        let (row, column) = self.key(p);
        for r in row - 1..=row + 1 {
            for (_, list) in self.cells.range((r, column - 1)..=(r, column + 1)) {
                for &i in list {
                    let distance = self.points[i as usize].distance(p);
                    if distance <= self.cell {
                        found(i, distance);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    /// Frames with shifts, rotations and a shear each; the first frame's shear is large.
    fn burst(n: usize) -> (Vec<Vec<MatchStar>>, Vec<Transform>, Vec<Point>) {
        let mut rng = Rng::new(8, 0, 0);
        let sky: Vec<Point> =
            (0..400).map(|_| Point::new(rng.range(0.0, 1900.0), rng.range(0.0, 1000.0))).collect();
        let mut frames = Vec::new();
        let mut truth = Vec::new();
        for i in 0..n {
            let e = 4e-4;
            let shear = Transform::affine(
                1.0 + e * rng.normal(),
                e * rng.normal(),
                0.0,
                e * rng.normal(),
                1.0 + e * rng.normal(),
                0.0,
            );
            let turn = Transform::similarity(
                1.0,
                0.002 * i as f64,
                Vec2::new(10.0 * rng.normal(), 10.0 * rng.normal()),
            );
            let t = shear * turn;
            truth.push(t);
            frames.push(
                sky.iter()
                    .filter(|_| rng.uniform() < 0.8)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .map(|p| {
                        let q = t * *p;
                        MatchStar {
                            position: Point::new(
                                q.x + 0.05 * rng.normal(),
                                q.y + 0.05 * rng.normal(),
                            ),
                            sigma_px: 0.05,
                            flux: 1.0,
                        }
                    })
                    .collect(),
            );
        }
        (frames, truth, sky)
    }

    #[test]
    fn geometry_is_that_of_the_mean_frame_not_of_the_reference() {
        let (stars, truth, sky) = burst(30);
        let to_first = |i: usize| truth[0] * truth[i].inverse().unwrap();
        let frames: Vec<JointFrame> = (0..30)
            .map(|i| JointFrame {
                stars: &stars[i],
                ref_from_frame: to_first(i),
                model: Model::Affine,
            })
            .collect();
        let mut joint = Joint::link(&frames, 0, 2.5);
        assert!(joint.stars.len() > 380 && joint.stars.len() < 420, "{}", joint.stars.len());
        for _ in 0..3 {
            joint.update_stars(&frames, None, 0.0);
            joint.update_transforms(&frames, 0.0);
            joint.centre_gauge(Point::new(950.0, 500.0));
        }
        // A similarity from the true sky explains the common stars but for the mean shear.
        let pairs: Vec<(Point, Point, f64)> = joint
            .stars
            .iter()
            .map(|s| {
                let here = truth[0].inverse().unwrap() * s.position;
                let nearest = sky
                    .iter()
                    .min_by(|a, b| a.distance(here).total_cmp(&b.distance(here)))
                    .unwrap();
                (*nearest, s.position, 1.0)
            })
            .collect();
        let similarity = fit_transform(Model::Similarity, &pairs).unwrap();
        let rms =
            (pairs.iter().map(|(a, b, _)| (similarity * *a - *b).norm_squared()).sum::<f64>()
                / pairs.len() as f64)
                .sqrt();
        // One frame's shear of 4e-4 is 0.3 px rms over this field; the mean of 30 is 0.06.
        assert!(rms < 0.09, "{rms}");
        assert!(joint.residual_rms_px(&frames, 0).unwrap() < 0.07);
    }
}
