//! A simulated burst: its frames, one at a time, and the truth about it.

use serde::{Deserialize, Serialize};
use stillframe_image::{Header, Image, Rng};

use super::detector::{CalibrationKind, Detector};
use super::frame::FrameTruth;
use super::header::{calibration_header, light_header};
use super::moffat::Moffat;
use super::options::{BurstOptions, SimulateError};
use super::render::light;
use super::scene::{Galaxy, Scene, Star};
use super::stream;

/// A burst of simulated frames. Frames are made when asked for, in any order, by any thread.
#[derive(Clone, Debug)]
pub struct SimulatedBurst {
    options: BurstOptions,
    scene: Scene,
    detector: Detector,
    moffat: Moffat,
}

/// A simulated file: `height × width` pixels in ADU, and its header cards.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedFrame {
    /// ADU as the sensor's 16 bits give them.
    pub image: Image<u16>,
    /// Cards, without the structural ones.
    pub header: Header,
}

/// Everything that is true of a burst: the contents of `truth.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BurstTruth {
    /// What was asked for.
    pub options: BurstOptions,
    /// Stars, brightest first, in scene pixels.
    pub stars: Vec<Star>,
    /// Galaxies, in scene pixels.
    pub galaxies: Vec<Galaxy>,
    /// One for each light frame.
    pub frames: Vec<FrameTruth>,
}

impl SimulatedBurst {
    /// The burst of `options`: makes the scene and the sensor (about 0.3 µs per pixel).
    ///
    /// # Errors
    /// [`SimulateError`] if an option is out of range.
    ///
    /// ```
    /// use stillframe_engine::simulate::{BurstOptions, SimulatedBurst};
    /// let options = BurstOptions { width: 120, height: 80, ..BurstOptions::default() };
    /// let burst = SimulatedBurst::new(options)?;
    /// let frame = burst.light(3);
    /// assert_eq!(frame.image.width(), 120);
    /// assert_eq!(frame, burst.light(3));
    /// # Ok::<(), stillframe_engine::simulate::SimulateError>(())
    /// ```
    pub fn new(options: BurstOptions) -> Result<Self, SimulateError> {
        options.validate()?;
        let scene = Scene::new(&options);
        let detector = Detector::new(&options);
        Ok(Self { options, scene, detector, moffat: Moffat::new() })
    }

    /// What was asked for.
    pub fn options(&self) -> &BurstOptions {
        &self.options
    }

    /// The sensor.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Light frame `index`, the same whatever the number of frames.
    pub fn light(&self, index: usize) -> SimulatedFrame {
        let truth = self.frame_truth(index);
        let mut rng = Rng::new(self.options.seed, stream::LIGHT_NOISE, index as u64);
        let light = self.expected_light(&truth);
        SimulatedFrame {
            image: self.detector.read(light, 1.0, &truth.cosmics, &mut rng),
            header: light_header(&self.options, index),
        }
    }

    /// Expected electrons per pixel of a light frame before the sensor: no response, dark current,
    /// cosmic ray or noise.
    pub fn expected_light(&self, truth: &FrameTruth) -> Image<f32> {
        light(&self.options, &self.scene, &self.moffat, truth)
    }

    /// Calibration frame `index` of this kind.
    pub fn calibration(&self, kind: CalibrationKind, index: usize) -> SimulatedFrame {
        SimulatedFrame {
            image: self.detector.calibration(kind, index),
            header: calibration_header(&self.options, kind, index),
        }
    }

    /// How many calibration frames of this kind were asked for.
    pub fn calibration_frames(&self, kind: CalibrationKind) -> usize {
        match kind {
            CalibrationKind::Bias => self.options.bias_frames,
            CalibrationKind::Dark => self.options.dark_frames,
            CalibrationKind::Flat => self.options.flat_frames,
        }
    }

    /// What is true of light frame `index`.
    pub fn frame_truth(&self, index: usize) -> FrameTruth {
        FrameTruth::new(&self.options, index)
    }

    /// What is true of the burst.
    pub fn truth(&self) -> BurstTruth {
        BurstTruth {
            options: self.options.clone(),
            stars: self.scene.stars.clone(),
            galaxies: self.scene.galaxies.clone(),
            frames: (0..self.options.frames).map(|i| self.frame_truth(i)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
