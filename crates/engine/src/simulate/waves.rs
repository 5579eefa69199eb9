//! Smooth random vector fields made of plane waves.

use serde::{Deserialize, Serialize};
use stillframe_image::{DisplacementField, Point, Rng, Shape, Vec2, math};

/// Number of waves: enough for fields that look Gaussian, few enough for exact evaluation.
const MODES: usize = 40;

/// One plane wave: `amplitude · cos(kx · x + ky · y + phase_rad)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// Radians per pixel along x.
    pub kx: f64,
    /// Radians per pixel along y.
    pub ky: f64,
    /// Phase at the origin.
    pub phase_rad: f64,
    /// Displacement at the crest, in pixels.
    pub amplitude: Vec2,
}

/// A sum of plane waves: a smooth random displacement of the plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waves {
    /// The waves.
    pub waves: Vec<Wave>,
}

impl Waves {
    /// A field whose vectors have root mean square length `rms_px` over the plane and correlation
    /// exp(−r² / (2 · `scale_px`²)) in the mean over many fields.
    pub(super) fn random(rng: &mut Rng, rms_px: f64, scale_px: f64) -> Self {
        if rms_px == 0.0 {
            return Self::default();
        }
        let mut waves: Vec<Wave> = (0..MODES)
            .map(|_| Wave {
                kx: rng.normal() / scale_px,
                ky: rng.normal() / scale_px,
                phase_rad: rng.range(0.0, 2.0 * std::f64::consts::PI),
                amplitude: Vec2::new(rng.normal(), rng.normal()),
            })
            .collect();
        let power: f64 = waves.iter().map(|w| w.amplitude.norm_squared() / 2.0).sum();
        for wave in &mut waves {
            wave.amplitude = wave.amplitude * (rms_px / power.sqrt());
        }
        Self { waves }
    }

    /// The displacement at `p`.
    pub fn at(&self, p: Point) -> Vec2 {
        self.waves.iter().fold(Vec2::default(), |sum, w| {
            sum + w.amplitude * math::cos(w.kx * p.x + w.ky * p.y + w.phase_rad)
        })
    }

    /// The same field on a lattice for fast evaluation over the pixels of `shape`, wrong by about
    /// `(k · spacing)² / 6` of a wave: below 1 % for a spacing of a fifth of its scale.
    pub(super) fn on_lattice(&self, shape: Shape, spacing: f64) -> DisplacementField {
        let mut field = DisplacementField::covering(Point::default(), shape, spacing);
        let columns = field.nodes().width;
        let values: Vec<[f32; 2]> = (0..field.nodes().len())
            .map(|i| {
                let v = self.at(field.node_position(i % columns, i / columns));
                [v.dx as f32, v.dy as f32]
            })
            .collect();
        field.coefficients_mut().copy_from_slice(&values);
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_is_as_asked_and_the_lattice_agrees() {
        let waves = Waves::random(&mut Rng::new(3, 0, 0), 0.7, 50.0);
        let lattice = waves.on_lattice(Shape::new(500, 500), 10.0);
        let (mut sum, mut worst) = (0.0, 0.0f64);
        for i in 0..100 {
            for j in 0..100 {
                let p = Point::new(5.0 * f64::from(i), 5.0 * f64::from(j));
                sum += waves.at(p).norm_squared();
                worst = worst.max((waves.at(p) - lattice.at(p)).norm());
            }
        }
        let rms = (sum / 1e4).sqrt();
        assert!((rms - 0.7).abs() < 0.15, "{rms}");
        assert!(worst < 0.05, "{worst}");
        assert_eq!(
            Waves::random(&mut Rng::new(3, 0, 0), 0.0, 50.0).at(Point::default()).norm(),
            0.0
        );
    }
}
