//! The `variational` backend: coarse to fine, float32, along anti-diagonals.
//!
//! The numbers are those of the definition (see the `reference` backend) up to rounding: a sweep
//! along anti-diagonals visits every pixel after its left and upper neighbours, as rows do.

mod data;
mod relax;
mod sweep;
mod system;

use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};
use stillframe_image::{Image, Shape};

use self::data::{Factor, Factors, Pair, linearise};
use self::relax::Schedule;
use self::sweep::{Cells, Edge, Smoothness, edges};
use self::system::{Bend, DataWeight, Penalty, Terms, bend};
use super::FlowField;
use super::lanes::Lanes;
use super::median::{MedianScratch, median};
use super::params::{ConstAssumption, FlowParams};
use super::pyramid::levels;
use super::resize::{ResizeScratch, Resizer};
use super::skew::{Skew, mirror, repeat_end, resized};
use super::warp::{Interpolation, Warp};

/// What a level needs that no frame changes.
#[derive(Debug)]
struct Plan {
    shape: Shape,
    spacing: [f32; 2],
    smoothness: Smoothness,
    skew: Skew,
    edges: Vec<Edge>,
    schedule: Schedule,
    /// From full resolution to this level.
    shrink: Resizer,
    /// From the level before.
    grow: Resizer,
    warp: Warp,
}

/// The reference at one level, per channel.
#[derive(Debug)]
struct Fixed {
    rows: Vec<Vec<f32>>,
    skewed: Vec<Vec<Lanes>>,
}

/// Computes flows; see [`super::Flow`].
#[derive(Clone, Debug)]
pub(super) struct Variational {
    params: FlowParams,
    shape: Shape,
    plans: Arc<Vec<Plan>>,
    fixed: Arc<Vec<Fixed>>,
    enlarge: Arc<Resizer>,
    weights: Vec<f32>,
    scratch: Scratch,
}

/// Memory that is used again for every level of every frame.
#[derive(Clone, Debug, Default)]
struct Scratch {
    resize: ResizeScratch,
    median: MedianScratch,
    signatures: [Vec<Lanes>; 2],
    moving: Vec<Vec<f32>>,
    warped: Vec<f32>,
    warped_skewed: Vec<Lanes>,
    u: Component,
    v: Component,
    bends: Vec<Bend>,
    factors: Vec<Factor>,
    rest: Vec<Lanes>,
    cells: Cells,
}

/// One component of the flow.
#[derive(Clone, Debug, Default)]
struct Component {
    rows: Vec<f32>,
    coarser: Vec<f32>,
    skewed: Vec<Lanes>,
    increment: Vec<Lanes>,
}

impl Variational {
    pub(super) fn new(params: &FlowParams, shape: Shape, channels: usize) -> Self {
        let levels = levels(params, shape);
        let mut coarser = shape;
        let plans = levels
            .iter()
            .map(|level| {
                let smoothness = Smoothness {
                    ax: (level.alpha[0] / (level.spacing[0] * level.spacing[0])) as f32,
                    ay: (level.alpha[1] / (level.spacing[1] * level.spacing[1])) as f32,
                };
                let skew = Skew::new(level.shape);
                let longest = level.shape.height.min(level.shape.width);
                let plan = Plan {
                    shape: level.shape,
                    spacing: level.spacing.map(|h| h as f32),
                    smoothness,
                    edges: edges(&skew, smoothness),
                    skew,
                    schedule: Schedule::new(
                        params.iterations,
                        params.update_lag,
                        longest,
                        channels,
                    ),
                    shrink: Resizer::pyramid(shape, level.shape),
                    grow: Resizer::pyramid(coarser, level.shape),
                    warp: Warp {
                        shape: level.shape,
                        per_spacing: level.spacing.map(|h| (1.0 / h) as f32),
                        interpolation: Interpolation::Cubic,
                        positions: params.positions,
                    },
                };
                coarser = level.shape;
                plan
            })
            .collect();
        let weights = (0..channels).map(|c| params.channel_weight(c, channels) as f32).collect();
        Self {
            params: params.clone(),
            shape,
            plans: Arc::new(plans),
            fixed: Arc::new(Vec::new()),
            enlarge: Arc::new(Resizer::enlarge(coarser, shape)),
            weights,
            scratch: Scratch::default(),
        }
    }

    pub(super) fn set_reference(&mut self, reference: &[Image<f32>]) {
        let resize = &mut self.scratch.resize;
        let fixed = self
            .plans
            .iter()
            .map(|plan| {
                let rows: Vec<Vec<f32>> = reference
                    .iter()
                    .map(|channel| {
                        let mut rows = vec![0.0; plan.shape.len()];
                        plan.shrink.run(channel.pixels(), &mut rows, resize);
                        rows
                    })
                    .collect();
                let skewed = rows
                    .iter()
                    .map(|rows| {
                        let mut plane = Vec::new();
                        skew_into(&plan.skew, rows, &mut plane);
                        plane
                    })
                    .collect();
                Fixed { rows, skewed }
            })
            .collect();
        self.fixed = Arc::new(fixed);
    }

    pub(super) fn compute(&mut self, frame: &[Image<f32>], start: Option<&FlowField>, out: &mut FlowField) {
        let single = [1.0];
        let schedule = self.params.gnc_schedule.clone();
        let schedule = if schedule.is_empty() { &single[..] } else { &schedule };
        for (i, &beta) in schedule.iter().enumerate() {
            if i == 0 {
                self.pass(frame, start, beta as f32);
            } else {
                self.pass(frame, Some(out), beta as f32);
            }
            for (component, out) in
                [(&self.scratch.u, &mut out.u), (&self.scratch.v, &mut out.v)]
            {
                self.enlarge.run(&component.rows, out.pixels_mut(), &mut self.scratch.resize);
            }
        }
    }

