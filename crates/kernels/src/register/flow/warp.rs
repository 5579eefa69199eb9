//! Sampling a frame where the flow points.

use stillframe_image::{Image, Shape};

use super::FlowField;
use super::params::Positions;

/// How a frame is sampled between its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic convolution over 4×4 pixels with a = -0.75.
    #[default]
    Cubic,
    /// Over 2×2 pixels.
    Linear,
}

/// Writes `frame(x + u, y + v)` to `out`; where that position lies outside the frame, the pixel of
/// `fill`. The ends of the frame are repeated under windows that reach over them. A field of zeros
/// copies the frame exactly.
///
/// # Panics
/// If the images and the field differ in shape.
///
/// # Source
/// Keys (1981), doi:10.1109/TASSP.1981.1163711, eq. (15), a = -0.75.
pub fn register(
    frame: &Image<f32>,
    field: &FlowField,
    fill: &Image<f32>,
    interpolation: Interpolation,
    positions: Positions,
    out: &mut Image<f32>,
) {
    let shape = frame.shape();
    assert!([field.u.shape(), field.v.shape(), fill.shape(), out.shape()] == [shape; 4]);
    let warp = Warp { shape, per_spacing: [1.0; 2], interpolation, positions };
    let (u, v) = (field.u.pixels(), field.v.pixels());
    warp.run(frame.pixels(), fill.pixels(), u, v, out.pixels_mut());
}

/// Whether `x + u` and `y + v` lie inside the frame, per pixel: 255 or 0.
pub fn valid(field: &FlowField) -> Image<u8> {
    let shape = field.u.shape();
    Image::from_fn(shape, |x, y| {
        let inside = |p: f32, n: usize| p >= 0.0 && p < n as f32;
        let is_inside = inside(x as f32 + field.u.at(x, y), shape.width)
            && inside(y as f32 + field.v.at(x, y), shape.height);
        if is_inside { 255 } else { 0 }
    })
}

/// Samples planes of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Warp {
    pub(crate) shape: Shape,
    /// Pixels of the plane per unit of the flow, along x and y.
    pub(crate) per_spacing: [f32; 2],
    pub(crate) interpolation: Interpolation,
    pub(crate) positions: Positions,
}

/// Weights of the samples at -1, 0, 1, 2 for a position `f` in [0, 1) past sample 0.
#[inline(always)]
pub(crate) fn cubic_weights(f: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let g = 1.0 - f;
    [
        A * f * (g * g),
        ((A + 2.0) * f - (A + 3.0)) * (f * f) + 1.0,
        ((A + 2.0) * g - (A + 3.0)) * (g * g) + 1.0,
        A * g * (f * f),
    ]
}

fn linear_weights(f: f32) -> [f32; 4] {
    [0.0, 1.0 - f, f, 0.0]
}

impl Warp {
    /// Writes `moving(x + u · per_spacing, y + v · per_spacing)`, or `fixed` outside, to `out`.
    pub(crate) fn run(&self, moving: &[f32], fixed: &[f32], u: &[f32], v: &[f32], out: &mut [f32]) {
        match self.interpolation {
            Interpolation::Cubic => self.sample(moving, fixed, u, v, out, cubic_weights),
            Interpolation::Linear => self.sample(moving, fixed, u, v, out, linear_weights),
        }
    }

