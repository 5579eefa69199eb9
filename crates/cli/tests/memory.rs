//! Memory of whole runs, as the system counts it.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn run(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_stillframe")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Largest resident memory and bytes read of a stack of the first `n` lights of a night.
fn stacked(night: &Path, n: usize) -> (f64, f64) {
    let lights = (1..=n).map(|k| night.join(format!("lights/light_{k:05}.fits")));
    let lights: Vec<String> = lights.map(|p| p.to_str().unwrap().to_owned()).collect();
    let out = night.join(format!("out-{n}"));
    let mut args = vec!["stack"];
    args.extend(lights.iter().map(String::as_str));
    args.extend(["-o", out.to_str().unwrap(), "--quiet", "--workers", "2", "--memory", "40MiB"]);
    run(&args);
    let telemetry = std::fs::read_to_string(out.join("telemetry.json")).unwrap();
    let telemetry: Value = serde_json::from_str(&telemetry).unwrap();
    let rows = std::fs::read_to_string(out.join("telemetry.csv")).unwrap();
    let column = rows.lines().next().unwrap().split(',').position(|c| c == "read_mb").unwrap();
    let read = rows.lines().last().unwrap().split(',').nth(column).unwrap();
    (telemetry["peak_rss_bytes"].as_f64().unwrap_or(f64::NAN), read.parse().unwrap_or(f64::NAN))
}

#[test]
fn a_run_stays_in_its_budget_and_reads_its_frames_less_than_three_times() {
    let folder = tempfile::tempdir().unwrap();
    let night = folder.path().join("night");
    let size = ["--width", "800", "--height", "600", "--calibration", "0", "--seed", "4"];
    let mut args = vec!["simulate", "burst", "-o", night.to_str().unwrap(), "--frames", "96"];
    args.extend(size);
    args.push("--quiet");
    run(&args);
    let [(few, _), (many, read)] = [24, 96].map(|n| stacked(&night, n));
    if few.is_nan() || read.is_nan() {
        eprintln!("SKIPPED: this system does not tell what a process holds and reads");
        return;
    }
    // The program and its threads come to about 5 MiB beside the budget. Without a budget, 24 frames
    // take 40 MiB and 96 take 90: blocks grow to what keeps the workers busy.
    let most = 50.0 * f64::from(1 << 20);
    assert!(few < most && many < most, "{few} bytes for 24 frames, {many} for 96");
    let input = 96.0 * 800.0 * 600.0 * 2.0 / 1e6;
    assert!(read < 3.0 * input, "{read} MB read of {input} MB of frames");
}
