//! What a directory says about its page: number format, and the sizes of its pieces.

use super::directory::{Compression, Directory};
use crate::error::ReadErrorKind as Fault;
use crate::recording::samples::{ByteOrder, Kind, SampleType, Stored};

impl Directory {
    /// How its samples are stored.
    pub(super) fn stored(&self, order: ByteOrder) -> Result<Stored, Fault> {
        let unsupported = |found: String, needed: &str| {
            Err(Fault::UnsupportedLayout { found, needed: needed.into() })
        };
        let kind = match (self.bits, self.format) {
            (8, 2) => Kind::I8,
            (16, 2) => Kind::Plain(SampleType::I16),
            (32, 2) => Kind::Plain(SampleType::I32),
            (64, 2) => Kind::I64,
            (32, 3) => Kind::Plain(SampleType::F32),
            (64, 3) => Kind::Plain(SampleType::F64),
            // 4: undefined.
            (8, 1 | 4) => Kind::Plain(SampleType::U8),
            (16, 1 | 4) => Kind::Plain(SampleType::U16),
            (32, 1 | 4) => Kind::Plain(SampleType::U32),
            (64, 1 | 4) => Kind::U64,
            (bits, format) => {
                let format = match format {
                    2 => "signed integers",
                    3 => "floats",
                    1 | 4 => "unsigned integers",
                    _ => "complex or other samples",
                };
                let found = format!("a TIFF of {bits}-bit {format}");
                return unsupported(found, "8, 16, 32 or 64 bits (floats: 32 or 64) are needed");
            }
        };
        if let Compression::Other(number) = self.compression {
            let name = match number {
                2..=4 => "fax",
                6 | 7 => "JPEG",
                33003 | 33005 | 34712 => "JPEG 2000",
                34925 => "LZMA",
                50000 | 34926 => "Zstandard",
                50001 | 34927 => "WebP",
                _ => "another",
            };
            let found = format!("a TIFF with {name} compression (number {number})");
            return unsupported(found, "save it uncompressed, or with LZW, Deflate or PackBits");
        }
        if self.photometric == 6 || self.photometric > 8 || self.fill_order == 2 {
            let (p, f) = (self.photometric, self.fill_order);
            let found = format!("a TIFF with colour model {p} and bit order {f}");
            return unsupported(found, "grey, RGB or separate channels are needed");
        }
        Ok(Stored { kind, order })
    }

    /// Whether frames of both can follow each other.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.shape == other.shape
            && self.samples == other.samples
            && self.bits == other.bits
            && self.format == other.format
            && self.is_planar == other.is_planar
    }

    pub(super) fn sample_bytes(&self) -> usize {
        self.bits as usize / 8
    }

    /// Planes that are stored one after another.
    pub(super) fn planes(&self) -> usize {
        if self.is_planar { self.samples } else { 1 }
    }

    /// Samples of a pixel that lie side by side.
    pub(super) fn chunky(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    pub(super) fn blocks_per_plane(&self) -> usize {
        self.blocks_across() * self.shape.height.div_ceil(self.block.height.max(1))
    }

    pub(super) fn blocks_across(&self) -> usize {
        self.shape.width.div_ceil(self.block.width.max(1))
    }

    /// Bytes of a strip or tile of this many rows, unpacked.
    pub(super) fn block_bytes(&self, rows: usize) -> usize {
        rows * self.block.width * self.chunky() * self.sample_bytes()
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.shape.len() * self.samples * self.sample_bytes()) as u64
    }

    /// Where the page begins if its samples lie in one piece, uncompressed, in order.
    pub(super) fn one_piece(&self, blocks: &[(u64, u64)]) -> Option<u64> {
        let is_plain = self.compression == Compression::None
            && self.predictor == 1
            && self.block.width == self.shape.width;
        let mut end = blocks.first()?.0;
        for &(offset, count) in blocks {
            if offset != end {
                return None;
            }
            end += count;
        }
        let start = blocks[0].0;
        (is_plain && end - start >= self.bytes()).then_some(start)
    }
}
