//! Blocks that come in order become files, a row of blocks at a time.

use stillframe_image::{Image, Rect, Shape, mask};
use stillframe_io::WriteError;
use stillframe_io::fits::ImageWriter;
use stillframe_io::spool::{RawPlane, ScratchDir};

use super::assemble::Block;
use super::error::MosaicError;
use crate::stack::StackError;

/// Longest side of the reduced mosaic that the preview is made of.
const PREVIEW_SIDE: usize = 2048;

/// Where one plane of an image goes.
enum PlaneSink<'a> {
    /// Straight into the file.
    File(ImageWriter<'a, f32>),
    /// Into scratch: its place in the file is behind the plane before.
    Scratch(RawPlane<f32>),
}

/// One image under construction: planes one after another, as FITS wants them.
pub(super) struct ImageSink<'a> {
    planes: Vec<PlaneSink<'a>>,
    shape: Shape,
}

impl<'a> ImageSink<'a> {
    /// An image of `planes` planes whose first goes to `writer`.
    ///
    /// # Errors
    /// If there is no room for the others in `scratch`.
    pub(super) fn new(
        writer: ImageWriter<'a, f32>,
        shape: Shape,
        planes: usize,
        (scratch, name): (&ScratchDir, &str),
    ) -> Result<Self, WriteError> {
        let mut all = vec![PlaneSink::File(writer)];
        for plane in 1..planes {
            let name = format!("{name}_{plane}");
            all.push(PlaneSink::Scratch(RawPlane::create(scratch, &name, shape)?));
        }
        Ok(Self { planes: all, shape })
    }

    fn push(&mut self, plane: usize, y: usize, rows: &[f32]) -> Result<(), WriteError> {
        match &mut self.planes[plane] {
            PlaneSink::File(writer) => writer.push(rows),
            PlaneSink::Scratch(raw) => raw.write_rows(y, rows),
        }
    }

    /// Brings the other planes in and completes the image.
    ///
    /// # Errors
    /// A fault of the disk.
    pub(super) fn finish(self) -> Result<(), MosaicError> {
        let mut planes = self.planes.into_iter();
        let Some(PlaneSink::File(mut writer)) = planes.next() else { return Ok(()) };
        let (mut rows, mut buffer) = (Image::filled(Shape::new(0, 0), 0.0), Vec::new());
        for plane in planes {
            let PlaneSink::Scratch(raw) = plane else { continue };
            for y in (0..self.shape.height).step_by(COPY_ROWS) {
                let height = COPY_ROWS.min(self.shape.height - y);
                let rect = Rect::new(0, y, self.shape.width, height);
                raw.read_rect(rect, &mut rows, &mut buffer).map_err(StackError::from)?;
                writer.push(rows.pixels())?;
            }
        }
        writer.finish()?;
        Ok(())
    }
}

/// Rows that are copied at a time.
const COPY_ROWS: usize = 64;

/// Takes blocks in order and hands on whole rows.
pub(super) struct MosaicSink<'a> {
    shape: Shape,
    science: ImageSink<'a>,
    coverage: ImageSink<'a>,
    /// The current row of blocks: values and weights of each plane.
    value: Vec<Image<f32>>,
    weight: Vec<Image<f32>>,
    rows: Rect,
    pub(super) preview: Preview,
    pub(super) covered: u64,
    /// Samples in the result and rejected ones of each tile.
    pub(super) used: Vec<(u64, u64)>,
}

impl<'a> MosaicSink<'a> {
    pub(super) fn new(
        shape: Shape,
        planes: usize,
        n_tiles: usize,
        science: ImageSink<'a>,
        coverage: ImageSink<'a>,
    ) -> Self {
        let none = Shape::new(0, 0);
        Self {
            shape,
            science,
            coverage,
            value: vec![Image::filled(none, 0.0); planes],
            weight: vec![Image::filled(none, 0.0); planes],
            rows: Rect::new(0, 0, 0, 0),
            preview: Preview::new(shape, planes),
            covered: 0,
            used: vec![(0, 0); n_tiles],
        }
    }

    /// Bytes that it holds for blocks of `side` rows, beside the preview.
    pub(super) fn bytes(shape: Shape, planes: usize, side: usize) -> u64 {
        let preview = (PREVIEW_SIDE * PREVIEW_SIDE * 8 * planes) as u64;
        (8 * planes * side * shape.width) as u64 + preview
    }

