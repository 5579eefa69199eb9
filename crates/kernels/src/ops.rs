//! What is done to one frame before it is registered: calibration, defects, background, noise,
//! stars, metrics, linearity, demosaicing.
//!
//! ```
//! use stillframe_image::{Image, Shape};
//! use stillframe_kernels::ops::background::{Background, BackgroundParams, BackgroundScratch};
//! use stillframe_kernels::ops::calibrate::{MasterRows, calibrate_rows};
//! use stillframe_kernels::ops::defects::{DefectMap, Defects};
//! use stillframe_kernels::ops::metrics::frame_metrics;
//! use stillframe_kernels::ops::stars::{StarParams, StarScratch, detect};
//!
//! let shape = Shape::new(128, 128);
//! // a star on a sky of 50 above a bias of 200, and a hot pixel
//! let mut light = Image::from_fn(shape, |x, y| {
//!     let r2 = (x as f32 - 70.0).powi(2) + (y as f32 - 60.25).powi(2);
//!     let texture = ((x * 31 + y * 17) % 7) as f32;
//!     250.0 + texture + 4000.0 / (1.0 + r2 / 6.0).powi(3)
//! });
//! light.set(20, 30, 9000.0);
//! let mut mask = Image::filled(shape, 0);
//!
//! let bias = Image::filled(shape, 200.0);
//! calibrate_rows(
//!     light.pixels_mut(),
//!     MasterRows { offset: Some(bias.pixels()), ..MasterRows::default() },
//! );
//! let defects = Defects { hot: vec![30 * 128 + 20], cold: vec![] };
//! DefectMap::new(shape, &defects, None).replace(&mut light, &mut mask);
//!
//! let mut scratch = BackgroundScratch::default();
//! let background = Background::fit(&light, &mask, &BackgroundParams::default(), &mut scratch)?;
//! let stars =
//!     detect(&light, &mask, &background, &StarParams::default(), &mut StarScratch::default());
//! assert_eq!(stars.len(), 1);
//! assert!((stars[0].position.y - 60.25).abs() < 0.02);
//!
//! let metrics = frame_metrics(&light, &mask, &background, &stars);
//! assert!((metrics.background - 53.0).abs() < 1.0);
//! # Ok::<(), stillframe_kernels::ops::background::BackgroundError>(())
//! ```

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
