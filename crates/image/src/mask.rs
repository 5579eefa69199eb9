//! Bits that say why a pixel is not to be trusted.
//!
//! A mask is an `Image<u8>` of the same shape as its pixels; 0 is a good pixel. The pixel under a
//! set bit holds a finite value: 0 where there are no data, the clipped value where it saturated.

/// No measurement: outside the frame, NaN or BLANK in the file.
pub const NO_DATA: u8 = 1;
/// At or above the saturation level; the value is a lower bound.
pub const SATURATED: u8 = 2;
/// A pixel with excess dark signal.
pub const HOT: u8 = 4;
/// A pixel with (nearly) no response.
pub const COLD: u8 = 8;
/// Any reason for which the value was replaced by its neighbours.
pub const DEFECT: u8 = HOT | COLD;
