//! Moduli of spectra on a grid of directions and log frequencies.

use stillframe_image::{Image, Shape, math};

use crate::register::fft2::Spectrum;

/// Directions over half a turn, and frequencies.
pub(super) const DIRECTIONS: usize = 360;
pub(super) const RADII: usize = 192;
/// Lowest and highest frequency in units of the highest of the spectrum: the lowest are the
/// window's, the highest the noise's.
const LOWEST: f64 = 0.03;
const HIGHEST: f64 = 0.75;

/// Angle between neighbouring directions, radians.
pub(super) fn angle_step() -> f64 {
    std::f64::consts::PI / DIRECTIONS as f64
}

/// Natural logarithm of the ratio of neighbouring frequencies.
pub(super) fn radius_step() -> f64 {
    math::ln(HIGHEST / LOWEST) / (RADII - 1) as f64
}

/// The logarithm of the modulus of the spectrum of a square image of side `n`: frequencies along
/// the rows of the result, directions from +x towards +y along its columns. Each frequency has its
/// mean taken off (what is the same in all directions says nothing of rotation) and its scatter
/// made 1; the ends of the frequencies are tapered.
pub(super) fn log_polar(spectrum: &Spectrum, n: usize) -> Image<f32> {
    let columns = n / 2 + 1;
    let modulus: Vec<f32> =
        spectrum.re.iter().zip(&spectrum.im).map(|(r, i)| (r * r + i * i).sqrt()).collect();
    let mut sorted = modulus.clone();
    let middle = sorted.len() / 2;
    let typical = *sorted.select_nth_unstable_by(middle, f32::total_cmp).1;
    let floor = f64::from(typical.max(f32::MIN_POSITIVE));
    let logarithm: Vec<f32> =
        modulus.iter().map(|&m| math::ln(1.0 + f64::from(m) / floor) as f32).collect();
    let at = |kx: i64, ky: i64| {
        // The other half plane is the mirror image.
        let (kx, ky) = if kx < 0 { (-kx, -ky) } else { (kx, ky) };
        let ky = ky.rem_euclid(n as i64) as usize;
        logarithm[ky * columns + (kx as usize).min(columns - 1)]
    };
    let sample = |x: f64, y: f64| {
        let (fx, fy) = (x.floor(), y.floor());
        let (tx, ty) = ((x - fx) as f32, (y - fy) as f32);
        let (kx, ky) = (fx as i64, fy as i64);
        (at(kx, ky) * (1.0 - tx) + at(kx + 1, ky) * tx) * (1.0 - ty)
            + (at(kx, ky + 1) * (1.0 - tx) + at(kx + 1, ky + 1) * tx) * ty
    };
    let highest = 0.5 * n as f64;
    let turns: Vec<(f64, f64)> = (0..DIRECTIONS)
        .map(|d| d as f64 * angle_step())
        .map(|a| (math::cos(a), math::sin(a)))
        .collect();
    let mut plane = Image::filled(Shape::new(RADII, DIRECTIONS), 0.0f32);
    for i in 0..RADII {
        let radius = highest * LOWEST * math::exp(i as f64 * radius_step());
        let row = plane.row_mut(i);
        for (v, (c, s)) in row.iter_mut().zip(&turns) {
            *v = sample(radius * c, radius * s);
        }
        let t = std::f64::consts::TAU * (i as f64 + 0.5) / RADII as f64;
        standardise(row, 0.5 - 0.5 * math::cos(t));
    }
    plane
}

/// Mean 0 and standard deviation `deviation`.
fn standardise(row: &mut [f32], deviation: f64) {
    let n = row.len() as f64;
    let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let power = row.iter().map(|v| (f64::from(*v) - mean) * (f64::from(*v) - mean)).sum::<f64>();
    let scale = if power > 0.0 { deviation / (power / n).sqrt() } else { 0.0 };
    for v in row {
        *v = ((f64::from(*v) - mean) * scale) as f32;
    }
}
