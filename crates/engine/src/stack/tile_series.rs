//! Displacements of tiles over frames and space: what the tiles have in common, what disagrees with
//! its neighbours, what is smoothed.

use std::ops::Range;

use stillframe_image::{Point, Vec2};
use stillframe_kernels::register::temporal::{
    Excursion, Measurement, OutlierParams, Pose, SegmentParams, Smoothing, outliers, segments,
    smooth,
};

use super::geometry::median;
use crate::recipe::{FieldRecipe, Temporal};

/// Series of one tile: a displacement for each member.
pub(super) type Series = Vec<Option<Measurement>>;

/// Median displacement of each frame over all tiles; none where fewer than a tenth of them have one,
/// which might be chance.
pub(super) fn common_shifts(all: &[Option<Series>], n_frames: usize) -> Vec<Option<Vec2>> {
    let tiles = all.iter().flatten().count();
    (0..n_frames)
        .map(|k| {
            let here: Vec<Vec2> =
                all.iter().flatten().filter_map(|s| s[k]).map(|m| m.value).collect();
            (!here.is_empty() && 10 * here.len() >= tiles).then(|| {
                Vec2::new(
                    median(here.iter().map(|v| v.dx).collect()),
                    median(here.iter().map(|v| v.dy).collect()),
                )
            })
        })
        .collect()
}

/// A tile's series less what all tiles have in common in each frame: what is left differs from
/// place to place, which is what smaller tiles could resolve.
pub(super) fn less_common(series: &Series, common: &[Option<Vec2>]) -> Series {
    series
        .iter()
        .zip(common)
        .map(|(m, common)| {
            let (m, common) = (*m.as_ref()?, (*common)?);
            Some(Measurement { value: m.value - common, sigma_px: m.sigma_px })
        })
        .collect()
}

/// Takes the mean over the frames out of a series: a tile's reference began as one frame, whose own
/// distortion must not become the geometry of the result.
pub(super) fn centre(series: &mut Series) {
    let n = series.iter().flatten().count();
    if n == 0 {
        return;
    }
    let sum = series.iter().flatten().fold(Vec2::default(), |sum, m| sum + m.value);
    let mean = sum * (1.0 / n as f64);
    for m in series.iter_mut().flatten() {
        m.value = m.value - mean;
    }
}

/// When and where the frames were taken.
#[derive(Debug)]
pub(super) struct Track<'a> {
    times: &'a [f64],
    segments: Vec<Range<usize>>,
}

impl<'a> Track<'a> {
    /// Cut at dithers, gaps and flips.
    pub(super) fn new(times: &'a [f64], poses: &[Option<Pose>]) -> Self {
        let params = SegmentParams { excursion: Excursion::Dither, ..SegmentParams::default() };
        Self { times, segments: segments(times, poses, &params) }
    }

    /// Removes from a tile's series what disagrees with its neighbours in time.
    pub(super) fn reject(&self, series: &mut Series, recipe: &FieldRecipe) {
        let judge = OutlierParams {
            limit_px: recipe.max_delta_px,
            window: recipe.temporal_window,
            ..OutlierParams::default()
        };
        let wrong = outliers(self.times, series, &self.segments, &judge);
        for (m, _) in series.iter_mut().zip(wrong).filter(|(_, wrong)| *wrong) {
            *m = None;
        }
    }

    /// The series smoothed in time as the recipe says; frames without a measurement may get one.
    pub(super) fn smoothed(&self, series: &Series, recipe: &FieldRecipe) -> Series {
        let window = recipe.temporal_window;
        let smoothing = match recipe.temporal {
            Temporal::Auto => Smoothing::Auto,
            Temporal::None => Smoothing::None,
            Temporal::Median => Smoothing::RunningMedian { window },
            Temporal::SavitzkyGolay => Smoothing::SavitzkyGolay { window, order: 3 },
        };
        smooth(self.times, series, &self.segments, smoothing)
    }
}

/// Neighbours that predict a tile, and the fewest that can.
const NEIGHBOURS: usize = 8;
const LEAST_NEIGHBOURS: usize = 4;

/// Distance from the prediction, in standard deviations of measurement and scatter together, above
/// which a displacement is an outlier.
const OUTLIER_SIGMA: f64 = 4.0;

