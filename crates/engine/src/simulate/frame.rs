//! The truth about one frame: geometry, air, sky, disturbances.

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Rng, Shape, Transform, Vec2, math};

use super::options::BurstOptions;
use super::stream;
use super::waves::Waves;

/// Frames in which slow changes (drift, seeing, sky) go through about one period.
const SLOW_FRAMES: f64 = 60.0;

/// Everything that is true of one light frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameTruth {
    /// Index in the burst, from 0.
    pub index: usize,
    /// Rotation and shift: scene pixels to frame pixels before the local distortion.
    pub frame_from_scene: Transform,
    /// The local distortion d: an undistorted position q of the frame is seen at q + d(q).
    pub distortion: Waves,
    /// Full width at half maximum of a star in pixels (geometric mean of both axes).
    pub fwhm_px: f64,
    /// Long axis over short axis of a star, minus 1.
    pub ellipticity: f64,
    /// Direction of a star's long axis, from +x towards +y.
    pub angle_rad: f64,
    /// Fraction of the light that reaches the sensor, in (0, 1].
    pub transparency: f64,
    /// The sky.
    pub sky: SkyTruth,
    /// A satellite.
    pub trail: Option<TrailTruth>,
    /// Cosmic rays.
    pub cosmics: Vec<CosmicTruth>,
}

/// The sky of a frame: a saddle surface.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkyTruth {
    /// Electrons per pixel in the middle, in green (or mono).
    pub level_e: f64,
    /// Increase from the left border to the right one.
    pub across_e: f64,
    /// Increase from the first row to the last.
    pub down_e: f64,
    /// Height of the saddle at the corners.
    pub twist_e: f64,
}

/// A straight line of light with a Gaussian profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrailTruth {
    /// A point on it, frame pixels.
    pub through: Point,
    /// Its direction, from +x towards +y.
    pub angle_rad: f64,
    /// σ of its profile in pixels.
    pub sigma_px: f64,
    /// Electrons per pixel on its middle.
    pub peak_e: f64,
}

/// A cosmic ray: a straight scratch one pixel wide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosmicTruth {
    /// Where it begins, frame pixels.
    pub from: Point,
    /// Its direction, from +x towards +y.
    pub angle_rad: f64,
    /// Its length in pixels.
    pub length_px: f64,
    /// All its electrons.
    pub charge_e: f64,
}

impl FrameTruth {
    /// The truth about frame `index` of the burst; `O(1)`, independent of every other frame.
    pub fn new(options: &BurstOptions, index: usize) -> Self {
        let mut session = Rng::new(options.seed, stream::SESSION, 0);
        let phases: [f64; 4] =
            std::array::from_fn(|_| session.range(0.0, 2.0 * std::f64::consts::PI));
        let mut rng = Rng::new(options.seed, stream::FRAME, index as u64);
        let t = index as f64 / SLOW_FRAMES;
        let wobble = |speed: f64, phase: f64| math::sin(speed * t + phase);

        let drift = Vec2::new(wobble(5.1, phases[0]), wobble(4.3, phases[1]));
        let random = Vec2::new(rng.normal().clamp(-3.0, 3.0), rng.normal().clamp(-3.0, 3.0));
        let shift =
            if index == 0 { Vec2::default() } else { (drift * 1.3 + random) * options.dither_px };
        // E[U²] of U in [0.45, 1.55] is 1.1008: the root mean square over the frames is as asked.
        let rms = options.distortion_px * rng.range(0.45, 1.55) / 1.1008f64.sqrt();
        let seeing = 0.3 + 0.2 * wobble(7.0, phases[2]) + 0.2 * rng.exponential();
        let haze = 2.0 * wobble(3.0, phases[3]).max(0.0);
        let clouds = options.cloud_loss * (haze + rng.exponential());
        let brightening = 0.18 * (1.0 - math::cos(1.6 * t)) + 0.03 * rng.normal();
        let level_e = options.sky_e * (1.0 + brightening).max(0.2);
        let gradient_e = options.sky_e * options.sky_gradient;
        let mut slope = |direction: f64| gradient_e * (0.8 * direction + 0.1 * rng.normal());
        let sky = SkyTruth {
            level_e,
            across_e: slope(math::cos(1.3 * t + 0.4)),
            down_e: slope(math::sin(1.7 * t + 0.9)),
            twist_e: slope(0.0),
        };
        let mut waves = Rng::new(options.seed, stream::DISTORTION, index as u64);
        Self {
            index,
            frame_from_scene: turned_about_the_middle(
                options.shape(),
                (options.rotation_deg_per_frame * index as f64).to_radians(),
                shift,
            ),
            distortion: Waves::random(&mut waves, rms, options.distortion_scale_px),
            fwhm_px: options.fwhm_min_px
                + (options.fwhm_max_px - options.fwhm_min_px) * seeing.clamp(0.0, 1.0),
            ellipticity: (0.06 * rng.normal()).abs().min(0.3),
            angle_rad: rng.range(0.0, std::f64::consts::PI),
            transparency: (1.0 - clouds).max(0.3),
            sky,
            trail: (rng.uniform() < options.trail_probability)
                .then(|| trail(&mut rng, options.shape())),
            cosmics: cosmics(options, index),
        }
    }

