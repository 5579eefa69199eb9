//! Finished stages of a run, kept in the output folder until the run is complete.
//!
//! A stage is stored whole (temporary file, rename) under a key: the digest of everything that
//! its result depends on. A stage that a killed run left behind is either complete and of the
//! right key, or it is not used.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Name of the folder inside the output folder.
pub(crate) const FOLDER: &str = ".stillframe-resume";

/// Digest of what a stage depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StageKey([u8; 32]);

impl StageKey {
    /// The key of a stage that depends on `parts` (and on nothing else but this version).
    pub(crate) fn of(parts: &impl Serialize) -> Self {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(serde_json::to_vec(parts).expect("keys are plain data"));
        Self(hash.finalize().into())
    }
}

/// 64 hexadecimal digits.
impl std::fmt::Display for StageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The stages of one output folder.
#[derive(Debug)]
pub(crate) struct Stages {
    folder: PathBuf,
    resume: bool,
}

impl Stages {
    /// Stages in `output`; earlier ones are used only if `resume`.
    pub(crate) fn new(output: &Path, resume: bool) -> Self {
        Self { folder: output.join(FOLDER), resume }
    }

    /// The stored result of stage `name`, if it is there, whole, and of this key.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str, key: StageKey) -> Option<T> {
        if !self.resume {
            return None;
        }
        let bytes = fs::read(self.folder.join(name)).ok()?;
        let (head, payload) = bytes.split_at_checked(64)?;
        let digest: [u8; 32] = Sha256::digest(payload).into();
        if head[..32] != key.0 || head[32..] != digest {
            return None;
        }
        postcard::from_bytes(payload).ok()
    }

    /// Stores the result of stage `name`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn save<T: Serialize>(
        &self,
        name: &str,
        key: StageKey,
        value: &T,
    ) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let payload = postcard::to_stdvec(value).map_err(std::io::Error::other)?;
        let temporary = self.folder.join(format!("{name}.part"));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&key.0)?;
        file.write_all(&Sha256::digest(&payload))?;
        file.write_all(&payload)?;
        file.sync_all()?;
        fs::rename(temporary, self.folder.join(name))
    }

    /// Removes all stages: the run is complete.
    pub(crate) fn clear(&self) {
        // What cannot be removed is only disk space; the next run does not use it by itself.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_stages_of_the_same_key_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let stages = Stages::new(folder.path(), true);
        let key = StageKey::of(&("recipe", 1));
        let value = vec![1.5f64, -0.1, f64::MIN_POSITIVE];
        stages.save("measure", key, &value).unwrap();
        assert_eq!(stages.load::<Vec<f64>>("measure", key), Some(value));
        assert_eq!(stages.load::<Vec<f64>>("measure", StageKey::of(&("recipe", 2))), None);
        assert_eq!(Stages::new(folder.path(), false).load::<Vec<f64>>("measure", key), None);
        let file = folder.path().join(FOLDER).join("measure");
        let mut bytes = fs::read(&file).unwrap();
        bytes.pop();
        fs::write(&file, bytes).unwrap();
        assert_eq!(stages.load::<Vec<f64>>("measure", key), None);
        stages.clear();
        assert!(!folder.path().join(FOLDER).exists());
    }
}
