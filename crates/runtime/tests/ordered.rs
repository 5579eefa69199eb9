//! Laws of `map_ordered`: one order, a bounded peak, no hang.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use stillframe_runtime::ordered::{Lanes, Limits, OrderedError, Pressure, Stats, WorkFn};
use stillframe_runtime::{Cancel, Need, map_ordered};

fn lanes(workers: usize) -> Lanes {
    NonZeroUsize::new(workers).map_or(Lanes::Calling, Lanes::Threads)
}

fn limits(workers: usize, bytes: u64, cancel: &Cancel) -> Limits<'_> {
    Limits { lanes: lanes(workers), bytes, cancel, pressure: None }
}

fn uniform(n: usize, work: u64, result: u64) -> Vec<Need> {
    vec![Need { work, result }; n]
}

/// A number that looks random and depends on `index` and `salt` only.
fn hash(index: usize, salt: u64) -> u64 {
    let mut x = (index as u64 ^ salt.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 29)
}

/// Counts the bytes that are really held, without trusting the loop's own bookkeeping.
#[derive(Default)]
struct Held {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Held {
    fn take(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, SeqCst) + bytes;
        self.peak.fetch_max(now, SeqCst);
    }

    fn give(&self, bytes: u64) {
        self.now.fetch_sub(bytes, SeqCst);
    }
}

/// Scratch that grows to what a unit needs, is held between units, and is given back when dropped.
struct Scratch<'a> {
    bytes: u64,
    held: &'a Held,
}

impl Scratch<'_> {
    fn grow(&mut self, bytes: u64) {
        self.held.take(bytes.saturating_sub(self.bytes));
        self.bytes = self.bytes.max(bytes);
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.held.give(self.bytes);
    }
}

/// Runs units that really take and give back `needs`, with delays that depend on the index; gives
/// the values in commit order, the true peak and the stats.
fn run(needs: &[Need], workers: usize, bytes: u64, salt: u64) -> (Vec<u64>, u64, Stats) {
    let (held, cancel) = (Held::default(), Cancel::new());
    let work = WorkFn {
        scratch: || Scratch { bytes: 0, held: &held },
        work: |index: usize, scratch: &mut Scratch<'_>| {
            scratch.grow(needs[index].work);
            held.take(needs[index].result);
            thread::sleep(Duration::from_micros(hash(index, salt) % 300));
            hash(index, 0)
        },
    };
    let mut values = Vec::new();
    let (stats, result) =
        map_ordered(&work, needs, limits(workers, bytes, &cancel), |index, value| {
            assert_eq!(index, values.len());
            thread::sleep(Duration::from_micros(hash(index, !salt) % 100));
            values.push(value);
            held.give(needs[index].result);
            Ok::<(), ()>(())
        });
    assert_eq!(result, Ok(()));
    assert_eq!(held.now.load(SeqCst), 0, "scratch or results were leaked");
    (values, held.peak.load(SeqCst), stats)
}

