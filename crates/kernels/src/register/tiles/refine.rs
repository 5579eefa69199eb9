//! Splitting the tiles whose motion varies more than its measurement errors explain.

use serde::{Deserialize, Serialize};
use stillframe_image::Rect;

use super::window::ramp;
use super::{MIN_TILE, Tile, TileGrid, TileWindow, even};
use crate::register::temporal::Measurement;

/// How much the displacement of a tile varies over the frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisplacementVariance {
    /// Variance of dx plus variance of dy over the frames, square pixels.
    pub total_px2: f64,
    /// The part that the errors of the measurements explain, square pixels.
    pub estimation_px2: f64,
    /// Standard error of `total_px2 − estimation_px2`.
    pub sigma_px2: f64,
    /// Number of frames with a measurement.
    pub n_frames: usize,
}

impl DisplacementVariance {
    /// Of the measurements of one tile, one per frame; frames without one do not count. `None` for
    /// fewer than three.
    pub fn of(measurements: &[Option<Measurement>]) -> Option<Self> {
        let valid = || measurements.iter().flatten();
        let n_frames = valid().count();
        if n_frames < 3 {
            return None;
        }
        let n = n_frames as f64;
        let (mut dx, mut dy, mut estimation) = (0.0, 0.0, 0.0);
        for m in valid() {
            dx += m.value.dx / n;
            dy += m.value.dy / n;
            estimation += 2.0 * m.sigma_px * m.sigma_px / n;
        }
        let sum: f64 = valid()
            .map(|m| (m.value.dx - dx) * (m.value.dx - dx) + (m.value.dy - dy) * (m.value.dy - dy))
            .sum();
        let total = sum / (n - 1.0);
        // Two axes with n − 1 degrees of freedom each; no better than if the errors were all.
        let sigma = total.max(estimation) / (n - 1.0).sqrt();
        Some(Self { total_px2: total, estimation_px2: estimation, sigma_px2: sigma, n_frames })
    }

    /// The variance that the errors do not explain, square pixels, at least 0.
    pub fn real_px2(&self) -> f64 {
        (self.total_px2 - self.estimation_px2).max(0.0)
    }
}

/// When to split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefineParams {
    /// Real variance (both axes) above which a tile is split, square pixels.
    pub max_variance_px2: f64,
    /// Smallest side of a tile that may result, pixels; never below 64 is split.
    pub min_size: usize,
    /// Largest number of times that a tile may be split.
    pub max_level: u8,
}

impl Default for RefineParams {
    fn default() -> Self {
        Self { max_variance_px2: 0.25, min_size: MIN_TILE, max_level: 2 }
    }
}

/// Standard errors by which the variance must exceed the threshold: chance alone then splits one
/// tile in a thousand.
const SIGNIFICANCE: f64 = 3.0;

/// A finer lattice.
#[derive(Clone, Debug, PartialEq)]
pub struct Refinement {
    /// The new lattice: each split tile is replaced, in its place, by its four parts.
    pub grid: TileGrid,
    /// Indices of the new tiles, ascending: these are to be measured, the others stand.
    pub changed: Vec<usize>,
    /// For each tile of the new lattice the index of the old one that it is or was part of.
    pub parents: Vec<usize>,
}

impl TileGrid {
    /// The lattice with those tiles split whose displacement varies by more than `params` allows
    /// and more than chance: each into four quadrants that overlap by the lattice's overlap, whose
    /// windows share out the parent's. `variances` has an entry for each tile; a tile without one
    /// is not split.
    ///
    /// # Panics
    /// If `variances` has another length than [`Self::tiles`].
    pub fn refine(
        &self,
        variances: &[Option<DisplacementVariance>],
        params: &RefineParams,
    ) -> Refinement {
        assert_eq!(variances.len(), self.tiles.len(), "one variance for each tile");
        let mut grid = Self { shape: self.shape, overlap: self.overlap, tiles: Vec::new() };
        let (mut changed, mut parents) = (Vec::new(), Vec::new());
        for (index, (tile, variance)) in self.tiles.iter().zip(variances).enumerate() {
            let needs_split = variance.is_some_and(|v| {
                v.real_px2() > params.max_variance_px2 + SIGNIFICANCE * v.sigma_px2
            });
            let parts = if needs_split && tile.level < params.max_level {
                self.split(tile, params.min_size.max(MIN_TILE))
            } else {
                None
            };
            let first = grid.tiles.len();
            if let Some(parts) = parts {
                grid.tiles.extend(parts);
                changed.extend(first..grid.tiles.len());
            } else {
                grid.tiles.push(tile.clone());
            }
            parents.resize(grid.tiles.len(), index);
        }
        Refinement { grid, changed, parents }
    }

    /// The four quadrants of `tile`; `None` if they would be smaller than `min_size`.
    fn split(&self, tile: &Tile, min_size: usize) -> Option<[Tile; 4]> {
        let (left, right) = self.halves(tile.rect.width, min_size)?;
        let (top, bottom) = self.halves(tile.rect.height, min_size)?;
        let [left_x, right_x] = shared_out(&tile.window.x, left, right);
        let [top_y, bottom_y] = shared_out(&tile.window.y, top, bottom);
        let part =
            |(x, width): (usize, usize), wx: &[f32], (y, height): (usize, usize), wy: &[f32]| {
                Tile {
                    rect: Rect::new(tile.rect.x + x, tile.rect.y + y, width, height),
                    level: tile.level + 1,
                    window: TileWindow { x: wx.to_vec(), y: wy.to_vec() },
                }
            };
        Some([
            part(left, &left_x, top, &top_y),
            part(right, &right_x, top, &top_y),
            part(left, &left_x, bottom, &bottom_y),
            part(right, &right_x, bottom, &bottom_y),
        ])
    }

    /// Start and length of the two parts of a side, the overlap being this part of each.
    fn halves(&self, side: usize, min_size: usize) -> Option<((usize, usize), (usize, usize))> {
        // Two parts of length l that share o·l: side = (2 − o) l.
        let part = even((side as f64 / (2.0 - self.overlap)).ceil() as usize + 1);
        let start = even(side - part.min(side));
        let second = side - start;
        (part.min(second) >= min_size && part < side).then_some(((0, part), (start, second)))
    }
}

/// The factors of a parent's window for its two parts, which add up to the parent's.
fn shared_out(
    parent: &[f32],
    (_, first_length): (usize, usize),
    (start, second_length): (usize, usize),
) -> [Vec<f32>; 2] {
    let shared = first_length - start;
    let rising = |x: usize| {
        if x < start {
            0.0
        } else if x < first_length {
            ramp(x - start, shared)
        } else {
            1.0
        }
    };
    let first = (0..first_length).map(|x| (f64::from(parent[x]) * (1.0 - rising(x))) as f32);
    let second = (start..start + second_length).map(|x| (f64::from(parent[x]) * rising(x)) as f32);
    [first.collect(), second.collect()]
}
