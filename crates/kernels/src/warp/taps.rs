//! The inner loop of the warp: a row of output pixels, each a weighted sum of source pixels.

use multiversion::multiversion;
use stillframe_image::Image;

use crate::warp::kernel::PHASES;

/// Stands for a position whose taps cannot be read without checks.
pub(crate) const UNCHECKED: u32 = u32::MAX;

/// The pixels to gather from.
pub(crate) struct Samples<'a> {
    /// NaN where void.
    pub(crate) pixels: &'a Image<f32>,
    /// Column and row of the first pixel in the frame.
    pub(crate) origin: (usize, usize),
    /// See [`crate::warp::Warper`].
    pub(crate) undershoot: f32,
    pub(crate) border: Border,
}

/// What lies beyond the outermost pixels of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Nothing: a sample whose taps reach there is missing.
    #[default]
    Missing,
    /// The outermost pixels themselves, up to half a pixel beyond their centres: to where the frame
    /// ends. Only right if the source's border is the frame's wherever taps reach beyond it.
    Held,
}

/// Reused memory: where the taps of a row of output pixels are, and their phases.
#[derive(Clone, Debug, Default)]
pub(crate) struct TapRow {
    /// Index of the first tap in the source pixels, or [`UNCHECKED`].
    first: Vec<u32>,
    phase_x: Vec<u32>,
    phase_y: Vec<u32>,
    /// Distance past the phase in [0, 1], in phases.
    past_x: Vec<f32>,
    past_y: Vec<f32>,
}

/// Number of taps of a kernel whose weights are padded to `LANES`.
const fn taps(lanes: usize) -> usize {
    if lanes == 8 { 6 } else { lanes }
}

impl TapRow {
    /// Writes the interpolated values at `positions` (x and y in frame pixels) to `out`; NaN where
    /// there is no sample. The taps of a position start `taps/2 - 1` pixels before its floor.
    pub(crate) fn run<const LANES: usize>(
        &mut self,
        samples: &Samples<'_>,
        table: &[[f32; LANES]],
        positions: (&[f64], &[f64]),
        out: &mut [f32],
    ) {
        let n = out.len();
        for v in [&mut self.first, &mut self.phase_x, &mut self.phase_y] {
            v.resize(n, 0);
        }
        self.past_x.resize(n, 0.0);
        self.past_y.resize(n, 0.0);
        let window = Window::new::<LANES>(samples);
        phases(positions.0, &mut self.phase_x, &mut self.past_x);
        phases(positions.1, &mut self.phase_y, &mut self.past_y);
        first_taps(&window, positions, &mut self.first);
        interpolate(samples, table, self, out);
        for (i, out) in out.iter_mut().enumerate() {
            if out.is_nan() {
                let position = (positions.0[i], positions.1[i]);
                *out = self.checked(i, position, samples, table).unwrap_or(f32::NAN);
            }
        }
    }

    /// The value at a position where taps may be missing, with the operations of `interpolate`.
    fn checked<const LANES: usize>(
        &self,
        i: usize,
        position: (f64, f64),
        samples: &Samples<'_>,
        table: &[[f32; LANES]],
    ) -> Option<f32> {
        let lead = (taps(LANES) / 2 - 1) as f64;
        let (width, height) = (samples.pixels.width() as f64, samples.pixels.height() as f64);
        let x = position.0.floor() - lead - samples.origin.0 as f64;
        let y = position.1.floor() - lead - samples.origin.1 as f64;
        let reach = LANES as f64;
        // also false for NaN
        if !(x > -reach && y > -reach && x < width && y < height) {
            return None;
        }
        if samples.border == Border::Held && !samples.frame_has(position) {
            return None;
        }
        let (x, y) = (x as i64, y as i64);
        let (mut wx, mut wy) = ([[0.0; LANES]; CHUNK], [[0.0; LANES]; CHUNK]);
        blend(table, &self.phase_x[i..=i], &self.past_x[i..=i], &mut wx);
        blend(table, &self.phase_y[i..=i], &self.past_y[i..=i], &mut wy);
        let (wx, wy) = (&wx[0], &wy[0]);
        let mut sum = [0.0f32; LANES];
        let mut low = [f32::INFINITY; LANES];
        for k in 0..taps(LANES) {
            for l in 0..taps(LANES) {
                let (x, y) = (x + l as i64, y + k as i64);
                let (held_x, held_y) =
                    (x.clamp(0, width as i64 - 1), y.clamp(0, height as i64 - 1));
                let is_inside = samples.border == Border::Held || (x, y) == (held_x, held_y);
                let value = if is_inside {
                    samples.pixels.at(held_x as usize, held_y as usize)
                } else {
                    f32::NAN
                };
                if k >= 1 && k < taps(LANES) - 1 && value < low[l] {
                    low[l] = value;
                }
                if wy[k] != 0.0 && wx[l] != 0.0 {
                    sum[l] += wy[k] * value;
                }
            }
        }
        for l in 0..LANES {
            sum[l] *= wx[l];
        }
        let value = lane_sum(sum);
        let is_clamped = samples.undershoot != f32::INFINITY && LANES > 2;
        Some(if is_clamped { raised(value, low, samples.undershoot) } else { value })
    }
}

