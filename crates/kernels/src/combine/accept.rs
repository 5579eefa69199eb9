//! The vectorised half of rejection: samples against the limits of their pixels, in frame order.

use multiversion::multiversion;

/// Limits of a row of output pixels, and what falls on either side of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowLimits {
    /// Centre of the accepted samples.
    pub(crate) centre: Vec<f32>,
    /// Squared distance below the centre that the scatter allows.
    pub(crate) low: Vec<f32>,
    /// Squared distance above the centre that the scatter allows.
    pub(crate) high: Vec<f32>,
    /// Part of the expected variance that depends on the pixel (signal), not on the frame.
    pub(crate) signal_variance: Vec<f32>,
    /// Samples that are present.
    pub(crate) present: Vec<u32>,
    /// Samples within the limits.
    pub(crate) accepted: Vec<u32>,
}

/// What one frame adds to every limit: κ² and the variance of its empty sky.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameNoise {
    pub(crate) low_squared: f32,
    pub(crate) high_squared: f32,
    pub(crate) variance: f32,
}

impl RowLimits {
    pub(crate) fn resize(&mut self, width: usize) {
        for v in [&mut self.centre, &mut self.low, &mut self.high, &mut self.signal_variance] {
            v.clear();
            v.resize(width, 0.0);
        }
        for v in [&mut self.present, &mut self.accepted] {
            v.clear();
            v.resize(width, 0);
        }
    }

    /// Keeps everything at pixel `i`.
    pub(crate) fn open(&mut self, i: usize) {
        self.centre[i] = 0.0;
        self.low[i] = f32::INFINITY;
        self.high[i] = f32::INFINITY;
        self.signal_variance[i] = 0.0;
    }

    /// Counts the present and accepted samples of one frame's row.
    pub(crate) fn count(&mut self, values: &[f32], noise: FrameNoise) {
        count_row(self, values, noise);
    }

    /// Whether the sample `value` of pixel `i` lies within the limits; false for NaN.
    pub(crate) fn accepts(&self, i: usize, value: f32, noise: FrameNoise) -> bool {
        let (low, high) = (self.low[i], self.high[i]);
        is_accepted(value, self.centre[i], low, high, self.signal_variance[i], noise)
    }

    /// Opens the pixels of which more than 1 - `min_fraction` of the samples would be rejected.
    pub(crate) fn open_overclipped(&mut self, min_fraction: f32) {
        for i in 0..self.centre.len() {
            let needed = f64::from(min_fraction) * f64::from(self.present[i]);
            if f64::from(self.accepted[i]) < needed {
                self.open(i);
            }
        }
    }
}

/// Whether `value` lies within the limits; false for NaN.
#[inline(always)]
fn is_accepted(value: f32, centre: f32, low: f32, high: f32, signal: f32, n: FrameNoise) -> bool {
    let d = value - centre;
    let variance = n.variance + signal;
    let (scatter, kappa) = if d < 0.0 { (low, n.low_squared) } else { (high, n.high_squared) };
    let expected = kappa * variance;
    let limit = if expected > scatter { expected } else { scatter };
    d * d <= limit
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn count_row(limits: &mut RowLimits, values: &[f32], noise: FrameNoise) {
    let n = values.len();
    let (centre, low, high) = (&limits.centre[..n], &limits.low[..n], &limits.high[..n]);
    let signal = &limits.signal_variance[..n];
    let (present, accepted) = (&mut limits.present[..n], &mut limits.accepted[..n]);
    for i in 0..n {
        let v = values[i];
        let ok = is_accepted(v, centre[i], low[i], high[i], signal[i], noise);
        present[i] += u32::from(!v.is_nan());
        accepted[i] += u32::from(ok);
    }
}

/// Sums of a row of output pixels.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSums {
    /// Σ w·v.
    pub(crate) weighted: Vec<f64>,
    /// Σ w.
    pub(crate) weight: Vec<f64>,
    /// Samples in the sums.
    pub(crate) coverage: Vec<u32>,
    /// Samples outside the limits.
    pub(crate) rejected: Vec<u32>,
}

impl RowSums {
    pub(crate) fn reset(&mut self, width: usize) {
        for v in [&mut self.weighted, &mut self.weight] {
            v.clear();
            v.resize(width, 0.0);
        }
        for v in [&mut self.coverage, &mut self.rejected] {
            v.clear();
            v.resize(width, 0);
        }
    }

    /// Starts new sums; coverage and rejected go on.
    pub(crate) fn start_group(&mut self) {
        self.weighted.fill(0.0);
        self.weight.fill(0.0);
    }

    /// Adds one frame's row of samples with their weights (those not above 0 count as absent);
    /// returns the number of rejected samples.
    pub(crate) fn add(
        &mut self,
        values: &[f32],
        weights: &[f32],
        limits: &RowLimits,
        noise: FrameNoise,
    ) -> u64 {
        u64::from(add_row(self, values, weights, limits, noise))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_row(
    sums: &mut RowSums,
    values: &[f32],
    weights: &[f32],
    limits: &RowLimits,
    noise: FrameNoise,
) -> u32 {
    let n = values.len();
    let (centre, low, high) = (&limits.centre[..n], &limits.low[..n], &limits.high[..n]);
    let (signal, weights) = (&limits.signal_variance[..n], &weights[..n]);
    let (weighted, weight) = (&mut sums.weighted[..n], &mut sums.weight[..n]);
    let (coverage, rejected) = (&mut sums.coverage[..n], &mut sums.rejected[..n]);
    let mut n_rejected = 0;
    for i in 0..n {
        let (v, w) = (values[i], weights[i]);
        let ok = is_accepted(v, centre[i], low[i], high[i], signal[i], noise);
        let counts = ok & (w > 0.0);
        let kept_weight = f64::from(if counts { w } else { 0.0 });
        let kept_value = f64::from(if counts { v } else { 0.0 });
        weighted[i] += kept_weight * kept_value;
        weight[i] += kept_weight;
        coverage[i] += u32::from(counts);
        let out = u32::from(!ok & !v.is_nan());
        rejected[i] += out;
        n_rejected += out;
    }
    n_rejected
}
