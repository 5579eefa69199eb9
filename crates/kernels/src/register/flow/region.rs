//! Where a registered frame has data.

use stillframe_image::Image;

use super::FlowField;

/// Whether a pixel that is registered by `field` comes from a pixel of `mask` that is not 0, to the
/// nearest, halves to the right and down: 255 or 0. Positions outside the frame, as
/// [`FlowField::valid`] has it, are 0.
///
/// # Panics
/// If the mask and the field differ in shape.
pub fn carry_mask(mask: &Image<u8>, field: &FlowField) -> Image<u8> {
    let shape = mask.shape();
    assert!(field.u.shape() == shape && field.v.shape() == shape);
    let valid = field.valid();
    Image::from_fn(shape, |x, y| {
        if valid.at(x, y) == 0 {
            return 0;
        }
        // Positions are at least 0 here; those past the last centre belong to the last pixel.
        let near = |p: f32, n: usize| ((p + 0.5) as usize).min(n - 1);
        let (px, py) = (x as f32 + field.u.at(x, y), y as f32 + field.v.at(x, y));
        if mask.at(near(px, shape.width), near(py, shape.height)) == 0 { 0 } else { 255 }
    })
}

#[cfg(test)]
mod tests {
    use stillframe_image::Shape;

    use super::*;

    #[test]
    fn a_mask_moves_with_its_frame_and_the_outside_is_out() {
        let shape = Shape::new(4, 6);
        let mut mask = Image::filled(shape, 255u8);
        mask.set(3, 1, 0);
        let mut field = FlowField::zero(shape);
        assert_eq!(carry_mask(&mask, &field), mask);
        field.u.pixels_mut().fill(1.6);
        let carried = carry_mask(&mask, &field);
        // x + 1.6 is nearest to 3 from x = 1 alone, and inside up to x = 4.
        let row: Vec<u8> = (0..6).map(|x| carried.at(x, 1)).collect();
        assert_eq!(row, [255, 0, 255, 255, 255, 0]);
        field.v.pixels_mut().fill(-0.6);
        assert!((0..6).all(|x| carry_mask(&mask, &field).at(x, 0) == 0));
    }
}
