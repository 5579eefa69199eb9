//! A simulator of mosaics with known truth: panels of overlapping frames, each with its own gain, sky
//! and seeing, and exact world coordinates.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Point, Rng, Shape, math};
use stillframe_io::wcs::{PixelMap, SkyFrame, SkyPoint, Wcs};
use stillframe_kernels::normalise::overlaps::terms;
use stillframe_kernels::reproject::Coordinates;

use super::burst::SimulatedFrame;
use super::detector::{GAIN_E_PER_ADU, noisy};
use super::header::mosaic_header;
use super::moffat::{Moffat, StarShape};
use super::options::SimulateError;
use super::stream;

/// Level of no light, ADU.
const PEDESTAL_ADU: f32 = 500.0;
/// Brightest star, electrons per frame.
const BRIGHTEST_STAR_E: f64 = 2e5;
/// Slope of the star counts, N(> F) ∝ F^-slope.
const COUNT_SLOPE: f64 = 0.85;
/// Pixels around the frame whose stars are drawn.
const STAR_MARGIN_PX: f64 = 60.0;

/// What a simulated mosaic is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MosaicOptions {
    /// Seed of every random number.
    pub seed: u64,
    /// Panels across.
    pub columns: usize,
    /// Panels down.
    pub rows: usize,
    /// Frames of each panel.
    pub frames: usize,
    /// Columns of a frame.
    pub width: usize,
    /// Rows of a frame.
    pub height: usize,
    /// Share of its sides that a panel has in common with its neighbour.
    pub overlap: f64,
    /// Side of a pixel, arcseconds.
    pub scale_arcsec_per_px: f64,
    /// Right ascension of the middle, degrees.
    pub ra_deg: f64,
    /// Declination of the middle, degrees.
    pub dec_deg: f64,
    /// Panels are turned by up to this angle, degrees.
    pub turn_deg: f64,
    /// Scatter of the logarithm of the panels' gains.
    pub gain_scatter: f64,
    /// Mean sky, electrons per frame.
    pub sky_e: f64,
    /// Scatter of the panels' skies, electrons.
    pub sky_scatter_e: f64,
    /// Scatter of the slopes of the panels' skies from the middle to the border, electrons.
    pub slope_e: f64,
    /// Scatter of their curvatures, electrons.
    pub curvature_e: f64,
    /// Best seeing, pixels.
    pub fwhm_min_px: f64,
    /// Worst seeing, pixels.
    pub fwhm_max_px: f64,
    /// Stars per million pixels.
    pub stars_per_mpx: f64,
    /// Faintest star, electrons per frame.
    pub faintest_star_e: f64,
    /// Brightness of the nebula's blobs, electrons.
    pub nebula_e: f64,
    /// Chance that a frame has a satellite trail.
    pub trail_probability: f64,
}

impl Default for MosaicOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            columns: 3,
            rows: 2,
            frames: 4,
            width: 640,
            height: 480,
            overlap: 0.2,
            scale_arcsec_per_px: 2.4,
            ra_deg: 83.8,
            dec_deg: 22.0,
            turn_deg: 2.5,
            gain_scatter: 0.07,
            sky_e: 320.0,
            sky_scatter_e: 60.0,
            slope_e: 20.0,
            curvature_e: 3.0,
            fwhm_min_px: 2.4,
            fwhm_max_px: 3.4,
            stars_per_mpx: 2200.0,
            faintest_star_e: 60.0,
            nebula_e: 150.0,
            trail_probability: 0.1,
        }
    }
}

