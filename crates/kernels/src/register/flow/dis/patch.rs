//! Patches: their Hessians, their search, and the field that they make together.

use stillframe_image::Shape;

/// Pixels along a side of a patch, one register of them.
pub(super) const SIDE: usize = 8;
/// Pixels between neighbouring patches.
const STRIDE: usize = 4;
/// Pixels around a padded plane.
pub(super) const PAD: usize = 2 * SIDE;
/// Added to the diagonal of a Hessian, per pixel, so that flat patches stay where they are.
const RIDGE: f32 = 1e-6;
/// Residuals below this, of a range of values of about 1, are not told apart in the weights.
const LEAST_RESIDUAL: f32 = 1.0 / 255.0;

type Row = [f32; SIDE];
/// One value per pixel of a patch.
type Patch = [Row; SIDE];

/// Where the patches of a scale are.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) shape: Shape,
    /// Elements from a row of a padded plane to the next.
    stride: usize,
    /// Columns and rows of the patches' first pixels.
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl Grid {
    pub(super) fn new(shape: Shape) -> Self {
        let places = |n: usize| {
            let last = n.saturating_sub(SIDE);
            let mut all: Vec<usize> = (0..last).step_by(STRIDE).collect();
            all.push(last);
            all
        };
        Self {
            shape,
            stride: shape.width + 2 * PAD,
            columns: places(shape.width),
            rows: places(shape.height),
        }
    }

    fn n_patches(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Column and row of the first pixel of patch `i`.
    fn patch(&self, i: usize) -> (usize, usize) {
        (self.columns[i % self.columns.len()], self.rows[i / self.columns.len()])
    }

    /// Place of pixel (x, y) in a padded plane.
    fn place(&self, x: usize, y: usize) -> usize {
        (y + PAD) * self.stride + x + PAD
    }
}

/// Surrounds `rows` with `PAD` pixels that repeat the border.
pub(super) fn padded(rows: &[f32], shape: Shape, out: &mut Vec<f32>) {
    let stride = shape.width + 2 * PAD;
    out.resize(stride * (shape.height + 2 * PAD), 0.0);
    for (y, out) in out.chunks_exact_mut(stride).enumerate() {
        let from = y.clamp(PAD, PAD + shape.height - 1) - PAD;
        let row = &rows[from * shape.width..][..shape.width];
        out[..PAD].fill(row[0]);
        out[PAD..PAD + shape.width].copy_from_slice(row);
        out[PAD + shape.width..].fill(row[shape.width - 1]);
    }
}

/// The reference at one scale.
#[derive(Debug)]
pub(super) struct Template {
    /// Padded, per channel.
    planes: Vec<Vec<f32>>,
    dx: Vec<Vec<f32>>,
    dy: Vec<Vec<f32>>,
    weights: Vec<f32>,
    /// Inverse Hessian of each patch: xx, xy, yy.
    inverse: Vec<[f32; 3]>,
}

impl Template {
    pub(super) fn new(grid: &Grid, planes: Vec<Vec<f32>>, weights: &[f32]) -> Self {
        let stride = grid.stride;
        let difference = |plane: &Vec<f32>, step: usize| -> Vec<f32> {
            let n = plane.len();
            let at = |i: usize| {
                if i < step || i + step >= n {
                    0.0
                } else {
                    0.5 * (plane[i + step] - plane[i - step])
                }
            };
            (0..n).map(at).collect()
        };
        let dx: Vec<_> = planes.iter().map(|p| difference(p, 1)).collect();
        let dy: Vec<_> = planes.iter().map(|p| difference(p, stride)).collect();
        let inverse = (0..grid.n_patches()).map(|i| {
            let (x, y) = grid.patch(i);
            let start = grid.place(x, y);
            let ridge = RIDGE * (SIDE * SIDE) as f32;
            let (mut xx, mut xy, mut yy) = (ridge, 0.0, ridge);
            for (c, w) in weights.iter().enumerate() {
                let gx = centred(&read(&dx[c], start, stride));
                let gy = centred(&read(&dy[c], start, stride));
                xx += w * dot(&gx, &gx);
                xy += w * dot(&gx, &gy);
                yy += w * dot(&gy, &gy);
            }
            let per_determinant = 1.0 / (xx * yy - xy * xy);
            [yy * per_determinant, -xy * per_determinant, xx * per_determinant]
        });
        let inverse = inverse.collect();
        Self { planes, dx, dy, weights: weights.to_vec(), inverse }
    }
}

#[inline(always)]
fn read(plane: &[f32], start: usize, stride: usize) -> Patch {
    let mut patch = [[0.0; SIDE]; SIDE];
    for (j, row) in patch.iter_mut().enumerate() {
        row.copy_from_slice(&plane[start + j * stride..][..SIDE]);
    }
    patch
}

/// Sum of the products, lane by lane and then over the lanes in a fixed order.
#[inline(always)]
fn dot(a: &Patch, b: &Patch) -> f32 {
    let mut lanes = [0.0; SIDE];
    for j in 0..SIDE {
        for l in 0..SIDE {
            lanes[l] += a[j][l] * b[j][l];
        }
    }
    fold(lanes)
}

#[inline(always)]
fn fold(l: Row) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// The patch minus its mean.
#[inline(always)]
fn centred(patch: &Patch) -> Patch {
    let mut lanes = [0.0; SIDE];
    for row in patch {
        for l in 0..SIDE {
            lanes[l] += row[l];
        }
    }
    let mean = fold(lanes) / (SIDE * SIDE) as f32;
    let mut out = *patch;
    for row in &mut out {
        for value in row {
            *value -= mean;
        }
    }
    out
}

/// Displacements of the patches, in pixels of the scale.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    flow: Vec<[f32; 2]>,
    /// Sums over the patches that cover a pixel: of weights, and of weighted displacements.
    sums: [Vec<f32>; 3],
}

