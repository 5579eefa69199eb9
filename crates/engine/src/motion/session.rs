//! Many recordings of one field of view: each is held still (1), the displacements between their
//! means are found (2), and all are brought into the frame of one of them (3).

mod align;
mod between;
mod mean;
mod recordings;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_io::Existing;
use stillframe_io::preview::write_rgb;
use stillframe_io::recording::{RecordingFormat, RecordingInfo, SampleType, create_stack};
use stillframe_kernels::register::flow::{FlowField, FlowStatistics, carry_mask};
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::observe::{Event, Observer};

pub(super) use self::align::Align;
use self::between::between_all;
pub(super) use self::between::with_between;
use self::mean::{AVERAGE, VALID, read_mask, read_planes, summarise, write_mask};
pub(super) use self::mean::{Common, Mean};
use self::recordings::{Recording, Recordings};
use super::error::MotionError;
use super::files::MASKS;
use super::status::Status;
use super::steps::{
    COMPENSATED, Masks, Setting, as_step, in_folder, register_step, registration_key, write_json,
};
use crate::recipe::{Recipe, SessionRecipe};
use crate::resume::StageKey;
use crate::runner::{PhaseRecord, Runner};

/// Names of files.
const TO_REFERENCE: &str = "w_to_reference.h5";
const BETWEEN: &str = "between.json";
const FINAL: &str = "final_valid_idx";
const SUMMARY: &str = "session.json";

/// A session and how it is worked on.
#[derive(Clone, Debug)]
pub struct SessionJob {
    /// Everything that may change a bit of the result.
    pub recipe: SessionRecipe,
    /// Where and with what.
    pub setting: Setting,
    /// Which part of it.
    pub part: SessionPart,
}

/// A part of a session. The parts before it must be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPart {
    /// Everything.
    Whole,
    /// Stage 1: each recording is registered to itself; with an index (from 0, in the order of the
    /// names) only that one, so that every recording can be a task of an array of jobs.
    Register(Option<usize>),
    /// Stage 2: displacements between the means.
    Displacements,
    /// Stage 3: all recordings in the frame of the centre.
    Align,
}

impl SessionPart {
    fn registers(self) -> bool {
        matches!(self, Self::Whole | Self::Register(_))
    }
}

/// What a session has made.
#[derive(Debug)]
pub struct SessionOutcome {
    /// The recordings, in the order of their names.
    pub recordings: Vec<PathBuf>,
    /// Index of the one onto which the others are aligned.
    pub centre: usize,
    /// The displacement of each recording, once stage 2 is done.
    pub displacements: Vec<SessionDisplacement>,
    /// The aligned recordings, once stage 3 is done.
    pub aligned: Vec<PathBuf>,
    /// Part of the pixels that every frame of every recording has, once stage 3 is done.
    pub valid_fraction: Option<f64>,
    /// What was done differently from what was asked.
    pub warnings: Vec<String>,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
}

/// How a recording lies to the centre.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionDisplacement {
    /// Name of the recording.
    pub name: String,
    /// The shift from which the displacement was begun, pixels along x and y; `None` if no common
    /// structure was found.
    pub shift: Option<[f64; 2]>,
    /// Lengths of the displacement, its divergence and its mean, pixels.
    pub displacement: FlowStatistics,
}

/// `session.json`: what belongs together, by names relative to the root of the session.
#[derive(Serialize)]
struct Summary<'a> {
    software: &'static str,
    recipe_sha256: String,
    /// Index in `recordings`.
    centre: usize,
    recordings: Vec<String>,
    aligned: Vec<String>,
    displacements: &'a [SessionDisplacement],
    valid_fraction: f64,
}

/// Works on a session, or on a part of it.
///
/// # Errors
/// [`MotionError`]. What is finished stays; with `resume` it is not done again.
pub fn run_session(
    job: &SessionJob,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<SessionOutcome, MotionError> {
    job.recipe.validate().map_err(|e| MotionError::Recipe(e.to_string()))?;
    let recordings = Recordings::find(&job.recipe, job.setting.root(&job.recipe.root))?;
    // Two tasks of an array share no folder, so that they cannot get in each other's way.
    let folder = match job.part {
        SessionPart::Register(Some(index)) => recordings.get(index)?.folder.clone(),
        _ => recordings.results.clone(),
    };
    in_folder("session", &folder, &job.setting, observer, cancel, |runner| {
        Session { job, recordings }.run(runner)
    })
}

struct Session<'a> {
    job: &'a SessionJob,
    recordings: Recordings,
}

