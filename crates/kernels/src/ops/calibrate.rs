//! Bias, dark and flat.
//!
//! `light = flat · photons + dark current + bias`, so `photons = (light − bias − k · dark) / flat`.

use multiversion::multiversion;
use stillframe_image::{CfaPattern, Colour, Image};

use crate::ops::stats;

/// Response below which a pixel is dead, above whose inverse it is not to be believed.
const LEAST_RESPONSE: f32 = 0.1;

/// About as many samples as a level is made of.
const LEVEL_SAMPLES: usize = 65_536;

/// Dark current of some rows.
#[derive(Clone, Copy, Debug)]
pub struct DarkRows<'a> {
    /// Dark current without bias, in the units of the pixels, for the dark's own exposure.
    pub current: &'a [f32],
    /// Exposure of the light over that of the dark (1 if they match).
    pub scale: f32,
}

/// The parts of the masters that lie under some rows of a frame; each as long as those rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct MasterRows<'a> {
    /// Taken off first: the master bias, or the master dark with its bias in it.
    pub offset: Option<&'a [f32]>,
    /// Taken off second, scaled.
    pub dark: Option<DarkRows<'a>>,
    /// Multiplied last: [`FlatCorrection::inverse`].
    pub inverse_flat: Option<&'a [f32]>,
}

