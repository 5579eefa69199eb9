//! The warp: every output pixel interpolated once from the calibrated frame.

use stillframe_image::Rect;

use crate::warp::geometry::{Geometry, Grid, Source};
use crate::warp::kernel::{WarpKernel, table};
use crate::warp::position::Positions;
use crate::warp::taps::{Border, Samples, TapRow};
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
/// is higher than its neighbours. With `undershoot` of 1 σ of the frame's pixel noise or more,
/// noise and stars of FWHM 2.2 px and wider are not touched at all (see the tests).
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
        let border = Border::Missing;
        let samples = Samples { pixels, origin: source.origin, undershoot, border };
        for (row, out) in out.chunks_exact_mut(out_rect.width).enumerate() {
            self.positions.fill(geometry, grid, out_rect.x, out_rect.width, out_rect.y + row);
            let positions = (&self.positions.x[..], &self.positions.y[..]);
            self.table.run(&mut self.taps, &samples, positions, out);
        }
    }

    /// Writes the values at any `positions` (columns and rows in frame pixels) to `out`; NaN where
    /// there is no sample or the position is NaN. The rules are those of [`Self::warp`]; `border` says
    /// what lies beyond the frame.
    ///
    /// # Panics
    /// If `positions` and `out` differ in length, or as [`Self::warp`].
    pub fn warp_at(
        &mut self,
        source: &Source<'_>,
        positions: (&[f64], &[f64]),
        undershoot: f32,
        border: Border,
        out: &mut [f32],
    ) {
        assert_eq!((positions.0.len(), positions.1.len()), (out.len(), out.len()));
        assert!(source.pixels.pixels().len() < 1 << 31, "source rectangle too large");
        let pixels = self.voided.pixels(source);
        let samples = Samples { pixels, origin: source.origin, undershoot, border };
        let parts = positions.0.chunks(PART).zip(positions.1.chunks(PART));
        for ((x, y), out) in parts.zip(out.chunks_mut(PART)) {
            self.table.run(&mut self.taps, &samples, (x, y), out);
        }
    }
}

/// Positions that are worked on together: their taps stay in the second-level cache.
const PART: usize = 2048;

