//! `map_ordered` on scoped threads.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::admission::{Admission, Admitted, Answer};
use super::{Limits, Need, OrderedError, Stats, Work, commit_one, interrupted, panic_message};

/// What all threads share.
struct Shared<'a, W: Work> {
    work: &'a W,
    limits: Limits<'a>,
    state: Mutex<State<'a, W>>,
    /// A worker may ask again: something was finished or committed, or it is over.
    ask: Condvar,
    /// The committing thread may look again: a result is there, or it is over.
    look: Condvar,
}

struct State<'a, W: Work> {
    admission: Admission<'a, W::Scratch>,
    /// Results, or what a panic said, of units that are not committed.
    done: BTreeMap<usize, Result<W::Output, String>>,
    /// No further unit is admitted.
    is_closed: bool,
}

/// Runs all units on up to `workers` threads.
///
/// # Errors
/// If not a single thread can be started; then nothing was worked on.
pub(super) fn run<W: Work, E>(
    work: &W,
    needs: &[Need],
    limits: Limits<'_>,
    workers: NonZeroUsize,
    commit: &mut impl FnMut(usize, W::Output) -> Result<(), E>,
) -> io::Result<(Stats, Result<(), OrderedError<E>>)> {
    let shared = Shared {
        work,
        limits,
        state: Mutex::new(State {
            admission: Admission::new(needs, limits.bytes, limits.pressure),
            done: BTreeMap::new(),
            is_closed: false,
        }),
        ask: Condvar::new(),
        look: Condvar::new(),
    };
    thread::scope(|scope| {
        for lane in 0..workers.get().min(needs.len()) {
            let thread = thread::Builder::new().name(format!("unit-{lane}"));
            match thread.spawn_scoped(scope, || shared.work_loop()) {
                Ok(_) => {}
                Err(error) if lane == 0 => return Err(error),
                // fewer workers do the same work
                Err(_) => break,
            }
        }
        let result = shared.commit_loop(needs.len(), commit);
        let stats = shared.close().admission.stats();
        Ok((stats, result))
    })
}

impl<'a, W: Work> Shared<'a, W> {
    /// Every update of the state is whole before the lock is released, so that a poisoned lock
    /// (which only a bug in this module could leave) may still be read.
    fn lock(&self) -> MutexGuard<'_, State<'a, W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody start, and wakes everybody who waits.
    fn close(&self) -> MutexGuard<'_, State<'a, W>> {
        let mut state = self.lock();
        state.is_closed = true;
        self.ask.notify_all();
        self.look.notify_all();
        state
    }

    /// Works on one unit after the other, until there are none or it is over.
    fn work_loop(&self) {
        while let Some(Admitted { index, scratch, held }) = self.next_unit() {
            let result = catch_unwind(AssertUnwindSafe(|| {
                let mut scratch = scratch.unwrap_or_else(|| self.work.scratch());
                let output = self.work.work(index, &mut scratch);
                (output, scratch)
            }));
            let mut state = self.lock();
            match result {
                Ok((output, scratch)) => {
                    state.admission.finish(scratch, held);
                    state.done.insert(index, Ok(output));
                }
                Err(panic) => {
                    state.done.insert(index, Err(panic_message(panic.as_ref())));
                    state.is_closed = true;
                }
            }
            self.look.notify_one();
            self.ask.notify_all();
        }
    }

    /// The next unit, once it is admitted.
    fn next_unit(&self) -> Option<Admitted<W::Scratch>> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if self.limits.cancel.is_cancelled() {
                state.is_closed = true;
                self.ask.notify_all();
                self.look.notify_one();
                return None;
            }
            state = match state.admission.ask() {
                Answer::Go(admitted) => return Some(admitted),
                Answer::NoneLeft => return None,
                Answer::Drop(scratch, bytes) => {
                    drop(state);
                    // whatever a drop may say, the scratch is gone
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(scratch)));
                    let mut state = self.lock();
                    state.admission.dropped(bytes);
                    self.ask.notify_all();
                    state
                }
                Answer::Wait => self.ask.wait(state).unwrap_or_else(PoisonError::into_inner),
                Answer::WaitFor(time) => {
                    let (state, _) =
                        self.ask.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
                    state
                }
            };
        }
    }

    /// Commits results in index order, on the thread that called.
    fn commit_loop<E>(
        &self,
        total: usize,
        commit: &mut impl FnMut(usize, W::Output) -> Result<(), E>,
    ) -> Result<(), OrderedError<E>> {
        for index in 0..total {
            let Some(result) = self.wait_for(index) else {
                return Err(interrupted(index, total));
            };
            match result {
                Ok(output) => commit_one(index, output, commit)?,
                Err(message) => return Err(OrderedError::WorkPanicked { index, message }),
            }
            self.lock().admission.commit(index);
            self.ask.notify_all();
        }
        Ok(())
    }

    /// The result of `index`; `None` if it was never admitted and will not be.
    fn wait_for(&self, index: usize) -> Option<Result<W::Output, String>> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.done.remove(&index) {
                return Some(result);
            }
            if state.is_closed && index >= state.admission.admitted() {
                return None;
            }
            state = self.look.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
