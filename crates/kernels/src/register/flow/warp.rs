//! Sampling a frame where the flow points.

use stillframe_image::{Image, Shape};

use super::FlowField;
use super::lanes::{Group, LANES};
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

/// Samples planes of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Warp {
    pub(crate) shape: Shape,
    /// Pixels of the plane per unit of the flow, along x and y.
    pub(crate) per_spacing: [f32; 2],
    pub(crate) interpolation: Interpolation,
    pub(crate) positions: Positions,
}

/// Where the pixels of a group are sampled.
#[derive(Clone, Copy)]
struct Places {
    /// Pixel above and to the left of each position.
    column: [i32; LANES],
    row: [i32; LANES],
    /// Weights of the columns and rows at -1, 0, 1, 2 from there.
    wx: [Group; 4],
    wy: [Group; 4],
    /// 1 where the position lies inside the frame, 0 elsewhere.
    is_inside: Group,
}

/// Weights of the samples at -1, 0, 1, 2 for a position `f` in [0, 1) past sample 0.
#[inline(always)]
fn cubic_weights(f: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let g = 1.0 - f;
    [
        A * f * (g * g),
        ((A + 2.0) * f - (A + 3.0)) * (f * f) + 1.0,
        ((A + 2.0) * g - (A + 3.0)) * (g * g) + 1.0,
        A * g * (f * f),
    ]
}

/// `p` rounded to whole 32nds, ties to even, for 0 ≤ p < 2^17.
#[inline(always)]
fn round_to_32nds(p: f32) -> f32 {
    // Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 8_388_608.0;
    ((32.0 * p + ROUND) - ROUND) / 32.0
}

impl Warp {
    /// Writes `moving(x + u · per_spacing, y + v · per_spacing)`, or `fixed` outside, to `out`.
    pub(crate) fn run(&self, moving: &[f32], fixed: &[f32], u: &[f32], v: &[f32], out: &mut [f32]) {
        sample(self, moving, fixed, u, v, out);
    }

    /// Writes to `mask` 1 for every pixel whose position is between the outermost pixel centres and
    /// 0 for the others; returns whether there are others.
    pub(crate) fn mask(&self, u: &[f32], v: &[f32], mask: &mut [f32]) -> bool {
        mask_outside(self, u, v, mask)
    }

    #[inline(always)]
    fn places(&self, x: usize, y: usize, u: &Group, v: &Group) -> Places {
        let (width, height) = (self.shape.width as f32, self.shape.height as f32);
        let [per_x, per_y] = self.per_spacing;
        let is_coarse = self.positions == Positions::Thirtyseconds;
        let is_linear = self.interpolation == Interpolation::Linear;
        let mut places = Places {
            column: [0; LANES],
            row: [0; LANES],
            wx: [[0.0; LANES]; 4],
            wy: [[0.0; LANES]; 4],
            is_inside: [0.0; LANES],
        };
        let (x, y) = (x as f32, y as f32);
        for l in 0..LANES {
            let px = x + l as f32 + u[l] * per_x;
            let py = y + v[l] * per_y;
            let is_inside = px >= 0.0 && py >= 0.0 && px < width && py < height;
            places.is_inside[l] = if is_inside { 1.0 } else { 0.0 };
            // Not a number becomes 0 here.
            let px = if px > 0.0 { px } else { 0.0 };
            let py = if py > 0.0 { py } else { 0.0 };
            let px = if px < width - 1.0 { px } else { width - 1.0 };
            let py = if py < height - 1.0 { py } else { height - 1.0 };
            let px = if is_coarse { round_to_32nds(px) } else { px };
            let py = if is_coarse { round_to_32nds(py) } else { py };
            let (column, row) = (px as i32, py as i32);
            places.column[l] = column;
            places.row[l] = row;
            let (fx, fy) = (px - column as f32, py - row as f32);
            let (cx, cy) = (cubic_weights(fx), cubic_weights(fy));
            let (lx, ly) = ([0.0, 1.0 - fx, fx, 0.0], [0.0, 1.0 - fy, fy, 0.0]);
            for k in 0..4 {
                places.wx[k][l] = if is_linear { lx[k] } else { cx[k] };
                places.wy[k][l] = if is_linear { ly[k] } else { cy[k] };
            }
        }
        places
    }

