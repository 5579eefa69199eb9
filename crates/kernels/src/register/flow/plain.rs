//! The `reference` backend: the definition of the flow in float64, pixel after pixel, row by row.
//!
//! Nothing here is fast. Everything allocates. It exists to be read beside `docs/motion.md` and to
//! measure the other backends.

mod images;
mod solve;
mod tensor;

use stillframe_image::Image;

use self::images::{Grid, enlarge, median_5x5, resize, warp};
use self::solve::{Robustness, System};
use super::FlowField;
use super::params::{Definition, FlowParams};
use super::pyramid::{Level, levels};

/// Everything that is the same for all frames.
pub(super) struct Problem<'a> {
    pub(super) params: &'a FlowParams,
    pub(super) reference: &'a [Image<f32>],
    /// Weight of every pixel per channel; empty if the same everywhere.
    pub(super) weight_maps: &'a [Image<f32>],
}

/// The displacement of `frame` against the reference of `problem`.
pub(super) fn flow(
    problem: &Problem,
    frame: &[Image<f32>],
    start: Option<&FlowField>,
) -> FlowField {
    let params = problem.params;
    let shape = problem.reference[0].shape();
    let (mut u, mut v) = start.map_or_else(
        || (Grid::filled(shape, 0.0), Grid::filled(shape, 0.0)),
        |s| (s.u.map(f64::from), s.v.map(f64::from)),
    );
    let single = [1.0];
    let schedule = if params.gnc_schedule.is_empty() { &single[..] } else { &params.gnc_schedule };
    for &beta in schedule {
        for (i, level) in levels(params, shape).iter().enumerate() {
            u = resize(&u, level.shape);
            v = resize(&v, level.shape);
            let is_unwarped = i == 0
                && params.gnc_schedule.is_empty()
                && !(start.is_some() && params.definition == Definition::Repaired);
            solve_level(problem, frame, level, Step { beta, is_unwarped }, &mut u, &mut v);
        }
        if u.shape() != shape {
            u = enlarge(&u, shape);
            v = enlarge(&v, shape);
        }
    }
    FlowField { u: u.map(|x| x as f32), v: v.map(|x| x as f32) }
}

/// Where in the schedule a level is solved.
#[derive(Clone, Copy)]
struct Step {
    beta: f64,
    /// Whether the frame is compared as it is at first.
    is_unwarped: bool,
}

fn solve_level(
    problem: &Problem,
    frame: &[Image<f32>],
    level: &Level,
    step: Step,
    u: &mut Grid,
    v: &mut Grid,
) {
    let params = problem.params;
    let channels = frame.len();
    let small = |planes: &[Image<f32>]| -> Vec<Grid> {
        planes.iter().map(|p| resize(&p.map(f64::from), level.shape)).collect()
    };
    let (fixed, moving) = (small(problem.reference), small(frame));
    let weights: Vec<Grid> = if problem.weight_maps.is_empty() {
        (0..channels)
            .map(|c| Grid::filled(level.shape, params.channel_weight(c, channels)))
            .collect()
    } else {
        small(problem.weight_maps)
    };
    let robustness = Robustness {
        data: (0..channels).map(|c| params.data_exponent(c)).collect(),
        smooth: params.a_smooth,
        beta: step.beta,
    };
    let is_graduated = !params.gnc_schedule.is_empty();
    let term = params.const_assumption;
    let has_median = level.shape.height.min(level.shape.width) > 5;
    let rounds = if is_graduated { params.warping_steps } else { 1 + params.refinements };
    for round in 0..rounds {
        let tensors: Vec<_> = fixed
            .iter()
            .zip(&moving)
            .map(|(fixed, moving)| {
                if round == 0 && step.is_unwarped {
                    return tensor::tensor(term, fixed, moving, level.spacing);
                }
                let warped = warp(moving, fixed, u, v, level.spacing, params.positions);
                let mut tensor = tensor::tensor(term, fixed, &warped, level.spacing);
                if params.definition == Definition::Repaired {
                    tensor::forget_outside(&mut tensor, u, v, level.spacing);
                }
                tensor
            })
            .collect();
        // A refinement bends the increment only.
        let zero = Grid::filled(level.shape, 0.0);
        let is_refinement = !is_graduated && round > 0;
        let (bent_u, bent_v) = if is_refinement { (&zero, &zero) } else { (&*u, &*v) };
        let system = System { tensors: &tensors, weights: &weights, u: bent_u, v: bent_v, level };
        let (mut du, mut dv) = solve::solve(&system, &robustness, params);
        if has_median && !is_graduated {
            du = median_5x5(&du);
            dv = median_5x5(&dv);
        }
        for (total, step) in [(&mut *u, &du), (&mut *v, &dv)] {
            for (t, s) in total.pixels_mut().iter_mut().zip(step.pixels()) {
                *t += s;
            }
        }
        if has_median && is_graduated {
            *u = median_5x5(u);
            *v = median_5x5(v);
        }
    }
}
