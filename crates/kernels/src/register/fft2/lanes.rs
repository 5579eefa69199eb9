//! Eight complex transforms of one length, side by side.
#![allow(
    clippy::inline_always,
    reason = "a part that is not inlined is not compiled for the wider instructions"
)]

use multiversion::multiversion;
use stillframe_image::math;

/// Transforms that run side by side.
pub(super) const LANES: usize = 8;
/// One number of each transform.
pub(super) type Lane = [f32; LANES];

/// One factor of the length.
#[derive(Clone, Debug)]
struct Pass {
    radix: usize,
    /// Product of the factors before this one.
    stride: usize,
    /// What is left of the length after this one.
    rest: usize,
    /// For each `p < rest` the powers 1 to `radix − 1` of `exp(−2πi p / (radix · rest))`.
    twiddles: Vec<[f32; 2]>,
}

/// Plan and buffers.
#[derive(Clone, Debug)]
pub(super) struct LaneFft {
    passes: Vec<Pass>,
    re: [Vec<Lane>; 2],
    im: [Vec<Lane>; 2],
}

impl LaneFft {
    /// For `len` = `2^a 3^b 5^c`.
    pub(super) fn new(len: usize) -> Self {
        let mut passes = Vec::new();
        let (mut stride, mut left) = (1, len);
        while left > 1 {
            let radix = [4, 2, 3, 5].into_iter().find(|r| left % r == 0);
            let radix = radix.expect("lengths are made by fast_len");
            let rest = left / radix;
            let twiddle = |p: usize, j: usize| {
                let angle = -std::f64::consts::TAU * (p * j % left) as f64 / left as f64;
                [math::cos(angle) as f32, math::sin(angle) as f32]
            };
            let twiddles = (0..rest).flat_map(|p| (1..radix).map(move |j| twiddle(p, j))).collect();
            passes.push(Pass { radix, stride, rest, twiddles });
            stride *= radix;
            left = rest;
        }
        let buffer = || [vec![[0.0; LANES]; len], vec![[0.0; LANES]; len]];
        Self { passes, re: buffer(), im: buffer() }
    }

    /// Where the numbers to transform are put: real and imaginary parts.
    pub(super) fn input(&mut self) -> (&mut [Lane], &mut [Lane]) {
        (&mut self.re[0], &mut self.im[0])
    }

    /// Transforms, and returns the real and the imaginary parts.
    pub(super) fn run(&mut self) -> (&[Lane], &[Lane]) {
        for pass in &self.passes {
            let [from_re, to_re] = &mut self.re;
            let [from_im, to_im] = &mut self.im;
            run_pass(pass, [from_re, from_im], [to_re, to_im]);
            self.re.swap(0, 1);
            self.im.swap(0, 1);
        }
        (&self.re[0], &self.im[0])
    }
}

/// # Source
/// Stockham's self-sorting transform, as in Van Loan (1992), doi:10.1137/1.9781611970999, §1.7.
#[multiversion(targets("x86_64+avx2"))]
fn run_pass(pass: &Pass, from: [&[Lane]; 2], to: [&mut [Lane]; 2]) {
    let [re, im] = from;
    let [to_re, to_im] = to;
    match pass.radix {
        2 => butterflies::<2>(pass, re, im, to_re, to_im, radix2),
        3 => butterflies::<3>(pass, re, im, to_re, to_im, radix3),
        4 => butterflies::<4>(pass, re, im, to_re, to_im, radix4),
        _ => butterflies::<5>(pass, re, im, to_re, to_im, radix5),
    }
}

/// Real and imaginary parts.
type Complex = (Lane, Lane);

#[inline(always)]
fn butterflies<const R: usize>(
    pass: &Pass,
    re: &[Lane],
    im: &[Lane],
    to_re: &mut [Lane],
    to_im: &mut [Lane],
    butterfly: impl Fn([Complex; R]) -> [Complex; R],
) {
    let (s, m) = (pass.stride, pass.rest);
    for (p, twiddles) in pass.twiddles.chunks_exact(R - 1).enumerate() {
        for q in 0..s {
            let mut values = [([0.0; LANES], [0.0; LANES]); R];
            for (i, v) in values.iter_mut().enumerate() {
                let at = q + s * (p + i * m);
                *v = (re[at], im[at]);
            }
            let values = butterfly(values);
            for (j, v) in values.into_iter().enumerate() {
                let v = if j == 0 { v } else { turned(v, twiddles[j - 1]) };
                let at = q + s * (R * p + j);
                to_re[at] = v.0;
                to_im[at] = v.1;
            }
        }
    }
}

#[inline(always)]
fn zip(a: Lane, b: Lane, f: impl Fn(f32, f32) -> f32) -> Lane {
    let mut out = a;
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

#[inline(always)]
fn add(a: Complex, b: Complex) -> Complex {
    (zip(a.0, b.0, |x, y| x + y), zip(a.1, b.1, |x, y| x + y))
}

#[inline(always)]
fn sub(a: Complex, b: Complex) -> Complex {
    (zip(a.0, b.0, |x, y| x - y), zip(a.1, b.1, |x, y| x - y))
}

/// a + f b for a real f.
#[inline(always)]
fn add_scaled(a: Complex, f: f32, b: Complex) -> Complex {
    (zip(a.0, b.0, |x, y| x + f * y), zip(a.1, b.1, |x, y| x + f * y))
}

#[inline(always)]
fn turned(a: Complex, [c, s]: [f32; 2]) -> Complex {
    (zip(a.0, a.1, |x, y| x * c - y * s), zip(a.0, a.1, |x, y| x * s + y * c))
}

/// a − i f b for a real f.
#[inline(always)]
fn minus_i(a: Complex, f: f32, b: Complex) -> Complex {
    (zip(a.0, b.1, |x, y| x + f * y), zip(a.1, b.0, |x, y| x - f * y))
}

#[inline(always)]
fn radix2([a, b]: [Complex; 2]) -> [Complex; 2] {
    [add(a, b), sub(a, b)]
}

#[inline(always)]
fn radix3([a, b, c]: [Complex; 3]) -> [Complex; 3] {
    /// sin 60°.
    const S: f32 = 0.866_025_4;
    let sum = add(b, c);
    let middle = add_scaled(a, -0.5, sum);
    let side = sub(b, c);
    [add(a, sum), minus_i(middle, S, side), minus_i(middle, -S, side)]
}

#[inline(always)]
fn radix4([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (ac, bd) = (add(a, c), add(b, d));
    let (across, side) = (sub(a, c), sub(b, d));
    [add(ac, bd), minus_i(across, 1.0, side), sub(ac, bd), minus_i(across, -1.0, side)]
}

#[inline(always)]
fn radix5([a, b, c, d, e]: [Complex; 5]) -> [Complex; 5] {
    /// cos 72°, cos 144°, sin 72°, sin 144°.
    const C1: f32 = 0.309_017;
    const C2: f32 = -0.809_017;
    const S1: f32 = 0.951_056_54;
    const S2: f32 = 0.587_785_25;
    let (be, cd) = (add(b, e), add(c, d));
    let (b_e, c_d) = (sub(b, e), sub(c, d));
    let near = add_scaled(add_scaled(a, C1, be), C2, cd);
    let far = add_scaled(add_scaled(a, C2, be), C1, cd);
    [
        add(a, add(be, cd)),
        minus_i(minus_i(near, S1, b_e), S2, c_d),
        minus_i(minus_i(far, S2, b_e), -S1, c_d),
        minus_i(minus_i(far, -S2, b_e), S1, c_d),
        minus_i(minus_i(near, -S1, b_e), -S2, c_d),
    ]
}
