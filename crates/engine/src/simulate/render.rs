//! The light that reaches the sensor in one frame.

use stillframe_image::{Colour, Image, Point, math};

use super::frame::{FrameTruth, TrailTruth};
use super::moffat::{Moffat, StarShape};
use super::options::BurstOptions;
use super::scene::{Galaxy, Scene, diffuse_share};

/// Brightness of the sky in each colour, relative to green.
const SKY_COLOUR: [f32; 3] = [0.9, 1.0, 0.8];
/// Lattice nodes per scale of the distortion: below 1 % of error, for diffuse light only.
const NODES_PER_SCALE: f64 = 5.0;
/// Softening of a galaxy's centre in pixels.
const GALAXY_CORE_PX: f32 = 1.5;
/// A galaxy is drawn out to where it falls below this many electrons per pixel.
const GALAXY_EDGE_E: f64 = 0.05;
/// A trail is drawn out to this many σ.
const TRAIL_REACH: f64 = 6.0;
/// Stars farther outside the frame than this (pixels, before distortion) leave no light in it.
const STAR_REACH_PX: f64 = 260.0;

/// Expected electrons per pixel of a frame, before the sensor's response.
pub(super) fn light(
    options: &BurstOptions,
    scene: &Scene,
    moffat: &Moffat,
    truth: &FrameTruth,
) -> Image<f32> {
    let mut image = sky_and_nebula(options, scene, truth);
    for galaxy in &scene.galaxies {
        add_galaxy(&mut image, options, galaxy, truth);
    }
    add_stars(&mut image, options, scene, moffat, truth);
    if let Some(trail) = &truth.trail {
        add_trail(&mut image, trail);
    }
    image
}

/// Colour of the samples of the 2×2 cell, `[row][column]`; all green for mono.
fn cell(options: &BurstOptions) -> [[Colour; 2]; 2] {
    std::array::from_fn(|y| {
        std::array::from_fn(|x| options.bayer.map_or(Colour::Green, |cfa| cfa.colour_at(x, y)))
    })
}

fn sky_and_nebula(options: &BurstOptions, scene: &Scene, truth: &FrameTruth) -> Image<f32> {
    let shape = options.shape();
    let mut image = Image::filled(shape, 0.0f32);
    let spacing = options.distortion_scale_px / NODES_PER_SCALE;
    let lattice = truth.distortion.on_lattice(shape, spacing);
    let scene_from_frame = truth.scene_from_frame();
    let (mut dx, mut dy) = (vec![0.0f32; shape.width], vec![0.0f32; shape.width]);
    let cell = cell(options);
    let transparency = truth.transparency as f32;
    for y in 0..shape.height {
        let at = |x: usize| Point::new(x as f64, y as f64);
        let sky_left = truth.sky.at(at(0), shape);
        let sky_step = (truth.sky.at(at(shape.width), shape) - sky_left) / shape.width as f64;
        let sky_share = cell[y & 1].map(|c| SKY_COLOUR[c.plane()]);
        for (x, v) in image.row_mut(y).iter_mut().enumerate() {
            *v = (sky_left + sky_step * x as f64).max(0.0) as f32 * sky_share[x & 1];
        }
        if !scene.has_nebula() {
            continue;
        }
        lattice.row(0.0, y as f64, &mut dx, &mut dy);
        let share = cell[y & 1].map(|c| transparency * diffuse_share(c));
        for (x, v) in image.row_mut(y).iter_mut().enumerate() {
            let undistorted = Point::new(x as f64 - f64::from(dx[x]), y as f64 - f64::from(dy[x]));
            *v += share[x & 1] * scene.nebula_at(scene_from_frame.apply(undistorted));
        }
    }
    image
}

fn add_stars(
    image: &mut Image<f32>,
    options: &BurstOptions,
    scene: &Scene,
    moffat: &Moffat,
    truth: &FrameTruth,
) {
    let star_shape = StarShape::new(truth.fwhm_px, truth.ellipticity, truth.angle_rad);
    let cell = cell(options);
    let inside = |v: f64, n: usize| v > -STAR_REACH_PX && v < n as f64 + STAR_REACH_PX;
    for star in &scene.stars {
        let q = truth.frame_from_scene * star.position;
        if !inside(q.x, options.width) || !inside(q.y, options.height) {
            continue;
        }
        let p = q + truth.distortion.at(q);
        let flux_e = if options.bayer.is_some() {
            cell.map(|row| row.map(|colour| truth.transparency * star.flux_in(colour)))
        } else {
            [[truth.transparency * star.flux_e; 2]; 2]
        };
        moffat.add(image, &star_shape, p.x, p.y, flux_e);
    }
}

fn add_galaxy(image: &mut Image<f32>, options: &BurstOptions, galaxy: &Galaxy, truth: &FrameTruth) {
    let centre = truth.frame_position(galaxy.position);
    let angle = galaxy.angle_rad + truth.frame_from_scene.angle_rad();
    let (c, s) = (math::cos(angle) as f32, math::sin(angle) as f32);
    let reach = galaxy.scale_px * math::ln(1.4 * galaxy.peak_e / GALAXY_EDGE_E);
    let rows = span(centre.y, reach, image.height());
    let columns = span(centre.x, reach, image.width());
    let cell = cell(options);
    let inverse_scale = (1.0 / galaxy.scale_px) as f32;
    let inverse_ratio = (1.0 / galaxy.axis_ratio) as f32;
    for y in rows {
        let dy = (y as f64 - centre.y) as f32;
        let peak = (galaxy.peak_e * truth.transparency) as f32;
        let share = cell[y & 1].map(|colour| peak * diffuse_share(colour));
        for (x, v) in columns.clone().zip(&mut image.row_mut(y)[columns.clone()]) {
            let dx = (x as f64 - centre.x) as f32;
            let (u, w) = (c * dx + s * dy, (c * dy - s * dx) * inverse_ratio);
            let r = (u * u + w * w + GALAXY_CORE_PX * GALAXY_CORE_PX).sqrt();
            if r < reach as f32 {
                *v += share[x & 1] * math::expf((GALAXY_CORE_PX - r) * inverse_scale);
            }
        }
    }
}

fn add_trail(image: &mut Image<f32>, trail: &TrailTruth) {
    let (c, s) = (math::cos(trail.angle_rad), math::sin(trail.angle_rad));
    let reach = TRAIL_REACH * trail.sigma_px;
    for y in 0..image.height() {
        // Distance from the line at column x: s · (x − x0) − c · (y − y0).
        let offset = c * (y as f64 - trail.through.y);
        let columns = if s.abs() > 1e-6 {
            span(trail.through.x + offset / s, reach / s.abs(), image.width())
        } else {
            0..image.width()
        };
        for (x, v) in columns.clone().zip(&mut image.row_mut(y)[columns.clone()]) {
            let d = (s * (x as f64 - trail.through.x) - offset) / trail.sigma_px;
            if d.abs() <= TRAIL_REACH {
                *v += (trail.peak_e * math::exp(-0.5 * d * d)) as f32;
            }
        }
    }
}

/// Pixels within `reach` of `centre`, of `n`.
fn span(centre: f64, reach: f64, n: usize) -> std::ops::Range<usize> {
    let first = (centre - reach).ceil().clamp(0.0, n as f64) as usize;
    let end = ((centre + reach).floor() + 1.0).clamp(0.0, n as f64) as usize;
    first..end.max(first)
}
