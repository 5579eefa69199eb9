//! What is done to frames before their flow is computed: normalisation and Gaussian smoothing.

use stillframe_image::{Image, Shape};

use super::taps::{Taps, gaussian_radius, gaussian_weights};

/// Added to a range of values before it divides.
const RANGE_EPS: f64 = 1e-8;
/// A range below this part of the values is what rounding leaves of a constant.
const NO_RANGE: f64 = 1e-6;

/// A change of scale: `(value - offset) · scale`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// The value that becomes 0.
    pub offset: f64,
    /// Per unit of the input.
    pub scale: f64,
}

impl Normalisation {
    /// Leaves values as they are.
    pub const IDENTITY: Self = Self { offset: 0.0, scale: 1.0 };

    /// Takes the least and the greatest value in `planes` to 0 and (almost) 1. For a normalisation
    /// of all channels together pass them all, for separate ones pass each alone. Values of other
    /// frames are not clipped. Where all values are the same, every frame becomes 0.
    pub fn of(planes: &[Image<f32>]) -> Self {
        let pixels = || planes.iter().flat_map(Image::pixels).map(|&v| f64::from(v));
        let low = pixels().fold(f64::INFINITY, f64::min);
        let high = pixels().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self::IDENTITY;
        }
        if high - low <= NO_RANGE * high.abs().max(low.abs()) {
            return Self { offset: low, scale: 0.0 };
        }
        Self { offset: low, scale: 1.0 / (high - low + RANGE_EPS) }
    }
}

/// Normalises and smooths images of one shape by a Gaussian, half-sample symmetric at the border
/// and cut at 4 sigma.
#[derive(Clone, Debug)]
pub struct Smoother {
    shape: Shape,
    rows: Vec<u32>,
    row_weights: Vec<f32>,
    column_weights: Vec<f32>,
    /// A row with its mirrored ends.
    padded: Vec<f32>,
    smoothed_rows: Vec<f32>,
}

impl Smoother {
    /// For images of `shape` and standard deviations along y and x in pixels, at least 0; below
    /// 1/8 they do nothing.
    pub fn new(shape: Shape, sigma_y: f64, sigma_x: f64) -> Self {
        let radius = gaussian_radius(sigma_x);
        let rows = Taps::smooth(shape.height, sigma_y);
        let weights = if shape.is_empty() {
            Vec::new()
        } else {
            rows.weight.iter().map(|&w| w as f32).collect()
        };
        Self {
            shape,
            rows: rows.index,
            row_weights: weights,
            column_weights: gaussian_weights(sigma_x, radius).iter().map(|&w| w as f32).collect(),
            padded: vec![0.0; shape.width + 2 * radius as usize],
            smoothed_rows: vec![0.0; shape.len()],
        }
    }

    /// Writes the normalised and smoothed `src` to `dst`.
    ///
    /// # Panics
    /// If an image does not have the announced shape.
    pub fn run(&mut self, src: &Image<f32>, normalisation: Normalisation, dst: &mut Image<f32>) {
        assert!(
            src.shape() == self.shape && dst.shape() == self.shape,
            "another shape was announced"
        );
        if self.shape.is_empty() {
            return;
        }
        let width = self.shape.width;
        let radius = self.column_weights.len() / 2;
        let (offset, scale) = (normalisation.offset as f32, normalisation.scale as f32);
        for (row, out) in
            src.pixels().chunks_exact(width).zip(self.smoothed_rows.chunks_exact_mut(width))
        {
            for (p, v) in self.padded[radius..radius + width].iter_mut().zip(row) {
                *p = (v - offset) * scale;
            }
            mirror_ends(&mut self.padded, radius, width);
            mix(out, &self.column_weights, |tap| &self.padded[tap..tap + width]);
        }
        let taps = self.row_weights.len() / self.shape.height;
        let smoothed = &self.smoothed_rows;
        for (y, out) in dst.pixels_mut().chunks_exact_mut(width).enumerate() {
            let rows = &self.rows[y * taps..(y + 1) * taps];
            mix(out, &self.row_weights[y * taps..(y + 1) * taps], |tap| {
                &smoothed[rows[tap] as usize * width..][..width]
            });
        }
    }
}

/// Normalises and smooths the channels of frames, each in its own way.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    channels: Vec<(Smoother, Normalisation)>,
}

impl Preprocessor {
    /// For frames of `shape` whose channels have the standard deviations `sigmas` along y and x in
    /// pixels and the given normalisations, as many of one as of the other.
    pub fn new(shape: Shape, sigmas: &[[f64; 2]], normalisations: &[Normalisation]) -> Self {
        let smoothers = sigmas.iter().map(|s| Smoother::new(shape, s[0], s[1]));
        Self { channels: smoothers.zip(normalisations.iter().copied()).collect() }
    }

    /// Writes the preprocessed `frame` to `out`.
    ///
    /// # Panics
    /// If there are not as many planes as announced, or they have another shape.
    pub fn run(&mut self, frame: &[Image<f32>], out: &mut [Image<f32>]) {
        assert!(frame.len() == self.channels.len() && out.len() == frame.len());
        for (((smoother, normalisation), src), dst) in self.channels.iter_mut().zip(frame).zip(out)
        {
            smoother.run(src, *normalisation, dst);
        }
    }
}

