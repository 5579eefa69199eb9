//! From what the cells say to a mesh without holes and spikes.

use stillframe_image::Shape;

use super::cell::Sky;
use crate::ops::stats;

/// A cell whose pixels spread this many times more than the median of its surroundings holds
/// sources, not sky.
const TOO_WIDE: f32 = 2.5;
/// Surroundings of a cell, in cells to each side.
const SURROUNDINGS: usize = 2;

/// Levels and noises of every node; none if no cell says anything.
pub(super) fn complete(cells: &[Option<Sky>], nodes: Shape) -> Option<(Vec<f32>, Vec<f32>)> {
    let trusted: Vec<Option<Sky>> = (0..cells.len())
        .map(|at| {
            let around = surroundings(cells, nodes, at % nodes.width, at / nodes.width);
            cells[at].filter(|sky| sky.spread <= TOO_WIDE * around)
        })
        .collect();
    // where sources are everywhere, they are better than nothing
    let cells = if trusted.iter().any(Option::is_some) { &trusted } else { cells };
    let level = filled(cells, nodes, |sky| sky.level)?;
    let noise = filled(cells, nodes, |sky| sky.noise)?;
    Some((median_3x3(&level, nodes), median_3x3(&noise, nodes)))
}

/// Median spread of the cells around (and in) cell (`i`, `j`).
fn surroundings(cells: &[Option<Sky>], nodes: Shape, i: usize, j: usize) -> f32 {
    let mut spreads = Vec::with_capacity((2 * SURROUNDINGS + 1).pow(2));
    for y in j.saturating_sub(SURROUNDINGS)..(j + SURROUNDINGS + 1).min(nodes.height) {
        for x in i.saturating_sub(SURROUNDINGS)..(i + SURROUNDINGS + 1).min(nodes.width) {
            spreads.extend(cells[y * nodes.width + x].map(|sky| sky.spread));
        }
    }
    stats::median(&mut spreads).unwrap_or(0.0)
}

/// The values of the cells; a cell without one gets the mean of all others, weighted by the
/// inverse fourth power of their distance, so that the nearest decide.
fn filled(cells: &[Option<Sky>], nodes: Shape, of: impl Fn(&Sky) -> f32) -> Option<Vec<f32>> {
    let known: Vec<(f64, f64, f64)> = cells
        .iter()
        .enumerate()
        .filter_map(|(at, sky)| {
            let value = f64::from(of(sky.as_ref()?));
            Some(((at % nodes.width) as f64, (at / nodes.width) as f64, value))
        })
        .collect();
    if known.is_empty() {
        return None;
    }
    let from_others = |at: usize| {
        let (x, y) = ((at % nodes.width) as f64, (at / nodes.width) as f64);
        let (mut sum, mut weights) = (0.0, 0.0);
        for &(kx, ky, value) in &known {
            let squared = (kx - x) * (kx - x) + (ky - y) * (ky - y);
            let weight = 1.0 / (squared * squared);
            sum += weight * value;
            weights += weight;
        }
        (sum / weights) as f32
    };
    let at_cell =
        |(at, sky): (usize, &Option<Sky>)| sky.as_ref().map_or_else(|| from_others(at), &of);
    Some(cells.iter().enumerate().map(at_cell).collect())
}

/// Value at a node that may lie one outside the mesh, where it continues straight on.
fn straight_on(values: &[f32], nodes: Shape, i: i64, j: i64) -> f32 {
    let along_row = |row: usize| {
        let at = |k: usize| values[row * nodes.width + k];
        outside(i, nodes.width, at)
    };
    outside(j, nodes.height, along_row)
}

fn outside(k: i64, n: usize, at: impl Fn(usize) -> f32) -> f32 {
    match usize::try_from(k) {
        Ok(k) if k < n => at(k),
        _ if n == 1 => at(0),
        Ok(_) => 2.0 * at(n - 1) - at(n - 2),
        Err(_) => 2.0 * at(0) - at(1),
    }
}

/// Median of every node and its eight neighbours; the mesh is continued by straight lines first,
/// so that a plane stays a plane up to its border.
fn median_3x3(values: &[f32], nodes: Shape) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for j in 0..nodes.height as i64 {
        for i in 0..nodes.width as i64 {
            let mut around = [0.0f32; 9];
            for (k, value) in around.iter_mut().enumerate() {
                let k = k as i64;
                *value = straight_on(values, nodes, i + k % 3 - 1, j + k / 3 - 1);
            }
            around.sort_unstable_by(f32::total_cmp);
            out.push(around[4]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_passes_the_median_up_to_its_corners() {
        let nodes = Shape::new(5, 7);
        let plane: Vec<f32> =
            (0..nodes.len()).map(|k| 3.0 * (k % 7) as f32 - 2.0 * (k / 7) as f32).collect();
        assert_eq!(median_3x3(&plane, nodes), plane);
        let line = [1.0, 2.0, 3.0];
        assert_eq!(median_3x3(&line, Shape::new(1, 3)), line);
        assert_eq!(median_3x3(&[4.0], Shape::new(1, 1)), [4.0]);
    }

    #[test]
    fn a_spike_does_not_pass() {
        let nodes = Shape::new(6, 6);
        let mut values = vec![10.0f32; 36];
        values[14] = 900.0;
        values[0] = 900.0;
        assert_eq!(median_3x3(&values, nodes), vec![10.0; 36]);
    }

    #[test]
    fn holes_take_their_neighbours_values() {
        let nodes = Shape::new(1, 5);
        let sky = |level| Some(Sky { level, spread: 1.0, noise: 1.0 });
        let cells = [sky(1.0), None, sky(1.0), sky(1.0), sky(4.0)];
        let values = filled(&cells, nodes, |s| s.level).unwrap();
        assert!((values[1] - 1.0).abs() < 0.05, "{values:?}");
        assert_eq!(complete(&[None; 5], nodes), None);
    }

    #[test]
    fn a_cell_full_of_structure_is_not_believed() {
        let nodes = Shape::new(3, 3);
        let mut cells = vec![Some(Sky { level: 100.0, spread: 6.0, noise: 5.0 }); 9];
        cells[0] = Some(Sky { level: 300.0, spread: 80.0, noise: 9.0 });
        cells[1] = cells[0];
        let (level, noise) = complete(&cells, nodes).unwrap();
        assert_eq!((level, noise), (vec![100.0; 9], vec![5.0; 9]));
    }
}
