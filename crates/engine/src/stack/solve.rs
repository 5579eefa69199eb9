//! Between the passes: where every frame lies, how it is bent, how bright it is and what it weighs.

use stillframe_image::{Point, Shape, Transform};
use stillframe_kernels::register::joint::{Joint, JointFrame};

use super::burst::Burst;
use super::canvas::Canvas;
use super::choices::{combination, rejection, resampling};
use super::combine::{CombineFrame, CombineSpec};
use super::error::StackError;
use super::gauge::{GaugedBy, choose_reference, gauge};
use super::geometry::{
    Evidence, FieldRequest, Fields, MatchedFrame, fit_fields, joint_frames, mean_geometry, median,
    residuals,
};
use super::inputs::Inputs;
use super::measure::FrameMeasure;
use super::photometry::{Member, WeightLattice, scales, skies};
use super::reconstruct::{ReconstructTile, TileSources, tiles};
use super::report::FrameOutcome;
use super::run::Run;
use super::synthetic::Synthetic;
use super::tile_gauge::tile_gauge;
use super::tile_pass::{
    TileRegistration, TileView, register_tiles, tile_grid, tile_size, tiles_to_register,
};
use super::weighing::{Weighed, Weighing, weigh};
use crate::recipe::{
    Clamping, FieldMethod, GaugeMethod, ReconstructionMethod, ReferenceFrame, StackRecipe,
};

/// How every member of the burst is to be combined, and how that was found.
#[derive(Debug)]
pub(super) struct Solved {
    pub(super) spec: CombineSpec,
    /// Index in the burst of each frame of `spec`.
    pub(super) members: Vec<usize>,
    pub(super) gauged: Vec<GaugedBy>,
    pub(super) ref_from_frame: Vec<Transform>,
    pub(super) sightings: Vec<usize>,
    pub(super) residual_rms_px: Vec<f64>,
    pub(super) field_rms_px: Option<Vec<f64>>,
    pub(super) correlation_px: Option<f64>,
    pub(super) transparency: Vec<f64>,
    /// Index of the reference in the burst.
    pub(super) reference: usize,
    pub(super) fwhm_px: f64,
    pub(super) shrinkage: f64,
    /// The groups of the frames, if the recipe wants any.
    pub(super) synthetic: Option<Synthetic>,
    /// What tiles have found on the image.
    pub(super) registration: Option<TileRegistration>,
    /// The tiles that the result is put together from; without them the fields are used.
    pub(super) tiles: Option<Vec<ReconstructTile>>,
}

/// FWHM that is assumed where no star tells, pixels (the original's figure).
const FALLBACK_FWHM_PX: f64 = 3.0;

/// Solves the burst. Frames that cannot be registered are lost.
///
/// # Errors
/// If too few frames are left, the recipe does not fit them, a frame can no longer be read, or the
/// run is cancelled.
pub(super) fn solve(
    run: &mut Run<'_>,
    inputs: &mut Inputs,
    burst: &Burst,
    measures: &[FrameMeasure],
) -> Result<Solved, StackError> {
    let recipe = &run.job.recipe;
    let Registered { members, matched, gauged, reference } =
        register(run, inputs, burst, measures)?;
    let frames = joint_frames(&matched);
    let mut plane = Plane::of(&frames, &members, reference, burst.spec.shape, measures, recipe)?;
    let (fields, registration) = bend(run, inputs, burst, measures, &members, &frames, &mut plane)?;
    let field_rms_px = field_residuals(plane.joint.as_ref(), &frames, fields.as_ref());
    let Plane { joint, ref_from_frame, residual_rms_px, fwhm_px, canvas, lattice, request } = plane;
    let list = member_list(&members, measures, &ref_from_frame);
    let scale = scales(&list, joint.as_ref(), &recipe.normalization);
    let weighed = weigh(
        run,
        burst,
        &Weighing {
            list: &list,
            members: &members,
            inputs: &inputs.usable(),
            scales: &scale,
            fields: fields.as_ref(),
            tiles: registration.as_ref(),
            lattice: &lattice,
            nodes: &request.probes,
            tile_px: tile_size(fwhm_px, recipe),
            residual_px: field_rms_px.as_deref().unwrap_or(&residual_rms_px),
        },
    )?;
    let tiles =
        result_tiles(run, &canvas, fwhm_px, registration.as_ref(), fields.as_ref(), members.len());
    let correlation_px = fields.as_ref().map(|f| f.correlation_px);
    let gain = inputs.info(inputs.usable()[0]).gain_e_per_adu;
    let spec =
        combine_spec(recipe, burst, gain, canvas, (&list, &members), &scale, &weighed, fields);
    Ok(Solved {
        transparency: scale.iter().map(|s| s[spec.planes / 2]).collect(),
        spec,
        sightings: joint
            .as_ref()
            .map_or_else(|| vec![0; members.len()], |j| j.sightings.iter().map(Vec::len).collect()),
        members,
        gauged,
        ref_from_frame,
        residual_rms_px,
        field_rms_px,
        correlation_px,
        reference,
        fwhm_px,
        shrinkage: weighed.shrinkage,
        synthetic: weighed.synthetic,
        registration,
        tiles,
    })
}

