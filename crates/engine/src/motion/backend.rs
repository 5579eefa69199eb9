//! The registry of what computes displacements.

use stillframe_image::Image;
use stillframe_kernels::register::flow::FlowField;
use stillframe_runtime::executor::ExecutorKind;

use crate::recipe::FlowBackend;

/// What computes displacements, as it is listed.
#[derive(Clone, Copy, Debug)]
pub struct BackendInfo {
    /// The backend.
    pub backend: FlowBackend,
    /// Where it can run.
    pub executors: &'static [ExecutorKind],
}

/// Every backend of this program: plain data in, plain data out, so that each runs everywhere.
pub const BACKENDS: [BackendInfo; 4] = [
    BackendInfo { backend: FlowBackend::Variational, executors: &ExecutorKind::ALL },
    BackendInfo { backend: FlowBackend::Dis, executors: &ExecutorKind::ALL },
    BackendInfo { backend: FlowBackend::Rigid, executors: &ExecutorKind::ALL },
    BackendInfo { backend: FlowBackend::Reference, executors: &ExecutorKind::ALL },
];

/// Name of a displacement function of the caller in messages.
pub(super) const CUSTOM: &str = "custom";

/// Where a function of the caller can run: it cannot be sent to another process.
pub(super) const CUSTOM_EXECUTORS: [ExecutorKind; 2] =
    [ExecutorKind::Sequential, ExecutorKind::Threads];

/// Where `backend` can run.
pub(super) fn executors_of(backend: FlowBackend) -> &'static [ExecutorKind] {
    BACKENDS.iter().find(|b| b.backend == backend).map_or(&[], |b| b.executors)
}

/// A displacement function of the caller, in place of a backend. It may be called from several
/// threads at once; that it gives the same for the same frame is up to it.
pub trait Displacement: Send + Sync {
    /// The displacement of `frame` (normalised and smoothed channels) against `reference` (the
    /// same), begun from `start` if there is one. Of the frames' shape, finite.
    ///
    /// # Errors
    /// Why there is none; that ends the run.
    fn displacement(
        &self,
        reference: &[Image<f32>],
        frame: &[Image<f32>],
        start: Option<&FlowField>,
    ) -> Result<FlowField, String>;
}
