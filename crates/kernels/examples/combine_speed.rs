//! CPU time (Linux; elsewhere wall time) of the warp, drizzle, rejection and combination kernels on frames of 1936×1096.
//!
//! `cargo run --release -p stillframe-kernels --example combine_speed [FRAMES]`
#![allow(clippy::print_stdout, reason = "it is a report")]

use std::time::Instant;

use stillframe_image::{
    CfaPattern, Colour, DisplacementField, Image, Point, Rect, Rng, Shape, Transform, Vec2,
};
use stillframe_kernels::combine::{
    ClippedMean, Combination, Combined, Combiner, NoiseModel, Rejection, RejectionMethod,
    SampleStack, SampleWeights,
};
use stillframe_kernels::warp::{
    Drizzle, Geometry, GreenPlane, Grid, Source, WarpKernel, Warper, source_rect,
};

const SHAPE: Shape = Shape::new(1096, 1936);

fn main() {
    let n_frames = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(60);
    warps();
    green();
    if std::env::args().nth(2).is_some() {
        return;
    }
    stacks(n_frames);
    masters();
}

/// The scheduler counts in steps of some milliseconds.
const REPEATS: u32 = 5;

/// Nanoseconds that this thread has run, which other work on the machine does not lengthen.
fn cpu_nanoseconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Milliseconds of the median of five runs.
fn timed(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let (wall, cpu) = (Instant::now(), cpu_nanoseconds());
            (0..REPEATS).for_each(|_| run());
            match (cpu, cpu_nanoseconds()) {
                (Some(start), Some(end)) => (end - start) / 1e6 / f64::from(REPEATS),
                _ => wall.elapsed().as_secs_f64() * 1e3 / f64::from(REPEATS),
            }
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn noise_image(seed: u64) -> Image<f32> {
    let mut rng = Rng::new(seed, 0, 0);
    Image::from_fn(SHAPE, |_, _| (100.0 + 10.0 * rng.normal()) as f32)
}

fn warps() {
    let image = noise_image(1);
    let mut rng = Rng::new(2, 0, 0);
    let mut field = DisplacementField::covering(Point::new(0.0, 0.0), SHAPE, 64.0);
    for c in field.coefficients_mut() {
        *c = [rng.normal() as f32, rng.normal() as f32];
    }
    let turned = Transform::similarity(1.0, 5f64.to_radians(), Vec2::new(60.0, -70.0));
    let geometry = Geometry { frame_from_ref: turned, field: Some(&field) };
    let grid = Grid::REFERENCE;
    // the rectangles that the engine would read and calibrate, as it would hold them
    let blocks: Vec<(Rect, Image<f32>, (usize, usize))> = blocks()
        .filter_map(|out| {
            let rect = source_rect(&geometry, &grid, out, SHAPE, 3)?;
            Some((out, image.crop(rect), (rect.x, rect.y)))
        })
        .collect();
    let mut out = vec![0.0; BLOCK * BLOCK];
    let mut weight = vec![0.0; BLOCK * BLOCK];
    for kernel in
        [WarpKernel::Nearest, WarpKernel::Bilinear, WarpKernel::Bicubic, WarpKernel::Lanczos3]
    {
        let mut warper = Warper::new(kernel);
        let mut warp = |field: Option<&DisplacementField>, undershoot: f32| {
            let geometry = Geometry { field, ..geometry };
            timed(|| {
                for (rect, pixels, origin) in &blocks {
                    let source = Source { pixels, origin: *origin, void: None };
                    let out = &mut out[..rect.shape().len()];
                    warper.warp(&source, &geometry, &grid, *rect, undershoot, out);
                }
            })
        };
        let linear = warp(Some(&field), f32::INFINITY);
        let clamped = warp(Some(&field), 30.0);
        let rigid = warp(None, f32::INFINITY);
        println!(
            "warp {kernel:?}: {linear:.1} ms/frame, clamped {clamped:.1}, without field {rigid:.1}"
        );
    }
    for (name, mut drizzle) in
        [("square 1", Drizzle::square(1.0)), ("cubic 1.3", Drizzle::cubic(1.3))]
    {
        for filter in [None, Some(Colour::Red), Some(Colour::Green)] {
            let cfa = filter.map(|colour| (CfaPattern::Rggb, colour));
            let ms = timed(|| {
                for (rect, pixels, origin) in &blocks {
                    let source = Source { pixels, origin: *origin, void: None };
                    let n = rect.shape().len();
                    let out = (&mut out[..n], &mut weight[..n]);
                    drizzle.drizzle(&source, cfa, &geometry, &grid, *rect, out);
                }
            });
            println!("drizzle {name} {filter:?}: {ms:.1} ms/frame");
        }
    }
}

fn green() {
    let image = noise_image(1);
    let mut plane = GreenPlane::new();
    let ms = timed(|| plane.fill(&Source::whole(&image), CfaPattern::Rggb));
    println!("green plane: {ms:.1} ms/frame");
}

/// Side of the blocks that the canvas is cut into.
const BLOCK: usize = 448;

fn blocks() -> impl Iterator<Item = Rect> {
    let starts = |size: usize| (0..size).step_by(BLOCK);
    starts(SHAPE.height).flat_map(move |y| {
        starts(SHAPE.width)
            .map(move |x| Rect::new(x, y, BLOCK.min(SHAPE.width - x), BLOCK.min(SHAPE.height - y)))
    })
}

fn stacks(n_frames: usize) {
    // one block of about 48 MB of samples, reported for 2.1 Mpx
    let side = ((48e6 / 4.0 / n_frames as f64).sqrt() as usize).max(32);
    let shape = Shape::new(side, side);
    let mut stack = SampleStack::new();
    stack.reset(n_frames, shape, SampleWeights::Equal);
    let mut rng = Rng::new(3, 0, 0);
    for frame_index in 0..n_frames {
        for v in stack.frame_mut(frame_index) {
            *v = (100.0 + 10.0 * rng.normal()) as f32;
            if rng.uniform() < 0.001 {
                *v += 500.0;
            }
        }
    }
    let scale = SHAPE.len() as f64 / shape.len() as f64;
    let sigma = vec![10.0; n_frames];
    let noise =
        NoiseModel { sigma: &sigma, mean_variance: None, level: 100.0, shot: 1.0, relative: 0.1 };
    let mut out = Combined::default();
    for method in [
        RejectionMethod::None,
        RejectionMethod::KappaSigma,
        RejectionMethod::WinsorizedSigma,
        RejectionMethod::LinearFit,
        RejectionMethod::Median,
    ] {
        for combination in [Combination::Mean, Combination::Median] {
            let rejection = Rejection { method, ..Rejection::default() };
            let mut combiner = Combiner::new(rejection, combination).expect("in range");
            let ms = timed(|| {
                let weights = &mut |frame: usize, _: usize, w: &mut [f32]| {
                    w.fill(1.0 + frame as f32 * 0.01);
                };
                combiner.combine(&stack, Some(&noise), weights, &mut out);
            });
            println!(
                "combine {n_frames} frames {method:?} {combination:?}: {:.0} ms for 2.1 Mpx, \
                 {:.1} ns/sample",
                ms * scale,
                ms * 1e6 / (n_frames * shape.len()) as f64
            );
        }
    }
}

fn masters() {
    let frames: Vec<Image<f32>> = (0..15).map(noise_image).collect();
    let rejection = Rejection { method: RejectionMethod::KappaSigma, ..Rejection::default() };
    let mut mean = ClippedMean::new(rejection).expect("in range");
    let mut out = Image::filled(SHAPE, 0.0);
    let scale = vec![1.0; frames.len()];
    let ms = timed(|| {
        for y in 0..SHAPE.height {
            let rows: Vec<&[f32]> = frames.iter().map(|f| f.row(y)).collect();
            mean.run(&rows, &scale, out.row_mut(y));
        }
    });
    let rect = Rect::new(0, 0, SHAPE.width, SHAPE.height);
    println!("clipped mean of 15 frames of {}: {ms:.0} ms", rect.shape());
}
