//! Stars of one frame.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Point};

use crate::ops::background::Background;

/// What is special about a star.
pub mod flag {
    /// A pixel of its core is saturated.
    pub const SATURATED: u8 = 1;
    /// Another detection is so near that both disturb each other.
    pub const BLENDED: u8 = 2;
    /// The measuring window leaves the frame or holds missing pixels.
    pub const EDGE: u8 = 4;
    /// Wider than the frame's stars: a galaxy, a knot of nebula.
    pub const EXTENDED: u8 = 8;
    /// A pixel of its core was a defect and has been replaced.
    pub const DEFECT: u8 = 16;
}

/// One star.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Star {
    /// Windowed centroid, pixels.
    pub position: Point,
    /// Standard error of `position` along each axis, from the noise alone, pixels.
    pub position_sigma_px: f32,
    /// Sum over an aperture, above the background, units of the image.
    pub flux: f32,
    /// Standard error of `flux`.
    pub flux_sigma: f32,
    /// Brightest pixel above the background.
    pub peak: f32,
    /// Full width at half maximum of the star's profile (mean of the axes), pixels.
    pub fwhm_px: f32,
    /// Minor over major axis.
    pub roundness: f32,
    /// Direction of the major axis from +x towards +y, in (-π/2, π/2].
    pub angle_rad: f32,
    /// Bits of [`flag`].
    pub flags: u8,
}

/// How stars are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StarParams {
    /// Threshold in standard deviations of the matched-filtered noise.
    pub threshold_sigma: f32,
    /// FWHM of the stars in pixels; measured if not given.
    pub fwhm_px: Option<f32>,
    /// Most stars returned.
    pub max_stars: usize,
    /// Electrons per unit of the image, for the shot noise of the stars; left out if not given.
    pub gain_e_per_unit: Option<f32>,
}

impl Default for StarParams {
    fn default() -> Self {
        Self { threshold_sigma: 5.0, fwhm_px: None, max_stars: 1500, gain_e_per_unit: None }
    }
}

/// Memory that [`detect`] reuses.
#[derive(Clone, Debug, Default)]
pub struct StarScratch {}

/// The stars of `image`, brightest first.
pub fn detect(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    params: &StarParams,
    scratch: &mut StarScratch,
) -> Vec<Star> {
    let _ = (image, mask, background, params, scratch);
    Vec::new()
}