    /// From the coarsest to the finest level.
    fn pass(&mut self, frame: &[Image<f32>], start: Option<&FlowField>, beta: f32) {
        let plans = Arc::clone(&self.plans);
        for (i, plan) in plans.iter().enumerate() {
            let s = &mut self.scratch;
            for (component, start) in [
                (&mut s.u, start.map(|f| &f.u)),
                (&mut s.v, start.map(|f| &f.v)),
            ] {
                std::mem::swap(&mut component.rows, &mut component.coarser);
                component.rows.resize(plan.shape.len(), 0.0);
                match start {
                    None if i == 0 => component.rows.fill(0.0),
                    Some(start) if i == 0 => {
                        plan.grow.run(start.pixels(), &mut component.rows, &mut s.resize);
                    }
                    _ => plan.grow.run(&component.coarser, &mut component.rows, &mut s.resize),
                }
            }
            s.moving.resize(frame.len(), Vec::new());
            for (channel, rows) in frame.iter().zip(&mut s.moving) {
                rows.resize(plan.shape.len(), 0.0);
                plan.shrink.run(channel.pixels(), rows, &mut s.resize);
            }
            self.solve_level(i, plan, beta);
        }
    }

    fn solve_level(&mut self, index: usize, plan: &Plan, beta: f32) {
        let is_graduated = !self.params.gnc_schedule.is_empty();
        let has_median = plan.shape.height.min(plan.shape.width) > 5;
        let channels = self.weights.len();
        let penalties: Vec<Penalty> = (0..channels)
            .map(|c| Penalty { exponent: self.params.data_exponent(c) as f32, beta })
            .collect();
        let s = &mut self.scratch;
        s.factors.resize(plan.skew.cells() * channels, Factor::default());
        s.bends.resize(plan.skew.cells(), Bend::default());
        let has_rest = self.params.const_assumption == ConstAssumption::Census;
        s.rest.resize(if has_rest { s.factors.len() } else { 0 }, Lanes::default());
        s.warped.resize(plan.shape.len(), 0.0);
        for _ in 0..if is_graduated { self.params.warping_steps } else { 1 } {
            for (c, moving) in s.moving.iter().enumerate() {
                let fixed = &self.fixed[index];
                let rows = if index == 0 && !is_graduated {
                    moving
                } else {
                    plan.warp.run(moving, &fixed.rows[c], &s.u.rows, &s.v.rows, &mut s.warped);
                    &s.warped
                };
                skew_into(&plan.skew, rows, &mut s.warped_skewed);
                let pair = Pair {
                    fixed: cast_slice(&fixed.skewed[c]),
                    warped: cast_slice(&s.warped_skewed),
                    spacing: plan.spacing,
                };
                let mut factors = Factors {
                    all: &mut s.factors,
                    rest: &mut s.rest,
                    stride: channels,
                    channel: c,
                };
                let term = self.params.const_assumption;
                linearise(term, &plan.skew, pair, &mut factors, &mut s.signatures);
            }
            for component in [&mut s.u, &mut s.v] {
                skew_into(&plan.skew, &component.rows, &mut component.skewed);
                resized(&mut component.increment, &plan.skew);
            }
            let (u, v) = (cast_slice(&s.u.skewed), cast_slice(&s.v.skewed));
            bend(&plan.skew, u, v, plan.smoothness, &mut s.bends);
            let terms = Terms {
                skew: &plan.skew,
                factors: &s.factors,
                rest: has_rest.then_some(&s.rest),
                weight: DataWeight::Uniform(&self.weights),
                penalties: &penalties,
                bends: &s.bends,
                smoothness: plan.smoothness,
            };
            plan.schedule.run(
                &terms,
                &plan.edges,
                cast_slice_mut(&mut s.u.increment),
                cast_slice_mut(&mut s.v.increment),
                &mut s.cells,
            );
            for component in [&mut s.u, &mut s.v] {
                let increment: &mut [f32] = cast_slice_mut(&mut component.increment);
                let filtered: &mut [f32] = cast_slice_mut(&mut component.skewed);
                if has_median && !is_graduated {
                    plan.skew.fill_margin(increment, 2, mirror);
                    median(&plan.skew, increment, filtered, &mut s.median);
                    plan.skew.add_to_rows(filtered, &mut component.rows);
                } else {
                    plan.skew.add_to_rows(increment, &mut component.rows);
                }
                if has_median && is_graduated {
                    plan.skew.store(&component.rows, increment);
                    plan.skew.fill_margin(increment, 2, mirror);
                    median(&plan.skew, increment, filtered, &mut s.median);
                    component.rows.fill(0.0);
                    plan.skew.add_to_rows(filtered, &mut component.rows);
                }
            }
        }
    }
}

/// Stores `rows` along the diagonals, with a margin of one repeated pixel.
fn skew_into(skew: &Skew, rows: &[f32], plane: &mut Vec<Lanes>) {
    plane.resize(skew.groups(), Lanes::default());
    let plane = cast_slice_mut(plane);
    skew.store(rows, plane);
    skew.fill_margin(plane, 1, repeat_end);
}
