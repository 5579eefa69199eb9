//! L and R of Methodik v4 at the nodes of the weights.

use stillframe_image::Point;
use stillframe_kernels::ops::metrics::TileMetrics;
use stillframe_kernels::ops::metrics::v4::{
    LocalShares, TileKind, local_weights, registration_weight,
};

use super::local_metrics::LocalMetrics;
use super::tile_pass::TileRegistration;

/// A place is judged by its stars if frames have this many there (median over the frames).
const STAR_MIN_COUNT: usize = 10;

/// L by member and node: exp of the clamped quality, scores taken across the frames of each node. A
/// frame that does not reach a node has 1 there.
pub(super) fn local_factors(metrics: &[LocalMetrics]) -> Vec<Vec<f64>> {
    let n_nodes = metrics.first().map_or(0, Vec::len);
    let mut factors = vec![vec![1.0; n_nodes]; metrics.len()];
    for node in 0..n_nodes {
        let there: Vec<usize> =
            (0..metrics.len()).filter(|&f| metrics[f][node].is_some()).collect();
        let tiles: Vec<TileMetrics> = there.iter().filter_map(|&f| metrics[f][node]).collect();
        let kind = TileKind::of(&tiles, STAR_MIN_COUNT);
        for (&f, l) in there.iter().zip(local_weights(&tiles, kind, LocalShares::default())) {
            factors[f][node] = l;
        }
    }
    factors
}

/// R = exp(β (cc − 1)) by member and node, and how many of the nodes lie in no tile that was
/// registered on the image; R is 1 there for all frames.
///
/// cc is that of the nearest tile. A frame that this tile did not accept counts as one that just
/// reaches `min_correlation`: more than it had.
pub(super) fn correlation_factors(
    tiles: Option<&TileRegistration>,
    n_frames: usize,
    nodes: &[Point],
    (beta, min_correlation): (f64, f64),
) -> (Vec<Vec<f64>>, usize) {
    let mut factors = vec![vec![1.0; nodes.len()]; n_frames];
    let Some(tiles) = tiles else { return (factors, nodes.len()) };
    let mut without = 0;
    for (node, p) in nodes.iter().enumerate() {
        let nearest = (0..tiles.motions.len())
            .min_by(|&a, &b| tiles.centre(a).distance(*p).total_cmp(&tiles.centre(b).distance(*p)));
        let Some(motion) = nearest.and_then(|i| tiles.motions[i].as_ref()) else {
            without += 1;
            continue;
        };
        for (factors, cc) in factors.iter_mut().zip(&motion.cc) {
            factors[node] = registration_weight(cc.unwrap_or(min_correlation), beta);
        }
    }
    (factors, without)
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rect, Shape};
    use stillframe_kernels::register::tiles::{TileGrid, TileParams};

    use super::*;
    use crate::stack::tile_pass::TileMotion;

    fn tile(fwhm: f32, energy: f32, n_stars: usize) -> TileMetrics {
        TileMetrics {
            background: 100.0,
            noise: 4.0,
            gradient_energy: energy,
            n_stars,
            fwhm_px: Some(fwhm),
            roundness: Some(0.9),
            contrast: Some(0.5),
        }
    }

    #[test]
    fn sharp_frames_weigh_more_at_star_nodes_and_structured_ones_elsewhere() {
        let frames: Vec<LocalMetrics> = [2.5f32, 3.0, 3.4, 4.5]
            .iter()
            .zip([900.0, 500.0, 400.0, 300.0])
            .map(|(&fwhm, e)| vec![Some(tile(fwhm, 100.0, 12)), Some(tile(3.0, e, 2)), None])
            .collect();
        let l = local_factors(&frames);
        for node in 0..2 {
            assert!(l[0][node] > l[1][node] && l[1][node] > l[3][node], "{node}: {l:?}");
        }
        assert!(l.iter().all(|l| l[2] == 1.0));
        // Frames that do not reach a node have no say in the scores of those that do.
        let mut fewer = frames.clone();
        fewer.push(vec![None; 3]);
        assert_eq!(local_factors(&fewer)[..4], l[..]);
    }

    #[test]
    fn r_is_that_of_the_nearest_tile() {
        let grid = TileGrid::new(Shape::new(96, 240), &TileParams::default()).unwrap();
        let n = grid.tiles().len();
        assert!(n >= 3);
        let mut motions: Vec<Option<TileMotion>> = vec![None; n];
        motions[0] = Some(TileMotion { cc: vec![Some(0.9), None], ..TileMotion::default() });
        let tiles =
            TileRegistration { grid, origin: Point::new(10.0, 20.0), motions, vectors: Vec::new() };
        assert_eq!(tiles.grid.tiles()[0].rect, Rect::new(0, 0, 96, 96));
        let nodes = [Point::new(10.0, 20.0), Point::new(240.0, 60.0)];
        let (r, without) = correlation_factors(Some(&tiles), 2, &nodes, (6.0, 0.2));
        // β = 6, cc = 0.9.
        assert!((r[0][0] - 0.549).abs() < 1e-3);
        assert!((r[1][0] - (-4.8f64).exp()).abs() < 1e-9);
        assert_eq!((r[0][1], r[1][1], without), (1.0, 1.0, 1));
        assert_eq!(correlation_factors(None, 1, &nodes, (6.0, 0.2)), (vec![vec![1.0; 2]], 2));
    }
}
