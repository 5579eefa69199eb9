//! Small work between the passes: the same loop, in this process, without a plan of its own.

use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::ordered::{Lanes, Limits, Need, OrderedError, WorkFn, map_ordered};

use super::error::StackError;

/// Runs many small units that hold next to nothing.
pub(crate) struct LightPhases<'a> {
    pub(crate) lanes: Lanes,
    pub(crate) cancel: &'a Cancel,
}

impl LightPhases<'_> {
    /// `work(0), work(1), …, work(n − 1)`, in parallel, in order.
    ///
    /// # Errors
    /// [`StackError::Interrupted`] if the run was cancelled, [`StackError::Internal`] on a panic.
    pub(crate) fn map<S: Send, R: Send>(
        &self,
        n: usize,
        scratch: impl Fn() -> S + Sync,
        work: impl Fn(usize, &mut S) -> R + Sync,
    ) -> Result<Vec<R>, StackError> {
        let limits =
            Limits { lanes: self.lanes, bytes: u64::MAX, cancel: self.cancel, pressure: None };
        let mut results = Vec::with_capacity(n);
        let (_, outcome) = map_ordered(
            &WorkFn { scratch, work },
            &vec![Need::default(); n],
            limits,
            |_, result| {
                results.push(result);
                Ok::<(), std::convert::Infallible>(())
            },
        );
        match outcome {
            Ok(()) => Ok(results),
            Err(OrderedError::Interrupted { .. }) => Err(StackError::Interrupted),
            Err(e) => Err(StackError::Internal(e.to_string())),
        }
    }
}
