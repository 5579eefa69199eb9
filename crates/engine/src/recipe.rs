//! Recipes: everything that may change a bit of a result, typed, with one source of defaults.
//!
//! A recipe never holds what only changes time or memory (workers, executor, budget).

mod canonical;
mod check;
mod combine;
mod file;
mod frames;
mod geometry;
mod import;
mod keys;
mod mosaic;
mod motion;
mod nearest;
mod preset;
mod problem;
mod session;
mod set;
mod stack;
mod template;
mod z_align;

pub use canonical::Recipe;
pub use combine::{
    AutoSkipRecipe, ColourMethod, ColourRecipe, Combination, DrizzleRecipe, NormalizationRecipe,
    ReconstructionMethod, ReconstructionRecipe, RejectionMethod, RejectionRecipe, ScaleMethod,
    SkyMethod, SyntheticRecipe, SyntheticWeighting, WeightScheme, WeightsRecipe,
};
pub use file::{
    FileOf, FileResources, RecipeFile, RecipeFormat, STRICT_PARALLEL_TILES, Strictness, schema,
};
pub use frames::{
    BayerInput, CalibrationRecipe, DarkScaling, GatesRecipe, HotPixels, InputRecipe, Linearity,
    MetricsRecipe,
};
pub use geometry::{
    Canvas, Clamping, FieldMethod, FieldRecipe, GaugeMethod, GaugeModel, GaugeRecipe, Kernel,
    ReferenceFrame, RefineRecipe, ResamplingRecipe, Temporal, TileRecipe,
};
pub use import::{Imported, ImportedMotion, Note, import_flow_registration, import_tile_compile};
pub use mosaic::{
    Combine, GridRecipe, GroupsRecipe, MosaicKernel, MosaicRecipe, MosaicResampling, MosaicWeights,
    PhotometryRecipe, Route, ScaleFrom, SkyMatch, TileWeight,
};
pub(crate) use motion::FrameChoice;
pub use motion::{
    Alpha, ChannelNormalization, ConstancyAssumption, DefinitionChoice, DisRecipe, FlowBackend,
    InterpolationMethod, MotionRecipe, NamingConvention, NoResources, OutputFormat, OutputType,
    PositionsChoice, QualitySetting,
};
pub use preset::Preset;
pub use problem::{Problem, RecipeError};
pub use session::{BetweenRecipe, SessionRecipe};
pub use stack::{RECIPE_VERSION, StackRecipe};
pub use template::template;
pub use z_align::ZAlignRecipe;
