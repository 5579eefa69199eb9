use proptest::prelude::*;
use stillframe_image::{Image, Rng, Vec2};

use super::*;
use crate::register::temporal::Measurement;

/// Sum of all windows and number of tiles at every pixel.
fn sums(grid: &TileGrid) -> (Image<f64>, Image<u16>) {
    let mut sum = Image::filled(grid.shape(), 0.0f64);
    let mut count = Image::filled(grid.shape(), 0u16);
    for tile in grid.tiles() {
        let r = tile.rect;
        assert!(r.x_end() <= grid.shape().width && r.y_end() <= grid.shape().height);
        assert_eq!(
            (tile.window().columns().len(), tile.window().rows().len()),
            (r.width, r.height)
        );
        for (y, wy) in (r.y..).zip(tile.window().rows()) {
            for (x, wx) in (r.x..).zip(tile.window().columns()) {
                sum.set(x, y, sum.at(x, y) + f64::from(*wx) * f64::from(*wy));
                count.set(x, y, count.at(x, y) + 1);
            }
        }
    }
    (sum, count)
}

fn check(grid: &TileGrid) {
    let (sum, count) = sums(grid);
    assert!(sum.pixels().iter().all(|s| (s - 1.0).abs() < 1e-6));
    assert!(count.pixels().iter().all(|&c| c >= 1));
    for tile in grid.tiles() {
        assert_eq!((tile.rect.x % 2, tile.rect.y % 2), (0, 0));
        if (grid.shape().width | grid.shape().height).is_multiple_of(2) {
            assert_eq!((tile.rect.width % 2, tile.rect.height % 2), (0, 0));
        }
        let all = tile.window().columns().iter().chain(tile.window().rows());
        assert!(all.clone().all(|w| (0.0..=1.0).contains(w)));
    }
}

fn variance(real_px2: f64) -> DisplacementVariance {
    DisplacementVariance {
        total_px2: real_px2 + 0.1,
        estimation_px2: 0.1,
        sigma_px2: 0.01,
        n_frames: 60,
    }
}

proptest! {
    #[test]
    fn every_pixel_is_covered_and_the_windows_add_up_to_one(
        width in 64usize..700, height in 64usize..500, fwhm_px in 1.0f64..9.0,
        max_size in 64usize..300, overlap in 0.25f64..=0.5,
    ) {
        let shape = Shape::new(height, width);
        check(&TileGrid::new(shape, &TileParams { fwhm_px, max_size, overlap }).unwrap());
    }

    #[test]
    fn refined_lattices_stay_a_partition_of_unity(
        width in 64usize..700, height in 64usize..500, max_size in 128usize..300, seed in 0u64..1000,
    ) {
        let params = TileParams { fwhm_px: 9.0, max_size, overlap: 0.25 };
        let mut grid = TileGrid::new(Shape::new(height, width), &params).unwrap();
        let mut rng = Rng::new(seed, 0, 0);
        let refine = RefineParams::default();
        for _ in 0..4 {
            let variances: Vec<_> = grid.tiles().iter()
                .map(|_| (rng.uniform() < 0.8).then(|| variance(rng.range(0.0, 1.0)))).collect();
            let next = grid.refine(&variances, &refine);
            check(&next.grid);
            prop_assert_eq!(next.parents.len(), next.grid.tiles().len());
            for (i, tile) in next.grid.tiles().iter().enumerate() {
                let parent = &grid.tiles()[next.parents[i]];
                let is_new = next.changed.binary_search(&i).is_ok();
                prop_assert_eq!(!is_new, tile == parent);
                prop_assert!(tile.rect.intersect(parent.rect) == tile.rect);
                prop_assert!(tile.level <= refine.max_level);
                if is_new {
                    prop_assert!(tile.rect.width >= 64 && tile.rect.height >= 64);
                    prop_assert!(variances[next.parents[i]].unwrap().real_px2() > 0.25);
                }
            }
            grid = next.grid;
        }
    }

    #[test]
    fn aligned_static_data_are_not_split(n in 3usize..80, sigma in 0.001f64..2.0, seed in 0u64..500) {
        let mut rng = Rng::new(seed, 1, 0);
        let params = TileParams { fwhm_px: 6.0, max_size: 192, overlap: 0.25 };
        let grid = TileGrid::new(Shape::new(192, 192), &params).unwrap();
        let frames: Vec<_> = (0..n).map(|_| Some(Measurement {
            value: Vec2::new(3.0 + sigma * rng.normal(), -1.0 + sigma * rng.normal()),
            sigma_px: sigma,
        })).collect();
        let variances = vec![DisplacementVariance::of(&frames); grid.tiles().len()];
        let refined = grid.refine(&variances, &RefineParams::default());
        prop_assert!(refined.changed.is_empty());
        prop_assert_eq!(refined.grid, grid);
    }
}

