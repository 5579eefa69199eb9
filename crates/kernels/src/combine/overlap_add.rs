//! Tiles to one image: windows that sum to one, and the accumulators they are added to.

use std::ops::Range;

use stillframe_image::{Image, Rect, Shape, math};

/// Sums `w·W·I` and `w·W` of overlapping tiles in double precision.
///
/// Add tiles in the order of their index: the sums depend on it in the last bit.
#[derive(Clone, Debug)]
pub struct OverlapAdd {
    shape: Shape,
    weighted: Vec<f64>,
    weight: Vec<f64>,
}

impl OverlapAdd {
    /// Empty sums for an image of `shape`: 16 bytes a pixel.
    pub fn new(shape: Shape) -> Self {
        Self { shape, weighted: vec![0.0; shape.len()], weight: vec![0.0; shape.len()] }
    }

    /// Adds a tile that covers `rect`: `value` and `weight` (the `W` of its pixels; those not
    /// above 0 are left out) row by row, times the separable window `window_x[column] ·
    /// window_y[row]` times `factor`.
    ///
    /// # Panics
    /// If `rect` does not lie inside the image, or a slice does not fit it.
    pub fn add(
        &mut self,
        rect: Rect,
        (value, weight): (&[f32], &[f32]),
        (window_x, window_y): (&[f64], &[f64]),
        factor: f64,
    ) {
        assert!(
            rect.x_end() <= self.shape.width && rect.y_end() <= self.shape.height,
            "tile outside the image"
        );
        assert_eq!((value.len(), weight.len()), (rect.shape().len(), rect.shape().len()));
        assert_eq!((window_x.len(), window_y.len()), (rect.width, rect.height));
        for (row, wy) in window_y.iter().enumerate() {
            let start = (rect.y + row) * self.shape.width + rect.x;
            let sums = self.weighted[start..].iter_mut().zip(&mut self.weight[start..]);
            let tile = value[row * rect.width..].iter().zip(&weight[row * rect.width..]);
            for (((sum, total), (&value, &weight)), wx) in sums.zip(tile).zip(window_x) {
                if weight > 0.0 {
                    let w = wx * wy * factor * f64::from(weight);
                    *sum += w * f64::from(value);
                    *total += w;
                }
            }
        }
    }

    /// The blended image (0 where no tile has weight) and its weight, Σ w·W.
    pub fn finish(&self) -> (Image<f32>, Image<f32>) {
        let sums = self.weighted.iter().zip(&self.weight);
        let value = sums.map(|(sum, w)| if *w > 0.0 { (sum / w) as f32 } else { 0.0 });
        let weight = self.weight.iter().map(|&w| w as f32);
        (
            Image::from_vec(self.shape, value.collect()),
            Image::from_vec(self.shape, weight.collect()),
        )
    }
}

/// One window for each of the `tiles` along an axis of `size` pixels: positive inside its tile,
/// raised cosines where tiles overlap, and together 1 at every pixel that a tile covers, borders
/// included (to 1e-15).
///
/// Tiles may overlap in any way, also more than two at a place. The product of the windows of two
/// axes is a partition of unity on the lattice of their tiles.
///
/// # Panics
/// If a tile does not lie in `0..size`.
pub fn axis_windows(tiles: &[Range<usize>], size: usize) -> Vec<Vec<f64>> {
    let mut windows: Vec<Vec<f64>> = tiles.iter().map(|tile| tapered(tile, tiles)).collect();
    let mut sums = vec![0.0; size];
    for (tile, window) in tiles.iter().zip(&windows) {
        sums[tile.clone()].iter_mut().zip(window).for_each(|(sum, w)| *sum += w);
    }
    for (tile, window) in tiles.iter().zip(&mut windows) {
        window.iter_mut().zip(&sums[tile.clone()]).for_each(|(w, sum)| *w /= sum);
    }
    windows
}

/// 1, falling to (but not reaching) 0 over the widest overlap at either end.
fn tapered(tile: &Range<usize>, tiles: &[Range<usize>]) -> Vec<f64> {
    let overlap = |at_start: bool| {
        let others = tiles.iter().filter(|o| {
            if at_start {
                o.start < tile.start && o.end > tile.start
            } else {
                o.end > tile.end && o.start < tile.end
            }
        });
        let widths = others.map(|o| {
            if at_start {
                o.end.min(tile.end) - tile.start
            } else {
                tile.end - o.start.max(tile.start)
            }
        });
        widths.max().unwrap_or(0)
    };
    let (rise, fall) = (overlap(true), overlap(false));
    let ramp = |i: usize, n: usize| {
        if i >= n {
            return 1.0;
        }
        let t = (i as f64 + 0.5) / n as f64;
        0.5 - 0.5 * math::cos(std::f64::consts::PI * t)
    };
    let n = tile.len();
    (0..n).map(|i| ramp(i, rise) * ramp(n - 1 - i, fall)).collect()
}