#[test]
fn same_commits_for_any_workers_and_budget() {
    let n = 120;
    let needs: Vec<Need> = (0..n)
        .map(|i| Need { work: 50 + hash(i, 1) % 200, result: 10 + hash(i, 2) % 90 })
        .collect();
    let largest = needs.iter().map(|need| need.total()).max().unwrap();
    let want: Vec<u64> = (0..n).map(|index| hash(index, 0)).collect();
    for workers in [0, 1, 2, 3, 8] {
        for bytes in [largest, largest + 100, 3 * largest, 100 * largest] {
            for salt in [3, 4] {
                let (values, peak, stats) = run(&needs, workers, bytes, salt);
                let case = format!("{workers} workers, {bytes} bytes: peak {peak}, {stats:?}");
                assert_eq!(values, want, "{case}");
                assert!(peak <= stats.peak_bytes && stats.peak_bytes <= bytes, "{case}");
                assert!(stats.peak_workers <= workers.max(1), "{case}");
                assert_eq!(stats.committed, n, "{case}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn never_over_any_limit_with_any_needs(
        needs in prop::collection::vec((0_u64..1000, 0_u64..1000), 0..40),
        workers in 0_usize..6,
        slack in 0_u64..3000,
        salt: u64,
    ) {
        let needs: Vec<Need> =
            needs.into_iter().map(|(work, result)| Need { work, result }).collect();
        let bytes = needs.iter().map(|need| need.total()).max().unwrap_or(0) + slack;
        let (values, peak, stats) = run(&needs, workers, bytes, salt);
        prop_assert_eq!(values.len(), needs.len());
        prop_assert!(peak <= bytes && stats.peak_bytes <= bytes);
    }
}

#[test]
fn workers_really_work_at_once_when_the_budget_lets_them() {
    let (cancel, barrier) = (Cancel::new(), std::sync::Barrier::new(4));
    let work = WorkFn {
        scratch: || (),
        // returns only when four units are in work together
        work: |index: usize, (): &mut ()| {
            if index < 4 {
                barrier.wait();
            }
        },
    };
    let needs = uniform(20, 10, 1);
    let (stats, result) =
        map_ordered(&work, &needs, limits(4, 1000, &cancel), |_, ()| Ok::<(), ()>(()));
    result.unwrap();
    assert_eq!(stats.peak_workers, 4);
}

#[test]
fn a_small_budget_means_fewer_at_once() {
    let (_, _, stats) = run(&uniform(40, 100, 10), 8, 250, 7);
    assert_eq!(stats.peak_workers, 2);
}

#[test]
fn results_wait_for_a_slow_unit_only_as_long_as_the_budget_lets_them() {
    let (cancel, started) = (Cancel::new(), AtomicUsize::new(0));
    let most_started = AtomicUsize::new(0);
    let work = WorkFn {
        scratch: || (),
        work: |index: usize, (): &mut ()| {
            started.fetch_add(1, SeqCst);
            if index == 0 {
                let began = Instant::now();
                while started.load(SeqCst) < 5 && began.elapsed() < Duration::from_secs(5) {
                    thread::sleep(Duration::from_millis(1));
                }
                // time for more, if they were let
                thread::sleep(Duration::from_millis(20));
                most_started.store(started.load(SeqCst), SeqCst);
            }
        },
    };
    // unit 0 holds 10 + 100; each other one 10 and then 100 more until it is committed
    let (stats, result) = map_ordered(
        &work,
        &uniform(50, 10, 100),
        limits(2, 530, &cancel),
        |_, ()| Ok::<(), ()>(()),
    );
    result.unwrap();
    assert_eq!(most_started.load(SeqCst), 5);
    assert!(stats.peak_bytes <= 530);
}

#[test]
fn a_unit_over_the_budget_is_an_error_before_any_work() {
    let worked = AtomicBool::new(false);
    let work = WorkFn { scratch: || (), work: |_: usize, (): &mut ()| worked.store(true, SeqCst) };
    let mut needs = uniform(10, 10, 10);
    needs[7] = Need { work: 90, result: 11 };
    for workers in [0, 3] {
        let (_, result) =
            map_ordered(&work, &needs, limits(workers, 100, &Cancel::new()), |_, ()| {
                Ok::<(), ()>(())
            });
        let want = OrderedError::UnitTooLarge { index: 7, need: needs[7], limit_bytes: 100 };
        assert_eq!(result, Err(want));
        assert!(!worked.load(SeqCst));
    }
}

/// Runs `work` on 30 units; gives what was committed, the result and the wall time.
fn run_until_it_ends<W: Fn(usize) + Sync>(
    workers: usize,
    cancel: &Cancel,
    work: W,
    mut commit: impl FnMut(usize) -> Result<(), String>,
) -> (Vec<usize>, Result<(), OrderedError<String>>) {
    let started = Instant::now();
    let mut committed = Vec::new();
    let work = WorkFn { scratch: || (), work: |index: usize, (): &mut ()| work(index) };
    let (stats, result) =
        map_ordered(&work, &uniform(30, 1, 1), limits(workers, 12, cancel), |index, ()| {
            commit(index)?;
            committed.push(index);
            Ok(())
        });
    assert_eq!(stats.committed, committed.len());
    assert!(started.elapsed() < Duration::from_secs(5));
    (committed, result)
}

#[test]
fn a_panic_in_work_ends_the_run_after_the_units_before_it() {
    for workers in [0, 1, 4] {
        let (committed, result) = run_until_it_ends(
            workers,
            &Cancel::new(),
            |index| {
                thread::sleep(Duration::from_micros(hash(index, 5) % 500));
                assert!(index != 11 && index != 12, "no unit like {index}");
            },
            |_| Ok(()),
        );
        assert_eq!(committed, (0..11).collect::<Vec<_>>());
        let want = OrderedError::WorkPanicked { index: 11, message: "no unit like 11".into() };
        assert_eq!(result, Err(want));
    }
}

#[test]
fn a_panic_in_commit_ends_the_run() {
    for workers in [0, 1, 4] {
        let (committed, result) = run_until_it_ends(
            workers,
            &Cancel::new(),
            |_| (),
            |index| {
                assert!(index != 3, "no commit like {index}");
                Ok(())
            },
        );
        assert_eq!(committed, [0, 1, 2]);
        let want = OrderedError::CommitPanicked { index: 3, message: "no commit like 3".into() };
        assert_eq!(result, Err(want));
    }
}

#[test]
fn a_failed_commit_ends_the_run() {
    for workers in [0, 1, 4] {
        let (committed, result) = run_until_it_ends(
            workers,
            &Cancel::new(),
            |_| (),
            |index| {
                if index == 3 { Err("disk full".to_owned()) } else { Ok(()) }
            },
        );
        assert_eq!(committed, [0, 1, 2]);
        assert_eq!(result, Err(OrderedError::Commit { index: 3, source: "disk full".into() }));
    }
}

#[test]
fn a_panic_while_scratch_is_made_ends_the_run() {
    for workers in [0, 2] {
        let work = WorkFn {
            scratch: || -> Vec<u8> { panic!("no scratch") },
            work: |_: usize, _: &mut Vec<u8>| (),
        };
        let (_, result) =
            map_ordered(&work, &uniform(5, 1, 1), limits(workers, 10, &Cancel::new()), |_, ()| {
                Ok::<(), ()>(())
            });
        let want = OrderedError::WorkPanicked { index: 0, message: "no scratch".into() };
        assert_eq!(result, Err(want));
    }
}

#[test]
fn what_was_admitted_before_a_cancel_is_committed_and_nothing_after() {
    for workers in [0, 1, 4] {
        let (cancel, worked) = (Cancel::new(), AtomicUsize::new(0));
        let (committed, result) = run_until_it_ends(
            workers,
            &cancel,
            |_| {
                worked.fetch_add(1, SeqCst);
            },
            |index| {
                if index == 4 {
                    cancel.cancel();
                }
                Ok(())
            },
        );
        assert_eq!(committed, (0..worked.load(SeqCst)).collect::<Vec<_>>());
        assert!((5..30).contains(&committed.len()));
        let want = OrderedError::Interrupted { committed: committed.len(), total: 30 };
        assert_eq!(result, Err(want));
    }
}

#[test]
fn cancelled_before_the_first_unit_nothing_is_done() {
    let cancel = Cancel::new();
    cancel.cancel();
    for workers in [0, 2] {
        let (committed, result) =
            run_until_it_ends(workers, &cancel, |_| panic!("worked"), |_| Ok(()));
        assert!(committed.is_empty());
        assert_eq!(result, Err(OrderedError::Interrupted { committed: 0, total: 30 }));
    }
}

#[test]
fn no_units_are_done_at_once() {
    for workers in [0, 4] {
        assert_eq!(run(&[], workers, 0, 0).0, [] as [u64; 0]);
    }
}

#[test]
fn scratch_is_made_once_a_worker_also_while_results_wait() {
    for (workers, bytes) in [(0, 11), (1, 12), (3, 33), (3, 36), (3, 1000)] {
        let (cancel, made) = (Cancel::new(), AtomicUsize::new(0));
        let work = WorkFn {
            scratch: || made.fetch_add(1, SeqCst),
            work: |index: usize, _: &mut usize| {
                thread::sleep(Duration::from_micros(hash(index, 6) % 300));
            },
        };
        let needs = uniform(100, 10, 1);
        map_ordered(&work, &needs, limits(workers, bytes, &cancel), |_, ()| Ok::<(), ()>(()))
            .1
            .unwrap();
        assert!((1..=workers.max(1)).contains(&made.load(SeqCst)));
    }
}

#[test]
fn scratch_that_is_in_the_way_is_dropped() {
    // four small units at once, then one that needs nearly everything
    let mut needs = uniform(9, 25, 0);
    needs[4] = Need { work: 90, result: 10 };
    for workers in [1, 4] {
        let (values, peak, stats) = run(&needs, workers, 100, 9);
        assert_eq!(values.len(), 9);
        assert!(peak <= 100 && stats.peak_bytes == 100);
    }
}

#[test]
fn commits_are_on_the_calling_thread() {
    let caller = thread::current().id();
    let work = WorkFn { scratch: || (), work: |_: usize, (): &mut ()| thread::current().id() };
    for workers in [0, 2] {
        let cancel = Cancel::new();
        let needs = uniform(10, 1, 1);
        map_ordered(&work, &needs, limits(workers, 10, &cancel), |_, worker| {
            assert_eq!(thread::current().id(), caller);
            assert_eq!(worker == caller, workers == 0);
            Ok::<(), ()>(())
        })
        .1
        .unwrap();
    }
}

#[test]
fn a_machine_short_of_memory_slows_down_recovers_and_loses_nothing() {
    let (cancel, asked) = (Cancel::new(), AtomicUsize::new(0));
    let (in_work, most_when_short) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_short = AtomicBool::new(true);
    // short for the first two looks, then there is plenty
    let available_bytes = || {
        is_short.store(asked.fetch_add(1, SeqCst) < 2, SeqCst);
        if is_short.load(SeqCst) { 50 } else { 1 << 40 }
    };
    let pressure = Pressure { reserve_bytes: 100, available_bytes: &available_bytes };
    let work = WorkFn {
        scratch: || (),
        work: |_: usize, (): &mut ()| {
            let now = in_work.fetch_add(1, SeqCst) + 1;
            if is_short.load(SeqCst) {
                most_when_short.fetch_max(now, SeqCst);
            }
            thread::sleep(Duration::from_millis(15));
            in_work.fetch_sub(1, SeqCst);
        },
    };
    let limits = Limits { pressure: Some(&pressure), ..limits(4, 1000, &cancel) };
    let committed = Mutex::new(Vec::new());
    let (stats, result) = map_ordered(&work, &uniform(60, 10, 1), limits, |index, ()| {
        committed.lock().unwrap().push(index);
        Ok::<(), ()>(())
    });
    result.unwrap();
    assert_eq!(*committed.lock().unwrap(), (0..60).collect::<Vec<_>>());
    assert!(stats.shrinks > 0, "{stats:?}");
    assert_eq!(most_when_short.load(SeqCst), 1);
    assert_eq!(stats.peak_workers, 4, "{stats:?}");
}
