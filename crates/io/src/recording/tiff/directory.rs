//! The directory of a page: where its samples lie and how they are stored.

use std::fs::File;

use stillframe_image::Shape;

use crate::error::ReadErrorKind as Fault;
use crate::limits::MAX_SIDE;
use crate::positioned::{read_exact, read_up_to};
use crate::recording::samples::ByteOrder;

/// Entries of a directory; more come from damage.
const MAX_ENTRIES: u64 = 4096;

/// Bytes of text that are looked at. OME-XML of long series has some megabytes; what is needed
/// stands at its beginning.
const MAX_TEXT: u64 = 1 << 20;

/// Bytes read at first: most directories fit.
const FIRST_READ: usize = 512;

/// The compression of strips and tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Other(u64),
}

/// A file and how its numbers are written.
#[derive(Debug)]
pub(super) struct TiffFile {
    pub(super) file: File,
    pub(super) len: u64,
    pub(super) order: ByteOrder,
    is_big: bool,
    /// Position of the first directory.
    pub(super) first: u64,
}

/// One page. Lengths in pixels.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) shape: Shape,
    pub(super) samples: usize,
    pub(super) bits: u64,
    pub(super) format: u64,
    pub(super) compression: Compression,
    pub(super) photometric: u64,
    /// Whether each sample of a pixel has a plane of its own.
    pub(super) is_planar: bool,
    pub(super) predictor: u64,
    pub(super) fill_order: u64,
    /// Whether it is a smaller copy of another page.
    pub(super) is_reduced: bool,
    /// Rows and columns of a strip or tile; a strip is as wide as the page.
    pub(super) block: Shape,
    offsets: Option<Entry>,
    counts: Option<Entry>,
    description: Option<Entry>,
    software: Option<Entry>,
    artist: Option<Entry>,
    /// Position of the next directory, 0 for none.
    pub(super) next: u64,
}

impl Directory {
    /// A page of which nothing is stated: what TIFF says then holds.
    fn empty(next: u64) -> Self {
        Self {
            shape: Shape::new(0, 0),
            samples: 1,
            bits: 1,
            format: 1,
            compression: Compression::None,
            photometric: 1,
            is_planar: false,
            predictor: 1,
            fill_order: 1,
            is_reduced: false,
            block: Shape::new(0, 0),
            offsets: None,
            counts: None,
            description: None,
            software: None,
            artist: None,
            next,
        }
    }
}

/// A field of a directory.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    count: u64,
    /// The value, or its position in the file.
    value: [u8; 8],
}

impl Entry {
    fn item_bytes(&self) -> u64 {
        match self.kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => 1,
        }
    }
}

fn number(bytes: &[u8], order: ByteOrder) -> u64 {
    let fold = |n, &b: &u8| n << 8 | u64::from(b);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, fold),
        ByteOrder::Big => bytes.iter().fold(0, fold),
    }
}

