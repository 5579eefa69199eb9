//! The samples of one block of the canvas.

use stillframe_image::Shape;

/// Registered samples `[frame][pixel]` of one block of output pixels, and optional weights.
///
/// NaN means "no sample": outside the frame, void, or no drop overlaps. It is used here only, as
/// the compact mark of the hottest buffer, and does not leave it: results hold 0 where there is no
/// coverage. Reuse one stack for all blocks of a worker: memory grows to the largest block.
#[derive(Clone, Debug, Default)]
pub struct SampleStack {
    shape: Option<Shape>,
    n_frames: usize,
    /// Elements from one frame's first pixel to the next frame's.
    stride: usize,
    values: Vec<f32>,
    weights: Vec<f32>,
    has_weights: bool,
}

/// Whether each sample of a stack has a weight of its own (drizzle: overlap area).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleWeights {
    /// All samples weigh 1 (before the weights of the frames).
    Equal,
    /// [`SampleStack::frame_with_weights_mut`] is filled for every frame.
    Given,
}

impl SampleStack {
    /// An empty stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that a stack of this size holds.
    pub fn bytes(n_frames: usize, shape: Shape, weights: SampleWeights) -> usize {
        let planes = if weights == SampleWeights::Given { 2 } else { 1 };
        n_frames * stride(shape) * planes * size_of::<f32>()
    }

    /// Prepares for `n_frames` frames of `shape` output pixels; every frame must then be written.
    pub fn reset(&mut self, n_frames: usize, shape: Shape, weights: SampleWeights) {
        self.shape = Some(shape);
        self.n_frames = n_frames;
        self.stride = stride(shape);
        self.has_weights = weights == SampleWeights::Given;
        // old contents may stay: every frame is written
        self.values.resize(n_frames * self.stride, f32::NAN);
        let n_weights = if self.has_weights { n_frames * self.stride } else { 0 };
        self.weights.resize(n_weights, 0.0);
    }

    /// Number of frames.
    pub fn n_frames(&self) -> usize {
        self.n_frames
    }

    /// Size of the block in output pixels.
    pub fn shape(&self) -> Shape {
        self.shape.unwrap_or(Shape::new(0, 0))
    }

    /// The samples of one frame, row by row.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame(&self, frame_index: usize) -> &[f32] {
        &self.values[frame_index * self.stride..][..self.shape().len()]
    }

    /// The samples of one frame, row by row, to be written.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame_mut(&mut self, frame_index: usize) -> &mut [f32] {
        let n = self.shape().len();
        &mut self.values[frame_index * self.stride..][..n]
    }

    /// The samples of one frame and their weights, to be written.
    ///
    /// # Panics
    /// If there is no such frame, or the stack has no weights.
    pub fn frame_with_weights_mut(&mut self, frame_index: usize) -> (&mut [f32], &mut [f32]) {
        assert!(self.has_weights, "the stack was reset without weights");
        let (start, n) = (frame_index * self.stride, self.shape().len());
        (&mut self.values[start..][..n], &mut self.weights[start..][..n])
    }

    /// The weights of one frame's samples; `None` if all are 1.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame_weights(&self, frame_index: usize) -> Option<&[f32]> {
        self.has_weights.then(|| &self.weights[frame_index * self.stride..][..self.shape().len()])
    }

    /// One row of the samples of one frame.
    pub(crate) fn row(&self, frame_index: usize, row: usize) -> &[f32] {
        let width = self.shape().width;
        &self.values[frame_index * self.stride + row * width..][..width]
    }

    /// One row of the weights of one frame's samples.
    pub(crate) fn row_weights(&self, frame_index: usize, row: usize) -> Option<&[f32]> {
        let width = self.shape().width;
        let start = frame_index * self.stride + row * width;
        self.has_weights.then(|| &self.weights[start..][..width])
    }

    /// Says that a frame does not touch the block.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn clear_frame(&mut self, frame_index: usize) {
        self.frame_mut(frame_index).fill(f32::NAN);
        if self.has_weights {
            self.frame_with_weights_mut(frame_index).1.fill(0.0);
        }
    }
}

/// Pixels of a block, padded so that the same pixel of many frames does not fall into the same
/// cache set: an odd number of 64-byte lines.
fn stride(shape: Shape) -> usize {
    let lines = shape.len().div_ceil(16);
    16 * (lines + (lines + 1) % 2)
}
