//! Gauss-Newton on whole images.

use stillframe_image::{Image, Transform};

use super::PhaseScratch;
use super::reduced::Reduced;
use crate::register::ecc::{Limits, Moving, Template, Warp, align};
use crate::register::filter::BandPass;

/// Band that is compared, pixels of the reference.
const NARROW_PX: f64 = 1.0;
const WIDE_PX: f64 = 6.0;

/// A refined transform and how alike it makes the images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refined {
    pub(super) ref_from_frame: Transform,
    /// Correlation coefficient.
    pub(super) correlation: f64,
    /// What it would be if the images differed by their noise alone.
    pub(super) expected: f64,
}

/// Improves `ref_from_frame`. `None` if the images cannot be aligned from there.
pub(super) fn refine(
    reference: &Reduced,
    frame: &Reduced,
    ref_from_frame: &Transform,
    scratch: &mut PhaseScratch,
) -> Option<Refined> {
    const LIMITS: Limits =
        Limits { max_iterations: 20, tolerance_px: 0.005, max_distance_px: 6.0, edge_px: 0.0 };
    let (r, light_r) = filtered(reference, 1.0, scratch);
    // What is seen enlarged must be filtered in its own scale.
    let (moving, light_f) = filtered(frame, ref_from_frame.scale(), scratch);
    let template = Template::new(r.image, r.valid);
    let start = ref_from_frame.inverse()?;
    let aligned =
        align(&template, &moving, start, Warp::Similarity, &LIMITS, &mut scratch.ecc).ok()?;
    Some(Refined {
        ref_from_frame: aligned.moving_from_template.inverse()?,
        correlation: aligned.cc,
        expected: (light_r * light_f).sqrt(),
    })
}

/// The band-passed image, and the part of its power that is not noise.
fn filtered(image: &Reduced, scale: f64, scratch: &mut PhaseScratch) -> (Moving, f64) {
    let filter = BandPass::new(NARROW_PX / scale, WIDE_PX / scale);
    let mut filled = image.image.clone();
    let mut valid = Image::filled(filled.shape(), 1.0f32);
    let good = || image.image.pixels().iter().zip(image.mask.pixels()).filter(|(_, m)| **m == 0);
    let mean = good().map(|(v, _)| f64::from(*v)).sum::<f64>() / good().count().max(1) as f64;
    let pixels = filled.pixels_mut().iter_mut().zip(valid.pixels_mut());
    for ((v, ok), m) in pixels.zip(image.mask.pixels()) {
        if *m != 0 {
            (*v, *ok) = (mean as f32, 0.0);
        }
    }
    let mut band = Image::filled(filled.shape(), 0.0);
    filter.run(&filled, &mut band, &mut scratch.filter);
    clear_border(&mut valid, (2.0 * WIDE_PX / scale).ceil() as usize);
    let (mut power, mut n) = (0.0, 0.0);
    for (v, ok) in band.pixels().iter().zip(valid.pixels()) {
        power += f64::from(v * v * ok);
        n += f64::from(*ok);
    }
    let noise = noise_variance(&filled) * filter.noise_gain();
    let light = if power > 0.0 { (1.0 - noise * n / power).clamp(0.0, 1.0) } else { 0.0 };
    (Moving { image: band, valid }, light)
}

/// Variance of what differs from pixel to pixel: from the median second difference along the rows,
/// whose variance is 6 times the noise's.
fn noise_variance(image: &Image<f32>) -> f64 {
    let mut bends: Vec<f32> = Vec::with_capacity(image.shape().len());
    for y in 0..image.height() {
        bends.extend(image.row(y).windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()));
    }
    if bends.is_empty() {
        return 0.0;
    }
    let middle = bends.len() / 2;
    let median = f64::from(*bends.select_nth_unstable_by(middle, f32::total_cmp).1);
    1.4826 * 1.4826 * median * median / 6.0
}

/// Near the border the filter knows only one side: what it says there is not that of the same place
/// within the other image. No more than an eighth of a side is given up.
fn clear_border(valid: &mut Image<f32>, reach: usize) {
    let shape = valid.shape();
    let (rx, ry) = (reach.min(shape.width / 8), reach.min(shape.height / 8));
    for y in 0..shape.height {
        let row = valid.row_mut(y);
        if y < ry || y >= shape.height - ry {
            row.fill(0.0);
        } else {
            row[..rx].fill(0.0);
            row[shape.width - rx..].fill(0.0);
        }
    }
}
