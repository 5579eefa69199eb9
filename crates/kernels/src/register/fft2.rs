//! Two-dimensional Fourier transforms of real images, with the same bits on every machine.
//!
//! Own code instead of `rustfft`: that crate picks its instructions at run time and rounds
//! differently with each choice, and takes its twiddle factors from the platform's `sin`. Here
//! eight columns (or row pairs) are transformed side by side, elementwise, so that the compiler can
//! use any vector width without a change of a bit, and twiddles come from `image::math`. Nothing is
//! folded across lanes and nothing is fused.

mod lanes;

use stillframe_image::{Image, Shape};

use self::lanes::{LANES, LaneFft};

/// The smallest even number `2^a 3^b 5^c` that is at least `n` (and at least 2): a length that
/// [`Fft2`] takes and is fast on.
pub fn fast_len(n: usize) -> usize {
    let is_fast = |mut m: usize| {
        for f in [2, 3, 5] {
            while m.is_multiple_of(f) {
                m /= f;
            }
        }
        m == 1
    };
    let mut half = n.div_ceil(2).max(1);
    while !is_fast(half) {
        half += 1;
    }
    2 * half
}

/// Fourier coefficients of a real image: those with a frequency along x of 0 to `width / 2`; the
/// others are their complex conjugates.
#[derive(Clone, Debug, Default)]
pub struct Spectrum {
    /// Real parts, `height` rows of `width / 2 + 1`; row `ky` holds the frequency `ky / height` or,
    /// in the second half, `ky / height − 1`, cycles per pixel.
    pub re: Vec<f32>,
    /// Imaginary parts.
    pub im: Vec<f32>,
}

impl Spectrum {
    fn resize(&mut self, len: usize) {
        self.re.resize(len, 0.0);
        self.im.resize(len, 0.0);
    }
}

/// Plan and buffers for images of one shape.
#[derive(Clone, Debug)]
pub struct Fft2 {
    shape: Shape,
    along_x: LaneFft,
    along_y: LaneFft,
}

impl Fft2 {
    /// A plan for `shape`, whose sides [`fast_len`] gives; others are rounded up to such.
    pub fn new(shape: Shape) -> Self {
        let shape = Shape::new(fast_len(shape.height), fast_len(shape.width));
        Self { shape, along_x: LaneFft::new(shape.width), along_y: LaneFft::new(shape.height) }
    }

    /// Size of the images.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of columns of a spectrum.
    pub fn columns(&self) -> usize {
        self.shape.width / 2 + 1
    }

    /// Frequency number `k` of an axis of `length` pixels in cycles per pixel, in [-1/2, 1/2).
    pub fn frequency(k: usize, length: usize) -> f64 {
        (k as f64 - if 2 * k >= length { length as f64 } else { 0.0 }) / length as f64
    }

    /// `spectrum[k] = Σ image[p] · exp(−2πi k·p)`. O(n log n), no allocation but in `spectrum` when
    /// it has another size.
    ///
    /// # Panics
    /// If `image` has another shape than the plan.
    pub fn forward(&mut self, image: &Image<f32>, spectrum: &mut Spectrum) {
        assert_eq!(image.shape(), self.shape, "image does not have the shape of the plan");
        spectrum.resize(self.shape.height * self.columns());
        self.rows_forward(image.pixels(), spectrum);
        self.columns_transform(&mut spectrum.re, &mut spectrum.im);
    }

    /// The image whose transform `spectrum` is; `spectrum` is overwritten.
    ///
    /// # Panics
    /// If `image` has another shape than the plan, or `spectrum` another length.
    pub fn inverse(&mut self, spectrum: &mut Spectrum, image: &mut Image<f32>) {
        assert_eq!(image.shape(), self.shape, "image does not have the shape of the plan");
        assert_eq!(spectrum.re.len(), self.shape.height * self.columns());
        // Real and imaginary part exchanged, the transform is the inverse one.
        self.columns_transform(&mut spectrum.im, &mut spectrum.re);
        self.rows_inverse(spectrum, image.pixels_mut());
    }

