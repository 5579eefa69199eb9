//! Finds the transform between two star lists by their patterns: any shift, rotation and
//! handedness, a limited scale change, partial overlap, false stars.
//!
//! Triangles of neighbouring bright stars are compared by shape; each pair of alike triangles is a
//! hypothesis. Hypotheses are tested in the order of how many others agree with their rotation and
//! scale; a test spreads from the triangle over the field, and counts. What is accepted must be
//! too good for chance (an expected number of false alarms, not a fixed count), so unrelated lists
//! give [`MatchError::NoConsensus`], not a wrong transform. Then all stars are matched, and the
//! model is chosen that they support.
//!
//! No random numbers: the result depends on the lists alone.

mod asterism;
mod consensus;
mod grid;
mod refine;

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Transform, math};
use thiserror::Error;

use self::asterism::{ShapeIndex, Triangle, neighbours, triangles};
use self::consensus::{Consensus, Field, density, from_two_pairs};
use self::grid::PointGrid;
use self::refine::Lists;
use super::fit::Model;

/// A star as the matcher needs it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchStar {
    /// Centroid in pixels.
    pub position: Point,
    /// Standard error of the centroid per axis, pixels.
    pub sigma_px: f32,
    /// Brightness in any linear unit; only its order counts.
    pub flux: f32,
}

/// What the matcher may assume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchParams {
    /// Largest scale change in either direction: 0.2 allows 1/1.2 to 1.2.
    pub max_scale_change: f64,
    /// Largest distance of a star from its place under a similarity (distortion, centroid error)
    /// with which it is still matched, pixels.
    pub tolerance_px: f64,
    /// The richest model that may be chosen.
    pub max_model: Model,
    /// Expected number of wrong transforms as good as the accepted one, per call.
    pub max_false_alarms: f64,
}

impl Default for MatchParams {
    fn default() -> Self {
        Self {
            max_scale_change: 0.2,
            tolerance_px: 3.0,
            max_model: Model::Homography,
            max_false_alarms: 1e-5,
        }
    }
}

/// How a frame lies on the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct StarMatch {
    /// Takes positions in the frame to positions in the reference.
    pub ref_from_frame: Transform,
    /// The family that the data support.
    pub model: Model,
    /// Matched stars: indices into the reference list and the frame list, in the order of the
    /// former.
    pub pairs: Vec<(u32, u32)>,
    /// Root mean square distance of the matched stars after the transform, reference pixels.
    pub rms_px: f64,
    /// Whether the frame is a mirror image of the reference.
    pub mirrored: bool,
}

/// Why no transform was found.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MatchError {
    /// A list is too short.
    #[error(
        "{found} stars in the {list}, at least {needed} are needed to match; \
         lower the detection threshold?"
    )]
    TooFewStars {
        /// Which list: "reference" or "frame".
        list: &'static str,
        /// Its stars with finite positions.
        found: usize,
        /// The smallest number that can be matched.
        needed: usize,
    },
    /// No transform agrees with more stars than chance would.
    #[error(
        "no transform agrees with more stars than chance would: the best matches {matched} of \
         {stars} bright stars"
    )]
    NoConsensus {
        /// Stars matched by the best transform found.
        matched: usize,
        /// Bright stars of the frame that could have matched.
        stars: usize,
    },
}

/// Fewest stars of either list that can prove a match.
const MIN_STARS: usize = 4;
/// Neighbours with which the surroundings of a star are tested, and from which the triangles of a
/// level are taken.
const MAX_NEIGHBOURS: usize = 12;

/// Sizes of the lists of brightest stars, and neighbours that form triangles. Lists of a few stars
/// use all their triangles, for the few stars of one list need not be neighbours in the other.
const LEVELS: [(usize, usize); 4] = [(12, 12), (30, 12), (80, 7), (200, 6)];
/// Hypotheses that are tested at most on one level.
const MAX_HYPOTHESES: usize = 20_000;
/// Natural logarithm of the expected false alarms below which no better hypothesis is looked for.
const LN_CERTAIN: f64 = -30.0;

/// The brightest stars of a list and their surroundings.
#[derive(Clone, Debug)]
struct Bright {
    /// Indices into the full list.
    stars: Vec<u32>,
    points: Vec<Point>,
    neighbours: Vec<Vec<u16>>,
    triangles: Vec<Triangle>,
}

impl Bright {
    fn new(list: &[MatchStar], by_flux: &[u32], (count, k): (usize, usize)) -> Self {
        let stars = by_flux[..by_flux.len().min(count)].to_vec();
        let points: Vec<Point> = stars.iter().map(|&i| list[i as usize].position).collect();
        let neighbours = neighbours(&points, MAX_NEIGHBOURS);
        let triangles = triangles(&points, &neighbours, k);
        Self { stars, points, neighbours, triangles }
    }
}

