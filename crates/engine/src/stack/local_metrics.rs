//! Quality of every frame around every node of the weights, before any resampling: one more reading
//! of the frames, for the local factor of Methodik v4.

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Point, Rect, Shape, Transform};
use stillframe_kernels::ops::background::Background;
use stillframe_kernels::ops::demosaic::green_plane;
use stillframe_kernels::ops::metrics::{TileMetrics, tile_metrics};
use stillframe_kernels::ops::stars::Star;
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::burst::{Burst, FrameBuffer};
use super::error::StackError;
use super::measure::StarRecord;
use super::phases::LocalPhase;
use super::photometry::Member;
use super::run::Run;

/// A place of which less than this share lies in the frame says nothing about it.
const LEAST_SHARE: f64 = 0.25;

/// What is measured where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LocalSpec {
    frames: Vec<LocalFrame>,
    /// Places, reference plane.
    nodes: Vec<Point>,
    /// Side of the square around each that is looked at, pixels.
    side: f64,
}

impl LocalSpec {
    /// Number of frames.
    pub(super) fn n_frames(&self) -> usize {
        self.frames.len()
    }
}

/// A frame and what the first pass has found in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LocalFrame {
    /// Index in the burst.
    frame: usize,
    frame_from_ref: Transform,
    background: Background,
    stars: Vec<StarRecord>,
}

/// Buffers of a worker.
#[derive(Debug)]
pub(super) struct LocalScratch {
    buffer: FrameBuffer,
    green: Image<f32>,
}

impl LocalScratch {
    pub(super) fn new() -> Self {
        Self { buffer: FrameBuffer::new(), green: Image::filled(Shape::new(0, 0), 0.0) }
    }
}

/// Metrics of one frame at each node; `None` where the frame does not reach.
pub(super) type LocalMetrics = Vec<Option<TileMetrics>>;

/// Measures frame `index` of `spec`; the error names a frame that can no longer be read.
pub(super) fn work_local(
    burst: &Burst,
    spec: &LocalSpec,
    index: usize,
    scratch: &mut LocalScratch,
) -> Result<LocalMetrics, String> {
    let frame = &spec.frames[index];
    let shape = burst.spec.shape;
    // Of colour frames the middle plane, green, is judged, as in the first pass.
    let plane = burst.spec.planes / 2;
    burst.read(frame.frame, plane, shape.rect(), &mut scratch.buffer).map_err(|e| e.to_string())?;
    let FrameBuffer { pixels, mask, .. } = &scratch.buffer;
    let image = match burst.spec.cfa {
        None => pixels,
        Some(cfa) => {
            green_plane(pixels, cfa, &mut scratch.green);
            &scratch.green
        }
    };
    let stars: Vec<Star> = frame.stars.iter().map(star).collect();
    let at = |node: &Point| {
        let rect = square(frame.frame_from_ref * *node, spec.side, shape)?;
        Some(tile_metrics(image, mask, &frame.background, &stars, rect))
    };
    Ok(spec.nodes.iter().map(at).collect())
}

/// The square of `side` pixels around `centre`, cut to the frame; `None` if too little is left.
fn square(centre: Point, side: f64, shape: Shape) -> Option<Rect> {
    let span = |c: f64, size: usize| {
        let clamp = |v: f64| v.round().clamp(0.0, size as f64) as usize;
        (clamp(c - 0.5 * side), clamp(c + 0.5 * side))
    };
    let ((x, x_end), (y, y_end)) = (span(centre.x, shape.width), span(centre.y, shape.height));
    let rect = Rect::new(x, y, x_end.checked_sub(x)?, y_end.checked_sub(y)?);
    (rect.shape().len() as f64 >= LEAST_SHARE * side * side).then_some(rect)
}

/// A star as the metrics want it.
fn star(record: &StarRecord) -> Star {
    Star {
        position: record.position(),
        position_sigma_px: record.sigma_px,
        flux: record.flux,
        flux_sigma: record.flux_sigma,
        peak: record.peak,
        fwhm_px: record.fwhm_px,
        roundness: record.roundness,
        // The metrics do not look at it.
        angle_rad: 0.0,
        flags: record.flags,
    }
}

