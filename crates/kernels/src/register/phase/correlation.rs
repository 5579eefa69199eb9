//! Cross-power spectra and their correlation surfaces.

use multiversion::multiversion;
use stillframe_image::{Image, Shape, Vec2, math};

use super::PhaseError;
use super::subpixel::{Polynomial, newton};
use super::window::{Frame, Moments, Taper};
use crate::register::fft2::{Fft2, Fft2Cache, Spectrum};

/// Peaks are at least this far apart, pixels.
pub(super) const APART_PX: f64 = 4.0;

/// Maxima lower than this many standard deviations are not sorted: every surface has many.
const FLOOR: f64 = 2.0;

/// A local maximum of the surface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    pub(super) shift: Vec2,
    /// Height in standard deviations of the surface.
    pub(super) significance: f64,
}

/// Two spectra, their weighted cross-power and its surface.
#[derive(Clone, Debug)]
pub(super) struct Correlator {
    spectra: [Spectrum; 2],
    moments: [Moments; 2],
    /// Power of the noise in each spectrum.
    noise: [f32; 2],
    cross: Spectrum,
    work: Spectrum,
    surface: Image<f32>,
    shape: Shape,
    smooth_px: f64,
    flatten_px: f64,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            spectra: [Spectrum::default(), Spectrum::default()],
            moments: [Moments::default(); 2],
            noise: [0.0; 2],
            cross: Spectrum::default(),
            work: Spectrum::default(),
            surface: Image::filled(Shape::new(0, 0), 0.0),
            shape: Shape::new(0, 0),
            smooth_px: 0.0,
            flatten_px: 0.0,
        }
    }
}

impl Correlator {
    /// Sets the band that counts.
    pub(super) fn set_band(&mut self, smooth_px: f64, flatten_px: f64) {
        self.smooth_px = smooth_px;
        self.flatten_px = flatten_px;
    }

    /// Transforms the windowed image, as the reference (0) or the frame (1).
    pub(super) fn load(
        &mut self,
        which: usize,
        image: &Frame<'_>,
        window: &Taper,
        padded: Shape,
        fft: &mut Fft2Cache,
    ) -> Result<(), PhaseError> {
        let plan = fft.plan(padded);
        self.shape = plan.shape();
        self.surface.reset(self.shape, 0.0);
        let moments = image.write(window, &mut self.surface);
        self.moments[which] = moments.ok_or(PhaseError::Flat { image: image.name() })?;
        plan.forward(&self.surface, &mut self.spectra[which]);
        self.noise[which] = noise_power(&self.spectra[which], self.shape);
        Ok(())
    }

    /// Transforms a plane as it is.
    pub(super) fn load_plane(&mut self, which: usize, plane: &Image<f32>, fft: &mut Fft2Cache) {
        let plan = fft.plan(plane.shape());
        self.shape = plan.shape();
        let all = self.shape.len() as f64;
        self.moments[which] = Moments { second: all, fourth: all };
        plan.forward(plane, &mut self.spectra[which]);
        self.noise[which] = noise_power(&self.spectra[which], self.shape);
    }

    /// Weighted cross-power of the two spectra.
    fn cross_power(&mut self, doubt: f32) {
        let columns = self.shape.width / 2 + 1;
        let len = self.shape.height * columns;
        self.cross.re.resize(len, 0.0);
        self.cross.im.resize(len, 0.0);
        let band = Band::new(self.shape, self.smooth_px, self.flatten_px);
        let [a, b] = &self.spectra;
        for ky in 0..self.shape.height {
            let row = ky * columns..(ky + 1) * columns;
            cross_row(
                [&a.re[row.clone()], &a.im[row.clone()], &b.re[row.clone()], &b.im[row.clone()]],
                [&band.smooth_x, &band.flat_x],
                [band.smooth_y[ky], band.flat_y[ky]],
                self.noise.map(|n| doubt * n),
                [&mut self.cross.re[row.clone()], &mut self.cross.im[row]],
            );
        }
    }

    /// The surface, whose highest place is at `ref_from_frame`.
    pub(super) fn correlate(&mut self, fft: &mut Fft2Cache) {
        self.cross_power(DOUBT_FOUND);
        self.work.re.clone_from(&self.cross.re);
        self.work.im.clone_from(&self.cross.im);
        self.surface.reset(self.shape, 0.0);
        fft.plan(self.shape).inverse(&mut self.work, &mut self.surface);
    }

    /// Standard deviation that noise has where the windows overlap best, given its mean over the
    /// surface: at other shifts less of the images meets, and the surface is calmer there.
    fn deviation(&self) -> f64 {
        let power: f64 = self.surface.pixels().iter().map(|v| f64::from(v * v)).sum();
        let [a, b] = &self.moments;
        let concentration = (a.fourth * b.fourth).sqrt() / (a.second * b.second);
        (power * concentration).sqrt()
    }

