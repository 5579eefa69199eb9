//! The order of a mosaic's steps.

use std::path::PathBuf;

use stillframe_image::{Rect, Shape};
use stillframe_io::fits::FitsWriter;
use stillframe_io::inputs::Inputs as Found;
use stillframe_io::wcs::{PixelMap, Wcs};
use stillframe_kernels::combine::Combination;
use stillframe_kernels::normalise::overlaps::Correction;
use stillframe_kernels::warp::WarpKernel;
use stillframe_runtime::Budget;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::capabilities::Capabilities;
use stillframe_runtime::clock::Stopwatch;
use stillframe_runtime::observe::{Event, Observer};
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::PlannedUnit;

use super::assemble::{AssembleSpec, Resample, Tile};
use super::classic::{GroupReport, master_tiles};
use super::error::MosaicError;
use super::footprint::footprint;
use super::grid::Grid;
use super::output::{self, COVERAGE, SCIENCE};
use super::phases::AssemblePhase;
use super::photometry::{Photometry, Places, photometry};
use super::plan::assemble_request;
use super::report::{MosaicFigures, MosaicReport, TileReport};
use super::run::MosaicJob;
use super::sink::{Assembled, ImageSink, MosaicSink};
use crate::recipe::{self, Clamping, MosaicKernel, MosaicRecipe, Recipe, Route, TileWeight};
use crate::resume::Stages;
use crate::runner::Runner;
use crate::stack::burst::Burst;
use crate::stack::calibration;
use crate::stack::choices::rejection;
use crate::stack::inputs::{self, Alike, Inputs};
use crate::stack::measure::FrameMeasure;
use crate::stack::measuring::measure_all;
use crate::stack::output::{folder_error, make_scratch, software};
use crate::stack::run::{Run, resolve_lights};
use crate::stack::{FrameOutcome, PhaseRecord, StackError};
use crate::watch::{Ended, watched};

/// What a run has made.
#[derive(Debug)]
pub struct MosaicOutcome {
    /// Every image's fate and the figures of the mosaic.
    pub report: MosaicReport,
    /// Plans and achievements of the heavy phases.
    pub phases: Vec<PhaseRecord>,
    /// Wall time, seconds.
    pub wall_secs: f64,
    /// CPU time, seconds, where the system tells.
    pub cpu_secs: Option<f64>,
    /// Highest resident memory, bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// Whether more images were lost than the recipe allows.
    pub lost_too_many: bool,
}

