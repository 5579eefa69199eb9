//! How one recording of a session lies to another: from the means of both.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Shape, Vec2};
use stillframe_kernels::register::flow::filter::{Normalisation, Smoother};
use stillframe_kernels::register::flow::{Definition, Flow, FlowField, FlowParams};
use stillframe_kernels::register::phase::{PhaseParams, PhaseScratch, phase_correlate};
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::{DecodeError, Phase, UnitResult};
use stillframe_runtime::plan::{PhaseKind, PhaseRequest, UnitRule};

use super::mean::read_planes;
use crate::motion::chunks::SideJob;
use crate::motion::error::MotionError;
use crate::recipe::BetweenRecipe;
use crate::runner::{Runner, encode_into, read_spec};
use crate::wire;
use crate::worker::{self, ServePhase};

/// The displacement of a recording against the centre.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Between {
    pub(super) field: FlowField,
    /// The shift from which it was begun; `None` if there was no common structure to see one.
    pub(super) shift: Option<Vec2>,
}

/// The displacement of the mean `other` against the mean `centre`, channels of one shape: a rigid
/// shift by phase correlation, refined by a very smooth flow of both images after a Gaussian on each
/// channel by itself.
///
/// # Errors
/// If shapes or numbers of channels differ, or a parameter is out of its range.
pub(super) fn between(
    centre: &[Image<f32>],
    other: &[Image<f32>],
    recipe: &BetweenRecipe,
) -> Result<Between, MotionError> {
    let shape = centre[0].shape();
    let mut smoother = Smoother::new(shape, recipe.sigma_smooth, recipe.sigma_smooth);
    let mut smooth = |planes: &[Image<f32>], normalisation| -> Vec<Image<f32>> {
        planes
            .iter()
            .map(|plane| {
                let mut out = plane.clone();
                smoother.run(plane, normalisation, &mut out);
                out
            })
            .collect()
    };
    let range = Normalisation::of(&smooth(centre, Normalisation::IDENTITY));
    let (fixed, moving) = (smooth(centre, range), smooth(other, range));
    let shift = shift(centre, other);
    let mut start = FlowField::zero(shape);
    if let Some(shift) = shift {
        start.u.pixels_mut().fill(shift.dx as f32);
        start.v.pixels_mut().fill(shift.dy as f32);
    }
    let params = FlowParams {
        alpha: [recipe.alpha; 2],
        iterations: recipe.iterations,
        const_assumption: recipe.constancy_assumption.into(),
        // What the shift has brought in from outside must say nothing.
        definition: Definition::Repaired,
        ..FlowParams::default()
    };
    let mut flow = Flow::new(params, shape, centre.len())?;
    let seen = away_from_borders(shape, shift.unwrap_or_default(), recipe.sigma_smooth);
    flow.set_weight_maps(&vec![seen.map(|s| s / centre.len() as f32); centre.len()])?;
    flow.set_reference(&fixed)?;
    let field = flow.compute(&moving, Some(&start))?;
    Ok(Between { field, shift })
}

/// 1 where the Gaussian of neither image reaches over a border, 0 elsewhere: there it mixes in a
/// mirror image, which does not move with the tissue, and smoothness knows better.
fn away_from_borders(shape: Shape, shift: Vec2, sigma: f64) -> Image<f32> {
    // At 2 sigma 2 % of the weight lie beyond; small images keep half of their middle.
    let margin = |n: usize| (2.0 * sigma).min(n as f64 / 8.0);
    let is_seen = |at: usize, shift: f64, n: usize| {
        let (low, high) = (margin(n), n as f64 - 1.0 - margin(n));
        let at = at as f64;
        (low..=high).contains(&at) && (low..=high).contains(&(at + shift))
    };
    Image::from_fn(shape, |x, y| {
        let seen = is_seen(x, shift.dx, shape.width) && is_seen(y, shift.dy, shape.height);
        f32::from(u8::from(seen))
    })
}

/// The shift as a displacement: `centre(x) = other(x + shift)`.
fn shift(centre: &[Image<f32>], other: &[Image<f32>]) -> Option<Vec2> {
    let (params, mut scratch) = (PhaseParams::default(), PhaseScratch::default());
    let [centre, other] = [mixed(centre), mixed(other)];
    let found = phase_correlate(&centre, &other, None, None, &params, &mut scratch).ok()?;
    let centre_from_other = found.peaks.first()?.shift;
    Some(Vec2::new(-centre_from_other.dx, -centre_from_other.dy))
}

