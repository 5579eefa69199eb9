//! What a mosaic is made of.

use std::path::PathBuf;

use stillframe_runtime::executor::WorkerCommand;
use stillframe_runtime::plan::Resources;

use crate::recipe::{HotPixels, MosaicRecipe, Route};
use crate::stack::StackJob;

/// What is to be assembled, into what, how, and with what.
#[derive(Clone, Debug)]
pub struct MosaicJob {
    /// Files, folders and patterns of the images.
    pub inputs: Vec<String>,
    /// Folder of the results.
    pub output: PathBuf,
    /// Files, folders and patterns of bias frames, or one master.
    pub bias: Vec<String>,
    /// The same of darks.
    pub dark: Vec<String>,
    /// The same of flats.
    pub flat: Vec<String>,
    /// Header of the output grid as text; without one the grid is made to hold all images.
    pub grid: Option<PathBuf>,
    /// Everything that may change a bit of the result.
    pub recipe: MosaicRecipe,
    /// Everything that may only change time and memory.
    pub resources: Resources,
    /// Side of the blocks of pass 2 in pixels, for tests; chosen by the plan if absent.
    pub block_side: Option<usize>,
    /// Whether an existing result may be replaced.
    pub overwrite: bool,
    /// Whether finished passes of an interrupted run are used.
    pub resume: bool,
    /// How worker processes are started; without it, threads stand in for processes.
    pub worker: Option<WorkerCommand>,
}

impl MosaicJob {
    /// The part that both pipelines do alike: inputs, calibration, measurement.
    pub(super) fn measuring(&self) -> StackJob {
        let mut recipe = self.recipe.stack.clone();
        if self.recipe.route != Route::MosaicFirst {
            // finished tiles: nothing of the camera is left in them
            recipe.calibration.hot_pixels = HotPixels::Off;
        }
        StackJob {
            inputs: self.inputs.clone(),
            output: self.output.clone(),
            bias: self.bias.clone(),
            dark: self.dark.clone(),
            flat: self.flat.clone(),
            recipe,
            resources: self.resources.clone(),
            block_side: self.block_side,
            overwrite: self.overwrite,
            resume: self.resume,
            worker: self.worker.clone(),
        }
    }
}
