//! The program as its users meet it: exit codes, messages, files.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn stillframe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stillframe")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// Fails with both streams if the exit code is another.
#[track_caller]
fn assert_code(output: &Output, want: i32) {
    assert_eq!(code(output), want, "stdout:\n{}\nstderr:\n{}", stdout(output), stderr(output));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small burst in a temporary folder.
fn burst(frames: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let night = folder.path().join("night");
    let size = ["--width", "320", "--height", "240", "--calibration", "4", "--quiet"];
    let mut args = vec!["simulate", "burst", "-o", text(&night), "--frames", frames];
    args.extend(size);
    assert_code(&stillframe(&args), 0);
    (folder, night)
}

#[test]
fn wrong_usage_is_code_2_and_says_so_on_the_error_stream() {
    for args in [&["stack"][..], &["no-such-command"], &["stack", "x", "-o", "y", "--workers", "0"]]
    {
        let output = stillframe(args);
        assert_code(&output, 2);
        assert!(stdout(&output).is_empty() && stderr(&output).contains("--help"), "{args:?}");
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for args in [&["--help"][..], &["stack", "--help"], &["demo", "--help"]] {
        let output = stillframe(args);
        assert_code(&output, 0);
        assert!(stdout(&output).contains("Examples:"), "{args:?}");
    }
    for args in [&["--help"][..], &["stack", "--help"], &["stack", "-h"]] {
        let help = stdout(&stillframe(args));
        assert!(help.contains("130  interrupted"), "{args:?}");
    }
    assert!(!stdout(&stillframe(&["--help"])).contains("worker"), "the worker command is hidden");
}

#[test]
fn completions_are_made_for_the_common_shells() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = stillframe(&["completions", shell]);
        assert_code(&output, 0);
        assert!(stdout(&output).contains("stillframe"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stillframe"))
        .args(["recipe", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert!(stderr(&output).is_empty());
}

#[test]
fn a_fresh_recipe_is_valid_and_an_unknown_key_is_named_with_its_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("my.yaml");
    assert_code(&stillframe(&["recipe", "init", text(&recipe)]), 0);
    assert_code(&stillframe(&["recipe", "check", text(&recipe), "--strict"]), 0);
    let again = stillframe(&["recipe", "init", text(&recipe)]);
    assert_code(&again, 1);
    assert!(stderr(&again).contains("my.yaml"), "{}", stderr(&again));

    std::fs::write(&recipe, "canvass: union\n").unwrap();
    let output = stillframe(&["recipe", "check", text(&recipe)]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("nearest known key is canvas"), "{}", stderr(&output));
}

#[test]
fn the_recipe_of_a_mosaic_is_made_checked_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("mosaic.yaml");
    assert_code(&stillframe(&["recipe", "init", text(&recipe), "--for", "mosaic"]), 0);
    let check = ["recipe", "check", text(&recipe), "--for", "mosaic"];
    assert_code(&stillframe(&check), 0);
    let schema = stillframe(&["recipe", "schema", "--for", "mosaic"]);
    let schema: Value = serde_json::from_str(&stdout(&schema)).unwrap();
    assert!(schema["properties"]["photometry"].is_object(), "{schema}");
    std::fs::write(&recipe, "photometri: {}\n").unwrap();
    let output = stillframe(&check);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("photometri"), "{}", stderr(&output));
}

#[test]
fn a_wrong_recipe_stops_a_stack_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = stillframe(&["stack", "nowhere", "-o", text(&out), "--set", "canvas=round"]);
    assert_code(&output, 2);
    assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
    assert!(!out.exists());
}

#[test]
fn missing_inputs_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = stillframe(&["stack", "no/such/folder", "-o", text(&out)]);
    assert_code(&output, 1);
    let message = stderr(&output);
    assert!(message.contains("no/such/folder"), "{message}");
    assert_eq!(message.matches("error:").count(), 1, "{message}");
}

