//! Bad frames are outcomes with a reason, never the end of a run that has enough others; inputs and
//! earlier results are never touched.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod night;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use night::{
    Night, digests, read_frame, refuse, sha256, small, stack, stack_all, text, write_frame,
};
use stillframe_engine::compare::compare;
use stillframe_engine::image::Header;
use stillframe_engine::image::{Image, Shape};
use stillframe_engine::recipe::{HotPixels, StackRecipe};
use stillframe_engine::stack::{FrameOutcome, StackError, StackJob, StackOutcome, plan};

/// What happened to the input of this name: `used`, `skipped` or `failed`, and the reason.
#[track_caller]
fn fate(outcome: &StackOutcome, name: &str) -> (&'static str, String) {
    let of_name = |file: &str| Path::new(file).file_name().is_some_and(|f| f == name);
    let frame = outcome.report.frames.iter().find(|f| of_name(&f.file));
    match &frame.unwrap_or_else(|| panic!("{name} is not in the report")).outcome {
        FrameOutcome::Used { .. } => ("used", String::new()),
        FrameOutcome::Skipped { reason } => ("skipped", reason.clone()),
        FrameOutcome::Failed { reason } => ("failed", reason.clone()),
    }
}

/// Digest of every file below a folder.
fn checksums(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(checksums(&path));
        } else if path.exists() {
            all.insert(path.clone(), sha256(&path));
        }
    }
    all
}

