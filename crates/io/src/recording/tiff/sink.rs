//! Writing of TIFF recordings: BigTIFF, one strip per page, each page followed by its directory.
//!
//! A page is linked to the one before by a single write after it is whole: whoever opens the file
//! sees whole pages only, also if the process was killed.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Existing;
use crate::positioned::{read_exact, write_all};
use crate::recording::samples::encode;
use crate::recording::sink::{BLOCK_SAMPLES, check_append, create_file, resume_file};
use crate::recording::{RecordingError, RecordingInfo, RecordingSink, SampleType};

/// Bytes before the first page.
const HEAD_BYTES: u64 = 16;

/// Where the link to the first page stands.
const FIRST_LINK: u64 = 8;

/// A BigTIFF file under construction.
pub(in crate::recording) struct TiffSink {
    path: PathBuf,
    file: File,
    info: RecordingInfo,
    /// Samples of a pixel; the other channels have pages of their own.
    samples: usize,
    pages: u64,
    buffer: Vec<u8>,
}

impl TiffSink {
    /// `samples` channels are in one page: all or one.
    pub(in crate::recording) fn create(
        path: &Path,
        info: &RecordingInfo,
        samples: usize,
        existing: Existing,
    ) -> Result<Self, RecordingError> {
        let sink = Self::begin(path, create_file(path, existing)?, info, samples);
        let mut head = b"II\x2B\0\x08\0\0\0".to_vec();
        head.extend([0; 8]);
        write_all(&sink.file, &head, 0).map_err(|e| RecordingError::write(path, e))?;
        Ok(sink)
    }

    pub(in crate::recording) fn resume(
        path: &Path,
        info: &RecordingInfo,
        samples: usize,
        frames_done: usize,
    ) -> Result<Self, RecordingError> {
        let mut sink = Self::begin(path, resume_file(path)?, info, samples);
        let pages = (frames_done * info.channels / samples) as u64;
        // The chain is as we left it if its first and last links are.
        for page in [0, pages.saturating_sub(1)].into_iter().filter(|&p| p < pages) {
            let expected = sink.directory(page);
            let mut found = vec![0; expected.len()];
            let read = read_exact(&sink.file, &mut found, sink.directory_at(page));
            let link = sink.link_range();
            found[link.clone()].copy_from_slice(&expected[link]);
            if read.is_err() || found != expected {
                let reason = format!(
                    "page {page} of {pages} is missing, or of another size or number format"
                );
                return Err(RecordingError::not_resumable(path, reason));
            }
        }
        sink.pages = pages;
        let cut = || {
            write_all(&sink.file, &[0; 8], sink.link_at(pages))?;
            sink.file.set_len(sink.page_at(pages))
        };
        cut().map_err(|e| RecordingError::write(path, e))?;
        Ok(sink)
    }

    fn begin(path: &Path, file: File, info: &RecordingInfo, samples: usize) -> Self {
        let path = path.to_path_buf();
        Self { path, file, info: info.clone(), samples, pages: 0, buffer: Vec::new() }
    }

    /// Bytes of the samples of a page.
    fn data_bytes(&self) -> u64 {
        (self.info.shape.len() * self.samples * self.info.sample.bytes()) as u64
    }

    fn page_at(&self, page: u64) -> u64 {
        HEAD_BYTES + page * (self.data_bytes().next_multiple_of(8) + self.directory_bytes())
    }

    fn directory_at(&self, page: u64) -> u64 {
        self.page_at(page) + self.data_bytes().next_multiple_of(8)
    }

    /// Where the link to a page stands: in the directory of the one before.
    fn link_at(&self, page: u64) -> u64 {
        match page.checked_sub(1) {
            None => FIRST_LINK,
            Some(before) => self.directory_at(before) + self.link_range().start as u64,
        }
    }

    /// Where the link to the next page stands in a directory.
    fn link_range(&self) -> std::ops::Range<usize> {
        let entries = if self.samples > 1 { 12 } else { 11 };
        let start = 8 + 20 * entries;
        start..start + 8
    }

    /// Bytes of a directory: entries, link, and the lists that do not fit into their entries (bits
    /// and formats of all samples, meanings of the further ones).
    fn directory_bytes(&self) -> u64 {
        let n = self.samples;
        let lists = if n > 4 { 2 * n } else { 0 };
        let meanings = if n > 5 { n - 1 } else { 0 };
        (self.link_range().end + 2 * (lists + meanings)).next_multiple_of(8) as u64
    }