impl Session<'_> {
    fn run(&self, runner: &mut Runner<'_>) -> Result<SessionOutcome, MotionError> {
        let part = self.job.part;
        let all = &self.recordings;
        if part.registers() {
            let chosen = match part {
                SessionPart::Register(Some(index)) => vec![all.get(index)?],
                _ => all.list.iter().collect(),
            };
            for (i, recording) in chosen.iter().enumerate() {
                let n = chosen.len();
                runner.observer.event(&Event::note(format!(
                    "recording {} of {n}: {}",
                    i + 1,
                    recording.name
                )));
                self.register(runner, recording)?;
            }
        }
        let mut outcome = SessionOutcome {
            recordings: all.list.iter().map(|r| r.path.clone()).collect(),
            centre: all.centre,
            displacements: Vec::new(),
            aligned: Vec::new(),
            valid_fraction: None,
            warnings: Vec::new(),
            phases: Vec::new(),
        };
        if !matches!(part, SessionPart::Register(_)) {
            let keys = self.mean_keys()?;
            if part != SessionPart::Align {
                self.displacements(runner, &keys)?;
            }
            outcome.displacements = self.known_displacements(&keys)?;
            if part != SessionPart::Displacements {
                self.align(runner, &keys, &mut outcome)?;
            }
        }
        outcome.warnings = std::mem::take(&mut runner.warnings);
        outcome.phases = std::mem::take(&mut runner.phases);
        Ok(outcome)
    }

    /// Stage 1 of one recording.
    fn register(&self, runner: &mut Runner<'_>, recording: &Recording) -> Result<(), MotionError> {
        let (job, folder) = (self.job, &recording.folder);
        let recipe = as_step(&job.recipe.motion, Masks::Written);
        let inputs = std::slice::from_ref(&recording.path);
        let key = mean_key(register_step(runner, &job.setting, inputs, &recipe, folder)?);
        let mut status = Status::of(folder);
        if job.setting.resume && status.has("mean", key) {
            return Ok(());
        }
        status.begin("mean")?;
        summarise(runner, &folder.join(COMPENSATED), &folder.join(MASKS), folder)?;
        status.finish("mean", key, &[AVERAGE, VALID])
    }

    /// Keys of the means of all recordings.
    ///
    /// # Errors
    /// [`MotionError::Inputs`] with those that stage 1 has not finished.
    fn mean_keys(&self) -> Result<Vec<StageKey>, MotionError> {
        let recipe = as_step(&self.job.recipe.motion, Masks::Written);
        let key =
            |r: &Recording| mean_key(registration_key(std::slice::from_ref(&r.path), &recipe));
        let keys: Vec<StageKey> = self.recordings.list.iter().map(key).collect();
        let is_missing = |(i, r): (usize, &Recording)| {
            let has_mean = Status::of(&r.folder).has("mean", keys[i]);
            (!has_mean).then(|| format!("{i} ({})", r.name))
        };
        let missing: Vec<_> =
            self.recordings.list.iter().enumerate().filter_map(is_missing).collect();
        if missing.is_empty() {
            return Ok(keys);
        }
        Err(MotionError::Inputs(format!(
            "stage 1 of {} of {} recordings is not finished for this recipe: {}; run stage 1 of them",
            missing.len(),
            keys.len(),
            missing.join(", ")
        )))
    }

    /// What the displacement of each recording depends on.
    fn field_keys(&self, means: &[StageKey]) -> Vec<StageKey> {
        let centre = means[self.recordings.centre].to_string();
        let between = &self.job.recipe.between;
        let key = |own: &StageKey| StageKey::of(&("between", &centre, own.to_string(), between));
        means.iter().map(key).collect()
    }

    /// Stage 2.
    fn displacements(
        &self,
        runner: &mut Runner<'_>,
        means: &[StageKey],
    ) -> Result<(), MotionError> {
        let keys = self.field_keys(means);
        let (list, centre) = (&self.recordings.list, self.recordings.centre);
        let is_kept = |i: &usize| {
            self.job.setting.resume && Status::of(&list[*i].folder).has("between", keys[*i])
        };
        let todo: Vec<usize> = (0..list.len()).filter(|i| !is_kept(i)).collect();
        for &i in &todo {
            self.job.setting.refuse_existing(&list[i].folder, &[TO_REFERENCE])?;
        }
        if todo.contains(&centre) {
            let average = read_planes(&list[centre].folder.join(AVERAGE), &[])?;
            let field = FlowField::zero(average[0].shape());
            keep_field(&list[centre], keys[centre], &field, Some([0.0; 2]))?;
        }
        let others: Vec<usize> = todo.into_iter().filter(|&i| i != centre).collect();
        if others.is_empty() {
            return Ok(());
        }
        let averages: Vec<PathBuf> = others.iter().map(|&i| list[i].folder.join(AVERAGE)).collect();
        let mut lost = Vec::new();
        let reference = list[centre].folder.join(AVERAGE);
        let recipe = &self.job.recipe.between;
        between_all(runner, &reference, &averages, recipe, |i, found| {
            let recording = &list[others[i]];
            if found.shift.is_none() {
                lost.push(recording.name.clone());
            }
            let shift = found.shift.map(|s| [s.dx, s.dy]);
            keep_field(recording, keys[others[i]], &found.field, shift)
        })?;
        for name in lost {
            runner.warn(format!(
                "{name}: no shift that would lay its mean onto the centre was found; its \
                 displacement was begun at zero"
            ));
        }
        Ok(())
    }

    /// What stage 2 has found.
    ///
    /// # Errors
    /// [`MotionError::Inputs`] if it is not finished.
    fn known_displacements(
        &self,
        means: &[StageKey],
    ) -> Result<Vec<SessionDisplacement>, MotionError> {
        let keys = self.field_keys(means);
        let known = |(recording, key): (&Recording, &StageKey)| {
            let text = std::fs::read(recording.folder.join(BETWEEN)).ok();
            let known = text.and_then(|t| serde_json::from_slice(&t).ok());
            match known {
                Some(known) if Status::of(&recording.folder).has("between", *key) => Ok(known),
                _ => Err(MotionError::Inputs(format!(
                    "stage 2 of {} is not finished for this recipe; run stage 2",
                    recording.name
                ))),
            }
        };
        self.recordings.list.iter().zip(&keys).map(known).collect()
    }

    /// Stage 3.
    fn align(
        &self,
        runner: &mut Runner<'_>,
        means: &[StageKey],
        outcome: &mut SessionOutcome,
    ) -> Result<(), MotionError> {
        let Recordings { list, centre, results, root } = &self.recordings;
        let format = RecordingFormat::from(self.job.recipe.align_output_format);
        let fill = read_planes(&list[*centre].folder.join(AVERAGE), &[])?;
        let shape = fill[0].shape();
        let mut common = Image::filled(shape, 255u8);
        let mut status = Status::of(results);
        for (recording, field_key) in list.iter().zip(self.field_keys(means)) {
            let field = read_field(&recording.folder.join(TO_REFERENCE), shape)?;
            let mask = carry_mask(&read_mask(&recording.folder.join(VALID), shape)?, &field);
            let both = common.pixels_mut().iter_mut().zip(mask.pixels());
            both.for_each(|(c, m)| *c &= *m);

            let stem = format!("aligned_{}", recording.stem);
            let files = format.file_names(&stem, fill.len());
            outcome.aligned.extend(files.iter().map(|f| results.join(f)));
            let key = StageKey::of(&(
                "align",
                field_key.to_string(),
                self.job.recipe.align_output_format,
            ));
            if self.job.setting.resume && status.has(&stem, key) {
                continue;
            }
            self.job.setting.refuse_existing(results, &files)?;
            status.begin(&stem)?;
            let compensated = recording.folder.join(COMPENSATED);
            align::align(runner, &compensated, &field, &fill, (results, &stem, format))?;
            status.finish(&stem, key, &files)?;
        }
        let n = common.pixels().iter().filter(|&&c| c > 0).count();
        let fraction = n as f64 / shape.len() as f64;
        if n == 0 {
            runner.warn("no pixel is seen by every frame of every recording".into());
        }
        outcome.valid_fraction = Some(fraction);
        write_mask(&results.join(format!("{FINAL}.h5")), &common)?;
        let grey: Vec<u8> = common.pixels().iter().flat_map(|&c| [c; 3]).collect();
        let picture = results.join(format!("{FINAL}.png"));
        write_rgb(&picture, Existing::Replace, shape, &grey)?;
        let relative =
            |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        write_json(
            &results.join(SUMMARY),
            &Summary {
                software: concat!("stillframe ", env!("CARGO_PKG_VERSION")),
                recipe_sha256: self.job.recipe.sha256(),
                centre: *centre,
                recordings: outcome.recordings.iter().map(relative).collect(),
                aligned: outcome.aligned.iter().map(relative).collect(),
                displacements: &outcome.displacements,
                valid_fraction: fraction,
            },
        )
    }
}

