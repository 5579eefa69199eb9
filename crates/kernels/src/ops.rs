//! What is done to one frame before it is registered: calibration, defects, background, noise,
//! stars, metrics, linearity, demosaicing.

pub mod background;
pub mod calibrate;
pub mod defects;
pub mod demosaic;
pub mod linearity;
pub mod metrics;
pub mod noise;
pub mod stars;
pub mod stats;

#[cfg(test)]
mod simulated;
