//! What a frame's header says about it, in the project's words and units.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Header, Shape, Value};

use super::layout::{Layout, Stored};
use crate::error::ReadErrorKind as Kind;

/// What the caller knows better than the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOptions {
    /// Which colour filter array the frame has.
    pub bayer: BayerOverride,
}

/// Whether to believe the header about the colour filter array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BayerOverride {
    /// What the header says.
    #[default]
    Auto,
    /// None, whatever the header says.
    Mono,
    /// This pattern, which starts at the first pixel of the array as it is stored; the header's
    /// offsets and row order are ignored.
    Pattern(CfaPattern),
}

/// Number format of the samples as they are meant: unsigned integers are those that the `BZERO`
/// idiom of the standard marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all there is")]
pub enum SampleType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// Everything known about a frame without its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameInfo {
    /// The file.
    pub path: PathBuf,
    /// Size of one plane.
    pub shape: Shape,
    /// 1, or 3 for red, green and blue.
    pub planes: usize,
    /// Name of the image within the file (`EXTNAME`).
    pub extension_name: Option<String>,
    /// Number format.
    pub sample: SampleType,
    /// Pattern of the colour filter array, starting at the first pixel of the array as stored:
    /// `BAYERPAT` (or a synonym) moved by `XBAYROFF` and `YBAYROFF`, and turned upside down where
    /// `ROWORDER` says that it was given for the rows in reverse.
    pub cfa: Option<CfaPattern>,
    /// The cards of the image's header (then those of the primary header that it lacks), without
    /// structural ones.
    pub header: Header,
    /// Exposure time in seconds.
    pub exposure_secs: Option<f64>,
    /// Sensor temperature in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Electrons per unit of the pixel values (`EGAIN`).
    pub gain_e_per_adu: Option<f64>,
    /// Start of the exposure as the header has it (`DATE-OBS`).
    pub date_obs: Option<String>,
    /// Start of the exposure in seconds since 1970-01-01T00:00:00, leap seconds not counted.
    pub start_secs: Option<f64>,
    /// Kind of frame as the header has it (`IMAGETYP`).
    pub image_type: Option<String>,
    /// Physical value at and above which a pixel is saturated: the card `SATURATE`, else the
    /// largest value of an integer type; none for floating-point frames without the card.
    pub saturation_level: Option<f32>,
    /// Size of the file.
    pub file_bytes: u64,
    /// When the file was last modified, in nanoseconds since 1970; 0 if the system does not say.
    pub modified_nanos: i64,
}

impl FrameInfo {
    /// The information in `layout`'s cards, which are moved out of it.
    ///
    /// # Errors
    /// A colour filter array that is none of the four Bayer patterns.
    pub(super) fn new(
        path: PathBuf,
        layout: &mut Layout,
        options: OpenOptions,
        stat: FileStat,
    ) -> Result<Self, Kind> {
        let extension_name = extension_name(layout);
        let mut header = Header { cards: std::mem::take(&mut layout.cards) };
        header.cards.retain(|c| !is_structural(&c.key));
        header.cards.shrink_to_fit();
        let shape = Shape::new(layout.height, layout.width);
        let cfa = match options.bayer {
            _ if layout.planes > 1 => None,
            BayerOverride::Mono => None,
            BayerOverride::Pattern(pattern) => Some(pattern),
            BayerOverride::Auto => cfa(&header, shape)?,
        };
        let date_obs = first_text(&header, &["DATE-OBS", "DATE_OBS"]);
        Ok(Self {
            path,
            shape,
            planes: layout.planes,
            extension_name,
            sample: sample_type(layout),
            cfa,
            exposure_secs: first_real(&header, &["EXPTIME", "EXPOSURE", "EXP_TIME", "XPOSURE"])
                .filter(|&t| t >= 0.0),
            temperature_c: first_real(
                &header,
                &["CCD-TEMP", "CCD_TEMP", "CCDTEMP", "DET-TEMP", "TEMPERAT", "SENSTEMP"],
            ),
            gain_e_per_adu: first_real(&header, &["EGAIN"]).filter(|&g| g > 0.0),
            start_secs: start_secs(&header, date_obs.as_deref()),
            date_obs,
            image_type: first_text(&header, &["IMAGETYP", "OBSTYPE", "FRAME"]),
            saturation_level: saturation_level(&header, layout),
            file_bytes: stat.bytes,
            modified_nanos: stat.modified_nanos,
            header,
        })
    }
}