impl TiffFile {
    pub(super) fn open(file: File) -> Result<Self, Fault> {
        let len = file.metadata()?.len();
        let mut head = [0; 16];
        let found = read_up_to(&file, &mut head, 0)?;
        let order = if head.starts_with(b"II") { ByteOrder::Little } else { ByteOrder::Big };
        let is_big = number(&head[2..4], order) == 43;
        let needed = if is_big { 16 } else { 8 };
        if found < needed {
            return Err(Fault::Truncated { found: len, needed: needed as u64 });
        }
        let first = number(if is_big { &head[8..16] } else { &head[4..8] }, order);
        if is_big && number(&head[4..6], order) != 8 {
            return Err(Fault::header("a BigTIFF file with positions of other than 8 bytes"));
        }
        if first == 0 {
            return Err(Fault::NoImage { found: "a TIFF file without a page".into() });
        }
        Ok(Self { file, len, order, is_big, first })
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Fault> {
        self.require(at.saturating_add(len))?;
        let mut bytes = vec![0; len as usize];
        read_exact(&self.file, &mut bytes, at)?;
        Ok(bytes)
    }

    /// Makes sure that the file has this many bytes, perhaps since a moment ago: it may be growing.
    fn require(&self, needed: u64) -> Result<(), Fault> {
        if needed > self.len {
            let found = self.file.metadata()?.len();
            if needed > found {
                return Err(Fault::Truncated { found, needed });
            }
        }
        Ok(())
    }

    /// The directory at a position.
    pub(super) fn directory(&self, at: u64) -> Result<Directory, Fault> {
        let (head, entry) = if self.is_big { (8, 20) } else { (2, 12) };
        let mut bytes = self.read(at, self.len.saturating_sub(at).min(FIRST_READ as u64))?;
        if bytes.len() < head {
            return Err(Fault::Truncated {
                found: self.len,
                needed: at.saturating_add(head as u64),
            });
        }
        let n = number(bytes.get(..head).unwrap_or_default(), self.order);
        if n == 0 || n > MAX_ENTRIES {
            return Err(Fault::header(format!("the directory at byte {at} has {n} entries")));
        }
        let link = if self.is_big { 8 } else { 4 };
        let needed = head + n as usize * entry + link;
        if needed > bytes.len() {
            bytes = self.read(at, needed as u64)?;
        }
        let entries = bytes[head..needed - link].chunks_exact(entry).map(|e| {
            let mut value = [0; 8];
            let (count, stored) = if self.is_big { e[4..].split_at(8) } else { e[4..].split_at(4) };
            value[..stored.len()].copy_from_slice(stored);
            let kind = number(&e[2..4], self.order) as u16;
            (number(&e[..2], self.order), Entry { kind, count: number(count, self.order), value })
        });
        let next = number(&bytes[needed - link..needed], self.order);
        self.page(at, entries, next)
    }

    fn page(
        &self,
        at: u64,
        entries: impl Iterator<Item = (u64, Entry)>,
        next: u64,
    ) -> Result<Directory, Fault> {
        let mut page = Directory::empty(next);
        let mut rows_per_strip = u64::MAX;
        for (tag, entry) in entries {
            let first = || self.numbers(&entry, 1).map(|n| n.first().copied().unwrap_or(0));
            match tag {
                254 => page.is_reduced = first()? & 1 == 1,
                256 => page.shape.width = first()? as usize,
                257 => page.shape.height = first()? as usize,
                258 => page.bits = self.all_equal(&entry, at, "bits per sample")?,
                259 => {
                    page.compression = match first()? {
                        1 => Compression::None,
                        5 => Compression::Lzw,
                        8 | 32946 => Compression::Deflate,
                        32773 => Compression::PackBits,
                        other => Compression::Other(other),
                    }
                }
                262 => page.photometric = first()?,
                266 => page.fill_order = first()?,
                270 if page.description.is_none() => page.description = Some(entry),
                273 | 324 => page.offsets = Some(entry),
                277 => page.samples = first()? as usize,
                278 => rows_per_strip = first()?,
                279 | 325 => page.counts = Some(entry),
                284 => page.is_planar = first()? == 2,
                305 => page.software = Some(entry),
                315 => page.artist = Some(entry),
                317 => page.predictor = first()?,
                322 => page.block.width = first()? as usize,
                323 => page.block.height = first()? as usize,
                339 => page.format = self.all_equal(&entry, at, "number formats of samples")?,
                _ => {}
            }
        }
        if page.block.is_empty() {
            let rows = rows_per_strip.clamp(1, page.shape.height.max(1) as u64) as usize;
            page.block = Shape::new(rows, page.shape.width);
        }
        if page.block.width.max(page.block.height) as u64 > MAX_SIDE {
            return Err(Fault::header(format!(
                "the page at byte {at} has tiles of {}",
                page.block
            )));
        }
        page.is_planar &= page.samples > 1;
        Ok(page)
    }

    /// The numbers of an entry, at most `limit`.
    fn numbers(&self, entry: &Entry, limit: u64) -> Result<Vec<u64>, Fault> {
        let item = entry.item_bytes();
        let count = entry.count.min(limit);
        let inline = if self.is_big { 8 } else { 4 };
        let bytes = if entry.count.saturating_mul(item) <= inline {
            entry.value[..(count * item) as usize].to_vec()
        } else {
            self.read(self.position(entry), count.saturating_mul(item))?
        };
        Ok(bytes.chunks_exact(item as usize).map(|b| number(b, self.order)).collect())
    }

    fn position(&self, entry: &Entry) -> u64 {
        number(&entry.value[..if self.is_big { 8 } else { 4 }], self.order)
    }

    /// The number that stands there for each sample of a pixel.
    fn all_equal(&self, entry: &Entry, at: u64, what: &str) -> Result<u64, Fault> {
        let numbers = self.numbers(entry, 1 << 16)?;
        match numbers.first() {
            Some(&first) if numbers.iter().all(|&n| n == first) => Ok(first),
            _ => Err(Fault::UnsupportedLayout {
                found: format!("the page at byte {at} with {what} {numbers:?}"),
                needed: "equal ones are needed".into(),
            }),
        }
    }

    /// Positions and lengths of the strips or tiles, in order.
    pub(super) fn blocks(&self, page: &Directory) -> Result<Vec<(u64, u64)>, Fault> {
        let needed = page.blocks_per_plane() as u64 * page.planes() as u64;
        let list = |entry: &Option<Entry>, what: &str| {
            let entry = entry.ok_or_else(|| Fault::header(format!("a page without {what}")))?;
            if entry.count < needed {
                let found = entry.count;
                return Err(Fault::header(format!("{found} {what}, {needed} are needed")));
            }
            self.numbers(&entry, needed)
        };
        let offsets = list(&page.offsets, "positions of strips or tiles")?;
        let counts = if page.counts.is_none() && page.compression == Compression::None {
            vec![page.block_bytes(page.block.height) as u64; offsets.len()]
        } else {
            list(&page.counts, "lengths of strips or tiles")?
        };
        for (&offset, &count) in offsets.iter().zip(&counts) {
            self.require(offset.saturating_add(count))?;
        }
        Ok(offsets.into_iter().zip(counts).collect())
    }

    /// The texts that may say what the pages are: description, software, artist.
    pub(super) fn texts(&self, page: &Directory) -> Result<[String; 3], Fault> {
        let text = |entry: &Option<Entry>| {
            let Some(entry) = entry.filter(|e| e.item_bytes() == 1) else {
                return Ok(String::new());
            };
            let bytes = self.numbers(&entry, MAX_TEXT)?;
            let bytes: Vec<u8> = bytes.into_iter().map(|b| b as u8).collect();
            Ok::<_, Fault>(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
        };
        Ok([text(&page.description)?, text(&page.software)?, text(&page.artist)?])
    }
}
