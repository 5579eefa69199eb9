//! What kind of file it is, by its first bytes.

use std::fs::File;
use std::path::Path;

use super::RecordingError;
use super::axes::Counting;
use crate::error::ReadErrorKind;
use crate::positioned::read_up_to;

/// The kinds of file that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// HDF5, or MAT v7.3.
    Hdf5(Counting),
    Tiff,
    /// MAT v5.
    Mat,
}

const HDF5_SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// HDF5 looks for its signature at 0, 512, 1024, 2048, …: files with a longer block of text before
/// it than this are not known.
const LARGEST_USERBLOCK: u64 = 64 << 10;

/// The kind of the file at `path`.
///
/// # Errors
/// If it cannot be read, is empty, or is another kind of file.
pub(super) fn kind_of(path: &Path) -> Result<FileKind, RecordingError> {
    let fail = |e| RecordingError::read(path, ReadErrorKind::from(e));
    let file = File::open(path).map_err(fail)?;
    let mut head = [0; 128];
    let n = read_up_to(&file, &mut head, 0).map_err(fail)?;
    let head = &head[..n];
    if head.is_empty() {
        return Err(RecordingError::read(path, ReadErrorKind::Empty));
    }
    if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| head.starts_with(*magic)) {
        return Ok(FileKind::Tiff);
    }
    let mut offset = 0;
    while offset <= LARGEST_USERBLOCK {
        let mut signature = [0; 8];
        read_up_to(&file, &mut signature, offset).map_err(fail)?;
        if signature == HDF5_SIGNATURE {
            check_whole(path, &file, offset)?;
            let is_mat = head.starts_with(b"MATLAB 7.3");
            return Ok(FileKind::Hdf5(if is_mat { Counting::Matlab } else { Counting::Hdf5 }));
        }
        offset = if offset == 0 { 512 } else { 2 * offset };
    }
    if matches!(head.get(124..128), Some(b"\x00\x01IM" | b"\x01\x00MI")) {
        return Ok(FileKind::Mat);
    }
    let (found, needed) = stranger(path, head);
    Err(RecordingError::unsupported(path, found, needed))
}

/// Makes sure that an HDF5 file is as long as its superblock at `offset` says: datasets that are cut
/// off must not go unnoticed.
///
/// # Source
/// HDF5 File Format Specification Version 3.0, section II.A.
fn check_whole(path: &Path, file: &File, offset: u64) -> Result<(), RecordingError> {
    let fail = |e| RecordingError::read(path, ReadErrorKind::from(e));
    let mut block = [0; 56];
    read_up_to(file, &mut block, offset).map_err(fail)?;
    // Version, bytes of an address, and where the end-of-file address stands.
    let (address_bytes, end_at) = match block[8] {
        0 => (block[13], 40),
        1 => (block[13], 44),
        _ => (block[9], 28),
    };
    if address_bytes != 8 {
        return Ok(());
    }
    let needed = block[end_at..end_at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
    let found = file.metadata().map_err(fail)?.len();
    // The address counts from the beginning of the file, or from the superblock.
    if needed != u64::MAX && needed > found {
        return Err(RecordingError::read(path, ReadErrorKind::Truncated { found, needed }));
    }
    Ok(())
}

fn stranger(path: &Path, head: &[u8]) -> (&'static str, &'static str) {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let recording = "an HDF5, TIFF or MAT (v5, v7.3) recording is needed";
    if extension == "mdf" {
        return (
            "a Sutter MDF file",
            "it can only be opened with Sutter's MCSX library on Windows; export it as TIFF with \
             MScan or MView",
        );
    }
    if head.starts_with(b"version https://git-lfs") {
        return ("a Git-LFS pointer", "fetch the file itself: git lfs pull");
    }
    if extension == "mat" {
        return ("a MAT file older than v5, or a damaged one", "save it with -v7 or -v7.3");
    }
    if head.starts_with(b"SIMPLE  =") {
        return ("a FITS file", recording);
    }
    if head.iter().all(|&b| b == 0) {
        return ("a file that begins with zeros", "copy it again from where it came");
    }
    ("this kind of file", recording)
}
