//! Header cards of simulated frames.

use stillframe_image::{CfaPattern, Header};

use super::detector::{CalibrationKind, GAIN_E_PER_ADU};
use super::options::BurstOptions;

/// Seconds from the start of an exposure to the next.
const CADENCE_SECS: usize = 11;
/// Seconds of a light or dark exposure.
const EXPOSURE_SECS: f64 = 10.0;
const SECS_PER_DAY: usize = 86_400;
/// Days from 1970-01-01 to 2026-01-01, when every session starts.
const FIRST_DAY: i64 = 20_454;

/// Cards of light frame `index`.
pub(super) fn light_header(options: &BurstOptions, index: usize) -> Header {
    let mut header = common(options.bayer, "Light", EXPOSURE_SECS, CADENCE_SECS * index);
    header.push_text("OBJECT", "SIMFIELD", "name of the field");
    header
}

/// Cards of frame `index` of a mosaic, without world coordinates.
pub(super) fn mosaic_header(index: usize) -> Header {
    let mut header = common(None, "Light", EXPOSURE_SECS, CADENCE_SECS * index);
    header.push_text("OBJECT", "SIMMOSAIC", "name of the field");
    header
}

/// Cards of a calibration frame, taken on later days.
pub(super) fn calibration_header(
    options: &BurstOptions,
    kind: CalibrationKind,
    index: usize,
) -> Header {
    let (name, exposure, day) = match kind {
        CalibrationKind::Bias => ("Bias", 0.0, 40),
        CalibrationKind::Dark => ("Dark", EXPOSURE_SECS, 41),
        CalibrationKind::Flat => ("Flat", 0.05 * EXPOSURE_SECS, 42),
    };
    common(options.bayer, name, exposure, day * SECS_PER_DAY + CADENCE_SECS * index)
}

fn common(bayer: Option<CfaPattern>, kind: &str, exposure_secs: f64, start_secs: usize) -> Header {
    let mut header = Header::default();
    header.push_text("IMAGETYP", kind, "kind of frame");
    header.push_real("EXPTIME", exposure_secs, "[s] exposure");
    header.push_text("DATE-OBS", &date(start_secs), "start of exposure, UTC");
    header.push_integer("GAIN", 80, "gain setting");
    header.push_real("EGAIN", GAIN_E_PER_ADU, "[e/ADU] gain");
    header.push_real("CCD-TEMP", -10.0, "[degC] sensor temperature");
    header.push_real("FOCALLEN", 250.0, "[mm] focal length");
    header.push_real("XPIXSZ", 2.9, "[um] pixel width");
    header.push_real("YPIXSZ", 2.9, "[um] pixel height");
    header.push_text("INSTRUME", "SimCam", "");
    header.push_text("TELESCOP", "SimAltAz", "");
    header.push_text("FILTER", "L", "");
    if let Some(cfa) = bayer {
        header.push_text("BAYERPAT", cfa.name(), "mosaic of the stored array");
        header.push_integer("XBAYROFF", 0, "");
        header.push_integer("YBAYROFF", 0, "");
    }
    header.push_text("SWCREATE", "stillframe simulate", "");
    header
}

/// ISO 8601 date of this many seconds after the start of the session.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(secs: usize) -> String {
    let days = FIRST_DAY + (secs / SECS_PER_DAY) as i64 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let s = secs % SECS_PER_DAY;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_the_calendar() {
        assert_eq!(date(0), "2026-01-01T00:00:00");
        assert_eq!(date(59 * SECS_PER_DAY + 3_661), "2026-03-01T01:01:01");
        assert_eq!(date(58 * SECS_PER_DAY + 86_399), "2026-02-28T23:59:59");
        assert_eq!(date((365 + 365 + 59) * SECS_PER_DAY), "2028-02-29T00:00:00");
    }

    #[test]
    fn the_mosaic_is_named_when_there_is_one() {
        let mut options = BurstOptions::default();
        assert_eq!(light_header(&options, 3).text("BAYERPAT"), None);
        options.bayer = Some(CfaPattern::Gbrg);
        let header = light_header(&options, 3);
        assert_eq!(header.text("BAYERPAT"), Some("GBRG"));
        assert_eq!(header.text("DATE-OBS"), Some("2026-01-01T00:00:33"));
        let flat = calibration_header(&options, CalibrationKind::Flat, 0);
        assert_eq!(flat.real("EXPTIME"), Some(0.5));
    }
}
