//! The files of a run: recording, displacements and masks, written batch by batch.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_io::Existing;
use stillframe_io::recording::{
    RecordingError, RecordingInfo, RecordingSink, SampleType, create, create_stack, resume,
    resume_stack,
};

use super::batches::{Carry, FrameSink};
use super::error::MotionError;
use super::frame::FrameOutput;
use super::job::MotionJob;
use super::preview::Means;
use super::record::FrameRecord;
use crate::resume::{StageKey, Stages};

/// Name of the stage that holds a [`Checkpoint`].
pub(super) const STAGE: &str = "motion";

/// Names of the displacement and mask files.
pub(super) const FIELDS: &str = "w.h5";
pub(super) const MASKS: &str = "idx.h5";

/// Where an interrupted run goes on.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) carry: Carry,
    records: Vec<FrameRecord>,
    means: Means,
}

/// The files and what is remembered beside them.
pub(super) struct Files<'a> {
    recording: Box<dyn RecordingSink>,
    fields: Option<Box<dyn RecordingSink>>,
    masks: Option<Box<dyn RecordingSink>>,
    stages: &'a Stages,
    key: StageKey,
    pub(super) records: Vec<FrameRecord>,
    pub(super) means: Means,
    /// Why a checkpoint could not be kept.
    pub(super) complaints: Vec<String>,
}

/// The checkpoint of the earlier run that `stages` holds, if any.
pub(super) fn checkpoint(stages: &Stages, key: StageKey) -> Option<Checkpoint> {
    stages.load(STAGE, key)
}

impl<'a> Files<'a> {
    /// Begins the files, or continues those of `checkpoint`.
    ///
    /// # Errors
    /// If a file cannot be written, or is not the one that the checkpoint knows.
    pub(super) fn open(
        job: &MotionJob,
        info: &RecordingInfo,
        stages: &'a Stages,
        key: StageKey,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Self, MotionError> {
        // What is in the way was refused before the work began.
        let existing = Existing::Replace;
        let done = checkpoint.as_ref().map(|c| c.carry.next);
        let stack = |name: &str, datasets: &[&str], sample| {
            let info = RecordingInfo { sample, channels: datasets.len(), ..info.clone() };
            let path: PathBuf = job.output.join(name);
            match done {
                None => create_stack(&path, datasets, &info, existing),
                Some(done) => resume_stack(&path, datasets, &info, done),
            }
        };
        let own = RecordingInfo { sample: job.sample(info.sample), ..info.clone() };
        let (stem, format) = (job.stem(), job.format());
        let recording = match done {
            None => create(&job.output, &stem, format, &own, existing)?,
            Some(done) => resume(&job.output, &stem, format, &own, done)?,
        };
        let wants = |wanted: bool, open: &dyn Fn() -> Result<_, RecordingError>| {
            if wanted { open().map(Some) } else { Ok(None) }
        };
        let recipe = &job.recipe;
        let fields = wants(recipe.save_w, &|| stack(FIELDS, &["u", "v"], SampleType::F32))?;
        let masks = wants(recipe.save_valid_idx, &|| stack(MASKS, &["idx"], SampleType::U8))?;
        let Checkpoint { records, means, .. } = checkpoint.unwrap_or_default();
        let complaints = Vec::new();
        Ok(Self { recording, fields, masks, stages, key, records, means, complaints })
    }

    /// Completes the files; the figures of the frames and the means.
    ///
    /// # Errors
    /// If the system reports one.
    pub(super) fn finish(self) -> Result<(Vec<FrameRecord>, Means), MotionError> {
        self.recording.finish()?;
        for sink in [self.fields, self.masks].into_iter().flatten() {
            sink.finish()?;
        }
        Ok((self.records, self.means))
    }
}

impl FrameSink for Files<'_> {
    fn frame(&mut self, _: usize, output: FrameOutput) -> Result<(), MotionError> {
        self.recording.append(&output.registered)?;
        if let Some(fields) = &mut self.fields {
            fields.append(&output.field)?;
        }
        if let Some(masks) = &mut self.masks {
            masks.append(&output.valid)?;
        }
        self.means.take(&output);
        self.records.push(output.record);
        Ok(())
    }

    fn batch_end(&mut self, carry: &Carry) -> Result<(), MotionError> {
        self.recording.sync()?;
        for sink in [&mut self.fields, &mut self.masks].into_iter().flatten() {
            sink.sync()?;
        }
        let checkpoint = Checkpoint {
            carry: carry.clone(),
            records: self.records.clone(),
            means: self.means.clone(),
        };
        if let Err(e) = self.stages.save(STAGE, self.key, &checkpoint) {
            self.complaints.push(format!("a batch could not be kept for --resume: {e}"));
        }
        Ok(())
    }
}