impl MosaicOptions {
    /// Size of a frame.
    pub fn shape(&self) -> Shape {
        Shape::new(self.height, self.width)
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`SimulateError::Option`] for the first that is out of range.
    pub fn validate(&self) -> Result<(), SimulateError> {
        let level = 0.0..=1e5;
        let checks = [
            ("columns", self.columns as f64, 1.0..=1000.0, "1 to 1000"),
            ("rows", self.rows as f64, 1.0..=1000.0, "1 to 1000"),
            ("frames", self.frames as f64, 1.0..=1e5, "1 to 100 000"),
            ("width", self.width as f64, 32.0..=16384.0, "32 to 16384"),
            ("height", self.height as f64, 32.0..=16384.0, "32 to 16384"),
            ("overlap", self.overlap, 0.0..=0.95, "0 to 0.95"),
            ("scale_arcsec_per_px", self.scale_arcsec_per_px, 1e-3..=3600.0, "0.001 to 3600"),
            ("dec_deg", self.dec_deg, -90.0..=90.0, "-90 to 90"),
            ("turn_deg", self.turn_deg, 0.0..=180.0, "0 to 180"),
            ("gain_scatter", self.gain_scatter, 0.0..=1.0, "0 to 1"),
            ("sky_e", self.sky_e, level.clone(), "0 to 100 000"),
            ("sky_scatter_e", self.sky_scatter_e, level.clone(), "0 to 100 000"),
            ("slope_e", self.slope_e, level.clone(), "0 to 100 000"),
            ("curvature_e", self.curvature_e, level.clone(), "0 to 100 000"),
            ("fwhm_min_px", self.fwhm_min_px, 1.2..=20.0, "1.2 to 20"),
            ("fwhm_max_px", self.fwhm_max_px, self.fwhm_min_px..=20.0, "from fwhm_min_px to 20"),
            ("stars_per_mpx", self.stars_per_mpx, level.clone(), "0 to 100 000"),
            ("faintest_star_e", self.faintest_star_e, 1.0..=1e5, "1 to 100 000"),
            ("nebula_e", self.nebula_e, level, "0 to 100 000"),
            ("trail_probability", self.trail_probability, 0.0..=1.0, "0 to 1"),
        ];
        for (option, found, range, needed) in checks {
            if !range.contains(&found) {
                return Err(SimulateError::Option { option, found, needed });
            }
        }
        Ok(())
    }
}

/// What is true of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PanelTruth {
    /// Number of its panel.
    pub panel: usize,
    /// Number of the frame in the panel.
    pub frame: usize,
    /// Factor on the light of the scene.
    pub gain: f64,
    /// Coefficients of its sky on the terms 1, u, v, (3u² - 1)/2, uv, (3v² - 1)/2 with u and v from -1 to
    /// 1 across and down the frame, electrons.
    pub sky_e: [f64; 6],
    /// Full width at half maximum of its stars, pixels.
    pub fwhm_px: f64,
    /// A point of its satellite trail, if it has one, and the trail's direction in radians.
    pub trail: Option<(Point, f64)>,
    /// World coordinates.
    pub wcs: Wcs,
}

/// What is true of a mosaic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MosaicTruth {
    /// What was asked for.
    pub options: MosaicOptions,
    /// Electrons per ADU.
    pub gain_e_per_adu: f64,
    /// Size of the grid that holds all frames.
    pub grid_shape: Shape,
    /// Its world coordinates.
    pub grid: Wcs,
    /// Places on the grid and electrons of all stars.
    pub stars: Vec<(Point, f64)>,
    /// Every frame.
    pub frames: Vec<PanelTruth>,
}

/// A blob of nebula: place on the grid, σ in pixels, electrons at its middle.
#[derive(Clone, Copy, Debug)]
struct Blob {
    at: Point,
    sigma_px: f64,
    peak_e: f64,
}

/// Frames of a mosaic that are made when they are asked for.
#[derive(Clone, Debug)]
pub struct SimulatedMosaic {
    options: MosaicOptions,
    grid: Wcs,
    grid_shape: Shape,
    stars: Vec<(Point, f64)>,
    blobs: Vec<Blob>,
    moffat: Moffat,
}

