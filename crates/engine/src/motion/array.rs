//! A recording in memory: the library's way.

use std::sync::Arc;

use stillframe_image::Image;
use stillframe_io::Existing;
use stillframe_io::recording::{RecordingFormat, RecordingSource, create};
use stillframe_io::spool::ScratchDir;
use stillframe_kernels::register::flow::FlowField;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::executor::{ExecutorKind, WorkerCommand};
use stillframe_runtime::observe::Observer;
use stillframe_runtime::plan::Resources;

use super::alpha::AlphaChoice;
use super::backend::Displacement;
use super::batches::{Batches, Carry, FrameSink, field_of};
use super::error::MotionError;
use super::frame::FrameOutput;
use super::prepare::{prepare, resources_for};
use super::record::FrameRecord;
use super::reference::Origin;
use super::source::{MemoryRecording, SourceSpec};
use super::spec::planes_of;
use crate::recipe::{MotionRecipe, Recipe};
use crate::runner::{PhaseRecord, Runner};

/// A function of the caller: frames that are done, and all.
pub type ProgressCallback<'a> = Box<dyn FnMut(usize, usize) -> Result<(), String> + 'a>;
/// A function of the caller: index of a frame, and what was made of it.
pub type FrameCallback<'a, T> = Box<dyn FnMut(usize, &T) -> Result<(), String> + 'a>;

/// Called while a recording is registered, in frame order, on the calling thread. An error in one
/// becomes a warning; the frames are kept.
#[derive(Default)]
pub struct Callbacks<'a> {
    /// Frames that are done, and all.
    pub progress: Option<ProgressCallback<'a>>,
    /// Index and planes of a registered frame.
    pub registered: Option<FrameCallback<'a, [f32]>>,
    /// Index and displacement of a frame.
    pub field: Option<FrameCallback<'a, FlowField>>,
}

/// How a recording in memory is registered.
#[derive(Default)]
pub struct Compensation<'a> {
    /// Everything that may change a bit of the result; its input and output keys are not used.
    pub recipe: MotionRecipe,
    /// Everything that may only change time and memory.
    pub resources: Resources,
    /// Planes of the reference; `None`: what the recipe says.
    pub reference: Option<Vec<f32>>,
    /// In place of the recipe's backend; every executor that can honours it, the others are not
    /// used.
    pub displacement: Option<Arc<dyn Displacement>>,
    /// Who is called on the way.
    pub callbacks: Callbacks<'a>,
    /// How worker processes are started.
    pub worker: Option<WorkerCommand>,
}

/// A registered recording.
#[derive(Clone, Debug)]
pub struct Compensated {
    /// Frames, planar: `[frame][channel][row][column]`.
    pub registered: Vec<f32>,
    /// Displacement of every frame.
    pub fields: Vec<FlowField>,
    /// Figures of every frame.
    pub records: Vec<FrameRecord>,
    /// Planes of the reference.
    pub reference: Vec<Image<f32>>,
    /// How alpha was chosen, if it was.
    pub alpha: Option<AlphaChoice>,
    /// What was done differently from what was asked.
    pub warnings: Vec<String>,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
}

