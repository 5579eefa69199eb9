//! Which samples, with which weights, make a sample of a resized or smoothed row.

use stillframe_image::math;

/// For every output sample: the input samples that it mixes, and their weights (sum 1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taps {
    /// Number of input samples.
    pub(crate) n_in: usize,
    /// Taps per output sample.
    pub(crate) per_sample: usize,
    /// Input index of each tap, output sample by output sample.
    pub(crate) index: Vec<u32>,
    /// Weight of each tap.
    pub(crate) weight: Vec<f64>,
}

/// Cubic convolution with a = -0.75.
///
/// # Source
/// Keys (1981), doi:10.1109/TASSP.1981.1163711, eq. (15) with its free parameter a.
pub(crate) fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance.abs();
    if d < 1.0 {
        ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A
    } else {
        0.0
    }
}

/// The index inside `0..n` of sample `i` of the half-sample symmetric extension (-1 → 0, n → n - 1).
fn reflect(i: i64, n: usize) -> u32 {
    let n = n as i64;
    let p = i.rem_euclid(2 * n);
    p.min(2 * n - 1 - p) as u32
}

/// The index of sample `i` when the ends are repeated.
fn clamp(i: i64, n: usize) -> u32 {
    i.clamp(0, n as i64 - 1) as u32
}

/// Gaussian weights at -radius..=radius, sum 1.
pub(crate) fn gaussian_weights(sigma: f64, radius: i64) -> Vec<f64> {
    if radius == 0 {
        return vec![1.0];
    }
    let g: Vec<f64> =
        (-radius..=radius).map(|r| math::exp(-0.5 * (r as f64 / sigma).powi(2))).collect();
    let sum: f64 = g.iter().sum();
    g.iter().map(|v| v / sum).collect()
}

/// Where a Gaussian of `sigma` samples is cut: at 4 sigma.
pub(crate) fn gaussian_radius(sigma: f64) -> i64 {
    (4.0 * sigma + 0.5) as i64
}

impl Taps {
    /// The pyramid's resizer along one axis: a Gaussian of `sigma` input samples and cubic
    /// convolution in one, half-sample symmetric at the ends.
    ///
    /// The window of a sample that falls between two input samples starts one early, so that its
    /// outermost right tap is missing; this matters only without the Gaussian (enlarging) and is
    /// part of the definition.
    pub(crate) fn resize(n_in: usize, n_out: usize, sigma: f64) -> Self {
        let radius = (2.0 * sigma).ceil() as i64;
        let g = gaussian_weights(sigma, radius);
        let first = |x: f64| (x - 2.0).floor() as i64 - radius;
        Self::build(n_in, n_out, 2 * radius as usize + 4, reflect, first, |x, j| {
            let terms = (-radius..=radius).zip(&g);
            terms.map(|(r, g)| g * cubic(x - j as f64 - r as f64)).sum()
        })
    }

    /// Plain cubic enlargement whose ends are repeated: what brings the flow of the finest solved
    /// level to full size.
    pub(crate) fn enlarge(n_in: usize, n_out: usize) -> Self {
        let first = |x: f64| x.floor() as i64 - 1;
        Self::build(n_in, n_out, 4, clamp, first, |x, j| cubic(x - j as f64))
    }

    /// A Gaussian of `sigma` samples, cut at 4 sigma, half-sample symmetric at the ends.
    pub(crate) fn smooth(n: usize, sigma: f64) -> Self {
        let radius = gaussian_radius(sigma);
        let g = gaussian_weights(sigma, radius);
        let first = |x: f64| x as i64 - radius;
        Self::build(n, n, g.len(), reflect, first, |x, j| g[(j - first(x)) as usize])
    }

