//! Stage 1: the stack and the recording, registered where the recipe says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillframe_image::Shape;
use stillframe_io::Existing;
use stillframe_io::recording::{RecordingFormat, RecordingInfo, SampleType, create};

use super::spread;
use super::volume::VolumeSpec;
use crate::motion::error::MotionError;
use crate::motion::job::identity;
use crate::motion::reference::mean;
use crate::motion::source::{SourceSpec, chosen};
use crate::motion::steps::{COMPENSATED, Masks, Setting, as_step, register_step};
use crate::recipe::{MotionRecipe, ZAlignRecipe};
use crate::runner::Runner;

const STACK_FOLDER: &str = "aligned_stack";
const RECORDING_FOLDER: &str = "prealigned_recording";
const REFERENCE_STEM: &str = "reference";

/// What is compared with what.
pub(super) struct Inputs {
    pub(super) recording: SourceSpec,
    pub(super) frames: usize,
    /// Number format of the recording as it was given.
    pub(super) sample: SampleType,
    pub(super) volume: VolumeSpec,
    pub(super) slices: usize,
    files: Vec<PathBuf>,
}

impl Inputs {
    /// Path, size and time of every file that the result depends on.
    pub(super) fn identity(&self) -> Vec<(PathBuf, u64, u128)> {
        self.files.iter().map(|p| identity(p)).collect()
    }
}

/// Opens the inputs of `recipe`, registers what is to be registered into `folder`, and checks that
/// the results fit together.
///
/// # Errors
/// [`MotionError`].
pub(super) fn inputs(
    runner: &mut Runner<'_>,
    recipe: &ZAlignRecipe,
    setting: &Setting,
    folder: &Path,
) -> Result<Inputs, MotionError> {
    let root = setting.root(&recipe.root);
    let input = root.join(needed("input_file", &recipe.input_file)?);
    let (stack, is_raw) = match (&recipe.reference_volume, &recipe.volume_input_file) {
        (Some(finished), _) => (root.join(finished), false),
        (None, Some(raw)) => (root.join(raw), true),
        (None, None) => {
            let message =
                "found neither reference_volume nor volume_input_file, needed one of them";
            return Err(MotionError::Recipe(message.into()));
        }
    };
    let plain = |path: &Path| SourceSpec {
        deinterleave: recipe.motion.deinterleave,
        ..SourceSpec::whole(path)
    };
    let given = plain(&input).open()?.info().clone();
    check(&stack, plain(&stack).open()?.info(), &input, &given)?;
    let scans = recipe.stack_scans_per_slice.unwrap_or(1);
    let registers_stack = is_raw && recipe.prealign_stack;
    let mut files = vec![input.clone(), stack.clone()];
    let mut motion = as_step(&recipe.motion, Masks::AsRecipe);
    if registers_stack || recipe.prealign_recording {
        let source = recipe.reference_source_file.as_ref().map(|f| root.join(f));
        let source = source.unwrap_or_else(|| input.clone());
        check(&source, plain(&source).open()?.info(), &input, &given)?;
        let reference = write_reference(&plain(&source), recipe, folder)?;
        motion.reference_frames = reference.to_string_lossy().into_owned();
        files.push(source);
    }
    let volume = if registers_stack {
        let own = stack_recipe(&motion, recipe, scans);
        let folder = folder.join(STACK_FOLDER);
        register_step(runner, setting, &[stack], &own, &folder)?;
        SourceSpec::whole(&folder.join(COMPENSATED))
    } else {
        plain(&stack)
    };
    let volume = SourceSpec { bin: scans, ..volume };
    let recording = if recipe.prealign_recording {
        let folder = folder.join(RECORDING_FOLDER);
        register_step(runner, setting, std::slice::from_ref(&input), &motion, &folder)?;
        SourceSpec::whole(&folder.join(COMPENSATED))
    } else {
        SourceSpec { bin: recipe.motion.bin_size, ..plain(&input) }
    };
    let frames = recording.open()?.info().frames;
    let slices = volume.open()?.info().frames;
    let (sample, shape): (SampleType, Shape) = (given.sample, given.shape);
    let volume = VolumeSpec { source: volume, shape };
    Ok(Inputs { recording, frames, sample, volume, slices, files })
}

fn needed<'a>(key: &str, value: &'a str) -> Result<&'a str, MotionError> {
    if value.is_empty() {
        return Err(MotionError::Recipe(format!("{key}: found nothing, needed a file")));
    }
    Ok(value)
}

/// How the stack is registered: slice by slice, each onto the one before.
fn stack_recipe(motion: &MotionRecipe, recipe: &ZAlignRecipe, scans: usize) -> MotionRecipe {
    MotionRecipe {
        update_reference: recipe.update_stack_reference,
        buffer_size: if recipe.update_stack_reference { scans } else { motion.buffer_size },
        bin_size: 1,
        ..motion.clone()
    }
}

/// The mean of frames of `source`, as a file.
fn write_reference(
    source: &SourceSpec,
    recipe: &ZAlignRecipe,
    folder: &Path,
) -> Result<PathBuf, MotionError> {
    let opened = source.open()?;
    let info = opened.info().clone();
    let indices = spread(recipe.reference_source_frames, info.frames);
    let part = chosen(Arc::clone(&opened), indices);
    let mean = mean(&*part)?;
    let path = folder.join(&RecordingFormat::Tiff.file_names(REFERENCE_STEM, info.channels)[0]);
    // A file that has not changed keeps its time, on which finished steps depend.
    if let Ok(old) = SourceSpec::whole(&path).open() {
        let mut planes = vec![0.0; old.info().frame_len()];
        if planes.len() == mean.len() && old.read(0..1, &mut planes).is_ok() && planes == mean {
            return Ok(path);
        }
    }
    let one = RecordingInfo { frames: 1, sample: SampleType::F32, ..info };
    let existing = Existing::Replace;
    let mut sink = create(folder, REFERENCE_STEM, RecordingFormat::Tiff, &one, existing)?;
    sink.append(&mean)?;
    sink.finish()?;
    Ok(path)
}

/// # Errors
/// [`MotionError::Inputs`] if a recording has another size or number of channels than the input.
fn check(
    path: &Path,
    found: &RecordingInfo,
    input: &Path,
    needed: &RecordingInfo,
) -> Result<(), MotionError> {
    if (found.shape, found.channels) == (needed.shape, needed.channels) {
        return Ok(());
    }
    Err(MotionError::Inputs(format!(
        "{} has {} channels of {}, but the recording {} has {} of {}; both must show the same field",
        path.display(),
        found.channels,
        found.shape,
        input.display(),
        needed.channels,
        needed.shape
    )))
}
