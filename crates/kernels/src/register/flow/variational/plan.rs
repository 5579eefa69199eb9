//! What the levels need that no frame changes.

use bytemuck::cast_slice_mut;
use stillframe_image::{Image, Shape};

use super::relax::{Pass, schedule, schedule_one_by_one};
use super::sweep::{Edge, Smoothness, edges};
use crate::register::flow::lanes::Lanes;
use crate::register::flow::params::FlowParams;
use crate::register::flow::pyramid::Level;
use crate::register::flow::resize::{ResizeScratch, Resizer};
use crate::register::flow::skew::{Skew, repeat_end};
use crate::register::flow::warp::{Interpolation, Warp};

/// Geometry and order of work of one level.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) spacing: [f32; 2],
    pub(super) smoothness: Smoothness,
    pub(super) skew: Skew,
    pub(super) edges: Vec<Edge>,
    pub(super) passes: Vec<Pass>,
    /// From full resolution to this level.
    pub(super) shrink: Resizer,
    /// From the level before, or from full resolution to the coarsest level.
    pub(super) grow: Resizer,
    pub(super) warp: Warp,
}

impl Plan {
    /// The plan of `level` of a pyramid over `full`; the level before has the size `coarser`.
    pub(super) fn new(
        params: &FlowParams,
        level: &Level,
        (full, coarser): (Shape, Shape),
        channels: usize,
    ) -> Self {
        let smoothness = Smoothness {
            omega: params.relaxation as f32,
            ax: (level.alpha[0] / (level.spacing[0] * level.spacing[0])) as f32,
            ay: (level.alpha[1] / (level.spacing[1] * level.spacing[1])) as f32,
        };
        let skew = Skew::new(level.shape);
        let longest = level.shape.height.min(level.shape.width);
        let passes = if params.a_smooth == 1.0 {
            schedule(params.iterations, params.update_lag, longest, channels)
        } else {
            schedule_one_by_one(params.iterations, params.update_lag)
        };
        Self {
            shape: level.shape,
            spacing: level.spacing.map(|h| h as f32),
            smoothness,
            edges: edges(&skew, smoothness),
            skew,
            passes,
            shrink: Resizer::pyramid(full, level.shape),
            grow: Resizer::pyramid(coarser, level.shape),
            warp: Warp {
                shape: level.shape,
                per_spacing: level.spacing.map(|h| (1.0 / h) as f32),
                interpolation: Interpolation::Cubic,
                positions: params.positions,
            },
        }
    }
}

/// The reference at one level, per channel, and the weights of its data.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) rows: Vec<Vec<f32>>,
    pub(super) skewed: Vec<Vec<Lanes>>,
    /// At `channels · cell + channel`; empty if the weights are the same everywhere.
    pub(super) weights: Vec<Lanes>,
}

impl Fixed {
    pub(super) fn new(
        plan: &Plan,
        reference: &[Image<f32>],
        weight_maps: &[Image<f32>],
        scratch: &mut ResizeScratch,
    ) -> Self {
        let mut shrunk = |images: &[Image<f32>]| -> Vec<Vec<f32>> {
            let shrink = |image: &Image<f32>| {
                let mut rows = vec![0.0; plan.shape.len()];
                plan.shrink.run(image.pixels(), &mut rows, scratch);
                rows
            };
            images.iter().map(shrink).collect()
        };
        let (rows, maps) = (shrunk(reference), shrunk(weight_maps));
        let skewed = |rows: &Vec<f32>| {
            let mut plane = Vec::new();
            skew_into(&plan.skew, rows, &mut plane);
            plane
        };
        let maps: Vec<Vec<Lanes>> = maps.iter().map(skewed).collect();
        let mut weights = Vec::with_capacity(maps.len() * plan.skew.cells());
        if !maps.is_empty() {
            for sum in 0..plan.skew.n_diagonals() {
                let windows =
                    maps.iter().map(|m| plan.skew.window(bytemuck::cast_slice(m), sum, 0, 0));
                let windows: Vec<_> = windows.collect();
                for i in 0..windows[0].len() {
                    weights.extend(windows.iter().map(|w| Lanes(w[i])));
                }
            }
        }
        Self { skewed: rows.iter().map(skewed).collect(), rows, weights }
    }
}

/// Stores `rows` along the diagonals, with a margin of one repeated pixel.
pub(super) fn skew_into(skew: &Skew, rows: &[f32], plane: &mut Vec<Lanes>) {
    plane.resize(skew.groups(), Lanes::default());
    let plane = cast_slice_mut(plane);
    skew.store(rows, plane);
    skew.fill_margin(plane, 1, repeat_end);
}
