//! Writing of HDF5 recordings: one chunk per frame and dataset.
//!
//! New chunks are put at the end of the file. A [`sync`](RecordingSink::sync) then extends the
//! indices, moves the end-of-file address and raises the number of frames, in this order and each in
//! one write: whoever opens the file sees the frames up to the last sync, also if the process was
//! killed between any two of these writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::index::{Index, read_addresses};
use super::structure::{Attribute, Dataset, EOF_AT, Layout, Skeleton, UNDEFINED, Value, skeleton};
use crate::positioned::{read_exact, write_all};
use crate::recording::samples::encode;
use crate::recording::sink::{BLOCK_SAMPLES, check_append, create_file, resume_file};
use crate::recording::{RecordingError, RecordingInfo, RecordingSink, SampleType};
use crate::{Existing, write_file};

/// Room in the index of a recording of unknown length; it doubles whenever it is full.
const FIRST_CAPACITY: usize = 1024;

/// Bytes before the HDF5 file in a MAT v7.3 file.
const USERBLOCK: u64 = 512;

/// What a file of stacks holds besides the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::recording) enum Stack {
    /// Nothing.
    Plain,
    /// The attributes of a PyFlowReg recording.
    Recording,
    /// Text and attributes of MAT v7.3; rows and columns are exchanged, as MATLAB does.
    Mat,
}

/// An HDF5 file under construction, with one dataset per channel.
pub(in crate::recording) struct Hdf5Sink {
    path: PathBuf,
    file: File,
    info: RecordingInfo,
    stack: Stack,
    skeleton: Skeleton,
    /// The skeleton as it is in the file, with everything filled in.
    head: Vec<u8>,
    base: u64,
    /// End of what is in use, from `base`.
    end: u64,
    /// One per dataset.
    indices: Vec<Index>,
    addresses: Vec<Vec<u64>>,
    /// Frames that a reader sees.
    synced: usize,
    buffer: Vec<u8>,
}

impl Hdf5Sink {
    pub(in crate::recording) fn create(
        path: &Path,
        names: &[String],
        info: &RecordingInfo,
        stack: Stack,
        existing: Existing,
    ) -> Result<Self, RecordingError> {
        check_holds(info)?;
        let file = create_file(path, existing)?;
        let mut sink = Self::begin(path, file, names, info, stack);
        sink.write_skeleton().map_err(|e| RecordingError::write(path, e))?;
        Ok(sink)
    }

    pub(in crate::recording) fn resume(
        path: &Path,
        names: &[String],
        info: &RecordingInfo,
        stack: Stack,
        frames_done: usize,
    ) -> Result<Self, RecordingError> {
        let file = resume_file(path)?;
        let mut sink = Self::begin(path, file, names, info, stack);
        let found = sink.find_frames(frames_done)?;
        if found < frames_done {
            let reason = format!("it holds {found} frames, {frames_done} are needed");
            return Err(RecordingError::not_resumable(path, reason));
        }
        // First, readers are told of fewer frames; then the rest may go.
        let mut cut = || {
            sink.put_frames(frames_done)?;
            sink.publish(0)?;
            sink.file.set_len(sink.base + sink.end)
        };
        cut().map_err(|e| RecordingError::write(path, e))?;
        Ok(sink)
    }

    fn begin(
        path: &Path,
        file: File,
        names: &[String],
        info: &RecordingInfo,
        stack: Stack,
    ) -> Self {
        let base = if stack == Stack::Mat { USERBLOCK } else { 0 };
        let skeleton = describe(names, info, stack, base);
        let mut end = skeleton.bytes.len() as u64;
        let capacity = if info.frames == 0 { FIRST_CAPACITY } else { info.frames };
        let mut indices = Vec::new();
        for _ in names {
            let index = Index::new(end, capacity);
            end = index.end();
            indices.push(index);
        }
        Self {
            path: path.to_path_buf(),
            file,
            info: info.clone(),
            stack,
            head: skeleton.bytes.clone(),
            skeleton,
            base,
            end,
            indices,
            addresses: vec![Vec::new(); names.len()],
            synced: 0,
            buffer: Vec::new(),
        }
    }

    fn chunk_bytes(&self) -> usize {
        self.info.shape.len() * self.info.sample.bytes()
    }

    fn write_skeleton(&mut self) -> std::io::Result<()> {
        if self.stack == Stack::Mat {
            write_all(&self.file, &userblock(), 0)?;
        }
        write_all(&self.file, &self.skeleton.bytes, self.base)
    }

