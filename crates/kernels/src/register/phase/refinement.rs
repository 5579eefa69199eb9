//! Gauss-Newton on whole images.

use stillframe_image::{Image, Transform};

use super::reduced::Reduced;
use super::window::box_sums;
use super::{PhaseError, PhaseScratch};
use crate::register::ecc::{EccScratch, Limits, Moving, Template, Warp, align};
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

/// Part of the likeness that noise allows for, below which a result is not believed: seeing and a
/// partial overlap take some of it, a wrong place takes most.
const MIN_LIKENESS: f64 = 0.5;

/// Of the candidates and their transforms the one that makes the images most alike, with the
/// transform refined.
pub(super) fn most_alike<C: Copy>(
    reference: &Reduced,
    frame: &Reduced,
    candidates: &[(C, Transform)],
    warp: Warp,
    scratch: &mut PhaseScratch,
) -> Result<(C, Transform), PhaseError> {
    let mut best: Option<(C, Refined)> = None;
    for (candidate, ref_from_frame) in candidates {
        let Some(refined) = refine(reference, frame, ref_from_frame, warp, scratch) else {
            continue;
        };
        if best.as_ref().is_none_or(|b| refined.correlation > b.1.correlation) {
            best = Some((*candidate, refined));
        }
    }
    let Some((candidate, Refined { ref_from_frame, correlation, expected })) = best else {
        return Err(PhaseError::Unlike { correlation: 0.0, expected: 1.0 });
    };
    if correlation < MIN_LIKENESS * expected {
        return Err(PhaseError::Unlike { correlation, expected });
    }
    Ok((candidate, ref_from_frame))
}

/// Improves `ref_from_frame`. `None` if the images cannot be aligned from there.
pub(super) fn refine(
    reference: &Reduced,
    frame: &Reduced,
    ref_from_frame: &Transform,
    warp: Warp,
    scratch: &mut PhaseScratch,
) -> Option<Refined> {
    const LIMITS: Limits =
        Limits { max_iterations: 20, tolerance_px: 0.005, max_distance_px: 6.0, edge_px: 0.0 };
    let (r, light_r) = filtered(reference, 1.0, scratch).ok()?;
    // What is seen enlarged must be filtered in its own scale.
    let (moving, light_f) = filtered(frame, ref_from_frame.scale(), scratch).ok()?;
    let template = Template::new(r.image, r.valid);
    let start = ref_from_frame.inverse()?;
    let aligned = align(&template, &moving, start, warp, &LIMITS, &mut scratch.ecc).ok()?;
    Some(Refined {
        ref_from_frame: aligned.moving_from_template.inverse()?,
        correlation: likeness(&template.image, &mut scratch.ecc),
        expected: (light_r * light_f).sqrt(),
    })
}

/// Correlation coefficient of the template and the aligned image, both compressed: where one star
/// outshines all else, the rest shall have a say.
fn likeness(template: &Image<f32>, aligned: &mut EccScratch) -> f64 {
    let mut own = template.pixels().to_vec();
    compress(&mut own);
    compress(&mut aligned.warped);
    let (mut tt, mut mm, mut tm) = (0.0, 0.0, 0.0);
    for ((t, m), w) in own.iter().zip(&aligned.warped).zip(&aligned.valid) {
        tt += f64::from(w * t * t);
        mm += f64::from(w * m * m);
        tm += f64::from(w * t * m);
    }
    if tt > 0.0 && mm > 0.0 { tm / (tt * mm).sqrt() } else { 0.0 }
}

/// `x / √(1 + (x / s)²)` with s some times the scatter of the values.
fn compress(values: &mut [f32]) {
    const SCATTERS: f32 = 8.0;
    let mut sizes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    let middle = sizes.len() / 2;
    let scatter = 1.4826 * *sizes.select_nth_unstable_by(middle, f32::total_cmp).1;
    if scatter > 0.0 {
        for v in values {
            let u = *v / (SCATTERS * scatter);
            *v /= (1.0 + u * u).sqrt();
        }
    }
}

/// The band-passed image, and the part of its power that is not noise.
fn filtered(
    image: &Reduced,
    scale: f64,
    scratch: &mut PhaseScratch,
) -> Result<(Moving, f64), PhaseError> {
    let filter = BandPass::new(NARROW_PX / scale, WIDE_PX / scale);
    let whole = image.frame("")?;
    let mut band = Image::filled(image.image.shape(), 0.0);
    filter.run(whole.pixels(), &mut band, &mut scratch.filter);
    let mut valid = trusted(image, (WIDE_PX / scale).ceil() as usize);
    clear_border(&mut valid, (2.0 * WIDE_PX / scale).ceil() as usize);
    let mut compressed = band.pixels().to_vec();
    compress(&mut compressed);
    let (mut power, mut n) = (0.0, 0.0);
    for (v, ok) in compressed.iter().zip(valid.pixels()) {
        power += f64::from(v * v * ok);
        n += f64::from(*ok);
    }
    let noise = noise_variance(whole.pixels()) * filter.noise_gain();
    let light = if power > 0.0 { (1.0 - noise * n / power).clamp(0.0, 1.0) } else { 0.0 };
    Ok((Moving { image: band, valid }, light))
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

/// 1 at good pixels within whose surroundings of `radius` at most a tenth is missing: a lost pixel
/// is replaced well by its neighbours, a lost region is not.
fn trusted(image: &Reduced, radius: usize) -> Image<f32> {
    const MAX_MISSING: f64 = 0.1;
    let missing: Vec<f64> =
        image.mask.pixels().iter().map(|m| f64::from(u8::from(*m != 0))).collect();
    let around = box_sums(&missing, image.mask.shape(), radius);
    let area = ((2 * radius + 1) * (2 * radius + 1)) as f64;
    let is_trusted = |(m, sum): (&f64, f64)| *m == 0.0 && sum <= MAX_MISSING * area;
    let valid = missing.iter().zip(around).map(is_trusted).map(|ok| f32::from(u8::from(ok)));
    Image::from_vec(image.mask.shape(), valid.collect())
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
