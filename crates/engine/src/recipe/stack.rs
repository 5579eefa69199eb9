//! The recipe of the `stack` pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::combine::{
    ColourRecipe, Combination, DrizzleRecipe, NormalizationRecipe, ReconstructionRecipe,
    RejectionRecipe, SyntheticRecipe, WeightsRecipe,
};
use super::frames::{CalibrationRecipe, GatesRecipe, InputRecipe, MetricsRecipe};
use super::geometry::{Canvas, FieldRecipe, GaugeRecipe, ResamplingRecipe};

/// The only recipe format that this version reads and writes.
pub const RECIPE_VERSION: u32 = 1;

/// Everything that may change a bit of a stacked image. What only changes time or memory (workers,
/// executor, memory) is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StackRecipe {
    /// Format of this file. It changes when a key changes its meaning.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Seed of the only random choices (samples of the star matcher).
    pub seed: u64,
    /// What the frames are, and how many may be lost.
    pub input: InputRecipe,
    /// Numbers of frames below which less is done; 0 switches a gate off.
    pub gates: GatesRecipe,
    /// Bias, dark, flat and defect pixels, before any resampling.
    pub calibration: CalibrationRecipe,
    /// Background and star measurement of each frame.
    pub metrics: MetricsRecipe,
    /// One coarse transform per frame to the common geometry.
    pub gauge: GaugeRecipe,
    /// The smooth local displacement left after the gauge.
    pub field: FieldRecipe,
    /// Brightness and sky of the frames, brought to a common level.
    pub normalization: NormalizationRecipe,
    /// How much each frame counts at each place.
    pub weights: WeightsRecipe,
    /// The one resampling from calibrated pixels to the output grid.
    pub resampling: ResamplingRecipe,
    /// Samples that are left out at a pixel: satellites, cosmic rays, hot pixels.
    pub rejection: RejectionRecipe,
    /// What is made of the samples that are left.
    pub combination: Combination,
    /// Bayer frames to colour.
    pub colour: ColourRecipe,
    /// Drops each sample onto a finer grid instead of interpolating; `null`: no.
    pub drizzle: Option<DrizzleRecipe>,
    /// The part of the sky that the output holds.
    pub canvas: Canvas,
    /// How tiles become one image.
    pub reconstruction: ReconstructionRecipe,
    /// Phases 7 to 9 of Methodik v4: state clusters, synthetic frames, their linear stack.
    pub synthetic: SyntheticRecipe,
}

impl Default for StackRecipe {
    fn default() -> Self {
        Self {
            version: RECIPE_VERSION,
            seed: 1,
            input: InputRecipe::default(),
            gates: GatesRecipe::default(),
            calibration: CalibrationRecipe::default(),
            metrics: MetricsRecipe::default(),
            gauge: GaugeRecipe::default(),
            field: FieldRecipe::default(),
            normalization: NormalizationRecipe::default(),
            weights: WeightsRecipe::default(),
            resampling: ResamplingRecipe::default(),
            rejection: RejectionRecipe::default(),
            combination: Combination::default(),
            colour: ColourRecipe::default(),
            drizzle: None,
            canvas: Canvas::default(),
            reconstruction: ReconstructionRecipe::default(),
            synthetic: SyntheticRecipe::default(),
        }
    }
}
