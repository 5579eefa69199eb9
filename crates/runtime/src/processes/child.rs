//! One worker process, as the parent sees it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::{Hello, PROTOCOL, Reply, Task};
use crate::executor::WorkerCommand;

/// No reply is longer; what is, is no reply. A panic's message is what takes most.
const MAX_REPLY_BYTES: u64 = 1 << 20;

/// An idle worker exits within milliseconds after its input was closed; after this time it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a worker has given no result.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is dead, or as good as that, and why.
    Died(String),
    /// The work has panicked, as it would have in this process.
    Panicked(String),
}

/// A worker process that waits for a unit. Dropping it ends it.
pub(super) struct WorkerProcess {
    child: Child,
    /// `None` once it was closed.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    slot: File,
    /// The last result, encoded.
    bytes: Vec<u8>,
}

/// Where the files of a worker are.
pub(super) struct WorkerFiles {
    pub(super) job: PathBuf,
    pub(super) slot: PathBuf,
}

impl WorkerProcess {
    /// Starts a worker and waits until it has built a phase of `n_units` units.
    pub(super) fn start(
        command: &WorkerCommand,
        files: &WorkerFiles,
        n_units: usize,
    ) -> Result<Self, String> {
        let program = command.program.display();
        let mut worker = Self::spawn(command, &files.slot)
            .map_err(|error| format!("\"{program}\" cannot be started: {error}"))?;
        let hello = Hello { protocol: PROTOCOL, job: files.job.clone(), slot: files.slot.clone() };
        let reply = worker.say(&hello).and_then(|()| worker.listen());
        // both sides have it open; without a name it cannot outlive them
        let _ = fs::remove_file(&files.slot);
        match reply {
            Ok(Reply::Ready { ready }) if ready == n_units => Ok(worker),
            Ok(Reply::Ready { ready }) => {
                Err(format!("\"{program}\" sees {ready} units instead of {n_units}"))
            }
            Ok(Reply::Refused { refused }) => Err(refused),
            Ok(reply) => Err(format!("\"{program}\" greets with {reply:?}")),
            Err(error) => Err(format!("\"{program}\" is no worker: {error}")),
        }
    }

    fn spawn(command: &WorkerCommand, slot: &Path) -> io::Result<Self> {
        let slot = File::options().read(true).write(true).create(true).truncate(true).open(slot)?;
        let mut process = Command::new(&command.program);
        process.args(&command.args).stdin(Stdio::piped()).stdout(Stdio::piped());
        detach_from_terminal(&mut process);
        let mut child = process.spawn()?;
        let missing = || io::Error::other("a pipe to the worker is missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, input: Some(input), output, slot, bytes: Vec::new() })
    }

    /// The encoded result of `unit`.
    pub(super) fn run(&mut self, unit: usize) -> Result<&[u8], Trouble> {
        match self.say(&Task { unit }).and_then(|()| self.listen()) {
            Ok(Reply::Done { unit: done, bytes }) if done == unit => match self.fetch(bytes) {
                Ok(()) => Ok(&self.bytes),
                Err(error) => Err(Trouble::Died(format!("its result is not there: {error}"))),
            },
            Ok(Reply::Panicked { unit: done, panic }) if done == unit => {
                Err(Trouble::Panicked(panic))
            }
            Ok(reply) => Err(Trouble::Died(format!("it said {reply:?}"))),
            Err(error) => Err(Trouble::Died(self.cause_of_death(&error))),
        }
    }

    /// Process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn say(&mut self, message: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(&line)?;
        input.flush()
    }

    fn listen(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        self.output.by_ref().take(MAX_REPLY_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Reads the result from the slot.
    fn fetch(&mut self, n_bytes: u64) -> io::Result<()> {
        // before anything is allocated for it
        if self.slot.metadata()?.len() < n_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.resize(n_bytes as usize, 0);
        self.slot.seek(SeekFrom::Start(0))?;
        self.slot.read_exact(&mut self.bytes)
    }

    /// How it has ended, if it has; else what was wrong with the pipe.
    fn cause_of_death(&mut self, error: &io::Error) -> String {
        match self.wait(PATIENCE) {
            Some(status) => status,
            None => format!("{error}"),
        }
    }

    /// Waits until it has ended, for `patience` at most; gives its exit status in words.
    fn wait(&mut self, patience: Duration) -> Option<String> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status.to_string());
            }
            if started.elapsed() >= patience {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.input = None;
        if self.wait(PATIENCE).is_none() {
            // both fail only if it has ended meanwhile
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process group of its own: Ctrl-C at the terminal reaches the parent alone, which lets the units
/// in work finish.
#[cfg(unix)]
fn detach_from_terminal(process: &mut Command) {
    use std::os::unix::process::CommandExt;
    process.process_group(0);
}

/// The same on Windows.
#[cfg(windows)]
fn detach_from_terminal(process: &mut Command) {
    use std::os::windows::process::CommandExt;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0200;
    process.creation_flags(CREATE_NEW_PROCESS_GROUP);
}

#[cfg(not(any(unix, windows)))]
fn detach_from_terminal(_: &mut Command) {}