/// The factor ψ(v) = exp(-v / 2σ²), at least 0.001, by which tile-compile's Methodik v4 trusts a
/// tile whose motion has the variance `variance_px2` (x and y together).
///
/// `sigma_px` > 0; 2 px is the original's.
pub fn variance_factor(variance_px2: f64, sigma_px: f64) -> f64 {
    math::exp(-variance_px2 / (2.0 * sigma_px * sigma_px)).max(1e-3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    /// Tiles of `length` each `step` pixels and one at the end, as tile lattices are made.
    fn lattice(size: usize, length: usize, step: usize) -> Vec<Range<usize>> {
        let length = length.min(size);
        let mut starts: Vec<usize> = (0..=size - length).step_by(step).collect();
        if *starts.last().unwrap() != size - length {
            starts.push(size - length);
        }
        starts.into_iter().map(|s| s..s + length).collect()
    }

    proptest! {
        #[test]
        fn windows_are_a_partition_of_unity(size in 1usize..500, length in 1usize..130,
                                            share in 0.5f64..1.0) {
            let tiles = lattice(size, length, ((length as f64 * share) as usize).max(1));
            let windows = axis_windows(&tiles, size);
            let mut sums = vec![0.0; size];
            for (tile, window) in tiles.iter().zip(&windows) {
                for (i, w) in tile.clone().zip(window) {
                    prop_assert!(*w > 0.0 && *w <= 1.0 + 1e-12);
                    sums[i] += w;
                }
            }
            prop_assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-12));
        }
    }

    #[test]
    fn a_constant_image_comes_back_exactly_to_the_corners() {
        let shape = Shape::new(97, 141);
        let (xs, ys) = (lattice(141, 40, 30), lattice(97, 40, 30));
        let (wx, wy) = (axis_windows(&xs, 141), axis_windows(&ys, 97));
        let mut rng = Rng::new(1, 0, 0);
        for constant in [0.1f32, 1234.567, -3e-5, 0.0] {
            let mut sums = OverlapAdd::new(shape);
            for (y, wy) in ys.iter().zip(&wy) {
                for (x, wx) in xs.iter().zip(&wx) {
                    let rect = Rect::new(x.start, y.start, x.len(), y.len());
                    let weight: Vec<f32> =
                        (0..rect.shape().len()).map(|_| rng.range(0.01, 5.0) as f32).collect();
                    let value = vec![constant; weight.len()];
                    let factor = variance_factor(rng.range(0.0, 30.0), 2.0);
                    sums.add(rect, (&value, &weight), (wx, wy), factor);
                }
            }
            let (value, weight) = sums.finish();
            assert!(value.pixels().iter().all(|&v| v == constant));
            assert!(weight.pixels().iter().all(|&w| w > 0.0));
        }
    }

    #[test]
    fn tiles_with_more_weight_dominate_and_empty_places_stay_zero() {
        let mut sums = OverlapAdd::new(Shape::new(1, 6));
        let tile = |value: f32, weight: f32| ([value; 3], [weight; 3]);
        let windows = axis_windows(&[0..3, 2..5], 6);
        let (a, b) = (tile(1.0, 1.0), tile(5.0, 3.0));
        sums.add(Rect::new(0, 0, 3, 1), (&a.0, &a.1), (&windows[0], &[1.0]), 1.0);
        sums.add(Rect::new(2, 0, 3, 1), (&b.0, &b.1), (&windows[1], &[1.0]), 1.0);
        let (value, weight) = sums.finish();
        assert_eq!(value.pixels(), [1.0, 1.0, 4.0, 5.0, 5.0, 0.0]);
        assert_eq!(weight.pixels(), [1.0, 1.0, 2.0, 3.0, 3.0, 0.0]);
    }

    #[test]
    fn variance_factor_is_gaussian_with_a_floor() {
        assert_eq!(variance_factor(0.0, 2.0), 1.0);
        assert!((variance_factor(8.0, 2.0) - (-1.0f64).exp()).abs() < 1e-12);
        assert_eq!(variance_factor(1e9, 2.0), 1e-3);
    }
}
