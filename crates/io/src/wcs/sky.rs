//! Places on the sky and the systems that they are given in.

use std::fmt;

use serde::{Deserialize, Serialize};
use stillframe_image::{Header, math};

use super::WcsError;

/// A place on the sky in some [`SkyFrame`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkyPoint {
    /// Longitude (right ascension), degrees.
    pub lon_deg: f64,
    /// Latitude (declination), degrees, -90 to 90.
    pub lat_deg: f64,
}

impl SkyPoint {
    /// The unit vector towards it.
    pub fn to_unit(self) -> [f64; 3] {
        let (lon, lat) = (self.lon_deg.to_radians(), self.lat_deg.to_radians());
        let across = math::cos(lat);
        [across * math::cos(lon), across * math::sin(lon), math::sin(lat)]
    }

    /// The place in the direction `v`, longitude from 0 to 360; the length of `v` does not matter.
    pub fn from_unit(v: [f64; 3]) -> Self {
        let across = (v[0] * v[0] + v[1] * v[1]).sqrt();
        let lon = math::atan2(v[1], v[0]).to_degrees();
        Self {
            lon_deg: if lon < 0.0 { lon + 360.0 } else { lon },
            lat_deg: math::atan2(v[2], across).to_degrees(),
        }
    }

    /// Angle to another place, degrees.
    pub fn distance_deg(self, other: Self) -> f64 {
        let (a, b) = (self.to_unit(), other.to_unit());
        let chord = (0..3).map(|k| (a[k] - b[k]) * (a[k] - b[k])).sum::<f64>().sqrt();
        let across = (0..3).map(|k| (a[k] + b[k]) * (a[k] + b[k])).sum::<f64>().sqrt();
        (2.0 * math::atan2(chord, across)).to_degrees()
    }
}

/// A celestial system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkyFrame {
    /// International Celestial Reference System: equatorial, also where the header names none.
    Icrs,
    /// FK5 at equinox J2000: equatorial.
    Fk5,
    /// Galactic.
    Galactic,
    /// Any other; nothing is known about it but its name.
    Other(String),
}

impl fmt::Display for SkyFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icrs => f.write_str("ICRS"),
            Self::Fk5 => f.write_str("FK5 (J2000)"),
            Self::Galactic => f.write_str("galactic"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

pub(super) type SkyRotation = [[f64; 3]; 3];

/// ICRS from galactic and from FK5, as astropy 7 has them (made by `tests/data/wcs/make.py`).
const ICRS_FROM_GALACTIC: SkyRotation = [
    [-0.054_875_657_712_591_63, 0.494_109_437_192_726_8, -0.867_666_137_559_657_6],
    [-0.873_437_051_955_615_9, -0.444_829_721_223_295_2, -0.198_076_337_273_000_53],
    [-0.483_835_073_616_715_46, 0.746_982_183_986_667_6, 0.455_983_813_687_301_6],
];
const ICRS_FROM_FK5: SkyRotation = [
    [0.999_999_999_999_992_1, 1.110_223_372_305_003_5e-7, 4.411_803_426_976_326e-8],
    [-1.110_223_329_740_832_7e-7, 0.999_999_999_999_988_9, -9.647_792_751_958_126e-8],
    [-4.411_804_498_096_771e-8, 9.647_792_246_010_129e-8, 0.999_999_999_999_994_3],
];
const IDENTITY: SkyRotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

impl SkyFrame {
    /// The system that celestial cards name.
    ///
    /// As the standard says: without `RADESYS` an `EQUINOX` before 1984 means FK4, a later one FK5,
    /// and none ICRS.
    pub(super) fn of(cards: &Header) -> Self {
        let axis = cards.text("CTYPE1").unwrap_or("");
        let other = |name: String| Self::Other(name);
        if axis.starts_with("GL") {
            return Self::Galactic;
        }
        if axis.starts_with("EL") {
            return other("ecliptic".into());
        }
        let equinox = cards.real("EQUINOX");
        let by_equinox = match equinox {
            None => "ICRS",
            Some(e) if e < 1984.0 => "FK4",
            Some(_) => "FK5",
        };
        let system = cards.text("RADESYS").map_or(by_equinox, str::trim);
        match (system, equinox) {
            ("ICRS", _) => Self::Icrs,
            ("FK5", None | Some(2000.0)) => Self::Fk5,
            (system, Some(e)) => other(format!("{system} ({e})")),
            (system, None) => other(system.into()),
        }
    }

    fn icrs_from(&self) -> Option<SkyRotation> {
        match self {
            Self::Icrs => Some(IDENTITY),
            Self::Fk5 => Some(ICRS_FROM_FK5),
            Self::Galactic => Some(ICRS_FROM_GALACTIC),
            Self::Other(_) => None,
        }
    }

    /// The rotation of unit vectors from this system to `to`; `None` inside for the same system.
    pub(super) fn rotation_to(&self, to: &Self) -> Result<Option<SkyRotation>, WcsError> {
        if self == to {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (self.icrs_from(), to.icrs_from()) else {
            return Err(WcsError::Frames { from: self.clone(), to: to.clone() });
        };
        let mut out = [[0.0; 3]; 3];
        for (i, row) in out.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                // the inverse of a rotation is its transpose
                *v = (0..3).map(|k| b[k][i] * a[k][j]).sum();
            }
        }
        Ok(Some(out))
    }
}

/// `point` in the system that `rotation` leads to.
pub(super) fn rotated(rotation: &SkyRotation, point: SkyPoint) -> SkyPoint {
    let v = point.to_unit();
    SkyPoint::from_unit([0, 1, 2].map(|i| (0..3).map(|k| rotation[i][k] * v[k]).sum()))
}
