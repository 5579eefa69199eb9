//! Interpolation kernels and their weight tables.

use serde::{Deserialize, Serialize};
use stillframe_image::math;

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarpKernel {
    /// The value of the nearest pixel; for masks and looks into data, not for stacking.
    Nearest,
    /// 2×2 pixels; blurs and correlates noise.
    Bilinear,
    /// 4×4 pixels, the cubic convolution of Keys (1981), doi:10.1109/TASSP.1981.1163711, with
    /// a = -1/2 (also known as Catmull-Rom).
    Bicubic,
    /// 6×6 pixels, sinc(x)·sinc(x/3); Duchon (1979),
    /// doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2. We differ: the six weights are not only
    /// scaled to the sum 1 but changed, by a cubic polynomial under a cos² window, so that
    /// polynomials up to the third degree are kept. Plain Lanczos-3 moves features by up to
    /// 0.02 px, depending on the phase; sharpness and noise stay the same.
    #[default]
    Lanczos3,
}

impl WarpKernel {
    /// Number of pixels along one axis that a sample is made of.
    pub const fn taps(self) -> usize {
        match self {
            Self::Nearest => 1,
            Self::Bilinear => 2,
            Self::Bicubic => 4,
            Self::Lanczos3 => 6,
        }
    }

    /// Distance in whole pixels from a position within which all pixels lie that a sample there
    /// is made of.
    pub const fn halo(self) -> usize {
        match self {
            Self::Nearest | Self::Bilinear => 1,
            Self::Bicubic => 2,
            Self::Lanczos3 => 3,
        }
    }

    /// Weights of the pixels `floor(x) - taps/2 + 1 ..` of a position whose fraction is `t` in
    /// [0, 1]; they sum to 1, and are exactly one 1 and zeros where `t` is 0 or 1.
    pub(crate) fn weights(self, t: f64) -> [f64; MAX_TAPS] {
        let mut w = [0.0; MAX_TAPS];
        match self {
            Self::Nearest => w[0] = 1.0,
            Self::Bilinear => w[..2].copy_from_slice(&[1.0 - t, t]),
            Self::Bicubic => {
                let s = 1.0 - t;
                w[0] = -0.5 * t * s * s;
                w[1] = 1.0 + t * t * (1.5 * t - 2.5);
                w[2] = 1.0 + s * s * (1.5 * s - 2.5);
                w[3] = -0.5 * s * t * t;
            }
            Self::Lanczos3 => {
                if t == 0.0 || t == 1.0 {
                    w[if t == 0.0 { 2 } else { 3 }] = 1.0;
                    return w;
                }
                for (k, w) in w[..6].iter_mut().enumerate() {
                    let x = std::f64::consts::PI * (t + 2.0 - k as f64);
                    *w = 3.0 * math::sin(x) * math::sin(x / 3.0) / (x * x);
                }
                keep_cubics(&mut w, t);
            }
        }
        w
    }
}

/// Changes the six weights of a position of fraction `t` so that they sum to 1 and their first
/// three moments about the position are 0: adds a cubic polynomial times cos²(πx/6).
fn keep_cubics(w: &mut [f64; 6], t: f64) {
    let x = [0, 1, 2, 3, 4, 5].map(|k| t + 2.0 - f64::from(k));
    let window = x.map(|x| math::cos(std::f64::consts::PI * x / 6.0).powi(2));
    let power = |x: f64, n: usize| (0..n).fold(1.0, |p, _| p * x);
    // the normal equations: rows are moments, the last column what is missing
    let mut rows = [[0.0; 5]; 4];
    for (i, row) in rows.iter_mut().enumerate() {
        row[4] = if i == 0 { 1.0 } else { 0.0 };
        for k in 0..6 {
            row[4] -= w[k] * power(x[k], i);
            for (j, m) in row[..4].iter_mut().enumerate() {
                *m += window[k] * power(x[k], i + j);
            }
        }
    }
    for pivot in 0..4 {
        for i in 0..4 {
            if i != pivot {
                let factor = rows[i][pivot] / rows[pivot][pivot];
                for j in pivot..5 {
                    rows[i][j] -= factor * rows[pivot][j];
                }
            }
        }
    }
    for k in 0..6 {
        let correction = |i: usize| rows[i][4] / rows[i][i] * power(x[k], i);
        w[k] += window[k] * (0..4).map(correction).sum::<f64>();
    }
}

