//! Motion correction on simulated recordings, judged by the known motion.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stillframe_engine::image::{Image, Rng, Shape};
use stillframe_engine::io::Existing;
use stillframe_engine::io::recording::{
    OpenOptions, RecordingFormat, RecordingInfo, SampleType, create, open,
};
use stillframe_engine::motion::{
    Compensated, Compensation, Displacement, MemoryRecording, MotionError, MotionFlag, MotionJob,
    compensate, run,
};
use stillframe_engine::recipe::{Alpha, FlowBackend, MotionRecipe, QualitySetting};
use stillframe_engine::runtime::observe::{Event, Observer};
use stillframe_engine::runtime::{Cancel, ExecutorKind, Resources, Silent};
use stillframe_kernels::register::flow::FlowField;

const SHAPE: Shape = Shape { height: 60, width: 84 };

/// A texture with detail at several scales, about 0 to 1000.
fn scene(x: f64, y: f64, channel: usize) -> f64 {
    let c = channel as f64;
    let waves = (0.31 * x + 0.8 * c).sin() * (0.27 * y).cos()
        + 0.8 * (0.11 * x - 0.17 * y + 2.0 * c).sin()
        + 0.6 * (0.53 * x + 0.45 * y).cos();
    500.0 + 180.0 * waves
}

/// True displacement of frame `t`: a shift and a slow bend.
fn truth(t: usize, x: f64, y: f64) -> [f64; 2] {
    let t = t as f64;
    let (dx, dy) = (2.5 * (0.9 * t).sin(), 1.8 * (0.7 * t + 1.0).cos());
    [dx + 0.8 * (0.05 * y + t).sin(), dy + 0.6 * (0.06 * x - t).cos()]
}

/// Frames whose registered pixels are those of the scene, with `noise`.
fn samples(frames: usize, channels: usize, noise: f64) -> Vec<f32> {
    let mut out = Vec::new();
    for t in 0..frames {
        for c in 0..channels {
            let mut rng = Rng::new(5, t as u64, c as u64);
            for i in 0..SHAPE.len() {
                let (x, y) = ((i % SHAPE.width) as f64, (i / SHAPE.width) as f64);
                // p + w(p) = (x, y) by fixed-point steps
                let (mut px, mut py) = (x, y);
                for _ in 0..12 {
                    let [u, v] = truth(t, px, py);
                    (px, py) = (x - u, y - v);
                }
                out.push((scene(px, py, c) + noise * rng.normal()).round() as f32);
            }
        }
    }
    out
}

fn still(channels: usize) -> Vec<f32> {
    let plane = |c| {
        (0..SHAPE.len())
            .map(move |i| scene((i % SHAPE.width) as f64, (i / SHAPE.width) as f64, c) as f32)
    };
    (0..channels).flat_map(plane).collect()
}

fn recording(frames: usize, channels: usize) -> MemoryRecording {
    MemoryRecording::new(SHAPE, channels, samples(frames, channels, 15.0)).unwrap()
}

fn fast() -> MotionRecipe {
    MotionRecipe { quality_setting: QualitySetting::Fast, ..MotionRecipe::default() }
}

fn done(recording: MemoryRecording, options: Compensation<'_>) -> Compensated {
    compensate(recording, options, &Silent, &Cancel::new()).unwrap()
}

/// Mean end-point error inside a margin of 12 pixels.
fn error(out: &Compensated) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for (t, field) in out.fields.iter().enumerate() {
        for y in 12..SHAPE.height - 12 {
            for x in 12..SHAPE.width - 12 {
                let [u, v] = truth(t, x as f64, y as f64);
                let (du, dv) = (f64::from(field.u.at(x, y)) - u, f64::from(field.v.at(x, y)) - v);
                sum += (du * du + dv * dv).sqrt();
                n += 1.0;
            }
        }
    }
    sum / n
}

#[test]
fn every_backend_finds_the_motion() {
    let limits = [
        (FlowBackend::Variational, 0.2),
        (FlowBackend::Reference, 0.2),
        (FlowBackend::Dis, 0.6),
        // one shift for a field that bends by 0.7 px rms
        (FlowBackend::Rigid, 1.0),
    ];
    for (flow_backend, limit) in limits {
        let recipe = MotionRecipe { flow_backend, alpha: Alpha::Fixed([20.0; 2]), ..fast() };
        let recipe = MotionRecipe { min_level: Some(0), iterations: Some(60), ..recipe };
        let options = Compensation { recipe, reference: Some(still(1)), ..Default::default() };
        let out = done(recording(3, 1), options);
        let error = error(&out);
        assert!(error < limit, "{flow_backend:?}: {error}");
        for record in &out.records {
            assert!(record.correlation_after > record.correlation_before, "{record:?}");
        }
    }
}

