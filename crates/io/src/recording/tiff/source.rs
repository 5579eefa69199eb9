//! Reading of TIFF recordings.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::arrangement::{Arrangement, Stated};
use super::decode::read_page;
use super::directory::{Directory, TiffFile};
use crate::error::ReadErrorKind as Fault;
use crate::positioned::read_exact;
use crate::recording::samples::Stored;
use crate::recording::{
    OpenOptions, RecordingError, RecordingInfo, RecordingSource, check_info, check_read,
};

/// A TIFF recording. Threads read side by side.
pub(crate) struct TiffSource {
    path: PathBuf,
    tiff: TiffFile,
    info: RecordingInfo,
    pages: Pages,
    /// The first page, which all are like.
    page: Directory,
    stored: Stored,
    arrangement: Arrangement,
    /// Whether the planes of its only page are frames.
    planes_are_frames: bool,
}

/// Where the pages are.
enum Pages {
    /// Each has a directory.
    Listed(Vec<Page>),
    /// One directory and this many pages after each other from here on (ImageJ beyond 4 GB).
    Run { start: u64, n: usize },
}

/// Where a page is: 16 bytes for each of a long recording.
#[derive(Clone, Copy)]
struct Page {
    directory: u64,
    /// Where its samples begin, if they lie in one piece; 0 if not.
    samples: u64,
}

impl Pages {
    fn len(&self) -> usize {
        match self {
            Self::Listed(pages) => pages.len(),
            Self::Run { n, .. } => *n,
        }
    }
}

impl TiffSource {
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, RecordingError> {
        let at = |fault: Fault| RecordingError::read(path, fault);
        let file = File::open(path).map_err(|e| RecordingError::read(path, e))?;
        let tiff = TiffFile::open(file).map_err(at)?;
        let page = tiff.directory(tiff.first).map_err(at)?;
        let stored = page.stored(tiff.order).map_err(at)?;
        let info = |frames, channels| RecordingInfo {
            frames,
            shape: page.shape,
            channels,
            sample: stored.sample(),
        };
        // Sizes first: all else is computed with them.
        check_info(path, &info(1, page.samples))?;
        let texts = tiff.texts(&page).map_err(at)?;
        let stated = Stated::read(&texts, page.samples);
        let mut pages = list_pages(&tiff, &page).map_err(at)?;
        if let [only] = pages[..] {
            let run = run_length(&tiff, &page, only, stated.pages()).map_err(at)?;
            if run > 1 {
                pages.clear();
                let pages = Pages::Run { start: only.samples, n: run };
                return Self::arrange(path, tiff, pages, page, stored, stated, options);
            }
        }
        Self::arrange(path, tiff, Pages::Listed(pages), page, stored, stated, options)
    }

    fn arrange(
        path: &Path,
        tiff: TiffFile,
        pages: Pages,
        page: Directory,
        stored: Stored,
        stated: Stated,
        options: &OpenOptions,
    ) -> Result<Self, RecordingError> {
        let n = pages.len();
        let arrangement = match options.deinterleave {
            None => Arrangement::of(n, stated).map_err(|found| {
                RecordingError::unsupported(
                    path,
                    format!("a TIFF with {found}"),
                    "give deinterleave, the number of consecutive pages that are one frame",
                )
            })?,
            Some(channels) if channels > 0 && channels <= n => {
                Arrangement::interleaved(n, channels)
            }
            Some(channels) => {
                let found = format!("deinterleave {channels} with {n} pages");
                return Err(RecordingError::unsupported(path, found, "1 to that many are needed"));
            }
        };
        // RGB is colour; other planes of an only page are written by programs for series of frames.
        let planes_are_frames = n == 1 && page.is_planar && page.photometric != 2;
        let mut info = RecordingInfo {
            frames: arrangement.frames(),
            shape: page.shape,
            channels: arrangement.channels * page.samples,
            sample: stored.sample(),
        };
        if planes_are_frames {
            (info.frames, info.channels) = (page.samples, 1);
        }
        check_info(path, &info)?;
        let path = path.to_path_buf();
        Ok(Self { path, tiff, info, pages, page, stored, arrangement, planes_are_frames })
    }

