//! The frames of a burst, read rectangle by rectangle and calibrated.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_image::{CfaPattern, Image, Rect, Shape};
use stillframe_io::ReadError;
use stillframe_io::fits::{BayerOverride, FileBuffer, FitsSource, OpenOptions, ReadScratch};
use stillframe_kernels::ops::calibrate::{DarkRows, MasterRows, calibrate_rows};
use stillframe_kernels::ops::defects::{DefectMap, Defects};

use crate::wire;

/// How far around a rectangle pixels must be read so that a defect inside it is replaced from the
/// same neighbours whatever the rectangle.
pub(crate) const DEFECT_REACH: usize = DefectMap::REACH;

/// A usable light frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrameFile {
    /// The file as given.
    pub(crate) path: PathBuf,
    /// The file that pixels are read from: the same, or its unpacked copy.
    pub(crate) pixels: PathBuf,
    /// Factor on the dark current.
    pub(crate) dark_scale: f32,
    /// Size of the frame: that of the burst, unless frames of several sizes are allowed.
    pub(crate) shape: Shape,
}

/// What calibration does to every frame: `(raw − offset − k · dark_current) · inverse_flat`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Masters {
    #[serde(with = "wire::image")]
    pub(crate) offset: Option<Image<f32>>,
    #[serde(with = "wire::image")]
    pub(crate) dark_current: Option<Image<f32>>,
    #[serde(with = "wire::image")]
    pub(crate) inverse_flat: Option<Image<f32>>,
    #[serde(with = "wire::pod")]
    pub(crate) hot: Vec<u32>,
    #[serde(with = "wire::pod")]
    pub(crate) cold: Vec<u32>,
}

impl Masters {
    /// Bytes of memory that they hold.
    pub(crate) fn bytes(&self) -> u64 {
        let images = [&self.offset, &self.dark_current, &self.inverse_flat];
        let pixels: usize = images.iter().filter_map(|i| i.as_ref()).map(|i| i.shape().len()).sum();
        (4 * (pixels + self.hot.len() + self.cold.len())) as u64
    }
}

/// Everything that is needed to read the burst again in another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BurstSpec {
    /// Size of the frames; of masters, where there are any.
    pub(crate) shape: Shape,
    pub(crate) planes: usize,
    pub(crate) cfa: Option<CfaPattern>,
    pub(crate) saturation: Option<f32>,
    pub(crate) frames: Vec<FrameFile>,
    pub(crate) masters: Masters,
}

/// An opened burst. It holds no file open.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) spec: BurstSpec,
    sources: Vec<FitsSource>,
    defects: DefectMap,
}

/// Buffers of a read.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    /// Calibrated pixels of the last read.
    pub(crate) pixels: Image<f32>,
    /// Their mask.
    pub(crate) mask: Image<u8>,
    scratch: ReadScratch,
}

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        let none = Shape::new(0, 0);
        Self {
            pixels: Image::filled(none, 0.0),
            mask: Image::filled(none, 0),
            scratch: ReadScratch::default(),
        }
    }
}

impl Burst {
    /// The burst for the first pass, which loads whole files: no frame is opened yet.
    pub(crate) fn new(spec: BurstSpec) -> Self {
        let defects = Defects { hot: spec.masters.hot.clone(), cold: spec.masters.cold.clone() };
        let defects = DefectMap::new(spec.shape, &defects, spec.cfa);
        Self { sources: Vec::new(), defects, spec }
    }

    /// The burst for reading rectangles.
    ///
    /// # Errors
    /// If a frame that was readable no longer is.
    pub(crate) fn open(spec: BurstSpec) -> Result<Self, ReadError> {
        let mut burst = Self::new(spec);
        let options = Self::options(burst.spec.cfa);
        for frame in &burst.spec.frames {
            burst.sources.push(FitsSource::open(&frame.pixels, &options)?);
        }
        Ok(burst)
    }

    fn options(cfa: Option<CfaPattern>) -> OpenOptions {
        OpenOptions { bayer: cfa.map_or(BayerOverride::Mono, BayerOverride::Pattern) }
    }

    /// Reads and calibrates the pixels of `rect` of plane `plane` of frame `frame`.
    ///
    /// Defects are replaced from their neighbours inside `rect`: pixels nearer to its border than
    /// [`DEFECT_REACH`] are not final unless that is the frame's border too.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub(crate) fn read(
        &self,
        frame: usize,
        plane: usize,
        rect: Rect,
        buffer: &mut FrameBuffer,
    ) -> Result<(), ReadError> {
        let FrameBuffer { pixels, mask, scratch } = buffer;
        self.sources[frame].read_rect(plane, rect, pixels, mask, scratch)?;
        self.calibrate(frame, rect, pixels, mask);
        Ok(())
    }

    /// Reads the whole file of frame `frame` and gives its SHA-256 in hexadecimal: the first pass needs every byte
    /// once, for pixels and checksum.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn load(
        &self,
        frame: usize,
        file: &mut FileBuffer,
    ) -> Result<(FitsSource, String), ReadError> {
        let path = &self.spec.frames[frame].path;
        let source = FitsSource::open_buffered(path, &Self::options(self.spec.cfa), file)?;
        Ok((source, file.sha256()))
    }

    /// Decodes plane `plane` of the frame that [`Self::load`] has read into `file`.
    ///
    /// # Errors
    /// If the file's content is damaged.
    pub(crate) fn decode(
        &self,
        plane: usize,
        (source, file): (&FitsSource, &FileBuffer),
        buffer: &mut FrameBuffer,
    ) -> Result<(), ReadError> {
        let FrameBuffer { pixels, mask, scratch } = buffer;
        source.decode_plane(file, plane, pixels, mask, scratch)?;
        Ok(())
    }

    /// Calibrates the whole plane that [`Self::decode`] has left in `buffer`.
    pub(crate) fn calibrate_whole(&self, frame: usize, buffer: &mut FrameBuffer) {
        let FrameBuffer { pixels, mask, .. } = buffer;
        self.calibrate(frame, self.spec.frames[frame].shape.rect(), pixels, mask);
    }

    /// Calibrates pixels that were read from `rect` of frame `frame`.
    pub(crate) fn calibrate(
        &self,
        frame: usize,
        rect: Rect,
        pixels: &mut Image<f32>,
        mask: &mut Image<u8>,
    ) {
        let masters = &self.spec.masters;
        if let Some(level) = self.spec.saturation {
            for (bits, value) in mask.pixels_mut().iter_mut().zip(pixels.pixels()) {
                if *value >= level {
                    *bits |= stillframe_image::mask::SATURATED;
                }
            }
        }
        for row in 0..rect.height {
            let y = rect.y + row;
            let rows = MasterRows {
                offset: part(&masters.offset, rect, y),
                dark: part(&masters.dark_current, rect, y)
                    .map(|current| DarkRows { current, scale: self.spec.frames[frame].dark_scale }),
                inverse_flat: part(&masters.inverse_flat, rect, y),
            };
            calibrate_rows(pixels.row_mut(row), rows);
        }
        self.defects.replace_in(rect, pixels, mask);
    }
}

/// The columns of `rect` in row `y` of a master.
fn part(master: &Option<Image<f32>>, rect: Rect, y: usize) -> Option<&[f32]> {
    master.as_ref().map(|image| &image.row(y)[rect.x..rect.x_end()])
}
