//! Sizes and pixel rectangles.

use serde::{Deserialize, Serialize};

/// Size of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl Shape {
    /// A shape of `height` rows and `width` columns.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// Number of pixels.
    pub const fn len(self) -> usize {
        self.height * self.width
    }

    /// Whether there is no pixel.
    pub const fn is_empty(self) -> bool {
        self.height == 0 || self.width == 0
    }

    /// The rectangle that holds every pixel.
    pub const fn rect(self) -> Rect {
        Rect { x: 0, y: 0, width: self.width, height: self.height }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// A rectangle of whole pixels: columns `x..x + width`, rows `y..y + height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

impl Rect {
    /// The rectangle of columns `x..x + width` and rows `y..y + height`.
    pub const fn new(x: usize, y: usize, width: usize, height: usize) -> Self {
        Self { x, y, width, height }
    }

    /// Its size.
    pub const fn shape(self) -> Shape {
        Shape { height: self.height, width: self.width }
    }

    /// Whether there is no pixel in it.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// First column after the last.
    pub const fn x_end(self) -> usize {
        self.x + self.width
    }

    /// First row after the last.
    pub const fn y_end(self) -> usize {
        self.y + self.height
    }

    /// The pixels that lie in both; empty (at the origin) if there are none.
    pub fn intersect(self, other: Self) -> Self {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let x_end = self.x_end().min(other.x_end());
        let y_end = self.y_end().min(other.y_end());
        if x_end <= x || y_end <= y {
            return Self::new(0, 0, 0, 0);
        }
        Self::new(x, y, x_end - x, y_end - y)
    }

    /// The rectangle grown by `margin` pixels on each side and cut to `within`.
    pub fn grown(self, margin: usize, within: Shape) -> Self {
        let x = self.x.saturating_sub(margin);
        let y = self.y.saturating_sub(margin);
        let x_end = (self.x_end() + margin).min(within.width);
        let y_end = (self.y_end() + margin).min(within.height);
        Self::new(x, y, x_end.saturating_sub(x), y_end.saturating_sub(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_is_commutative_and_inside() {
        let a = Rect::new(2, 3, 10, 5);
        let b = Rect::new(8, 1, 10, 4);
        assert_eq!(a.intersect(b), Rect::new(8, 3, 4, 2));
        assert_eq!(a.intersect(b), b.intersect(a));
        assert!(a.intersect(Rect::new(100, 100, 3, 3)).is_empty());
    }

    #[test]
    fn growing_stops_at_the_border() {
        let shape = Shape::new(10, 10);
        assert_eq!(Rect::new(0, 8, 3, 2).grown(4, shape), Rect::new(0, 4, 7, 6));
    }
}