/// Indices of the stars with finite positions, brightest first.
fn by_flux(list: &[MatchStar]) -> Vec<u32> {
    let is_usable = |s: &MatchStar| s.position.x.is_finite() && s.position.y.is_finite();
    let mut order: Vec<u32> =
        (0..list.len() as u32).filter(|&i| is_usable(&list[i as usize])).collect();
    order.sort_by(|&a, &b| list[b as usize].flux.total_cmp(&list[a as usize].flux).then(a.cmp(&b)));
    order
}

#[derive(Clone, Debug)]
struct Level {
    stars: Vec<u32>,
    grid: PointGrid,
    density: f64,
    shapes: ShapeIndex,
    /// As in [`LEVELS`].
    size: (usize, usize),
}

impl Level {
    fn new(list: &[MatchStar], by_flux: &[u32], size: (usize, usize)) -> Self {
        let bright = Bright::new(list, by_flux, size);
        let grid = PointGrid::new(bright.points.clone());
        let density = density(&bright.points, &bright.neighbours, grid.bounds());
        let shapes = ShapeIndex::new(bright.triangles, &bright.points);
        Self { stars: bright.stars, grid, density, shapes, size }
    }
}

/// The reference's star patterns, built once for many frames.
///
/// About 100 bytes per star and 400 kB for its triangles.
#[derive(Clone, Debug)]
pub struct ReferenceIndex {
    stars: Vec<MatchStar>,
    /// Stars with finite positions.
    usable: usize,
    levels: Vec<Level>,
    grid: PointGrid,
}

impl ReferenceIndex {
    /// The index of `stars`, in any order. O(n log n).
    pub fn new(stars: &[MatchStar]) -> Self {
        let order = by_flux(stars);
        let mut levels: Vec<Level> = Vec::new();
        for size in LEVELS {
            // A level that holds no more stars than the one before still has fewer triangles.
            if levels.last().is_none_or(|last| last.stars.len() < order.len()) {
                levels.push(Level::new(stars, &order, size));
            }
        }
        // Positions that are not finite are moved where nothing lands.
        let far = Point::new(-1e9, -1e9);
        let is_usable = |s: &&MatchStar| s.position.x.is_finite() && s.position.y.is_finite();
        let points = if order.len() == stars.len() {
            stars.iter().map(|s| s.position).collect()
        } else {
            stars.iter().map(|s| if is_usable(&s) { s.position } else { far }).collect()
        };
        Self { stars: stars.to_vec(), usable: order.len(), levels, grid: PointGrid::new(points) }
    }

    /// How `frame` lies on the reference. Stars in any order; a few milliseconds.
    ///
    /// # Errors
    /// [`MatchError::TooFewStars`] if either list has fewer than four stars with finite positions;
    /// [`MatchError::NoConsensus`] if no transform is better than chance.
    ///
    /// # Source
    /// Asterisms: Valdes et al. (1995), doi:10.1086/133667, and Beroiz, Cabral & Sanchez (2020),
    /// doi:10.1016/j.ascom.2020.100384. Hypothesis and verification by the odds of the other
    /// stars: Lang et al. (2010), doi:10.1088/0004-6256/139/5/1782. We differ: the odds are an a
    /// contrario number of false alarms (Moisan & Stival 2004, doi:10.1023/B:VISI.0000013094.38752.54),
    /// hypotheses come in the order of a vote on rotation and scale, and nothing is random.
    pub fn match_frame(
        &self,
        frame: &[MatchStar],
        params: &MatchParams,
    ) -> Result<StarMatch, MatchError> {
        let order = by_flux(frame);
        for (list, found) in [("reference", self.usable), ("frame", order.len())] {
            if found < MIN_STARS {
                return Err(MatchError::TooFewStars { list, found, needed: MIN_STARS });
            }
        }
        let ln_accepted = math::ln(params.max_false_alarms);
        let mut best: Option<Consensus> = None;
        for level in self.levels_for(order.len()) {
            let bright = Bright::new(frame, &order, level.size);
            let Some(found) = search(level, &bright, params) else { continue };
            if found.ln_false_alarms <= ln_accepted {
                let refined = self.refined(frame, level, &found, params);
                if let Some(result) = refined {
                    return Ok(result);
                }
            }
            if best.as_ref().is_none_or(|b| found.ln_false_alarms < b.ln_false_alarms) {
                best = Some(found);
            }
        }
        let (matched, stars) =
            best.map_or((0, order.len().min(200)), |b| (b.pairs.len(), b.candidates));
        Err(MatchError::NoConsensus { matched, stars })
    }

    /// The levels, the one that suits a list of `n` stars first.
    fn levels_for(&self, n: usize) -> impl Iterator<Item = &Level> {
        let mut order: Vec<&Level> = self.levels.iter().collect();
        let wanted = n.min(80);
        order.sort_by_key(|l| (l.size.0 * 100 / wanted).max(wanted * 100 / l.size.0));
        order.into_iter()
    }

