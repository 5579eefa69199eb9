//! Depths of simulated recordings: a known trace comes back, the same bytes everywhere.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod field;

use std::path::Path;

use field::{Tissue, bytes_below, noisy, read, setting, write};
use stillframe_engine::image::{Shape, math};
use stillframe_engine::motion::{MotionError, Setting, ZAlignJob, ZAlignOutcome, run_z_align};
use stillframe_engine::recipe::{FileOf, RecipeFormat, ZAlignRecipe};
use stillframe_engine::runtime::{Cancel, ExecutorKind, Silent};

const SHAPE: Shape = Shape { height: 72, width: 104 };
const SLICES: usize = 16;
const FRAMES: usize = 40;

/// Depth of frame `t`, in slices from 0.
fn truth(t: usize) -> f64 {
    7.3 + 2.2 * math::sin(t as f64 / 6.0)
}

fn simulate(folder: &Path, scans: usize) {
    let tissue = Tissue::new(SHAPE, 21);
    let slices: Vec<Vec<f32>> = (0..SLICES * scans)
        .map(|i| {
            let (z, jitter) = (i / scans, if scans > 1 { 0.4 * (i % 3) as f64 } else { 0.0 });
            noisy(tissue.view(SHAPE, z as f64, jitter, -jitter), 15.0, 500 + i as u64)
        })
        .collect();
    write(folder, "stack", SHAPE, 1, &slices);
    let frames: Vec<Vec<f32>> = (0..FRAMES)
        .map(|t| noisy(tissue.view(SHAPE, truth(t), 0.0, 0.0), 40.0, t as u64))
        .collect();
    write(folder, "recording", SHAPE, 1, &frames);
}

fn run(setting: Setting, sets: &[&str]) -> Result<ZAlignOutcome, MotionError> {
    let text = "input_file: recording.hdf5\npatch_size: 48\noutput_format: HDF5\n\
                motion: { quality_setting: fast, alpha: 8 }\n";
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    let recipe = FileOf::<ZAlignRecipe>::parse(text, RecipeFormat::Yaml, &sets).unwrap().recipe;
    run_z_align(&ZAlignJob { recipe, setting }, &Silent, &Cancel::new())
}

fn threads(folder: &Path) -> Setting {
    setting(folder, ExecutorKind::Threads, 2)
}

const FINISHED: &str = "reference_volume=stack.hdf5";

/// Mean and largest error of the mean depth of the frames, slices.
fn errors(outcome: &ZAlignOutcome) -> (f64, f64) {
    let of = |t: usize| (outcome.report.depths[t] - 1.0 - truth(t)).abs();
    let all: Vec<f64> = (0..FRAMES).map(of).collect();
    (all.iter().sum::<f64>() / FRAMES as f64, all.iter().copied().fold(0.0, f64::max))
}

#[test]
fn a_known_trace_of_depths_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), 1);
    let outcome = run(threads(folder.path()), &[FINISHED]).unwrap();
    let (mean, worst) = errors(&outcome);
    eprintln!("anchor {}, mean error {mean:.3}, worst {worst:.3}", outcome.report.anchor);
    assert!((6..=11).contains(&outcome.report.anchor), "{}", outcome.report.anchor);
    assert!(worst < 0.2 && mean < 0.1, "{mean} {worst}");
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);

    let out = folder.path().join("z_align_outputs");
    let (info, z) = read(&out.join("z_shift.hdf5"), &[]);
    assert_eq!((info.frames, info.shape, info.channels), (FRAMES, SHAPE, 1));
    let off = |i: usize| (f64::from(z[i]) - 1.0 - truth(i / SHAPE.len())).abs();
    let pixels = (0..z.len()).map(off).sum::<f64>() / z.len() as f64;
    assert!(pixels < 0.15, "{pixels}");

    // The corrected recording differs less from the stack at the anchor than the recording does;
    // the simulated one differs from the recording by noise alone.
    let (_, stack) = read(&folder.path().join("stack.hdf5"), &[]);
    let (_, raw) = read(&folder.path().join("recording.hdf5"), &[]);
    let (_, corrected) = read(&out.join("corrected.hdf5"), &[]);
    let (_, simulated) = read(&out.join("simulated.hdf5"), &[]);
    let n = SHAPE.len();
    let anchor = &stack[(outcome.report.anchor - 1) * n..outcome.report.anchor * n];
    let rms = |a: &[f32], b: &dyn Fn(usize) -> f32| {
        let square = |(i, v): (usize, &f32)| f64::from(v - b(i)).powi(2);
        (a.iter().enumerate().map(square).sum::<f64>() / a.len() as f64).sqrt()
    };
    let before = rms(&raw, &|i| anchor[i % n]);
    let after = rms(&corrected, &|i| anchor[i % n]);
    let noise = rms(&simulated, &|i| raw[i]);
    eprintln!("from the anchor {before:.1} before, {after:.1} after; simulated {noise:.1}");
    assert!(after < 0.5 * before && noise < 60.0, "{before} {after} {noise}");
}

