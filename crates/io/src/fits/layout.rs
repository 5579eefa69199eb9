//! Where the image is in a file: walks the header-data units up to the first image.

use stillframe_image::{Card, Value};

use super::BLOCK;
use super::card::{CARD, Parsed, parse};
use super::sniff;
use crate::error::ReadErrorKind as Kind;
use crate::limits;

/// Bytes that are read at growing positions.
pub(crate) trait ReadAt {
    /// Fills as much of `buffer` as there is from `offset` on, and returns how much that is.
    fn read_up_to(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Kind>;

    /// Number of bytes. Only asked for after a read found the end.
    fn end(&mut self) -> Result<u64, Kind>;
}

impl ReadAt for &std::fs::File {
    fn read_up_to(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Kind> {
        Ok(crate::positioned::read_up_to(self, buffer, offset)?)
    }

    fn end(&mut self) -> Result<u64, Kind> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for &[u8] {
    fn read_up_to(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Kind> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let n = buffer.len().min(self.len() - start);
        buffer[..n].copy_from_slice(&self[start..start + n]);
        Ok(n)
    }

    fn end(&mut self) -> Result<u64, Kind> {
        Ok(self.len() as u64)
    }
}

/// Number format of the stored samples: `BITPIX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    U8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Stored {
    fn from_bitpix(bitpix: i64) -> Option<Self> {
        Some(match bitpix {
            8 => Self::U8,
            16 => Self::I16,
            32 => Self::I32,
            64 => Self::I64,
            -32 => Self::F32,
            -64 => Self::F64,
            _ => return None,
        })
    }

    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// How the pixels lie in the data unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Row after row.
    Plain,
    /// Compressed tiles in a binary table.
    Tiled,
}

/// An image in a file.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub encoding: Encoding,
    pub stored: Stored,
    /// Axis lengths, fastest first, as in the header.
    pub axes: Vec<u64>,
    pub width: usize,
    pub height: usize,
    /// 1 or 3.
    pub planes: usize,
    pub bzero: f64,
    pub bscale: f64,
    pub blank: Option<i64>,
    /// Where the header of the unit starts.
    pub header_offset: u64,
    /// Where the data unit starts and how long it is, without its padding.
    pub data_offset: u64,
    pub data_bytes: u64,
    /// All cards of the image's header, then those of the primary header that it lacks.
    pub cards: Vec<Card>,
}

/// One header with its place.
struct Hdu {
    cards: Vec<Card>,
    header_offset: u64,
    data_offset: u64,
}

/// Finds the first image with at least two axes.
///
/// # Errors
/// Every kind that says what is wrong with a header, with the layout or with its size.
pub(crate) fn find_image(bytes: &mut impl ReadAt) -> Result<Layout, Kind> {
    Ok(find_images(bytes, 1)?.remove(0))
}

/// Finds the images with at least two axes, up to `most` of them; at least one.
///
/// # Errors
/// As [`find_image`], for any of them.
pub(crate) fn find_images(bytes: &mut impl ReadAt, most: usize) -> Result<Vec<Layout>, Kind> {
    let mut found = Vec::new();
    let mut offset = 0;
    let mut primary: Vec<Card> = Vec::new();
    let mut passed = String::new();
    for index in 0..limits::MAX_HDUS {
        let Some(hdu) = read_header(bytes, offset, index == 0)? else { break };
        let data_bytes = data_bytes(&hdu.cards)?;
        if let Some(mut layout) = image_layout(&hdu, index, data_bytes)? {
            if index > 0 && logical(&layout.cards, "INHERIT") != Some(false) {
                inherit(&mut layout.cards, &primary);
            }
            found.push(layout);
            if found.len() == most {
                break;
            }
        } else if index < 8 {
            passed += if passed.is_empty() { "" } else { ", " };
            passed += &describe(&hdu.cards);
        }
        let padded = data_bytes.div_ceil(BLOCK) * BLOCK;
        offset =
            hdu.data_offset.checked_add(padded).ok_or_else(|| Kind::header("sizes overflow"))?;
        if index == 0 {
            primary = hdu.cards;
        }
    }
    if found.is_empty() { Err(Kind::NoImage { found: passed }) } else { Ok(found) }
}

/// Appends the cards of the primary header that an extension lacks.
fn inherit(cards: &mut Vec<Card>, primary: &[Card]) {
    let own = cards.len();
    for card in primary {
        // The name of the primary image is not that of the extension.
        if card.key != "EXTNAME" && !cards[..own].iter().any(|c| c.key == card.key) {
            cards.push(card.clone());
        }
    }
}

/// The header at `offset`; `None` if the file holds no further one.
fn read_header(bytes: &mut impl ReadAt, offset: u64, first: bool) -> Result<Option<Hdu>, Kind> {
    let mut cards: Vec<Card> = Vec::new();
    let mut block = [0u8; BLOCK as usize];
    let mut at = offset;
    loop {
        let found = bytes.read_up_to(&mut block, at)?;
        if at == offset {
            let head = &block[..found];
            if first && found == 0 {
                return Err(Kind::Truncated { found: 0, needed: BLOCK });
            }
            if first && !head.starts_with(b"SIMPLE  =") {
                let looks_like = sniff::looks_like(&head[..found.min(256)]);
                return Err(Kind::NotFits { looks_like });
            }
            if !first && !head.starts_with(b"XTENSION= ") {
                let length = if found == 0 { bytes.end()? } else { offset };
                if length < offset {
                    return Err(Kind::Truncated { found: length, needed: offset });
                }
                return Ok(None);
            }
        }
        for record in block[..found].chunks_exact(CARD) {
            match parse(record) {
                Parsed::End => {
                    return Ok(Some(Hdu { cards, header_offset: offset, data_offset: at + BLOCK }));
                }
                Parsed::Blank => {}
                Parsed::Card(card) => cards.push(card),
                Parsed::Continue { text, comment } => append(&mut cards, &text, &comment),
            }
        }
        at += BLOCK;
        if found < block.len() {
            return Err(Kind::Truncated { found: at - BLOCK + found as u64, needed: at });
        }
        if at - offset > limits::MAX_HEADER_BYTES {
            return Err(Kind::TooLarge {
                what: "the header in bytes",
                found: at - offset,
                limit: limits::MAX_HEADER_BYTES,
            });
        }
    }
}

/// Continues the string of the last card if that ends in `&`.
fn append(cards: &mut [Card], more: &str, comment: &str) {
    let Some(Card { value: Value::Text(text), comment: old, .. }) = cards.last_mut() else {
        return;
    };
    if text.ends_with('&') {
        text.pop();
        text.push_str(more);
        if !comment.is_empty() {
            old.push_str(if old.is_empty() { "" } else { " " });
            old.push_str(comment);
        }
    }
}

fn value<'a>(cards: &'a [Card], key: &str) -> Option<&'a Value> {
    cards.iter().find(|c| c.key == key).map(|c| &c.value)
}

