//! Pictures to look at: a linear image stretched for the eye, as PNG.

use std::path::Path;

use stillframe_image::mask::NO_DATA;
use stillframe_image::{Image, Shape};

use crate::error::{WriteError, WriteErrorKind as Kind};
use crate::sink::{Existing, write_file};

/// How a picture is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviewOptions {
    /// Whether the colours are stretched together.
    pub channels: Channels,
    /// Where the first row of the array is shown.
    pub first_row: FirstRow,
    /// Longest side of the picture in pixels; larger images are averaged down.
    pub max_side: usize,
}

impl Default for PreviewOptions {
    /// Each colour by itself, the first row at the bottom, at most 2048 pixels.
    fn default() -> Self {
        Self { channels: Channels::Unlinked, first_row: FirstRow::Bottom, max_side: 2048 }
    }
}

/// Whether the colours are stretched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One stretch for all: colours stay as they are.
    Linked,
    /// One for each: the background becomes grey.
    Unlinked,
}

/// Where the first row of the array is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRow {
    /// At the top, as cameras count.
    Top,
    /// At the bottom, as the FITS standard recommends.
    Bottom,
}

/// Writes a picture of one plane (grey) or three (red, green, blue): averaged down to the size
/// asked for, stretched, 8 bits.
///
/// A pixel is missing where a plane is not finite or `mask` has the bit
/// [`stillframe_image::mask::NO_DATA`]; a picture with missing pixels gets an alpha channel.
///
/// # Errors
/// Planes or a mask of different shapes, another number of planes, an empty image, or a fault of
/// the disk.
pub fn write_png(
    target: &Path,
    existing: Existing,
    planes: &[&Image<f32>],
    mask: Option<&Image<u8>>,
    options: &PreviewOptions,
) -> Result<(), WriteError> {
    let encoded = picture(planes, mask, options).and_then(|picture| picture.encode());
    write_file(target, existing, &encoded.map_err(|kind| kind.at(target))?)
}

/// Writes `samples` (red, green and blue of every pixel, row by row from the top) as they are.
///
/// # Errors
/// If there are not three samples per pixel, or a fault of the disk.
pub fn write_rgb(
    target: &Path,
    existing: Existing,
    shape: Shape,
    samples: &[u8],
) -> Result<(), WriteError> {
    if samples.len() != 3 * shape.len() || shape.is_empty() {
        let found = format!("{} samples for {shape} pixels", samples.len());
        return Err(Kind::BadPlanes { found }.at(target));
    }
    let picture = Picture { shape, colour: png::ColorType::Rgb, samples: samples.to_vec() };
    let encoded = picture.encode().map_err(|kind| kind.at(target))?;
    write_file(target, existing, &encoded)
}

/// Samples that are ready for the encoder: channels of a pixel side by side.
struct Picture {
    shape: Shape,
    colour: png::ColorType,
    samples: Vec<u8>,
}

fn picture(
    planes: &[&Image<f32>],
    mask: Option<&Image<u8>>,
    options: &PreviewOptions,
) -> Result<Picture, Kind> {
    let shape = planes.first().map_or(Shape::new(0, 0), |p| p.shape());
    let same = planes.iter().all(|p| p.shape() == shape) && mask.is_none_or(|m| m.shape() == shape);
    if !matches!(planes.len(), 1 | 3) || !same || shape.is_empty() {
        let shapes: Vec<String> = planes.iter().map(|p| p.shape().to_string()).collect();
        return Err(Kind::BadPlanes { found: format!("planes of {}", shapes.join(", ")) });
    }
    let small = shrunk_shape(shape, options.max_side.max(1));
    let (values, coverage) = shrink(planes, mask, small);
    let stretches = stretches(&values, &coverage, options.channels);
    let opaque = coverage.iter().all(|&c| c == 1.0);
    let mut samples = Vec::with_capacity(small.len() * 4);
    for y in 0..small.height {
        let row = match options.first_row {
            FirstRow::Top => y,
            FirstRow::Bottom => small.height - 1 - y,
        };
        for i in row * small.width..(row + 1) * small.width {
            for (plane, stretch) in values.iter().zip(&stretches) {
                let seen = if coverage[i] > 0.0 { stretch.apply(plane[i]) } else { 0.0 };
                samples.push((seen * 255.0).round() as u8);
            }
            if !opaque {
                samples.push((coverage[i] * 255.0).round() as u8);
            }
        }
    }
    let colour = match (planes.len(), opaque) {
        (1, true) => png::ColorType::Grayscale,
        (1, false) => png::ColorType::GrayscaleAlpha,
        (_, true) => png::ColorType::Rgb,
        (_, false) => png::ColorType::Rgba,
    };
    Ok(Picture { shape: small, colour, samples })
}

