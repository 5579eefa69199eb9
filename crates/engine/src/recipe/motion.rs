//! The recipe of the `motion` pipeline, under the names that the field uses.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use stillframe_io::recording::{RecordingFormat, SampleType};
use stillframe_kernels::register::flow::{
    Backend, ConstAssumption, Definition, DisParams, FlowParams, Interpolation, Positions, Quality,
};

use super::canonical::Recipe;
use super::problem::Problem;
use super::stack::RECIPE_VERSION;

/// Everything that may change the result of `motion`, and what it writes. What only changes time or
/// memory (workers, executor, memory) is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the field's own option files")]
pub struct MotionRecipe {
    /// Format of this file. It changes when a key changes its meaning.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// How fine the flow is solved, and how long it takes.
    pub quality_setting: QualitySetting,
    /// What computes the displacements.
    pub flow_backend: FlowBackend,
    /// Weight of the smoothness of the displacement along x and y. `auto` tries several on a few
    /// frames and keeps the one whose flow of one half of the rows best registers the other half;
    /// few sweeps on few levels then give what many give with a weight that does not fit the noise.
    /// One number for both axes, or two.
    pub alpha: Alpha,
    /// Weight of each channel; they are scaled to a sum of 1. Empty: the same for all.
    #[schemars(inner(range(min = 0.0)))]
    pub weight: Vec<f64>,
    /// Finest level of the pyramid that is solved, 0 being full resolution; `null`: what
    /// quality_setting says.
    pub min_level: Option<usize>,
    /// Most levels of the pyramid.
    #[schemars(range(min = 1))]
    pub levels: usize,
    /// Ratio of the sides of a level to those of the next finer one; `null`: 0.8, with alpha auto
    /// 0.5.
    #[schemars(range(min = 0.05, max = 1.0))]
    pub eta: Option<f64>,
    /// Relaxation sweeps per level; `null`: 50, with alpha auto 10, 20 or 40 by quality_setting.
    #[schemars(range(min = 1))]
    pub iterations: Option<usize>,
    /// Sweeps between two updates of the robust weights; `null`: 5, with alpha auto 5 or 10.
    #[schemars(range(min = 1))]
    pub update_lag: Option<usize>,
    /// Over-relaxation of the sweeps; `null`: 1.95, with alpha auto 1.9 below quality.
    #[schemars(range(min = 0.1, max = 1.99))]
    pub relaxation: Option<f64>,
    /// Further solutions per level in which only the increment has to be smooth; `null`: none, with
    /// alpha auto 1, 2 or 3 by quality_setting.
    pub refinements: Option<usize>,
    /// Exponent of the smoothness term; 1 is quadratic.
    #[schemars(range(min = 0.0, max = 4.0))]
    pub a_smooth: f64,
    /// Exponent of the robust data term, one for all channels or one each; 1 is quadratic.
    #[schemars(length(min = 1), inner(range(min = 0.01, max = 1.0)))]
    pub a_data: Vec<f64>,
    /// What is assumed to stay constant along the motion.
    pub constancy_assumption: ConstancyAssumption,
    /// Graduated non-convexity: share of the robust weights in each pass over the pyramid, rising
    /// from 0 to 1. Empty: one ordinary pass.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub gnc_schedule: Vec<f64>,
    /// Linearisations per level when gnc_schedule is used.
    #[schemars(range(min = 1))]
    pub warping_steps: usize,
    /// Whether two quirks of the original method are kept.
    pub definition: DefinitionChoice,
    /// To what positions are rounded inside the pyramid.
    pub positions: PositionsChoice,
    /// The dense inverse search.
    pub dis: DisRecipe,
    /// Standard deviations of the Gaussian filter along x and y in pixels and along time in frames:
    /// three for all channels, or three per channel one after the other. Below 1/8 an axis is not
    /// filtered.
    #[schemars(length(min = 3), inner(range(min = 0.0, max = 50.0)))]
    pub sigma: Vec<f64>,
    /// How values are brought to 0..1 by the range of the reference.
    pub channel_normalization: ChannelNormalization,
    /// How the registered frames are sampled between pixels.
    pub interpolation_method: InterpolationMethod,
    /// What frames are registered onto: `auto` (100 frames from frame 50 on, registered to each other
    /// and averaged), indices counted from 0 as in `50..150` (without the last) or `3,7,20..40`, or
    /// a file, of which all frames are averaged as they are.
    pub reference_frames: String,
    /// Whether each batch is registered to the mean of the last 100 frames of the batch before.
    pub update_reference: bool,
    /// Whether the flow of each frame starts from the mean flow of the last 20 frames of the batch
    /// before (the first batch: of its first 22). Frames of one batch never depend on each other.
    pub update_initialization_w: bool,
    /// Whether frames are shifted by cross-correlation before their flow is computed: for jumps of
    /// more than some ten pixels.
    pub cc_initialization: bool,
    /// Longest side at which frames are cross-correlated, pixels.
    #[schemars(range(min = 32, max = 65536))]
    pub cc_hw: usize,
    /// Frames per batch: how often files are made safe, and the step of update_reference and
    /// update_initialization_w. Without those it changes no bit.
    #[schemars(range(min = 1))]
    pub buffer_size: usize,
    /// Frames that are averaged to one when reading; the last mean is of those that are left.
    #[schemars(range(min = 1))]
    pub bin_size: usize,
    /// TIFF input: so many consecutive pages are the channels of one frame; `null`: what the file
    /// says.
    #[schemars(range(min = 1))]
    pub deinterleave: Option<usize>,
    /// Number format of the registered frames; whole numbers are rounded and saturate.
    pub output_typename: OutputType,
    /// File format of the registered frames.
    pub output_format: OutputFormat,
    /// Name of the registered recording.
    pub naming_convention: NamingConvention,
    /// Whether the displacements are written to `w.h5`.
    pub save_w: bool,
    /// Whether masks of the pixels that come from inside the frame are written to `idx.h5`.
    pub save_valid_idx: bool,
}

