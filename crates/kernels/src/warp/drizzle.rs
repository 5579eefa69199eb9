//! Drizzle: samples dropped onto the output pixels near them.

use stillframe_image::{CfaPattern, Colour, Rect};

use crate::warp::gather::{Drop, GatherRow, MAX_REACH, Selected};
use crate::warp::geometry::{Geometry, Grid, Source};
use crate::warp::position::Positions;

/// Drizzles rectangles of frames onto the canvas, in the gather form.
///
/// The value of an output pixel is the mean of the samples near the place that it shows, weighted
/// by their distances along x and y; its weight is the sum of those weights. With these weights the
/// mean over many dithered frames is a convolution of the sky with one fixed kernel, however few
/// samples each frame has there: made for mosaics, one colour at a time, and for output finer than
/// the frames.
///
/// *Square* drops are those of the original. *Cubic* drops have negative lobes that undo most of
/// the blur of spreading samples: measured on a simulated burst of 20 Bayer frames (true star width
/// 2.97 px with Lanczos-3 on mono frames), the red plane has stars of 3.22 px and noise 1 with
/// square drops of 1 px, 3.13 px and 0.97 with cubic drops of 1.3 px, 3.12 px and 1.03 with 1.15.
///
/// # Source
/// Fruchter & Hook (2002), doi:10.1086/338393, section 2. We differ: the footprint of the output
/// pixel in the frame is taken as an axis-aligned square of the same area (their *turbo* kernel
/// with the roles of drop and pixel exchanged); its side comes from the linear part of the
/// transform, not from the local field. Cubic drops: cubic convolution of Keys (1981),
/// doi:10.1109/TASSP.1981.1163711, as the weight of a normalised convolution, Knutsson & Westin
/// (1993), doi:10.1109/CVPR.1993.341081.
#[derive(Clone, Debug)]
pub struct Drizzle {
    shape: DropShape,
    positions: Positions,
    row: GatherRow,
    selected: Selected,
}

/// Form of the drop of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DropShape {
    Square { pixfrac: f64 },
    Cubic { stretch: f64 },
}

impl Drizzle {
    /// Square drops of side `pixfrac` source pixels, cut to 0.01 to 1 (NaN: 1).
    pub fn square(pixfrac: f64) -> Self {
        Self::new(DropShape::Square {
            pixfrac: if pixfrac < 1.0 { pixfrac.max(0.01) } else { 1.0 },
        })
    }

    /// Cubic drops that reach `2 · stretch` source pixels, cut to 1 to 1.45 (NaN: 1.45).
    ///
    /// The samples of one colour of a mosaic lie 2 pixels apart: with a stretch below 1.1 an output
    /// pixel half-way between two has no sample in that frame.
    pub fn cubic(stretch: f64) -> Self {
        Self::new(DropShape::Cubic {
            stretch: if stretch < 1.45 { stretch.max(1.0) } else { 1.45 },
        })
    }

    fn new(shape: DropShape) -> Self {
        let (positions, row) = (Positions::default(), GatherRow::default());
        Self { shape, positions, row, selected: Selected::default() }
    }

    /// Distance in source pixels from a position within which all samples lie that an output pixel
    /// there is made of.
    pub fn halo(&self, geometry: &Geometry<'_>, grid: &Grid) -> usize {
        self.drop_of(geometry, grid).reach().ceil() as usize
    }

    fn drop_of(&self, geometry: &Geometry<'_>, grid: &Grid) -> Drop {
        match self.shape {
            DropShape::Square { pixfrac } => {
                let side = geometry.frame_from_ref.scale() * grid.step;
                let side = side.min(2.0 * MAX_REACH - pixfrac);
                let reach = f64::midpoint(side, pixfrac);
                Drop::Square { reach: reach as f32, most: side.min(pixfrac) as f32 }
            }
            DropShape::Cubic { stretch } => Drop::Cubic { stretch: stretch as f32 },
        }
    }

    /// Writes values (NaN where there is no sample) and weights (0 there) of the output pixels
    /// `out_rect`, row by row. The weight of a square drop is its overlap in square source pixels.
    ///
    /// With `filter` only the samples of that colour count; the pattern is that of the frame's
    /// pixel (0, 0). `source` must hold [`crate::warp::source_rect`] with [`Self::halo`], or the
    /// whole frame: then the bits do not depend on how the canvas is cut into blocks. Void samples
    /// and the outside of the frame are left out.
    ///
    /// Output pixels of more than 5 source pixels see only the middle 5.
    ///
    /// # Panics
    /// If `values` or `weights` do not have `out_rect`'s number of pixels, the mask differs in
    /// shape from the source, or the source has 2³¹ or more pixels.
    pub fn drizzle(
        &mut self,
        source: &Source<'_>,
        filter: Option<(CfaPattern, Colour)>,
        geometry: &Geometry<'_>,
        grid: &Grid,
        out_rect: Rect,
        (values, weights): (&mut [f32], &mut [f32]),
    ) {
        let n = out_rect.shape().len();
        assert!(values.len() == n && weights.len() == n, "slices do not fill {out_rect:?}");
        assert!(source.pixels.pixels().len() < 1 << 31, "source rectangle too large");
        if n == 0 {
            return;
        }
        let drop = self.drop_of(geometry, grid);
        self.selected.fill(source, filter);
        let rows = values.chunks_exact_mut(out_rect.width);
        let rows = rows.zip(weights.chunks_exact_mut(out_rect.width));
        for (row, out) in rows.enumerate() {
            self.positions.fill(geometry, grid, out_rect.x, out_rect.width, out_rect.y + row);
            let positions = (&self.positions.x[..], &self.positions.y[..]);
            self.row.run(&self.selected, drop, positions, out);
        }
    }
}