    fn refined(
        &self,
        frame: &[MatchStar],
        level: &Level,
        found: &Consensus,
        params: &MatchParams,
    ) -> Option<StarMatch> {
        let size = self.grid.bounds().1 - self.grid.bounds().0;
        let density = self.usable as f64 / (size.dx.max(1.0) * size.dy.max(1.0));
        let lists = Lists {
            reference: &self.stars,
            grid: &self.grid,
            density: density.max(level.density),
            frame,
        };
        let refined = lists.refine(found.ref_from_frame, params)?;
        // The refinement adds faint stars; if it loses the bright ones, it went astray.
        if 2 * refined.pairs.len() < found.pairs.len() {
            return None;
        }
        Some(StarMatch {
            ref_from_frame: refined.ref_from_frame,
            model: refined.model,
            pairs: refined.pairs,
            rms_px: refined.rms_px,
            mirrored: refined.ref_from_frame.determinant() < 0.0,
        })
    }
}

/// How `frame` lies on `reference`. For many frames on one reference use [`ReferenceIndex`].
///
/// # Errors
/// As [`ReferenceIndex::match_frame`].
pub fn match_stars(
    reference: &[MatchStar],
    frame: &[MatchStar],
    params: &MatchParams,
) -> Result<StarMatch, MatchError> {
    ReferenceIndex::new(reference).match_frame(frame, params)
}

/// A pair of triangles of the same shape.
struct Hypothesis {
    reference: [u16; 3],
    frame: [u16; 3],
    mirrored: bool,
    bin: usize,
    misfit: f32,
}

/// Bins of the vote: rotations of 5°, and log scales.
const ANGLES: usize = 72;
const SCALES: usize = 5;

fn hypotheses(level: &Level, bright: &Bright, params: &MatchParams) -> Vec<Hypothesis> {
    let max_ln_scale = math::ln(1.0 + params.max_scale_change) as f32;
    let mut all = Vec::new();
    for t in &bright.triangles {
        level.shapes.similar(t, max_ln_scale, |r| {
            let mirrored = r.turns_positive != t.turns_positive;
            let angle =
                if mirrored { r.direction + t.direction } else { r.direction - t.direction };
            let turns = (angle / std::f32::consts::TAU).rem_euclid(1.0);
            let scale = (r.ln_size - t.ln_size) / (2.0 * max_ln_scale.max(1e-3)) + 0.5;
            let angle_bin = ((turns * ANGLES as f32) as usize).min(ANGLES - 1);
            let scale_bin = ((scale * SCALES as f32) as usize).min(SCALES - 1);
            let bin = (usize::from(mirrored) * SCALES + scale_bin) * ANGLES + angle_bin;
            let (a, b) = (r.ratios[0] - t.ratios[0], r.ratios[1] - t.ratios[1]);
            let misfit = (a * a + b * b).sqrt() / t.tolerance;
            all.push(Hypothesis { reference: r.stars, frame: t.stars, mirrored, bin, misfit });
        });
    }
    all
}

/// Most votes first, counting half of the neighbouring rotations; then the best fitting shapes.
fn sort_by_votes(all: &mut [Hypothesis]) {
    let mut votes = vec![0u32; 2 * SCALES * ANGLES];
    for h in all.iter() {
        votes[h.bin] += 2;
    }
    let smoothed: Vec<u32> = (0..votes.len())
        .map(|bin| {
            let (ring, angle) = (bin / ANGLES * ANGLES, bin % ANGLES);
            votes[bin]
                + votes[ring + (angle + 1) % ANGLES] / 2
                + votes[ring + (angle + ANGLES - 1) % ANGLES] / 2
        })
        .collect();
    all.sort_by(|a, b| {
        smoothed[b.bin]
            .cmp(&smoothed[a.bin])
            .then(a.bin.cmp(&b.bin))
            .then(a.misfit.total_cmp(&b.misfit))
    });
}

/// The best consensus of one level; `None` if no hypothesis survives.
fn search(level: &Level, bright: &Bright, params: &MatchParams) -> Option<Consensus> {
    let field = Field {
        reference: &level.grid,
        density: level.density,
        frame: &bright.points,
        neighbours: &bright.neighbours,
        tolerance_px: params.tolerance_px,
    };
    let mut all = hypotheses(level, bright, params);
    sort_by_votes(&mut all);
    all.truncate(MAX_HYPOTHESES);
    let max_scale = 1.0 + params.max_scale_change;
    let scales = 0.99 / max_scale..=1.01 * max_scale;
    let mut best: Option<Consensus> = None;
    for h in &all {
        let to = h.reference.map(|i| level.grid.points()[i as usize]);
        let from = h.frame.map(|i| bright.points[i as usize]);
        let seed = from_two_pairs([from[1], from[2]], [to[1], to[2]], h.mirrored);
        if !field.is_plausible(&seed, h.frame) {
            continue;
        }
        let pairs = [(to[0], from[0]), (to[1], from[1]), (to[2], from[2])];
        let Some(found) = field.grow(&seed, pairs) else { continue };
        if !scales.contains(&found.ref_from_frame.scale()) {
            continue;
        }
        let is_certain = found.ln_false_alarms < LN_CERTAIN;
        if best.as_ref().is_none_or(|b| found.ln_false_alarms < b.ln_false_alarms) {
            best = Some(found);
        }
        if is_certain {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests;