#[test]
fn the_reference_is_made_of_the_recording() {
    let out = done(recording(24, 1), Compensation { recipe: fast(), ..Default::default() });
    assert!(out.alpha.is_some());
    let mean: f64 = out.records.iter().map(|r| r.correlation_after.unwrap()).sum::<f64>() / 24.0;
    assert!(mean > 0.985, "{mean}");
}

#[test]
fn executors_workers_budgets_and_batches_change_no_bit() {
    let run = |executor, workers: usize, memory, batch: usize| {
        let resources = Resources {
            executor: Some(executor),
            workers: workers.try_into().ok(),
            memory_bytes: Some(memory),
            ..Resources::default()
        };
        let mut recipe = MotionRecipe { buffer_size: batch, ..fast() };
        recipe.sigma = vec![1.0, 1.0, 0.6];
        let options = Compensation { recipe, resources, ..Default::default() };
        let out = done(recording(23, 2), options);
        (out.registered, out.fields, out.records)
    };
    let want = run(ExecutorKind::Sequential, 1, 1 << 30, 400);
    for (workers, memory, batch) in [(1, 64 << 20, 5), (2, 1 << 30, 1), (3, 64 << 20, 7)] {
        let got = run(ExecutorKind::Threads, workers, memory, batch);
        assert!(got == want, "{workers} workers, {memory} bytes, batches of {batch}");
    }
}

#[test]
fn what_is_carried_depends_on_batches_and_not_on_workers() {
    let run = |workers: usize, batch: usize| {
        let recipe = MotionRecipe {
            buffer_size: batch,
            update_initialization_w: true,
            update_reference: true,
            ..fast()
        };
        let resources = Resources { workers: workers.try_into().ok(), ..Resources::default() };
        let options =
            Compensation { recipe, resources, reference: Some(still(1)), ..Default::default() };
        done(recording(40, 1), options)
    };
    let (one, three, other) = (run(1, 30), run(3, 30), run(1, 40));
    assert!(one.fields == three.fields && one.registered == three.registered);
    assert!(one.fields[..22] == other.fields[..22], "the first frames start from zero");
    assert!(one.fields[30..] != other.fields[30..], "a new batch has a new reference");
    assert!(error(&one) < 0.4, "{}", error(&one));
}

#[test]
fn a_jump_of_40_pixels_is_found_on_frames_that_are_not_square() {
    let jump = [40.0, -23.0];
    let shape = Shape::new(128, 192);
    let mut samples = Vec::new();
    let mut rng = Rng::new(11, 0, 0);
    let wide = Shape::new(256, 320);
    let texture = Image::from_fn(wide, |_, _| rng.normal() as f32);
    let mut smooth = texture.clone();
    stillframe_kernels::register::flow::filter::Smoother::new(wide, 2.0, 2.0).run(
        &texture,
        stillframe_kernels::register::flow::filter::Normalisation::IDENTITY,
        &mut smooth,
    );
    let view = |dx: isize, dy: isize| -> Vec<f32> {
        let at = |x: usize, y: usize| {
            let (x, y) = ((x as isize + 64 - dx) as usize, (y as isize + 64 - dy) as usize);
            1000.0 + 500.0 * smooth.at(x, y)
        };
        (0..shape.len()).map(|i| at(i % shape.width, i / shape.width)).collect()
    };
    for _ in 0..2 {
        samples.extend(view(jump[0] as isize, jump[1] as isize));
    }
    let reference = [view(0, 0), view(0, 0)].concat();
    for flow_backend in [FlowBackend::Variational, FlowBackend::Rigid] {
        for alpha in [Alpha::Fixed([1.5; 2]), Alpha::Fixed([30.0; 2])] {
            let recipe =
                MotionRecipe { cc_initialization: true, cc_hw: 96, flow_backend, alpha, ..fast() };
            let recording = MemoryRecording::new(shape, 2, samples.clone()).unwrap();
            let reference = Some(reference.clone());
            let out = done(recording, Compensation { recipe, reference, ..Default::default() });
            let (u, v) = (out.fields[0].u.at(80, 64), out.fields[0].v.at(80, 64));
            let miss = f64::from(u) - jump[0];
            assert!(miss.abs() < 0.5, "{flow_backend:?} {alpha:?}: u {u}");
            assert!((f64::from(v) - jump[1]).abs() < 0.5, "{flow_backend:?} {alpha:?}: v {v}");
        }
    }
}