    /// Where the frame sees the scene point `p`.
    pub fn frame_position(&self, p: Point) -> Point {
        let q = self.frame_from_scene * p;
        q + self.distortion.at(q)
    }

    /// The scene point that the frame sees at `f`; right to 1e-9 pixel as long as the distortion
    /// changes by less than a tenth of a pixel per pixel.
    pub fn scene_position(&self, f: Point) -> Point {
        let mut q = f;
        for _ in 0..12 {
            q = f - self.distortion.at(q);
        }
        self.scene_from_frame() * q
    }

    /// Undoes [`Self::frame_from_scene`].
    pub(super) fn scene_from_frame(&self) -> Transform {
        self.frame_from_scene.inverse().expect("a rotation can be undone")
    }
}

impl SkyTruth {
    /// Electrons per pixel at `p` of a frame of this shape, in green (or mono).
    pub fn at(&self, p: Point, shape: Shape) -> f64 {
        let (u, v) = (p.x / shape.width as f64 - 0.5, p.y / shape.height as f64 - 0.5);
        self.level_e + self.across_e * u + self.down_e * v + 4.0 * self.twist_e * u * v
    }
}

fn turned_about_the_middle(shape: Shape, angle_rad: f64, shift: Vec2) -> Transform {
    let middle = Vec2::new((shape.width as f64 - 1.0) / 2.0, (shape.height as f64 - 1.0) / 2.0);
    Transform::similarity(1.0, angle_rad, middle + shift) * Transform::translation(-middle)
}

fn trail(rng: &mut Rng, shape: Shape) -> TrailTruth {
    TrailTruth {
        through: Point::new(
            shape.width as f64 * rng.range(0.15, 0.85),
            shape.height as f64 * rng.range(0.15, 0.85),
        ),
        angle_rad: rng.range(0.0, std::f64::consts::PI),
        sigma_px: rng.range(1.1, 2.2),
        peak_e: math::exp(rng.range(math::ln(120.0), math::ln(4000.0))),
    }
}

fn cosmics(options: &BurstOptions, index: usize) -> Vec<CosmicTruth> {
    let mut rng = Rng::new(options.seed, stream::COSMICS, index as u64);
    let shape = options.shape();
    let hits = rng.poisson(options.cosmics_per_mpx * shape.len() as f64 / 1e6) as usize;
    (0..hits)
        .map(|_| CosmicTruth {
            from: Point::new(
                rng.uniform() * (shape.width - 1) as f64,
                rng.uniform() * (shape.height - 1) as f64,
            ),
            angle_rad: rng.range(0.0, std::f64::consts::PI),
            length_px: 1.0 + 6.0 * rng.exponential(),
            charge_e: rng.range(400.0, 6000.0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scene_and_frame_positions_undo_each_other() {
        let options = BurstOptions { rotation_deg_per_frame: 7.0, ..BurstOptions::default() };
        for index in [0, 1, 25] {
            let truth = FrameTruth::new(&options, index);
            for p in [Point::new(0.0, 0.0), Point::new(700.3, 211.9)] {
                assert!(truth.scene_position(truth.frame_position(p)).distance(p) < 1e-8);
            }
        }
    }

    #[test]
    fn the_first_frame_is_the_scene_but_for_its_distortion() {
        let truth = FrameTruth::new(&BurstOptions::default(), 0);
        let p = Point::new(100.0, 200.0);
        assert!((truth.frame_from_scene * p).distance(p) < 1e-9);
        assert!(truth.frame_position(p).distance(p) < 4.0);
    }

    #[test]
    fn what_is_switched_off_does_not_occur() {
        let options = BurstOptions {
            rotation_deg_per_frame: 0.0,
            dither_px: 0.0,
            distortion_px: 0.0,
            cloud_loss: 0.0,
            sky_gradient: 0.0,
            trail_probability: 0.0,
            cosmics_per_mpx: 0.0,
            ..BurstOptions::default()
        };
        for index in 0..20 {
            let truth = FrameTruth::new(&options, index);
            let p = Point::new(17.0, 300.0);
            assert!(truth.frame_position(p).distance(p) < 1e-9);
            assert_eq!(truth.transparency, 1.0);
            assert_eq!(truth.sky.at(p, options.shape()), truth.sky.level_e);
            assert!(truth.trail.is_none() && truth.cosmics.is_empty());
        }
    }
}
