//! Weights of tiles that add up to 1.

use stillframe_image::math;

/// Weight of a tile at each of its pixels: the product of a factor for the column and one for the
/// row, each in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct TileWindow {
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
}

impl TileWindow {
    /// Factors of the columns of the tile.
    pub fn columns(&self) -> &[f32] {
        &self.x
    }

    /// Factors of the rows of the tile.
    pub fn rows(&self) -> &[f32] {
        &self.y
    }
}

/// Raised cosine from near 0 to near 1 over `length` samples; `ramp(i, n) + ramp(n − 1 − i, n)`
/// is 1, and neither end is 0, so that a tile counts at every pixel of its own.
pub(super) fn ramp(i: usize, length: usize) -> f64 {
    let t = (i as f64 + 0.5) / length as f64;
    0.5 - 0.5 * math::cos(std::f64::consts::PI * t)
}

/// A factor for each sample of each span, such that at each position they add up to 1: 1 where a
/// span is alone, raised cosines where two overlap. Near the border three spans may overlap, for
/// the appended last one can start before the end of the last but two: then each pair's ramp is
/// applied in turn.
pub(super) fn ramps(spans: &[(usize, usize)]) -> Vec<Vec<f32>> {
    // Each span takes over from what came before it: before · (1 − ramp) + own · ramp.
    let mut factors: Vec<Vec<f64>> = Vec::with_capacity(spans.len());
    for (k, &(start, length)) in spans.iter().enumerate() {
        let mut own = vec![1.0; length];
        if let Some(&(before, size)) = k.checked_sub(1).map(|k| &spans[k]) {
            let shared = (before + size).saturating_sub(start).min(length);
            for (i, factor) in own.iter_mut().take(shared).enumerate() {
                *factor = ramp(i, shared);
            }
            for (j, earlier) in factors.iter_mut().enumerate() {
                let (first, size) = spans[j];
                for x in start.max(first)..(first + size) {
                    let i = x - start;
                    earlier[x - first] *=
                        if i < shared { ramp(shared - 1 - i, shared) } else { 0.0 };
                }
            }
        }
        factors.push(own);
    }
    factors.into_iter().map(|f| f.into_iter().map(|v| v as f32).collect()).collect()
}
