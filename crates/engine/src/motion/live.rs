//! Frame by frame, as a microscope gives them.

use std::collections::VecDeque;
use std::sync::Arc;

use stillframe_image::Shape;
use stillframe_io::recording::RecordingSource;
use stillframe_kernels::register::flow::FlowField;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::executor::ExecutorKind;
use stillframe_runtime::observe::Silent;
use stillframe_runtime::plan::Resources;

use super::alpha::AlphaChoice;
use super::batches::field_of;
use super::error::MotionError;
use super::frame::{FrameScratch, Registrar};
use super::prepare::{Prepared, prepare};
use super::record::FrameRecord;
use super::reference::Origin;
use super::source::MemoryRecording;
use super::spec::FrameSpec;
use crate::recipe::{MotionRecipe, Recipe};
use crate::runner::Runner;

/// What live frames are registered to.
#[derive(Clone, Debug)]
pub enum LiveReference {
    /// These planes, one after the other.
    Given(Vec<f32>),
    /// So many first frames, registered to each other and averaged; they wait until the last of them
    /// is there, and then come out together.
    First(usize),
}

/// How the reference follows slow changes where the recipe has `update_reference`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveUpdate {
    /// Frames between two updates, 1 or more.
    pub interval: usize,
    /// Share of the registered frame in the new reference, 0 to 1.
    pub weight: f32,
}

impl Default for LiveUpdate {
    fn default() -> Self {
        Self { interval: 20, weight: 0.2 }
    }
}

/// A registered frame.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// Its number, from 0.
    pub index: usize,
    /// Its planes, one after the other, in the units of the input.
    pub registered: Vec<f32>,
    /// Its displacement, pixels.
    pub field: FlowField,
    /// Its figures.
    pub record: FrameRecord,
}

/// Registers frames one by one, without those that come later.
///
/// With the reference given (or `First(n)` and the recipe's `reference_frames` `0..n`), a fixed
/// `alpha`, no filter along time and no update, frames and fields have the bits of
/// [`compensate`](super::compensate). Beyond that:
///
/// * `alpha: auto` looks at the frames from which the reference is made, or at the first frame;
/// * the filter along time is the past half of the Gaussian, its weights scaled to a sum of 1;
/// * `update_initialization_w` starts each flow from that of the frame before;
/// * `update_reference` blends a registered frame into the reference now and then ([`LiveUpdate`]);
/// * keys about files, batches and binning are not used.
///
/// ```
/// use stillframe_engine::image::Shape;
/// use stillframe_engine::motion::{Live, LiveReference};
/// use stillframe_engine::recipe::{Alpha, MotionRecipe};
///
/// let shape = Shape::new(48, 64);
/// let frame = |t: usize| -> Vec<f32> {
///     let pixels = (0..shape.len()).map(|i| ((i % 64) as f32 - t as f32, (i / 64) as f32));
///     pixels.map(|(x, y)| 100.0 + 20.0 * (0.4 * x).sin() * (0.3 * y).cos()).collect()
/// };
/// let recipe = MotionRecipe { alpha: Alpha::Fixed([1.5, 1.5]), ..MotionRecipe::default() };
/// let mut live = Live::new(recipe, shape, 1, LiveReference::Given(frame(0)))?;
/// for t in 0..3 {
///     for out in live.push(&frame(t))? {
///         assert!((out.field.u.at(32, 24) - t as f32).abs() < 0.2);
///     }
/// }
/// # Ok::<(), stillframe_engine::motion::MotionError>(())
/// ```
pub struct Live {
    recipe: MotionRecipe,
    shape: Shape,
    channels: usize,
    update: LiveUpdate,
    state: State,
}

enum State {
    /// Frames that wait for the reference.
    Waiting {
        reference: Option<Vec<f32>>,
        needed: usize,
        frames: Vec<f32>,
    },
    Running(Box<Running>),
}

