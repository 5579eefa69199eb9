//! Reading frames.

use std::fs::File;
use std::path::Path;

use stillframe_image::{Image, Rect, Shape};

use super::buffer::FileBuffer;
use super::decode::{ByteOrder, Decoder};
use super::gzip::{self, GzipBytes};
use super::info::{FileStat, FrameInfo, OpenOptions};
use super::layout::{Encoding, Layout, ReadAt, find_image, find_images};
use super::tiled::{self, TileScratch};
use crate::error::{ReadError, ReadErrorKind as Kind};

/// Bytes that are read and decoded at a time: they stay in the second-level cache.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes between the end of one row of a rectangle and the start of the next from which on the
/// rows are read one by one: a call costs as much as copying about 10 kB (0.4 µs, measured on Linux
/// with a warm cache), but on a cold or distant disk what is read and not needed costs more.
const GAP_BYTES: usize = 1024;

/// Memory that reads use and keep for the next one.
#[derive(Debug, Default)]
pub struct ReadScratch {
    bytes: Vec<u8>,
    tiles: TileScratch,
}

/// A FITS frame of which rectangles can be read.
///
/// It holds no file open: each read opens the file, reads what it needs and closes it, so that any
/// number of frames can be in use. Reads take `&self` and can run in parallel, each with its own
/// [`ReadScratch`]. Its memory is little more than that of the header (about 3 kB for 30 cards), and
/// opening it again takes 10 µs where the system has the header in its cache.
#[derive(Clone, Debug)]
pub struct FitsSource {
    info: FrameInfo,
    layout: Layout,
    decoder: Decoder,
    packed: Packed,
}

/// Whether the file as a whole is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    No,
    Gzip,
}

