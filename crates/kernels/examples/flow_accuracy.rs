//! Accuracy and time of the optical flow on a recording whose motion is known.
//!
//! `flow_accuracy FOLDER [frames=N] [repeat=N] [other=FILE] [save=FILE] [auto=STEP]
//! [sigma=S] [key=value]...`
//!
//! FOLDER holds little-endian float32 planes without header: `ref.f32` (C×H×W, reference),
//! `mov.f32` (T×C×H×W, frames), `gt.f32` (T×2×H×W, true u and v), and `shape.txt` with the numbers
//! T C H W. Frames are normalised by the reference and smoothed by `sigma`. The keys are those of `FlowParams`,
//! and `preset` for `FlowParams::automatic`. Prints the mean
//! end-point error inside a margin of 25 pixels and in the margin, the mean
//! CPU time per frame and the least wall time. `other`, a file in FOLDER laid out as `gt.f32`, is
//! compared; `save` is written so. With `auto`, `alpha` is chosen
//! from every STEP-th frame.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use std::fs;
use std::path::Path;
use std::time::Instant;

use stillframe_image::{Image, Shape};
use stillframe_kernels::register::flow::auto::choose_alpha;
use stillframe_kernels::register::flow::filter::{Normalisation, Preprocessor};
use stillframe_kernels::register::flow::{
    Backend, ConstAssumption, Definition, Flow, FlowField, FlowParams, Positions, Quality,
};

const MARGIN: usize = 25;

fn planes(path: &Path, shape: Shape) -> Vec<Image<f32>> {
    let bytes = fs::read(path).unwrap();
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    values.chunks_exact(shape.len()).map(|p| Image::from_vec(shape, p.to_vec())).collect()
}

/// Seconds that this thread has run, or that have passed where the system does not say.
fn cpu_seconds(started: Instant) -> f64 {
    fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|s| s.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| started.elapsed().as_secs_f64(), |ns| ns * 1e-9)
}

fn set(params: &mut FlowParams, key: &str, value: &str) {
    let number = || value.parse::<f64>().unwrap();
    let whole = || value.parse::<usize>().unwrap();
    let list = || value.split(',').map(|v| v.parse().unwrap()).collect::<Vec<f64>>();
    match key {
        "preset" => {
            *params = FlowParams::automatic(match value {
                "fast" => Quality::Fast,
                "balanced" => Quality::Balanced,
                _ => Quality::Quality,
            });
        }
        "alpha" => {
            let a = list();
            params.alpha = [a[0], *a.last().unwrap()];
        }
        "levels" => params.levels = whole(),
        "min_level" => params.min_level = whole(),
        "eta" => params.eta = number(),
        "iterations" => params.iterations = whole(),
        "update_lag" => params.update_lag = whole(),
        "a_data" => params.a_data = list(),
        "a_smooth" => params.a_smooth = number(),
        "weight" => params.weight = list(),
        "gnc_schedule" => params.gnc_schedule = list(),
        "relaxation" => params.relaxation = number(),
        "refinements" => params.refinements = whole(),
        "definition" => {
            params.definition =
                if value == "original" { Definition::Original } else { Definition::Repaired };
        }
        "finest_scale" => params.dis.finest_scale = whole(),
        "refine_to" => params.dis.refine_to = Some(whole()),
        "warping_steps" => params.warping_steps = whole(),
        "backend" => {
            params.backend = match value {
                "variational" => Backend::Variational,
                "dis" => Backend::Dis,
                _ => Backend::Reference,
            };
        }
        "const_assumption" => {
            params.const_assumption = match value {
                "gc" => ConstAssumption::Gradient,
                "gray" => ConstAssumption::Gray,
                _ => ConstAssumption::Census,
            };
        }
        "positions" => {
            params.positions =
                if value == "exact" { Positions::Exact } else { Positions::Thirtyseconds };
        }
        _ => panic!("unknown key {key}"),
    }
}

/// What was asked for.
struct Options {
    params: FlowParams,
    n_frames: usize,
    repeat: usize,
    other: Option<String>,
    save: Option<String>,
    auto: Option<usize>,
    sigma: f64,
}

impl Options {
    fn parse(args: &[String]) -> Self {
        let mut options = Self {
            params: FlowParams::default(),
            n_frames: usize::MAX,
            repeat: 1,
            other: None,
            save: None,
            auto: None,
            sigma: 1.0,
        };
        for arg in args {
            let (key, value) = arg.split_once('=').unwrap();
            match key {
                "frames" => options.n_frames = value.parse().unwrap(),
                "repeat" => options.repeat = value.parse().unwrap(),
                "other" => options.other = Some(value.to_owned()),
                "save" => options.save = Some(value.to_owned()),
                "auto" => options.auto = Some(value.parse().unwrap()),
                "sigma" => options.sigma = value.parse().unwrap(),
                _ => set(&mut options.params, key, value),
            }
        }
        options
    }
}

