//! How deep a recording lies in a stack of images of the same tissue, what it would show at one
//! depth, and what the stack shows at its depths.

mod anchor;
mod correct;
mod depths;
mod inputs;
mod volume;

use std::path::PathBuf;

use serde::Serialize;
use stillframe_io::Existing;
use stillframe_io::recording::{RecordingFormat, RecordingInfo, SampleType, create};
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::observe::{Event, Observer};

pub(super) use self::anchor::Anchor;
pub(super) use self::correct::Correct;
pub(super) use self::depths::Depths;
use self::inputs::{Inputs, inputs};
use super::error::MotionError;
use super::status::Status;
use super::steps::{Setting, in_folder, write_json};
use crate::recipe::{Recipe, ZAlignRecipe};
use crate::resume::StageKey;
use crate::runner::{PhaseRecord, Runner};

/// Stems and names of the files.
const Z_SHIFT: &str = "z_shift";
const CORRECTED: &str = "corrected";
const SIMULATED: &str = "simulated";
const SUMMARY: &str = "z_align.json";

/// What is to be aligned in depth, and with what.
#[derive(Clone, Debug)]
pub struct ZAlignJob {
    /// Everything that may change a bit of the result.
    pub recipe: ZAlignRecipe,
    /// Where and with what.
    pub setting: Setting,
}

/// What came out.
#[derive(Debug)]
pub struct ZAlignOutcome {
    /// Figures of the recording.
    pub report: ZAlignReport,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// What was done differently from what was asked.
    pub warnings: Vec<String>,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
}

/// `z_align.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZAlignReport {
    /// Program and version.
    pub software: String,
    /// SHA-256 of the canonical recipe, hexadecimal.
    pub recipe_sha256: String,
    /// Slices of the stack.
    pub slices: usize,
    /// The slice to which the recording is corrected, counted from 1 as in `z_shift`.
    pub anchor: usize,
    /// Mean depth of every frame, in slices from 1.
    pub depths: Vec<f64>,
    /// Part of the cells of all frames whose depth lies at an end of the slices that were looked at.
    pub at_the_end_fraction: f64,
    /// What was done differently from what was asked, and why.
    pub warnings: Vec<String>,
}

/// Depths at the end of the window that are worth a warning.
const MANY_AT_THE_END: f64 = 0.05;

/// Finds the depth of a recording, and writes what follows from it.
///
/// # Errors
/// [`MotionError`]. What is finished stays; with `resume` it is not done again.
pub fn run_z_align(
    job: &ZAlignJob,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<ZAlignOutcome, MotionError> {
    job.recipe.validate().map_err(|e| MotionError::Recipe(e.to_string()))?;
    let folder = job.setting.root(&job.recipe.root).join(&job.recipe.output_root);
    job.setting.refuse_existing(&folder, &[SUMMARY])?;
    let run = Run { job, folder: folder.clone() };
    in_folder("z-align", &folder, &job.setting, observer, cancel, |runner| run.run(runner))
}

struct Run<'a> {
    job: &'a ZAlignJob,
    folder: PathBuf,
}

impl Run<'_> {
    fn run(&self, runner: &mut Runner<'_>) -> Result<ZAlignOutcome, MotionError> {
        let (recipe, folder) = (&self.job.recipe, &self.folder);
        let inputs = inputs(runner, recipe, &self.job.setting, folder)?;
        let anchor = anchor::anchor(runner, &inputs, recipe)?;
        runner.observer.event(&Event::note(format!(
            "the recording lies about slice {} of {}",
            anchor + 1,
            inputs.slices
        )));
        let found = depths::depths(runner, &inputs, recipe, anchor)?;
        if found.at_the_end_fraction > MANY_AT_THE_END {
            runner.warn(format!(
                "{:.0} % of the depths lie at an end of the slices that were looked at; a larger \
                 win_half or a taller stack may be needed",
                100.0 * found.at_the_end_fraction
            ));
        }
        let report = ZAlignReport {
            software: concat!("stillframe ", env!("CARGO_PKG_VERSION")).into(),
            recipe_sha256: recipe.sha256(),
            slices: inputs.slices,
            anchor: anchor + 1,
            depths: found.means.iter().map(|z| z + 1.0).collect(),
            at_the_end_fraction: found.at_the_end_fraction,
            warnings: runner.warnings.clone(),
        };
        let files = self.write(runner, &inputs, anchor, found)?;
        write_json(&folder.join(SUMMARY), &report)?;
        Ok(ZAlignOutcome {
            report,
            files: files.into_iter().chain([SUMMARY.to_owned()]).map(|f| folder.join(f)).collect(),
            warnings: std::mem::take(&mut runner.warnings),
            phases: std::mem::take(&mut runner.phases),
        })
    }

    /// Formats and stems of the recordings that are written.
    fn outputs(&self) -> Vec<(&'static str, RecordingFormat)> {
        let recipe = &self.job.recipe;
        let format = recipe.output_format.into();
        let mut outputs = vec![(Z_SHIFT, RecordingFormat::Hdf5)];
        outputs.extend(recipe.write_corrected.then_some((CORRECTED, format)));
        outputs.extend(recipe.write_simulated.then_some((SIMULATED, format)));
        outputs
    }

    /// Writes the depths and what follows from them; the names of the files.
    fn write(
        &self,
        runner: &mut Runner<'_>,
        inputs: &Inputs,
        anchor: usize,
        found: depths::Found,
    ) -> Result<Vec<String>, MotionError> {
        const STEP: &str = "depths";
        let recipe = &self.job.recipe;
        let info = inputs.recording.open()?.info().clone();
        let outputs = self.outputs();
        let channels = |stem: &str| if stem == Z_SHIFT { 1 } else { info.channels };
        let files: Vec<String> =
            outputs.iter().flat_map(|(stem, f)| f.file_names(stem, channels(stem))).collect();
        let key = StageKey::of(&(recipe, inputs.identity()));
        let mut status = Status::of(&self.folder);
        if self.job.setting.resume && status.has(STEP, key) {
            return Ok(files);
        }
        status.begin(STEP)?;
        let sample = recipe.output_typename.of(inputs.sample);
        let begin = |(stem, format): &(&str, RecordingFormat)| {
            let sample = if *stem == Z_SHIFT { SampleType::F32 } else { sample };
            let info = RecordingInfo { channels: channels(stem), sample, ..info.clone() };
            create(&self.folder, stem, *format, &info, Existing::Replace)
        };
        let mut sinks = outputs.iter().map(begin).collect::<Result<Vec<_>, _>>()?;
        correct::correct(runner, inputs, recipe, anchor, found, |planes| {
            for (sink, planes) in sinks.iter_mut().zip(planes) {
                sink.append(planes)?;
            }
            Ok(())
        })?;
        for sink in sinks {
            sink.finish()?;
        }
        status.finish(STEP, key, &files)?;
        Ok(files)
    }
}

/// Indices of `n` frames, spread evenly over `frames`; of all, if there are no more.
fn spread(n: usize, frames: usize) -> Vec<usize> {
    let n = n.min(frames);
    (0..n).map(|i| (2 * i + 1) * frames / (2 * n)).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn frames_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(3, 9), [1, 4, 7]);
        assert_eq!(spread(50, 4), [0, 1, 2, 3]);
        assert_eq!(spread(1, 1), [0]);
    }
}