/// The mean of the channels, each scaled to a range of 1 so that a bright one does not drown the
/// others.
fn mixed(channels: &[Image<f32>]) -> Image<f32> {
    let scaled: Vec<(&Image<f32>, Normalisation)> =
        channels.iter().map(|c| (c, Normalisation::of(std::slice::from_ref(c)))).collect();
    Image::from_fn(channels[0].shape(), |x, y| {
        let sum: f64 =
            scaled.iter().map(|(c, n)| (f64::from(c.at(x, y)) - n.offset) * n.scale).sum();
        (sum / channels.len() as f64) as f32
    })
}

/// What a worker process builds its phase from.
#[derive(Clone, Serialize, Deserialize)]
struct Spec {
    centre: PathBuf,
    others: Vec<PathBuf>,
    recipe: BetweenRecipe,
}

struct BetweenPhase<'a> {
    spec: Spec,
    centre: Vec<Image<f32>>,
    need: Need,
    spec_file: Option<&'a Path>,
}

#[derive(Serialize, Deserialize)]
struct Parcel {
    #[serde(with = "wire::pod")]
    field: Vec<f32>,
    shift: Option<[f64; 2]>,
}

impl Phase for BetweenPhase<'_> {
    type Output = Result<Parcel, String>;
    type Scratch = ();

    fn name(&self) -> &str {
        "session_between"
    }

    fn units(&self) -> usize {
        self.spec.others.len()
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) {}

    fn work(&self, index: usize, (): &mut ()) -> Self::Output {
        let other = read_planes(&self.spec.others[index], &[]).map_err(|e| e.to_string())?;
        let Between { field, shift } =
            between(&self.centre, &other, &self.spec.recipe).map_err(|e| e.to_string())?;
        let field = [field.u.pixels(), field.v.pixels()].concat();
        Ok(Parcel { field, shift: shift.map(|s| [s.dx, s.dy]) })
    }

    fn job(&self) -> Option<Vec<u8>> {
        worker::Job::Side(SideJob::Between(self.spec_file?.to_path_buf())).bytes()
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// The other side of the phase's job.
///
/// # Errors
/// If the specification or the mean of the centre cannot be read.
pub(crate) fn with_between<R>(spec: &Path, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    let spec: Spec = read_spec(spec)?;
    let centre = read_planes(&spec.centre, &[])?;
    Ok(serve.serve(&BetweenPhase { spec, centre, need: Need::default(), spec_file: None }))
}

/// The displacements of the means `others` against that of the `centre`, which all have the shape
/// and the channels of the first; `commit` gets them in order.
///
/// # Errors
/// [`MotionError`], also that of `commit`.
pub(super) fn between_all(
    runner: &mut Runner<'_>,
    centre: &Path,
    others: &[PathBuf],
    recipe: &BetweenRecipe,
    mut commit: impl FnMut(usize, Between) -> Result<(), MotionError>,
) -> Result<(), MotionError> {
    let spec = Spec { centre: centre.into(), others: others.to_vec(), recipe: recipe.clone() };
    let centre = read_planes(centre, &[])?;
    let (shape, channels) = (centre[0].shape(), centre.len() as u64);
    let pixels = shape.len() as u64;
    // Of the flow as in the registration of frames, and of the correlation in double precision.
    let need = Need { work: pixels * (320 + 80 * channels), result: 8 * pixels };
    let rule =
        UnitRule::Frames { count: others.len(), work_bytes: need.work, result_bytes: need.result };
    let mut request = PhaseRequest::new(PhaseKind::new("session_between"), rule);
    request.shared_bytes = 4 * pixels * channels;
    let plan = runner.plan(&request)?;
    let spec_file = runner
        .spec_file(&plan, "session_between", &spec)
        .map_err(|(path, e)| MotionError::Output { path, reason: e.to_string() })?;
    let phase = BetweenPhase { spec, centre, need, spec_file: spec_file.as_deref() };
    runner.run_phase(&phase, &plan, |index, result| match result {
        UnitResult::Done(Ok(Parcel { field, shift })) => {
            let (u, v) = field.split_at(shape.len());
            let field = FlowField {
                u: Image::from_vec(shape, u.to_vec()),
                v: Image::from_vec(shape, v.to_vec()),
            };
            commit(index, Between { field, shift: shift.map(|[dx, dy]| Vec2::new(dx, dy)) })
        }
        UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => {
            Err(MotionError::Inputs(format!("{}: {reason}", others[index].display())))
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use stillframe_image::math;

    use super::*;

    /// Blobs of a Gaussian shape, the same for every view.
    fn scene(x: f64, y: f64, seed: u64) -> f32 {
        let mut rng = stillframe_image::Rng::new(seed, 0, 0);
        let mut sum = 10.0;
        for _ in 0..60 {
            let [bx, by, size, height] = [0; 4].map(|_| rng.uniform());
            let (dx, dy, s) = (x - 180.0 * bx + 20.0, y - 150.0 * by + 20.0, 2.0 + 4.0 * size);
            let r2 = (dx * dx + dy * dy) / (s * s);
            if r2 < 30.0 {
                sum += (20.0 + 80.0 * height) * math::exp(-0.5 * r2);
            }
        }
        sum as f32
    }

    fn view(shape: Shape, of: impl Fn(f64, f64) -> (f64, f64), seed: u64) -> Image<f32> {
        Image::from_fn(shape, |x, y| {
            let (x, y) = of(x as f64, y as f64);
            scene(x, y, seed)
        })
    }

    #[test]
    fn shift_and_bend_between_means_are_found() {
        let shape = Shape::new(112, 144);
        // other(x + u(x)) = centre(x) for u = (9.5, -6.25) and a slow bend on top.
        let bend = |x: f64| 1.5 * math::sin(x / 40.0);
        for channels in [1, 2] {
            let seeds = 0..channels as u64;
            let centre: Vec<_> = seeds.clone().map(|s| view(shape, |x, y| (x, y), s)).collect();
            let other: Vec<_> =
                seeds.map(|s| view(shape, |x, y| (x - 9.5, y + 6.25 - bend(x - 9.5)), s)).collect();
            let found = between(&centre, &other, &BetweenRecipe::default()).unwrap();
            let shift = found.shift.unwrap();
            assert!((shift.dx - 9.5).abs() < 1.0 && (shift.dy + 6.25).abs() < 2.0, "{shift:?}");
            let mut worst = 0.0f64;
            for y in 20..92 {
                for x in 20..124 {
                    let du = f64::from(found.field.u.at(x, y)) - 9.5;
                    let dv = f64::from(found.field.v.at(x, y)) + 6.25 - bend(x as f64);
                    worst = worst.max((du * du + dv * dv).sqrt());
                }
            }
            eprintln!("{channels} channels: worst {worst:.3} px");
            assert!(worst < 0.5, "{channels}: {worst}");
        }
    }

    #[test]
    fn the_centre_lies_on_itself_and_nothing_common_is_no_shift() {
        let shape = Shape::new(64, 64);
        let centre = [view(shape, |x, y| (x, y), 3)];
        let found = between(&centre, &centre, &BetweenRecipe::default()).unwrap();
        let longest = found.field.statistics().max_disp;
        assert!(longest < 0.05, "{longest}");
        let flat = [Image::filled(shape, 7.0)];
        let found = between(&flat, &centre, &BetweenRecipe::default()).unwrap();
        assert_eq!(found.shift, None);
        assert!(found.field.u.pixels().iter().all(|v| v.is_finite()));
    }

    #[test]
    fn smoothing_does_not_mix_channels() {
        let shape = Shape::new(64, 64);
        let own = view(shape, |x, y| (x, y), 5);
        let moved = view(shape, |x, y| (x - 3.0, y), 5);
        // A channel without structure adds nothing, whatever its level.
        let alone = between(from_ref(&own), from_ref(&moved), &BetweenRecipe::default());
        let alone = alone.unwrap();
        let range = own.pixels().iter().copied().fold(f32::MIN, f32::max);
        let blank = Image::filled(shape, 0.5 * range);
        let both =
            between(&[own, blank.clone()], &[moved, blank], &BetweenRecipe::default()).unwrap();
        for (x, y) in [(20, 20), (32, 40), (45, 25)] {
            assert!((alone.field.u.at(x, y) - both.field.u.at(x, y)).abs() < 0.2);
        }
    }
}
