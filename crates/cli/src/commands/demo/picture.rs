//! One frame beside the stack, to look at.

use std::path::Path;

use anyhow::Context;
use stillframe_engine::image::mask::NO_DATA;
use stillframe_engine::image::{Image, Shape};
use stillframe_engine::io::Existing;
use stillframe_engine::io::fits::{FitsSource, OpenOptions, ReadScratch};
use stillframe_engine::io::preview::{PreviewOptions, write_png};

/// Most of a side that is shown: pixels shall be seen.
const MAX_SIDE: usize = 400;
/// Columns between the two halves.
const GAP: usize = 8;

/// Writes the middle of `frame`, and to its right the middle of `stack`, with one stretch.
///
/// # Errors
/// If a file cannot be read or the picture cannot be written.
pub(super) fn write_side_by_side(frame: &Path, stack: &Path, target: &Path) -> anyhow::Result<()> {
    let (left, right) = (middle(frame)?, middle(stack)?);
    let height = left.height().min(right.height());
    let shape = Shape::new(height, left.width() + GAP + right.width());
    let both = Image::from_fn(shape, |x, y| {
        let right_x = x.checked_sub(left.width() + GAP);
        match right_x {
            Some(x) => right.row(y)[x],
            None => left.row(y).get(x).copied().unwrap_or(f32::NAN),
        }
    });
    write_png(target, Existing::Replace, &[&both], None, &PreviewOptions::default())
        .with_context(|| format!("cannot write {}", target.display()))
}

/// The middle of the first plane, above its median; missing pixels are NaN.
fn middle(path: &Path) -> anyhow::Result<Image<f32>> {
    let source = FitsSource::open(path, &OpenOptions::default())?;
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    source.read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default())?;
    let full = pixels.shape();
    let shape = Shape::new(full.height.min(MAX_SIDE), full.width.min(MAX_SIDE));
    let (x0, y0) = ((full.width - shape.width) / 2, (full.height - shape.height) / 2);
    let is_missing = |x: usize, y: usize| mask.row(y)[x] & NO_DATA != 0;
    let mut part = Image::from_fn(shape, |x, y| {
        let (x, y) = (x + x0, y + y0);
        if is_missing(x, y) { f32::NAN } else { pixels.row(y)[x] }
    });
    let mut sorted: Vec<f32> = part.pixels().iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    for v in part.pixels_mut() {
        *v -= median;
    }
    Ok(part)
}
