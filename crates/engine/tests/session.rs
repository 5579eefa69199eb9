//! Sessions of simulated recordings: displacements, masks, resumption, the same bytes everywhere.
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

mod field;

use std::path::Path;

use field::{Tissue, bytes_below, noisy, read, setting, write};
use stillframe_engine::image::Shape;
use stillframe_engine::motion::{MotionError, SessionJob, SessionPart, Setting, run_session};
use stillframe_engine::recipe::{FileOf, RecipeFormat, SessionRecipe};
use stillframe_engine::runtime::{Cancel, ExecutorKind, Silent};

const SHAPE: Shape = Shape { height: 88, width: 120 };
const FRAMES: usize = 7;
/// Of the recordings a, b and c; b is the centre.
const OFFSETS: [[f64; 2]; 3] = [[6.5, -3.25], [0.0, 0.0], [-4.75, 8.0]];

fn recipe(sets: &[&str]) -> SessionRecipe {
    let text = "pattern: rec_*.hdf5\nmotion: { quality_setting: fast, alpha: 8, \
                reference_frames: '0', buffer_size: 3 }\nalign_output_format: HDF5\n";
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    FileOf::<SessionRecipe>::parse(text, RecipeFormat::Yaml, &sets).unwrap().recipe
}

/// Three recordings that jitter about their offsets; the first frame of each does not.
fn simulate(folder: &Path, channels: usize) {
    let tissues: Vec<Tissue> = (0..channels).map(|c| Tissue::new(SHAPE, 11 + c as u64)).collect();
    for (r, (name, [x, y])) in ["rec_a", "rec_b", "rec_c"].iter().zip(OFFSETS).enumerate() {
        let frames: Vec<Vec<f32>> = (0..FRAMES)
            .map(|t| {
                let jitter = [((t * 5) % 7) as f64 * 0.4, -(((t * 3) % 5) as f64) * 0.5];
                let seed = (100 * r + t) as u64;
                let planes = tissues.iter().enumerate().flat_map(|(c, tissue)| {
                    let view = tissue.view(SHAPE, 8.0, x + jitter[0], y + jitter[1]);
                    noisy(view, 20.0, 1000 * c as u64 + seed)
                });
                planes.collect()
            })
            .collect();
        write(folder, name, SHAPE, channels, &frames);
    }
}

fn run(
    setting: Setting,
    part: SessionPart,
    sets: &[&str],
) -> Result<stillframe_engine::motion::SessionOutcome, MotionError> {
    let job = SessionJob { recipe: recipe(sets), setting, part };
    run_session(&job, &Silent, &Cancel::new())
}

fn threads(folder: &Path) -> Setting {
    setting(folder, ExecutorKind::Threads, 2)
}

fn resumed(folder: &Path) -> Setting {
    Setting { resume: true, ..threads(folder) }
}