/// Measures every member at every node, in squares of `side` pixels; values are brought to the
/// scale of the burst by `scales`, so that a bright sky is not punished twice.
///
/// # Errors
/// If a frame can no longer be read, or the run is cancelled.
pub(super) fn measure_local(
    run: &mut Run<'_>,
    burst: &Burst,
    (members, frames): (&[Member<'_>], &[usize]),
    scales: &[Vec<f64>],
    (nodes, side): (&[Point], f64),
) -> Result<Vec<LocalMetrics>, StackError> {
    let middle = |n: usize| n / 2;
    let local = |(member, &frame): (&Member<'_>, &usize)| LocalFrame {
        frame,
        frame_from_ref: member.frame_from_ref,
        background: member.measure.meshes[middle(member.measure.meshes.len())].clone(),
        stars: member.measure.stars.clone(),
    };
    let spec = LocalSpec {
        frames: members.iter().zip(frames).map(local).collect(),
        nodes: nodes.to_vec(),
        side,
    };
    let n = spec.frames.len();
    // Pixels, mask, green and what reading holds.
    let need = Need {
        work: 16 * burst.spec.shape.len() as u64 + (1 << 20),
        result: (size_of::<Option<TileMetrics>>() * nodes.len()) as u64,
    };
    let mut request = PhaseRequest::new(
        PhaseKind::new("stack_local"),
        UnitRule::Frames { count: n, work_bytes: need.work, result_bytes: need.result },
    );
    request.n_frames = n;
    request.shared_bytes = burst.spec.masters.bytes();
    let plan = run.plan(&request)?;
    let files =
        (run.spec_file(&plan, "burst", &burst.spec)?, run.spec_file(&plan, "local", &spec)?);
    let files = files.0.as_deref().zip(files.1.as_deref());
    let phase = LocalPhase { burst, spec: &spec, need, files };
    let mut all = Vec::with_capacity(n);
    run.run_phase(&phase, &plan, |index, result| match result {
        UnitResult::Done(Ok(metrics)) => {
            let scale = scales[index][middle(scales[index].len())] as f32;
            all.push(metrics.into_iter().map(|m| Some(scaled(m?, scale))).collect());
            Ok(())
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => Err(StackError::Unit(reason)),
    })?;
    Ok(all)
}

/// Metrics of the same tile divided by `scale`.
fn scaled(metrics: TileMetrics, scale: f32) -> TileMetrics {
    TileMetrics {
        background: metrics.background / scale,
        noise: metrics.noise / scale,
        gradient_energy: metrics.gradient_energy / (scale * scale),
        ..metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_cut_at_the_border_and_refused_beyond_it() {
        let shape = Shape::new(100, 200);
        let whole = square(Point::new(60.0, 50.0), 40.0, shape);
        assert_eq!(whole, Some(Rect::new(40, 30, 40, 40)));
        // A corner of the frame is a quarter of a square.
        assert_eq!(square(Point::new(0.0, 0.0), 40.0, shape), Some(Rect::new(0, 0, 20, 20)));
        assert_eq!(square(Point::new(-10.0, 0.0), 40.0, shape), None);
        assert_eq!(square(Point::new(-500.0, 50.0), 40.0, shape), None);
        assert_eq!(square(Point::new(f64::NAN, 50.0), 40.0, shape), None);
    }

    #[test]
    fn scaled_metrics_are_those_of_the_scaled_image() {
        let metrics = TileMetrics {
            background: 200.0,
            noise: 10.0,
            gradient_energy: 800.0,
            n_stars: 3,
            fwhm_px: Some(3.0),
            roundness: None,
            contrast: Some(0.5),
        };
        let half = scaled(metrics, 2.0);
        assert_eq!((half.background, half.noise, half.gradient_energy), (100.0, 5.0, 200.0));
        assert_eq!((half.n_stars, half.fwhm_px, half.contrast), (3, Some(3.0), Some(0.5)));
    }
}
