//! The typical star of a frame: size, profile, roundness.

use stillframe_image::{Image, Point, mask};

use super::filter::{Candidate, NoiseGrid};
use super::window::{Moments, Window};
use crate::ops::stats;

/// Stars that the typical one is made of.
const STARS: usize = 80;
/// Candidates that are asked at most: in a crowd few are alone.
const MOST_ASKED: usize = 600;
/// Fewest that make one.
const LEAST_STARS: usize = 3;
/// Faintest that count.
const LEAST_SNR: f32 = 7.0;
/// Rounds in which a window adapts to a star; the error falls at least threefold in each.
const ROUNDS: usize = 3;
/// Standard deviations of windows that are believed, pixels.
const SIGMAS: std::ops::RangeInclusive<f64> = 0.5..=8.0;
/// Variance of a pixel's box, square pixels: what sampling adds to a star's second moment.
pub(super) const PIXEL_VARIANCE: f64 = 1.0 / 12.0;

/// Squared FWHM that a blur adds to a Moffat star per unit of its variance: 8.6 for β = 3.2, 9.3
/// for 2.5, 7.9 for 4.5, whatever the FWHM (8 ln 2 for a Gaussian). By numerical convolution with
/// the kernel of the green plane.
const FWHM2_PER_BLUR: f64 = 8.6;
/// What is left at least when the pixel's part is taken from a star's variance, square pixels.
const LEAST_VARIANCE: f64 = 0.04;

/// FWHM of a Moffat profile over the standard deviation of the window that adapts to it, for
/// 1/β = 0, 0.1, … 0.5 (0 is a Gaussian). By numerical integration of the definition: the
/// second moment under the window is half the window's variance.
const FWHM_PER_SIGMA: [f64; 6] = [2.354_820, 2.276_476, 2.195_424, 2.111_718, 2.025_300, 1.936_040];
/// Entry that is taken if no star is bright enough to tell: β = 3.3.
const USUAL_PROFILE: usize = 3;
/// The profile is that of stars of this signal-to-noise ratio …
const PROFILE_SNR: f32 = 30.0;
/// … whose width differs by no more than this share from the typical one.
const PROFILE_LIKENESS: f64 = 0.15;
/// Profiles are compared up to this distance, in standard deviations of the window.
const PROFILE_REACH: f64 = 3.0;
const PROFILE_BINS: usize = 15;

/// The typical star.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Psf {
    /// Standard deviation of the round Gaussian window whose second moment of the star is half
    /// its own, pixels.
    pub(super) sigma: f64,
    /// FWHM of the profile over the standard deviation, both without the pixel's part.
    pub(super) fwhm_per_sigma: f64,
    /// Minor over major axis.
    pub(super) roundness: f64,
}

impl Psf {
    /// FWHM that a star had before a `blur` of this variance, whose adapted window now has
    /// `variance`.
    pub(super) fn fwhm(&self, variance: f64, blur: f64) -> f64 {
        let squared = self.fwhm_per_sigma.powi(2) * (variance - PIXEL_VARIANCE).max(LEAST_VARIANCE);
        (squared - FWHM2_PER_BLUR * blur).max(LEAST_VARIANCE).sqrt()
    }

    /// A round star of this FWHM with the wings that the atmosphere makes (β = 3.3).
    pub(super) fn with_fwhm(fwhm_px: f64) -> Self {
        let fwhm_per_sigma = FWHM_PER_SIGMA[USUAL_PROFILE];
        let sigma = ((fwhm_px / fwhm_per_sigma).powi(2) + PIXEL_VARIANCE).sqrt();
        let sigma = sigma.clamp(*SIGMAS.start(), *SIGMAS.end());
        Self { sigma, fwhm_per_sigma, roundness: 1.0 }
    }
}

/// Size and shape of a star from its moments under a window, the window taken out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axes {
    /// Variance along the major and the minor axis.
    pub(super) major: f64,
    pub(super) minor: f64,
    /// Direction of the major axis from +x towards +y.
    pub(super) angle_rad: f64,
}

impl Axes {
    /// A Gaussian of variance c has the second moment `m = c s² / (c + s²)` under a window of
    /// variance s², so `c = m s² / (s² − m)`.
    pub(super) fn of(m: &Moments, sigma: f64) -> Self {
        let mean = 0.5 * (m.xx + m.yy);
        let (p, q) = (0.5 * (m.xx - m.yy), m.xy);
        let half = (p * p + q * q).sqrt();
        let window = sigma * sigma;
        let free = |moment: f64| {
            // a trail fills its window: what it would be beyond cannot be told
            let moment = moment.clamp(0.0, 0.95 * window);
            moment * window / (window - moment)
        };
        let angle_rad = 0.5 * stillframe_image::math::atan2(q, p);
        Self { major: free(mean + half), minor: free(mean - half), angle_rad }
    }

    pub(super) fn variance(&self) -> f64 {
        (self.major * self.minor).sqrt()
    }

    pub(super) fn roundness(&self) -> f64 {
        if self.major > 0.0 { (self.minor / self.major).sqrt() } else { 1.0 }
    }
}