/// The frames that found their place.
struct Registered {
    /// Index in the burst of each.
    members: Vec<usize>,
    matched: Vec<MatchedFrame>,
    gauged: Vec<GaugedBy>,
    /// Index of the reference in the burst.
    reference: usize,
}

fn register(
    run: &mut Run<'_>,
    inputs: &mut Inputs,
    burst: &Burst,
    measures: &[FrameMeasure],
) -> Result<Registered, StackError> {
    let recipe = &run.job.recipe;
    let usable = inputs.usable();
    let mut gauge_recipe = recipe.gauge.clone();
    if let ReferenceFrame::Frame(index) = gauge_recipe.reference {
        let place = usable.iter().position(|&i| i == index).ok_or_else(|| {
            StackError::Recipe(format!(
                "gauge.reference is frame {index}, which is not among the {} usable frames",
                usable.len()
            ))
        })?;
        gauge_recipe.reference = ReferenceFrame::Frame(place);
    }
    let reference = choose_reference(measures, &gauge_recipe);
    let all = match tile_gauge(run, burst, measures)? {
        Some(all) => all,
        None => gauge(burst, measures, reference, &gauge_recipe, &run.light())?,
    };
    let mut found =
        Registered { members: Vec::new(), matched: Vec::new(), gauged: Vec::new(), reference };
    for (i, frame) in all.into_iter().enumerate() {
        match frame.into_matched() {
            Ok((matched, gauged)) => {
                found.members.push(i);
                found.matched.push(matched);
                found.gauged.push(gauged);
            }
            Err(reason) => inputs.lose(
                usable[i],
                FrameOutcome::Failed { reason: format!("not registered: {reason}") },
            ),
        }
    }
    let needed = recipe.input.min_frames.max(1);
    if found.members.len() < needed {
        return Err(inputs.too_few(needed));
    }
    Ok(found)
}

/// The plane of the result: mean geometry, canvas, and the lattices that lie on it.
struct Plane {
    /// Common stars, if the frames were gauged at all.
    joint: Option<Joint>,
    ref_from_frame: Vec<Transform>,
    residual_rms_px: Vec<f64>,
    fwhm_px: f64,
    canvas: Canvas,
    lattice: WeightLattice,
    request: FieldRequest,
}

