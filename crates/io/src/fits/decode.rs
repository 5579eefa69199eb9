//! Stored samples to physical pixels and mask bits.

use stillframe_image::mask::{NO_DATA, SATURATED};

use super::layout::{Layout, Stored};

/// Turns big-endian samples into physical values and mask bits.
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

    /// Decodes `raw`, big-endian as in the file, to `pixels` and `mask`: `BZERO + BSCALE × sample`
    /// in double precision, rounded once; what is blank or not finite becomes 0 and [`NO_DATA`];
    /// what is saturated gets [`SATURATED`].
    ///
    /// # Panics
    /// If the three do not hold the same number of samples.
    pub(super) fn decode(&self, raw: &[u8], pixels: &mut [f32], mask: &mut [u8]) {
        assert_eq!(raw.len(), pixels.len() * self.stored.bytes());
        assert_eq!(pixels.len(), mask.len());
        match self.stored {
            Stored::U8 => self.integers::<1, _>(raw, pixels, mask, |b| i32::from(b[0])),
            Stored::I16 => {
                self.integers::<2, _>(raw, pixels, mask, |b| i32::from(i16::from_be_bytes(b)));
            }
            Stored::I32 => self.wide::<4, _>(raw, pixels, mask, |b| i32::from_be_bytes(b).into()),
            Stored::I64 => self.wide::<8, _>(raw, pixels, mask, i64::from_be_bytes),
            Stored::F32 => self.floats::<4, _>(raw, pixels, mask, |b| f32::from_be_bytes(b).into()),
            Stored::F64 => self.floats::<8, _>(raw, pixels, mask, f64::from_be_bytes),
        }
    }

    /// 8- and 16-bit samples, which become whole `f32` values exactly.
    fn integers<const N: usize, F: Fn([u8; N]) -> i32>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: F,
    ) {
        let whole_offset = self.bzero.fract() == 0.0 && self.bzero.abs() <= 65536.0;
        if self.bscale == 1.0 && whole_offset && self.blank.is_none() {
            let offset = self.bzero as i32;
            for (v, b) in pixels.iter_mut().zip(raw.as_chunks::<N>().0) {
                *v = (sample(*b) + offset) as f32;
            }
            self.mark_saturated(pixels, mask);
        } else {
            self.wide(raw, pixels, mask, |b| sample(b).into());
        }
    }

    fn wide<const N: usize, F: Fn([u8; N]) -> i64>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: F,
    ) {
        for (v, b) in pixels.iter_mut().zip(raw.as_chunks::<N>().0) {
            *v = (self.bzero + self.bscale * sample(*b) as f64) as f32;
        }
        self.mark_saturated(pixels, mask);
        if let Some(blank) = self.blank {
            for ((v, m), b) in pixels.iter_mut().zip(mask).zip(raw.as_chunks::<N>().0) {
                if sample(*b) == blank {
                    *v = 0.0;
                    *m = NO_DATA;
                }
            }
        }
    }

    fn floats<const N: usize, F: Fn([u8; N]) -> f64>(
        &self,
        raw: &[u8],
        pixels: &mut [f32],
        mask: &mut [u8],
        sample: F,
    ) {
        for (v, b) in pixels.iter_mut().zip(raw.as_chunks::<N>().0) {
            *v = (self.bzero + self.bscale * sample(*b)) as f32;
        }
        self.mark_saturated(pixels, mask);
        for (v, m) in pixels.iter_mut().zip(mask) {
            if !v.is_finite() {
                *v = 0.0;
                *m = NO_DATA;
            }
        }
    }

    fn mark_saturated(&self, pixels: &[f32], mask: &mut [u8]) {
        for (m, v) in mask.iter_mut().zip(pixels) {
            *m = if *v >= self.saturation { SATURATED } else { 0 };
        }
    }
}