/// 2⁶³: the offset of unsigned 64-bit samples.
const TWO_63: f64 = (1u64 << 63) as f64;

/// Size and time of a file, by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub bytes: u64,
    pub modified_nanos: i64,
}

impl FileStat {
    /// # Errors
    /// If it is no file, or an empty one.
    pub(super) fn of(meta: &std::fs::Metadata) -> Result<Self, Kind> {
        if !meta.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
            return Err(Kind::Unreadable { source });
        }
        if meta.len() == 0 {
            return Err(Kind::Empty);
        }
        let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let modified_nanos = since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
        Ok(Self { bytes: meta.len(), modified_nanos })
    }
}

/// Whether writers make this card themselves, so that it is not copied from frame to frame.
pub(super) fn is_structural(key: &str) -> bool {
    const NAMES: [&str; 30] = [
        "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BZERO",
        "BSCALE", "BLANK", "END", "CHECKSUM", "DATASUM", "EXTNAME", "EXTVER", "EXTLEVEL",
        "INHERIT", "TFIELDS", "THEAP", "CONTINUE", "LONGSTRN", "ZIMAGE", "ZCMPTYPE", "ZBITPIX",
        "ZQUANTIZ", "ZDITHER0", "ZBLANK", "ZHECKSUM", "ZDATASUM",
    ];
    const NUMBERED: [&str; 13] = [
        "NAXIS", "ZNAXIS", "ZTILE", "ZNAME", "ZVAL", "TTYPE", "TFORM", "TUNIT", "TDIM", "TNULL",
        "TSCAL", "TZERO", "TDISP",
    ];
    const OF_TILES: [&str; 7] =
        ["ZSIMPLE", "ZTENSION", "ZEXTEND", "ZPCOUNT", "ZGCOUNT", "ZBLOCKED", "ZMASKCMP"];
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    NAMES.contains(&key)
        || OF_TILES.contains(&key)
        || key == "ZNAXIS"
        || (name.len() < key.len() && NUMBERED.contains(&name))
}

fn extension_name(layout: &Layout) -> Option<String> {
    let card = layout.cards.iter().find(|c| c.key == "EXTNAME")?;
    let Value::Text(name) = &card.value else { return None };
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn first_real(header: &Header, keys: &[&str]) -> Option<f64> {
    keys.iter().find_map(|key| header.real(key))
}

fn first_text(header: &Header, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| header.text(key))
        .map(|t| t.trim().to_string())
        .filter(|t| !t.is_empty())
}

fn sample_type(layout: &Layout) -> SampleType {
    let unsigned = |zero: f64| layout.bscale == 1.0 && layout.bzero == zero;
    match layout.stored {
        Stored::U8 if unsigned(-128.0) => SampleType::I8,
        Stored::U8 => SampleType::U8,
        Stored::I16 if unsigned(32768.0) => SampleType::U16,
        Stored::I16 => SampleType::I16,
        Stored::I32 if unsigned(2147483648.0) => SampleType::U32,
        Stored::I32 => SampleType::I32,
        Stored::I64 if unsigned(TWO_63) => SampleType::U64,
        Stored::I64 => SampleType::I64,
        Stored::F32 => SampleType::F32,
        Stored::F64 => SampleType::F64,
    }
}

