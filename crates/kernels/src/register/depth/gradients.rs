//! Gradients of the channels of an image, and how much they differ from those of another.

use stillframe_image::{Image, Shape};

use super::patches::PatchGrid;

const LANES: usize = 16;

/// The gradients of an image: along x and y for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    shape: Shape,
    planes: Vec<Image<f32>>,
}

impl Gradients {
    /// Central differences per pixel, one-sided at the border; 0 along an axis of one pixel. The
    /// channels are finite, of one shape, and best smoothed by a pixel or two.
    ///
    /// # Panics
    /// If there is no channel, or their shapes differ.
    pub fn of(channels: &[Image<f32>]) -> Self {
        let shape = channels[0].shape();
        assert!(channels.iter().all(|c| c.shape() == shape), "channels of one shape are needed");
        let planes = channels.iter().flat_map(|c| [along_x(c), along_y(c)]).collect();
        Self { shape, planes }
    }

    /// Size of the image.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Sum over all planes of the absolute difference, for every cell of `grid`, row-major.
    ///
    /// # Panics
    /// If shapes or numbers of channels differ.
    pub fn differences(&self, other: &Self, grid: &PatchGrid, out: &mut Vec<f64>) {
        assert!(self.planes.len() == other.planes.len());
        assert!(self.shape == other.shape && self.shape == grid.shape());
        out.clear();
        out.resize(grid.n_cells(), 0.0);
        let (rows, columns) = grid.cuts();
        let across = columns.len() - 1;
        for (a, b) in self.planes.iter().zip(&other.planes) {
            for (j, band) in rows.windows(2).enumerate() {
                let out = &mut out[j * across..(j + 1) * across];
                for y in band[0]..band[1] {
                    add_row(a.row(y), b.row(y), columns, out);
                }
            }
        }
    }
}

/// Adds the absolute differences of a row to the cells that begin at `cuts`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_row(a: &[f32], b: &[f32], cuts: &[usize], out: &mut [f64]) {
    for (cut, out) in cuts.windows(2).zip(out) {
        let (a, b) = (&a[cut[0]..cut[1]], &b[cut[0]..cut[1]]);
        let mut lanes = [0.0f32; LANES];
        let (ga, ra) = a.as_chunks::<LANES>();
        let (gb, rb) = b.as_chunks::<LANES>();
        for (ga, gb) in ga.iter().zip(gb) {
            for l in 0..LANES {
                lanes[l] += (ga[l] - gb[l]).abs();
            }
        }
        for ((lane, a), b) in lanes.iter_mut().zip(ra).zip(rb) {
            *lane += (a - b).abs();
        }
        *out += lanes.iter().map(|&l| f64::from(l)).sum::<f64>();
    }
}

fn along_x(image: &Image<f32>) -> Image<f32> {
    let Shape { height, width } = image.shape();
    let mut out = Image::filled(image.shape(), 0.0);
    if width < 2 {
        return out;
    }
    for y in 0..height {
        let (row, out) = (image.row(y), out.row_mut(y));
        out[0] = row[1] - row[0];
        out[width - 1] = row[width - 1] - row[width - 2];
        for (out, w) in out[1..].iter_mut().zip(row.windows(3)) {
            *out = 0.5 * (w[2] - w[0]);
        }
    }
    out
}

fn along_y(image: &Image<f32>) -> Image<f32> {
    let height = image.height();
    let mut out = Image::filled(image.shape(), 0.0);
    if height < 2 {
        return out;
    }
    for y in 0..height {
        let (above, below) = (y.max(1) - 1, (y + 1).min(height - 1));
        let per = 1.0 / (below - above) as f32;
        for ((out, a), b) in out.row_mut(y).iter_mut().zip(image.row(above)).zip(image.row(below)) {
            *out = per * (b - a);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn gradients_of_a_plane_are_its_slopes() {
        let plane = Image::from_fn(Shape::new(5, 7), |x, y| 2.0 * x as f32 - 3.0 * y as f32);
        let g = Gradients::of(&[plane]);
        assert!(g.planes[0].pixels().iter().all(|&v| v == 2.0));
        assert!(g.planes[1].pixels().iter().all(|&v| v == -3.0));
        let dot = Gradients::of(&[Image::filled(Shape::new(1, 1), 4.0)]);
        assert_eq!((dot.planes[0].at(0, 0), dot.planes[1].at(0, 0)), (0.0, 0.0));
    }

    #[test]
    fn cells_hold_the_plain_sums() {
        let shape = Shape::new(23, 71);
        let mut rng = Rng::new(4, 0, 0);
        let mut random =
            || Gradients::of(&[0, 1].map(|_| Image::from_fn(shape, |_, _| rng.uniform() as f32)));
        let (a, b) = (random(), random());
        let grid = PatchGrid::new(shape, 20, 0.75);
        let mut got = Vec::new();
        a.differences(&b, &grid, &mut got);
        let (rows, columns) = grid.cuts();
        let mut cells = got.iter();
        for band in rows.windows(2) {
            for cut in columns.windows(2) {
                let mut want = 0.0;
                for (a, b) in a.planes.iter().zip(&b.planes) {
                    for y in band[0]..band[1] {
                        for x in cut[0]..cut[1] {
                            want += f64::from((a.at(x, y) - b.at(x, y)).abs());
                        }
                    }
                }
                assert!((cells.next().unwrap() - want).abs() < 1e-4 * want);
            }
        }
    }
}