fn correlation(a: &[f32], b: &[f32], mask: &[f32]) -> f64 {
    let kept: Vec<(f64, f64)> = (0..a.len())
        .filter(|&i| mask[i] > 0.0)
        .map(|i| (f64::from(a[i]), f64::from(b[i])))
        .collect();
    let n = kept.len() as f64;
    let (ma, mb) =
        (kept.iter().map(|p| p.0).sum::<f64>() / n, kept.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| kept.iter().map(|p| f(p.0 - ma, p.1 - mb)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

#[test]
fn known_offsets_come_back_and_recordings_lie_on_each_other() {
    for channels in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        simulate(folder.path(), channels);
        let outcome = run(threads(folder.path()), SessionPart::Whole, &[]).unwrap();
        assert_eq!((outcome.recordings.len(), outcome.centre), (3, 1));
        let out = folder.path().join("compensated_outputs");
        let results = folder.path().join("final_results");
        let (_, mask) = read(&results.join("final_valid_idx.h5"), &["idx"]);
        let (_, centre) = read(&results.join("aligned_rec_b.hdf5"), &[]);
        let len = SHAPE.len();
        for (stem, [x, y]) in ["rec_a", "rec_b", "rec_c"].iter().zip(OFFSETS) {
            let (_, w) = read(&out.join(stem).join("w_to_reference.h5"), &["u", "v"]);
            let mut worst = 0.0f64;
            for i in (0..len).filter(|&i| mask[i] > 0.0) {
                let (du, dv) = (f64::from(w[i]) - x, f64::from(w[len + i]) - y);
                worst = worst.max((du * du + dv * dv).sqrt());
            }
            let (info, aligned) = read(&results.join(format!("aligned_{stem}.hdf5")), &[]);
            assert_eq!((info.frames, info.channels), (FRAMES, channels));
            let r = correlation(&aligned[..len], &centre[..len], &mask);
            eprintln!("{stem}, {channels} channels: worst {worst:.3} px, correlation {r:.4}");
            assert!(worst <= 0.5, "{stem}: {worst} px");
            assert!(r > 0.98, "{stem}: {r}");
        }
        let fraction = outcome.valid_fraction.unwrap();
        assert!((0.6..0.95).contains(&fraction), "{fraction}");
    }
}

#[test]
fn the_final_mask_is_the_and_of_all_carried_masks() {
    let folder = tempfile::tempdir().unwrap();
    simulate(folder.path(), 1);
    run(threads(folder.path()), SessionPart::Whole, &[]).unwrap();
    let out = folder.path().join("compensated_outputs");
    let len = SHAPE.len();
    let mut want = vec![255.0f32; len];
    for stem in ["rec_a", "rec_b", "rec_c"] {
        let (_, idx) = read(&out.join(stem).join("idx.h5"), &["idx"]);
        let (_, w) = read(&out.join(stem).join("w_to_reference.h5"), &["u", "v"]);
        for y in 0..SHAPE.height {
            for x in 0..SHAPE.width {
                let i = y * SHAPE.width + x;
                let (px, py) = (x as f32 + w[i], y as f32 + w[len + i]);
                let (width, height) = (SHAPE.width as f32, SHAPE.height as f32);
                let is_inside = px >= 0.0 && py >= 0.0 && px < width && py < height;
                let near = |p: f32, n: usize| (p.round().max(0.0) as usize).min(n - 1);
                let at = near(py, SHAPE.height) * SHAPE.width + near(px, SHAPE.width);
                if !is_inside || (0..FRAMES).any(|t| idx[t * len + at] == 0.0) {
                    want[i] = 0.0;
                }
            }
        }
    }
    let (_, got) = read(&folder.path().join("final_results/final_valid_idx.h5"), &["idx"]);
    assert_eq!(got, want);
}

#[test]
fn stages_one_by_one_resumed_anywhere_give_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    simulate(whole.path(), 1);
    run(setting(whole.path(), ExecutorKind::Sequential, 1), SessionPart::Whole, &[]).unwrap();
    let want = bytes_below(whole.path());
    assert!(want.len() > 25, "{}", want.len());

    // An array of jobs, in any order, then the other stages.
    let parts = tempfile::tempdir().unwrap();
    simulate(parts.path(), 1);
    let early = run(threads(parts.path()), SessionPart::Displacements, &[]).unwrap_err();
    assert!(early.to_string().contains("stage 1 of 3 of 3 recordings is not finished"), "{early}");
    for index in [2, 0, 1] {
        run(threads(parts.path()), SessionPart::Register(Some(index)), &[]).unwrap();
    }
    let early = run(threads(parts.path()), SessionPart::Align, &[]).unwrap_err();
    assert!(early.to_string().contains("run stage 2"), "{early}");
    run(threads(parts.path()), SessionPart::Displacements, &[]).unwrap();
    run(threads(parts.path()), SessionPart::Align, &[]).unwrap();
    assert_eq!(
        bytes_below(parts.path()).keys().collect::<Vec<_>>(),
        want.keys().collect::<Vec<_>>()
    );
    assert!(bytes_below(parts.path()) == want, "stage by stage");

    // Finished results are not replaced by accident, and nothing is forgotten by trying.
    let refused = run(threads(parts.path()), SessionPart::Whole, &[]).unwrap_err();
    assert!(refused.to_string().contains("--overwrite or --resume"), "{refused}");

    // What is lost of any stage is made again, the same.
    for lost in [
        "compensated_outputs/rec_a/compensated.hdf5",
        "compensated_outputs/rec_b/temporal_average.hdf5",
        "compensated_outputs/rec_c/w_to_reference.h5",
        "compensated_outputs/rec_c/status.json",
        "final_results/aligned_rec_a.hdf5",
        "final_results/final_valid_idx.h5",
    ] {
        std::fs::remove_file(parts.path().join(lost)).unwrap();
        run(resumed(parts.path()), SessionPart::Whole, &[]).unwrap();
        assert!(bytes_below(parts.path()) == want, "{lost}");
    }
    // Nothing is done twice.
    let again = run(resumed(parts.path()), SessionPart::Whole, &[]).unwrap();
    assert!(again.phases.is_empty(), "{:?}", again.phases.len());
    // Another recipe is another result.
    let changed =
        run(resumed(parts.path()), SessionPart::Align, &["between.alpha=10"]).unwrap_err();
    assert!(changed.to_string().contains("run stage 2"), "{changed}");
}

#[test]
fn one_recording_and_single_frames_work() {
    let folder = tempfile::tempdir().unwrap();
    let tissue = Tissue::new(SHAPE, 3);
    write(folder.path(), "rec_only", SHAPE, 1, &[tissue.view(SHAPE, 8.0, 0.0, 0.0)]);
    let outcome = run(threads(folder.path()), SessionPart::Whole, &[]).unwrap();
    assert_eq!((outcome.centre, outcome.valid_fraction), (0, Some(1.0)));
    let own = read(&folder.path().join("rec_only.hdf5"), &[]);
    assert_eq!(read(&outcome.aligned[0], &[]), own);

    write(folder.path(), "rec_second", SHAPE, 1, &[tissue.view(SHAPE, 8.0, 5.0, 2.0)]);
    let outcome = run(resumed(folder.path()), SessionPart::Whole, &[]).unwrap();
    // Of two, the earlier is the centre.
    assert_eq!(outcome.centre, 0);
    let shift = outcome.displacements[1].shift.unwrap();
    assert!((shift[0] - 5.0).abs() < 0.5 && (shift[1] - 2.0).abs() < 0.5, "{shift:?}");
}

#[test]
fn integers_saturate_and_never_wrap() {
    let folder = tempfile::tempdir().unwrap();
    // Sparse bright dots on nothing: cubic sampling overshoots below 0 beside each, and above the
    // largest number on top of them.
    for (name, dx) in [("rec_a", 0.0), ("rec_b", 2.5)] {
        let mut frame = vec![0.0f32; SHAPE.len()];
        for (i, v) in frame.iter_mut().enumerate() {
            let (x, y) = ((i % SHAPE.width) as f64 - dx, (i / SHAPE.width) as f64);
            let (mx, my) = ((x + 3.0 * (y / 17.0).floor()).rem_euclid(19.0) - 9.0, y % 17.0 - 8.0);
            *v = if mx.abs() < 1.6 && my.abs() < 1.6 { 65535.0 } else { 0.0 };
        }
        write(folder.path(), name, SHAPE, 1, &[frame.clone(), frame]);
    }
    let outcome = run(threads(folder.path()), SessionPart::Whole, &["between.sigma_smooth=2"]);
    let (_, centre) = read(&folder.path().join("rec_a.hdf5"), &[]);
    let (_, moved) = read(&outcome.unwrap().aligned[1], &[]);
    let far = |i: usize, of: &[f32]| {
        let (x, y) = (i % SHAPE.width, i / SHAPE.width);
        (8..112).contains(&x)
            && (8..80).contains(&y)
            && (-5i64..=5).all(|dy| {
                (-5i64..=5).all(|dx| {
                    let (x, y) = ((x as i64 + dx) as usize, (y as i64 + dy) as usize);
                    of[y * SHAPE.width + x] == 0.0
                })
            })
    };
    let checked: Vec<usize> = (0..SHAPE.len()).filter(|&i| far(i, &centre)).collect();
    assert!(checked.len() > 300, "{}", checked.len());
    assert!(checked.iter().all(|&i| moved[i] < 3000.0), "wrapped values beside dots");
}

#[test]
fn what_does_not_fit_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let small = Shape::new(40, 48);
    let tissue = Tissue::new(SHAPE, 3);
    write(folder.path(), "rec_a", SHAPE, 1, &[tissue.view(SHAPE, 8.0, 0.0, 0.0)]);
    write(folder.path(), "rec_b", small, 1, &[tissue.view(small, 8.0, 0.0, 0.0)]);
    let error =
        |part, sets: &[&str]| run(threads(folder.path()), part, sets).unwrap_err().to_string();
    let sizes = error(SessionPart::Whole, &[]);
    assert!(sizes.contains("rec_b.hdf5 has 1 channels of") && sizes.contains("rec_a"), "{sizes}");
    assert!(!folder.path().join("compensated_outputs").exists());
    let centre = error(SessionPart::Whole, &["center=rec_x.hdf5"]);
    assert!(centre.contains("needed one of rec_a.hdf5, rec_b.hdf5"), "{centre}");
    assert!(error(SessionPart::Whole, &["pattern=*.tif"]).contains("no file matches"));
    let index = error(SessionPart::Register(Some(5)), &["pattern=rec_a*"]);
    assert!(index.contains("found the index 5, needed 0..1"), "{index}");
}
