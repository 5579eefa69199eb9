//! The planner: a table of machines, and laws.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use stillframe_runtime::plan::UNIT_CAP_BYTES;
use stillframe_runtime::{
    Capabilities, ExecutorKind, ParallelPlan, PhaseKind, PhaseRequest, PlanError, PlannedUnit,
    Registry, Resources, Spool, UnitRule, plan,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A machine with that memory, a tenth of it used by others.
fn machine(logical_cores: usize, memory_bytes: u64) -> Capabilities {
    Capabilities {
        logical_cores,
        physical_cores: logical_cores.div_ceil(2),
        total_memory_bytes: memory_bytes,
        available_memory_bytes: memory_bytes / 10 * 9,
        devices: Vec::new(),
    }
}

/// The columns of samples of every pixel of a block: what the combination of a stack holds.
fn combine(n_frames: usize, height: usize, width: usize) -> PhaseRequest {
    let units = UnitRule::Blocks {
        height,
        width,
        halo: 16,
        min_side: 64,
        max_side: 1024,
        multiple: 32,
        overhead_bytes: MIB,
        work_bytes_per_pixel: 4 * n_frames as u64 + 24,
        result_bytes_per_pixel: 16,
    };
    let mut request = PhaseRequest::new(PhaseKind::STACK_COMBINE, units);
    request.n_frames = n_frames;
    request.shared_bytes = 16 * (height * width) as u64;
    request
}

/// One frame: raw, calibrated, background, mask.
fn measure(n_frames: usize, height: usize, width: usize) -> PhaseRequest {
    let pixels = (height * width) as u64;
    let units = UnitRule::Frames { count: n_frames, work_bytes: 14 * pixels, result_bytes: 4096 };
    let mut request = PhaseRequest::new(PhaseKind::STACK_MEASURE, units);
    request.n_frames = n_frames;
    request.shared_bytes = 9 * pixels;
    request
}

/// A band of the output of a mosaic, with what overlaps it; accumulators can go to scratch.
fn mosaic(n_tiles: usize, height: usize, width: usize) -> PhaseRequest {
    let units = UnitRule::Rows {
        height,
        halo: 4,
        min_rows: 16,
        overhead_bytes: MIB,
        work_bytes_per_row: (8 * n_tiles.min(12) * width) as u64,
        result_bytes_per_row: 12 * width as u64,
    };
    let canvas = 12 * (height * width) as u64;
    let mut request = PhaseRequest::new(PhaseKind::MOSAIC_COMBINE, units.clone());
    request.n_frames = n_tiles;
    request.shared_bytes = canvas;
    request.spool = Some(Spool { scratch_bytes: canvas, units, shared_bytes: 0 });
    request
}

fn size(plan: &ParallelPlan) -> usize {
    match plan.unit {
        PlannedUnit::Frame => 1,
        PlannedUnit::Rows { rows } => rows,
        PlannedUnit::Block { side, .. } => side,
    }
}

/// Cores, memory in GiB, then for each phase: workers, unit size, peak in MiB.
type Row = (usize, u64, [(usize, usize, u64); 3]);

/// 60 frames of 1936 × 1096 measured and combined, and a mosaic of 24 tiles on 12000 × 9000.
const TABLE: [Row; 16] = [
    (1, 2, [(1, 1, 46), (1, 384, 83), (1, 30, 1291)]),
    (2, 2, [(2, 1, 74), (2, 384, 135), (2, 30, 1346)]),
    (2, 4, [(2, 1, 74), (2, 384, 135), (2, 30, 1346)]),
    (3, 8, [(3, 1, 103), (3, 384, 186), (3, 30, 1401)]),
    (4, 4, [(3, 1, 103), (3, 384, 186), (3, 30, 1401)]),
    (4, 1, [(3, 1, 103), (3, 384, 186), (3, 30, 165)]),
    (6, 16, [(5, 1, 159), (5, 352, 251), (5, 30, 1511)]),
    (8, 8, [(7, 1, 216), (7, 320, 290), (7, 30, 1621)]),
    (8, 32, [(7, 1, 216), (7, 320, 290), (7, 30, 1621)]),
    (12, 16, [(10, 1, 301), (10, 256, 281), (10, 30, 1787)]),
    (16, 32, [(14, 1, 414), (14, 192, 246), (14, 30, 2007)]),
    (24, 64, [(21, 1, 613), (21, 160, 272), (21, 30, 2393)]),
    (32, 2, [(28, 1, 811), (28, 128, 261), (28, 30, 1382)]),
    (64, 128, [(57, 1, 1633), (57, 96, 348), (57, 30, 4377)]),
    (128, 2, [(48, 1, 1378), (115, 64, 435), (46, 16, 1382)]),
    (128, 512, [(60, 1, 1718), (115, 64, 435), (115, 19, 5662)]),
];

#[test]
fn the_plan_for_each_machine_is_known() {
    let mut got = Vec::new();
    for (cores, gib, _) in TABLE {
        let machine = machine(cores, gib * GIB);
        let row = [measure(60, 1096, 1936), combine(60, 1096, 1936), mosaic(24, 9000, 12_000)]
            .map(|request| plan(&request, &Resources::default(), &machine).unwrap());
        for plan in &row {
            assert!(plan.peak_bytes <= machine.available_memory_bytes / 4 * 3, "{plan:?}");
            assert_eq!(plan.executor, ExecutorKind::Threads);
            assert!(plan.warnings.is_empty(), "{plan:?}");
        }
        let row = row.map(|plan| (plan.workers, size(&plan), plan.peak_bytes / MIB));
        got.push((cores, gib, row));
    }
    // as lines that can be pasted above
    let lines = |rows: &[Row]| rows.iter().map(|row| format!("{row:?},")).collect::<Vec<_>>();
    let (got, want) = (lines(&got), lines(&TABLE));
    assert!(got == want, "got:\n{}", got.join("\n"));
}

fn workers(n: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(n)
}

fn with_memory(bytes: u64) -> Resources {
    Resources { memory_bytes: Some(bytes), ..Resources::default() }
}

#[test]
fn workers_are_most_of_the_cores() {
    for (cores, want) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 7), (10, 9), (128, 115)] {
        let units = UnitRule::Frames { count: 1000, work_bytes: 1, result_bytes: 1 };
        let request = PhaseRequest::new(PhaseKind::STACK_MEASURE, units);
        let plan = plan(&request, &Resources::default(), &machine(cores, 8 * GIB)).unwrap();
        assert_eq!(plan.workers, want);
        let part = want as f64 / cores as f64;
        assert!(cores < 4 || (0.75..=0.9).contains(&part), "{cores} cores: {part}");
    }
}

