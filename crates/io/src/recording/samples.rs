//! Number formats of a recording, and their way to `f32` and back.

use std::fmt;
use std::ops::RangeInclusive;

/// Number format of the samples of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say all there is")]
pub enum SampleType {
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

impl SampleType {
    /// Every number format.
    pub const ALL: [Self; 7] =
        [Self::U8, Self::I16, Self::U16, Self::I32, Self::U32, Self::F32, Self::F64];

    /// Bytes of one sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Whether values are whole numbers.
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F64)
    }

    /// Smallest and largest value; for floats those of `f32`, in which samples are handed over.
    pub fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::U8 => 0.0..=u8::MAX.into(),
            Self::I16 => i16::MIN.into()..=i16::MAX.into(),
            Self::U16 => 0.0..=u16::MAX.into(),
            Self::I32 => i32::MIN.into()..=i32::MAX.into(),
            Self::U32 => 0.0..=u32::MAX.into(),
            Self::F32 | Self::F64 => f32::MIN.into()..=f32::MAX.into(),
        }
    }

    /// The number format in which values of both fit best, as numpy promotes them; `f32` holds what
    /// is handed over in any case.
    pub fn promote(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let holds = |wide: Self| {
            let (range, a, b) = (wide.range(), self.range(), other.range());
            let float = !wide.is_integer();
            let whole = self.is_integer() && other.is_integer();
            (float || whole)
                && range.start() <= a.start()
                && range.start() <= b.start()
                && a.end() <= range.end()
                && b.end() <= range.end()
                && (self != Self::F64 && other != Self::F64 || wide == Self::F64)
        };
        Self::ALL.into_iter().find(|&wide| holds(wide)).unwrap_or(Self::F64)
    }
}

impl fmt::Display for SampleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::F32 => "float32",
            Self::F64 => "float64",
        })
    }
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// Number format of stored samples: those of [`SampleType`] and those that are widened to one of
/// them (`int8` to `int16`, 64-bit integers to `float64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) kind: Kind,
    pub(crate) order: ByteOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    I8,
    I64,
    U64,
    Plain(SampleType),
}

impl Stored {
    pub(crate) fn bytes(self) -> usize {
        match self.kind {
            Kind::I8 => 1,
            Kind::I64 | Kind::U64 => 8,
            Kind::Plain(sample) => sample.bytes(),
        }
    }

    pub(crate) fn sample(self) -> SampleType {
        match self.kind {
            Kind::I8 => SampleType::I16,
            Kind::I64 | Kind::U64 => SampleType::F64,
            Kind::Plain(sample) => sample,
        }
    }

    /// Samples `bytes[start + i * step]` (in samples) to `out[i]`. There must be enough of them.
    pub(crate) fn decode(self, bytes: &[u8], start: usize, step: usize, out: &mut [f32]) {
        macro_rules! decode {
            ($type:ty) => {{
                const N: usize = size_of::<$type>();
                let (samples, _) = bytes.as_chunks::<N>();
                let samples = &samples[start.min(samples.len())..];
                match (self.order, step) {
                    (ByteOrder::Little, 1) => {
                        for (o, s) in out.iter_mut().zip(samples) {
                            *o = <$type>::from_le_bytes(*s) as f32;
                        }
                    }
                    (ByteOrder::Little, _) => {
                        for (o, s) in out.iter_mut().zip(samples.iter().step_by(step)) {
                            *o = <$type>::from_le_bytes(*s) as f32;
                        }
                    }
                    (ByteOrder::Big, _) => {
                        for (o, s) in out.iter_mut().zip(samples.iter().step_by(step)) {
                            *o = <$type>::from_be_bytes(*s) as f32;
                        }
                    }
                }
            }};
        }
        match self.kind {
            Kind::I8 => decode!(i8),
            Kind::I64 => decode!(i64),
            Kind::U64 => decode!(u64),
            Kind::Plain(SampleType::U8) => decode!(u8),
            Kind::Plain(SampleType::I16) => decode!(i16),
            Kind::Plain(SampleType::U16) => decode!(u16),
            Kind::Plain(SampleType::I32) => decode!(i32),
            Kind::Plain(SampleType::U32) => decode!(u32),
            Kind::Plain(SampleType::F32) => decode!(f32),
            Kind::Plain(SampleType::F64) => decode!(f64),
        }
    }
}

