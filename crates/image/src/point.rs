//! Positions and displacements in pixels.

use std::ops::{Add, Mul, Neg, Sub};

use serde::{Deserialize, Serialize};

/// A position in pixels; whole numbers are pixel centres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Down the rows.
    pub y: f64,
}

/// A displacement in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vec2 {
    /// To the right.
    pub dx: f64,
    /// Down the rows.
    pub dy: f64,
}

impl Point {
    /// The position (`x`, `y`).
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// Distance to `other` in pixels.
    pub fn distance(self, other: Self) -> f64 {
        (self - other).norm()
    }
}

impl Vec2 {
    /// The displacement (`dx`, `dy`).
    pub const fn new(dx: f64, dy: f64) -> Self {
        Self { dx, dy }
    }

    /// Length in pixels.
    pub fn norm(self) -> f64 {
        self.norm_squared().sqrt()
    }

    /// Squared length in square pixels.
    pub fn norm_squared(self) -> f64 {
        self.dx * self.dx + self.dy * self.dy
    }
}

impl Sub for Point {
    type Output = Vec2;
    fn sub(self, other: Self) -> Vec2 {
        Vec2::new(self.x - other.x, self.y - other.y)
    }
}

impl Add<Vec2> for Point {
    type Output = Self;
    fn add(self, v: Vec2) -> Self {
        Self::new(self.x + v.dx, self.y + v.dy)
    }
}

impl Sub<Vec2> for Point {
    type Output = Self;
    fn sub(self, v: Vec2) -> Self {
        Self::new(self.x - v.dx, self.y - v.dy)
    }
}

impl Add for Vec2 {
    type Output = Self;
    fn add(self, v: Self) -> Self {
        Self::new(self.dx + v.dx, self.dy + v.dy)
    }
}

impl Sub for Vec2 {
    type Output = Self;
    fn sub(self, v: Self) -> Self {
        Self::new(self.dx - v.dx, self.dy - v.dy)
    }
}

impl Mul<f64> for Vec2 {
    type Output = Self;
    fn mul(self, s: f64) -> Self {
        Self::new(self.dx * s, self.dy * s)
    }
}

impl Neg for Vec2 {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.dx, -self.dy)
    }
}
