//! From the pixels of one image to those of another that shows the same sky.

use stillframe_image::Point;

use super::sky::{SkyRotation, rotated};
use super::{SkyPoint, Wcs, WcsError};

/// The exact map between the pixels of two images through the sky.
#[derive(Clone, Debug)]
pub struct PixelMap<'a> {
    from: &'a Wcs,
    to: &'a Wcs,
    rotation: Option<SkyRotation>,
}

impl<'a> PixelMap<'a> {
    /// The map that takes pixels of `from` to pixels of `to`.
    ///
    /// # Errors
    /// [`WcsError::Frames`] if nothing is known between their celestial systems.
    pub fn new(from: &'a Wcs, to: &'a Wcs) -> Result<Self, WcsError> {
        let rotation = from.frame().rotation_to(to.frame())?;
        Ok(Self { from, to, rotation })
    }

    /// Where `p` of the first image lies in the second; `None` where either has no sky.
    pub fn at(&self, p: Point) -> Option<Point> {
        self.to.pixel_from_sky(self.sky(p)?)
    }

    /// Where on the sky `p` of the first image lies, in the celestial system of the second.
    pub fn sky(&self, p: Point) -> Option<SkyPoint> {
        let sky = self.from.sky_from_pixel(p)?;
        Some(self.rotation.as_ref().map_or(sky, |rotation| rotated(rotation, sky)))
    }
}
