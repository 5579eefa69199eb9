//! Amounts of memory, as people write and read them.

/// Units and their sizes in bytes; the first that matches without regard to case is taken.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

/// The number of bytes that `text` names, such as `2GiB`, `500 MB` or `1.5G` (`G` is `GiB`).
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let number: f64 = number.parse().map_err(|_| {
        format!("{text:?} is not an amount of memory; write a number and a unit, as in 2GiB")
    })?;
    let &(_, size) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| format!("unknown unit {unit:?}; use MB, GB, MiB or GiB"))?;
    let bytes = number * size as f64;
    if !(1.0..=9e18).contains(&bytes) {
        return Err(format!("{text:?} is not a possible amount of memory"));
    }
    Ok(bytes as u64)
}

/// `bytes` with three digits and a binary unit.
pub(crate) fn show(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for name in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = name;
    }
    match value {
        v if unit == "B" || v >= 100.0 => format!("{v:.0} {unit}"),
        v if v >= 10.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert_eq!(parse("2G"), Ok(2 << 30));
        assert_eq!(parse("1.5 mb"), Ok(1_500_000));
        assert_eq!(parse("4096"), Ok(4096));
        for bad in ["", "GiB", "2 parsec", "-1GiB", "0", "1e3", "1.2.3G", "99999999TiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_with_three_digits() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(999), "999 B");
        assert_eq!(show(1536), "1.50 KiB");
        assert_eq!(show(500 << 20), "500 MiB");
        assert_eq!(show(12 << 30), "12.0 GiB");
    }
}
