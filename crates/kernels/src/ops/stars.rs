//! Stars of one frame: where they are, how bright, how wide.
//!
//! A Gaussian filter of the stars' width finds local maxima above the noise; what is sharper than
//! a star (cosmic rays, hot pixels) or longer (trails) is dropped; the rest is measured under
//! Gaussian windows.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Point, Shape, mask};

use crate::ops::background::Background;

mod filter;
mod measure;
mod psf;
mod window;

use filter::{Candidate, NoiseGrid};
use psf::Psf;

/// FWHM in pixels of the first filter: a well-sampled star. A filter off by a factor of 1.4 loses
/// 5 % of the signal-to-noise ratio.
const FIRST_FWHM_PX: f64 = 3.0;
/// The filter is made anew if the stars are wider or narrower by more than this factor.
const REFILTER: f64 = 1.4;
/// Stars per cell of the grid that spreads them over the frame.
const STARS_PER_CELL: usize = 8;
/// Neighbours nearer than this, in standard deviations of the window, disturb each other …
const BLEND_REACH: f64 = 4.5;
/// … if the fainter has at least this share of the brighter.
const BLEND_SHARE: f32 = 0.1;

/// What is special about a star.
pub mod flag {
    /// A pixel of its core is saturated: flux, peak and width are lower bounds.
    pub const SATURATED: u8 = 1;
    /// Another detection is so near that it disturbs this one.
    pub const BLENDED: u8 = 2;
    /// The frame's border or missing pixels are within its reach.
    pub const EDGE: u8 = 4;
    /// Wider than the frame's stars: a galaxy, a knot of nebula, two stars in one.
    pub const EXTENDED: u8 = 8;
    /// A pixel of its core was a defect and has been replaced.
    pub const DEFECT: u8 = 16;
}

/// One star.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Star {
    /// Windowed centroid, pixels.
    pub position: Point,
    /// Standard error of `position` along each axis, from the noise alone, pixels.
    pub position_sigma_px: f32,
    /// Sum over an aperture of 1.5 FWHM of the frame (92 % of a star), above the background,
    /// units of the image.
    pub flux: f32,
    /// Standard error of `flux`.
    pub flux_sigma: f32,
    /// Brightest pixel above the background.
    pub peak: f32,
    /// Full width at half maximum of the star's profile before the pixels sampled it (geometric
    /// mean of the axes), pixels.
    pub fwhm_px: f32,
    /// Minor over major axis, in [0, 1].
    pub roundness: f32,
    /// Direction of the major axis from +x towards +y, in (-π/2, π/2].
    pub angle_rad: f32,
    /// Bits of [`flag`].
    pub flags: u8,
}

impl Star {
    /// Whether nothing is special about it.
    pub fn is_clean(&self) -> bool {
        self.flags == 0
    }

    /// Flux over its standard error.
    pub fn snr(&self) -> f32 {
        self.flux / self.flux_sigma
    }
}

/// How stars are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StarParams {
    /// Threshold in standard deviations of the matched-filtered noise.
    pub threshold_sigma: f32,
    /// FWHM of the stars in pixels for the filter; measured if not given.
    pub fwhm_px: Option<f32>,
    /// Most stars returned.
    pub max_stars: usize,
    /// Electrons per unit of the image, for the shot noise of the stars in the standard errors;
    /// left out if not given.
    pub gain_e_per_unit: Option<f32>,
    /// Variance that the making of the image has added to the stars, square pixels, taken out of
    /// `fwhm_px`: 0 for raw pixels, [`GREEN_PLANE_VARIANCE`](crate::ops::demosaic::GREEN_PLANE_VARIANCE)
    /// for the green of a mosaic.
    pub blur_variance_px2: f32,
}

impl Default for StarParams {
    fn default() -> Self {
        Self {
            threshold_sigma: 5.0,
            fwhm_px: None,
            max_stars: 1500,
            gain_e_per_unit: None,
            blur_variance_px2: 0.0,
        }
    }
}

/// Memory that [`detect`] reuses from frame to frame: two images of the frame's size.
#[derive(Clone, Debug)]
pub struct StarScratch {
    residual: Image<f32>,
    filtered: Image<f32>,
    convolve: filter::ConvolveScratch,
    noise: NoiseGrid,
    candidates: Vec<Candidate>,
    values: Vec<f32>,
}

