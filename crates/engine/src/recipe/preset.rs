//! Recipes for known mounts and telescopes.

use super::combine::{
    ColourMethod, ReconstructionMethod, RejectionMethod, ScaleMethod, SkyMethod, WeightScheme,
};
use super::frames::{DarkScaling, HotPixels, Linearity};
use super::geometry::{Canvas, Clamping, FieldMethod, FieldRecipe, GaugeMethod, Kernel, Temporal};
use super::stack::StackRecipe;

/// A recipe to start from.
///
/// # Source
/// The numbers of the `eq` to `smart` presets are those of Methodik v4's configurations of the
/// same names: iterations, β, refinement, outlier limit, correlation, window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// The defaults: star gauge, local field, optimal weights.
    #[default]
    Default,
    /// Equatorial mount, quiet air.
    Eq,
    /// Alt-azimuth mount with strong field rotation.
    Altaz,
    /// Near the celestial pole: the strongest rotation.
    Polar,
    /// DWARF smart telescopes.
    Dwarf,
    /// Seestar smart telescopes.
    Seestar,
    /// Any other smart telescope.
    Smart,
    /// Literal Methodik v4, for frames that are already aligned.
    V4,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 8] = [
        Self::Default,
        Self::Eq,
        Self::Altaz,
        Self::Polar,
        Self::Dwarf,
        Self::Seestar,
        Self::Smart,
        Self::V4,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Eq => "eq",
            Self::Altaz => "altaz",
            Self::Polar => "polar",
            Self::Dwarf => "dwarf",
            Self::Seestar => "seestar",
            Self::Smart => "smart",
            Self::V4 => "v4",
        }
    }

    /// What it is for, in one line.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Default => "the defaults: star gauge, local field, optimal weights",
            Self::Eq => "equatorial mount, quiet air",
            Self::Altaz => "alt-azimuth mount with strong field rotation",
            Self::Polar => "near the celestial pole: the strongest field rotation",
            Self::Dwarf => "DWARF smart telescopes",
            Self::Seestar => "Seestar smart telescopes",
            Self::Smart => "other smart telescopes",
            Self::V4 => "literal Methodik v4, for frames that are already aligned",
        }
    }

    /// The preset of this name (any case).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(name.trim()))
    }

    /// Its recipe.
    pub fn recipe(self) -> StackRecipe {
        let mut recipe = StackRecipe::default();
        if self == Self::V4 {
            methodik_v4(&mut recipe);
            return recipe;
        }
        let Some(mount) = self.mount() else { return recipe };
        mount.write_to(&mut recipe);
        if matches!(self, Self::Altaz | Self::Polar) {
            recipe.canvas = Canvas::Union;
        }
        recipe
    }

    fn mount(self) -> Option<Mount> {
        let altaz = Mount {
            iterations: 4,
            beta: 6.0,
            refine: (4, 0.1, 48),
            max_tile_px: 192,
            max_delta_px: 0.3,
            min_correlation: 0.35,
            window: 15,
        };
        match self {
            Self::Default | Self::V4 => None,
            Self::Eq => Some(Mount {
                iterations: 2,
                beta: 3.0,
                refine: (0, 0.1, 64),
                max_tile_px: 256,
                max_delta_px: 0.2,
                min_correlation: 0.25,
                window: 9,
            }),
            Self::Altaz | Self::Smart => Some(altaz),
            Self::Polar => Some(Mount {
                iterations: 5,
                beta: 8.0,
                refine: (5, 0.08, 32),
                max_tile_px: 160,
                max_delta_px: 0.2,
                min_correlation: 0.4,
                window: 17,
            }),
            Self::Dwarf => Some(Mount {
                beta: 5.0,
                refine: (4, 0.12, 48),
                max_delta_px: 0.35,
                min_correlation: 0.3,
                window: 17,
                ..altaz
            }),
            Self::Seestar => Some(Mount { min_correlation: 0.4, ..altaz }),
        }
    }
}

/// What the presets of Methodik v4 set.
struct Mount {
    iterations: usize,
    beta: f64,
    /// Passes, variance threshold in square pixels, smallest tile in pixels.
    refine: (usize, f64, usize),
    max_tile_px: usize,
    max_delta_px: f64,
    min_correlation: f64,
    window: usize,
}

impl Mount {
    fn write_to(&self, recipe: &mut StackRecipe) {
        let field = &mut recipe.field;
        field.iterations = self.iterations;
        (field.refine.passes, field.refine.variance_px2, field.refine.min_px) = self.refine;
        field.tile.max_px = self.max_tile_px;
        field.tile.min_frames = 3;
        field.max_delta_px = self.max_delta_px;
        field.min_correlation = self.min_correlation;
        field.temporal_window = self.window;
        recipe.weights.registration_beta = self.beta;
    }
}

/// Every choice as the v4 documents have it, with their default numbers.
fn methodik_v4(recipe: &mut StackRecipe) {
    recipe.input.linearity = Linearity::Require;
    recipe.gates.frames_min = 50;
    recipe.gates.frames_reduced = 200;
    recipe.calibration.dark_scaling = DarkScaling::None;
    recipe.calibration.hot_pixels = HotPixels::Off;
    recipe.gauge.method = GaugeMethod::None;
    recipe.field = FieldRecipe {
        method: FieldMethod::Tiles,
        convergence: 0.0,
        temporal: Temporal::Median,
        ..FieldRecipe::default()
    };
    recipe.field.tile.max_px = 128;
    recipe.field.refine.passes = 0;
    recipe.normalization.scale = ScaleMethod::V4;
    recipe.normalization.sky = SkyMethod::None;
    recipe.weights.scheme = WeightScheme::V4;
    recipe.weights.min_effective_fraction = 0.0;
    recipe.resampling.kernel = Kernel::Bilinear;
    recipe.resampling.clamping = Clamping::None;
    recipe.rejection.method = RejectionMethod::None;
    recipe.colour.method = ColourMethod::Demosaic;
    recipe.reconstruction.method = ReconstructionMethod::Tiles;
    recipe.synthetic.enabled = true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn every_preset_is_valid_and_has_its_own_name() {
        for preset in Preset::ALL {
            preset.recipe().validate().unwrap();
            assert_eq!(Preset::parse(preset.name()), Some(preset));
        }
        assert_eq!(Preset::Default.recipe(), StackRecipe::default());
        assert_eq!(Preset::parse(" AltAz "), Some(Preset::Altaz));
        assert_eq!(Preset::parse("other"), None);
    }

    #[test]
    fn presets_have_the_numbers_of_methodik_v4() {
        let numbers = |preset: Preset| {
            let r = preset.recipe();
            (r.field.iterations, r.weights.registration_beta, r.field.refine.passes)
        };
        assert_eq!(numbers(Preset::Eq), (2, 3.0, 0));
        assert_eq!(numbers(Preset::Altaz), (4, 6.0, 4));
        assert_eq!(numbers(Preset::Polar), (5, 8.0, 5));
        assert_eq!(numbers(Preset::Dwarf), (4, 5.0, 4));
        assert_eq!(numbers(Preset::Seestar), (4, 6.0, 4));
        assert_eq!(numbers(Preset::V4), (3, 5.0, 0));
    }
}
