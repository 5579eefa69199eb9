//! Images as the correlation sees them: without mean, without holes, tapered.

use std::borrow::Cow;

use stillframe_image::{Image, Shape, Vec2, math};

use super::{MIN_SIDE, PhaseError};

/// An image and what to call it.
pub(super) struct Frame<'a> {
    image: Cow<'a, Image<f32>>,
    name: &'static str,
}

/// Sums over a window: of its square, and of its fourth power.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) second: f64,
    pub(super) fourth: f64,
}

/// Distance from which holes are filled, pixels.
const FILL_RADIUS: usize = 12;

impl<'a> Frame<'a> {
    /// Pixels whose `mask` is not 0, or that are not finite, get the mean of the good ones around:
    /// an edge there would be taken for structure.
    pub(super) fn new(
        image: &'a Image<f32>,
        mask: Option<&Image<u8>>,
        name: &'static str,
    ) -> Result<Self, PhaseError> {
        let shape = image.shape();
        let fits = mask.is_none_or(|m| m.shape() == shape);
        if shape.width.min(shape.height) < MIN_SIDE || !fits {
            return Err(PhaseError::Flat { image: name });
        }
        let is_good = |i: usize, v: f32| v.is_finite() && mask.is_none_or(|m| m.pixels()[i] == 0);
        let good: Vec<bool> =
            image.pixels().iter().enumerate().map(|(i, v)| is_good(i, *v)).collect();
        if good.iter().all(|g| *g) {
            return Ok(Self { image: Cow::Borrowed(image), name });
        }
        if !good.contains(&true) {
            return Err(PhaseError::Flat { image: name });
        }
        Ok(Self { image: Cow::Owned(filled(image, &good)), name })
    }

    pub(super) fn shape(&self) -> Shape {
        self.image.shape()
    }

    /// The pixels, with holes filled.
    pub(super) fn pixels(&self) -> &Image<f32> {
        &self.image
    }

    /// Whether pixels were missing.
    pub(super) fn has_holes(&self) -> bool {
        matches!(self.image, Cow::Owned(_))
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the image times `window` to `out`, after taking off its weighted mean; 0 outside.
    /// `None` if there is no structure.
    pub(super) fn write(&self, window: &Taper, out: &mut Image<f32>) -> Option<Moments> {
        out.pixels_mut().fill(0.0);
        let (wx, wy) =
            (window.x.factors(self.image.width()), window.y.factors(self.image.height()));
        let (mut sum, mut weight) = (0.0f64, 0.0f64);
        for (y, fy) in wy.iter().enumerate() {
            for (v, fx) in self.image.row(y).iter().zip(&wx) {
                let w = f64::from(fx * fy);
                sum += w * f64::from(*v);
                weight += w;
            }
        }
        let mean = if weight > 0.0 { (sum / weight) as f32 } else { return None };
        let mut has_structure = false;
        for (y, fy) in wy.iter().enumerate() {
            let row = out.row_mut(y);
            for ((o, v), fx) in row.iter_mut().zip(self.image.row(y)).zip(&wx) {
                *o = (v - mean) * fx * fy;
                has_structure |= (v - mean).abs() > 1e-6 * mean.abs();
            }
        }
        let power = |w: &[f32], n: i32| w.iter().map(|v| f64::from(*v).powi(n)).sum::<f64>();
        has_structure.then(|| Moments {
            second: power(&wx, 2) * power(&wy, 2),
            fourth: power(&wx, 4) * power(&wy, 4),
        })
    }
}

/// Holes filled with the mean of the good pixels around, smoothed over the hole.
fn filled(image: &Image<f32>, good: &[bool]) -> Image<f32> {
    let shape = image.shape();
    let values: Vec<f64> = (image.pixels().iter().zip(good))
        .map(|(v, g)| if *g { f64::from(*v) } else { 0.0 })
        .collect();
    let weights: Vec<f64> = good.iter().map(|g| f64::from(u8::from(*g))).collect();
    let mean = values.iter().sum::<f64>() / weights.iter().sum::<f64>();
    let mut out = image.clone();
    let mut open: Vec<usize> = (0..good.len()).filter(|&i| !good[i]).collect();
    let mut radius = FILL_RADIUS;
    while !open.is_empty() && radius < shape.width.max(shape.height) {
        let (sums, counts) = (box_sums(&values, shape, radius), box_sums(&weights, shape, radius));
        open.retain(|&i| {
            if counts[i] > 0.5 {
                out.pixels_mut()[i] = (sums[i] / counts[i]) as f32;
            }
            counts[i] <= 0.5
        });
        radius *= 3;
    }
    for i in open {
        out.pixels_mut()[i] = mean as f32;
    }
    out
}

/// Sums over squares of side `2 · radius + 1`, cut at the border.
pub(super) fn box_sums(values: &[f64], shape: Shape, radius: usize) -> Vec<f64> {
    let (height, width) = (shape.height, shape.width);
    let mut rows = vec![0.0; values.len()];
    for y in 0..height {
        let row = &values[y * width..(y + 1) * width];
        let mut sum: f64 = row[..radius.min(width)].iter().sum();
        for x in 0..width {
            sum += if x + radius < width { row[x + radius] } else { 0.0 };
            rows[y * width + x] = sum;
            sum -= if x >= radius { row[x - radius] } else { 0.0 };
        }
    }
    let mut out = vec![0.0; values.len()];
    for x in 0..width {
        let at = |y: usize| rows[y * width + x];
        let mut sum: f64 = (0..radius.min(height)).map(at).sum();
        for y in 0..height {
            sum += if y + radius < height { at(y + radius) } else { 0.0 };
            out[y * width + x] = sum;
            sum -= if y >= radius { at(y - radius) } else { 0.0 };
        }
    }
    out
}

/// A window along one axis: 0 outside `low..high`, rising as a raised cosine over `rise` at both
/// ends.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
    rise: f64,
}