impl SimulatedMosaic {
    /// Prepares the sky.
    ///
    /// # Errors
    /// [`SimulateError`] for an option out of range.
    pub fn new(options: MosaicOptions) -> Result<Self, SimulateError> {
        options.validate()?;
        let side = |panels: usize, size: usize| {
            let step = size as f64 * (1.0 - options.overlap);
            // turned corners and dither
            let pad = 0.05 * options.width.max(options.height) as f64 + 12.0;
            (step * (panels - 1) as f64 + size as f64 + 2.0 * pad).ceil() as usize
        };
        let grid_shape =
            Shape::new(side(options.rows, options.height), side(options.columns, options.width));
        let middle = |size: usize| 0.5 * (size as f64 - 1.0);
        let centre = Point::new(middle(grid_shape.width), middle(grid_shape.height));
        let sky = SkyPoint { lon_deg: options.ra_deg, lat_deg: options.dec_deg };
        let scale = options.scale_arcsec_per_px;
        let grid = Wcs::tangent(sky, &SkyFrame::Icrs, centre, scale, 0.0);
        let stars = stars(&options, grid_shape);
        let blobs = blobs(&options, grid_shape);
        Ok(Self { options, grid, grid_shape, stars, blobs, moffat: Moffat::new() })
    }

    /// What was asked for.
    pub fn options(&self) -> &MosaicOptions {
        &self.options
    }

    /// Number of frames.
    pub fn n_frames(&self) -> usize {
        self.options.columns * self.options.rows * self.options.frames
    }

    /// Number of frame `index` in random streams: the same whatever the number of frames.
    fn key(&self, index: usize) -> u64 {
        ((index / self.options.frames) * 1_000_000 + index % self.options.frames) as u64
    }

    /// Name of the file of frame `index`: panel and number.
    pub fn frame_name(&self, index: usize) -> String {
        let (panel, frame) = (index / self.options.frames, index % self.options.frames);
        format!("p{panel:03}_{frame:04}.fits")
    }

    /// What is true of frame `index`.
    pub fn frame_truth(&self, index: usize) -> PanelTruth {
        let o = &self.options;
        let (panel, frame) = (index / o.frames, index % o.frames);
        let mut of_panel = Rng::new(o.seed, stream::PANEL, panel as u64);
        let mut rng = Rng::new(o.seed, stream::MOSAIC_FRAME, self.key(index));
        let turn = of_panel.range(-1.0, 1.0) * o.turn_deg.to_radians();
        let gain = math::exp(o.gain_scatter * of_panel.normal());
        let fwhm = of_panel.range(o.fwhm_min_px, o.fwhm_max_px);
        let mut sky_e = [0.0; 6];
        sky_e[0] = o.sky_e + o.sky_scatter_e * of_panel.normal();
        sky_e[1] = o.slope_e * of_panel.normal();
        sky_e[2] = o.slope_e * of_panel.normal();
        for c in &mut sky_e[3..] {
            *c = o.curvature_e * of_panel.normal();
        }
        // what changes from frame to frame
        let place = |k: usize, panels: usize, size: usize, grid: usize| {
            let step = size as f64 * (1.0 - o.overlap);
            0.5 * (grid as f64 - 1.0) + step * (k as f64 - 0.5 * (panels - 1) as f64)
        };
        let at = Point::new(
            place(panel % o.columns, o.columns, o.width, self.grid_shape.width)
                + 3.0 * rng.normal(),
            place(panel / o.columns, o.rows, o.height, self.grid_shape.height) + 3.0 * rng.normal(),
        );
        sky_e[0] = (sky_e[0] + 5.0 * rng.normal()).max(0.0);
        let has_trail = rng.uniform() < o.trail_probability;
        let (width, height) = (o.width as f64, o.height as f64);
        let trail =
            (Point::new(rng.range(0.0, width), rng.range(0.0, height)), rng.range(0.0, 3.1));
        let sky = self.grid.sky_from_pixel(at).expect("the grid shows its own sky");
        let middle = Point::new(0.5 * (width - 1.0), 0.5 * (height - 1.0));
        let turn = turn + 0.002 * rng.normal();
        PanelTruth {
            panel,
            frame,
            gain: gain * math::exp(0.01 * rng.normal()),
            sky_e,
            fwhm_px: (fwhm + 0.1 * rng.normal()).clamp(1.2, 20.0),
            trail: has_trail.then_some(trail),
            wcs: Wcs::tangent(sky, &SkyFrame::Icrs, middle, o.scale_arcsec_per_px, turn),
        }
    }

