//! What a run tells the outside: typed events to an observer argument, never to a global logger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::phase::Achieved;
use crate::plan::PlanSummary;

/// Something that happened in a run. In JSON the field `type` has the name in `snake_case`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run begins.
    RunStart {
        /// The pipeline or command.
        command: String,
        /// Version of the program.
        version: String,
        /// Number of inputs, before any is refused.
        n_inputs: usize,
        /// The budget of the run, in bytes.
        budget_bytes: u64,
        /// What the machine has.
        capabilities: Capabilities,
    },
    /// The plan of a heavy phase, before its first unit.
    ParallelPlanSummary(PlanSummary),
    /// A phase begins.
    PhaseStart {
        /// The phase.
        phase: String,
        /// Number of its units.
        total: usize,
    },
    /// A unit was committed.
    PhaseProgress {
        /// The phase.
        phase: String,
        /// Units that were committed.
        done: usize,
        /// Number of units.
        total: usize,
    },
    /// A phase has ended, with what was achieved; also if it failed or was interrupted.
    PhaseEnd {
        /// The phase.
        phase: String,
        /// How it ended.
        status: PhaseStatus,
        /// What was measured.
        achieved: Achieved,
    },
    /// What became of one input frame.
    Frame {
        /// Its index in the frozen list of inputs.
        index: usize,
        /// Its file.
        file: String,
        /// `used`, `skipped` or `failed`.
        outcome: String,
        /// Why it was not used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whatever else the pipeline has to say about it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, serde_json::Value>,
    },
    /// What was found out or decided on the way.
    Note {
        /// For people.
        message: String,
    },
    /// Something was done differently from what was asked.
    Warning {
        /// For people.
        message: String,
    },
    /// Something was lost.
    Error {
        /// For people.
        message: String,
    },
    /// A run has ended.
    RunEnd {
        /// `done`, `failed` or `interrupted`.
        status: String,
        /// Exit code of the program.
        exit_code: i32,
        /// Wall time, in seconds.
        wall_secs: f64,
        /// CPU time, in seconds, children included.
        cpu_secs: Option<f64>,
        /// Highest resident memory, in bytes, children included.
        peak_rss_bytes: Option<u64>,
    },
}

impl Event {
    /// A note.
    pub fn note(message: impl Into<String>) -> Self {
        Self::Note { message: message.into() }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::Warning { message: message.into() }
    }

    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseStatus {
    /// Every unit was committed.
    Done,
    /// An error ended it.
    Failed,
    /// It was cancelled.
    Interrupted,
}

/// Somebody who is told. Called from several threads; must be quick and must not panic.
pub trait Observer: Sync {
    /// Takes note of `event`.
    fn event(&self, event: &Event);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

/// Tells several observers, in order.
#[derive(Default)]
pub struct Fanout<'a> {
    observers: Vec<&'a dyn Observer>,
}

impl<'a> Fanout<'a> {
    /// Tells `observers`.
    pub fn new(observers: Vec<&'a dyn Observer>) -> Self {
        Self { observers }
    }
}

impl Observer for Fanout<'_> {
    fn event(&self, event: &Event) {
        for observer in &self.observers {
            observer.event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Recorder(Mutex<Vec<Event>>);

    impl Observer for Recorder {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn every_observer_is_told_in_order() {
        let (a, b) = (Recorder(Mutex::default()), Recorder(Mutex::default()));
        let fanout = Fanout::new(vec![&a, &Silent, &b]);
        let events = [Event::warning("one"), Event::error("two")];
        for event in &events {
            fanout.event(event);
        }
        assert_eq!(*a.0.lock().unwrap(), events);
        assert_eq!(*b.0.lock().unwrap(), events);
    }

    #[test]
    fn events_carry_their_type_and_come_back() {
        let events = [
            Event::PhaseStart { phase: "stack_measure".into(), total: 60 },
            Event::Frame {
                index: 3,
                file: "a.fits".into(),
                outcome: "used".into(),
                reason: None,
                fields: BTreeMap::from([("fwhm_px".into(), 3.25.into())]),
            },
            Event::warning("w"),
        ];
        let types = ["phase_start", "frame", "warning"];
        for (event, name) in events.iter().zip(types) {
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json["type"], name);
            assert_eq!(&serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }
}
