//! How a command ends: the exit codes, and the error that carries one.

use std::fmt;
use std::process::ExitCode;

/// How the process ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Everything asked for was done.
    Done = 0,
    /// The work failed; what is missing is said on the error stream.
    Failed = 1,
    /// The command line or the recipe is wrong; nothing was done.
    Usage = 2,
    /// The result is there, but more frames were lost than the recipe allows.
    FramesLost = 3,
    /// Stopped by the user; a resumable run was left.
    Interrupted = 130,
}

/// Printed below every `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  3    done, but more frames were lost than the recipe allows
  130  interrupted; --resume continues";

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// An error that ends the command, and the code that it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process returns.
    pub(crate) status: ExitStatus,
    /// What went wrong, outermost first.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// The user asked for something that cannot be: exit code 2.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: ExitStatus::Usage, error: error.into() }
    }
}

/// Any other error is a failure of the work: exit code 1.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { status: ExitStatus::Failed, error: error.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            // Errors that already quote their cause are not repeated.
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, "\n  because: {text}")?;
                said = text;
            }
        }
        Ok(())
    }
}

/// What every command returns.
pub(crate) type CommandResult = Result<ExitStatus, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read a.fits: no such file");
        let failure = Failure::from(error);
        assert_eq!(failure.to_string(), "cannot read a.fits: no such file");
        let error = anyhow::anyhow!("no such file").context("cannot read a.fits");
        let failure = Failure::from(error);
        assert_eq!(failure.to_string(), "cannot read a.fits\n  because: no such file");
        assert_eq!(failure.status, ExitStatus::Failed);
    }
}
