//! The warp: every output pixel interpolated once from the calibrated frame.

use stillframe_image::Rect;

use crate::warp::geometry::{Geometry, Grid, Source};
use crate::warp::kernel::{WarpKernel, table};
use crate::warp::position::Positions;
use crate::warp::taps::{Samples, TapRow};
use crate::warp::void::Voided;

/// Warps rectangles of frames onto the canvas with one interpolation kernel.
///
/// Holds the weight table (≤ 17 KiB) and row scratch; reuse it for all frames and blocks of a
/// worker. After the first call with the largest block no call allocates.
///
/// # Ringing
/// Beside a bright undersampled edge (cosmic ray, hot pixel, saturated star) the negative lobes of
/// bicubic and Lanczos-3 dig a dark ring that later steps would take for data. A result that is
/// lower than the smallest of the central 4×4 (bicubic: 2×2) pixels by more than `undershoot` is
/// raised to that bound. Nothing is done above: the peak of a star that falls between pixels really
/// is higher than its neighbours. Stars that are sampled (FWHM ≥ 2 px) and noise are untouched if
/// `undershoot` is 2 σ of the frame's pixel noise or more (measured in the tests).
#[derive(Clone, Debug)]
pub struct Warper {
    kernel: WarpKernel,
    table: Table,
    positions: Positions,
    taps: TapRow,
    voided: Voided,
}

/// Weights of a kernel, taps padded to a number of lanes.
#[derive(Clone, Debug)]
enum Table {
    Nearest,
    Two(Vec<[f32; 2]>),
    Four(Vec<[f32; 4]>),
    Eight(Vec<[f32; 8]>),
}

impl Warper {
    /// A warper with this kernel.
    pub fn new(kernel: WarpKernel) -> Self {
        let table = match kernel {
            WarpKernel::Nearest => Table::Nearest,
            WarpKernel::Bilinear => Table::Two(table(kernel)),
            WarpKernel::Bicubic => Table::Four(table(kernel)),
            WarpKernel::Lanczos3 => Table::Eight(table(kernel)),
        };
        Self {
            kernel,
            table,
            positions: Positions::default(),
            taps: TapRow::default(),
            voided: Voided::default(),
        }
    }

    /// The kernel.
    pub fn kernel(&self) -> WarpKernel {
        self.kernel
    }

    /// Writes the values of the output pixels `out_rect`, row by row, to `out`; NaN where there is
    /// no sample.
    ///
    /// There is a sample where every pixel that has a weight other than 0 lies inside the source
    /// and is not void. `source` must hold [`crate::warp::source_rect`] with the kernel's halo, or
    /// the whole frame: then the bits do not depend on how the canvas is cut into blocks.
    ///
    /// `undershoot` ≥ 0, in the unit of the pixels, limits ringing (see [`Warper`]);
    /// `f32::INFINITY` leaves the kernel linear.
    ///
    /// # Panics
    /// If `out` does not have `out_rect`'s number of pixels, the mask differs in shape from the
    /// source, or the source has 2³¹ or more pixels.
    pub fn warp(
        &mut self,
        source: &Source<'_>,
        geometry: &Geometry<'_>,
        grid: &Grid,
        out_rect: Rect,
        undershoot: f32,
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), out_rect.shape().len(), "output slice does not fill {out_rect:?}");
        assert!(source.pixels.pixels().len() < 1 << 31, "source rectangle too large");
        if out_rect.is_empty() {
            return;
        }
        let pixels = self.voided.pixels(source);
        let samples = Samples { pixels, origin: source.origin, undershoot };
        for (row, out) in out.chunks_exact_mut(out_rect.width).enumerate() {
            self.positions.fill(geometry, grid, out_rect.x, out_rect.width, out_rect.y + row);
            let positions = (&self.positions.x[..], &self.positions.y[..]);
            match &self.table {
                Table::Nearest => samples.nearest_row(positions, out),
                Table::Two(table) => self.taps.run(&samples, table, positions, out),
                Table::Four(table) => self.taps.run(&samples, table, positions, out),
                Table::Eight(table) => self.taps.run(&samples, table, positions, out),
            }
        }
    }
}
