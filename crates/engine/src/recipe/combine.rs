//! Parts of the recipe that make one image of many: normalisation, weights, rejection,
//! combination, colour, drizzle, reconstruction, synthetic frames.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Brightness and sky of the frames, brought to a common level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizationRecipe {
    /// The factor of each frame.
    pub scale: ScaleMethod,
    /// What is subtracted from each frame, in addition.
    pub sky: SkyMethod,
}

/// The multiplicative part of the normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScaleMethod {
    /// Transparency from the fluxes of matched stars.
    #[default]
    Stars,
    /// Ratio of the background levels, after the sky is levelled.
    Background,
    /// I / B, once per frame and colour, scaled back at the end (Methodik v4).
    V4,
    /// None.
    None,
}

/// The additive part of the normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkyMethod {
    /// A smooth surface per frame: its difference from the mean sky of the burst.
    #[default]
    Surface,
    /// A plane per frame: its difference from the mean sky of the burst.
    Plane,
    /// One number per frame.
    Offset,
    /// None.
    None,
}

/// How much each frame counts at each place: W = G · L · R, continuous fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsRecipe {
    /// Where the three factors come from.
    pub scheme: WeightScheme,
    /// Whether the factor of the whole frame (G) counts.
    pub global: bool,
    /// Whether the factor of the place in the frame (L) counts.
    pub local: bool,
    /// Whether the factor of the registration's quality (R) counts.
    pub registration: bool,
    /// The weights are shrunk towards equal until the effective number of frames,
    /// (ΣW)² / ΣW², is at least this fraction of the frames; 0 leaves them alone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_effective_fraction: f64,
    /// Share of the background level in the v4 quality Q; the three shares sum to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Share of the noise in Q.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta: f64,
    /// Share of the gradient energy in Q.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Exponent of the v4 registration factor, R = exp(`registration_beta` · (cc − 1)).
    #[schemars(range(min = 0.0, max = 20.0))]
    pub registration_beta: f64,
}

impl Default for WeightsRecipe {
    fn default() -> Self {
        Self {
            scheme: WeightScheme::Optimal,
            global: true,
            local: true,
            registration: true,
            min_effective_fraction: 0.6,
            alpha: 0.4,
            beta: 0.3,
            gamma: 0.3,
            registration_beta: 5.0,
        }
    }
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightScheme {
    /// Inverse variance of a star's brightness: (transparency / noise)², and sharpness.
    #[default]
    Optimal,
    /// exp of clamped z-scores (Methodik v4).
    V4,
    /// Every frame counts the same.
    Equal,
}

/// Samples that are left out at a pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RejectionRecipe {
    /// How the centre and the spread of the samples are estimated.
    pub method: RejectionMethod,
    /// A sample more than this many standard deviations below the centre is left out.
    #[schemars(range(min = 0.5, max = 50.0))]
    pub low: f64,
    /// A sample more than this many standard deviations above the centre is left out.
    #[schemars(range(min = 0.5, max = 50.0))]
    pub high: f64,
    /// At most this many rounds.
    #[schemars(range(min = 1, max = 20))]
    pub iterations: usize,
    /// Where a smaller fraction of the samples would be left, none is left out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_fraction: f64,
}

impl Default for RejectionRecipe {
    fn default() -> Self {
        Self {
            method: RejectionMethod::WinsorizedSigma,
            low: 4.0,
            high: 3.0,
            iterations: 3,
            min_fraction: 0.5,
        }
    }
}

/// How the centre and the spread of the samples are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionMethod {
    /// Nothing is left out.
    None,
    /// Mean and standard deviation.
    KappaSigma,
    /// Mean and standard deviation with outliers drawn in to the limits first.
    #[default]
    WinsorizedSigma,
    /// A line through the sorted samples.
    LinearFit,
    /// Median and median absolute deviation.
    Median,
}

/// What is made of the samples that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// Weighted mean.
    #[default]
    Mean,
    /// Weighted median.
    Median,
}

/// Bayer frames to colour. Mono frames ignore it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ColourRecipe {
    /// How mosaic samples become three planes.
    pub method: ColourMethod,
    /// `auto` demosaics when fewer registered frames than this are left.
    #[schemars(range(min = 1))]
    pub min_frames_for_drizzle: usize,
    /// `null`: green is filled in between its samples and interpolated as mono frames are, red and
    /// blue samples are dropped with a cubic profile that undoes most of the blur of spreading
    /// them. A number: all samples are dropped as squares of this side in sensor pixels.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub pixfrac: Option<f64>,
}

