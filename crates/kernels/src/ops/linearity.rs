//! Whether a frame is still linear, or a tone curve (gamma, asinh, log, auto-stretch) was applied.
//!
//! Two things give a tone curve away. It flattens the cores of bright stars, so they look wider
//! than faint ones, which on a linear frame they do not. And it makes noise fall where light
//! rises, while photon noise grows with light. How many stars there are, and how bright, says
//! nothing: tests of the histogram call every rich star field stretched.

use serde::{Deserialize, Serialize};

use crate::ops::background::Background;
use crate::ops::stars::Star;
use crate::ops::stats;

/// Signal-to-noise ratio from which on a star's width counts.
const LEAST_SNR: f32 = 15.0;
/// Stars that are compared at most: the brightest.
const MOST_STARS: usize = 150;
/// Fewest stars that say something.
const LEAST_STARS: usize = 12;
/// Pairs of stars are compared whose peaks differ at least by this factor, as a logarithm.
const LEAST_CONTRAST: f64 = 0.7;
/// Fewest such pairs.
const LEAST_PAIRS: usize = 30;
/// `d ln FWHM / d ln peak` above which stars widen with brightness. Linear fields have 0.00 ± 0.01
/// (blends, galaxies); a gamma of 2.2 has 0.05 to 0.1, asinh and log more.
const WIDENING: f64 = 0.03;
/// Standard errors by which the slope must exceed 0.
const SIGNIFICANCE: f64 = 4.0;
/// Standard errors by which it must stay below [`WIDENING`] to say that the frame is linear.
const CLEARANCE: f64 = 2.0;
/// Fewest mesh nodes, and the least ratio of their levels, for the test of the noise.
const LEAST_NODES: usize = 30;
const LEAST_LEVEL_RATIO: f64 = 1.2;
/// `d ln noise² / d ln level` below which noise falls where light rises. Photon noise has 0 to 1;
/// a flat field's correction may bring it below 0, a logarithm to −5.
const FALLING_NOISE: f64 = -1.0;

/// Answer of [`judge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Linearity {
    /// Nothing speaks against it.
    Linear {
        /// What was tested and found.
        reason: String,
    },
    /// A tone curve has been applied.
    Stretched {
        /// What gives it away.
        reason: String,
    },
    /// Too few stars or too little contrast to tell.
    Unknown {
        /// What is missing.
        reason: String,
    },
}

/// Whether a tone curve was applied to the frame that has this `background` and these `stars`.
/// Best asked of a frame as it came, before calibration. O(stars²), at most 150 of them.
///
/// The answer is an opinion: it is the caller's to warn, and nobody's to drop frames by.
pub fn judge(background: &Background, stars: &[Star]) -> Linearity {
    let widening = widening(stars);
    if let Some(slope) = &widening
        && slope.value > WIDENING
        && slope.value > SIGNIFICANCE * slope.sigma
    {
        let reason = format!(
            "stars widen with brightness: d ln FWHM / d ln peak is {:.3} ± {:.3} over {} stars, a \
                 linear frame has 0",
            slope.value, slope.sigma, slope.n
        );
        return Linearity::Stretched { reason };
    }
    if let Some(slope) = noise_slope(background)
        && slope.value < FALLING_NOISE
        && -slope.value > SIGNIFICANCE * slope.sigma
    {
        let reason = format!(
            "noise falls where light rises: d ln noise² / d ln level is {:.1} ± {:.1}, a linear \
                 frame has 0 to 1",
            slope.value, slope.sigma
        );
        return Linearity::Stretched { reason };
    }
    match widening {
        Some(slope) if slope.value + CLEARANCE * slope.sigma <= WIDENING => Linearity::Linear {
            reason: format!(
                "stars keep their width: d ln FWHM / d ln peak is {:.3} ± {:.3} over {} stars",
                slope.value, slope.sigma, slope.n
            ),
        },
        Some(slope) => Linearity::Unknown {
            reason: format!(
                "the widths of {} stars do not decide: d ln FWHM / d ln peak is {:.3} ± {:.3}",
                slope.n, slope.value, slope.sigma
            ),
        },
        None => Linearity::Unknown {
            reason: format!("fewer than {LEAST_STARS} unsaturated stars of different brightness"),
        },
    }
}

