//! A simulator of bursts with known truth: what `simulate burst` and `demo` make.
//!
//! The scene (stars, nebula, galaxies) lives on a plane in pixels whose origin and axes are those
//! of a frame without shift, rotation and distortion. A frame sees the scene point `p` at
//! `q + d(q)` with `q = frame_from_scene · p`, where `d` is its smooth local distortion.
//! Light levels are electrons per frame; a file holds ADU.
//!
//! Every random number is named by (seed, purpose, frame), so frame i is the same whatever the
//! number of frames, and frames can be made in any order, in parallel.

mod burst;
mod detector;
mod frame;
mod header;
mod moffat;
mod mosaic;
mod options;
mod render;
mod scene;
mod waves;
mod write;

pub use burst::{BurstTruth, SimulatedBurst, SimulatedFrame};
pub use detector::{CalibrationKind, Detector};
pub use frame::{CosmicTruth, FrameTruth, SkyTruth, TrailTruth};
pub use mosaic::{MosaicOptions, MosaicTruth, PanelTruth, SimulatedMosaic};
pub use options::{BurstOptions, DetectorKind, SimulateError};
pub use scene::{Galaxy, Star};
pub use waves::{Wave, Waves};
pub use write::{BurstFiles, MosaicFiles, WriteBurstError, write_burst, write_mosaic};

/// Purposes of random streams: the second of the three names of a random number.
mod stream {
    pub(super) const STARS: u64 = 1;
    pub(super) const NEBULA: u64 = 2;
    pub(super) const GALAXIES: u64 = 3;
    pub(super) const SESSION: u64 = 10;
    pub(super) const FRAME: u64 = 11;
    pub(super) const DISTORTION: u64 = 12;
    pub(super) const COSMICS: u64 = 13;
    pub(super) const LIGHT_NOISE: u64 = 20;
    pub(super) const BIAS_NOISE: u64 = 21;
    pub(super) const DARK_NOISE: u64 = 22;
    pub(super) const FLAT_NOISE: u64 = 23;
    pub(super) const DETECTOR: u64 = 30;
    pub(super) const PANEL: u64 = 40;
    pub(super) const MOSAIC_FRAME: u64 = 41;
    pub(super) const MOSAIC_NOISE: u64 = 42;
    pub(super) const BLOBS: u64 = 43;
}
