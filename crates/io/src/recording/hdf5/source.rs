//! Reading of HDF5 recordings.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rust_hdf5::{DatatypeMessage, H5Dataset, H5File};

use crate::error::ReadErrorKind;
use crate::recording::axes::{Axes, Counting, ordering};
use crate::recording::discover::{self, Candidate};
use crate::recording::samples::{ByteOrder, Kind, SampleType, Stored};
use crate::recording::{
    OpenOptions, RecordingError, RecordingInfo, RecordingSource, check_info, check_read,
};

/// Bytes read in one go, unless a single frame or chunk is larger.
const BLOCK_BYTES: usize = 4 << 20;

/// Largest chunk: what the format holds with 32-bit sizes. It is unpacked in one piece.
const MAX_CHUNK_BYTES: u64 = u32::MAX as u64;

/// An HDF5 or MAT v7.3 recording.
pub(crate) struct Hdf5Source {
    path: PathBuf,
    info: RecordingInfo,
    parts: Vec<Part>,
    /// The library locks a file while it reads: each thread takes a handle of its own.
    handles: Mutex<Vec<H5File>>,
}

/// A dataset that holds one channel or several.
struct Part {
    name: String,
    dims: Vec<usize>,
    axes: Axes,
    stored: Stored,
    /// Frames that are stored, and unpacked, together.
    chunk_frames: usize,
}

impl Hdf5Source {
    pub(crate) fn open(
        path: &Path,
        counting: Counting,
        options: &OpenOptions,
    ) -> Result<Self, RecordingError> {
        let (file, parts) = guard(path, || {
            let file = open_file(path)?;
            let parts = find_parts(path, &file, counting, options)?;
            Ok((file, parts))
        })?;
        let first = &parts[0];
        let mut info = RecordingInfo {
            frames: first.axes.frames(&first.dims),
            shape: first.axes.shape(&first.dims),
            channels: 0,
            sample: first.stored.sample(),
        };
        for part in &parts {
            let found = (part.axes.frames(&part.dims), part.axes.shape(&part.dims));
            if found != (info.frames, info.shape) {
                let found = format!(
                    "{:?} of {:?} and {:?} of {:?}",
                    first.name, first.dims, part.name, part.dims
                );
                return Err(RecordingError::unsupported(
                    path,
                    found,
                    "channels of equal shape are needed; choose them with dataset_names",
                ));
            }
            info.channels += part.axes.channels(&part.dims);
            info.sample = info.sample.promote(part.stored.sample());
        }
        check_info(path, &info)?;
        Ok(Self { path: path.to_path_buf(), info, parts, handles: Mutex::new(vec![file]) })
    }

    fn read_part(
        &self,
        file: &H5File,
        part: &Part,
        channel: usize,
        frames: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), RecordingError> {
        let dataset = file.dataset(&part.name).map_err(|e| damaged(&self.path, &e))?;
        let (planes, len) = (part.axes.planes(&part.dims), self.info.shape.len());
        let frame_bytes = part.stored.bytes() * len * part.axes.channels(&part.dims);
        let at_once = (BLOCK_BYTES / frame_bytes).max(part.chunk_frames).max(1);
        let mut block = Vec::new();
        let mut frame = frames.start;
        while frame < frames.end {
            let mut starts = vec![0; part.dims.len()];
            let mut counts = part.dims.clone();
            let n = if let Some(axis) = part.axes.planes {
                (starts[axis], counts[axis]) = (frame % planes, 1);
                1
            } else {
                at_once.min(frames.end - frame)
            };
            if let Some(axis) = part.axes.frames {
                (starts[axis], counts[axis]) = (frame / planes, n);
            }
            let block = read_block(&dataset, part.stored.bytes(), &starts, &counts, &mut block)
                .map_err(|e| damaged(&self.path, &e))?;
            let first = ((frame - frames.start) * self.info.channels + channel) * len;
            part.axes.scatter(&counts, block, part.stored, self.info.channels, &mut out[first..]);
            frame += n;
        }
        Ok(())
    }
}

impl RecordingSource for Hdf5Source {
    fn info(&self) -> &RecordingInfo {
        &self.info
    }

    fn read(&self, frames: Range<usize>, out: &mut [f32]) -> Result<(), RecordingError> {
        check_read(&self.info, &frames, out)?;
        let handles = || self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = handles().pop();
        let file = guard(&self.path, || {
            let file = match handle {
                Some(file) => file,
                None => open_file(&self.path)?,
            };
            let mut channel = 0;
            for part in &self.parts {
                self.read_part(&file, part, channel, frames.clone(), out)?;
                channel += part.axes.channels(&part.dims);
            }
            Ok(file)
        })?;
        handles().push(file);
        Ok(())
    }
}

/// Runs `work` in the library; a panic there, on a damaged file, becomes an error.
fn guard<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, RecordingError>,
) -> Result<T, RecordingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(RecordingError::damaged(path, "the HDF5 structures contradict each other"))
    })
}