impl Default for MotionRecipe {
    fn default() -> Self {
        Self {
            version: RECIPE_VERSION,
            quality_setting: QualitySetting::default(),
            flow_backend: FlowBackend::default(),
            alpha: Alpha::Auto,
            weight: Vec::new(),
            min_level: None,
            levels: 100,
            eta: None,
            iterations: None,
            update_lag: None,
            relaxation: None,
            refinements: None,
            a_smooth: 1.0,
            a_data: vec![0.45],
            constancy_assumption: ConstancyAssumption::default(),
            gnc_schedule: Vec::new(),
            warping_steps: 10,
            definition: DefinitionChoice::default(),
            positions: PositionsChoice::default(),
            dis: DisRecipe::default(),
            sigma: vec![1.0, 1.0, 0.1],
            channel_normalization: ChannelNormalization::default(),
            interpolation_method: InterpolationMethod::default(),
            reference_frames: "auto".to_owned(),
            update_reference: false,
            update_initialization_w: false,
            cc_initialization: false,
            cc_hw: 256,
            buffer_size: 400,
            bin_size: 1,
            deinterleave: None,
            output_typename: OutputType::default(),
            output_format: OutputFormat::default(),
            naming_convention: NamingConvention::default(),
            save_w: false,
            save_valid_idx: false,
        }
    }
}

/// What a recipe file of `motion` holds beside the recipe: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoResources {}

impl Recipe for MotionRecipe {
    type Resources = NoResources;

    const PIPELINE: &'static str = "motion";