/// Brightest pixel of a point source over its value in a filter of width `sigma` above which it is a hot pixel or a cosmic ray.
///
/// A star reaches `1 / (√π σ)` (a quarter more if it is cuspy and centred), a single pixel
/// `√π σ`; two pixels in a row about 1.2.
pub(super) fn sharpest_star(sigma: f64) -> f64 {
    (1.35 / (1.772_453_850_905_516 * sigma)).max(0.8)
}

/// Largest of the nine pixels round (`x`, `y`).
pub(super) fn peak(image: &Image<f32>, x: usize, y: usize) -> f32 {
    let (w, h) = (image.width(), image.height());
    let mut peak = f32::NEG_INFINITY;
    for j in y.saturating_sub(1)..(y + 2).min(h) {
        for &v in &image.row(j)[x.saturating_sub(1)..(x + 2).min(w)] {
            peak = peak.max(v);
        }
    }
    peak
}

/// The typical star among `candidates` (brightest first), starting from windows of `sigma`; none
/// if there are too few bright, isolated, unsaturated ones.
pub(super) fn typical(
    residual: &Image<f32>,
    bits: &Image<u8>,
    noise: &NoiseGrid,
    candidates: &[Candidate],
    sigma: f64,
) -> Option<Psf> {
    let mut stars: Vec<Adapted> = Vec::with_capacity(STARS);
    for (rank, c) in candidates.iter().enumerate().take(MOST_ASKED) {
        if stars.len() == STARS || c.snr < LEAST_SNR {
            break;
        }
        if !is_alone(candidates, rank, sigma) || !is_whole(bits, c, sigma) {
            continue;
        }
        let at = Point::new(f64::from(c.x), f64::from(c.y));
        let (x, y) = (c.x as usize, c.y as usize);
        let top = peak(residual, x, y) / noise.at(x, y);
        if f64::from(top) > sharpest_star(sigma) * f64::from(c.rise) {
            continue;
        }
        stars.extend(adapt(residual, at, sigma, c.snr));
    }
    if stars.len() < LEAST_STARS {
        return None;
    }
    let mut sigmas: Vec<f64> = stars.iter().map(|s| s.sigma).collect();
    let mut roundnesses: Vec<f64> = stars.iter().map(|s| s.roundness).collect();
    let sigma = stats::median_f64(&mut sigmas)?;
    let roundness = stats::median_f64(&mut roundnesses)?;
    stars.retain(|s| s.snr >= PROFILE_SNR && (s.sigma / sigma - 1.0).abs() < PROFILE_LIKENESS);
    let fwhm_per_sigma = profile_factor(residual, &stars, sigma);
    Some(Psf { sigma, fwhm_per_sigma, roundness })
}

/// Whether nothing that would bend its moments is near a candidate.
fn is_alone(candidates: &[Candidate], rank: usize, sigma: f64) -> bool {
    let star = &candidates[rank];
    let limit = 6.0 * sigma;
    candidates.iter().enumerate().all(|(other, c)| {
        let (dx, dy) = (f64::from(c.x) - f64::from(star.x), f64::from(c.y) - f64::from(star.y));
        other == rank || c.snr < 0.05 * star.snr || dx * dx + dy * dy > limit * limit
    })
}

/// Whether every pixel that counts was measured.
fn is_whole(bits: &Image<u8>, c: &Candidate, sigma: f64) -> bool {
    let reach = (4.0 * sigma).ceil() as usize;
    let (x, y) = (c.x as usize, c.y as usize);
    if x < reach || y < reach || x + reach >= bits.width() || y + reach >= bits.height() {
        return false;
    }
    let bad = mask::SATURATED | mask::NO_DATA;
    (y - reach..=y + reach)
        .all(|j| bits.row(j)[x - reach..=x + reach].iter().all(|&m| m & bad == 0))
}

/// A star under a window that has adapted to it.
struct Adapted {
    centre: Point,
    sigma: f64,
    roundness: f64,
    snr: f32,
}

fn adapt(residual: &Image<f32>, start: Point, sigma: f64, snr: f32) -> Option<Adapted> {
    let mut window = Window::new(sigma);
    let (mut centre, _) = window.centroid(residual, start, 0.0)?;
    let mut axes = adapted(&mut window, sigma, residual, centre, 0.0)?;
    // the centre was that of a window of another width
    (centre, _) = window.centroid(residual, centre, 0.0)?;
    let sigma = axes.variance().sqrt();
    axes = adapted(&mut window, sigma, residual, centre, 0.0)?;
    Some(Adapted { centre, sigma: axes.variance().sqrt(), roundness: axes.roundness(), snr })
}

/// Axes of the star at `centre` under a window that adapts to it, starting from a width of
/// `sigma`; none if it has no width to adapt to.
pub(super) fn adapted(
    window: &mut Window,
    sigma: f64,
    residual: &Image<f32>,
    centre: Point,
    level: f64,
) -> Option<Axes> {
    let mut sigma = sigma;
    let mut axes = None;
    for _ in 0..ROUNDS {
        window.adapt(sigma);
        let found = Axes::of(&window.moments(residual, centre, level)?, sigma);
        sigma = found.variance().sqrt();
        axes = Some(found);
        if !SIGMAS.contains(&sigma) {
            return None;
        }
    }
    axes
}

