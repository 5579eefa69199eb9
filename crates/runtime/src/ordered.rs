//! The only parallel primitive: admit in order, work in parallel, commit in order.
//!
//! ```text
//! units (index order) ─► admit: serial, in order, ─► work: parallel, ─► commit: in index order,
//!                        all bytes at once           pure               on the calling thread
//!                               ▲                                             │
//!                               └────────────── bytes given back ◄────────────┘
//! ```
//!
//! A unit is admitted only when everything that it will ever hold fits, and never before an older
//! one. So the oldest uncommitted unit can always finish: there is no deadlock, no window to tune,
//! and the budget itself is the back-pressure.

mod admission;
mod pool;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::budget::format_bytes;
use crate::cancel::Cancel;

pub use admission::Pressure;

/// Everything that a unit will ever hold, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Held while it is worked on, the scratch included.
    pub work: u64,
    /// Held by its result until that is committed.
    pub result: u64,
}

impl Need {
    /// Both together, saturating.
    pub const fn total(self) -> u64 {
        self.work.saturating_add(self.result)
    }
}

/// Where units run, as [`map_ordered`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// The calling thread does everything.
    Calling,
    /// So many threads work, and the calling thread commits.
    Threads(NonZeroUsize),
}

/// What may be used by [`map_ordered`].
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Where the units run.
    pub lanes: Lanes,
    /// What all admitted units, idle scratch and waiting results may hold together, in bytes.
    pub bytes: u64,
    /// Checked whenever a unit is admitted.
    pub cancel: &'a Cancel,
    /// Looks at the memory of the machine whenever a unit is admitted; `None` trusts the budget.
    pub pressure: Option<&'a Pressure<'a>>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Most bytes that were admitted at once; never more than the limit.
    pub peak_bytes: u64,
    /// Most units that were in work at once.
    pub peak_workers: usize,
    /// How often a unit had to wait because the machine was short of memory, whatever the budget.
    pub shrinks: usize,
    /// Units that were committed.
    pub committed: usize,
}

/// Why not every unit was committed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderedError<E> {
    /// A unit is larger than the limit; nothing was worked on.
    #[error(
        "unit {index} needs {} but only {} may be used; give more memory (--memory) or make the \
         units smaller",
        format_bytes(need.total()),
        format_bytes(*.limit_bytes)
    )]
    UnitTooLarge {
        /// The first such unit.
        index: usize,
        /// What it asks for.
        need: Need,
        /// What may be used, in bytes.
        limit_bytes: u64,
    },
    /// The work on a unit panicked. Every unit before it was committed.
    #[error("the work on unit {index} panicked: {message}; this is a bug, please report it")]
    WorkPanicked {
        /// The first such unit.
        index: usize,
        /// What the panic said.
        message: String,
    },
    /// The commit of a unit panicked.
    #[error("the commit of unit {index} panicked: {message}; this is a bug, please report it")]
    CommitPanicked {
        /// The unit.
        index: usize,
        /// What the panic said.
        message: String,
    },
    /// The commit of a unit failed.
    #[error("unit {index} could not be committed")]
    Commit {
        /// The unit.
        index: usize,
        /// What commit returned.
        source: E,
    },
    /// It was cancelled; everything that had been admitted was committed.
    #[error("interrupted after {committed} of {total} units")]
    Interrupted {
        /// Units that were committed.
        committed: usize,
        /// Number of units.
        total: usize,
    },
}

/// What is done with units. `work` and `scratch` run on any thread.
pub trait Work: Sync {
    /// Buffers that a worker reuses from unit to unit.
    type Scratch: Send;
    /// Result of a unit.
    type Output: Send;

    /// New, empty buffers; called when there are none to reuse.
    fn scratch(&self) -> Self::Scratch;

    /// The result of unit `index`: a pure function of `index`, whatever `scratch` was used for.
    fn work(&self, index: usize, scratch: &mut Self::Scratch) -> Self::Output;
}

/// A [`Work`] made of two closures.
pub struct WorkFn<S, W> {
    /// Makes buffers.
    pub scratch: S,
    /// Works on a unit.
    pub work: W,
}

