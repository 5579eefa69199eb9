//! Optical flow: how far every pixel of a frame has moved from the reference.
//!
//! Backward convention: `registered(x, y) = frame(x + u, y + v)` looks like the reference. `u` is
//! to the right, `v` down the rows, both in pixels of the full-resolution frame.

#![allow(
    clippy::inline_always,
    reason = "what a multiversioned function calls must become part of it, or it is compiled for \
              the oldest processor"
)]

mod agreement;
pub mod auto;
mod dis;
mod field;
pub mod filter;
mod lanes;
mod median;
pub mod params;
mod plain;
mod pyramid;
mod region;
mod resize;
mod skew;
mod taps;
mod variational;
mod warp;

pub use agreement::{Agreement, agreement, inside};
pub use dis::DisParams;
pub use field::{FlowField, FlowStatistics};
pub use params::{Backend, ConstAssumption, Definition, FlowError, FlowParams, Positions, Quality};
pub use region::carry_mask;
pub use warp::{Interpolation, register};

use stillframe_image::{Image, Shape};

use self::dis::Dis;
use self::variational::Variational;

/// Computes the flow of one frame after the other against one reference; holds all the memory that
/// this needs. Clones share the reference.
///
/// ```
/// use stillframe_image::{Image, Shape};
/// use stillframe_kernels::register::flow::{Flow, FlowParams};
///
/// let shape = Shape::new(64, 64);
/// let scene = |x: f32, y: f32| (0.3 * x).sin() * (0.2 * y).cos();
/// let reference = Image::from_fn(shape, |x, y| scene(x as f32, y as f32));
/// let frame = Image::from_fn(shape, |x, y| scene(x as f32 - 1.5, y as f32));
/// let mut flow = Flow::new(FlowParams::default(), shape, 1)?;
/// flow.set_reference(&[reference])?;
/// let field = flow.compute(&[frame], None)?;
/// assert!((field.u.at(32, 32) - 1.5).abs() < 0.1);
/// # Ok::<(), stillframe_kernels::register::flow::FlowError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Flow {
    params: FlowParams,
    shape: Shape,
    channels: usize,
    engine: Engine,
    weight_maps: Vec<Image<f32>>,
    has_reference: bool,
}

#[derive(Clone, Debug)]
enum Engine {
    Variational(Box<Variational>),
    Reference(Vec<Image<f32>>),
    Dis(Box<Dis>, Option<Box<Variational>>),
}

impl Flow {
    /// Checks the parameters and makes the plan for frames of `channels` planes of `shape`.
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
                Engine::Variational(Box::new(Variational::new(&params, shape, channels)))
            }
            Backend::Reference => Engine::Reference(Vec::new()),
            Backend::Dis => {
                let refiner = params
                    .dis
                    .refine_to
                    .map(|finest| Box::new(Variational::refiner(&params, finest, shape, channels)));
                Engine::Dis(Box::new(Dis::new(&params, shape, channels)), refiner)
            }
        };
        let weight_maps = Vec::new();
        Ok(Self { params, shape, channels, engine, weight_maps, has_reference: false })
    }

    /// The parameters.
    pub fn params(&self) -> &FlowParams {
        &self.params
    }

    /// Gives every pixel a weight of its own, one map per channel, at least 0, in place of
    /// [`FlowParams::weight`]; the next call of [`Self::set_reference`] uses them.
    ///
    /// # Errors
    /// [`FlowError::Shape`] if the maps do not have the announced shape.
    pub fn set_weight_maps(&mut self, maps: &[Image<f32>]) -> Result<(), FlowError> {
        self.check("the weight maps", maps)?;
        self.weight_maps = maps.to_vec();
        Ok(())
    }

    /// Takes the frame onto which the others are registered, one image per channel, finite, best
    /// in about 0..1 and smoothed by a pixel. Its pyramid is computed here, once.
    ///
    /// # Errors
    /// [`FlowError::Shape`] if it does not have the announced planes.
    pub fn set_reference(&mut self, reference: &[Image<f32>]) -> Result<(), FlowError> {
        self.check("the reference", reference)?;
        match &mut self.engine {
            Engine::Variational(engine) => engine.set_reference(reference, &self.weight_maps),
            Engine::Reference(fixed) => *fixed = reference.to_vec(),
            Engine::Dis(dis, refiner) => {
                dis.set_reference(reference);
                if let Some(refiner) = refiner {
                    refiner.set_reference(reference, &self.weight_maps);
                }
            }
        }
        self.has_reference = true;
        Ok(())
    }

    /// The displacement of `frame`, normalised and smoothed as the reference was, started from
    /// `start` (zero if `None`).
    ///
    /// # Errors
    /// [`FlowError::Shape`] if an input does not have the announced shape,
    /// [`FlowError::NoReference`] if there is no reference yet.
    pub fn compute(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
    ) -> Result<FlowField, FlowError> {
        let mut out = FlowField::zero(self.shape);
        self.compute_into(frame, start, &mut out)?;
        Ok(out)
    }

    /// As [`Self::compute`], written to `out`; after the first frame nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::compute`], also if `out` does not have the announced shape.
    pub fn compute_into(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
        out: &mut FlowField,
    ) -> Result<(), FlowError> {
        self.check("the frame", frame)?;
        for (what, field) in [("the start", start), ("the result", Some(&*out))] {
            if let Some(odd) = field.and_then(|f| f.odd_shape(self.shape)) {
                return Err(self.shape_error(what, odd, 1));
            }
        }
        if !self.has_reference {
            return Err(FlowError::NoReference);
        }
        match &mut self.engine {
            Engine::Variational(engine) => engine.compute(frame, start, out),
            Engine::Reference(reference) => {
                let (params, weight_maps) = (&self.params, &self.weight_maps[..]);
                let problem = plain::Problem { params, reference, weight_maps };
                *out = plain::flow(&problem, frame, start);
            }
            Engine::Dis(dis, refiner) => {
                dis.compute(frame, start, out);
                if let Some(refiner) = refiner {
                    refiner.improve(frame, out);
                }
            }
        }
        Ok(())
    }

    fn check(&self, what: &'static str, planes: &[Image<f32>]) -> Result<(), FlowError> {
        match planes.iter().map(Image::shape).find(|&s| s != self.shape) {
            None if planes.len() == self.channels => Ok(()),
            odd => Err(self.shape_error(what, odd.unwrap_or(self.shape), planes.len())),
        }
    }

    fn shape_error(&self, what: &'static str, found: Shape, found_channels: usize) -> FlowError {
        let (needed, needed_channels) = (self.shape, self.channels);
        FlowError::Shape { what, found, found_channels, needed, needed_channels }
    }
}

#[cfg(test)]
mod tests;
