//! Parts of the recipe that concern geometry: gauge, local field, resampling, canvas.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One coarse transform per frame to the common geometry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GaugeRecipe {
    /// How the transform is found.
    pub method: GaugeMethod,
    /// The family of transforms.
    pub model: GaugeModel,
    /// A frame whose scale differs from the reference's by a larger fraction is not registered.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub max_scale_change: f64,
    /// A frame that shares a smaller fraction of its area with the reference is not registered.
    #[schemars(range(min = 0.05, max = 1.0))]
    pub min_overlap: f64,
    /// The frame that the others are matched to: `auto`, the best one near the middle of the
    /// session, or the index of a frame in the sorted list, from 0. The output lives in the mean
    /// geometry of the burst, not in this frame's own distortion.
    pub reference: ReferenceFrame,
}

impl Default for GaugeRecipe {
    fn default() -> Self {
        Self {
            method: GaugeMethod::Stars,
            model: GaugeModel::Auto,
            max_scale_change: 0.2,
            min_overlap: 0.3,
            reference: ReferenceFrame::Auto,
        }
    }
}

/// How the coarse transform is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GaugeMethod {
    /// Star patterns; phase correlation with rotation where they fail.
    #[default]
    Stars,
    /// Phase correlation with rotation (Fourier-Mellin).
    Phase,
    /// No transform: the frames are aligned already (literal Methodik v4).
    None,
}

/// The family of coarse transforms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GaugeModel {
    /// The largest family that the matched stars support.
    #[default]
    Auto,
    /// Shift, rotation, scale, mirror.
    Similarity,
    /// Any map that keeps parallel lines parallel.
    Affine,
    /// Any map that keeps lines straight.
    Homography,
}

/// The frame that the others are matched to: `auto` or an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceFrame {
    /// The best frame near the middle of the session.
    #[default]
    Auto,
    /// This index in the sorted list of light frames, from 0.
    Frame(usize),
}

impl Serialize for ReferenceFrame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Frame(index) => serializer.serialize_u64(*index as u64),
        }
    }
}

impl<'de> Deserialize<'de> for ReferenceFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Index(usize),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Index(index) => Ok(Self::Frame(index)),
            Form::Word(word) if word == "auto" => Ok(Self::Auto),
            Form::Word(word) => {
                Err(D::Error::custom(format!("{word:?} is neither \"auto\" nor a frame index")))
            }
        }
    }
}

impl JsonSchema for ReferenceFrame {
    fn schema_name() -> Cow<'static, str> {
        "ReferenceFrame".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "const": "auto", "description": "The best frame near the middle of the session." },
            { "type": "integer", "minimum": 0,
              "description": "This index in the sorted list of light frames, from 0." },
        ] })
    }
}

/// The smooth local displacement left after the gauge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldRecipe {
    /// What the displacement is measured with.
    pub method: FieldMethod,
    /// With fewer registered frames than this the gauge alone is used, and the report says so.
    pub min_burst_frames: usize,
    /// Distance in pixels of the field's lattice nodes; `null` takes it from the star density.
    #[schemars(range(min = 8.0, max = 4096.0))]
    pub spacing_px: Option<f64>,
    /// A place is star-poor, and its tile is registered by its pixels, where the standard
    /// deviation of the field made from stars exceeds this many pixels.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub max_sigma_px: f64,
    /// The tiles whose pixels are registered where stars are too few.
    pub tile: TileRecipe,
    /// Passes over the field, each with the reference that the pass before made.
    #[schemars(range(min = 1, max = 10))]
    pub iterations: usize,
    /// Passes end early when the reference changes by less than this fraction; 0 makes them all.
    #[schemars(range(min = 0.0, max = 0.1))]
    pub convergence: f64,
    /// A tile whose correlation with the reference is lower is an outlier.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_correlation: f64,
    /// A residual farther than this many pixels, and than three of its standard deviations, from
    /// the smooth prediction is an outlier.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub max_delta_px: f64,
    /// Smoothing of the tile residuals over time, within segments without dither or gap.
    pub temporal: Temporal,
    /// Frames in the window of the temporal smoothing; odd.
    #[schemars(range(min = 3, max = 51))]
    pub temporal_window: usize,
    /// Finer tiles where the residuals really differ.
    pub refine: RefineRecipe,
}

