//! What is to be registered, into what, how, and with what.

use std::path::{Path, PathBuf};

use stillframe_io::recording::{RecordingFormat, SampleType};
use stillframe_runtime::executor::WorkerCommand;
use stillframe_runtime::plan::Resources;

use crate::recipe::{MotionRecipe, NamingConvention};

/// What is to be registered, into what, how, and with what.
#[derive(Clone, Debug)]
pub struct MotionJob {
    /// The recording: a file, a folder or a list with one file per channel.
    pub inputs: Vec<PathBuf>,
    /// Folder of the results.
    pub output: PathBuf,
    /// Everything that may change a bit of the result.
    pub recipe: MotionRecipe,
    /// Everything that may only change time and memory.
    pub resources: Resources,
    /// Whether an existing result may be replaced.
    pub overwrite: bool,
    /// Whether finished batches of an interrupted run are kept.
    pub resume: bool,
    /// How worker processes are started; without it, threads stand in for processes.
    pub worker: Option<WorkerCommand>,
}

impl MotionJob {
    /// Name of the registered recording without its ending.
    pub(super) fn stem(&self) -> String {
        let input = match self.recipe.naming_convention {
            NamingConvention::Default => None,
            NamingConvention::Batch => self.inputs.first().and_then(|p| p.file_stem()),
        };
        input.map_or_else(
            || "compensated".into(),
            |s| format!("{}_compensated", s.to_string_lossy()),
        )
    }

    pub(super) fn format(&self) -> RecordingFormat {
        self.recipe.output_format.into()
    }

    /// Number format of the registered frames of a recording of `input` samples.
    pub(super) fn sample(&self, input: SampleType) -> SampleType {
        self.recipe.output_typename.of(input)
    }

    /// Path, size and time of every input file: what tells it from a changed one.
    pub(super) fn identity(&self) -> Vec<(PathBuf, u64, u128)> {
        let reference = PathBuf::from(&self.recipe.reference_frames);
        self.inputs.iter().chain(Some(&reference)).map(|p| identity(p)).collect()
    }
}

/// Path, size and time of a file or folder; zeros if there is none.
pub(super) fn identity(path: &Path) -> (PathBuf, u64, u128) {
    let meta = std::fs::metadata(path).ok();
    let time = meta.as_ref().and_then(|m| m.modified().ok());
    let nanos = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    (path.to_path_buf(), meta.map_or(0, |m| m.len()), nanos.map_or(0, |d| d.as_nanos()))
}
