//! Groups of pixels on which the fast kernels work.
//!
//! Every operation is lane by lane, so that the width of the machine's registers changes no bit.

use bytemuck::{Pod, Zeroable};

/// Pixels that are processed together.
pub(crate) const LANES: usize = 16;

/// The pixels of a group, anywhere in memory.
pub(crate) type Group = [f32; LANES];

/// A group on a boundary of 64 bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Lanes(pub(crate) Group);

/// The groups of a slice whose length is a multiple of [`LANES`].
#[inline(always)]
pub(crate) fn groups(values: &[f32]) -> &[Group] {
    values.as_chunks().0
}

/// The groups of a slice whose length is a multiple of [`LANES`].
#[inline(always)]
pub(crate) fn groups_mut(values: &mut [f32]) -> &mut [Group] {
    values.as_chunks_mut().0
}

/// `x^y` to about 5e-7 of its value, for x from 1e-30 to 1e30 and results in the
/// same range.
///
/// # Source
/// The exponent of x, and minimax polynomials of degree 7 for `log2(m) / (m - 1)` on [√½, √2]
/// (relative error 1.7e-7) and of degree 5 for `2^f` on [-½, ½] (7.5e-8), fitted for this function.
#[inline(always)]
pub(crate) fn power(x: f32, y: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    const LOG: [f32; 8] = [
        1.442_694_9,
        -0.721_352_8,
        0.480_923_24,
        -0.360_239_62,
        0.287_098_74,
        -0.248_876_96,
        0.234_042_08,
        -0.145_811_01,
    ];
    const EXP: [f32; 6] =
        [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_135, 0.009_675_541, 0.001_327_647];
    // Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(SQRT_HALF) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((exponent << 23) as u32));
    let f = m - 1.0;
    // Pairs first (Estrin): half the latency of Horner's scheme.
    let f2 = f * f;
    let f4 = f2 * f2;
    let low = (LOG[0] + LOG[1] * f) + (LOG[2] + LOG[3] * f) * f2;
    let high = (LOG[4] + LOG[5] * f) + (LOG[6] + LOG[7] * f) * f2;
    let p = low + high * f4;
    let z = y * (exponent as f32 + f * p);
    let shifted = z + ROUND;
    let whole = shifted - ROUND;
    let f = z - whole;
    let f2 = f * f;
    let low = (EXP[0] + EXP[1] * f) + (EXP[2] + EXP[3] * f) * f2;
    let p = low + (EXP[4] + EXP[5] * f) * (f2 * f2);
    // The low bits of `shifted` are the whole number.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    p * scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn power_is_the_power(exponent in -28.0f64..28.0, y in -1.0f32..1.0) {
            let x = 10f64.powf(exponent) as f32;
            let got = power(x, y);
            let want = f64::from(x).powf(f64::from(y));
            prop_assert!((f64::from(got) / want - 1.0).abs() < 6e-6, "{x}^{y}: {got} {want}");
        }
    }

    #[test]
    fn the_robust_weight_is_exact_to_the_last_digits() {
        for i in 0..2000 {
            let x = 1e-5 * 1.01f32.powi(i);
            let want = f64::from(x).powf(-0.55);
            let got = f64::from(power(x, -0.55));
            assert!((got / want - 1.0).abs() < 1e-6, "{x}: {got} {want}");
        }
    }
}