impl Picture {
    fn encode(&self) -> Result<Vec<u8>, Kind> {
        let mut bytes = Vec::new();
        let encode = |bytes: &mut Vec<u8>| {
            let (width, height) = (self.shape.width as u32, self.shape.height as u32);
            let mut encoder = png::Encoder::new(bytes, width, height);
            encoder.set_color(self.colour);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.set_compression(png::Compression::Balanced);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.samples)?;
            writer.finish()
        };
        encode(&mut bytes).map_err(|e: png::EncodingError| Kind::Png { reason: e.to_string() })?;
        Ok(bytes)
    }
}

/// `shape` scaled so that no side exceeds `max_side`; sides of at least 1.
fn shrunk_shape(shape: Shape, max_side: usize) -> Shape {
    let long = shape.height.max(shape.width);
    if long <= max_side {
        return shape;
    }
    let scaled = |side: usize| (side * max_side).div_ceil(long).max(1);
    Shape::new(scaled(shape.height), scaled(shape.width))
}

/// Sources of one target pixel: the first, and the share of it and each following one.
struct Overlap {
    first: usize,
    shares: Vec<f32>,
}

/// Which of `from` pixels lie under each of `to` pixels, and how much of them.
fn overlaps(from: usize, to: usize) -> Vec<Overlap> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            let (start, end) = (i as f64 * scale, ((i + 1) as f64 * scale).min(from as f64));
            let first = (start as usize).min(from - 1);
            let last = (end.ceil() as usize).clamp(first + 1, from);
            let share = |p: usize| (end.min((p + 1) as f64) - start.max(p as f64)) as f32;
            Overlap { first, shares: (first..last).map(share).collect() }
        })
        .collect()
}

/// Each plane averaged over the area of each target pixel, where there are measurements, and the
/// part of the area that they cover.
fn shrink(
    planes: &[&Image<f32>],
    mask: Option<&Image<u8>>,
    to: Shape,
) -> (Vec<Vec<f32>>, Vec<f32>) {
    let from = planes[0].shape();
    let (columns, rows) = (overlaps(from.width, to.width), overlaps(from.height, to.height));
    let mut values = vec![Vec::with_capacity(to.len()); planes.len()];
    let mut coverage = Vec::with_capacity(to.len());
    let mut sums = vec![vec![0.0f32; from.width]; planes.len()];
    let mut weights = vec![0.0f32; from.width];
    for row in &rows {
        for sum in &mut sums {
            sum.fill(0.0);
        }
        weights.fill(0.0);
        for (y, &share) in (row.first..).zip(&row.shares) {
            for x in 0..from.width {
                let masked = mask.is_some_and(|m| m.at(x, y) & NO_DATA != 0);
                if masked || planes.iter().any(|p| !p.at(x, y).is_finite()) {
                    continue;
                }
                weights[x] += share;
                for (sum, plane) in sums.iter_mut().zip(planes) {
                    sum[x] += share * plane.at(x, y);
                }
            }
        }
        let area: f32 = row.shares.iter().sum();
        for column in &columns {
            let over = |line: &[f32]| -> f32 {
                line[column.first..].iter().zip(&column.shares).map(|(v, s)| v * s).sum()
            };
            let weight = over(&weights);
            for (values, sums) in values.iter_mut().zip(&sums) {
                values.push(if weight > 0.0 { over(sums) / weight } else { 0.0 });
            }
            let whole = area * column.shares.iter().sum::<f32>();
            // A picture of a whole image is opaque whatever the rounding of the shares.
            coverage.push(if weight > 0.999 * whole { 1.0 } else { weight / whole });
        }
    }
    (values, coverage)
}

/// A midtones transfer function with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    /// Value that becomes black.
    shadows: f64,
    /// Value that becomes white.
    highlights: f64,
    /// Midtones balance.
    midtones: f64,
}