impl Axis {
    fn factors(&self, length: usize) -> Vec<f32> {
        (0..length)
            .map(|i| {
                let inside = (i as f64 - self.low).min(self.high - i as f64);
                let t = (inside / self.rise).clamp(0.0, 1.0);
                (0.5 - 0.5 * math::cos(std::f64::consts::PI * t)) as f32
            })
            .collect()
    }
}

/// A window at any place of an image, given in its pixels; places between pixels are allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taper {
    x: Axis,
    y: Axis,
}

/// Smallest side of an overlap that is looked at, pixels and part of the smaller image.
const MIN_OVERLAP_PX: f64 = 12.0;
const MIN_OVERLAP: f64 = 0.1;

impl Taper {
    /// Over a whole image, rising over the part `rise` of each side.
    pub(super) fn whole(shape: Shape, rise: f64) -> Self {
        let axis = |n: usize| Axis { low: -0.5, high: n as f64 - 0.5, rise: rise * n as f64 };
        Self { x: axis(shape.width), y: axis(shape.height) }
    }

    /// A Hann window over the part of the reference on which the frame lies at `shift`; `None` if
    /// that is next to nothing.
    pub(super) fn overlap(reference: Shape, frame: Shape, shift: Vec2) -> Option<Self> {
        let axis = |r: usize, f: usize, shift: f64| {
            let low = shift.max(0.0) - 0.5;
            let high = (r as f64).min(f as f64 + shift) - 0.5;
            let needed = MIN_OVERLAP_PX.max(MIN_OVERLAP * r.min(f) as f64);
            (high - low >= needed).then_some(Axis { low, high, rise: 0.5 * (high - low) })
        };
        Some(Self {
            x: axis(reference.width, frame.width, shift.dx)?,
            y: axis(reference.height, frame.height, shift.dy)?,
        })
    }

    /// The same window elsewhere.
    pub(super) fn moved(&self, by: Vec2) -> Self {
        let axis = |a: Axis, by: f64| Axis { low: a.low + by, high: a.high + by, rise: a.rise };
        Self { x: axis(self.x, by.dx), y: axis(self.y, by.dy) }
    }
}
