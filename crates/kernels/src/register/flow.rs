//! Optical flow: how far every pixel of a frame has moved from the reference.
//!
//! Backward convention: `registered(x, y) = frame(x + u, y + v)` looks like the reference. `u` is
//! to the right, `v` down the rows, both in pixels of the full-resolution frame.

pub mod params;
mod lanes;
mod median;
mod plain;
mod pyramid;
mod resize;
mod skew;
mod taps;
mod variational;
mod warp;

pub use warp::{Interpolation, register, valid};
pub use params::{Backend, ConstAssumption, FlowError, FlowParams, Positions, Quality};

use stillframe_image::{Image, Shape};

use self::variational::Variational;

/// A displacement for every pixel: `registered(x, y) = frame(x + u, y + v)`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowField {
    /// To the right, pixels.
    pub u: Image<f32>,
    /// Down the rows, pixels.
    pub v: Image<f32>,
}

impl FlowField {
    /// A field of zeros.
    pub fn zero(shape: Shape) -> Self {
        Self { u: Image::filled(shape, 0.0), v: Image::filled(shape, 0.0) }
    }
}

/// Computes the flow of one frame after the other against one reference; holds all the memory that
/// this needs.
#[derive(Clone, Debug)]
pub struct Flow {
    params: FlowParams,
    shape: Shape,
    channels: usize,
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Variational(Variational),
    Reference(Vec<Image<f32>>),
}

impl Flow {
    /// Checks the parameters and allocates everything for frames of `channels` planes of `shape`.
    ///
    /// # Errors
    /// [`FlowError::Parameter`] and [`FlowError::Empty`].
    pub fn new(params: FlowParams, shape: Shape, channels: usize) -> Result<Self, FlowError> {
        if shape.is_empty() || channels == 0 {
            return Err(FlowError::Empty { shape, channels });
        }
        params.validate(channels)?;
        let engine = match params.backend {
            Backend::Variational => {
                Engine::Variational(Variational::new(&params, shape, channels))
            }
            Backend::Reference => Engine::Reference(Vec::new()),
        };
        Ok(Self { params, shape, channels, engine })
    }

    /// The parameters.
    pub fn params(&self) -> &FlowParams {
        &self.params
    }

    /// Takes the frame onto which the others are registered, one image per channel.
    ///
    /// # Errors
    /// [`FlowError::Shape`] if it does not have the announced planes.
    pub fn set_reference(&mut self, reference: &[Image<f32>]) -> Result<(), FlowError> {
        self.check("the reference", reference)?;
        match &mut self.engine {
            Engine::Variational(engine) => engine.set_reference(reference),
            Engine::Reference(fixed) => *fixed = reference.to_vec(),
        }
        Ok(())
    }

    /// The displacement of `frame` against the reference, started from `start` (zero if `None`).
    ///
    /// # Errors
    /// [`FlowError::Shape`] if an input does not have the announced shape,
    /// [`FlowError::NoReference`] if there is no reference yet.
    pub fn compute(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
    ) -> Result<FlowField, FlowError> {
        self.check("the frame", frame)?;
        let mut out = FlowField::zero(self.shape);
        match &mut self.engine {
            Engine::Variational(engine) => engine.compute(frame, start, &mut out),
            Engine::Reference(reference) => {
                let problem =
                    plain::Problem { params: &self.params, reference, weight_maps: &[] };
                out = plain::flow(&problem, frame, start);
            }
        }
        Ok(out)
    }

    fn check(&self, what: &'static str, planes: &[Image<f32>]) -> Result<(), FlowError> {
        match planes.iter().map(Image::shape).find(|&s| s != self.shape) {
            None if planes.len() == self.channels => Ok(()),
            odd => Err(FlowError::Shape {
                what,
                found: odd.unwrap_or(self.shape),
                found_channels: planes.len(),
                needed: self.shape,
                needed_channels: self.channels,
            }),
        }
    }
}