    /// Reads page `i`, sample s to `out[s * shape.len()..]`.
    fn read_page(&self, i: usize, raw: &mut Vec<u8>, out: &mut [f32]) -> Result<(), Fault> {
        let bytes = self.page.bytes();
        let start = match &self.pages {
            Pages::Run { start, .. } => start + i as u64 * bytes,
            Pages::Listed(pages) => {
                let Page { directory, samples } = pages[i];
                if samples == 0 {
                    let page = self.tiff.directory(directory)?;
                    if !page.matches(&self.page) {
                        return Err(Fault::Changed);
                    }
                    return read_page(&self.tiff, &page, page.stored(self.tiff.order)?, out);
                }
                samples
            }
        };
        raw.resize(bytes as usize, 0);
        read_exact(&self.tiff.file, raw, start)?;
        let (len, chunky) = (self.page.shape.len(), self.page.chunky());
        for (s, plane) in out.chunks_exact_mut(len).enumerate() {
            let start = if self.page.is_planar { s * len } else { s };
            self.stored.decode(raw, start, chunky, plane);
        }
        Ok(())
    }
}

impl RecordingSource for TiffSource {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check_read(&self.info, &frames, out)?;
        let at = |fault: Fault| RecordingError::read(&self.path, fault);
        let mut raw = Vec::new();
        let page_len = self.page.samples * self.info.shape.len();
        if self.planes_are_frames {
            let mut all = vec![0.0; page_len];
            self.read_page(0, &mut raw, &mut all).map_err(at)?;
            let len = self.info.shape.len();
            out.copy_from_slice(&all[frames.start * len..frames.end * len]);
            return Ok(());
        }
        let pages = frames
            .flat_map(|f| (0..self.arrangement.channels).map(move |c| (f, c)))
            .map(|(f, c)| self.arrangement.page(f, c));
        for (i, page) in pages.zip(out.chunks_exact_mut(page_len)) {
            self.read_page(i, &mut raw, page).map_err(at)?;
        }
        Ok(())
    }
}

/// Follows the chain of directories from the first page on.
fn list_pages(tiff: &TiffFile, first: &Directory) -> Result<Vec<Page>, Fault> {
    let mut pages = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = tiff.first;
    while at != 0 {
        if !seen.insert(at) {
            let n = pages.len();
            return Err(Fault::header(format!("the chain of {n} pages leads back to itself")));
        }
        let page = tiff.directory(at)?;
        // Thumbnails and pyramids.
        if !page.is_reduced || pages.is_empty() {
            if !page.matches(first) {
                let (n, f, s) = (pages.len(), first.shape, page.shape);
                return Err(Fault::UnsupportedLayout {
                    found: format!("page {n} of {s} × {} samples", page.samples),
                    needed: format!(
                        "pages like the first, {f} × {} samples, are needed",
                        first.samples
                    ),
                });
            }
            page.stored(tiff.order)?;
            let samples = page.one_piece(&tiff.blocks(&page)?).unwrap_or(0);
            pages.push(Page { directory: at, samples });
        }
        at = page.next;
    }
    Ok(pages)
}

/// How many pages follow each other behind the only directory, if its text says there are `stated`.
fn run_length(
    tiff: &TiffFile,
    page: &Directory,
    only: Page,
    stated: usize,
) -> Result<usize, Fault> {
    if only.samples == 0 || stated <= 1 {
        return Ok(1);
    }
    let bytes = page.bytes();
    let present = (tiff.len - only.samples) / bytes;
    let needed = only.samples.saturating_add(bytes.saturating_mul(stated as u64));
    // In a file that ends with its only page, the text was copied from another file.
    let is_only = tiff.len == only.samples + bytes || only.directory > only.samples;
    match present {
        n if n >= stated as u64 => Ok(stated),
        1 if is_only => Ok(1),
        _ => Err(Fault::Truncated { found: tiff.len, needed }),
    }
}