    /// Each pair of rows (y, y + h/2) is one complex row, whose transform is taken apart again.
    fn rows_forward(&mut self, image: &[f32], spectrum: &mut Spectrum) {
        let (half, width, columns) = (self.shape.height / 2, self.shape.width, self.columns());
        for first in (0..half).step_by(LANES) {
            let used = LANES.min(half - first);
            let (re, im) = self.along_x.input();
            for lane in 0..used {
                let above = &image[(first + lane) * width..][..width];
                let below = &image[(first + lane + half) * width..][..width];
                for (x, (a, b)) in above.iter().zip(below).enumerate() {
                    re[x][lane] = *a;
                    im[x][lane] = *b;
                }
            }
            let (re, im) = self.along_x.run();
            for lane in 0..used {
                let above = (first + lane) * columns;
                let below = (first + lane + half) * columns;
                for k in 0..columns {
                    let mirror = if k == 0 { 0 } else { width - k };
                    let (a, b) = (re[k][lane], im[k][lane]);
                    let (c, d) = (re[mirror][lane], im[mirror][lane]);
                    spectrum.re[above + k] = 0.5 * (a + c);
                    spectrum.im[above + k] = 0.5 * (b - d);
                    spectrum.re[below + k] = 0.5 * (b + d);
                    spectrum.im[below + k] = 0.5 * (c - a);
                }
            }
        }
    }

    fn rows_inverse(&mut self, spectrum: &Spectrum, image: &mut [f32]) {
        let (half, width, columns) = (self.shape.height / 2, self.shape.width, self.columns());
        let scale = 1.0 / self.shape.len() as f32;
        for first in (0..half).step_by(LANES) {
            let used = LANES.min(half - first);
            let (re, im) = self.along_x.input();
            for lane in 0..used {
                let above = (first + lane) * columns;
                let below = (first + lane + half) * columns;
                for k in 0..columns {
                    let (a, b) = (spectrum.re[above + k], spectrum.im[above + k]);
                    let (c, d) = (spectrum.re[below + k], spectrum.im[below + k]);
                    // above + i · below, and its value at the mirrored frequency; exchanged.
                    im[k][lane] = a - d;
                    re[k][lane] = b + c;
                    if k > 0 {
                        im[width - k][lane] = a + d;
                        re[width - k][lane] = c - b;
                    }
                }
            }
            let (im, re) = self.along_x.run();
            for lane in 0..used {
                for x in 0..width {
                    image[(first + lane) * width + x] = re[x][lane] * scale;
                    image[(first + lane + half) * width + x] = im[x][lane] * scale;
                }
            }
        }
    }

    fn columns_transform(&mut self, real: &mut [f32], imaginary: &mut [f32]) {
        let (height, columns) = (self.shape.height, self.columns());
        for first in (0..columns).step_by(LANES) {
            let used = LANES.min(columns - first);
            let (re, im) = self.along_y.input();
            for y in 0..height {
                let at = y * columns + first;
                re[y][..used].copy_from_slice(&real[at..at + used]);
                im[y][..used].copy_from_slice(&imaginary[at..at + used]);
            }
            let (re, im) = self.along_y.run();
            for y in 0..height {
                let at = y * columns + first;
                real[at..at + used].copy_from_slice(&re[y][..used]);
                imaginary[at..at + used].copy_from_slice(&im[y][..used]);
            }
        }
    }
}

/// Plans of the shapes used last.
#[derive(Clone, Debug, Default)]
pub struct Fft2Cache {
    plans: Vec<Fft2>,
}

/// Shapes that one caller alternates between: a tile, an odd tile at two borders and the corner.
const MAX_PLANS: usize = 6;

impl Fft2Cache {
    /// The plan for `shape`, made at the first call.
    pub fn plan(&mut self, shape: Shape) -> &mut Fft2 {
        let wanted = Shape::new(fast_len(shape.height), fast_len(shape.width));
        let known = self.plans.iter().position(|p| p.shape == wanted);
        let plan = known.map_or_else(|| Fft2::new(wanted), |i| self.plans.remove(i));
        self.plans.insert(0, plan);
        self.plans.truncate(MAX_PLANS);
        &mut self.plans[0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, math};

    use super::*;

    fn noise(shape: Shape, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| rng.normal() as f32)
    }

