//! Measurements that disagree with their neighbours in time.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use stillframe_image::Vec2;

use super::local::neighbourhood;
use super::smooth::predictions;
use super::{Measurement, median};

/// What is an outlier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutlierParams {
    /// Distance from the prediction in standard deviations, of measurement, prediction and the
    /// usual scatter of the series together, above which a measurement is an outlier.
    pub max_sigma: f64,
    /// Distance in pixels below which no measurement is an outlier.
    pub limit_px: f64,
    /// Frames from which the prediction is made.
    pub window: usize,
}

impl Default for OutlierParams {
    fn default() -> Self {
        Self { max_sigma: 4.0, limit_px: 0.3, window: 11 }
    }
}

/// Degree of the predicting polynomial: curved enough for field rotation, stiff enough for noise.
const ORDER: usize = 2;
/// Rounds in which the set of outliers may still change.
const MAX_ROUNDS: usize = 6;
/// Median of |r| for normal residuals with a variance of 1 on each of two axes: √(2 ln 2).
const MEDIAN_RADIUS: f64 = 1.1774100225154747;

/// Which measurements lie farther from the smooth prediction of their neighbours in time than
/// `max(max_sigma · σ, limit_px)`. A drift, a rotation of the field or a dither between segments
/// makes no outlier. Segments with fewer than four measurements have none. O(frames · window²).
///
/// # Panics
/// If `times` and `series` differ in length, or a segment reaches beyond them.
///
/// # Source
/// First predictions by the median of pairwise slopes: Sen (1968), doi:10.1080/01621459.1968.10480934.
pub fn outliers(
    times: &[f64],
    series: &[Option<Measurement>],
    segments: &[Range<usize>],
    params: &OutlierParams,
) -> Vec<bool> {
    assert_eq!(times.len(), series.len(), "one time for each measurement");
    let mut first = vec![None; series.len()];
    for segment in segments {
        for frame in segment.clone() {
            let around = neighbourhood(frame, params.window, segment);
            first[frame] = robust_line(times, series, frame, &around);
        }
    }
    let mut is_outlier = judge(series, &first, params);
    for _ in 0..MAX_ROUNDS {
        let good: Vec<Option<Measurement>> =
            series.iter().zip(&is_outlier).map(|(m, out)| m.filter(|_| !out)).collect();
        let mut smooth = predictions(times, &good, segments, (params.window, ORDER));
        for (s, f) in smooth.iter_mut().zip(&first) {
            *s = s.or(*f);
        }
        let next = judge(series, &smooth, params);
        if next == is_outlier {
            break;
        }
        is_outlier = next;
    }
    is_outlier
}

fn judge(
    series: &[Option<Measurement>],
    predictions: &[Option<Measurement>],
    params: &OutlierParams,
) -> Vec<bool> {
    let compared = |m: &Option<Measurement>, p: &Option<Measurement>| {
        let (m, p) = (m.as_ref()?, p.as_ref()?);
        Some(((m.value - p.value).norm(), m.variance() + p.variance()))
    };
    let mut normalised: Vec<f64> = series
        .iter()
        .zip(predictions)
        .filter_map(|(m, p)| compared(m, p).map(|(r, v)| r / v.sqrt()))
        .collect();
    // The scatter that the errors do not explain, such as independent distortions, is no fault.
    let scatter = (median(&mut normalised).unwrap_or(0.0) / MEDIAN_RADIUS).max(1.0);
    series
        .iter()
        .zip(predictions)
        .map(|(m, p)| {
            compared(m, p).is_some_and(|(distance, variance)| {
                distance > (params.max_sigma * scatter * variance.sqrt()).max(params.limit_px)
            })
        })
        .collect()
}

/// The value at `frame` of the line through its neighbours that has the median of the slopes of
/// all pairs, for each axis.
fn robust_line(
    times: &[f64],
    series: &[Option<Measurement>],
    frame: usize,
    around: &Range<usize>,
) -> Option<Measurement> {
    let others: Vec<(f64, Measurement)> = around
        .clone()
        .filter(|&i| i != frame)
        .filter_map(|i| Some((times[i] - times[frame], series[i]?)))
        .collect();
    if others.len() < 3 {
        return None;
    }
    let axis = |value: fn(&Measurement) -> f64| {
        let mut slopes = Vec::with_capacity(others.len() * others.len() / 2);
        for (i, a) in others.iter().enumerate() {
            for b in &others[..i] {
                if a.0 != b.0 {
                    slopes.push((value(&a.1) - value(&b.1)) / (a.0 - b.0));
                }
            }
        }
        let slope = median(&mut slopes).unwrap_or(0.0);
        let mut heights: Vec<f64> = others.iter().map(|(t, m)| value(m) - slope * t).collect();
        median(&mut heights).unwrap_or(0.0)
    };
    let value = Vec2::new(axis(|m| m.value.dx), axis(|m| m.value.dy));
    let n = others.len() as f64;
    let mean: f64 = others.iter().map(|(_, m)| m.variance()).sum::<f64>() / n;
    let sigma_px = (std::f64::consts::FRAC_PI_2 * mean / n).sqrt();
    Some(Measurement { value, sigma_px })
}
