//! What parent and worker say to each other: lines of JSON over standard input and output. Results
//! never go over the pipe but through the worker's slot, a file that both have open.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Changes whenever a message changes.
pub(crate) const PROTOCOL: u32 = 1;

/// First line to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// File with what the phase is built from.
    pub(crate) job: PathBuf,
    /// File for results, of this worker alone.
    pub(crate) slot: PathBuf,
}

/// Every further line to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) unit: usize,
}

/// A line from a worker: one when it is ready, then one for each task.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// The phase is built, and has so many units.
    Ready { ready: usize },
    /// It cannot be built.
    Refused { refused: String },
    /// The slot's first bytes are the result.
    Done { unit: usize, bytes: u64 },
    /// The work has panicked; the worker goes on.
    Panicked { unit: usize, panic: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_and_short() {
        for (reply, text) in [
            (Reply::Ready { ready: 60 }, r#"{"ready":60}"#),
            (Reply::Refused { refused: "no".into() }, r#"{"refused":"no"}"#),
            (Reply::Done { unit: 17, bytes: 1234 }, r#"{"unit":17,"bytes":1234}"#),
            (Reply::Panicked { unit: 17, panic: "x".into() }, r#"{"unit":17,"panic":"x"}"#),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
        }
        assert!(serde_json::from_str::<Reply>("{}").is_err());
    }
}