    fn conflicts(&self, problems: &mut Vec<Problem>) {
        let mut unless = |holds: bool, keys: &str, reason: String| {
            if !holds {
                problems.push(Problem::Conflict { keys: keys.to_owned(), reason });
            }
        };
        unless(
            self.sigma.len().is_multiple_of(3),
            "sigma",
            format!("found {} values, needed three, or three per channel", self.sigma.len()),
        );
        let g = &self.gnc_schedule;
        let rises = g.windows(2).all(|w| w[0] <= w[1]);
        let ends = g.first() == Some(&0.0) && g.last() == Some(&1.0);
        unless(
            g.is_empty() || (g.len() >= 2 && rises && ends),
            "gnc_schedule",
            format!("found {g:?}, needed a rising list from 0 to 1"),
        );
        unless(
            g.is_empty() || self.refinements.unwrap_or(0) == 0,
            "gnc_schedule, refinements",
            "one excludes the other".to_owned(),
        );
        unless(
            g.is_empty() || self.flow_backend != FlowBackend::Dis,
            "gnc_schedule, flow_backend",
            "dis has no graduated non-convexity".to_owned(),
        );
        let alpha = match self.alpha {
            Alpha::Auto => true,
            Alpha::Fixed(a) => a.iter().all(|&a| a > 0.0 && a.is_finite()),
        };
        unless(alpha, "alpha", "needed auto, or numbers above 0".to_owned());
        if let Err(reason) = FrameChoice::parse(&self.reference_frames) {
            unless(false, "reference_frames", reason);
        }
    }
}

impl MotionRecipe {
    /// Whether the flow depends on alpha and it is to be chosen.
    pub(crate) fn chooses_alpha(&self) -> bool {
        let has_alpha = match self.flow_backend {
            FlowBackend::Variational | FlowBackend::Reference => true,
            FlowBackend::Dis => self.dis.refine_to.is_some(),
            FlowBackend::Rigid => false,
        };
        has_alpha && self.alpha == Alpha::Auto
    }

    /// The parameters of the flow of a recording of `channels`; with alpha auto those from which the
    /// search for it begins.
    pub(crate) fn flow_params(&self, channels: usize) -> FlowParams {
        let quality = self.quality_setting.into();
        let base = match self.alpha {
            Alpha::Auto => FlowParams::automatic(quality),
            Alpha::Fixed(alpha) => {
                FlowParams { alpha, min_level: quality.min_level(), ..FlowParams::default() }
            }
        };
        let is_graduated = !self.gnc_schedule.is_empty();
        FlowParams {
            backend: match self.flow_backend {
                FlowBackend::Variational | FlowBackend::Rigid => Backend::Variational,
                FlowBackend::Dis => Backend::Dis,
                FlowBackend::Reference => Backend::Reference,
            },
            levels: self.levels,
            min_level: self.min_level.unwrap_or(base.min_level),
            eta: self.eta.unwrap_or(base.eta),
            iterations: self.iterations.unwrap_or(base.iterations),
            update_lag: self.update_lag.unwrap_or(base.update_lag),
            relaxation: self.relaxation.unwrap_or(base.relaxation),
            refinements: match self.refinements {
                _ if is_graduated => 0,
                chosen => chosen.unwrap_or(base.refinements),
            },
            a_smooth: self.a_smooth,
            a_data: self.a_data.clone(),
            const_assumption: self.constancy_assumption.into(),
            weight: self.channel_weights(channels),
            gnc_schedule: self.gnc_schedule.clone(),
            warping_steps: self.warping_steps,
            positions: match self.positions {
                PositionsChoice::Exact => Positions::Exact,
                PositionsChoice::Thirtyseconds => Positions::Thirtyseconds,
            },
            definition: match self.definition {
                DefinitionChoice::Auto => base.definition,
                DefinitionChoice::Original => Definition::Original,
                DefinitionChoice::Repaired => Definition::Repaired,
            },
            dis: DisParams {
                finest_scale: self.dis.finest_scale,
                iterations: self.dis.iterations,
                refine_to: self.dis.refine_to,
            },
            ..base
        }
    }

    /// Weights with a sum of 1: too many are cut off, missing ones are 1/C before that.
    pub(crate) fn channel_weights(&self, channels: usize) -> Vec<f64> {
        let equal = 1.0 / channels as f64;
        let chosen: Vec<f64> =
            (0..channels).map(|c| self.weight.get(c).copied().unwrap_or(equal)).collect();
        let sum: f64 = chosen.iter().sum();
        if sum > 0.0 { chosen.iter().map(|w| w / sum).collect() } else { vec![equal; channels] }
    }