#[test]
fn kinds_differ_in_their_units() {
    let machine = machine(8, 32 * GIB);
    let sizes = [measure(60, 1096, 1936), combine(60, 1096, 1936), mosaic(24, 9000, 12_000)]
        .map(|request| plan(&request, &Resources::default(), &machine).unwrap().unit);
    assert!(matches!(
        sizes,
        [PlannedUnit::Frame, PlannedUnit::Block { .. }, PlannedUnit::Rows { .. }]
    ));
}

#[test]
fn a_smaller_budget_shrinks_units_then_spools_then_drops_workers_then_names_the_remedy() {
    let request = mosaic(24, 9000, 12_000);
    let machine = machine(8, 64 * GIB);
    let at = |mib: u64| plan(&request, &with_memory(mib * MIB), &machine);
    let canvas_mib = 12 * 9000 * 12_000 / MIB;
    let roomy = at(canvas_mib + 900).unwrap();
    let tight = at(canvas_mib + 250).unwrap();
    assert_eq!((roomy.workers, tight.workers), (7, 7));
    assert!(!tight.use_spool && size(&tight) < size(&roomy));
    let spooled = at(canvas_mib + 150).unwrap();
    assert!(
        spooled.use_spool && spooled.spool_bytes == canvas_mib * MIB + spooled.spool_bytes % MIB
    );
    assert_eq!((spooled.workers, size(&spooled)), (7, size(&roomy)));
    let poor = at(100).unwrap();
    assert!(poor.use_spool && poor.workers < 7);
    assert_eq!(size(&poor), 16);
    let error = at(20).unwrap_err();
    assert!(matches!(error, PlanError::BudgetTooSmall { .. }));
    let text = error.to_string();
    assert!(text.contains("mosaic_combine") && text.contains("--memory"), "{text}");
    // and what it names is enough
    let PlanError::BudgetTooSmall { need_bytes, .. } = error else { unreachable!() };
    assert_eq!(plan(&request, &with_memory(need_bytes), &machine).unwrap().workers, 1);
    assert!(plan(&request, &with_memory(need_bytes - 1), &machine).is_err());
}

#[test]
fn without_room_for_scratch_there_are_fewer_workers_or_an_error() {
    let request = mosaic(24, 9000, 12_000);
    let machine = machine(8, 64 * GIB);
    let resources =
        |mib: u64| Resources { scratch_free_bytes: Some(GIB), ..with_memory(mib * MIB) };
    let canvas_mib = 12 * 9000 * 12_000 / MIB;
    let fewer = plan(&request, &resources(canvas_mib + 100), &machine).unwrap();
    assert!(!fewer.use_spool && fewer.workers < 7);
    let error = plan(&request, &resources(canvas_mib / 2), &machine).unwrap_err();
    assert!(matches!(error, PlanError::ScratchTooSmall { free_bytes: GIB, .. }), "{error}");
}

