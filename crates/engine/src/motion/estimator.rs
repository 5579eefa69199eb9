//! What computes the displacement of one frame, whatever the backend.

use std::sync::Arc;

use stillframe_image::{Image, Shape};
use stillframe_kernels::register::flow::{
    Definition, Flow, FlowError, FlowField, FlowParams, Interpolation, Positions, register,
};
use stillframe_kernels::register::phase::{PhaseParams, PhaseScratch, phase_correlate};

use super::backend::Displacement;
use super::record::MotionFlag;
use super::spec::{FrameSpec, planes_of};
use crate::recipe::FlowBackend;

/// A backend with its reference. Clones share what frames do not change.
#[derive(Clone)]
pub(super) struct Estimator {
    method: Method,
    reference: Arc<Vec<Image<f32>>>,
    /// Present if frames are shifted by correlation: before their flow, or instead of it.
    shift: Option<ShiftFinder>,
    definition: Definition,
}

#[derive(Clone)]
enum Method {
    Flow(Box<Flow>),
    Rigid,
    Custom(Arc<dyn Displacement>),
}

impl Estimator {
    /// # Errors
    /// If the parameters are out of range for this recording.
    pub(super) fn new(
        spec: &FrameSpec,
        custom: Option<Arc<dyn Displacement>>,
    ) -> Result<Self, FlowError> {
        let reference = planes_of(spec.shape, &spec.reference);
        let is_rigid = spec.backend == FlowBackend::Rigid && custom.is_none();
        let method = match custom {
            Some(custom) => Method::Custom(custom),
            None if is_rigid => Method::Rigid,
            None => {
                let mut flow = Flow::new(spec.params.clone(), spec.shape, spec.channels)?;
                flow.set_reference(&reference)?;
                Method::Flow(Box::new(flow))
            }
        };
        let side = if is_rigid { Some(usize::MAX) } else { spec.cc_side };
        let shift = side.map(|side| ShiftFinder::new(&reference, &spec.params, side));
        let definition = spec.params.definition;
        Ok(Self { method, reference: Arc::new(reference), shift, definition })
    }

    /// Writes the displacement of the smoothed `frame` to `field`.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn compute(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
        field: &mut FlowField,
    ) -> Result<Option<MotionFlag>, String> {
        let mut flag = None;
        let shifted = self.shift.as_mut().map(|finder| {
            let moved = start.map(|s| warped(frame, &self.reference, s));
            let found = finder.find(moved.as_deref().unwrap_or(frame));
            if found.is_none() {
                flag = Some(MotionFlag::NoStructure);
            }
            let [dx, dy] = found.unwrap_or([0.0; 2]);
            let mut begin = start.cloned().unwrap_or_else(|| FlowField::zero(frame[0].shape()));
            begin.u.pixels_mut().iter_mut().for_each(|u| *u += dx);
            begin.v.pixels_mut().iter_mut().for_each(|v| *v += dy);
            begin
        });
        match (&mut self.method, shifted) {
            (Method::Rigid, shifted) => {
                *field = shifted.ok_or("the rigid backend has no shift")?;
            }
            (Method::Custom(custom), shifted) => {
                let begin = shifted.as_ref().or(start);
                *field = custom.displacement(&self.reference, frame, begin)?;
                check(field, frame[0].shape())?;
            }
            // The original definition does not apply a start at the coarsest level, so the frame is
            // shifted first and the rest added.
            (Method::Flow(flow), Some(begin)) if self.definition == Definition::Original => {
                let moved = warped(frame, &self.reference, &begin);
                flow.compute_into(&moved, None, field).map_err(|e| e.to_string())?;
                for (total, part) in [(&mut field.u, &begin.u), (&mut field.v, &begin.v)] {
                    total.pixels_mut().iter_mut().zip(part.pixels()).for_each(|(t, p)| *t += p);
                }
            }
            (Method::Flow(flow), shifted) => {
                let begin = shifted.as_ref().or(start);
                flow.compute_into(frame, begin, field).map_err(|e| e.to_string())?;
            }
        }
        Ok(flag)
    }
}

fn check(field: &FlowField, shape: Shape) -> Result<(), String> {
    if field.u.shape() != shape || field.v.shape() != shape {
        let found = field.u.shape();
        return Err(format!("the displacement function gave a field of {found}, needed {shape}"));
    }
    let mut values = field.u.pixels().iter().chain(field.v.pixels());
    if values.all(|v| v.is_finite()) {
        return Ok(());
    }
    Err("the displacement function gave a value that is not finite".to_owned())
}

/// `frame` sampled where `field` points.
fn warped(frame: &[Image<f32>], fill: &[Image<f32>], field: &FlowField) -> Vec<Image<f32>> {
    let sample = |(frame, fill): (&Image<f32>, &Image<f32>)| {
        let mut out = fill.clone();
        register(frame, field, fill, Interpolation::Linear, Positions::Exact, &mut out);
        out
    };
    frame.iter().zip(fill).map(sample).collect()
}

/// Finds the shift of frames against one reference.
#[derive(Clone)]
struct ShiftFinder {
    /// Weighted mean of the channels, reduced.
    reference: Arc<Image<f32>>,
    weights: Vec<f64>,
    factor: usize,
    scratch: PhaseScratch,
}

impl ShiftFinder {
    /// Images are reduced by averaging until no side exceeds `side`.
    fn new(reference: &[Image<f32>], params: &FlowParams, side: usize) -> Self {
        let shape = reference[0].shape();
        let channels = reference.len();
        let equal = vec![1.0 / channels as f64; channels];
        let weights = if params.weight.len() == channels { params.weight.clone() } else { equal };
        let factor = shape.height.max(shape.width).div_ceil(side.max(1));
        let reduced = mix(reference, &weights, factor);
        Self { reference: Arc::new(reduced), weights, factor, scratch: PhaseScratch::default() }
    }

    /// The displacement (to the right, down) of the whole frame; `None` if nothing in common is
    /// found.
    fn find(&mut self, frame: &[Image<f32>]) -> Option<[f32; 2]> {
        let frame = mix(frame, &self.weights, self.factor);
        let params = PhaseParams::default();
        let found =
            phase_correlate(&self.reference, &frame, None, None, &params, &mut self.scratch)
                .ok()?;
        let scale = -(self.factor as f64);
        let shift = found.peaks.first()?.shift;
        Some([(scale * shift.dx) as f32, (scale * shift.dy) as f32])
    }
}

/// The weighted mean of the channels, averaged over blocks of `factor`² pixels; what does not fill a
/// block is left out.
fn mix(planes: &[Image<f32>], weights: &[f64], factor: usize) -> Image<f32> {
    let full = planes[0].shape();
    let shape = Shape::new((full.height / factor).max(1), (full.width / factor).max(1));
    let mut sums = vec![0.0f32; shape.len()];
    for (plane, &weight) in planes.iter().zip(weights) {
        let weight = (weight / (factor * factor) as f64) as f32;
        for y in 0..shape.height {
            let sums = &mut sums[y * shape.width..(y + 1) * shape.width];
            for row in y * factor..((y + 1) * factor).min(full.height) {
                let row = plane.row(row);
                for (sum, block) in sums.iter_mut().zip(row.chunks(factor)) {
                    *sum += weight * block.iter().sum::<f32>();
                }
            }
        }
    }
    Image::from_vec(shape, sums)
}
