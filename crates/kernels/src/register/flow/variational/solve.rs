//! One level of one frame.

use bytemuck::{cast_slice, cast_slice_mut};
use stillframe_image::Image;

use super::data::{Factor, Factors, Pair, forget, linearise};
use super::plan::{Fixed, Plan, skew_into};
use super::relax::Coupling;
use super::sweep::Cells;
use super::system::{Bend, DataWeight, Penalty, Terms, bend};
use super::varying;
use crate::register::flow::FlowField;
use crate::register::flow::lanes::Lanes;
use crate::register::flow::median::{MedianScratch, median};
use crate::register::flow::params::{ConstAssumption, Definition, FlowParams};
use crate::register::flow::resize::ResizeScratch;
use crate::register::flow::skew::{Skew, mirror, resized};

/// Memory that is used again for every level of every frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) u: Component,
    pub(super) v: Component,
    pub(super) resize: ResizeScratch,
    median: MedianScratch,
    signatures: [Vec<Lanes>; 2],
    channel_weights: Vec<f32>,
    penalties: Vec<Penalty>,
    moving: Vec<Vec<f32>>,
    warped: Vec<f32>,
    warped_skewed: Vec<Lanes>,
    mask: Vec<f32>,
    mask_skewed: Vec<Lanes>,
    bends: Vec<Bend>,
    psi: Vec<Lanes>,
    bend_weights: Vec<Lanes>,
    factors: Vec<Factor>,
    rest: Vec<Lanes>,
    cells: Cells,
}

/// One component of the flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Component {
    /// The flow at the present level, row by row.
    pub(super) rows: Vec<f32>,
    coarser: Vec<f32>,
    skewed: Vec<Lanes>,
    total: Vec<Lanes>,
    increment: Vec<Lanes>,
}

/// Where the flow at the beginning of a level comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// Nowhere: the coarsest level without a start.
    Zero,
    /// A field of full size: the coarsest level with one.
    Field(&'a FlowField),
    /// The level before.
    Coarser,
}

/// Where in the schedule a level is solved.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) beta: f32,
    /// Whether the frame is compared as it is at first.
    pub(super) is_unwarped: bool,
}

impl Scratch {
    pub(super) fn new(params: &FlowParams, channels: usize) -> Self {
        Self {
            channel_weights: (0..channels)
                .map(|c| params.channel_weight(c, channels) as f32)
                .collect(),
            moving: vec![Vec::new(); channels],
            ..Self::default()
        }
    }

    /// Brings the flow and the frame to the size of the level.
    pub(super) fn enter_level(&mut self, plan: &Plan, frame: &[Image<f32>], origin: Origin) {
        let (start_u, start_v) = match origin {
            Origin::Field(field) => (Some(&field.u), Some(&field.v)),
            Origin::Zero | Origin::Coarser => (None, None),
        };
        for (component, start) in [(&mut self.u, start_u), (&mut self.v, start_v)] {
            std::mem::swap(&mut component.rows, &mut component.coarser);
            component.rows.resize(plan.shape.len(), 0.0);
            match (origin, start) {
                (Origin::Coarser, _) => {
                    plan.grow.run(&component.coarser, &mut component.rows, &mut self.resize);
                }
                (_, Some(start)) => {
                    plan.grow.run(start.pixels(), &mut component.rows, &mut self.resize);
                }
                (_, None) => component.rows.fill(0.0),
            }
        }
        for (channel, rows) in frame.iter().zip(&mut self.moving) {
            rows.resize(plan.shape.len(), 0.0);
            plan.shrink.run(channel.pixels(), rows, &mut self.resize);
        }
    }

    /// Improves the flow at the level.
    pub(super) fn solve_level(
        &mut self,
        plan: &Plan,
        fixed: &Fixed,
        params: &FlowParams,
        step: Step,
    ) {
        let is_graduated = !params.gnc_schedule.is_empty();
        self.penalties.clear();
        for c in 0..self.channel_weights.len() {
            let exponent = params.data_exponent(c) as f32;
            self.penalties.push(Penalty { exponent, beta: step.beta });
        }
        let rounds = if is_graduated { params.warping_steps } else { 1 + params.refinements };
        for round in 0..rounds {
            self.linearise(plan, fixed, params, step.is_unwarped && round == 0);
            let is_refinement = !is_graduated && round > 0;
            self.prepare_bends(plan, is_refinement);
            self.relax(plan, fixed, params, step.beta);
            self.add_increment(plan, is_graduated);
        }
    }

    fn linearise(&mut self, plan: &Plan, fixed: &Fixed, params: &FlowParams, is_unwarped: bool) {
        let channels = self.moving.len();
        let has_rest = params.const_assumption == ConstAssumption::Census;
        self.factors.resize(plan.skew.cells() * channels, Factor::default());
        self.rest.resize(if has_rest { self.factors.len() } else { 0 }, Lanes::default());
        self.warped.resize(plan.shape.len(), 0.0);
        let mut has_outside = false;
        if params.definition == Definition::Repaired && !is_unwarped {
            self.mask.resize(plan.shape.len(), 0.0);
            has_outside = plan.warp.mask(&self.u.rows, &self.v.rows, &mut self.mask);
        }
        if has_outside {
            skew_into(&plan.skew, &self.mask, &mut self.mask_skewed);
        }
        for (c, moving) in self.moving.iter().enumerate() {
            let rows = if is_unwarped {
                moving
            } else {
                let (u, v) = (&self.u.rows, &self.v.rows);
                plan.warp.run(moving, &fixed.rows[c], u, v, &mut self.warped);
                &self.warped
            };
            skew_into(&plan.skew, rows, &mut self.warped_skewed);
            let pair = Pair {
                fixed: cast_slice(&fixed.skewed[c]),
                warped: cast_slice(&self.warped_skewed),
                spacing: plan.spacing,
            };
            let mut out = Factors {
                all: &mut self.factors,
                rest: &mut self.rest,
                stride: channels,
                channel: c,
            };
            let term = params.const_assumption;
            linearise(term, &plan.skew, pair, &mut out, &mut self.signatures);
            if has_outside {
                forget(&plan.skew, cast_slice(&self.mask_skewed), &mut out);
            }
        }
    }

