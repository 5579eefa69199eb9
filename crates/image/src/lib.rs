//! The words that every stillframe crate shares: pixels, masks, geometry, transforms, header
//! cards, the counter-based random numbers and the sums of fixed shape.
//!
//! Conventions (drawn in `docs/conventions.md`): whole numbers are pixel **centres** and `(0, 0)`
//! is the centre of the first pixel; arrays are row-major `[y][x]`; missing pixels are mask bits
//! inside the engine, never NaN; a transform `b_from_a` takes points of `a` to points of `b`.
#![forbid(unsafe_code)]

pub mod cfa;
pub mod field;
pub mod header;
pub mod mask;
pub mod math;
pub mod plane;
pub mod point;
pub mod rng;
pub mod shape;
pub mod sum;
pub mod transform;

pub use cfa::{CfaPattern, Colour};
pub use field::DisplacementField;
pub use header::{Card, Header, Value};
pub use plane::Image;
pub use point::{Point, Vec2};
pub use rng::Rng;
pub use shape::{Rect, Shape};
pub use sum::{sum_fixed, sum_fixed_f64};
pub use transform::Transform;
