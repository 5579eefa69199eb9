//! What is rejected: the choice, and the noise that is expected.

use serde::{Deserialize, Serialize};

/// How the scatter of a pixel's samples is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectionMethod {
    /// Every sample is kept.
    None,
    /// κ times the standard deviation of the samples that were not rejected. We differ from the
    /// plain form: the first scale is the median absolute deviation, so that outliers cannot hide
    /// each other in few frames, and the loss of width by clipping is corrected.
    KappaSigma,
    /// κ times the standard deviation of the samples after those beyond 1.5 σ were moved there,
    /// times 1.134; Huber & Ronchetti (2009), Robust Statistics, doi:10.1002/9780470434697, as
    /// stacking programs use it. We differ: the first scale is the median absolute deviation.
    #[default]
    WinsorizedSigma,
    /// Distance from a straight line through the sorted samples, for many frames with a drifting
    /// level. We differ: κ is scaled so that it means σ for Gaussian samples.
    LinearFit,
    /// κ times 1.4826 times the median absolute deviation from the median, with the small-sample
    /// factors of Croux & Rousseeuw (1992), doi:10.1007/978-3-662-26811-7_58.
    Median,
}

/// Which samples of a pixel are left out of the combination.
///
/// A sample is rejected if it is farther below (above) the median of the samples than `low`
/// (`high`) times the scatter, or the noise that [`NoiseModel`] expects, whichever is larger.
/// If more than 1 - `min_fraction` of a pixel's samples were rejected, all are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rejection {
    /// How the scatter is found.
    pub method: RejectionMethod,
    /// κ below the median, in Gaussian σ.
    pub low: f32,
    /// κ above the median, in Gaussian σ.
    pub high: f32,
    /// Most rounds of clipping and new scatter.
    pub iterations: u32,
    /// Smallest part of a pixel's samples that is trusted to be left, 0 to 1.
    pub min_fraction: f32,
}

impl Default for Rejection {
    /// Winsorised, 4 σ below and 3.5 above, at least half of the samples left.
    fn default() -> Self {
        Self {
            method: RejectionMethod::WinsorizedSigma,
            low: 4.0,
            high: 3.5,
            iterations: 5,
            min_fraction: 0.5,
        }
    }
}

/// A rejection that cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionError {
    /// A κ is not above 0.
    #[error("rejection {side} is {kappa}, it must be above 0 (in σ)")]
    Kappa {
        /// `low` or `high`.
        side: &'static str,
        /// What was found.
        kappa: f32,
    },
    /// The fraction is no fraction.
    #[error("rejection min_fraction is {0}, it must be 0 to 1")]
    MinFraction(f32),
    /// No round of clipping.
    #[error("rejection iterations is 0, it must be 1 or more (method none rejects nothing)")]
    Iterations,
}

impl Rejection {
    /// Rejects nothing.
    pub const NONE: Self = Self {
        method: RejectionMethod::None,
        low: 4.0,
        high: 4.0,
        iterations: 1,
        min_fraction: 0.5,
    };

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`RejectionError`] names the first value out of range.
    pub fn check(&self) -> Result<(), RejectionError> {
        for (side, kappa) in [("low", self.low), ("high", self.high)] {
            if !(kappa > 0.0 && kappa.is_finite()) {
                return Err(RejectionError::Kappa { side, kappa });
            }
        }
        if !(0.0..=1.0).contains(&self.min_fraction) {
            return Err(RejectionError::MinFraction(self.min_fraction));
        }
        if self.iterations == 0 {
            return Err(RejectionError::Iterations);
        }
        Ok(())
    }
}

/// The noise that a sample is expected to have, so that clean pixels whose few samples happen to
/// agree are not clipped.
///
/// The variance of a sample of frame `f` where the median of the samples is `v` is
/// `sigma[f]² + shot · s + (relative · s)²` with `s = max(v - level, 0)`.
///
/// With five samples or fewer the model alone decides: a scatter from so few is no measure. Of two
/// samples that disagree the lower is kept, because satellites, cosmic rays and hot pixels add
/// light.
#[derive(Clone, Copy, Debug)]
pub struct NoiseModel<'a> {
    /// σ of each frame's samples on empty sky, in the unit of the samples.
    pub sigma: &'a [f32],
    /// Mean of the variances on empty sky, below which no scatter is believed; `None`: of the frames of
    /// the stack. Blocks that leave frames out must give one number for all, or their bits differ.
    pub mean_variance: Option<f64>,
    /// Value of empty sky.
    pub level: f32,
    /// Variance per unit of signal: 1/gain for photon noise, times the frame's scale.
    pub shot: f32,
    /// Part of the signal by which frames differ through seeing and registration (0.1 is usual);
    /// without it the cores of stars are rejected where seeing varies.
    pub relative: f32,
}

/// Fewer samples than this cannot tell their own scatter.
pub(crate) const FEW: usize = 6;
