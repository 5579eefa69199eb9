//! From star lists to geometry: which frame is the reference, where every frame lies in the mean
//! plane of the burst, and the smooth local displacement field of each.

use stillframe_image::{DisplacementField, Point, Shape, Transform};
use stillframe_kernels::register::field_fit::{FieldFitter, FieldScratch};
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

/// Fewer common stars than this do not determine a field beyond an affine map.
const LEAST_STARS_FOR_FIELD: usize = 12;

/// A matched frame.
#[derive(Clone, Debug)]
pub(super) struct MatchedFrame {
    pub(super) stars: Vec<MatchStar>,
    pub(super) ref_from_frame: Transform,
    pub(super) model: Model,
}

/// The geometry of all matched frames.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) joint: Joint,
    /// Per matched frame; `None` if the field is off or the stars do not support one.
    pub(super) fields: Option<Fields>,
    /// Robust rms per axis of the star residuals of each frame about its transform, pixels.
    pub(super) residual_rms_px: Vec<f64>,
}

/// Displacement fields and what is known of their precision.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) fields: Vec<DisplacementField>,
    pub(super) prior_sigma_px: Vec<f64>,
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
    /// Where the posterior error is wanted: the centres of the tiles.
    pub(super) probes: Vec<Point>,
}

fn joint_frames(frames: &[MatchedFrame]) -> Vec<JointFrame<'_>> {
    frames
        .iter()
        .map(|f| JointFrame { stars: &f.stars, ref_from_frame: f.ref_from_frame, model: f.model })
        .collect()
}

/// Mean geometry of `frames`; `pivot` is the centre of the reference frame.
pub(super) fn mean_geometry(frames: &[MatchedFrame], reference: usize, pivot: Point) -> Geometry {
    let joint_frames = joint_frames(frames);
    let mut joint = Joint::link(&joint_frames, reference, LINK_TOLERANCE_PX);
    // The distortion's size is not known yet: half a pixel keeps the few brightest stars from
    // pulling the transform, as they would with their centroid errors alone.
    let mut distortion_px = 0.5;
    for _ in 0..4 {
        joint.update_stars(&joint_frames, None, distortion_px);
        joint.update_transforms(&joint_frames, distortion_px);
        joint.centre_gauge(pivot);
        distortion_px = median(residuals(&joint, &joint_frames)).max(0.02);
    }
    joint.update_stars(&joint_frames, None, distortion_px);
    let residual_rms_px = residuals(&joint, &joint_frames);
    Geometry { joint, fields: None, residual_rms_px }
}

fn residuals(joint: &Joint, frames: &[JointFrame]) -> Vec<f64> {
    (0..frames.len()).map(|i| joint.residual_rms_px(frames, i).unwrap_or(0.0)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Adds displacement fields to `geometry`.
///
/// Stars and fields are solved in turn: a star's place is the mean over the frames of where each
/// puts it less that frame's field, and the fields' weighted mean over the frames is kept at 0, so
/// that a star seen by half of the frames does not sit in the mean distortion of that half. The
/// weights are the inverse variances of the fields: bent frames have less say in where straight is.
pub(super) fn fit_fields(
    geometry: &mut Geometry,
    frames: &[MatchedFrame],
    request: &FieldRequest,
    phases: &LightPhases<'_>,
) -> Result<(), StackError> {
    let joint_frames = joint_frames(frames);
    if geometry.joint.stars.len() < LEAST_STARS_FOR_FIELD || frames.len() < 2 {
        return Ok(());
    }
    let prior_sigma_px: Vec<f64> =
        (0..frames.len()).map(|i| prior_sigma(&geometry.joint, &joint_frames, i)).collect();
    let correlation_px =
        learn_correlation(&geometry.joint, &joint_frames, request, &prior_sigma_px, phases)?;
    let fitter = FieldFitter::new(request.first, request.shape, request.spacing, correlation_px);
    let mut fields: Vec<DisplacementField> = Vec::new();
    let mut sigma_px = Vec::new();
    for _ in 0..FIELD_ROUNDS {
        let joint = &geometry.joint;
        let fits = phases.map(frames.len(), FieldScratch::default, |i, scratch| {
            let observations = joint.observations(&joint_frames, i);
            let fit = fitter.fit(&observations, prior_sigma_px[i], scratch);
            let sigma: Vec<f32> = request
                .probes
                .iter()
                .map(|p| fitter.posterior_sigma_px(*p, scratch) as f32)
                .collect();
            (fit.field, sigma)
        })?;
        (fields, sigma_px) = fits.into_iter().unzip();
        take_out_mean(&mut fields, &prior_sigma_px);
        geometry.joint.update_stars(&joint_frames, Some(&fields), 0.0);
    }
    geometry.fields = Some(Fields { fields, prior_sigma_px, correlation_px, sigma_px });
    Ok(())
}

/// Rounds of stars and fields in turn; the change after the third is below 0.005 px.
const FIELD_ROUNDS: usize = 3;

/// Standard deviation per axis that the field of frame `i` has beyond centroid errors, pixels.
fn prior_sigma(joint: &Joint, frames: &[JointFrame], i: usize) -> f64 {
    let rms = joint.residual_rms_px(frames, i).unwrap_or(0.0);
    let noise = median(joint.observations(frames, i).iter().map(|o| o.sigma_px).collect());
    // Never 0: a field of a hundredth of a pixel cannot hurt.
    (rms * rms - noise * noise).max(1e-4).sqrt()
}

/// The correlation length of largest evidence over a few frames.
fn learn_correlation(
    joint: &Joint,
    frames: &[JointFrame],
    request: &FieldRequest,
    prior_sigma_px: &[f64],
    phases: &LightPhases<'_>,
) -> Result<f64, StackError> {
    let n = frames.len().min(LEARNING_FRAMES);
    let chosen: Vec<usize> = (0..n).map(|k| (2 * k + 1) * frames.len() / (2 * n)).collect();
    let lengths: Vec<f64> =
        [1.5, 2.2, 3.2, 4.7, 7.0, 12.0].iter().map(|k| k * request.spacing).collect();
    let evidence = phases.map(lengths.len(), FieldScratch::default, |k, scratch| {
        let fitter = FieldFitter::new(request.first, request.shape, request.spacing, lengths[k]);
        chosen
            .iter()
            .map(|&i| {
                let observations = joint.observations(frames, i);
                fitter.fit(&observations, prior_sigma_px[i], scratch).log_evidence
            })
            .sum::<f64>()
    })?;
    let best = (0..lengths.len())
        .max_by(|a, b| evidence[*a].total_cmp(&evidence[*b]))
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