/// Appends `n` `values` to `bytes` as little-endian samples. Integers are rounded to the nearest,
/// ties to even, and saturated; NaN becomes 0.
pub(crate) fn encode(
    values: impl Iterator<Item = f32>,
    n: usize,
    sample: SampleType,
    bytes: &mut Vec<u8>,
) {
    let start = bytes.len();
    bytes.resize(start + n * sample.bytes(), 0);
    let out = &mut bytes[start..];
    macro_rules! encode {
        ($type:ty, $convert:expr) => {
            for (out, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
                let sample: $type = $convert(value);
                *out = sample.to_le_bytes();
            }
        };
    }
    match sample {
        SampleType::U8 => encode!(u8, |v| whole(v, 0.0, 255.0) as u8),
        SampleType::I16 => encode!(i16, |v| whole(v, -32768.0, 32767.0) as i16),
        SampleType::U16 => encode!(u16, |v| whole(v, 0.0, 65535.0) as u16),
        // `as` saturates, and takes NaN to 0.
        SampleType::I32 => encode!(i32, |v: f32| v.round_ties_even() as i32),
        SampleType::U32 => encode!(u32, |v: f32| v.round_ties_even() as u32),
        SampleType::F32 => encode!(f32, |v: f32| v),
        SampleType::F64 => encode!(f64, |v: f32| f64::from(v)),
    }
}

/// The whole number nearest to `value`, ties to even, in the low 16 bits, as two's complement. The
/// limits are those of a type of at most 16 bits.
#[inline]
fn whole(value: f32, low: f32, high: f32) -> u32 {
    // Numbers around 1.5 · 2²³ have no bits below the point: the sum is rounded there, and its last
    // bits are the number. This is several times as fast as a call to round each.
    const POINT_AT_THE_END: f32 = 12_582_912.0;
    let value = if value.is_nan() { 0.0 } else { value };
    (value.clamp(low, high) + POINT_AT_THE_END).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_and_saturate() {
        let values = [-1e9, -1.5, 0.5, 1.5, 254.6, 1e12, f32::NAN];
        let of = |sample| {
            let mut bytes = Vec::new();
            encode(values.into_iter(), values.len(), sample, &mut bytes);
            let mut back = [0.0; 7];
            Stored { kind: Kind::Plain(sample), order: ByteOrder::Little }
                .decode(&bytes, 0, 1, &mut back);
            back
        };
        assert_eq!(of(SampleType::U8), [0.0, 0.0, 0.0, 2.0, 255.0, 255.0, 0.0]);
        assert_eq!(of(SampleType::I16), [-32768.0, -2.0, 0.0, 2.0, 255.0, 32767.0, 0.0]);
        assert_eq!(of(SampleType::U16)[4..6], [255.0, 65535.0]);
        assert_eq!(of(SampleType::I32)[5], i32::MAX as f32);
        assert_eq!(of(SampleType::U32)[5], u32::MAX as f32);
        assert_eq!(of(SampleType::F64)[..6], values[..6]);
    }

    #[test]
    fn rounding_is_that_of_the_language() {
        for i in -400_000..=400_000 {
            let value = i as f32 * 0.25;
            let (a, b) = (whole(value, 0.0, 65535.0) as u16, value.round_ties_even() as u16);
            assert_eq!(a, b, "{value}");
            let (a, b) = (whole(value, -32768.0, 32767.0) as i16, value.round_ties_even() as i16);
            assert_eq!(a, b, "{value}");
        }
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -0.0, 1e-40] {
            assert_eq!(whole(value, 0.0, 255.0) as u8, value as u8, "{value}");
        }
    }

    #[test]
    fn promotion_holds_both() {
        use SampleType::{F32, F64, I16, I32, U8, U16, U32};
        let cases = [
            (U8, I16, I16),
            (U16, I16, I32),
            (U16, F32, F32),
            (I32, U32, F32),
            (F64, U8, F64),
            (U16, U16, U16),
            (U8, U32, U32),
        ];
        for (a, b, both) in cases {
            assert_eq!((a.promote(b), b.promote(a)), (both, both), "{a} {b}");
        }
    }
}