    /// Expected electrons per pixel of a frame: the scene times the gain, and the sky; no trail.
    pub fn expected(&self, truth: &PanelTruth) -> Image<f32> {
        let shape = self.options.shape();
        let mut image = Image::filled(shape, 0.0f32);
        let from_grid = PixelMap::new(&self.grid, &truth.wcs).expect("both are ICRS");
        let star = StarShape::new(truth.fwhm_px, 0.0, 0.0);
        let near = |p: f64, size: usize| p > -STAR_MARGIN_PX && p < size as f64 + STAR_MARGIN_PX;
        for &(at, flux_e) in &self.stars {
            if let Some(p) =
                from_grid.at(at).filter(|p| near(p.x, shape.width) && near(p.y, shape.height))
            {
                self.moffat.add(&mut image, &star, p.x, p.y, [[flux_e; 2]; 2]);
            }
        }
        let to_grid = PixelMap::new(&truth.wcs, &self.grid).expect("both are ICRS");
        let mut coordinates = Coordinates::default();
        coordinates.fill(shape.rect(), &|p| to_grid.at(p));
        let places = coordinates.x().iter().zip(coordinates.y());
        let (su, sv) = (2.0 / (shape.width - 1) as f64, 2.0 / (shape.height - 1) as f64);
        for (i, (e, (x, y))) in image.pixels_mut().iter_mut().zip(places).enumerate() {
            let u = (i % shape.width) as f64 * su - 1.0;
            let v = (i / shape.width) as f64 * sv - 1.0;
            let sky: f64 = truth.sky_e.iter().zip(terms(u, v)).map(|(c, t)| c * t).sum();
            let scene = f64::from(*e) + self.nebula_at(Point::new(*x, *y));
            *e = (scene * truth.gain + sky).max(0.0) as f32;
        }
        image
    }

    /// Electrons of the nebula at a place of the grid.
    pub fn nebula_at(&self, p: Point) -> f64 {
        let of = |b: &Blob| {
            let r2 = (p.x - b.at.x) * (p.x - b.at.x) + (p.y - b.at.y) * (p.y - b.at.y);
            b.peak_e * math::exp(-0.5 * r2 / (b.sigma_px * b.sigma_px))
        };
        self.blobs.iter().map(of).sum()
    }

    /// Frame `index`, the same whatever the number of frames.
    pub fn frame(&self, index: usize) -> SimulatedFrame {
        let truth = self.frame_truth(index);
        let mut light = self.expected(&truth);
        if let Some((at, angle)) = truth.trail {
            let (s, c) = (math::sin(angle), math::cos(angle));
            for y in 0..light.height() {
                for (x, e) in light.row_mut(y).iter_mut().enumerate() {
                    let d = (x as f64 - at.x) * s - (y as f64 - at.y) * c;
                    *e += (TRAIL_E * math::exp(-0.5 * d * d / 2.0)) as f32;
                }
            }
        }
        let mut rng = Rng::new(self.options.seed, stream::MOSAIC_NOISE, self.key(index));
        let image = light.map(|e| {
            let adu = noisy(e, &mut rng) / GAIN_E_PER_ADU as f32 + PEDESTAL_ADU;
            (adu + 0.5).clamp(0.0, f32::from(u16::MAX)) as u16
        });
        let mut header = mosaic_header(index);
        header.push_integer("PANEL", truth.panel as i64, "number of the panel");
        header.cards.extend(truth.wcs.cards().iter().cloned());
        SimulatedFrame { image, header }
    }

