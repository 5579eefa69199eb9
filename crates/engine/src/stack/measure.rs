//! Pass 1: every frame is read once, whole; what is kept of it are stars, meshes and figures.

use serde::{Deserialize, Serialize};
use stillframe_image::{Colour, Header, Image, Point, Rect, mask};
use stillframe_io::fits::{FileBuffer, FitsWriter, ImageWriter};
use stillframe_io::sink::Existing;
use stillframe_io::{ReadError, WriteError};
use stillframe_kernels::ops::background::{Background, BackgroundParams, BackgroundScratch, Sites};
use stillframe_kernels::ops::demosaic::{GREEN_PLANE_VARIANCE, green_plane};
use stillframe_kernels::ops::linearity::{Linearity, judge};
use stillframe_kernels::ops::metrics::{FrameMetrics, frame_metrics};
use stillframe_kernels::ops::stars::{Star, StarParams, StarScratch, detect};

use super::burst::{Burst, FrameBuffer};

/// More saturated pixels than this are no night sky.
const MOST_SATURATED: f64 = 0.25;

/// A frame with less data than this is not worth its noise.
const LEAST_DATA: f64 = 0.2;

/// What the recipe says about measuring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MeasureSpec {
    pub(crate) mesh_px: usize,
    pub(crate) detection_sigma: f64,
    /// Stars kept per frame.
    pub(crate) max_stars: usize,
    pub(crate) judge_linearity: bool,
    /// Places at which the sky is measured besides.
    pub(crate) boxes: LevelBoxes,
}

/// Squares of each frame whose sky level is wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LevelBoxes {
    /// Side of the squares of each frame, pixels; frames that are not listed have none.
    pub(crate) side_px: Vec<u32>,
    /// First column and row of each square of each frame; all lie inside the frame.
    pub(crate) corners: Vec<Vec<[u32; 2]>>,
}

impl LevelBoxes {
    /// Levels of the squares of frame `index`; NaN where there is none.
    fn levels(
        &self,
        index: usize,
        (image, mask): (&Image<f32>, &Image<u8>),
        sites: Sites,
        scratch: &mut BackgroundScratch,
    ) -> Vec<f32> {
        let Some(corners) = self.corners.get(index) else { return Vec::new() };
        let side = self.side_px[index] as usize;
        let level = |&[x, y]: &[u32; 2]| {
            let rect = Rect::new(x as usize, y as usize, side, side);
            Background::level_of(image, mask, rect, sites, scratch).unwrap_or(f32::NAN)
        };
        corners.iter().map(level).collect()
    }
}

/// What is kept of a star: 36 bytes, so that ten thousand frames fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StarRecord {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) sigma_px: f32,
    pub(crate) flux: f32,
    pub(crate) flux_sigma: f32,
    pub(crate) peak: f32,
    pub(crate) fwhm_px: f32,
    pub(crate) roundness: f32,
    pub(crate) flags: u8,
}

impl StarRecord {
    fn of(star: &Star) -> Self {
        Self {
            x: star.position.x as f32,
            y: star.position.y as f32,
            sigma_px: star.position_sigma_px,
            flux: star.flux,
            flux_sigma: star.flux_sigma,
            peak: star.peak,
            fwhm_px: star.fwhm_px,
            roundness: star.roundness,
            flags: star.flags,
        }
    }

    /// Whether flux and shape can be trusted.
    pub(crate) fn is_good(&self) -> bool {
        self.flags == 0
    }

    pub(crate) fn position(&self) -> Point {
        Point::new(f64::from(self.x), f64::from(self.y))
    }
}

/// What is kept of a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrameMeasure {
    /// Of the file, hexadecimal.
    pub(crate) sha256: String,
    pub(crate) stars: Vec<StarRecord>,
    /// Background of each output plane (1 or 3).
    pub(crate) meshes: Vec<Background>,
    /// Levels of the squares of [`LevelBoxes`] in each output plane; NaN where there is none.
    pub(crate) levels: Vec<Vec<f32>>,
    pub(crate) metrics: FrameMetrics,
    pub(crate) saturated_fraction: f64,
    /// The reason for which the frame looks stretched.
    pub(crate) stretched: Option<String>,
}

/// Outcome of measuring one frame.
pub(crate) type Measured = Result<FrameMeasure, String>;

/// Buffers of a worker.
#[derive(Debug)]
pub(crate) struct MeasureScratch {
    buffer: FrameBuffer,
    file: FileBuffer,
    plane: Image<f32>,
    background: BackgroundScratch,
    stars: StarScratch,
}

impl MeasureScratch {
    pub(crate) fn new() -> Self {
        Self {
            buffer: FrameBuffer::new(),
            file: FileBuffer::default(),
            plane: Image::filled(stillframe_image::Shape::new(0, 0), 0.0),
            background: BackgroundScratch::default(),
            stars: StarScratch::default(),
        }
    }
}

/// Measures frame `index` of the burst.
pub(crate) fn measure(
    burst: &Burst,
    spec: &MeasureSpec,
    index: usize,
    scratch: &mut MeasureScratch,
) -> Measured {
    try_measure(burst, spec, index, scratch).map_err(|e| e.to_string())
}

#[derive(Debug, thiserror::Error)]
enum MeasureError {
    #[error("{}", .0.kind)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Spool(#[from] WriteError),
    #[error("{0}")]
    Unusable(String),
}

