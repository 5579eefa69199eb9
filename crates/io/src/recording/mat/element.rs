//! The elements of a MAT file: variables, their heads, and their samples as a stream of bytes.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::ZlibDecoder;

use crate::error::ReadErrorKind as Fault;
use crate::positioned::read_up_to;
use crate::recording::samples::{ByteOrder, Kind, SampleType, Stored};

/// Where the elements begin.
pub(super) const HEAD_BYTES: u64 = 128;

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Longest name of a variable and most axes: MATLAB has 63 and 32 in practice.
const MAX_NAME: usize = 4096;
const MAX_AXES: usize = 64;

/// Variables of a file that are looked at.
const MAX_VARIABLES: usize = 1 << 16;

/// A numeric array of a MAT file.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Axes, fastest first.
    pub(super) dims: Vec<usize>,
    pub(super) stored: Stored,
    /// Number format of the variable; samples may be stored in a smaller one.
    pub(super) sample: SampleType,
    place: Place,
}

/// Where an element's bytes are.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    len: u64,
    is_compressed: bool,
    /// Bytes of the unpacked element before the samples.
    skip: u64,
}

/// A part of a file that is read in order.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let n = read_up_to(&self.file, &mut buffer[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The samples of a variable as a stream that can also go back.
pub(super) struct Samples {
    file: Arc<File>,
    place: Place,
    /// Bytes of samples that lie behind.
    at: u64,
    unpacked: Option<io::BufReader<ZlibDecoder<Section>>>,
}

impl Samples {
    pub(super) fn new(file: &Arc<File>, variable: &Variable) -> Self {
        Self { file: Arc::clone(file), place: variable.place, at: 0, unpacked: None }
    }

    /// Fills `buffer` with the bytes of samples from `at` on.
    pub(super) fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        if !self.place.is_compressed {
            let mut section = section(&self.file, self.place);
            section.at = (section.at + self.place.skip).saturating_add(at);
            section.end = section.end.max(section.at);
            return section.read_exact(buffer).map_err(damaged);
        }
        if at < self.at || self.unpacked.is_none() {
            let stream = ZlibDecoder::new(section(&self.file, self.place));
            let stream = self.unpacked.insert(io::BufReader::with_capacity(1 << 16, stream));
            discard(stream, self.place.skip)?;
            self.at = 0;
        }
        let Some(stream) = &mut self.unpacked else { return Ok(()) };
        discard(stream, at - self.at)?;
        let read = stream.read_exact(buffer);
        self.at = at + buffer.len() as u64;
        if read.is_err() {
            self.unpacked = None;
        }
        read.map_err(damaged)
    }
}

fn section(file: &Arc<File>, place: Place) -> Section {
    Section { file: Arc::clone(file), at: place.start, end: place.start + place.len }
}

fn discard(stream: &mut impl Read, n: u64) -> Result<(), Fault> {
    let found = io::copy(&mut stream.take(n), &mut io::sink()).map_err(damaged)?;
    if found < n {
        return Err(Fault::BadCompression { reason: "the variable ends too early".into() });
    }
    Ok(())
}

fn damaged(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Fault::BadCompression { reason: format!("a variable does not unpack: {error}") }
        }
        _ => error.into(),
    }
}

/// Numbers of an element as they come.
struct Head<R> {
    stream: R,
    order: ByteOrder,
    /// Bytes read so far.
    at: u64,
}

impl<R: Read> Head<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).map_err(damaged)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.bytes()?;
        Ok(match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        })
    }

    /// Type and length of the element that begins here; a small one has both in four bytes.
    fn tag(&mut self) -> Result<(u32, u32, bool), Fault> {
        let first = self.u32()?;
        if first >> 16 != 0 {
            return Ok((first & 0xFFFF, first >> 16, true));
        }
        Ok((first, self.u32()?, false))
    }

    /// An element of at most `limit` bytes.
    fn element(&mut self, limit: usize) -> Result<(u32, Vec<u8>), Fault> {
        let (kind, len, is_small) = self.tag()?;
        let len = len as usize;
        if len > limit {
            return Err(Fault::header(format!(
                "an element of {len} bytes, at most {limit} expected"
            )));
        }
        let padded = if is_small { 4 } else { len.next_multiple_of(8) };
        if len > padded {
            return Err(Fault::header(format!("a small element of {len} bytes")));
        }
        let mut bytes = vec![0; padded];
        self.stream.read_exact(&mut bytes).map_err(damaged)?;
        self.at += padded as u64;
        bytes.truncate(len);
        Ok((kind, bytes))
    }
}

