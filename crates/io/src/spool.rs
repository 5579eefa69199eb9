//! Scratch files: planes of plain numbers that are written once and read in rectangles.

use std::fs::{File, TryLockError};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Rect, Shape};

use crate::error::{ReadError, ReadErrorKind, WriteError, WriteErrorKind};
use crate::positioned;
use crate::sink::require_space;

const PREFIX: &str = "stillframe-scratch-";
const LOCK_SUFFIX: &str = ".lock";

/// A folder for scratch files, which is removed with all that is in it when this is dropped.
///
/// A locked file beside it says that its process lives. What a killed process has left behind is
/// removed by the next [`ScratchDir::create`] in the same place.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held until the folder is gone.
    _lock: File,
}

impl ScratchDir {
    /// A new folder inside `parent`, on a disk with at least `needed` free bytes.
    ///
    /// # Errors
    /// If `parent` does not exist or may not be written to, or the space is not there.
    pub fn create(parent: &Path, needed: u64) -> Result<Self, WriteError> {
        let create = || {
            remove_stale(parent);
            require_space(parent, needed)?;
            loop {
                let (lock, lock_path) = tempfile::Builder::new()
                    .prefix(PREFIX)
                    .suffix(LOCK_SUFFIX)
                    .tempfile_in(parent)?
                    .keep()
                    .map_err(|e| e.error)?;
                lock.lock()?;
                // Another process may have taken it for stale before it was locked.
                if lock_path.exists() {
                    let path = lock_path.with_extension("");
                    std::fs::create_dir(&path)?;
                    return Ok(Self { path, lock_path, _lock: lock });
                }
            }
        };
        create().map_err(|kind: WriteErrorKind| kind.at(parent))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that `needed` more bytes fit on the disk.
    ///
    /// # Errors
    /// [`WriteErrorKind::NotEnoughSpace`].
    pub fn require_space(&self, needed: u64) -> Result<(), WriteError> {
        require_space(&self.path, needed).map_err(|kind| kind.at(&self.path))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed now is stale for the next run, which tries again.
        let _ = std::fs::remove_dir_all(&self.path);
        if !self.path.exists() {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

/// Removes the folders of processes that no longer hold their lock.
fn remove_stale(parent: &Path) {
    let Ok(entries) = parent.read_dir() else { return };
    for lock_path in entries.flatten().map(|e| e.path()) {
        let name = lock_path.file_name().unwrap_or_default().to_string_lossy();
        if !(name.starts_with(PREFIX) && name.ends_with(LOCK_SUFFIX)) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(&lock_path) else { continue };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => continue,
        }
        let folder = lock_path.with_extension("");
        let _ = std::fs::remove_dir_all(&folder);
        if !folder.exists() {
            let _ = std::fs::remove_file(&lock_path);
        }
    }
}

/// A plane of numbers in a scratch file, in the machine's byte order.
///
/// It holds no file open and can be sent to another process of the same machine, which reads the
/// same file. Its pixels are 0 until they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawPlane<T> {
    path: PathBuf,
    shape: Shape,
    #[serde(skip)]
    pixel: PhantomData<T>,
}

/// Bytes that are read at a time and stay in the second-level cache.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes between the end of one row of a rectangle and the start of the next from which on the
/// rows are read one by one: a call costs as much as copying about 10 kB (0.4 µs, measured on Linux
/// with a warm cache), but on a cold or distant disk what is read and not needed costs more.
const GAP_BYTES: usize = 1024;

impl<T: Pod> RawPlane<T> {
    /// A plane of zeros in the file `name` of `scratch`.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(scratch: &ScratchDir, name: &str, shape: Shape) -> Result<Self, WriteError> {
        let path = scratch.path().join(name);
        let create = || {
            let file = File::create_new(&path)?;
            Ok(file.set_len((shape.len() * size_of::<T>()) as u64)?)
        };
        create().map_err(|kind: WriteErrorKind| kind.at(&path))?;
        Ok(Self { path, shape, pixel: PhantomData })
    }

    /// A plane with these pixels in the file `name` of `scratch`.
    ///
    /// # Errors
    /// If the file cannot be made, or the disk is full.
    pub fn store(scratch: &ScratchDir, name: &str, image: &Image<T>) -> Result<Self, WriteError> {
        let plane = Self::create(scratch, name, image.shape())?;
        plane.write_rows(0, image.pixels())?;
        Ok(plane)
    }

    /// Its size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Writes whole rows, the first of which is row `y`. Different rows can be written by
    /// different threads.
    ///
    /// # Errors
    /// If the disk is full.
    ///
    /// # Panics
    /// If `pixels` is no whole number of rows, or leaves the plane.
    pub fn write_rows(&self, y: usize, pixels: &[T]) -> Result<(), WriteError> {
        let width = self.shape.width;
        let rows = pixels.len() / width.max(1);
        assert_eq!(rows * width, pixels.len(), "whole rows of {width} pixels are written");
        assert!(y + rows <= self.shape.height, "row {} of {}", y + rows, self.shape.height);
        let write = || {
            let file = File::options().write(true).open(&self.path)?;
            Ok(positioned::write_all(&file, bytemuck::cast_slice(pixels), self.offset(0, y))?)
        };
        write().map_err(|kind: WriteErrorKind| kind.at(&self.path))
    }

    /// Reads the pixels of `rect`; `out` takes its shape. `scratch` keeps its memory for the next
    /// call.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If `rect` does not lie inside the plane.
    pub fn read_rect(
        &self,
        rect: Rect,
        out: &mut Image<T>,
        scratch: &mut Vec<T>,
    ) -> Result<(), ReadError> {
        let Shape { height, width } = self.shape;
        assert!(
            rect.x_end() <= width && rect.y_end() <= height,
            "{rect:?} leaves {width}×{height}"
        );
        if out.shape() != rect.shape() {
            out.reset(rect.shape(), T::zeroed());
        }
        self.read_kind(rect, out, scratch).map_err(|kind| kind.at(&self.path))
    }

    fn read_kind(
        &self,
        rect: Rect,
        out: &mut Image<T>,
        scratch: &mut Vec<T>,
    ) -> Result<(), ReadErrorKind> {
        if rect.is_empty() {
            return Ok(());
        }
        let file = File::open(&self.path)?;
        let width = self.shape.width;
        if rect.width == width {
            let bytes = bytemuck::cast_slice_mut(out.pixels_mut());
            return Ok(positioned::read_exact(&file, bytes, self.offset(0, rect.y))?);
        }
        if (width - rect.width) * size_of::<T>() > GAP_BYTES {
            for y in 0..rect.height {
                let bytes = bytemuck::cast_slice_mut(out.row_mut(y));
                positioned::read_exact(&file, bytes, self.offset(rect.x, rect.y + y))?;
            }
            return Ok(());
        }
        let rows_at_once = (CHUNK_BYTES / (width * size_of::<T>())).max(1);
        for y in (0..rect.height).step_by(rows_at_once) {
            let rows = rows_at_once.min(rect.height - y);
            let length = (rows - 1) * width + rect.width;
            if scratch.len() < length {
                scratch.resize(length, T::zeroed());
            }
            let band = &mut scratch[..length];
            let offset = self.offset(rect.x, rect.y + y);
            positioned::read_exact(&file, bytemuck::cast_slice_mut(band), offset)?;
            for (row, pixels) in band.chunks(width).enumerate() {
                out.row_mut(y + row).copy_from_slice(&pixels[..rect.width]);
            }
        }
        Ok(())
    }

    fn offset(&self, x: usize, y: usize) -> u64 {
        ((y * self.shape.width + x) * size_of::<T>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(folder: &Path) -> usize {
        folder.read_dir().unwrap().count()
    }

    #[test]
    fn nothing_stays_behind() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = ScratchDir::create(parent.path(), 0).unwrap();
        RawPlane::<f32>::create(&scratch, "a", Shape::new(3, 4)).unwrap();
        assert_eq!(names(parent.path()), 2);
        let other = ScratchDir::create(parent.path(), 0).unwrap();
        assert!(scratch.path().exists(), "a living folder is not stale");
        drop((scratch, other));
        assert_eq!(names(parent.path()), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("stillframe-scratch-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("plane"), b"x").unwrap();
        std::fs::write(parent.path().join("stillframe-scratch-dead.lock"), b"").unwrap();
        std::fs::write(parent.path().join("mine.lock"), b"").unwrap();
        drop(ScratchDir::create(parent.path(), 0).unwrap());
        assert_eq!(names(parent.path()), 1);
        assert!(parent.path().join("mine.lock").exists());
    }

    #[test]
    fn too_little_space_is_an_error_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let error = ScratchDir::create(parent.path(), u64::MAX).unwrap_err();
        assert!(matches!(error.kind, WriteErrorKind::NotEnoughSpace { needed: u64::MAX, .. }));
        assert_eq!(names(parent.path()), 0);
        let nowhere = ScratchDir::create(&parent.path().join("nowhere"), 0).unwrap_err();
        assert!(matches!(nowhere.kind, WriteErrorKind::NoFolder));
    }

    fn check<T: Pod + PartialEq + std::fmt::Debug>(
        shape: Shape,
        rect: Rect,
        value: fn(usize) -> T,
    ) -> Result<(), TestCaseError> {
        let parent = tempfile::tempdir().unwrap();
        let scratch = ScratchDir::create(parent.path(), 0).unwrap();
        let image = Image::from_fn(shape, |x, y| value(7 * x + 1000 * y));
        let plane = RawPlane::store(&scratch, "plane", &image).unwrap();
        let mut out = Image::filled(Shape::new(0, 0), T::zeroed());
        plane.read_rect(rect, &mut out, &mut Vec::new()).unwrap();
        prop_assert_eq!(out, image.crop(rect));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn a_rectangle_is_the_crop_of_the_whole(
            height in 1usize..30, width in prop::sample::select(vec![1usize, 7, 33, 20_000]),
            x in 0.0f64..1.0, y in 0.0f64..1.0, w in 0.0f64..1.0, h in 0.0f64..1.0,
        ) {
            let shape = Shape::new(height, width);
            let (x, y) = ((x * width as f64) as usize, (y * height as f64) as usize);
            let size = |f: f64, room: usize| (f * (room + 1) as f64) as usize;
            let rect = Rect::new(x, y, size(w, width - x), size(h, height - y));
            check::<f32>(shape, rect, |i| i as f32)?;
            check::<u8>(shape, rect, |i| i as u8)?;
            check::<u16>(shape, rect, |i| i as u16)?;
        }
    }

    #[test]
    fn rows_can_come_in_any_order() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = ScratchDir::create(parent.path(), 0).unwrap();
        let plane = RawPlane::<f32>::create(&scratch, "plane", Shape::new(4, 2)).unwrap();
        plane.write_rows(2, &[5.0, 6.0, 7.0, 8.0]).unwrap();
        plane.write_rows(1, &[3.0, 4.0]).unwrap();
        let mut out = Image::filled(Shape::new(0, 0), 0.0);
        plane.read_rect(plane.shape().rect(), &mut out, &mut Vec::new()).unwrap();
        assert_eq!(out.pixels(), [0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    }
}
