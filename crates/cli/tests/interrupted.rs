//! Runs that are interrupted, and workers that are killed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A burst that takes a second or two to stack with one worker.
fn burst() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let night = folder.path().join("night");
    let args = ["simulate", "burst", "-o", text(&night), "--frames", "16", "--quiet"];
    let size = ["--width", "800", "--height", "600", "--calibration", "0"];
    let status =
        Command::new(env!("CARGO_BIN_EXE_stillframe")).args(args).args(size).status().unwrap();
    assert!(status.success());
    (folder, night)
}

fn stack(night: &Path, out: &str, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stillframe"))
        .args(["stack", text(&night.join("lights")), "-o", text(&night.join(out))])
        .args(["--json-events", "--quiet"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code and the standard error of a stack that nobody disturbs.
fn finish(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn image(night: &Path, out: &str) -> Vec<u8> {
    std::fs::read(night.join(out).join("stack.fits")).unwrap()
}

/// Reads events up to the first commit of `phase`. The reader must live as long as the child, or
/// its events go nowhere.
fn wait_for_commit(child: &mut Child, phase: &str) -> BufReader<std::process::ChildStdout> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["type"] == "phase_progress" && event["phase"] == phase {
            return reader;
        }
        line.clear();
    }
    panic!("the run ended before {phase} began");
}

fn send(signal: &str, pid: u32) {
    let command = format!("kill -{signal} {pid}");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}

/// Lets the rest of the events go by, so that the child is not held up.
fn drain(reader: BufReader<std::process::ChildStdout>) -> Vec<Value> {
    reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

#[test]
fn an_interrupted_run_leaves_with_code_130_and_resumes_to_the_same_bytes() {
    let (_folder, night) = burst();
    let (code, message) = finish(stack(&night, "whole", &[]));
    assert_eq!(code, Some(0), "{message}");
    for phase in ["stack_measure", "stack_combine"] {
        let mut child = stack(&night, phase, &["--workers", "1"]);
        let reader = wait_for_commit(&mut child, phase);
        send("INT", child.id());
        drain(reader);
        let (code, message) = finish(child);
        assert_eq!(code, Some(130), "{message}");
        assert!(message.contains("--resume"), "{message}");
        assert!(!night.join(phase).join("stack.fits").exists(), "whole or absent");
        let (code, message) = finish(stack(&night, phase, &["--resume"]));
        assert_eq!(code, Some(0), "{message}");
        assert!(image(&night, phase) == image(&night, "whole"), "{phase}: other bytes");
    }
}

#[test]
fn a_killed_worker_costs_a_unit_and_no_bit() {
    let (_folder, night) = burst();
    let (code, message) = finish(stack(&night, "whole", &[]));
    assert_eq!(code, Some(0), "{message}");
    let mut child = stack(&night, "killed", &["--executor", "processes", "--workers", "2"]);
    let pid = child.id();
    let reader = wait_for_commit(&mut child, "stack_measure");
    let workers = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let workers = workers.unwrap_or_default();
    let Some(worker) = workers.split_whitespace().next() else {
        eprintln!("SKIPPED: this system does not list child processes");
        drain(reader);
        finish(child);
        return;
    };
    send("KILL", worker.parse().unwrap());
    let events = drain(reader);
    let (code, message) = finish(child);
    assert_eq!(code, Some(0), "{message}");
    // The header may tell of the warning; the pixels may not.
    let [killed, whole] = ["killed", "whole"].map(|out| night.join(out).join("stack.fits"));
    let compared = Command::new(env!("CARGO_BIN_EXE_stillframe"))
        .args(["compare", text(&killed), text(&whole)])
        .output()
        .unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    let is_told = |e: &Value| {
        e["type"] == "phase_end" && e["achieved"]["repeated_units"].as_u64().is_some_and(|n| n > 0)
    };
    assert!(events.iter().any(is_told), "no unit was repeated: {events:?}");
}
