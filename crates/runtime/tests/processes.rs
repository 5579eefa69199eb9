//! Worker processes: same commits as any other executor, also when workers die.
//!
//! This test program starts itself as the worker, so that it has its own `main`; it understands as
//! much of the usual test options as `cargo test` and `cargo nextest` need.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program, though not built as one because it has its own main"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stillframe_runtime::observe::PhaseStatus;
use stillframe_runtime::phase::DecodeError;
use stillframe_runtime::worker::{Session, WorkerError};
use stillframe_runtime::{
    Achieved, Cancel, Capabilities, Context, Event, ExecutorKind, Need, Observer, ParallelPlan,
    Phase, PhaseKind, PhaseRequest, Registry, Resources, RunError, UnitResult, UnitRule,
    WorkerCommand, plan, run_phase,
};

const TESTS: [(&str, fn()); 14] = [
    ("same_commits_for_any_executor_workers_and_budget", same_commits),
    ("a_worker_killed_in_mid_run_costs_one_repeated_unit", killed_in_mid_run),
    ("a_worker_killed_from_outside_costs_one_repeated_unit", killed_from_outside),
    ("three_deaths_fail_the_unit_and_nothing_else", three_deaths),
    ("a_death_by_memory_is_survived_alone", survived_alone),
    ("a_panic_in_a_worker_is_a_panic_of_the_run", panic_in_worker),
    ("a_result_that_cannot_be_read_fails_the_unit", unreadable_result),
    ("what_is_no_worker_is_replaced_by_threads", no_worker),
    ("a_job_that_is_refused_is_replaced_by_threads", refused_job),
    ("a_cancel_ends_the_run_between_units", cancelled),
    ("an_idle_worker_exits_when_its_input_closes", idle_worker_exits),
    ("a_busy_worker_exits_when_its_input_closes", busy_worker_exits),
    ("a_worker_without_a_parent_says_so", no_parent),
    ("the_plan_in_the_log_is_what_was_used", plan_is_used),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "worker") {
        return worker();
    }
    let is_listing = args.iter().any(|arg| arg == "--list");
    let only_ignored = args.iter().any(|arg| arg == "--ignored");
    let filter = args.iter().find(|arg| !arg.starts_with('-') && *arg != "terse");
    let chosen = TESTS.iter().filter(|(name, _)| {
        !only_ignored && filter.is_none_or(|filter| name.contains(filter.as_str()))
    });
    for (name, test) in chosen {
        if is_listing {
            println!("{name}: test");
        } else {
            test(); // a panic ends the program with an exit code that is not 0
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn worker() -> ExitCode {
    let served = Session::open().and_then(|session| match Numbers::from_job(session.job()) {
        Ok(phase) => session.serve(&phase),
        Err(reason) => session.refuse(&reason),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ WorkerError::NotFromParent { .. }) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Units whose results are long rows of numbers that depend on the index; some misbehave.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    n_units: usize,
    row_len: usize,
    trouble: Trouble,
    /// Process that made the phase: only others get into trouble.
    parent: u32,
    /// Deaths are counted here.
    folder: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Trouble {
    None,
    /// Its worker is killed by SIGKILL so many times.
    Killed {
        unit: usize,
        times: usize,
    },
    Panics {
        unit: usize,
    },
    /// Encodes one byte too few.
    Truncated {
        unit: usize,
    },
    Refused,
    /// Every unit takes so long.
    Slow {
        millis: u64,
    },
}

/// A result, and the process that has made it.
#[derive(Debug, PartialEq)]
struct Row {
    index: usize,
    numbers: Vec<u64>,
    process: u32,
}

impl Numbers {
    fn new(n_units: usize, trouble: Trouble, folder: &Path) -> Self {
        let parent = std::process::id();
        Self { n_units, row_len: 1000, trouble, parent, folder: folder.to_owned() }
    }

    fn from_job(job: &[u8]) -> Result<Self, String> {
        let phase: Self = serde_json::from_slice(job).map_err(|error| error.to_string())?;
        if phase.trouble == Trouble::Refused { Err("no such file".into()) } else { Ok(phase) }
    }

    fn numbers(&self, index: usize) -> Vec<u64> {
        let mut x = index as u64 + 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        // results differ in length, so that slots grow and are used again for less
        (0..self.row_len * (1 + index % 3)).map(|_| next()).collect()
    }

    fn is_worker(&self) -> bool {
        std::process::id() != self.parent
    }

    fn deaths(&self) -> usize {
        fs::read_dir(&self.folder).unwrap().count()
    }
}

impl Phase for Numbers {
    type Output = Row;
    type Scratch = Vec<u64>;

    fn name(&self) -> &'static str {
        "numbers"
    }

    fn units(&self) -> usize {
        self.n_units
    }

    fn need(&self, index: usize) -> Need {
        let bytes = 8 * (self.row_len * (1 + index % 3)) as u64;
        Need { work: bytes, result: bytes }
    }

    fn scratch(&self) -> Vec<u64> {
        Vec::new()
    }

    fn work(&self, index: usize, scratch: &mut Vec<u64>) -> Row {
        thread::sleep(Duration::from_micros(index as u64 * 7919 % 700));
        match self.trouble {
            Trouble::Killed { unit, times }
                if unit == index && self.is_worker() && self.deaths() < times =>
            {
                fs::write(self.folder.join(format!("death-{}", self.deaths())), b"").unwrap();
                kill(std::process::id());
                thread::sleep(Duration::from_mins(1));
            }
            Trouble::Panics { unit } if unit == index => panic!("no unit like {index}"),
            Trouble::Slow { millis } => thread::sleep(Duration::from_millis(millis)),
            _ => {}
        }
        *scratch = self.numbers(index);
        Row { index, numbers: scratch.clone(), process: std::process::id() }
    }

    fn job(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn encode(&self, output: &Row, bytes: &mut Vec<u8>) {
        bytes.extend(output.process.to_le_bytes());
        bytes.extend((output.index as u64).to_le_bytes());
        bytes.extend(output.numbers.iter().flat_map(|number| number.to_le_bytes()));
        if self.trouble == (Trouble::Truncated { unit: output.index }) {
            bytes.pop();
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Row, DecodeError> {
        let (process, rest) = bytes.split_first_chunk().ok_or("no process")?;
        let (words, []) = rest.as_chunks() else { return Err("half a number".into()) };
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let index = words.next().ok_or("no index")? as usize;
        Ok(Row { index, numbers: words.collect(), process: u32::from_le_bytes(*process) })
    }
}

fn kill(process: u32) {
    let status = Command::new("kill").args(["-9", &process.to_string()]).status();
    assert!(status.unwrap().success());
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let message = |event: &Event| match event {
            Event::Warning { message } => Some(message.clone()),
            _ => None,
        };
        events.iter().filter_map(message).collect()
    }
}

/// What a run has done.
struct Run {
    committed: Vec<UnitResult<Row>>,
    result: Result<Achieved, RunError<String>>,
    events: Recorder,
}

impl Run {
    /// The rows, of which each must be there.
    fn rows(&self) -> Vec<(usize, &[u64])> {
        let row = |unit: &'_ UnitResult<Row>| match unit {
            UnitResult::Done(row) => row.index,
            UnitResult::Failed(reason) => panic!("{reason}"),
        };
        let indices: Vec<usize> = self.committed.iter().map(row).collect();
        let numbers = self.committed.iter().filter_map(|unit| match unit {
            UnitResult::Done(row) => Some(&row.numbers[..]),
            UnitResult::Failed(_) => None,
        });
        indices.into_iter().zip(numbers).collect()
    }
}

fn this_program() -> WorkerCommand {
    WorkerCommand { program: std::env::current_exe().unwrap(), args: vec!["worker".into()] }
}

fn make_plan(phase: &Numbers, executor: ExecutorKind, workers: usize, bytes: u64) -> ParallelPlan {
    let largest = 24 * phase.row_len as u64;
    let units =
        UnitRule::Frames { count: phase.n_units, work_bytes: largest, result_bytes: largest };
    let resources = Resources {
        executor: Some(executor),
        workers: NonZeroUsize::new(workers),
        memory_bytes: Some(bytes),
        registry: Registry::all(),
        ..Resources::default()
    };
    let plan = plan(
        &PhaseRequest::new(PhaseKind::new("numbers"), units),
        &resources,
        &Capabilities::detect(),
    );
    let plan = plan.unwrap();
    assert_eq!(plan.executor, executor, "{:?}", plan.warnings);
    plan
}

fn run_with(
    phase: &Numbers,
    plan: &ParallelPlan,
    worker: &WorkerCommand,
    cancel: &Cancel,
    mut on_commit: impl FnMut(&UnitResult<Row>),
) -> Run {
    let scratch = tempfile::tempdir().unwrap();
    let events = Recorder::default();
    let context =
        Context { observer: &events, cancel, worker: Some(worker), scratch: scratch.path() };
    let mut committed = Vec::new();
    let result = run_phase(phase, plan, &context, |index, unit| {
        assert_eq!(index, committed.len());
        on_commit(&unit);
        committed.push(unit);
        Ok::<(), String>(())
    });
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "scratch is left");
    assert_eq!(scratch_folders_of_this_process(), 0);
    Run { committed, result, events }
}

fn scratch_folders_of_this_process() -> usize {
    let Ok(entries) = fs::read_dir("/dev/shm") else { return 0 };
    let prefix = format!("stillframe-scratch-{}-", std::process::id());
    let is_ours = |name: &str| name.starts_with(&prefix);
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_ours)).count()
}

/// On two worker processes with plenty of memory.
fn run(phase: &Numbers) -> Run {
    let plan = make_plan(phase, ExecutorKind::Processes, 2, 1 << 30);
    run_with(phase, &plan, &this_program(), &Cancel::new(), |_| ())
}

fn expected(phase: &Numbers) -> Vec<(usize, Vec<u64>)> {
    (0..phase.n_units).map(|index| (index, phase.numbers(index))).collect()
}

fn assert_all_there(run: &Run, phase: &Numbers) {
    let want = expected(phase);
    let want: Vec<(usize, &[u64])> = want.iter().map(|(index, row)| (*index, &row[..])).collect();
    assert!(run.rows() == want);
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn same_commits() {
    let folder = folder();
    let phase = Numbers::new(40, Trouble::None, folder.path());
    for executor in ExecutorKind::ALL {
        for workers in [1, 2, 3, 8] {
            for bytes in [200 << 20, 1 << 30] {
                let plan = make_plan(&phase, executor, workers, bytes);
                let run = run_with(&phase, &plan, &this_program(), &Cancel::new(), |_| ());
                assert_all_there(&run, &phase);
                let achieved = run.result.unwrap();
                let case = format!("{executor}, {workers} workers: {achieved:?}\n{plan:?}");
                assert!(achieved.peak_bytes <= plan.peak_bytes, "{case}");
                assert!(plan.peak_bytes <= bytes, "{case}");
                assert!(achieved.peak_workers <= plan.workers, "{case}");
                assert_eq!(achieved.repeated_units, 0, "{case}");
                let processes: BTreeSet<u32> = run
                    .committed
                    .iter()
                    .map(|unit| match unit {
                        UnitResult::Done(row) => row.process,
                        UnitResult::Failed(reason) => panic!("{reason}"),
                    })
                    .collect();
                let here = processes.contains(&std::process::id());
                assert_eq!(here, executor != ExecutorKind::Processes, "{case}");
                assert!(processes.len() <= workers, "{case}");
            }
        }
    }
}

fn killed_in_mid_run() {
    let folder = folder();
    let phase = Numbers::new(30, Trouble::Killed { unit: 7, times: 1 }, folder.path());
    let run = run(&phase);
    assert_all_there(&run, &phase);
    assert_eq!(run.result.as_ref().unwrap().repeated_units, 1);
    let warnings = run.events.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("unit 7") && warnings[0].contains("SIGKILL"), "{warnings:?}");
}

fn killed_from_outside() {
    let folder = folder();
    let phase = Numbers::new(60, Trouble::Slow { millis: 5 }, folder.path());
    let plan = make_plan(&phase, ExecutorKind::Processes, 2, 1 << 30);
    let n_killed = AtomicUsize::new(0);
    let run = run_with(&phase, &plan, &this_program(), &Cancel::new(), |unit| {
        if let UnitResult::Done(row) = unit
            && row.index == 5
        {
            kill(row.process);
            n_killed.fetch_add(1, SeqCst);
        }
    });
    assert_all_there(&run, &phase);
    assert_eq!(n_killed.load(SeqCst), 1);
    assert_eq!(run.result.as_ref().unwrap().repeated_units, 1);
    assert_eq!(run.events.warnings().len(), 1);
}

fn three_deaths() {
    let folder = folder();
    let phase = Numbers::new(12, Trouble::Killed { unit: 4, times: usize::MAX }, folder.path());
    let run = run(&phase);
    assert_eq!(phase.deaths(), 3);
    for (index, unit) in run.committed.iter().enumerate() {
        match unit {
            UnitResult::Done(row) => assert_eq!(row.numbers, phase.numbers(index)),
            UnitResult::Failed(reason) => {
                assert_eq!(index, 4);
                assert!(reason.contains("died three times"), "{reason}");
                assert!(reason.contains("SIGKILL"), "{reason}");
            }
        }
    }
    assert!(matches!(run.committed[4], UnitResult::Failed(_)));
    let achieved = run.result.unwrap();
    assert_eq!((achieved.committed, achieved.repeated_units), (12, 2));
}

fn survived_alone() {
    let folder = folder();
    let phase = Numbers::new(12, Trouble::Killed { unit: 4, times: 2 }, folder.path());
    let run = run(&phase);
    assert_all_there(&run, &phase);
    let achieved = run.result.unwrap();
    assert_eq!((achieved.repeated_units, achieved.shrinks), (2, 1));
}

fn panic_in_worker() {
    let folder = folder();
    let phase = Numbers::new(20, Trouble::Panics { unit: 9 }, folder.path());
    let run = run(&phase);
    assert_eq!(run.committed.len(), 9);
    let want = RunError::WorkPanicked { index: 9, message: "no unit like 9".into() };
    assert_eq!(run.result, Err(want));
    assert!(run.events.warnings().is_empty());
}

fn unreadable_result() {
    let folder = folder();
    let phase = Numbers::new(6, Trouble::Truncated { unit: 2 }, folder.path());
    let run = run(&phase);
    assert_eq!(run.committed.len(), 6);
    let UnitResult::Failed(reason) = &run.committed[2] else { panic!("{:?}", run.committed[2]) };
    assert!(reason.contains("half a number"), "{reason}");
}

fn no_worker() {
    let folder = folder();
    let phase = Numbers::new(6, Trouble::None, folder.path());
    let plan = make_plan(&phase, ExecutorKind::Processes, 2, 1 << 30);
    for (program, args) in [
        ("/nonexistent", vec![]),
        ("/bin/false", vec![]),
        ("/bin/cat", vec![]),
        ("echo", vec!["{}"]),
    ] {
        let args = args.into_iter().map(Into::into).collect();
        let command = WorkerCommand { program: program.into(), args };
        let run = run_with(&phase, &plan, &command, &Cancel::new(), |_| ());
        assert_all_there(&run, &phase);
        let warnings = run.events.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(program) && warnings[0].contains("'threads'"), "{warnings:?}");
    }
}

