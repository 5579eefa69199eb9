//! `stillframe motion` as a program: worker processes give the bits of threads.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::path::Path;
use std::process::Command;

use stillframe_engine::image::{Rng, Shape};
use stillframe_engine::io::Existing;
use stillframe_engine::io::recording::{RecordingFormat, RecordingInfo, SampleType, create};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn motion(args: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_stillframe");
    let output = Command::new(program).arg("motion").args(args).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {message}");
    message
}

/// Noise that moves by half a pixel a frame.
fn recording(folder: &Path) -> String {
    let shape = Shape::new(48, 64);
    let info = RecordingInfo { frames: 30, shape, channels: 1, sample: SampleType::U16 };
    let format = RecordingFormat::Tiff;
    let mut sink = create(folder, "recording", format, &info, Existing::Refuse).unwrap();
    let mut rng = Rng::new(1, 0, 0);
    for t in 0..info.frames {
        let at = |i: usize| {
            let (x, y) = ((i % shape.width) as f64 - 0.2 * t as f64, (i / shape.width) as f64);
            800.0 + 300.0 * (0.4 * x + 0.1 * y).sin() + 200.0 * (0.35 * y - 0.1 * x).cos()
        };
        let frame: Vec<f32> =
            (0..shape.len()).map(|i| (at(i) + 20.0 * rng.normal()) as f32).collect();
        sink.append(&frame).unwrap();
    }
    sink.finish().unwrap();
    text(&folder.join(&format.file_names("recording", 1)[0])).to_owned()
}

#[test]
fn worker_processes_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = recording(folder.path());
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let common = [&input, "-o", text(&out), "--quality", "fast", "--save-w", "--quiet"];
        motion(&[&common[..], more].concat());
        ["compensated.hdf5", "w.h5", "report.json", "reference_frame.tiff"]
            .map(|file| std::fs::read(out.join(file)).unwrap())
    };
    let want = run("sequential", &["--executor", "sequential"]);
    for executor in ["threading", "multiprocessing"] {
        for workers in ["1", "3"] {
            let name = format!("{executor}-{workers}");
            let got = run(&name, &["--executor", executor, "--workers", workers]);
            assert!(got == want, "{executor}, {workers} workers");
        }
    }
}

#[test]
fn a_wrong_key_stops_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let input = recording(folder.path());
    let out = folder.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_stillframe"))
        .args(["motion", &input, "-o", text(&out), "--quality", "best"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("quality_setting") && message.contains("balanced"), "{message}");
    assert!(!out.exists());
}
