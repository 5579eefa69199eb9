//! Smoothing within segments.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use stillframe_image::Vec2;

use super::local::{Own, neighbourhood, polynomial};
use super::{Measurement, median};

/// How to smooth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smoothing {
    /// Not at all.
    None,
    /// A local polynomial, weighted with 1/σ². 11 and 3 are Methodik v4's.
    SavitzkyGolay {
        /// Frames.
        window: usize,
        /// Degree, at most 3.
        order: usize,
    },
    /// Median of dx and of dy over a centred window that shrinks at the ends of a segment.
    RunningMedian {
        /// Frames.
        window: usize,
    },
    /// As much as the data allow: each measurement is drawn towards what its neighbours predict,
    /// by the ratio of its own variance to that of the prediction, which is measured by leaving
    /// each frame out. Where frames are independent of each other nothing is changed.
    #[default]
    Auto,
}

/// The series smoothed within each of `segments`; `times` in any unit, ascending. Frames without a
/// measurement get one where their neighbours allow it, except with [`Smoothing::None`]. O(frames ·
/// window).
///
/// # Panics
/// If `times` and `series` differ in length, or a segment reaches beyond them.
pub fn smooth(
    times: &[f64],
    series: &[Option<Measurement>],
    segments: &[Range<usize>],
    smoothing: Smoothing,
) -> Vec<Option<Measurement>> {
    assert_eq!(times.len(), series.len(), "one time for each measurement");
    let mut smoothed = series.to_vec();
    match smoothing {
        Smoothing::None => {}
        Smoothing::SavitzkyGolay { window, order } => {
            for segment in segments {
                for frame in segment.clone() {
                    let around = neighbourhood(frame, window, segment);
                    let fit = polynomial(times, series, frame, &around, order, Own::Included);
                    smoothed[frame] = fit.or(series[frame]);
                }
            }
        }
        Smoothing::RunningMedian { window } => {
            for segment in segments {
                for frame in segment.clone() {
                    smoothed[frame] = running_median(series, frame, window / 2, segment);
                }
            }
        }
        Smoothing::Auto => auto(times, series, segments, &mut smoothed),
    }
    smoothed
}

/// Of the measured frames at most `half` away on either side, as many on one as on the other.
fn running_median(
    series: &[Option<Measurement>],
    frame: usize,
    half: usize,
    segment: &Range<usize>,
) -> Option<Measurement> {
    let half = half.min(frame - segment.start).min(segment.end - 1 - frame);
    let used = || series[frame - half..=frame + half].iter().flatten();
    let mut dx: Vec<f64> = used().map(|m| m.value.dx).collect();
    let mut dy: Vec<f64> = used().map(|m| m.value.dy).collect();
    let n = dx.len() as f64;
    let variance = used().map(Measurement::variance).sum::<f64>() / n;
    let value = Vec2::new(median(&mut dx)?, median(&mut dy)?);
    // A median of n has π/2 times the variance of a mean, one or two are their mean.
    let loss = if n > 2.0 { std::f64::consts::FRAC_PI_2 } else { 1.0 };
    Some(Measurement { value, sigma_px: (variance * loss / n).sqrt() })
}

/// Predictions that are tried: window and degree.
const CANDIDATES: [(usize, usize); 4] = [(7, 1), (11, 1), (11, 3), (21, 1)];
/// Fewest leave-one-out errors that say anything about a prediction.
const MIN_ERRORS: usize = 8;

fn auto(
    times: &[f64],
    series: &[Option<Measurement>],
    segments: &[Range<usize>],
    smoothed: &mut [Option<Measurement>],
) {
    let best = CANDIDATES
        .iter()
        .filter_map(|&candidate| {
            let predictions = predictions(times, series, segments, candidate);
            let error = prediction_variance(series, &predictions)?;
            Some((error, predictions))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((variance, predictions)) = best else { return };
    for ((out, own), prediction) in smoothed.iter_mut().zip(series).zip(&predictions) {
        let Some(prediction) = prediction else { continue };
        *out = Some(match own {
            // Both are independent estimates of the same displacement.
            Some(own) => {
                let keep = variance / (variance + own.variance());
                let value = prediction.value + (own.value - prediction.value) * keep;
                Measurement { value, sigma_px: (keep * own.variance()).sqrt() }
            }
            None => Measurement { value: prediction.value, sigma_px: variance.sqrt() },
        });
    }
}

/// What the other frames of its segment say of each frame.
pub(super) fn predictions(
    times: &[f64],
    series: &[Option<Measurement>],
    segments: &[Range<usize>],
    (window, order): (usize, usize),
) -> Vec<Option<Measurement>> {
    let mut predictions = vec![None; series.len()];
    for segment in segments {
        for frame in segment.clone() {
            let around = neighbourhood(frame, window, segment);
            let valid = around.clone().filter(|&i| i != frame && series[i].is_some()).count();
            // One or two neighbours are no track.
            if valid >= 3 {
                predictions[frame] = polynomial(times, series, frame, &around, order, Own::LeftOut);
            }
        }
    }
    predictions
}

/// Variance per axis of the predictions about the truth: what their errors exceed those of the
/// measurements by. `None` if there are too few.
fn prediction_variance(
    series: &[Option<Measurement>],
    predictions: &[Option<Measurement>],
) -> Option<f64> {
    const ROUNDS: usize = 5;
    let errors: Vec<(f64, f64)> = series
        .iter()
        .zip(predictions)
        .filter_map(|(m, p)| {
            let (m, p) = (m.as_ref()?, p.as_ref()?);
            Some((0.5 * (m.value - p.value).norm_squared(), m.variance()))
        })
        .collect();
    if errors.len() < MIN_ERRORS {
        return None;
    }
    // Each error has the variance m + σ²; their squares count with the inverse of their variance.
    let mut variance = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (squared, own) in &errors {
            let total = if variance.is_finite() { variance + own } else { 1.0 };
            sum += (squared - own) / (total * total);
            weight += 1.0 / (total * total);
        }
        // Never better than the neighbours' errors alone would make it.
        let floor = predictions.iter().flatten().map(Measurement::variance).sum::<f64>()
            / predictions.iter().flatten().count() as f64;
        variance = (sum / weight).max(floor);
    }
    Some(variance)
}
