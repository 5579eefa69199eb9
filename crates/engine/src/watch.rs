//! What surrounds every run: the event log, the telemetry, and the event at its end.

use std::path::Path;
use std::time::Duration;

use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::event_log::EventLog;
use stillframe_runtime::observe::{Event, Fanout, Observer};
use stillframe_runtime::{Telemetry, usage};

/// Telemetry has a row at least this often.
const TELEMETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How a run ended.
pub(crate) enum Ended {
    Done,
    FramesLost,
    Interrupted,
    Failed(String),
}

/// Runs `body` with an observer that also writes `events.jsonl` and `telemetry.csv` into the folder
/// `output`, and tells how it ended.
///
/// # Errors
/// If the two files cannot be made.
pub(crate) fn watched<T, E>(
    output: &Path,
    observer: &dyn Observer,
    watch: &Stopwatch,
    ended: impl FnOnce(&Result<T, E>) -> Ended,
    body: impl FnOnce(&dyn Observer) -> Result<T, E>,
) -> std::io::Result<Result<T, E>> {
    let log = EventLog::create(&output.join("events.jsonl"))?;
    let telemetry = Telemetry::start(&output.join("telemetry.csv"), TELEMETRY_INTERVAL)?;
    let everyone = Fanout::new(vec![observer, &log, &telemetry]);
    let result = body(&everyone);
    let (status, exit_code) = match ended(&result) {
        Ended::Done => ("done", 0),
        Ended::FramesLost => ("frames_lost", 3),
        Ended::Interrupted => ("interrupted", 130),
        Ended::Failed(reason) => {
            everyone.event(&Event::error(reason));
            ("failed", 1)
        }
    };
    everyone.event(&Event::RunEnd {
        status: status.into(),
        exit_code,
        wall_secs: watch.wall_secs(),
        cpu_secs: watch.cpu_secs(),
        peak_rss_bytes: usage::peak_rss_bytes(),
    });
    drop(everyone);
    // A log that could not be written to the end says nothing against the result.
    let _ = (telemetry.finish(), log.finish());
    Ok(result)
}