impl Default for ColourRecipe {
    fn default() -> Self {
        Self { method: ColourMethod::Auto, min_frames_for_drizzle: 30, pixfrac: None }
    }
}

/// How mosaic samples become three planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColourMethod {
    /// `cfa_drizzle` with enough frames, else `demosaic`.
    #[default]
    Auto,
    /// Each mosaic sample is dropped onto the plane of its colour.
    CfaDrizzle,
    /// Each frame is interpolated to three planes before the warp.
    Demosaic,
}

/// Drops each sample onto a finer grid instead of interpolating.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrizzleRecipe {
    /// Output pixels per frame pixel along each axis.
    #[schemars(range(min = 1.0, max = 3.0))]
    pub scale: f64,
    /// Side of the drop in pixels of the frame.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub pixfrac: f64,
}

impl Default for DrizzleRecipe {
    fn default() -> Self {
        Self { scale: 2.0, pixfrac: 0.7 }
    }
}

/// How tiles become one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReconstructionRecipe {
    /// What is continuous between tiles.
    pub method: ReconstructionMethod,
    /// For `tiles`: σ in pixels of ψ(v) = exp(−v / (2σ²)), by which tiles with unsteady
    /// residuals (variance v) count less in the overlaps.
    #[schemars(range(min = 0.5, max = 10.0))]
    pub variance_window_sigma_px: f64,
}

impl Default for ReconstructionRecipe {
    fn default() -> Self {
        Self { method: ReconstructionMethod::Field, variance_window_sigma_px: 2.0 }
    }
}

/// What is continuous between tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconstructionMethod {
    /// One continuous displacement field; tiles leave no trace.
    #[default]
    Field,
    /// Each tile is an image with its own shifts; they are added with overlapping windows
    /// (Methodik v4).
    Tiles,
}

/// Phases 7 to 9 of Methodik v4, from registered frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticRecipe {
    /// Whether the stack is made of synthetic frames, one per cluster of like frames.
    pub enabled: bool,
    /// Weights of the frames within a cluster.
    pub weighting: SyntheticWeighting,
    /// A cluster with fewer frames makes no synthetic frame.
    #[schemars(range(min = 1))]
    pub frames_min: usize,
    /// At most this many synthetic frames.
    #[schemars(range(min = 1))]
    pub frames_max: usize,
    /// Fewest clusters: K = clip(⌊N / 10⌋, `clusters_min`, `clusters_max`).
    #[schemars(range(min = 1))]
    pub clusters_min: usize,
    /// Most clusters.
    #[schemars(range(min = 1))]
    pub clusters_max: usize,
    /// Groups of like global weight that are made when a cluster stays empty.
    #[schemars(range(min = 1))]
    pub fallback_quantiles: usize,
    /// When the frames are too alike to be clustered.
    pub auto_skip: AutoSkipRecipe,
}

impl Default for SyntheticRecipe {
    fn default() -> Self {
        Self {
            enabled: false,
            weighting: SyntheticWeighting::Global,
            frames_min: 5,
            frames_max: 30,
            clusters_min: 15,
            clusters_max: 30,
            fallback_quantiles: 15,
            auto_skip: AutoSkipRecipe::default(),
        }
    }
}

/// Weights of the frames within a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyntheticWeighting {
    /// Without the local factor: G · R.
    #[default]
    Global,
    /// With the local factor: G · L · R.
    TileWeighted,
}

/// When the frames are too alike to be clustered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutoSkipRecipe {
    /// Whether to look.
    pub enabled: bool,
    /// Skip when fewer clusters than this have enough frames.
    #[schemars(range(min = 1))]
    pub min_clusters: usize,
    /// Skip when the clusters' mean weights differ by less than this, and their qualities by less
    /// than `min_quality_spread`.
    #[schemars(range(min = 0.0))]
    pub min_weight_spread: f64,
    /// See `min_weight_spread`.
    #[schemars(range(min = 0.0))]
    pub min_quality_spread: f64,
}

impl Default for AutoSkipRecipe {
    fn default() -> Self {
        Self { enabled: false, min_clusters: 2, min_weight_spread: 0.05, min_quality_spread: 0.2 }
    }
}
