//! Reading of MAT v5 recordings.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::element::{Samples, Variable, variables};
use crate::error::ReadErrorKind as Fault;
use crate::recording::axes::{Axes, Counting, ordering};
use crate::recording::discover::{self, Candidate};
use crate::recording::{
    OpenOptions, RecordingError, RecordingInfo, RecordingSource, check_info, check_read,
};

/// Bytes read in one go, unless a row of stored samples is longer.
const BLOCK_BYTES: usize = 1 << 20;

/// A MAT v5 recording.
pub(crate) struct MatSource {
    path: PathBuf,
    info: RecordingInfo,
    channels: Vec<Channel>,
}

/// A variable that holds a channel.
struct Channel {
    variable: Variable,
    /// Axes, slowest first.
    dims: [usize; 3],
    axes: Axes,
    samples: Mutex<Samples>,
}

impl MatSource {
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, RecordingError> {
        let at = |fault: Fault| RecordingError::read(path, fault);
        let file = Arc::new(File::open(path).map_err(|e| RecordingError::read(path, e))?);
        let (variables, _) = variables(&file).map_err(at)?;
        let candidates: Vec<Candidate> = variables
            .iter()
            .map(|v| Candidate {
                name: v.name.clone(),
                dims: v.dims.iter().rev().copied().collect(),
            })
            .collect();
        let chosen = discover::channels(path, &candidates, &options.dataset_names)?;
        let mut channels = Vec::new();
        for variable in chosen.into_iter().map(|i| &variables[i]) {
            channels.push(Channel::new(path, &file, variable, options)?);
        }
        let first = &channels[0];
        let mut info = RecordingInfo {
            frames: first.axes.frames(&first.dims),
            shape: first.axes.shape(&first.dims),
            channels: channels.len(),
            sample: first.variable.sample,
        };
        for other in &channels[1..] {
            if other.dims != first.dims {
                let (a, b) = (&first.variable, &other.variable);
                let found = format!("{} of {:?} and {} of {:?}", a.name, a.dims, b.name, b.dims);
                let needed = "channels of equal shape are needed; choose them with dataset_names";
                return Err(RecordingError::unsupported(path, found, needed));
            }
            info.sample = info.sample.promote(other.variable.sample);
        }
        check_info(path, &info)?;
        Ok(Self { path: path.to_path_buf(), info, channels })
    }
}

impl RecordingSource for MatSource {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check_read(&self.info, &frames, out)?;
        let len = self.info.shape.len();
        for (c, channel) in self.channels.iter().enumerate() {
            let out = out.get_mut(c * len..).unwrap_or_default();
            channel
                .read(frames.clone(), self.channels.len(), out)
                .map_err(|fault| RecordingError::read(&self.path, fault))?;
        }
        Ok(())
    }
}

impl Channel {
    fn new(
        path: &Path,
        file: &Arc<File>,
        variable: &Variable,
        options: &OpenOptions,
    ) -> Result<Self, RecordingError> {
        let mut dims: Vec<usize> = variable.dims.iter().rev().copied().collect();
        if dims.len() == 2 {
            // MATLAB drops the last axis of a single frame.
            dims.insert(0, 1);
        }
        let stated = ordering(path, dims.len(), options, None)?;
        let axes = Axes::of(path, &variable.name, &dims, Counting::Matlab, stated)?;
        let Ok(dims) = <[usize; 3]>::try_from(dims) else {
            return Err(RecordingError::unsupported(
                path,
                "more than three axes",
                "three are needed",
            ));
        };
        let samples = Mutex::new(Samples::new(file, variable));
        Ok(Self { variable: variable.clone(), dims, axes, samples })
    }

    /// Reads frame i of `frames` to `out[i * stride * shape.len()..]`.
    fn read(&self, frames: Range<usize>, stride: usize, out: &mut [f32]) -> Result<(), Fault> {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, dims) = (self.variable.stored.bytes(), self.dims);
        let len = self.axes.shape(&dims).len();
        let mut raw = Vec::new();
        if self.axes.frames == Some(0) {
            for (i, frame) in frames.enumerate() {
                raw.resize(len * bytes, 0);
                samples.read((frame * len * bytes) as u64, &mut raw)?;
                let out = &mut out[i * stride * len..][..len];
                self.axes.scatter(&[1, dims[1], dims[2]], &raw, self.variable.stored, 1, out);
            }
            return Ok(());
        }
        // Each part of the variable holds something of every frame: go through all of it.
        let row_bytes = dims[2] * bytes;
        let rows_at_once = (BLOCK_BYTES / row_bytes.max(1)).max(1);
        let n_rows = dims[0] * dims[1];
        let mut row = vec![0.0; dims[2]];
        for first in (0..n_rows).step_by(rows_at_once) {
            let n = rows_at_once.min(n_rows - first);
            raw.resize(n * row_bytes, 0);
            samples.read((first * row_bytes) as u64, &mut raw)?;
            for (k, stored) in raw.chunks_exact(row_bytes).enumerate() {
                let slow = [(first + k) / dims[1], (first + k) % dims[1]];
                self.variable.stored.decode(stored, 0, 1, &mut row);
                self.scatter_row(slow, &row, &frames, stride, out);
            }
        }
        Ok(())
    }

    /// Puts a row of stored samples, at these positions along the two slower axes, where they belong.
    fn scatter_row(
        &self,
        slow: [usize; 2],
        row: &[f32],
        frames: &Range<usize>,
        stride: usize,
        out: &mut [f32],
    ) {
        let shape = self.axes.shape(&self.dims);
        let position = |axis: usize, i: usize| if axis == 2 { i } else { slow[axis] };
        for (i, &value) in row.iter().enumerate() {
            let frame = position(self.axes.frames.unwrap_or(0), i);
            if frames.contains(&frame) {
                let (y, x) = (position(self.axes.rows, i), position(self.axes.columns, i));
                let frame = (frame - frames.start) * stride;
                out[(frame * shape.height + y) * shape.width + x] = value;
            }
        }
    }
}
