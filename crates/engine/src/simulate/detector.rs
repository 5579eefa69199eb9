//! A CMOS sensor: bias pattern, dark current, hot pixels, response, noise, 16 bits.

use stillframe_image::{CfaPattern, Colour, Image, Rng, math};

use super::frame::CosmicTruth;
use super::options::{BurstOptions, DetectorKind};
use super::stream;

/// Electrons per ADU.
pub(super) const GAIN_E_PER_ADU: f64 = 0.8;
/// Electrons, standard deviation.
const READ_NOISE_E: f64 = 1.6;
/// ADU added to every pixel.
const PEDESTAL_ADU: f64 = 200.0;
/// Poisson numbers above this mean are drawn as normal ones, together with the read noise.
const NORMAL_ABOVE: f64 = 60.0;
/// Mean light of a flat frame in electrons: half of what the sensor can hold.
const FLAT_LIGHT_E: f64 = 24_000.0;
/// Light of the flat panel in each colour, relative to green.
const PANEL_COLOUR: [f64; 3] = [0.75, 1.0, 0.6];
/// Exposure of a flat frame relative to a light frame.
const FLAT_EXPOSURE: f64 = 0.05;

/// Kind of a calibration frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalibrationKind {
    /// No light, no exposure.
    Bias,
    /// No light, exposed like a light frame.
    Dark,
    /// Even light.
    Flat,
}

/// The fixed properties of the sensor.
#[derive(Clone, Debug)]
pub struct Detector {
    /// Bias of each column in ADU.
    column_bias: Vec<f32>,
    /// Bias of each row in ADU, on top.
    row_bias: Vec<f32>,
    /// Electrons per exposure of a light frame.
    dark: Image<f32>,
    /// Response relative to the median pixel.
    response: Image<f32>,
    bayer: Option<CfaPattern>,
    seed: u64,
}

impl Detector {
    /// The sensor of the burst.
    pub(super) fn new(options: &BurstOptions) -> Self {
        let shape = options.shape();
        let mut rng = Rng::new(options.seed, stream::DETECTOR, 0);
        let ideal = Self {
            column_bias: vec![PEDESTAL_ADU as f32; shape.width],
            row_bias: vec![0.0; shape.height],
            dark: Image::filled(shape, 0.0),
            response: Image::filled(shape, 1.0),
            bayer: options.bayer,
            seed: options.seed,
        };
        if options.detector == DetectorKind::Ideal {
            return ideal;
        }
        let mut pattern = |n: usize, mean: f64, sigma: f64| -> Vec<f32> {
            (0..n).map(|_| (mean + sigma * rng.normal()) as f32).collect()
        };
        Self {
            column_bias: pattern(shape.width, PEDESTAL_ADU, 1.2),
            row_bias: pattern(shape.height, 0.0, 0.5),
            dark: dark_current(options),
            response: response(options),
            ..ideal
        }
    }

    /// Electrons of dark signal per pixel in the exposure of a light frame.
    pub fn dark_e(&self) -> &Image<f32> {
        &self.dark
    }

    /// Response of each pixel relative to the median one.
    pub fn response(&self) -> &Image<f32> {
        &self.response
    }

    /// The calibration frame `index` of this kind, in ADU.
    pub(super) fn calibration(&self, kind: CalibrationKind, index: usize) -> Image<u16> {
        let purpose = match kind {
            CalibrationKind::Bias => stream::BIAS_NOISE,
            CalibrationKind::Dark => stream::DARK_NOISE,
            CalibrationKind::Flat => stream::FLAT_NOISE,
        };
        let mut rng = Rng::new(self.seed, purpose, index as u64);
        let (light_e, exposure) = match kind {
            CalibrationKind::Bias => (0.0, 0.0),
            CalibrationKind::Dark => (0.0, 1.0),
            CalibrationKind::Flat => (FLAT_LIGHT_E * (1.0 + 0.03 * rng.normal()), FLAT_EXPOSURE),
        };
        let panel = Image::from_fn(self.dark.shape(), |x, y| {
            let colour = self.bayer.map_or(Colour::Green, |cfa| cfa.colour_at(x, y));
            (light_e * PANEL_COLOUR[colour.plane()]) as f32
        });
        self.read(panel, exposure, &[], &mut rng)
    }

