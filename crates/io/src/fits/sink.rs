//! Writing frames and results.

use std::marker::PhantomData;
use std::path::Path;

use stillframe_image::{Card, Header, Image, Shape, Value};

use super::BLOCK;
use super::card;
use super::checksum::{self, Sum};
use super::info::is_structural;
use crate::error::{WriteError, WriteErrorKind as Kind};
use crate::positioned;
use crate::sink::{AtomicFile, Existing};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 90 * BLOCK as usize;

mod sealed {
    pub trait Sealed {}
}

/// A type of pixel that FITS can hold.
pub trait FitsPixel: Copy + sealed::Sealed {
    /// `BITPIX` of the stored samples.
    const BITPIX: i64;
    /// `BZERO`, where the stored samples are moved by it.
    const BZERO: Option<i64>;
    /// Appends the samples as the file has them.
    fn encode(pixels: &[Self], out: &mut Vec<u8>);
}

macro_rules! pixel {
    ($type:ty, $bitpix:literal, $bzero:expr, $bytes:expr) => {
        impl sealed::Sealed for $type {}
        impl FitsPixel for $type {
            const BITPIX: i64 = $bitpix;
            const BZERO: Option<i64> = $bzero;
            fn encode(pixels: &[Self], out: &mut Vec<u8>) {
                let start = out.len();
                out.resize(start + size_of_val(pixels), 0);
                let samples = out[start..].as_chunks_mut::<{ size_of::<Self>() }>().0;
                for (sample, v) in samples.iter_mut().zip(pixels) {
                    *sample = $bytes(*v);
                }
            }
        }
    };
}

pixel!(u8, 8, None, |v| [v]);
pixel!(i16, 16, None, i16::to_be_bytes);
pixel!(u16, 16, Some(32768), |v: u16| (v ^ 0x8000).to_be_bytes());
pixel!(i32, 32, None, i32::to_be_bytes);
pixel!(f32, -32, None, f32::to_be_bytes);

/// A FITS file under construction: a primary image, then named image extensions. It takes its name
/// in [`FitsWriter::finish`] and leaves nothing behind if that never happens.
///
/// The bytes depend on what is written only: no date, no name of a machine.
#[derive(Debug)]
pub struct FitsWriter {
    file: AtomicFile,
    /// Where the next unit starts.
    end: u64,
    open: Option<OpenUnit>,
}

/// The unit that is being written.
#[derive(Debug)]
struct OpenUnit {
    header: Vec<u8>,
    header_offset: u64,
    /// Where the buffered bytes go.
    offset: u64,
    buffer: Vec<u8>,
    sum: Sum,
    pixels_left: usize,
    pixels: usize,
}

impl FitsWriter {
    /// Starts the file that will be `path`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(path: &Path, existing: Existing) -> Result<Self, WriteError> {
        Ok(Self { file: AtomicFile::create(path, existing)?, end: 0, open: None })
    }

    /// Writes one image: one plane, or three for red, green and blue. The first image is the
    /// primary one; `name` becomes `EXTNAME`. A missing pixel of a floating-point image is NaN.
    ///
    /// Structural cards in `header` (`NAXIS`, `BZERO`, `EXTNAME`, …) are left out.
    ///
    /// # Errors
    /// Planes of different shapes or another number of them, a card that FITS cannot hold, or a
    /// fault of the disk.
    pub fn write_image<T: FitsPixel>(
        &mut self,
        name: Option<&str>,
        header: &Header,
        planes: &[&Image<T>],
    ) -> Result<(), WriteError> {
        let shape = planes.first().map_or(Shape::new(0, 0), |p| p.shape());
        if let Some(other) = planes.iter().find(|p| p.shape() != shape) {
            let found = format!("planes of {shape} and of {}", other.shape());
            return Err(Kind::BadPlanes { found }.at(self.file.target()));
        }
        let mut image = self.begin_image::<T>(name, header, shape, planes.len())?;
        for plane in planes {
            image.push(plane.pixels())?;
        }
        image.finish()
    }

    /// Starts an image whose pixels come in parts. See [`Self::write_image`].
    ///
    /// # Errors
    /// Another number of planes than 1 or 3, an empty shape, or a card that FITS cannot hold.
    pub fn begin_image<T: FitsPixel>(
        &mut self,
        name: Option<&str>,
        header: &Header,
        shape: Shape,
        planes: usize,
    ) -> Result<ImageWriter<'_, T>, WriteError> {
        self.begin::<T>(name, header, shape, planes).map_err(|kind| kind.at(self.file.target()))?;
        Ok(ImageWriter { writer: self, pixel: PhantomData })
    }

    fn begin<T: FitsPixel>(
        &mut self,
        name: Option<&str>,
        header: &Header,
        shape: Shape,
        planes: usize,
    ) -> Result<(), Kind> {
        self.check_complete()?;
        if !matches!(planes, 1 | 3) || shape.is_empty() {
            return Err(Kind::BadPlanes { found: format!("{planes} planes of {shape}") });
        }
        let cards = structure::<T>(self.end == 0, name, shape, planes);
        let mut bytes = Vec::new();
        card::format_all(&cards, &mut bytes)?;
        let given = header.cards.iter().filter(|c| !is_structural(&c.key));
        card::format_all(given, &mut bytes)?;
        let header = checksum::with_room(bytes);
        self.open = Some(OpenUnit {
            header_offset: self.end,
            offset: self.end + header.len() as u64,
            header,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            sum: Sum::default(),
            pixels_left: shape.len() * planes,
            pixels: shape.len() * planes,
        });
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// If the file holds no image or an unfinished one, or as [`AtomicFile::commit`].
    pub fn finish(self) -> Result<(), WriteError> {
        self.check_complete().map_err(|kind| kind.at(self.file.target()))?;
        if self.end == 0 {
            let found = "no image at all".to_string();
            return Err(Kind::BadPlanes { found }.at(self.file.target()));
        }
        self.file.commit()
    }

    fn check_complete(&self) -> Result<(), Kind> {
        match &self.open {
            Some(unit) => {
                Err(Kind::Incomplete { found: unit.pixels - unit.pixels_left, needed: unit.pixels })
            }
            None => Ok(()),
        }
    }
}

