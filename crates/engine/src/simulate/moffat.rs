//! Pixel-integrated Moffat stars.

use stillframe_image::{Image, math};

/// Wing index of every star, typical of long exposures.
const BETA: f64 = 3.2;
/// A star is drawn out to where it falls below this many electrons per pixel.
const FAINTEST_PIXEL_E: f64 = 0.02;
/// No star is drawn farther out than this many pixels.
const LARGEST_RADIUS_PX: f64 = 220.0;
/// Table cells per factor of two: linear interpolation is then right to 2e-6.
const CELLS: u32 = 1024;
/// Powers of two that the table covers; 1 + r²/α² stays below 2^18 for every allowed seeing.
const OCTAVES: u32 = 18;
/// Beyond this squared elliptical radius (in units of α²) the pixel's centre stands for it.
const SMOOTH_BEYOND: f32 = 100.0;
/// Abscissa of the two-point Gauss-Legendre rule on a pixel.
const GAUSS: f32 = 0.288_675_13;

/// The profile (1 + q)^-β as a table over q.
#[derive(Clone, Debug)]
pub(super) struct Moffat {
    table: Vec<f32>,
}

/// Shape of the stars of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct StarShape {
    /// Inverse of the squared axes, turned: q = xx · dx² + xy · dx · dy + yy · dy².
    xx: f32,
    xy: f32,
    yy: f32,
    alpha: f64,
    /// Brightness at the centre of a star of 1 electron, per square pixel.
    peak: f64,
}

impl StarShape {
    /// Stars of full width at half maximum `fwhm_px` (geometric mean of both axes), whose axes are
    /// in the ratio 1 + `ellipticity`, the long one at `angle_rad` from +x towards +y.
    pub(super) fn new(fwhm_px: f64, ellipticity: f64, angle_rad: f64) -> Self {
        let alpha = fwhm_px / (2.0 * (math::pow(2.0, 1.0 / BETA) - 1.0).sqrt());
        let stretch = 1.0 + ellipticity;
        let (long, short) = (alpha * alpha * stretch, alpha * alpha / stretch);
        let (c, s) = (math::cos(angle_rad), math::sin(angle_rad));
        Self {
            xx: (c * c / long + s * s / short) as f32,
            xy: (2.0 * c * s * (1.0 / long - 1.0 / short)) as f32,
            yy: (s * s / long + c * c / short) as f32,
            alpha,
            peak: (BETA - 1.0) / (std::f64::consts::PI * alpha * alpha),
        }
    }

    /// Radius in pixels at which a star of `flux_e` is cut off.
    pub(super) fn radius(&self, flux_e: f64) -> f64 {
        let ratio = math::pow(flux_e * self.peak / FAINTEST_PIXEL_E, 1.0 / BETA);
        (self.alpha * (ratio - 1.0).max(1.0).sqrt()).clamp(5.0, LARGEST_RADIUS_PX)
    }
}

impl Moffat {
    pub(super) fn new() -> Self {
        let table = (0..=OCTAVES * CELLS)
            .map(|i| {
                let t = f32::from_bits((127 << 23) + i * ((1 << 23) / CELLS));
                math::pow(f64::from(t), -BETA) as f32
            })
            .collect();
        Self { table }
    }

    /// (1 + q)^-β for q ≥ 0.
    fn profile(&self, q: f32) -> f32 {
        // The bits of a float are its logarithm: equal steps of them are the table's cells.
        let bits = (1.0 + q).to_bits() - (127 << 23);
        let cell = (bits / ((1 << 23) / CELLS)).min(OCTAVES * CELLS - 1) as usize;
        let fraction = (bits % ((1 << 23) / CELLS)) as f32 * (CELLS as f32 / (1 << 23) as f32);
        let (a, b) = (self.table[cell], self.table[cell + 1]);
        a + fraction * (b - a)
    }

