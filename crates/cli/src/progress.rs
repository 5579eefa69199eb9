//! Shows the events of a run: bars on a terminal, plain lines elsewhere, JSON for other programs.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stillframe_engine::runtime::observe::PhaseStatus;
use stillframe_engine::runtime::{Event, EventLog, Observer, Stopwatch, format_bytes};

use crate::args::ProgressArgs;

/// Plain lines tell the progress of a phase no more often than this.
const SECS_BETWEEN_LINES: f64 = 2.0;

/// The observer that the command line asked for.
pub(crate) struct Progress {
    screen: Screen,
    json: Option<EventLog>,
}

/// What people see, on standard error.
enum Screen {
    /// Warnings. The error that ends a run is said by the command, once.
    Quiet,
    /// A bar per phase.
    Bars(Mutex<Option<ProgressBar>>),
    /// A line now and then, and the time since the last.
    Lines(Mutex<Stopwatch>),
}

impl Progress {
    /// Bars if standard error is a terminal, lines if not; JSON goes to standard output.
    pub(crate) fn new(args: ProgressArgs) -> Self {
        let screen = if args.quiet {
            Screen::Quiet
        } else if io::stderr().is_terminal() {
            Screen::Bars(Mutex::default())
        } else {
            Screen::Lines(Mutex::new(Stopwatch::start()))
        };
        let json = args.json_events.then(|| EventLog::to_writer(io::stdout()));
        Self { screen, json }
    }

    /// Clears the bar and ends the JSON lines.
    ///
    /// # Errors
    /// If events could not be written; a closed pipe is no error.
    pub(crate) fn finish(self) -> io::Result<()> {
        if let Screen::Bars(bar) = &self.screen
            && let Some(bar) = lock(bar).take()
        {
            bar.finish_and_clear();
        }
        match self.json.map_or(Ok(()), EventLog::finish) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        if let Some(json) = &self.json {
            json.event(event);
        }
        match &self.screen {
            Screen::Quiet => {
                if is_urgent(event) {
                    say(describe(event));
                }
            }
            Screen::Bars(bar) => draw(&mut lock(bar), event),
            Screen::Lines(since_last) => {
                let mut since_last = lock(since_last);
                if should_say(event, since_last.wall_secs()) {
                    say(describe(event));
                    *since_last = Stopwatch::start();
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: Option<String>) {
    if let Some(line) = line {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

fn is_urgent(event: &Event) -> bool {
    matches!(event, Event::Warning { .. })
}

/// Moves the bar of the current phase, and writes what people should read above it.
fn draw(bar: &mut Option<ProgressBar>, event: &Event) {
    match event {
        Event::PhaseStart { phase, total } => {
            let style = "{msg:<22} {wide_bar} {pos}/{len}  {eta:>4}";
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let new = ProgressBar::with_draw_target(Some(*total as u64), target)
                .with_style(ProgressStyle::with_template(style).expect("the template is constant"))
                .with_message(phase_title(phase));
            if let Some(old) = bar.replace(new) {
                old.finish_and_clear();
            }
        }
        Event::PhaseProgress { done, .. } => {
            if let Some(bar) = bar {
                bar.set_position(*done as u64);
            }
        }
        Event::PhaseEnd { .. } => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            say(describe(event));
        }
        Event::Warning { .. } | Event::Frame { .. } => {
            let write = || say(describe(event));
            match bar {
                Some(bar) => bar.suspend(write),
                None => write(),
            }
        }
        _ => {}
    }
}

/// Whether plain lines tell `event`, so many seconds after the last line.
fn should_say(event: &Event, secs_since_last: f64) -> bool {
    !matches!(event, Event::PhaseProgress { .. }) || secs_since_last >= SECS_BETWEEN_LINES
}

/// The event in a line for people; `None` if it is not for them.
fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::ParallelPlanSummary(plan) => {
            let s = if plan.cpu_workers == 1 { "" } else { "s" };
            format!(
                "{}: {} worker{s} ({}), {} units of up to {}, peak {} of {}",
                phase_title(&plan.phase),
                plan.cpu_workers,
                plan.executor,
                plan.n_units,
                format_bytes(plan.max_chunk_bytes),
                format_bytes(plan.peak_bytes),
                format_bytes(plan.budget_bytes),
            )
        }
        Event::PhaseProgress { phase, done, total } => {
            format!("{}: {done} of {total}", phase_title(phase))
        }
        Event::PhaseEnd { phase, status, achieved } => {
            let how = match status {
                PhaseStatus::Done => "done",
                PhaseStatus::Failed => "failed",
                PhaseStatus::Interrupted => "interrupted",
            };
            format!("{}: {how} in {:.1} s", phase_title(phase), achieved.wall_secs)
        }
        Event::Frame { file, outcome, reason: Some(reason), .. } => {
            format!("{outcome} {file}: {reason}")
        }
        Event::Warning { message } => format!("warning: {message}"),
        Event::Note { message } => message.clone(),
        _ => return None,
    })
}

/// What people call a phase.
pub(crate) fn phase_title(phase: &str) -> String {
    match phase {
        "stack_masters" => "making masters".to_owned(),
        "stack_measure" => "measuring frames".to_owned(),
        "stack_match" => "matching stars".to_owned(),
        "stack_tiles" => "registering tiles".to_owned(),
        "stack_combine" | "mosaic_combine" => "combining".to_owned(),
        "motion_reference" => "making the reference".to_owned(),
        "motion_frames" => "registering frames".to_owned(),
        "session_mean" => "averaging frames".to_owned(),
        "session_valid" => "joining masks".to_owned(),
        "session_between" => "comparing recordings".to_owned(),
        "session_align" => "aligning frames".to_owned(),
        "z_align_anchor" => "looking for the depth".to_owned(),
        "z_align_depths" => "finding depths".to_owned(),
        "z_align_correct" => "correcting frames".to_owned(),
        "simulate_burst" => "simulating frames".to_owned(),
        other => match other.strip_prefix("stack_master_") {
            Some(kind) => format!("making the {kind} master"),
            None => other.replace('_', " "),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: usize) -> Event {
        Event::PhaseProgress { phase: "stack_measure".into(), done, total: 60 }
    }

    #[test]
    fn progress_is_told_now_and_then_and_everything_else_at_once() {
        assert!(!should_say(&progress(6), 0.1) && should_say(&progress(6), 2.5));
        assert!(should_say(&Event::warning("now"), 0.0));
    }

    #[test]
    fn lines_name_the_phase_in_words() {
        assert_eq!(describe(&progress(6)).unwrap(), "measuring frames: 6 of 60");
        let warning = Event::warning("three frames share one name");
        assert_eq!(describe(&warning).unwrap(), "warning: three frames share one name");
        assert!(is_urgent(&warning) && !is_urgent(&progress(6)));
    }

    #[test]
    fn used_frames_are_not_told() {
        let frame = |reason: Option<&str>| Event::Frame {
            index: 0,
            file: "a.fits".into(),
            outcome: "skipped".into(),
            reason: reason.map(str::to_owned),
            fields: std::collections::BTreeMap::default(),
        };
        assert_eq!(describe(&frame(None)), None);
        assert_eq!(describe(&frame(Some("clouds"))).unwrap(), "skipped a.fits: clouds");
    }
}
