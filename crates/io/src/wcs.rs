//! World coordinates: where on the sky a pixel lies, and back.
//!
//! The transforms are those of the FITS standard (Greisen & Calabretta 2002,
//! doi:10.1051/0004-6361:20021326; Calabretta & Greisen 2002, doi:10.1051/0004-6361:20021327), with
//! the SIP (Shupe et al. 2005) and TPV distortions, evaluated by the `fits-well` crate. Positions are
//! ours (the first pixel's centre is (0, 0)): FITS's 1-based positions do not leave this module.

mod cards;
mod grid;
mod map;
mod sky;

use std::fmt;

use fits_well::wcs::{Alternate, Projection};
use serde::{Deserialize, Serialize};
use stillframe_image::{Card, Header, Point};

pub use grid::{GridHeaderError, grid_from_text};
pub use map::PixelMap;
pub use sky::{SkyFrame, SkyPoint};

/// Why a header gives no world coordinates that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WcsError {
    /// It has none.
    #[error("the header has no world coordinates ({missing} is missing); solve the frame first")]
    Missing {
        /// The first keyword that is not there.
        missing: &'static str,
    },
    /// The projection is not one of those that are read.
    #[error(
        "the projection {found} is not supported; needed is one of TAN, SIN, ARC, STG, ZEA, CAR, AIT \
         (TAN also with SIP or TPV distortion)"
    )]
    Projection {
        /// `CTYPE1` of the header.
        found: String,
    },
    /// The axes are not a pair of celestial ones.
    #[error(
        "the axes are {found}; needed are a longitude and a latitude, as RA---TAN and DEC--TAN"
    )]
    Axes {
        /// `CTYPE1` and `CTYPE2`.
        found: String,
    },
    /// The keywords contradict each other or have no inverse.
    #[error("the world coordinates of the header cannot be used: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Two frames of the sky between which nothing is known here.
    #[error(
        "{from} cannot be converted to {to}; frames of one mosaic need one celestial system, or \
         ICRS, FK5 (J2000) and galactic mixed"
    )]
    Frames {
        /// System of the first.
        from: SkyFrame,
        /// System of the second.
        to: SkyFrame,
    },
}

/// The world coordinates of an image of two celestial axes.
///
/// Serialised as the text of its header cards, from which it is built again to the same bits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wcs {
    cards: Header,
    inner: fits_well::wcs::Wcs,
    longitude_axis: usize,
    frame: SkyFrame,
}

impl fmt::Debug for Wcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wcs").field(&self.cards).finish()
    }
}

impl PartialEq for Wcs {
    fn eq(&self, other: &Self) -> bool {
        self.cards == other.cards
    }
}

impl From<Wcs> for String {
    fn from(wcs: Wcs) -> Self {
        cards::to_text(&wcs.cards)
    }
}

impl TryFrom<String> for Wcs {
    type Error = WcsError;

    fn try_from(text: String) -> Result<Self, WcsError> {
        Self::from_header(&crate::fits::header_from_text(&text))
    }
}

impl Wcs {
    /// The celestial coordinates of the first two axes that `header` describes (the primary
    /// description; further axes, as of colour planes, are left out).
    ///
    /// Read are `CTYPEi`, `CRVALi`, `CRPIXi`, `CUNITi`, `CDi_j`, `PCi_j` with `CDELTi`, `CROTA2`,
    /// `LONPOLE`, `LATPOLE`, `PVi_m`, `RADESYS`, `EQUINOX` and the SIP terms. As wcslib does, TAN
    /// with `PV` terms is read as TPV, and SIP terms count whether or not `CTYPE` ends in `-SIP`.
    ///
    /// # Errors
    /// [`WcsError`].
    pub fn from_header(header: &Header) -> Result<Self, WcsError> {
        let cards = cards::celestial(header)?;
        let damaged = |reason: String| WcsError::Damaged { reason };
        let parsed = cards::to_fits_well(&cards).map_err(damaged)?;
        let inner = fits_well::wcs::Wcs::from_header(&parsed, Alternate::PRIMARY)
            .map_err(|e| damaged(e.to_string()))?;
        let description = inner.description();
        let Some(celestial) = description.celestial_projection else {
            return Err(WcsError::Projection { found: cards::ctype(&cards, 1).into() });
        };
        let is_read = matches!(
            celestial.projection,
            Projection::Tan
                | Projection::Sin
                | Projection::Arc
                | Projection::Stg
                | Projection::Zea
                | Projection::Car
                | Projection::Ait
        );
        if !is_read || !description.unsupported_axes.is_empty() {
            return Err(WcsError::Projection { found: cards::ctype(&cards, 1).into() });
        }
        let longitude_axis = celestial.longitude_axis;
        let frame = SkyFrame::of(&cards);
        let wcs = Self { cards, inner, longitude_axis, frame };
        let reference = wcs.reference_pixel();
        if wcs.sky_from_pixel(reference).is_none() {
            return Err(damaged("the reference pixel has no place on the sky".into()));
        }
        Ok(wcs)
    }