/// The numeric arrays of a file, and how many other variables there are.
pub(super) fn variables(file: &Arc<File>) -> Result<(Vec<Variable>, usize), Fault> {
    let len = file.metadata()?.len();
    let mut head = [0; HEAD_BYTES as usize];
    crate::positioned::read_exact(file, &mut head, 0)?;
    let order = if head[126..128] == *b"IM" { ByteOrder::Little } else { ByteOrder::Big };
    let (mut found, mut others) = (Vec::new(), 0);
    let mut at = HEAD_BYTES;
    while at < len && found.len() + others < MAX_VARIABLES {
        let tag = Place { start: at, len: len - at, is_compressed: false, skip: 0 };
        let (kind, bytes, _) = Head { stream: section(file, tag), order, at: 0 }.tag()?;
        let place = Place {
            start: at + 8,
            len: bytes.into(),
            is_compressed: kind == COMPRESSED,
            // The head of a plain element is behind us.
            skip: 0,
        };
        let needed = place.start + place.len;
        if needed > len {
            return Err(Fault::Truncated { found: len, needed });
        }
        let variable = match kind {
            MATRIX => variable(Head { stream: section(file, place), order, at: 0 }, place)?,
            COMPRESSED => {
                let stream = ZlibDecoder::new(section(file, place));
                let mut head = Head { stream, order, at: 0 };
                match head.tag()?.0 {
                    MATRIX => variable(head, place)?,
                    _ => None,
                }
            }
            _ => None,
        };
        match variable {
            Some(variable) => found.push(variable),
            None => others += 1,
        }
        at = needed;
    }
    Ok((found, others))
}

/// The variable whose head follows; `None` if it is no real numeric array.
fn variable<R: Read>(mut head: Head<R>, mut place: Place) -> Result<Option<Variable>, Fault> {
    let (_, flags) = head.element(8)?;
    let flags: [u8; 8] =
        flags.try_into().map_err(|_| Fault::header("array flags of other than 8 bytes"))?;
    let word = match head.order {
        ByteOrder::Little => u32::from_le_bytes([flags[0], flags[1], flags[2], flags[3]]),
        ByteOrder::Big => u32::from_be_bytes([flags[0], flags[1], flags[2], flags[3]]),
    };
    let (class, is_complex) = (word & 0xFF, word & 0x800 != 0);
    let sample = match class {
        6 => SampleType::F64,
        7 => SampleType::F32,
        // int8 is widened.
        8 | 10 => SampleType::I16,
        9 => SampleType::U8,
        11 => SampleType::U16,
        12 => SampleType::I32,
        13 => SampleType::U32,
        14 | 15 => SampleType::F64,
        _ => return Ok(None),
    };
    let (_, dims) = head.element(4 * MAX_AXES)?;
    let dims = dims.as_chunks::<4>().0.iter().map(|&b| match head.order {
        ByteOrder::Little => u32::from_le_bytes(b) as usize,
        ByteOrder::Big => u32::from_be_bytes(b) as usize,
    });
    let dims: Vec<usize> = dims.collect();
    let (_, name) = head.element(MAX_NAME)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let (kind, bytes, _) = head.tag()?;
    let kind = match kind {
        1 => Kind::I8,
        2 => Kind::Plain(SampleType::U8),
        3 => Kind::Plain(SampleType::I16),
        4 => Kind::Plain(SampleType::U16),
        5 => Kind::Plain(SampleType::I32),
        6 => Kind::Plain(SampleType::U32),
        7 => Kind::Plain(SampleType::F32),
        9 => Kind::Plain(SampleType::F64),
        12 => Kind::I64,
        13 => Kind::U64,
        _ => return Ok(None),
    };
    let stored = Stored { kind, order: head.order };
    let needed = dims.iter().fold(stored.bytes(), |n, &d| n.saturating_mul(d)) as u64;
    if is_complex || needed > u64::from(bytes) {
        return Ok(None);
    }
    place.skip = head.at;
    Ok(Some(Variable { name, dims, stored, sample, place }))
}