fn refused_job() {
    let folder = folder();
    let phase = Numbers::new(6, Trouble::Refused, folder.path());
    let run = run(&phase);
    assert_all_there(&run, &phase);
    let warnings = run.events.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("no such file"), "{warnings:?}");
}

fn cancelled() {
    let folder = folder();
    let phase = Numbers::new(50, Trouble::None, folder.path());
    let plan = make_plan(&phase, ExecutorKind::Processes, 2, 1 << 30);
    let cancel = Cancel::new();
    let run = run_with(&phase, &plan, &this_program(), &cancel, |unit| {
        if matches!(unit, UnitResult::Done(row) if row.index == 10) {
            cancel.cancel();
        }
    });
    let committed = run.committed.len();
    assert!((11..50).contains(&committed));
    assert_eq!(run.result, Err(RunError::Interrupted { committed, total: 50 }));
    let events = run.events.0.lock().unwrap();
    assert!(matches!(
        events.last(),
        Some(Event::PhaseEnd { status: PhaseStatus::Interrupted, .. })
    ));
}

/// A worker that was greeted and has answered.
fn greeted_worker(phase: &Numbers, folder: &Path) -> std::process::Child {
    let (job, slot) = (folder.join("job"), folder.join("slot"));
    fs::write(&job, phase.job().unwrap()).unwrap();
    fs::write(&slot, b"").unwrap();
    let WorkerCommand { program, args } = this_program();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let hello = serde_json::json!({ "protocol": 1, "job": job, "slot": slot });
    writeln!(child.stdin.as_mut().unwrap(), "{hello}").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("{{\"ready\":{}}}\n", phase.n_units));
    child
}