/// Half-sample symmetric ends of `width` values that begin at `radius`.
fn mirror_ends(padded: &mut [f32], radius: usize, width: usize) {
    for i in 0..radius {
        // Index -1 - i of the symmetric extension, and its counterpart at the right end.
        let period = i % (2 * width);
        let inside = if period < width { period } else { 2 * width - 1 - period };
        padded[radius - 1 - i] = padded[radius + inside];
        padded[radius + width + i] = padded[radius + width - 1 - inside];
    }
}

/// `out` = weighted lines, in the order of the taps.
pub(crate) fn mix<'a>(out: &mut [f32], weights: &[f32], line: impl Fn(usize) -> &'a [f32]) {
    out.fill(0.0);
    let (fours, rest) = weights.as_chunks::<4>();
    for (i, w) in fours.iter().enumerate() {
        add_four(out, *w, [line(4 * i), line(4 * i + 1), line(4 * i + 2), line(4 * i + 3)]);
    }
    for (i, &w) in rest.iter().enumerate() {
        add_one(out, w, line(4 * fours.len() + i));
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_four(out: &mut [f32], w: [f32; 4], lines: [&[f32]; 4]) {
    let n = out.len();
    let [a, b, c, d] = lines;
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for x in 0..n {
        out[x] = (((out[x] + w[0] * a[x]) + w[1] * b[x]) + w[2] * c[x]) + w[3] * d[x];
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_one(out: &mut [f32], w: f32, line: &[f32]) {
    for (out, v) in out.iter_mut().zip(line) {
        *out += w * v;
    }
}

/// Weights of the frames at -radius..=radius of a temporal Gaussian of `sigma` frames, cut at 4
/// sigma; one weight of 1 below 1/8.
pub fn temporal_weights(sigma: f64) -> Vec<f32> {
    gaussian_weights(sigma, gaussian_radius(sigma)).iter().map(|&w| w as f32).collect()
}

/// Writes the weighted sum of `frames` to `out`: temporal smoothing, once for every frame.
///
/// # Panics
/// If there are not as many frames as weights, or they differ in length from `out`.
pub fn weighted_sum(frames: &[&[f32]], weights: &[f32], out: &mut [f32]) {
    assert!(frames.len() == weights.len() && frames.iter().all(|f| f.len() == out.len()));
    mix(out, weights, |i| frames[i]);
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    fn random(shape: Shape, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| rng.uniform() as f32)
    }

    #[test]
    fn smoothing_is_the_separable_sum_with_mirrored_borders() {
        for (shape, sy, sx) in [(Shape::new(9, 31), 1.0, 2.0), (Shape::new(3, 2), 1.5, 1.0)] {
            let src = random(shape, 1);
            let mut got = Image::filled(shape, 0.0);
            Smoother::new(shape, sy, sx).run(&src, Normalisation::IDENTITY, &mut got);
            let (ty, tx) = (Taps::smooth(shape.height, sy), Taps::smooth(shape.width, sx));
            for y in 0..shape.height {
                for x in 0..shape.width {
                    let mut want = 0.0;
                    for (&j, wy) in ty.of(y).0.iter().zip(ty.of(y).1) {
                        for (&i, wx) in tx.of(x).0.iter().zip(tx.of(x).1) {
                            want += wy * wx * f64::from(src.at(i as usize, j as usize));
                        }
                    }
                    assert!((f64::from(got.at(x, y)) - want).abs() < 1e-6, "{shape} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn the_first_sigma_acts_on_rows() {
        let shape = Shape::new(21, 21);
        let mut dot = Image::filled(shape, 0.0);
        dot.set(10, 10, 1.0);
        let mut out = Image::filled(shape, 0.0);
        Smoother::new(shape, 2.0, 0.0).run(&dot, Normalisation::IDENTITY, &mut out);
        assert!(out.at(10, 13) > 0.01 && out.at(13, 10) == 0.0);
    }

    #[test]
    fn a_normalised_reference_spans_zero_to_one_and_frames_are_not_clipped() {
        let reference = Image::from_fn(Shape::new(4, 5), |x, y| (100 + x + 5 * y) as f32);
        let n = Normalisation::of(std::slice::from_ref(&reference));
        let mut out = Image::filled(reference.shape(), 0.0);
        let mut smoother = Smoother::new(reference.shape(), 0.0, 0.0);
        smoother.run(&reference, n, &mut out);
        assert_eq!((out.at(0, 0), out.at(4, 3)), (0.0, 1.0));
        smoother.run(&reference.map(|v| v + 38.0), n, &mut out);
        assert!((out.at(4, 3) - 3.0).abs() < 1e-5);
        let flat = Normalisation::of(&[Image::filled(reference.shape(), 7.0)]);
        assert!(flat.scale.is_finite());
    }

    #[test]
    fn temporal_weights_follow_the_default_of_no_smoothing() {
        assert_eq!(temporal_weights(0.1), [1.0]);
        let w = temporal_weights(1.0);
        assert_eq!(w.len(), 9);
        assert!((w.iter().sum::<f32>() - 1.0).abs() < 1e-6 && w[4] > w[3] && w[3] == w[5]);
        let frames = [1.0, 2.0, 4.0].map(|v| Image::filled(Shape::new(2, 20), v));
        let mut out = Image::filled(Shape::new(2, 20), 0.0);
        let frames: Vec<_> = frames.iter().map(Image::pixels).collect();
        weighted_sum(&frames, &[0.25, 0.5, 0.25], out.pixels_mut());
        assert!(out.pixels().iter().all(|&v| v == 2.25));
    }
}