    /// Standard deviations along x, y and time of channel `c`; channels beyond the list take the
    /// last.
    pub(crate) fn sigma_of(&self, c: usize) -> [f64; 3] {
        let rows = self.sigma.as_chunks::<3>().0;
        rows.get(c).or(rows.last()).copied().unwrap_or([0.0; 3])
    }
}

/// Smoothness: found, or given along x and y.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Alpha {
    /// Found by prediction.
    #[default]
    Auto,
    /// Along x and y.
    Fixed([f64; 2]),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AlphaForm {
    Word(AutoWord),
    One(f64),
    Two([f64; 2]),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AutoWord {
    Auto,
}

impl Serialize for Alpha {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match *self {
            Self::Auto => AlphaForm::Word(AutoWord::Auto),
            Self::Fixed([x, y]) if x == y => AlphaForm::One(x),
            Self::Fixed(both) => AlphaForm::Two(both),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Alpha {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match AlphaForm::deserialize(deserializer)? {
            AlphaForm::Word(AutoWord::Auto) => Self::Auto,
            AlphaForm::One(a) => Self::Fixed([a; 2]),
            AlphaForm::Two(a) => Self::Fixed(a),
        })
    }
}

impl JsonSchema for Alpha {
    fn schema_name() -> Cow<'static, str> {
        "Alpha".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "const": "auto", "description": "Chosen by prediction, on a few frames." },
            { "type": "number", "exclusiveMinimum": 0.0 },
            { "type": "array", "items": { "type": "number", "exclusiveMinimum": 0.0 },
              "minItems": 2, "maxItems": 2 },
        ] })
    }
}

/// The frames that `reference_frames` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameChoice {
    Auto,
    /// Ranges of indices, the end excluded.
    Indices(Vec<std::ops::Range<usize>>),
    File(String),
}

impl FrameChoice {
    /// # Errors
    /// What is wrong with `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let is_list = text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || ",. ".contains(c));
        if !is_list {
            return if text.is_empty() {
                Err("needed auto, indices as in 50..150, or a file".to_owned())
            } else {
                Ok(Self::File(text.to_owned()))
            };
        }
        let part = |part: &str| {
            let part = part.trim();
            let (from, to) = part.split_once("..").unwrap_or((part, ""));
            let from: usize = from.trim().parse().ok()?;
            let to = if part.contains("..") { to.trim().parse().ok()? } else { from + 1 };
            (from < to).then_some(from..to)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(part).collect();
        ranges.map(Self::Indices).ok_or_else(|| {
            format!("found {text:?}, needed indices as in 50..150 or 3,7,20..40, or a file")
        })
    }
}

/// The dense inverse search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DisRecipe {
    /// Finest scale that is searched: 2 is a quarter of the side.
    #[schemars(range(min = 0, max = 8))]
    pub finest_scale: usize,
    /// Most gradient steps per patch and scale.
    #[schemars(range(min = 1, max = 1000))]
    pub iterations: usize,
    /// Finest level of the variational flow that refines the search; `null`: not refined.
    pub refine_to: Option<usize>,
}

impl Default for DisRecipe {
    fn default() -> Self {
        let DisParams { finest_scale, iterations, refine_to } = DisParams::default();
        Self { finest_scale, iterations, refine_to }
    }
}

/// Word choices of a recipe: an enum whose words are those of the file.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident, $case:literal { $($(#[$attr:meta])* $variant:ident),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
            #[serde(rename_all = $case)]
            pub enum $name { $($(#[$attr])* $variant),+ }
        )+
    };
}

