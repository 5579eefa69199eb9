//! Owned two-dimensional arrays.

use crate::shape::{Rect, Shape};

/// A row-major `height × width` array of pixels without padding.
///
/// Kernels take the parts that they need (`&Image<f32>`, rows or slices); there is no lazy view.
#[derive(Clone, Debug, PartialEq)]
pub struct Image<T> {
    shape: Shape,
    data: Vec<T>,
}

impl<T: Copy> Image<T> {
    /// An image of `shape` with every pixel equal to `value`.
    pub fn filled(shape: Shape, value: T) -> Self {
        Self { shape, data: vec![value; shape.len()] }
    }

    /// The image whose rows are `data`, one after the other.
    ///
    /// # Panics
    /// If `data.len()` is not `shape.len()`.
    pub fn from_vec(shape: Shape, data: Vec<T>) -> Self {
        assert_eq!(data.len(), shape.len(), "pixels do not fill the shape {shape}");
        Self { shape, data }
    }

    /// The image whose pixel at column `x` and row `y` is `f(x, y)`.
    pub fn from_fn(shape: Shape, mut f: impl FnMut(usize, usize) -> T) -> Self {
        let mut data = Vec::with_capacity(shape.len());
        for y in 0..shape.height {
            for x in 0..shape.width {
                data.push(f(x, y));
            }
        }
        Self { shape, data }
    }

    /// Its size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.shape.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.shape.height
    }

    /// Every pixel, row by row.
    pub fn pixels(&self) -> &[T] {
        &self.data
    }

    /// Every pixel, row by row.
    pub fn pixels_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The pixels, row by row, without the shape.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// Row `y`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.shape.width..(y + 1) * self.shape.width]
    }

    /// Row `y`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.data[y * self.shape.width..(y + 1) * self.shape.width]
    }

    /// The pixel at column `x`, row `y`.
    ///
    /// # Panics
    /// If it is outside.
    pub fn at(&self, x: usize, y: usize) -> T {
        debug_assert!(x < self.shape.width);
        self.data[y * self.shape.width + x]
    }

    /// Sets the pixel at column `x`, row `y`.
    ///
    /// # Panics
    /// If it is outside.
    pub fn set(&mut self, x: usize, y: usize, value: T) {
        debug_assert!(x < self.shape.width);
        self.data[y * self.shape.width + x] = value;
    }

    /// Gives the image a new shape and fills it with `value`, keeping the allocation if it is
    /// large enough.
    pub fn reset(&mut self, shape: Shape, value: T) {
        self.shape = shape;
        self.data.clear();
        self.data.resize(shape.len(), value);
    }

    /// A copy of the pixels inside `rect`.
    ///
    /// # Panics
    /// If `rect` does not lie inside the image.
    pub fn crop(&self, rect: Rect) -> Self {
        let mut data = Vec::with_capacity(rect.shape().len());
        for y in rect.y..rect.y_end() {
            data.extend_from_slice(&self.row(y)[rect.x..rect.x_end()]);
        }
        Self { shape: rect.shape(), data }
    }

    /// Copies `part` into this image with its first pixel at (`x`, `y`).
    ///
    /// # Panics
    /// If `part` does not fit there.
    pub fn paste(&mut self, part: &Self, x: usize, y: usize) {
        for row in 0..part.height() {
            self.row_mut(y + row)[x..x + part.width()].copy_from_slice(part.row(row));
        }
    }

    /// The image with `f` applied to every pixel.
    pub fn map<U: Copy>(&self, f: impl FnMut(T) -> U) -> Image<U> {
        Image { shape: self.shape, data: self.data.iter().copied().map(f).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crop_then_paste_is_identity() {
        let image = Image::from_fn(Shape::new(5, 7), |x, y| (10 * y + x) as f32);
        let rect = Rect::new(2, 1, 4, 3);
        let mut copy = image.clone();
        copy.paste(&image.crop(rect), rect.x, rect.y);
        assert_eq!(copy, image);
        assert_eq!(image.crop(rect).at(0, 0), 12.0);
    }
}
