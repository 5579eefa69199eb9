//! The same bits whatever runs the units, how many at a time, in how much memory, in what blocks.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod night;

use night::{Night, digests, resources, small, stack_all};
use stillframe_engine::image::CfaPattern;
use stillframe_engine::runtime::ExecutorKind;
use stillframe_engine::simulate::BurstOptions;

const MIB: u64 = 1 << 20;

/// Calibration frames of each kind.
fn with_calibration(options: BurstOptions) -> BurstOptions {
    BurstOptions { bias_frames: 4, dark_frames: 4, flat_frames: 4, ..options }
}

/// Executors × workers × budgets × block sides; the odd side cuts through the cells of a mosaic.
fn matrix() -> Vec<(ExecutorKind, usize, u64, usize)> {
    let mut runs = Vec::new();
    for side in [37, 160] {
        for budget in [24 * MIB, 512 * MIB] {
            runs.push((ExecutorKind::Sequential, 1, budget, side));
            for workers in [1, 2, 3, 8] {
                runs.push((ExecutorKind::Threads, workers, budget, side));
            }
        }
    }
    runs
}

/// The first run sets the digests, all others must have the same.
fn assert_same_bits(night: &Night) {
    let mut job = night.job("whole");
    job.resources = resources(ExecutorKind::Threads, 2, None);
    stack_all(&job);
    let want = digests(&job.output);
    for run in matrix() {
        let (executor, workers, budget, side) = run;
        job.output = night.path(&format!("{executor}-{workers}-{budget}-{side}"));
        job.resources = resources(executor, workers, Some(budget));
        job.block_side = Some(side);
        let outcome = stack_all(&job);
        assert_eq!(digests(&job.output), want, "{run:?}");
        for phase in &outcome.phases {
            assert_eq!(phase.plan.executor, executor, "{run:?}: {}", phase.phase);
            let peak = phase.achieved.peak_bytes;
            assert!(peak <= budget, "{run:?}: {} held {peak} bytes", phase.phase);
        }
    }
}

#[test]
fn same_bits_for_any_executor_workers_budget_and_blocks() {
    assert_same_bits(&Night::new(with_calibration(small(12))));
}

#[test]
fn same_bits_for_a_colour_mosaic() {
    let bayer = Some(CfaPattern::Grbg);
    assert_same_bits(&Night::new(with_calibration(BurstOptions { bayer, ..small(12) })));
}

#[test]
fn the_order_in_which_files_are_named_does_not_matter() {
    let night = Night::new(small(12));
    let folder = night.job("folder");
    stack_all(&folder);
    let mut reversed = night.job("reversed");
    reversed.inputs = night.files.lights.iter().rev().map(|p| night::text(p)).collect();
    stack_all(&reversed);
    assert_eq!(digests(&folder.output), digests(&reversed.output));
}