fn exit_code_within(child: &mut std::process::Child, patience: Duration) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("the worker still lives");
}

fn idle_worker_exits() {
    let folder = folder();
    let mut child = greeted_worker(&Numbers::new(9, Trouble::None, folder.path()), folder.path());
    child.stdin = None;
    assert_eq!(exit_code_within(&mut child, Duration::from_secs(5)), Some(0));
}

fn busy_worker_exits() {
    let folder = folder();
    let phase = Numbers::new(9, Trouble::Slow { millis: 60_000 }, folder.path());
    let mut child = greeted_worker(&phase, folder.path());
    writeln!(child.stdin.as_mut().unwrap(), "{{\"unit\":3}}").unwrap();
    child.stdin = None;
    assert_eq!(exit_code_within(&mut child, Duration::from_secs(5)), Some(3));
}

fn no_parent() {
    let WorkerCommand { program, args } = this_program();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by stillframe itself"));
}

fn plan_is_used() {
    let folder = folder();
    let phase = Numbers::new(30, Trouble::Slow { millis: 5 }, folder.path());
    for executor in [ExecutorKind::Threads, ExecutorKind::Processes] {
        let plan = make_plan(&phase, executor, 3, 1 << 30);
        let run = run_with(&phase, &plan, &this_program(), &Cancel::new(), |_| ());
        let achieved = run.result.unwrap();
        let events = run.events.0.lock().unwrap();
        let Event::ParallelPlanSummary(summary) = &events[0] else { panic!("{:?}", events[0]) };
        assert_eq!((summary.cpu_workers, summary.executor), (achieved.peak_workers, executor));
        assert_eq!(events[1], Event::PhaseStart { phase: "numbers".into(), total: 30 });
        for done in 1..=30 {
            let want = Event::PhaseProgress { phase: "numbers".into(), done, total: 30 };
            assert_eq!(events[1 + done], want);
        }
        let status = PhaseStatus::Done;
        assert_eq!(events[32], Event::PhaseEnd { phase: "numbers".into(), status, achieved });
        assert_eq!(events.len(), 33);
        assert!(achieved.wall_secs > 0.0 && achieved.committed == 30);
        if cfg!(target_os = "linux") {
            assert!(achieved.cpu_secs.unwrap() > 0.0 && achieved.peak_rss_bytes.unwrap() > 1 << 20);
        }
    }
}