    /// Compares the file with what would have been written, and takes over the addresses of its
    /// first `wanted` frames. Returns how many there are.
    fn find_frames(&mut self, wanted: usize) -> Result<usize, RecordingError> {
        let mut bytes = vec![0; self.skeleton.bytes.len()];
        let cut_off = |e: std::io::Error| RecordingError::not_resumable(&self.path, e.to_string());
        read_exact(&self.file, &mut bytes, self.base).map_err(cut_off)?;
        let number = |at: u64| {
            let at = at as usize;
            bytes[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
        };
        let roots: Vec<u64> = self.skeleton.data_at.iter().map(|&at| number(at)).collect();
        let frames = self.skeleton.frames_at.iter().map(|&at| number(at)).min().unwrap_or(0);
        let end = number(EOF_AT).saturating_sub(self.base);
        self.head.clone_from(&bytes);
        let places = self.skeleton.data_at.iter().chain(&self.skeleton.frames_at).chain(&[EOF_AT]);
        for &at in places {
            let at = at as usize;
            bytes[at..at + 8].copy_from_slice(&self.skeleton.bytes[at..at + 8]);
        }
        if bytes != self.skeleton.bytes {
            let reason = "it was begun with another size, number format or number of channels";
            return Err(RecordingError::not_resumable(&self.path, reason));
        }
        let n = wanted.min(usize::try_from(frames).unwrap_or(usize::MAX));
        if n < wanted || n == 0 {
            return Ok(n);
        }
        for (d, &root) in roots.iter().enumerate() {
            let addresses = read_addresses(&self.file, self.base, root, n).map_err(cut_off)?;
            let last = addresses.iter().max().copied().unwrap_or(0);
            self.end = self.end.max(last + self.chunk_bytes() as u64);
            if root != self.indices[d].root() {
                // The index had grown: it gets a new place behind everything.
                self.end = self.end.max(end);
                self.indices[d] = Index::new(self.end, 2 * n);
                self.end = self.indices[d].end();
            }
            self.addresses[d] = addresses;
        }
        Ok(self.addresses.iter().map(Vec::len).min().unwrap_or(0))
    }

    /// Lets readers see all frames; they have seen `known` of them.
    fn publish(&mut self, known: usize) -> std::io::Result<()> {
        let frames = self.addresses[0].len();
        let chunk_bytes = self.chunk_bytes();
        let mut known = vec![known; self.indices.len()];
        for d in 0..self.indices.len() {
            if frames > self.indices[d].capacity() {
                self.indices[d] = Index::new(self.end, 2 * frames);
                self.end = self.indices[d].end();
                known[d] = 0;
            }
        }
        // The last index may not have been written to its end.
        let len = self.file.metadata()?.len();
        self.file.set_len(len.max(self.base + self.end))?;
        for (d, index) in self.indices.iter().enumerate() {
            if frames > 0 {
                index.extend(&self.file, self.base, &self.addresses[d], known[d], chunk_bytes)?;
            }
        }
        self.put(self.base + self.end, EOF_AT)?;
        for d in 0..self.indices.len() {
            let root = if frames > 0 { self.indices[d].root() } else { UNDEFINED };
            self.put(root, self.skeleton.data_at[d])?;
        }
        self.put_frames(frames)?;
        self.synced = frames;
        Ok(())
    }

    fn put(&mut self, number: u64, at: u64) -> std::io::Result<()> {
        self.head[at as usize..at as usize + 8].copy_from_slice(&number.to_le_bytes());
        write_all(&self.file, &number.to_le_bytes(), self.base + at)
    }

    /// Tells readers the number of frames: everywhere at once, or they could find the channels of
    /// different length.
    fn put_frames(&mut self, frames: usize) -> std::io::Result<()> {
        let places = &self.skeleton.frames_at;
        for &at in places {
            let number = (frames as u64).to_le_bytes();
            self.head[at as usize..at as usize + 8].copy_from_slice(&number);
        }
        let (Some(&first), Some(&last)) = (places.iter().min(), places.iter().max()) else {
            return Ok(());
        };
        write_all(&self.file, &self.head[first as usize..last as usize + 8], self.base + first)
    }

    fn encode(&mut self, frames: &[f32]) {
        self.buffer.clear();
        let (shape, sample) = (self.info.shape, self.info.sample);
        if self.stack != Stack::Mat {
            return encode(frames.iter().copied(), frames.len(), sample, &mut self.buffer);
        }
        for channel in frames.chunks_exact(shape.len()) {
            let columns =
                (0..shape.width).flat_map(|x| channel[x..].iter().step_by(shape.width).copied());
            encode(columns, shape.len(), sample, &mut self.buffer);
        }
    }
}

impl RecordingSink for Hdf5Sink {
    fn append(&mut self, frames: &[f32]) -> Result<(), RecordingError> {
        let frame_len = check_append(&self.info, frames)?;
        let at_once = (BLOCK_SAMPLES / frame_len).max(1) * frame_len;
        for block in frames.chunks(at_once) {
            self.encode(block);
            write_all(&self.file, &self.buffer, self.base + self.end)
                .map_err(|e| RecordingError::write(&self.path, e))?;
            let chunk_bytes = self.chunk_bytes() as u64;
            for _ in 0..block.len() / frame_len {
                for addresses in &mut self.addresses {
                    addresses.push(self.end);
                    self.end += chunk_bytes;
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), RecordingError> {
        self.publish(self.synced).map_err(|e| RecordingError::write(&self.path, e))
    }

    fn finish(mut self: Box<Self>) -> Result<(), RecordingError> {
        self.sync()?;
        self.file.sync_all().map_err(|e| RecordingError::write(&self.path, e))
    }
}

fn check_holds(info: &RecordingInfo) -> Result<(), RecordingError> {
    if info.shape.len() * info.sample.bytes() > u32::MAX as usize {
        return Err(RecordingError::CannotHold {
            format: "HDF5",
            found: format!("frames of {} {} pixels as one chunk", info.shape, info.sample),
            remedy: "choose TIFF",
        });
    }
    Ok(())
}

fn describe(names: &[String], info: &RecordingInfo, stack: Stack, base: u64) -> Skeleton {
    let (height, width) = (info.shape.height, info.shape.width);
    let size = [height as i64, width as i64, names.len() as i64];
    let (mut of_dataset, mut of_file): (Vec<Attribute>, Vec<Attribute>) = (Vec::new(), Vec::new());
    let mut layout = Layout::Frames { rows: height, columns: width };
    match stack {
        Stack::Plain => {}
        Stack::Recording => {
            let ordering = || Value::Integers(vec![1, 2, 0]);
            of_dataset.push(("dimension_ordering", ordering()));
            of_dataset.push(("original_shape_THWC", Value::FramesAnd(size.to_vec())));
            of_file.push(("n_channels", Value::Integer(size[2])));
            of_file.push(("frame_count", Value::Frames));
            of_file.push(("height", Value::Integer(size[0])));
            of_file.push(("width", Value::Integer(size[1])));
            of_file.push(("dimension_ordering", ordering()));
            // The name of this arrangement of datasets and attributes.
            of_file.push(("format", Value::Text("pyflowreg_hdf5_v1".into())));
            of_file.push(("dataset_names", Value::Texts(names.to_vec())));
        }
        Stack::Mat => {
            of_dataset.push(("MATLAB_class", Value::Text(matlab_class(info.sample).into())));
            layout = Layout::Frames { rows: width, columns: height };
        }
    }
    let dataset = |name| Dataset { name, sample: info.sample, layout, attributes: &of_dataset };
    let datasets: Vec<Dataset<'_>> = names.iter().map(|name| dataset(name)).collect();
    skeleton(base, &datasets, &of_file)
}

fn matlab_class(sample: SampleType) -> &'static str {
    match sample {
        SampleType::U8 => "uint8",
        SampleType::I16 => "int16",
        SampleType::U16 => "uint16",
        SampleType::I32 => "int32",
        SampleType::U32 => "uint32",
        SampleType::F32 => "single",
        SampleType::F64 => "double",
    }
}

/// The text before a MAT v7.3 file.
fn userblock() -> Vec<u8> {
    let mut block = b"MATLAB 7.3 MAT-file, written by stillframe, HDF5 schema 1.00 .".to_vec();
    block.resize(116, b' ');
    block.resize(124, 0);
    block.extend_from_slice(b"\x00\x02IM");
    block.resize(USERBLOCK as usize, 0);
    block
}

/// Writes columns of equal or different length as one-dimensional `float64` datasets.
pub(in crate::recording) fn table(
    path: &Path,
    columns: &[(&str, &[f64])],
    existing: Existing,
) -> Result<(), RecordingError> {
    let datasets: Vec<Dataset<'_>> = columns
        .iter()
        .map(|&(name, values)| Dataset {
            name,
            sample: SampleType::F64,
            layout: Layout::Contiguous { samples: values.len() },
            attributes: &[],
        })
        .collect();
    let Skeleton { mut bytes, data_at, .. } = skeleton(0, &datasets, &[]);
    for ((_, values), at) in columns.iter().zip(data_at) {
        if !values.is_empty() {
            let address = (bytes.len() as u64).to_le_bytes();
            bytes[at as usize..at as usize + 8].copy_from_slice(&address);
        }
        values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    }
    let end = (bytes.len() as u64).to_le_bytes();
    bytes[EOF_AT as usize..EOF_AT as usize + 8].copy_from_slice(&end);
    Ok(write_file(path, existing, &bytes)?)
}
