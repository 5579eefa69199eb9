//! A stack sampled between its slices.

use stillframe_image::Image;

/// The slices around a depth, and the part of the second. Depths beyond the stack are those of its
/// ends; not a number is 0.
fn around(depth: f32, n: usize) -> (usize, usize, f32) {
    let last = (n - 1) as f32;
    let depth = if depth > 0.0 { depth } else { 0.0 };
    let depth = if depth < last { depth } else { last };
    let below = depth as usize;
    (below, (below + 1).min(n - 1), depth - below as f32)
}

/// Writes what the stack shows at the depth of each pixel to `out`: linear between two slices.
/// `slice(z)` is slice z of `n`, row-major.
///
/// # Panics
/// If there is no slice, or lengths differ.
pub fn at_depth<'a>(
    n: usize,
    slice: impl Fn(usize) -> &'a [f32],
    depths: &Image<f32>,
    out: &mut [f32],
) {
    assert!(n > 0 && out.len() == depths.pixels().len());
    for (i, (&depth, out)) in depths.pixels().iter().zip(out).enumerate() {
        let (below, above, t) = around(depth, n);
        let (a, b) = (slice(below)[i], slice(above)[i]);
        *out = a + t * (b - a);
    }
}

/// Adds to `frame` the difference between the stack at slice `anchor` and at the depth of each
/// pixel: the frame as if it had been recorded at that slice.
///
/// # Panics
/// As [`at_depth`], also if there is no slice `anchor`.
pub fn moved_to<'a>(
    anchor: usize,
    n: usize,
    slice: impl Fn(usize) -> &'a [f32],
    depths: &Image<f32>,
    frame: &mut [f32],
) {
    let target = slice(anchor);
    assert!(n > anchor && frame.len() == depths.pixels().len());
    for (i, (&depth, value)) in depths.pixels().iter().zip(frame).enumerate() {
        let (below, above, t) = around(depth, n);
        let (a, b) = (slice(below)[i], slice(above)[i]);
        *value += target[i] - (a + t * (b - a));
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;

    #[test]
    fn between_slices_values_are_mixed_and_the_ends_hold() {
        let stack: Vec<Vec<f32>> = [1.0, 3.0, 7.0].iter().map(|&v| vec![v; 5]).collect();
        let depths = Image::from_vec(Shape::new(1, 5), vec![-1.0, 0.25, 1.5, 9.0, f32::NAN]);
        let mut out = vec![0.0; 5];
        at_depth(3, |z| &stack[z], &depths, &mut out);
        assert_eq!(out, [1.0, 1.5, 5.0, 7.0, 1.0]);
    }

    #[test]
    fn a_frame_of_the_stack_moves_onto_its_anchor() {
        let stack: Vec<Vec<f32>> =
            (0..4).map(|z| (0..6).map(|i| (z * z + i) as f32).collect()).collect();
        let depths = Image::from_fn(Shape::new(2, 3), |x, y| 0.5 * (x + 3 * y) as f32);
        let mut frame = vec![0.0; 6];
        at_depth(4, |z| &stack[z], &depths, &mut frame);
        moved_to(2, 4, |z| &stack[z], &depths, &mut frame);
        assert_eq!(frame, stack[2]);
    }
}
