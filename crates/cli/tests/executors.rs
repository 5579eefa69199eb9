//! Worker processes give the bits that the calling thread gives.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn stillframe(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stillframe")).args(args).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// A small burst with calibration frames.
fn night(bayer: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let night = folder.path().join("night");
    let size = ["--frames", "12", "--width", "320", "--height", "240", "--calibration", "3"];
    stillframe(&[&["simulate", "burst", "-o", text(&night), "--quiet"], &size[..], bayer].concat());
    (folder, night)
}

/// Stacks with calibration and gives what must not depend on the executor, and the executors of the
/// heavy phases.
fn stack(night: &Path, out: &str, more: &[&str]) -> (Vec<Vec<u8>>, Vec<String>) {
    let path = |name: &str| text(&night.join(name)).to_owned();
    let (lights, bias, dark, flat) = (path("lights"), path("bias"), path("dark"), path("flat"));
    let frames = ["stack", &lights, "--bias", &bias, "--dark", &dark, "--flat", &flat];
    let out = night.join(out);
    stillframe(&[&frames[..], &["-o", text(&out), "--quiet"], more].concat());
    let read = |file: &str| std::fs::read(out.join(file)).unwrap();
    let report: Value = serde_json::from_slice(&read("report.json")).unwrap();
    assert!(
        report["frames"].as_array().unwrap().iter().all(|f| f["outcome"] == "used"),
        "{report}"
    );
    let telemetry: Value = serde_json::from_slice(&read("telemetry.json")).unwrap();
    let executors = telemetry["phases"].as_array().unwrap().iter().map(|p| &p["plan"]["executor"]);
    let executors = executors.map(|e| e.as_str().unwrap().to_owned()).collect();
    (["stack.fits", "report.json", "registration.json"].map(read).to_vec(), executors)
}

fn assert_same_bits(bayer: &[&str], budgets: &[&str]) {
    let (_folder, night) = night(bayer);
    let (want, _) = stack(&night, "sequential", &["--executor", "sequential"]);
    for workers in ["1", "2", "3", "8"] {
        for budget in budgets {
            let out = format!("{workers}-{budget}");
            let resources = ["--executor", "processes", "--workers", workers, "--memory", budget];
            let (got, executors) = stack(&night, &out, &resources);
            assert!(got == want, "{workers} worker processes in {budget}: other bytes");
            assert!(executors.len() >= 5, "three masters, two passes: {executors:?}");
            assert!(executors.iter().all(|e| e == "processes"), "{executors:?}");
        }
    }
}

#[test]
fn worker_processes_give_the_same_bits_for_any_number_and_budget() {
    assert_same_bits(&[], &["96MiB", "1GiB"]);
}

#[test]
fn worker_processes_give_the_same_bits_for_a_colour_mosaic() {
    assert_same_bits(&["--bayer", "GBRG"], &["1GiB"]);
}

/// Assembles a mosaic and gives what must not depend on the executor, and the executors of its phases.
fn mosaic(panels: &Path, out: &str, more: &[&str]) -> (Vec<Vec<u8>>, Vec<String>) {
    let (lights, grid) = (panels.join("lights"), panels.join("truth/grid.hdr"));
    let out = panels.join(out);
    let job = ["mosaic", text(&lights), "--grid", text(&grid), "-o", text(&out), "--quiet"];
    stillframe(&[&job[..], more].concat());
    let read = |file: &str| std::fs::read(out.join(file)).unwrap();
    let telemetry: Value = serde_json::from_slice(&read("telemetry.json")).unwrap();
    let executors = telemetry["phases"].as_array().unwrap().iter().map(|p| &p["plan"]["executor"]);
    let executors = executors.map(|e| e.as_str().unwrap().to_owned()).collect();
    let files = ["mosaic_science.fits", "mosaic_coverage.fits", "report.json"];
    (files.map(read).to_vec(), executors)
}

#[test]
fn a_mosaic_has_the_same_bits_from_any_number_of_worker_processes() {
    let folder = tempfile::tempdir().unwrap();
    let panels = folder.path().join("panels");
    let size = ["--frames", "2", "--width", "200", "--height", "160", "--quiet"];
    stillframe(&[&["simulate", "mosaic", "-o", text(&panels)], &size[..]].concat());
    let (want, _) = mosaic(&panels, "sequential", &["--executor", "sequential"]);
    for workers in ["1", "2", "3"] {
        let resources = ["--executor", "processes", "--workers", workers, "--memory", "512MiB"];
        let (got, executors) = mosaic(&panels, workers, &resources);
        assert!(got == want, "{workers} worker processes: other bytes");
        assert_eq!(executors, ["processes", "processes"]);
    }
}
