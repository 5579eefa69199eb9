//! The depth of every patch of a frame.

use super::gradients::Gradients;
use super::patches::PatchGrid;

/// Finds depths by comparing a frame with consecutive slices of a stack.
#[derive(Clone, Debug)]
pub struct DepthEstimator {
    grid: PatchGrid,
    first: usize,
    slices: Vec<Gradients>,
    flatness: f64,
}

impl DepthEstimator {
    /// For the slices `first..first + slices.len()` of a stack. Costs whose curvature is below
    /// `flatness` (0..1) of their least value give whole slices: what they say beyond is noise.
    ///
    /// # Panics
    /// If there is no slice, or one does not have the shape of the grid.
    pub fn new(grid: PatchGrid, first: usize, slices: Vec<Gradients>, flatness: f64) -> Self {
        assert!(!slices.is_empty() && slices.iter().all(|s| s.shape() == grid.shape()));
        Self { grid, first, slices, flatness }
    }

    /// The patches.
    pub fn grid(&self) -> &PatchGrid {
        &self.grid
    }

    /// Sum of the absolute differences between the gradients of the whole frame and of each slice.
    ///
    /// # Panics
    /// If the frame has another shape or number of channels than the slices.
    pub fn costs(&self, frame: &Gradients) -> Vec<f64> {
        let mut cells = Vec::new();
        let whole = |slice: &Gradients| {
            slice.differences(frame, &self.grid, &mut cells);
            cells.iter().sum()
        };
        self.slices.iter().map(whole).collect()
    }

    /// The depth of each cell of the grid (see [`PatchGrid::paint`]), in slices of the stack from 0:
    /// the mean over the patches that cover it.
    ///
    /// # Panics
    /// As [`Self::costs`].
    pub fn depths(&self, frame: &Gradients) -> Vec<f32> {
        let n = self.slices.len();
        let mut costs = vec![0.0; n * self.grid.n_patches()];
        let mut cells = Vec::new();
        for (z, slice) in self.slices.iter().enumerate() {
            slice.differences(frame, &self.grid, &mut cells);
            for (p, members) in self.grid.patches().enumerate() {
                costs[p * n + z] = members.map(|cell| cells[cell]).sum();
            }
        }
        let depth = |costs: &[f64]| self.first as f64 + least(costs, self.flatness);
        let depths: Vec<f64> = costs.chunks_exact(n).map(depth).collect();
        self.grid.spread(&depths)
    }
}

