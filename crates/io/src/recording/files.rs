//! Recordings in several files: one per channel, or one per frame.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::discover::channel_number;
use super::sink::BLOCK_SAMPLES;
use super::{OpenOptions, RecordingError, RecordingInfo, RecordingSource, check_read, open_file};

/// One file per channel (or group of channels).
struct Channels {
    info: RecordingInfo,
    files: Vec<Box<dyn RecordingSource>>,
}

impl RecordingSource for Channels {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check_read(&self.info, &frames, out)?;
        let frame_len = self.info.frame_len();
        let mut first = 0;
        let mut block = Vec::new();
        for file in &self.files {
            let len = file.info().frame_len();
            let at_once = (BLOCK_SAMPLES / len).max(1);
            for (i, out) in out.chunks_mut(at_once * frame_len).enumerate() {
                let n = out.len() / frame_len;
                let start = frames.start + i * at_once;
                block.resize(n * len, 0.0);
                file.read(start..start + n, &mut block)?;
                for (to, from) in out.chunks_exact_mut(frame_len).zip(block.chunks_exact(len)) {
                    to[first..first + len].copy_from_slice(from);
                }
            }
            first += len;
        }
        Ok(())
    }
}

/// One file per frame. Files are opened as they are read: there may be more than a process may hold
/// open.
struct Series {
    info: RecordingInfo,
    paths: Vec<PathBuf>,
    options: OpenOptions,
}

impl RecordingSource for Series {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check_read(&self.info, &frames, out)?;
        for (f, out) in frames.zip(out.chunks_exact_mut(self.info.frame_len())) {
            let file = open_file(&self.paths[f], &self.options)?;
            self.check(f, file.info())?;
            file.read(0..1, out)?;
        }
        Ok(())
    }
}

impl Series {
    fn check(&self, i: usize, found: &RecordingInfo) -> Result<(), RecordingError> {
        let needed = RecordingInfo { frames: 1, ..self.info.clone() };
        differ(&self.paths[i], found, &self.paths[0], &needed)
    }
}

/// Opens `paths` as one recording: the files whose names end in different channel numbers, or that
/// hold more than one frame, are its channels; single frames are its frames, in this order.
pub(super) fn open(
    paths: &[PathBuf],
    options: &OpenOptions,
) -> Result<Box<dyn RecordingSource>, RecordingError> {
    let first = open_file(&paths[0], options)?;
    if paths.len() == 1 {
        return Ok(first);
    }
    let info = first.info().clone();
    let number = |p: &PathBuf| channel_number(&p.file_stem().unwrap_or_default().to_string_lossy());
    let numbers: Vec<_> = paths.iter().map(number).collect();
    let is_numbered = numbers.iter().all(Option::is_some)
        && numbers.iter().enumerate().all(|(i, n)| !numbers[..i].contains(n));
    if info.frames == 1 && !is_numbered {
        let info = RecordingInfo { frames: paths.len(), ..info };
        let series = Series { info, paths: paths.to_vec(), options: options.clone() };
        for (i, path) in paths.iter().enumerate().skip(1) {
            series.check(i, open_file(path, options)?.info())?;
        }
        return Ok(Box::new(series));
    }
    let mut all = RecordingInfo { channels: 0, ..info.clone() };
    let mut files = vec![first];
    for path in &paths[1..] {
        files.push(open_file(path, options)?);
    }
    for (file, path) in files.iter().zip(paths) {
        let found = file.info();
        let needed =
            RecordingInfo { channels: found.channels, sample: found.sample, ..info.clone() };
        differ(path, found, &paths[0], &needed)?;
        all.channels += found.channels;
        all.sample = all.sample.promote(found.sample);
    }
    Ok(Box::new(Channels { info: all, files }))
}

/// An error unless both are equal.
fn differ(
    path: &Path,
    found: &RecordingInfo,
    first: &Path,
    needed: &RecordingInfo,
) -> Result<(), RecordingError> {
    let text = |i: &RecordingInfo| {
        let RecordingInfo { frames, shape, channels, sample } = i;
        format!("{frames} frames of {shape} × {channels} channels, {sample}")
    };
    if found == needed {
        return Ok(());
    }
    Err(RecordingError::FilesDiffer {
        path: path.to_path_buf(),
        found: text(found),
        first: first.to_path_buf(),
        needed: text(needed),
    })
}

/// The recordings in a folder, numbers in their names in the order of their values.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let mut paths = Vec::new();
    let mut n_entries = 0;
    for entry in folder.read_dir().map_err(|e| RecordingError::read(folder, e))? {
        let path = entry.map_err(|e| RecordingError::read(folder, e))?.path();
        n_entries += 1;
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let known = ["h5", "hdf5", "hdf", "tif", "tiff", "mat"].contains(&extension.as_str());
        if known && !is_hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(RecordingError::EmptyFolder { path: folder.to_path_buf(), n_entries });
    }
    paths.sort_by_cached_key(|p| natural(&p.file_name().unwrap_or_default().to_string_lossy()));
    Ok(paths)
}

/// A key that sorts `ch2` before `ch10`: digits with their leading zeros filled up.
fn natural(name: &str) -> (String, String) {
    const DIGITS: usize = 24;
    let mut key = String::with_capacity(name.len() + DIGITS);
    let mut rest = name;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (text, tail) = rest.split_at(start);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, tail) = tail.split_at(end);
        key.push_str(text);
        let digits = digits.trim_start_matches('0');
        key.extend(std::iter::repeat_n('0', DIGITS.saturating_sub(digits.len())));
        key.push_str(digits);
        rest = tail;
    }
    key.push_str(rest);
    // Names that differ only in leading zeros still have one order.
    (key, name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut names = ["a10.tif", "a9.tif", "a09.tif", "a1b2", "a1b10", "b", "a"];
        names.sort_by_cached_key(|n| natural(n));
        assert_eq!(names, ["a", "a1b2", "a1b10", "a09.tif", "a9.tif", "a10.tif", "b"]);
    }
}
