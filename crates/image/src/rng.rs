//! Counter-based random numbers: a stream is named by (seed, stream, index), so any part of a
//! simulation can be made alone, in any order, with the same result.

use crate::math;

/// A deterministic stream of random numbers.
///
/// # Source
/// Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195 (SplitMix64). We differ: the three keys
/// are mixed into the starting state one after the other.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    spare_normal: Option<f64>,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream with this name.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        state = mix(state ^ stream.wrapping_mul(GOLDEN).wrapping_add(1));
        state = mix(state ^ index.wrapping_mul(GOLDEN).wrapping_add(2));
        Self { state, spare_normal: None }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [`low`, `high`).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform among `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Standard normal (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(v) = self.spare_normal.take() {
            return v;
        }
        loop {
            let (u, v) = (self.range(-1.0, 1.0), self.range(-1.0, 1.0));
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let f = (-2.0 * math::ln(s) / s).sqrt();
                self.spare_normal = Some(v * f);
                return u * f;
            }
        }
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -math::ln(1.0 - self.uniform())
    }

    /// Poisson with mean `mean`; above 60 by the rounded normal, whose error is below the shot
    /// noise of any use here.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 60.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = math::exp(-mean);
        let (mut k, mut p) = (0.0, self.uniform());
        while p > limit {
            k += 1.0;
            p *= self.uniform();
        }
        k
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first: Vec<u64> = (0..4).map(|i| Rng::new(7, 1, i).next_u64()).collect();
        let again: Vec<u64> = (0..4).map(|i| Rng::new(7, 1, i).next_u64()).collect();
        assert_eq!(first, again);
        assert!(first.windows(2).all(|w| w[0] != w[1]));
        assert_ne!(Rng::new(7, 1, 0).next_u64(), Rng::new(7, 0, 1).next_u64());
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        let mut rng = Rng::new(1, 2, 3);
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let var = normal.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.02);
        for lambda in [0.5, 20.0, 400.0] {
            let mean = (0..n).map(|_| rng.poisson(lambda)).sum::<f64>() / f64::from(n);
            assert!((mean / lambda - 1.0).abs() < 0.02, "{lambda}: {mean}");
        }
    }
}
