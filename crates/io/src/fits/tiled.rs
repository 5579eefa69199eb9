//! Tile-compressed images (`.fz`), unpacked by `fits-well`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fits_well::FitsReader;
use fits_well::image::View;
use stillframe_image::{Image, Rect};

use super::BLOCK;
use super::decode::{ByteOrder, Decoder};
use super::layout::{Layout, ReadAt};
use crate::error::ReadErrorKind as Kind;
use crate::limits;

/// Memory of the decoder.
#[derive(Debug, Default)]
pub(super) struct TileScratch {
    file: Vec<u8>,
    words: Vec<u64>,
}

/// Decodes `rect` of plane `plane`.
///
/// The decoder gets a file of its own: an empty primary unit and the compressed one, so that
/// nothing else in the real file can disturb it.
pub(super) fn read(
    bytes: &mut impl ReadAt,
    layout: &Layout,
    decoder: &Decoder,
    (plane, rect): (usize, Rect),
    (pixels, mask): (&mut Image<f32>, &mut Image<u8>),
    scratch: &mut TileScratch,
) -> Result<(), Kind> {
    let unit = layout.data_offset - layout.header_offset + layout.data_bytes;
    if unit > limits::MAX_COMPRESSED_BYTES {
        return Err(Kind::TooLarge {
            what: "the compressed image in bytes",
            found: unit,
            limit: limits::MAX_COMPRESSED_BYTES,
        });
    }
    let TileScratch { file, words } = scratch;
    file.clear();
    for card in [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "END",
    ] {
        file.extend_from_slice(format!("{card:<80}").as_bytes());
    }
    file.resize(BLOCK as usize, b' ');
    file.resize(BLOCK as usize + unit.next_multiple_of(BLOCK) as usize, 0);
    let found =
        bytes.read_up_to(&mut file[BLOCK as usize..][..unit as usize], layout.header_offset)?;
    if (found as u64) < unit {
        let needed = layout.header_offset + unit;
        return Err(Kind::Truncated { found: layout.header_offset + found as u64, needed });
    }
    // The decoder is not ours: a panic in it is a damaged file to us. What it leaves half done is
    // overwritten by the next read.
    let result = catch_unwind(AssertUnwindSafe(|| {
        decode(file, words, layout, decoder, (plane, rect), (pixels, mask))
    }));
    let reason = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => reason,
        Err(_) => "the decoder broke down on them".into(),
    };
    Err(Kind::BadCompression { reason })
}

fn decode(
    file: &[u8],
    words: &mut Vec<u64>,
    layout: &Layout,
    decoder: &Decoder,
    (plane, rect): (usize, Rect),
    (pixels, mask): (&mut Image<f32>, &mut Image<u8>),
) -> Result<(), String> {
    let mut reader = FitsReader::from_bytes(file).map_err(|e| e.to_string())?;
    let mut image = reader.image(1).map_err(|e| e.to_string())?;
    let region = region(layout, plane, rect);
    let part = image.view(region.as_slice(), words).map_err(|e| e.to_string())?;
    let samples: &[u8] = match part.samples() {
        View::U8(v) => v,
        View::I16(v) => bytemuck::cast_slice(v),
        View::I32(v) => bytemuck::cast_slice(v),
        View::I64(v) => bytemuck::cast_slice(v),
        View::F32(v) => bytemuck::cast_slice(v),
        View::F64(v) => bytemuck::cast_slice(v),
    };
    if samples.len() != rect.shape().len() * layout.stored.bytes() {
        return Err("they hold another number of pixels than the header says".into());
    }
    decoder.decode(samples, ByteOrder::Native, pixels.pixels_mut(), mask.pixels_mut());
    Ok(())
}

/// One range per axis, fastest first.
fn region(layout: &Layout, plane: usize, rect: Rect) -> Vec<Range<usize>> {
    let beyond = layout.axes[2..].iter().map(|&n| if n == 1 { 0..1 } else { plane..plane + 1 });
    [rect.x..rect.x_end(), rect.y..rect.y_end()].into_iter().chain(beyond).collect()
}
