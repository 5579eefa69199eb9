//! Tile-local registration: where stars do not say how a frame is bent, the image does.
//!
//! One unit is one tile of the reference plane and is worked on alone: its own reference, its own
//! shifts. Frames and iterations are serial inside it. The reference starts as the mean of the
//! frames where the gauge puts them (with `gauge: none`, as the middle frame) and is made again
//! from the aligned frames after each iteration; a frame is never compared with its own noise: it
//! is taken out of the reference first.

use serde::{Deserialize, Serialize};
use stillframe_image::{DisplacementField, Image, Point, Rect, Shape, Transform, Vec2, mask};
use stillframe_kernels::ops::demosaic::green_plane;
use stillframe_kernels::register::patch::{
    PatchAlignment, PatchError, PatchParams, PatchReference, PatchScratch, align_patch,
};
use stillframe_kernels::warp::{Geometry, Grid, Source, Void, WarpKernel, Warper, source_rect};

use super::burst::{Burst, DEFECT_REACH, FrameBuffer};

/// A frame as the tiles see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TileFrame {
    /// Index in the burst.
    pub(super) frame: usize,
    pub(super) frame_from_ref: Transform,
    pub(super) field: Option<DisplacementField>,
    /// Factor to the mean transparency.
    pub(super) scale: f32,
    /// Weight in the reference.
    pub(super) weight: f64,
}

/// How a tile's first reference comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FirstReference {
    /// Mean of all frames where the gauge puts them.
    Mean,
    /// The middle frame: without a gauge the mean is a smear.
    Middle,
}

/// What tile-local registration does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TilesSpec {
    /// The tiles that are to be registered, pixels of the plane.
    pub(super) tiles: Vec<Rect>,
    pub(super) frames: Vec<TileFrame>,
    pub(super) first_reference: FirstReference,
    pub(super) iterations: usize,
    /// Iteration ends when the reference changes by less than this, relative to its contrast.
    pub(super) convergence: f64,
    pub(super) min_correlation: f64,
    pub(super) params: PatchParams,
    /// Reference point of the first pixel of the plane that the tiles lie in.
    pub(super) origin: Point,
    /// Size of that plane.
    pub(super) shape: Shape,
}

/// Shift of one frame in one tile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TileShift {
    /// What is missing to the gauge, as a displacement field has it: a point p of the tile lies at
    /// `frame_from_ref * (p + displacement)`.
    pub(super) displacement: Vec2,
    /// Standard error per axis, pixels.
    pub(super) sigma_px: f64,
    /// Correlation with the reference.
    pub(super) cc: f64,
}

/// All frames of one tile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TileResult {
    /// Per frame; `None` where the image did not say.
    pub(super) shifts: Vec<Option<TileShift>>,
    pub(super) iterations: usize,
}

/// Pixels around a tile that are registered with it, so that a shifted frame still covers it.
pub(super) const MARGIN: usize = 16;

/// Buffers of a worker.
#[derive(Debug)]
pub(super) struct TileScratch {
    buffer: FrameBuffer,
    green: Image<f32>,
    warper: Warper,
    patch: PatchScratch,
}

impl TileScratch {
    pub(super) fn new(_: &TilesSpec) -> Self {
        Self {
            buffer: FrameBuffer::new(),
            green: Image::filled(Shape::new(0, 0), 0.0),
            // Registration images are smoothed anyway: bicubic is as good as Lanczos here.
            warper: Warper::new(WarpKernel::Bicubic),
            patch: PatchScratch::default(),
        }
    }
}

/// Weighted sum of aligned patches and of their weights.
struct Reference {
    sum: Vec<f64>,
    weight: Vec<f64>,
}

impl Reference {
    fn new(n: usize) -> Self {
        Self { sum: vec![0.0; n], weight: vec![0.0; n] }
    }

    fn add(&mut self, patch: &Image<f32>, weight: f64) {
        for (k, v) in patch.pixels().iter().enumerate() {
            if v.is_finite() {
                self.sum[k] += weight * f64::from(*v);
                self.weight[k] += weight;
            }
        }
    }

    /// The mean without `patch`, which was added with `weight` (0 if it was not).
    fn without(&self, patch: Option<(&Image<f32>, f64)>, shape: Shape) -> (Image<f32>, Image<u8>) {
        let mut mean = Image::filled(shape, 0.0f32);
        let mut bits = Image::filled(shape, mask::NO_DATA);
        for k in 0..shape.len() {
            let (mut sum, mut weight) = (self.sum[k], self.weight[k]);
            if let Some((patch, w)) = patch
                && patch.pixels()[k].is_finite()
            {
                sum -= w * f64::from(patch.pixels()[k]);
                weight -= w;
            }
            if weight > 1e-9 {
                mean.pixels_mut()[k] = (sum / weight) as f32;
                bits.pixels_mut()[k] = 0;
            }
        }
        (mean, bits)
    }
}