impl Default for FieldRecipe {
    fn default() -> Self {
        Self {
            method: FieldMethod::Auto,
            min_burst_frames: 10,
            spacing_px: None,
            max_sigma_px: 0.3,
            tile: TileRecipe::default(),
            iterations: 3,
            convergence: 1e-3,
            min_correlation: 0.2,
            max_delta_px: 0.3,
            temporal: Temporal::Auto,
            temporal_window: 11,
            refine: RefineRecipe::default(),
        }
    }
}

/// What the local displacement is measured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldMethod {
    /// Matched stars, and tiles where stars are too few.
    #[default]
    Auto,
    /// Matched stars only.
    Stars,
    /// The pixels of every tile.
    Tiles,
    /// No local displacement: the gauge alone.
    Off,
}

/// Tiles of the local registration: T = clip(`size_factor` · FWHM, `min_px`, `max_px`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TileRecipe {
    /// Side of a tile in units of the median star FWHM.
    #[schemars(range(min = 4.0, max = 256.0))]
    pub size_factor: f64,
    /// Smallest side of a tile in pixels.
    #[schemars(range(min = 16, max = 4096))]
    pub min_px: usize,
    /// Largest side of a tile in pixels.
    #[schemars(range(min = 16, max = 4096))]
    pub max_px: usize,
    /// Fraction of its side that a tile shares with its neighbour.
    #[schemars(range(min = 0.25, max = 0.5))]
    pub overlap: f64,
    /// A tile that fewer frames register in takes the field of its neighbours.
    #[schemars(range(min = 1))]
    pub min_frames: usize,
    /// A tile whose residuals vary more (var dx + var dy over the frames, square pixels) takes the
    /// field of its neighbours.
    #[schemars(range(min = 0.0))]
    pub max_variance_px2: f64,
    /// When a smaller fraction of the tiles registers, the run ends with an error. Without a gauge
    /// only: with one, the gauge serves.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_valid_fraction: f64,
}

impl Default for TileRecipe {
    fn default() -> Self {
        Self {
            size_factor: 32.0,
            min_px: 64,
            max_px: 256,
            overlap: 0.25,
            min_frames: 10,
            max_variance_px2: 8.0,
            min_valid_fraction: 0.3,
        }
    }
}

/// Smoothing of residuals over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Temporal {
    /// Smooth only as far as neighbouring frames really share their residuals.
    #[default]
    Auto,
    /// None.
    None,
    /// Running median.
    Median,
    /// Savitzky-Golay of order 3.
    SavitzkyGolay,
}

/// Finer tiles where the residuals really differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RefineRecipe {
    /// Passes in which tiles may be split in four.
    #[schemars(range(min = 0, max = 5))]
    pub passes: usize,
    /// A tile is split if its residuals vary more than this between its parts, after the
    /// measurement noise is taken off, in square pixels.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub variance_px2: f64,
    /// No tile is split into sides shorter than this, in pixels.
    #[schemars(range(min = 16, max = 512))]
    pub min_px: usize,
}

impl Default for RefineRecipe {
    fn default() -> Self {
        Self { passes: 2, variance_px2: 0.25, min_px: 64 }
    }
}

/// The one resampling from calibrated pixels to the output grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResamplingRecipe {
    /// Interpolation kernel.
    pub kernel: Kernel,
    /// What keeps the kernel's negative lobes from making dark rings.
    pub clamping: Clamping,
}

/// Interpolation kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// 6×6 pixels, the sharpest.
    #[default]
    Lanczos3,
    /// 4×4 pixels.
    Bicubic,
    /// 2×2 pixels; blurs.
    Bilinear,
    /// The nearest pixel.
    Nearest,
}

/// What keeps negative lobes from making dark rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clamping {
    /// Where the negative lobes would take too much of the positive ones, they are limited.
    #[default]
    Lobes,
    /// Nothing: strictly linear.
    None,
}

/// The part of the sky that the output holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Canvas {
    /// The footprint of the reference frame.
    #[default]
    Reference,
    /// Every place that some frame covers (alt-az rotation).
    Union,
    /// The largest rectangle that every frame covers.
    Intersection,
}
