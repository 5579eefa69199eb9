//! Stored samples to physical pixels and mask bits.

use stillframe_image::mask::{NO_DATA, SATURATED};

use super::layout::{Layout, Stored};

/// Pixels that are decoded at a time: 64 KiB of memory at most.
const BLOCK_PIXELS: usize = 4096;

/// Order of the bytes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    /// As in the file.
    Big,
    /// As the machine has them.
    Native,
}

/// Turns stored samples into physical values and mask bits.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    stored: Stored,
    bzero: f64,
    bscale: f64,
    blank: Option<i64>,
    /// Physical value from which a pixel is saturated; infinite if none is.
    saturation: f32,
}

impl Decoder {
    pub(super) fn new(layout: &Layout, saturation_level: Option<f32>) -> Self {
        Self {
            stored: layout.stored,
            bzero: layout.bzero,
            bscale: layout.bscale,
            blank: layout.blank,
            saturation: saturation_level.unwrap_or(f32::INFINITY),
        }
    }

    /// Decodes `raw` to `pixels` and `mask`: `BZERO + BSCALE × sample` in double precision, rounded
    /// once; what is blank or not finite becomes 0 and [`NO_DATA`]; what is saturated gets
    /// [`SATURATED`].
    ///
    /// # Panics
    /// If the three do not hold the same number of samples.
    pub(super) fn decode(&self, raw: &[u8], order: ByteOrder, pixels: &mut [f32], mask: &mut [u8]) {
        assert_eq!(raw.len(), pixels.len() * self.stored.bytes());
        assert_eq!(pixels.len(), mask.len());
        // One block of pixels and mask stays in the first-level cache for all passes over it.
        let raw = raw.chunks(BLOCK_PIXELS * self.stored.bytes());
        let out = pixels.chunks_mut(BLOCK_PIXELS).zip(mask.chunks_mut(BLOCK_PIXELS));
        for (raw, (pixels, mask)) in raw.zip(out) {
            match order {
                ByteOrder::Big => self.decode_big_endian(raw, pixels, mask),
                ByteOrder::Native => self.decode_native(raw, pixels, mask),
            }
        }
    }

    fn decode_big_endian(&self, raw: &[u8], pixels: &mut [f32], mask: &mut [u8]) {
        match self.stored {
            Stored::U8 => self.short(raw, pixels, mask, |b: [u8; 1]| b[0].into()),
            Stored::I16 => self.short(raw, pixels, mask, |b| i16::from_be_bytes(b).into()),
            Stored::I32 => self.long(raw, pixels, mask, |b| i32::from_be_bytes(b).into()),
            Stored::I64 => self.long(raw, pixels, mask, i64::from_be_bytes),
            Stored::F32 => self.float(raw, pixels, mask, |b| f32::from_be_bytes(b).into()),
            Stored::F64 => self.float(raw, pixels, mask, f64::from_be_bytes),
        }
    }

    fn decode_native(&self, raw: &[u8], pixels: &mut [f32], mask: &mut [u8]) {
        match self.stored {
            Stored::U8 => self.short(raw, pixels, mask, |b: [u8; 1]| b[0].into()),
            Stored::I16 => self.short(raw, pixels, mask, |b| i16::from_ne_bytes(b).into()),
            Stored::I32 => self.long(raw, pixels, mask, |b| i32::from_ne_bytes(b).into()),
            Stored::I64 => self.long(raw, pixels, mask, i64::from_ne_bytes),
            Stored::F32 => self.float(raw, pixels, mask, |b| f32::from_ne_bytes(b).into()),
            Stored::F64 => self.float(raw, pixels, mask, f64::from_ne_bytes),
        }
    }

    /// 8- and 16-bit samples, which become whole `f32` values exactly.
    fn short<const N: usize>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: impl Fn([u8; N]) -> i32,
    ) {
        let whole_offset = self.bzero.fract() == 0.0 && self.bzero.abs() <= 65536.0;
        if self.bscale != 1.0 || !whole_offset || self.blank.is_some() {
            return self.long(raw, pixels, mask, |b| sample(b).into());
        }
        let offset = self.bzero as i32;
        for (v, b) in pixels.iter_mut().zip(raw.as_chunks::<N>().0) {
            *v = (sample(*b) + offset) as f32;
        }
        self.mark_saturated(pixels, mask);
    }

    fn long<const N: usize>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: impl Fn([u8; N]) -> i64,
    ) {
        let samples = raw.as_chunks::<N>().0;
        for (v, b) in pixels.iter_mut().zip(samples) {
            *v = (self.bzero + self.bscale * sample(*b) as f64) as f32;
        }
        self.mark_saturated(pixels, mask);
        if let Some(blank) = self.blank {
            for ((v, m), b) in pixels.iter_mut().zip(mask.iter_mut()).zip(samples) {
                if sample(*b) == blank {
                    *v = 0.0;
                    *m = NO_DATA;
                }
            }
        }
        mark_missing(pixels, mask);
    }

    fn float<const N: usize>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: impl Fn([u8; N]) -> f64,
    ) {
        for (v, b) in pixels.iter_mut().zip(raw.as_chunks::<N>().0) {
            *v = (self.bzero + self.bscale * sample(*b)) as f32;
        }
        self.mark_saturated(pixels, mask);
        mark_missing(pixels, mask);
    }

    fn mark_saturated(&self, pixels: &[f32], mask: &mut [u8]) {
        for (m, v) in mask.iter_mut().zip(pixels) {
            *m = if *v >= self.saturation { SATURATED } else { 0 };
        }
    }
}

/// What is not finite (or beyond `f32`) is missing.
fn mark_missing(pixels: &mut [f32], mask: &mut [u8]) {
    for (v, m) in pixels.iter_mut().zip(mask) {
        let missing = !v.is_finite();
        *v = if missing { 0.0 } else { *v };
        *m = if missing { NO_DATA } else { *m };
    }
}