    /// The frame that `light` (expected electrons) makes with this fraction of a light frame's
    /// exposure, in ADU.
    pub(super) fn read(
        &self,
        mut light: Image<f32>,
        exposure: f64,
        cosmics: &[CosmicTruth],
        rng: &mut Rng,
    ) -> Image<u16> {
        let exposure = exposure as f32;
        for y in 0..light.height() {
            let (dark, response) = (self.dark.row(y), self.response.row(y));
            for ((e, dark), response) in light.row_mut(y).iter_mut().zip(dark).zip(response) {
                *e = noisy(*e * response + exposure * dark, rng);
            }
        }
        for cosmic in cosmics {
            add_cosmic(&mut light, cosmic);
        }
        self.digitised(&light)
    }

    fn digitised(&self, electrons: &Image<f32>) -> Image<u16> {
        let mut adu = Image::filled(electrons.shape(), 0u16);
        let per_e = (1.0 / GAIN_E_PER_ADU) as f32;
        for (y, row_bias) in self.row_bias.iter().enumerate() {
            let source = electrons.row(y).iter().zip(&self.column_bias);
            for (adu, (e, column_bias)) in adu.row_mut(y).iter_mut().zip(source) {
                let value = e * per_e + (column_bias + row_bias);
                *adu = (value + 0.5).clamp(0.0, f32::from(u16::MAX)) as u16;
            }
        }
        adu
    }
}

/// Counted electrons and read noise where `expected` electrons arrive.
pub(super) fn noisy(expected: f32, rng: &mut Rng) -> f32 {
    let mean = f64::from(expected);
    if mean > NORMAL_ABOVE {
        return (mean + (mean + READ_NOISE_E * READ_NOISE_E).sqrt() * rng.normal()) as f32;
    }
    (rng.poisson(mean) + READ_NOISE_E * rng.normal()) as f32
}

fn add_cosmic(electrons: &mut Image<f32>, cosmic: &CosmicTruth) {
    let steps = (2.0 * cosmic.length_px).ceil().max(1.0);
    let (dx, dy) = (math::cos(cosmic.angle_rad), math::sin(cosmic.angle_rad));
    for i in 0..steps as usize {
        let along = 0.5 * i as f64;
        let (x, y) = ((cosmic.from.x + along * dx).round(), (cosmic.from.y + along * dy).round());
        let (width, height) = (electrons.width() as f64, electrons.height() as f64);
        if x >= 0.0 && y >= 0.0 && x < width && y < height {
            let (x, y) = (x as usize, y as usize);
            electrons.set(x, y, electrons.at(x, y) + (cosmic.charge_e / steps) as f32);
        }
    }
}

/// Dark electrons: about 1.2 per pixel, uneven, and a long tail of hot pixels.
fn dark_current(options: &BurstOptions) -> Image<f32> {
    let shape = options.shape();
    let mut rng = Rng::new(options.seed, stream::DETECTOR, 1);
    let mut dark =
        Image::from_fn(shape, |_, _| (0.6 * (rng.exponential() + rng.exponential())) as f32);
    let mut rng = Rng::new(options.seed, stream::DETECTOR, 2);
    for _ in 0..(shape.len() as f64 * options.hot_fraction) as usize {
        let (x, y) = (rng.below(shape.width), rng.below(shape.height));
        // Lomax tail, as hot pixel counts over brightness have.
        let excess = 60.0 * (math::pow(1.0 - rng.uniform(), -1.0 / 1.1) - 1.0) + 40.0;
        dark.set(x, y, dark.at(x, y) + excess.min(40_000.0) as f32);
    }
    dark
}

