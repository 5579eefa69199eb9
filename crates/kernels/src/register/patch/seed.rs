//! Candidate shifts from a correlation over the whole search range.

use multiversion::multiversion;
use stillframe_image::{Image, Rect, Shape, Vec2};

use super::taper;
use crate::register::ecc::{Moving, Template};
use crate::register::fft2::{Fft2Cache, Spectrum};

/// A place where the tiles may fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// `ref_from_frame`.
    pub(super) shift: Vec2,
    /// Correlation coefficient where the tiles overlap, times the root of the number of pixels.
    likeness: f64,
}

/// Candidates that are looked at, and that are returned.
const LOOKED_AT: usize = 6;
const RETURNED: usize = 3;
/// Candidates are at least this far apart, pixels.
const APART: usize = 3;
/// Values beyond this many standard deviations of the tile are compressed, so that no single star
/// or cosmic ray decides.
const COMPRESSED_SIGMA: f32 = 6.0;

/// The reference's part of the correlation.
#[derive(Clone, Debug)]
pub(super) struct Seeds {
    compressed: Image<f32>,
    spectrum: Spectrum,
    padded: Shape,
}

#[derive(Clone, Debug)]
pub(super) struct SeedScratch {
    fft: Fft2Cache,
    compressed: Image<f32>,
    padded: Image<f32>,
    spectrum: Spectrum,
    sorted: Vec<f32>,
}

impl Default for SeedScratch {
    fn default() -> Self {
        let empty = || Image::filled(Shape::new(0, 0), 0.0);
        Self {
            fft: Fft2Cache::default(),
            compressed: empty(),
            padded: empty(),
            spectrum: Spectrum::default(),
            sorted: Vec::new(),
        }
    }
}

impl Seeds {
    pub(super) fn new(
        image: &Image<f32>,
        valid: &Image<f32>,
        max_shift_px: f64,
        scratch: &mut SeedScratch,
    ) -> Self {
        let shape = image.shape();
        // Half of the range: what wraps around at the largest shifts lies under the tapers.
        let more = (0.5 * max_shift_px).ceil() as usize;
        let wanted = Shape::new(shape.height + more, shape.width + more);
        let padded = scratch.fft.plan(wanted).shape();
        let mut compressed = Image::filled(shape, 0.0);
        compress(image, valid, &mut compressed, &mut scratch.sorted);
        let mut spectrum = Spectrum::default();
        transform(&compressed, padded, &mut scratch.fft, &mut scratch.padded, &mut spectrum);
        Self { compressed, spectrum, padded }
    }

    /// Places within `range` pixels of `start` on each axis where the tiles may fit, the likeliest
    /// first.
    pub(super) fn find(
        &self,
        template: &Template,
        moving: &Moving,
        start: Vec2,
        range: f64,
        scratch: &mut SeedScratch,
    ) -> Vec<Candidate> {
        let shape = template.image.shape();
        scratch.compressed.reset(shape, 0.0);
        compress(&moving.image, &moving.valid, &mut scratch.compressed, &mut scratch.sorted);
        let SeedScratch { fft, compressed, padded, spectrum, .. } = scratch;
        transform(compressed, self.padded, fft, padded, spectrum);
        multiply_conjugate(&self.spectrum, spectrum);
        fft.plan(self.padded).inverse(spectrum, padded);
        let mut found: Vec<Candidate> = self
            .peaks(padded, start, range)
            .into_iter()
            .map(|(dx, dy)| {
                let likeness = likeness(&self.compressed, compressed, dx, dy);
                Candidate { shift: vertex(padded, dx, dy), likeness }
            })
            .collect();
        found.sort_by(|a, b| b.likeness.total_cmp(&a.likeness));
        found.truncate(RETURNED);
        found
    }