/// Median brightness of the stretched background, of 1.
const TARGET_BACKGROUND: f64 = 0.25;
/// Black point in standard deviations from the median.
const SHADOWS_CLIPPING: f64 = -2.8;
/// Standard deviation of normal noise by its median absolute deviation.
const SIGMA_PER_MAD: f64 = 1.4826;

impl Stretch {
    fn apply(&self, value: f32) -> f64 {
        let range = self.highlights - self.shadows;
        if range <= 0.0 {
            return 0.0;
        }
        let x = ((f64::from(value) - self.shadows) / range).clamp(0.0, 1.0);
        midtones_transfer(self.midtones, x)
    }

    /// The stretch that shows a background of this level and black point as it should be.
    fn new(background: f64, shadows: f64, highlights: f64) -> Self {
        let x = (background - shadows) / (highlights - shadows);
        let midtones =
            if x > 0.0 && x < 1.0 { midtones_transfer(TARGET_BACKGROUND, x) } else { 0.5 };
        Self { shadows, highlights, midtones }
    }
}

/// 0 at 0, 1/2 at `m`, 1 at 1, and a hyperbola between them.
fn midtones_transfer(m: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    (m - 1.0) * x / ((2.0 * m - 1.0) * x - m)
}

/// One stretch per plane: the median of the background is brought to a quarter of white, and 2.8
/// robust standard deviations below it is black.
///
/// # Source
/// The adaptive display function of the XISF 1.0 specification (Pleiades Astrophoto, 2017), section
/// 8.5.7, with its default parameters. We differ: white is the brightest pixel of the image, as the
/// range of its values is not known beforehand, and an image that is mostly bright is not treated
/// as a negative.
fn stretches(values: &[Vec<f32>], coverage: &[f32], channels: Channels) -> Vec<Stretch> {
    let mut scratch = Vec::new();
    let levels: Vec<Levels> =
        values.iter().map(|plane| Levels::of(plane, coverage, &mut scratch)).collect();
    if channels == Channels::Unlinked {
        return levels.iter().map(|l| Stretch::new(l.median, l.shadows, l.brightest)).collect();
    }
    let mean = |of: fn(&Levels) -> f64| levels.iter().map(of).sum::<f64>() / levels.len() as f64;
    let brightest = levels.iter().map(|l| l.brightest).fold(f64::NEG_INFINITY, f64::max);
    vec![Stretch::new(mean(|l| l.median), mean(|l| l.shadows), brightest); levels.len()]
}

struct Levels {
    median: f64,
    shadows: f64,
    brightest: f64,
}

