//! The stack in memory.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_kernels::register::depth::Gradients;
use stillframe_kernels::register::flow::filter::{Normalisation, Smoother};

use crate::motion::error::MotionError;
use crate::motion::source::SourceSpec;
use crate::motion::spec::planes_of;

/// Where the stack is, one frame per slice.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VolumeSpec {
    pub(super) source: SourceSpec,
    pub(super) shape: Shape,
}

impl VolumeSpec {
    /// Slices `range`, planar; not a number is 0.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn slices(
        &self,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Vec<f32>>, MotionError> {
        let source = self.source.open()?;
        let slice = |z: usize| {
            let mut planes = vec![0.0; source.info().frame_len()];
            source.read(z..z + 1, &mut planes)?;
            planes.iter_mut().for_each(|v| *v = if v.is_finite() { *v } else { 0.0 });
            Ok(planes)
        };
        range.map(slice).collect()
    }

    /// Gradients of slices `range`, each smoothed by a Gaussian of `sigma` pixels.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn gradients(
        &self,
        range: std::ops::Range<usize>,
        sigma: f64,
    ) -> Result<Vec<Gradients>, MotionError> {
        let source = self.source.open()?;
        let mut smoother = Smoother::new(self.shape, sigma, sigma);
        let mut planes = vec![0.0; source.info().frame_len()];
        let mut slice = |z: usize| {
            source.read(z..z + 1, &mut planes)?;
            planes.iter_mut().for_each(|v| *v = if v.is_finite() { *v } else { 0.0 });
            Ok(smoothed_gradients(self.shape, &planes, &mut smoother))
        };
        range.map(&mut slice).collect()
    }
}

/// Gradients of the smoothed channels of a frame.
pub(super) fn smoothed_gradients(
    shape: Shape,
    planes: &[f32],
    smoother: &mut Smoother,
) -> Gradients {
    let mut channels = planes_of(shape, planes);
    for channel in &mut channels {
        let mut out = Image::filled(shape, 0.0);
        smoother.run(channel, Normalisation::IDENTITY, &mut out);
        *channel = out;
    }
    Gradients::of(&channels)
}
