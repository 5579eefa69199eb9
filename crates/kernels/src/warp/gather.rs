//! The inner loop of drizzle: a row of output pixels, each a weighted mean of the samples near it.

use multiversion::multiversion;
use stillframe_image::{CfaPattern, Colour, Image, Shape};

use crate::warp::geometry::Source;
use crate::warp::taps::{UNCHECKED, whole_bits};

/// Most samples along one axis that an output pixel may be made of.
pub(crate) const MAX_LANES: usize = 8;

/// How much a sample counts by its distance along one axis; the weights of both axes multiply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Drop {
    /// Overlap of the drop with the footprint: `reach` less the distance, at most `most`.
    Square { reach: f32, most: f32 },
    /// Cubic convolution with a = -1/2, stretched.
    Cubic { stretch: f32 },
}

impl Drop {
    /// Largest distance at which the weight may differ from 0.
    pub(crate) fn reach(self) -> f64 {
        match self {
            Self::Square { reach, .. } => f64::from(reach),
            Self::Cubic { stretch } => 2.0 * f64::from(stretch),
        }
    }

    /// Sum of weights below which there is no sample: a sliver of overlap, or lobes that cancel.
    fn least(self) -> f32 {
        match self {
            Self::Square { .. } => 1e-6,
            Self::Cubic { .. } => 0.02,
        }
    }
}

/// Rows of candidates of a kernel with `LANES` columns of them: what is needed costs no more.
const fn rows(lanes: usize) -> usize {
    if lanes == MAX_LANES { 6 } else { lanes }
}

/// Largest reach in source pixels: [`rows`] of candidates.
pub(crate) const MAX_REACH: f64 = 2.99;

/// Reused copy of a source in which only the samples that count are left.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// Values; 0 where the sample does not count.
    values: Image<f32>,
    /// 1 where the sample counts, else 0.
    counts: Image<f32>,
    origin: (usize, usize),
}

impl Default for Selected {
    fn default() -> Self {
        let none = Image::filled(Shape::new(0, 0), 0.0);
        Self { values: none.clone(), counts: none, origin: (0, 0) }
    }
}

impl Selected {
    /// Takes the samples of `source` that are not void, and with `filter` only those of a colour;
    /// the pattern is that of the frame's pixel (0, 0).
    ///
    /// # Panics
    /// If the mask differs in shape from the pixels.
    pub(crate) fn fill(&mut self, source: &Source<'_>, filter: Option<(CfaPattern, Colour)>) {
        let shape = source.pixels.shape();
        self.origin = source.origin;
        if self.values.shape() != shape {
            self.values.reset(shape, 0.0);
            self.counts.reset(shape, 0.0);
        }
        if let Some(void) = source.void {
            assert_eq!(void.bits.shape(), shape, "mask and pixels differ in shape");
        }
        for y in 0..shape.height {
            let colour_counts = [0, 1].map(|x| {
                let (x, y) = (source.origin.0 + x, source.origin.1 + y);
                filter.is_none_or(|(pattern, colour)| pattern.colour_at(x, y) == colour)
            });
            let counts = self.counts.row_mut(y);
            for (x, count) in counts.iter_mut().enumerate() {
                *count = if colour_counts[x % 2] { 1.0 } else { 0.0 };
            }
            if let Some(void) = source.void {
                for (count, bits) in counts.iter_mut().zip(void.bits.row(y)) {
                    *count = if bits & void.any_of == 0 { *count } else { 0.0 };
                }
            }
            let pixels = source.pixels.row(y).iter().zip(&*counts);
            for (value, (pixel, count)) in self.values.row_mut(y).iter_mut().zip(pixels) {
                *value = if *count == 0.0 { 0.0 } else { *pixel };
            }
        }
    }
}

/// Reused memory: the first candidate sample of each output pixel of a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatherRow {
    /// Its index in the source pixels, or [`UNCHECKED`].
    first: Vec<u32>,
    /// It less the position, pixels.
    offset_x: Vec<f32>,
    offset_y: Vec<f32>,
}

/// Output pixels whose weights and sums are in flight at once: small enough for the first cache.
const CHUNK: usize = 64;

