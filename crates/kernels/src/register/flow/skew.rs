//! Planes stored along anti-diagonals.
//!
//! A Gauss-Seidel sweep makes every pixel depend on its new left and upper neighbours. Along an
//! anti-diagonal x + y = const no pixel depends on another, so a plane that stores them one after
//! the other is swept with plain loops, in the order of rows as far as any number can tell.
//! Neighbours are: left, the same place on the diagonal before; up, one place earlier there; right
//! and down, the same place and one later on the diagonal after.
//!
//! # Source
//! Lamport (1974), doi:10.1145/360827.360844 (the hyperplane method).

use stillframe_image::Shape;

use super::lanes::{Group, LANES, Lanes, groups};

/// Pixels around the image that a plane also holds, for windows that reach over the border.
pub(crate) const MARGIN: usize = 2;

/// One anti-diagonal: pixels (`sum` - y, y) for `first` ≤ y < `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Diagonal {
    /// Place of the pixel with y = 0, whether or not the image has it.
    pub(crate) origin: usize,
    /// First and one past the last row that it crosses.
    pub(crate) first: usize,
    pub(crate) end: usize,
    /// Place of its first group among all groups that hold image pixels.
    pub(crate) cell: usize,
}

impl Diagonal {
    /// First row of its first group, and the number of its groups.
    pub(crate) fn groups(&self) -> (usize, usize) {
        let first = self.first / LANES;
        (first * LANES, self.end.div_ceil(LANES) - first)
    }
}

/// Where the pixels of an image are in a skewed plane.
#[derive(Clone, Debug)]
pub(crate) struct Skew {
    shape: Shape,
    /// Diagonals x + y = -2 · MARGIN ..= width + height - 2 + 2 · MARGIN.
    diagonals: Vec<Diagonal>,
    groups: usize,
    cells: usize,
}

impl Skew {
    /// The places of an image of `shape`, which has at least one pixel.
    pub(crate) fn new(shape: Shape) -> Self {
        let (w, h) = (shape.width as isize, shape.height as isize);
        let reach = 2 * MARGIN as isize;
        let lanes = LANES as isize;
        let (mut groups, mut cells) = (0, 0);
        let diagonals = (-reach..=w + h - 2 + reach)
            .map(|sum| {
                let first = (sum - (w - 1)).clamp(0, h - 1);
                let end = sum.clamp(0, h - 1) + 1;
                // One group more on each side than a window of ±MARGIN on a diagonal up to
                // 2 · MARGIN away can touch.
                let low = (first - reach).div_euclid(lanes) - 1;
                let high = -(-(end + reach)).div_euclid(lanes) + 1;
                let mut diagonal = Diagonal {
                    origin: (groups as isize * lanes - low * lanes) as usize,
                    first: first as usize,
                    end: end as usize,
                    cell: cells,
                };
                groups += (high - low) as usize;
                if (0..w + h - 1).contains(&sum) {
                    cells += diagonal.groups().1;
                } else {
                    diagonal.end = diagonal.first;
                }
                diagonal
            })
            .collect();
        Self { shape, diagonals, groups, cells }
    }

    /// Size of the image.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Groups of a plane.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Groups of a plane that hold image pixels.
    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    /// Number of diagonals that hold image pixels.
    pub(crate) fn n_diagonals(&self) -> usize {
        self.shape.width + self.shape.height - 1
    }

    /// Diagonal x + y = `sum`, which may reach 2 · MARGIN past the image on both ends.
    pub(crate) fn diagonal(&self, sum: isize) -> &Diagonal {
        &self.diagonals[(sum + 2 * MARGIN as isize) as usize]
    }

    /// Place of the pixel at column `x` and row `y`, up to MARGIN outside the image.
    pub(crate) fn place(&self, x: isize, y: isize) -> usize {
        (self.diagonal(x + y).origin as isize + y) as usize
    }
}

