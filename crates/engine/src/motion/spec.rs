//! Everything that the work on a frame needs beside the frame.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_kernels::register::flow::filter::{Normalisation, Preprocessor, temporal_weights};
use stillframe_kernels::register::flow::{FlowField, FlowParams, Interpolation};

use crate::recipe::{ChannelNormalization, FlowBackend, MotionRecipe};
use crate::wire;

/// The same for all frames of a segment; travels to worker processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FrameSpec {
    pub(super) shape: Shape,
    pub(super) channels: usize,
    pub(super) backend: FlowBackend,
    pub(super) params: FlowParams,
    /// Standard deviations along x, y and time, per channel.
    pub(super) sigmas: Vec<[f64; 3]>,
    pub(super) normalisations: Vec<Normalisation>,
    pub(super) interpolation: Interpolation,
    /// Longest side at which frames are shifted by correlation first; `None`: they are not.
    pub(super) cc_side: Option<usize>,
    /// Planes of the reference as it was recorded: range, fill.
    #[serde(with = "wire::pod")]
    pub(super) raw_reference: Vec<f32>,
    /// Planes of the normalised and smoothed reference.
    #[serde(with = "wire::pod")]
    pub(super) reference: Vec<f32>,
    /// Where flows start, u and then v; empty: from zero.
    #[serde(with = "wire::pod")]
    pub(super) start: Vec<f32>,
    pub(super) wants: Wants,
}

/// What is made of a frame beside its registered pixels.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Wants {
    /// Displacements of the frames from this one on; `None`: of none.
    pub(super) fields_from: Option<usize>,
    /// Masks of the pixels from inside the frame.
    pub(super) valid: bool,
    /// The registered smoothed frame, from this one on.
    pub(super) smoothed_from: Option<usize>,
    /// The frame as it was recorded, of every so many frames.
    pub(super) raw_step: Option<usize>,
}

impl FrameSpec {
    /// For a recording of frames like `raw_reference` (planar), which is smoothed here.
    pub(super) fn new(
        recipe: &MotionRecipe,
        shape: Shape,
        channels: usize,
        raw_reference: Vec<f32>,
    ) -> Self {
        let planes = planes_of(shape, &raw_reference);
        let normalisations = match recipe.channel_normalization {
            ChannelNormalization::Joint => vec![Normalisation::of(&planes); channels],
            ChannelNormalization::Separate => {
                planes.iter().map(|p| Normalisation::of(std::slice::from_ref(p))).collect()
            }
        };
        let mut spec = Self {
            shape,
            channels,
            backend: recipe.flow_backend,
            params: recipe.flow_params(channels),
            sigmas: (0..channels).map(|c| recipe.sigma_of(c)).collect(),
            normalisations,
            interpolation: recipe.interpolation_method.into(),
            cc_side: recipe.cc_initialization.then_some(recipe.cc_hw),
            raw_reference,
            reference: Vec::new(),
            start: Vec::new(),
            wants: Wants::default(),
        };
        spec.smooth_reference();
        spec
    }

    /// Makes [`Self::reference`] of the raw one.
    pub(super) fn smooth_reference(&mut self) {
        let raw = planes_of(self.shape, &self.raw_reference);
        let mut smoothed = raw.clone();
        self.preprocessor().run(&raw, &mut smoothed);
        self.reference = smoothed.iter().flat_map(Image::pixels).copied().collect();
    }

    pub(super) fn preprocessor(&self) -> Preprocessor {
        let sigmas: Vec<[f64; 2]> = self.sigmas.iter().map(|s| [s[1], s[0]]).collect();
        Preprocessor::new(self.shape, &sigmas, &self.normalisations)
    }

    /// Weights of neighbouring frames, per channel, all of one length.
    pub(super) fn temporal(&self) -> Vec<Vec<f32>> {
        let own: Vec<Vec<f32>> = self.sigmas.iter().map(|s| temporal_weights(s[2])).collect();
        let longest = own.iter().map(Vec::len).max().unwrap_or(1);
        own.into_iter()
            .map(|weights| {
                let side = vec![0.0; (longest - weights.len()) / 2];
                [side.clone(), weights, side].concat()
            })
            .collect()
    }

    pub(super) fn start_field(&self) -> Option<FlowField> {
        let n = self.shape.len();
        (!self.start.is_empty()).then(|| FlowField {
            u: Image::from_vec(self.shape, self.start[..n].to_vec()),
            v: Image::from_vec(self.shape, self.start[n..].to_vec()),
        })
    }
}

/// Planar samples as images.
pub(super) fn planes_of(shape: Shape, samples: &[f32]) -> Vec<Image<f32>> {
    samples.chunks_exact(shape.len()).map(|p| Image::from_vec(shape, p.to_vec())).collect()
}