impl Plane {
    fn of(
        frames: &[JointFrame<'_>],
        members: &[usize],
        reference: usize,
        shape: Shape,
        measures: &[FrameMeasure],
        recipe: &StackRecipe,
    ) -> Result<Self, StackError> {
        let fwhm: Vec<f64> =
            members.iter().filter_map(|&i| measures[i].metrics.fwhm_px.map(f64::from)).collect();
        let fwhm_px = if fwhm.is_empty() { FALLBACK_FWHM_PX } else { median(fwhm) };
        let place = members.iter().position(|&i| i == reference).unwrap_or(0);
        let centre =
            Point::new(0.5 * (shape.width as f64 - 1.0), 0.5 * (shape.height as f64 - 1.0));
        // One frame is its own mean, to the last bit: its border is not to be lost to rounding.
        let is_gauged = recipe.gauge.method != GaugeMethod::None && frames.len() > 1;
        let joint = is_gauged.then(|| mean_geometry(frames, place, centre));
        let ref_from_frame: Vec<Transform> = match &joint {
            Some(joint) => joint.ref_from_frame.clone(),
            None => frames.iter().map(|f| f.ref_from_frame).collect(),
        };
        let residual_rms_px = joint
            .as_ref()
            .map_or_else(|| vec![0.0; frames.len()], |joint| residuals(joint, frames));
        let drizzle_scale = recipe.drizzle.as_ref().map_or(1.0, |d| d.scale);
        let canvas =
            Canvas::new(recipe.canvas, shape, &ref_from_frame, drizzle_scale).ok_or_else(|| {
                StackError::Recipe(format!(
                    "canvas: {} leaves no area that can be made; use canvas: reference",
                    serde_json::to_string(&recipe.canvas).unwrap_or_default()
                ))
            })?;
        let lattice = weight_lattice(&canvas, fwhm_px, recipe);
        let request = field_request(&canvas, &lattice, fwhm_px, recipe);
        Ok(Self { joint, ref_from_frame, residual_rms_px, fwhm_px, canvas, lattice, request })
    }
}

fn weight_lattice(canvas: &Canvas, fwhm_px: f64, recipe: &StackRecipe) -> WeightLattice {
    let spacing = tile_size(fwhm_px, recipe) * (1.0 - recipe.field.tile.overlap);
    let region = canvas.reference_shape();
    let nodes = |size: usize| (size as f64 / spacing).ceil() as usize + 1;
    WeightLattice {
        first: canvas.first,
        spacing,
        nodes: Shape::new(nodes(region.height), nodes(region.width)),
    }
}

fn field_request(
    canvas: &Canvas,
    lattice: &WeightLattice,
    fwhm_px: f64,
    recipe: &StackRecipe,
) -> FieldRequest {
    let region = canvas.reference_shape();
    let spacing = recipe.field.spacing_px;
    let last = |first: f64, size: usize| first + size as f64 - 1.0;
    // The outer nodes of the weights lie beyond the canvas.
    let inside = |p: &Point| {
        let x = p.x.min(last(canvas.first.x, region.width));
        Point::new(x, p.y.min(last(canvas.first.y, region.height)))
    };
    FieldRequest {
        first: canvas.first,
        shape: region,
        spacing: spacing.unwrap_or((0.6 * tile_size(fwhm_px, recipe)).clamp(32.0, 160.0)),
        probes: lattice.points().iter().map(inside).collect(),
    }
}

/// Local displacement: from the stars, and from the image where they are few.
fn bend(
    run: &mut Run<'_>,
    inputs: &Inputs,
    burst: &Burst,
    measures: &[FrameMeasure],
    members: &[usize],
    frames: &[JointFrame<'_>],
    plane: &mut Plane,
) -> Result<(Option<Fields>, Option<TileRegistration>), StackError> {
    let recipe = &run.job.recipe;
    let n = members.len();
    if recipe.field.method == FieldMethod::Off {
        return Ok((None, None));
    }
    if n < recipe.field.min_burst_frames {
        if n > 1 {
            run.warn(format!(
                "{n} frames are fewer than field.min_burst_frames = {}: the gauge alone is used, \
                 without local fields",
                recipe.field.min_burst_frames
            ));
        }
        return Ok((None, None));
    }
    let by_stars = recipe.field.method != FieldMethod::Tiles;
    let Plane { joint, ref_from_frame, fwhm_px, canvas, lattice, request, .. } = plane;
    let mut fields = None;
    if by_stars && let Some(joint) = joint.as_mut() {
        let evidence = Evidence { stars: Some((joint, frames)), vectors: &[], n_frames: n };
        fields = fit_fields(evidence, request, &run.light())?;
    }
    let list = member_list(members, measures, ref_from_frame);
    let scale = scales(&list, joint.as_ref(), &recipe.normalization);
    let view = TileView {
        members,
        times: &times(inputs, members),
        fields: fields.as_ref(),
        scales: &scale,
        fwhm_px: *fwhm_px,
        origin: canvas.first,
        plane: canvas.reference_shape(),
    };
    let Some(tiles) = tiles_to_register(&view, lattice, recipe) else {
        return Ok((fields, None));
    };
    let found = register_tiles(run, burst, &view, tiles, ref_from_frame)?;
    let stars = joint.as_mut().filter(|_| by_stars).map(|joint| (joint, frames));
    let evidence = Evidence { stars, vectors: &found.vectors, n_frames: n };
    Ok((fit_fields(evidence, request, &run.light())?, Some(found)))
}

/// When each member was taken: seconds if all headers say, else its place in the list.
fn times(inputs: &Inputs, members: &[usize]) -> Vec<f64> {
    let usable = inputs.usable();
    let starts: Vec<Option<f64>> = usable.iter().map(|&i| inputs.info(i).start_secs).collect();
    let ascend = starts.windows(2).all(|w| w[0].is_some() && w[0] <= w[1]);
    match starts.iter().copied().collect::<Option<Vec<f64>>>() {
        Some(secs) if ascend && secs.len() == members.len() => secs,
        _ => (0..members.len()).map(|k| k as f64).collect(),
    }
}

/// Robust rms per axis of the star residuals of each frame about its field, pixels.
fn field_residuals(
    joint: Option<&Joint>,
    frames: &[JointFrame<'_>],
    fields: Option<&Fields>,
) -> Option<Vec<f64>> {
    let (joint, fields) = (joint?, fields?);
    let residual = |i: usize| {
        let left = joint
            .observations(frames, i)
            .into_iter()
            .map(|o| (o.displacement - fields.fields[i].at(o.position)).norm());
        // The median length of a two-dimensional normal vector is 1.1774 σ.
        median(left.collect()) / 1.1774
    };
    Some((0..frames.len()).map(residual).collect())
}

fn member_list<'a>(
    members: &[usize],
    measures: &'a [FrameMeasure],
    ref_from_frame: &[Transform],
) -> Vec<Member<'a>> {
    members
        .iter()
        .zip(ref_from_frame)
        .map(|(&i, &ref_from_frame)| Member {
            measure: &measures[i],
            ref_from_frame,
            frame_from_ref: ref_from_frame
                .inverse()
                .expect("matching refuses transforms that cannot be undone"),
        })
        .collect()
}

/// The tiles that the result is put together from, if the recipe wants it so and they fit.
fn result_tiles(
    run: &mut Run<'_>,
    canvas: &Canvas,
    fwhm_px: f64,
    registration: Option<&TileRegistration>,
    fields: Option<&Fields>,
    n_frames: usize,
) -> Option<Vec<ReconstructTile>> {
    let recipe = &run.job.recipe;
    if recipe.reconstruction.method == ReconstructionMethod::Field {
        return None;
    }
    let region = canvas.reference_shape();
    let Some(grid) = tile_grid(region, fwhm_px, recipe) else {
        run.warn(format!("{region} pixels are too few for tiles: the gauge alone is used"));
        return None;
    };
    let sigma_px = recipe.reconstruction.variance_window_sigma_px;
    Some(tiles(&TileSources { canvas, grid, registration, fields, n_frames, sigma_px }))
}

/// Ringing is limited to this many σ of the noise (see [`stillframe_kernels::warp::Warper`]).
const UNDERSHOOT_SIGMA: f32 = 2.5;

#[expect(clippy::too_many_arguments, reason = "what pass 2 needs comes from all over the solution")]
fn combine_spec(
    recipe: &StackRecipe,
    burst: &Burst,
    gain: Option<f64>,
    canvas: Canvas,
    (list, members): (&[Member<'_>], &[usize]),
    scale: &[Vec<f64>],
    weighed: &Weighed,
    fields: Option<Fields>,
) -> CombineSpec {
    let planes = if burst.spec.cfa.is_some() { 3 } else { burst.spec.planes };
    let mut sky = vec![Vec::new(); list.len()];
    let mut levels = Vec::new();
    for plane in 0..planes {
        let (surfaces, level) = skies(list, scale, plane, &canvas, &recipe.normalization);
        for (all, s) in sky.iter_mut().zip(surfaces) {
            all.push(s);
        }
        levels.push(level);
    }
    let mut fields = fields.map(|f| f.fields.into_iter());
    let frames = sky.into_iter().enumerate().map(|(k, sky)| {
        let noise = list[k].measure.metrics.noise;
        CombineFrame {
            frame: members[k],
            frame_from_ref: list[k].frame_from_ref,
            field: fields.as_mut().and_then(Iterator::next),
            scale: scale[k].iter().map(|s| (1.0 / s) as f32).collect(),
            sky,
            weight: weighed.weights[k].clone(),
            sigma_floor: noise / scale[k][planes / 2] as f32,
            undershoot: match recipe.resampling.clamping {
                Clamping::Lobes => UNDERSHOOT_SIGMA * noise,
                Clamping::None => f32::INFINITY,
            },
            group: weighed.group(k),
        }
    });
    let frames: Vec<CombineFrame> = frames.collect();
    let (colour, resample) = resampling(recipe, list.len(), burst.spec.cfa);
    CombineSpec {
        frames,
        n_groups: weighed.n_groups(),
        canvas,
        resample,
        colour,
        planes,
        rejection: rejection(&recipe.rejection),
        combination: combination(recipe),
        levels,
        shot: gain.map_or(0.0, |g| (1.0 / g) as f32),
        block_side: 0,
    }
}
