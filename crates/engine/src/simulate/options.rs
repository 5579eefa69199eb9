//! What to simulate.

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Shape};

/// A burst to simulate. The defaults are a smart telescope's: 10 s exposures, 2.4″ pixels, a
/// 16-bit sensor with 0.8 electrons per ADU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BurstOptions {
    /// Number of light frames, from 1.
    pub frames: usize,
    /// Columns, 32 to 16384.
    pub width: usize,
    /// Rows, 32 to 16384.
    pub height: usize,
    /// Seed of everything that is random.
    pub seed: u64,
    /// Mosaic of the frames as stored; none for mono.
    pub bayer: Option<CfaPattern>,
    /// Angle in degrees by which the field turns from one frame to the next.
    pub rotation_deg_per_frame: f64,
    /// Standard deviation of the random shift of each frame along each axis, in pixels; a slow
    /// drift of 1.3 times as much comes on top. Frame 0 is not shifted.
    pub dither_px: f64,
    /// Root mean square length of the local distortion, in pixels, over all frames.
    pub distortion_px: f64,
    /// Distance in pixels over which the distortion is alike (σ of its Gaussian correlation).
    pub distortion_scale_px: f64,
    /// Sharpest seeing, full width at half maximum in pixels, at least 1.2.
    pub fwhm_min_px: f64,
    /// Worst seeing in pixels, at most 20.
    pub fwhm_max_px: f64,
    /// Stars per million pixels, of all brightnesses.
    pub stars_per_mpx: f64,
    /// Electrons per frame of the faintest star; N(> F) ∝ F^-0.85 above it, up to 600 000.
    pub faintest_star_e: f64,
    /// Brightness scale of the nebula in electrons per pixel; 0: none.
    pub nebula_e: f64,
    /// Galaxies per million pixels.
    pub galaxies_per_mpx: f64,
    /// Mean sky in electrons per pixel.
    pub sky_e: f64,
    /// Amplitude of the sky's gradient across the frame, as a fraction of `sky_e`; it turns and
    /// changes from frame to frame.
    pub sky_gradient: f64,
    /// Mean fraction of the light that clouds take, at random, per frame; slow haze takes up to
    /// twice as much.
    pub cloud_loss: f64,
    /// Probability of a satellite trail in a frame.
    pub trail_probability: f64,
    /// Cosmic-ray hits per million pixels and frame.
    pub cosmics_per_mpx: f64,
    /// Fraction of hot pixels.
    pub hot_fraction: f64,
    /// The sensor.
    pub detector: DetectorKind,
    /// Number of bias frames.
    pub bias_frames: usize,
    /// Number of dark frames, exposed like the light frames.
    pub dark_frames: usize,
    /// Number of flat frames.
    pub flat_frames: usize,
}

impl Default for BurstOptions {
    fn default() -> Self {
        Self {
            frames: 60,
            width: 960,
            height: 640,
            seed: 1,
            bayer: None,
            rotation_deg_per_frame: 0.1,
            dither_px: 12.0,
            distortion_px: 0.65,
            distortion_scale_px: 160.0,
            fwhm_min_px: 2.4,
            fwhm_max_px: 4.6,
            stars_per_mpx: 2200.0,
            faintest_star_e: 60.0,
            nebula_e: 315.0,
            galaxies_per_mpx: 4.0,
            sky_e: 280.0,
            sky_gradient: 0.25,
            cloud_loss: 0.05,
            trail_probability: 0.15,
            cosmics_per_mpx: 6.6,
            hot_fraction: 4e-4,
            detector: DetectorKind::Raw,
            bias_frames: 15,
            dark_frames: 15,
            flat_frames: 15,
        }
    }
}

/// How faulty the sensor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorKind {
    /// Bias pattern, dark current, hot pixels, vignetting, dust, uneven pixels, noise.
    #[default]
    Raw,
    /// Constant bias, no dark current, even response, noise: frames as if calibrated.
    Ideal,
}

/// Why a burst cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// An option is out of range.
    #[error("{option} is {found}, needed {needed}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        found: f64,
        /// What is allowed.
        needed: &'static str,
    },
}

impl BurstOptions {
    /// Size of a frame.
    pub fn shape(&self) -> Shape {
        Shape::new(self.height, self.width)
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`SimulateError::Option`] for the first that is out of range.
    pub fn validate(&self) -> Result<(), SimulateError> {
        let side = 32.0..=16384.0;
        let fraction = 0.0..=1.0;
        let rate = 0.0..=1e5;
        let level = 0.0..=6e5;
        let checks = [
            ("frames", self.frames as f64, 1.0..=1e6, "1 to 1 000 000"),
            ("width", self.width as f64, side.clone(), "32 to 16384"),
            ("height", self.height as f64, side, "32 to 16384"),
            ("rotation_deg_per_frame", self.rotation_deg_per_frame, -180.0..=180.0, "-180 to 180"),
            ("dither_px", self.dither_px, 0.0..=1000.0, "0 to 1000"),
            ("distortion_px", self.distortion_px, 0.0..=20.0, "0 to 20"),
            ("distortion_scale_px", self.distortion_scale_px, 40.0..=1e5, "40 to 100 000"),
            ("fwhm_min_px", self.fwhm_min_px, 1.2..=20.0, "1.2 to 20"),
            ("fwhm_max_px", self.fwhm_max_px, self.fwhm_min_px..=20.0, "from fwhm_min_px to 20"),
            ("stars_per_mpx", self.stars_per_mpx, rate.clone(), "0 to 100 000"),
            ("faintest_star_e", self.faintest_star_e, 1.0..=5e5, "1 to 500 000"),
            ("nebula_e", self.nebula_e, level.clone(), "0 to 600 000"),
            ("galaxies_per_mpx", self.galaxies_per_mpx, 0.0..=1e3, "0 to 1000"),
            ("sky_e", self.sky_e, level, "0 to 600 000"),
            ("sky_gradient", self.sky_gradient, fraction.clone(), "0 to 1"),
            ("cloud_loss", self.cloud_loss, fraction.clone(), "0 to 1"),
            ("trail_probability", self.trail_probability, fraction, "0 to 1"),
            ("cosmics_per_mpx", self.cosmics_per_mpx, rate, "0 to 100 000"),
            ("hot_fraction", self.hot_fraction, 0.0..=0.1, "0 to 0.1"),
        ];
        for (option, found, range, needed) in checks {
            if !range.contains(&found) {
                return Err(SimulateError::Option { option, found, needed });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_kept() {
        BurstOptions::default().validate().unwrap();
        let wrong = BurstOptions { fwhm_max_px: 2.0, ..BurstOptions::default() };
        let text = wrong.validate().unwrap_err().to_string();
        assert_eq!(text, "fwhm_max_px is 2, needed from fwhm_min_px to 20");
        let wrong = BurstOptions { sky_e: f64::NAN, ..BurstOptions::default() };
        assert!(wrong.validate().is_err());
        assert!(BurstOptions { frames: 0, ..BurstOptions::default() }.validate().is_err());
    }
}