/// Key of the mean of a registered recording.
fn mean_key(registration: StageKey) -> StageKey {
    StageKey::of(&("mean", registration.to_string()))
}

/// Writes the displacement of a recording and what is to be known of it.
fn keep_field(
    recording: &Recording,
    key: StageKey,
    field: &FlowField,
    shift: Option<[f64; 2]>,
) -> Result<(), MotionError> {
    let mut status = Status::of(&recording.folder);
    status.begin("between")?;
    let (shape, sample) = (field.u.shape(), SampleType::F32);
    let info = RecordingInfo { frames: 1, shape, channels: 2, sample };
    let path = recording.folder.join(TO_REFERENCE);
    let mut sink = create_stack(&path, &["u", "v"], &info, Existing::Replace)?;
    sink.append(&[field.u.pixels(), field.v.pixels()].concat())?;
    sink.finish()?;
    let displacement = SessionDisplacement {
        name: recording.name.clone(),
        shift,
        displacement: field.statistics(),
    };
    write_json(&recording.folder.join(BETWEEN), &displacement)?;
    status.finish("between", key, &[TO_REFERENCE, BETWEEN])
}

fn read_field(path: &Path, shape: Shape) -> Result<FlowField, MotionError> {
    let planes: Result<[Image<f32>; 2], _> = read_planes(path, &["u", "v"])?.try_into();
    match planes {
        Ok([u, v]) if u.shape() == shape => Ok(FlowField { u, v }),
        _ => Err(MotionError::Inputs(format!("{}: no displacement of {shape}", path.display()))),
    }
}