/// Assembles a mosaic.
///
/// # Errors
/// [`MosaicError`]. Whatever the error, no result of that name is left half-written, and inputs are never
/// touched.
pub fn run(
    job: &MosaicJob,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<MosaicOutcome, MosaicError> {
    let watch = Stopwatch::start();
    let measuring = job.measuring();
    let found = resolve_lights(&measuring)?;
    output::check_folder(job, &found.files)?;
    let ended = |result: &Result<MosaicOutcome, MosaicError>| match result {
        Ok(outcome) if outcome.lost_too_many => Ended::FramesLost,
        Ok(_) => Ended::Done,
        Err(MosaicError::Stack(StackError::Interrupted)) => Ended::Interrupted,
        Err(e) => Ended::Failed(e.to_string()),
    };
    let result = watched(&job.output, observer, &watch, ended, |everyone| {
        let scratch = make_scratch(&measuring)?;
        let mut run = Run {
            job: &measuring,
            stages: Stages::new(&job.output, job.resume),
            runner: Runner {
                observer: everyone,
                cancel,
                capabilities: Capabilities::detect(),
                resources: &measuring.resources,
                worker: measuring.worker.as_ref(),
                scratch: scratch.path().to_path_buf(),
                warnings: Vec::new(),
                phases: Vec::new(),
            },
        };
        let outcome = Mosaic { job, run: &mut run, scratch: &scratch }.make(found, &watch)?;
        run.stages.clear();
        Ok(outcome)
    });
    result.map_err(|e| folder_error(&measuring, &e))?
}

/// A run in progress.
struct Mosaic<'a, 'r> {
    job: &'a MosaicJob,
    run: &'a mut Run<'r>,
    scratch: &'a stillframe_io::spool::ScratchDir,
}

impl Mosaic<'_, '_> {
    fn make(&mut self, found: Found, watch: &Stopwatch) -> Result<MosaicOutcome, MosaicError> {
        let budget = Budget::resolve(self.job.resources.memory_bytes, &self.run.capabilities);
        self.run.observer.event(&Event::RunStart {
            command: "mosaic".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            n_inputs: found.files.len() + found.duplicates.len(),
            budget_bytes: budget.bytes,
            capabilities: self.run.capabilities.clone(),
        });
        let mut inputs = open_inputs(self.job, found, self.run)?;
        let mut wcs = solve_headers(&mut inputs);
        let mut lost = Vec::new();
        let mut groups = Vec::new();
        if self.job.recipe.route == Route::Classic {
            let (observer, cancel) = (self.run.observer, self.run.cancel);
            let (tiles, reports) = master_tiles(self.job, &inputs, &wcs, observer, cancel)?;
            lost = lost_frames(&inputs);
            groups = reports;
            let found = Found { files: tiles, duplicates: Vec::new() };
            inputs =
                inputs::open(found, &self.run.job.recipe.input, Alike::Colours, &self.run.light())?;
            wcs = solve_headers(&mut inputs);
        }
        let grid = choose_grid(self.job, &inputs, &wcs)?;
        lose_unseen(&grid, &mut inputs, &wcs)?;
        let prepared = if self.job.recipe.route == Route::Classic {
            calibration::Prepared::none(inputs.usable().len())
        } else {
            calibration::prepare(self.run, &inputs)?
        };
        let before = inputs.usable();
        let places = places(self.job, &grid, &inputs, &wcs);
        let boxes = places.boxes.clone();
        let (burst, measures) = measure_all(self.run, &mut inputs, prepared, boxes)?;
        let place_of: Vec<usize> = inputs
            .usable()
            .iter()
            .filter_map(|index| before.iter().position(|b| b == index))
            .collect();
        let planes = if burst.spec.cfa.is_some() { 3 } else { burst.spec.planes };
        let mut tiles = tiles(self.job, &grid, &inputs, &wcs, &measures)?;
        let recipe = &self.job.recipe.photometry;
        let solved = photometry(&grid, (&places, &place_of), &tiles, &measures, planes, recipe);
        self.tell_photometry(&solved);
        for (tile, corrections) in tiles.iter_mut().zip(&solved.corrections) {
            tile.corrections.clone_from(corrections);
        }
        let mut spec = spec(self.job, grid, tiles, &measures, &burst, planes, &inputs);
        let assembled = self.assemble(&burst, &mut spec, &inputs)?;
        let mut report = self.report(&inputs, &measures, &spec, &solved, &assembled);
        report.groups = groups;
        if !lost.is_empty() {
            report.groups.push(GroupReport { tile: None, reason: None, frames: lost });
        }
        output::tell_tiles(self.run, &report.tiles);
        let lost_too_many = report.lost_fraction() > self.job.recipe.stack.input.max_lost_fraction;
        let mut outcome = MosaicOutcome {
            report: report.clone(),
            phases: std::mem::take(&mut self.run.phases),
            wall_secs: 0.0,
            cpu_secs: None,
            peak_rss_bytes: None,
            files: Vec::new(),
            lost_too_many,
        };
        output::write(self.run, self.job, &report, assembled.preview, watch, &mut outcome)?;
        Ok(outcome)
    }

    fn tell_photometry(&mut self, solved: &Photometry) {
        if solved.n_components > 1 {
            self.run.warn(format!(
                "the images fall into {} groups that do not overlap: levels and gains are matched within \
                 each group only",
                solved.n_components
            ));
        }
        if self.job.recipe.photometry.gain && solved.n_stars == 0 && solved.corrections.len() > 1 {
            self.run.warn("no star is seen in two images: gains are not matched".into());
        }
    }

    /// Pass 2: blocks of the grid, committed in order.
    fn assemble(
        &mut self,
        burst: &Burst,
        spec: &mut AssembleSpec,
        inputs: &Inputs,
    ) -> Result<Assembled, MosaicError> {
        let request = assemble_request(spec, burst.spec.masters.bytes());
        let plan = self.run.plan(&request)?;
        spec.block_side = match (self.job.block_side, plan.unit) {
            (Some(side), _) => side.max(1),
            (None, PlannedUnit::Block { side, .. }) => side,
            (None, _) => 256,
        };
        let files = (
            self.run.spec_file(&plan, "burst", &burst.spec)?,
            self.run.spec_file(&plan, "assemble", spec)?,
        );
        let existing = output::existing(self.job);
        let (shape, planes) = (spec.grid.shape, spec.planes);
        let path = |name: &str| self.job.output.join(name);
        let mut science = FitsWriter::create(&path(SCIENCE), existing)?;
        let mut coverage = FitsWriter::create(&path(COVERAGE), existing)?;
        let header = |what: &str| output::header(self.run, self.job, inputs, &spec.grid, what);
        let scratch = |name| (self.scratch, name);
        let science_image = science.begin_image(None, &header("Mosaic"), shape, planes)?;
        let coverage_image = coverage.begin_image(None, &header("Coverage"), shape, planes)?;
        let mut sink = MosaicSink::new(
            shape,
            planes,
            spec.tiles.len(),
            ImageSink::new(science_image, shape, planes, scratch("science"))?,
            ImageSink::new(coverage_image, shape, planes, scratch("coverage"))?,
        );
        let blocks = spec.blocks();
        let phase = AssemblePhase {
            burst,
            spec,
            blocks: &blocks,
            files: files.0.as_deref().zip(files.1.as_deref()),
        };
        self.run.run_phase(&phase, &plan, |index, result| match result {
            UnitResult::Done(Ok(block)) => Ok(sink.put(blocks[index], &block)?),
            UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => {
                Err(StackError::Unit(reason))
            }
        })?;
        let assembled = sink.finish()?;
        science.finish()?;
        coverage.finish()?;
        Ok(assembled)
    }

    fn report(
        &self,
        inputs: &Inputs,
        measures: &[FrameMeasure],
        spec: &AssembleSpec,
        solved: &Photometry,
        assembled: &Assembled,
    ) -> MosaicReport {
        let total: f64 = spec
            .tiles
            .iter()
            .zip(&assembled.used)
            .map(|(t, used)| f64::from(t.weight) * used.0 as f64)
            .sum();
        let mut tiles: Vec<TileReport> = inputs
            .files
            .iter()
            .enumerate()
            .map(|(index, file)| TileReport {
                index,
                file: file.path.display().to_string(),
                outcome: file
                    .lost
                    .clone()
                    .unwrap_or(FrameOutcome::Failed { reason: String::new() }),
                sha256: None,
                bounds: None,
                corrections: Vec::new(),
                component: None,
                weight: None,
                noise: None,
                fwhm_px: None,
                samples: 0,
                rejected: 0,
            })
            .collect();
        let (mut kept, mut rejected) = (0u64, 0u64);
        for (t, &index) in inputs.usable().iter().enumerate() {
            let (tile, measure, used) = (&spec.tiles[t], &measures[t], assembled.used[t]);
            let report = &mut tiles[index];
            let share = f64::from(tile.weight) * used.0 as f64 / total.max(f64::MIN_POSITIVE);
            report.outcome = FrameOutcome::Used { weight_fraction: share };
            report.sha256 = Some(measure.sha256.clone());
            let b = tile.bounds;
            report.bounds = Some([b.x, b.y, b.width, b.height]);
            report.corrections.clone_from(&tile.corrections);
            report.component = Some(solved.component[t]);
            report.weight = Some(tile.weight);
            report.noise = Some(measure.metrics.noise);
            report.fwhm_px = measure.metrics.fwhm_px;
            (report.samples, report.rejected) = used;
            kept += used.0;
            rejected += used.1;
        }
        MosaicReport {
            software: software(),
            recipe_sha256: self.job.recipe.sha256(),
            warnings: self.run.warnings.clone(),
            tiles,
            groups: Vec::new(),
            result: MosaicFigures {
                width: spec.grid.shape.width,
                height: spec.grid.shape.height,
                planes: spec.planes,
                covered_fraction: assembled.covered_fraction,
                rejected_fraction: rejected as f64 / (kept + rejected).max(1) as f64,
                components: solved.n_components,
                star_sightings: solved.n_stars,
                star_scatter: solved.star_scatter,
                sky_sightings: solved.n_places,
                sky_scatter: solved.sky_scatter,
                levels: spec.levels.clone(),
            },
        }
    }
}

/// Inputs that are lost already, with their reasons.
fn lost_frames(inputs: &Inputs) -> Vec<(String, FrameOutcome)> {
    let lost =
        inputs.files.iter().filter_map(|f| Some((f.path.display().to_string(), f.lost.clone()?)));
    lost.collect()
}

/// Opens the headers. Images of several sizes are welcome unless they are to be calibrated.
fn open_inputs(job: &MosaicJob, found: Found, run: &Run<'_>) -> Result<Inputs, MosaicError> {
    let is_calibrated = job.bias.is_empty() && job.dark.is_empty() && job.flat.is_empty();
    let alike = if is_calibrated { Alike::Colours } else { Alike::Frames };
    Ok(inputs::open(found, &job.recipe.stack.input, alike, &run.light())?)
}

/// The world coordinates of every input; images without are lost.
pub(super) fn solve_headers(inputs: &mut Inputs) -> Vec<Option<Wcs>> {
    let mut all = Vec::with_capacity(inputs.files.len());
    for index in 0..inputs.files.len() {
        let wcs = match &inputs.files[index] {
            file if file.lost.is_none() => Some(Wcs::from_header(&inputs.info(index).header)),
            _ => None,
        };
        all.push(match wcs {
            Some(Ok(wcs)) => Some(wcs),
            Some(Err(e)) => {
                inputs.lose(index, FrameOutcome::Failed { reason: e.to_string() });
                None
            }
            None => None,
        });
    }
    all
}

/// The grid that is given, else one around all images.
pub(super) fn choose_grid(
    job: &MosaicJob,
    inputs: &Inputs,
    wcs: &[Option<Wcs>],
) -> Result<Grid, MosaicError> {
    if let Some(path) = &job.grid {
        return Grid::read(path, &job.recipe.grid);
    }
    let images: Vec<(&Wcs, Shape)> = inputs
        .usable()
        .into_iter()
        .filter_map(|i| Some((wcs[i].as_ref()?, inputs.info(i).shape)))
        .collect();
    Grid::around(&images, &job.recipe.grid)
}

/// Images that the grid does not show are lost.
pub(super) fn lose_unseen(
    grid: &Grid,
    inputs: &mut Inputs,
    wcs: &[Option<Wcs>],
) -> Result<(), MosaicError> {
    for index in inputs.usable() {
        let Some(tile) = &wcs[index] else { continue };
        let map = PixelMap::new(tile, &grid.wcs).map_err(|source| MosaicError::Frames {
            path: inputs.files[index].path.clone(),
            source,
        })?;
        if footprint(&map, inputs.info(index).shape, grid.shape).is_none() {
            let reason = "it lies outside of the grid".into();
            inputs.lose(index, FrameOutcome::Skipped { reason });
        }
    }
    if inputs.usable().is_empty() {
        let first = inputs.files.iter().find_map(|f| match &f.lost {
            Some(FrameOutcome::Failed { reason } | FrameOutcome::Skipped { reason }) => {
                Some(format!("{}: {reason}", f.path.display()))
            }
            _ => None,
        });
        return Err(MosaicError::NoGrid(format!(
            "none of the {} images can be used; {}",
            inputs.files.len(),
            first.unwrap_or_default()
        )));
    }
    Ok(())
}

/// The places at which the skies of the usable images are compared.
fn places(job: &MosaicJob, grid: &Grid, inputs: &Inputs, wcs: &[Option<Wcs>]) -> Places {
    let nothing = Rect::new(0, 0, 0, 0);
    let tiles: Vec<(&Wcs, Shape, Rect)> = inputs
        .usable()
        .into_iter()
        .filter_map(|index| {
            let (wcs, shape) = (wcs[index].as_ref()?, inputs.info(index).shape);
            let map = PixelMap::new(wcs, &grid.wcs).ok();
            let bounds = map.and_then(|map| footprint(&map, shape, grid.shape));
            Some((wcs, shape, bounds.unwrap_or(nothing)))
        })
        .collect();
    Places::new(grid, &tiles, job.recipe.photometry.cell_px)
}

/// Ringing is limited to this many σ of the noise (see [`stillframe_kernels::warp::Warper`]).
const UNDERSHOOT_SIGMA: f32 = 2.5;

/// The usable images as tiles, not yet corrected.
fn tiles(
    job: &MosaicJob,
    grid: &Grid,
    inputs: &Inputs,
    wcs: &[Option<Wcs>],
    measures: &[FrameMeasure],
) -> Result<Vec<Tile>, MosaicError> {
    let mut tiles = Vec::new();
    for (frame, index) in inputs.usable().into_iter().enumerate() {
        let Some(wcs) = wcs[index].clone() else { continue };
        let shape = inputs.info(index).shape;
        let map = PixelMap::new(&wcs, &grid.wcs).map_err(|source| MosaicError::Frames {
            path: inputs.files[index].path.clone(),
            source,
        })?;
        let bounds = footprint(&map, shape, grid.shape).unwrap_or(Rect::new(0, 0, 0, 0));
        let noise = measures[frame].metrics.noise;
        tiles.push(Tile {
            frame,
            wcs,
            shape,
            bounds,
            corrections: vec![Correction::NONE],
            weight: 1.0,
            sigma: noise,
            undershoot: match job.recipe.resampling.clamping {
                Clamping::Lobes => UNDERSHOOT_SIGMA * noise,
                Clamping::None => f32::INFINITY,
            },
        });
    }
    Ok(tiles)
}

/// What the kernel of the recipe is here.
pub(super) fn resample(recipe: &MosaicRecipe) -> Resample {
    match recipe.resampling.kernel {
        MosaicKernel::Lanczos3 => Resample::Interpolate(WarpKernel::Lanczos3),
        MosaicKernel::Bicubic => Resample::Interpolate(WarpKernel::Bicubic),
        MosaicKernel::Bilinear => Resample::Interpolate(WarpKernel::Bilinear),
        MosaicKernel::Nearest => Resample::Interpolate(WarpKernel::Nearest),
        MosaicKernel::Exact => Resample::Exact,
    }
}

/// Scatter of bright stars that even equal seeing leaves, as a share of their signal.
const LEAST_RELATIVE: f64 = 0.1;

fn spec(
    job: &MosaicJob,
    grid: Grid,
    mut tiles: Vec<Tile>,
    measures: &[FrameMeasure],
    burst: &Burst,
    planes: usize,
    inputs: &Inputs,
) -> AssembleSpec {
    let usable = inputs.usable();
    let widths = measures.iter().filter_map(|m| m.metrics.fwhm_px.map(f64::from)).collect();
    let typical_fwhm = median(widths).max(1.0) as f32;
    for (tile, &index) in tiles.iter_mut().zip(&usable) {
        tile.sigma *= tile.corrections[planes / 2].gain as f32;
        tile.weight = match job.recipe.weights.tile {
            TileWeight::Equal => 1.0,
            TileWeight::Noise => 1.0 / (tile.sigma * tile.sigma).max(f32::MIN_POSITIVE),
            TileWeight::Stars => {
                let blur =
                    tile.sigma * measures[tile.frame].metrics.fwhm_px.unwrap_or(typical_fwhm);
                1.0 / (blur * blur).max(f32::MIN_POSITIVE)
            }
            TileWeight::Frames => {
                let n = inputs.info(index).header.integer("NCOMBINE");
                n.filter(|n| *n > 0).unwrap_or(1) as f32
            }
        };
    }
    let n = tiles.len().max(1) as f64;
    if matches!(job.recipe.weights.tile, TileWeight::Noise | TileWeight::Stars) {
        let mean = tiles.iter().map(|t| f64::from(t.weight)).sum::<f64>() / n;
        tiles.iter_mut().for_each(|t| t.weight = (f64::from(t.weight) / mean) as f32);
    }
    let mean_variance =
        tiles.iter().map(|t| f64::from(t.sigma) * f64::from(t.sigma)).sum::<f64>() / n;
    let levels = (0..planes)
        .map(|plane| {
            let level = |tile: &Tile| {
                let meshes = &measures[tile.frame].meshes;
                let mesh = &meshes[plane.min(meshes.len() - 1)];
                let correction = &tile.corrections[plane];
                let sky = correction.surface_at(tile.middle(), tile.shape);
                correction.gain * f64::from(mesh.median_level()) - sky
            };
            median(tiles.iter().map(level).collect()) as f32
        })
        .collect();
    let gains = usable.iter().filter_map(|&i| inputs.info(i).gain_e_per_adu).collect::<Vec<_>>();
    AssembleSpec {
        grid,
        relative: relative(measures) as f32,
        tiles,
        cfa: burst.spec.cfa,
        planes,
        resample: resample(&job.recipe),
        rejection: rejection(&job.recipe.rejection),
        combination: match job.recipe.combination {
            recipe::Combination::Mean => Combination::Mean,
            recipe::Combination::Median => Combination::Median,
        },
        levels,
        shot: if gains.is_empty() { 0.0 } else { (1.0 / median(gains)) as f32 },
        mean_variance,
        feather_px: job.recipe.weights.feather_px,
        block_side: 0,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    stillframe_kernels::ops::stats::median_f64(&mut values).unwrap_or(0.0)
}

/// Share of a star's signal by which tiles differ through seeing: the scatter of their peaks, which go
/// with the inverse square of their widths.
fn relative(measures: &[FrameMeasure]) -> f64 {
    let peaks: Vec<f64> = measures
        .iter()
        .filter_map(|m| m.metrics.fwhm_px.map(f64::from))
        .map(|w| 1.0 / (w * w))
        .collect();
    let n = peaks.len().max(1) as f64;
    let mean = peaks.iter().sum::<f64>() / n;
    let variance = peaks.iter().map(|p| (p - mean) * (p - mean)).sum::<f64>() / n;
    let seeing = if mean > 0.0 { variance.sqrt() / mean } else { 0.0 };
    (LEAST_RELATIVE * LEAST_RELATIVE + seeing * seeing).sqrt()
}
