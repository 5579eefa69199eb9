//! Images reduced by averaging, and turned.

use stillframe_image::{Image, Point, Shape, Transform};

use super::PhaseError;
use super::window::Frame;

/// An image averaged over blocks, with holes where most of a block is missing.
#[derive(Clone, Debug)]
pub(super) struct Reduced {
    pub(super) image: Image<f32>,
    pub(super) mask: Image<u8>,
}

impl Reduced {
    pub(super) fn new(image: &Image<f32>, mask: Option<&Image<u8>>, factor: usize) -> Self {
        let shape = Shape::new(image.height().div_ceil(factor), image.width().div_ceil(factor));
        let mut missing = Image::filled(shape, 0u8);
        let averaged = Image::from_fn(shape, |x, y| {
            let (mut sum, mut n) = (0.0f64, 0usize);
            for v in y * factor..((y + 1) * factor).min(image.height()) {
                for u in x * factor..((x + 1) * factor).min(image.width()) {
                    let value = image.at(u, v);
                    if value.is_finite() && mask.is_none_or(|m| m.at(u, v) == 0) {
                        sum += f64::from(value);
                        n += 1;
                    }
                }
            }
            if 2 * n < factor * factor {
                missing.set(x, y, 1);
            }
            if n > 0 { (sum / n as f64) as f32 } else { 0.0 }
        });
        Self { image: averaged, mask: missing }
    }

    pub(super) fn frame(&self, name: &'static str) -> Result<Frame<'_>, PhaseError> {
        Frame::new(&self.image, Some(&self.mask), name)
    }

    pub(super) fn centre(&self) -> Point {
        let shape = self.image.shape();
        Point::new((shape.width as f64 - 1.0) / 2.0, (shape.height as f64 - 1.0) / 2.0)
    }

    /// The image turned and scaled by `linear` about its centre, on a plane of `shape` with that
    /// centre in the middle.
    pub(super) fn turned(&self, linear: &Transform, shape: Shape) -> Self {
        let middle =
            Point::new((shape.width as f64 - 1.0) / 2.0, (shape.height as f64 - 1.0) / 2.0);
        let own_from_plane = Transform::translation(self.centre() - Point::default())
            * linear.inverse().unwrap_or(Transform::IDENTITY)
            * Transform::translation(Point::default() - middle);
        let mut mask = Image::filled(shape, 1u8);
        let image = Image::from_fn(shape, |x, y| {
            let p = own_from_plane * Point::new(x as f64, y as f64);
            let Some((value, is_good)) = self.bilinear(p) else { return 0.0 };
            if is_good {
                mask.set(x, y, 0);
            }
            value
        });
        Self { image, mask }
    }

    fn bilinear(&self, p: Point) -> Option<(f32, bool)> {
        let (fx, fy) = (p.x.floor(), p.y.floor());
        let (w, h) = (self.image.width() as f64, self.image.height() as f64);
        let is_inside = fx >= 0.0 && fy >= 0.0 && fx + 1.0 < w && fy + 1.0 < h;
        if !is_inside {
            return None;
        }
        let (x, y) = (fx as usize, fy as usize);
        let (tx, ty) = ((p.x - fx) as f32, (p.y - fy) as f32);
        let i = &self.image;
        let value = (i.at(x, y) * (1.0 - tx) + i.at(x + 1, y) * tx) * (1.0 - ty)
            + (i.at(x, y + 1) * (1.0 - tx) + i.at(x + 1, y + 1) * tx) * ty;
        let corners = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
        Some((value, corners.iter().all(|&(u, v)| self.mask.at(u, v) == 0)))
    }
}

/// Block `i` of `factor` pixels has its centre at `factor · i + (factor − 1) / 2`.
pub(super) fn full_from_reduced(factor: usize) -> Transform {
    let (f, offset) = (factor as f64, (factor as f64 - 1.0) / 2.0);
    Transform::affine(f, 0.0, offset, 0.0, f, offset)
}
