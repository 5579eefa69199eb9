//! Sources with unusable pixels.

use stillframe_image::{Image, Shape};

use crate::warp::geometry::Source;

/// Reused copy of a source in which unusable pixels are NaN, made only if there are any.
#[derive(Clone, Debug)]
pub(crate) struct Voided {
    copy: Image<f32>,
}

impl Default for Voided {
    fn default() -> Self {
        Self { copy: Image::filled(Shape::new(0, 0), 0.0) }
    }
}

impl Voided {
    /// The pixels of the source with NaN for those that are void.
    ///
    /// # Panics
    /// If the mask differs in shape from the pixels.
    pub(crate) fn pixels<'a>(&'a mut self, source: &Source<'a>) -> &'a Image<f32> {
        let pixels = source.pixels;
        let Some(void) = source.void else { return pixels };
        assert_eq!(void.bits.shape(), pixels.shape(), "mask and pixels differ in shape");
        if void.bits.pixels().iter().fold(0, |any, bits| any | bits) & void.any_of == 0 {
            return pixels;
        }
        if self.copy.shape() != pixels.shape() {
            self.copy.reset(pixels.shape(), 0.0);
        }
        let values = pixels.pixels().iter().zip(void.bits.pixels());
        for (copy, (&value, bits)) in self.copy.pixels_mut().iter_mut().zip(values) {
            *copy = if bits & void.any_of == 0 { value } else { f32::NAN };
        }
        &self.copy
    }
}