    /// Everything that is true.
    pub fn truth(&self) -> MosaicTruth {
        MosaicTruth {
            options: self.options.clone(),
            gain_e_per_adu: GAIN_E_PER_ADU,
            grid_shape: self.grid_shape,
            grid: self.grid.clone(),
            stars: self.stars.clone(),
            frames: (0..self.n_frames()).map(|i| self.frame_truth(i)).collect(),
        }
    }

    /// Header in text of the grid that holds all frames.
    pub fn grid_header(&self) -> String {
        let Shape { height, width } = self.grid_shape;
        format!(
            "SIMPLE  = T\nBITPIX  = -32\nNAXIS   = 2\nNAXIS1  = {width}\nNAXIS2  = {height}\n{}END\n",
            String::from(self.grid.clone())
        )
    }
}

/// Brightness of a trail in its middle, electrons.
const TRAIL_E: f64 = 400.0;

fn stars(options: &MosaicOptions, shape: Shape) -> Vec<(Point, f64)> {
    let mut rng = Rng::new(options.seed, stream::STARS, 1);
    let n = (options.stars_per_mpx * shape.len() as f64 * 1e-6).round() as usize;
    let star = |_| {
        let at =
            Point::new(rng.range(0.0, shape.width as f64), rng.range(0.0, shape.height as f64));
        let u = 1.0 - rng.uniform();
        let flux = options.faintest_star_e * math::pow(u, -1.0 / COUNT_SLOPE);
        (at, flux.min(BRIGHTEST_STAR_E))
    };
    (0..n).map(star).collect()
}

fn blobs(options: &MosaicOptions, shape: Shape) -> Vec<Blob> {
    let mut rng = Rng::new(options.seed, stream::BLOBS, 0);
    let panels = options.columns * options.rows;
    let scale = options.width.min(options.height) as f64;
    let blob = |_| Blob {
        at: Point::new(rng.range(0.0, shape.width as f64), rng.range(0.0, shape.height as f64)),
        sigma_px: scale * rng.range(0.08, 0.4),
        peak_e: options.nebula_e * rng.uniform(),
    };
    (0..2 * panels).map(blob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> SimulatedMosaic {
        let options =
            MosaicOptions { width: 96, height: 72, frames: 2, ..MosaicOptions::default() };
        SimulatedMosaic::new(options).unwrap()
    }

    #[test]
    fn frames_lie_on_the_grid_and_overlap_their_neighbours() {
        let mosaic = small();
        let truth = mosaic.truth();
        assert_eq!(truth.frames.len(), 12);
        for frame in &truth.frames {
            let map = PixelMap::new(&frame.wcs, &truth.grid).unwrap();
            for (x, y) in [(-0.5, -0.5), (95.5, -0.5), (95.5, 71.5), (-0.5, 71.5)] {
                let q = map.at(Point::new(x, y)).unwrap();
                assert!(q.x > -0.5 && q.x < truth.grid_shape.width as f64 - 0.5, "{q:?}");
                assert!(q.y > -0.5 && q.y < truth.grid_shape.height as f64 - 0.5, "{q:?}");
            }
        }
        let a = PixelMap::new(&truth.frames[0].wcs, &truth.frames[2].wcs).unwrap();
        let seen = a.at(Point::new(90.0, 36.0)).unwrap();
        assert!((0.0..40.0).contains(&seen.x), "{seen:?}");
    }

    #[test]
    fn a_frame_is_the_same_whatever_the_number_of_frames() {
        let few = small();
        let mut options = few.options().clone();
        options.frames = 3;
        let more = SimulatedMosaic::new(options).unwrap();
        // panel 1, frame 1
        assert_eq!(few.frame_truth(3), more.frame_truth(4));
        assert_eq!(few.frame(3).image, more.frame(4).image);
        assert_eq!(few.frame(1).header.integer("PANEL"), Some(0));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let wrong = MosaicOptions { overlap: 1.5, ..MosaicOptions::default() };
        let error = SimulatedMosaic::new(wrong).unwrap_err().to_string();
        assert_eq!(error, "overlap is 1.5, needed 0 to 0.95");
    }
}