/// A slope, its standard error, and how many points it is made of.
struct Slope {
    value: f64,
    sigma: f64,
    n: usize,
}

/// Slope of ln FWHM over ln peak.
fn widening(stars: &[Star]) -> Option<Slope> {
    use stillframe_image::math::ln;
    let mut clean: Vec<&Star> = stars
        .iter()
        .filter(|s| s.is_clean() && s.snr() >= LEAST_SNR && s.peak > 0.0 && s.fwhm_px > 0.0)
        .collect();
    clean.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    clean.truncate(MOST_STARS);
    let points: Vec<(f64, f64)> =
        clean.iter().map(|s| (ln(f64::from(s.peak)), ln(f64::from(s.fwhm_px)))).collect();
    (points.len() >= LEAST_STARS).then(|| robust_slope(&points, LEAST_CONTRAST))?
}

/// Slope of ln noise² over ln level across the mesh.
fn noise_slope(background: &Background) -> Option<Slope> {
    use stillframe_image::math::ln;
    let nodes = background.levels().iter().zip(background.noises());
    let points: Vec<(f64, f64)> = nodes
        .filter(|&(&level, &noise)| level > 0.0 && noise > 0.0)
        .map(|(&level, &noise)| (ln(f64::from(level)), 2.0 * ln(f64::from(noise))))
        .collect();
    if points.len() < LEAST_NODES {
        return None;
    }
    // at most as many as make the pairs cheap
    let step = points.len().div_ceil(MOST_STARS);
    let points: Vec<(f64, f64)> = points.into_iter().step_by(step).collect();
    robust_slope(&points, ln(LEAST_LEVEL_RATIO))
}

