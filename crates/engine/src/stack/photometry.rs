//! What brings the frames onto one scale and one sky, and how much each counts.

use stillframe_image::{Point, Transform};
use stillframe_kernels::normalise::scale::{FluxObservation, transparency};
use stillframe_kernels::normalise::sky::{SkyOrder, SkySurface, sky_surfaces};
use stillframe_kernels::ops::metrics::v4::{GlobalShares, global_weights};
use stillframe_kernels::register::joint::Joint;

use super::canvas::Canvas;
use super::geometry::Fields;
use super::measure::FrameMeasure;
use super::weights::WeightField;
use crate::recipe::{NormalizationRecipe, ScaleMethod, SkyMethod, WeightScheme, WeightsRecipe};

/// A frame that takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) measure: &'a FrameMeasure,
    pub(super) ref_from_frame: Transform,
    pub(super) frame_from_ref: Transform,
}

/// Throughput of each member relative to the mean of all; 1 where the stars do not say. `None`
/// entries of `joint` frames (registered without stars) are members without sightings.
pub(super) fn scales(
    members: &[Member],
    joint: Option<&Joint>,
    recipe: &NormalizationRecipe,
) -> Vec<Vec<f64>> {
    let planes = members.first().map_or(1, |m| m.measure.meshes.len());
    let from_background = |plane: usize| -> Vec<f64> {
        let levels: Vec<f64> = members
            .iter()
            .map(|m| f64::from(m.measure.meshes[plane].median_level()).max(1e-6))
            .collect();
        let mean = levels.iter().sum::<f64>() / levels.len().max(1) as f64;
        levels.iter().map(|l| l / mean).collect()
    };
    match recipe.scale {
        ScaleMethod::None => vec![vec![1.0; planes]; members.len()],
        ScaleMethod::Background | ScaleMethod::V4 => {
            let by_plane: Vec<Vec<f64>> = (0..planes).map(from_background).collect();
            (0..members.len()).map(|i| by_plane.iter().map(|p| p[i]).collect()).collect()
        }
        ScaleMethod::Stars => {
            let Some(joint) = joint else { return vec![vec![1.0; planes]; members.len()] };
            let seen: Vec<Vec<FluxObservation>> = members
                .iter()
                .zip(&joint.sightings)
                .map(|(member, sightings)| {
                    sightings
                        .iter()
                        .map(|s| {
                            let star = &member.measure.stars[s.index as usize];
                            FluxObservation {
                                star: s.star,
                                flux: star.flux,
                                // A saturated star says nothing about throughput.
                                flux_sigma: if star.is_good() { star.flux_sigma } else { 0.0 },
                            }
                        })
                        .collect()
                })
                .collect();
            transparency(&seen, joint.stars.len())
                .into_iter()
                .map(|t| vec![t.unwrap_or(1.0); planes])
                .collect()
        }
    }
}

/// Distance of the points at which the sky is sampled, pixels: about the mesh of the background.
const SKY_STEP: f64 = 64.0;

/// Sky of each member less the mean sky, and the mean sky level, of output plane `plane`.
pub(super) fn skies(
    members: &[Member],
    scales: &[Vec<f64>],
    plane: usize,
    canvas: &Canvas,
    recipe: &NormalizationRecipe,
) -> (Vec<SkySurface>, f32) {
    let levels: Vec<f64> = members
        .iter()
        .zip(scales)
        .map(|(m, s)| f64::from(m.measure.meshes[plane].median_level()) / s[plane])
        .collect();
    let level = (levels.iter().sum::<f64>() / levels.len().max(1) as f64) as f32;
    let order = match recipe.sky {
        _ if recipe.scale == ScaleMethod::V4 => return (blank(members, canvas), level),
        SkyMethod::None => return (blank(members, canvas), level),
        SkyMethod::Offset => SkyOrder::Constant,
        SkyMethod::Plane => SkyOrder::Plane,
        SkyMethod::Surface => SkyOrder::Quadratic,
    };
    let shape = canvas.reference_shape();
    let nodes: Vec<Point> = (0..=(shape.height as f64 / SKY_STEP) as usize)
        .flat_map(|j| {
            (0..=(shape.width as f64 / SKY_STEP) as usize)
                .map(move |i| Point::new(SKY_STEP * (i as f64 + 0.5), SKY_STEP * (j as f64 + 0.5)))
        })
        .map(|p| Point::new(canvas.first.x + p.x, canvas.first.y + p.y))
        .collect();
    let samples: Vec<Vec<f32>> = members
        .iter()
        .zip(scales)
        .map(|(m, scale)| {
            let mesh = &m.measure.meshes[plane];
            let last = (mesh.shape().width as f64 - 1.0, mesh.shape().height as f64 - 1.0);
            nodes
                .iter()
                .map(|p| {
                    let q = m.frame_from_ref * *p;
                    let is_inside = q.x >= 0.0 && q.y >= 0.0 && q.x <= last.0 && q.y <= last.1;
                    if is_inside { (f64::from(mesh.at(q)) / scale[plane]) as f32 } else { f32::NAN }
                })
                .collect()
        })
        .collect();
    (sky_surfaces(&samples, &nodes, canvas.first, shape, order), level)
}

fn blank(members: &[Member], canvas: &Canvas) -> Vec<SkySurface> {
    let surface = SkySurface { centre: canvas.first, scale: 1.0, c: [0.0; 6] };
    vec![surface; members.len()]
}

/// Lattice of the local weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightLattice {
    pub(super) first: Point,
    pub(super) spacing: f64,
    pub(super) nodes: stillframe_image::Shape,
}

