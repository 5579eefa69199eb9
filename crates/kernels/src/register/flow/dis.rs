//! The `dis` backend: dense inverse search, alone or as the start of a short variational flow.
//!
//! Patches of the reference are searched in the frame from coarse to fine; since the patches that
//! are moved are those of the reference, their gradients and Hessians are computed once. The dense
//! field is the mean of the patches that cover a pixel, weighted by how well they fit there.
//!
//! # Source
//! Kroeger, Timofte, Dai & Van Gool (2016), doi:10.1007/978-3-319-46493-0_29. We differ: float
//! images, channels that are matched together (each with its own mean), the variational step of
//! this crate.

mod patch;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};

use self::patch::{Grid, PAD, Search, Template, densify, padded, search};
use super::FlowField;
use super::params::FlowParams;
use super::pyramid::levels;
use super::resize::{ResizeScratch, Resizer};

/// What the dense inverse search does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisParams {
    /// Finest scale that is searched: 2 is a quarter of the side.
    pub finest_scale: usize,
    /// Most gradient steps per patch and scale, at least 1.
    pub iterations: usize,
    /// Whether and how far the field is refined: the finest level of a variational flow that
    /// starts from the search, by the other fields of [`FlowParams`] with an `eta` of 1/2.
    pub refine_to: Option<usize>,
}

impl Default for DisParams {
    fn default() -> Self {
        Self { finest_scale: 2, iterations: 12, refine_to: None }
    }
}

/// Coarser scales than this many pixels hold too few patches.
const LEAST_SIDE: usize = 16;

/// Computes flows; see [`super::Flow`]. Clones share what frames do not change.
#[derive(Clone, Debug)]
pub(super) struct Dis {
    iterations: usize,
    scales: Arc<Vec<Scale>>,
    templates: Arc<Vec<Template>>,
    enlarge: Arc<Resizer>,
    weights: Vec<f32>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Scale {
    grid: Grid,
    /// Full-resolution pixels per pixel, along x and y.
    spacing: [f32; 2],
    shrink: Resizer,
    grow: Resizer,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    resize: ResizeScratch,
    level: Vec<f32>,
    moving: Vec<Vec<f32>>,
    u: Vec<f32>,
    v: Vec<f32>,
    coarser: Vec<f32>,
    search: Search,
}

impl Dis {
    pub(super) fn new(params: &FlowParams, shape: Shape, channels: usize) -> Self {
        let halves = FlowParams {
            eta: 0.5,
            levels: usize::MAX,
            min_level: params.dis.finest_scale,
            ..params.clone()
        };
        let all = levels(&halves, shape);
        let is_large = |s: Shape| s.height.min(s.width) >= LEAST_SIDE;
        let first = all.iter().position(|l| is_large(l.shape)).unwrap_or(all.len() - 1);
        let mut coarser = shape;
        let scales = all[first..]
            .iter()
            .map(|level| {
                let scale = Scale {
                    grid: Grid::new(level.shape),
                    spacing: level.spacing.map(|h| h as f32),
                    shrink: Resizer::pyramid(shape, level.shape),
                    grow: Resizer::pyramid(coarser, level.shape),
                };
                coarser = level.shape;
                scale
            })
            .collect();
        Self {
            iterations: params.dis.iterations,
            scales: Arc::new(scales),
            templates: Arc::default(),
            enlarge: Arc::new(Resizer::enlarge(coarser, shape)),
            weights: (0..channels).map(|c| params.channel_weight(c, channels) as f32).collect(),
            scratch: Scratch { moving: vec![Vec::new(); channels], ..Scratch::default() },
        }
    }

    pub(super) fn set_reference(&mut self, reference: &[Image<f32>]) {
        let Scratch { resize, level, .. } = &mut self.scratch;
        let templates = self.scales.iter().map(|scale| {
            let shape = scale.grid.shape;
            let planes = reference.iter().map(|channel| {
                level.resize(shape.len(), 0.0);
                scale.shrink.run(channel.pixels(), level, resize);
                let mut plane = Vec::new();
                padded(level, shape, &mut plane);
                plane
            });
            Template::new(&scale.grid, planes.collect(), &self.weights)
        });
        self.templates = Arc::new(templates.collect());
    }

    pub(super) fn compute(
        &mut self,
        frame: &[Image<f32>],
        start: Option<&FlowField>,
        out: &mut FlowField,
    ) {
        for (i, (scale, template)) in self.scales.iter().zip(&*self.templates).enumerate() {
            let s = &mut self.scratch;
            let shape = scale.grid.shape;
            let parts = [(&mut s.u, start.map(|f| &f.u)), (&mut s.v, start.map(|f| &f.v))];
            for ((rows, start), spacing) in parts.into_iter().zip(scale.spacing) {
                if i == 0 {
                    rows.clear();
                    rows.resize(shape.len(), 0.0);
                    if let Some(start) = start {
                        scale.grow.run(start.pixels(), rows, &mut s.resize);
                    }
                } else {
                    std::mem::swap(rows, &mut s.coarser);
                    rows.resize(shape.len(), 0.0);
                    scale.grow.run(&s.coarser, rows, &mut s.resize);
                }
                // The search counts in pixels of the scale.
                for d in rows.iter_mut() {
                    *d /= spacing;
                }
            }
            for (channel, plane) in frame.iter().zip(&mut s.moving) {
                s.level.resize(shape.len(), 0.0);
                scale.shrink.run(channel.pixels(), &mut s.level, &mut s.resize);
                padded(&s.level, shape, plane);
            }
            search(&scale.grid, template, &s.moving, self.iterations, (&s.u, &s.v), &mut s.search);
            densify(&scale.grid, template, &s.moving, &mut s.search, (&mut s.u, &mut s.v));
            for (rows, spacing) in [&mut s.u, &mut s.v].into_iter().zip(scale.spacing) {
                for d in rows.iter_mut() {
                    *d *= spacing;
                }
            }
        }
        let s = &mut self.scratch;
        self.enlarge.run(&s.u, out.u.pixels_mut(), &mut s.resize);
        self.enlarge.run(&s.v, out.v.pixels_mut(), &mut s.resize);
    }
}

/// Keeps windows that reach over the border inside the padding.
const _: () = assert!(PAD >= 2 * patch::SIDE);
