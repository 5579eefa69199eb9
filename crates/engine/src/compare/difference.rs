//! How far two planes are apart.

use serde::Serialize;
use stillframe_image::{Image, mask, math, sum_fixed_f64};

/// Column and row of a pixel, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PixelPosition {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
}

/// How far two planes of the same shape are apart. A pixel that is missing in both is equal, one
/// that is missing in one is counted and takes no part in the figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaneDifference {
    /// Pixels that both have.
    pub n_common: usize,
    /// Pixels that both have, with different values (−0 equals 0).
    pub n_different: usize,
    /// Pixels that are missing in the second plane only.
    pub n_only_in_a: usize,
    /// Pixels that are missing in the first plane only.
    pub n_only_in_b: usize,
    /// The first pixel, row by row, that is not equal.
    pub first_at: Option<PixelPosition>,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// The first pixel, row by row, with the largest absolute difference, if there is a difference.
    pub max_at: Option<PixelPosition>,
    /// Mean of b − a.
    pub mean: f64,
    /// Root mean square of b − a.
    pub rms: f64,
    /// Peak signal-to-noise ratio in decibels, 20 log10(range of a / rms); `None` if nothing differs
    /// or a is constant.
    pub psnr_db: Option<f64>,
}

impl PlaneDifference {
    /// The difference of `b` from `a`, each a plane and its mask. O(n), one row of scratch.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn of(a: (&Image<f32>, &Image<u8>), b: (&Image<f32>, &Image<u8>)) -> Self {
        let shape = a.0.shape();
        assert!([a.1.shape(), b.0.shape(), b.1.shape()] == [shape; 3], "planes of one shape");
        let mut total = Self {
            n_common: 0,
            n_different: 0,
            n_only_in_a: 0,
            n_only_in_b: 0,
            first_at: None,
            max_abs: 0.0,
            max_at: None,
            mean: 0.0,
            rms: 0.0,
            psnr_db: None,
        };
        let (mut sums, mut squares) = (Vec::new(), Vec::new());
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut row = Vec::with_capacity(shape.width);
        for y in 0..shape.height {
            row.clear();
            for x in 0..shape.width {
                let has = |m: &Image<u8>| m.row(y)[x] & mask::NO_DATA == 0;
                let unequal = match (has(a.1), has(b.1)) {
                    (false, false) => false,
                    (true, false) => {
                        total.n_only_in_a += 1;
                        true
                    }
                    (false, true) => {
                        total.n_only_in_b += 1;
                        true
                    }
                    (true, true) => {
                        let (va, vb) = (f64::from(a.0.row(y)[x]), f64::from(b.0.row(y)[x]));
                        (low, high) = (low.min(va), high.max(va));
                        let difference = vb - va;
                        row.push(difference);
                        if difference.abs() > total.max_abs {
                            total.max_abs = difference.abs();
                            total.max_at = Some(PixelPosition { x, y });
                        }
                        total.n_different += usize::from(difference != 0.0);
                        difference != 0.0
                    }
                };
                if unequal && total.first_at.is_none() {
                    total.first_at = Some(PixelPosition { x, y });
                }
            }
            total.n_common += row.len();
            sums.push(sum_fixed_f64(&row));
            for d in &mut row {
                *d *= *d;
            }
            squares.push(sum_fixed_f64(&row));
        }
        if total.n_common > 0 {
            total.mean = sum_fixed_f64(&sums) / total.n_common as f64;
            total.rms = (sum_fixed_f64(&squares) / total.n_common as f64).sqrt();
        }
        if total.rms > 0.0 && high > low {
            total.psnr_db = Some(20.0 * math::log10((high - low) / total.rms));
        }
        total
    }

    /// Whether every pixel is equal.
    pub fn is_identical(&self) -> bool {
        self.first_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;

    fn plane(values: &[f32]) -> (Image<f32>, Image<u8>) {
        let shape = Shape::new(2, values.len() / 2);
        let pixels = values.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
        let missing = values.iter().map(|v| u8::from(v.is_nan()) * mask::NO_DATA).collect();
        (Image::from_vec(shape, pixels), Image::from_vec(shape, missing))
    }

    fn difference(a: &[f32], b: &[f32]) -> PlaneDifference {
        let (a, b) = (plane(a), plane(b));
        PlaneDifference::of((&a.0, &a.1), (&b.0, &b.1))
    }

    #[test]
    fn a_plane_is_identical_to_itself() {
        let d = difference(&[1.0, 2.0, f32::NAN, -3.0], &[1.0, 2.0, f32::NAN, -3.0]);
        assert!(d.is_identical());
        assert_eq!((d.n_common, d.rms, d.psnr_db), (3, 0.0, None));
    }

    #[test]
    fn figures_are_those_of_the_definition() {
        let d = difference(&[0.0, 10.0, 0.0, 0.0], &[0.0, 10.0, 3.0, -4.0]);
        assert_eq!((d.n_common, d.n_different), (4, 2));
        assert_eq!(d.first_at, Some(PixelPosition { x: 0, y: 1 }));
        assert_eq!((d.max_abs, d.max_at), (4.0, Some(PixelPosition { x: 1, y: 1 })));
        assert_eq!((d.mean, d.rms), (-0.25, 2.5));
        assert!((d.psnr_db.unwrap() - 20.0 * 4.0f64.log10()).abs() < 1e-12);
    }

    #[test]
    fn a_pixel_missing_in_one_is_a_difference() {
        let d = difference(&[1.0, f32::NAN, 5.0, 5.0], &[f32::NAN, 2.0, 5.0, 5.0]);
        assert!(!d.is_identical());
        assert_eq!((d.n_only_in_a, d.n_only_in_b, d.n_different, d.n_common), (1, 1, 0, 2));
        assert_eq!((d.max_abs, d.max_at), (0.0, None));
    }

    #[test]
    fn nothing_in_common_gives_no_figures() {
        let d = difference(&[f32::NAN; 4], &[1.0; 4]);
        assert_eq!((d.n_common, d.rms, d.mean, d.psnr_db), (0, 0.0, 0.0, None));
    }
}