/// Median of the slopes of all pairs whose abscissae differ by at least `least`, and the standard
/// error that the scatter about it stands for; none if there are too few pairs.
///
/// # Source
/// Sen (1968), doi:10.1080/01621459.1968.10480934.
fn robust_slope(points: &[(f64, f64)], least: f64) -> Option<Slope> {
    let mut slopes = Vec::new();
    for (k, a) in points.iter().enumerate() {
        for b in &points[..k] {
            if (a.0 - b.0).abs() >= least {
                slopes.push((a.1 - b.1) / (a.0 - b.0));
            }
        }
    }
    if slopes.len() < LEAST_PAIRS {
        return None;
    }
    let value = stats::median_f64(&mut slopes)?;
    let mut residuals: Vec<f64> = points.iter().map(|p| p.1 - value * p.0).collect();
    let offset = stats::median_f64(&mut residuals)?;
    for r in &mut residuals {
        *r = (*r - offset).abs();
    }
    let scatter = stats::median_f64(&mut residuals)? * stats::SIGMA_PER_MAD;
    let n = points.len() as f64;
    let mean = points.iter().map(|p| p.0).sum::<f64>() / n;
    let squares = points.iter().map(|p| (p.0 - mean).powi(2)).sum::<f64>();
    Some(Slope { value, sigma: scatter / squares.sqrt(), n: points.len() })
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Image, Point, Rng, Shape, mask, math};

    use super::*;
    use crate::ops::background::{BackgroundParams, BackgroundScratch};
    use crate::ops::simulated::Model;
    use crate::ops::stars::{StarParams, StarScratch, detect};

    const WHITE: f64 = 65_535.0;

    /// A linear field, its richness, seeing and sky drawn at random; values in 0..=WHITE.
    fn field(seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 31, 0);
        let shape = Shape::new(256, 256);
        let sky = rng.range(300.0, 4000.0);
        let slope = rng.range(-0.3, 0.3) * sky / 256.0;
        let mut image = Image::from_fn(shape, |x, _| (sky + slope * x as f64) as f32);
        let model = Model {
            fwhm: rng.range(2.0, 4.0),
            beta: rng.range(2.5, 5.0),
            elongation: rng.range(1.0, 1.2),
            angle_rad: rng.range(0.0, 3.0),
        };
        for _ in 0..rng.below(100) + 50 {
            let at = Point::new(rng.range(0.0, 256.0), rng.range(0.0, 256.0));
            // N(> flux) ~ flux^−0.8
            let flux = 1500.0 * math::exp(rng.exponential() / 0.8);
            model.add(&mut image, at, flux.min(3e6));
        }
        image.map(|v| {
            let noisy = f64::from(v) + (f64::from(v) / 1.5 + 16.0).sqrt() * rng.normal();
            noisy.round().clamp(0.0, WHITE) as f32
        })
    }

    fn verdict(image: &Image<f32>) -> Linearity {
        let bits = image.map(|v| if f64::from(v) >= WHITE { mask::SATURATED } else { 0 });
        let params = BackgroundParams::default();
        let background =
            Background::fit(image, &bits, &params, &mut BackgroundScratch::default()).unwrap();
        let mut scratch = StarScratch::default();
        judge(&background, &detect(image, &bits, &background, &StarParams::default(), &mut scratch))
    }

    fn stretched(image: &Image<f32>, curve: impl Fn(f64) -> f64) -> Image<f32> {
        image.map(|v| (curve(f64::from(v) / WHITE) * WHITE).round() as f32)
    }

    fn asinh(v: f64) -> f64 {
        math::ln(v + (v * v + 1.0).sqrt())
    }

    #[test]
    fn linear_fields_pass_and_stretched_ones_fail() {
        let (mut passed, mut caught) = (0, 0);
        let n = 100;
        for seed in 0..n {
            let image = field(seed);
            let got = verdict(&image);
            assert!(!matches!(got, Linearity::Stretched { .. }), "seed {seed}: {got:?}");
            passed += usize::from(matches!(got, Linearity::Linear { .. }));
            if seed % 2 == 1 {
                continue;
            }
            let curved = match seed % 3 {
                0 => stretched(&image, |v| math::pow(v, 1.0 / 2.2)),
                1 => stretched(&image, |v| asinh(300.0 * v) / asinh(300.0)),
                _ => stretched(&image, |v| math::ln(1.0 + 500.0 * v) / math::ln(501.0)),
            };
            let got = verdict(&curved);
            assert!(!matches!(got, Linearity::Linear { .. }), "seed {seed}: {got:?}");
            caught += usize::from(matches!(got, Linearity::Stretched { .. }));
        }
        assert!(passed >= 75 && caught >= 40, "{passed} of {n} passed, {caught} of {n} / 2 caught");
    }

    #[test]
    fn noise_gives_a_stretched_sky_without_stars_away() {
        let mut rng = Rng::new(3, 0, 0);
        let sky = Image::from_fn(Shape::new(500, 500), |x, _| {
            let mean = 400.0 + 4.0 * x as f64;
            (mean + mean.sqrt() * rng.normal()) as f32
        });
        assert!(matches!(verdict(&sky), Linearity::Unknown { .. }));
        let curved = stretched(&sky, |v| math::ln(1.0 + 2000.0 * v) / math::ln(2001.0));
        assert!(matches!(verdict(&curved), Linearity::Stretched { .. }));
    }

    #[test]
    fn slope_of_a_line_with_outliers_is_that_of_the_line() {
        let mut rng = Rng::new(4, 0, 0);
        let points: Vec<(f64, f64)> = (0..60)
            .map(|k| {
                let x = f64::from(k) * 0.1;
                let outlier = if k % 7 == 0 { 3.0 } else { 0.0 };
                (x, 0.25 * x + 0.02 * rng.normal() + outlier)
            })
            .collect();
        let slope = robust_slope(&points, 0.7).unwrap();
        assert!((slope.value - 0.25).abs() < 4.0 * slope.sigma && slope.sigma < 0.004);
        assert!(robust_slope(&points[..5], 0.7).is_none());
    }
}
