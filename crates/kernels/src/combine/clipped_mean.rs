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

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;
    use crate::combine::rejection::RejectionMethod;

    fn kappa_sigma() -> Rejection {
        Rejection {
            method: RejectionMethod::KappaSigma,
            low: 3.0,
            high: 3.0,
            ..Rejection::default()
        }
    }

    fn frames(n: usize, pixels: usize, f: impl Fn(&mut Rng, usize, usize) -> f32) -> Vec<Vec<f32>> {
        let frame = |frame_index: usize| {
            let mut rng = Rng::new(4, frame_index as u64, 0);
            (0..pixels).map(|i| f(&mut rng, frame_index, i)).collect()
        };
        (0..n).map(frame).collect()
    }

    fn run(frames: &[Vec<f32>], scale: &[f32], rejection: Rejection) -> Vec<f32> {
        let rows: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let mut out = vec![f32::NAN; frames.first().map_or(5, Vec::len)];
        ClippedMean::new(rejection).unwrap().run(&rows, scale, &mut out);
        out
    }

    #[test]
    fn without_rejection_it_is_the_mean() {
        let frames = frames(7, 100, |rng, _, _| rng.normal() as f32);
        let got = run(&frames, &[1.0; 7], Rejection::NONE);
        for (i, got) in got.iter().enumerate() {
            let want = frames.iter().map(|f| f64::from(f[i])).sum::<f64>() / 7.0;
            assert!((f64::from(*got) - want).abs() < 1e-7);
        }
        assert_eq!(run(&[], &[], Rejection::NONE), [0.0; 5]);
    }

    #[test]
    fn cosmic_rays_in_darks_are_left_out_and_noise_is_kept() {
        let clean = |rng: &mut Rng| (300.0 + 5.0 * rng.normal()).round() as f32;
        let dirty = frames(15, 4000, |rng, f, i| {
            clean(rng) + if (i + f * 3) % 15 == 0 { 2000.0 } else { 0.0 }
        });
        let got = run(&dirty, &[1.0; 15], kappa_sigma());
        let rms = (got.iter().map(|v| (v - 300.0).powi(2)).sum::<f32>() / 4000.0).sqrt();
        let ideal = 5.0 / 14f32.sqrt();
        assert!(rms < 1.06 * ideal, "{rms}, {ideal}");
    }

    #[test]
    fn flats_of_different_level_are_brought_to_one_by_their_scale() {
        let flats = frames(9, 64, |_, f, i| (1.0 + f as f32) * (1.0 + 0.01 * i as f32));
        let scale: Vec<f32> = (0..9).map(|f| 1.0 / (1.0 + f as f32)).collect();
        for (i, v) in run(&flats, &scale, kappa_sigma()).iter().enumerate() {
            assert!((v - (1.0 + 0.01 * i as f32)).abs() < 1e-6);
        }
    }

    /// Bias frames of low noise take a few whole values; the mean must not fall onto the commonest.
    #[test]
    fn coarse_values_are_averaged_not_voted() {
        let frames = frames(31, 20_000, |rng, _, _| (100.3 + 0.45 * rng.normal()).round() as f32);
        let got = run(&frames, &[1.0; 31], kappa_sigma());
        let mean = got.iter().map(|&v| f64::from(v)).sum::<f64>() / 20_000.0;
        assert!((mean - 100.3).abs() < 0.02, "{mean}");
    }

    #[test]
    fn pieces_have_the_bits_of_the_whole() {
        let frames = frames(11, 200, |rng, f, i| {
            rng.normal() as f32 + if (i + f) % 7 == 0 { 50.0 } else { 0.0 }
        });
        let whole = run(&frames, &[1.0; 11], kappa_sigma());
        let piece: Vec<Vec<f32>> = frames.iter().map(|f| f[77..130].to_vec()).collect();
        assert_eq!(run(&piece, &[1.0; 11], kappa_sigma()), &whole[77..130]);
    }
}