/// Removes displacements that disagree with those of the neighbouring tiles in the same frame:
/// where every frame is dithered, or distorted by its own air, time predicts nothing.
///
/// The prediction is the median of the nearest tiles; how well tiles predict each other in that
/// frame is measured by the median distance from it.
pub(super) fn reject_lonely(all: &mut [Option<Series>], centres: &[Point], limit_px: f64) {
    let n_frames = all.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let near: Vec<Vec<usize>> = (0..all.len())
        .map(|i| {
            let mut others: Vec<usize> =
                (0..all.len()).filter(|&j| j != i && all[j].is_some()).collect();
            others.sort_by(|&a, &b| {
                let distance = |j: usize| centres[j].distance(centres[i]);
                distance(a).total_cmp(&distance(b)).then(a.cmp(&b))
            });
            others.truncate(3 * NEIGHBOURS);
            others
        })
        .collect();
    for k in 0..n_frames {
        let at = |j: usize| all[j].as_ref().and_then(|s| s[k]);
        let distances: Vec<Option<(f64, f64)>> = (0..all.len())
            .map(|i| {
                let own = at(i)?;
                let around: Vec<Vec2> = near[i]
                    .iter()
                    .filter_map(|&j| at(j))
                    .take(NEIGHBOURS)
                    .map(|m| m.value)
                    .collect();
                if around.len() < LEAST_NEIGHBOURS {
                    return None;
                }
                let predicted = Vec2::new(
                    median(around.iter().map(|v| v.dx).collect()),
                    median(around.iter().map(|v| v.dy).collect()),
                );
                Some(((own.value - predicted).norm(), own.sigma_px))
            })
            .collect();
        // The median of a Rayleigh distribution is 1.1774 σ.
        let scatter = median(distances.iter().flatten().map(|d| d.0).collect()) / 1.1774;
        for (series, distance) in all.iter_mut().zip(&distances) {
            let (Some(series), Some((distance, sigma))) = (series, distance) else { continue };
            if *distance
                > (OUTLIER_SIGMA * (scatter * scatter + sigma * sigma).sqrt()).max(limit_px)
            {
                series[k] = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    fn measurement(dx: f64, dy: f64) -> Option<Measurement> {
        Some(Measurement { value: Vec2::new(dx, dy), sigma_px: 0.05 })
    }

    #[test]
    fn what_all_tiles_share_is_common_and_the_rest_is_local() {
        let drift = |k: usize| 0.7 * k as f64;
        let tiles: Vec<Option<Series>> = [-0.2, 0.0, 0.3]
            .iter()
            .map(|own| Some((0..9).map(|k| measurement(drift(k) + own, 0.0)).collect()))
            .chain([None])
            .collect();
        let common = common_shifts(&tiles, 9);
        assert_eq!(common[4], Some(Vec2::new(drift(4), 0.0)));
        let local = less_common(tiles[2].as_ref().unwrap(), &common);
        assert!(local.iter().flatten().all(|m| (m.value.dx - 0.3).abs() < 1e-12));
        assert_eq!(common_shifts(&[None], 2), [None, None]);
    }

    #[test]
    fn a_centred_series_has_no_mean() {
        let mut series = vec![measurement(1.0, 2.0), None, measurement(3.0, -1.0)];
        centre(&mut series);
        assert_eq!(series[0].unwrap().value, Vec2::new(-1.0, 1.5));
        assert_eq!(series[2].unwrap().value, Vec2::new(1.0, -1.5));
        assert!(series[1].is_none());
    }

    #[test]
    fn gross_outliers_are_found_among_neighbours_and_smooth_fields_are_kept() {
        let mut rng = Rng::new(5, 0, 0);
        let centres: Vec<Point> =
            (0..48).map(|i| Point::new(72.0 * f64::from(i % 8), 72.0 * f64::from(i / 8))).collect();
        let n = 40;
        // Every frame has another shift and a field that turns once over the image.
        let mut tiles: Vec<Option<Series>> = centres
            .iter()
            .map(|c| {
                let series = (0..n).map(|k| {
                    let phase = c.x / 110.0 + f64::from(k);
                    measurement(
                        5.0 * f64::from(k % 7) + 0.6 * phase.sin() + 0.05 * rng.normal(),
                        0.6 * (c.y / 110.0 - f64::from(k)).cos() + 0.05 * rng.normal(),
                    )
                });
                Some(series.collect())
            })
            .collect();
        let mut wrong = Vec::new();
        for (i, tile) in tiles.iter_mut().enumerate() {
            for (k, m) in tile.iter_mut().flatten().enumerate() {
                if rng.uniform() < 0.05 {
                    let m = m.as_mut().unwrap();
                    m.value =
                        m.value + Vec2::new(if rng.uniform() < 0.5 { 10.0 } else { -10.0 }, 0.0);
                    wrong.push((i, k));
                }
            }
        }
        reject_lonely(&mut tiles, &centres, 0.3);
        let is_out = |i: usize, k: usize| tiles[i].as_ref().unwrap()[k].is_none();
        let found = wrong.iter().filter(|&&(i, k)| is_out(i, k)).count();
        let total = (0..48).flat_map(|i| (0..n as usize).map(move |k| (i, k)));
        let lost = total.filter(|&(i, k)| is_out(i, k)).count() - found;
        assert!(found as f64 >= 0.99 * wrong.len() as f64, "{found} of {}", wrong.len());
        assert!((lost as f64) < 0.05 * (48 * n) as f64, "{lost}");
    }
}