    /// The 4×4 pixels around a position, mixed along y.
    #[inline(always)]
    fn column_sums(&self, moving: &[f32], column: i32, row: i32, wy: [f32; 4]) -> [f32; 4] {
        let Shape { height, width } = self.shape;
        let (ix, iy) = (column as usize, row as usize);
        let mut sums = [0.0; 4];
        if ix >= 1 && iy >= 1 && ix + 2 < width && iy + 2 < height {
            let window = &moving[(iy - 1) * width + ix - 1..];
            for b in 0..4 {
                let row: &[f32; 4] =
                    window[b * width..].first_chunk().expect("the window lies inside");
                for a in 0..4 {
                    sums[a] += wy[b] * row[a];
                }
            }
        } else {
            let near = |i: usize, d: usize, n: usize| (i + d).saturating_sub(1).min(n - 1);
            for b in 0..4 {
                let row = &moving[near(iy, b, height) * width..][..width];
                for a in 0..4 {
                    sums[a] += wy[b] * row[near(ix, a, width)];
                }
            }
        }
        sums
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sample(warp: &Warp, moving: &[f32], fixed: &[f32], u: &[f32], v: &[f32], out: &mut [f32]) {
    let width = warp.shape.width;
    let rows = out.chunks_exact_mut(width).zip(fixed.chunks_exact(width));
    let flows = u.chunks_exact(width).zip(v.chunks_exact(width));
    for (y, ((out, fixed), (u, v))) in rows.zip(flows).enumerate() {
        for x in (0..width).step_by(LANES) {
            let n = LANES.min(width - x);
            let places = warp.places(x, y, &part(u, x, n), &part(v, x, n));
            let mut sums = [[0.0; 4]; LANES];
            for l in 0..n {
                let wy = [places.wy[0][l], places.wy[1][l], places.wy[2][l], places.wy[3][l]];
                sums[l] = warp.column_sums(moving, places.column[l], places.row[l], wy);
            }
            let fill = part(fixed, x, n);
            let mut group = [0.0; LANES];
            for l in 0..LANES {
                let value = (places.wx[0][l] * sums[l][0] + places.wx[1][l] * sums[l][1])
                    + (places.wx[2][l] * sums[l][2] + places.wx[3][l] * sums[l][3]);
                group[l] = if places.is_inside[l] > 0.0 { value } else { fill[l] };
            }
            out[x..x + n].copy_from_slice(&group[..n]);
        }
    }
}

/// `n` values from `x` on, zeros after them.
#[inline(always)]
fn part(row: &[f32], x: usize, n: usize) -> Group {
    if let Some(group) = row[x..].first_chunk() {
        return *group;
    }
    let mut group = [0.0; LANES];
    group[..n].copy_from_slice(&row[x..]);
    group
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn mask_outside(warp: &Warp, u: &[f32], v: &[f32], mask: &mut [f32]) -> bool {
    let Shape { height, width } = warp.shape;
    let (last_x, last_y) = ((width - 1) as f32, (height - 1) as f32);
    let [per_x, per_y] = warp.per_spacing;
    let mut least = 1.0f32;
    let flows = u.chunks_exact(width).zip(v.chunks_exact(width));
    for (y, (mask, (u, v))) in mask.chunks_exact_mut(width).zip(flows).enumerate() {
        for x in 0..width {
            let px = x as f32 + u[x] * per_x;
            let py = y as f32 + v[x] * per_y;
            let is_inside = px >= 0.0 && py >= 0.0 && px <= last_x && py <= last_y;
            mask[x] = if is_inside { 1.0 } else { 0.0 };
        }
        for &m in &*mask {
            least = if m < least { m } else { least };
        }
    }
    least < 1.0
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
