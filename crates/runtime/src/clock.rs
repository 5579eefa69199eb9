//! The only clock of the engine: durations for telemetry, dates for logs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::usage;

/// Measures wall time and the CPU time of this process and its children.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu_at_start_secs: Option<f64>,
}

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu_at_start_secs: usage::cpu_secs() }
    }

    /// Wall time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Wall time since the start, in seconds.
    pub fn wall_secs(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// CPU seconds (user and system, children included) since the start; `None` where the system
    /// does not tell.
    pub fn cpu_secs(&self) -> Option<f64> {
        Some((usage::cpu_secs()? - self.cpu_at_start_secs?).max(0.0))
    }
}

/// Now, as `2026-11-21T06:12:33.123Z`.
pub fn utc_now() -> String {
    utc_iso8601(SystemTime::now())
}

/// `time` in UTC as ISO 8601 with milliseconds. Times before 1970 are given as 1970.
pub fn utc_iso8601(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        since.subsec_millis()
    )
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`; only the days
/// from 1970 on are needed here.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_are_written_in_utc() {
        for (secs, millis, want) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, 999, "2000-02-28T23:59:59.999Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (951_868_800, 1, "2000-03-01T00:00:00.001Z"),
            (1_795_241_553, 123, "2026-11-21T06:12:33.123Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(secs) + Duration::from_millis(millis);
            assert_eq!(utc_iso8601(time), want);
        }
    }

    #[test]
    fn days_follow_each_other_for_four_centuries() {
        let mut previous = civil_from_days(0);
        for days in 1..146_097 {
            let date = civil_from_days(days);
            assert!(date > previous && (1..=31).contains(&date.2), "{previous:?} then {date:?}");
            previous = date;
        }
        assert_eq!(previous, (2369, 12, 31));
    }

    #[test]
    fn a_stopwatch_sees_the_work_of_this_process() {
        let watch = Stopwatch::start();
        let mut x = 1_u64;
        while watch.wall_secs() < 0.05 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005));
        }
        assert!(watch.wall_secs() >= 0.05);
        if let Some(cpu) = watch.cpu_secs() {
            assert!(cpu > 0.0);
        }
    }
}