/// The cards that say how the data lie in the file.
fn structure<T: FitsPixel>(
    primary: bool,
    name: Option<&str>,
    shape: Shape,
    planes: usize,
) -> Vec<Card> {
    let mut header = Header::default();
    if primary {
        header.push("SIMPLE", Value::Logical(true), "conforms to FITS standard 4.0");
    } else {
        header.push_text("XTENSION", "IMAGE", "image extension");
    }
    header.push_integer("BITPIX", T::BITPIX, "bits per sample, negative for floating point");
    header.push_integer("NAXIS", if planes == 1 { 2 } else { 3 }, "number of axes");
    header.push_integer("NAXIS1", shape.width as i64, "columns");
    header.push_integer("NAXIS2", shape.height as i64, "rows");
    if planes > 1 {
        header.push_integer("NAXIS3", planes as i64, "red, green, blue");
    }
    if primary {
        header.push("EXTEND", Value::Logical(true), "extensions may follow");
    } else {
        header.push_integer("PCOUNT", 0, "");
        header.push_integer("GCOUNT", 1, "");
    }
    if let Some(bzero) = T::BZERO {
        header.push_integer("BSCALE", 1, "value = BZERO + BSCALE * sample");
        header.push_integer("BZERO", bzero, "unsigned samples");
    }
    if let Some(name) = name {
        header.push_text("EXTNAME", name, "");
    }
    header.cards
}

/// An image of which the pixels are still coming.
#[derive(Debug)]
pub struct ImageWriter<'a, T> {
    writer: &'a mut FitsWriter,
    pixel: PhantomData<T>,
}

impl<T: FitsPixel> ImageWriter<'_, T> {
    /// Appends pixels, row by row and plane after plane, in parts of any length.
    ///
    /// # Errors
    /// More pixels than the image has, or a fault of the disk.
    pub fn push(&mut self, pixels: &[T]) -> Result<(), WriteError> {
        self.push_kind(pixels).map_err(|kind| kind.at(self.writer.file.target()))
    }

    fn unit(&mut self) -> &mut OpenUnit {
        self.writer.open.as_mut().expect("open from begin_image to finish")
    }

    fn push_kind(&mut self, pixels: &[T]) -> Result<(), Kind> {
        let unit = self.unit();
        if pixels.len() > unit.pixels_left {
            let found = unit.pixels - unit.pixels_left + pixels.len();
            return Err(Kind::Incomplete { found, needed: unit.pixels });
        }
        unit.pixels_left -= pixels.len();
        for part in pixels.chunks(BUFFER_BYTES / size_of::<T>()) {
            let unit = self.unit();
            T::encode(part, &mut unit.buffer);
            if unit.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes whole blocks of the buffer.
    fn flush(&mut self) -> Result<(), Kind> {
        let Some(unit) = self.writer.open.as_mut() else { return Ok(()) };
        let length = unit.buffer.len() - unit.buffer.len() % BLOCK as usize;
        unit.sum.add(&unit.buffer[..length]);
        positioned::write_all(self.writer.file.file(), &unit.buffer[..length], unit.offset)?;
        unit.offset += length as u64;
        unit.buffer.drain(..length);
        Ok(())
    }

    /// Completes the image: padding, `DATASUM`, `CHECKSUM`.
    ///
    /// # Errors
    /// Fewer pixels than the image has, or a fault of the disk.
    pub fn finish(mut self) -> Result<(), WriteError> {
        self.finish_kind().map_err(|kind| kind.at(self.writer.file.target()))
    }

    fn finish_kind(&mut self) -> Result<(), Kind> {
        if self.unit().pixels_left > 0 {
            return self.writer.check_complete();
        }
        let unit = self.unit();
        let padded = unit.buffer.len().next_multiple_of(BLOCK as usize);
        unit.buffer.resize(padded, 0);
        self.flush()?;
        let Some(mut unit) = self.writer.open.take() else { return Ok(()) };
        checksum::fill_in(&mut unit.header, unit.sum);
        positioned::write_all(self.writer.file.file(), &unit.header, unit.header_offset)?;
        self.writer.end = unit.offset;
        Ok(())
    }
}
