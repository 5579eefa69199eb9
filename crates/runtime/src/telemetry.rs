//! `telemetry.csv`: what the run uses, sampled by a thread of its own, so that there are rows in a
//! long call, too, which is when one needs them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::capabilities::{available_memory_bytes, logical_cores};
use crate::clock::{self, Stopwatch};
use crate::observe::{Event, Observer};
use crate::usage::Usage;

/// Longest time between two rows.
const MAX_INTERVAL: Duration = Duration::from_millis(1500);

/// Time between two rows unless the caller wants more of them. A row costs 0.15 ms of CPU, or 10 µs
/// for each process of the machine if the kernel does not list children: far below 1 %.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

const COLUMNS: &str = "timestamp,elapsed_secs,phase,done,total,eta_secs,cpu_percent,rss_mb,\
                       available_mem_mb,read_mb,written_mb";

/// Writes a row at the start, at the end, and at least every 1.5 s between them.
///
/// It is an [`Observer`], from which it knows the phase and its progress. Columns whose values the
/// system does not tell stay empty. `cpu_percent` is the load since the last row, children included;
/// 100 is all logical cores that may be used. MB are millions of bytes.
pub struct Telemetry {
    shared: Arc<Mutex<Progress>>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What the events have told.
#[derive(Default)]
struct Progress {
    phase: String,
    done: usize,
    total: usize,
    phase_started: Option<Stopwatch>,
}

impl Telemetry {
    /// Starts sampling into a new file, every `interval` or every 1.5 s, whichever is shorter.
    ///
    /// # Errors
    /// If the file cannot be created or the thread cannot be started.
    pub fn start(path: &Path, interval: Duration) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let shared = Arc::new(Mutex::new(Progress::default()));
        let (stop, stopped) = sync_channel(1);
        let mut sampler = Sampler::new(Arc::clone(&shared));
        writeln!(file, "{COLUMNS}\n{}", sampler.row())?;
        let interval = interval.min(MAX_INTERVAL);
        let thread = thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            loop {
                let over = stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout);
                writeln!(file, "{}", sampler.row())?;
                if over {
                    return Ok(());
                }
            }
        })?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Writes the last row and stops, as dropping does.
    ///
    /// # Errors
    /// What writing has met; no row was written after it.
    pub fn finish(mut self) -> io::Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stop = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the telemetry thread panicked")))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // telemetry that is lost does not end a run
        let _ = self.stop();
    }
}

impl Observer for Telemetry {
    fn event(&self, event: &Event) {
        match event {
            Event::PhaseStart { phase, total } => {
                *lock(&self.shared) = Progress {
                    phase: phase.clone(),
                    done: 0,
                    total: *total,
                    phase_started: Some(Stopwatch::start()),
                };
            }
            Event::PhaseProgress { done, .. } => lock(&self.shared).done = *done,
            Event::PhaseEnd { .. } => *lock(&self.shared) = Progress::default(),
            _ => {}
        }
    }
}

fn lock(shared: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes rows.
struct Sampler {
    shared: Arc<Mutex<Progress>>,
    watch: Stopwatch,
    /// Wall and CPU seconds at the last row.
    last: (f64, Option<f64>),
}

impl Sampler {
    fn new(shared: Arc<Mutex<Progress>>) -> Self {
        Self { shared, watch: Stopwatch::start(), last: (0.0, None) }
    }

    fn row(&mut self) -> String {
        let usage = Usage::now();
        let elapsed_secs = self.watch.wall_secs();
        let cpu_percent = self.cpu_percent(elapsed_secs, usage.cpu_secs);
        let mut row = format!("{},{elapsed_secs:.3},", clock::utc_now());
        row.push_str(&lock(&self.shared).columns());
        for (value, decimals) in [
            (cpu_percent, 1),
            (usage.rss_bytes.map(megabytes), 1),
            (available_memory_bytes().map(megabytes), 1),
            (usage.read_bytes.map(megabytes), 3),
            (usage.written_bytes.map(megabytes), 3),
        ] {
            row.push(',');
            if let Some(value) = value {
                // a string takes whatever is written to it
                let _ = write!(row, "{value:.decimals$}");
            }
        }
        row
    }

    fn cpu_percent(&mut self, wall_secs: f64, cpu_secs: Option<f64>) -> Option<f64> {
        let (last_wall_secs, last_cpu_secs) = self.last;
        self.last = (wall_secs, cpu_secs);
        let core_secs = (wall_secs - last_wall_secs) * logical_cores() as f64;
        // the time of a child that has died may be counted for a moment neither here nor there
        Some(100.0 * ((cpu_secs? - last_cpu_secs?) / core_secs.max(1e-9)).max(0.0))
    }
}

impl Progress {
    /// `phase,done,total,eta_secs`.
    fn columns(&self) -> String {
        let Some(watch) = &self.phase_started else { return ",,,".to_owned() };
        let eta = if self.done == 0 {
            String::new()
        } else {
            let left = self.total.saturating_sub(self.done) as f64;
            format!("{:.1}", watch.wall_secs() / self.done as f64 * left)
        };
        let name = self.phase.replace([',', '"', '\n'], "_");
        format!("{name},{},{},{eta}", self.done, self.total)
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(path: &Path) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn there_is_a_row_at_the_start_at_the_end_and_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.csv");
        let telemetry = Telemetry::start(&path, Duration::from_millis(20)).unwrap();
        assert_eq!(rows(&path).len(), 2, "header and first row");
        telemetry.event(&Event::PhaseStart { phase: "stack,measure".into(), total: 10 });
        telemetry.event(&Event::PhaseProgress { phase: String::new(), done: 4, total: 10 });
        thread::sleep(Duration::from_millis(200)); // one long call
        let before = rows(&path).len();
        assert!(before >= 4, "{before}");
        drop(telemetry);
        let rows = rows(&path);
        assert_eq!(rows.len(), before + 1);
        assert!(rows.iter().all(|row| row.len() == 11), "{rows:?}");
        let last = rows.last().unwrap();
        assert_eq!(&last[2..5], ["stack_measure", "4", "10"]);
        let eta: f64 = last[5].parse().unwrap();
        assert!((0.2..3.0).contains(&eta), "{eta}");
        if cfg!(target_os = "linux") {
            assert!(last[6..].iter().all(|field| field.parse::<f64>().unwrap() >= 0.0));
        }
    }

    #[test]
    fn rows_between_phases_name_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.csv");
        let telemetry = Telemetry::start(&path, DEFAULT_INTERVAL).unwrap();
        telemetry.event(&Event::PhaseStart { phase: "p".into(), total: 1 });
        telemetry.event(&Event::PhaseEnd {
            phase: "p".into(),
            status: crate::observe::PhaseStatus::Done,
            achieved: crate::phase::Achieved::default(),
        });
        telemetry.finish().unwrap();
        assert_eq!(&rows(&path).last().unwrap()[2..6], ["", "", "", ""]);
    }
}
