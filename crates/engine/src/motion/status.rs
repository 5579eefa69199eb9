//! Which steps of a run of many steps are finished: `status.json`, beside their results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_io::sink::{Existing, write_file};

use super::error::MotionError;
use crate::resume::StageKey;

const NAME: &str = "status.json";

/// The finished steps of a folder.
#[derive(Debug)]
pub(super) struct Status {
    folder: PathBuf,
    steps: BTreeMap<String, Finished>,
}

/// A finished step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Finished {
    /// Digest of everything that the step depends on.
    key: String,
    /// Names of its files in the folder, and their lengths in bytes.
    files: BTreeMap<String, u64>,
}

impl Status {
    /// What is known of `folder`; nothing if there is no status, or it cannot be understood.
    pub(super) fn of(folder: &Path) -> Self {
        let text = std::fs::read(folder.join(NAME)).unwrap_or_default();
        let steps = serde_json::from_slice(&text).unwrap_or_default();
        Self { folder: folder.to_path_buf(), steps }
    }

    /// Whether `step` was finished with this key, and its files still have their lengths.
    pub(super) fn has(&self, step: &str, key: StageKey) -> bool {
        self.steps.get(step).is_some_and(|finished| {
            let is_whole = |(name, bytes): (&String, &u64)| {
                std::fs::metadata(self.folder.join(name)).is_ok_and(|m| m.len() == *bytes)
            };
            finished.key == key.to_string() && finished.files.iter().all(is_whole)
        })
    }

    /// Records that `step` is finished, with these files of the folder.
    ///
    /// # Errors
    /// If a file is missing or the status cannot be written.
    pub(super) fn finish(
        &mut self,
        step: &str,
        key: StageKey,
        files: &[impl AsRef<str>],
    ) -> Result<(), MotionError> {
        let length = |name: &str| {
            let path = self.folder.join(name);
            match std::fs::metadata(&path) {
                Ok(meta) => Ok((name.to_owned(), meta.len())),
                Err(e) => Err(MotionError::Output { path, reason: e.to_string() }),
            }
        };
        let files = files.iter().map(|f| length(f.as_ref())).collect::<Result<_, _>>()?;
        self.steps.insert(step.to_owned(), Finished { key: key.to_string(), files });
        self.write()
    }

    /// Forgets `step`, before its files are written anew.
    ///
    /// # Errors
    /// If the status cannot be written.
    pub(super) fn begin(&mut self, step: &str) -> Result<(), MotionError> {
        if self.steps.remove(step).is_some() { self.write() } else { Ok(()) }
    }

    fn write(&self) -> Result<(), MotionError> {
        let text = serde_json::to_string_pretty(&self.steps)
            .map_err(|e| MotionError::Internal(e.to_string()))?;
        Ok(write_file(&self.folder.join(NAME), Existing::Replace, (text + "\n").as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_finished_while_its_key_and_files_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mean.h5");
        std::fs::write(&file, b"1234").unwrap();
        let (key, other) = (StageKey::of(&1), StageKey::of(&2));
        let mut status = Status::of(folder.path());
        assert!(!status.has("mean", key));
        status.finish("mean", key, &["mean.h5"]).unwrap();
        let read = Status::of(folder.path());
        assert!(read.has("mean", key) && !read.has("mean", other) && !read.has("align", key));
        std::fs::write(&file, b"123").unwrap();
        assert!(!read.has("mean", key));
        assert!(status.finish("align", key, &["gone.h5"]).is_err());
        status.begin("mean").unwrap();
        std::fs::write(&file, b"1234").unwrap();
        assert!(!Status::of(folder.path()).has("mean", key));
        std::fs::write(folder.path().join(NAME), b"{ damaged").unwrap();
        assert!(!Status::of(folder.path()).has("mean", key));
    }
}
