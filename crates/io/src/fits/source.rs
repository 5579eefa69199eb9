//! Reading frames.

use std::fs::File;
use std::path::Path;

use stillframe_image::{Image, Rect, Shape};

use super::decode::Decoder;
use super::info::{FileStat, FrameInfo, OpenOptions};
use super::layout::{Layout, find_image};
use crate::error::{ReadError, ReadErrorKind as Kind};
use crate::positioned;

/// Bytes that are read and decoded at a time: they stay in the second-level cache.
const CHUNK_BYTES: usize = 256 * 1024;

/// Memory that reads use and keep for the next one.
#[derive(Debug, Default)]
pub struct ReadScratch {
    bytes: Vec<u8>,
}

/// A FITS frame of which rectangles can be read.
///
/// It holds no file open: each read opens the file, reads what it needs and closes it, so that any
/// number of frames can be in use. Reads take `&self` and can run in parallel, each with its own
/// [`ReadScratch`].
#[derive(Clone, Debug)]
pub struct FitsSource {
    info: FrameInfo,
    layout: Layout,
    decoder: Decoder,
}

impl FitsSource {
    /// The first image of the file: reads headers only.
    ///
    /// # Errors
    /// Every [`crate::ReadErrorKind`] but `Changed`.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, ReadError> {
        Self::open_kind(path, options).map_err(|kind| kind.at(path))
    }

    fn open_kind(path: &Path, options: &OpenOptions) -> Result<Self, Kind> {
        let file = File::open(path)?;
        let stat = FileStat::of(&file.metadata()?);
        if stat.bytes == 0 {
            return Err(Kind::Empty);
        }
        let layout = find_image(&mut &file)?;
        let needed = layout.data_offset + layout.data_bytes;
        if stat.bytes < needed {
            return Err(Kind::Truncated { found: stat.bytes, needed });
        }
        let info = FrameInfo::new(path.to_path_buf(), &layout, options, stat)?;
        let decoder = Decoder::new(&layout, info.saturation_level);
        Ok(Self { info, layout, decoder })
    }

    /// What the header says.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Whether each read unpacks the whole frame, so that a frame that is read in parts should be
    /// read once and kept unpacked.
    pub fn needs_spool(&self) -> bool {
        false
    }

    /// Reads the pixels of `rect` in plane `plane`; `pixels` and `mask` take its shape.
    ///
    /// Values are physical (`BZERO`, `BSCALE` applied). What is NaN, infinite or BLANK becomes 0
    /// with the mask bit [`stillframe_image::mask::NO_DATA`]; what reaches the saturation level
    /// keeps its value and gets the bit [`stillframe_image::mask::SATURATED`].
    ///
    /// # Errors
    /// If the file is gone, was changed or cannot be read.
    ///
    /// # Panics
    /// If there is no such plane or `rect` does not lie inside the frame.
    pub fn read_rect(
        &self,
        plane: usize,
        rect: Rect,
        pixels: &mut Image<f32>,
        mask: &mut Image<u8>,
        scratch: &mut ReadScratch,
    ) -> Result<(), ReadError> {
        let Shape { height, width } = self.info.shape;
        assert!(plane < self.info.planes, "plane {plane} of {}", self.info.planes);
        assert!(
            rect.x_end() <= width && rect.y_end() <= height,
            "{rect:?} leaves {width}×{height}"
        );
        pixels.reset(rect.shape(), 0.0);
        mask.reset(rect.shape(), 0);
        self.read_kind(plane, rect, pixels, mask, scratch).map_err(|kind| kind.at(&self.info.path))
    }

    /// Reads a whole plane, as [`Self::read_rect`] does.
    ///
    /// # Errors
    /// As [`Self::read_rect`].
    ///
    /// # Panics
    /// If there is no such plane.
    pub fn read_plane(
        &self,
        plane: usize,
        pixels: &mut Image<f32>,
        mask: &mut Image<u8>,
        scratch: &mut ReadScratch,
    ) -> Result<(), ReadError> {
        self.read_rect(plane, self.info.shape.rect(), pixels, mask, scratch)
    }

    fn read_kind(
        &self,
        plane: usize,
        rect: Rect,
        pixels: &mut Image<f32>,
        mask: &mut Image<u8>,
        scratch: &mut ReadScratch,
    ) -> Result<(), Kind> {
        let file = File::open(&self.info.path)?;
        let stat = FileStat::of(&file.metadata()?);
        if stat.bytes != self.info.file_bytes || stat.modified_nanos != self.info.modified_nanos {
            return Err(Kind::Changed);
        }
        let sample = self.layout.stored.bytes();
        let row_bytes = self.info.shape.width * sample;
        let rows_at_once = (CHUNK_BYTES / row_bytes).max(1);
        let mut y = rect.y;
        while y < rect.y_end() && rect.width > 0 {
            let rows = rows_at_once.min(rect.y_end() - y);
            let first = (plane * self.info.shape.height + y) * row_bytes + rect.x * sample;
            let length = (rows - 1) * row_bytes + rect.width * sample;
            scratch.bytes.resize(length.max(scratch.bytes.len()), 0);
            let bytes = &mut scratch.bytes[..length];
            positioned::read_exact(&file, bytes, self.layout.data_offset + first as u64)?;
            for row in 0..rows {
                let raw = &bytes[row * row_bytes..][..rect.width * sample];
                let out = y - rect.y + row;
                self.decoder.decode(raw, pixels.row_mut(out), mask.row_mut(out));
            }
            y += rows;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fits::{FitsPixel, FitsWriter};
    use crate::sink::Existing;
    use stillframe_image::Header;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fits");
        fn check<T: FitsPixel>(path: &Path, value: impl Fn(usize) -> T, same: impl Fn(T) -> f32) {
            let shape = Shape::new(13, 17);
            let image = Image::from_fn(shape, |x, y| value(x * 100 + y));
            let mut header = Header::default();
            header.push_real("EXPTIME", 2.5, "");
            let mut writer = FitsWriter::create(path, Existing::Replace).unwrap();
            writer.write_image(None, &header, &[&image]).unwrap();
            writer.finish().unwrap();
            let source = FitsSource::open(path, &OpenOptions::default()).unwrap();
            assert_eq!(source.info().shape, shape);
            assert_eq!(source.info().exposure_secs, Some(2.5));
            assert_eq!(source.info().header, header);
            let (mut pixels, mut mask) = (image.map(|_| 0.0), image.map(|_| 0));
            source.read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default()).unwrap();
            assert_eq!(pixels, image.map(same));
            assert!(mask.pixels().iter().all(|&m| m == 0));
        }
        check(&path, |i| i as u16, f32::from);
        check(&path, |i| -(i as i16), f32::from);
        check(&path, |i| (i % 250) as u8, f32::from);
        check(&path, |i| -(i as i32), |v| v as f32);
        check(&path, |i| i as f32 / 7.0, |v| v);
    }
}