    fn sample(
        &self,
        moving: &[f32],
        fixed: &[f32],
        u: &[f32],
        v: &[f32],
        out: &mut [f32],
        weights: impl Fn(f32) -> [f32; 4],
    ) {
        let Shape { height, width } = self.shape;
        let (last_x, last_y) = ((width - 1) as f32, (height - 1) as f32);
        let round = |p: f32| match self.positions {
            Positions::Exact => p,
            Positions::Thirtyseconds => (32.0 * p).round_ties_even() / 32.0,
        };
        let rows = out.chunks_exact_mut(width).zip(fixed.chunks_exact(width));
        let flows = u.chunks_exact(width).zip(v.chunks_exact(width));
        for (y, ((out, fixed), (u, v))) in rows.zip(flows).enumerate() {
            for x in 0..width {
                let px = x as f32 + u[x] * self.per_spacing[0];
                let py = y as f32 + v[x] * self.per_spacing[1];
                if !(px >= 0.0 && py >= 0.0 && px < width as f32 && py < height as f32) {
                    out[x] = fixed[x];
                    continue;
                }
                let (px, py) = (round(px.min(last_x)), round(py.min(last_y)));
                let (ix, iy) = (px as usize, py as usize);
                let (wx, wy) = (weights(px - ix as f32), weights(py - iy as f32));
                let is_inner = ix >= 1 && iy >= 1 && ix + 2 < width && iy + 2 < height;
                let window: [[f32; 4]; 4] = if is_inner {
                    let start = (iy - 1) * width + ix - 1;
                    std::array::from_fn(|b| {
                        let row = &moving[start + b * width..];
                        *row.first_chunk().expect("the window lies inside")
                    })
                } else {
                    let near = |i: usize, d: usize, n: usize| (i + d).saturating_sub(1).min(n - 1);
                    std::array::from_fn(|b| {
                        let row = &moving[near(iy, b, height) * width..][..width];
                        std::array::from_fn(|a| row[near(ix, a, width)])
                    })
                };
                let mut column = [0.0f32; 4];
                for (row, w) in window.iter().zip(wy) {
                    for (sum, value) in column.iter_mut().zip(row) {
                        *sum += w * value;
                    }
                }
                out[x] = (wx[0] * column[0] + wx[1] * column[1])
                    + (wx[2] * column[2] + wx[3] * column[3]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;
    use crate::register::flow::taps::cubic;

    fn random(shape: Shape, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| rng.uniform() as f32)
    }

    fn registered(frame: &Image<f32>, field: &FlowField, how: Interpolation) -> Image<f32> {
        let mut out = Image::filled(frame.shape(), 0.0);
        let fill = Image::filled(frame.shape(), -1.0);
        register(frame, field, &fill, how, Positions::Exact, &mut out);
        out
    }

    #[test]
    fn the_identity_is_exact_to_the_border() {
        let frame = random(Shape::new(13, 22), 1);
        for how in [Interpolation::Cubic, Interpolation::Linear] {
            assert_eq!(registered(&frame, &FlowField::zero(frame.shape()), how), frame);
        }
    }

    #[test]
    fn a_whole_shift_moves_pixels_and_fills_what_left() {
        let frame = random(Shape::new(9, 9), 2);
        let mut field = FlowField::zero(frame.shape());
        field.u.pixels_mut().fill(2.0);
        field.v.pixels_mut().fill(-1.0);
        let out = registered(&frame, &field, Interpolation::Cubic);
        assert_eq!(out.at(3, 4), frame.at(5, 3));
        assert_eq!((out.at(7, 4), out.at(3, 0)), (-1.0, -1.0));
        let inside = valid(&field);
        assert_eq!((inside.at(6, 1), inside.at(7, 1), inside.at(6, 0)), (255, 0, 0));
    }

    #[test]
    fn positions_past_the_last_centre_count_as_inside() {
        let frame = random(Shape::new(5, 5), 3);
        let mut field = FlowField::zero(frame.shape());
        field.u.set(4, 2, 0.9);
        let out = registered(&frame, &field, Interpolation::Cubic);
        assert_eq!(out.at(4, 2), frame.at(4, 2));
    }

    #[test]
    fn values_are_those_of_the_kernel() {
        let frame = random(Shape::new(17, 15), 4);
        let mut field = FlowField::zero(frame.shape());
        let mut rng = Rng::new(9, 0, 0);
        for plane in [&mut field.u, &mut field.v] {
            plane.pixels_mut().iter_mut().for_each(|p| *p = 4.0 * rng.normal() as f32);
        }
        let out = registered(&frame, &field, Interpolation::Cubic);
        for y in 0..17 {
            for x in 0..15 {
                let p = [x as f32 + field.u.at(x, y), y as f32 + field.v.at(x, y)].map(f64::from);
                if out.at(x, y) == -1.0 {
                    assert!(!(0.0..15.0).contains(&p[0]) || !(0.0..17.0).contains(&p[1]));
                    continue;
                }
                let p = [p[0].min(14.0), p[1].min(16.0)];
                let mut want = 0.0;
                for b in -1..3 {
                    for a in -1..3 {
                        let (i, j) = (p[0].floor() as i64 + a, p[1].floor() as i64 + b);
                        let weight = cubic(p[0] - i as f64) * cubic(p[1] - j as f64);
                        let value = frame.at(i.clamp(0, 14) as usize, j.clamp(0, 16) as usize);
                        want += weight * f64::from(value);
                    }
                }
                assert!((f64::from(out.at(x, y)) - want).abs() < 5e-6);
            }
        }
    }
}