impl Levels {
    fn of(plane: &[f32], coverage: &[f32], scratch: &mut Vec<f32>) -> Self {
        scratch.clear();
        scratch.extend(plane.iter().zip(coverage).filter(|(_, c)| **c > 0.0).map(|(v, _)| *v));
        if scratch.is_empty() {
            return Self { median: 0.0, shadows: 0.0, brightest: 0.0 };
        }
        let darkest = f64::from(scratch.iter().copied().fold(f32::INFINITY, f32::min));
        let brightest = f64::from(scratch.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let median = middle(scratch);
        for v in scratch.iter_mut() {
            *v = (*v - median).abs();
        }
        let sigma = SIGMA_PER_MAD * f64::from(middle(scratch));
        let median = f64::from(median);
        let shadows = (median + SHADOWS_CLIPPING * sigma).max(darkest);
        // Without noise the darkest pixel is black.
        let shadows = if sigma > 0.0 { shadows } else { darkest };
        Self { median, shadows, brightest }
    }
}

/// The upper median.
fn middle(values: &mut [f32]) -> f32 {
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_transfer_function_has_its_fixed_points() {
        for m in [0.001, 0.1, 0.5, 0.9] {
            assert_eq!(midtones_transfer(m, 0.0), 0.0);
            assert_eq!(midtones_transfer(m, 1.0), 1.0);
            assert!((midtones_transfer(m, m) - 0.5).abs() < 1e-12);
        }
        assert!((midtones_transfer(0.5, 0.3) - 0.3).abs() < 1e-12);
    }

    fn noise(shape: Shape, seed: u64, level: f64, sigma: f64) -> Image<f32> {
        let mut rng = stillframe_image::Rng::new(seed, 0, 0);
        let mut image = Image::from_fn(shape, |_, _| (level + sigma * rng.normal()) as f32);
        image.set(3, 2, 60000.0);
        image
    }

    #[test]
    fn the_background_is_a_quarter_of_white() {
        let shape = Shape::new(60, 80);
        let planes =
            [noise(shape, 1, 500.0, 9.0), noise(shape, 2, 900.0, 20.0), noise(shape, 3, 40.0, 1.0)];
        let picture = picture(&planes.each_ref(), None, &PreviewOptions::default()).unwrap();
        assert_eq!(picture.colour, png::ColorType::Rgb);
        for channel in 0..3 {
            let mut seen: Vec<u8> =
                picture.samples.iter().skip(channel).step_by(3).copied().collect();
            seen.sort_unstable();
            assert!((63..=65).contains(&seen[seen.len() / 2]), "{}", seen[seen.len() / 2]);
            assert_eq!(seen.last(), Some(&255));
        }
    }

    #[test]
    fn linked_channels_keep_their_order() {
        let shape = Shape::new(40, 40);
        let planes =
            [noise(shape, 1, 500.0, 9.0), noise(shape, 2, 600.0, 9.0), noise(shape, 3, 400.0, 9.0)];
        let options = PreviewOptions { channels: Channels::Linked, ..Default::default() };
        let picture = picture(&planes.each_ref(), None, &options).unwrap();
        let mean =
            |c| picture.samples.iter().skip(c).step_by(3).map(|&v| f64::from(v)).sum::<f64>();
        assert!(mean(1) > mean(0) && mean(0) > mean(2));
    }

    #[test]
    fn missing_pixels_are_transparent_black() {
        let shape = Shape::new(8, 8);
        let mut image = noise(shape, 5, 100.0, 3.0);
        image.set(0, 0, f32::NAN);
        let mut mask = Image::filled(shape, 0u8);
        mask.set(7, 7, NO_DATA);
        let options = PreviewOptions { first_row: FirstRow::Top, ..Default::default() };
        let picture = picture(&[&image], Some(&mask), &options).unwrap();
        assert_eq!(picture.colour, png::ColorType::GrayscaleAlpha);
        assert_eq!(picture.samples[..2], [0, 0]);
        assert_eq!(picture.samples[126..], [0, 0]);
        assert_eq!(picture.samples[3], 255);
    }

    #[test]
    fn the_first_row_is_where_it_was_asked_for() {
        let mut image = Image::from_fn(Shape::new(4, 1), |_, y| y as f32);
        let column = |first_row, image: &Image<f32>| {
            let options = PreviewOptions { first_row, ..Default::default() };
            picture(&[image], None, &options).unwrap().samples
        };
        let top = column(FirstRow::Top, &image);
        assert!(top.is_sorted() && top[0] < top[3]);
        let mut bottom = column(FirstRow::Bottom, &image);
        bottom.reverse();
        assert_eq!(bottom, top);
        image.pixels_mut().fill(7.0);
        assert_eq!(column(FirstRow::Top, &image), [0; 4], "a flat image is black");
        image.pixels_mut().fill(f32::NAN);
        assert_eq!(column(FirstRow::Top, &image), [0; 8], "an empty one transparent");
    }

    #[test]
    fn wrong_planes_are_refused() {
        let (a, b) = (Image::filled(Shape::new(2, 2), 0.0), Image::filled(Shape::new(2, 3), 0.0));
        let empty = Image::filled(Shape::new(0, 3), 0.0);
        for planes in [&[][..], &[&a, &a], &[&a, &a, &b], &[&empty]] {
            assert!(picture(planes, None, &PreviewOptions::default()).is_err());
        }
    }

    proptest! {
        #[test]
        fn shrinking_keeps_the_mean(height in 1usize..60, width in 1usize..60, max_side in 1usize..40) {
            let shape = Shape::new(height, width);
            let image = Image::from_fn(shape, |x, y| ((x * 7 + y * 13) % 11) as f32);
            // Sides that shrink by the same factor have target pixels of the same area.
            let to = shrunk_shape(shape, max_side);
            prop_assert!(to.height.max(to.width) <= max_side.max(height.max(width).min(max_side)));
            let (values, coverage) = shrink(&[&image], None, to);
            let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / v.len() as f64;
            prop_assert!((mean(&values[0]) - mean(image.pixels())).abs() < 1e-4);
            prop_assert!(coverage.iter().all(|&c| c == 1.0));
        }
    }
}