impl Table {
    fn run(
        &self,
        taps: &mut TapRow,
        samples: &Samples<'_>,
        positions: (&[f64], &[f64]),
        out: &mut [f32],
    ) {
        match self {
            Self::Nearest => samples.nearest_row(positions, out),
            Self::Two(table) => taps.run(samples, table, positions, out),
            Self::Four(table) => taps.run(samples, table, positions, out),
            Self::Eight(table) => taps.run(samples, table, positions, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;
    use stillframe_image::{
        DisplacementField, Image, Point, Rng, Shape, Transform, Vec2, mask, math,
    };

    use super::*;
    use crate::warp::geometry::{Void, source_rect};

    const KERNELS: [WarpKernel; 4] =
        [WarpKernel::Nearest, WarpKernel::Bilinear, WarpKernel::Bicubic, WarpKernel::Lanczos3];
    const LINEAR: f32 = f32::INFINITY;

    fn noise(shape: Shape, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| (100.0 + 10.0 * rng.normal()) as f32)
    }

    fn field(shape: Shape, amplitude: f64) -> DisplacementField {
        let mut rng = Rng::new(5, 0, 0);
        let mut field = DisplacementField::covering(Point::new(0.0, 0.0), shape, 24.0);
        for c in field.coefficients_mut() {
            *c = [(amplitude * rng.normal()) as f32, (amplitude * rng.normal()) as f32];
        }
        field
    }

    fn rigid(frame_from_ref: Transform) -> Geometry<'static> {
        Geometry { frame_from_ref, field: None }
    }

    fn warped(
        kernel: WarpKernel,
        source: &Source<'_>,
        geometry: &Geometry<'_>,
        rect: Rect,
        undershoot: f32,
    ) -> Vec<f32> {
        let mut out = vec![-1.0; rect.shape().len()];
        Warper::new(kernel).warp(source, geometry, &Grid::REFERENCE, rect, undershoot, &mut out);
        out
    }

    /// One sample in `f64` with exact weights; `None` if a weighted pixel is missing.
    fn reference(kernel: WarpKernel, image: &Image<f32>, p: Point) -> Option<f64> {
        if kernel == WarpKernel::Nearest {
            let (x, y) = ((p.x + 0.5).floor(), (p.y + 0.5).floor());
            let is_inside =
                x >= 0.0 && y >= 0.0 && x < image.width() as f64 && y < image.height() as f64;
            return is_inside.then(|| f64::from(image.at(x as usize, y as usize)));
        }
        let (wx, wy) = (kernel.weights(p.x - p.x.floor()), kernel.weights(p.y - p.y.floor()));
        let lead = (kernel.taps() / 2 - 1) as i64;
        let mut sum = 0.0;
        for k in 0..kernel.taps() {
            for l in 0..kernel.taps() {
                if wx[l] * wy[k] == 0.0 {
                    continue;
                }
                let x = p.x.floor() as i64 - lead + l as i64;
                let y = p.y.floor() as i64 - lead + k as i64;
                if x < 0 || y < 0 || x >= image.width() as i64 || y >= image.height() as i64 {
                    return None;
                }
                sum += wx[l] * wy[k] * f64::from(image.at(x as usize, y as usize));
            }
        }
        Some(sum)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_kernel_agrees_with_its_plain_form(
            angle in -3.1f64..3.1, scale in 0.8f64..1.25, dx in -20.0f64..80.0,
            dy in -20.0f64..60.0, tilt in -1e-4f64..1e-4, whole in any::<bool>(),
        ) {
            let shape = Shape::new(53, 71);
            let image = noise(shape, 1);
            let field = field(shape, 1.5);
            let mut frame_from_ref = Transform::similarity(scale, angle, Vec2::new(dx, dy));
            frame_from_ref.m[2][0] = tilt;
            // whole shifts put every position on a border of the taps
            let geometry = if whole {
                rigid(Transform::translation(Vec2::new(dx.round(), dy.round())))
            } else {
                Geometry { frame_from_ref, field: Some(&field) }
            };
            let rect = Rect::new(3, 5, 61, 44);
            for kernel in KERNELS {
                let got = warped(kernel, &Source::whole(&image), &geometry, rect, LINEAR);
                for (i, got) in got.iter().enumerate() {
                    let (x, y) = (rect.x + i % rect.width, rect.y + i / rect.width);
                    let p = geometry.source_point(Grid::REFERENCE.reference_point(x, y));
                    let near_half = (p.x.fract().abs() - 0.5).abs().min((p.y.fract().abs() - 0.5).abs());
                    let near_whole = (p.x - p.x.round()).abs().min((p.y - p.y.round()).abs());
                    // the field is sampled to 1e-6: a sample may fall on the other side there
                    if !whole && near_half.min(near_whole) < 1e-5 {
                        continue;
                    }
                    match reference(kernel, &image, p) {
                        None => prop_assert!(got.is_nan(), "{kernel:?} {p:?}: {got}"),
                        Some(want) => prop_assert!(
                            (f64::from(*got) - want).abs() < 3e-3, "{kernel:?} {p:?}: {got} {want}"
                        ),
                    }
                }
            }
        }
    }

    #[test]
    fn identity_and_whole_shifts_reproduce_pixels_exactly_up_to_the_border() {
        let shape = Shape::new(20, 30);
        let image = noise(shape, 2);
        for kernel in KERNELS {
            for undershoot in [LINEAR, 0.0] {
                let geometry = rigid(Transform::IDENTITY);
                let got =
                    warped(kernel, &Source::whole(&image), &geometry, shape.rect(), undershoot);
                assert_eq!(got, image.pixels(), "{kernel:?}");
                let geometry = rigid(Transform::translation(Vec2::new(4.0, -3.0)));
                let got =
                    warped(kernel, &Source::whole(&image), &geometry, shape.rect(), undershoot);
                for y in 0..20 {
                    for x in 0..30 {
                        let v = got[y * 30 + x];
                        if x < 26 && y >= 3 {
                            assert_eq!(v, image.at(x + 4, y - 3), "{kernel:?}");
                        } else {
                            assert!(v.is_nan(), "{kernel:?} {x} {y}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_blocks_or_source_rectangles() {
        let shape = Shape::new(200, 260);
        let image = noise(shape, 3);
        let mut rng = Rng::new(8, 0, 0);
        let bits = Image::from_fn(shape, |_, _| match rng.below(200) {
            0 => mask::NO_DATA,
            1 => mask::HOT,
            _ => 0,
        });
        let field = field(shape, 1.0);
        let mut tilted = Transform::similarity(1.02, 0.1, Vec2::new(10.0, -12.0));
        tilted.m[2][1] = 3e-5;
        let turned = Transform::similarity(0.97, 3.0, Vec2::new(250.0, 190.0));
        let grids = [Grid::REFERENCE, Grid { first: Point::new(-9.3, 4.1), step: 0.7 }];
        for frame_from_ref in [tilted, turned, Transform::IDENTITY] {
            for field in [None, Some(&field)] {
                for (grid, undershoot) in grids.iter().zip([LINEAR, 1.0]) {
                    let geometry = Geometry { frame_from_ref, field };
                    for kernel in KERNELS {
                        let mut warper = Warper::new(kernel);
                        let mut run = |rect: Rect, source: Rect| {
                            let pixels = image.crop(source);
                            let bits = bits.crop(source);
                            let void = Some(Void { bits: &bits, any_of: mask::NO_DATA });
                            let origin = (source.x, source.y);
                            let source = Source { pixels: &pixels, origin, void };
                            let mut out = vec![0.0; rect.shape().len()];
                            warper.warp(&source, &geometry, grid, rect, undershoot, &mut out);
                            out
                        };
                        let whole = run(Rect::new(0, 0, 280, 220), shape.rect());
                        for rect in [
                            Rect::new(0, 0, 97, 64),
                            Rect::new(97, 64, 70, 91),
                            Rect::new(167, 155, 113, 65),
                            Rect::new(60, 100, 1, 1),
                        ] {
                            let halo = kernel.halo();
                            let Some(source) = source_rect(&geometry, grid, rect, shape, halo)
                            else {
                                continue;
                            };
                            let block = run(rect, source);
                            for (y, row) in block.chunks(rect.width).enumerate() {
                                let start = (rect.y + y) * 280 + rect.x;
                                let want = &whole[start..start + rect.width];
                                let same = row.iter().zip(want).all(|(a, b)| {
                                    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
                                });
                                assert!(same, "{kernel:?} {rect:?} row {y}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn void_pixels_and_the_outside_never_count_as_data() {
        let shape = Shape::new(40, 40);
        // any trace of the poison would show
        let mut image = Image::filled(shape, 1.0);
        let mut bits = Image::filled(shape, 0);
        for (x, y) in [(20, 20), (21, 20), (5, 33)] {
            image.set(x, y, 1e20);
            bits.set(x, y, mask::NO_DATA | mask::SATURATED);
        }
        let void = Some(Void { bits: &bits, any_of: mask::NO_DATA });
        let source = Source { pixels: &image, origin: (0, 0), void };
        for kernel in KERNELS {
            let shift = Vec2::new(0.4, -0.3);
            let geometry = rigid(Transform::translation(shift));
            let got = warped(kernel, &source, &geometry, shape.rect(), LINEAR);
            for (i, v) in got.iter().enumerate() {
                assert!(v.is_nan() || (v - 1.0).abs() < 1e-5, "{kernel:?} {i}: {v}");
            }
            let lost = got.iter().filter(|v| v.is_nan()).count();
            let taps = kernel.taps();
            let border = 2 * 40 * (taps - 1) - (taps - 1) * (taps - 1);
            let holes = (taps + 1) * taps + taps * taps;
            assert!(lost <= border + holes && lost > holes / 2, "{kernel:?}: {lost}");
        }
    }

    #[test]
    fn a_constant_stays_and_sums_are_kept() {
        let shape = Shape::new(96, 96);
        let star = |x: f64, y: f64| math::exp(-((x - 47.3).powi(2) + (y - 49.8).powi(2)) / 6.0);
        let image = Image::from_fn(shape, |x, y| (5000.0 * star(x as f64, y as f64)) as f32);
        let flat = Image::filled(shape, 1234.5f32);
        let turned = Transform::similarity(1.0, 0.4, Vec2::new(25.0, -12.0));
        let sum = |pixels: &[f32]| -> f64 { pixels.iter().map(|&v| f64::from(v)).sum() };
        for (kernel, tolerance) in KERNELS[1..].iter().zip([2e-3, 2e-4, 2e-4]) {
            let rect = Rect::new(20, 20, 56, 56);
            let got = warped(*kernel, &Source::whole(&flat), &rigid(turned), rect, LINEAR);
            assert!(got.iter().all(|v| (v - 1234.5).abs() < 1e-3), "{kernel:?}");
            let got = warped(*kernel, &Source::whole(&image), &rigid(turned), rect, LINEAR);
            let ratio = sum(&got) / sum(image.pixels());
            assert!((ratio - 1.0).abs() < tolerance, "{kernel:?}: {ratio}");
        }
    }

    /// Errors (rms) at `rect` of an image shifted by `shift` against the function itself.
    fn shift_errors(f: impl Fn(f64, f64) -> f64, shift: (f64, f64)) -> [f64; 3] {
        let image = Image::from_fn(Shape::new(80, 80), |x, y| f(x as f64, y as f64) as f32);
        let rect = Rect::new(5, 5, 70, 70);
        let geometry = rigid(Transform::translation(Vec2::new(shift.0, shift.1)));
        [WarpKernel::Bilinear, WarpKernel::Bicubic, WarpKernel::Lanczos3].map(|kernel| {
            let got = warped(kernel, &Source::whole(&image), &geometry, rect, LINEAR);
            let errors = got.iter().enumerate().map(|(i, v)| {
                let (x, y) = ((rect.x + i % 70) as f64, (rect.y + i / 70) as f64);
                (f64::from(*v) - f(x + shift.0, y + shift.1)).powi(2)
            });
            (errors.sum::<f64>() / got.len() as f64).sqrt()
        })
    }

    #[test]
    fn a_shifted_band_limited_image_is_right_to_a_thousandth() {
        let waves = |x: f64, y: f64| {
            math::sin(TAU * x / 15.0) * math::cos(TAU * y / 17.0) + math::sin(TAU * (x + y) / 25.0)
        };
        for shift in [(0.5, 0.5), (0.23, -0.41), (-0.77, 0.05)] {
            let [bilinear, bicubic, lanczos] = shift_errors(waves, shift);
            assert!(lanczos < 1e-3, "{lanczos}");
            assert!(lanczos < bicubic && bicubic < bilinear, "{lanczos} {bicubic} {bilinear}");
        }
    }

    #[test]
    fn a_shifted_star_is_right_to_half_a_percent_of_its_peak() {
        // Gaussian of FWHM 3
        let star = |x: f64, y: f64| {
            let r2 = (x - 40.2).powi(2) + (y - 39.7).powi(2);
            math::exp(-r2 * 4.0 * std::f64::consts::LN_2 / 9.0)
        };
        for shift in [(0.5, 0.5), (0.23, -0.41)] {
            let [bilinear, bicubic, lanczos] = shift_errors(star, shift);
            // over 70² pixels; the star covers about 30
            let peak = |rms: f64| rms * (70.0 * 70.0 / 30.0f64).sqrt();
            assert!(peak(lanczos) < 5e-3, "{}", peak(lanczos));
            assert!(lanczos < 0.5 * bicubic && bicubic < 0.5 * bilinear);
        }
    }

    #[test]
    fn given_positions_have_the_bits_of_the_geometry_and_held_borders_end_with_the_frame() {
        let shape = Shape::new(60, 70);
        let image = noise(shape, 4);
        let geometry = rigid(Transform::similarity(0.9, 0.3, Vec2::new(12.0, -5.0)));
        let rect = Rect::new(0, 0, 80, 75);
        let points: Vec<Point> = (0..rect.shape().len())
            .map(|i| geometry.source_point(Point::new((i % 80) as f64, (i / 80) as f64)))
            .collect();
        let x: Vec<f64> = points.iter().map(|p| p.x).collect();
        let y: Vec<f64> = points.iter().map(|p| p.y).collect();
        for kernel in KERNELS {
            let want = warped(kernel, &Source::whole(&image), &geometry, rect, 1.0);
            let mut got = vec![0.0; want.len()];
            let source = Source::whole(&image);
            let mut warper = Warper::new(kernel);
            warper.warp_at(&source, (&x, &y), 1.0, Border::Missing, &mut got);
            let same =
                |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            assert!(got.iter().zip(&want).all(same), "{kernel:?}");
            warper.warp_at(&source, (&x, &y), 1.0, Border::Held, &mut got);
            for ((p, held), plain) in points.iter().zip(&got).zip(&want) {
                let is_inside = (-0.5..=69.5).contains(&p.x) && (-0.5..=59.5).contains(&p.y);
                assert!(
                    held.is_finite() == is_inside || kernel == WarpKernel::Nearest,
                    "{kernel:?} {p:?}"
                );
                assert!(plain.is_nan() || plain == held);
            }
        }
    }

    /// At 1 σ the clamp touches neither noise nor stars, and fills the ring around a cosmic ray.
    #[test]
    fn clamping_leaves_noise_and_stars_and_fills_rings() {
        let shape = Shape::new(300, 300);
        let mut rng = Rng::new(12, 0, 0);
        let mut image = Image::from_fn(shape, |_, _| (10.0 * rng.normal()) as f32);
        // faint to bright stars of FWHM 2.2 to 4
        for i in 0..30 {
            let (x0, y0) = (rng.range(20.0, 280.0), rng.range(20.0, 280.0));
            let (peak, fwhm) = (20.0 * 1.3f64.powi(i), rng.range(2.2, 4.0));
            for y in 0..300 {
                for x in 0..300 {
                    let r2 = (x as f64 - x0).powi(2) + (y as f64 - y0).powi(2);
                    let v = peak * math::exp(-r2 * 4.0 * std::f64::consts::LN_2 / fwhm.powi(2));
                    image.set(x, y, image.at(x, y) + v as f32);
                }
            }
        }
        let geometry = rigid(Transform::similarity(1.0, 0.2, Vec2::new(40.0, -20.0)));
        let rect = Rect::new(60, 60, 180, 180);
        let run = |image: &Image<f32>, undershoot: f32| {
            warped(WarpKernel::Lanczos3, &Source::whole(image), &geometry, rect, undershoot)
        };
        let linear = run(&image, LINEAR);
        let clamped = run(&image, 10.0);
        let changed = linear.iter().zip(&clamped).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 0);

        let mut flat = Image::filled(shape, 100.0f32);
        flat.set(150, 150, 50_000.0);
        let ring = |values: &[f32]| values.iter().fold(f32::INFINITY, |a, &b| a.min(b));
        let (plain, limited) = (ring(&run(&flat, LINEAR)), ring(&run(&flat, 10.0)));
        assert!(plain < -1000.0 && limited >= 90.0, "{plain} {limited}");
    }
}
