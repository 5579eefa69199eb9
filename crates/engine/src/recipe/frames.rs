//! Parts of the recipe that concern single frames: input, gates, calibration, metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the frames are, and how many may be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InputRecipe {
    /// Colour mosaic of the light frames.
    pub bayer: BayerInput,
    /// Fewer usable light frames than this end the run with an error.
    #[schemars(range(min = 1))]
    pub min_frames: usize,
    /// When a larger fraction of the light frames is lost (unreadable, rejected, not
    /// registered), the run ends with exit code 3.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lost_fraction: f64,
    /// Value in ADU, as stored in the file, from which on a pixel counts as saturated; `null`
    /// takes it from the header (`SATURATE`, `DATAMAX`), else from the range of the stored type.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub saturation: Option<f64>,
    /// What to do with frames that look stretched (a tone curve was applied).
    pub linearity: Linearity,
}

impl Default for InputRecipe {
    fn default() -> Self {
        Self {
            bayer: BayerInput::Auto,
            min_frames: 1,
            max_lost_fraction: 0.5,
            saturation: None,
            linearity: Linearity::Warn,
        }
    }
}

/// Colour mosaic of the light frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BayerInput {
    /// From the header (`BAYERPAT`, `XBAYROFF`, `YBAYROFF`, `ROWORDER`); mono without it.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// No mosaic, whatever the header says.
    #[serde(rename = "mono")]
    Mono,
    /// Red first in the stored array, whatever the header says.
    #[serde(rename = "RGGB")]
    Rggb,
    /// Blue first in the stored array.
    #[serde(rename = "BGGR")]
    Bggr,
    /// Green first in the stored array, red to its right.
    #[serde(rename = "GRBG")]
    Grbg,
    /// Green first in the stored array, blue to its right.
    #[serde(rename = "GBRG")]
    Gbrg,
}

/// What to do with frames that look stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Linearity {
    /// Do not test.
    Off,
    /// Test, use them all the same, and say so.
    #[default]
    Warn,
    /// Test, and end the run if a frame fails.
    Require,
}

/// Numbers of frames below which less is done. 0 switches a gate off: few frames are served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatesRecipe {
    /// Fewer usable frames than this end the run with an error (Methodik v4: 50).
    pub frames_min: usize,
    /// With fewer usable frames than this no synthetic frames are made (Methodik v4: 200).
    pub frames_reduced: usize,
}

/// Bias, dark, flat and defect pixels, before any resampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationRecipe {
    /// How the master dark is fitted to the exposure of a light frame.
    pub dark_scaling: DarkScaling,
    /// Relative difference of exposure times below which two frames count as equally exposed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub exposure_tolerance: f64,
    /// Difference of sensor temperatures in °C above which a dark does not fit a light frame.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature_tolerance_c: f64,
    /// Where hot and cold pixels are looked for. They are replaced by their neighbours of the same
    /// colour and count as missing.
    pub hot_pixels: HotPixels,
    /// A pixel is defect if it differs from its neighbours of the same colour by more than this
    /// many robust standard deviations.
    #[schemars(range(min = 2.0, max = 100.0))]
    pub hot_sigma: f64,
    /// Samples of a calibration frame farther than this many standard deviations from the others
    /// at the same pixel are left out of the master.
    #[schemars(range(min = 1.0, max = 20.0))]
    pub master_kappa: f64,
}

impl Default for CalibrationRecipe {
    fn default() -> Self {
        Self {
            dark_scaling: DarkScaling::Auto,
            exposure_tolerance: 0.05,
            temperature_tolerance_c: 2.0,
            hot_pixels: HotPixels::Auto,
            hot_sigma: 8.0,
            master_kappa: 3.0,
        }
    }
}

/// How the master dark is fitted to the exposure of a light frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DarkScaling {
    /// Subtracted as it is.
    None,
    /// Its dark current (dark − bias) is multiplied by the ratio of the exposure times.
    Exposure,
    /// `exposure` if the exposure times differ by more than `exposure_tolerance` and there is a
    /// bias, else `none`.
    #[default]
    Auto,
}

/// Where hot and cold pixels are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HotPixels {
    /// In the master dark if there is one, else in the frames.
    #[default]
    Auto,
    /// In the master dark.
    Dark,
    /// In the light frames: what stays at its place while the stars move.
    Frames,
    /// Nowhere.
    Off,
}

/// Background and star measurement of each frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsRecipe {
    /// Side in pixels of the mesh cells in which the background and its noise are measured.
    #[schemars(range(min = 16, max = 1024))]
    pub mesh_px: usize,
    /// A star's peak in the matched-filtered frame exceeds the noise this many times.
    #[schemars(range(min = 2.0, max = 100.0))]
    pub detection_sigma: f64,
    /// At most this many stars are kept per frame, the brightest of each region first.
    #[schemars(range(min = 20, max = 20000))]
    pub max_stars: usize,
}

impl Default for MetricsRecipe {
    fn default() -> Self {
        Self { mesh_px: 64, detection_sigma: 5.0, max_stars: 1500 }
    }
}
