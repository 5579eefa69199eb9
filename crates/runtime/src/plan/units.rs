//! How a phase may be cut into units, and what a unit of each size holds.

use serde::{Deserialize, Serialize};

use crate::ordered::Need;

/// How a phase may be cut into units. All bytes are those of threads; what processes copy in
/// addition is added by the planner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitRule {
    /// One unit a frame (or a pair, a group: whatever cannot be cut).
    Frames {
        /// Number of units.
        count: usize,
        /// Held while a unit is worked on, beside its result.
        work_bytes: u64,
        /// Result of a unit.
        result_bytes: u64,
    },
    /// One unit a band of whole rows.
    Rows {
        /// Rows of the image.
        height: usize,
        /// Rows that a unit reads beyond its band, on each side.
        halo: usize,
        /// Least rows of a unit; 0 counts as 1.
        min_rows: usize,
        /// Held whatever the number of rows.
        overhead_bytes: u64,
        /// Held per row of the band and its halo.
        work_bytes_per_row: u64,
        /// Result per row of the band.
        result_bytes_per_row: u64,
    },
    /// One unit a square block.
    Blocks {
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
        /// Pixels that a unit reads beyond its block, on each side.
        halo: usize,
        /// Least side of a block; rounded up to `multiple`.
        min_side: usize,
        /// Largest side of a block; rounded down to `multiple`, but never below the least.
        max_side: usize,
        /// Sides are multiples of this (the step of a tile lattice); 0 counts as 1.
        multiple: usize,
        /// Held whatever the side.
        overhead_bytes: u64,
        /// Held per pixel of the block and its halo.
        work_bytes_per_pixel: u64,
        /// Result per pixel of the block.
        result_bytes_per_pixel: u64,
    },
}

/// Size of the units of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedUnit {
    /// A frame.
    Frame,
    /// A band; the last of an image may have fewer rows.
    Rows {
        /// Rows of a band.
        rows: usize,
    },
    /// A square block; those at the right and lower edges may be smaller.
    Block {
        /// Side of a block, in pixels.
        side: usize,
        /// Cells of the lattice (`multiple` × `multiple` pixels) in a block.
        tiles: usize,
    },
}

/// The sizes that a rule allows: `step × first ..= step × last`, in rows or pixels of side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) step: usize,
}

impl UnitRule {
    /// The sizes to choose from, smallest first; there is always one.
    pub(super) fn sizes(&self) -> Sizes {
        match *self {
            Self::Frames { .. } => Sizes { first: 1, last: 1, step: 1 },
            Self::Rows { height, min_rows, .. } => {
                let last = height.max(1);
                Sizes { first: min_rows.clamp(1, last), last, step: 1 }
            }
            Self::Blocks { height, width, min_side, max_side, multiple, .. } => {
                let step = multiple.max(1);
                // a block that covers the image is as large as any
                let whole = height.max(width).div_ceil(step).max(1);
                let first = min_side.div_ceil(step).clamp(1, whole);
                Sizes { first, last: (max_side / step).clamp(first, whole), step }
            }
        }
    }

    /// Number of units of `size` rows or pixels of side.
    pub(super) fn count(&self, size: usize) -> usize {
        match *self {
            Self::Frames { count, .. } => count,
            Self::Rows { height, .. } => height.div_ceil(size),
            Self::Blocks { height, width, .. } => height.div_ceil(size) * width.div_ceil(size),
        }
    }

    /// What the largest unit of `size` rows or pixels of side holds.
    pub(super) fn need(&self, size: usize) -> Need {
        match *self {
            Self::Frames { work_bytes, result_bytes, .. } => {
                Need { work: work_bytes, result: result_bytes }
            }
            Self::Rows {
                height,
                halo,
                overhead_bytes,
                work_bytes_per_row,
                result_bytes_per_row,
                ..
            } => {
                let rows = size.min(height) as u64;
                let with_halo = rows.saturating_add(2 * halo as u64).min(height as u64);
                Need {
                    work: overhead_bytes
                        .saturating_add(work_bytes_per_row.saturating_mul(with_halo)),
                    result: result_bytes_per_row.saturating_mul(rows),
                }
            }
            Self::Blocks {
                height,
                width,
                halo,
                overhead_bytes,
                work_bytes_per_pixel,
                result_bytes_per_pixel,
                ..
            } => {
                let inner = (size.min(height) as u64).saturating_mul(size.min(width) as u64);
                let wide = |side: usize| (size.min(side) as u64).saturating_add(2 * halo as u64);
                let outer = wide(height).saturating_mul(wide(width));
                Need {
                    work: overhead_bytes.saturating_add(work_bytes_per_pixel.saturating_mul(outer)),
                    result: result_bytes_per_pixel.saturating_mul(inner),
                }
            }
        }
    }

