//! Writing of MAT v5 recordings, uncompressed: each frame has its place in its variable.
//!
//! The variables have their full length from the beginning, with zeros where nothing has been
//! written yet, so that the file can be read at any moment. What is missing at the end is cut off.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::element::HEAD_BYTES;
use crate::Existing;
use crate::positioned::{read_exact, write_all};
use crate::recording::samples::encode;
use crate::recording::sink::{check_append, create_file, resume_file};
use crate::recording::{RecordingError, RecordingInfo, RecordingSink, SampleType};

/// Longest variable: MATLAB and scipy read no longer ones.
const MAX_VARIABLE_BYTES: u64 = 1 << 31;

/// A MAT v5 file under construction.
pub(in crate::recording) struct MatSink {
    path: PathBuf,
    file: File,
    info: RecordingInfo,
    done: usize,
    buffer: Vec<u8>,
}

/// Whether the recording fits into a MAT v5 file: its length is known and its variables are short
/// enough.
pub(in crate::recording) fn fits(info: &RecordingInfo) -> bool {
    let bytes = info.shape.len().saturating_mul(info.sample.bytes()).saturating_mul(info.frames);
    info.frames > 0 && (bytes as u64) < MAX_VARIABLE_BYTES - 1024
}

impl MatSink {
    pub(in crate::recording) fn create(
        path: &Path,
        info: &RecordingInfo,
        existing: Existing,
    ) -> Result<Self, RecordingError> {
        let sink = Self::begin(path, create_file(path, existing)?, info);
        let write = || {
            // The zeros of what is to come take no space on most file systems.
            sink.file.set_len(sink.variable_at(info.channels))?;
            write_all(&sink.file, &file_head(), 0)?;
            (0..info.channels).try_for_each(|c| {
                write_all(&sink.file, &variable_head(info, c), sink.variable_at(c))
            })
        };
        write().map_err(|e| RecordingError::write(path, e))?;
        Ok(sink)
    }

    pub(in crate::recording) fn resume(
        path: &Path,
        info: &RecordingInfo,
        frames_done: usize,
    ) -> Result<Self, RecordingError> {
        let mut sink = Self::begin(path, resume_file(path)?, info);
        for c in 0..info.channels {
            let expected = variable_head(info, c);
            let mut found = vec![0; expected.len()];
            let read = read_exact(&sink.file, &mut found, sink.variable_at(c));
            if read.is_err() || found != expected {
                let reason = format!("variable ch{} is missing, or of another size or type", c + 1);
                return Err(RecordingError::not_resumable(path, reason));
            }
        }
        if frames_done > info.frames {
            let reason = format!("it holds {} frames, {frames_done} are needed", info.frames);
            return Err(RecordingError::not_resumable(path, reason));
        }
        sink.done = frames_done;
        Ok(sink)
    }

    fn begin(path: &Path, file: File, info: &RecordingInfo) -> Self {
        let path = path.to_path_buf();
        Self { path, file, info: info.clone(), done: 0, buffer: Vec::new() }
    }

    fn frame_bytes(&self) -> u64 {
        (self.info.shape.len() * self.info.sample.bytes()) as u64
    }

    /// Where the element of a channel begins.
    fn variable_at(&self, channel: usize) -> u64 {
        let len = |c| variable_head(&self.info, c).len() as u64 + padded_bytes(&self.info);
        HEAD_BYTES + (0..channel).map(len).sum::<u64>()
    }

    fn frame_at(&self, channel: usize, frame: usize) -> u64 {
        let head = variable_head(&self.info, channel).len() as u64;
        self.variable_at(channel) + head + frame as u64 * self.frame_bytes()
    }
}

fn data_bytes(info: &RecordingInfo) -> u64 {
    (info.shape.len() * info.sample.bytes() * info.frames) as u64
}

fn padded_bytes(info: &RecordingInfo) -> u64 {
    data_bytes(info).next_multiple_of(8)
}

fn file_head() -> Vec<u8> {
    let mut head = b"MATLAB 5.0 MAT-file, written by stillframe".to_vec();
    head.resize(116, b' ');
    head.resize(124, 0);
    head.extend_from_slice(b"\x00\x01IM");
    head
}

