//! The inner loop of the warp: a row of output pixels, each a weighted sum of source pixels.

use multiversion::multiversion;
use stillframe_image::Image;

use crate::warp::kernel::PHASES;

/// Stands for a position whose taps cannot be read without checks.
const UNCHECKED: u32 = u32::MAX;

/// The pixels to gather from.
pub(crate) struct Samples<'a> {
    /// NaN where void.
    pub(crate) pixels: &'a Image<f32>,
    /// Column and row of the first pixel in the frame.
    pub(crate) origin: (usize, usize),
    /// See [`crate::warp::Warper`].
    pub(crate) undershoot: f32,
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
        if samples.undershoot == f32::INFINITY || LANES == 2 {
            interpolate::<LANES, false>(samples, table, self, out);
        } else {
            interpolate::<LANES, true>(samples, table, self, out);
        }
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
        let (x, y) = (x as i64, y as i64);
        let wx = blend(table, self.phase_x[i], self.past_x[i]);
        let wy = blend(table, self.phase_y[i], self.past_y[i]);
        let mut patch = [[0.0f32; LANES]; LANES];
        for (k, row) in patch.iter_mut().enumerate().take(taps(LANES)) {
            for (l, value) in row.iter_mut().enumerate().take(taps(LANES)) {
                if wy[k] == 0.0 || wx[l] == 0.0 {
                    continue;
                }
                let (x, y) = (x + l as i64, y + k as i64);
                let is_inside = x >= 0 && y >= 0 && x < width as i64 && y < height as i64;
                *value = is_inside.then(|| samples.pixels.at(x as usize, y as usize))?;
            }
        }
        let rows = patch.each_ref();
        let value = weighted(rows, &wx, &wy);
        if samples.undershoot == f32::INFINITY || LANES == 2 {
            return Some(value);
        }
        Some(raised(value, rows, samples.undershoot))
    }
}

/// Where positions may lie to have all taps inside, and how the first tap is found.
struct Window {
    lead_x: f64,
    lead_y: f64,
    /// Largest column and row of a first tap.
    last_x: f64,
    last_y: f64,
    stride: u32,
    /// Largest index of a first tap whose last padded row still is in memory.
    last: u32,
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
            stride: width as u32,
            last: last.unwrap_or(0) as u32,
        }
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn phases(positions: &[f64], phase: &mut [u32], past: &mut [f32]) {
    for ((phase, past), x) in phase.iter_mut().zip(past).zip(positions) {
        let u = (x - x.floor()) * PHASES as f64;
        // u is in [0, PHASES]; a position that is not finite gives phase 0
        let whole = u as i32;
        *phase = whole as u32;
        *past = (u - f64::from(whole)) as f32;
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn first_taps(window: &Window, positions: (&[f64], &[f64]), first: &mut [u32]) {
    for ((first, x), y) in first.iter_mut().zip(positions.0).zip(positions.1) {
        let x = x.floor() - window.lead_x;
        let y = y.floor() - window.lead_y;
        let is_inside = (x >= 0.0) & (y >= 0.0) & (x <= window.last_x) & (y <= window.last_y);
        let at = (y as i32 as u32).wrapping_mul(window.stride).wrapping_add(x as i32 as u32);
        *first = if is_inside & (at <= window.last) { at } else { UNCHECKED };
    }
}

/// Weights between the phase and the next.
#[inline(always)]
fn blend<const LANES: usize>(table: &[[f32; LANES]], phase: u32, past: f32) -> [f32; LANES] {
    let (a, b) = (&table[phase as usize], &table[phase as usize + 1]);
    let mut w = [0.0; LANES];
    for l in 0..LANES {
        w[l] = a[l] + past * (b[l] - a[l]);
    }
    w
}

/// Rows weighted by `wy` are summed in order, then lanes in a fixed tree.
#[inline(always)]
fn weighted<const LANES: usize>(
    rows: [&[f32; LANES]; LANES],
    wx: &[f32; LANES],
    wy: &[f32; LANES],
) -> f32 {
    let mut sum = [0.0f32; LANES];
    for k in 0..taps(LANES) {
        for l in 0..LANES {
            sum[l] += wy[k] * rows[k][l];
        }
    }
    // the padding lanes may hold anything, even NaN
    for l in 0..LANES {
        sum[l] = if l < taps(LANES) { sum[l] * wx[l] } else { 0.0 };
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            sum[l] += sum[l + width];
        }
    }
    // not -0, so that checked and unchecked taps give the same bits
    sum[0] + 0.0
}

/// `value`, but not below the smallest of the central pixels by more than `undershoot`.
#[inline(always)]
fn raised<const LANES: usize>(value: f32, rows: [&[f32; LANES]; LANES], undershoot: f32) -> f32 {
    let mut low = [f32::INFINITY; LANES];
    for k in 1..taps(LANES) - 1 {
        for l in 0..LANES {
            low[l] = if rows[k][l] < low[l] { rows[k][l] } else { low[l] };
        }
    }
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

#[multiversion(targets("x86_64+avx2"))]
fn interpolate<const LANES: usize, const CLAMPED: bool>(
    samples: &Samples<'_>,
    table: &[[f32; LANES]],
    taps: &TapRow,
    out: &mut [f32],
) {
    let (pixels, stride) = (samples.pixels.pixels(), samples.pixels.width());
    let phases = taps.phase_x.iter().zip(&taps.phase_y);
    let pasts = taps.past_x.iter().zip(&taps.past_y);
    let places = taps.first.iter().zip(phases).zip(pasts);
    for (out, ((&first, (&phase_x, &phase_y)), (&past_x, &past_y))) in out.iter_mut().zip(places) {
        if first == UNCHECKED {
            *out = f32::NAN;
            continue;
        }
        let wx = blend(table, phase_x, past_x);
        let wy = blend(table, phase_y, past_y);
        let mut rows = [&[0.0f32; LANES]; LANES];
        for (k, row) in rows.iter_mut().enumerate().take(self::taps(LANES)) {
            let start = first as usize + k * stride;
            *row = pixels[start..start + LANES].try_into().expect("LANES pixels");
        }
        let value = weighted(rows, &wx, &wy);
        *out = if CLAMPED { raised(value, rows, samples.undershoot) } else { value };
    }
}

impl Samples<'_> {
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