    /// Takes block `rect`; blocks must come row by row, from left to right.
    ///
    /// # Errors
    /// A fault of the disk.
    pub(super) fn put(&mut self, rect: Rect, block: &Block) -> Result<(), WriteError> {
        if rect.x == 0 {
            self.rows = Rect::new(0, rect.y, self.shape.width, rect.height);
            for image in self.value.iter_mut().chain(&mut self.weight) {
                if image.shape() != self.rows.shape() {
                    image.reset(self.rows.shape(), 0.0);
                }
            }
        }
        for (plane, part) in block.planes.iter().enumerate() {
            for row in 0..rect.height {
                let from = row * rect.width..(row + 1) * rect.width;
                let to = rect.x..rect.x_end();
                self.value[plane].row_mut(row)[to.clone()]
                    .copy_from_slice(&part.value[from.clone()]);
                self.weight[plane].row_mut(row)[to].copy_from_slice(&part.weight[from]);
            }
        }
        for &(tile, kept, rejected) in &block.used {
            let sums = &mut self.used[tile as usize];
            *sums = (sums.0 + kept, sums.1 + rejected);
        }
        if rect.x_end() == self.shape.width {
            self.hand_on()?;
        }
        Ok(())
    }

    /// Writes the row of blocks.
    fn hand_on(&mut self) -> Result<(), WriteError> {
        for plane in 0..self.value.len() {
            self.science.push(plane, self.rows.y, self.value[plane].pixels())?;
            self.coverage.push(plane, self.rows.y, self.weight[plane].pixels())?;
        }
        let weights = &self.weight[self.weight.len() / 2];
        self.covered += weights.pixels().iter().filter(|w| **w > 0.0).count() as u64;
        for (plane, values) in self.value.iter().enumerate() {
            self.preview.add(plane, self.rows.y, values);
        }
        Ok(())
    }

    /// Completes both files; gives what is kept of the rest.
    ///
    /// # Errors
    /// A fault of the disk.
    pub(super) fn finish(self) -> Result<Assembled, MosaicError> {
        self.science.finish()?;
        self.coverage.finish()?;
        let pixels = self.shape.len().max(1) as f64;
        Ok(Assembled {
            preview: self.preview,
            covered_fraction: self.covered as f64 / pixels,
            used: self.used,
        })
    }
}

/// What is left when the files are written.
pub(super) struct Assembled {
    pub(super) preview: Preview,
    pub(super) covered_fraction: f64,
    pub(super) used: Vec<(u64, u64)>,
}

/// The mosaic averaged down by a whole factor, for the eye.
pub(super) struct Preview {
    factor: usize,
    sums: Vec<Image<f32>>,
    counts: Vec<Image<f32>>,
}

impl Preview {
    fn new(shape: Shape, planes: usize) -> Self {
        let factor = shape.width.max(shape.height).div_ceil(PREVIEW_SIDE).max(1);
        let small = Shape::new(shape.height.div_ceil(factor), shape.width.div_ceil(factor));
        Self {
            factor,
            sums: vec![Image::filled(small, 0.0); planes],
            counts: vec![Image::filled(small, 0.0); planes],
        }
    }

    /// Adds rows from row `first` on.
    fn add(&mut self, plane: usize, first: usize, rows: &Image<f32>) {
        for y in 0..rows.height() {
            let small = (first + y) / self.factor;
            let sums = self.sums[plane].row_mut(small).iter_mut();
            let counts = self.counts[plane].row_mut(small).iter_mut();
            for ((sum, count), part) in sums.zip(counts).zip(rows.row(y).chunks(self.factor)) {
                for v in part.iter().filter(|v| !v.is_nan()) {
                    *sum += v;
                    *count += 1.0;
                }
            }
        }
    }

    /// The means, and the mask of what is covered in all planes.
    pub(super) fn finish(mut self) -> (Vec<Image<f32>>, Image<u8>) {
        let mut bits = Image::filled(self.sums[0].shape(), 0u8);
        for (sums, counts) in self.sums.iter_mut().zip(&self.counts) {
            let pixels = sums.pixels_mut().iter_mut().zip(counts.pixels()).zip(bits.pixels_mut());
            for ((sum, count), bits) in pixels {
                if *count > 0.0 {
                    *sum /= count;
                } else {
                    *bits = mask::NO_DATA;
                }
            }
        }
        (self.sums, bits)
    }
}
