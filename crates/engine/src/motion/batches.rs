//! The frames in order, batch by batch, and what is carried from one batch to the next.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_io::recording::RecordingSource;
use stillframe_kernels::register::flow::FlowField;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::PlanError;

use super::backend::Displacement;
use super::error::MotionError;
use super::frame::{FrameOutput, Registrar};
use super::phase::{FramesPhase, SegmentSpec, chunk_of, need, request};
use super::source::SourceSpec;
use super::spec::FrameSpec;
use crate::runner::Runner;
use crate::wire;

/// Frames of the first batch whose mean flow starts the rest of it.
const FIRST_FRAMES: usize = 22;
/// Frames at the end of a batch whose mean flow starts the next.
const LAST_FLOWS: usize = 20;
/// Frames at the end of a batch whose mean is the next reference.
const LAST_FRAMES: usize = 100;

/// Takes the registered frames, in order.
pub(super) trait FrameSink {
    /// Frame `index`.
    ///
    /// # Errors
    /// If it cannot be kept; that ends the run.
    fn frame(&mut self, index: usize, output: FrameOutput) -> Result<(), MotionError>;

    /// All frames before `carry.next` were given.
    ///
    /// # Errors
    /// If they cannot be made safe.
    fn batch_end(&mut self, carry: &Carry) -> Result<(), MotionError>;
}

/// What a batch leaves to the next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Carry {
    /// The next frame.
    pub(super) next: usize,
    /// Where flows start, as in [`FrameSpec::start`].
    #[serde(with = "wire::pod")]
    start: Vec<f32>,
    /// The smoothed reference, if it was updated.
    #[serde(with = "wire::pod")]
    reference: Vec<f32>,
}

/// A recording and how it is registered.
pub(super) struct Batches<'a> {
    pub(super) source: &'a Arc<dyn RecordingSource>,
    /// How worker processes open it; `None`: they cannot.
    pub(super) source_spec: Option<&'a SourceSpec>,
    pub(super) spec: FrameSpec,
    pub(super) custom: Option<Arc<dyn Displacement>>,
    pub(super) batch: usize,
    pub(super) carries_start: bool,
    pub(super) carries_reference: bool,
    /// What the phase is called in progress.
    pub(super) title: &'static str,
}

