//! The other side of the `processes` executor: what a worker process does.
//!
//! A program that shall work in processes opens a [`Session`] in its hidden worker command, builds
//! the phase from [`Session::job`] and calls [`Session::serve`]:
//!
//! ```no_run
//! # use stillframe_runtime::{Need, Phase, phase::DecodeError, worker::{Session, WorkerError}};
//! # struct Squares;
//! # impl Squares { fn from_job(_: &[u8]) -> Result<Self, String> { Ok(Self) } }
//! # impl Phase for Squares {
//! #     type Output = u64; type Scratch = ();
//! #     fn name(&self) -> &str { "squares" }
//! #     fn units(&self) -> usize { 9 }
//! #     fn need(&self, _: usize) -> Need { Need::default() }
//! #     fn scratch(&self) {}
//! #     fn work(&self, index: usize, (): &mut ()) -> u64 { (index * index) as u64 }
//! #     fn encode(&self, output: &u64, bytes: &mut Vec<u8>) { bytes.extend(output.to_le_bytes()) }
//! #     fn decode(&self, bytes: &[u8]) -> Result<u64, DecodeError> {
//! #         Ok(u64::from_le_bytes(bytes.try_into()?))
//! #     }
//! # }
//! fn worker_command() -> Result<(), WorkerError> {
//!     let session = Session::open()?;
//!     match Squares::from_job(session.job()) {
//!         Ok(phase) => session.serve(&phase),
//!         Err(reason) => session.refuse(&reason),
//!     }
//! }
//! ```

use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::{fs, process, thread};

use crate::ordered::panic_message;
use crate::phase::Phase;
use crate::processes::protocol::{Hello, PROTOCOL, Reply, Task};

/// Exit code of a worker whose parent went away while it was at work.
const ABANDONED: i32 = 3;

/// Why a worker has to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// This program was started by hand, or by another version of itself.
    #[error("this command is started by stillframe itself, with protocol {PROTOCOL}: {found:?}")]
    NotFromParent {
        /// The first line that was read.
        found: String,
    },
    /// A pipe or a scratch file failed; most likely the parent has gone.
    #[error("the parent process cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The parent sent what no parent sends.
    #[error("a message of the parent is none: {0}")]
    Message(#[from] serde_json::Error),
}

/// A worker's connection to its parent.
pub struct Session {
    lines: Receiver<io::Result<String>>,
    /// Whether the parent waits for an answer.
    is_busy: Arc<AtomicBool>,
    job: Vec<u8>,
    slot: File,
}

impl Session {
    /// Greets the parent over standard input and output, which belong to the session from now on.
    ///
    /// Starts a thread that reads the input, and that ends the *process* if the input closes before
    /// a message was answered: nobody waits for the answer any more.
    ///
    /// # Errors
    /// [`WorkerError`] if there is no parent, or its files cannot be opened.
    pub fn open() -> Result<Self, WorkerError> {
        let (sender, lines) = sync_channel(1);
        let is_busy = Arc::new(AtomicBool::new(false));
        let is_busy_there = Arc::clone(&is_busy);
        thread::Builder::new().name("parent".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines() {
                is_busy_there.store(true, Ordering::Release);
                if sender.send(line).is_err() {
                    return;
                }
            }
            if is_busy_there.load(Ordering::Acquire) {
                process::exit(ABANDONED);
            }
        })?;
        let line =
            lines.recv().map_err(|_| WorkerError::NotFromParent { found: String::new() })??;
        let hello: Hello = serde_json::from_str(&line)
            .ok()
            .filter(|hello: &Hello| hello.protocol == PROTOCOL)
            .ok_or(WorkerError::NotFromParent { found: line })?;
        let job = fs::read(&hello.job)?;
        let slot = File::options().write(true).open(&hello.slot)?;
        Ok(Self { lines, is_busy, job, slot })
    }

    /// What [`Phase::job`] has given in the parent.
    pub fn job(&self) -> &[u8] {
        &self.job
    }

    /// Tells the parent that no phase can be built from the job.
    ///
    /// # Errors
    /// [`WorkerError::Io`] if the parent has gone.
    pub fn refuse(self, reason: &str) -> Result<(), WorkerError> {
        self.answer(&Reply::Refused { refused: reason.to_owned() })
    }

    /// Works on the units that the parent asks for, until it closes the input.
    ///
    /// # Errors
    /// [`WorkerError`] if the parent goes away in any other manner, or there is no room for a result.
    pub fn serve<P: Phase>(mut self, phase: &P) -> Result<(), WorkerError> {
        let mut scratch = None;
        let mut bytes = Vec::new();
        self.answer(&Reply::Ready { ready: phase.units() })?;
        while let Ok(line) = self.lines.recv() {
            let Task { unit } = serde_json::from_str(&line?)?;
            let result = catch_unwind(AssertUnwindSafe(|| {
                let mut scratch = scratch.take().unwrap_or_else(|| phase.scratch());
                let output = phase.work(unit, &mut scratch);
                bytes.clear();
                phase.encode(&output, &mut bytes);
                scratch
            }));
            let reply = match result {
                Ok(used) => {
                    scratch = Some(used);
                    self.slot.seek(SeekFrom::Start(0))?;
                    self.slot.write_all(&bytes)?;
                    Reply::Done { unit, bytes: bytes.len() as u64 }
                }
                Err(panic) => Reply::Panicked { unit, panic: panic_message(panic.as_ref()) },
            };
            self.answer(&reply)?;
        }
        Ok(())
    }

    /// One line of JSON on standard output.
    fn answer(&self, reply: &Reply) -> Result<(), WorkerError> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        // before the parent can know, and close the input
        self.is_busy.store(false, Ordering::Release);
        let mut output = io::stdout().lock();
        output.write_all(&line)?;
        output.flush()?;
        Ok(())
    }
}