/// A frame at one scale and what it is compared with.
#[derive(Clone, Copy)]
struct Match<'a> {
    grid: &'a Grid,
    template: &'a Template,
    moving: &'a [Vec<f32>],
}

impl Match<'_> {
    /// Frame minus reference, mean removed, for patch `i` moved by `flow`.
    #[inline(always)]
    fn residual(&self, i: usize, channel: usize, flow: [f32; 2]) -> Patch {
        let grid = self.grid;
        let (x, y) = grid.patch(i);
        let fixed = read(&self.template.planes[channel], grid.place(x, y), grid.stride);
        // A patch may leave the frame by its own size at most.
        let limit = |p: f32, n: usize| p.clamp(-(SIDE as f32), n as f32);
        let px = limit(x as f32 + flow[0], grid.shape.width) + PAD as f32;
        let py = limit(y as f32 + flow[1], grid.shape.height) + PAD as f32;
        let (ix, iy) = (px as usize, py as usize);
        let (fx, fy) = (px - ix as f32, py - iy as f32);
        let (w00, w01) = ((1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx);
        let (w10, w11) = (fy * (1.0 - fx), fy * fx);
        let plane = &self.moving[channel];
        let mut out = [[0.0; SIDE]; SIDE];
        for j in 0..SIDE {
            let upper = &plane[(iy + j) * grid.stride + ix..][..=SIDE];
            let lower = &plane[(iy + j + 1) * grid.stride + ix..][..=SIDE];
            for l in 0..SIDE {
                let value =
                    (w00 * upper[l] + w01 * upper[l + 1]) + (w10 * lower[l] + w11 * lower[l + 1]);
                out[j][l] = value - fixed[j][l];
            }
        }
        centred(&out)
    }

    /// Weighted sum of squared residuals, and the gradient step that lessens it.
    #[inline(always)]
    fn step(&self, i: usize, flow: [f32; 2]) -> (f32, [f32; 2]) {
        let grid = self.grid;
        let (x, y) = grid.patch(i);
        let start = grid.place(x, y);
        let (mut error, mut bx, mut by) = (0.0, 0.0, 0.0);
        for (c, w) in self.template.weights.iter().enumerate() {
            let r = self.residual(i, c, flow);
            error += w * dot(&r, &r);
            bx += w * dot(&r, &read(&self.template.dx[c], start, grid.stride));
            by += w * dot(&r, &read(&self.template.dy[c], start, grid.stride));
        }
        let [xx, xy, yy] = self.template.inverse[i];
        (error, [xx * bx + xy * by, xy * bx + yy * by])
    }

    /// The best displacement that descent finds from the best of `starts`.
    #[inline(always)]
    fn descend(&self, i: usize, starts: &[[f32; 2]], iterations: usize) -> [f32; 2] {
        let mut best = (f32::INFINITY, starts[0], [0.0; 2]);
        for &start in starts {
            let (error, step) = self.step(i, start);
            if error < best.0 {
                best = (error, start, step);
            }
        }
        let origin = best.1;
        for _ in 1..iterations {
            let [dx, dy] = best.2;
            let next = [best.1[0] - dx, best.1[1] - dy];
            let (error, step) = self.step(i, next);
            // Descent ends where it rises, or has left the patch.
            let far = (next[0] - origin[0]).abs().max((next[1] - origin[1]).abs());
            if !(error < best.0 && far <= SIDE as f32) {
                break;
            }
            best = (error, next, step);
        }
        best.1
    }
}