    /// The gnomonic (TAN) coordinates whose tangent point `centre` is at `pixel`. North is towards +y
    /// and east towards -x where `turn_rad` is 0; else the image is turned by it, from +x to +y.
    ///
    /// # Panics
    /// If `scale_arcsec_per_px` is not above 0 or a number is not finite.
    pub fn tangent(
        centre: SkyPoint,
        frame: &SkyFrame,
        pixel: Point,
        scale_arcsec_per_px: f64,
        turn_rad: f64,
    ) -> Self {
        let header = grid::tangent_cards(centre, frame, pixel, scale_arcsec_per_px, turn_rad);
        Self::from_header(&header).expect("a positive scale and finite numbers make a valid header")
    }

    /// The cards that describe these coordinates, in a fixed order.
    pub fn cards(&self) -> &[Card] {
        &self.cards.cards
    }

    /// The celestial system.
    pub fn frame(&self) -> &SkyFrame {
        &self.frame
    }

    /// The pixel of `CRPIX`.
    pub fn reference_pixel(&self) -> Point {
        let at = |key| self.cards.real(key).unwrap_or(0.0) - 1.0;
        Point::new(at("CRPIX1"), at("CRPIX2"))
    }

    /// The same coordinates for an image whose first pixel is this one's pixel `first`, as after a
    /// crop.
    pub fn cropped(&self, first: Point) -> Self {
        let mut header = self.cards.clone();
        for (key, by) in [("CRPIX1", first.x), ("CRPIX2", first.y)] {
            for card in header.cards.iter_mut().filter(|c| c.key == key) {
                if let stillframe_image::Value::Real(v) = &mut card.value {
                    *v -= by;
                }
            }
        }
        Self::from_header(&header).expect("a moved reference pixel changes nothing else")
    }

    /// Where on the sky the pixel position `p` lies; `None` where the projection has no sky.
    pub fn sky_from_pixel(&self, p: Point) -> Option<SkyPoint> {
        let mut world = [0.0; 2];
        self.inner.pixel_to_world(&[p.x + 1.0, p.y + 1.0], &mut world).ok()?;
        let sky = SkyPoint {
            lon_deg: world[self.longitude_axis],
            lat_deg: world[1 - self.longitude_axis],
        };
        (sky.lon_deg.is_finite() && sky.lat_deg.is_finite()).then_some(sky)
    }

    /// At which pixel position the place `sky` is seen; `None` where the projection cannot show it.
    pub fn pixel_from_sky(&self, sky: SkyPoint) -> Option<Point> {
        let mut world = [sky.lon_deg; 2];
        world[1 - self.longitude_axis] = sky.lat_deg;
        let mut pixel = [0.0; 2];
        self.inner.world_to_pixel(&world, &mut pixel).ok()?;
        let p = Point::new(pixel[0] - 1.0, pixel[1] - 1.0);
        (p.x.is_finite() && p.y.is_finite()).then_some(p)
    }

    /// Area of the pixel at `p` on the sky in square arcseconds, from its sides: exact to the
    /// curvature of the projection within a pixel.
    pub fn pixel_area_arcsec2(&self, p: Point) -> Option<f64> {
        let at = |x: f64, y: f64| self.sky_from_pixel(Point::new(x, y)).map(SkyPoint::to_unit);
        let (left, right) = (at(p.x - 0.5, p.y)?, at(p.x + 0.5, p.y)?);
        let (low, high) = (at(p.x, p.y - 0.5)?, at(p.x, p.y + 0.5)?);
        let side = |a: [f64; 3], b: [f64; 3]| [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
        let (u, v) = (side(left, right), side(low, high));
        let cross =
            [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        let area = cross.iter().map(|c| c * c).sum::<f64>().sqrt();
        const ARCSEC_PER_RADIAN: f64 = 648_000.0 / std::f64::consts::PI;
        (area > 0.0).then_some(area * ARCSEC_PER_RADIAN * ARCSEC_PER_RADIAN)
    }

    /// Side of a square pixel of that area, arcseconds.
    pub fn scale_arcsec_per_px(&self, p: Point) -> Option<f64> {
        self.pixel_area_arcsec2(p).map(f64::sqrt)
    }
}

#[cfg(test)]
mod tests;
