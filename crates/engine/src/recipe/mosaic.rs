//! The recipe of the `mosaic` pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::Recipe;
use super::combine::{Combination, RejectionMethod, RejectionRecipe};
use super::geometry::Clamping;
use super::motion::NoResources;
use super::problem::Problem;
use super::stack::{RECIPE_VERSION, StackRecipe};

/// Everything that may change a bit of a mosaic. What only changes time or memory (workers, executor,
/// memory) is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MosaicRecipe {
    /// Format of this file. It changes when a key changes its meaning.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The way from frames to the mosaic.
    pub route: Route,
    /// Of the classic route: which frames share a master tile.
    pub groups: GroupsRecipe,
    /// The grid of the output, where no grid header is given.
    pub grid: GridRecipe,
    /// Gains and skies of the tiles, brought to a common level.
    pub photometry: PhotometryRecipe,
    /// The one resampling from calibrated pixels to the grid.
    pub resampling: MosaicResampling,
    /// How much each tile counts.
    pub weights: MosaicWeights,
    /// Samples that are left out at a pixel: satellites, cosmic rays, hot pixels.
    pub rejection: RejectionRecipe,
    /// What is made of the samples that are left.
    pub combination: Combination,
    /// Input, calibration and measurement of the frames.
    pub stack: StackRecipe,
}

impl Default for MosaicRecipe {
    fn default() -> Self {
        Self {
            version: RECIPE_VERSION,
            route: Route::default(),
            groups: GroupsRecipe::default(),
            grid: GridRecipe::default(),
            photometry: PhotometryRecipe::default(),
            resampling: MosaicResampling::default(),
            weights: MosaicWeights::default(),
            rejection: RejectionRecipe::default(),
            combination: Combination::default(),
            stack: StackRecipe::default(),
        }
    }
}

/// The way from frames to the mosaic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Every frame straight onto the grid.
    #[default]
    MosaicFirst,
    /// Frames of one pointing are stacked to a master tile first, as `stack` says; the tiles are then
    /// assembled.
    Classic,
    /// The inputs are finished tiles: they are not searched for defects.
    Tiles,
}

/// Which frames share a master tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupsRecipe {
    /// Frames whose middles are nearer than this share a group as a rule, farther than twice this never;
    /// as a share of the smaller side of the smallest frame.
    #[schemars(range(min = 0.001, max = 2.0))]
    pub separation: f64,
    /// Frames that are turned by more than this against each other never share a group, degrees.
    #[schemars(range(min = 0.0, max = 180.0))]
    pub max_turn_deg: f64,
}

impl Default for GroupsRecipe {
    fn default() -> Self {
        Self { separation: 0.25, max_turn_deg: 15.0 }
    }
}

/// The grid of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GridRecipe {
    /// Side of an output pixel in arcseconds; `null`: from the frames, as `scale_from` says.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub scale_arcsec_per_px: Option<f64>,
    /// Which of the frames' scales the output has.
    pub scale_from: ScaleFrom,
    /// Border around the footprints, as a share of the sides.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub padding: f64,
    /// A larger grid is an error before any work, in millions of pixels.
    #[schemars(range(min = 1))]
    pub max_megapixels: u64,
}

impl Default for GridRecipe {
    fn default() -> Self {
        Self {
            scale_arcsec_per_px: None,
            scale_from: ScaleFrom::Median,
            padding: 0.0,
            max_megapixels: 4000,
        }
    }
}

/// Which of the frames' scales the output has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScaleFrom {
    /// The finest.
    Finest,
    /// The median.
    #[default]
    Median,
    /// The coarsest.
    Coarsest,
}

/// Gains and skies of the tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PhotometryRecipe {
    /// Whether the gains of the tiles are matched by the stars that they share.
    pub gain: bool,
    /// What of the skies of the tiles is matched where they overlap.
    pub sky: SkyMatch,
    /// Pull of the slopes of the skies towards 0, as a share of a tile's evidence. It decides what
    /// overlaps cannot: the gradient of the whole mosaic.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub slope_shrinkage: f64,
    /// The same of the curvatures.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub curvature_shrinkage: f64,
    /// Distance in output pixels between the places where skies are compared; three quarters of it are
    /// the side of the squares that are compared.
    #[schemars(range(min = 4, max = 1024))]
    pub cell_px: usize,
}

