//! The work on one frame: smooth, find the displacement, sample, judge.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillframe_image::Image;
use stillframe_kernels::register::flow::filter::{Preprocessor, weighted_sum};
use stillframe_kernels::register::flow::{
    Agreement, FlowError, FlowField, FlowStatistics, Interpolation, Positions, agreement, inside,
    register,
};

use super::backend::Displacement;
use super::estimator::Estimator;
use super::record::{FrameRecord, MotionFlag};
use super::spec::{FrameSpec, planes_of};
use crate::wire;

/// What became of a frame. Planes lie one after the other; what is not wanted is empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FrameOutput {
    #[serde(with = "wire::pod")]
    pub(super) registered: Vec<f32>,
    /// u, then v.
    #[serde(with = "wire::pod")]
    pub(super) field: Vec<f32>,
    /// 255 where a pixel comes from inside the frame.
    #[serde(with = "wire::pod")]
    pub(super) valid: Vec<f32>,
    /// The registered smoothed frame.
    #[serde(with = "wire::pod")]
    pub(super) smoothed: Vec<f32>,
    #[serde(with = "wire::pod")]
    pub(super) raw: Vec<f32>,
    pub(super) record: FrameRecord,
}

/// Registers frames as a specification says.
pub(super) struct Registrar {
    pub(super) spec: FrameSpec,
    estimator: Estimator,
    preprocessor: Preprocessor,
    /// Weights of neighbouring frames per channel.
    temporal: Vec<Vec<f32>>,
    raw_reference: Vec<Image<f32>>,
    reference: Vec<Image<f32>>,
    /// Where flows start; `None`: from zero.
    pub(super) start: Option<FlowField>,
}

/// Buffers of a worker.
pub(super) struct FrameScratch {
    estimator: Estimator,
    preprocessor: Preprocessor,
    /// Frames of a unit and their neighbours.
    pub(super) window: Vec<f32>,
    frame: Vec<Image<f32>>,
    mixed: Vec<Image<f32>>,
    smoothed: Vec<Image<f32>>,
    registered: Image<f32>,
    mask: Vec<f32>,
    field: FlowField,
}

impl Registrar {
    /// # Errors
    /// If the parameters are out of range for this recording.
    pub(super) fn new(
        spec: FrameSpec,
        custom: Option<Arc<dyn Displacement>>,
    ) -> Result<Self, FlowError> {
        Ok(Self {
            estimator: Estimator::new(&spec, custom)?,
            preprocessor: spec.preprocessor(),
            temporal: spec.temporal(),
            raw_reference: planes_of(spec.shape, &spec.raw_reference),
            reference: planes_of(spec.shape, &spec.reference),
            start: spec.start_field(),
            spec,
        })
    }

    /// Frames that count on each side of one.
    pub(super) fn radius(&self) -> usize {
        self.temporal.first().map_or(0, |w| w.len() / 2)
    }

    pub(super) fn scratch(&self) -> FrameScratch {
        FrameScratch {
            estimator: self.estimator.clone(),
            preprocessor: self.preprocessor.clone(),
            window: Vec::new(),
            frame: self.reference.clone(),
            mixed: self.reference.clone(),
            smoothed: self.reference.clone(),
            registered: Image::filled(self.spec.shape, 0.0),
            mask: vec![0.0; self.spec.shape.len()],
            field: FlowField::zero(self.spec.shape),
        }
    }

    /// Takes pixels that are not finite from the reference; how many there were.
    pub(super) fn fill_missing(&self, frame: &mut [f32]) -> usize {
        let mut missing = 0;
        for (v, r) in frame.iter_mut().zip(&self.spec.raw_reference) {
            if !v.is_finite() {
                *v = *r;
                missing += 1;
            }
        }
        missing
    }

