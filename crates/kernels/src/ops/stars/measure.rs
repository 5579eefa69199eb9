//! Position, flux, size and flags of one candidate.

use stillframe_image::{Image, Point, mask};

use super::filter::Candidate;
use super::psf::{self, Axes, Psf};
use super::window::{Moments, Window};
use super::{Star, StarParams, flag};
use crate::ops::stats;

/// Radius of the aperture in units of the frame's FWHM: 92 % of a β = 3.2 star.
const APERTURE: f64 = 1.5;
/// Ring in which the local sky is measured, in units of the frame's FWHM.
const SKY_RING: (f64, f64) = (2.5, 3.5);
/// Pixels that the local sky is made of.
const SKY_PIXELS: usize = 96;
/// Variance of a median over that of the mean, of normal noise.
const MEDIAN_VARIANCE: f64 = std::f64::consts::FRAC_PI_2;
/// A star narrower than this share of the frame's variance on its minor axis is a cosmic ray.
const NARROWEST: f64 = 0.4;
/// A source wider than this multiple of the frame's variance is not a star.
const WIDEST: f64 = 1.6;
/// A source with less than this share of the frame's roundness is a trail.
const LEAST_ROUND: f64 = 0.5;

/// Standard error of a star's second moment, in units of the moment, times its signal-to-noise
/// ratio.
const DOUBT: f64 = 3.0;
/// Signal-to-noise ratio from which on the window adapts to each star; below, the frame's window
/// is the best guess.
const ADAPT_SNR: f32 = 15.0;
/// A neighbour that counts has this share of the star's peak …
const BLEND_SHARE: f64 = 0.1;
/// … and this many standard deviations of the noise.
const BLEND_SNR: f64 = 5.0;

/// What does not change from star to star of a frame.
pub(super) struct Measure<'a> {
    residual: &'a Image<f32>,
    bits: &'a Image<u8>,
    psf: Psf,
    /// Standard deviation of the filtered noise over that of a pixel.
    noise_gain: f64,
    units_per_electron: f64,
    blur: f64,
    window: Window,
    free_window: Window,
    ring: Vec<(i64, i64)>,
    aperture_px: f64,
    sky: Vec<f32>,
}

