//! Files that appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{WriteError, WriteErrorKind as Kind};

/// End of the names of temporary files.
const PART: &str = ".part";

/// What to do with a result that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and report an error.
    Refuse,
    /// Put the new one in its place, in one step.
    Replace,
}

/// A file under construction: a temporary file beside its target that takes the target's name in
/// [`AtomicFile::commit`], and is removed if that never happens.
///
/// Writes are not buffered.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    existing: Existing,
    temporary: NamedTempFile,
}

impl AtomicFile {
    /// Starts a file that will be `target`. The folder must exist.
    ///
    /// # Errors
    /// If `target` exists and may not be replaced, or the folder cannot be written to.
    pub fn create(target: &Path, existing: Existing) -> Result<Self, WriteError> {
        Self::create_kind(target, existing).map_err(|kind| kind.at(target))
    }

    fn create_kind(target: &Path, existing: Existing) -> Result<Self, Kind> {
        refuse_existing(target, existing)?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(target.file_name().unwrap_or_default());
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(PART);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Temporary files are private by default; a result is as readable as any new file
            // (the umask still applies).
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(folder)?;
        // The lock says that this process lives; file systems without locks do without.
        let _ = temporary.as_file().try_lock();
        Ok(Self { target: target.to_path_buf(), existing, temporary })
    }

    /// The name that the file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Puts everything on the disk, then gives the file its name.
    ///
    /// # Errors
    /// If the disk is full, or `target` has appeared meanwhile and may not be replaced; the
    /// temporary file is then removed.
    pub fn commit(self) -> Result<(), WriteError> {
        let Self { target, existing, temporary } = self;
        let commit = || -> Result<(), Kind> {
            temporary.as_file().sync_all()?;
            refuse_existing(&target, existing)?;
            temporary.persist(&target).map_err(|e| e.error)?;
            sync_folder(&target);
            Ok(())
        };
        commit().map_err(|kind| kind.at(&target))
    }

    /// `error` with the name of the target.
    pub fn error(&self, error: io::Error) -> WriteError {
        Kind::from(error).at(&self.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// Makes `target` with these contents: whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_file(target: &Path, existing: Existing, contents: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(target, existing)?;
    file.write_all(contents).map_err(|e| file.error(e))?;
    file.commit()
}

/// The folder in which a run puts its results.
#[derive(Clone, Debug)]
pub struct OutputFolder {
    path: PathBuf,
    existing: Existing,
}

impl OutputFolder {
    /// Makes sure that `path` is a folder that can be written to, and that a run which writes the
    /// files `results` there overwrites neither one of its `inputs` nor, unless `existing` allows
    /// it, a result of another run. Makes the folder where it is missing.
    ///
    /// # Errors
    /// [`WriteErrorKind::Exists`](Kind::Exists) and [`WriteErrorKind::IsInput`](Kind::IsInput) with
    /// the file that is in the way, or why the folder cannot be written to.
    pub fn create(
        path: &Path,
        existing: Existing,
        results: &[&str],
        inputs: &[PathBuf],
    ) -> Result<Self, WriteError> {
        let folder = Self { path: path.to_path_buf(), existing };
        // Links may lead from a result to an input under another name.
        let inputs: BTreeSet<PathBuf> = inputs.iter().flat_map(|p| p.canonicalize()).collect();
        for name in results {
            let target = folder.path_of(name);
            if target.canonicalize().is_ok_and(|real| inputs.contains(&real)) {
                return Err(Kind::IsInput.at(&target));
            }
            refuse_existing(&target, existing).map_err(|kind| kind.at(&target))?;
        }
        let make = || {
            std::fs::create_dir_all(path)?;
            tempfile::tempfile_in(path).map(drop)
        };
        make().map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Kind::NotAFolder.at(path),
            _ => Kind::from(e).at(path),
        })?;
        folder.remove_stale(results);
        Ok(folder)
    }

    /// Removes the temporary files of `results` that a killed process left here: those that nobody
    /// locks.
    fn remove_stale(&self, results: &[&str]) {
        let Ok(entries) = self.path.read_dir() else { return };
        for path in entries.flatten().map(|e| e.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ours =
                name.ends_with(PART) && results.iter().any(|r| name.starts_with(&format!(".{r}.")));
            let unlocked = || File::open(&path).is_ok_and(|f| f.try_lock().is_ok());
            if ours && unlocked() {
                // Litter, not a fault, if it stays.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What happens to results that are there already.
    pub fn existing(&self) -> Existing {
        self.existing
    }

    /// Where the result `name` is or will be.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes sure that `needed` more bytes fit on the disk.
    ///
    /// # Errors
    /// [`WriteErrorKind::NotEnoughSpace`](Kind::NotEnoughSpace).
    pub fn require_space(&self, needed: u64) -> Result<(), WriteError> {
        require_space(&self.path, needed).map_err(|kind| kind.at(&self.path))
    }

    /// Makes the result `name` with these contents: whole or not at all.
    ///
    /// # Errors
    /// As [`write_file`].
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), WriteError> {
        write_file(&self.path_of(name), self.existing, contents)
    }
}

fn refuse_existing(target: &Path, existing: Existing) -> Result<(), Kind> {
    if existing == Existing::Refuse && target.symlink_metadata().is_ok() {
        return Err(Kind::Exists);
    }
    Ok(())
}

/// Makes sure that `needed` more bytes fit on the disk of `folder`.
pub(crate) fn require_space(folder: &Path, needed: u64) -> Result<(), Kind> {
    let free = fs4::available_space(folder)?;
    if free < needed {
        return Err(Kind::NotEnoughSpace { needed, free });
    }
    Ok(())
}

/// Asks the system to keep the new name over a power cut, where it can.
fn sync_folder(target: &Path) {
    #[cfg(unix)]
    if let Some(folder) = target.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // The data are safe already; some file systems cannot sync a folder.
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    #[cfg(not(unix))]
    let _ = target;
}