    /// Takes the flow so far into account: in a refinement it may bend as it likes.
    fn prepare_bends(&mut self, plan: &Plan, is_refinement: bool) {
        for component in [&mut self.u, &mut self.v] {
            if is_refinement {
                resized(&mut component.skewed, &plan.skew);
            } else {
                skew_into(&plan.skew, &component.rows, &mut component.skewed);
            }
            resized(&mut component.increment, &plan.skew);
        }
        self.bends.resize(plan.skew.cells(), Bend::default());
        if is_refinement {
            self.bends.fill(Bend::default());
        } else {
            let (u, v) = (cast_slice(&self.u.skewed), cast_slice(&self.v.skewed));
            bend(&plan.skew, u, v, plan.smoothness, &mut self.bends);
        }
    }

    fn relax(&mut self, plan: &Plan, fixed: &Fixed, params: &FlowParams, beta: f32) {
        let is_varying = params.a_smooth != 1.0;
        if is_varying {
            self.psi.resize(plan.skew.groups(), Lanes::default());
            cast_slice_mut::<_, f32>(&mut self.psi).fill(1.0);
            self.bend_weights.resize(plan.skew.cells(), Lanes::default());
        }
        for pass in &plan.passes {
            if is_varying {
                let penalty = Penalty { exponent: params.a_smooth as f32, beta };
                self.weigh_smoothness(plan, pass.begins_with_update().then_some(penalty));
            }
            let terms = Terms {
                skew: &plan.skew,
                factors: &self.factors,
                rest: (!self.rest.is_empty()).then_some(&self.rest),
                weight: if fixed.weights.is_empty() {
                    DataWeight::Uniform(&self.channel_weights)
                } else {
                    DataWeight::Map(&fixed.weights)
                },
                penalties: &self.penalties,
                bends: &self.bends,
                bend_weights: is_varying.then_some(&self.bend_weights),
                smoothness: plan.smoothness,
            };
            let coupling = if is_varying {
                Coupling::Varying(cast_slice(&self.psi))
            } else {
                Coupling::Uniform(&plan.edges)
            };
            let du = cast_slice_mut(&mut self.u.increment);
            let dv = cast_slice_mut(&mut self.v.increment);
            pass.run(&terms, coupling, du, dv, &mut self.cells);
        }
    }

    /// Weights of the smoothness between pixels: robust ones with a `penalty`, else as they were.
    fn weigh_smoothness(&mut self, plan: &Plan, penalty: Option<Penalty>) {
        let skew = &plan.skew;
        if let Some(penalty) = penalty {
            for component in [&mut self.u, &mut self.v] {
                component.total.clone_from(&component.skewed);
                let total: &mut [f32] = cast_slice_mut(&mut component.total);
                let increment: &[f32] = cast_slice(&component.increment);
                total.iter_mut().zip(increment).for_each(|(t, d)| *t += d);
            }
            let (u, v) = (cast_slice(&self.u.total), cast_slice(&self.v.total));
            varying::weigh(skew, u, v, plan.spacing, penalty, cast_slice_mut(&mut self.psi));
        }
        let (u, v) = (cast_slice(&self.u.skewed), cast_slice(&self.v.skewed));
        let psi = cast_slice(&self.psi);
        let weights = &mut self.bend_weights;
        varying::bend(skew, u, v, psi, plan.smoothness, &mut self.bends, weights);
    }

    /// Adds the increment, filtered by a median, to the flow; in graduated non-convexity the flow
    /// itself is filtered.
    fn add_increment(&mut self, plan: &Plan, is_graduated: bool) {
        let has_median = plan.shape.height.min(plan.shape.width) > 5;
        for component in [&mut self.u, &mut self.v] {
            let increment: &mut [f32] = cast_slice_mut(&mut component.increment);
            let filtered: &mut [f32] = cast_slice_mut(&mut component.skewed);
            let rows = &mut component.rows;
            if has_median && !is_graduated {
                median_of(&plan.skew, increment, filtered, &mut self.median);
                plan.skew.add_to_rows(filtered, rows);
            } else {
                plan.skew.add_to_rows(increment, rows);
            }
            if has_median && is_graduated {
                plan.skew.store(rows, increment);
                median_of(&plan.skew, increment, filtered, &mut self.median);
                rows.fill(0.0);
                plan.skew.add_to_rows(filtered, rows);
            }
        }
    }
}

fn median_of(skew: &Skew, src: &mut [f32], dst: &mut [f32], scratch: &mut MedianScratch) {
    skew.fill_margin(src, 2, mirror);
    median(skew, src, dst, scratch);
}