choices! {
    /// How fine the flow is solved.
    QualitySetting, "snake_case" {
        /// A quarter of the side: for live use and long recordings.
        Fast,
        /// Half of the side: nearly as accurate as the next, several times faster.
        Balanced,
        /// Every pixel.
        #[default]
        Quality,
    }
    /// What computes the displacements.
    FlowBackend, "snake_case" {
        /// Coarse-to-fine variational flow.
        #[default]
        Variational,
        /// Dense inverse search: patches, no smoothness.
        Dis,
        /// One shift per frame by sub-pixel phase correlation.
        Rigid,
        /// The definition of the variational flow in float64, slow: the measure of the others.
        Reference,
    }
    /// What is assumed to stay constant along the motion.
    ConstancyAssumption, "snake_case" {
        /// The gradient, normalised by the second derivatives.
        #[default]
        Gc,
        /// The grey value.
        Gray,
        /// Census: the order of a pixel and its neighbours.
        Cs,
    }
    /// Whether two quirks of the original method are kept.
    DefinitionChoice, "snake_case" {
        /// Repaired if alpha is auto, else original.
        #[default]
        Auto,
        /// Pixels from outside the frame hold the flow where it is; a start is not applied at the
        /// coarsest level.
        Original,
        /// Pixels from outside the frame say nothing; a start is applied.
        Repaired,
    }
    /// To what positions are rounded inside the pyramid.
    PositionsChoice, "snake_case" {
        /// Not at all.
        #[default]
        Exact,
        /// 1/32 pixel, to compare with flows computed through a library that does so.
        Thirtyseconds,
    }
    /// How values are brought to 0..1.
    ChannelNormalization, "snake_case" {
        /// By the range of all channels together.
        #[default]
        Joint,
        /// Each channel by its own range.
        Separate,
    }
    /// How the registered frames are sampled.
    InterpolationMethod, "snake_case" {
        /// Cubic convolution over 4×4 pixels.
        #[default]
        Cubic,
        /// Over 2×2 pixels: no overshoot, but softer.
        Linear,
    }
    /// Number format of the registered frames.
    OutputType, "lowercase" {
        /// That of the input.
        #[default]
        Input,
        /// 8-bit whole numbers from 0.
        Uint8,
        /// 16-bit whole numbers with sign.
        Int16,
        /// 16-bit whole numbers from 0.
        Uint16,
        /// 32-bit whole numbers with sign.
        Int32,
        /// 32-bit floating point.
        Single,
        /// 64-bit floating point.
        Double,
    }
    /// File format of the registered frames.
    OutputFormat, "SCREAMING_SNAKE_CASE" {
        /// One HDF5 file with a dataset per channel.
        #[default]
        Hdf5,
        /// One BigTIFF, channels as samples of a pixel.
        Tiff,
        /// One MATLAB file (v7.3) with a variable per channel.
        Mat,
        /// One BigTIFF with channels page after page, for Suite2p.
        Suite2pTiff,
        /// One HDF5 file per channel with the dataset mov, for CaImAn.
        CaimanHdf5,
        /// One HDF5 file per channel.
        MultifileHdf5,
        /// One BigTIFF per channel.
        MultifileTiff,
        /// One MATLAB file per channel.
        MultifileMat,
    }
    /// Name of the registered recording.
    NamingConvention, "snake_case" {
        /// `compensated`.
        #[default]
        Default,
        /// The name of the input, then `_compensated`.
        Batch,
    }
}

impl From<QualitySetting> for Quality {
    fn from(setting: QualitySetting) -> Self {
        match setting {
            QualitySetting::Fast => Self::Fast,
            QualitySetting::Balanced => Self::Balanced,
            QualitySetting::Quality => Self::Quality,
        }
    }
}

impl From<ConstancyAssumption> for ConstAssumption {
    fn from(assumption: ConstancyAssumption) -> Self {
        match assumption {
            ConstancyAssumption::Gc => Self::Gradient,
            ConstancyAssumption::Gray => Self::Gray,
            ConstancyAssumption::Cs => Self::Census,
        }
    }
}

impl From<OutputFormat> for RecordingFormat {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Hdf5 => Self::Hdf5,
            OutputFormat::Tiff => Self::Tiff,
            OutputFormat::Mat => Self::Mat,
            OutputFormat::Suite2pTiff => Self::Suite2pTiff,
            OutputFormat::CaimanHdf5 => Self::CaimanHdf5,
            OutputFormat::MultifileHdf5 => Self::MultifileHdf5,
            OutputFormat::MultifileTiff => Self::MultifileTiff,
            OutputFormat::MultifileMat => Self::MultifileMat,
        }
    }
}

