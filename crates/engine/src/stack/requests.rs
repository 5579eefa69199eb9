//! What the heavy phases ask of the machine.

use stillframe_image::Shape;
use stillframe_runtime::ordered::Need;
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::combine::BlockCost;

/// Bytes of a row of a master and of the work on it.
fn master_row_bytes(shape: Shape, n: usize) -> (u64, u64) {
    let row = 4 * shape.width as u64;
    (row * (n as u64 + 3), row)
}

/// What one band of rows of a master needs.
pub(crate) fn master_need(shape: Shape, n: usize, rows: usize) -> Need {
    let (work, result) = master_row_bytes(shape, n);
    Need { work: work * rows as u64 + MASTER_OVERHEAD, result: result * rows as u64 }
}

const MASTER_OVERHEAD: u64 = 1 << 20;

/// Combining `n` calibration frames.
pub(crate) fn master(shape: Shape, n: usize) -> PhaseRequest {
    let (work_bytes_per_row, result_bytes_per_row) = master_row_bytes(shape, n);
    let mut request = PhaseRequest::new(
        PhaseKind::STACK_MASTERS,
        UnitRule::Rows {
            height: shape.height,
            halo: 0,
            min_rows: 8,
            overhead_bytes: MASTER_OVERHEAD,
            work_bytes_per_row,
            result_bytes_per_row,
        },
    );
    request.n_frames = n;
    request.shared_bytes = 3 * result_bytes_per_row * shape.height as u64;
    request
}

/// What measuring one frame needs.
pub(crate) fn measure_need(shape: Shape, planes: usize, max_stars: usize) -> Need {
    let pixels = shape.len() as u64;
    // The file, its pixels and mask, the registration image, two filtered images and the sorting
    // of meshes: 24 bytes a pixel besides the file.
    let file = pixels * 4 * planes as u64;
    Need { work: 24 * pixels + file, result: (max_stars * 32 + 16384) as u64 }
}

/// Measuring `n` frames.
pub(crate) fn measure(need: Need, n: usize, masters_bytes: u64) -> PhaseRequest {
    let mut request = PhaseRequest::new(
        PhaseKind::STACK_MEASURE,
        UnitRule::Frames { count: n, work_bytes: need.work, result_bytes: need.result },
    );
    request.n_frames = n;
    request.shared_bytes = masters_bytes;
    request
}

/// Combining `n` frames on a canvas of `shape`.
pub(super) fn combine(shape: Shape, n: usize, cost: BlockCost, masters_bytes: u64) -> PhaseRequest {
    let mut request = PhaseRequest::new(
        PhaseKind::STACK_COMBINE,
        UnitRule::Blocks {
            height: shape.height,
            width: shape.width,
            halo: 0,
            min_side: 32,
            max_side: 1024,
            multiple: 16,
            overhead_bytes: cost.overhead,
            work_bytes_per_pixel: cost.work_per_pixel,
            result_bytes_per_pixel: cost.result_per_pixel,
        },
    );
    request.n_frames = n;
    request.shared_bytes = masters_bytes + cost.result_per_pixel * shape.len() as u64;
    request
}
