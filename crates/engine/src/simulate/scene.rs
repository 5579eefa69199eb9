//! What is in the sky: stars, galaxies, a nebula.

use serde::{Deserialize, Serialize};
use stillframe_image::{Colour, Image, Point, Rng, Shape, math};

use super::options::BurstOptions;
use super::stream;

/// Distance in pixels of the nebula's samples: its finest texture has a scale of 22 pixels.
const NEBULA_STEP: f64 = 4.0;
/// Brightest star, electrons per frame.
const BRIGHTEST_STAR_E: f64 = 6e5;
/// Slope of the star counts, N(> F) ∝ F^-slope, of a field at middle galactic latitude.
const COUNT_SLOPE: f64 = 0.85;
/// Share of the nebula and galaxies in each colour, relative to green.
const DIFFUSE_COLOUR: [f32; 3] = [1.4, 1.0, 0.8];

/// A star of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Star {
    /// Where it is in the scene, pixels.
    pub position: Point,
    /// Electrons per frame in green (or mono), at transparency 1.
    pub flux_e: f64,
    /// ln(red / green); ln(blue / green) is its negative.
    pub colour: f64,
}

impl Star {
    /// Electrons per frame in `colour`.
    pub fn flux_in(&self, colour: Colour) -> f64 {
        let exponent = match colour {
            Colour::Red => self.colour,
            Colour::Green => 0.0,
            Colour::Blue => -self.colour,
        };
        self.flux_e * math::exp(exponent)
    }
}

/// An elliptical exponential disc with a soft core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Galaxy {
    /// Where its centre is in the scene, pixels.
    pub position: Point,
    /// Electrons per pixel at the centre, in green.
    pub peak_e: f64,
    /// Scale length in pixels.
    pub scale_px: f64,
    /// Short axis over long axis.
    pub axis_ratio: f64,
    /// Direction of the long axis, from +x towards +y.
    pub angle_rad: f64,
}

/// Everything in the sky, on a square that every frame's footprint lies in.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Brightest first.
    pub(super) stars: Vec<Star>,
    pub(super) galaxies: Vec<Galaxy>,
    nebula: Option<Image<f32>>,
    /// Position in the scene of the nebula's first sample.
    nebula_origin: Point,
}

/// Share of diffuse light in `colour`, relative to green.
pub(super) fn diffuse_share(colour: Colour) -> f32 {
    DIFFUSE_COLOUR[colour.plane()]
}

impl Scene {
    /// The scene of `options`; it depends on the seed, the frame's size and the largest shift, not
    /// on the number of frames.
    pub(super) fn new(options: &BurstOptions) -> Self {
        let (width, height) = (options.width as f64, options.height as f64);
        // Any rotation of the frame, the largest shift (3 σ and the drift), stars just outside.
        let diagonal = (width * width + height * height).sqrt();
        let side = diagonal + 2.0 * (4.3 * options.dither_px + 40.0);
        let first = Point::new((width - 1.0 - side) / 2.0, (height - 1.0 - side) / 2.0);
        let mpx = side * side / 1e6;
        let place = |rng: &mut Rng| {
            Point::new(first.x + side * rng.uniform(), first.y + side * rng.uniform())
        };

        let mut rng = Rng::new(options.seed, stream::STARS, 0);
        let mut stars: Vec<Star> = (0..(options.stars_per_mpx * mpx) as usize)
            .map(|_| Star {
                position: place(&mut rng),
                flux_e: star_flux(&mut rng, options.faintest_star_e),
                colour: 0.25 * rng.normal(),
            })
            .collect();
        stars.sort_by(|a, b| b.flux_e.total_cmp(&a.flux_e));

        let mut rng = Rng::new(options.seed, stream::GALAXIES, 0);
        let galaxies = (0..(options.galaxies_per_mpx * mpx).round() as usize)
            .map(|_| Galaxy {
                position: place(&mut rng),
                peak_e: rng.range(130.0, 800.0),
                scale_px: rng.range(3.5, 22.0),
                axis_ratio: rng.range(0.35, 1.0),
                angle_rad: rng.range(0.0, std::f64::consts::PI),
            })
            .collect();

        let nebula_origin = Point::new(first.x - NEBULA_STEP, first.y - NEBULA_STEP);
        let nebula = (options.nebula_e > 0.0)
            .then(|| nebula(options, (side / NEBULA_STEP).ceil() as usize + 4));
        Self { stars, galaxies, nebula, nebula_origin }
    }

    /// Whether there is a nebula.
    pub(super) fn has_nebula(&self) -> bool {
        self.nebula.is_some()
    }

    /// Electrons per pixel of the nebula at `p`, in green: cubic interpolation of its samples, at
    /// the scene's border its last samples.
    ///
    /// # Source
    /// Keys (1981), doi:10.1109/TASSP.1981.1163711, a = −1/2.
    pub(super) fn nebula_at(&self, p: Point) -> f32 {
        let Some(nebula) = &self.nebula else { return 0.0 };
        let (width, height) = (nebula.width(), nebula.height());
        let cell = |v: f64, n: usize| {
            let u = (v / NEBULA_STEP).clamp(1.0, (n - 3) as f64);
            let first = u as usize;
            (first - 1, cubic_weights((u - first as f64) as f32))
        };
        let (x, wx) = cell(p.x - self.nebula_origin.x, width);
        let (y, wy) = cell(p.y - self.nebula_origin.y, height);
        let mut sum = 0.0;
        for (row, wy) in wy.iter().enumerate() {
            let v = &nebula.row(y + row)[x..x + 4];
            sum += wy * ((wx[0] * v[0] + wx[1] * v[1]) + (wx[2] * v[2] + wx[3] * v[3]));
        }
        sum.max(0.0)
    }
}

