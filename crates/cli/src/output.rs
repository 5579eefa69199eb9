//! Writing to the two streams. Results go to standard output, everything else to standard error.

use std::io::{self, ErrorKind, Write};

use crate::exit::Failure;

/// Writes `text` to standard output. A reader that has had enough and closed the pipe is a
/// success, as in `stillframe inspect FILE | head`.
///
/// # Errors
/// Any other failure to write, such as a full disk.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    forgive_closed_pipe(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

fn forgive_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes `line` to standard error.
pub(crate) fn tell(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes one clear error, with its causes, to standard error.
pub(crate) fn print_failure(failure: &Failure) {
    tell(&format!("error: {failure}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_pipe_is_forgiven() {
        let fails = |kind: ErrorKind| forgive_closed_pipe(Err(kind.into())).is_err();
        assert!(!fails(ErrorKind::BrokenPipe));
        assert!(fails(ErrorKind::StorageFull));
        assert!(forgive_closed_pipe(Ok(())).is_ok());
    }
}
