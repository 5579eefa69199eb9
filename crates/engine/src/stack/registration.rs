//! `registration.json`: where every frame lies and how it was bent; deterministic.
//!
//! The local fields of a thousand frames are tens of megabytes of text, so the file is written as
//! it is made, one frame after the other.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Serialize, Serializer};
use stillframe_image::{DisplacementField, Point, Rect, Shape, Vec2};
use stillframe_io::WriteError;
use stillframe_io::sink::{AtomicFile, Existing};
use stillframe_kernels::normalise::sky::SkySurface;

use super::canvas::Canvas;
use super::clusters::State;
use super::solve::Solved;
use super::tile_pass::TileRegistration;

/// Writes the file.
///
/// # Errors
/// [`WriteError`]: full disk, read-only folder.
pub(super) fn write(
    target: &Path,
    existing: Existing,
    solved: &Solved,
    usable: &[usize],
) -> Result<(), WriteError> {
    let registration = Registration {
        canvas: &solved.spec.canvas,
        fwhm_px: solved.fwhm_px,
        field_correlation_px: solved.correlation_px,
        weight_exponent: solved.shrinkage,
        frames: Frames { solved, usable },
        tiles: solved.registration.as_ref().map(Tiles),
    };
    let mut file = AtomicFile::create(target, existing)?;
    let mut text = BufWriter::new(&mut file);
    let written = serde_json::to_writer(&mut text, &registration)
        .map_err(std::io::Error::from)
        .and_then(|()| text.write_all(b"\n"))
        .and_then(|()| text.flush());
    drop(text);
    written.map_err(|e| file.error(e))?;
    file.commit()
}

#[derive(Serialize)]
struct Registration<'a> {
    canvas: &'a Canvas,
    fwhm_px: f64,
    field_correlation_px: Option<f64>,
    weight_exponent: f64,
    frames: Frames<'a>,
    tiles: Option<Tiles<'a>>,
}

struct Frames<'a> {
    solved: &'a Solved,
    /// Index among the inputs of each frame.
    usable: &'a [usize],
}

#[derive(Serialize)]
struct Frame<'a> {
    index: usize,
    ref_from_frame: [[f64; 3]; 3],
    field: Option<Field<'a>>,
    sky: &'a [SkySurface],
    scale: &'a [f32],
    group: Option<usize>,
    state: Option<State>,
}

#[derive(Serialize)]
struct Field<'a> {
    first_node: Point,
    last_node: Point,
    nodes: Shape,
    spacing_px: f64,
    bspline_coefficients_px: &'a [[f32; 2]],
}

impl<'a> From<&'a DisplacementField> for Field<'a> {
    fn from(field: &'a DisplacementField) -> Self {
        let nodes = field.nodes();
        Self {
            first_node: field.node_position(0, 0),
            last_node: field.node_position(nodes.width - 1, nodes.height - 1),
            nodes,
            spacing_px: field.spacing(),
            bspline_coefficients_px: field.coefficients(),
        }
    }
}

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { solved, usable } = self;
        serializer.collect_seq(solved.spec.frames.iter().enumerate().map(|(k, frame)| Frame {
            index: usable[k],
            ref_from_frame: solved.ref_from_frame[k].m,
            field: frame.field.as_ref().map(Field::from),
            sky: &frame.sky,
            scale: &frame.scale,
            group: solved.synthetic.as_ref().map(|s| s.group[k]),
            state: solved.synthetic.as_ref().map(|s| s.states[k]),
        }))
    }
}

/// What tile registration has found.
struct Tiles<'a>(&'a TileRegistration);

/// Its rectangle on the canvas in reference pixels and, where it is valid, shift and correlation of
/// every frame.
#[derive(Serialize)]
struct Tile<'a> {
    rect: Rect,
    level: u8,
    variance_px2: Option<f64>,
    shifts_px: Option<&'a [Option<Vec2>]>,
    cc: Option<&'a [Option<f64>]>,
}

impl Serialize for Tiles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tiles = self.0.grid.tiles().iter().zip(&self.0.motions);
        serializer.collect_seq(tiles.map(|(tile, motion)| Tile {
            rect: tile.rect,
            level: tile.level,
            variance_px2: motion.as_ref().map(|m| m.variance_px2),
            shifts_px: motion.as_ref().map(|m| m.shifts.as_slice()),
            cc: motion.as_ref().map(|m| m.cc.as_slice()),
        }))
    }
}
