//! The recipe of `z-align`: the depth of a recording in a stack.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::Recipe;
use super::motion::{MotionRecipe, NoResources, OutputFormat, OutputType};
use super::problem::Problem;
use super::session::motion_section;
use super::stack::RECIPE_VERSION;

/// How deep each part of a recording lies in a stack of images, and what it would show at one depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "keys of a file, each a choice of its own")]
pub struct ZAlignRecipe {
    /// Format of this file. It changes when a key changes its meaning.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Folder to which all other paths are relative; itself relative to the folder of this file.
    pub root: String,
    /// The recording.
    pub input_file: String,
    /// A finished stack: one frame per slice. Either this or volume_input_file.
    pub reference_volume: Option<String>,
    /// A stack as it was recorded, which is registered first.
    pub volume_input_file: Option<String>,
    /// Recorded frames per slice of the stack: they are averaged after registration, and are the
    /// batches of it. `null`: one.
    #[schemars(range(min = 1))]
    pub stack_scans_per_slice: Option<usize>,
    /// Whether volume_input_file is registered; if not, its frames are only averaged per slice.
    pub prealign_stack: bool,
    /// Whether each batch of the stack is registered to the one before, so that what changes with
    /// depth is followed; else all are registered to the reference.
    pub update_stack_reference: bool,
    /// Whether the recording is registered first; if not, it must be already.
    pub prealign_recording: bool,
    /// Recording whose mean is the reference of both registrations; `null`: input_file.
    pub reference_source_file: Option<String>,
    /// Most frames of it that are averaged, spread over it.
    #[schemars(range(min = 1))]
    pub reference_source_frames: usize,
    /// How stack and recording are registered; the keys of motion, without its output keys.
    pub motion: MotionRecipe,
    /// Folder of the results.
    pub output_root: String,
    /// Frames, spread over the recording, of which the mean depth is found first.
    #[schemars(range(min = 1))]
    pub anchor_frames: usize,
    /// Slices on each side of that depth in which depths are looked for.
    #[schemars(range(min = 1))]
    pub win_half: usize,
    /// Side of the patches of which a depth each is found, pixels.
    #[schemars(range(min = 1))]
    pub patch_size: usize,
    /// Part of the side that a patch shares with the next.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub overlap: f64,
    /// Standard deviation of the Gaussian on slices and frames before they are compared, pixels.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub spatial_sigma: f64,
    /// The same along time, frames.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub temporal_sigma: f64,
    /// Standard deviation of the Gaussian on the depths, pixels.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub z_smooth_sigma_spatial: f64,
    /// The same along time, frames.
    #[schemars(range(min = 0.0, max = 50.0))]
    pub z_smooth_sigma_temporal: f64,
    /// Where the differences around their minimum curve less than this part of it, the depth is a
    /// whole slice.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flatness: f64,
    /// Whether the recording as if at one depth is written.
    pub write_corrected: bool,
    /// Whether what the stack shows at the depths is written.
    pub write_simulated: bool,
    /// Number format of both; whole numbers are rounded and saturate.
    pub output_typename: OutputType,
    /// File format of both.
    pub output_format: OutputFormat,
}

impl Default for ZAlignRecipe {
    fn default() -> Self {
        Self {
            version: RECIPE_VERSION,
            root: ".".to_owned(),
            input_file: String::new(),
            reference_volume: None,
            volume_input_file: None,
            stack_scans_per_slice: None,
            prealign_stack: true,
            update_stack_reference: true,
            prealign_recording: false,
            reference_source_file: None,
            reference_source_frames: 2000,
            motion: MotionRecipe::default(),
            output_root: "z_align_outputs".to_owned(),
            anchor_frames: 50,
            win_half: 10,
            patch_size: 128,
            overlap: 0.75,
            spatial_sigma: 1.5,
            temporal_sigma: 1.5,
            z_smooth_sigma_spatial: 5.0,
            z_smooth_sigma_temporal: 1.5,
            flatness: 1e-3,
            write_corrected: true,
            write_simulated: true,
            output_typename: OutputType::default(),
            output_format: OutputFormat::Tiff,
        }
    }
}

impl Recipe for ZAlignRecipe {
    type Resources = NoResources;

    const PIPELINE: &'static str = "z-align";

    fn conflicts(&self, problems: &mut Vec<Problem>) {
        motion_section(&self.motion, "output_format", problems);
        let mut unless = |holds: bool, keys: &str, reason: &str| {
            if !holds {
                let (keys, reason) = (keys.to_owned(), reason.to_owned());
                problems.push(Problem::Conflict { keys, reason });
            }
        };
        unless(
            self.reference_volume.is_none() || self.volume_input_file.is_none(),
            "reference_volume, volume_input_file",
            "one excludes the other",
        );
        unless(
            self.stack_scans_per_slice.is_none() || self.reference_volume.is_none(),
            "stack_scans_per_slice, reference_volume",
            "a finished stack has one frame per slice",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::keys::Key;
    use crate::recipe::{FileOf, RecipeFormat};

    #[test]
    fn every_key_is_described_and_has_its_default() {
        let root = Key::root::<ZAlignRecipe>();
        let recipe = serde_json::to_value(ZAlignRecipe::default()).unwrap();
        for path in root.paths() {
            let key = root.find(path).unwrap();
            assert!(key.description.len() > 8, "{path} has no description");
            let pointer = format!("/{}", path.replace('.', "/"));
            assert_eq!(recipe.pointer(&pointer), Some(&key.default), "{path}");
        }
    }

    #[test]
    fn faults_name_their_key() {
        for (text, part) in [
            ("input_fil = 'a'", "nearest known key is input_file"),
            ("overlap = 1.0", "overlap: found 1"),
            ("reference_volume = 'a'\nvolume_input_file = 'b'", "one excludes the other"),
            ("reference_volume = 'a'\nstack_scans_per_slice = 3", "one frame per slice"),
            ("[motion]\ngnc_schedule = [0, 0.5]", "motion.gnc_schedule"),
        ] {
            let file = FileOf::<ZAlignRecipe>::parse(text, RecipeFormat::Toml, &[]);
            let message = file.unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
