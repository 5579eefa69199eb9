//! Events as JSON lines, for the run directory or for another program to read.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock;
use crate::observe::{Event, Observer};

/// Writes each event as one line of JSON with the time in `ts`, and flushes it, so that the log of
/// a run that was killed is whole up to its last line.
///
/// A log that cannot be written does not end the run: the first error is kept for
/// [`EventLog::finish`], and nothing is written after it.
pub struct EventLog {
    inner: Mutex<Inner>,
}

struct Inner {
    writer: Box<dyn Write + Send>,
    error: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl EventLog {
    /// A log in a new file.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::to_writer(File::create(path)?))
    }

    /// A log to `writer`, for instance standard output.
    pub fn to_writer(writer: impl Write + Send + 'static) -> Self {
        Self { inner: Mutex::new(Inner { writer: Box::new(writer), error: None }) }
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The first error that writing met.
    pub fn finish(self) -> io::Result<()> {
        let mut inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        inner.error.take().map_or_else(|| inner.writer.flush(), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventLog {
    fn event(&self, event: &Event) {
        let mut inner = self.lock();
        if inner.error.is_none() {
            inner.error = inner.write(event).err();
        }
    }
}

impl Inner {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { ts: clock::utc_now(), event })?;
        line.push(b'\n');
        self.writer.write_all(&line)?;
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_stamped_line_on_disk_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let log = EventLog::create(&path).unwrap();
        log.event(&Event::warning("first\nline"));
        log.event(&Event::PhaseStart { phase: "p".into(), total: 2 });
        let text = std::fs::read_to_string(&path).unwrap(); // before the log is closed
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["type"], "warning");
        assert_eq!(lines[0]["message"], "first\nline");
        assert_eq!(lines[1]["total"], 2);
        let stamp = lines[1]["ts"].as_str().unwrap();
        assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{stamp}");
        log.finish().unwrap();
    }

    #[test]
    fn the_first_error_is_kept_until_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = EventLog::to_writer(Full);
        log.event(&Event::warning("lost"));
        log.event(&Event::warning("lost too"));
        assert_eq!(log.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
