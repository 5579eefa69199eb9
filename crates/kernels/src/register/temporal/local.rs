//! Local polynomials: the value of a series at a frame from its neighbours in time.

use std::ops::Range;

use stillframe_image::Vec2;

use super::Measurement;
use crate::register::solve::Normal;

/// Whether the frame itself takes part in its own prediction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Included,
    LeftOut,
}

/// Highest degree.
pub(super) const MAX_ORDER: usize = 3;

/// The frames of `segment` nearest to `frame`: `window` of them, fewer if the segment is shorter;
/// at its ends the window is not centred.
pub(super) fn neighbourhood(frame: usize, window: usize, segment: &Range<usize>) -> Range<usize> {
    let half = window / 2;
    let latest = segment.end.saturating_sub(window).max(segment.start);
    let start = frame.saturating_sub(half).clamp(segment.start, latest);
    start..(start + window).min(segment.end)
}

/// Weighted least-squares polynomial of degree `order` through the neighbours of `frame`, evaluated
/// there, with its standard error. A degree that the neighbours do not determine with one to spare
/// is lowered; `None` without a neighbour.
///
/// # Source
/// Savitzky & Golay (1964), doi:10.1021/ac60214a047, for uneven times and errors.
pub(super) fn polynomial(
    times: &[f64],
    series: &[Option<Measurement>],
    frame: usize,
    around: &Range<usize>,
    order: usize,
    own: Own,
) -> Option<Measurement> {
    let used = || {
        around
            .clone()
            .filter(|&i| own == Own::Included || i != frame)
            .filter_map(|i| Some((times[i] - times[frame], series[i]?)))
    };
    let order = order.min(MAX_ORDER).min(used().count().saturating_sub(2));
    match order {
        0 => fit::<1>(used()),
        1 => fit::<2>(used()).or_else(|| fit::<1>(used())),
        2 => fit::<3>(used()).or_else(|| fit::<1>(used())),
        _ => fit::<4>(used()).or_else(|| fit::<1>(used())),
    }
}

fn fit<const N: usize>(
    samples: impl Iterator<Item = (f64, Measurement)> + Clone,
) -> Option<Measurement> {
    let unit = samples.clone().map(|s| s.0.abs()).fold(0.0, f64::max);
    let unit = if unit > 0.0 { unit } else { 1.0 };
    let (mut x, mut y) = (Normal::<N>::new(), Normal::<N>::new());
    for (t, m) in samples {
        let mut powers = [1.0; N];
        for i in 1..N {
            powers[i] = powers[i - 1] * t / unit;
        }
        x.add(&powers, m.value.dx, 1.0 / m.variance());
        y.add(&powers, m.value.dy, 1.0 / m.variance());
    }
    let value = Vec2::new(x.solve()?[0], y.solve()?[0]);
    Some(Measurement { value, sigma_px: x.inverse()?[0][0].sqrt() })
}