#[test]
fn layout_follows_the_formula() {
    // F = 3: T = 96, O = 24, S = 72.
    let params = TileParams::default();
    let grid = TileGrid::new(Shape::new(1080, 1920), &params).unwrap();
    assert_eq!(grid.tiles().len(), 405);
    assert_eq!(grid.tiles()[1].rect, Rect::new(72, 0, 96, 96));
    assert_eq!(grid.tiles()[404].rect, Rect::new(1824, 984, 96, 96));
    // At the borders of the image the window is 1.
    assert_eq!(grid.tiles()[0].window().columns()[0], 1.0);
    assert_eq!(grid.tiles()[404].window().rows()[95], 1.0);
    for (fwhm_px, side) in [(1.0, 64), (2.5, 80), (4.0, 128), (9.0, 128)] {
        let grid = TileGrid::new(Shape::new(512, 512), &TileParams { fwhm_px, ..params.clone() });
        assert_eq!(grid.unwrap().tiles()[0].rect, Rect::new(0, 0, side, side));
    }
}

#[test]
fn real_variance_is_what_errors_do_not_explain() {
    let mut rng = Rng::new(4, 0, 0);
    let frames: Vec<_> = (0..4000)
        .map(|i| {
            (i % 7 != 0).then(|| Measurement {
                value: Vec2::new(0.5 * rng.normal(), 1.5 + 0.5 * rng.normal()) * 1.0
                    + Vec2::new(0.3 * rng.normal(), 0.3 * rng.normal()),
                sigma_px: 0.3,
            })
        })
        .collect();
    let v = DisplacementVariance::of(&frames).unwrap();
    assert!((v.real_px2() - 0.5).abs() < 4.0 * v.sigma_px2, "{v:?}");
    assert!(DisplacementVariance::of(&frames[..2]).is_none());
}

#[test]
fn only_the_tile_that_moves_is_split_and_not_below_the_smallest_size() {
    let params = TileParams { fwhm_px: 4.0, max_size: 128, overlap: 0.25 };
    let grid = TileGrid::new(Shape::new(400, 400), &params).unwrap();
    let mut variances = vec![Some(variance(0.0)); grid.tiles().len()];
    variances[5] = Some(variance(2.0));
    let refined = grid.refine(&variances, &RefineParams::default());
    assert_eq!(refined.changed, [5, 6, 7, 8]);
    let again = vec![Some(variance(9.0)); refined.grid.tiles().len()];
    let finer = refined.grid.refine(&again, &RefineParams::default());
    // 128-pixel tiles have parts of 74; those cannot be split again.
    assert!(finer.grid.tiles().iter().all(|t| t.rect.width >= 64 && t.level == 1));
    let coarse = RefineParams { min_size: 80, ..RefineParams::default() };
    assert!(grid.refine(&variances, &coarse).changed.is_empty());
}

#[test]
fn bad_input_is_refused() {
    let shape = Shape::new(63, 500);
    let error = TileGrid::new(shape, &TileParams::default());
    assert_eq!(error, Err(TileError::ImageTooSmall { shape }));
    for params in [
        TileParams { overlap: 0.2, ..TileParams::default() },
        TileParams { overlap: f64::NAN, ..TileParams::default() },
        TileParams { fwhm_px: 0.0, ..TileParams::default() },
        TileParams { max_size: 63, ..TileParams::default() },
    ] {
        let error = TileGrid::new(Shape::new(99, 99), &params);
        assert!(matches!(error, Err(TileError::OutOfRange { .. })));
    }
}