/// Replaces every pixel by `(pixel − offset − scale · current) · inverse_flat`; a part that is
/// not given changes nothing. One pass over the pixels, two for dark and flat without an offset.
///
/// ```
/// use stillframe_kernels::ops::calibrate::{DarkRows, MasterRows, calibrate_rows};
///
/// let mut light = [1000.0, 1000.0];
/// let dark = DarkRows { current: &[20.0, 400.0], scale: 0.5 };
/// let masters =
///     MasterRows { offset: Some(&[200.0, 210.0]), dark: Some(dark), inverse_flat: Some(&[1.0, 2.0]) };
/// calibrate_rows(&mut light, masters);
/// assert_eq!(light, [790.0, 1180.0]);
/// ```
///
/// # Panics
/// If a master's slice is not as long as `pixels`.
pub fn calibrate_rows(pixels: &mut [f32], masters: MasterRows<'_>) {
    let MasterRows { offset, dark, inverse_flat } = masters;
    match (offset, dark, inverse_flat) {
        (None, None, None) => {}
        (Some(o), None, None) => subtract(pixels, o),
        (None, None, Some(f)) => multiply(pixels, f),
        (Some(o), None, Some(f)) => subtract_multiply(pixels, o, f),
        (None, Some(d), None) => subtract_scaled(pixels, d.current, d.scale),
        (Some(o), Some(d), None) => subtract_both(pixels, o, d.current, d.scale),
        (None, Some(d), Some(f)) => {
            subtract_scaled(pixels, d.current, d.scale);
            multiply(pixels, f);
        }
        (Some(o), Some(d), Some(f)) => subtract_both_multiply(pixels, o, d.current, d.scale, f),
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn subtract(pixels: &mut [f32], offset: &[f32]) {
    assert_eq!(pixels.len(), offset.len());
    for (p, &o) in pixels.iter_mut().zip(offset) {
        *p -= o;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn multiply(pixels: &mut [f32], factor: &[f32]) {
    assert_eq!(pixels.len(), factor.len());
    for (p, &f) in pixels.iter_mut().zip(factor) {
        *p *= f;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn subtract_multiply(pixels: &mut [f32], offset: &[f32], factor: &[f32]) {
    assert!(pixels.len() == offset.len() && pixels.len() == factor.len());
    for ((p, &o), &f) in pixels.iter_mut().zip(offset).zip(factor) {
        *p = (*p - o) * f;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn subtract_scaled(pixels: &mut [f32], dark: &[f32], scale: f32) {
    assert_eq!(pixels.len(), dark.len());
    for (p, &d) in pixels.iter_mut().zip(dark) {
        *p -= scale * d;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn subtract_both(pixels: &mut [f32], offset: &[f32], dark: &[f32], scale: f32) {
    assert!(pixels.len() == offset.len() && pixels.len() == dark.len());
    for ((p, &o), &d) in pixels.iter_mut().zip(offset).zip(dark) {
        *p = (*p - o) - scale * d;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn subtract_both_multiply(
    pixels: &mut [f32],
    offset: &[f32],
    dark: &[f32],
    scale: f32,
    factor: &[f32],
) {
    let n = pixels.len();
    assert!(n == offset.len() && n == dark.len() && n == factor.len());
    for (((p, &o), &d), &f) in pixels.iter_mut().zip(offset).zip(dark).zip(factor) {
        *p = ((*p - o) - scale * d) * f;
    }
}

/// What a master flat says of the sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatCorrection {
    /// Factor of every pixel, about 1 in the middle of the frame; 1 where the pixel is cold.
    pub inverse: Image<f32>,
    /// Pixels whose response is below 0.1 or above 10 times that of the middle, as row-major
    /// indices in ascending order.
    pub cold: Vec<u32>,
}

/// Why a flat cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlatError {
    /// No light.
    #[error(
        "the middle of the flat has a level of {level}, above 0 is needed; was its bias taken off twice?"
    )]
    NoLight {
        /// The level of the darkest colour.
        level: f32,
    },
}

/// The correction that a bias-subtracted master `flat` asks for.
///
/// The flat is divided by its median over the middle half of the frame (width and height); for a
/// mosaic each colour by its own, so that the white balance of the lights is kept. O(n).
///
/// # Errors
/// [`FlatError::NoLight`] if the middle of the frame has no positive level (in one of the colours).
pub fn flat_correction(
    flat: &Image<f32>,
    cfa: Option<CfaPattern>,
) -> Result<FlatCorrection, FlatError> {
    let level = match cfa {
        Some(cfa) => Colour::ALL.map(|c| middle_level(flat, |x, y| cfa.colour_at(x, y) == c)),
        None => [middle_level(flat, |_, _| true); 3],
    };
    let lowest = level.iter().copied().fold(f32::INFINITY, f32::min);
    if lowest.is_nan() || lowest <= 0.0 {
        return Err(FlatError::NoLight { level: lowest });
    }
    let mut cold = Vec::new();
    let width = flat.width();
    let mut inverse = Image::filled(flat.shape(), 1.0);
    for y in 0..flat.height() {
        let scale = |x: usize| cfa.map_or(level[0], |cfa| level[cfa.colour_at(x, y).plane()]);
        let scales = [scale(0), scale(1)];
        for (x, (out, &value)) in inverse.row_mut(y).iter_mut().zip(flat.row(y)).enumerate() {
            let response = value / scales[x & 1];
            if (LEAST_RESPONSE..=1.0 / LEAST_RESPONSE).contains(&response) {
                *out = 1.0 / response;
            } else {
                cold.push((y * width + x) as u32);
            }
        }
    }
    Ok(FlatCorrection { inverse, cold })
}

/// Robust level of a bias-subtracted flat frame: its median over the middle half of the frame
/// (width and height), all colours together; 0 if the frame is empty.
///
/// Flats of one series are divided by it before they are averaged, so that a lamp that drifts or
/// a dawn that brightens does not weigh them.
pub fn frame_level(flat: &Image<f32>) -> f32 {
    middle_level(flat, |_, _| true)
}

/// Median of the pixels of the middle half for which `counts(x, y)`, thinned by an odd step so
/// that every colour of a mosaic is met; 0 if there are none.
fn middle_level(image: &Image<f32>, counts: impl Fn(usize, usize) -> bool) -> f32 {
    let (w, h) = (image.width(), image.height());
    let (x0, x1, y0, y1) = (w / 4, w - w / 4, h / 4, h - h / 4);
    let n = (x1 - x0) * (y1 - y0);
    let step = ((n as f64 / LEVEL_SAMPLES as f64).sqrt() as usize) | 1;
    let mut samples = Vec::new();
    for y in (y0..y1).step_by(step) {
        let row = image.row(y);
        samples.extend((x0..x1).step_by(step).filter(|&x| counts(x, y)).map(|x| row[x]));
    }
    stats::median(&mut samples).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Rng, Shape};

    use super::*;

    fn plain(pixels: &[f32], m: MasterRows<'_>) -> Vec<f32> {
        let mut out = pixels.to_vec();
        for (i, p) in out.iter_mut().enumerate() {
            if let Some(o) = m.offset {
                *p -= o[i];
            }
            if let Some(d) = m.dark {
                *p -= d.scale * d.current[i];
            }
            if let Some(f) = m.inverse_flat {
                *p *= f[i];
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_combination_of_masters_has_the_bits_of_the_formula(
            which in 0u8..8, n in 0usize..70, seed in 0u64..99, scale in 0.0f32..3.0
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let mut slice = |mean: f64| -> Vec<f32> {
                (0..n).map(|_| (mean + rng.normal()) as f32).collect()
            };
            let (light, offset, current, flat) = (slice(900.), slice(200.), slice(3.), slice(5.));
            let masters = MasterRows {
                offset: (which & 1 > 0).then_some(&offset),
                dark: (which & 2 > 0).then_some(DarkRows { current: &current, scale }),
                inverse_flat: (which & 4 > 0).then_some(&flat),
            };
            let mut got = light.clone();
            calibrate_rows(&mut got, masters);
            prop_assert_eq!(got, plain(&light, masters));
        }
    }

    #[test]
    fn known_masters_give_the_truth_back() {
        let shape = Shape::new(40, 50);
        let response = Image::from_fn(shape, |x, y| 1.0 - 0.004 * (x as f32) + 0.002 * (y as f32));
        let flat = response.map(|r| 20_000.0 * r);
        let correction = flat_correction(&flat, None).unwrap();
        let mut light = response.map(|r| 300.0 * r + 2.0 * 7.0 + 100.0);
        let (offset, current) = (vec![100.0; shape.len()], vec![7.0; shape.len()]);
        calibrate_rows(
            light.pixels_mut(),
            MasterRows {
                offset: Some(&offset),
                dark: Some(DarkRows { current: &current, scale: 2.0 }),
                inverse_flat: Some(correction.inverse.pixels()),
            },
        );
        let scale = light.at(25, 20);
        assert!((scale / 300.0 - 1.0).abs() < 0.1);
        assert!(light.pixels().iter().all(|v| (v / scale - 1.0).abs() < 1e-5));
    }

    #[test]
    fn a_flat_keeps_the_white_balance() {
        for cfa in CfaPattern::ALL {
            let balance = [0.5f32, 1.0, 0.8];
            let flat = Image::from_fn(Shape::new(33, 47), |x, y| {
                1000.0 * balance[cfa.colour_at(x, y).plane()] * (1.0 - 0.001 * x as f32)
            });
            let correction = flat_correction(&flat, Some(cfa)).unwrap();
            for y in 0..33 {
                for x in 0..47 {
                    let want = (1.0 - 0.001 * 23.0) / (1.0 - 0.001 * x as f32);
                    assert!((correction.inverse.at(x, y) - want).abs() < 2e-3, "{cfa:?} {x} {y}");
                }
            }
            assert!(correction.cold.is_empty());
        }
    }

    #[test]
    fn dead_and_mad_pixels_are_cold() {
        let mut flat = Image::filled(Shape::new(20, 20), 1000.0f32);
        for (x, value) in [(0, 0.0), (1, 99.0), (2, -5.0), (3, 10_001.0), (4, 101.0), (5, 9_900.0)]
        {
            flat.set(x, 3, value);
        }
        let correction = flat_correction(&flat, None).unwrap();
        assert_eq!(correction.cold, vec![60, 61, 62, 63]);
        assert_eq!(correction.inverse.at(0, 3), 1.0);
        assert_eq!(
            flat_correction(&Image::filled(Shape::new(4, 4), 0.0), None),
            Err(FlatError::NoLight { level: 0.0 })
        );
    }

    #[test]
    fn level_ignores_vignetting_and_dust_at_the_border() {
        let flat =
            Image::from_fn(
                Shape::new(400, 600),
                |x, y| {
                    if x < 100 || y > 330 { 10.0 } else { 5000.0 }
                },
            );
        assert_eq!(frame_level(&flat), 5000.0);
        assert_eq!(frame_level(&Image::filled(Shape::new(0, 0), 0.0)), 0.0);
    }
}
