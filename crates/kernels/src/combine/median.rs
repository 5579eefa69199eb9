//! The weighted median of the accepted samples.

use crate::combine::accept::{FrameNoise, RowLimits};
use crate::combine::sort::{LANES, sort_key_columns};
use crate::combine::stack::SampleStack;

/// Stands for "no sample": sorts after every key of a finite value.
const NONE: u64 = u64::MAX;

/// Reused memory for the weighted medians of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medians {
    /// Value in the upper half, in the order of floats; bits of the weight in the lower.
    keys: Vec<[u64; LANES]>,
    medians: Vec<f32>,
}

impl Medians {
    /// Finds the medians of a row; `weights` are `[frame][pixel of the row]`.
    pub(crate) fn run(
        &mut self,
        stack: &SampleStack,
        row: usize,
        weights: &[f32],
        limits: &RowLimits,
        frames: &[FrameNoise],
    ) {
        let width = stack.shape().width;
        self.medians.clear();
        self.keys.resize(frames.len(), [NONE; LANES]);
        for x in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - x);
            for ((frame_index, keys), &frame) in self.keys.iter_mut().enumerate().zip(frames) {
                keys.fill(NONE);
                let values = &stack.row(frame_index, row)[x..x + lanes];
                let weights = &weights[frame_index * width + x..][..lanes];
                for (lane, (&v, &w)) in values.iter().zip(weights).enumerate() {
                    if w > 0.0 && limits.accepts(x + lane, v, frame) {
                        keys[lane] = key(v, w);
                    }
                }
            }
            sort_key_columns(&mut self.keys);
            for lane in 0..lanes {
                let keys = self.keys.iter().map(|row| row[lane]).take_while(|&key| key != NONE);
                self.medians.push(weighted_median(keys));
            }
        }
    }

    /// The median of pixel `x` of the last row; 0 without samples.
    pub(crate) fn of_pixel(&self, x: usize) -> f32 {
        self.medians[x]
    }
}

fn key(value: f32, weight: f32) -> u64 {
    let bits = value.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(weight.to_bits())
}

fn value_of(key: u64) -> f64 {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    f64::from(f32::from_bits(bits))
}

fn weight_of(key: u64) -> f64 {
    f64::from(f32::from_bits(key as u32))
}

fn weighted_median(sorted: impl Iterator<Item = u64> + Clone) -> f32 {
    let half = sorted.clone().map(weight_of).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let mut sorted = sorted.peekable();
    while let Some(key) = sorted.next() {
        sum += weight_of(key);
        if sum > half {
            return value_of(key) as f32;
        }
        if sum == half {
            let above = sorted.peek().copied().unwrap_or(key);
            return f64::midpoint(value_of(key), value_of(above)) as f32;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_order_value_and_weight() {
        let values = [-1e30f32, -2.5, -1e-30, 0.0, 3e-9, 7.0, 1e30];
        assert!(values.map(|v| key(v, 2.0)).is_sorted());
        for v in values {
            assert_eq!(value_of(key(v, 0.25)), f64::from(v));
            assert_eq!(weight_of(key(v, 0.25)), 0.25);
        }
    }

    #[test]
    fn half_of_the_weight_decides() {
        let median = |pairs: &[(f32, f32)]| {
            let mut keys: Vec<u64> = pairs.iter().map(|&(v, w)| key(v, w)).collect();
            keys.sort_unstable();
            weighted_median(keys.into_iter())
        };
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[(5.0, 0.1)]), 5.0);
        assert_eq!(median(&[(1.0, 1.0), (3.0, 1.0)]), 2.0);
        assert_eq!(median(&[(1.0, 1.0), (9.0, 1.0), (3.0, 1.0)]), 3.0);
        assert_eq!(median(&[(1.0, 1.0), (9.0, 5.0), (3.0, 1.0)]), 9.0);
        assert_eq!(median(&[(4.0, 1.0), (1.0, 1.0), (9.0, 1.0), (3.0, 1.0)]), 3.5);
    }
}