impl Default for StarScratch {
    fn default() -> Self {
        let nothing = Image::filled(Shape::new(0, 0), 0.0);
        Self {
            residual: nothing.clone(),
            filtered: nothing,
            convolve: filter::ConvolveScratch::default(),
            noise: NoiseGrid::default(),
            candidates: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// The stars of `image`, brightest first: at most `max_stars`, the brightest of every region of
/// the frame before the second brightest of any. Frames too small or too empty give none. O(n).
///
/// Pixels with the `NO_DATA` bit of `mask` count as sky; those with other bits as they are, and
/// the stars that they belong to are flagged.
///
/// # Panics
/// If `image`, `mask` and `background` differ in shape.
///
/// # Source
/// Matched filter and ring: Stetson (1987), doi:10.1086/131977. Windowed centroid and its error:
/// Bertin & Arnouts (1996), doi:10.1051/aas:1996164, as XWIN_IMAGE and ERRX2WIN_IMAGE of
/// SExtractor. Width: the round window adapts to the typical star as in Bernstein & Jarvis
/// (2002), doi:10.1086/338085, and a Moffat profile fitted to the mean star says what FWHM that is.
pub fn detect(
    image: &Image<f32>,
    mask: &Image<u8>,
    background: &Background,
    params: &StarParams,
    scratch: &mut StarScratch,
) -> Vec<Star> {
    assert_eq!(image.shape(), mask.shape(), "mask and image differ in shape");
    assert_eq!(image.shape(), background.shape(), "background and image differ in shape");
    let shape = image.shape();
    if shape.is_empty() || params.max_stars == 0 {
        return Vec::new();
    }
    subtract(image, mask, background, &mut scratch.residual);
    scratch.noise.fill(background);
    let first = f64::from(params.fwhm_px.unwrap_or(FIRST_FWHM_PX as f32));
    let mut psf = Psf::with_fwhm(first);
    let mut noise_gain = search(psf.sigma, params, scratch);
    if let Some(measured) = typical(mask, psf.sigma, scratch) {
        let ratio = measured.sigma / psf.sigma;
        psf = measured;
        if params.fwhm_px.is_none() && !(1.0 / REFILTER..=REFILTER).contains(&ratio) {
            noise_gain = search(psf.sigma, params, scratch);
            psf = typical(mask, psf.sigma, scratch).unwrap_or(psf);
        }
    }
    spread(&mut scratch.candidates, shape, params.max_stars);
    let mut measure =
        measure::Measure::new(&scratch.residual, mask, psf, f64::from(noise_gain), params);
    let mut stars = Vec::with_capacity(params.max_stars.min(scratch.candidates.len()));
    for candidate in &scratch.candidates {
        if stars.len() == params.max_stars {
            break;
        }
        let noise = scratch.noise.at(candidate.x as usize, candidate.y as usize);
        stars.extend(measure.star(candidate, noise));
    }
    flag_blends(&mut stars, &mut scratch.candidates, psf.sigma);
    stars.sort_by(|a, b| b.flux.total_cmp(&a.flux));
    stars
}

/// Writes image − background, 0 where there are no data.
fn subtract(image: &Image<f32>, bits: &Image<u8>, background: &Background, out: &mut Image<f32>) {
    if out.shape() != image.shape() {
        out.reset(image.shape(), 0.0);
    }
    for y in 0..image.height() {
        let row = out.row_mut(y);
        background.row(y, 0, row);
        for (out, &v) in row.iter_mut().zip(image.row(y)) {
            *out = v - *out;
        }
        let bits = bits.row(y);
        if bits.iter().fold(0, |any, &m| any | m) & mask::NO_DATA != 0 {
            for (out, &m) in row.iter_mut().zip(bits) {
                if m & mask::NO_DATA != 0 {
                    *out = 0.0;
                }
            }
        }
    }
}

/// Finds candidates with a filter of width `sigma`, brightest first; returns the filtered noise
/// over that of a pixel.
fn search(sigma: f64, params: &StarParams, scratch: &mut StarScratch) -> f32 {
    let StarScratch { residual, filtered, convolve, noise, candidates, values } = scratch;
    filter::convolve(residual, &filter::half_kernel(sigma), filtered, convolve);
    let gain = filter::noise_gain(filtered, noise, sigma, values);
    filter::maxima(filtered, noise, sigma, params.threshold_sigma * gain, candidates);
    for c in candidates.iter_mut() {
        c.snr = c.rise / gain;
    }
    candidates.sort_by(|a, b| b.snr.total_cmp(&a.snr));
    gain
}

fn typical(bits: &Image<u8>, sigma: f64, scratch: &StarScratch) -> Option<Psf> {
    psf::typical(&scratch.residual, bits, &scratch.noise, &scratch.candidates, sigma)
}

/// Orders candidates by their rank within their cell of a grid, then by brightness.
fn spread(candidates: &mut [Candidate], shape: Shape, max_stars: usize) {
    let cells = (max_stars / STARS_PER_CELL).max(1) as f64;
    let side = (shape.len() as f64 / cells).sqrt().ceil().max(1.0) as u32;
    let across = shape.width as u32 / side + 1;
    let down = shape.height as u32 / side + 1;
    let mut seen = vec![0u32; (across * down) as usize];
    let mut ranked: Vec<(u32, Candidate)> = candidates
        .iter()
        .map(|&c| {
            let seen = &mut seen[(c.y / side * across + c.x / side) as usize];
            *seen += 1;
            (*seen, c)
        })
        .collect();
    // stable: within a rank the order by brightness stays
    ranked.sort_by_key(|&(rank, _)| rank);
    for (slot, (_, c)) in candidates.iter_mut().zip(ranked) {
        *slot = c;
    }
}

/// Sets the flag of stars that another candidate disturbs.
fn flag_blends(stars: &mut [Star], candidates: &mut [Candidate], sigma: f64) {
    let reach = BLEND_REACH * sigma;
    candidates.sort_by_key(|c| (c.y, c.x));
    for star in stars {
        let p = star.position;
        let first = candidates.partition_point(|c| f64::from(c.y) < p.y - reach);
        let near = candidates[first..]
            .iter()
            .take_while(|c| f64::from(c.y) <= p.y + reach)
            .map(|c| (Point::new(f64::from(c.x), f64::from(c.y)).distance(p), c.snr))
            .filter(|&(distance, _)| distance <= reach);
        // the nearest is the star itself
        let (mut own, mut others) = ((f64::INFINITY, 0.0f32), 0.0f32);
        for c in near {
            if c.0 < own.0 {
                others = others.max(own.1);
                own = c;
            } else {
                others = others.max(c.1);
            }
        }
        if others > BLEND_SHARE * own.1 {
            star.flags |= flag::BLENDED;
        }
    }
}

#[cfg(test)]
mod tests;