    /// Taps `first(x)..` of every output sample at input position `x`, weighted by `weight(x, j)`
    /// of the unreflected input sample `j`, and divided by the sum of the weights.
    fn build(
        n_in: usize,
        n_out: usize,
        per_sample: usize,
        extend: fn(i64, usize) -> u32,
        first: impl Fn(f64) -> i64,
        weight_of: impl Fn(f64, i64) -> f64,
    ) -> Self {
        let mut index = Vec::with_capacity(n_out * per_sample);
        let mut weight = Vec::with_capacity(n_out * per_sample);
        for i in 0..n_out {
            let x = (i as f64 + 0.5) * n_in as f64 / n_out as f64 - 0.5;
            let start = weight.len();
            for j in first(x)..first(x) + per_sample as i64 {
                index.push(extend(j, n_in));
                weight.push(weight_of(x, j));
            }
            let sum: f64 = weight[start..].iter().sum();
            weight[start..].iter_mut().for_each(|w| *w /= sum);
        }
        Self { n_in, per_sample, index, weight }
    }

    /// Number of output samples.
    pub(crate) fn n_out(&self) -> usize {
        self.index.len() / self.per_sample
    }

    /// Indices and weights of output sample `i`.
    pub(crate) fn of(&self, i: usize) -> (&[u32], &[f64]) {
        let taps = i * self.per_sample..(i + 1) * self.per_sample;
        (&self.index[taps.clone()], &self.weight[taps])
    }
}

/// Sigma in input pixels of the Gaussian that precedes a change from `from` to `to` pixels; one for
/// both axes, 0 when nothing shrinks.
pub(crate) fn antialias_sigma(from: [usize; 2], to: [usize; 2]) -> f64 {
    let s = (to[0] as f64 / from[0] as f64).min(to[1] as f64 / from[1] as f64);
    if s < 1.0 { 0.6 / s } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_interpolates_and_is_continuous() {
        assert_eq!((cubic(0.0), cubic(1.0), cubic(2.0), cubic(-1.0)), (1.0, 0.0, 0.0, 0.0));
        assert!((cubic(1.0 - 1e-9) - cubic(1.0 + 1e-9)).abs() < 1e-8);
        assert!((cubic(0.5) - 0.59375).abs() < 1e-15 && (cubic(1.5) + 0.09375).abs() < 1e-15);
    }

    #[test]
    fn one_to_one_is_the_identity() {
        let taps = Taps::resize(17, 17, 0.0);
        for i in 0..17 {
            let (index, weight) = taps.of(i);
            for (&j, &w) in index.iter().zip(weight) {
                assert!((w - f64::from(u8::from(j as usize == i))).abs() < 1e-12 || w == 0.0);
            }
        }
    }

    #[test]
    fn weights_sum_to_one_and_ends_are_mirrored() {
        for taps in [Taps::resize(64, 41, 0.94), Taps::resize(41, 64, 0.0), Taps::smooth(9, 1.0)] {
            for i in 0..taps.n_out() {
                let (index, weight) = taps.of(i);
                assert!((weight.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                assert!(index.iter().all(|&j| (j as usize) < taps.n_in));
            }
        }
        assert_eq!([-2, -1, 0, 4, 5, 6, 12].map(|i| reflect(i, 5)), [1, 0, 0, 4, 4, 3, 2]);
        assert_eq!([-2, 2, 9].map(|i| clamp(i, 5)), [0, 2, 4]);
        assert_eq!(Taps::smooth(9, 1.0).per_sample, 9);
        assert_eq!(Taps::smooth(9, 0.1).per_sample, 1);
    }

    #[test]
    fn enlarging_lacks_the_rightmost_tap() {
        // Sample 1 of 8 → 16 falls on x = 0.25: the window is -2..=1, never 2.
        let taps = Taps::resize(8, 16, 0.0);
        let (index, weight) = taps.of(1);
        assert_eq!(index, [1, 0, 0, 1]);
        assert_eq!(weight[0], 0.0);
        let full: f64 = [1.25, 0.25, -0.75].map(cubic).iter().sum();
        assert!((weight[2] - cubic(0.25) / full).abs() < 1e-15);
    }
}
