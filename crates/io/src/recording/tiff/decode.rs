//! Strips and tiles, unpacked.

use std::io::Read;

use flate2::read::ZlibDecoder;
use stillframe_image::Shape;
use weezl::BitOrder;
use weezl::decode::Decoder;

use super::directory::{Compression, Directory, TiffFile};
use crate::error::ReadErrorKind as Fault;
use crate::recording::samples::{ByteOrder, Stored};

/// Largest strip or tile that is unpacked, in bytes: a plane of 4 GiB.
const MAX_BLOCK_BYTES: usize = 4 << 30;

/// More than any of the compressions can do (LZW, the best at nothing: 1 to 2700).
const MAX_RATIO: usize = 4096;

/// Reads a page that is compressed or in pieces: sample s to `out[s * len..]`.
pub(super) fn read_page(
    tiff: &TiffFile,
    page: &Directory,
    stored: Stored,
    out: &mut [f32],
) -> Result<(), Fault> {
    let Shape { height, width } = page.shape;
    let (block, chunky, len) = (page.block, page.chunky(), page.shape.len());
    let across = page.blocks_across();
    if page.block_bytes(block.height) > MAX_BLOCK_BYTES {
        return Err(Fault::header("a strip or tile larger than 4 GiB"));
    }
    let per_plane = page.blocks_per_plane();
    let (mut packed, mut raw) = (Vec::new(), Vec::new());
    for (i, (offset, count)) in tiff.blocks(page)?.into_iter().enumerate() {
        let (plane, i) = (i / per_plane, i % per_plane);
        let (top, left) = (i / across * block.height, i % across * block.width);
        let rows = block.height.min(height - top);
        let columns = block.width.min(width - left);
        packed.resize(count as usize, 0);
        crate::positioned::read_exact(&tiff.file, &mut packed, offset)?;
        // Tiles are always whole; the last strip may be short.
        unpack(page.compression, &packed, page.block_bytes(rows), &mut raw)?;
        let row_bytes = page.block_bytes(1);
        for (y, row) in raw.chunks_exact_mut(row_bytes).take(rows).enumerate() {
            undo_predictor(page.predictor, row, chunky, stored)?;
            for s in 0..chunky {
                let start = (plane + s) * len + (top + y) * width + left;
                stored.decode(row, s, chunky, &mut out[start..start + columns]);
            }
        }
    }
    Ok(())
}

/// Unpacks at least `needed` bytes.
fn unpack(
    compression: Compression,
    packed: &[u8],
    needed: usize,
    raw: &mut Vec<u8>,
) -> Result<(), Fault> {
    raw.clear();
    let damaged = |reason: String| Fault::BadCompression { reason };
    if needed / MAX_RATIO > packed.len() {
        let found = packed.len();
        return Err(damaged(format!("{found} bytes cannot unpack to {needed}")));
    }
    match compression {
        Compression::None => raw.extend_from_slice(&packed[..needed.min(packed.len())]),
        Compression::Deflate => {
            ZlibDecoder::new(packed)
                .take(needed as u64)
                .read_to_end(raw)
                .map_err(|e| damaged(e.to_string()))?;
        }
        Compression::Lzw => {
            raw.resize(needed, 0);
            let mut decoder = Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
            let (mut read, mut written) = (0, 0);
            while written < needed {
                let step = decoder.decode_bytes(&packed[read..], &mut raw[written..]);
                read += step.consumed_in;
                written += step.consumed_out;
                match step.status {
                    Ok(weezl::LzwStatus::Ok) => {}
                    Ok(_) => break,
                    Err(e) => return Err(damaged(format!("LZW: {e}"))),
                }
            }
            raw.truncate(written);
        }
        Compression::PackBits => unpack_bits(packed, needed, raw),
        Compression::Other(number) => return Err(damaged(format!("compression {number}"))),
    }
    if raw.len() < needed {
        let found = raw.len();
        return Err(damaged(format!("{found} bytes in a strip or tile, {needed} are needed")));
    }
    Ok(())
}

/// # Source
/// TIFF 6.0, section 9.
fn unpack_bits(mut packed: &[u8], needed: usize, raw: &mut Vec<u8>) {
    while let (Some((&n, rest)), true) = (packed.split_first(), raw.len() < needed) {
        packed = rest;
        match n {
            0..=127 => {
                let n = (usize::from(n) + 1).min(rest.len());
                raw.extend_from_slice(&rest[..n]);
                packed = &rest[n..];
            }
            128 => {}
            129..=255 => {
                if let Some((&value, rest)) = rest.split_first() {
                    raw.resize(raw.len() + 257 - usize::from(n), value);
                    packed = rest;
                }
            }
        }
    }
}

fn undo_predictor(
    predictor: u64,
    row: &mut [u8],
    chunky: usize,
    stored: Stored,
) -> Result<(), Fault> {
    match predictor {
        1 => {}
        2 => undo_differences(row, chunky, stored),
        3 => undo_float_differences(row, chunky, stored),
        other => {
            return Err(Fault::UnsupportedLayout {
                found: format!("a TIFF with predictor {other}"),
                needed: "save it uncompressed".into(),
            });
        }
    }
    Ok(())
}

/// Samples are differences to the one before of the same channel, as integers.
fn undo_differences(row: &mut [u8], chunky: usize, stored: Stored) {
    macro_rules! sum {
        ($type:ty) => {{
            let (samples, _) = row.as_chunks_mut::<{ size_of::<$type>() }>();
            for i in chunky..samples.len() {
                let (before, this) = (samples[i - chunky], samples[i]);
                samples[i] = match stored.order {
                    ByteOrder::Little => <$type>::from_le_bytes(before)
                        .wrapping_add(<$type>::from_le_bytes(this))
                        .to_le_bytes(),
                    ByteOrder::Big => <$type>::from_be_bytes(before)
                        .wrapping_add(<$type>::from_be_bytes(this))
                        .to_be_bytes(),
                };
            }
        }};
    }
    match stored.bytes() {
        1 => sum!(u8),
        2 => sum!(u16),
        4 => sum!(u32),
        _ => sum!(u64),
    }
}

/// Bytes are differences, and the first bytes of all samples come first, then the second ones, …
fn undo_float_differences(row: &mut [u8], chunky: usize, stored: Stored) {
    for i in chunky..row.len() {
        row[i] = row[i].wrapping_add(row[i - chunky]);
    }
    let bytes = stored.bytes();
    let planes = row.to_vec();
    let n = row.len() / bytes;
    for (i, sample) in row.chunks_exact_mut(bytes).enumerate() {
        for (b, byte) in sample.iter_mut().enumerate() {
            // The most significant byte comes first.
            let plane = if stored.order == ByteOrder::Big { b } else { bytes - 1 - b };
            *byte = planes[plane * n + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_unpack() {
        // The example of the specification.
        let packed = [
            0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7,
            0xAA,
        ];
        let mut raw = Vec::new();
        unpack_bits(&packed, 24, &mut raw);
        assert_eq!(raw.len(), 24);
        assert_eq!(raw[..9], [0xAA, 0xAA, 0xAA, 0x80, 0, 0x2A, 0xAA, 0xAA, 0xAA]);
        // What ends too early is found by its length.
        unpack_bits(&packed[..4], 24, &mut raw);
        assert!(unpack(Compression::PackBits, &packed[..4], 24, &mut raw).is_err());
    }
}
