//! The HDF5 structures that a recording needs, as bytes: version 0 superblock, one group, version 1
//! object headers. They carry no checksums, so that a number in them can be replaced alone.
//!
//! # Source
//! HDF5 File Format Specification Version 3.0, <https://docs.hdfgroup.org/hdf5/develop/_s_p_e_c.html>,
//! sections II.A (superblock), III.A to III.D (B-trees, symbol table, local heap) and IV.A (object
//! headers and messages).

use crate::recording::SampleType;

/// "No address": all bits set.
pub(super) const UNDEFINED: u64 = u64::MAX;

/// Position of the end-of-file address in the superblock.
pub(super) const EOF_AT: u64 = 40;

const SUPERBLOCK_BYTES: usize = 96;

/// Half the most children of a group's B-tree node; the library's own choice.
const GROUP_INTERNAL_K: usize = 16;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Integer(i64),
    Integers(Vec<i64>),
    /// The number of frames, which is replaced as it grows.
    Frames,
    /// The number of frames and then these.
    FramesAnd(Vec<i64>),
    Texts(Vec<String>),
    Text(String),
}

/// An attribute of a dataset or of the file.
pub(super) type Attribute = (&'static str, Value);

/// Where and how the samples of a dataset lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// Frames of this many rows and columns, one to a chunk; the number of frames may grow.
    Frames { rows: usize, columns: usize },
    /// This many samples one after another.
    Contiguous { samples: usize },
}

/// A dataset to be described.
#[derive(Clone, Debug)]
pub(super) struct Dataset<'a> {
    pub(super) name: &'a str,
    pub(super) sample: SampleType,
    pub(super) layout: Layout,
    pub(super) attributes: &'a [Attribute],
}

/// The first bytes of a file, and the places in them that are filled in later. Addresses count from
/// the superblock.
#[derive(Clone, Debug)]
pub(super) struct Skeleton {
    pub(super) bytes: Vec<u8>,
    /// Where the number of frames stands.
    pub(super) frames_at: Vec<u64>,
    /// Where the address of each dataset's samples or chunk index stands.
    pub(super) data_at: Vec<u64>,
}

/// Numbers and blocks, one after another.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    frames_at: Vec<u64>,
    data_at: Vec<u64>,
}