    /// One coefficient by its definition.
    fn coefficient(image: &Image<f32>, ky: usize, kx: usize) -> (f64, f64) {
        let (h, w) = (image.height(), image.width());
        let (mut re, mut im) = (0.0, 0.0);
        for y in 0..h {
            for x in 0..w {
                let turns = (ky * y % h) as f64 / h as f64 + (kx * x % w) as f64 / w as f64;
                let angle = -std::f64::consts::TAU * turns;
                re += f64::from(image.at(x, y)) * math::cos(angle);
                im += f64::from(image.at(x, y)) * math::sin(angle);
            }
        }
        (re, im)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn forward_is_the_definition_and_inverse_undoes_it(
            height in 1usize..70, width in 1usize..70, seed in 0u64..1000,
        ) {
            let mut fft = Fft2::new(Shape::new(height, width));
            let shape = fft.shape();
            let image = noise(shape, seed);
            let mut spectrum = Spectrum::default();
            fft.forward(&image, &mut spectrum);
            let tolerance = 2e-6 * (shape.len() as f64).sqrt() * 3.0;
            let mut rng = Rng::new(seed, 1, 0);
            for _ in 0..8 {
                let (ky, kx) = (rng.below(shape.height), rng.below(fft.columns()));
                let (re, im) = coefficient(&image, ky, kx);
                let at = ky * fft.columns() + kx;
                prop_assert!((f64::from(spectrum.re[at]) - re).abs() < tolerance);
                prop_assert!((f64::from(spectrum.im[at]) - im).abs() < tolerance);
            }
            let mut back = Image::filled(shape, 0.0);
            fft.inverse(&mut spectrum, &mut back);
            for (a, b) in image.pixels().iter().zip(back.pixels()) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn power_is_conserved_at_every_kind_of_length() {
        for n in [2, 4, 6, 8, 10, 12, 16, 18, 20, 30, 50, 54, 64, 90, 96, 100, 128, 250, 486, 512] {
            assert_eq!(fast_len(n), n);
            let mut fft = Fft2::new(Shape::new(n, 16));
            let image = noise(fft.shape(), n as u64);
            let mut s = Spectrum::default();
            fft.forward(&image, &mut s);
            let mut power = 0.0;
            for (i, (re, im)) in s.re.iter().zip(&s.im).enumerate() {
                let is_own_mirror = i % 9 == 0 || i % 9 == 8;
                let count = if is_own_mirror { 1.0 } else { 2.0 };
                power +=
                    count * (f64::from(*re) * f64::from(*re) + f64::from(*im) * f64::from(*im));
            }
            let direct: f64 = image.pixels().iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            assert!((power / (direct * 16.0 * n as f64) - 1.0).abs() < 1e-5, "{n}");
        }
    }

    #[test]
    fn frequencies_are_those_of_the_rows_and_columns() {
        let fft = Fft2::new(Shape::new(8, 12));
        assert_eq!(fft.columns(), 7);
        let all: Vec<f64> = (0..8).map(|k| Fft2::frequency(k, 8)).collect();
        assert_eq!(all, [0.0, 0.125, 0.25, 0.375, -0.5, -0.375, -0.25, -0.125]);
        assert_eq!([1, 7, 11, 97, 1096, 1936].map(fast_len), [2, 8, 12, 100, 1152, 1944]);
    }

    #[test]
    fn bits_are_pinned() {
        // A change here is a change of bits on every machine; a difference between machines is a
        // broken promise.
        let mut fft = Fft2::new(Shape::new(60, 96));
        let mut spectrum = Spectrum::default();
        fft.forward(&noise(fft.shape(), 7), &mut spectrum);
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for v in spectrum.re.iter().chain(&spectrum.im) {
            hash = (hash ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3);
        }
        assert_eq!(hash, 0xd54a_edba_46ad_e0ae, "{hash:#x}");
    }

    #[test]
    fn a_cache_keeps_the_plans_in_use() {
        let mut cache = Fft2Cache::default();
        for side in [60, 61, 62, 64, 60] {
            assert_eq!(cache.plan(Shape::new(side, 64)).shape().height, fast_len(side));
        }
        assert_eq!(cache.plans.len(), 2);
    }
}
