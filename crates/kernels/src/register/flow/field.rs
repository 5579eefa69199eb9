//! A displacement for every pixel.

use stillframe_image::{Image, Shape, sum_fixed};

/// A displacement for every pixel: `registered(x, y) = frame(x + u, y + v)`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowField {
    /// To the right, pixels.
    pub u: Image<f32>,
    /// Down the rows, pixels.
    pub v: Image<f32>,
}

/// A field in four numbers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FlowStatistics {
    /// Mean length of the displacement, pixels.
    pub mean_disp: f64,
    /// Greatest length, pixels.
    pub max_disp: f64,
    /// Mean of du/dx + dv/dy by central differences, one-sided at the border.
    pub mean_div: f64,
    /// Length of the mean displacement, pixels.
    pub mean_translation: f64,
}

impl FlowField {
    /// A field of zeros.
    pub fn zero(shape: Shape) -> Self {
        Self { u: Image::filled(shape, 0.0), v: Image::filled(shape, 0.0) }
    }

    /// Whether the frame is sampled inside itself, `0 ≤ x + u < width` and `0 ≤ y + v < height`, per
    /// pixel: 255 or 0.
    pub fn valid(&self) -> Image<u8> {
        let shape = self.u.shape();
        Image::from_fn(shape, |x, y| {
            let is_inside = |p: f32, n: usize| p >= 0.0 && p < n as f32;
            let is_inside = is_inside(x as f32 + self.u.at(x, y), shape.width)
                && is_inside(y as f32 + self.v.at(x, y), shape.height);
            if is_inside { 255 } else { 0 }
        })
    }

    /// The field in four numbers; zeros for an empty field.
    pub fn statistics(&self) -> FlowStatistics {
        let (u, v) = (self.u.pixels(), self.v.pixels());
        let n = u.len().max(1) as f64;
        let lengths: Vec<f32> = u.iter().zip(v).map(|(u, v)| (u * u + v * v).sqrt()).collect();
        let (mean_u, mean_v) = (sum_fixed(u) / n, sum_fixed(v) / n);
        FlowStatistics {
            mean_disp: sum_fixed(&lengths) / n,
            max_disp: lengths.iter().copied().fold(0.0, f32::max).into(),
            mean_div: self.mean_divergence(),
            mean_translation: (mean_u * mean_u + mean_v * mean_v).sqrt(),
        }
    }

    /// Central differences telescope: along a line of n their sum is half the sum of the last two
    /// minus that of the first two, plus half the first and the last one-sided difference.
    fn mean_divergence(&self) -> f64 {
        let Shape { height, width } = self.u.shape();
        let line = |at: &dyn Fn(usize) -> f32, n: usize| -> f64 {
            if n < 2 {
                return 0.0;
            }
            let at = |i| f64::from(at(i));
            let inner = 0.5 * (at(n - 1) + at(n - 2) - at(1) - at(0));
            inner + (at(1) - at(0)) + (at(n - 1) - at(n - 2))
        };
        let rows: f64 = (0..height).map(|y| line(&|x| self.u.at(x, y), width)).sum();
        let columns: f64 = (0..width).map(|x| line(&|y| self.v.at(x, y), height)).sum();
        (rows + columns) / (height * width).max(1) as f64
    }

    /// The shape of a component that is not `shape`.
    pub(super) fn odd_shape(&self, shape: Shape) -> Option<Shape> {
        [self.u.shape(), self.v.shape()].into_iter().find(|&s| s != shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_an_expanding_field() {
        let shape = Shape::new(20, 30);
        let field = FlowField {
            u: Image::from_fn(shape, |x, _| 0.1 * x as f32 + 3.0),
            v: Image::from_fn(shape, |_, y| -0.05 * y as f32),
        };
        let s = field.statistics();
        assert!((s.mean_div - 0.05).abs() < 1e-6, "{}", s.mean_div);
        let (u, v) = (0.1 * 14.5 + 3.0, 0.05 * 9.5);
        assert!((s.mean_translation - f64::hypot(u, v)).abs() < 1e-5);
        assert!((s.max_disp - f64::hypot(5.9, 0.95)).abs() < 1e-5);
        assert!(s.mean_disp > s.mean_translation && s.mean_disp < s.max_disp);
    }

    #[test]
    fn divergence_is_the_mean_of_the_differences() {
        let shape = Shape::new(7, 9);
        let mut rng = stillframe_image::Rng::new(1, 2, 3);
        let mut random = || Image::from_fn(shape, |_, _| rng.normal() as f32);
        let field = FlowField { u: random(), v: random() };
        let mut sum = 0.0;
        for y in 0..7 {
            for x in 0..9 {
                let (x0, x1) = (x.max(1) - 1, (x + 1).min(8));
                let (y0, y1) = (y.max(1) - 1, (y + 1).min(6));
                sum += f64::from(field.u.at(x1, y) - field.u.at(x0, y)) / (x1 - x0) as f64;
                sum += f64::from(field.v.at(x, y1) - field.v.at(x, y0)) / (y1 - y0) as f64;
            }
        }
        assert!((field.statistics().mean_div - sum / 63.0).abs() < 1e-6);
    }

    #[test]
    fn positions_up_to_the_far_side_are_valid() {
        let mut field = FlowField::zero(Shape::new(5, 5));
        field.u.set(4, 2, 0.9);
        field.u.set(4, 3, 1.0);
        field.v.set(0, 0, -0.1);
        let valid = field.valid();
        assert_eq!((valid.at(4, 2), valid.at(4, 3), valid.at(0, 0)), (255, 0, 0));
    }
}