impl Block {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, value: usize) -> &mut Self {
        self.put(&(value as u16).to_le_bytes())
    }

    fn u32(&mut self, value: usize) -> &mut Self {
        self.put(&(value as u32).to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn u64s(&mut self, values: &[i64]) -> &mut Self {
        values.iter().fold(self, |block, &i| block.u64(i as u64))
    }

    /// Fills up to a multiple of 8 bytes.
    fn pad(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self
    }

    fn here(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Appends another block with its places.
    fn join(&mut self, other: &Self) -> &mut Self {
        let here = self.here();
        self.frames_at.extend(other.frames_at.iter().map(|at| at + here));
        self.data_at.extend(other.data_at.iter().map(|at| at + here));
        self.put(&other.bytes)
    }
}

/// The skeleton of a file with these datasets. With a `userblock` of that many bytes before it.
pub(super) fn skeleton(
    userblock: u64,
    datasets: &[Dataset<'_>],
    attributes: &[Attribute],
) -> Skeleton {
    let mut order: Vec<usize> = (0..datasets.len()).collect();
    order.sort_by_key(|&i| datasets[i].name);
    let headers: Vec<Block> = datasets.iter().map(dataset_header).collect();

    // The heap of names begins with the empty one.
    let mut names = Block { bytes: vec![0; 8], ..Block::default() };
    let mut name_at = vec![0; datasets.len()];
    for &i in &order {
        name_at[i] = names.here();
        names.put(datasets[i].name.as_bytes()).put(&[0]).pad();
    }
    let leaf_k = datasets.len().div_ceil(2).max(4);
    let node_bytes = 24 + 8 * (4 * GROUP_INTERNAL_K + 1) as u64;

    let root = SUPERBLOCK_BYTES as u64;
    let heap = root + group_header(0, 0, attributes).here();
    let tree = heap + 32 + names.here();
    let symbols = tree + node_bytes;
    let mut address = symbols + 8 + 40 * 2 * leaf_k as u64;
    let mut header_at = Vec::new();
    for header in &headers {
        header_at.push(address);
        address += header.here();
    }

    let mut file = Block::default();
    file.put(b"\x89HDF\r\n\x1a\n").put(&[0, 0, 0, 0, 0, 8, 8, 0]);
    file.u16(leaf_k).u16(GROUP_INTERNAL_K).u32(0);
    file.u64(userblock).u64(UNDEFINED).u64(userblock + address).u64(UNDEFINED);
    file.u64(0).u64(root).u32(1).u32(0).u64(tree).u64(heap);
    file.join(&group_header(tree, heap, attributes));
    // 1: no free place in the heap.
    file.put(b"HEAP\0\0\0\0").u64(names.here()).u64(1).u64(heap + 32).join(&names);
    file.put(b"TREE\0\0").u16(1).u64(UNDEFINED).u64(UNDEFINED);
    file.u64(0).u64(symbols).u64(order.last().map_or(0, |&i| name_at[i]));
    file.bytes.resize(symbols as usize, 0);
    file.put(b"SNOD\x01\0").u16(datasets.len());
    for &i in &order {
        file.u64(name_at[i]).u64(header_at[i]).u64(0).u64(0).u64(0);
    }
    file.bytes.resize(header_at.first().copied().unwrap_or(address) as usize, 0);
    for header in &headers {
        file.join(header);
    }
    Skeleton { bytes: file.bytes, frames_at: file.frames_at, data_at: file.data_at }
}

/// An object header of version 1 around these messages.
fn header(messages: &[(usize, Block)]) -> Block {
    let mut body = Block::default();
    for (kind, message) in messages {
        let size = message.bytes.len().next_multiple_of(8);
        body.u16(*kind).u16(size).u32(0).join(message).pad();
    }
    let mut header = Block::default();
    header.put(&[1, 0]).u16(messages.len()).u32(1).u32(body.bytes.len()).u32(0).join(&body);
    header
}

fn group_header(tree: u64, heap: u64, attributes: &[Attribute]) -> Block {
    let mut table = Block::default();
    table.u64(tree).u64(heap);
    let mut messages = vec![(0x11, table)];
    messages.extend(attributes.iter().map(|a| (0x0C, attribute(a))));
    header(&messages)
}

fn dataset_header(dataset: &Dataset<'_>) -> Block {
    let sample = dataset.sample;
    let mut space = Block::default();
    let mut layout = Block::default();
    match dataset.layout {
        Layout::Frames { rows, columns } => {
            let (rows, columns) = (rows as u64, columns as u64);
            space.put(&[1, 3, 1, 0, 0, 0, 0, 0]);
            space.frames_at.push(space.here());
            space.u64(0).u64(rows).u64(columns).u64(UNDEFINED).u64(rows).u64(columns);
            layout.put(&[3, 2, 4]);
            layout.data_at.push(layout.here());
            layout.u64(UNDEFINED).u32(1).u32(rows as usize).u32(columns as usize);
            layout.u32(sample.bytes());
        }
        Layout::Contiguous { samples } => {
            space.put(&[1, 1, 0, 0, 0, 0, 0, 0]).u64(samples as u64);
            layout.put(&[3, 1]);
            layout.data_at.push(layout.here());
            layout.u64(UNDEFINED).u64((samples * sample.bytes()) as u64);
        }
    }
    // Space is taken as it is needed, and the default fill value is defined.
    let mut fill = Block::default();
    fill.put(&[2, 3, 2, 1]).u32(0);
    let mut messages =
        vec![(0x01, space), (0x03, number_type(sample)), (0x05, fill), (0x08, layout)];
    messages.extend(dataset.attributes.iter().map(|a| (0x0C, attribute(a))));
    header(&messages)
}

fn number_type(sample: SampleType) -> Block {
    let bits = 8 * sample.bytes();
    let mut kind = Block::default();
    if sample.is_integer() {
        let signed = matches!(sample, SampleType::I16 | SampleType::I32);
        kind.put(&[0x10, if signed { 8 } else { 0 }, 0, 0]).u32(sample.bytes()).u16(0).u16(bits);
        return kind;
    }
    // IEEE 754: sign, exponent, mantissa with a hidden leading one.
    let (exponent, mantissa, bias) = if bits == 32 { (8, 23, 127) } else { (11, 52, 1023) };
    kind.put(&[0x11, 0x20, bits as u8 - 1, 0]).u32(sample.bytes()).u16(0).u16(bits);
    kind.put(&[mantissa, exponent, 0, mantissa]).u32(bias);
    kind
}

fn attribute((name, value): &Attribute) -> Block {
    let integer = || {
        let mut kind = Block::default();
        kind.put(&[0x10, 8, 0, 0]).u32(8).u16(0).u16(64);
        kind
    };
    let text = |bytes: usize| {
        let mut kind = Block::default();
        // Filled up with zeros, ASCII.
        kind.put(&[0x13, 1, 0, 0]).u32(bytes.max(1));
        kind
    };
    let mut data = Block::default();
    let (kind, len) = match value {
        Value::Integer(i) => {
            data.u64(*i as u64);
            (integer(), None)
        }
        Value::Frames => {
            data.frames_at.push(0);
            data.u64(0);
            (integer(), None)
        }
        Value::Integers(all) => {
            data.u64s(all);
            (integer(), Some(all.len()))
        }
        Value::FramesAnd(all) => {
            data.frames_at.push(0);
            data.u64(0);
            data.u64s(all);
            (integer(), Some(all.len() + 1))
        }
        Value::Text(one) => {
            data.put(one.as_bytes());
            (text(one.len()), None)
        }
        Value::Texts(all) => {
            let bytes = all.iter().map(String::len).max().unwrap_or(0);
            for one in all {
                data.put(one.as_bytes()).put(&vec![0; bytes - one.len()]);
            }
            (text(bytes), Some(all.len()))
        }
    };
    let mut space = Block::default();
    space.put(&[1, u8::from(len.is_some()), 0, 0, 0, 0, 0, 0]);
    if let Some(len) = len {
        space.u64(len as u64);
    }
    let mut message = Block::default();
    message.put(&[1, 0]).u16(name.len() + 1).u16(kind.bytes.len()).u16(space.bytes.len());
    message.put(name.as_bytes()).put(&[0]).pad();
    message.join(&kind).pad().join(&space).pad().join(&data);
    message
}
