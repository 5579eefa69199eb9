//! From star lists to geometry: which frame is the reference, where every frame lies in the mean
//! plane of the burst, and the smooth local displacement field of each.

use stillframe_image::{DisplacementField, Point, Shape, Transform, math};
use stillframe_kernels::register::field_fit::{FieldFitter, FieldObservation, FieldScratch};
use stillframe_kernels::register::fit::Model;
use stillframe_kernels::register::joint::{Joint, JointFrame};
use stillframe_kernels::register::star_match::MatchStar;

use super::error::StackError;
use super::light::LightPhases;

/// A star within this distance of a common star (after its frame's transform) is that star. Local
/// distortion of a short exposure stays below about 2 px.
const LINK_TOLERANCE_PX: f64 = 3.0;

/// Frames from which the correlation length is learnt, spread over the burst.
const LEARNING_FRAMES: usize = 8;

/// Fewer observations than this in a frame do not determine a field beyond an affine map.
const LEAST_OBSERVATIONS: usize = 8;

/// A matched frame.
#[derive(Clone, Debug)]
pub(super) struct MatchedFrame {
    pub(super) stars: Vec<MatchStar>,
    pub(super) ref_from_frame: Transform,
    pub(super) model: Model,
}

/// Displacement fields and what is known of their precision.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) fields: Vec<DisplacementField>,
    pub(super) correlation_px: f64,
    /// Posterior standard error at each of the probe points, by frame.
    pub(super) sigma_px: Vec<Vec<f32>>,
}

/// Where and how finely fields are wanted.
#[derive(Clone, Debug)]
pub(super) struct FieldRequest {
    /// Position of the first pixel that the lattice must cover, reference plane.
    pub(super) first: Point,
    /// Size of the region, pixels.
    pub(super) shape: Shape,
    /// Distance of lattice nodes, pixels.
    pub(super) spacing: f64,
    /// Where the posterior error is wanted: the nodes of the weights.
    pub(super) probes: Vec<Point>,
}

/// The views of the frames that the joint solution works on.
pub(super) fn joint_frames(frames: &[MatchedFrame]) -> Vec<JointFrame<'_>> {
    frames
        .iter()
        .map(|f| JointFrame { stars: &f.stars, ref_from_frame: f.ref_from_frame, model: f.model })
        .collect()
}

/// Mean geometry of `frames`; `pivot` is the centre of the reference frame.
pub(super) fn mean_geometry(frames: &[JointFrame], reference: usize, pivot: Point) -> Joint {
    let mut joint = Joint::link(frames, reference, LINK_TOLERANCE_PX);
    // The distortion's size is not known yet: half a pixel keeps the few brightest stars from
    // pulling the transform, as they would with their centroid errors alone.
    let mut distortion_px = 0.5;
    for _ in 0..GAUGE_ROUNDS {
        joint.update_stars(frames, None, distortion_px);
        joint.update_transforms(frames, distortion_px);
        joint.centre_gauge(pivot);
        distortion_px = median(residuals(&joint, frames)).max(0.02);
    }
    joint.update_stars(frames, None, distortion_px);
    joint
}

/// Rounds of stars and transforms in turn; frames and stars overlap so much that two would do.
const GAUGE_ROUNDS: usize = 4;

