//! The maximum of a correlation between the pixels.

use stillframe_image::{Shape, Vec2, math};

use super::correlation::Frequencies;
use crate::register::fft2::Spectrum;

/// The correlation as a function of a continuous shift: `Σ W(k) exp(2πi k·s)`.
pub(super) struct Polynomial<'a> {
    pub(super) cross: &'a Spectrum,
    pub(super) shape: Shape,
}

/// Value, gradient and second derivatives xx, xy, yy.
struct Expansion {
    value: f64,
    gradient: [f64; 2],
    bend: [f64; 3],
}

impl Polynomial<'_> {
    fn expand(&self, s: Vec2) -> Expansion {
        let frequencies = Frequencies { shape: self.shape };
        let columns = self.shape.width / 2 + 1;
        let turn = |f: f64, s: f64| {
            let angle = std::f64::consts::TAU * (f * s).fract();
            (math::cos(angle), math::sin(angle))
        };
        let along_x: Vec<(f64, f64, f64)> = (0..columns)
            .map(|k| {
                let f = frequencies.x(k);
                let (c, s) = turn(f, s.dx);
                (std::f64::consts::TAU * f, c, s)
            })
            .collect();
        let mut e = Expansion { value: 0.0, gradient: [0.0; 2], bend: [0.0; 3] };
        for ky in 0..self.shape.height {
            let row = ky * columns..(ky + 1) * columns;
            // Σ W e^{iφ} times the powers 0, 1, 2 of the frequency along x.
            let (mut re, mut im) = ([0.0f64; 3], [0.0f64; 3]);
            let values = self.cross.re[row.clone()].iter().zip(&self.cross.im[row]);
            for (k, ((wr, wi), (f, c, s))) in values.zip(&along_x).enumerate() {
                // Frequencies with a mirror image count twice.
                let count = if k == 0 { 1.0 } else { 2.0 };
                let (wr, wi) = (count * f64::from(*wr), count * f64::from(*wi));
                let (zr, zi) = (wr * c - wi * s, wr * s + wi * c);
                re[0] += zr;
                im[0] += zi;
                re[1] += f * zr;
                im[1] += f * zi;
                re[2] += f * f * zr;
                im[2] += f * f * zi;
            }
            let f = frequencies.y(ky);
            let (c, s) = turn(f, s.dy);
            let g = std::f64::consts::TAU * f;
            let real = |i: usize| re[i] * c - im[i] * s;
            let imaginary = |i: usize| re[i] * s + im[i] * c;
            e.value += real(0);
            e.gradient[0] -= imaginary(1);
            e.gradient[1] -= g * imaginary(0);
            e.bend[0] -= real(2);
            e.bend[1] -= g * real(1);
            e.bend[2] -= g * g * real(0);
        }
        e
    }
}

/// Newton's method uphill; ends where it cannot climb. The result is within a pixel of `start`.
pub(super) fn newton(polynomial: &Polynomial<'_>, start: Vec2) -> Vec2 {
    const MAX_STEPS: usize = 8;
    const TOLERANCE_PX: f64 = 1e-4;
    let mut best = (start, polynomial.expand(start));
    for _ in 0..MAX_STEPS {
        let [xx, xy, yy] = best.1.bend;
        let [gx, gy] = best.1.gradient;
        let determinant = xx * yy - xy * xy;
        let is_top = xx < 0.0 && determinant > 0.0;
        if !is_top {
            break;
        }
        let step = Vec2::new((xy * gy - yy * gx) / determinant, (xy * gx - xx * gy) / determinant);
        let next = best.0 + step;
        if (next - start).norm() > 1.0 {
            break;
        }
        let expansion = polynomial.expand(next);
        if expansion.value < best.1.value {
            break;
        }
        best = (next, expansion);
        if step.norm() < TOLERANCE_PX {
            break;
        }
    }
    best.0
}