impl Live {
    /// For frames of `channels` planes of `shape`.
    ///
    /// # Errors
    /// [`MotionError::Recipe`] or [`MotionError::Flow`] if the recipe does not hold, and
    /// [`MotionError::Inputs`] if the reference has not the size of a frame, values that are not
    /// finite, or no frames.
    pub fn new(
        recipe: MotionRecipe,
        shape: Shape,
        channels: usize,
        reference: LiveReference,
    ) -> Result<Self, MotionError> {
        recipe.validate().map_err(|e| MotionError::Recipe(e.to_string()))?;
        let refused = |what: String| Err(MotionError::Inputs(what));
        let len = shape.len() * channels;
        if len == 0 {
            return refused(format!(
                "found {channels} channels of {shape}, needed a pixel or more"
            ));
        }
        recipe.flow_params(channels).validate(channels)?;
        let (reference, needed) = match reference {
            LiveReference::First(0) => {
                return refused("the reference is made from 0 frames, needed 1 or more".into());
            }
            LiveReference::First(n) => (None, n),
            LiveReference::Given(planes) if planes.len() != len => {
                return refused(wrong_size("the reference", planes.len(), channels, shape));
            }
            LiveReference::Given(planes) => {
                let bad = planes.iter().filter(|v| !v.is_finite()).count();
                if bad > 0 {
                    return refused(format!(
                        "the reference has {bad} values that are not finite; fill them first"
                    ));
                }
                (Some(planes), 1)
            }
        };
        let state = State::Waiting { reference, needed, frames: Vec::new() };
        Ok(Self { recipe, shape, channels, update: LiveUpdate::default(), state })
    }

    /// The same with another pace of `update_reference`.
    ///
    /// # Errors
    /// [`MotionError::Recipe`] if a value is out of its range.
    pub fn with_update(mut self, update: LiveUpdate) -> Result<Self, MotionError> {
        if update.interval == 0 || !(0.0..=1.0).contains(&update.weight) {
            return Err(MotionError::Recipe(format!(
                "found an update every {} frames by {}, needed 1 or more frames and 0 to 1",
                update.interval, update.weight
            )));
        }
        self.update = update;
        Ok(self)
    }

    /// Registers the next frame (planes one after the other); pixels that are not finite are taken
    /// from the reference. Frames come out in order: none while the reference waits for more, then
    /// all that waited, then one for one.
    ///
    /// # Errors
    /// [`MotionError::Inputs`] if the frame has another size: it is not counted, and the next may
    /// be given; otherwise as [`compensate`](super::compensate).
    pub fn push(&mut self, frame: &[f32]) -> Result<Vec<LiveFrame>, MotionError> {
        let len = self.shape.len() * self.channels;
        if frame.len() != len {
            let found = wrong_size("the frame", frame.len(), self.channels, self.shape);
            return Err(MotionError::Inputs(found));
        }
        match &mut self.state {
            State::Running(running) => Ok(vec![running.frame(&self.recipe, self.update, frame)?]),
            State::Waiting { needed, frames, .. } => {
                frames.extend_from_slice(frame);
                if frames.len() < *needed * len { Ok(Vec::new()) } else { self.begin() }
            }
        }
    }

    /// No more frames: makes the reference of those that still wait for it and registers them.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<Vec<LiveFrame>, MotionError> {
        match &self.state {
            State::Waiting { frames, .. } if !frames.is_empty() => self.begin(),
            _ => Ok(Vec::new()),
        }
    }

    /// Planes of the reference as it is now; `None` while it waits for frames.
    #[must_use]
    pub fn reference(&self) -> Option<&[f32]> {
        match &self.state {
            State::Waiting { reference, .. } => reference.as_deref(),
            State::Running(running) => Some(&running.registrar.spec.raw_reference),
        }
    }

    /// How alpha was chosen, if it was.
    #[must_use]
    pub fn alpha(&self) -> Option<&AlphaChoice> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Running(running) => running.alpha.as_ref(),
        }
    }

    /// Makes the reference and registers the frames that waited.
    fn begin(&mut self) -> Result<Vec<LiveFrame>, MotionError> {
        let State::Waiting { reference, frames, .. } = &self.state else {
            return Ok(Vec::new());
        };
        let recording = MemoryRecording::new(self.shape, self.channels, frames.clone())?;
        let n = recording.info().frames;
        let prepared = prepared(&self.recipe, recording, reference.clone(), n)?;
        let mut running = Running::new(prepared)?;
        let outputs = frames
            .chunks_exact(self.shape.len() * self.channels)
            .map(|frame| running.frame(&self.recipe, self.update, frame))
            .collect::<Result<Vec<_>, _>>()?;
        self.state = State::Running(Box::new(running));
        Ok(outputs)
    }
}

