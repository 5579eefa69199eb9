//! Drizzle: samples dropped onto the output pixels that they overlap.

use stillframe_image::{CfaPattern, Colour, Rect};

use crate::warp::geometry::{Geometry, Grid, Source};
use crate::warp::position::Positions;

/// Drizzles rectangles of frames onto the canvas, in the gather form.
///
/// Each sample is a square drop of side `pixfrac` source pixels around its centre. The value of an
/// output pixel is the mean of the samples whose drops overlap its footprint, weighted by overlap
/// area; its weight is the sum of the areas in square source pixels.
///
/// # Source
/// Fruchter & Hook (2002), doi:10.1086/338393, section 2. We differ: the footprint of the output
/// pixel in the frame is taken as an axis-aligned square of the same area (their *turbo* kernel,
/// the roles of drop and pixel exchanged), centred where the pixel is seen; the local field
/// moves the footprint but does not stretch it.
#[derive(Clone, Debug)]
pub struct Drizzle {
    pixfrac: f64,
    positions: Positions,
}

impl Drizzle {
    /// A drizzle with drops of side `pixfrac` source pixels, cut to 0.01 to 1 (NaN: 1).
    pub fn new(pixfrac: f64) -> Self {
        Self { pixfrac: pixfrac.max(0.01).min(1.0), positions: Positions::default() }
    }

    /// Distance in source pixels from a position within which all samples lie that an output pixel
    /// there is made of.
    pub fn halo(&self, geometry: &Geometry<'_>, grid: &Grid) -> usize {
        let side = geometry.frame_from_ref.scale() * grid.step;
        ((side + self.pixfrac) / 2.0).ceil() as usize + 1
    }

    /// Writes values (NaN where there is no sample) and weights (0 there) of the output pixels
    /// `out_rect`, row by row.
    ///
    /// With `filter` only the samples of that colour count; the pattern is that of the frame's
    /// pixel (0, 0). `source` must hold [`crate::warp::source_rect`] with [`Self::halo`], or the
    /// whole frame. Void samples and the outside of the frame are left out.
    ///
    /// # Panics
    /// If `values` or `weights` do not have `out_rect`'s number of pixels, or the mask differs in
    /// shape from the source.
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
        if n == 0 {
            return;
        }
        let rows = values.chunks_exact_mut(out_rect.width);
        let rows = rows.zip(weights.chunks_exact_mut(out_rect.width));
        let side = geometry.frame_from_ref.scale() * grid.step;
        for (row, (values, weights)) in rows.enumerate() {
            self.positions.fill(geometry, grid, out_rect.x, out_rect.width, out_rect.y + row);
            let positions = self.positions.x.iter().zip(&self.positions.y);
            let pixels = values.iter_mut().zip(weights);
            for ((value, weight), (&x, &y)) in pixels.zip(positions) {
                (*value, *weight) = gather(source, filter, (x, y), side, self.pixfrac);
            }
        }
    }
}

fn gather(
    source: &Source<'_>,
    filter: Option<(CfaPattern, Colour)>,
    (x, y): (f64, f64),
    side: f64,
    drop: f64,
) -> (f32, f32) {
    let reach = (side + drop) / 2.0;
    let shape = source.pixels.shape();
    let (mut sum, mut area) = (0.0f64, 0.0f64);
    let (x0, y0) = (source.origin.0 as f64, source.origin.1 as f64);
    let from = |c: f64, origin: f64| (c - reach).ceil().max(origin) as usize;
    let to = |c: f64, end: f64| ((c + reach).floor() + 1.0).min(end).max(0.0) as usize;
    for sy in from(y, y0)..to(y, y0 + shape.height as f64) {
        for sx in from(x, x0)..to(x, x0 + shape.width as f64) {
            if filter.is_some_and(|(pattern, colour)| pattern.colour_at(sx, sy) != colour) {
                continue;
            }
            let at = (sx - source.origin.0, sy - source.origin.1);
            if source.void.is_some_and(|void| void.bits.at(at.0, at.1) & void.any_of != 0) {
                continue;
            }
            let overlap = |d: f64| (reach - d.abs()).max(0.0).min(side.min(drop));
            let w = overlap(sx as f64 - x) * overlap(sy as f64 - y);
            sum += w * f64::from(source.pixels.at(at.0, at.1));
            area += w;
        }
    }
    if area > 0.0 { ((sum / area) as f32, area as f32) } else { (f32::NAN, 0.0) }
}