impl Skew {
    /// The groups of diagonal `sum`, each pixel replaced by the one `dx` columns and `dy` rows away.
    #[inline(always)]
    pub(crate) fn window<'a>(
        &self,
        plane: &'a [f32],
        sum: usize,
        dx: isize,
        dy: isize,
    ) -> &'a [Group] {
        let (row, n) = self.diagonal(sum as isize).groups();
        let there = self.diagonal(sum as isize + dx + dy);
        let start = (there.origin as isize + row as isize + dy) as usize;
        groups(&plane[start..start + n * LANES])
    }

    /// Range of the groups of diagonal `sum` among the pixels of a plane.
    #[inline(always)]
    pub(crate) fn span(&self, sum: usize) -> std::ops::Range<usize> {
        let diagonal = self.diagonal(sum as isize);
        let (row, n) = diagonal.groups();
        let start = diagonal.origin + row;
        start..start + n * LANES
    }

    /// Stores the rows of an image along the diagonals. Margins are not touched.
    pub(crate) fn store(&self, rows: &[f32], plane: &mut [f32]) {
        let Shape { height, width } = self.shape;
        let blocks = if width > LANES { height / LANES } else { 0 };
        for block in 0..blocks {
            // Diagonals that cross all rows of the block, from the first that does.
            let y = block * LANES;
            let n = width - (LANES - 1);
            let lines: [&[f32]; LANES] =
                std::array::from_fn(|l| &rows[(y + l) * width + LANES - 1 - l..][..n]);
            let sums = &self.diagonals[y + LANES - 1 + 2 * MARGIN..][..n];
            for (i, diagonal) in sums.iter().enumerate() {
                let group: Group = std::array::from_fn(|l| lines[l][i]);
                plane[diagonal.origin + y..][..LANES].copy_from_slice(&group);
            }
            for l in 0..LANES {
                let row = &rows[(y + l) * width..][..width];
                for x in (0..LANES - 1 - l).chain(width - l..width) {
                    plane[self.place(x as isize, (y + l) as isize)] = row[x];
                }
            }
        }
        for y in blocks * LANES..height {
            for x in 0..width {
                plane[self.place(x as isize, y as isize)] = rows[y * width + x];
            }
        }
    }

    /// Adds the image in `plane` to rows.
    pub(crate) fn add_to_rows(&self, plane: &[f32], rows: &mut [f32]) {
        let Shape { height, width } = self.shape;
        let blocks = if width > LANES { height / LANES } else { 0 };
        for block in 0..blocks {
            let y = block * LANES;
            let n = width - (LANES - 1);
            let block_rows = &mut rows[y * width..(y + LANES) * width];
            let lines: [&mut [f32]; LANES] = {
                let mut split = block_rows.chunks_exact_mut(width);
                std::array::from_fn(|l| {
                    &mut split.next().expect("the block has as many rows")[LANES - 1 - l..][..n]
                })
            };
            let sums = &self.diagonals[y + LANES - 1 + 2 * MARGIN..][..n];
            for (i, diagonal) in sums.iter().enumerate() {
                let group: &Group =
                    plane[diagonal.origin + y..].first_chunk().expect("the plane holds the group");
                for l in 0..LANES {
                    lines[l][i] += group[l];
                }
            }
            for l in 0..LANES {
                for x in (0..LANES - 1 - l).chain(width - l..width) {
                    rows[(y + l) * width + x] += plane[self.place(x as isize, (y + l) as isize)];
                }
            }
        }
        for y in blocks * LANES..height {
            for x in 0..width {
                rows[y * width + x] += plane[self.place(x as isize, y as isize)];
            }
        }
    }

    /// Gives the pixels up to `reach` outside the image the values of those inside that `rule`
    /// names: `rule(i, n)` is the index in `0..n` for an `i` outside.
    pub(crate) fn fill_margin(
        &self,
        plane: &mut [f32],
        reach: isize,
        rule: fn(isize, isize) -> isize,
    ) {
        let (w, h) = (self.shape.width as isize, self.shape.height as isize);
        let inside = |i: isize, n: isize| if (0..n).contains(&i) { i } else { rule(i, n) };
        for y in -reach..h + reach {
            let is_border_row = !(0..h).contains(&y);
            let from_y = inside(y, h);
            let mut copy = |x: isize| {
                plane[self.place(x, y)] = plane[self.place(inside(x, w), from_y)];
            };
            if is_border_row {
                (-reach..w + reach).for_each(&mut copy);
            } else {
                (-reach..0).chain(w..w + reach).for_each(&mut copy);
            }
        }
    }
}

/// The nearest index inside.
pub(crate) fn repeat_end(i: isize, n: isize) -> isize {
    i.clamp(0, n - 1)
}

/// The index mirrored at the outermost pixel, which is not repeated.
pub(crate) fn mirror(i: isize, n: isize) -> isize {
    let i = i.abs();
    if i >= n { 2 * (n - 1) - i } else { i }
}

/// A plane that fits a skew, of zeros.
pub(crate) fn resized(plane: &mut Vec<Lanes>, skew: &Skew) {
    plane.clear();
    plane.resize(skew.groups(), Lanes::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(shape: Shape) -> Vec<f32> {
        (0..shape.len()).map(|i| i as f32 + 1.0).collect()
    }

    const SHAPES: [Shape; 7] = [
        Shape::new(1, 1),
        Shape::new(5, 40),
        Shape::new(40, 5),
        Shape::new(16, 17),
        Shape::new(33, 33),
        Shape::new(90, 31),
        Shape::new(31, 170),
    ];

    #[test]
    fn storing_then_adding_to_zero_is_the_identity() {
        for shape in SHAPES {
            let skew = Skew::new(shape);
            let mut plane = vec![0.0; skew.groups() * LANES];
            skew.store(&image(shape), &mut plane);
            let mut back = vec![0.0; shape.len()];
            skew.add_to_rows(&plane, &mut back);
            assert_eq!(back, image(shape), "{shape}");
        }
    }

    #[test]
    fn windows_are_neighbours_and_no_two_pixels_share_a_place() {
        for shape in SHAPES {
            let skew = Skew::new(shape);
            let mut plane = vec![0.0; skew.groups() * LANES];
            skew.store(&image(shape), &mut plane);
            skew.fill_margin(&mut plane, 2, repeat_end);
            let rows = image(shape);
            let (w, h) = (shape.width as isize, shape.height as isize);
            for sum in 0..skew.n_diagonals() {
                let d = *skew.diagonal(sum as isize);
                let (row, n) = d.groups();
                assert!(row <= d.first && row + n * LANES >= d.end);
                for (dx, dy) in (0..25).map(|i| (i % 5 - 2, i / 5 - 2)) {
                    let window = skew.window(&plane, sum, dx, dy).as_flattened();
                    for y in d.first..d.end {
                        let x = repeat_end((sum - y) as isize + dx, w);
                        let y_there = repeat_end(y as isize + dy, h);
                        assert_eq!(window[y - row], rows[(y_there * w + x) as usize], "{shape}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_margin_mirrors_without_repeating_the_end() {
        assert_eq!([-2, -1, 7, 8].map(|i| mirror(i, 7)), [2, 1, 5, 4]);
    }
}
