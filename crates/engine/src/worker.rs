//! The worker process of the `processes` executor.

use serde::{Deserialize, Serialize};
use stillframe_runtime::phase::{DecodeError, Phase};
use stillframe_runtime::worker::{Session, WorkerError};

use crate::units::ServePhase;
use crate::{mosaic, stack};

/// What a worker process is told: where the specifications are that the run has written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// A phase of `stack`.
    Stack(stack::Job),
    /// A phase of `mosaic`.
    Mosaic(mosaic::Job),
}

impl Job {
    /// The bytes for [`Phase::job`].
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self).ok()
    }
}

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

/// The other side of [`Phase::job`]: builds the phase in a worker process and hands it to `serve`.
///
/// # Errors
/// If the specifications cannot be read; the run then repeats the unit or ends with that reason.
fn with_job<R>(job: &[u8], serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    match postcard::from_bytes(job)? {
        Job::Stack(job) => stack::with_job(job, serve),
        Job::Mosaic(job) => mosaic::with_job(job, serve),
    }
}