/// All of a variable before its samples.
fn variable_head(info: &RecordingInfo, channel: usize) -> Vec<u8> {
    let name = format!("ch{}", channel + 1);
    // Class of the array, and type of the stored numbers.
    let (class, kind) = match info.sample {
        SampleType::U8 => (9, 2),
        SampleType::I16 => (10, 3),
        SampleType::U16 => (11, 4),
        SampleType::I32 => (12, 5),
        SampleType::U32 => (13, 6),
        SampleType::F32 => (7, 7),
        SampleType::F64 => (6, 9),
    };
    let name_bytes = name.len().next_multiple_of(8) as u64;
    let bytes = 16 + 24 + 8 + name_bytes + 8 + padded_bytes(info);
    let shape = info.shape;
    let mut head = Vec::new();
    let mut put = |words: &[u32]| words.iter().for_each(|w| head.extend(w.to_le_bytes()));
    // 14: array; 6: unsigned 32-bit, 5: signed 32-bit, 1: signed 8-bit numbers.
    put(&[14, bytes as u32]);
    put(&[6, 8, class, 0]);
    put(&[5, 12, shape.height as u32, shape.width as u32, info.frames as u32, 0]);
    put(&[1, name.len() as u32]);
    head.extend_from_slice(name.as_bytes());
    head.resize(head.len().next_multiple_of(8), 0);
    head.extend(u32::to_le_bytes(kind));
    head.extend((data_bytes(info) as u32).to_le_bytes());
    head
}

impl MatSink {
    /// Cuts the variables to the frames that were written.
    fn shrink(&mut self) -> std::io::Result<()> {
        if self.done == self.info.frames {
            return Ok(());
        }
        let from: Vec<u64> = (0..self.info.channels).map(|c| self.frame_at(c, 0)).collect();
        self.info.frames = self.done;
        self.buffer.resize(self.frame_bytes() as usize, 0);
        for (c, from) in from.into_iter().enumerate() {
            // Later variables move to the front, frame by frame.
            for frame in 0..self.done {
                let at = from + frame as u64 * self.frame_bytes();
                read_exact(&self.file, &mut self.buffer, at)?;
                write_all(&self.file, &self.buffer, self.frame_at(c, frame))?;
            }
            let head = variable_head(&self.info, c);
            write_all(&self.file, &head, self.variable_at(c))?;
            let end = self.frame_at(c, self.done);
            let padding = (padded_bytes(&self.info) - data_bytes(&self.info)) as usize;
            write_all(&self.file, &[0; 8][..padding], end)?;
        }
        self.file.set_len(self.variable_at(self.info.channels))?;
        Ok(())
    }
}

impl RecordingSink for MatSink {
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError> {
        let frame_len = check_append(&self.info, frames)?;
        if self.done + frames.len() / frame_len > self.info.frames {
            return Err(RecordingError::CannotHold {
                format: "MAT v5",
                found: format!("more frames than the {} that were announced", self.info.frames),
                remedy: "choose HDF5 or TIFF, which grow",
            });
        }
        let shape = self.info.shape;
        for frame in frames.chunks_exact(frame_len) {
            for (c, channel) in frame.chunks_exact(shape.len()).enumerate() {
                self.buffer.clear();
                let columns = (0..shape.width)
                    .flat_map(|x| channel[x..].iter().step_by(shape.width).copied());
                encode(columns, shape.len(), self.info.sample, &mut self.buffer);
                write_all(&self.file, &self.buffer, self.frame_at(c, self.done))
                    .map_err(|e| RecordingError::write(&self.path, e))?;
            }
            self.done += 1;
        }
        Ok(())
    }

    /// Nothing is left to do: each frame is where it belongs.
    fn sync(&mut self) -> Result<(), RecordingError> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), RecordingError> {
        self.shrink().map_err(|e| RecordingError::write(&self.path, e))?;
        self.file.sync_all().map_err(|e| RecordingError::write(&self.path, e))
    }
}
