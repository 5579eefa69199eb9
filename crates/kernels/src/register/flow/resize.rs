//! Resizing in float32, a few rows at a time.

use stillframe_image::Shape;

use super::filter::mix;
use super::taps::{Taps, antialias_sigma};

/// Taps in float32.
#[derive(Clone, Debug)]
struct Mix {
    per_sample: usize,
    index: Vec<u32>,
    weight: Vec<f32>,
}

impl Mix {
    fn new(taps: &Taps) -> Self {
        Self {
            per_sample: taps.per_sample,
            index: taps.index.clone(),
            weight: taps.weight.iter().map(|&w| w as f32).collect(),
        }
    }

    /// Rows of `dst` = weighted rows of `src`, both `width` wide.
    fn rows(&self, src: &[f32], width: usize, dst: &mut [f32]) {
        let taps = self.index.chunks_exact(self.per_sample);
        let weights = self.weight.chunks_exact(self.per_sample);
        for ((index, weight), row) in taps.zip(weights).zip(dst.chunks_exact_mut(width)) {
            mix(row, weight, |tap| &src[index[tap] as usize * width..][..width]);
        }
    }
}

/// Writes the `height × width` rows of `src` as columns.
pub(crate) fn transpose(src: &[f32], height: usize, width: usize, dst: &mut [f32]) {
    const TILE: usize = 8;
    assert!(src.len() >= height * width && dst.len() >= height * width);
    let (full_y, full_x) = (height - height % TILE, width - width % TILE);
    for y in (0..full_y).step_by(TILE) {
        for x in (0..full_x).step_by(TILE) {
            let rows: [&[f32; TILE]; TILE] = std::array::from_fn(|r| {
                src[(y + r) * width + x..].first_chunk().expect("the tile lies inside")
            });
            for c in 0..TILE {
                let column: [f32; TILE] = std::array::from_fn(|r| rows[r][c]);
                dst[(x + c) * height + y..][..TILE].copy_from_slice(&column);
            }
        }
    }
    for y in 0..height {
        for x in if y < full_y { full_x } else { 0 }..width {
            dst[x * height + y] = src[y * width + x];
        }
    }
}

/// Memory that a [`Resizer`] uses, shared by all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResizeScratch {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl ResizeScratch {
    fn take(&mut self, n: usize) -> (&mut [f32], &mut [f32]) {
        for buffer in [&mut self.a, &mut self.b] {
            if buffer.len() < n {
                buffer.resize(n, 0.0);
            }
        }
        (&mut self.a[..n], &mut self.b[..n])
    }
}

/// Resizes planes from one size to another.
#[derive(Clone, Debug)]
pub(crate) struct Resizer {
    from: Shape,
    to: Shape,
    rows: Mix,
    columns: Mix,
}

impl Resizer {
    /// The resizer of the pyramid (see [`Taps::resize`]).
    pub(crate) fn pyramid(from: Shape, to: Shape) -> Self {
        let sigma = antialias_sigma([from.height, from.width], [to.height, to.width]);
        Self::new(from, to, |n_in, n_out| Taps::resize(n_in, n_out, sigma))
    }

    /// The enlargement to full size (see [`Taps::enlarge`]).
    pub(crate) fn enlarge(from: Shape, to: Shape) -> Self {
        Self::new(from, to, Taps::enlarge)
    }

    fn new(from: Shape, to: Shape, taps: impl Fn(usize, usize) -> Taps) -> Self {
        Self {
            from,
            to,
            rows: Mix::new(&taps(from.height, to.height)),
            columns: Mix::new(&taps(from.width, to.width)),
        }
    }

    /// Resizes `src` into `dst`; both row by row without gaps. The same size is copied.
    pub(crate) fn run(&self, src: &[f32], dst: &mut [f32], scratch: &mut ResizeScratch) {
        let (from, to) = (self.from, self.to);
        if from == to {
            dst.copy_from_slice(src);
            return;
        }
        let largest = from.height.max(to.height) * from.width.max(to.width);
        let (a, b) = scratch.take(largest);
        if to.height <= from.height {
            let a_len = to.height * from.width;
            self.rows.rows(src, from.width, &mut a[..a_len]);
            transpose(a, to.height, from.width, b);
            self.columns.rows(b, to.height, &mut a[..to.len()]);
            transpose(a, to.width, to.height, dst);
        } else {
            transpose(src, from.height, from.width, a);
            self.columns.rows(a, from.height, &mut b[..to.width * from.height]);
            transpose(b, to.width, from.height, a);
            self.rows.rows(a, to.width, dst);
        }
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Image, Rng};

    use super::*;

    fn random(shape: Shape, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        Image::from_fn(shape, |_, _| rng.uniform() as f32)
    }

    /// The definition: horizontally, then vertically, in double precision.
    fn plain(src: &Image<f32>, rows: &Taps, columns: &Taps) -> Image<f32> {
        let mix = |taps: &Taps, i: usize, at: &dyn Fn(usize) -> f32| -> f32 {
            let (index, weight) = taps.of(i);
            let terms = index.iter().zip(weight);
            terms.map(|(&j, w)| w * f64::from(at(j as usize))).sum::<f64>() as f32
        };
        let wide = Image::from_fn(Shape::new(src.height(), columns.n_out()), |x, y| {
            mix(columns, x, &|j| src.at(j, y))
        });
        Image::from_fn(Shape::new(rows.n_out(), columns.n_out()), |x, y| {
            mix(rows, y, &|j| wide.at(x, j))
        })
    }

    #[test]
    fn resizing_follows_the_definition() {
        let sizes = [(96, 176), (77, 141), (20, 36), (9, 17), (7, 3), (1, 1), (110, 40)];
        for (i, &from) in sizes.iter().enumerate() {
            for &to in &sizes {
                let (from, to) = (Shape::new(from.0, from.1), Shape::new(to.0, to.1));
                let src = random(from, i as u64);
                let sigma = antialias_sigma([from.height, from.width], [to.height, to.width]);
                let taps = |n_in, n_out| Taps::resize(n_in, n_out, sigma);
                let want = plain(&src, &taps(from.height, to.height), &taps(from.width, to.width));
                let mut got = vec![0.0; to.len()];
                let resizer = Resizer::pyramid(from, to);
                resizer.run(src.pixels(), &mut got, &mut ResizeScratch::default());
                for (g, w) in got.iter().zip(want.pixels()) {
                    assert!((g - w).abs() <= 2e-6, "{from} to {to}: {g} {w}");
                }
            }
        }
    }

    #[test]
    fn a_constant_stays_constant() {
        let (from, to) = (Shape::new(33, 61), Shape::new(21, 80));
        for resizer in [Resizer::pyramid(from, to), Resizer::enlarge(from, to)] {
            let mut dst = vec![0.0; to.len()];
            resizer.run(&vec![3.0; from.len()], &mut dst, &mut ResizeScratch::default());
            assert!(dst.iter().all(|v| (v - 3.0).abs() < 2e-6));
        }
    }

    #[test]
    fn transposing_twice_is_the_identity() {
        for shape in [Shape::new(8, 8), Shape::new(19, 37), Shape::new(3, 40), Shape::new(40, 1)] {
            let src = random(shape, 5);
            let (mut once, mut twice) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
            transpose(src.pixels(), shape.height, shape.width, &mut once);
            assert_eq!(once[shape.height * (shape.width - 1)], src.at(shape.width - 1, 0));
            transpose(&once, shape.width, shape.height, &mut twice);
            assert_eq!(twice, src.pixels());
        }
    }
}
