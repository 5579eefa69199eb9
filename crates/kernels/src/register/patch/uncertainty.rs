//! Errors of an alignment from its residuals.

use stillframe_image::{Image, Vec2};

use super::PatchScratch;
use crate::register::ecc::interpolation;
use crate::register::filter::BandPass;

/// Standard errors.
pub(super) struct Errors {
    /// Of the shift: xx, xy, yy; square pixels.
    pub(super) covariance: [f64; 3],
    /// Of the gain if the frame were empty sky.
    pub(super) empty_gain: f64,
}

/// Each residual e moves a result by its influence ψ, so its variance is `Σ ψᵢ ψⱼ ⟨eᵢ eⱼ⟩`. The
/// variance of a residual is that of the sky plus a share that grows with the template, as photon
/// noise does, both taken from the residuals. Their correlation is that of white noise after the
/// band-pass h, for which `Σ ψᵢ ψⱼ ⟨eᵢ eⱼ⟩ = ⟨e²⟩ |h ⊗ ψ|² / |h|²`.
/// The interpolation at the place `offset` has smoothed the residuals, not the errors that count.
pub(super) fn errors(
    template: &Image<f32>,
    offset: Vec2,
    filter: &BandPass,
    scratch: &mut PatchScratch,
) -> Errors {
    let PatchScratch { ecc, filter: buffers, cleaned, filtered, .. } = scratch;
    let (sky, per_light) = variance_model(template, &ecc.residuals, &ecc.influence);
    let taps = |v: f64| interpolation(v - v.floor());
    let kept = filter.interpolated_noise_gain(taps(offset.dx), taps(offset.dy));
    let smoothed = filter.noise_gain() / kept;
    let mut inflation = [0.0f64; 3];
    for (psi, inflation) in ecc.influence.iter().zip(&mut inflation) {
        cleaned.0.reset(template.shape(), 0.0);
        cleaned.0.pixels_mut().copy_from_slice(psi);
        filter.run(&cleaned.0, &mut filtered.0, buffers);
        let own = power(cleaned.0.pixels());
        let smeared = power(filtered.0.pixels());
        if own > 0.0 {
            *inflation = (smeared / (filter.noise_gain() * own)).max(1.0);
        }
    }
    let product = |a: usize, b: usize| {
        let (p, q) = (&ecc.influence[a], &ecc.influence[b]);
        let sum: f64 = p
            .iter()
            .zip(q)
            .zip(template.pixels())
            .map(|((p, q), t)| f64::from(p * q) * (sky + per_light * f64::from(t.abs())))
            .sum();
        let scale = |i: usize| inflation[i] * absorbed(&ecc.influence[i], inflation[i]);
        sum * smoothed * (scale(a) * scale(b)).sqrt()
    };
    let empty = sky * smoothed * power(&ecc.influence[2]) * inflation[2];
    Errors { covariance: [product(0, 0), product(0, 1), product(1, 1)], empty_gain: empty.sqrt() }
}

/// Variance of the residuals where the template is 0, and its growth with the template.
fn variance_model(
    template: &Image<f32>,
    residuals: &[f32],
    influence: &[Vec<f32>; 3],
) -> (f64, f64) {
    let used = || {
        let pixels = template.pixels().iter().zip(residuals).zip(&influence[2]);
        // The gain is influenced by every pixel that counts.
        pixels
            .filter(|(_, psi)| **psi != 0.0)
            .map(|((t, r), _)| (f64::from(t.abs()), f64::from(*r) * f64::from(*r)))
    };
    let mut squares: Vec<f64> = used().map(|u| u.1).collect();
    if squares.is_empty() {
        return (0.0, 0.0);
    }
    let middle = squares.len() / 2;
    // Median of the square of a normal deviate.
    let sky = *squares.select_nth_unstable_by(middle, f64::total_cmp).1 / 0.454_936;
    let (mut sum, mut weight) = (0.0, 0.0);
    for (light, square) in used() {
        sum += light * (square - sky);
        weight += light * light;
    }
    (sky, if weight > 0.0 { (sum / weight).max(0.0) } else { 0.0 })
}

/// What the fit takes off the residuals of the few pixels that decide: `n / (n − 1)` for the
/// effective number n of independent ones.
fn absorbed(psi: &[f32], correlated: f64) -> f64 {
    let fourth: f64 = psi.iter().map(|p| f64::from(p * p) * f64::from(p * p)).sum();
    let second = power(psi);
    let n = (second * second / fourth / correlated).max(1.5);
    n / (n - 1.0)
}

fn power(pixels: &[f32]) -> f64 {
    pixels.iter().map(|v| f64::from(v * v)).sum()
}