/// Vignetting, shadows of dust, uneven pixels.
fn response(options: &BurstOptions) -> Image<f32> {
    let shape = options.shape();
    let (width, height) = (shape.width as f64, shape.height as f64);
    let mut rng = Rng::new(options.seed, stream::DETECTOR, 3);
    let mut flat = Image::from_fn(shape, |x, y| {
        let (dx, dy) = (x as f64 - 0.5 * width, y as f64 - 0.52 * height);
        (1.0 - 0.22 * (dx * dx + dy * dy) / (0.25 * width * width).max(0.25 * height * height))
            as f32
            * (1.0 + 0.006 * rng.normal()) as f32
    });
    let mut rng = Rng::new(options.seed, stream::DETECTOR, 4);
    let specks = (6e-6 * width * height).ceil() as usize;
    for _ in 0..specks {
        let (cx, cy) = (width * rng.uniform(), height * rng.uniform());
        let (radius, depth) = (rng.range(12.0, 35.0), rng.range(0.01, 0.05));
        let reach = 2.0 * radius;
        let rows = (cy - reach).max(0.0) as usize..((cy + reach) as usize + 1).min(shape.height);
        for y in rows {
            let first = (cx - reach).max(0.0) as usize;
            let end = ((cx + reach) as usize + 1).min(shape.width);
            for x in first..end {
                let (dx, dy) = (x as f64 - cx, y as f64 - cy);
                let d = ((dx * dx + dy * dy).sqrt() - radius) / (0.35 * radius);
                let shade = 1.0 - depth * math::exp(-d * d);
                flat.set(x, y, flat.at(x, y) * shade as f32);
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BurstOptions {
        BurstOptions { width: 200, height: 150, ..BurstOptions::default() }
    }

    fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let n = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / n;
        (mean, values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / n)
    }

    #[test]
    fn noise_is_that_of_photons_and_readout() {
        let detector = Detector::new(&BurstOptions { detector: DetectorKind::Ideal, ..options() });
        for light in [0.0f32, 5.0, 50.0, 400.0] {
            let image = Image::filled(options().shape(), light);
            let adu = detector.read(image, 1.0, &[], &mut Rng::new(1, 1, 1));
            let electrons = adu.pixels().iter().map(|&v| (f64::from(v) - 200.0) * GAIN_E_PER_ADU);
            let (mean, variance) = moments(electrons);
            let want = f64::from(light) + READ_NOISE_E * READ_NOISE_E + 0.64 / 12.0;
            assert!((mean - f64::from(light)).abs() < 0.6, "{light}: {mean}");
            assert!((variance / want - 1.0).abs() < 0.06, "{light}: {variance} {want}");
        }
    }

    #[test]
    fn calibration_frames_show_what_they_calibrate() {
        let detector = Detector::new(&options());
        let mean = |kind| {
            let frame = detector.calibration(kind, 0);
            moments(frame.pixels().iter().map(|&v| f64::from(v))).0
        };
        assert!((mean(CalibrationKind::Bias) - 200.0).abs() < 1.0);
        assert!(mean(CalibrationKind::Dark) > mean(CalibrationKind::Bias) + 1.0);
        assert!(mean(CalibrationKind::Flat) > 20_000.0);
        let first = detector.calibration(CalibrationKind::Dark, 0);
        assert_ne!(first, detector.calibration(CalibrationKind::Dark, 1));
        assert_eq!(first, detector.calibration(CalibrationKind::Dark, 0));
        let hot = detector.dark_e().pixels().iter().filter(|&&e| e > 40.0).count();
        assert_eq!(hot, 12);
        // A hot pixel is hot in every dark.
        let hottest = |adu: &Image<u16>| {
            let (i, _) = adu.pixels().iter().enumerate().max_by_key(|(_, v)| **v).unwrap();
            i
        };
        assert_eq!(hottest(&first), hottest(&detector.calibration(CalibrationKind::Dark, 7)));
    }

    #[test]
    fn full_pixels_stay_full() {
        let detector = Detector::new(&options());
        let light = Image::filled(options().shape(), 1e6);
        let adu = detector.read(light, 1.0, &[], &mut Rng::new(1, 1, 1));
        assert!(adu.pixels().iter().all(|&v| v == u16::MAX));
    }
}
