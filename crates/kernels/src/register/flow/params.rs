//! What may be chosen about a flow, and what can be wrong with a choice.

use serde::{Deserialize, Serialize};
use stillframe_image::Shape;

use super::dis::DisParams;

/// Which algorithm computes the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Coarse-to-fine variational flow, float32, along anti-diagonals.
    #[default]
    Variational,
    /// The same definition in float64, row by row: slow, plain, the measure of the others.
    Reference,
    /// Dense inverse search (see [`DisParams`]).
    Dis,
}

/// What is assumed to stay constant along the motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstAssumption {
    /// The gradient, normalised by the second derivatives.
    #[default]
    #[serde(rename = "gc", alias = "gradient")]
    Gradient,
    /// The grey value.
    #[serde(rename = "gray", alias = "brightness")]
    Gray,
    /// The order of a pixel and its eight neighbours, smoothed.
    #[serde(rename = "cs", alias = "census")]
    Census,
}

/// How far down the pyramid the flow is solved; below, it is interpolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Finest level 6: 26 % of the side at the default `eta`.
    Fast,
    /// Finest level 4: 41 % of the side.
    Balanced,
    /// Every level.
    #[default]
    Quality,
}

impl Quality {
    /// The finest level that is solved, 0 being full resolution.
    pub const fn min_level(self) -> usize {
        match self {
            Self::Fast => 6,
            Self::Balanced => 4,
            Self::Quality => 0,
        }
    }
}

/// To what the positions are rounded at which the moving frame is sampled inside the pyramid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Not at all.
    #[default]
    Exact,
    /// 1/32 pixel, ties to even: what a well-known image library does, kept to compare with flows
    /// that were computed through it.
    Thirtyseconds,
}

/// Whether two quirks of the definition are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    /// Pixels that would come from outside the frame take the reference's value, which holds the
    /// flow where it is; a starting field is not applied to the frame at the coarsest level.
    #[default]
    Original,
    /// Pixels from outside the frame say nothing about the flow; a starting field is applied.
    Repaired,
}

/// Everything about a flow that may change a bit of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowParams {
    /// The algorithm.
    pub backend: Backend,
    /// Weight of the smoothness along x and y, above 0; at level i it is multiplied by
    /// `eta^(-i/2)`, at the finest solved level by 1.
    pub alpha: [f64; 2],
    /// Most levels of the pyramid, at least 1.
    pub levels: usize,
    /// Finest level that is solved (see [`Quality::min_level`]), 0 being full resolution.
    pub min_level: usize,
    /// Ratio of the sides of a level to those of the next finer one, in (0, 1].
    pub eta: f64,
    /// Relaxation sweeps per level, at least 1.
    pub iterations: usize,
    /// Sweeps between two updates of the robust weights, at least 1.
    pub update_lag: usize,
    /// Exponent of the robust data term, one for all channels or one each, in (0, 1]; 1 is
    /// quadratic.
    pub a_data: Vec<f64>,
    /// Exponent of the smoothness term, at least 0; 1 is quadratic.
    pub a_smooth: f64,
    /// The data term.
    pub const_assumption: ConstAssumption,
    /// Weight of each channel, at least 0; empty is 1/C each. Not normalised here.
    pub weight: Vec<f64>,
    /// Graduated non-convexity: share of the robust weights in each pass over the pyramid, from 0
    /// to 1; empty is one ordinary pass.
    pub gnc_schedule: Vec<f64>,
    /// Linearisations per level when `gnc_schedule` is used, at least 1.
    pub warping_steps: usize,
    /// Sampling positions inside the pyramid.
    pub positions: Positions,
    /// Over-relaxation of the sweeps, in (0, 2).
    pub relaxation: f64,
    /// Further solutions per level in which only the increment, not the whole flow, has to be
    /// smooth: a large `alpha` then suppresses noise without flattening the motion. Not together
    /// with `gnc_schedule`.
    ///
    /// # Source
    /// Osher, Burger, Goldfarb, Xu & Yin (2005), doi:10.1137/040605412 (iterated regularisation).
    pub refinements: usize,
    /// Quirks of the definition.
    pub definition: Definition,
    /// The dense inverse search.
    pub dis: DisParams,
}

impl Default for FlowParams {
    /// The defaults of the recipe: `alpha` 1.5, 50 sweeps, every level.
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            alpha: [1.5, 1.5],
            levels: 100,
            min_level: 0,
            eta: 0.8,
            iterations: 50,
            update_lag: 5,
            a_data: vec![0.45],
            a_smooth: 1.0,
            const_assumption: ConstAssumption::default(),
            weight: Vec::new(),
            gnc_schedule: Vec::new(),
            warping_steps: 10,
            positions: Positions::default(),
            relaxation: 1.95,
            refinements: 0,
            definition: Definition::default(),
            dis: DisParams::default(),
        }
    }
}