    /// Significance that the highest peak of two unrelated images does not reach: the highest of n
    /// independent normal numbers is about √(2 ln n), and as many are independent as there are
    /// frequencies that count.
    pub(super) fn needed(&self) -> f64 {
        const MARGIN: f64 = 1.8;
        let (mut first, mut second) = (0.0, 0.0);
        for (re, im) in self.cross.re.iter().zip(&self.cross.im) {
            let square = f64::from(re * re + im * im);
            first += square.sqrt();
            second += square;
        }
        let n = if second > 0.0 { first * first / second } else { 1.0 };
        (2.0 * math::ln(n.max(2.0))).sqrt() + MARGIN
    }

    fn at(&self, dx: i64, dy: i64) -> f64 {
        let x = dx.rem_euclid(self.shape.width as i64) as usize;
        let y = dy.rem_euclid(self.shape.height as i64) as usize;
        f64::from(self.surface.at(x, y))
    }

    /// The highest `n` local maxima with shifts up to `limit`.
    pub(super) fn peaks(&self, limit: Vec2, n: usize) -> Vec<Peak> {
        let deviation = self.deviation();
        let reach = |limit: f64, n: usize| (limit as i64).min(n as i64 / 2 - 1);
        let (rx, ry) = (reach(limit.dx, self.shape.width), reach(limit.dy, self.shape.height));
        let mut all: Vec<(f64, i64, i64)> = Vec::new();
        for dy in -ry..=ry {
            for dx in -rx..=rx {
                let v = self.at(dx, dy);
                if v > FLOOR * deviation && self.is_maximum(dx, dy) {
                    all.push((v, dx, dy));
                }
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
        let mut kept: Vec<Peak> = Vec::new();
        for (v, dx, dy) in all {
            let shift = self.vertex(dx, dy);
            if kept.iter().all(|k| (k.shift - shift).norm() > APART_PX) {
                kept.push(Peak { shift, significance: v / deviation });
            }
            if kept.len() == n {
                break;
            }
        }
        kept
    }

    fn is_maximum(&self, dx: i64, dy: i64) -> bool {
        let v = self.at(dx, dy);
        (-1..=1).all(|j| (-1..=1).all(|i| self.at(dx + i, dy + j) <= v))
    }

    /// Top of the parabolas through a maximum and its neighbours.
    fn vertex(&self, dx: i64, dy: i64) -> Vec2 {
        let top = |before: f64, here: f64, after: f64| {
            let bend = before + after - 2.0 * here;
            if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
        };
        let here = self.at(dx, dy);
        Vec2::new(
            dx as f64 + top(self.at(dx - 1, dy), here, self.at(dx + 1, dy)),
            dy as f64 + top(self.at(dx, dy - 1), here, self.at(dx, dy + 1)),
        )
    }

    /// The highest place within two pixels of `shift`.
    pub(super) fn peak_near(&self, shift: Vec2) -> Peak {
        let (cx, cy) = (shift.dx.round() as i64, shift.dy.round() as i64);
        let mut best = (f64::MIN, cx, cy);
        for dy in cy - 2..=cy + 2 {
            for dx in cx - 2..=cx + 2 {
                let v = self.at(dx, dy);
                if v > best.0 {
                    best = (v, dx, dy);
                }
            }
        }
        Peak { shift: self.vertex(best.1, best.2), significance: best.0 / self.deviation() }
    }

    /// Height of the highest maximum that is not at `shift`, in standard deviations; at least
    /// [`FLOOR`].
    pub(super) fn highest_apart_from(&self, shift: Vec2) -> f64 {
        let everywhere = Vec2::new(self.shape.width as f64, self.shape.height as f64);
        let others = self.peaks(everywhere, 2);
        let other = others.iter().find(|p| (p.shift - shift).norm() > APART_PX);
        other.map_or(FLOOR, |p| p.significance)
    }

    /// The maximum of the surface between its pixels, from a start within a pixel of it.
    pub(super) fn maximum_near(&mut self, start: Vec2) -> Vec2 {
        self.cross_power(DOUBT_PLACED);
        newton(&Polynomial { cross: &self.cross, shape: self.shape }, start)
    }
}

/// Transfer functions of the two Gaussians along each axis.
struct Band {
    smooth_x: Vec<f32>,
    smooth_y: Vec<f32>,
    flat_x: Vec<f32>,
    flat_y: Vec<f32>,
}

impl Band {
    fn new(shape: Shape, smooth_px: f64, flatten_px: f64) -> Self {
        let plan = Frequencies { shape };
        let gaussian = |sigma: f64, f: f64| {
            let u = std::f64::consts::TAU * sigma * f;
            math::exp(-0.5 * u * u) as f32
        };
        // The highest frequency of an even length has no sign, hence no direction of shift.
        let along = |n: usize, sigma: f64, f: &dyn Fn(usize) -> f64| -> Vec<f32> {
            (0..n).map(|k| if f(k).abs() == 0.5 { 0.0 } else { gaussian(sigma, f(k)) }).collect()
        };
        let columns = shape.width / 2 + 1;
        Self {
            smooth_x: along(columns, smooth_px, &|k| plan.x(k)),
            smooth_y: along(shape.height, smooth_px, &|k| plan.y(k)),
            flat_x: along(columns, flatten_px, &|k| plan.x(k)),
            flat_y: along(shape.height, flatten_px, &|k| plan.y(k)),
        }
    }
}

/// Frequencies of a spectrum in cycles per pixel, as in [`Fft2`].
#[derive(Clone, Copy)]
pub(super) struct Frequencies {
    pub(super) shape: Shape,
}

impl Frequencies {
    pub(super) fn x(self, kx: usize) -> f64 {
        Fft2::frequency(kx, self.shape.width).abs()
    }

    pub(super) fn y(self, ky: usize) -> f64 {
        Fft2::frequency(ky, self.shape.height)
    }
}

/// A frequency whose power is this many times the noise's counts half of what a noiseless one does:
/// to find the peak, for which many frequencies must agree, and to place it, for which the surest
/// are best.
const DOUBT_FOUND: f32 = 3.0;
const DOUBT_PLACED: f32 = 50.0;

/// Power of white noise, from the highest frequencies, where images have no light left; at least
/// what rounding and the side lobes of the window make of the strongest frequency, which in an image
/// without noise would have its say as well.
fn noise_power(spectrum: &Spectrum, shape: Shape) -> f32 {
    const LOWEST: f64 = 0.4;
    const SAMPLES: usize = 8192;
    const SIDE_LOBES: f32 = 1e-8;
    let frequencies = Frequencies { shape };
    let columns = shape.width / 2 + 1;
    let is_high = |i: usize| {
        frequencies.x(i % columns) >= LOWEST || frequencies.y(i / columns).abs() >= LOWEST
    };
    // A prime number of steps a row would be best; an odd one is enough to meet all columns.
    let stride = (spectrum.re.len() / (2 * SAMPLES)).max(1) | 1;
    let power = |i: usize| spectrum.re[i] * spectrum.re[i] + spectrum.im[i] * spectrum.im[i];
    let mut powers: Vec<f32> =
        (0..spectrum.re.len()).step_by(stride).filter(|&i| is_high(i)).map(power).collect();
    let strongest = (0..spectrum.re.len()).map(power).fold(0.0, f32::max);
    if powers.is_empty() {
        return SIDE_LOBES * strongest;
    }
    let middle = powers.len() / 2;
    // The power of noise is distributed exponentially: its median is ln 2 of its mean.
    let median = *powers.select_nth_unstable_by(middle, f32::total_cmp).1;
    (median / std::f32::consts::LN_2).max(SIDE_LOBES * strongest)
}

/// One row of `a · conj(b) / |a · conj(b)|`, times the band, times the trust in either power.
#[multiversion(targets("x86_64+avx2"))]
fn cross_row(
    [ar, ai, br, bi]: [&[f32]; 4],
    [smooth_x, flat_x]: [&[f32]; 2],
    [smooth_y, flat_y]: [f32; 2],
    [doubt_a, doubt_b]: [f32; 2],
    [re, im]: [&mut [f32]; 2],
) {
    let n = re.len();
    let (ar, ai, br, bi) = (&ar[..n], &ai[..n], &br[..n], &bi[..n]);
    let (smooth_x, flat_x, im) = (&smooth_x[..n], &flat_x[..n], &mut im[..n]);
    for k in 0..n {
        let (cr, ci) = (ar[k] * br[k] + ai[k] * bi[k], ai[k] * br[k] - ar[k] * bi[k]);
        let (pa, pb) = (ar[k] * ar[k] + ai[k] * ai[k], br[k] * br[k] + bi[k] * bi[k]);
        let band = smooth_x[k] * smooth_y * (1.0 - flat_x[k] * flat_y);
        // |a| |b| is the modulus; p / (p + doubt) the trust.
        let trust = (pa * pb).sqrt() / ((pa + doubt_a) * (pb + doubt_b));
        let factor = if trust > 0.0 { band * trust } else { 0.0 };
        re[k] = cr * factor;
        im[k] = ci * factor;
    }
}