    /// Registers frame `index`, the middle one of `window` (as many as [`Self::radius`] on each
    /// side), of which `missing` pixels were filled.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn register(
        &self,
        index: usize,
        window: &[&[f32]],
        missing: usize,
        scratch: &mut FrameScratch,
    ) -> Result<FrameOutput, String> {
        self.register_weighted(index, (window, window.len() / 2), &self.temporal, missing, scratch)
    }

    /// Registers frame `index`, the last of `window` (at most [`Self::radius`] before it), with the
    /// past half of the temporal weights, scaled to a sum of 1.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn register_newest(
        &self,
        index: usize,
        window: &[&[f32]],
        missing: usize,
        scratch: &mut FrameScratch,
    ) -> Result<FrameOutput, String> {
        let n = window.len();
        let past = |weights: &Vec<f32>| {
            let past = &weights[self.radius() + 1 - n..=self.radius()];
            let sum: f64 = past.iter().map(|w| f64::from(*w)).sum();
            past.iter().map(|w| (f64::from(*w) / sum) as f32).collect()
        };
        let weights: Vec<Vec<f32>> = self.temporal.iter().map(past).collect();
        self.register_weighted(index, (window, n - 1), &weights, missing, scratch)
    }

    /// Registers the frame of `window` at `at`, smoothed along time by `weights` per channel.
    fn register_weighted(
        &self,
        index: usize,
        (window, at): (&[&[f32]], usize),
        weights: &[Vec<f32>],
        missing: usize,
        scratch: &mut FrameScratch,
    ) -> Result<FrameOutput, String> {
        let FrameScratch { estimator, preprocessor, frame, mixed, smoothed, field, .. } = scratch;
        let n = self.spec.shape.len();
        let raw = window[at];
        for (c, (plane, raw)) in frame.iter_mut().zip(raw.chunks_exact(n)).enumerate() {
            plane.pixels_mut().copy_from_slice(raw);
            if window.len() > 1 {
                let planes: Vec<&[f32]> = window.iter().map(|f| &f[c * n..(c + 1) * n]).collect();
                weighted_sum(&planes, &weights[c], mixed[c].pixels_mut());
            }
        }
        preprocessor.run(if window.len() > 1 { mixed } else { frame }, smoothed);
        let flag = estimator.compute(smoothed, self.start.as_ref(), field)?;
        Ok(self.sample(index, raw, (missing, flag), scratch))
    }

    /// Samples the frame where the field points and judges the result.
    fn sample(
        &self,
        index: usize,
        raw: &[f32],
        (missing_pixels, flag): (usize, Option<MotionFlag>),
        scratch: &mut FrameScratch,
    ) -> FrameOutput {
        let FrameScratch { frame, smoothed, registered, mask, field, .. } = scratch;
        let (spec, wants) = (&self.spec, &self.spec.wants);
        let n_inside = inside(field, mask);
        let mut out = Vec::with_capacity(raw.len());
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (frame, reference) in frame.iter().zip(&self.raw_reference) {
            let (how, positions) = (spec.interpolation, Positions::Exact);
            register(frame, field, reference, how, positions, registered);
            let fixed = reference.pixels();
            before.push(agreement(frame.pixels(), fixed, None));
            after.push(agreement(registered.pixels(), fixed, Some(mask)));
            out.extend_from_slice(registered.pixels());
        }
        let FlowStatistics { mean_disp, max_disp, mean_div, mean_translation } = field.statistics();
        let record = FrameRecord {
            mean_disp,
            max_disp,
            mean_div,
            mean_translation,
            correlation_before: mean_correlation(&before),
            correlation_after: mean_correlation(&after),
            residual: self.residual(&after),
            outside_fraction: 1.0 - n_inside as f64 / mask.len() as f64,
            missing_pixels,
            flags: Vec::new(),
        };
        let from = |first: Option<usize>| first.is_some_and(|first| index >= first);
        FrameOutput {
            registered: out,
            field: if from(wants.fields_from) {
                [field.u.pixels(), field.v.pixels()].concat()
            } else {
                Vec::new()
            },
            valid: if wants.valid { mask.iter().map(|m| 255.0 * m).collect() } else { Vec::new() },
            smoothed: if from(wants.smoothed_from) {
                self.sample_smoothed(smoothed, field, registered)
            } else {
                Vec::new()
            },
            raw: match wants.raw_step {
                Some(step) if index.is_multiple_of(step) => raw.to_vec(),
                _ => Vec::new(),
            },
            record: record.flagged(spec.shape.height.min(spec.shape.width), flag),
        }
    }

    fn sample_smoothed(
        &self,
        smoothed: &[Image<f32>],
        field: &FlowField,
        buffer: &mut Image<f32>,
    ) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.spec.reference.len());
        for (frame, fill) in smoothed.iter().zip(&self.reference) {
            register(frame, field, fill, Interpolation::Cubic, Positions::Exact, buffer);
            out.extend_from_slice(buffer.pixels());
        }
        out
    }

    /// Mean over the channels of the difference from the reference in units of its range.
    fn residual(&self, after: &[Agreement]) -> f64 {
        let scaled = after.iter().zip(&self.spec.normalisations).map(|(a, n)| a.rms * n.scale);
        scaled.sum::<f64>() / after.len() as f64
    }
}

/// Mean over the channels that have one.
fn mean_correlation(channels: &[Agreement]) -> Option<f64> {
    let known: Vec<f64> = channels.iter().filter_map(|a| a.correlation).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}