#[test]
fn odd_recordings_are_no_trouble() {
    // one frame
    let one = done(recording(1, 1), Compensation { recipe: fast(), ..Default::default() });
    assert_eq!(one.records.len(), 1);
    // constant frames
    let flat = MemoryRecording::new(SHAPE, 1, vec![7.0; 3 * SHAPE.len()]).unwrap();
    let flat = done(flat, Compensation { recipe: fast(), ..Default::default() });
    let longest = flat.records.iter().map(|r| r.max_disp).fold(0.0, f64::max);
    let least = flat.registered.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(flat.registered.iter().all(|&v| v == 7.0), "{least}, moved by {longest}");
    assert_eq!(flat.records[0].correlation_before, None);
    // pixels that are missing
    let mut holes = samples(3, 1, 15.0);
    holes[700] = f32::NAN;
    holes[SHAPE.len() + 3] = f32::INFINITY;
    let holes = MemoryRecording::new(SHAPE, 1, holes).unwrap();
    let holes = done(holes, Compensation { recipe: fast(), ..Default::default() });
    assert!(holes.registered.iter().all(|v| v.is_finite()));
    assert_eq!(holes.records[0].missing_pixels, 1);
    assert!(holes.records[1].flags.contains(&MotionFlag::MissingPixels));
    // hardly any pixels
    let tiny = Shape::new(10, 10);
    let tiny = MemoryRecording::new(tiny, 1, (0..300).map(|i| (i % 7) as f32).collect()).unwrap();
    let tiny = done(tiny, Compensation { recipe: fast(), ..Default::default() });
    assert!(tiny.fields.iter().all(|f| f.u.pixels().iter().all(|v| v.is_finite())));
}

/// Keeps the messages of warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

struct Fixed;

impl Displacement for Fixed {
    fn displacement(
        &self,
        reference: &[Image<f32>],
        _: &[Image<f32>],
        _: Option<&FlowField>,
    ) -> Result<FlowField, String> {
        let mut field = FlowField::zero(reference[0].shape());
        field.u.pixels_mut().fill(1.0);
        Ok(field)
    }
}

#[test]
fn a_function_of_the_caller_is_honoured_by_every_executor_or_falls_back_aloud() {
    for executor in ExecutorKind::ALL {
        let resources = Resources {
            executor: Some(executor),
            registry: stillframe_engine::runtime::Registry::all(),
            ..Resources::default()
        };
        let options = Compensation {
            recipe: fast(),
            resources,
            displacement: Some(Arc::new(Fixed)),
            ..Default::default()
        };
        let warnings = Warnings::default();
        let out = compensate(recording(3, 1), options, &warnings, &Cancel::new()).unwrap();
        assert!(out.fields.iter().all(|f| f.u.at(5, 5) == 1.0), "{executor}");
        let told = warnings.0.into_inner().unwrap();
        if executor == ExecutorKind::Processes {
            assert_eq!(
                told,
                ["Backend 'custom' does not support 'processes' executor. Supported executors: \
                  ['sequential', 'threads']. Falling back to 'threads'."]
            );
        } else {
            assert!(told.is_empty(), "{told:?}");
        }
    }
}