/// Registers `recording`.
///
/// ```
/// use stillframe_engine::image::Shape;
/// use stillframe_engine::motion::{Compensation, MemoryRecording, compensate};
/// use stillframe_engine::runtime::{Cancel, Silent};
///
/// let shape = Shape::new(48, 64);
/// let scene = |x: f32, y: f32| 100.0 + 20.0 * (0.4 * x).sin() * (0.3 * y).cos();
/// let mut samples = Vec::new();
/// for t in 0..3 {
///     let pixels = (0..shape.len()).map(|i| (i % 64, i / 64));
///     samples.extend(pixels.map(|(x, y)| scene(x as f32 - t as f32, y as f32)));
/// }
/// let reference = Some(samples[..shape.len()].to_vec());
/// let recording = MemoryRecording::new(shape, 1, samples)?;
/// let options = Compensation { reference, ..Compensation::default() };
/// let out = compensate(recording, options, &Silent, &Cancel::new())?;
/// assert!((out.fields[2].u.at(32, 24) - 2.0).abs() < 0.1);
/// # Ok::<(), stillframe_engine::motion::MotionError>(())
/// ```
///
/// # Errors
/// [`MotionError`].
pub fn compensate(
    recording: MemoryRecording,
    options: Compensation<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Compensated, MotionError> {
    let Compensation { recipe, resources, reference, displacement, callbacks, worker } = options;
    recipe.validate().map_err(|e| MotionError::Recipe(e.to_string()))?;
    let info = recording.info().clone();
    if reference.as_ref().is_some_and(|r| r.len() != info.frame_len()) {
        return Err(MotionError::Inputs("the reference has not the size of a frame".into()));
    }
    let (resources, warning) =
        resources_for(recipe.flow_backend, displacement.as_ref(), &resources)?;
    let temporary = std::env::temp_dir();
    let scratch = ScratchDir::create(&temporary, 0)?;
    let mut runner = Runner {
        observer,
        cancel,
        capabilities: Capabilities::detect(),
        resources: &resources,
        worker: worker.as_ref(),
        scratch: scratch.path().to_path_buf(),
        warnings: Vec::new(),
        phases: Vec::new(),
    };
    if let Some(warning) = warning {
        runner.warn(warning);
    }
    let source_spec = match (resources.executor, &displacement) {
        (Some(ExecutorKind::Processes), None) => Some(spooled(&recording, scratch.path())?),
        _ => None,
    };
    let source: Arc<dyn RecordingSource> = Arc::new(recording);
    let origin =
        Origin { source: &source, source_spec: source_spec.as_ref(), custom: displacement.clone() };
    let prepared = prepare(&mut runner, &recipe, &origin, reference)?;
    let mut spec = prepared.spec;
    spec.wants.fields_from = Some(0);
    let reference = planes_of(spec.shape, &spec.raw_reference);
    let mut batches = Batches {
        source: &source,
        source_spec: source_spec.as_ref(),
        spec,
        custom: displacement,
        batch: recipe.buffer_size,
        carries_start: recipe.update_initialization_w,
        carries_reference: recipe.update_reference,
        title: "motion_frames",
    };
    let mut sink = Collected {
        callbacks,
        total: info.frames,
        registered: Vec::with_capacity(info.frames * info.frame_len()),
        fields: Vec::with_capacity(info.frames),
        records: Vec::with_capacity(info.frames),
        complaints: Vec::new(),
        shape: info.shape,
    };
    batches.run(&mut runner, Carry::default(), &mut sink)?;
    sink.complaints.drain(..).for_each(|complaint| runner.warn(complaint));
    Ok(Compensated {
        registered: sink.registered,
        fields: sink.fields,
        records: sink.records,
        reference,
        alpha: prepared.alpha,
        warnings: runner.warnings,
        phases: runner.phases,
    })
}

/// Writes the recording where worker processes find it.
fn spooled(
    recording: &MemoryRecording,
    folder: &std::path::Path,
) -> Result<SourceSpec, MotionError> {
    let info = recording.info();
    let format = RecordingFormat::Hdf5;
    let mut sink = create(folder, "recording", format, info, Existing::Refuse)?;
    let mut frame = vec![0.0; info.frame_len()];
    for t in 0..info.frames {
        recording.read(t..t + 1, &mut frame)?;
        sink.append(&frame)?;
    }
    sink.finish()?;
    let path = folder.join(&format.file_names("recording", info.channels)[0]);
    Ok(SourceSpec { paths: vec![path], deinterleave: None, bin: 1, indices: None })
}

/// Keeps everything.
struct Collected<'a> {
    callbacks: Callbacks<'a>,
    total: usize,
    registered: Vec<f32>,
    fields: Vec<FlowField>,
    records: Vec<FrameRecord>,
    complaints: Vec<String>,
    shape: stillframe_image::Shape,
}

impl FrameSink for Collected<'_> {
    fn frame(&mut self, index: usize, output: FrameOutput) -> Result<(), MotionError> {
        let field = field_of(self.shape, &output.field);
        let Callbacks { progress, registered, field: told } = &mut self.callbacks;
        let results = [
            ("registered", registered.as_mut().map(|call| call(index, &output.registered))),
            ("field", told.as_mut().map(|call| call(index, &field))),
            ("progress", progress.as_mut().map(|call| call(index + 1, self.total))),
        ];
        for (name, result) in results {
            if let Some(Err(reason)) = result {
                self.complaints
                    .push(format!("the callback {name} failed at frame {index}: {reason}"));
            }
        }
        self.registered.extend_from_slice(&output.registered);
        self.fields.push(field);
        self.records.push(output.record);
        Ok(())
    }

    fn batch_end(&mut self, _: &Carry) -> Result<(), MotionError> {
        Ok(())
    }
}