/// Sky about a star beyond the mesh.
#[derive(Clone, Copy)]
struct LocalSky {
    level: f64,
    variance: f64,
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        residual: &'a Image<f32>,
        bits: &'a Image<u8>,
        psf: Psf,
        noise_gain: f64,
        params: &StarParams,
    ) -> Self {
        // apertures and rings follow the blurred stars
        let fwhm = psf.fwhm(psf.sigma * psf.sigma, 0.0);
        let (inner, outer) = (SKY_RING.0 * fwhm, SKY_RING.1 * fwhm);
        let reach = outer.ceil() as i64;
        let mut ring = Vec::new();
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let r = ((dx * dx + dy * dy) as f64).sqrt();
                if r >= inner && r <= outer {
                    ring.push((dx, dy));
                }
            }
        }
        let thinning = ring.len().div_ceil(SKY_PIXELS).max(1);
        let ring = ring.into_iter().step_by(thinning).collect();
        Self {
            residual,
            bits,
            psf,
            noise_gain,
            units_per_electron: params.gain_e_per_unit.map_or(0.0, |g| 1.0 / f64::from(g)),
            blur: f64::from(params.blur_variance_px2),
            window: Window::new(psf.sigma),
            free_window: Window::new(psf.sigma),
            ring,
            aperture_px: APERTURE * fwhm,
            sky: Vec::new(),
        }
    }

    /// The star at a candidate, whose pixels have this noise; none if it is not a star.
    pub(super) fn star(&mut self, c: &Candidate, noise: f32) -> Option<Star> {
        let noise = f64::from(noise);
        let start = Point::new(f64::from(c.x), f64::from(c.y));
        let sky = self.local_sky(start, noise);
        let top = psf::peak(self.residual, c.x as usize, c.y as usize);
        let top = f64::from(top) - sky.level;
        // noise makes the brightest pixel of a faint star brighter by about one σ and a half
        let sharpest = psf::sharpest_star(self.psf.sigma) * f64::from(c.rise) + 1.5;
        if top > sharpest * noise {
            return None;
        }
        let (position, m) = self.window.centroid(self.residual, start, sky.level)?;
        let mut axes = Axes::of(&m, self.psf.sigma);
        let mut flags = self.bits_around(position);
        if flags & flag::SATURATED == 0 && self.is_no_star(&axes, f64::from(c.snr)) {
            return None;
        }
        let doubt = DOUBT / f64::from(c.snr);
        if c.snr >= ADAPT_SNR {
            let start = axes.variance().sqrt();
            let (window, residual) = (&mut self.free_window, self.residual);
            axes = psf::adapted(window, start, residual, position, sky.level).unwrap_or(axes);
        }
        if axes.variance() > (WIDEST + doubt) * self.psf.sigma.powi(2) {
            flags |= flag::EXTENDED;
        }
        if self.has_neighbour(position, top, sky.level, noise) {
            flags |= flag::BLENDED;
        }
        let (flux, area) = self.aperture(position, sky.level);
        let per_pixel = (noise * self.noise_gain).powi(2);
        let shot = flux.max(0.0) * self.units_per_electron;
        let flux_variance = area * per_pixel + shot + area * area * sky.variance;
        Some(Star {
            position,
            position_sigma_px: self.position_sigma(&m, per_pixel) as f32,
            flux: flux as f32,
            flux_sigma: flux_variance.sqrt() as f32,
            peak: top as f32,
            fwhm_px: self.psf.fwhm(axes.variance(), self.blur) as f32,
            roundness: axes.roundness() as f32,
            angle_rad: axes.angle_rad as f32,
            flags,
        })
    }

    fn is_no_star(&self, axes: &Axes, snr: f64) -> bool {
        let variance = self.psf.sigma.powi(2);
        let doubt = DOUBT / snr;
        let too_narrow = axes.minor < (NARROWEST - doubt) * variance;
        let too_long = axes.roundness() < LEAST_ROUND * self.psf.roundness - doubt;
        too_narrow || too_long
    }

    /// Sky in a ring about `at` beyond the mesh. As far as it could be noise it is none: the
    /// level is shrunk by `1 − variance / level²`.
    fn local_sky(&mut self, at: Point, noise: f64) -> LocalSky {
        let (x, y) = (at.x as i64, at.y as i64);
        let (w, h) = (self.residual.width(), self.residual.height());
        self.sky.clear();
        for &(dx, dy) in &self.ring {
            let (i, j) = ((x + dx) as usize, (y + dy) as usize);
            if i < w && j < h && self.bits.at(i, j) == 0 {
                self.sky.push(self.residual.at(i, j));
            }
        }
        let n = self.sky.len();
        let Some(level) = stats::median(&mut self.sky).map(f64::from) else {
            return LocalSky { level: 0.0, variance: 0.0 };
        };
        let variance = (noise * self.noise_gain).powi(2) * MEDIAN_VARIANCE / n as f64;
        let trust = (1.0 - variance / (level * level).max(f64::MIN_POSITIVE)).max(0.0);
        LocalSky { level: level * trust, variance: variance * trust }
    }

    fn bits_around(&self, at: Point) -> u8 {
        let (w, h) = (self.bits.width() as i64, self.bits.height() as i64);
        let (x, y) = (at.x.round() as i64, at.y.round() as i64);
        let outer = (3.0 * self.psf.sigma).ceil() as i64;
        let inner = (2.0 * self.psf.sigma).ceil() as i64;
        let or_within = |reach: i64| {
            (y - reach..=y + reach)
                .filter(|j| (0..h).contains(j))
                .flat_map(|j| (x - reach..=x + reach).map(move |i| (i, j)))
                .filter(|(i, _)| (0..w).contains(i))
                .fold(0, |bits, (i, j)| bits | self.bits.at(i as usize, j as usize))
        };
        let cut = x < outer || y < outer || x + outer >= w || y + outer >= h;
        let core = or_within(inner);
        let mut flags = 0;
        if cut || or_within(outer) & mask::NO_DATA != 0 {
            flags |= flag::EDGE;
        }
        if core & mask::SATURATED != 0 {
            flags |= flag::SATURATED;
        }
        if core & mask::DEFECT != 0 {
            flags |= flag::DEFECT;
        }
        flags
    }

    /// Whether the aperture holds a peak of another star, one that the filter has melted into
    /// this one.
    fn has_neighbour(&self, at: Point, top: f64, level: f64, noise: f64) -> bool {
        let image = self.residual;
        let (w, h) = (image.width(), image.height());
        let reach = self.aperture_px;
        let limit = (BLEND_SHARE * top).max(BLEND_SNR * noise) + level;
        let from = |c: f64| (c - reach).ceil().max(1.0) as usize;
        let to = |c: f64, n: usize| ((c + reach).floor().max(0.0) as usize).min(n - 2);
        let core = (1.6 * self.psf.sigma).powi(2);
        (from(at.y)..=to(at.y, h)).any(|y| {
            (from(at.x)..=to(at.x, w)).any(|x| {
                let v = image.at(x, y);
                let r2 = (Point::new(x as f64, y as f64) - at).norm_squared();
                f64::from(v) > limit
                    && r2 > core
                    && r2 <= reach * reach
                    && (y - 1..=y + 1).all(|j| image.row(j)[x - 1..=x + 1].iter().all(|&n| n <= v))
            })
        })
    }

    /// Standard error of the centroid along an axis.
    ///
    /// # Source
    /// SExtractor's ERRX2WIN: `4 Σ w² σ² dx² / (Σ w I)²`, the sum over the noise of the sky in
    /// closed form (`π s⁴ / 2`), that over the star's own shot noise as for a Gaussian star.
    fn position_sigma(&self, m: &Moments, per_pixel: f64) -> f64 {
        let s2 = self.psf.sigma.powi(2);
        let sky = std::f64::consts::FRAC_PI_2 * s2 * s2 * per_pixel;
        // a Gaussian star of variance s² and flux F: Σ w I = F / 2, Σ w² I dx² = F s² / 9
        let star = 2.0 / 9.0 * m.sum * s2 * self.units_per_electron;
        2.0 * (sky + star).sqrt() / m.sum
    }

    /// Sum over the aperture and its area.
    fn aperture(&self, at: Point, level: f64) -> (f64, f64) {
        let radius = self.aperture_px;
        let (w, h) = (self.residual.width(), self.residual.height());
        let from = |c: f64| (c - radius - 0.5).ceil().max(0.0) as usize;
        let to = |c: f64, n: usize| ((c + radius + 0.5).floor().max(0.0) as usize).min(n - 1);
        let (x0, x1) = (from(at.x), to(at.x, w));
        let (mut flux, mut area) = (0.0, 0.0);
        for y in from(at.y)..=to(at.y, h) {
            let dy2 = (y as f64 - at.y).powi(2);
            for (k, &v) in self.residual.row(y)[x0..=x1].iter().enumerate() {
                let dx = (x0 + k) as f64 - at.x;
                // a pixel counts by the part of its width that lies inside
                let inside = (radius + 0.5 - (dx * dx + dy2).sqrt()).clamp(0.0, 1.0);
                flux += inside * (f64::from(v) - level);
                area += inside;
            }
        }
        (flux, area)
    }
}
