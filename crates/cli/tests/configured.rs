//! `session` and `z-align` from the command line: the same bytes from worker processes, arrays of
//! jobs, exit codes.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stillframe_engine::image::{Shape, math};
use stillframe_engine::io::Existing;
use stillframe_engine::io::recording::{RecordingFormat, RecordingInfo, SampleType, create};

const SHAPE: Shape = Shape { height: 64, width: 80 };

fn scene(x: f64, y: f64, z: f64) -> f32 {
    let waves = math::sin(0.31 * x + 0.8 * z) * math::sin(0.23 * y)
        + math::sin(0.11 * x * math::sin(0.05 * y + z)) * math::sin(0.17 * x + 0.13 * y);
    (1000.0 + 400.0 * waves) as f32
}

fn write(folder: &Path, stem: &str, frames: &[[f64; 3]]) {
    let sample = SampleType::U16;
    let info = RecordingInfo { frames: frames.len(), shape: SHAPE, channels: 1, sample };
    let format = RecordingFormat::Tiff;
    let mut sink = create(folder, stem, format, &info, Existing::Refuse).unwrap();
    for [dx, dy, z] in frames {
        let at = |i: usize| ((i % SHAPE.width) as f64 - dx, (i / SHAPE.width) as f64 - dy);
        let frame: Vec<f32> = (0..SHAPE.len())
            .map(|i| {
                let (x, y) = at(i);
                scene(x, y, *z)
            })
            .collect();
        sink.append(&frame).unwrap();
    }
    sink.finish().unwrap();
}

fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let moving = |x: f64| (0..5).map(|t| [x + 0.3 * f64::from(t), 0.5, 0.0]).collect::<Vec<_>>();
    write(folder.path(), "rec_a", &moving(0.0));
    write(folder.path(), "rec_b", &moving(3.0));
    write(
        folder.path(),
        "stack",
        &(0..9).map(|z| [0.0, 0.0, 0.25 * f64::from(z)]).collect::<Vec<_>>(),
    );
    write(
        folder.path(),
        "deep",
        &(0..5).map(|t| [0.0, 0.0, 1.0 + 0.1 * f64::from(t)]).collect::<Vec<_>>(),
    );
    let motion = "[motion]\nquality_setting = 'fast'\nalpha = 8\nreference_frames = '0'\n";
    let session = format!("pattern = 'rec_*.tiff'\n{motion}");
    std::fs::write(folder.path().join("session.toml"), session).unwrap();
    let z = "input_file: deep.tiff\nreference_volume: stack.tiff\npatch_size: 32\n";
    std::fs::write(folder.path().join("z.yaml"), z).unwrap();
    folder
}

fn stillframe(folder: &Path, args: &[&str], task: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stillframe"));
    command.args(args).arg("--quiet").current_dir(folder);
    if let Some(task) = task {
        command.env("SLURM_ARRAY_TASK_ID", task);
    }
    command.output().unwrap()
}

#[track_caller]
fn succeeds(folder: &Path, args: &[&str], task: Option<&str>) {
    let output = stillframe(folder, args, task);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.is_empty(), "{args:?}: {message}");
}

fn results(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_time = ["telemetry.json", "telemetry.csv", "events.jsonl", "status.json"];
            if path.is_dir() {
                folders.push(path);
            } else if !is_time.contains(&name.as_str()) {
                let key = path.strip_prefix(folder).unwrap().to_path_buf();
                found.insert(key, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn worker_processes_give_the_bytes_of_the_calling_thread() {
    let plain = data();
    for command in [["session", "session.toml"], ["z-align", "z.yaml"]] {
        succeeds(plain.path(), &[&command[..], &["--executor", "sequential"]].concat(), None);
    }
    let want = results(plain.path());
    assert!(want.contains_key(Path::new("final_results/aligned_rec_b.tiff")), "{:?}", want.keys());
    assert!(want.contains_key(Path::new("z_align_outputs/z_shift.hdf5")));
    for workers in ["1", "3"] {
        let other = data();
        for command in [["session", "session.toml"], ["z-align", "z.yaml"]] {
            let resources = ["--executor", "processes", "--workers", workers];
            succeeds(other.path(), &[&command[..], &resources].concat(), None);
        }
        assert!(results(other.path()) == want, "{workers} worker processes: other bytes");
    }
}

#[test]
fn an_array_of_jobs_does_stage_one_and_misuse_has_its_code() {
    let folder = data();
    let run = |args: &[&str], task| stillframe(folder.path(), args, task);
    let stage = |n: &'static str| ["session", "session.toml", "--stage", n];
    for task in ["2", "1"] {
        succeeds(folder.path(), &[&stage("1")[..], &["--array"]].concat(), Some(task));
    }
    succeeds(folder.path(), &stage("2"), None);
    succeeds(folder.path(), &stage("3"), None);
    assert!(folder.path().join("final_results/aligned_rec_a.tiff").exists());
    for (args, task, part) in [
        (vec!["session", "session.toml", "--stage", "2", "--index", "0"], None, "are for stage 1"),
        (vec!["session", "session.toml", "--array"], Some("x"), "needed a whole number from 1"),
        (vec!["session", "session.toml", "--index", "7"], None, "needed 0..2"),
        (vec!["session", "session.toml", "--set", "patern=x"], None, "pattern"),
        (vec!["z-align", "z.yaml", "--set", "input_file="], None, "input_file"),
    ] {
        let output = run(&args, task);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
    }
}