impl Default for PhotometryRecipe {
    fn default() -> Self {
        Self {
            gain: true,
            sky: SkyMatch::Quadratic,
            slope_shrinkage: 1e-5,
            curvature_shrinkage: 1e-4,
            cell_px: 32,
        }
    }
}

/// What of the skies of the tiles is matched where they overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkyMatch {
    /// Nothing: levels stay as they are.
    None,
    /// One number per tile.
    Offset,
    /// A plane per tile.
    Plane,
    /// A quadratic surface per tile.
    #[default]
    Quadratic,
}

/// The one resampling from calibrated pixels to the grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MosaicResampling {
    /// How values between pixels are found.
    pub kernel: MosaicKernel,
    /// What keeps the kernel's negative lobes from making dark rings.
    pub clamping: Clamping,
}

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MosaicKernel {
    /// 6×6 pixels, the sharpest.
    #[default]
    Lanczos3,
    /// 4×4 pixels.
    Bicubic,
    /// 2×2 pixels; blurs.
    Bilinear,
    /// The nearest pixel.
    Nearest,
    /// The mean of all pixels weighted by the sky that they share with the output pixel: conserves flux
    /// whatever the scales.
    Exact,
}

/// How much each tile counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MosaicWeights {
    /// The weight of a tile as a whole.
    pub tile: TileWeight,
    /// Over so many pixels from its border the weight of a tile falls to 0; 0: not at all.
    #[schemars(range(min = 0.0, max = 4096.0))]
    pub feather_px: f64,
}

impl Default for MosaicWeights {
    fn default() -> Self {
        Self { tile: TileWeight::default(), feather_px: 0.0 }
    }
}

/// The weight of a tile as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TileWeight {
    /// Inverse variance of a star's brightness: that of the sky after the gain, times the square of
    /// the stars' width.
    #[default]
    Stars,
    /// All the same.
    Equal,
    /// Inverse variance of the sky after the gain.
    Noise,
    /// The number of frames that the tile was made of (`NCOMBINE`), 1 where the header has none.
    Frames,
}

impl Recipe for MosaicRecipe {
    type Resources = NoResources;

    const PIPELINE: &'static str = "mosaic";

    fn conflicts(&self, problems: &mut Vec<Problem>) {
        self.stack.conflicts(problems);
    }
}

impl MosaicRecipe {
    /// Combines in the way that `--combine` names.
    pub fn set_combine(&mut self, combine: Combine) {
        let (method, combination) = match combine {
            Combine::Mean => (RejectionMethod::None, Combination::Mean),
            Combine::Median => (RejectionMethod::None, Combination::Median),
            Combine::KappaSigma => (RejectionMethod::KappaSigma, Combination::Mean),
            Combine::Winsorized => (RejectionMethod::WinsorizedSigma, Combination::Mean),
        };
        (self.rejection.method, self.combination) = (method, combination);
    }
}

/// The usual ways to combine, as rejection and combination in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Weighted mean of all samples.
    Mean,
    /// Median of all samples.
    Median,
    /// Mean after κ-σ rejection.
    KappaSigma,
    /// Mean after winsorised rejection.
    Winsorized,
}

#[cfg(test)]
mod tests {
    use super::super::file::FileOf;
    use super::super::keys::Key;
    use super::*;

    #[test]
    fn every_key_is_described_and_the_default_is_valid() {
        MosaicRecipe::default().validate().unwrap();
        let root = Key::root::<MosaicRecipe>();
        for path in root.paths() {
            assert!(root.find(path).unwrap().description.len() > 8, "{path} has no description");
        }
    }

    #[test]
    fn overrides_reach_every_level_and_change_the_hash() {
        let sets = ["photometry.sky=plane".into(), "stack.metrics.max_stars=200".into()];
        let recipe = FileOf::<MosaicRecipe>::load(None, &sets).unwrap().recipe;
        assert_eq!(recipe.photometry.sky, SkyMatch::Plane);
        assert_eq!(recipe.stack.metrics.max_stars, 200);
        assert_ne!(recipe.sha256(), MosaicRecipe::default().sha256());
        let error =
            FileOf::<MosaicRecipe>::load(None, &["photometry.sky=plain".into()]).unwrap_err();
        assert!(error.to_string().contains("none, offset, plane, quadratic"), "{error}");
        let error = FileOf::<MosaicRecipe>::load(None, &["route=classical".into()]).unwrap_err();
        assert!(error.to_string().contains("mosaic_first"), "{error}");
    }
}