impl GatherRow {
    /// Writes the weighted means (NaN where there is no sample) and the sums of weights (0 there)
    /// at `positions` (x and y in frame pixels).
    pub(crate) fn run(
        &mut self,
        samples: &Selected,
        drop: Drop,
        positions: (&[f64], &[f64]),
        out: (&mut [f32], &mut [f32]),
    ) {
        let n = out.0.len();
        self.first.resize(n, 0);
        self.offset_x.resize(n, 0.0);
        self.offset_y.resize(n, 0.0);
        // four candidates along an axis lie within a reach below 2
        if drop.reach() < 2.0 {
            self.run_lanes::<4>(samples, drop, positions, out);
        } else {
            self.run_lanes::<MAX_LANES>(samples, drop, positions, out);
        }
    }

    /// Each step goes through memory on purpose, as in the warp: so each loop is one vector
    /// operation per line on every machine.
    fn run_lanes<const LANES: usize>(
        &mut self,
        samples: &Selected,
        drop: Drop,
        positions: (&[f64], &[f64]),
        (values, weights): (&mut [f32], &mut [f32]),
    ) {
        locate::<LANES>(samples, drop, positions, self);
        let mut wx = [[0.0f32; LANES]; CHUNK];
        let mut wy = [[0.0f32; LANES]; CHUNK];
        let mut sums = [[0.0f32; LANES]; CHUNK];
        let mut totals = [[0.0f32; LANES]; CHUNK];
        let out = values.chunks_mut(CHUNK).zip(weights.chunks_mut(CHUNK));
        for (chunk, (values, weights)) in out.enumerate() {
            let range = chunk * CHUNK..chunk * CHUNK + values.len();
            drop_weights(drop, &self.offset_x[range.clone()], &mut wx);
            drop_weights(drop, &self.offset_y[range.clone()], &mut wy);
            let first = &self.first[range.clone()];
            accumulate(samples, first, (&wx, &wy), (&mut sums, &mut totals));
            for (i, (value, weight)) in values.iter_mut().zip(weights).enumerate() {
                if self.first[range.start + i] == UNCHECKED {
                    let at = range.start + i;
                    let position = (positions.0[at], positions.1[at]);
                    let of_pixel = (&wx[i], &wy[i]);
                    let out = (&mut sums[i], &mut totals[i]);
                    checked(samples, drop, position, of_pixel, out);
                }
                (*value, *weight) = mean(drop, sums[i], totals[i]);
            }
        }
    }
}

/// Where the first candidates are: `ceil(position - reach)`.
#[multiversion(targets("x86_64+avx2"))]
fn locate<const LANES: usize>(
    samples: &Selected,
    drop: Drop,
    positions: (&[f64], &[f64]),
    row: &mut GatherRow,
) {
    let reach = drop.reach();
    let (x0, y0) = (samples.origin.0 as f64, samples.origin.1 as f64);
    let width = samples.values.width() as f64;
    let last_x = width - LANES as f64;
    let last_y = samples.values.height() as f64 - rows(LANES) as f64;
    let offsets = row.offset_x.iter_mut().zip(&mut row.offset_y);
    let positions = positions.0.iter().zip(positions.1);
    let places = row.first.iter_mut().zip(offsets).zip(positions);
    for ((first, (offset_x, offset_y)), (&px, &py)) in places {
        let x = (px - reach).ceil();
        let y = (py - reach).ceil();
        *offset_x = (x - px) as f32;
        *offset_y = (y - py) as f32;
        let (x, y) = (x - x0, y - y0);
        let is_inside = (x >= 0.0) & (y >= 0.0) & (x <= last_x) & (y <= last_y);
        *first = if is_inside { whole_bits(y * width + x) } else { UNCHECKED };
    }
}

