//! Where units run: the registry of executors and the order in which one stands in for another.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place where units run. It never changes a bit of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecutorKind {
    /// The calling thread, one unit after the other: smallest memory, easiest to debug.
    Sequential,
    /// Scoped threads of this process.
    Threads,
    /// Worker processes of the same binary: a worker that dies costs one repeated unit.
    Processes,
}

/// What stands in for an executor that cannot be used, first choice first.
const FALL_BACK_ORDER: [ExecutorKind; 3] =
    [ExecutorKind::Processes, ExecutorKind::Threads, ExecutorKind::Sequential];

/// What is taken if nothing was asked for: threads cost neither a start nor a copy of the result.
const AUTOMATIC_ORDER: [ExecutorKind; 3] =
    [ExecutorKind::Threads, ExecutorKind::Processes, ExecutorKind::Sequential];

impl ExecutorKind {
    /// Every executor, in the order in which they are listed to people.
    pub const ALL: [Self; 3] = [Self::Sequential, Self::Threads, Self::Processes];

    /// The name in options, logs and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Threads => "threads",
            Self::Processes => "processes",
        }
    }

    /// Other names under which it may be asked for.
    pub const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Sequential => &["serial"],
            Self::Threads => &["threading"],
            Self::Processes => &["multiprocessing"],
        }
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a worker process is started: for instance this binary with the argument `worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; everything else reaches it through its standard input.
    pub args: Vec<OsString>,
}

/// Why no executor could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The name is not in the registry.
    #[error(
        "{name:?} is not an executor; known are sequential, threads (or threading) and processes \
         (or multiprocessing)"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Nothing that the backend supports is available here.
    #[error("backend {backend:?} supports {supported}, but only {available} can be used here")]
    NoneLeft {
        /// The backend that is to run.
        backend: String,
        /// What it supports.
        supported: String,
        /// What the registry has.
        available: String,
    },
}

impl FromStr for ExecutorKind {
    type Err = ExecutorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name || kind.aliases().contains(&name.as_str()))
            .ok_or_else(|| ExecutorError::Unknown { name: text.to_owned() })
    }
}

/// The executors that can be used in this process: a plain list, built where the program starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    available: Vec<ExecutorKind>,
}

impl Registry {
    /// All executors; for a program that has a worker command.
    pub fn all() -> Self {
        Self { available: ExecutorKind::ALL.to_vec() }
    }

    /// The executors that need no worker command: sequential and threads.
    pub fn in_process() -> Self {
        Self { available: vec![ExecutorKind::Sequential, ExecutorKind::Threads] }
    }

    /// Whether `kind` can be used here.
    pub fn has(&self, kind: ExecutorKind) -> bool {
        self.available.contains(&kind)
    }

    /// What can be used here, in listing order.
    pub fn available(&self) -> &[ExecutorKind] {
        &self.available
    }

    /// The executor that `backend` runs on, and the warning to give if it is not the one asked for.
    ///
    /// `supported` is what the backend can live with. What was asked for is taken if it is both
    /// supported and available; else the first of processes, threads, sequential that is. Without a
    /// wish it is the first of threads, processes, sequential, without a warning.
    ///
    /// # Errors
    /// [`ExecutorError::NoneLeft`] if nothing is both supported and available.
    pub fn resolve(
        &self,
        requested: Option<ExecutorKind>,
        backend: &str,
        supported: &[ExecutorKind],
    ) -> Result<(ExecutorKind, Option<String>), ExecutorError> {
        let is_usable = |kind: &ExecutorKind| supported.contains(kind) && self.has(*kind);
        let none_left = || ExecutorError::NoneLeft {
            backend: backend.to_owned(),
            supported: name_list(supported),
            available: name_list(&self.available),
        };
        let Some(wish) = requested else {
            let first = AUTOMATIC_ORDER.into_iter().find(is_usable).ok_or_else(none_left)?;
            return Ok((first, None));
        };
        if is_usable(&wish) {
            return Ok((wish, None));
        }
        let instead = FALL_BACK_ORDER.into_iter().find(is_usable).ok_or_else(none_left)?;
        let warning = if supported.contains(&wish) {
            format!(
                "Executor '{wish}' is not available here. Available executors: {}. Falling back to \
                 '{instead}'.",
                name_list(&self.available)
            )
        } else {
            format!(
                "Backend '{backend}' does not support '{wish}' executor. Supported executors: {}. \
                 Falling back to '{instead}'.",
                name_list(supported)
            )
        };
        Ok((instead, Some(warning)))
    }
}

/// `['sequential', 'threads']`, always in listing order.
fn name_list(kinds: &[ExecutorKind]) -> String {
    let names: Vec<String> = ExecutorKind::ALL
        .into_iter()
        .filter(|kind| kinds.contains(kind))
        .map(|kind| format!("'{kind}'"))
        .collect();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::ExecutorKind::{Processes, Sequential, Threads};
    use super::*;

    #[test]
    fn names_and_aliases_are_read_back() {
        for kind in ExecutorKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            for alias in kind.aliases() {
                assert_eq!(alias.to_uppercase().parse(), Ok(kind));
            }
        }
        assert!("dask".parse::<ExecutorKind>().unwrap_err().to_string().contains("threading"));
    }

    #[test]
    fn without_a_wish_threads_come_first_and_nobody_is_warned() {
        let all = Registry::all();
        for (supported, want) in [
            (&ExecutorKind::ALL[..], Threads),
            (&[Sequential, Processes], Processes),
            (&[Sequential], Sequential),
        ] {
            assert_eq!(all.resolve(None, "flow", supported), Ok((want, None)));
        }
    }

    #[test]
    fn a_wish_that_can_be_met_is_met() {
        for kind in ExecutorKind::ALL {
            let got = Registry::all().resolve(Some(kind), "flow", &ExecutorKind::ALL);
            assert_eq!(got, Ok((kind, None)));
        }
    }

    #[test]
    fn fall_back_goes_from_processes_over_threads_to_sequential() {
        let all = Registry::all();
        let fall_back = |wish, supported: &[_]| all.resolve(Some(wish), "x", supported).unwrap().0;
        assert_eq!(fall_back(Threads, &[Sequential, Processes]), Processes);
        assert_eq!(fall_back(Processes, &[Sequential, Threads]), Threads);
        assert_eq!(fall_back(Sequential, &[Threads, Processes]), Processes);
        assert_eq!(fall_back(Threads, &[Sequential]), Sequential);
    }

    #[test]
    fn the_warning_names_backend_wish_support_and_choice() {
        let got = Registry::all().resolve(Some(Processes), "flow_gpu", &[Sequential]);
        let want = "Backend 'flow_gpu' does not support 'processes' executor. Supported executors: \
                    ['sequential']. Falling back to 'sequential'.";
        assert_eq!(got, Ok((Sequential, Some(want.to_owned()))));
        let got = Registry::in_process().resolve(Some(Processes), "x", &ExecutorKind::ALL);
        let want = "Executor 'processes' is not available here. Available executors: \
                    ['sequential', 'threads']. Falling back to 'threads'.";
        assert_eq!(got, Ok((Threads, Some(want.to_owned()))));
    }

    #[test]
    fn nothing_in_common_is_an_error() {
        let got = Registry::in_process().resolve(None, "x", &[Processes]);
        assert!(matches!(got, Err(ExecutorError::NoneLeft { .. })), "{got:?}");
    }
}