/// Puts one file of every bad kind beside the lights of a night.
fn spoil(lights: &Path) {
    let good = lights.join("light_00001.fits");
    let bytes = fs::read(&good).unwrap();
    let (image, header) = read_frame(&good);
    fs::write(lights.join("bad_truncated.fits"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(lights.join("bad_empty.fits"), "").unwrap();
    fs::write(lights.join("bad_text.fits"), "this is no image").unwrap();
    fs::copy(&good, lights.join("bad_copy.fits")).unwrap();
    let part = Image::from_fn(Shape::new(120, 160), |x, y| image.at(x, y));
    write_frame(&lights.join("bad_size.fits"), &header, &part);
    write_frame(&lights.join("bad_nan.fits"), &header, &image.map(|_| f32::NAN));
    let full = image.map(|_| u16::MAX);
    let mut writer = stillframe_engine::io::fits::FitsWriter::create(
        &lights.join("bad_saturated.fits"),
        stillframe_engine::io::Existing::Refuse,
    )
    .unwrap();
    writer.write_image(None, &stillframe_engine::image::Header::default(), &[&full]).unwrap();
    writer.finish().unwrap();
    fs::create_dir(lights.join("folder.fits")).unwrap();
}

#[test]
fn every_bad_frame_is_an_outcome_with_its_reason() {
    let night = Night::new(small(12));
    // Hot pixels are looked for in a sample of the frames before any is measured: bad ones change
    // the sample.
    let without_defects = |recipe: &mut StackRecipe| recipe.calibration.hot_pixels = HotPixels::Off;
    let clean = night.job_with("clean", without_defects);
    stack_all(&clean);
    let lights = night.path("lights");
    spoil(&lights);
    let before = checksums(&lights);
    let job = night.job_with("spoilt", without_defects);
    let outcome = stack(&job);
    for (name, kind, reason) in [
        ("bad_truncated.fits", "failed", "cut off"),
        ("bad_empty.fits", "failed", "empty (0 bytes)"),
        ("bad_text.fits", "failed", "not a FITS file"),
        ("bad_size.fits", "failed", "160×120 mono, most frames are 320×240 mono"),
        ("bad_nan.fits", "failed", "0 % of the pixels hold data"),
        ("bad_saturated.fits", "failed", "100 % of the pixels are saturated"),
        // The first in the list counts.
        ("light_00001.fits", "skipped", "same bytes as"),
    ] {
        let (found, why) = fate(&outcome, name);
        assert_eq!(found, kind, "{name}: {why}");
        assert!(why.contains(reason), "{name}: {why}");
        assert!(!why.contains(&text(&lights.join(name))), "{name} is named twice: {why}");
    }
    let files: Vec<_> = outcome.report.frames.iter().map(|f| f.file.clone()).collect();
    assert_eq!(files.len(), 19, "a folder is no frame, whatever its name: {files:?}");
    assert!(outcome.report.frames.iter().enumerate().all(|(i, f)| f.index == i));
    assert_eq!(outcome.report.used(), 12);
    assert!(!outcome.lost_too_many, "7 of 19 are fewer than half");
    assert_eq!(checksums(&lights), before, "inputs are never touched");
    // The header names the inputs by their place; the pixels must be the same.
    let [a, b] = [&clean, &job].map(|j| j.output.join("stack.fits"));
    let compared = compare(&a, &b).unwrap();
    assert!(compared.is_identical(), "bad frames leave no trace: {compared}");
}

#[test]
fn other_names_of_a_file_count_once_and_links_into_nothing_fail() {
    let night = Night::new(small(4));
    let lights = night.path("lights");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("light_00002.fits", lights.join("link.fits")).unwrap();
        std::os::unix::fs::symlink("gone.fits", lights.join("stale.fits")).unwrap();
        let outcome = stack(&night.job("out"));
        let (kind, reason) = fate(&outcome, "link.fits");
        assert_eq!(kind, "skipped");
        assert!(reason.contains("light_00002.fits"), "{reason}");
        let (kind, reason) = fate(&outcome, "stale.fits");
        assert_eq!(kind, "failed", "{reason}");
        assert!(reason.contains("no such file"), "{reason}");
        assert_eq!(outcome.report.used(), 4);
        let plan = plan(&night.job("out")).unwrap();
        assert_eq!((plan.n_inputs, plan.lost.len()), (6, 2));
    }
}

#[cfg(unix)]
#[test]
fn a_frame_that_may_not_be_read_is_an_outcome() {
    use std::os::unix::fs::PermissionsExt;
    let night = Night::new(small(4));
    let secret = &night.files.lights[2];
    fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(secret).is_ok() {
        eprintln!("SKIPPED: this user may read everything");
        return;
    }
    let outcome = stack(&night.job("out"));
    let (kind, reason) = fate(&outcome, "light_00003.fits");
    assert_eq!(kind, "failed");
    assert!(reason.contains("cannot be read"), "{reason}");
    assert_eq!(outcome.report.used(), 3);
}

#[test]
fn no_usable_frame_at_all_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("a.fits", "");
    write("b.fits", "text");
    let job = night::job(vec![text(folder.path())], folder.path().join("out"));
    let message = refuse(&job).to_string();
    assert!(message.contains("none of the 2 input"), "{message}");
    assert!(message.contains("a.fits") && message.contains("empty"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(!job.output.join("stack.fits").exists() && !job.output.join("report.json").exists());

    // Sound files without a sky in them.
    for name in ["a.fits", "b.fits"] {
        let blank = Image::filled(Shape::new(48, 64), f32::NAN);
        write_frame(&folder.path().join(name), &Header::default(), &blank);
    }
    let error = refuse(&job);
    assert!(matches!(error, StackError::TooFewFrames { usable: 0, given: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("hold data"), "{error}");
}

#[test]
fn limits_on_lost_frames_are_respected() {
    let night = Night::new(small(5));
    let lights = night.path("lights");
    fs::write(lights.join("light_00002.fits"), "").unwrap();
    let with = |out: &str, min_frames: usize, max_lost_fraction: f64| {
        night.job_with(out, |recipe| {
            recipe.input.min_frames = min_frames;
            recipe.input.max_lost_fraction = max_lost_fraction;
        })
    };
    let outcome = stack(&with("a", 4, 0.2));
    assert_eq!((outcome.report.used(), outcome.lost_too_many), (4, false));
    let outcome = stack(&with("b", 4, 0.19));
    assert!(outcome.lost_too_many, "the result is there, but to be looked at");
    assert!(night.path("b").join("stack.fits").is_file());
    match refuse(&with("c", 5, 1.0)) {
        StackError::TooFewFrames { usable: 4, given: 5, needed: 5, first_reason } => {
            assert!(first_reason.contains("light_00002.fits"), "{first_reason}");
        }
        e => panic!("{e:?}"),
    }
    let gated = night.job_with("d", |recipe| recipe.gates.frames_min = 50);
    assert!(matches!(refuse(&gated), StackError::TooFewFrames { needed: 50, .. }));
}

#[test]
fn an_existing_result_is_not_replaced_unasked() {
    let night = Night::new(small(3));
    let job = night.job("out");
    stack_all(&job);
    for file in ["stack.fits", "report.json"] {
        let keep = checksums(&job.output);
        let message = refuse(&job).to_string();
        assert!(message.contains("--overwrite") && message.contains("out"), "{message}");
        assert_eq!(checksums(&job.output), keep, "a refused run leaves everything as it was");
        // Any one of the results is in the way.
        fs::remove_file(job.output.join(file)).unwrap();
    }
    let want = digests(&{
        let fresh = night.job("fresh");
        stack_all(&fresh);
        fresh.output
    });
    let again = StackJob { overwrite: true, ..job };
    stack_all(&again);
    assert_eq!(digests(&again.output), want);
}

#[test]
fn a_result_among_the_lights_is_not_stacked_again() {
    let night = Night::new(small(4));
    let apart = night.job("apart");
    stack_all(&apart);
    let mut job = night.job("lights");
    job.overwrite = true;
    for run in 1..=3 {
        let outcome = stack_all(&job);
        assert_eq!(outcome.report.frames.len(), 4, "run {run}");
        assert_eq!(digests(&job.output), digests(&apart.output), "run {run}");
    }
    assert_eq!(plan(&job).unwrap().n_inputs, 4);
    // Named by its name it is meant, and would be overwritten.
    let own = job.output.join("stack.fits");
    let keep = sha256(&own);
    job.inputs.push(text(&own));
    let message = refuse(&job).to_string();
    assert!(message.contains("is an input of this run"), "{message}");
    assert_eq!(sha256(&own), keep);
}
