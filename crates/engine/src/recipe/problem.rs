//! What is wrong with a recipe, said so that it can be put right.

use std::path::PathBuf;

/// One fault of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No such key.
    #[error("{key}: unknown key; the nearest known key is {nearest}")]
    UnknownKey {
        /// Full path as found.
        key: String,
        /// Full path of the known key that is most like it.
        nearest: String,
    },
    /// The value is of the wrong type or out of range.
    #[error("{key}: found {found}, needed {needed}")]
    Value {
        /// Full path.
        key: String,
        /// The value as found.
        found: String,
        /// What is allowed.
        needed: String,
    },
    /// Two values that exclude each other.
    #[error("{keys}: {reason}")]
    Conflict {
        /// Full paths, joined by ", ".
        keys: String,
        /// What was found, what was needed.
        reason: String,
    },
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The ending of the file names no format.
    #[error("the recipe {} has an unknown ending; needed .yaml, .yml or .toml", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// The text is not YAML or TOML.
    #[error("the recipe is not valid {format}: {message}")]
    Syntax {
        /// "YAML" or "TOML".
        format: &'static str,
        /// The parser's words, with line and column.
        message: String,
    },
    /// The override is not of the form `key.path=value`.
    #[error("the override {found:?} is not of the form key.path=value")]
    Override {
        /// The override.
        found: String,
    },
    /// The recipe has faults.
    #[error("the recipe has {}", list(problems))]
    Invalid {
        /// All of them, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl RecipeError {
    /// `Ok` without problems.
    pub(crate) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::Invalid { problems }) }
    }
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    let s = if problems.len() == 1 { "" } else { "s" };
    format!("{} problem{s}:{}", problems.len(), lines.concat())
}