impl WeightLattice {
    /// Positions of the nodes, row by row.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points = Vec::with_capacity(self.nodes.len());
        for row in 0..self.nodes.height {
            for column in 0..self.nodes.width {
                points.push(Point::new(
                    self.first.x + self.spacing * column as f64,
                    self.first.y + self.spacing * row as f64,
                ));
            }
        }
        points
    }
}

/// Local factors stay within this of 1: a local estimate from a few stars is a hint.
const LOCAL_RANGE: f64 = 2.0;

/// W = G·L·R of every member before shrinkage.
///
/// `optimal`: G = (throughput / noise)² / FWHM², the weight that maximises the signal-to-noise of
/// faint stars for a profile-weighted measurement; L the same ratio between a place and the
/// frame's average; R = 1 / (1 + (2.355 σ / FWHM)²) with σ the registration error there, which is
/// what that error does to FWHM². `v4`: its formulas. `equal`: 1.
pub(super) fn weight_fields(
    members: &[Member],
    scales: &[Vec<f64>],
    fields: Option<&Fields>,
    local_v4: Option<&[Vec<f64>]>,
    correlation_v4: Option<&[Vec<f64>]>,
    lattice: &WeightLattice,
    recipe: &WeightsRecipe,
) -> Vec<WeightField> {
    let n = members.len();
    let points = lattice.points();
    let global: Vec<f64> = match (recipe.scheme, recipe.global) {
        (WeightScheme::Equal, _) | (_, false) => vec![1.0; n],
        (WeightScheme::Optimal, true) => members
            .iter()
            .zip(scales)
            .map(|(m, s)| {
                let noise = f64::from(m.measure.metrics.noise).max(1e-9);
                let snr = s[s.len() / 2] / noise;
                let fwhm = f64::from(m.measure.metrics.fwhm_px.unwrap_or(1.0)).max(0.5);
                snr * snr / (fwhm * fwhm)
            })
            .collect(),
        (WeightScheme::V4, true) => {
            let metrics: Vec<_> = members.iter().map(|m| m.measure.metrics).collect();
            let shares = GlobalShares {
                background: recipe.alpha,
                noise: recipe.beta,
                gradient: recipe.gamma,
            };
            global_weights(&metrics, shares)
        }
    };
    (0..n)
        .map(|i| {
            let mut values = vec![global[i]; points.len()];
            match recipe.scheme {
                WeightScheme::Equal => {}
                WeightScheme::Optimal => {
                    if recipe.local {
                        multiply(
                            &mut values,
                            &local_factors(&members[i], &points, lattice.spacing),
                        );
                    }
                    if let (true, Some(fields)) = (recipe.registration, fields) {
                        let fwhm = f64::from(members[i].measure.metrics.fwhm_px.unwrap_or(3.0));
                        for (v, s) in values.iter_mut().zip(&fields.sigma_px[i]) {
                            let ratio = 2.355 * f64::from(*s) / fwhm;
                            *v /= 1.0 + ratio * ratio;
                        }
                    }
                }
                WeightScheme::V4 => {
                    if let (true, Some(local)) = (recipe.local, local_v4) {
                        multiply(&mut values, &local[i]);
                    }
                    if let (true, Some(r)) = (recipe.registration, correlation_v4) {
                        multiply(&mut values, &r[i]);
                    }
                }
            }
            WeightField {
                first: lattice.first,
                spacing: lattice.spacing,
                nodes: lattice.nodes,
                values: values.into_iter().map(|v| v as f32).collect(),
            }
        })
        .collect()
}

fn multiply(values: &mut [f64], factors: &[f64]) {
    for (v, f) in values.iter_mut().zip(factors) {
        *v *= f;
    }
}

/// Sharpness and depth of a frame around each point, relative to its own average.
fn local_factors(member: &Member, points: &[Point], spacing: f64) -> Vec<f64> {
    // As many stars as this, at the frame's own FWHM, are assumed besides those that are there.
    const PRIOR_STARS: f64 = 12.0;
    let metrics = &member.measure.metrics;
    let mesh = &member.measure.meshes[member.measure.meshes.len() / 2];
    let frame_noise = f64::from(mesh.median_noise()).max(1e-9);
    let stars: Vec<(Point, f64)> = member
        .measure
        .stars
        .iter()
        .filter(|s| s.is_good() && s.fwhm_px > 0.0)
        .map(|s| (member.ref_from_frame * s.position(), f64::from(s.fwhm_px)))
        .collect();
    let reach = 1.5 * spacing;
    points
        .iter()
        .map(|p| {
            let at = member.frame_from_ref * *p;
            let noise_ratio = f64::from(mesh.noise_at(at)).max(1e-9) / frame_noise;
            let mut factor = 1.0 / (noise_ratio * noise_ratio);
            if let Some(fwhm) = metrics.fwhm_px.map(f64::from) {
                let (mut sum, mut count) = (PRIOR_STARS * fwhm, PRIOR_STARS);
                for (q, w) in &stars {
                    let v = *q - *p;
                    // Beyond twice the frame's FWHM it is no star.
                    if v.dx.abs() < reach && v.dy.abs() < reach && *w < 2.0 * fwhm {
                        sum += w;
                        count += 1.0;
                    }
                }
                let ratio = sum / count / fwhm;
                factor /= ratio * ratio;
            }
            factor.clamp(1.0 / LOCAL_RANGE, LOCAL_RANGE)
        })
        .collect()
}
