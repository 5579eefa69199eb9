//! Clipped means of many frames of the same scene without registration: calibration masters.

use multiversion::multiversion;

use crate::combine::clip::Clip;
use crate::combine::column::Column;
use crate::combine::rejection::{Rejection, RejectionError};
use crate::combine::sort::{LANES, sort_columns};

/// Means, pixel by pixel, of the frames' values that were not rejected; reuse it for all rows.
#[derive(Clone, Debug)]
pub struct ClippedMean {
    clip: Clip,
    min_fraction: f64,
    sorted: Vec<[f32; LANES]>,
    column: Column,
}

impl ClippedMean {
    /// A clipped mean with this rejection.
    ///
    /// # Errors
    /// [`RejectionError`] if the rejection is out of range.
    pub fn new(rejection: Rejection) -> Result<Self, RejectionError> {
        rejection.check()?;
        Ok(Self {
            clip: Clip::new(&rejection),
            min_fraction: f64::from(rejection.min_fraction),
            sorted: Vec::new(),
            column: Column::default(),
        })
    }

    /// Writes the clipped means of `scale[f] · frames[f][i]` to `out[i]`; 0 without frames.
    ///
    /// The slices are the same pixels of every frame, any number of them at a time (a few rows):
    /// pixels do not depend on each other. Values must be finite.
    ///
    /// # Panics
    /// If the slices differ in length, or there is not one scale for each frame.
    pub fn run(&mut self, frames: &[&[f32]], scale: &[f32], out: &mut [f32]) {
        assert_eq!(frames.len(), scale.len(), "one scale for each frame");
        assert!(frames.iter().all(|f| f.len() == out.len()), "slices of different length");
        if frames.is_empty() {
            out.fill(0.0);
            return;
        }
        self.sorted.resize(frames.len(), [0.0; LANES]);
        for (chunk, out) in out.chunks_mut(LANES).enumerate() {
            let at = chunk * LANES;
            for ((sorted, frame), scale) in self.sorted.iter_mut().zip(frames).zip(scale) {
                for (sorted, v) in sorted.iter_mut().zip(&frame[at..at + out.len()]) {
                    *sorted = v * scale;
                }
            }
            sort_columns(&mut self.sorted);
            let sums = sum_columns(&self.sorted);
            let n = frames.len();
            for (lane, out) in out.iter_mut().enumerate() {
                if self.clip.agrees(n, |rank| self.sorted[rank][lane], 0.0) {
                    *out = (sums[lane] / n as f64) as f32;
                    continue;
                }
                self.column.load(self.sorted.iter().map(|row| row[lane]));
                let mut kept = self.clip.judge(&self.column, 0.0).kept;
                if (kept.len() as f64) < self.min_fraction * frames.len() as f64 {
                    kept = self.column.all();
                }
                let (sum, _) = self.column.sums(&kept);
                *out = (self.column.median() + sum / kept.len().max(1) as f64) as f32;
            }
        }
    }
}

/// Sums of the columns of `rows`, from the first row to the last.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sum_columns(rows: &[[f32; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for row in rows {
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += f64::from(*v);
        }
    }
    sums
}
