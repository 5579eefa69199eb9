//! The worker process of the `processes` executor.

use serde::{Deserialize, Serialize};
use stillframe_runtime::phase::Phase;
use stillframe_runtime::worker::{Session, WorkerError};

use crate::{mosaic, motion, stack};

/// Why a worker process ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct WorkerFailure(#[from] WorkerError);

/// What a worker process is told: the pipeline, and what that has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Stack(stack::Job),
    Motion(motion::Job),
    Side(motion::SideJob),
    Mosaic(mosaic::Job),
}

impl Job {
    /// The job as a phase sends it.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self).ok()
    }
}

/// Something that can run units of any phase.
pub(crate) trait ServePhase<R> {
    fn serve<P: Phase>(self, phase: &P) -> R;
}

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
    let job = postcard::from_bytes(session.job());
    let mut server = Server(Some(session));
    let result = match job {
        Ok(Job::Stack(job)) => stack::with_job(job, &mut server),
        Ok(Job::Motion(job)) => motion::with_job(&job, &mut server),
        Ok(Job::Side(job)) => motion::with_side_job(&job, &mut server),
        Ok(Job::Mosaic(job)) => mosaic::with_job(job, &mut server),
        Err(e) => Err(e.into()),
    };
    match result {
        Ok(result) => result?,
        Err(e) => {
            if let Some(session) = server.0.take() {
                session.refuse(&e.to_string())?;
            }
        }
    }
    Ok(())
}