/// Where positions may lie to have all taps inside, and how the first tap is found.
struct Window {
    lead_x: f64,
    lead_y: f64,
    /// Largest column and row of a first tap.
    last_x: f64,
    last_y: f64,
    stride: f64,
    /// Largest index of a first tap whose last padded row still is in memory.
    last: f64,
}

impl Window {
    fn new<const LANES: usize>(samples: &Samples<'_>) -> Self {
        let taps = taps(LANES);
        let lead = (taps / 2 - 1) as f64;
        let (width, height) = (samples.pixels.width(), samples.pixels.height());
        let padded = (taps - 1) * width + LANES;
        let last = samples.pixels.pixels().len().checked_sub(padded);
        let fits = last.is_some() && width >= taps && height >= taps;
        Self {
            lead_x: lead + samples.origin.0 as f64,
            lead_y: lead + samples.origin.1 as f64,
            last_x: if fits { (width - taps) as f64 } else { -1.0 },
            last_y: if fits { (height - taps) as f64 } else { -1.0 },
            stride: width as f64,
            last: last.unwrap_or(0) as f64,
        }
    }
}

/// 1.5 · 2⁵²: a whole number of magnitude below 2³¹ added to it leaves its two's complement in the
/// low 32 bits, which vectorises where a cast that must saturate does not.
const WHOLE: f64 = 6_755_399_441_055_744.0;

#[inline(always)]
pub(crate) fn whole_bits(x: f64) -> u32 {
    (x + WHOLE).to_bits() as u32
}

