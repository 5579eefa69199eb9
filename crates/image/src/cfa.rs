//! Bayer colour-filter mosaics.

use serde::{Deserialize, Serialize};

/// Colour of a mosaic sample or of an output plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Plane 0.
    Red,
    /// Plane 1.
    Green,
    /// Plane 2.
    Blue,
}

impl Colour {
    /// All colours in the order of the output planes.
    pub const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    /// Index of the output plane.
    pub const fn plane(self) -> usize {
        self as usize
    }
}

/// Which colour sits where in the 2×2 cell whose first pixel is pixel (0, 0) of the array: the
/// name reads (0, 0), (1, 0), (0, 1), (1, 1), columns first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CfaPattern {
    /// Red first.
    Rggb,
    /// Blue first.
    Bggr,
    /// Green first, red to its right.
    Grbg,
    /// Green first, blue to its right.
    Gbrg,
}

impl CfaPattern {
    /// Every pattern.
    pub const ALL: [Self; 4] = [Self::Rggb, Self::Bggr, Self::Grbg, Self::Gbrg];

    /// The pattern of this name (any case, surrounding blanks allowed).
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_uppercase().as_str() {
            "RGGB" => Some(Self::Rggb),
            "BGGR" => Some(Self::Bggr),
            "GRBG" => Some(Self::Grbg),
            "GBRG" => Some(Self::Gbrg),
            _ => None,
        }
    }

    /// Its name in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rggb => "RGGB",
            Self::Bggr => "BGGR",
            Self::Grbg => "GRBG",
            Self::Gbrg => "GBRG",
        }
    }

    /// Colour of the sample at column `x`, row `y`.
    pub const fn colour_at(self, x: usize, y: usize) -> Colour {
        use Colour::{Blue, Green, Red};
        let cell = match self {
            Self::Rggb => [Red, Green, Green, Blue],
            Self::Bggr => [Blue, Green, Green, Red],
            Self::Grbg => [Green, Red, Blue, Green],
            Self::Gbrg => [Green, Blue, Red, Green],
        };
        cell[(y & 1) * 2 + (x & 1)]
    }

    /// The pattern of the same mosaic when the array starts `dx` columns and `dy` rows later
    /// (only their parity counts, negative values too).
    ///
    /// # Panics
    /// Never: a shifted Bayer pattern is a Bayer pattern.
    pub fn shifted(self, dx: i64, dy: i64) -> Self {
        let (dx, dy) = (dx.rem_euclid(2) as usize, dy.rem_euclid(2) as usize);
        let want = |x: usize, y: usize| self.colour_at(x + dx, y + dy);
        *Self::ALL
            .iter()
            .find(|p| (0..4).all(|i| p.colour_at(i & 1, i >> 1) == want(i & 1, i >> 1)))
            .expect("a shift of a Bayer pattern is a Bayer pattern")
    }

    /// The pattern of the same mosaic after its `height` rows were put in reverse order.
    pub fn rows_reversed(self, height: usize) -> Self {
        if height.is_multiple_of(2) { self.shifted(0, 1) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shifts_are_one() {
        for p in CfaPattern::ALL {
            assert_eq!(p.shifted(1, 0).shifted(0, 1), p.shifted(1, 1));
            assert_eq!(p.shifted(-1, 3), p.shifted(1, 1));
            assert_eq!(p.shifted(2, 4), p);
            assert_eq!(CfaPattern::parse(p.name()), Some(p));
        }
        assert_eq!(CfaPattern::Rggb.shifted(1, 0), CfaPattern::Grbg);
        assert_eq!(CfaPattern::Rggb.rows_reversed(4), CfaPattern::Gbrg);
        assert_eq!(CfaPattern::Rggb.rows_reversed(3), CfaPattern::Rggb);
    }
}