    /// The directory of a page, with a link to the next one.
    fn directory(&self, page: u64) -> Vec<u8> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        const LONG8: u16 = 16;
        let (sample, n) = (self.info.sample, self.samples as u64);
        let format = match sample {
            SampleType::F32 | SampleType::F64 => 3_u16,
            SampleType::I16 | SampleType::I32 => 2,
            SampleType::U8 | SampleType::U16 | SampleType::U32 => 1,
        };
        let bits = 8 * sample.bytes() as u16;
        let link = self.link_range();
        let list_at = self.directory_at(page) + link.end as u64;
        let mut bytes = Vec::with_capacity(self.directory_bytes() as usize);
        bytes.extend(((link.start - 8) as u64 / 20).to_le_bytes());
        let mut entry = |tag: u16, kind: u16, count: u64, value: [u8; 8]| {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value);
        };
        let number = u64::to_le_bytes;
        // Up to four short numbers stand in the entry itself.
        let shorts = |value: u16, count: u64, at: u64| {
            if count > 4 {
                return number(at);
            }
            let mut stored = [0; 8];
            for i in 0..count as usize {
                stored[2 * i..2 * i + 2].copy_from_slice(&value.to_le_bytes());
            }
            stored
        };
        entry(256, LONG, 1, number(self.info.shape.width as u64));
        entry(257, LONG, 1, number(self.info.shape.height as u64));
        entry(258, SHORT, n, shorts(bits, n, list_at));
        entry(259, SHORT, 1, number(1));
        // Black is zero.
        entry(262, SHORT, 1, number(1));
        entry(273, LONG8, 1, number(self.page_at(page)));
        entry(277, SHORT, 1, number(n));
        entry(278, LONG, 1, number(self.info.shape.height as u64));
        entry(279, LONG8, 1, number(self.data_bytes()));
        entry(284, SHORT, 1, number(1));
        if n > 1 {
            // The further samples have no meaning that TIFF knows.
            entry(338, SHORT, n - 1, shorts(0, n - 1, list_at + 4 * n));
        }
        entry(339, SHORT, n, shorts(format, n, list_at + 2 * n));
        bytes.extend(self.directory_at(page + 1).to_le_bytes());
        if n > 4 {
            (0..n).for_each(|_| bytes.extend(bits.to_le_bytes()));
            (0..n).for_each(|_| bytes.extend(format.to_le_bytes()));
        }
        bytes.resize(self.directory_bytes() as usize, 0);
        bytes
    }

    /// Puts pages at the end and links them.
    fn append_pages(&mut self, pages: &[f32]) -> std::io::Result<()> {
        self.buffer.clear();
        let (len, start) = (self.info.shape.len(), self.page_at(self.pages));
        let mut link = 0;
        let first = self.pages;
        for page in pages.chunks_exact(self.samples * len) {
            let pixels = (0..len).flat_map(|i| page[i..].iter().step_by(len).copied());
            if self.samples == 1 {
                encode(page.iter().copied(), len, self.info.sample, &mut self.buffer);
            } else {
                encode(pixels, page.len(), self.info.sample, &mut self.buffer);
            }
            self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
            link = self.buffer.len() + self.link_range().start;
            let directory = self.directory(self.pages);
            self.buffer.extend(directory);
            self.pages += 1;
        }
        // Nothing follows the last one yet.
        self.buffer[link..link + 8].fill(0);
        write_all(&self.file, &self.buffer, start)?;
        let directory = self.directory_at(first);
        write_all(&self.file, &directory.to_le_bytes(), self.link_at(first))
    }
}

impl RecordingSink for TiffSink {
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError> {
        let frame_len = check_append(&self.info, frames)?;
        let at_once = (BLOCK_SAMPLES / frame_len).max(1) * frame_len;
        for block in frames.chunks(at_once) {
            self.append_pages(block).map_err(|e| RecordingError::write(&self.path, e))?;
        }
        Ok(())
    }

    /// Nothing is left to do: pages are linked as they are appended.
    fn sync(&mut self) -> Result<(), RecordingError> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), RecordingError> {
        self.file.sync_all().map_err(|e| RecordingError::write(&self.path, e))
    }
}