fn wrong_size(what: &str, found: usize, channels: usize, shape: Shape) -> String {
    let needed = channels * shape.len();
    format!("{what} has {found} samples, needed {needed}: {channels} channels of {shape}")
}

/// Reference and alpha, found on the calling thread.
fn prepared(
    recipe: &MotionRecipe,
    recording: MemoryRecording,
    given: Option<Vec<f32>>,
    n: usize,
) -> Result<Prepared, MotionError> {
    let recipe = MotionRecipe { reference_frames: format!("0..{n}"), ..recipe.clone() };
    let executor = Some(ExecutorKind::Sequential);
    let resources = Resources { executor, ..Resources::default() };
    let cancel = Cancel::new();
    let mut runner = Runner {
        observer: &Silent,
        cancel: &cancel,
        capabilities: Capabilities::detect(),
        resources: &resources,
        worker: None,
        scratch: std::env::temp_dir(),
        warnings: Vec::new(),
        phases: Vec::new(),
    };
    let source: Arc<dyn RecordingSource> = Arc::new(recording);
    let origin = Origin { source: &source, source_spec: None, custom: None };
    let mut prepared = prepare(&mut runner, &recipe, &origin, given)?;
    prepared.spec.wants.fields_from = Some(0);
    Ok(prepared)
}

/// What goes from frame to frame.
struct Running {
    registrar: Registrar,
    scratch: FrameScratch,
    alpha: Option<AlphaChoice>,
    /// The last frames, the newest at the end.
    ring: VecDeque<Vec<f32>>,
    next: usize,
}

impl Running {
    fn new(prepared: Prepared) -> Result<Self, MotionError> {
        let registrar = Registrar::new(prepared.spec, None)?;
        let scratch = registrar.scratch();
        Ok(Self { registrar, scratch, alpha: prepared.alpha, ring: VecDeque::new(), next: 0 })
    }

    fn frame(
        &mut self,
        recipe: &MotionRecipe,
        update: LiveUpdate,
        frame: &[f32],
    ) -> Result<LiveFrame, MotionError> {
        let index = self.next;
        let room = self.registrar.radius() + 1;
        let mut newest = if self.ring.len() == room { self.ring.pop_front() } else { None }
            .unwrap_or_else(|| vec![0.0; frame.len()]);
        newest.copy_from_slice(frame);
        let missing = self.registrar.fill_missing(&mut newest);
        self.ring.push_back(newest);
        self.next += 1;
        let window: Vec<&[f32]> = self.ring.iter().map(Vec::as_slice).collect();
        let output = self
            .registrar
            .register_newest(index, &window, missing, &mut self.scratch)
            .map_err(|reason| MotionError::Frames { first: index, reason })?;
        let field = field_of(self.registrar.spec.shape, &output.field);
        if recipe.update_reference && self.next.is_multiple_of(update.interval) {
            self.blend(recipe, update.weight, &output.registered)?;
        }
        if recipe.update_initialization_w {
            self.registrar.start = Some(field.clone());
        }
        Ok(LiveFrame { index, registered: output.registered, field, record: output.record })
    }

    /// Makes a share of `registered` part of the reference, and finds its range anew.
    fn blend(
        &mut self,
        recipe: &MotionRecipe,
        weight: f32,
        registered: &[f32],
    ) -> Result<(), MotionError> {
        let old = &self.registrar.spec;
        let planes = old.raw_reference.iter().zip(registered);
        let planes = planes.map(|(r, f)| (1.0 - weight) * r + weight * f).collect();
        let mut spec = FrameSpec::new(recipe, old.shape, old.channels, planes);
        spec.params = old.params.clone();
        spec.wants = old.wants;
        self.registrar = Registrar::new(spec, None)?;
        self.scratch = self.registrar.scratch();
        Ok(())
    }
}
