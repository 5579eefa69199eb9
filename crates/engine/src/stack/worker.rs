//! The worker process of the `processes` executor.

use stillframe_runtime::phase::Phase;
use stillframe_runtime::worker::{Session, WorkerError};

use super::phases::{ServePhase, with_job};

/// Why a worker process ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct WorkerFailure(#[from] WorkerError);

/// Works on the units that the parent process asks for over standard input, until it closes it.
///
/// # Errors
/// [`WorkerFailure`] if there is no parent or it went away.
pub fn serve_worker() -> Result<(), WorkerFailure> {
    struct Server(Option<Session>);

    impl ServePhase<Result<(), WorkerError>> for &mut Server {
        fn serve<P: Phase>(self, phase: &P) -> Result<(), WorkerError> {
            self.0.take().map_or(Ok(()), |session| session.serve(phase))
        }
    }

    let session = Session::open()?;
    let job = session.job().to_vec();
    let mut server = Server(Some(session));
    match with_job(&job, &mut server) {
        Ok(result) => result?,
        Err(e) => {
            if let Some(session) = server.0.take() {
                session.refuse(&e.to_string())?;
            }
        }
    }
    Ok(())
}
