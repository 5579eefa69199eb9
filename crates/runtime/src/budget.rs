//! How many bytes may be held at once, and bytes as people write them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;

/// Part of the available memory that is used unless the user gives a number, in percent: the rest
/// is left to the page cache, through which every frame is read, and to other programs.
const DEFAULT_PERCENT: u64 = 75;

/// The bytes that all units, results and shared data of a phase may hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget {
    /// The limit, in bytes.
    pub bytes: u64,
}

impl Budget {
    /// `requested` bytes if given, else 75 % of the memory that is available now.
    pub fn resolve(requested: Option<u64>, capabilities: &Capabilities) -> Self {
        let default = capabilities.available_memory_bytes / 100 * DEFAULT_PERCENT;
        Self { bytes: requested.unwrap_or(default) }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_bytes(self.bytes))
    }
}

/// Why a text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseBytesError {
    /// The text does not start with a number.
    #[error("{text:?} is not a number of bytes; write it like 2GiB, 500MB or 1073741824")]
    NoNumber {
        /// What was given.
        text: String,
    },
    /// The unit is none of those that are known.
    #[error("{unit:?} is not a unit of bytes; known are B, KB, MB, GB, TB, KiB, MiB, GiB, TiB")]
    UnknownUnit {
        /// What was given.
        unit: String,
    },
    /// The number is not finite, negative, or above 2^63.
    #[error("{text:?} is out of range; give between 1 byte and 8388607 TiB")]
    OutOfRange {
        /// What was given.
        text: String,
    },
}

/// Bytes that `text` names: `2GiB`, `500MB`, `1.5 GiB`, `64k`, `1073741824`.
///
/// `KB`, `MB`, ... are powers of 1000, `KiB`, `MiB`, ... powers of 1024; single letters are powers
/// of 1024, as in other command-line tools. Case does not matter. Fractions of a byte are dropped.
///
/// # Errors
/// [`ParseBytesError`] if there is no number, an unknown unit, or a number out of range.
pub fn parse_bytes(text: &str) -> Result<u64, ParseBytesError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let number: f64 =
        number.parse().map_err(|_| ParseBytesError::NoNumber { text: text.to_owned() })?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(ParseBytesError::UnknownUnit { unit: unit.trim().to_owned() }),
    };
    let bytes = number * factor as f64;
    if !(1.0..=(1_u64 << 63) as f64).contains(&bytes) {
        return Err(ParseBytesError::OutOfRange { text: text.to_owned() });
    }
    Ok(bytes as u64)
}

/// `bytes` with a binary unit and three significant digits: `0 B`, `1.50 GiB`, `48.0 MiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be printed as 1024
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_people_write_are_understood() {
        for (text, want) in [
            ("2GiB", 2 << 30),
            ("500MB", 500_000_000),
            ("1.5 GiB", 3 << 29),
            ("1073741824", 1 << 30),
            ("64k", 64 << 10),
            (" 2 g ", 2 << 30),
            ("1b", 1),
            ("0.5kib", 512),
            ("3TB", 3_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_errors_that_name_them() {
        assert!(matches!(parse_bytes("much"), Err(ParseBytesError::NoNumber { .. })));
        assert!(matches!(parse_bytes(""), Err(ParseBytesError::NoNumber { .. })));
        assert!(matches!(parse_bytes("-2GiB"), Err(ParseBytesError::NoNumber { .. })));
        assert!(matches!(parse_bytes("1.2.3MB"), Err(ParseBytesError::NoNumber { .. })));
        assert!(matches!(parse_bytes("2 gigs"), Err(ParseBytesError::UnknownUnit { .. })));
        assert!(matches!(parse_bytes("0"), Err(ParseBytesError::OutOfRange { .. })));
        assert!(matches!(parse_bytes("99999999TiB"), Err(ParseBytesError::OutOfRange { .. })));
    }

    #[test]
    fn three_digits_are_shown() {
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_048_575, "1.00 MiB"),
            (48 << 20, "48.0 MiB"),
            (3 << 29, "1.50 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(format_bytes(bytes), want);
        }
    }

    proptest! {
        #[test]
        fn format_then_parse_is_within_half_a_percent(bytes in 1_u64..1 << 49) {
            let back = parse_bytes(&format_bytes(bytes)).unwrap() as f64;
            prop_assert!((back / bytes as f64 - 1.0).abs() < 0.006, "{bytes} -> {back}");
        }
    }
}