    /// Adds a star at column `x` and row `y` to `image`. Its flux at a pixel is
    /// `flux_e[row parity][column parity]` electrons: one number for mono, the mosaic's for Bayer.
    pub(super) fn add(
        &self,
        image: &mut Image<f32>,
        shape: &StarShape,
        x: f64,
        y: f64,
        flux_e: [[f64; 2]; 2],
    ) {
        let brightest = flux_e.iter().flatten().fold(0.0f64, |a, &b| a.max(b));
        let radius = shape.radius(brightest);
        let Some((x0, x1)) = pixels(x, radius, image.width()) else { return };
        let Some((y0, y1)) = pixels(y, radius, image.height()) else { return };
        let scale = |e: f64| (e * shape.peak) as f32;
        let r2 = (radius * radius) as f32;
        for row in y0..y1 {
            let dy = (row as f64 - y) as f32;
            let factors = flux_e[row & 1].map(scale);
            let dx0 = (x0 as f64 - x) as f32;
            for (i, v) in image.row_mut(row)[x0..x1].iter_mut().enumerate() {
                let dx = dx0 + i as f32;
                if dx * dx + dy * dy <= r2 {
                    *v += factors[(x0 + i) & 1] * self.pixel(shape, dx, dy);
                }
            }
        }
    }

    /// Mean of the profile over the pixel whose centre is (`dx`, `dy`) from the star.
    fn pixel(&self, s: &StarShape, dx: f32, dy: f32) -> f32 {
        let q = |dx: f32, dy: f32| (s.xx * dx + s.xy * dy) * dx + s.yy * dy * dy;
        let centre = q(dx, dy);
        if centre > SMOOTH_BEYOND {
            return self.profile(centre);
        }
        let at = |gx: f32, gy: f32| self.profile(q(dx + gx, dy + gy));
        0.25 * ((at(-GAUSS, -GAUSS) + at(GAUSS, -GAUSS)) + (at(-GAUSS, GAUSS) + at(GAUSS, GAUSS)))
    }
}

/// First pixel and first pixel after the last within `radius` of `centre`; none outside.
fn pixels(centre: f64, radius: f64, n: usize) -> Option<(usize, usize)> {
    let first = (centre - radius).ceil().max(0.0);
    let end = ((centre + radius).floor() + 1.0).min(n as f64);
    (first < end).then_some((first as usize, end as usize))
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;

    #[test]
    fn the_table_is_the_profile() {
        let moffat = Moffat::new();
        for q in [0.0, 0.1, 1.0, 3.7, 55.5, 900.0, 2e4] {
            let want = math::pow(1.0 + f64::from(q), -BETA);
            let got = f64::from(moffat.profile(q));
            assert!((got / want - 1.0).abs() < 5e-6, "{q}: {got} {want}");
        }
    }

    #[test]
    fn a_star_has_its_flux_place_and_width() {
        let moffat = Moffat::new();
        let shape = StarShape::new(3.0, 0.3, 0.7);
        let mut image = Image::filled(Shape::new(301, 301), 0.0f32);
        moffat.add(&mut image, &shape, 150.3, 149.8, [[1e4; 2]; 2]);
        let (mut sum, mut mx, mut my) = (0.0, 0.0, 0.0);
        for y in 0..301 {
            for (x, &v) in image.row(y).iter().enumerate() {
                sum += f64::from(v);
                mx += f64::from(v) * x as f64;
                my += f64::from(v) * y as f64;
            }
        }
        assert!((sum / 1e4 - 1.0).abs() < 0.01, "{sum}");
        assert!((mx / sum - 150.3).abs() < 0.01 && (my / sum - 149.8).abs() < 0.01);
        // Half the central brightness half a width away, on a circle.
        let round = StarShape::new(8.0, 0.0, 0.0);
        let half = moffat.profile(round.xx * 16.0) / moffat.profile(0.0);
        assert!((half - 0.5).abs() < 1e-4, "{half}");
    }

    #[test]
    fn stars_outside_add_their_wings_only() {
        let moffat = Moffat::new();
        let shape = StarShape::new(3.0, 0.0, 0.0);
        let mut image = Image::filled(Shape::new(20, 20), 0.0f32);
        moffat.add(&mut image, &shape, -3.0, 10.0, [[1e5; 2]; 2]);
        assert!(image.at(0, 10) > image.at(1, 10) && image.at(0, 10) > 0.0);
        let before = image.clone();
        moffat.add(&mut image, &shape, -500.0, 10.0, [[1e5; 2]; 2]);
        assert_eq!(image, before);
    }
}