impl FitsSource {
    /// The first image of the file: reads headers only.
    ///
    /// # Errors
    /// Every [`crate::ReadErrorKind`] but `Changed`.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, ReadError> {
        let open = || {
            let file = File::open(path)?;
            let stat = FileStat::of(&file.metadata()?)?;
            match packed(&mut &file)? {
                Packed::No => Self::new(path, &mut &file, Packed::No, stat, *options),
                Packed::Gzip => {
                    let bytes = &mut GzipBytes::new(&file);
                    Self::new(path, bytes, Packed::Gzip, stat, *options)
                }
            }
        };
        open().map_err(|kind: Kind| kind.at(path))
    }

    /// Every image of the file, in order; at least one: reads headers only.
    ///
    /// # Errors
    /// As [`Self::open`], for any of the images.
    pub fn open_all(path: &Path, options: &OpenOptions) -> Result<Vec<Self>, ReadError> {
        fn all(
            path: &Path,
            bytes: &mut impl ReadAt,
            packed: Packed,
            stat: FileStat,
            options: OpenOptions,
        ) -> Result<Vec<FitsSource>, Kind> {
            let layouts = find_images(bytes, usize::MAX)?.into_iter();
            layouts.map(|l| FitsSource::of(path, l, packed, stat, options)).collect()
        }
        let open = || {
            let file = File::open(path)?;
            let stat = FileStat::of(&file.metadata()?)?;
            match packed(&mut &file)? {
                Packed::No => all(path, &mut &file, Packed::No, stat, *options),
                Packed::Gzip => all(path, &mut GzipBytes::new(&file), Packed::Gzip, stat, *options),
            }
        };
        open().map_err(|kind: Kind| kind.at(path))
    }

    /// Reads the whole file into `buffer`, hashes it, and opens it: [`Self::decode_plane`] then
    /// gives the pixels, and the file was read once.
    ///
    /// If the file is no image the buffer still holds its bytes and their hash.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_buffered(
        path: &Path,
        options: &OpenOptions,
        buffer: &mut FileBuffer,
    ) -> Result<Self, ReadError> {
        let mut open = || {
            let stat = buffer.fill(path)?;
            let mut bytes = buffer.bytes();
            match packed(&mut bytes)? {
                Packed::No => Self::new(path, &mut bytes, Packed::No, stat, *options),
                Packed::Gzip => {
                    Self::new(path, &mut GzipBytes::new(bytes), Packed::Gzip, stat, *options)
                }
            }
        };
        open().map_err(|kind: Kind| kind.at(path))
    }

    fn new(
        path: &Path,
        bytes: &mut impl ReadAt,
        packed: Packed,
        stat: FileStat,
        options: OpenOptions,
    ) -> Result<Self, Kind> {
        Self::of(path, find_image(bytes)?, packed, stat, options)
    }

    fn of(
        path: &Path,
        mut layout: Layout,
        packed: Packed,
        stat: FileStat,
        options: OpenOptions,
    ) -> Result<Self, Kind> {
        let needed = layout.data_offset + layout.data_bytes;
        if packed == Packed::No && stat.bytes < needed {
            return Err(Kind::Truncated { found: stat.bytes, needed });
        }
        let info = FrameInfo::new(path.to_path_buf(), &mut layout, options, stat)?;
        let decoder = Decoder::new(&layout, info.saturation_level);
        Ok(Self { info, layout, decoder, packed })
    }

    /// What the header says.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Whether each read unpacks the whole frame, so that a frame that is read in parts should be
    /// read once and kept unpacked ([`crate::spool`]).
    pub fn needs_spool(&self) -> bool {
        self.packed != Packed::No || self.layout.encoding != Encoding::Plain
    }

    /// Reads the pixels of `rect` in plane `plane`; `pixels` and `mask` take its shape.
    ///
    /// Values are physical (`BZERO`, `BSCALE` applied). What is NaN, infinite or BLANK becomes 0
    /// with the mask bit [`stillframe_image::mask::NO_DATA`]; what reaches the saturation level
    /// keeps its value and gets the bit [`stillframe_image::mask::SATURATED`].
    ///
    /// # Errors
    /// If the file is gone, was changed, cannot be read, or (compressed ones) is damaged.
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
        let mut read = || {
            let file = File::open(&self.info.path)?;
            let stat = FileStat::of(&file.metadata()?)?;
            if stat.bytes != self.info.file_bytes || stat.modified_nanos != self.info.modified_nanos
            {
                return Err(Kind::Changed);
            }
            match self.packed {
                Packed::No => self.decode(&mut &file, (plane, rect), (pixels, mask), scratch),
                Packed::Gzip => {
                    let mut bytes = GzipBytes::new(&file);
                    self.decode(&mut bytes, (plane, rect), (pixels, mask), scratch)?;
                    bytes.check_end()
                }
            }
        };
        read().map_err(|kind| kind.at(&self.info.path))
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

    /// Decodes a whole plane from the `buffer` that [`Self::open_buffered`] filled, as
    /// [`Self::read_plane`] does from the file.
    ///
    /// # Errors
    /// Compressed frames: damaged or cut-off data.
    ///
    /// # Panics
    /// If there is no such plane, or `buffer` was filled from another file.
    pub fn decode_plane(
        &self,
        buffer: &FileBuffer,
        plane: usize,
        pixels: &mut Image<f32>,
        mask: &mut Image<u8>,
        scratch: &mut ReadScratch,
    ) -> Result<(), ReadError> {
        let mut bytes = buffer.bytes();
        assert_eq!(bytes.len() as u64, self.info.file_bytes, "the buffer holds another file");
        let rect = self.info.shape.rect();
        let decoded = match self.packed {
            Packed::No => self.decode(&mut bytes, (plane, rect), (pixels, mask), scratch),
            Packed::Gzip => {
                let mut bytes = GzipBytes::new(bytes);
                self.decode(&mut bytes, (plane, rect), (pixels, mask), scratch)
                    .and_then(|()| bytes.check_end())
            }
        };
        decoded.map_err(|kind| kind.at(&self.info.path))
    }

    fn decode(
        &self,
        bytes: &mut impl ReadAt,
        (plane, rect): (usize, Rect),
        (pixels, mask): (&mut Image<f32>, &mut Image<u8>),
        scratch: &mut ReadScratch,
    ) -> Result<(), Kind> {
        let Shape { height, width } = self.info.shape;
        assert!(plane < self.info.planes, "plane {plane} of {}", self.info.planes);
        assert!(
            rect.x_end() <= width && rect.y_end() <= height,
            "{rect:?} leaves {width}×{height}"
        );
        // Every pixel is overwritten: only another shape needs the fill.
        if pixels.shape() != rect.shape() {
            pixels.reset(rect.shape(), 0.0);
        }
        if mask.shape() != rect.shape() {
            mask.reset(rect.shape(), 0);
        }
        if rect.is_empty() {
            return Ok(());
        }
        match self.layout.encoding {
            Encoding::Plain => {
                self.decode_plain(bytes, (plane, rect), (pixels, mask), &mut scratch.bytes)
            }
            Encoding::Tiled => {
                let Self { layout, decoder, .. } = self;
                tiled::read(
                    bytes,
                    layout,
                    decoder,
                    (plane, rect),
                    (pixels, mask),
                    &mut scratch.tiles,
                )
            }
        }
    }

    fn decode_plain(
        &self,
        bytes: &mut impl ReadAt,
        (plane, rect): (usize, Rect),
        (pixels, mask): (&mut Image<f32>, &mut Image<u8>),
        scratch: &mut Vec<u8>,
    ) -> Result<(), Kind> {
        let sample = self.layout.stored.bytes();
        let row_bytes = self.info.shape.width * sample;
        let part_bytes = rect.width * sample;
        let rows_at_once =
            if row_bytes - part_bytes > GAP_BYTES { 1 } else { (CHUNK_BYTES / row_bytes).max(1) };
        let plane_offset =
            self.layout.data_offset + (plane * self.info.shape.len() * sample) as u64;
        for y in (rect.y..rect.y_end()).step_by(rows_at_once) {
            let rows = rows_at_once.min(rect.y_end() - y);
            let length = (rows - 1) * row_bytes + part_bytes;
            if scratch.len() < length {
                scratch.resize(length, 0);
            }
            let raw = &mut scratch[..length];
            let offset = plane_offset + (y * row_bytes + rect.x * sample) as u64;
            let found = bytes.read_up_to(raw, offset)?;
            if found < length {
                let needed = self.layout.data_offset + self.layout.data_bytes;
                return Err(Kind::Truncated { found: bytes.end()?, needed });
            }
            for (row, raw) in raw.chunks(row_bytes).enumerate() {
                let out = y - rect.y + row;
                let (pixels, mask) = (pixels.row_mut(out), mask.row_mut(out));
                self.decoder.decode(&raw[..part_bytes], ByteOrder::Big, pixels, mask);
            }
        }
        Ok(())
    }
}

/// Tells a gzip stream by its first bytes, whatever the file is called.
fn packed(bytes: &mut impl ReadAt) -> Result<Packed, Kind> {
    let mut head = gzip::MAGIC.map(|_| 0);
    bytes.read_up_to(&mut head, 0)?;
    Ok(if head == gzip::MAGIC { Packed::Gzip } else { Packed::No })
}
