//! The recipe of `session`: many recordings of one field of view.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::Recipe;
use super::motion::{ConstancyAssumption, MotionRecipe, NoResources, OutputFormat};
use super::problem::Problem;
use super::stack::RECIPE_VERSION;

/// Many recordings of one field of view: each is registered to itself, then all to one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionRecipe {
    /// Format of this file. It changes when a key changes its meaning.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Folder of the recordings, relative to the folder of this file.
    pub root: String,
    /// Names of the recordings below root, with *, ? and [...]; they are taken in the order of
    /// their names.
    pub pattern: String,
    /// The recording onto which the others are aligned, relative to root; `null`: the middle one,
    /// of an even number the earlier.
    pub center: Option<String>,
    /// Folder below root that gets a folder with the registered frames of each recording.
    pub output_root: String,
    /// Folder below root that gets the aligned recordings.
    pub final_results: String,
    /// How each recording is registered to itself; the keys of motion, without its output keys.
    pub motion: MotionRecipe,
    /// How the means of two recordings are registered.
    pub between: BetweenRecipe,
    /// File format of the aligned recordings.
    pub align_output_format: OutputFormat,
}

/// How the mean of a recording is registered to that of the centre.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BetweenRecipe {
    /// Standard deviation of the Gaussian on both means, pixels; each channel by itself.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub sigma_smooth: f64,
    /// Weight of the smoothness of the displacement.
    #[schemars(range(min = 0.001, max = 1e6))]
    pub alpha: f64,
    /// Relaxation sweeps per level.
    #[schemars(range(min = 1))]
    pub iterations: usize,
    /// What is assumed to stay constant between two recordings.
    pub constancy_assumption: ConstancyAssumption,
}

impl Default for BetweenRecipe {
    fn default() -> Self {
        Self {
            sigma_smooth: 6.0,
            alpha: 25.0,
            iterations: 100,
            constancy_assumption: ConstancyAssumption::default(),
        }
    }
}

impl Default for SessionRecipe {
    fn default() -> Self {
        Self {
            version: RECIPE_VERSION,
            root: ".".to_owned(),
            pattern: "*.tif".to_owned(),
            center: None,
            output_root: "compensated_outputs".to_owned(),
            final_results: "final_results".to_owned(),
            motion: MotionRecipe::default(),
            between: BetweenRecipe::default(),
            align_output_format: OutputFormat::Tiff,
        }
    }
}

impl Recipe for SessionRecipe {
    type Resources = NoResources;

    const PIPELINE: &'static str = "session";

    fn conflicts(&self, problems: &mut Vec<Problem>) {
        motion_section(&self.motion, "align_output_format", problems);
        let [outputs, results] = [&self.output_root, &self.final_results].map(Path::new);
        if lexical(outputs) == lexical(results) {
            problems.push(Problem::Conflict {
                keys: "output_root, final_results".to_owned(),
                reason: "needed two different folders".to_owned(),
            });
        }
    }
}

/// A path without `.` and doubled separators.
fn lexical(path: &Path) -> Vec<Component<'_>> {
    path.components().filter(|c| *c != Component::CurDir).collect()
}

/// Adds what is wrong with a section `motion` whose output is for this program: its own conflicts,
/// and output keys, for which `instead` is to be used.
pub(super) fn motion_section(motion: &MotionRecipe, instead: &str, problems: &mut Vec<Problem>) {
    let mut own = Vec::new();
    motion.conflicts(&mut own);
    problems.extend(own.into_iter().map(|problem| match problem {
        Problem::Conflict { keys, reason } => {
            let keys: Vec<_> = keys.split(", ").map(|k| format!("motion.{k}")).collect();
            Problem::Conflict { keys: keys.join(", "), reason }
        }
        other => other,
    }));
    let default = MotionRecipe::default();
    for (is_default, key) in [
        (motion.output_format == default.output_format, "motion.output_format"),
        (motion.naming_convention == default.naming_convention, "motion.naming_convention"),
    ] {
        if !is_default {
            problems.push(Problem::Conflict {
                keys: key.to_owned(),
                reason: format!("what lies between the steps has one form; use {instead}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::keys::Key;
    use crate::recipe::{FileOf, RecipeFormat};

    fn parse(text: &str, sets: &[&str]) -> Result<SessionRecipe, String> {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        FileOf::<SessionRecipe>::parse(text, RecipeFormat::Toml, &sets)
            .map(|f| f.recipe)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_is_described_and_has_its_default() {
        let root = Key::root::<SessionRecipe>();
        let recipe = serde_json::to_value(SessionRecipe::default()).unwrap();
        for path in root.paths() {
            let key = root.find(path).unwrap();
            assert!(key.description.len() > 8, "{path} has no description");
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(recipe.pointer(&pointer), Some(&key.default), "{path}");
        }
        let file = FileOf::<SessionRecipe>::default();
        let text = file.to_commented_yaml("A test.");
        let back = FileOf::<SessionRecipe>::parse(&text, RecipeFormat::Yaml, &[]);
        assert_eq!(back.unwrap(), file, "{text}");
    }

    #[test]
    fn sections_are_read_and_set() {
        let text = "pattern = 'rec_*.h5'\ncenter = 'rec_2.h5'\n[motion]\nalpha = 4\n\
                    [between]\nsigma_smooth = 3\n";
        let recipe = parse(text, &["motion.quality_setting=fast", "between.alpha=10"]).unwrap();
        assert_eq!((recipe.between.sigma_smooth, recipe.between.alpha), (3.0, 10.0));
        assert_eq!(recipe.center.as_deref(), Some("rec_2.h5"));
        assert_eq!(recipe.motion.quality_setting, crate::recipe::QualitySetting::Fast);
    }

    #[test]
    fn faults_name_their_key() {
        for (text, part) in [
            ("patern = '*.h5'", "nearest known key is pattern"),
            ("[motion]\nalfa = 3", "nearest known key is motion.alpha"),
            ("[motion]\nsigma = [1, 2, 3, 4]", "motion.sigma: found 4 values"),
            ("[motion]\noutput_format = 'TIFF'", "motion.output_format: what lies between"),
            ("output_root = 'a'\nfinal_results = './a'", "two different folders"),
            ("[between]\nalpha = 0", "between.alpha"),
        ] {
            let message = parse(text, &[]).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