    /// The highest local maxima of the correlation inside the search range.
    fn peaks(&self, surface: &Image<f32>, start: Vec2, range: f64) -> Vec<(i64, i64)> {
        let limit = |n: usize| n as i64 / 2 - 1;
        let bounds = |centre: f64, n: usize| {
            let low = ((centre - range).ceil() as i64).clamp(-limit(n), limit(n));
            let high = ((centre + range).floor() as i64).clamp(-limit(n), limit(n));
            low..=high
        };
        let mut all: Vec<(f32, i64, i64)> = Vec::new();
        for dy in bounds(start.dy, self.padded.height) {
            for dx in bounds(start.dx, self.padded.width) {
                let v = at(surface, dx, dy);
                let is_peak =
                    v > 0.0 && (-1..=1).all(|j| (-1..=1).all(|i| at(surface, dx + i, dy + j) <= v));
                if is_peak {
                    all.push((v, dx, dy));
                }
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
        let mut kept: Vec<(i64, i64)> = Vec::new();
        for (_, dx, dy) in all {
            let near = |k: &(i64, i64)| k.0.abs_diff(dx).max(k.1.abs_diff(dy)) < APART as u64;
            if !kept.iter().any(near) {
                kept.push((dx, dy));
            }
            if kept.len() == LOOKED_AT {
                break;
            }
        }
        kept
    }
}

/// The surface at a shift; negative ones are wrapped.
fn at(surface: &Image<f32>, dx: i64, dy: i64) -> f32 {
    let x = dx.rem_euclid(surface.width() as i64) as usize;
    let y = dy.rem_euclid(surface.height() as i64) as usize;
    surface.at(x, y)
}

/// Top of the parabolas through a peak and its neighbours.
fn vertex(surface: &Image<f32>, dx: i64, dy: i64) -> Vec2 {
    let top = |before: f32, here: f32, after: f32| {
        let bend = f64::from(before) + f64::from(after) - 2.0 * f64::from(here);
        if bend < 0.0 { (0.5 * f64::from(before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
    };
    let here = at(surface, dx, dy);
    let x = dx as f64 + top(at(surface, dx - 1, dy), here, at(surface, dx + 1, dy));
    let y = dy as f64 + top(at(surface, dx, dy - 1), here, at(surface, dx, dy + 1));
    Vec2::new(x, y)
}

/// `x / √(1 + (x / s)²)` of the valid pixels, 0 elsewhere.
fn compress(image: &Image<f32>, valid: &Image<f32>, out: &mut Image<f32>, sorted: &mut Vec<f32>) {
    sorted.clear();
    let valid_pixels = image.pixels().iter().zip(valid.pixels()).filter(|(_, ok)| **ok > 0.0);
    sorted.extend(valid_pixels.map(|(v, _)| v.abs()));
    let middle = sorted.len() / 2;
    let sigma = if sorted.is_empty() {
        0.0
    } else {
        1.4826 * *sorted.select_nth_unstable_by(middle, f32::total_cmp).1
    };
    let inverse = if sigma > 0.0 { 1.0 / (COMPRESSED_SIGMA * sigma) } else { 0.0 };
    compress_pixels(image.pixels(), valid.pixels(), inverse, out.pixels_mut());
}

#[multiversion(targets("x86_64+avx2"))]
fn compress_pixels(image: &[f32], valid: &[f32], inverse: f32, out: &mut [f32]) {
    for ((o, v), ok) in out.iter_mut().zip(image).zip(valid) {
        let u = v * inverse;
        *o = ok * v / (1.0 + u * u).sqrt();
    }
}

/// Transform of `image` windowed and padded with zeros.
fn transform(
    image: &Image<f32>,
    padded_shape: Shape,
    fft: &mut Fft2Cache,
    padded: &mut Image<f32>,
    spectrum: &mut Spectrum,
) {
    padded.reset(padded_shape, 0.0);
    let window: Vec<f32> = taper(image.width()).collect();
    for (y, wy) in taper(image.height()).enumerate() {
        let row = &mut padded.row_mut(y)[..image.width()];
        for ((p, v), wx) in row.iter_mut().zip(image.row(y)).zip(&window) {
            *p = v * wx * wy;
        }
    }
    fft.plan(padded_shape).forward(padded, spectrum);
}

/// `b ← a · conj(b)`: the correlation whose peak is at `ref_from_frame` for a reference `a` and a
/// frame `b`.
fn multiply_conjugate(a: &Spectrum, b: &mut Spectrum) {
    for (((ar, ai), br), bi) in a.re.iter().zip(&a.im).zip(&mut b.re).zip(&mut b.im) {
        (*br, *bi) = (ar * *br + ai * *bi, ai * *br - ar * *bi);
    }
}

/// Correlation coefficient over the overlap at `ref_from_frame` (`dx`, `dy`), times √n.
fn likeness(reference: &Image<f32>, frame: &Image<f32>, dx: i64, dy: i64) -> f64 {
    let (width, height) = (reference.width() as i64, reference.height() as i64);
    let overlap = Rect::new(
        dx.max(0) as usize,
        dy.max(0) as usize,
        (width - dx.abs()).max(0) as usize,
        (height - dy.abs()).max(0) as usize,
    );
    let (mut rr, mut ff, mut rf) = (0.0, 0.0, 0.0);
    for y in overlap.y..overlap.y_end() {
        let r = &reference.row(y)[overlap.x..overlap.x_end()];
        let start = (overlap.x as i64 - dx) as usize;
        let f = &frame.row((y as i64 - dy) as usize)[start..start + overlap.width];
        let (mut a, mut b, mut c) = (0.0f32, 0.0f32, 0.0f32);
        for (r, f) in r.iter().zip(f) {
            a += r * r;
            b += f * f;
            c += r * f;
        }
        rr += f64::from(a);
        ff += f64::from(b);
        rf += f64::from(c);
    }
    let product = rr * ff;
    if product > 0.0 { rf / product.sqrt() * (overlap.shape().len() as f64).sqrt() } else { 0.0 }
}