#[test]
fn what_the_user_gives_is_taken_unless_the_budget_forbids_it() {
    let machine = machine(8, 32 * GIB);
    let request = combine(60, 1096, 1936);
    for n in [1, 2, 8, 20] {
        let resources = Resources { workers: workers(n), ..Resources::default() };
        let plan = plan(&request, &resources, &machine).unwrap();
        assert_eq!((plan.workers, plan.warnings.len()), (n, 0));
    }
    let resources = Resources { workers: workers(20), ..with_memory(100 * MIB) };
    let plan = plan(&request, &resources, &machine).unwrap();
    assert!(plan.workers < 20 && plan.peak_bytes <= 100 * MIB);
    assert!(plan.warnings[0].starts_with("20 workers were asked for"), "{:?}", plan.warnings);
}

#[test]
fn a_budget_above_what_is_available_is_taken_with_a_warning() {
    let plan = plan(&combine(60, 1096, 1936), &with_memory(64 * GIB), &machine(8, 8 * GIB));
    let warnings = plan.unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("64.0 GiB"), "{warnings:?}");
}

#[test]
fn processes_hold_more_and_give_way_to_threads_if_that_is_too_much() {
    let request = combine(60, 1096, 1936);
    let machine = machine(4, 16 * GIB);
    let on = |executor, bytes| {
        let resources =
            Resources { executor: Some(executor), registry: Registry::all(), ..with_memory(bytes) };
        plan(&request, &resources, &machine).unwrap()
    };
    let threads = on(ExecutorKind::Threads, 4 * GIB);
    let processes = on(ExecutorKind::Processes, 4 * GIB);
    assert_eq!((threads.unit, threads.workers), (processes.unit, processes.workers));
    assert!(processes.peak_bytes > threads.peak_bytes + 3 * request.shared_bytes);
    let small = on(ExecutorKind::Processes, 60 * MIB);
    assert_eq!(small.executor, ExecutorKind::Threads);
    assert_eq!(small.warnings.len(), 1, "{:?}", small.warnings);
    let sequential = on(ExecutorKind::Sequential, 4 * GIB);
    assert_eq!(sequential.workers, 1);
}

#[test]
fn an_executor_that_the_phase_cannot_live_with_is_replaced_with_the_warning() {
    let mut request = measure(60, 1096, 1936);
    request.executors = vec![ExecutorKind::Sequential];
    let resources = Resources { executor: Some(ExecutorKind::Threads), ..Resources::default() };
    let plan = plan(&request, &resources, &machine(8, 8 * GIB)).unwrap();
    assert_eq!((plan.executor, plan.workers), (ExecutorKind::Sequential, 1));
    assert_eq!(
        plan.warnings,
        ["Backend 'stack_measure' does not support 'threads' executor. Supported executors: \
          ['sequential']. Falling back to 'sequential'."]
    );
}

#[test]
fn empty_phases_have_a_plan() {
    for request in [measure(0, 1096, 1936), combine(5, 0, 0), mosaic(3, 0, 100)] {
        let plan = plan(&request, &Resources::default(), &machine(8, 8 * GIB)).unwrap();
        assert_eq!((plan.n_units, plan.workers), (0, 1));
    }
}

#[test]
fn a_plan_survives_json_and_its_summary_has_every_field() {
    let plan = plan(&combine(60, 1096, 1936), &Resources::default(), &machine(8, 8 * GIB)).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<ParallelPlan>(&text).unwrap(), plan);
    let summary = serde_json::to_value(plan.summary()).unwrap();
    for field in [
        "phase",
        "executor",
        "cpu_workers",
        "use_memmap",
        "max_chunk_bytes",
        "rows_per_chunk",
        "tiles_per_chunk",
        "use_gpu",
        "gpu_rows_per_chunk",
        "gpu_max_chunk_bytes",
        "budget_bytes",
    ] {
        assert!(summary.get(field).is_some(), "{field}");
    }
    assert_eq!(summary["tiles_per_chunk"], 100);
    assert_eq!(summary["cpu_workers"], 7);
}