fn try_measure(
    burst: &Burst,
    spec: &MeasureSpec,
    index: usize,
    scratch: &mut MeasureScratch,
) -> Result<FrameMeasure, MeasureError> {
    let shape = burst.spec.frames[index].shape;
    let n = shape.len() as f64;
    let mut luminance: Option<Image<f32>> = None;
    let mut meshes = Vec::new();
    let mut levels = Vec::new();
    let (source, sha256) = burst.load(index, &mut scratch.file)?;
    let share = |mask: &Image<u8>, bit: u8| {
        mask.pixels().iter().filter(|m| **m & bit != 0).count() as f64 / n
    };
    let mut saturated_fraction = 0.0;
    let file = &burst.spec.frames[index];
    // A packed frame is unpacked once; pass 2 reads its rectangles from the copy.
    let mut writer = if file.pixels == file.path {
        None
    } else {
        Some(FitsWriter::create(&file.pixels, Existing::Replace)?)
    };
    let mut spool = match &mut writer {
        Some(writer) => {
            Some(writer.begin_image::<f32>(None, &Header::default(), shape, burst.spec.planes)?)
        }
        None => None,
    };
    for plane in 0..burst.spec.planes {
        burst.decode(plane, (&source, &scratch.file), &mut scratch.buffer)?;
        if let Some(spool) = &mut spool {
            spool_plane(spool, &scratch.buffer)?;
        }
        burst.calibrate_whole(index, &mut scratch.buffer);
        let FrameBuffer { pixels, mask: bits, .. } = &scratch.buffer;
        let data = 1.0 - share(bits, mask::NO_DATA);
        check_data(data)?;
        saturated_fraction += share(bits, mask::SATURATED) / burst.spec.planes as f64;
        if burst.spec.planes > 1 {
            let (all, scratch) = (Sites::All, &mut scratch.background);
            meshes.push(fit(pixels, bits, spec, all, scratch)?);
            levels.push(spec.boxes.levels(index, (pixels, bits), all, scratch));
            match &mut luminance {
                None => luminance = Some(pixels.clone()),
                Some(sum) => {
                    for (s, v) in sum.pixels_mut().iter_mut().zip(pixels.pixels()) {
                        *s += v;
                    }
                }
            }
        }
    }
    if let Some(spool) = spool {
        spool.finish()?;
    }
    if let Some(writer) = writer {
        writer.finish()?;
    }
    check_saturated(saturated_fraction)?;
    let FrameBuffer { pixels, mask: bits, .. } = &scratch.buffer;
    let image = match (burst.spec.cfa, &mut luminance) {
        (Some(cfa), _) => {
            for colour in Colour::ALL {
                let sites = Sites::Colour(cfa, colour);
                meshes.push(fit(pixels, bits, spec, sites, &mut scratch.background)?);
                let image = (pixels, bits);
                levels.push(spec.boxes.levels(index, image, sites, &mut scratch.background));
            }
            green_plane(pixels, cfa, &mut scratch.plane);
            &scratch.plane
        }
        (None, Some(sum)) => {
            let scale = 1.0 / burst.spec.planes as f32;
            sum.pixels_mut().iter_mut().for_each(|v| *v *= scale);
            sum
        }
        (None, None) => pixels,
    };
    let background = fit(image, bits, spec, Sites::All, &mut scratch.background)?;
    let params = StarParams {
        threshold_sigma: spec.detection_sigma as f32,
        max_stars: spec.max_stars,
        blur_variance_px2: if burst.spec.cfa.is_some() { GREEN_PLANE_VARIANCE } else { 0.0 },
        ..StarParams::default()
    };
    let stars = detect(image, bits, &background, &params, &mut scratch.stars);
    let metrics = frame_metrics(image, bits, &background, &stars);
    let stretched = match spec.judge_linearity.then(|| judge(&background, &stars)) {
        Some(Linearity::Stretched { reason }) => Some(reason),
        _ => None,
    };
    if meshes.is_empty() {
        meshes.push(background);
        let image = (image, bits);
        levels.push(spec.boxes.levels(index, image, Sites::All, &mut scratch.background));
    }
    let stars = stars.iter().map(StarRecord::of).collect();
    Ok(FrameMeasure { sha256, stars, meshes, levels, metrics, saturated_fraction, stretched })
}

/// Refuses a frame of which too little is data.
fn check_data(data: f64) -> Result<(), MeasureError> {
    if data < LEAST_DATA {
        return Err(MeasureError::Unusable(format!(
            "only {:.0} % of the pixels hold data, at least {:.0} % are needed",
            100.0 * data,
            100.0 * LEAST_DATA
        )));
    }
    Ok(())
}

/// Refuses a frame that is mostly saturated.
fn check_saturated(saturated: f64) -> Result<(), MeasureError> {
    if saturated > MOST_SATURATED {
        return Err(MeasureError::Unusable(format!(
            "{:.0} % of the pixels are saturated, at most {:.0} % can be",
            100.0 * saturated,
            100.0 * MOST_SATURATED
        )));
    }
    Ok(())
}

/// Appends a plane as it was read, missing pixels as NaN.
fn spool_plane(spool: &mut ImageWriter<'_, f32>, buffer: &FrameBuffer) -> Result<(), WriteError> {
    let mut row = Vec::new();
    for y in 0..buffer.pixels.height() {
        row.clear();
        let bits = buffer.mask.row(y);
        row.extend(
            buffer
                .pixels
                .row(y)
                .iter()
                .zip(bits)
                .map(|(v, m)| if m & mask::NO_DATA == 0 { *v } else { f32::NAN }),
        );
        spool.push(&row)?;
    }
    Ok(())
}

fn fit(
    image: &Image<f32>,
    bits: &Image<u8>,
    spec: &MeasureSpec,
    sites: Sites,
    scratch: &mut BackgroundScratch,
) -> Result<Background, MeasureError> {
    Background::fit(image, bits, &BackgroundParams { cell_px: spec.mesh_px, sites }, scratch)
        .map_err(|e| MeasureError::Unusable(e.to_string()))
}