fn open_file(path: &Path) -> Result<H5File, RecordingError> {
    // Another program may be writing to the file under its lock, or the file system knows none.
    H5File::options().no_locking().open(path).map_err(|e| damaged(path, &e))
}

fn damaged(path: &Path, error: &rust_hdf5::Hdf5Error) -> RecordingError {
    match error {
        rust_hdf5::Hdf5Error::Io(e) => {
            let source = std::io::Error::new(e.kind(), e.to_string());
            RecordingError::read(path, ReadErrorKind::from(source))
        }
        other => RecordingError::damaged(path, other.to_string()),
    }
}

fn find_parts(
    path: &Path,
    file: &H5File,
    counting: Counting,
    options: &OpenOptions,
) -> Result<Vec<Part>, RecordingError> {
    let mut candidates = Vec::new();
    let mut types = Vec::new();
    let mut names = file.dataset_names();
    names.sort();
    for name in names {
        // What cannot be opened, or holds no numbers, is no recording; others may be.
        let Ok(dataset) = file.dataset(&name) else { continue };
        let dims = dataset.shape();
        let Some(stored) = dataset.datatype().ok().and_then(|t| stored_type(&t)) else { continue };
        if (2..=5).contains(&dims.len()) && !dims.contains(&0) {
            candidates.push(Candidate { name, dims });
            types.push((stored, dataset));
        }
    }
    let chosen = discover::channels(path, &candidates, &options.dataset_names)?;
    let part = |i: usize| {
        let Candidate { name, dims } = candidates[i].clone();
        let (stored, dataset) = &types[i];
        let own = || match counting {
            Counting::Hdf5 => dataset.attr("dimension_ordering").ok()?.read_numeric_as().ok(),
            Counting::Matlab => None,
        };
        let stated = ordering(path, dims.len(), options, own())?;
        let axes = Axes::of(path, &name, &dims, counting, stated)?;
        let chunk = dataset.chunk_dims().unwrap_or_else(|| vec![1; dims.len()]);
        let chunk_bytes = chunk.iter().fold(stored.bytes(), |n, &d| n.saturating_mul(d)) as u64;
        if chunk.len() < dims.len() || chunk_bytes > MAX_CHUNK_BYTES {
            let reason = format!("{name:?} of {dims:?} is stored in chunks of {chunk:?}");
            return Err(RecordingError::damaged(path, reason));
        }
        let chunk_frames = axes.frames.map_or(1, |a| chunk[a]);
        Ok(Part { name, dims, axes, stored: *stored, chunk_frames })
    };
    chosen.into_iter().map(part).collect()
}

/// How samples of this type are decoded once the library has put them into the machine's byte
/// order; `None` if they are no plain numbers.
fn stored_type(datatype: &DatatypeMessage) -> Option<Stored> {
    use SampleType::{F32, F64, I16, I32, U8, U16, U32};
    let kind = match *datatype {
        DatatypeMessage::FixedPoint { size, signed, bit_offset: 0, bit_precision, .. }
            if u32::from(bit_precision) == size.saturating_mul(8) =>
        {
            match (size, signed) {
                (1, false) => Kind::Plain(U8),
                (1, true) => Kind::I8,
                (2, false) => Kind::Plain(U16),
                (2, true) => Kind::Plain(I16),
                (4, false) => Kind::Plain(U32),
                (4, true) => Kind::Plain(I32),
                (8, false) => Kind::U64,
                (8, true) => Kind::I64,
                _ => return None,
            }
        }
        DatatypeMessage::FloatingPoint { size: 4, exponent_size: 8, .. } => Kind::Plain(F32),
        DatatypeMessage::FloatingPoint { size: 8, exponent_size: 11, .. } => Kind::Plain(F64),
        // Booleans: h5py stores them as an enumeration of two names.
        DatatypeMessage::Enum { ref base, .. } => return stored_type(base),
        _ => return None,
    };
    Some(Stored { kind, order: ByteOrder::Little })
}

/// Reads a block; returns its bytes, in the byte order of the machines that the library supports:
/// little-endian.
fn read_block<'a>(
    dataset: &H5Dataset,
    sample_bytes: usize,
    starts: &[usize],
    counts: &[usize],
    block: &'a mut Vec<u64>,
) -> rust_hdf5::Result<&'a [u8]> {
    let len: usize = counts.iter().product();
    block.resize((len * sample_bytes).div_ceil(8), 0);
    macro_rules! read {
        ($type:ty) => {{
            let samples = &mut bytemuck::cast_slice_mut::<u64, $type>(block)[..len];
            dataset.read_slice_into(samples, starts, counts)?;
        }};
    }
    match sample_bytes {
        1 => read!(u8),
        2 => read!(u16),
        4 => read!(u32),
        _ => read!(u64),
    }
    Ok(&bytemuck::cast_slice(block)[..len * sample_bytes])
}
