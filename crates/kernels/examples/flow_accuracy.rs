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

fn main() {
    let started = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(&args[0]);
    let mut params = FlowParams::default();
    let (mut n_frames, mut repeat, mut other, mut save) = (usize::MAX, 1, None, None);
    let (mut saved, mut auto, mut sigma) = (Vec::new(), None, 1.0);
    for arg in &args[1..] {
        let (key, value) = arg.split_once('=').unwrap();
        match key {
            "frames" => n_frames = value.parse().unwrap(),
            "repeat" => repeat = value.parse().unwrap(),
            "other" => other = Some(value.to_owned()),
            "auto" => auto = Some(value.parse().unwrap()),
            "sigma" => sigma = value.parse().unwrap(),
            "save" => save = Some(value.to_owned()),
            _ => set(&mut params, key, value),
        }
    }
    let numbers: Vec<usize> = fs::read_to_string(folder.join("shape.txt"))
        .unwrap()
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let (channels, shape) = (numbers[1], Shape::new(numbers[2], numbers[3]));
    let raw_reference = planes(&folder.join("ref.f32"), shape);
    let raw_movie = planes(&folder.join("mov.f32"), shape);
    let normalisation = Normalisation::of(&raw_reference);
    let mut preprocessor =
        Preprocessor::new(shape, &vec![[sigma; 2]; channels], &vec![normalisation; channels]);
    if let Some(step) = auto {
        let frames: Vec<_> =
            raw_movie.chunks_exact(channels).take(n_frames).step_by(step).collect();
        let choice = choose_alpha(&params, &raw_reference, &frames, &mut preprocessor).unwrap();
        for (alpha, score) in &choice.tried {
            println!("alpha {alpha:?} misses by {score:.6}");
        }
        params.alpha = choice.alpha;
    }
    let mut reference = raw_reference.clone();
    preprocessor.run(&raw_reference, &mut reference);
    let mut movie = raw_movie.clone();
    for (raw, out) in raw_movie.chunks_exact(channels).zip(movie.chunks_exact_mut(channels)) {
        preprocessor.run(raw, out);
    }
    let truth = planes(&folder.join("gt.f32"), shape);
    let other = other.map(|name| planes(&folder.join(name), shape));

    let mut flow = Flow::new(params, shape, channels).unwrap();
    flow.set_reference(&reference).unwrap();
    let (mut inside, mut border, mut worst) = (Vec::new(), Vec::new(), 0.0f64);
    let (mut least, mut cpu, mut runs, mut distance) = (f64::MAX, 0.0, 0.0, Vec::new());
    for (t, frame) in movie.chunks_exact(channels).take(n_frames).enumerate() {
        let mut field = FlowField::zero(shape);
        for _ in 0..repeat {
            let (before, clock) = (cpu_seconds(started), Instant::now());
            flow.compute_into(frame, None, &mut field).unwrap();
            least = least.min(clock.elapsed().as_secs_f64());
            cpu += cpu_seconds(started) - before;
            runs += 1.0;
        }
        if save.is_some() {
            for value in field.u.pixels().iter().chain(field.v.pixels()) {
                saved.extend_from_slice(&value.to_le_bytes());
            }
        }
        let error = |x, y, truth: &[Image<f32>]| {
            let du = f64::from(field.u.at(x, y) - truth[0].at(x, y));
            let dv = f64::from(field.v.at(x, y) - truth[1].at(x, y));
            (du * du + dv * dv).sqrt()
        };
        let before = inside.len();
        for y in 0..shape.height {
            for x in 0..shape.width {
                let e = error(x, y, &truth[2 * t..]);
                let deep = |i: usize, n: usize| i >= MARGIN && i + MARGIN < n;
                if deep(x, shape.width) && deep(y, shape.height) {
                    inside.push(e);
                } else {
                    border.push(e);
                }
                if let Some(other) = &other {
                    distance.push(error(x, y, &other[2 * t..]));
                }
            }
        }
        worst = worst.max(mean(&inside[before..]));
    }
    if let Some(name) = save {
        fs::write(name, saved).unwrap();
    }
    print!(
        "EPE {:.4} (95 % {:.3}) worst frame {worst:.4} border {:.4}  {:.2} ms CPU, least {:.2} ms",
        mean(&inside),
        quantile(&mut inside, 0.95),
        mean(&border),
        1e3 * cpu / runs,
        1e3 * least
    );
    if !distance.is_empty() {
        let (p99, max) = (quantile(&mut distance, 0.99), quantile(&mut distance, 1.0));
        print!("  distance mean {:.2e} p99 {p99:.2e} max {max:.2e}", mean(&distance));
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