impl Batches<'_> {
    /// Registers all frames from `carry.next` on.
    ///
    /// # Errors
    /// [`MotionError`]; what was committed before stays in the sink.
    pub(super) fn run(
        &mut self,
        runner: &mut Runner<'_>,
        mut carry: Carry,
        sink: &mut dyn FrameSink,
    ) -> Result<(), MotionError> {
        let n = self.source.info().frames;
        let begin = carry.next;
        while carry.next < n {
            let segment = self.segment(&carry, n);
            self.spec.start.clone_from(&carry.start);
            if !carry.reference.is_empty() {
                self.spec.reference.clone_from(&carry.reference);
            }
            let mut spec = self.spec.clone();
            let tail = |last: usize| segment.end.saturating_sub(last).max(segment.start);
            if self.carries_start && spec.wants.fields_from.is_none() {
                spec.wants.fields_from = Some(tail(FIRST_FRAMES));
            }
            if self.carries_reference {
                spec.wants.smoothed_from = Some(tail(LAST_FRAMES));
            }
            let mut gathered = Gathered::new(self, &segment);
            self.run_segment(runner, spec, &segment, begin, sink, &mut gathered)?;
            carry.next = segment.end;
            gathered.close(self, &mut carry);
            if segment.end.is_multiple_of(self.batch) || segment.end == n {
                sink.batch_end(&carry)?;
            }
        }
        Ok(())
    }

    /// The frames from the next one on that start from the same field on the same reference.
    fn segment(&self, carry: &Carry, n: usize) -> Range<usize> {
        let first = carry.next;
        let batch_end = ((first / self.batch + 1) * self.batch).min(n);
        let end = match (self.carries_start, self.carries_reference) {
            (false, false) => n,
            (true, _) if first == 0 => FIRST_FRAMES.min(batch_end),
            _ => batch_end,
        };
        first..end
    }

    fn run_segment(
        &self,
        runner: &mut Runner<'_>,
        spec: FrameSpec,
        segment: &Range<usize>,
        begin: usize,
        sink: &mut dyn FrameSink,
        gathered: &mut Gathered,
    ) -> Result<(), MotionError> {
        let registrar = Registrar::new(spec, self.custom.clone())?;
        let spec = &registrar.spec;
        let chunk = chunk_of(spec.raw_reference.len());
        let ask = |chunk: usize| {
            let need = need(spec, chunk, registrar.radius());
            let units = segment.len().div_ceil(chunk);
            runner.plan(&request(spec, need, units, segment.len())).map(|plan| (chunk, need, plan))
        };
        let (chunk, need, plan) = match ask(chunk) {
            Err(PlanError::BudgetTooSmall { .. }) if chunk > 1 => ask(1)?,
            other => other?,
        };
        let spec_file: Option<PathBuf> = match self.source_spec {
            None => None,
            Some(source) => {
                let parcel = SegmentSpec {
                    source: source.clone(),
                    frames: spec.clone(),
                    range: segment.clone(),
                    chunk,
                };
                let written = runner.spec_file(&plan, "motion", &parcel);
                written.map_err(|(path, e)| MotionError::Output { path, reason: e.to_string() })?
            }
        };
        let phase = FramesPhase {
            source: &**self.source,
            registrar: &registrar,
            range: segment.clone(),
            chunk,
            need,
            spec_file: spec_file.as_deref(),
        };
        let n = self.source.info().frames;
        let watcher = OnePhase {
            inner: runner.observer,
            title: self.title,
            segment: segment.clone(),
            chunk,
            begin,
            total: n,
        };
        let is_whole = !self.carries_start && !self.carries_reference;
        runner.run_phase_watched(&phase, &plan, &watcher, |unit, result| {
            let first = segment.start + unit * chunk;
            let outputs = match result {
                UnitResult::Done(Ok(outputs)) => outputs,
                UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => {
                    return Err(MotionError::Frames { first, reason });
                }
            };
            for (index, output) in (first..).zip(outputs) {
                gathered.take(index, &output);
                sink.frame(index, output)?;
                let next = index + 1;
                if is_whole && next.is_multiple_of(self.batch) && next < n {
                    sink.batch_end(&Carry { next, ..Carry::default() })?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// What a segment gathers for the next.
struct Gathered {
    segment: Range<usize>,
    /// The last flows, u and then v.
    flows: VecDeque<Vec<f32>>,
    flows_kept: usize,
    /// Sum of the last smoothed frames.
    sum: Vec<f64>,
    n: usize,
}

impl Gathered {
    fn new(batches: &Batches<'_>, segment: &Range<usize>) -> Self {
        let is_first = segment.start == 0 && batches.carries_start;
        Self {
            segment: segment.clone(),
            flows: VecDeque::new(),
            flows_kept: match (batches.carries_start, is_first) {
                (false, _) => 0,
                (true, true) => FIRST_FRAMES,
                (true, false) => LAST_FLOWS,
            },
            sum: Vec::new(),
            n: 0,
        }
    }

    fn take(&mut self, index: usize, output: &FrameOutput) {
        if self.flows_kept > 0 && !output.field.is_empty() {
            if self.flows.len() == self.flows_kept {
                self.flows.pop_front();
            }
            self.flows.push_back(output.field.clone());
        }
        if index + LAST_FRAMES >= self.segment.end && !output.smoothed.is_empty() {
            self.sum.resize(output.smoothed.len(), 0.0);
            self.sum.iter_mut().zip(&output.smoothed).for_each(|(s, v)| *s += f64::from(*v));
            self.n += 1;
        }
    }

    /// Puts the means into `carry`; the reference only where a batch ends.
    fn close(self, batches: &Batches<'_>, carry: &mut Carry) {
        if let Some(first) = self.flows.front() {
            let mut sum = vec![0.0f64; first.len()];
            for flow in &self.flows {
                sum.iter_mut().zip(flow).for_each(|(s, v)| *s += f64::from(*v));
            }
            let n = self.flows.len() as f64;
            carry.start = sum.iter().map(|s| (s / n) as f32).collect();
        }
        if batches.carries_reference && self.n > 0 && carry.next.is_multiple_of(batches.batch) {
            carry.reference = self.sum.iter().map(|s| (s / self.n as f64) as f32).collect();
        }
    }
}

/// Shows the segments of a recording as one phase that counts frames.
struct OnePhase<'a> {
    inner: &'a dyn Observer,
    title: &'static str,
    segment: Range<usize>,
    chunk: usize,
    /// The first frame of this run.
    begin: usize,
    total: usize,
}

impl Observer for OnePhase<'_> {
    fn event(&self, event: &Event) {
        let (phase, total) = (self.title.to_owned(), self.total);
        let is_first = self.segment.start == self.begin;
        match event {
            Event::ParallelPlanSummary(_) if !is_first => {}
            Event::PhaseStart { .. } => {
                if is_first {
                    self.inner.event(&Event::PhaseStart { phase, total });
                }
            }
            Event::PhaseProgress { done, .. } => {
                let done = (self.segment.start + done * self.chunk).min(self.segment.end);
                self.inner.event(&Event::PhaseProgress { phase, done, total });
            }
            Event::PhaseEnd { status, achieved, .. } => {
                let is_over = *status != stillframe_runtime::observe::PhaseStatus::Done;
                if is_over || self.segment.end == self.total {
                    let (status, achieved) = (*status, *achieved);
                    self.inner.event(&Event::PhaseEnd { phase, status, achieved });
                }
            }
            other => self.inner.event(other),
        }
    }
}

/// A field from its samples, u and then v.
pub(super) fn field_of(shape: Shape, samples: &[f32]) -> FlowField {
    let (u, v) = samples.split_at(shape.len());
    FlowField { u: Image::from_vec(shape, u.to_vec()), v: Image::from_vec(shape, v.to_vec()) }
}