#[test]
fn callbacks_are_complete_and_their_errors_lose_nothing() {
    let (mut steps, mut frames) = (Vec::new(), Vec::new());
    let mut options = Compensation { recipe: fast(), ..Default::default() };
    options.callbacks.progress = Some(Box::new(|done, total| {
        steps.push((done, total));
        if done == 2 { Err("not now".into()) } else { Ok(()) }
    }));
    options.callbacks.registered = Some(Box::new(|index, planes| {
        frames.push((index, planes.len()));
        Ok(())
    }));
    let out = done(recording(5, 1), options);
    assert_eq!(steps, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
    assert_eq!(frames.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(out.registered.len(), 5 * SHAPE.len());
    assert_eq!(out.warnings, ["the callback progress failed at frame 1: not now"]);
}

/// A recording of `uint16` in a file.
fn file(folder: &Path, name: &str, frames: usize) -> PathBuf {
    let info = RecordingInfo { frames, shape: SHAPE, channels: 1, sample: SampleType::U16 };
    let format = RecordingFormat::Hdf5;
    let mut sink = create(folder, name, format, &info, Existing::Refuse).unwrap();
    sink.append(&samples(frames, 1, 15.0)).unwrap();
    sink.finish().unwrap();
    folder.join(&format.file_names(name, 1)[0])
}

fn job(input: &Path, output: PathBuf, recipe: MotionRecipe) -> MotionJob {
    MotionJob {
        inputs: vec![input.to_path_buf()],
        output,
        recipe,
        resources: Resources::default(),
        overwrite: false,
        resume: false,
        worker: None,
    }
}

fn pixels(path: &Path) -> (RecordingInfo, Vec<f32>) {
    let source = open(&[path.to_path_buf()], &OpenOptions::default()).unwrap();
    let info = source.info().clone();
    let mut out = vec![0.0; info.frames * info.frame_len()];
    source.read(0..info.frames, &mut out).unwrap();
    (info, out)
}

/// Raises the flag when so many frames are done.
struct StopAt(usize, Cancel);

impl Observer for StopAt {
    fn event(&self, event: &Event) {
        if let Event::PhaseProgress { phase, done, .. } = event
            && phase == "motion_frames"
            && *done >= self.0
        {
            self.1.cancel();
        }
    }
}

#[test]
fn an_interrupted_run_is_readable_and_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(folder.path(), "recording", 150);
    for carries in [false, true] {
        let recipe = MotionRecipe {
            buffer_size: 30,
            update_initialization_w: carries,
            update_reference: carries,
            reference_frames: "0..8".into(),
            save_w: true,
            save_valid_idx: true,
            ..fast()
        };
        let [whole, parts] =
            ["whole", "parts"].map(|name| folder.path().join(format!("{name}-{carries}")));
        run(&job(&input, whole.clone(), recipe.clone()), &Silent, &Cancel::new()).unwrap();
        let mut job = job(&input, parts.clone(), recipe);
        let cancel = Cancel::new();
        let stop = StopAt(40, cancel.clone());
        let result = run(&job, &stop, &cancel);
        assert!(matches!(result, Err(MotionError::Interrupted)), "{result:?}");
        let (info, _) = pixels(&parts.join("compensated.hdf5"));
        assert!((30..150).contains(&info.frames), "{}", info.frames);
        assert!(run(&job, &Silent, &Cancel::new()).is_err(), "results are in the way");
        job.resume = true;
        let outcome = run(&job, &Silent, &Cancel::new()).unwrap();
        assert!(outcome.frames_now <= 120, "{}", outcome.frames_now);
        for name in ["compensated.hdf5", "w.h5", "idx.h5"] {
            assert!(pixels(&parts.join(name)) == pixels(&whole.join(name)), "{name}, {carries}");
        }
        for name in ["report.json", "reference_frame.tiff", "preview.png"] {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(read(&parts) == read(&whole), "{name}, {carries}");
        }
    }
}

#[test]
fn formats_hold_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(folder.path(), "recording", 7);
    let out = |format: &str| {
        let recipe = MotionRecipe {
            output_format: serde_json::from_value(format.into()).unwrap(),
            ..fast()
        };
        let output = folder.path().join(format);
        run(&job(&input, output.clone(), recipe), &Silent, &Cancel::new()).unwrap();
        let name = std::fs::read_dir(&output)
            .unwrap()
            .map(|e| e.unwrap().path())
            .find(|p| p.file_name().unwrap().to_str().unwrap().starts_with("compensated"));
        pixels(&name.unwrap())
    };
    let want = out("HDF5");
    assert_eq!(want.0.sample, SampleType::U16);
    for format in ["TIFF", "MAT", "SUITE2P_TIFF", "CAIMAN_HDF5", "MULTIFILE_TIFF"] {
        assert!(out(format) == want, "{format}");
    }
}

#[test]
fn a_reference_of_another_size_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(folder.path(), "recording", 4);
    let info = RecordingInfo {
        frames: 1,
        shape: Shape::new(20, 30),
        channels: 1,
        sample: SampleType::F32,
    };
    let mut sink =
        create(folder.path(), "ref", RecordingFormat::Tiff, &info, Existing::Refuse).unwrap();
    sink.append(&[1.0; 600]).unwrap();
    sink.finish().unwrap();
    let reference = folder.path().join("ref.tiff");
    let recipe = MotionRecipe { reference_frames: reference.to_str().unwrap().into(), ..fast() };
    let job = job(&input, folder.path().join("out"), recipe);
    let message = run(&job, &Silent, &Cancel::new()).unwrap_err().to_string();
    assert!(message.contains("ref.tiff") && message.contains("but the recording has"), "{message}");
}