#[test]
fn a_run_that_fails_says_so_once_and_ends_its_event_log() {
    let folder = tempfile::tempdir().unwrap();
    let (lights, out) = (folder.path().join("lights"), folder.path().join("out"));
    std::fs::create_dir(&lights).unwrap();
    std::fs::write(lights.join("a.fits"), "no image").unwrap();
    let output = stillframe(&["stack", text(&lights), "-o", text(&out)]);
    assert_code(&output, 1);
    let message = stderr(&output);
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    assert!(message.contains("a.fits"), "{message}");
    let log = std::fs::read_to_string(out.join("events.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["exit_code"]), (&"run_end".into(), &1.into()));
    assert!(!out.join("stack.fits").exists());
}

#[test]
fn the_demo_writes_an_image_and_pictures_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    for _ in 0..2 {
        let output = stillframe(&["demo", "-o", text(&out)]);
        assert_code(&output, 0);
        for title in ["frames", "FWHM", "noise", "time", "peak memory", "plan"] {
            assert!(stdout(&output).contains(title), "{title} in\n{}", stdout(&output));
        }
    }
    for file in ["result/stack.fits", "result/preview.png", "demo.png"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let output = stillframe(&["demo", "-o", text(folder.path())]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("earlier demo"), "{}", stderr(&output));
}

#[test]
fn the_schema_is_json() {
    let output = stillframe(&["recipe", "schema"]);
    assert_code(&output, 0);
    let schema: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(schema["properties"]["canvas"]["default"], "reference");
}

#[test]
fn compare_tells_identical_from_different() {
    let (_folder, night) = burst("2");
    let (a, b) = (night.join("lights/light_00001.fits"), night.join("lights/light_00002.fits"));
    let output = stillframe(&["compare", text(&a), text(&a)]);
    assert_code(&output, 0);
    assert_eq!(stdout(&output), "identical, byte for byte\n");
    let output = stillframe(&["compare", text(&a), text(&b)]);
    assert_code(&output, 1);
    assert!(stdout(&output).ends_with("different\n") && stderr(&output).is_empty());
    let output = stillframe(&["compare", "--json", text(&a), text(&b)]);
    assert_code(&output, 1);
    let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(value["identical"], false);
    assert!(value["images"][0]["planes"][0]["rms"].as_f64().unwrap() > 0.0);
}

#[test]
fn inspect_shows_what_the_simulator_wrote() {
    let (_folder, night) = burst("1");
    let light = night.join("lights/light_00001.fits");
    let output = stillframe(&["inspect", text(&light)]);
    assert_code(&output, 0);
    for part in ["320×240", "exposure    10 s", "IMAGETYP= 'Light'"] {
        assert!(stdout(&output).contains(part), "{part:?} in\n{}", stdout(&output));
    }
    let value: Value =
        serde_json::from_str(&stdout(&stillframe(&["inspect", "--json", text(&light)]))).unwrap();
    assert_eq!(value["images"][0]["info"]["shape"]["width"], 320);
    let output = stillframe(&["inspect", text(&night.join("truth/truth.json"))]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("truth.json"), "{}", stderr(&output));
}

#[test]
fn the_same_seed_simulates_the_same_bytes() {
    let (_first, a) = burst("2");
    let (_second, b) = burst("2");
    for file in ["lights/light_00002.fits", "flat/flat_00001.fits", "truth/truth.json"] {
        let read = |night: &Path| std::fs::read(night.join(file)).unwrap();
        assert!(read(&a) == read(&b), "{file}");
    }
}

#[test]
fn a_folder_of_lights_becomes_an_image_and_is_not_replaced_unasked() {
    let (_folder, night) = burst("8");
    let (lights, out) = (night.join("lights"), night.join("result"));
    let sub = |name: &str| night.join(name).to_str().unwrap().to_owned();
    let (bias, dark, flat) = (sub("bias"), sub("dark"), sub("flat"));
    let mut args = vec!["stack", text(&lights), "-o", text(&out)];
    args.extend(["--bias", &bias, "--dark", &dark, "--flat", &flat]);
    let output = stillframe(&args);
    assert_code(&output, 0);
    assert!(stdout(&output).contains("8 used of 8"), "{}", stdout(&output));
    for file in ["stack.fits", "preview.png", "report.json", "registration.json"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let again = stillframe(&args);
    assert_code(&again, 1);
    assert!(stderr(&again).contains("--overwrite"), "{}", stderr(&again));
    let before = std::fs::read(out.join("stack.fits")).unwrap();
    args.push("--overwrite");
    assert_code(&stillframe(&args), 0);
    assert!(before == std::fs::read(out.join("stack.fits")).unwrap(), "same bits");
}

#[test]
fn frames_lost_beyond_the_limit_are_code_3() {
    let (_folder, night) = burst("4");
    let (lights, out) = (night.join("lights"), night.join("result"));
    std::fs::write(lights.join("light_00002.fits"), "no image").unwrap();
    let set = "input.max_lost_fraction=0.1";
    let output = stillframe(&["stack", text(&lights), "-o", text(&out), "--set", set]);
    assert_code(&output, 3);
    assert!(stdout(&output).contains("light_00002.fits: "), "{}", stdout(&output));
    let report: Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["frames"][1]["outcome"], "failed");
    assert!(out.join("stack.fits").is_file());
}

#[test]
fn json_events_are_one_object_a_line_and_nothing_else() {
    let (_folder, night) = burst("4");
    let (lights, out) = (night.join("lights"), night.join("result"));
    let output =
        stillframe(&["stack", text(&lights), "-o", text(&out), "--json-events", "--quiet"]);
    assert_code(&output, 0);
    let events: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types.first(), Some(&"run_start"));
    let count = |name: &str| types.iter().filter(|t| **t == name).count();
    assert!(count("phase_start") > 0);
    assert_eq!(count("phase_start"), count("phase_end"));
    assert_eq!(count("parallel_plan_summary"), count("phase_start"));
}

#[test]
fn a_plan_names_phases_and_memory_and_makes_nothing() {
    let (_folder, night) = burst("3");
    let (lights, out) = (night.join("lights"), night.join("result"));
    let output = stillframe(&["plan", "stack", text(&lights), "-o", text(&out)]);
    assert_code(&output, 0);
    for part in ["3 of 3 frames", "stack_measure", "stack_combine", "predicted peak"] {
        assert!(stdout(&output).contains(part), "{part:?} in\n{}", stdout(&output));
    }
    assert!(!out.exists());
    let output = stillframe(&["plan", "stack", text(&lights), "-o", text(&out), "--json"]);
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(plan["n_inputs"], 3);
    let output =
        stillframe(&["plan", "stack", text(&lights), "-o", text(&out), "--memory", "100kB"]);
    assert_code(&output, 1);
    assert!(stderr(&output).contains("--memory"), "{}", stderr(&output));
}

#[test]
fn worker_processes_give_the_same_bytes_as_threads() {
    let (_folder, night) = burst("6");
    let lights = night.join("lights");
    let stack = |executor: &str| {
        let out = night.join(executor);
        let args = ["stack", text(&lights), "-o", text(&out), "--executor", executor];
        let output = stillframe(&[&args[..], &["--workers", "2"]].concat());
        assert_code(&output, 0);
        assert!(stdout(&output).contains(executor), "{}", stdout(&output));
        std::fs::read(out.join("stack.fits")).unwrap()
    };
    let want = stack("sequential");
    assert!(want == stack("threads"), "threads");
    assert!(want == stack("processes"), "processes");
}

#[test]
fn a_worker_without_a_parent_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_stillframe"))
        .arg("worker")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_code(&output, 1);
    assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
}
