//! Figures of one plane.

use serde::Serialize;
use stillframe_image::{CfaPattern, Colour, Image, mask, sum_fixed_f64};
use stillframe_kernels::ops::background::{Background, BackgroundParams, BackgroundScratch, Sites};
use stillframe_kernels::ops::demosaic::{GREEN_PLANE_VARIANCE, green_plane};
use stillframe_kernels::ops::metrics::frame_metrics;
use stillframe_kernels::ops::stars::{StarParams, StarScratch, detect};
use stillframe_kernels::ops::stats::median_and_sigma;

/// Figures of one plane; values in the unit of the file, over pixels that are not missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaneStatistics {
    /// Number of pixels.
    pub n_pixels: usize,
    /// Pixels without a value (NaN, infinite, BLANK).
    pub n_missing: usize,
    /// Pixels at or above the saturation level.
    pub n_saturated: usize,
    /// Figures of the values; `None` if every pixel is missing.
    pub values: Option<ValueStatistics>,
}

/// Figures of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueStatistics {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sigma: f64,
    /// Median.
    pub median: f32,
    /// Standard deviation that the median absolute deviation stands for.
    pub robust_sigma: f32,
}

/// Stars and sky of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SkyStatistics {
    /// Median background.
    pub background: f32,
    /// Median noise of a pixel of empty sky.
    pub noise: f32,
    /// Stars that are neither saturated, blended, extended nor at the edge.
    pub n_stars: usize,
    /// Median full width at half maximum of those, pixels.
    pub fwhm_px: Option<f32>,
    /// Median minor over major axis of those.
    pub roundness: Option<f32>,
}

impl PlaneStatistics {
    /// The figures of `pixels`. O(n); a copy of the plane as scratch.
    pub(super) fn of(pixels: &Image<f32>, missing: &Image<u8>) -> Self {
        let bits = missing.pixels();
        let count = |bit: u8| bits.iter().filter(|&&b| b & bit != 0).count();
        let mut values: Vec<f32> = pixels
            .pixels()
            .iter()
            .zip(bits)
            .filter(|(_, bits)| *bits & mask::NO_DATA == 0)
            .map(|(&value, _)| value)
            .collect();
        Self {
            n_pixels: bits.len(),
            n_missing: count(mask::NO_DATA),
            n_saturated: count(mask::SATURATED),
            values: ValueStatistics::of(&mut values),
        }
    }
}

impl ValueStatistics {
    /// The figures of `values`, which are overwritten.
    fn of(values: &mut [f32]) -> Option<Self> {
        let n = values.len() as f64;
        let mut wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        let mean = sum_fixed_f64(&wide) / n;
        for v in &mut wide {
            *v = (*v - mean) * (*v - mean);
        }
        let sigma = (sum_fixed_f64(&wide) / n).sqrt();
        let min = values.iter().copied().min_by(f32::total_cmp)?;
        let max = values.iter().copied().max_by(f32::total_cmp)?;
        let (median, robust_sigma) = median_and_sigma(values)?;
        Some(Self { min, max, mean, sigma, median, robust_sigma })
    }
}

impl SkyStatistics {
    /// Stars and sky of `pixels`: of a mosaic's green samples if there is a pattern. `None` if there
    /// are too few pixels for a background.
    pub(super) fn of(
        pixels: &Image<f32>,
        missing: &Image<u8>,
        cfa: Option<CfaPattern>,
    ) -> Option<Self> {
        let fit = |plane: &Image<f32>, sites: Sites| {
            let params = BackgroundParams { sites, ..BackgroundParams::default() };
            Background::fit(plane, missing, &params, &mut BackgroundScratch::default()).ok()
        };
        let Some(cfa) = cfa else {
            let background = fit(pixels, Sites::All)?;
            return Some(Self::measured(pixels, missing, &background, &background, 0.0));
        };
        let mut green = Image::filled(pixels.shape(), 0.0);
        green_plane(pixels, cfa, &mut green);
        let smooth = fit(&green, Sites::All)?;
        let samples = fit(pixels, Sites::Colour(cfa, Colour::Green))?;
        Some(Self::measured(&green, missing, &smooth, &samples, GREEN_PLANE_VARIANCE))
    }

    /// Stars of `plane` above `background`, without what a blur of this variance added to their
    /// width; sky and noise of `sky`.
    fn measured(
        plane: &Image<f32>,
        missing: &Image<u8>,
        background: &Background,
        sky: &Background,
        blur_variance_px2: f32,
    ) -> Self {
        let params = StarParams { blur_variance_px2, ..StarParams::default() };
        let stars = detect(plane, missing, background, &params, &mut StarScratch::default());
        let metrics = frame_metrics(plane, missing, background, &stars);
        Self {
            background: sky.median_level(),
            noise: sky.median_noise(),
            n_stars: metrics.n_stars,
            fwhm_px: metrics.fwhm_px,
            roundness: metrics.roundness,
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;
    use crate::simulate::{BurstOptions, DetectorKind, SimulatedBurst};

    #[test]
    fn missing_pixels_do_not_count() {
        let shape = Shape::new(1, 5);
        let pixels = Image::from_vec(shape, vec![1.0, 2.0, 0.0, 3.0, 10.0]);
        let bits = vec![0, 0, mask::NO_DATA, 0, mask::SATURATED];
        let statistics = PlaneStatistics::of(&pixels, &Image::from_vec(shape, bits));
        assert_eq!((statistics.n_missing, statistics.n_saturated), (1, 1));
        let values = statistics.values.unwrap();
        assert_eq!((values.min, values.max, values.mean, values.median), (1.0, 10.0, 4.0, 2.5));
        assert!((values.sigma - 12.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_plane_without_values_has_no_figures() {
        let shape = Shape::new(2, 2);
        let none = Image::filled(shape, mask::NO_DATA);
        let statistics = PlaneStatistics::of(&Image::filled(shape, 0.0), &none);
        assert_eq!((statistics.n_missing, statistics.values), (4, None));
    }

    #[test]
    fn a_mosaic_has_the_stars_and_the_noise_of_the_same_frame_in_mono() {
        let measured = |bayer: Option<CfaPattern>| {
            let options = BurstOptions {
                width: 480,
                height: 320,
                bayer,
                detector: DetectorKind::Ideal,
                ..BurstOptions::default()
            };
            let frame = SimulatedBurst::new(options).unwrap().light(0);
            let missing = frame.image.map(|_| 0);
            SkyStatistics::of(&frame.image.map(f32::from), &missing, bayer).unwrap()
        };
        let (mono, mosaic) = (measured(None), measured(Some(CfaPattern::Rggb)));
        assert!(mono.n_stars > 20 && mosaic.n_stars > 20, "{mono:?} {mosaic:?}");
        let ratio = mosaic.fwhm_px.unwrap() / mono.fwhm_px.unwrap();
        assert!((0.9..1.1).contains(&ratio), "{mono:?} {mosaic:?}");
        assert!((0.8..1.2).contains(&(mosaic.noise / mono.noise)), "{mono:?} {mosaic:?}");
    }
}