/// Registers every frame in one tile; the error names a frame that can no longer be read.
pub(super) fn work_tile(
    burst: &Burst,
    spec: &TilesSpec,
    index: usize,
    scratch: &mut TileScratch,
) -> Result<TileResult, String> {
    let area = spec.tiles[index].grown(MARGIN, spec.shape);
    let mut shifts: Vec<Option<TileShift>> = vec![None; spec.frames.len()];
    let mut reference = first_reference(burst, spec, area, scratch)?;
    let mut previous: Option<Image<f32>> = None;
    let mut iterations = 0;
    for iteration in 0..spec.iterations {
        iterations = iteration + 1;
        (shifts, reference) = if iteration == 0 && spec.first_reference == FirstReference::Middle {
            follow(burst, spec, index, &reference, scratch)?
        } else {
            let is_first = iteration == 0;
            improve(burst, spec, area, (&reference, &shifts, is_first), scratch)?
        };
        let (now, _) = reference.without(None, area.shape());
        let is_converged =
            previous.is_some_and(|old| relative_change(&old, &now) < spec.convergence);
        previous = Some(now);
        if is_converged {
            break;
        }
    }
    Ok(TileResult { shifts, iterations })
}

/// The frame that the others are compared with before there is a mean.
const fn middle(spec: &TilesSpec) -> usize {
    spec.frames.len() / 2
}

fn first_reference(
    burst: &Burst,
    spec: &TilesSpec,
    area: Rect,
    scratch: &mut TileScratch,
) -> Result<Reference, String> {
    let mut reference = Reference::new(area.shape().len());
    for (slot, frame) in spec.frames.iter().enumerate() {
        if spec.first_reference == FirstReference::Mean || slot == middle(spec) {
            let patch = patch_of(burst, spec, frame, Vec2::default(), area, scratch)?;
            reference.add(&patch, frame.weight);
        }
    }
    Ok(reference)
}

/// First iteration without a gauge: from the middle frame to both ends, each frame is looked for
/// where the one before it was found, so that a drift of any length is followed; a jump of up to
/// half a tile as well.
fn follow(
    burst: &Burst,
    spec: &TilesSpec,
    index: usize,
    reference: &Reference,
    scratch: &mut TileScratch,
) -> Result<(Vec<Option<TileShift>>, Reference), String> {
    let tile = spec.tiles[index];
    let area = tile.grown(MARGIN, spec.shape);
    let (n, middle) = (spec.frames.len(), middle(spec));
    let range = 0.5 * tile.width.min(tile.height) as f64;
    let params =
        PatchParams { max_shift_px: range.max(spec.params.max_shift_px), ..spec.params.clone() };
    let (mean, mean_bits) = reference.without(None, area.shape());
    let prepared = PatchReference::new(&mean, Some(&mean_bits), &params, &mut scratch.patch);
    let mut found: Vec<Option<TileShift>> = vec![None; n];
    let mut next = Reference::new(area.shape().len());
    for slot in (middle..n).chain((0..middle).rev()) {
        let frame = &spec.frames[slot];
        if slot == middle {
            // Nothing is left of the reference without its only frame: it is its own origin.
            let sigma_px = 0.5 * spec.params.max_sigma_px;
            found[slot] = Some(TileShift { displacement: Vec2::default(), sigma_px, cc: 1.0 });
            let patch = patch_of(burst, spec, frame, Vec2::default(), area, scratch)?;
            next.add(&patch, frame.weight);
            continue;
        }
        let Ok(prepared) = &prepared else { continue };
        let start = nearest(&found, slot);
        let patch = patch_of(burst, spec, frame, start, area, scratch)?;
        let (clean, bits) = without_voids(&patch);
        let aligned = prepared.align(&clean, Some(&bits), Vec2::default(), &mut scratch.patch);
        found[slot] = accepted(aligned, start, spec);
        if let Some(shift) = found[slot] {
            let patch = patch_of(burst, spec, frame, shift.displacement, area, scratch)?;
            next.add(&patch, frame.weight);
        }
    }
    Ok((found, next))
}