#[multiversion(targets("x86_64+avx2"))]
fn phases(positions: &[f64], phase: &mut [u32], past: &mut [f32]) {
    for ((phase, past), x) in phase.iter_mut().zip(past).zip(positions) {
        let u = (x - x.floor()) * PHASES as f64;
        // the minimum is for positions that are not finite: their taps are not read
        *phase = whole_bits(u.floor()).min(PHASES as u32);
        *past = (u - u.floor()) as f32;
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn first_taps(window: &Window, positions: (&[f64], &[f64]), first: &mut [u32]) {
    for ((first, x), y) in first.iter_mut().zip(positions.0).zip(positions.1) {
        let x = x.floor() - window.lead_x;
        let y = y.floor() - window.lead_y;
        let is_inside = (x >= 0.0) & (y >= 0.0) & (x <= window.last_x) & (y <= window.last_y);
        let at = y * window.stride + x;
        let is_inside = is_inside & (at <= window.last);
        *first = if is_inside { whole_bits(at) } else { UNCHECKED };
    }
}

/// Pixels whose weights and products are in flight at once: small enough for the first cache.
const CHUNK: usize = 64;

/// Interpolates a row of output pixels in chunks.
///
/// Each step goes through memory on purpose: its loop then is one vector operation per line on
/// every machine, where the fused loop is taken apart into scalars.
fn interpolate<const LANES: usize>(
    samples: &Samples<'_>,
    table: &[[f32; LANES]],
    taps: &TapRow,
    out: &mut [f32],
) {
    let mut wx = [[0.0f32; LANES]; CHUNK];
    let mut wy = [[0.0f32; LANES]; CHUNK];
    let mut lanes = [[0.0f32; LANES]; CHUNK];
    let is_clamped = samples.undershoot != f32::INFINITY && LANES > 2;
    for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
        let range = chunk * CHUNK..chunk * CHUNK + out.len();
        blend(table, &taps.phase_x[range.clone()], &taps.past_x[range.clone()], &mut wx);
        blend(table, &taps.phase_y[range.clone()], &taps.past_y[range.clone()], &mut wy);
        let first = &taps.first[range];
        products(samples, first, &wx, &wy, &mut lanes);
        for (out, lanes) in out.iter_mut().zip(&lanes) {
            *out = lane_sum(*lanes);
        }
        if is_clamped {
            lowest(samples, first, &mut lanes);
            for (out, lanes) in out.iter_mut().zip(&lanes) {
                *out = raised(*out, *lanes, samples.undershoot);
            }
        }
    }
}

/// Weights between the phase and the next.
#[multiversion(targets("x86_64+avx2"))]
fn blend<const LANES: usize>(
    table: &[[f32; LANES]],
    phase: &[u32],
    past: &[f32],
    out: &mut [[f32; LANES]; CHUNK],
) {
    for ((out, &phase), past) in out.iter_mut().zip(phase).zip(past) {
        let (a, b) = (&table[phase as usize], &table[phase as usize + 1]);
        for l in 0..LANES {
            out[l] = a[l] + past * (b[l] - a[l]);
        }
    }
}

/// Rows weighted by `wy` and summed in order, each lane times `wx`; NaN for unchecked taps.
///
/// The padding lanes have weight 0. Should a void pixel lie there, the sum is NaN, and the pixel
/// goes the checked way.
#[multiversion(targets("x86_64+avx2"))]
fn products<const LANES: usize>(
    samples: &Samples<'_>,
    first: &[u32],
    wx: &[[f32; LANES]; CHUNK],
    wy: &[[f32; LANES]; CHUNK],
    out: &mut [[f32; LANES]; CHUNK],
) {
    let (pixels, stride) = (samples.pixels.pixels(), samples.pixels.width());
    for (((out, &first), wx), wy) in out.iter_mut().zip(first).zip(wx).zip(wy) {
        if first == UNCHECKED {
            *out = [f32::NAN; LANES];
            continue;
        }
        let mut sum = [0.0f32; LANES];
        for k in 0..taps(LANES) {
            let row = &pixels[first as usize + k * stride..][..LANES];
            for l in 0..LANES {
                sum[l] += wy[k] * row[l];
            }
        }
        for l in 0..LANES {
            out[l] = sum[l] * wx[l];
        }
    }
}

/// Sum of the lanes in a fixed tree.
#[inline(always)]
fn lane_sum<const LANES: usize>(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    // not -0, so that checked and unchecked taps give the same bits
    lanes[0] + 0.0
}

/// In each lane the lowest of the central rows; anything for unchecked taps.
#[multiversion(targets("x86_64+avx2"))]
fn lowest<const LANES: usize>(
    samples: &Samples<'_>,
    first: &[u32],
    out: &mut [[f32; LANES]; CHUNK],
) {
    let (pixels, stride) = (samples.pixels.pixels(), samples.pixels.width());
    for (out, &first) in out.iter_mut().zip(first) {
        if first == UNCHECKED {
            continue;
        }
        let mut low = [f32::INFINITY; LANES];
        for k in 1..taps(LANES) - 1 {
            let row = &pixels[first as usize + k * stride..][..LANES];
            for l in 0..LANES {
                low[l] = if row[l] < low[l] { row[l] } else { low[l] };
            }
        }
        *out = low;
    }
}

/// `value`, but not below the lowest of the central lanes by more than `undershoot`.
#[inline(always)]
fn raised<const LANES: usize>(value: f32, mut low: [f32; LANES], undershoot: f32) -> f32 {
    for l in 0..LANES {
        low[l] = if l >= 1 && l < taps(LANES) - 1 { low[l] } else { f32::INFINITY };
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            low[l] = if low[l + width] < low[l] { low[l + width] } else { low[l] };
        }
    }
    let bound = low[0] - undershoot;
    if value < bound { bound } else { value }
}

impl Samples<'_> {
    /// Whether `position` lies in one of the pixels.
    fn frame_has(&self, position: (f64, f64)) -> bool {
        let within = |p: f64, origin: usize, size: usize| {
            let p = p - origin as f64;
            p >= -0.5 && p <= size as f64 - 0.5
        };
        within(position.0, self.origin.0, self.pixels.width())
            && within(position.1, self.origin.1, self.pixels.height())
    }

    /// The nearest pixels to `positions`; halves go up. NaN outside.
    pub(crate) fn nearest_row(&self, positions: (&[f64], &[f64]), out: &mut [f32]) {
        let (width, height) = (self.pixels.width() as f64, self.pixels.height() as f64);
        for ((out, x), y) in out.iter_mut().zip(positions.0).zip(positions.1) {
            let x = (x + 0.5).floor() - self.origin.0 as f64;
            let y = (y + 0.5).floor() - self.origin.1 as f64;
            let is_inside = x >= 0.0 && y >= 0.0 && x < width && y < height;
            *out = if is_inside { self.pixels.at(x as usize, y as usize) } else { f32::NAN };
        }
    }
}
