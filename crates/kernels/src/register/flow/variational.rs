//! The `variational` backend: coarse to fine, float32, along anti-diagonals.
//!
//! The numbers are those of the definition (see the `reference` backend) up to rounding: a sweep
//! along anti-diagonals visits every pixel after its left and upper neighbours, as rows do.

mod data;
mod plan;
mod relax;
mod solve;
mod sweep;
mod system;
mod varying;

use std::sync::Arc;

use stillframe_image::{Image, Shape};

use self::plan::{Fixed, Plan};
use self::solve::{Origin, Scratch, Step};
use super::FlowField;
use super::params::{Definition, FlowParams};
use super::pyramid::{Level, levels};
use super::resize::Resizer;

/// Computes flows; see [`super::Flow`]. Clones share what frames do not change.
#[derive(Clone, Debug)]
pub(super) struct Variational {
    params: Arc<FlowParams>,
    plans: Arc<Vec<Plan>>,
    fixed: Arc<Vec<Fixed>>,
    /// From the finest solved level to full size.
    enlarge: Arc<Resizer>,
    scratch: Scratch,
}

impl Variational {
    pub(super) fn new(params: &FlowParams, shape: Shape, channels: usize) -> Self {
        Self::with_levels(params, &levels(params, shape), shape, channels)
    }

    /// Improves fields that the dense inverse search has found, on the levels from its finest scale
    /// to `finest`.
    pub(super) fn refiner(
        params: &FlowParams,
        finest: usize,
        shape: Shape,
        channels: usize,
    ) -> Self {
        let params = FlowParams {
            eta: 0.5,
            min_level: finest,
            definition: Definition::Repaired,
            ..params.clone()
        };
        let all = levels(&params, shape);
        let n = params.dis.finest_scale.saturating_sub(finest) + 1;
        Self::with_levels(&params, &all[all.len().saturating_sub(n)..], shape, channels)
    }

    fn with_levels(params: &FlowParams, levels: &[Level], shape: Shape, channels: usize) -> Self {
        let mut coarser = shape;
        let plans = levels
            .iter()
            .map(|level| {
                let plan = Plan::new(params, level, (shape, coarser), channels);
                coarser = level.shape;
                plan
            })
            .collect();
        Self {
            params: Arc::new(params.clone()),
            plans: Arc::new(plans),
            fixed: Arc::default(),
            enlarge: Arc::new(Resizer::enlarge(coarser, shape)),
            scratch: Scratch::new(params, channels),
        }
    }

    pub(super) fn set_reference(&mut self, reference: &[Image<f32>], weight_maps: &[Image<f32>]) {
        let resize = &mut self.scratch.resize;
        let fixed = self.plans.iter().map(|plan| Fixed::new(plan, reference, weight_maps, resize));
        self.fixed = Arc::new(fixed.collect());
    }

    pub(super) fn compute(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
        out: &mut FlowField,
    ) {
        let params = Arc::clone(&self.params);
        let is_graduated = !params.gnc_schedule.is_empty();
        let single = [1.0];
        let schedule = if is_graduated { &params.gnc_schedule[..] } else { &single };
        for (i, &beta) in schedule.iter().enumerate() {
            let start = if i == 0 { start } else { Some(&*out) };
            self.pass(frame, start, beta as f32);
            self.write(out);
        }
    }

    /// Starts from `field` and improves it.
    pub(super) fn improve(&mut self, frame: &[Image<f32>], field: &mut FlowField) {
        self.pass(frame, Some(field), 1.0);
        self.write(field);
    }

    fn write(&mut self, out: &mut FlowField) {
        let scratch = &mut self.scratch;
        self.enlarge.run(&scratch.u.rows, out.u.pixels_mut(), &mut scratch.resize);
        self.enlarge.run(&scratch.v.rows, out.v.pixels_mut(), &mut scratch.resize);
    }

    /// From the coarsest to the finest level.
    fn pass(&mut self, frame: &[Image<f32>], start: Option<&FlowField>, beta: f32) {
        let is_graduated = !self.params.gnc_schedule.is_empty();
        let applies_start = start.is_some() && self.params.definition == Definition::Repaired;
        for (i, (plan, fixed)) in self.plans.iter().zip(&*self.fixed).enumerate() {
            let origin = match start {
                _ if i > 0 => Origin::Coarser,
                Some(field) => Origin::Field(field),
                None => Origin::Zero,
            };
            self.scratch.enter_level(plan, frame, origin);
            let is_unwarped = i == 0 && !is_graduated && !applies_start;
            self.scratch.solve_level(plan, fixed, &self.params, Step { beta, is_unwarped });
        }
    }
}