/// FWHM per standard deviation of the Moffat profile that is most like the mean of the stars.
fn profile_factor(residual: &Image<f32>, stars: &[Adapted], sigma: f64) -> f64 {
    let bins = mean_profile(residual, stars, sigma);
    if bins.is_empty() {
        return FWHM_PER_SIGMA[USUAL_PROFILE];
    }
    let misfits: Vec<f64> =
        (0..FWHM_PER_SIGMA.len()).map(|k| misfit(&bins, sigma, k as f64 * 0.1)).collect();
    let best = (0..misfits.len())
        .min_by(|&a, &b| misfits[a].total_cmp(&misfits[b]))
        .unwrap_or(USUAL_PROFILE);
    // vertex of the parabola through the best and its neighbours
    let k = best.clamp(1, misfits.len() - 2);
    let (l, c, r) = (misfits[k - 1], misfits[k], misfits[k + 1]);
    let curvature = l - 2.0 * c + r;
    let shift = if curvature > 0.0 { 0.5 * (l - r) / curvature } else { 0.0 };
    factor((k as f64 + shift).clamp(0.0, FWHM_PER_SIGMA.len() as f64 - 1.0))
}

/// [`FWHM_PER_SIGMA`] between its entries.
fn factor(position: f64) -> f64 {
    let k = (position as usize).min(FWHM_PER_SIGMA.len() - 2);
    let t = position - k as f64;
    FWHM_PER_SIGMA[k] * (1.0 - t) + FWHM_PER_SIGMA[k + 1] * t
}

/// Mean squared radius (square pixels), mean value, number of pixels; of rings about the stars.
type Bin = (f64, f64, f64);

fn mean_profile(residual: &Image<f32>, stars: &[Adapted], sigma: f64) -> Vec<Bin> {
    let mut bins = vec![(0.0, 0.0, 0.0); PROFILE_BINS];
    let reach = PROFILE_REACH * sigma;
    let mut window = Window::new(sigma);
    for &Adapted { centre, .. } in stars {
        let Some(total) = window.moments(residual, centre, 0.0) else { continue };
        let from = |c: f64| (c - reach).ceil().max(0.0) as usize;
        let to = |c: f64, n: usize| ((c + reach).floor().max(0.0) as usize).min(n - 1);
        for y in from(centre.y)..=to(centre.y, residual.height()) {
            for x in from(centre.x)..=to(centre.x, residual.width()) {
                let r2 = (Point::new(x as f64, y as f64) - centre).norm_squared();
                let bin = (r2.sqrt() / reach * PROFILE_BINS as f64) as usize;
                if let Some(bin) = bins.get_mut(bin) {
                    bin.0 += r2;
                    bin.1 += f64::from(residual.at(x, y)) / total.sum;
                    bin.2 += 1.0;
                }
            }
        }
    }
    bins.iter().filter(|b| b.2 > 0.0).map(|&(r2, value, n)| (r2 / n, value / n, n)).collect()
}

/// Weighted squared difference between the mean profile and a pixel-integrated Moffat profile of
/// exponent 1 / `inverse_beta`, of free height and of the width that the window asks for.
fn misfit(bins: &[Bin], sigma: f64, inverse_beta: f64) -> f64 {
    let fwhm =
        factor(inverse_beta * 10.0) * (sigma * sigma - PIXEL_VARIANCE).max(LEAST_VARIANCE).sqrt();
    let model = |r2: f64| pixel_moffat(r2, fwhm, inverse_beta);
    let (mut vm, mut mm, mut vv) = (0.0, 0.0, 0.0);
    for &(r2, value, n) in bins {
        let m = model(r2);
        vm += n * value * m;
        mm += n * m * m;
        vv += n * value * value;
    }
    vv - vm * vm / mm
}

/// Moffat profile of unit height at squared radius `r2`, averaged over a pixel to second order:
/// `f + (f'' + f'/r) / 24`.
fn pixel_moffat(r2: f64, fwhm: f64, inverse_beta: f64) -> f64 {
    use stillframe_image::math::{exp, ln, pow};
    if inverse_beta <= 0.0 {
        let a = 4.0 * std::f64::consts::LN_2 / (fwhm * fwhm);
        return exp(-a * r2) * (1.0 + (4.0 * a * a * r2 - 4.0 * a) / 24.0);
    }
    let beta = 1.0 / inverse_beta;
    let a = 4.0 * (pow(2.0, inverse_beta) - 1.0) / (fwhm * fwhm);
    let base = 1.0 + a * r2;
    let laplacian = 4.0 * beta * a * ((beta + 1.0) * a * r2 / base - 1.0) / base;
    exp(-beta * ln(base)) * (1.0 + laplacian / 24.0)
}
