//! Simulated stars for the tests.

use stillframe_image::{Image, Point, math};

/// An elliptical Moffat star; β above 50 is a Gaussian.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) fwhm: f64,
    pub(crate) beta: f64,
    pub(crate) elongation: f64,
    pub(crate) angle_rad: f64,
}

impl Model {
    pub(crate) fn round(fwhm: f64, beta: f64) -> Self {
        Self { fwhm, beta, elongation: 1.0, angle_rad: 0.0 }
    }

    /// Profile of unit flux.
    pub(crate) fn at(&self, dx: f64, dy: f64) -> f64 {
        let (c, s) = (math::cos(self.angle_rad), math::sin(self.angle_rad));
        let (u, v) = (c * dx + s * dy, c * dy - s * dx);
        let r2 = u * u / self.elongation + v * v * self.elongation;
        if self.beta > 50.0 {
            let a = 4.0 * std::f64::consts::LN_2 / self.fwhm.powi(2);
            return a / std::f64::consts::PI * math::exp(-a * r2);
        }
        let a = 4.0 * (math::pow(2.0, 1.0 / self.beta) - 1.0) / self.fwhm.powi(2);
        (self.beta - 1.0) * a / std::f64::consts::PI * math::pow(1.0 + a * r2, -self.beta)
    }

    /// Adds a star of this flux, averaged over 2×2 Gauss points of each pixel.
    pub(crate) fn add(&self, image: &mut Image<f32>, at: Point, flux: f64) {
        const GAUSS: [f64; 2] = [-0.288_675_134_594_813, 0.288_675_134_594_813];
        let reach = (5.0 * self.fwhm).ceil() as i64;
        let (cx, cy) = (at.x.round() as i64, at.y.round() as i64);
        for y in (cy - reach).max(0)..=(cy + reach).min(image.height() as i64 - 1) {
            for x in (cx - reach).max(0)..=(cx + reach).min(image.width() as i64 - 1) {
                let (dx, dy) = (x as f64 - at.x, y as f64 - at.y);
                let value = |k: usize| self.at(dx + GAUSS[k & 1], dy + GAUSS[k >> 1]);
                let mean = (value(0) + value(1) + value(2) + value(3)) / 4.0;
                let (x, y) = (x as usize, y as usize);
                image.set(x, y, image.at(x, y) + (flux * mean) as f32);
            }
        }
    }
}