/// Why a flow cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// A field of [`FlowParams`] is out of its range.
    #[error("{field} is {found}, but must be {needed}")]
    Parameter {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// There is no pixel or no channel.
    #[error(
        "a flow needs at least one pixel and one channel; found {channels} channels of {shape}"
    )]
    Empty {
        /// Size of the frames.
        shape: Shape,
        /// Their channels.
        channels: usize,
    },
    /// Frames, weights or a starting field do not have the shape that the flow was made for.
    #[error(
        "{what} has {found_channels} planes of {found}, but the flow was made for \
             {needed_channels} of {needed}"
    )]
    Shape {
        /// Which input.
        what: &'static str,
        /// Its size.
        found: Shape,
        /// Its planes.
        found_channels: usize,
        /// The size that was announced.
        needed: Shape,
        /// The planes that were announced.
        needed_channels: usize,
    },
    /// A flow was asked for before there was a reference.
    #[error("no reference has been set")]
    NoReference,
}

impl FlowParams {
    /// The parameters of `alpha: auto`: strong smoothness with refinements, on few levels and with
    /// few sweeps. The `alpha` in it suits photon-limited recordings of 256 to 512 pixels; from it
    /// [`super::auto::choose_alpha`] finds the one that suits the recording.
    ///
    /// Fast solves a quarter of the side, balanced half, quality all of it.
    pub fn automatic(quality: Quality) -> Self {
        let (min_level, alpha_x, refinements, iterations, relaxation) = match quality {
            Quality::Fast => (2, 96.0, 1, 10, 1.9),
            Quality::Balanced => (1, 120.0, 2, 20, 1.9),
            Quality::Quality => (0, 120.0, 3, 40, 1.95),
        };
        Self {
            // Scanning microscopes expose row after row: motion changes faster along y.
            alpha: [alpha_x, 0.5 * alpha_x],
            eta: 0.5,
            min_level,
            iterations,
            // The first sweeps are quadratic, which takes large displacements further.
            update_lag: if quality == Quality::Fast { 5 } else { 10 },
            relaxation,
            refinements,
            definition: Definition::Repaired,
            ..Self::default()
        }
    }

    /// Checks every field for a recording with `channels` channels.
    ///
    /// # Errors
    /// [`FlowError::Parameter`] names the first field that is out of range.
    pub fn validate(&self, channels: usize) -> Result<(), FlowError> {
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let fail =
            |field, found: String, needed| Err(FlowError::Parameter { field, found, needed });
        if !self.alpha.iter().all(|&a| positive(a)) {
            return fail("alpha", format!("{:?}", self.alpha), "above 0");
        }
        for (field, n) in [
            ("levels", self.levels),
            ("iterations", self.iterations),
            ("update_lag", self.update_lag),
            ("warping_steps", self.warping_steps),
            ("dis.iterations", self.dis.iterations),
        ] {
            if n == 0 {
                return fail(field, n.to_string(), "at least 1");
            }
        }
        if !(positive(self.eta) && self.eta <= 1.0) {
            return fail("eta", self.eta.to_string(), "above 0 and at most 1");
        }
        let lengths = |n: usize| n == 1 || n == channels;
        if !(lengths(self.a_data.len()) && self.a_data.iter().all(|&a| positive(a) && a <= 1.0)) {
            return fail(
                "a_data",
                format!("{:?}", self.a_data),
                "one value or one per channel, above 0 and at most 1",
            );
        }
        if !(self.a_smooth >= 0.0 && self.a_smooth.is_finite()) {
            return fail("a_smooth", self.a_smooth.to_string(), "at least 0");
        }
        let weights_fit = self.weight.is_empty() || self.weight.len() == channels;
        if !(weights_fit && self.weight.iter().all(|&w| w >= 0.0 && w.is_finite())) {
            return fail(
                "weight",
                format!("{:?}", self.weight),
                "empty or one value per channel, at least 0",
            );
        }
        let g = &self.gnc_schedule;
        let rises = g.windows(2).all(|w| w[0] <= w[1]);
        let ends = g.first() == Some(&0.0) && g.last() == Some(&1.0);
        if !(g.is_empty() || (g.len() >= 2 && rises && ends)) {
            return fail("gnc_schedule", format!("{g:?}"), "a rising list from 0 to 1");
        }
        if !g.is_empty() && self.refinements > 0 {
            return fail("refinements", self.refinements.to_string(), "0 with a gnc_schedule");
        }
        if !(positive(self.relaxation) && self.relaxation < 2.0) {
            return fail("relaxation", self.relaxation.to_string(), "above 0 and below 2");
        }
        Ok(())
    }

    /// Weight of channel `c` of `channels`.
    pub(crate) fn channel_weight(&self, c: usize, channels: usize) -> f64 {
        self.weight.get(c).copied().unwrap_or(1.0 / channels as f64)
    }

    /// Exponent of the data term of channel `c`.
    pub(crate) fn data_exponent(&self, c: usize) -> f64 {
        if self.a_data.len() == 1 { self.a_data[0] } else { self.a_data[c] }
    }
}
