//! Which stored axis is which, and the way of a stored block to planar frames.

use std::path::Path;

use stillframe_image::Shape;

use super::samples::Stored;
use super::{OpenOptions, RecordingError};

/// Positions of the axes among the stored ones, slowest first. Planes of a volume are taken as
/// frames: frame = t · planes + z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axes {
    pub(super) frames: Option<usize>,
    pub(super) planes: Option<usize>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: Option<usize>,
}

/// How the axes of a file are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Slowest first; frames × rows × columns [× channels].
    Hdf5,
    /// Fastest first; rows × columns × frames.
    Matlab,
}

impl Axes {
    /// The meaning of an array with `dims` (slowest first). `stated` is the dimension ordering that
    /// the user or, failing that, the file gives.
    pub(super) fn of(
        path: &Path,
        name: &str,
        dims: &[usize],
        counting: Counting,
        stated: Option<[usize; 3]>,
    ) -> Result<Self, RecordingError> {
        let plain = Self { frames: None, planes: None, rows: 0, columns: 1, channels: None };
        let ordering = stated.unwrap_or(match counting {
            Counting::Hdf5 => [1, 2, 0],
            Counting::Matlab => [0, 1, 2],
        });
        // Positions as the file's kind counts them, to positions from the slowest.
        let position = |i: usize| match counting {
            Counting::Hdf5 => i,
            Counting::Matlab => dims.len() - 1 - i,
        };
        match (dims.len(), counting) {
            (2, Counting::Hdf5) => Ok(plain),
            (2, Counting::Matlab) => Ok(Self { rows: 1, columns: 0, ..plain }),
            (3, _) => {
                let mut sorted = ordering;
                sorted.sort_unstable();
                if sorted != [0, 1, 2] {
                    let found = format!("dimension_ordering {ordering:?}");
                    return Err(RecordingError::unsupported(
                        path,
                        found,
                        "the positions of rows, columns and frames are needed: 0, 1 and 2, each once",
                    ));
                }
                let [rows, columns, frames] = ordering.map(position);
                Ok(Self { frames: Some(frames), rows, columns, ..plain })
            }
            (4, Counting::Hdf5) => {
                Ok(Self { frames: Some(0), planes: None, rows: 1, columns: 2, channels: Some(3) })
            }
            (5, Counting::Hdf5) => Ok(Self {
                frames: Some(0),
                planes: Some(1),
                rows: 2,
                columns: 3,
                channels: Some(4),
            }),
            _ => Err(RecordingError::unsupported(
                path,
                format!("{name:?} with the axes {dims:?}"),
                match counting {
                    Counting::Hdf5 => {
                        "frames × rows × columns [× channels], or frames × planes × rows × columns \
                         × channels are needed"
                    }
                    Counting::Matlab => {
                        "rows × columns × frames are needed, one variable a channel"
                    }
                },
            )),
        }
    }

    pub(super) fn shape(&self, dims: &[usize]) -> Shape {
        Shape::new(dims[self.rows], dims[self.columns])
    }

    pub(super) fn channels(&self, dims: &[usize]) -> usize {
        self.channels.map_or(1, |a| dims[a])
    }

    pub(super) fn planes(&self, dims: &[usize]) -> usize {
        self.planes.map_or(1, |a| dims[a])
    }

    pub(super) fn frames(&self, dims: &[usize]) -> usize {
        self.frames.map_or(1, |a| dims[a]).saturating_mul(self.planes(dims))
    }

    /// Takes a block that was read with `counts` samples along each stored axis to planar frames:
    /// frame i, channel c of the block goes to `out[(i * stride + c) * shape.len()..]`.
    pub(super) fn scatter(
        &self,
        counts: &[usize],
        block: &[u8],
        stored: Stored,
        stride: usize,
        out: &mut [f32],
    ) {
        let step =
            |axis: Option<usize>| axis.map_or(0, |a| counts[a + 1..].iter().product::<usize>());
        let shape = self.shape(counts);
        let planes = self.planes(counts);
        for i in 0..self.frames(counts) {
            for c in 0..self.channels(counts) {
                let start = i / planes * step(self.frames)
                    + i % planes * step(self.planes)
                    + c * step(self.channels);
                let target = &mut out[(i * stride + c) * shape.len()..][..shape.len()];
                for (y, row) in target.chunks_exact_mut(shape.width).enumerate() {
                    let start = start + y * step(Some(self.rows));
                    stored.decode(block, start, step(Some(self.columns)), row);
                }
            }
        }
    }
}

/// The dimension ordering that holds: the user's, or the file's own.
///
/// # Errors
/// If the user gave one for an array of other than three axes.
pub(super) fn ordering(
    path: &Path,
    n_axes: usize,
    options: &OpenOptions,
    own: Option<Vec<u64>>,
) -> Result<Option<[usize; 3]>, RecordingError> {
    if options.dimension_ordering.is_some() && n_axes != 3 {
        let found = format!("an array of {n_axes} axes with the option dimension_ordering");
        return Err(RecordingError::unsupported(path, found, "the option is for three axes"));
    }
    let own = own.and_then(|o| <[u64; 3]>::try_from(o).ok()).map(|o| o.map(|i| i as usize));
    Ok(options.dimension_ordering.or(own))
}