fn saturation_level(header: &Header, layout: &Layout) -> Option<f32> {
    if let Some(level) = header.real("SATURATE").filter(|&v| v > 0.0) {
        return Some(level as f32);
    }
    let (low, high) = match layout.stored {
        Stored::U8 => (0.0, 255.0),
        Stored::I16 => (-32768.0, 32767.0),
        Stored::I32 => (-2147483648.0, 2147483647.0),
        Stored::I64 => (-TWO_63, TWO_63),
        Stored::F32 | Stored::F64 => return None,
    };
    let at = |raw: f64| layout.bzero + layout.bscale * raw;
    Some(at(low).max(at(high)) as f32)
}

/// The pattern of the array as stored.
///
/// The pattern and its offsets are given for the image with its first row at the top; a frame whose
/// `ROWORDER` is `BOTTOM-UP` stores that image's last row first.
fn cfa(header: &Header, shape: Shape) -> Result<Option<CfaPattern>, Kind> {
    let Some(pattern) = named_pattern(header)? else { return Ok(None) };
    let offset = |key| header.real(key).map_or(0, |v| v.round() as i64);
    let pattern = pattern.shifted(offset("XBAYROFF"), offset("YBAYROFF"));
    let bottom_up = header.text("ROWORDER").is_some_and(|v| {
        let v = v.trim().to_ascii_uppercase();
        v.starts_with("BOTTOM")
    });
    Ok(Some(if bottom_up { pattern.rows_reversed(shape.height) } else { pattern }))
}

/// The pattern that the header names, before offsets and row order.
fn named_pattern(header: &Header) -> Result<Option<CfaPattern>, Kind> {
    for key in ["BAYERPAT", "CFA_PAT", "CFAPAT", "CFA-PAT", "BAYRPAT", "COLORTYP"] {
        let Some(name) = header.text(key).map(str::trim) else { continue };
        if let Some(pattern) = CfaPattern::parse(name) {
            return Ok(Some(pattern));
        }
        // COLORTYP is also the name of a colour space, as in RAW16 or RGB24.
        let no_mosaic = ["", "NONE", "NO", "MONO", "FALSE", "N/A"];
        if key != "COLORTYP" && !no_mosaic.contains(&name.to_ascii_uppercase().as_str()) {
            return Err(Kind::UnsupportedLayout {
                found: format!("the colour filter array {name:?} (card {key})"),
                needed: "RGGB, BGGR, GRBG or GBRG is needed: give the pattern, or say that the \
                         frame has none"
                    .into(),
            });
        }
    }
    Ok(None)
}

/// Seconds since 1970 from `DATE-OBS` (with `TIME-OBS` or `UT` where it has no time), else from
/// `MJD-OBS`, else from `JD`.
fn start_secs(header: &Header, date_obs: Option<&str>) -> Option<f64> {
    /// Modified Julian date of 1970-01-01.
    const UNIX_EPOCH_MJD: f64 = 40587.0;
    let from_date = date_obs.and_then(|date| {
        let other = || first_text(header, &["TIME-OBS", "TIME_OBS", "UT", "UTC"]);
        let (day, time) = match date.split_once(['T', ' ']) {
            Some((day, time)) => (day, time.to_string()),
            None => (date, other()?),
        };
        Some(days_since_1970(day)? * 86400.0 + secs_of_day(&time)?)
    });
    let from_mjd = || header.real("MJD-OBS").map(|mjd| (mjd - UNIX_EPOCH_MJD) * 86400.0);
    let from_jd = || header.real("JD").map(|jd| (jd - 2400000.5 - UNIX_EPOCH_MJD) * 86400.0);
    from_date.or_else(from_mjd).or_else(from_jd)
}

/// Days from 1970-01-01 to `YYYY-MM-DD` (Gregorian calendar).
///
/// # Source
/// Fliegel & Van Flandern (1968), doi:10.1145/364096.364097.
fn days_since_1970(date: &str) -> Option<f64> {
    let mut parts = date.trim().splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (y, m, d) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=9999).contains(&y) || !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    let a = (m - 14) / 12;
    let jd = (1461 * (y + 4800 + a)) / 4 + (367 * (m - 2 - 12 * a)) / 12
        - (3 * ((y + 4900 + a) / 100)) / 4
        + d
        - 32075;
    Some((jd - 2440588) as f64)
}

