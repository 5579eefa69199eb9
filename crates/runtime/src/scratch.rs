//! Folders for scratch files, which vanish with the process, even if that crashed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Scratch folders are named by it, the process, and a running number.
const PREFIX: &str = "stillframe-scratch-";

/// Locked for as long as the process lives that made the folder: the system gives the lock back
/// however that ends, and unlike a process id it is neither used again nor different in a container.
const LOCK: &str = "lock";

/// A folder younger than this may have been made just now and not be locked yet.
const LEAST_AGE: Duration = Duration::from_mins(1);

/// Files here are shared memory, where the system has it.
const SHARED_MEMORY: &str = "/dev/shm";

/// A folder of this process alone, removed with everything in it when dropped.
///
/// If the process dies first, the folder is removed when the next scratch folder is made in the
/// same place.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    _lock: File,
}

impl ScratchFolder {
    /// A folder in `parent`, which exists. Removes those that dead processes have left there.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn create_in(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        remove_stale(parent, SystemTime::now());
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                // left by a dead process that had the same id
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            return Ok(Self { path, _lock: lock });
        }
    }

    /// A folder in shared memory if `bytes` are free there, else in `parent`.
    ///
    /// # Errors
    /// If the folder cannot be made in either place.
    pub fn create_in_memory_or(parent: &Path, bytes: u64) -> io::Result<Self> {
        let shared = Path::new(SHARED_MEMORY);
        if free_bytes(shared).is_some_and(|free| free >= bytes)
            && let Ok(folder) = Self::create_in(shared)
        {
            return Ok(folder);
        }
        Self::create_in(parent)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // if it fails, the next folder that is made here removes it
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Bytes that may be written in the file system of `folder`; `None` if the system does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(folder)
        .ok()
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Removes the folders in `parent` whose process is dead. What cannot be removed is left alone: it
/// may belong to another user.
fn remove_stale(parent: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && is_stale(&entry.path(), now)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(folder: &Path, now: SystemTime) -> bool {
    let Ok(lock) = File::options().write(true).open(folder.join(LOCK)) else { return false };
    let age = lock.metadata().and_then(|data| data.modified()).map(|made| now.duration_since(made));
    matches!(age, Ok(Ok(age)) if age >= LEAST_AGE) && lock.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_vanishes_with_everything_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = ScratchFolder::create_in(parent.path()).unwrap();
        let other = ScratchFolder::create_in(parent.path()).unwrap();
        fs::write(folder.path().join("slot"), b"x").unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(LOCK), b"").unwrap();
            path
        };
        let dead = make("stillframe-scratch-1-0");
        let foreign = make("precious");
        let unfinished = parent.path().join("stillframe-scratch-2-0");
        fs::create_dir(&unfinished).unwrap();
        let live = ScratchFolder::create_in(parent.path()).unwrap();

        remove_stale(parent.path(), SystemTime::now());
        assert!(dead.exists(), "too young to be judged");
        remove_stale(parent.path(), SystemTime::now() + 2 * LEAST_AGE);
        assert!(!dead.exists());
        assert!(live.path().exists() && foreign.exists() && unfinished.exists());
    }

    #[test]
    fn free_space_is_known_where_it_can_be() {
        let parent = tempfile::tempdir().unwrap();
        if cfg!(unix) {
            assert!(free_bytes(parent.path()).unwrap() > 0);
        }
        assert_eq!(free_bytes(&parent.path().join("nowhere")), None);
    }

    #[test]
    fn without_room_in_shared_memory_the_folder_is_where_it_was_asked_for() {
        let parent = tempfile::tempdir().unwrap();
        let folder = ScratchFolder::create_in_memory_or(parent.path(), u64::MAX).unwrap();
        assert!(folder.path().starts_with(parent.path()));
    }
}
