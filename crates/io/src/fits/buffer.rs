//! A whole file in memory, with its checksum.

use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::info::FileStat;
use crate::error::ReadErrorKind as Kind;
use crate::{limits, positioned};

/// Bytes that are hashed right after they were read, while they are in the cache.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of a file and their SHA-256. Kept and filled again, it does not allocate again.
#[derive(Debug, Default)]
pub struct FileBuffer {
    pub(super) bytes: Vec<u8>,
    sha256: [u8; 32],
}

impl FileBuffer {
    /// Reads the file.
    pub(super) fn fill(&mut self, path: &Path) -> Result<FileStat, Kind> {
        self.bytes.clear();
        self.sha256 = [0; 32];
        let file = File::open(path)?;
        let stat = FileStat::of(&file.metadata()?)?;
        if stat.bytes > limits::MAX_BUFFERED_BYTES {
            let what = "the file in bytes";
            return Err(Kind::TooLarge {
                what,
                found: stat.bytes,
                limit: limits::MAX_BUFFERED_BYTES,
            });
        }
        self.bytes.resize(stat.bytes as usize, 0);
        let mut hash = Sha256::new();
        let mut done = 0;
        for chunk in self.bytes.chunks_mut(CHUNK_BYTES) {
            let found = positioned::read_up_to(&file, chunk, done as u64)?;
            done += found;
            if found < chunk.len() {
                // It became shorter since we asked for its size.
                return Err(Kind::Truncated { found: done as u64, needed: stat.bytes });
            }
            hash.update(&*chunk);
        }
        self.sha256 = hash.finalize().into();
        Ok(stat)
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the file: 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        self.sha256.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
    }
}