/// Searches every patch from `initial` (dense, in pixels of the scale): forwards with the flows of
/// the left and upper patches as further starts, then backwards with those of the right and lower.
pub(super) fn search(
    grid: &Grid,
    template: &Template,
    moving: &[Vec<f32>],
    iterations: usize,
    initial: (&[f32], &[f32]),
    out: &mut Search,
) {
    let places = (0..grid.n_patches()).map(|i| {
        let (x, y) = grid.patch(i);
        let (x, y) = (x + SIDE / 2, y + SIDE / 2);
        let (x, y) = (x.min(grid.shape.width - 1), y.min(grid.shape.height - 1));
        let centre = y * grid.shape.width + x;
        [initial.0[centre], initial.1[centre]]
    });
    out.flow.clear();
    out.flow.extend(places);
    sweep(Match { grid, template, moving }, iterations, &mut out.flow);
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sweep(patches: Match, iterations: usize, flow: &mut [[f32; 2]]) {
    let nx = patches.grid.columns.len();
    let n = flow.len();
    for i in 0..n {
        let own = flow[i];
        let left = if i % nx > 0 { flow[i - 1] } else { own };
        let up = if i >= nx { flow[i - nx] } else { own };
        flow[i] = patches.descend(i, &[own, left, up], iterations);
    }
    for i in (0..n).rev() {
        let own = flow[i];
        let right = if i % nx + 1 < nx { flow[i + 1] } else { own };
        let down = if i + nx < n { flow[i + nx] } else { own };
        flow[i] = patches.descend(i, &[own, right, down], iterations);
    }
}

/// Writes the mean of the patches over every pixel, weighted by how well they fit there.
pub(super) fn densify(
    grid: &Grid,
    template: &Template,
    moving: &[Vec<f32>],
    search: &mut Search,
    (u, v): (&mut [f32], &mut [f32]),
) {
    for sum in &mut search.sums {
        sum.clear();
        sum.resize(grid.shape.len(), 0.0);
    }
    let Search { flow, sums } = search;
    spread(Match { grid, template, moving }, flow, sums);
    for (i, (u, v)) in u.iter_mut().zip(v).enumerate() {
        *u = sums[1][i] / sums[0][i];
        *v = sums[2][i] / sums[0][i];
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn spread(patches: Match, flow: &[[f32; 2]], sums: &mut [Vec<f32>; 3]) {
    let shape = patches.grid.shape;
    for (i, &flow) in flow.iter().enumerate() {
        let mut squared = [[0.0; SIDE]; SIDE];
        for (c, w) in patches.template.weights.iter().enumerate() {
            let r = patches.residual(i, c, flow);
            for j in 0..SIDE {
                for l in 0..SIDE {
                    squared[j][l] += w * (r[j][l] * r[j][l]);
                }
            }
        }
        let (x, y) = patches.grid.patch(i);
        for j in 0..SIDE.min(shape.height - y) {
            let start = (y + j) * shape.width + x;
            for l in 0..SIDE.min(shape.width - x) {
                let weight = 1.0 / squared[j][l].sqrt().max(LEAST_RESIDUAL);
                sums[0][start + l] += weight;
                sums[1][start + l] += weight * flow[0];
                sums[2][start + l] += weight * flow[1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(shape: Shape, dx: f32, dy: f32) -> Vec<f32> {
        let mut out = Vec::new();
        for y in 0..shape.height {
            for x in 0..shape.width {
                let (x, y) = (x as f32 - dx, y as f32 - dy);
                out.push(
                    0.5 + 0.25 * (0.35 * x).sin() * (0.29 * y).cos()
                        + 0.2 * (0.13 * x * 0.4 + 0.31 * y).sin(),
                );
            }
        }
        out
    }

    #[test]
    fn every_pixel_is_covered_and_patches_fit() {
        for shape in [Shape::new(8, 8), Shape::new(21, 34), Shape::new(5, 40), Shape::new(1, 1)] {
            let grid = Grid::new(shape);
            let mut covered = vec![false; shape.len()];
            for i in 0..grid.n_patches() {
                let (x, y) = grid.patch(i);
                assert!(x + SIDE <= shape.width.max(SIDE) && y + SIDE <= shape.height.max(SIDE));
                for j in y..(y + SIDE).min(shape.height) {
                    for l in x..(x + SIDE).min(shape.width) {
                        covered[j * shape.width + l] = true;
                    }
                }
            }
            assert!(covered.iter().all(|&c| c), "{shape}");
        }
    }

    #[test]
    fn a_shift_is_found_by_every_inner_patch() {
        let shape = Shape::new(40, 48);
        let grid = Grid::new(shape);
        let plane = |dx, dy| {
            let mut out = Vec::new();
            padded(&scene(shape, dx, dy), shape, &mut out);
            out
        };
        let template = Template::new(&grid, vec![plane(0.0, 0.0)], &[1.0]);
        let moving = [plane(1.3, -0.7)];
        let zero = vec![0.0; shape.len()];
        let mut found = Search::default();
        search(&grid, &template, &moving, 12, (&zero, &zero), &mut found);
        for (i, flow) in found.flow.iter().enumerate() {
            let (x, y) = grid.patch(i);
            if x >= 4 && y >= 4 && x + SIDE + 4 <= 48 && y + SIDE + 4 <= 40 {
                assert!((flow[0] - 1.3).abs() < 0.1 && (flow[1] + 0.7).abs() < 0.1, "{flow:?}");
            }
        }
    }
}