/// Errors of all frames, pixels.
#[derive(Default)]
struct Errors {
    inside: Vec<f64>,
    border: Vec<f64>,
    worst_frame: f64,
    distance: Vec<f64>,
}

impl Errors {
    fn add(&mut self, field: &FlowField, truth: &[Image<f32>], other: Option<&[Image<f32>]>) {
        let shape = field.u.shape();
        let error = |x, y, truth: &[Image<f32>]| {
            let du = f64::from(field.u.at(x, y) - truth[0].at(x, y));
            let dv = f64::from(field.v.at(x, y) - truth[1].at(x, y));
            (du * du + dv * dv).sqrt()
        };
        let before = self.inside.len();
        for y in 0..shape.height {
            for x in 0..shape.width {
                let deep = |i: usize, n: usize| i >= MARGIN && i + MARGIN < n;
                if deep(x, shape.width) && deep(y, shape.height) {
                    self.inside.push(error(x, y, truth));
                } else {
                    self.border.push(error(x, y, truth));
                }
                if let Some(other) = other {
                    self.distance.push(error(x, y, other));
                }
            }
        }
        self.worst_frame = self.worst_frame.max(mean(&self.inside[before..]));
    }
}

fn main() {
    let started = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(&args[0]);
    let mut options = Options::parse(&args[1..]);
    let numbers: Vec<usize> = fs::read_to_string(folder.join("shape.txt"))
        .unwrap()
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let (channels, shape) = (numbers[1], Shape::new(numbers[2], numbers[3]));
    let raw_reference = planes(&folder.join("ref.f32"), shape);
    let raw_movie = planes(&folder.join("mov.f32"), shape);
    let truth = planes(&folder.join("gt.f32"), shape);
    let other = options.other.as_ref().map(|name| planes(&folder.join(name), shape));

    let normalisation = Normalisation::of(&raw_reference);
    let sigmas = vec![[options.sigma; 2]; channels];
    let mut preprocessor = Preprocessor::new(shape, &sigmas, &vec![normalisation; channels]);
    if let Some(step) = options.auto {
        let frames: Vec<_> =
            raw_movie.chunks_exact(channels).take(options.n_frames).step_by(step).collect();
        let clock = Instant::now();
        let choice =
            choose_alpha(&options.params, &raw_reference, &frames, &mut preprocessor).unwrap();
        for (alpha, score) in &choice.tried {
            println!("alpha {alpha:?} misses by {score:.6}");
        }
        println!("chosen in {:.2} s", clock.elapsed().as_secs_f64());
        options.params.alpha = choice.alpha;
    }
    let (mut reference, mut moving) = (raw_reference.clone(), raw_reference.clone());
    preprocessor.run(&raw_reference, &mut reference);
    let mut flow = Flow::new(options.params, shape, channels).unwrap();
    flow.set_reference(&reference).unwrap();

    let mut errors = Errors::default();
    let (mut least, mut cpu, mut runs, mut saved) = (f64::MAX, 0.0, 0.0, Vec::new());
    let mut field = FlowField::zero(shape);
    for (t, frame) in raw_movie.chunks_exact(channels).take(options.n_frames).enumerate() {
        preprocessor.run(frame, &mut moving);
        for _ in 0..options.repeat {
            let (before, clock) = (cpu_seconds(started), Instant::now());
            flow.compute_into(&moving, None, &mut field).unwrap();
            least = least.min(clock.elapsed().as_secs_f64());
            cpu += cpu_seconds(started) - before;
            runs += 1.0;
        }
        for value in field.u.pixels().iter().chain(field.v.pixels()) {
            saved.extend_from_slice(&value.to_le_bytes());
        }
        errors.add(&field, &truth[2 * t..], other.as_ref().map(|o| &o[2 * t..]));
    }
    if let Some(name) = options.save {
        fs::write(name, saved).unwrap();
    }
    print!(
        "EPE {:.4} (95 % {:.3}) worst frame {:.4} border {:.4}  {:.2} ms CPU, least {:.2} ms",
        mean(&errors.inside),
        quantile(&mut errors.inside, 0.95),
        errors.worst_frame,
        mean(&errors.border),
        1e3 * cpu / runs,
        1e3 * least
    );
    if !errors.distance.is_empty() {
        let distance = &mut errors.distance;
        let (p99, max) = (quantile(distance, 0.99), quantile(distance, 1.0));
        print!("  distance mean {:.2e} p99 {p99:.2e} max {max:.2e}", mean(distance));
    }
    println!();
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}
