//! A picture of what was done: reference, means before and after, motion and correlation over time.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};
use stillframe_io::Existing;
use stillframe_io::WriteError;
use stillframe_io::preview::write_rgb;

use super::frame::FrameOutput;
use super::record::FrameRecord;
use crate::wire;

/// Frames of the means, at most.
const FRAMES: usize = 200;
/// Most of a side of an image in the picture.
const MOST_SIDE: usize = 384;
/// Rows of a chart, and columns and rows between the parts.
const CHART: usize = 120;
const GAP: usize = 6;

const PAPER: [u8; 3] = [255, 255, 255];
const GRID: [u8; 3] = [220, 220, 220];
const GREY: [u8; 3] = [150, 150, 150];
const BLUE: [u8; 3] = [30, 90, 200];
const GREEN: [u8; 3] = [20, 140, 70];

/// Sums of the same frames before and after.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Means {
    #[serde(with = "wire::pod")]
    before: Vec<f64>,
    #[serde(with = "wire::pod")]
    after: Vec<f64>,
    n: u32,
}

/// One of how many frames is part of the means.
pub(super) fn step(n_frames: usize) -> usize {
    n_frames.div_ceil(FRAMES).max(1)
}

impl Means {
    pub(super) fn take(&mut self, output: &FrameOutput) {
        if output.raw.is_empty() {
            return;
        }
        self.before.resize(output.raw.len(), 0.0);
        self.after.resize(output.raw.len(), 0.0);
        self.before.iter_mut().zip(&output.raw).for_each(|(s, v)| *s += f64::from(*v));
        self.after.iter_mut().zip(&output.registered).for_each(|(s, v)| *s += f64::from(*v));
        self.n += 1;
    }

    /// The first channel of both.
    fn images(&self, shape: Shape) -> [Image<f32>; 2] {
        let n = f64::from(self.n.max(1));
        [&self.before, &self.after].map(|sum| {
            let mean = sum.iter().take(shape.len()).map(|s| (s / n) as f32).collect::<Vec<_>>();
            if mean.is_empty() { Image::filled(shape, 0.0) } else { Image::from_vec(shape, mean) }
        })
    }
}

/// Writes the picture: above, the first channel of the reference, the mean before and the mean
/// after; below, the mean length of the displacement of every frame, and the correlation with the
/// reference before (grey) and after (green), 0 to 1.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(
    path: &Path,
    reference: &Image<f32>,
    means: &Means,
    records: &[FrameRecord],
) -> Result<(), WriteError> {
    let [before, after] = means.images(reference.shape());
    let range = range_of(&after);
    let factor = reference.height().max(reference.width()).div_ceil(MOST_SIDE);
    let small = |image: &Image<f32>| shrink(image, factor);
    let panels = [small(reference), small(&before), small(&after)];
    let side = panels[0].shape();
    let width = 3 * side.width + 4 * GAP;
    let shape = Shape::new(side.height + 2 * CHART + 4 * GAP, width);
    let mut canvas = Canvas { shape, pixels: PAPER.repeat(shape.len()) };
    for (i, panel) in panels.iter().enumerate() {
        canvas.picture(panel, range, GAP + i * (side.width + GAP), GAP);
    }
    let column = |of: &dyn Fn(&FrameRecord) -> Option<f64>| -> Vec<Option<f64>> {
        records.iter().map(of).collect()
    };
    let motion = column(&|r| Some(r.mean_disp));
    let most = motion.iter().flatten().copied().fold(0.0, f64::max);
    let before = column(&|r| r.correlation_before);
    let after = column(&|r| r.correlation_after);
    let (x, w) = (GAP, width - 2 * GAP);
    let top = side.height + 2 * GAP;
    canvas.chart((x, top, w), most.max(1e-9), &[(&motion, BLUE)]);
    canvas.chart((x, top + CHART + GAP, w), 1.0, &[(&before, GREY), (&after, GREEN)]);
    write_rgb(path, Existing::Replace, shape, &canvas.pixels)
}

/// From the 1st to the 99.7th percentile.
fn range_of(image: &Image<f32>) -> (f32, f32) {
    let mut sorted = image.pixels().to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q) as usize];
    (at(0.01), at(0.997))
}

/// Means of blocks of `factor`² pixels.
fn shrink(image: &Image<f32>, factor: usize) -> Image<f32> {
    let shape = Shape::new(image.height().div_ceil(factor), image.width().div_ceil(factor));
    Image::from_fn(shape, |x, y| {
        let (mut sum, mut n) = (0.0f64, 0.0);
        for row in y * factor..((y + 1) * factor).min(image.height()) {
            for v in &image.row(row)[x * factor..((x + 1) * factor).min(image.width())] {
                sum += f64::from(*v);
                n += 1.0;
            }
        }
        (sum / n) as f32
    })
}

struct Canvas {
    shape: Shape,
    pixels: Vec<u8>,
}

impl Canvas {
    fn dot(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        let at = 3 * (y * self.shape.width + x);
        self.pixels[at..at + 3].copy_from_slice(&colour);
    }

    fn picture(&mut self, image: &Image<f32>, (low, high): (f32, f32), left: usize, top: usize) {
        let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
        for y in 0..image.height() {
            for (x, v) in image.row(y).iter().enumerate() {
                // A square root shows the dark parts of a fluorescence image.
                let level = ((v - low) * scale).clamp(0.0, 1.0).sqrt();
                self.dot(left + x, top + y, [(255.0 * level) as u8; 3]);
            }
        }
    }

    /// Curves from 0 to `most` over the frames, at (left, top, width).
    fn chart(
        &mut self,
        (left, top, width): (usize, usize, usize),
        most: f64,
        curves: &[(&[Option<f64>], [u8; 3])],
    ) {
        for quarter in 0..=4 {
            let y = top + quarter * (CHART - 1) / 4;
            (0..width).for_each(|x| self.dot(left + x, y, GRID));
        }
        for (values, colour) in curves {
            let height =
                |v: f64| ((CHART - 1) as f64 * (1.0 - (v / most).clamp(0.0, 1.0))) as usize;
            let mut last: Option<usize> = None;
            for x in 0..width {
                let t = x * values.len() / width;
                let Some(y) = values.get(t).copied().flatten().map(height) else { continue };
                let from = last.unwrap_or(y);
                (from.min(y)..=from.max(y)).for_each(|y| self.dot(left + x, top + y, *colour));
                last = Some(y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged_and_ranges_leave_out_the_ends() {
        let image = Image::from_fn(Shape::new(3, 5), |x, y| (x + 10 * y) as f32);
        let small = shrink(&image, 2);
        assert_eq!(small.shape(), Shape::new(2, 3));
        assert_eq!((small.at(0, 0), small.at(2, 1)), (5.5, 24.0));
        assert_eq!(range_of(&image), (0.0, 23.0));
        assert_eq!((step(1), step(200), step(201), step(10_000)), (1, 1, 2, 50));
    }
}