/// One iteration: every frame against the reference without it, and the reference that they make.
fn improve(
    burst: &Burst,
    spec: &TilesSpec,
    area: Rect,
    (reference, shifts, is_first): (&Reference, &[Option<TileShift>], bool),
    scratch: &mut TileScratch,
) -> Result<(Vec<Option<TileShift>>, Reference), String> {
    let mut found: Vec<Option<TileShift>> = vec![None; shifts.len()];
    let mut next = Reference::new(area.shape().len());
    for (slot, frame) in spec.frames.iter().enumerate() {
        let old = match (shifts[slot], spec.first_reference) {
            (Some(shift), _) => shift.displacement,
            // A frame that was lost is looked for where its neighbour in time is.
            (None, FirstReference::Middle) => nearest(shifts, slot),
            (None, FirstReference::Mean) => Vec2::default(),
        };
        let patch = patch_of(burst, spec, frame, old, area, scratch)?;
        let is_in = is_first || shifts[slot].is_some();
        let own = is_in.then_some((&patch, frame.weight));
        let (mean, mean_bits) = reference.without(own, area.shape());
        let (clean, bits) = without_voids(&patch);
        let aligned = align_patch(
            &mean,
            &clean,
            Some(&mean_bits),
            Some(&bits),
            Vec2::default(),
            &spec.params,
            &mut scratch.patch,
        );
        found[slot] = accepted(aligned, old, spec);
        if let Some(shift) = found[slot] {
            let patch = patch_of(burst, spec, frame, shift.displacement, area, scratch)?;
            next.add(&patch, frame.weight);
        }
    }
    Ok((found, next))
}

/// Displacement of the frame nearest in time to `slot` that has one; 0 if none has.
fn nearest(shifts: &[Option<TileShift>], slot: usize) -> Vec2 {
    let known = shifts.iter().enumerate().filter_map(|(k, s)| Some((k, (*s)?.displacement)));
    known.min_by_key(|(k, _)| k.abs_diff(slot)).map_or(Vec2::default(), |(_, d)| d)
}

/// The shift of a frame whose patch was made with `old`, if it is like enough to the reference.
fn accepted(
    aligned: Result<PatchAlignment, PatchError>,
    old: Vec2,
    spec: &TilesSpec,
) -> Option<TileShift> {
    let a = aligned.ok().filter(|a| a.cc >= spec.min_correlation)?;
    // The patch shows p where the frame has p + old; the shift takes what it shows to where the
    // reference has it.
    let displacement = old - a.shift;
    let sigma_px = (0.5 * (a.covariance[0] + a.covariance[2])).sqrt();
    Some(TileShift { displacement, sigma_px, cc: a.cc })
}

/// A patch with 0 where it has no data, and the mask that says where.
fn without_voids(patch: &Image<f32>) -> (Image<f32>, Image<u8>) {
    let bits = patch.map(|v| if v.is_finite() { 0 } else { mask::NO_DATA });
    (patch.map(|v| if v.is_finite() { v } else { 0.0 }), bits)
}

/// ‖now − old‖ / ‖now − its mean‖.
fn relative_change(old: &Image<f32>, now: &Image<f32>) -> f64 {
    let n = now.pixels().len().max(1) as f64;
    let mean = now.pixels().iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let square =
        |f: &dyn Fn(usize) -> f64| (0..now.pixels().len()).map(|k| f(k) * f(k)).sum::<f64>();
    let change = square(&|k| f64::from(now.pixels()[k]) - f64::from(old.pixels()[k]));
    let contrast = square(&|k| f64::from(now.pixels()[k]) - mean);
    if contrast > 0.0 { (change / contrast).sqrt() } else { 0.0 }
}

/// The frame where the gauge, its field and `displacement` put it over `area`; NaN where it has no
/// data.
fn patch_of(
    burst: &Burst,
    spec: &TilesSpec,
    frame: &TileFrame,
    displacement: Vec2,
    area: Rect,
    scratch: &mut TileScratch,
) -> Result<Image<f32>, String> {
    let geometry = Geometry {
        frame_from_ref: frame.frame_from_ref * Transform::translation(displacement),
        field: frame.field.as_ref(),
    };
    let mut out = Image::filled(area.shape(), f32::NAN);
    let halo = WarpKernel::Bicubic.halo() + DEFECT_REACH + 2;
    let grid = Grid { first: spec.origin, step: 1.0 };
    let Some(rect) = source_rect(&geometry, &grid, area, burst.spec.shape, halo) else {
        return Ok(out);
    };
    // Of colour frames the middle plane, green, is registered.
    let plane = burst.spec.planes / 2;
    burst.read(frame.frame, plane, rect, &mut scratch.buffer).map_err(|e| e.to_string())?;
    let pixels = match burst.spec.cfa {
        None => &scratch.buffer.pixels,
        Some(cfa) => {
            let here = cfa.shifted(rect.x as i64, rect.y as i64);
            green_plane(&scratch.buffer.pixels, here, &mut scratch.green);
            &scratch.green
        }
    };
    let void = Some(Void { bits: &scratch.buffer.mask, any_of: mask::NO_DATA });
    let source = Source { pixels, origin: (rect.x, rect.y), void };
    scratch.warper.warp(&source, &geometry, &grid, area, f32::INFINITY, out.pixels_mut());
    out.pixels_mut().iter_mut().for_each(|v| *v *= frame.scale);
    Ok(out)
}