impl<S, W, B, R> Work for WorkFn<S, W>
where
    S: Fn() -> B + Sync,
    W: Fn(usize, &mut B) -> R + Sync,
    B: Send,
    R: Send,
{
    type Scratch = B;
    type Output = R;

    fn scratch(&self) -> B {
        (self.scratch)()
    }

    fn work(&self, index: usize, scratch: &mut B) -> R {
        (self.work)(index, scratch)
    }
}

/// Works on the units `0..needs.len()` and commits their results in index order on the calling
/// thread, whatever the lanes and the limit.
///
/// Units are admitted in index order, each when `needs[index]` fits beside what is held. Scratch
/// that a worker has finished with is kept for the next unit and counts as held, with the largest
/// `work` that it was used for; it is dropped only if nothing else can give way. So needs should be
/// of one size, give or take. Costs 1-5 µs a unit.
///
/// # Errors
/// [`OrderedError`]. On a panic or a failed commit no further unit is admitted, those in work are
/// awaited, and nothing hangs; units before the failing one have been committed, none after it.
pub fn map_ordered<W: Work, E>(
    work: &W,
    needs: &[Need],
    limits: Limits<'_>,
    mut commit: impl FnMut(usize, W::Output) -> Result<(), E>,
) -> (Stats, Result<(), OrderedError<E>>) {
    let too_large = needs.iter().position(|need| need.total() > limits.bytes);
    if let Some(index) = too_large {
        let error =
            OrderedError::UnitTooLarge { index, need: needs[index], limit_bytes: limits.bytes };
        return (Stats::default(), Err(error));
    }
    match limits.lanes {
        Lanes::Calling => run_serially(work, needs, limits, &mut commit),
        Lanes::Threads(workers) => {
            pool::run(work, needs, limits, workers, &mut commit).unwrap_or_else(|_no_thread| {
                // the system gives no thread: the work is done all the same
                run_serially(work, needs, limits, &mut commit)
            })
        }
    }
}

/// Everything on the calling thread.
fn run_serially<W: Work, E>(
    work: &W,
    needs: &[Need],
    limits: Limits<'_>,
    commit: &mut impl FnMut(usize, W::Output) -> Result<(), E>,
) -> (Stats, Result<(), OrderedError<E>>) {
    let mut stats = Stats { peak_workers: usize::from(!needs.is_empty()), ..Stats::default() };
    // what the scratch may have grown to
    let mut kept: Option<(W::Scratch, u64)> = None;
    for (index, need) in needs.iter().enumerate() {
        if limits.cancel.is_cancelled() {
            return (stats, Err(interrupted(index, needs.len())));
        }
        let kept_fits = |(_, bytes): &(_, u64)| {
            (*bytes).max(need.work).saturating_add(need.result) <= limits.bytes
        };
        let reused = kept.take().filter(kept_fits);
        let held = reused.as_ref().map_or(need.work, |(_, bytes)| need.work.max(*bytes));
        stats.peak_bytes = stats.peak_bytes.max(held + need.result);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut scratch = reused.map_or_else(|| work.scratch(), |(scratch, _)| scratch);
            let output = work.work(index, &mut scratch);
            (output, scratch)
        }));
        let output = match result {
            Ok((output, scratch)) => {
                kept = Some((scratch, held));
                output
            }
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                return (stats, Err(OrderedError::WorkPanicked { index, message }));
            }
        };
        if let Err(error) = commit_one(index, output, commit) {
            return (stats, Err(error));
        }
        stats.committed = index + 1;
    }
    (stats, Ok(()))
}

/// Commits one result; a panic becomes an error.
fn commit_one<R, E>(
    index: usize,
    output: R,
    commit: &mut impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), OrderedError<E>> {
    match catch_unwind(AssertUnwindSafe(|| commit(index, output))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(OrderedError::Commit { index, source }),
        Err(panic) => {
            let message = panic_message(panic.as_ref());
            Err(OrderedError::CommitPanicked { index, message })
        }
    }
}

fn interrupted<E>(committed: usize, total: usize) -> OrderedError<E> {
    OrderedError::Interrupted { committed, total }
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    words
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
