//! The index of a dataset of one chunk per frame: a version 1 B-tree whose nodes lie side by side,
//! level by level, with room for a number of frames that is chosen beforehand.
//!
//! # Source
//! HDF5 File Format Specification Version 3.0, section III.A.1.

use std::fs::File;
use std::io;

use super::structure::UNDEFINED;
use crate::positioned::{read_exact, write_all};

/// Children of a node: fixed for files with a version 0 superblock.
const CHILDREN: usize = 64;

/// More levels than any number of frames needs.
const MAX_LEVELS: usize = 11;

/// Bytes of a key: size of the chunk, filters, and its offset along frames, rows, columns, bytes.
const KEY_BYTES: usize = 8 + 8 * 4;

/// Bytes of a node before its keys: signature, level, number of children, siblings.
const HEAD_BYTES: usize = 24;

/// Bytes of a node: head, children, and the keys between and around them.
const NODE_BYTES: usize = HEAD_BYTES + CHILDREN * 8 + (CHILDREN + 1) * KEY_BYTES;

/// Where the nodes of an index for up to `capacity` frames lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    start: u64,
    capacity: usize,
}

impl Index {
    pub(super) fn new(start: u64, capacity: usize) -> Self {
        Self { start, capacity: capacity.max(1) }
    }

    pub(super) fn capacity(self) -> usize {
        self.capacity
    }

    pub(super) fn end(self) -> u64 {
        let nodes: usize = (0..self.levels()).map(|l| nodes(self.capacity, l)).sum();
        self.start + (nodes * NODE_BYTES) as u64
    }

    /// The address of its root: the only node of the highest level.
    pub(super) fn root(self) -> u64 {
        self.node(self.levels() - 1, 0)
    }

    fn levels(self) -> usize {
        1 + (0..MAX_LEVELS).take_while(|&l| nodes(self.capacity, l) > 1).count()
    }

    fn node(self, level: usize, i: usize) -> u64 {
        let below: usize = (0..level).map(|l| nodes(self.capacity, l)).sum();
        self.start + ((below + i) * NODE_BYTES) as u64
    }

    /// Writes the nodes that change when the chunks at `addresses[..known]` become all of
    /// `addresses`. Each node is replaced by one that holds more, children before their parents: the
    /// tree is whole after each step, and entries that were there stay as they are.
    pub(super) fn extend(
        self,
        file: &File,
        base: u64,
        addresses: &[u64],
        known: usize,
        chunk_bytes: usize,
    ) -> io::Result<()> {
        let mut span = 1;
        for level in 0..self.levels() {
            let first = known.saturating_sub(1) / (span * CHILDREN);
            for i in (first..nodes(addresses.len(), level)).rev() {
                let node = self.encode(level, i, span, addresses, chunk_bytes);
                let at = base + self.node(level, i);
                // A kill can cut a write where it crosses a page of the system: the entries come
                // first, then the head that says how many there are.
                write_all(file, &node[HEAD_BYTES..], at + HEAD_BYTES as u64)?;
                write_all(file, &node[..HEAD_BYTES], at)?;
            }
            span *= CHILDREN;
        }
        Ok(())
    }

    /// Node `i` of `level`, each of whose children spans `span` frames.
    fn encode(
        self,
        level: usize,
        i: usize,
        span: usize,
        addresses: &[u64],
        chunk_bytes: usize,
    ) -> Vec<u8> {
        let children = addresses.len().div_ceil(span);
        let range = i * CHILDREN..((i + 1) * CHILDREN).min(children);
        let sibling = |j: Option<usize>| {
            let exists = |j: &usize| *j < nodes(addresses.len(), level);
            j.filter(exists).map_or(UNDEFINED, |j| self.node(level, j))
        };
        let mut node = Vec::with_capacity(NODE_BYTES);
        node.extend_from_slice(b"TREE\x01");
        node.push(level as u8);
        node.extend((range.len() as u16).to_le_bytes());
        node.extend(sibling(i.checked_sub(1)).to_le_bytes());
        node.extend(sibling(Some(i + 1)).to_le_bytes());
        let key = |node: &mut Vec<u8>, frame: usize| {
            node.extend((chunk_bytes as u32).to_le_bytes());
            node.extend([0; 4]);
            node.extend((frame as u64).to_le_bytes());
            node.extend([0; 24]);
        };
        for child in range.clone() {
            key(&mut node, child * span);
            let address = if level == 0 { addresses[child] } else { self.node(level - 1, child) };
            node.extend(address.to_le_bytes());
        }
        key(&mut node, (range.end * span).min(addresses.len()));
        node.resize(NODE_BYTES, 0);
        node
    }
}

/// Nodes of `level` in a tree of `frames`.
fn nodes(frames: usize, level: usize) -> usize {
    frames.div_ceil(CHILDREN.saturating_pow(level as u32 + 1)).max(1)
}

/// Addresses of the first `n` chunks in the tree with its root at `root`; fewer if it has fewer.
pub(super) fn read_addresses(file: &File, base: u64, root: u64, n: usize) -> io::Result<Vec<u64>> {
    let mut level = vec![root];
    loop {
        let mut children = Vec::new();
        let mut is_leaf = true;
        for &address in &level {
            let mut node = vec![0; NODE_BYTES];
            read_exact(file, &mut node, base.saturating_add(address))?;
            if !node.starts_with(b"TREE\x01") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no chunk index found"));
            }
            is_leaf = node[5] == 0;
            let used = usize::from(u16::from_le_bytes([node[6], node[7]])).min(CHILDREN);
            for child in 0..used {
                let at = HEAD_BYTES + KEY_BYTES + child * (KEY_BYTES + 8);
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&node[at..at + 8]);
                children.push(u64::from_le_bytes(bytes));
            }
            if is_leaf && children.len() >= n {
                break;
            }
        }
        if is_leaf || children.is_empty() {
            children.truncate(n);
            return Ok(children);
        }
        level = children;
    }
}
