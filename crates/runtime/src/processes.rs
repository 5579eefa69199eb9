//! The executor `processes`: each lane of `map_ordered` drives one worker process.
//!
//! A worker that dies costs one repeated unit: a fresh one takes its place. Dropping idle scratch
//! ends an idle worker and gives its memory back.

mod child;
pub(crate) mod protocol;

use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use self::child::{Trouble, WorkerFiles, WorkerProcess};
use crate::executor::WorkerCommand;
use crate::observe::{Event, Observer};
use crate::ordered::Work;
use crate::phase::{Phase, UnitResult};
use crate::scratch::ScratchFolder;
use crate::usage;

/// Deaths on the same unit after which it is given up.
const MAX_DEATHS: usize = 3;

/// Units of a phase in worker processes.
pub(crate) struct Processes<'a, P> {
    phase: &'a P,
    command: &'a WorkerCommand,
    observer: &'a dyn Observer,
    folder: ScratchFolder,
    /// The worker that has shown that workers can be had; the first lane takes it.
    first: Mutex<Option<WorkerProcess>>,
    next_slot: AtomicUsize,
    /// Held for writing by a unit that has to be alone.
    alone: RwLock<()>,
    repeated_units: AtomicUsize,
    shrinks: AtomicUsize,
    /// Sum over workers that have ended well, in bytes.
    ended_peak_rss: AtomicU64,
}

/// What a lane keeps between units; `None` until it has a worker, and after that has died.
pub(crate) struct Lane<'a> {
    worker: Option<WorkerProcess>,
    ended_peak_rss: &'a AtomicU64,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            let peak = usage::peak_rss_of(worker.id()).unwrap_or(0);
            self.ended_peak_rss.fetch_add(peak, Ordering::Relaxed);
        }
    }
}

impl<'a, P: Phase> Processes<'a, P> {
    /// Writes the job and starts the first worker. Slots go to shared memory if that has room for
    /// `slot_bytes`, else below `scratch`.
    ///
    /// # Errors
    /// Why worker processes cannot be used.
    pub(crate) fn start(
        phase: &'a P,
        command: &'a WorkerCommand,
        observer: &'a dyn Observer,
        scratch: &Path,
        slot_bytes: u64,
    ) -> Result<Self, String> {
        let job = phase.job().ok_or("it has no job to send to another process")?;
        let prepare = || -> io::Result<ScratchFolder> {
            let folder = ScratchFolder::create_in_memory_or(scratch, slot_bytes)?;
            fs::write(folder.path().join("job"), &job)?;
            Ok(folder)
        };
        let folder = prepare().map_err(|error| format!("scratch files: {error}"))?;
        let processes = Self {
            phase,
            command,
            observer,
            folder,
            first: Mutex::new(None),
            next_slot: AtomicUsize::new(0),
            alone: RwLock::new(()),
            repeated_units: AtomicUsize::new(0),
            shrinks: AtomicUsize::new(0),
            ended_peak_rss: AtomicU64::new(0),
        };
        let first = processes.start_worker()?;
        *processes.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(processes)
    }

    /// Units that were run again.
    pub(crate) fn repeated_units(&self) -> usize {
        self.repeated_units.load(Ordering::Relaxed)
    }

    /// How often a unit had to be alone.
    pub(crate) fn shrinks(&self) -> usize {
        self.shrinks.load(Ordering::Relaxed)
    }

    /// Highest resident memory of all workers that have ended well, summed.
    pub(crate) fn ended_peak_rss(&self) -> u64 {
        self.ended_peak_rss.load(Ordering::Relaxed)
    }

    fn start_worker(&self) -> Result<WorkerProcess, String> {
        let number = self.next_slot.fetch_add(1, Ordering::Relaxed);
        let files = WorkerFiles {
            job: self.folder.path().join("job"),
            slot: self.folder.path().join(format!("slot-{number}")),
        };
        WorkerProcess::start(self.command, &files, self.phase.units())
    }

    /// One attempt on the lane's worker, or on a fresh one.
    fn attempt(&self, index: usize, lane: &mut Lane<'_>) -> Result<P::Output, Trouble> {
        let worker = match &mut lane.worker {
            Some(worker) => worker,
            none => none.insert(self.start_worker().map_err(Trouble::Died)?),
        };
        let bytes = worker.run(index)?;
        self.phase
            .decode(bytes)
            .map_err(|error| Trouble::Died(format!("its result cannot be read: {error}")))
    }
}

impl<'a, P: Phase> Work for &'a Processes<'a, P> {
    type Scratch = Lane<'a>;
    type Output = UnitResult<P::Output>;

    fn scratch(&self) -> Lane<'a> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Lane { worker: first, ended_peak_rss: &self.ended_peak_rss }
    }

    /// # Panics
    /// With the message of the worker, if the work has panicked there.
    fn work(&self, index: usize, lane: &mut Lane<'a>) -> UnitResult<P::Output> {
        let mut deaths = 0;
        loop {
            let is_last = deaths + 1 == MAX_DEATHS;
            let result = if is_last {
                // if it was the memory: now it has all of it
                self.shrinks.fetch_add(1, Ordering::Relaxed);
                let _alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
                self.attempt(index, lane)
            } else {
                let _with_others = self.alone.read().unwrap_or_else(PoisonError::into_inner);
                self.attempt(index, lane)
            };
            let cause = match result {
                Ok(output) => return UnitResult::Done(output),
                Err(Trouble::Panicked(message)) => resume_unwind(Box::new(message)),
                Err(Trouble::Died(cause)) => cause,
            };
            lane.worker = None;
            deaths += 1;
            if is_last {
                return UnitResult::Failed(format!(
                    "its worker process died three times, the last time alone: {cause}"
                ));
            }
            self.repeated_units.fetch_add(1, Ordering::Relaxed);
            self.observer.event(&Event::warning(format!(
                "{}: the worker process of unit {index} died ({cause}); the unit is run again",
                self.phase.name()
            )));
        }
    }
}
