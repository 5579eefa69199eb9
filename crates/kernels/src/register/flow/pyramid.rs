//! Sizes, spacings and smoothness of the levels.

use stillframe_image::{Shape, math};

use super::params::FlowParams;

/// No level gets a side below this many pixels, except the last.
const COARSEST: f64 = 10.0;

/// One level, 0 being full resolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// Its size.
    pub(crate) shape: Shape,
    /// Full-resolution pixels per pixel along x and y.
    pub(crate) spacing: [f64; 2],
    /// Smoothness along x and y, in units of full-resolution pixels.
    pub(crate) alpha: [f64; 2],
}

/// The levels that are solved, the coarsest first.
///
/// # Source
/// The definition of the recipe's `levels`, `min_level` and `eta` in `docs/motion.md`.
pub(crate) fn levels(params: &FlowParams, shape: Shape) -> Vec<Level> {
    let depth = |n: usize| {
        let (mut k, mut d) = (0, n as f64);
        while k < params.levels {
            k += 1;
            d *= params.eta;
            if d.round_ties_even() < COARSEST {
                break;
            }
        }
        k
    };
    let (rows, columns) = (depth(shape.height), depth(shape.width));
    let cap = 4 * rows.min(columns);
    let (rows, columns) = (rows.min(cap), columns.min(cap));
    let top = rows.max(columns);
    let finest = if top <= params.min_level { top - 1 } else { params.min_level };
    (finest..=top)
        .rev()
        .map(|i| {
            let side = |n: usize, depth: usize| {
                let exact = n as f64 * math::pow(params.eta, i.min(depth) as f64);
                exact.round_ties_even().max(1.0) as usize
            };
            let level = Shape::new(side(shape.height, rows), side(shape.width, columns));
            let scale = if i == finest { 1.0 } else { math::pow(params.eta, -0.5 * i as f64) };
            Level {
                shape: level,
                spacing: [
                    shape.width as f64 / level.width as f64,
                    shape.height as f64 / level.height as f64,
                ],
                alpha: [params.alpha[0] * scale, params.alpha[1] * scale],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarsest_level_is_the_first_below_ten_pixels() {
        let coarsest = |n| levels(&FlowParams::default(), Shape::new(n, n))[0].shape.height;
        // 512 · 0.8^18 = 9.2, 256 · 0.8^15 = 9.0, 128 · 0.8^12 = 8.8, 64 · 0.8^9 = 8.6
        for n in [512, 256, 128, 64] {
            assert_eq!(coarsest(n), 9, "{n}");
        }
        let all = levels(&FlowParams::default(), Shape::new(512, 512));
        assert_eq!(
            (all.len(), all[18].shape, all[18].spacing),
            (19, Shape::new(512, 512), [1.0; 2])
        );
        assert_eq!(all[18].alpha, [1.5; 2]);
        assert!((all[17].alpha[0] - 1.5 / 0.8f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_finest_level_beyond_the_pyramid_is_the_last_but_one() {
        let params = FlowParams { min_level: 99, ..FlowParams::default() };
        let all = levels(&params, Shape::new(64, 64));
        assert_eq!(all.len(), 2);
        for shape in [Shape::new(1, 1), Shape::new(10, 10), Shape::new(2, 300)] {
            let all = levels(&FlowParams::default(), shape);
            assert_eq!(all.last().map(|l| l.shape), Some(shape));
            assert!(all.iter().all(|l| !l.shape.is_empty()));
        }
    }

    #[test]
    fn a_factor_of_one_repeats_the_full_size() {
        let params = FlowParams { eta: 1.0, levels: 7, ..FlowParams::default() };
        let all = levels(&params, Shape::new(64, 80));
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|l| l.shape == Shape::new(64, 80)));
    }
}