/// Any of the three phases.
fn any_request() -> impl Strategy<Value = PhaseRequest> {
    (0..3, 1_usize..3000, 1_usize..8000, 1_usize..8000).prop_map(|(phase, n, height, width)| {
        match phase {
            0 => measure(n, height, width),
            1 => combine(n, height, width),
            _ => mosaic(n, height, width),
        }
    })
}

fn any_resources() -> impl Strategy<Value = Resources> {
    (prop::option::of(0..3_usize), prop::option::of(1_usize..200), prop::option::of(0_u64..64))
        .prop_map(|(executor, n, scratch_gib)| Resources {
            executor: executor.map(|index| ExecutorKind::ALL[index]),
            workers: n.and_then(NonZeroUsize::new),
            memory_bytes: None,
            scratch_free_bytes: scratch_gib.map(|gib| gib * GIB),
            registry: Registry::all(),
        })
}

proptest! {
    #[test]
    fn never_over_budget_nor_over_the_cap(
        request in any_request(),
        resources in any_resources(),
        cores in 1_usize..=128,
        memory_mib in 64_u64..600_000,
    ) {
        let machine = machine(cores, memory_mib * MIB);
        if let Ok(plan) = plan(&request, &resources, &machine) {
            prop_assert!(plan.peak_bytes <= machine.available_memory_bytes / 4 * 3);
            prop_assert_eq!(plan.peak_bytes, plan.shared_bytes + plan.admission_bytes);
            let unit = plan.work_bytes + plan.result_bytes;
            prop_assert!(plan.admission_bytes >= unit * plan.workers as u64);
            prop_assert!((1..=plan.n_units.max(1)).contains(&plan.workers));
            let least = match plan.unit { PlannedUnit::Rows { rows } => rows <= 16, _ => size(&plan) <= 64 };
            prop_assert!(unit <= UNIT_CAP_BYTES || least, "{plan:?}");
            if resources.workers.is_none() {
                prop_assert!(plan.workers <= cores);
            }
        }
    }

    #[test]
    fn more_memory_never_gives_less(
        request in any_request(),
        resources in any_resources(),
        cores in 1_usize..=128,
        memory_mib in 64_u64..100_000,
        more_mib in 0_u64..50_000,
    ) {
        let before = plan(&request, &resources, &machine(cores, memory_mib * MIB));
        let after = plan(&request, &resources, &machine(cores, (memory_mib + more_mib) * MIB));
        if let Ok(before) = before {
            let after = after.unwrap();
            prop_assert!(after.use_spool <= before.use_spool);
            if after.executor == before.executor {
                prop_assert!(after.workers >= before.workers, "{before:?}\n{after:?}");
                if after.use_spool == before.use_spool {
                    prop_assert!(size(&after) >= size(&before), "{before:?}\n{after:?}");
                    prop_assert!(after.peak_bytes >= before.peak_bytes);
                }
            }
        }
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_frames(
        cores in 1_usize..=64,
        memory_gib in 4_u64..512,
        n in 60_usize..1000,
        height in 500_usize..6000,
        width in 500_usize..8000,
    ) {
        let machine = machine(cores, memory_gib * GIB);
        let peak = |n| {
            plan(&combine(n, height, width), &Resources::default(), &machine)
                .map(|plan| plan.peak_bytes)
        };
        if let (Ok(few), Ok(many)) = (peak(n), peak(8 * n)) {
            // the cap and the least block of the larger set bound both
            let least = 96 * 96 * (32 * n as u64 + 24) + MIB + 16 * 64 * 64;
            let workers = if cores < 4 { cores } else { cores * 9 / 10 } as u64;
            let bound = 16 * (height * width) as u64 + workers * 3 * least.max(UNIT_CAP_BYTES);
            prop_assert!(few <= bound && many <= bound);
        }
    }
}

#[test]
fn a_thousand_frames_take_no_more_memory_than_sixty() {
    for (cores, gib, _) in TABLE {
        let peak = |request: PhaseRequest| {
            let plan = plan(&request, &Resources::default(), &machine(cores, gib * GIB)).unwrap();
            (plan.peak_bytes, plan.workers as u64)
        };
        for n in [60, 240, 1000] {
            let (bytes, workers) = peak(combine(n, 1096, 1936));
            let shared = 16 * 1096 * 1936;
            // a unit's own cap, and the results that wait
            assert!(bytes <= shared + workers * (UNIT_CAP_BYTES + UNIT_CAP_BYTES / 8));
        }
        if cores < 64 {
            // only a few results of 4 kB more may wait
            let (few, many) = (peak(measure(60, 1096, 1936)), peak(measure(1000, 1096, 1936)));
            assert!(few.1 == many.1 && many.0 - few.0 < MIB, "{few:?} {many:?}");
        }
    }
}