fn logical(cards: &[Card], key: &str) -> Option<bool> {
    match value(cards, key)? {
        Value::Logical(v) => Some(*v),
        _ => None,
    }
}

fn text<'a>(cards: &'a [Card], key: &str) -> Option<&'a str> {
    match value(cards, key)? {
        Value::Text(v) => Some(v),
        _ => None,
    }
}

/// A whole number; an error if the card holds anything else.
fn whole(cards: &[Card], key: &str) -> Result<Option<i64>, Kind> {
    match value(cards, key) {
        None => Ok(None),
        Some(Value::Integer(i)) => Ok(Some(*i)),
        Some(Value::Real(r)) if r.fract() == 0.0 && r.abs() < 1e15 => Ok(Some(*r as i64)),
        Some(other) => Err(Kind::header(format!("{key} is {other:?}, a whole number is needed"))),
    }
}

fn needed(cards: &[Card], key: &str) -> Result<i64, Kind> {
    whole(cards, key)?.ok_or_else(|| Kind::header(format!("the card {key} is missing")))
}

fn number(cards: &[Card], key: &str, default: f64) -> Result<f64, Kind> {
    match value(cards, key) {
        None | Some(Value::None) => Ok(default),
        Some(Value::Integer(i)) => Ok(*i as f64),
        Some(Value::Real(r)) => Ok(*r),
        Some(other) => Err(Kind::header(format!("{key} is {other:?}, a number is needed"))),
    }
}

/// `NAXISn` with this prefix, fastest first.
fn axes(cards: &[Card], prefix: &str) -> Result<Vec<u64>, Kind> {
    let count = needed(cards, &format!("{prefix}NAXIS"))?;
    if !(0..=999).contains(&count) {
        return Err(Kind::header(format!("{prefix}NAXIS is {count}, 0 to 999 is needed")));
    }
    (1..=count)
        .map(|n| {
            let key = format!("{prefix}NAXIS{n}");
            let length = needed(cards, &key)?;
            u64::try_from(length)
                .map_err(|_| Kind::header(format!("{key} is {length}, it cannot be negative")))
        })
        .collect()
}