/// Weights of the candidates along one axis; an offset is the first less the position.
#[multiversion(targets("x86_64+avx2"))]
fn drop_weights<const LANES: usize>(drop: Drop, offsets: &[f32], out: &mut [[f32; LANES]; CHUNK]) {
    match drop {
        Drop::Square { reach, most } => {
            for (w, offset) in out.iter_mut().zip(offsets) {
                for l in 0..LANES {
                    let overlap = reach - (offset + l as f32).abs();
                    let overlap = if overlap > 0.0 { overlap } else { 0.0 };
                    w[l] = if overlap < most { overlap } else { most };
                }
            }
        }
        Drop::Cubic { stretch } => {
            let scale = 1.0 / stretch;
            for (w, offset) in out.iter_mut().zip(offsets) {
                for l in 0..LANES {
                    let t = (offset + l as f32).abs() * scale;
                    let near = 1.0 + t * t * (1.5 * t - 2.5);
                    let far = 2.0 + t * (t * (2.5 - 0.5 * t) - 4.0);
                    let outer = if t < 2.0 { far } else { 0.0 };
                    w[l] = if t < 1.0 { near } else { outer };
                }
            }
        }
    }
}

/// Sums of the weighted samples and of the weights, lane by lane.
#[multiversion(targets("x86_64+avx2"))]
fn accumulate<const LANES: usize>(
    samples: &Selected,
    first: &[u32],
    (wx, wy): (&[[f32; LANES]; CHUNK], &[[f32; LANES]; CHUNK]),
    (sums, totals): (&mut [[f32; LANES]; CHUNK], &mut [[f32; LANES]; CHUNK]),
) {
    let stride = samples.values.width();
    let (values, counts) = (samples.values.pixels(), samples.counts.pixels());
    for (i, &first) in first.iter().enumerate() {
        if first == UNCHECKED {
            continue;
        }
        let (mut sum, mut total) = ([0.0f32; LANES], [0.0f32; LANES]);
        for k in 0..rows(LANES) {
            let start = first as usize + k * stride;
            let (values, counts) = (&values[start..][..LANES], &counts[start..][..LANES]);
            for l in 0..LANES {
                sum[l] += wy[i][k] * values[l];
            }
            for l in 0..LANES {
                total[l] += wy[i][k] * counts[l];
            }
        }
        for l in 0..LANES {
            sums[i][l] = sum[l] * wx[i][l];
        }
        for l in 0..LANES {
            totals[i][l] = total[l] * wx[i][l];
        }
    }
}

/// What `accumulate` does, where some candidates lie outside the source.
fn checked<const LANES: usize>(
    samples: &Selected,
    drop: Drop,
    position: (f64, f64),
    (wx, wy): (&[f32; LANES], &[f32; LANES]),
    (sum, total): (&mut [f32; LANES], &mut [f32; LANES]),
) {
    *sum = [0.0; LANES];
    *total = [0.0; LANES];
    let reach = drop.reach();
    let (width, height) = (samples.values.width() as i64, samples.values.height() as i64);
    let x = (position.0 - reach).ceil() - samples.origin.0 as f64;
    let y = (position.1 - reach).ceil() - samples.origin.1 as f64;
    let lanes = LANES as f64;
    // also false for NaN
    if !(x > -lanes && y > -lanes && x < width as f64 && y < height as f64) {
        return;
    }
    let (x, y) = (x as i64, y as i64);
    for k in 0..rows(LANES) {
        for l in 0..LANES {
            let (x, y) = (x + l as i64, y + k as i64);
            if x >= 0 && y >= 0 && x < width && y < height {
                let (x, y) = (x as usize, y as usize);
                sum[l] += wy[k] * samples.values.at(x, y);
                total[l] += wy[k] * samples.counts.at(x, y);
            }
        }
    }
    for l in 0..LANES {
        sum[l] *= wx[l];
        total[l] *= wx[l];
    }
}

/// Weighted mean and sum of weights from their lanes.
#[inline(always)]
fn mean<const LANES: usize>(drop: Drop, sum: [f32; LANES], total: [f32; LANES]) -> (f32, f32) {
    let (sum, total) = (tree(sum), tree(total));
    // plus 0: not -0, so that samples outside of the source leave no trace
    if total > drop.least() { (sum / total + 0.0, total) } else { (f32::NAN, 0.0) }
}

#[inline(always)]
fn tree<const LANES: usize>(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    lanes[0]
}