    /// `size` as it stands in the plan.
    pub(super) fn planned(&self, size: usize) -> PlannedUnit {
        match self {
            Self::Frames { .. } => PlannedUnit::Frame,
            Self::Rows { .. } => PlannedUnit::Rows { rows: size },
            Self::Blocks { .. } => {
                let per_side = size / self.sizes().step;
                PlannedUnit::Block { side: size, tiles: per_side * per_side }
            }
        }
    }
}

impl Sizes {
    /// The largest size for which `fits` is true, if it is true for the smallest. `fits` must not
    /// become true again once it was false. O(log n).
    pub(super) fn largest(self, fits: impl Fn(usize) -> bool) -> Option<usize> {
        if !fits(self.first * self.step) {
            return None;
        }
        let (mut good, mut bad) = (self.first, self.last + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle * self.step) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good * self.step)
    }

    /// The smallest size.
    pub(super) fn smallest(self) -> usize {
        self.first * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(height: usize, width: usize, min_side: usize, max_side: usize) -> UnitRule {
        UnitRule::Blocks {
            height,
            width,
            halo: 8,
            min_side,
            max_side,
            multiple: 32,
            overhead_bytes: 1000,
            work_bytes_per_pixel: 10,
            result_bytes_per_pixel: 4,
        }
    }

    #[test]
    fn sides_are_multiples_within_the_limits_and_the_image() {
        let sides = |rule: UnitRule| {
            let Sizes { first, last, step } = rule.sizes();
            (first * step, last * step)
        };
        assert_eq!(sides(blocks(1096, 1936, 50, 500)), (64, 480));
        assert_eq!(sides(blocks(1096, 1936, 64, 10_000)), (64, 1952));
        assert_eq!(sides(blocks(1096, 1936, 100, 10)), (128, 128));
        assert_eq!(sides(blocks(20, 20, 64, 512)), (32, 32));
        assert_eq!(sides(blocks(0, 0, 64, 512)), (32, 32));
    }

    #[test]
    fn needs_count_the_halo_in_work_and_not_in_the_result() {
        let rule = blocks(1096, 1936, 64, 512);
        assert_eq!(rule.need(64), Need { work: 1000 + 10 * 80 * 80, result: 4 * 64 * 64 });
        assert_eq!(rule.count(512), 3 * 4);
        assert_eq!(rule.planned(512), PlannedUnit::Block { side: 512, tiles: 256 });
        let rows = UnitRule::Rows {
            height: 100,
            halo: 3,
            min_rows: 0,
            overhead_bytes: 7,
            work_bytes_per_row: 10,
            result_bytes_per_row: 1,
        };
        assert_eq!(rows.need(10), Need { work: 7 + 160, result: 10 });
        assert_eq!(rows.need(100), Need { work: 7 + 1000, result: 100 });
        assert_eq!((rows.count(10), rows.count(30)), (10, 4));
    }

    #[test]
    fn the_largest_size_that_fits_is_found() {
        let sizes = Sizes { first: 2, last: 50, step: 16 };
        for limit in 0..900 {
            let want = (2..=50).map(|k| k * 16).take_while(|&size| size <= limit).last();
            assert_eq!(sizes.largest(|size| size <= limit), want, "{limit}");
        }
    }

    #[test]
    fn absurd_sizes_saturate_instead_of_wrapping() {
        let rule = UnitRule::Blocks {
            height: usize::MAX / 4,
            width: 2,
            halo: 1,
            min_side: 1 << 40,
            max_side: 1 << 40,
            multiple: 1,
            overhead_bytes: u64::MAX - 5,
            work_bytes_per_pixel: u64::MAX / 2,
            result_bytes_per_pixel: u64::MAX / 2,
        };
        assert_eq!(rule.need(1 << 40), Need { work: u64::MAX, result: u64::MAX });
    }
}