#[test]
fn the_same_bytes_for_any_executor_and_after_any_loss() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), 1);
    let out = folder.path().join("z_align_outputs");
    run(setting(folder.path(), ExecutorKind::Sequential, 1), &[FINISHED]).unwrap();
    let want = bytes_below(&out);
    let refused = run(threads(folder.path()), &[FINISHED]).unwrap_err();
    assert!(refused.to_string().contains("--overwrite or --resume"), "{refused}");
    let again = Setting { overwrite: true, ..threads(folder.path()) };
    run(again, &[FINISHED]).unwrap();
    assert!(bytes_below(&out) == want);
    for lost in ["z_shift.hdf5", "corrected.hdf5", "status.json", "z_align.json"] {
        std::fs::remove_file(out.join(lost)).unwrap();
        run(Setting { resume: true, ..threads(folder.path()) }, &[FINISHED]).unwrap();
        assert!(bytes_below(&out) == want, "{lost}");
    }
}

#[test]
fn a_recorded_stack_is_registered_and_averaged_per_slice() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), 3);
    let sets = ["volume_input_file=stack.hdf5", "stack_scans_per_slice=3"];
    let outcome = run(threads(folder.path()), &sets).unwrap();
    assert_eq!(outcome.report.slices, SLICES);
    let (mean, worst) = errors(&outcome);
    eprintln!("registered stack: mean error {mean:.3}, worst {worst:.3}");
    assert!(worst < 0.5 && mean < 0.2, "{mean} {worst}");
    let aligned = folder.path().join("z_align_outputs/aligned_stack/compensated.hdf5");
    let times = std::fs::metadata(&aligned).unwrap().modified().unwrap();
    run(Setting { resume: true, ..threads(folder.path()) }, &sets).unwrap();
    assert_eq!(std::fs::metadata(&aligned).unwrap().modified().unwrap(), times);
}

#[test]
fn one_frame_one_slice_and_wrong_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let tissue = Tissue::new(SHAPE, 21);
    let view = |z: f64| tissue.view(SHAPE, z, 0.0, 0.0);
    write(folder.path(), "recording", SHAPE, 1, &[view(4.0)]);
    write(
        folder.path(),
        "stack",
        SHAPE,
        1,
        &(2..8).map(|z| view(f64::from(z))).collect::<Vec<_>>(),
    );
    let outcome = run(threads(folder.path()), &[FINISHED]).unwrap();
    assert!((outcome.report.depths[0] - 3.0).abs() < 0.05, "{:?}", outcome.report.depths);
    write(folder.path(), "stack", SHAPE, 1, &[view(4.0)]);
    let again = Setting { overwrite: true, ..threads(folder.path()) };
    let outcome = run(again.clone(), &[FINISHED]).unwrap();
    assert_eq!(outcome.report.depths, [1.0]);
    let small = Shape::new(30, 30);
    write(folder.path(), "stack", small, 1, &[tissue.view(small, 4.0, 0.0, 0.0)]);
    let error = run(again.clone(), &[FINISHED]).unwrap_err().to_string();
    assert!(error.contains("both must show the same field"), "{error}");
    let error = run(again, &[]).unwrap_err().to_string();
    assert!(error.contains("neither reference_volume nor volume_input_file"), "{error}");
}
