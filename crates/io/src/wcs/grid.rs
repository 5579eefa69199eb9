//! Output grids: made from a scale and a place, or read from a header in text.

use stillframe_image::{Header, Point, Shape, Value, math};

use super::{SkyFrame, SkyPoint, Wcs, WcsError};
use crate::fits::header_from_text;

/// Cards of a TAN projection of an image that is turned by `turn_rad` from +x to +y.
pub(super) fn tangent_cards(
    centre: SkyPoint,
    frame: &SkyFrame,
    pixel: Point,
    scale_arcsec_per_px: f64,
    turn_rad: f64,
) -> Header {
    let scale_deg = scale_arcsec_per_px / 3600.0;
    let mut header = Header::default();
    let (lon, lat) = match frame {
        SkyFrame::Galactic => ("GLON-TAN", "GLAT-TAN"),
        SkyFrame::Other(name) if name == "ecliptic" => ("ELON-TAN", "ELAT-TAN"),
        _ => ("RA---TAN", "DEC--TAN"),
    };
    header.push_text("CTYPE1", lon, "");
    header.push_text("CTYPE2", lat, "");
    header.push_real("CRPIX1", pixel.x + 1.0, "");
    header.push_real("CRPIX2", pixel.y + 1.0, "");
    header.push_real("CRVAL1", centre.lon_deg, "");
    header.push_real("CRVAL2", centre.lat_deg, "");
    // sky = diag(-s, s) · R⁻¹ · pixel, R the turn
    let (s, c) = (math::sin(turn_rad), math::cos(turn_rad));
    for (key, v) in [("CD1_1", -c), ("CD1_2", -s), ("CD2_1", -s), ("CD2_2", c)] {
        header.push_real(key, v * scale_deg + 0.0, "");
    }
    let system = match frame {
        SkyFrame::Icrs => Some(("ICRS", None)),
        SkyFrame::Fk5 => Some(("FK5", Some(2000.0))),
        SkyFrame::Other(name) => name.strip_suffix(')').and_then(|name| {
            let (system, equinox) = name.split_once(" (")?;
            Some((system, equinox.parse().ok()))
        }),
        SkyFrame::Galactic => None,
    };
    if let Some((system, equinox)) = system {
        header.push_text("RADESYS", system, "");
        if let Some(equinox) = equinox {
            header.push_real("EQUINOX", equinox, "");
        }
    }
    header
}

/// Why a text is no output grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GridHeaderError {
    /// A size is missing.
    #[error("{key} is {found}; a grid header needs NAXIS1 and NAXIS2 of at least 1")]
    Size {
        /// `NAXIS1` or `NAXIS2`.
        key: &'static str,
        /// What it says.
        found: String,
    },
    /// The world coordinates cannot be used.
    #[error(transparent)]
    Wcs(#[from] WcsError),
}

/// The grid that a FITS header in plain text describes: cards of `KEY = value`, one a line or 80
/// characters each, as SWarp (`.head`) and Montage (`.hdr`) read them.
///
/// # Errors
/// [`GridHeaderError`].
pub fn grid_from_text(text: &str) -> Result<(Wcs, Shape), GridHeaderError> {
    let header = header_from_text(text);
    let size = |key: &'static str| match header.card(key).map(|c| &c.value) {
        Some(Value::Integer(n)) if *n > 0 => Ok(*n as usize),
        Some(other) => Err(GridHeaderError::Size { key, found: format!("{other:?}") }),
        None => Err(GridHeaderError::Size { key, found: "missing".into() }),
    };
    let shape = Shape::new(size("NAXIS2")?, size("NAXIS1")?);
    Ok((Wcs::from_header(&header)?, shape))
}