/// Robust rms per axis of the star residuals of each frame about its transform, pixels; 0 without
/// stars.
pub(super) fn residuals(joint: &Joint, frames: &[JointFrame]) -> Vec<f64> {
    (0..frames.len()).map(|i| joint.residual_rms_px(frames, i).unwrap_or(0.0)).collect()
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// What is known of the frames' displacements: shared stars, and vectors measured on the image.
pub(super) struct Evidence<'a> {
    /// Common stars and the frames that see them.
    pub(super) stars: Option<(&'a mut Joint, &'a [JointFrame<'a>])>,
    /// More vectors, by frame; empty if there are none at all.
    pub(super) vectors: &'a [Vec<FieldObservation>],
    pub(super) n_frames: usize,
}

impl Evidence<'_> {
    fn of(&self, frame: usize) -> Vec<FieldObservation> {
        let mut all = match &self.stars {
            Some((joint, frames)) => joint.observations(frames, frame),
            None => Vec::new(),
        };
        all.extend(self.vectors.get(frame).into_iter().flatten());
        all
    }
}

/// The displacement field of every frame; `None` if nothing supports one.
///
/// Stars and fields are solved in turn: a star's place is the mean over the frames of where each
/// puts it less that frame's field, and the fields' weighted mean over the frames is kept at 0, so
/// that a star seen by half of the frames does not sit in the mean distortion of that half. The
/// weights are the inverse variances of the fields: bent frames have less say in where straight is.
pub(super) fn fit_fields(
    mut evidence: Evidence<'_>,
    request: &FieldRequest,
    phases: &LightPhases<'_>,
) -> Result<Option<Fields>, StackError> {
    let n = evidence.n_frames;
    let counts: Vec<usize> = (0..n).map(|i| evidence.of(i).len()).collect();
    if n < 2 || counts.iter().all(|c| *c < LEAST_OBSERVATIONS) {
        return Ok(None);
    }
    let prior_sigma_px: Vec<f64> = (0..n).map(|i| prior_sigma(&evidence.of(i))).collect();
    let correlation_px = learn_correlation(&evidence, &counts, request, &prior_sigma_px, phases)?;
    let fitter = FieldFitter::new(request.first, request.shape, request.spacing, correlation_px);
    let mut fields: Vec<DisplacementField> = Vec::new();
    let mut sigma_px = Vec::new();
    for round in 0..FIELD_ROUNDS {
        let is_last = round + 1 == FIELD_ROUNDS;
        let fits = phases.map(n, FieldScratch::default, |i, scratch| {
            let fit = fitter.fit(&evidence.of(i), prior_sigma_px[i], scratch);
            let probes = if is_last { request.probes.as_slice() } else { &[] };
            let sigma: Vec<f32> =
                probes.iter().map(|p| fitter.posterior_sigma_px(*p, scratch) as f32).collect();
            (fit.field, sigma)
        })?;
        (fields, sigma_px) = fits.into_iter().unzip();
        take_out_mean(&mut fields, &prior_sigma_px);
        if let Some((joint, frames)) = &mut evidence.stars {
            joint.update_stars(frames, Some(&fields), 0.0);
        }
    }
    Ok(Some(Fields { fields, correlation_px, sigma_px }))
}

/// Rounds of stars and fields in turn; the change after the third is below 0.005 px.
const FIELD_ROUNDS: usize = 3;

/// Standard deviation per axis that a field has beyond the errors of its observations, pixels.
fn prior_sigma(observations: &[FieldObservation]) -> f64 {
    // The median of a Rayleigh distribution is 1.1774 σ.
    let rms = median(observations.iter().map(|o| o.displacement.norm()).collect()) / 1.1774;
    let noise = median(observations.iter().map(|o| o.sigma_px).collect());
    // Never 0: a field of a hundredth of a pixel cannot hurt.
    (rms * rms - noise * noise).max(1e-4).sqrt()
}

/// The correlation length of largest evidence over a few frames.
fn learn_correlation(
    evidence: &Evidence<'_>,
    counts: &[usize],
    request: &FieldRequest,
    prior_sigma_px: &[f64],
    phases: &LightPhases<'_>,
) -> Result<f64, StackError> {
    let rich: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] >= LEAST_OBSERVATIONS).collect();
    let n = rich.len().min(LEARNING_FRAMES);
    let chosen: Vec<usize> = (0..n).map(|k| rich[(2 * k + 1) * rich.len() / (2 * n)]).collect();
    // 1.5 to 12 node distances in steps of a half octave.
    let lengths: Vec<f64> =
        (0..7).map(|k| 1.5 * request.spacing * math::pow(2.0, 0.5 * f64::from(k))).collect();
    let log_evidence = phases.map(lengths.len(), FieldScratch::default, |k, scratch| {
        let fitter = FieldFitter::new(request.first, request.shape, request.spacing, lengths[k]);
        let of = |i: &usize| fitter.fit(&evidence.of(*i), prior_sigma_px[*i], scratch).log_evidence;
        chosen.iter().map(of).sum::<f64>()
    })?;
    let best = (0..lengths.len())
        .max_by(|a, b| log_evidence[*a].total_cmp(&log_evidence[*b]))
        .expect("there are candidate lengths");
    Ok(lengths[best])
}

/// Subtracts the weighted mean field from every field.
fn take_out_mean(fields: &mut [DisplacementField], prior_sigma_px: &[f64]) {
    let weights: Vec<f64> = prior_sigma_px.iter().map(|s| 1.0 / (s * s + 0.01)).collect();
    let total: f64 = weights.iter().sum();
    let n = fields.first().map_or(0, |f| f.coefficients().len());
    for k in 0..n {
        let mut mean = [0.0f64; 2];
        for (field, w) in fields.iter().zip(&weights) {
            let c = field.coefficients()[k];
            mean[0] += w * f64::from(c[0]);
            mean[1] += w * f64::from(c[1]);
        }
        for field in fields.iter_mut() {
            let c = &mut field.coefficients_mut()[k];
            c[0] = (f64::from(c[0]) - mean[0] / total) as f32;
            c[1] = (f64::from(c[1]) - mean[1] / total) as f32;
        }
    }
}