/// Keys' weights of the four samples around a point at `t` past the second.
fn cubic_weights(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        0.5 * (2.0 * t2 - t3 - t),
        0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
        0.5 * (4.0 * t2 - 3.0 * t3 + t),
        0.5 * (t3 - t2),
    ]
}

/// A flux from N(> F) ∝ F^-slope between the faintest and the brightest star.
fn star_flux(rng: &mut Rng, faintest_e: f64) -> f64 {
    let low = math::pow(faintest_e, -COUNT_SLOPE);
    let high = math::pow(BRIGHTEST_STAR_E, -COUNT_SLOPE);
    math::pow(low - rng.uniform() * (low - high), -1.0 / COUNT_SLOPE)
}

/// Filaments (the exponential of a Gaussian texture with three scales) under broad blobs.
fn nebula(options: &BurstOptions, side: usize) -> Image<f32> {
    let mut rng = Rng::new(options.seed, stream::NEBULA, 0);
    let shape = Shape::new(side, side);
    let mut texture = Image::filled(shape, 0.0f32);
    for (scale_px, rms) in [(180.0, 0.55), (60.0, 0.33), (22.0, 0.17)] {
        add_texture(&mut texture, &mut rng, scale_px / NEBULA_STEP, rms);
    }
    let mut envelope = Image::filled(shape, 0.0f32);
    let blobs = ((side * side) as f64 * NEBULA_STEP * NEBULA_STEP / 4e5).ceil() as usize;
    for _ in 0..blobs {
        let at = |rng: &mut Rng| side as f64 * rng.range(0.1, 0.9);
        let radius = |rng: &mut Rng| rng.range(90.0, 320.0) / NEBULA_STEP;
        let (cx, cy) = (at(&mut rng), at(&mut rng));
        let (sx, sy) = (radius(&mut rng), radius(&mut rng));
        let peak = rng.range(0.1, 0.45);
        let bell = |n: usize, c: f64, s: f64| -> Vec<f32> {
            (0..n).map(|i| bell(i as f64 - c, s)).collect()
        };
        let (along_x, along_y) = (bell(side, cx, sx), bell(side, cy, sy));
        for (y, by) in along_y.iter().enumerate() {
            for (v, bx) in envelope.row_mut(y).iter_mut().zip(&along_x) {
                *v += peak as f32 * by * bx;
            }
        }
    }
    let scale = options.nebula_e as f32;
    for (t, e) in texture.pixels_mut().iter_mut().zip(envelope.pixels()) {
        *t = scale * e * math::expf(*t);
    }
    texture
}

fn bell(d: f64, sigma: f64) -> f32 {
    math::exp(-d * d / (2.0 * sigma * sigma)) as f32
}

/// Adds a Gaussian texture of this correlation scale (in samples) and rms, made of plane waves;
/// each is separable, so the cost is a few operations per sample and wave.
fn add_texture(texture: &mut Image<f32>, rng: &mut Rng, scale: f64, rms: f64) {
    const MODES: usize = 64;
    let waves: Vec<[f64; 4]> = (0..MODES)
        .map(|_| {
            let phase = rng.range(0.0, 2.0 * std::f64::consts::PI);
            [rng.normal() / scale, rng.normal() / scale, phase, rng.normal()]
        })
        .collect();
    let power: f64 = waves.iter().map(|w| w[3] * w[3] / 2.0).sum();
    let width = texture.width();
    for [kx, ky, phase, amplitude] in waves {
        let amplitude = amplitude * rms / power.sqrt();
        let along = |f: fn(f64) -> f64| -> Vec<f32> {
            (0..width).map(|x| f(kx * x as f64) as f32).collect()
        };
        let (cos_x, sin_x) = (along(math::cos), along(math::sin));
        for y in 0..texture.height() {
            let angle = ky * y as f64 + phase;
            let cos_y = (amplitude * math::cos(angle)) as f32;
            let sin_y = (amplitude * math::sin(angle)) as f32;
            for ((v, c), s) in texture.row_mut(y).iter_mut().zip(&cos_x).zip(&sin_x) {
                *v += cos_y * c - sin_y * s;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_counts_follow_their_law() {
        let options = BurstOptions { stars_per_mpx: 50_000.0, ..BurstOptions::default() };
        let scene = Scene::new(&options);
        let brighter = |e: f64| scene.stars.iter().filter(|s| s.flux_e > e).count() as f64;
        let ratio = brighter(600.0) / brighter(60.0);
        assert!((ratio - math::pow(10.0, -COUNT_SLOPE)).abs() < 0.01, "{ratio}");
        assert!(scene.stars.windows(2).all(|w| w[0].flux_e >= w[1].flux_e));
    }

    #[test]
    fn the_nebula_is_smooth_and_not_negative() {
        let scene =
            Scene::new(&BurstOptions { width: 200, height: 100, ..BurstOptions::default() });
        let mut last = scene.nebula_at(Point::new(-20.0, 31.0));
        for i in 0..400 {
            let v = scene.nebula_at(Point::new(-20.0 + 0.5 * f64::from(i), 31.0));
            assert!(v >= 0.0 && (v - last).abs() < 12.0, "{i}: {last} {v}");
            last = v;
        }
        assert!(scene.nebula_at(Point::new(-1e6, 1e6)).is_finite());
    }

    #[test]
    fn cubic_weights_are_a_partition_of_unity() {
        for i in 0..=10 {
            let sum: f32 = cubic_weights(0.1 * i as f32).iter().sum();
            assert!((sum - 1.0).abs() < 1e-6);
        }
    }
}