/// Where costs that are known at 0, 1, 2, … are least; 0 for none.
///
/// Sums of absolute differences rise from their minimum along straight lines where the images differ
/// by depth alone, and noise rounds the tip. Lines of equal and opposite slope through the least cost
/// and its neighbours are exact in the first case; a parabola, which fits the second, is off by up to
/// 0.1 in the first. Neither exceeds half a step. The first of equal costs counts; at the ends, and
/// where `c₋ - 2c + c₊ < flatness · c`, the result is whole.
pub fn least(costs: &[f64], flatness: f64) -> f64 {
    let Some(i) = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])) else {
        return 0.0;
    };
    if i == 0 || i + 1 >= costs.len() {
        return i as f64;
    }
    let (before, here, after) = (costs[i - 1], costs[i], costs[i + 1]);
    let curvature = before - 2.0 * here + after;
    let steepest = before.max(after) - here;
    if curvature <= 0.0 || curvature < flatness * here.abs() || steepest <= 0.0 {
        return i as f64;
    }
    i as f64 + (0.5 * (before - after) / steepest).clamp(-0.5, 0.5)
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Image, Rng, Shape, math};

    use super::*;
    use crate::register::depth::at_depth;
    use crate::register::flow::filter::{Normalisation, Smoother};

    /// Blobs at random places and depths, each seen through an axial blur of 1.5 slices.
    fn stack(shape: Shape, n: usize, seed: u64) -> Vec<Image<f32>> {
        let mut rng = Rng::new(seed, 0, 0);
        let blobs: Vec<[f64; 5]> = (0..shape.len() / 60)
            .map(|_| {
                let [x, y, z, brightness, size] = [0; 5].map(|_| rng.uniform());
                let (w, h) = (shape.width as f64, shape.height as f64);
                [
                    x * w,
                    y * h,
                    z * (n as f64 + 6.0) - 3.0,
                    20.0 + 80.0 * brightness,
                    1.5 + 2.0 * size,
                ]
            })
            .collect();
        (0..n)
            .map(|z| {
                let mut slice = vec![10.0f64; shape.len()];
                for &[bx, by, bz, brightness, size] in &blobs {
                    let axial = brightness * math::exp(-0.5 * ((z as f64 - bz) / 1.5).powi(2));
                    if axial < 1e-3 {
                        continue;
                    }
                    let reach = |at: f64, n: usize| {
                        (at - 4.0 * size).max(0.0) as usize
                            ..((at + 4.0 * size).max(0.0) as usize).min(n)
                    };
                    for y in reach(by, shape.height) {
                        for x in reach(bx, shape.width) {
                            let r2 = (x as f64 - bx).powi(2) + (y as f64 - by).powi(2);
                            slice[y * shape.width + x] +=
                                axial * math::exp(-0.5 * r2 / size.powi(2));
                        }
                    }
                }
                Image::from_vec(shape, slice.iter().map(|&v| v as f32).collect())
            })
            .collect()
    }

    fn smoothed(image: &Image<f32>) -> Gradients {
        let mut out = image.clone();
        Smoother::new(image.shape(), 1.5, 1.5).run(image, Normalisation::IDENTITY, &mut out);
        Gradients::of(&[out])
    }

    fn shown(stack: &[Image<f32>], depths: &Image<f32>) -> Image<f32> {
        let mut frame = Image::filled(depths.shape(), 0.0);
        at_depth(stack.len(), |z| stack[z].pixels(), depths, frame.pixels_mut());
        frame
    }

    #[test]
    fn the_depth_of_a_frame_between_slices_is_found() {
        let shape = Shape::new(96, 160);
        let stack = stack(shape, 15, 3);
        let grid = PatchGrid::new(shape, 64, 0.75);
        let slices = stack.iter().map(smoothed).collect();
        let estimator = DepthEstimator::new(grid, 0, slices, 1e-3);
        let mut rng = Rng::new(8, 0, 0);
        for noise in [0.0f32, 4.0] {
            let (mut worst, mut bias) = (0.0f64, 0.0f64);
            for k in 0..21 {
                let truth = 5.0 + 0.2 * k as f32;
                let mut frame = shown(&stack, &Image::filled(shape, truth));
                let pixels = frame.pixels_mut();
                pixels.iter_mut().for_each(|v| *v += noise * rng.normal() as f32);
                let depths = estimator.depths(&smoothed(&frame));
                for d in &depths {
                    worst = worst.max(f64::from(d - truth).abs());
                    bias += f64::from(d - truth) / (21 * depths.len()) as f64;
                }
            }
            eprintln!("noise {noise}: worst {worst:.3}, bias {bias:.4}");
            assert!(worst < 0.2 && bias.abs() < 0.02, "{noise}: {worst} {bias}");
        }
    }

    #[test]
    fn a_tilted_frame_has_tilted_depths() {
        let shape = Shape::new(64, 256);
        let stack = stack(shape, 12, 5);
        let tilt = |x: usize| 4.0 + 3.0 * x as f32 / 256.0;
        let frame = shown(&stack, &Image::from_fn(shape, |x, _| tilt(x)));
        let grid = PatchGrid::new(shape, 64, 0.75);
        // Depths count from the start of the stack, whichever slices take part.
        let slices = stack[2..].iter().map(smoothed).collect();
        let estimator = DepthEstimator::new(grid, 2, slices, 1e-3);
        let mut map = Image::filled(shape, 0.0);
        estimator.grid().paint(&estimator.depths(&smoothed(&frame)), &mut map);
        for x in (40..220).step_by(10) {
            assert!((map.at(x, 30) - tilt(x)).abs() < 0.4, "{x}: {} {}", map.at(x, 30), tilt(x));
        }
    }

    #[test]
    fn the_cheapest_slice_of_a_whole_frame_is_its_own() {
        let shape = Shape::new(48, 48);
        let stack = stack(shape, 9, 7);
        let slices: Vec<Gradients> = stack.iter().map(smoothed).collect();
        let grid = PatchGrid::new(shape, 128, 0.75);
        let estimator = DepthEstimator::new(grid, 0, slices.clone(), 1e-3);
        let costs = estimator.costs(&slices[6]);
        assert!((least(&costs, 0.0) - 6.0).abs() < 0.1);
        assert_eq!(costs[6], 0.0);
    }

    #[test]
    fn minima_lie_between_samples_and_never_beyond_half_a_step() {
        let v = |at: f64| -> Vec<f64> { (0..7).map(|i| 3.0 + (f64::from(i) - at).abs()).collect() };
        for at in [1.0, 2.25, 2.5, 3.4, 4.9] {
            assert!((least(&v(at), 0.0) - at).abs() < 1e-12, "{at}");
        }
        assert_eq!(least(&[5.0, 5.0, 5.0], 0.0), 0.0);
        assert_eq!(least(&[1.0, 2.0, 3.0], 0.0), 0.0);
        assert_eq!(least(&[3.0, 2.0, 1.0], 0.0), 2.0);
        assert_eq!(least(&[7.0], 0.0), 0.0);
        assert_eq!(least(&[], 0.0), 0.0);
        // Nearly flat costs are not split.
        assert_eq!(least(&[1.0002, 1.0, 1.0001], 1e-3), 1.0);
    }
}