impl OutputType {
    /// The number format for a recording of `input` samples.
    pub(crate) fn of(self, input: SampleType) -> SampleType {
        match self {
            Self::Input => input,
            Self::Uint8 => SampleType::U8,
            Self::Int16 => SampleType::I16,
            Self::Uint16 => SampleType::U16,
            Self::Int32 => SampleType::I32,
            Self::Single => SampleType::F32,
            Self::Double => SampleType::F64,
        }
    }
}

impl From<InterpolationMethod> for Interpolation {
    fn from(method: InterpolationMethod) -> Self {
        match method {
            InterpolationMethod::Cubic => Self::Cubic,
            InterpolationMethod::Linear => Self::Linear,
        }
    }
}

impl FlowBackend {
    /// The name in recipes, options and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Variational => "variational",
            Self::Dis => "dis",
            Self::Rigid => "rigid",
            Self::Reference => "reference",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::keys::Key;
    use crate::recipe::{FileOf, RecipeFormat};

    fn parse(text: &str, sets: &[&str]) -> Result<MotionRecipe, String> {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        FileOf::<MotionRecipe>::parse(text, RecipeFormat::Yaml, &sets)
            .map(|f| f.recipe)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_default_is_valid_and_survives_writing() {
        let file = FileOf::<MotionRecipe>::default();
        file.recipe.validate().unwrap();
        let text = file.to_commented_yaml("A test.");
        assert_eq!(parse(&text, &[]).unwrap(), file.recipe, "{text}");
    }

    #[test]
    fn every_key_is_described_and_has_its_default() {
        let root = Key::root::<MotionRecipe>();
        let recipe = serde_json::to_value(MotionRecipe::default()).unwrap();
        for path in root.paths() {
            let key = root.find(path).unwrap();
            assert!(key.description.len() > 8, "{path} has no description");
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(recipe.pointer(&pointer), Some(&key.default), "{path}");
        }
    }

    #[test]
    fn lists_words_and_numbers_can_be_set() {
        let recipe = parse(
            "alpha: [2, 4]\noutput_format: SUITE2P_TIFF\nreference_frames: ref.tif",
            &["sigma=1,2,0.5", "a_data=[0.5]", "alpha=8", "reference_frames=3,7,20..40"],
        );
        let recipe = recipe.unwrap();
        assert_eq!(recipe.sigma, [1.0, 2.0, 0.5]);
        assert_eq!(recipe.alpha, Alpha::Fixed([8.0; 2]));
        assert_eq!(recipe.output_format, OutputFormat::Suite2pTiff);
        assert_eq!(
            FrameChoice::parse(&recipe.reference_frames),
            Ok(FrameChoice::Indices(vec![3..4, 7..8, 20..40]))
        );
    }

    #[test]
    fn faults_name_their_key() {
        for (sets, key) in [
            (&["alpha=-1"][..], "alpha"),
            (&["alpha=1,2,3"], "alpha"),
            (&["sigma=1,2"], "sigma"),
            (&["sigma=1,2,3,4"], "sigma"),
            (&["gnc_schedule=0,0.5"], "gnc_schedule"),
            (&["gnc_schedule=0,1", "flow_backend=dis"], "gnc_schedule"),
            (&["interpolation_method=nearest"], "interpolation_method"),
            (&["reference_frames=5..3"], "reference_frames"),
            (&["eta=0"], "eta"),
        ] {
            let message = parse("", sets).unwrap_err();
            assert!(message.contains(key), "{sets:?}: {message}");
        }
    }

    #[test]
    fn explicit_values_win_over_the_presets() {
        let auto = MotionRecipe::default();
        let mine = MotionRecipe { eta: Some(0.7), min_level: Some(3), ..auto.clone() };
        let (auto, mine) = (auto.flow_params(1), mine.flow_params(1));
        assert_eq!((mine.eta, mine.min_level), (0.7, 3));
        assert_eq!(mine.iterations, auto.iterations);
        let fixed = MotionRecipe { alpha: Alpha::Fixed([1.5; 2]), ..MotionRecipe::default() };
        let fixed = fixed.flow_params(2);
        assert_eq!((fixed.eta, fixed.iterations, fixed.refinements), (0.8, 50, 0));
        assert_eq!(fixed.weight, [0.5, 0.5]);
    }
}