/// Seconds of `hh:mm:ss.sss` in universal time; a zone (`Z`, `+hh:mm`, `-hhmm`) is allowed, though
/// the standard has none.
fn secs_of_day(time: &str) -> Option<f64> {
    let time = time.trim().trim_end_matches('Z');
    let (clock, zone_secs) = match time.find(['+', '-']) {
        Some(at) => (&time[..at], zone_secs(&time[at..])?),
        None => (time, 0.0),
    };
    let mut parts = clock.splitn(3, ':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |s| s.parse().ok())?;
    let total = hours * 3600.0 + minutes * 60.0 + seconds;
    (0.0..=86401.0).contains(&total).then_some(total - zone_secs)
}

/// Seconds by which a zone (`+hh:mm`, `-hhmm`) is ahead of universal time.
fn zone_secs(zone: &str) -> Option<f64> {
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes): (f64, f64) = match digits.len() {
        2 => (digits.parse().ok()?, 0.0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    let ahead = hours * 3600.0 + minutes * 60.0;
    Some(if zone.starts_with('-') { -ahead } else { ahead })
}

#[cfg(test)]
mod tests {
    use stillframe_image::Value;

    use super::*;

    fn header(cards: &[(&str, &str)]) -> Header {
        let mut h = Header::default();
        for (key, value) in cards {
            h.push(key, Value::Text((*value).into()), "");
        }
        h
    }

    #[test]
    fn pattern_follows_offsets_and_row_order() {
        let shape = Shape::new(10, 12);
        let of = |cards: &[(&str, &str)]| cfa(&header(cards), shape).unwrap();
        assert_eq!(of(&[("BAYERPAT", "RGGB")]), Some(CfaPattern::Rggb));
        assert_eq!(of(&[("BAYERPAT", "RGGB"), ("XBAYROFF", "1")]), Some(CfaPattern::Grbg));
        assert_eq!(of(&[("BAYERPAT", "RGGB"), ("YBAYROFF", "1")]), Some(CfaPattern::Gbrg));
        assert_eq!(of(&[("BAYERPAT", "RGGB"), ("ROWORDER", "BOTTOM-UP")]), Some(CfaPattern::Gbrg));
        assert_eq!(of(&[("BAYERPAT", "RGGB"), ("ROWORDER", "TOP-DOWN")]), Some(CfaPattern::Rggb));
        assert_eq!(of(&[("COLORTYP", "RAW16")]), None);
        assert_eq!(of(&[("COLORTYP", "GBRG")]), Some(CfaPattern::Gbrg));
        assert!(cfa(&header(&[("BAYERPAT", "XTRANS")]), shape).is_err());
    }

    #[test]
    fn times_are_seconds_since_1970() {
        let at = |cards: &[(&str, &str)]| {
            let h = header(cards);
            start_secs(&h, h.text("DATE-OBS"))
        };
        assert_eq!(at(&[("DATE-OBS", "1970-01-02T00:00:01.5")]), Some(86401.5));
        assert_eq!(at(&[("DATE-OBS", "2026-01-01T00:02:23")]), Some(1767225743.0));
        assert_eq!(at(&[("DATE-OBS", "2000-03-01"), ("UT", "12:00:00")]), Some(951912000.0));
        assert_eq!(at(&[("DATE-OBS", "1970-01-01T17:00:01-0700")]), Some(86401.0));
        assert_eq!(at(&[("DATE-OBS", "1970-01-02T01:30:00.5+01:30")]), Some(86400.5));
        assert_eq!(at(&[("MJD-OBS", "40588.5")]), Some(129600.0));
        assert_eq!(at(&[("DATE-OBS", "yesterday")]), None);
        assert_eq!(at(&[("DATE-OBS", "2026-13-01T00:00:00")]), None);
    }
}
