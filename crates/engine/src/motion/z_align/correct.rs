//! What follows from the depths: their map, the recording at one depth, the stack at the depths.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_image::Image;
use stillframe_io::recording::RecordingInfo;
use stillframe_kernels::register::depth::{PatchGrid, at_depth, moved_to};
use stillframe_kernels::register::flow::filter::{Normalisation, Smoother};

use super::depths::Found;
use super::inputs::Inputs;
use super::volume::VolumeSpec;
use crate::motion::chunks::{FramesWork, SideJob, Window, over_frames};
use crate::motion::error::MotionError;
use crate::recipe::ZAlignRecipe;
use crate::runner::Runner;
use crate::wire;

/// Paints the depths of frames and moves the frames to the anchor.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Correct {
    volume: VolumeSpec,
    slices: usize,
    anchor: usize,
    grid: PatchGrid,
    #[serde(with = "wire::pod")]
    cells: Vec<f32>,
    sigma: f64,
    write_corrected: bool,
    write_simulated: bool,
}

/// The whole stack.
pub(crate) struct Ready {
    spec: Correct,
    slices: Vec<Vec<f32>>,
}

/// What comes of some frames: the depths (slices from 1), and what else is written, in the order of
/// the files.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made(Vec<Planes>);

#[derive(Serialize, Deserialize)]
struct Planes(#[serde(with = "wire::pod")] Vec<f32>);

impl FramesWork for Correct {
    type Ready = Ready;
    type Output = Made;

    const NAME: &'static str = "z_align_correct";

    fn job(spec: PathBuf) -> SideJob {
        SideJob::Correct(spec)
    }

    fn ready(&self) -> Result<Ready, MotionError> {
        Ok(Ready { spec: self.clone(), slices: self.volume.slices(0..self.slices)? })
    }

    fn shared_bytes(&self, info: &RecordingInfo) -> u64 {
        4 * (self.slices * info.frame_len() + 2 * self.cells.len()) as u64
    }

    fn planes(&self, info: &RecordingInfo) -> (usize, usize) {
        let kinds = usize::from(self.write_corrected) + usize::from(self.write_simulated);
        (4, 1 + kinds * info.channels)
    }

    fn work(ready: &Ready, window: &Window<'_>) -> Result<Made, String> {
        let (spec, info) = (&ready.spec, window.info);
        let (n, len, cells) = (spec.slices, info.shape.len(), spec.grid.n_cells());
        let mut smoother = Smoother::new(info.shape, spec.sigma, spec.sigma);
        let mut painted = Image::filled(info.shape, 0.0f32);
        let mut depths = painted.clone();
        let [mut maps, mut corrected, mut simulated] = [const { Vec::<f32>::new() }; 3];
        for t in window.frames.clone() {
            spec.grid.paint(&spec.cells[t * cells..(t + 1) * cells], &mut painted);
            smoother.run(&painted, Normalisation::IDENTITY, &mut depths);
            let last = (n - 1) as f32;
            depths.pixels_mut().iter_mut().for_each(|d| *d = d.clamp(0.0, last));
            maps.extend(depths.pixels().iter().map(|d| d + 1.0));
            for (c, plane) in window.frame(t).chunks_exact(len).enumerate() {
                let slice = |z: usize| &ready.slices[z][c * len..(c + 1) * len];
                if spec.write_corrected {
                    let start = corrected.len();
                    corrected.extend_from_slice(plane);
                    moved_to(spec.anchor, n, slice, &depths, &mut corrected[start..]);
                }
                if spec.write_simulated {
                    let start = simulated.len();
                    simulated.resize(start + len, 0.0);
                    at_depth(n, slice, &depths, &mut simulated[start..]);
                }
            }
        }
        let mut made = vec![Planes(maps)];
        made.extend(spec.write_corrected.then_some(Planes(corrected)));
        made.extend(spec.write_simulated.then_some(Planes(simulated)));
        Ok(Made(made))
    }
}

/// Hands what comes of the depths to `write`, frames in order: the maps, then what the recipe wants.
///
/// # Errors
/// [`MotionError`], also that of `write`.
pub(super) fn correct(
    runner: &mut Runner<'_>,
    inputs: &Inputs,
    recipe: &ZAlignRecipe,
    anchor: usize,
    found: Found,
    mut write: impl FnMut(&[&[f32]]) -> Result<(), MotionError>,
) -> Result<(), MotionError> {
    let work = Correct {
        volume: inputs.volume.clone(),
        slices: inputs.slices,
        anchor,
        grid: found.grid,
        cells: found.cells,
        sigma: recipe.z_smooth_sigma_spatial,
        write_corrected: recipe.write_corrected,
        write_simulated: recipe.write_simulated,
    };
    over_frames(runner, &inputs.recording, &work, |_, Made(made)| {
        let planes: Vec<&[f32]> = made.iter().map(|p| p.0.as_slice()).collect();
        write(&planes)
    })
}