/// Length of the data unit without padding (FITS Standard 4.0, equations 1, 2 and 4).
fn data_bytes(cards: &[Card]) -> Result<u64, Kind> {
    let bitpix = needed(cards, "BITPIX")?;
    let axes = axes(cards, "")?;
    let groups = logical(cards, "GROUPS") == Some(true) && axes.first() == Some(&0);
    let lengths = if groups { &axes[1..] } else { &axes[..] };
    if lengths.is_empty() {
        return Ok(0);
    }
    let count = |key, default| {
        let n = whole(cards, key)?.unwrap_or(default);
        u64::try_from(n).map_err(|_| Kind::header(format!("{key} is {n}, it cannot be negative")))
    };
    let (pcount, gcount) = (count("PCOUNT", 0)?, count("GCOUNT", 1)?);
    lengths
        .iter()
        .try_fold(1u64, |product, &n| product.checked_mul(n))
        .and_then(|elements| elements.checked_add(pcount))
        .and_then(|n| n.checked_mul(gcount))
        .and_then(|n| n.checked_mul(bitpix.unsigned_abs() / 8))
        .filter(|&n| n < 1 << 62)
        .ok_or_else(|| Kind::header("the axes multiply to more bytes than any file has"))
}

/// What an HDU without an image is, for the message.
fn describe(cards: &[Card]) -> String {
    let axes = axes(cards, "").unwrap_or_default();
    let size: Vec<String> = axes.iter().map(u64::to_string).collect();
    let kind = match text(cards, "XTENSION") {
        Some(name) => name.trim().to_string(),
        None if logical(cards, "GROUPS") == Some(true) => "random groups".into(),
        None => "primary".into(),
    };
    if size.is_empty() {
        format!("{kind} without data")
    } else {
        format!("{kind} {}", size.join("×"))
    }
}

/// The layout of this HDU, `None` if it holds no image of two or more axes.
fn image_layout(hdu: &Hdu, index: usize, data_bytes: u64) -> Result<Option<Layout>, Kind> {
    let cards = &hdu.cards;
    if index == 0 && logical(cards, "SIMPLE") != Some(true) {
        return Err(Kind::header(
            "SIMPLE is not T: the file does not claim to follow the standard",
        ));
    }
    let prefix = match text(cards, "XTENSION").map(str::trim) {
        None | Some("IMAGE" | "IUEIMAGE") => "",
        Some("BINTABLE") if logical(cards, "ZIMAGE") == Some(true) => "Z",
        Some(_) => return Ok(None),
    };
    let axes = axes(cards, prefix)?;
    if axes.len() < 2 || axes.contains(&0) {
        return Ok(None);
    }
    let bitpix = needed(cards, &format!("{prefix}BITPIX"))?;
    let stored = Stored::from_bitpix(bitpix).ok_or_else(|| {
        Kind::header(format!("BITPIX is {bitpix}, one of 8, 16, 32, 64, -32, -64 is needed"))
    })?;
    let planes = planes(&axes)?;
    check_size(&axes)?;
    let blank = match stored {
        Stored::F32 | Stored::F64 => None,
        _ => match whole(cards, "BLANK").ok().flatten() {
            None if prefix == "Z" => whole(cards, "ZBLANK").ok().flatten(),
            blank => blank,
        },
    };
    let (bzero, bscale) = (number(cards, "BZERO", 0.0)?, number(cards, "BSCALE", 1.0)?);
    if !bzero.is_finite() || !bscale.is_finite() || bscale == 0.0 {
        return Err(Kind::header(format!("BSCALE is {bscale}: every pixel would be the same")));
    }
    Ok(Some(Layout {
        encoding: if prefix.is_empty() { Encoding::Plain } else { Encoding::Tiled },
        stored,
        width: axes[0] as usize,
        height: axes[1] as usize,
        planes,
        axes,
        bzero,
        bscale,
        blank,
        header_offset: hdu.header_offset,
        data_offset: hdu.data_offset,
        data_bytes,
        cards: hdu.cards.clone(),
    }))
}

/// 1 or 3, from the axes beyond the second.
fn planes(axes: &[u64]) -> Result<usize, Kind> {
    let mut long = axes[2..].iter().filter(|&&n| n != 1);
    match (long.next(), long.next()) {
        (None, _) => Ok(1),
        (Some(3), None) => Ok(3),
        _ => {
            let size: Vec<String> = axes.iter().map(u64::to_string).collect();
            let hint = if axes[0] == 3 && axes.len() == 3 {
                "colours must be planes (the third axis), not the first axis"
            } else {
                "an image of two axes, or of three colour planes, is needed"
            };
            Err(Kind::UnsupportedLayout {
                found: format!("an array of {} samples", size.join("×")),
                needed: hint.into(),
            })
        }
    }
}

fn check_size(axes: &[u64]) -> Result<(), Kind> {
    for &side in &axes[..2] {
        if side > limits::MAX_SIDE {
            let what = "a side of the image in pixels";
            return Err(Kind::TooLarge { what, found: side, limit: limits::MAX_SIDE });
        }
    }
    let pixels = axes[0] * axes[1];
    if pixels > limits::MAX_PIXELS {
        let what = "the image in pixels";
        return Err(Kind::TooLarge { what, found: pixels, limit: limits::MAX_PIXELS });
    }
    Ok(())
}
