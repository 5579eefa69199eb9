//! Recipes: everything that may change a bit of a result, typed, with one source of defaults.
//!
//! A recipe never holds what only changes time or memory (workers, executor, budget).

mod combine;
mod frames;
mod geometry;
mod stack;

pub use combine::{
    AutoSkipRecipe, ColourMethod, ColourRecipe, Combination, DrizzleRecipe, NormalizationRecipe,
    ReconstructionMethod, ReconstructionRecipe, RejectionMethod, RejectionRecipe, ScaleMethod,
    SkyMethod, SyntheticRecipe, SyntheticWeighting, WeightScheme, WeightsRecipe,
};
pub use frames::{
    BayerInput, CalibrationRecipe, DarkScaling, GatesRecipe, HotPixels, InputRecipe, Linearity,
    MetricsRecipe,
};
pub use geometry::{
    Canvas, Clamping, FieldMethod, FieldRecipe, GaugeMethod, GaugeModel, GaugeRecipe, Kernel,
    ReferenceFrame, RefineRecipe, ResamplingRecipe, Temporal, TileRecipe,
};
pub use stack::{RECIPE_VERSION, StackRecipe};
