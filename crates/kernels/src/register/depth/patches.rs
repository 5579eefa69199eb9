//! Overlapping square patches of an image, and the cells into which their borders cut it.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape};

/// Overlapping patches that cover an image. All borders of patches together cut the image into
/// cells; what is summed once per cell serves every patch, and what is known per patch is spread
/// over its cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchGrid {
    shape: Shape,
    rows: Axis,
    columns: Axis,
}

/// Patches along one axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Axis {
    /// Borders of the cells, from 0 to the size.
    cuts: Vec<usize>,
    /// First cell of each patch, and the one after its last.
    patches: Vec<(usize, usize)>,
}

impl Axis {
    fn new(n: usize, size: usize, step: usize) -> Self {
        let size = size.clamp(1, n);
        let mut starts: Vec<usize> = (0..=n - size).step_by(step.max(1)).collect();
        // The last patch ends where the image does.
        if starts.last() != Some(&(n - size)) {
            starts.push(n - size);
        }
        let mut cuts: Vec<usize> = starts.iter().flat_map(|&s| [s, s + size]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let cell = |at: usize| cuts.partition_point(|&c| c < at);
        let patches = starts.iter().map(|&s| (cell(s), cell(s + size))).collect();
        Self { cuts, patches }
    }

    fn n_cells(&self) -> usize {
        self.cuts.len() - 1
    }
}

impl PatchGrid {
    /// Patches of `size` pixels (at most the image) that share the part `overlap` (0 ≤ overlap < 1)
    /// of their side with the next; the last along each axis ends at the border.
    ///
    /// # Panics
    /// If the image is empty.
    pub fn new(shape: Shape, size: usize, overlap: f64) -> Self {
        assert!(!shape.is_empty(), "an image with pixels is needed");
        let step = (size as f64 * (1.0 - overlap)).round().max(1.0) as usize;
        Self {
            shape,
            rows: Axis::new(shape.height, size, step),
            columns: Axis::new(shape.width, size, step),
        }
    }

    /// Size of the image.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.rows.n_cells() * self.columns.n_cells()
    }

    /// Number of patches.
    pub fn n_patches(&self) -> usize {
        self.rows.patches.len() * self.columns.patches.len()
    }

    /// Pixels of each cell.
    pub fn areas(&self) -> Vec<f64> {
        let sides = |axis: &Axis| -> Vec<f64> {
            axis.cuts.windows(2).map(|c| (c[1] - c[0]) as f64).collect()
        };
        let across = sides(&self.columns);
        sides(&self.rows).iter().flat_map(|h| across.iter().map(move |w| h * w)).collect()
    }

    /// Borders of the cells along y and along x, from 0 to the size of the image.
    pub(super) fn cuts(&self) -> (&[usize], &[usize]) {
        (&self.rows.cuts, &self.columns.cuts)
    }

    /// Cells of each patch, patches row-major.
    pub(super) fn patches(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone> {
        let across = self.columns.n_cells();
        self.rows.patches.iter().flat_map(move |&(top, bottom)| {
            self.columns.patches.iter().map(move |&(left, right)| {
                (top..bottom).flat_map(move |j| (left..right).map(move |i| j * across + i))
            })
        })
    }

    /// The mean, for each cell, of the values of the patches that cover it.
    ///
    /// # Panics
    /// If there is not one value per patch.
    pub fn spread(&self, values: &[f64]) -> Vec<f32> {
        assert_eq!(values.len(), self.n_patches());
        let mut sums = vec![(0.0f64, 0u32); self.n_cells()];
        for (cells, value) in self.patches().zip(values) {
            for cell in cells {
                sums[cell].0 += value;
                sums[cell].1 += 1;
            }
        }
        sums.iter().map(|&(sum, n)| (sum / f64::from(n.max(1))) as f32).collect()
    }

    /// Writes the value of each cell to its pixels.
    ///
    /// # Panics
    /// If there is not one value per cell, or `out` has another shape.
    pub fn paint(&self, cells: &[f32], out: &mut Image<f32>) {
        assert!(cells.len() == self.n_cells() && out.shape() == self.shape);
        let across = self.columns.n_cells();
        for (band, cells) in self.rows.cuts.windows(2).zip(cells.chunks_exact(across)) {
            for y in band[0]..band[1] {
                let row = out.row_mut(y);
                for (cut, value) in self.columns.cuts.windows(2).zip(cells) {
                    row[cut[0]..cut[1]].fill(*value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_patch_ends_at_the_border() {
        let axis = Axis::new(300, 128, 32);
        assert_eq!(axis.patches.len(), 7);
        let spans: Vec<_> =
            axis.patches.iter().map(|&(a, b)| (axis.cuts[a], axis.cuts[b])).collect();
        assert_eq!(spans[..2], [(0, 128), (32, 160)]);
        assert_eq!(spans[5..], [(160, 288), (172, 300)]);
        let small = Axis::new(5, 128, 32);
        assert_eq!((small.cuts, small.patches), (vec![0, 5], vec![(0, 1)]));
    }

    #[test]
    fn a_cell_has_the_mean_of_its_patches() {
        let grid = PatchGrid::new(Shape::new(10, 30), 20, 0.5);
        assert_eq!((grid.n_patches(), grid.n_cells()), (2, 3));
        let cells = grid.spread(&[1.0, 2.0]);
        assert_eq!(cells, [1.0, 1.5, 2.0]);
        let mut out = Image::filled(grid.shape(), 0.0);
        grid.paint(&cells, &mut out);
        assert_eq!([out.at(9, 0), out.at(10, 9), out.at(29, 5)], [1.0, 1.5, 2.0]);
    }

    #[test]
    fn any_size_is_covered() {
        for shape in [Shape::new(1, 1), Shape::new(3, 200), Shape::new(129, 127)] {
            for overlap in [0.0, 0.5, 0.75, 0.999] {
                let grid = PatchGrid::new(shape, 16, overlap);
                let mut hit = vec![0; grid.n_cells()];
                grid.patches().flatten().for_each(|c| hit[c] += 1);
                assert!(hit.iter().all(|&n| n > 0), "{shape} {overlap}");
                let (rows, columns) = grid.cuts();
                assert_eq!(rows.last(), Some(&shape.height));
                assert_eq!(columns.last(), Some(&shape.width));
            }
        }
    }
}