/// Most taps along one axis.
pub(crate) const MAX_TAPS: usize = 6;

/// Phases per pixel of the weight tables. Weights between two phases are interpolated linearly:
/// the error is at most max|w''| / (8 · 512²) < 1e-5.
pub(crate) const PHASES: usize = 512;

/// The weights of a kernel at all phases, padded with zeros to `LANES`.
pub(crate) fn table<const LANES: usize>(kernel: WarpKernel) -> Vec<[f32; LANES]> {
    // one more: a fraction that rounds up to a whole phase may ask for the next
    (0..=PHASES + 1)
        .map(|phase| {
            let w = kernel.weights(phase.min(PHASES) as f64 / PHASES as f64);
            let mut lanes = [0.0; LANES];
            for (lane, w) in lanes.iter_mut().zip(w) {
                *lane = w as f32;
            }
            lanes
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [WarpKernel; 3] = [WarpKernel::Bilinear, WarpKernel::Bicubic, WarpKernel::Lanczos3];

    #[test]
    fn weights_sum_to_one_and_mirror() {
        for kernel in ALL {
            for i in 0..=1000 {
                let t = f64::from(i) / 1000.0;
                let w = kernel.weights(t);
                let v = kernel.weights(1.0 - t);
                assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                for k in 0..kernel.taps() {
                    assert!((w[k] - v[kernel.taps() - 1 - k]).abs() < 1e-12, "{kernel:?} {t}");
                }
            }
        }
    }

    #[test]
    fn whole_positions_take_one_pixel() {
        for kernel in ALL {
            for t in [0.0, 1.0] {
                let mut w = kernel.weights(t).to_vec();
                w.sort_by(f64::total_cmp);
                assert_eq!(w.pop(), Some(1.0));
                assert!(w.iter().all(|&w| w == 0.0));
            }
        }
    }

    #[test]
    fn interpolated_table_is_the_kernel_to_1e5() {
        for kernel in ALL {
            let table = table::<8>(kernel);
            for i in 0..5000 {
                let u = (f64::from(i) + 0.37) / 5000.0 * PHASES as f64;
                let (phase, f) = (u.floor() as usize, u.fract() as f32);
                let exact = kernel.weights(u / PHASES as f64);
                for k in 0..kernel.taps() {
                    let (a, b) = (table[phase][k], table[phase + 1][k]);
                    assert!((f64::from(a + f * (b - a)) - exact[k]).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn polynomials_are_kept_to_the_degree_that_is_promised() {
        for (kernel, degree) in ALL.into_iter().zip([1, 2, 3]) {
            for i in 1..100 {
                let t = f64::from(i) / 100.0;
                let w = kernel.weights(t);
                let first = (kernel.taps() / 2) as f64 - 1.0;
                for power in 0..=degree {
                    let values = (0..kernel.taps()).map(|k| w[k] * (k as f64 - first).powi(power));
                    let (got, want) = (values.sum::<f64>(), t.powi(power));
                    assert!((got - want).abs() < 1e-12, "{kernel:?} {t} {power}: {got}");
                }
            }
        }
    }

    #[test]
    fn corrected_lanczos_is_lanczos_to_2_percent() {
        for i in 1..100 {
            let t = f64::from(i) / 100.0;
            let w = WarpKernel::Lanczos3.weights(t);
            for (k, w) in w.iter().enumerate() {
                let x = std::f64::consts::PI * (t + 2.0 - k as f64);
                let plain = 3.0 * x.sin() * (x / 3.0).sin() / (x * x);
                assert!((w - plain).abs() < 0.02, "{t} {k}: {w} {plain}");
            }
        }
    }
}
