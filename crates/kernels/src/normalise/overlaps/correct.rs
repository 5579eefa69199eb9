//! A solved correction applied to the samples of a tile.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Shape};

use super::{MAX_TERMS, terms};

/// What is done to every sample of one plane of a tile: `gain · value - surface(u, v)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Factor on the samples.
    pub gain: f64,
    /// Coefficients of [`terms`], in the unit after the gain.
    pub surface: [f64; MAX_TERMS],
}

impl Correction {
    /// Changes nothing.
    pub const NONE: Self = Self { gain: 1.0, surface: [0.0; MAX_TERMS] };

    /// The place of `p` in a tile of `shape`: (u, v), -1 to 1 from the first to the last pixel.
    pub fn place(p: Point, shape: Shape) -> (f64, f64) {
        let [su, sv] = scales(shape);
        (p.x * su - 1.0, p.y * sv - 1.0)
    }

    /// The surface at `p` of a tile of `shape`.
    pub fn surface_at(&self, p: Point, shape: Shape) -> f64 {
        let (u, v) = Self::place(p, shape);
        self.surface.iter().zip(terms(u, v)).map(|(c, t)| c * t).sum()
    }

    /// Corrects samples that were taken at `positions` (columns and rows) of a tile of `shape`; NaN stays.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn apply(&self, positions: (&[f64], &[f64]), shape: Shape, samples: &mut [f32]) {
        assert_eq!((positions.0.len(), positions.1.len()), (samples.len(), samples.len()));
        if self.surface[1..].iter().all(|c| *c == 0.0) {
            level(self.gain, self.surface[0], samples);
        } else {
            surface(self, scales(shape), positions, samples);
        }
    }
}

/// Factors from pixels to u + 1 and v + 1.
fn scales(shape: Shape) -> [f64; 2] {
    [shape.width, shape.height].map(|size| 2.0 / (size.max(2) - 1) as f64)
}

#[multiversion(targets("x86_64+avx2"))]
fn level(gain: f64, offset: f64, samples: &mut [f32]) {
    for v in samples {
        *v = (f64::from(*v) * gain - offset) as f32;
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn surface(
    correction: &Correction,
    [su, sv]: [f64; 2],
    positions: (&[f64], &[f64]),
    samples: &mut [f32],
) {
    let Correction { gain, surface: c } = correction;
    // 1.5 u² - 0.5: the constants of the two go with the first term
    let (c0, c3, c5) = (c[0] - 0.5 * c[3] - 0.5 * c[5], 1.5 * c[3], 1.5 * c[5]);
    for ((value, x), y) in samples.iter_mut().zip(positions.0).zip(positions.1) {
        let (u, v) = (x * su - 1.0, y * sv - 1.0);
        let surface = c0 + u * (c[1] + c3 * u + c[4] * v) + v * (c[2] + c5 * v);
        *value = (f64::from(*value) * gain - surface) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_lose_the_surface_after_the_gain() {
        let shape = Shape::new(50, 80);
        let full = Correction { gain: 1.25, surface: [3.0, -2.0, 1.0, 4.0, -0.5, 0.25] };
        let flat = Correction { gain: 0.5, surface: [7.0, 0.0, 0.0, 0.0, 0.0, 0.0] };
        let points: Vec<Point> =
            (0..300).map(|i| Point::new(f64::from(i % 80), f64::from(i) / 7.0)).collect();
        let x: Vec<f64> = points.iter().map(|p| p.x).collect();
        let y: Vec<f64> = points.iter().map(|p| p.y).collect();
        for correction in [full, flat, Correction::NONE] {
            let mut samples: Vec<f32> = (0..300).map(|i| 100.0 + i as f32).collect();
            samples[7] = f32::NAN;
            correction.apply((&x, &y), shape, &mut samples);
            assert!(samples[7].is_nan());
            for (i, (got, p)) in samples.iter().zip(&points).enumerate().filter(|(i, _)| *i != 7) {
                let want = (100.0 + i as f64) * correction.gain - correction.surface_at(*p, shape);
                assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
            }
        }
        let corner = Correction::place(Point::new(79.0, 49.0), shape);
        assert!((corner.0 - 1.0).abs() < 1e-12 && (corner.1 - 1.0).abs() < 1e-12);
    }
}
