//! What all sinks share, and the one that gives each channel a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::{RecordingError, RecordingInfo, RecordingSink};
use crate::Existing;
use crate::error::WriteErrorKind;

/// Samples that are encoded and written in one go, unless a frame is larger: a buffer of at most
/// 16 MiB that stays in the processor's reach.
pub(super) const BLOCK_SAMPLES: usize = 1 << 21;

/// Makes the file under its own name: it must be readable while it grows, also by others.
pub(super) fn create_file(path: &Path, existing: Existing) -> Result<File, RecordingError> {
    let create = || -> Result<File, WriteErrorKind> {
        if existing == Existing::Replace {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)
    };
    create().map_err(|kind| RecordingError::write(path, kind))
}

/// Opens a file that was begun by [`create_file`].
pub(super) fn resume_file(path: &Path) -> Result<File, RecordingError> {
    let open = OpenOptions::new().read(true).write(true).open(path);
    open.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => RecordingError::not_resumable(path, "there is no such file"),
        _ => RecordingError::write(path, e),
    })
}

/// Samples of a frame, of which `frames` must be a multiple.
pub(super) fn check_append(info: &RecordingInfo, frames: &[f32]) -> Result<usize, RecordingError> {
    let frame_len = info.frame_len();
    if frame_len == 0 || !frames.len().is_multiple_of(frame_len) {
        let needed = format!("a multiple of {frame_len}");
        return Err(RecordingError::BadBuffer { found: frames.len(), needed });
    }
    Ok(frame_len)
}

/// One sink per channel.
pub(super) struct Multifile {
    pub(super) info: RecordingInfo,
    pub(super) sinks: Vec<Box<dyn RecordingSink>>,
}

impl RecordingSink for Multifile {
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError> {
        let frame_len = check_append(&self.info, frames)?;
        let len = self.info.shape.len();
        let at_once = (BLOCK_SAMPLES / frame_len).max(1) * frame_len;
        let mut channel = Vec::new();
        for block in frames.chunks(at_once) {
            for (c, sink) in self.sinks.iter_mut().enumerate() {
                channel.clear();
                for frame in block.chunks_exact(frame_len) {
                    channel.extend_from_slice(&frame[c * len..(c + 1) * len]);
                }
                sink.append(&channel)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), RecordingError> {
        self.sinks.iter_mut().try_for_each(|sink| sink.sync())
    }

    fn finish(self: Box<Self>) -> Result<(), RecordingError> {
        self.sinks.into_iter().try_for_each(RecordingSink::finish)
    }
}
