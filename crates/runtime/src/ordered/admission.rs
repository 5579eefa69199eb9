//! Who may start, and what is held: the bookkeeping of `map_ordered`, without threads.

use std::time::{Duration, Instant};

use super::{Need, Stats};
use crate::capabilities::available_memory_bytes;

/// How often the memory of the machine is asked for at most.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Guards against a machine that has become short of memory since the budget was made.
///
/// While units are in work and less than the next one's bytes plus `reserve_bytes` are available,
/// that one waits. The only unit in work is never held back, so that there is always progress.
pub struct Pressure<'a> {
    /// Bytes that are left to others.
    pub reserve_bytes: u64,
    /// Bytes that are available now; asked at most every 100 ms.
    pub available_bytes: &'a (dyn Fn() -> u64 + Sync),
}

/// Bytes that are left to others by default: enough for the system to stay responsive.
const RESERVE_BYTES: u64 = 128 << 20;

impl Pressure<'static> {
    /// Watches the memory of this machine and of the cgroups around this process.
    pub fn of_this_machine() -> Self {
        Self {
            reserve_bytes: RESERVE_BYTES,
            available_bytes: &|| available_memory_bytes().unwrap_or(u64::MAX),
        }
    }
}

/// What a worker gets with a unit.
pub(super) struct Admitted<S> {
    pub(super) index: usize,
    /// Scratch to reuse; `None` asks for new one.
    pub(super) scratch: Option<S>,
    /// What counts as held by work and scratch until [`Admission::finish`].
    pub(super) held: u64,
}

/// The answer to a worker that asks for a unit.
pub(super) enum Answer<S> {
    Go(Admitted<S>),
    /// This scratch, which counts for so many bytes, is in the way: drop it, report that to
    /// [`Admission::dropped`], and ask again.
    Drop(S, u64),
    /// Until something is finished or committed.
    Wait,
    /// The machine is short of memory: ask again after this time, or when something is finished.
    WaitFor(Duration),
    /// Every unit was admitted.
    NoneLeft,
}

/// State of the admission; all bytes are sums over units that were admitted and not committed.
pub(super) struct Admission<'a, S> {
    needs: &'a [Need],
    limit_bytes: u64,
    pressure: Option<&'a Pressure<'a>>,
    next: usize,
    in_work: usize,
    held_bytes: u64,
    /// Scratch between units, with what it may have grown to; the last one was used last.
    idle: Vec<(S, u64)>,
    last_probe: Option<Probe>,
    is_held_back: bool,
    stats: Stats,
}

/// Memory of the machine when it was last asked for, less what was admitted since.
struct Probe {
    at: Instant,
    available_bytes: u64,
}

impl<'a, S> Admission<'a, S> {
    pub(super) fn new(
        needs: &'a [Need],
        limit_bytes: u64,
        pressure: Option<&'a Pressure<'a>>,
    ) -> Self {
        Self {
            needs,
            limit_bytes,
            pressure,
            next: 0,
            in_work: 0,
            held_bytes: 0,
            idle: Vec::new(),
            last_probe: None,
            is_held_back: false,
            stats: Stats::default(),
        }
    }

    /// Admits the next unit if everything that it asks for fits.
    pub(super) fn ask(&mut self) -> Answer<S> {
        let Some(&need) = self.needs.get(self.next) else { return Answer::NoneLeft };
        let reusable = self.idle.last().map_or(0, |(_, bytes)| *bytes);
        let growth = need.work.saturating_sub(reusable).saturating_add(need.result);
        if self.held_bytes.saturating_add(growth) > self.limit_bytes {
            let idle_bytes: u64 = self.idle.iter().map(|(_, bytes)| bytes).sum();
            // scratch is dear to make again: what is in work or waits for its commit goes first
            if self.idle.is_empty() || self.held_bytes > idle_bytes {
                return Answer::Wait;
            }
            // the one that was used longest ago
            let (scratch, bytes) = self.idle.remove(0);
            return Answer::Drop(scratch, bytes);
        }
        if self.is_short_of(growth) {
            return Answer::WaitFor(PROBE_INTERVAL);
        }
        let (scratch, held) = match self.idle.pop() {
            Some((scratch, bytes)) => {
                self.held_bytes -= bytes;
                (Some(scratch), need.work.max(bytes))
            }
            None => (None, need.work),
        };
        self.held_bytes += held + need.result;
        if let Some(probe) = &mut self.last_probe {
            probe.available_bytes = probe.available_bytes.saturating_sub(growth);
        }
        let index = self.next;
        self.next += 1;
        self.in_work += 1;
        self.is_held_back = false;
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.held_bytes);
        self.stats.peak_workers = self.stats.peak_workers.max(self.in_work);
        Answer::Go(Admitted { index, scratch, held })
    }

    /// A unit is worked on no more; its scratch is kept, its result waits for the commit.
    pub(super) fn finish(&mut self, scratch: S, held: u64) {
        self.in_work -= 1;
        self.idle.push((scratch, held));
    }

    /// Scratch is gone; only now may its bytes be given to another.
    pub(super) fn dropped(&mut self, bytes: u64) {
        self.held_bytes -= bytes;
    }

    /// A unit was committed: its result is gone.
    pub(super) fn commit(&mut self, index: usize) {
        self.held_bytes -= self.needs[index].result;
        self.stats.committed = index + 1;
    }

    /// Units that were admitted.
    pub(super) fn admitted(&self) -> usize {
        self.next
    }

    /// What was measured up to now.
    pub(super) fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether the machine lacks the memory for `bytes` more, and others are in work.
    fn is_short_of(&mut self, bytes: u64) -> bool {
        let Some(pressure) = self.pressure.filter(|_| self.in_work > 0) else { return false };
        let is_old = |probe: &Probe| probe.at.elapsed() >= PROBE_INTERVAL;
        if self.last_probe.as_ref().is_none_or(is_old) {
            let available_bytes = (pressure.available_bytes)();
            self.last_probe = Some(Probe { at: Instant::now(), available_bytes });
        }
        let needed = bytes.saturating_add(pressure.reserve_bytes);
        let is_short = self.last_probe.as_ref().is_some_and(|probe| probe.available_bytes < needed);
        if is_short && !self.is_held_back {
            self.is_held_back = true;
            self.stats.shrinks += 1;
        }
        is_short
    }
}
