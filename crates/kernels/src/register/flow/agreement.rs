//! How well a frame agrees with the reference, and how much of it comes from inside the frame.

use stillframe_image::Shape;

use super::FlowField;

/// How alike two planes are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Pixels that were compared.
    pub n: usize,
    /// Pearson's correlation coefficient; `None` if a plane is constant or there is no pixel.
    pub correlation: Option<f64>,
    /// Root mean square of the difference.
    pub rms: f64,
}

const LANES: usize = 16;
const BLOCK: usize = 4096;

/// Compares the pixels of two planes where `mask` (1 or 0; `None`: everywhere) is 1. Sums have a
/// fixed shape: 16 lanes per block of 4096.
///
/// # Panics
/// If the planes or the mask differ in length.
pub fn agreement(a: &[f32], b: &[f32], mask: Option<&[f32]>) -> Agreement {
    assert!(a.len() == b.len() && mask.is_none_or(|m| m.len() == a.len()));
    // Sums about a typical value lose no digits to the level of the sensor.
    let level = a.get(a.len() / 2).copied().unwrap_or(0.0);
    let ones = [1.0f32; BLOCK];
    let mut sums = [0.0f64; 6];
    for start in (0..a.len()).step_by(BLOCK) {
        let range = start..(start + BLOCK).min(a.len());
        let mask = mask.map_or(&ones[..range.len()], |m| &m[range.clone()]);
        let block = block_sums(&a[range.clone()], &b[range], mask, level);
        for (sum, part) in sums.iter_mut().zip(block) {
            *sum += part;
        }
    }
    let [n, sa, sb, saa, sbb, sab] = sums;
    if n == 0.0 {
        return Agreement::default();
    }
    let (va, vb, cov) = (saa - sa * sa / n, sbb - sb * sb / n, sab - sa * sb / n);
    // Less than rounding leaves of a constant.
    let is_constant = |variance: f64, squares: f64| variance <= 1e-12 * squares;
    let correlation = (!is_constant(va, saa) && !is_constant(vb, sbb))
        .then(|| (cov / (va.sqrt() * vb.sqrt())).clamp(-1.0, 1.0));
    let rms = ((saa + sbb - 2.0 * sab).max(0.0) / n).sqrt();
    Agreement { n: n as usize, correlation, rms }
}

/// Sums over the masked pixels of 1, a, b, a², b², ab, with a and b relative to `level`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn block_sums(a: &[f32], b: &[f32], mask: &[f32], level: f32) -> [f64; 6] {
    let mut lanes = [[0.0f64; LANES]; 6];
    let groups = a.chunks(LANES).zip(b.chunks(LANES)).zip(mask.chunks(LANES));
    for ((a, b), m) in groups {
        let (mut ga, mut gb, mut gm) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        ga[..a.len()].copy_from_slice(a);
        gb[..b.len()].copy_from_slice(b);
        gm[..m.len()].copy_from_slice(m);
        for l in 0..LANES {
            let m = f64::from(gm[l]);
            let a = m * f64::from(ga[l] - level);
            let b = m * f64::from(gb[l] - level);
            lanes[0][l] += m;
            lanes[1][l] += a;
            lanes[2][l] += b;
            lanes[3][l] += a * a;
            lanes[4][l] += b * b;
            lanes[5][l] += a * b;
        }
    }
    lanes.map(|lane| lane.iter().sum())
}

/// Writes 1 to `mask` where the frame is sampled inside itself (see [`FlowField::valid`]) and 0
/// elsewhere; the number of ones.
///
/// # Panics
/// If `mask` does not have the pixels of the field.
pub fn inside(field: &FlowField, mask: &mut [f32]) -> usize {
    let shape = field.u.shape();
    assert_eq!(mask.len(), shape.len());
    mark_inside(shape, field.u.pixels(), field.v.pixels(), mask)
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn mark_inside(shape: Shape, u: &[f32], v: &[f32], mask: &mut [f32]) -> usize {
    let Shape { height, width } = shape;
    let (right, low) = (width as f32, height as f32);
    let mut n = 0usize;
    let rows = mask.chunks_exact_mut(width).zip(u.chunks_exact(width).zip(v.chunks_exact(width)));
    for (y, (mask, (u, v))) in rows.enumerate() {
        let mut ones = 0u32;
        for x in 0..width {
            let (px, py) = (x as f32 + u[x], y as f32 + v[x]);
            let is_inside = px >= 0.0 && py >= 0.0 && px < right && py < low;
            mask[x] = if is_inside { 1.0 } else { 0.0 };
            ones += u32::from(is_inside);
        }
        n += ones as usize;
    }
    n
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Image, Rng};

    use super::*;

    #[test]
    fn correlation_and_difference_are_those_of_the_definition() {
        let mut rng = Rng::new(3, 0, 0);
        let a: Vec<f32> = (0..10_007).map(|_| 60_000.0 + 30.0 * rng.normal() as f32).collect();
        let b: Vec<f32> = a.iter().map(|v| v + 40.0 * rng.normal() as f32).collect();
        let mask: Vec<f32> = a.iter().map(|_| f32::from(rng.uniform() < 0.7)).collect();
        let got = agreement(&a, &b, Some(&mask));
        let kept: Vec<(f64, f64)> = (0..a.len())
            .filter(|&i| mask[i] > 0.0)
            .map(|i| (f64::from(a[i]), f64::from(b[i])))
            .collect();
        let n = kept.len() as f64;
        let (ma, mb) =
            (kept.iter().map(|p| p.0).sum::<f64>() / n, kept.iter().map(|p| p.1).sum::<f64>() / n);
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            kept.iter().map(|p| f(p.0 - ma, p.1 - mb)).sum()
        };
        let want = sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
        assert_eq!(got.n, kept.len());
        assert!((got.correlation.unwrap() - want).abs() < 1e-9);
        let rms = (kept.iter().map(|p| (p.0 - p.1).powi(2)).sum::<f64>() / n).sqrt();
        assert!((got.rms - rms).abs() < 1e-6);
    }

    #[test]
    fn constants_have_no_correlation() {
        let a = vec![70_000.1f32; 5000];
        assert_eq!(agreement(&a, &a, None).correlation, None);
        assert_eq!(agreement(&[], &[], None), Agreement::default());
    }

    #[test]
    fn the_mask_is_that_of_the_field() {
        let shape = Shape::new(37, 53);
        let mut rng = Rng::new(5, 0, 0);
        let mut field = FlowField::zero(shape);
        for plane in [&mut field.u, &mut field.v] {
            plane.pixels_mut().iter_mut().for_each(|p| *p = 9.0 * rng.normal() as f32);
        }
        let mut mask = Image::filled(shape, 0.0f32);
        let n = inside(&field, mask.pixels_mut());
        let valid = field.valid();
        assert_eq!(mask.map(|m| if m > 0.0 { 255 } else { 0 }), valid);
        assert_eq!(255 * n, valid.pixels().iter().map(|&v| usize::from(v)).sum::<usize>());
    }
}
