//! From the calibration frames that were given to the masters that every light is calibrated with.

use std::path::{Path, PathBuf};

use stillframe_image::{Header, Image, Rect, Shape};
use stillframe_io::fits::{FitsSource, FitsWriter, ReadScratch};
use stillframe_io::sink::Existing;
use stillframe_kernels::ops::calibrate::flat_correction;
use stillframe_kernels::ops::defects::{DefectParams, defects_in_lights, hot_in_dark};
use stillframe_runtime::phase::UnitResult;
use stillframe_runtime::plan::PlannedUnit;

use super::burst::{Burst, FrameBuffer, Masters};
use super::error::StackError;
use super::inputs::Inputs;
use super::masters::{
    self, DarkUse, Kind, MasterScratch, MasterSpec, choose_dark, flat_level, group_darks,
};
use super::phases::MastersPhase;
use super::requests;
use super::run::Run;
use crate::recipe::HotPixels;

/// What the masters do, and the dark scale of each usable light.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) masters: Masters,
    pub(crate) dark_scale: Vec<f32>,
}

impl Prepared {
    /// Nothing is done to any of `n` frames.
    pub(crate) fn none(n: usize) -> Self {
        Self { masters: Masters::default(), dark_scale: vec![0.0; n] }
    }
}

/// Makes or reads the masters.
///
/// # Errors
/// If a calibration frame cannot be read or does not fit the lights.
pub(crate) fn prepare(run: &mut Run<'_>, inputs: &Inputs) -> Result<Prepared, StackError> {
    let (shape, cfa) = (inputs.shape, inputs.cfa);
    let recipe = run.job.recipe.calibration.clone();
    let bias_files = run.resolve_calibration(Kind::Bias)?;
    let dark_files = run.resolve_calibration(Kind::Dark)?;
    let flat_files = run.resolve_calibration(Kind::Flat)?;
    let usable = inputs.usable();
    let exposure = median(usable.iter().filter_map(|&i| inputs.info(i).exposure_secs).collect());
    let temperature = median(usable.iter().filter_map(|&i| inputs.info(i).temperature_c).collect());
    if inputs.planes > 1
        && !(bias_files.is_empty() && dark_files.is_empty() && flat_files.is_empty())
    {
        return Err(StackError::Inputs(
            "RGB frames are calibrated already: leave --bias, --dark and --flat away, or give the \
             raw mosaics"
                .into(),
        ));
    }

    let bias = run.master(Kind::Bias, &bias_files, shape, None)?;
    let darks = open_all(run, Kind::Dark, &dark_files, shape)?;
    let sets = group_darks(&darks, recipe.exposure_tolerance, recipe.temperature_tolerance_c);
    drop(darks);
    let chosen = choose_dark(&sets, exposure, temperature, bias.is_some(), &recipe);
    let dark = match &chosen {
        None => None,
        Some((set, _, warning)) => {
            if let Some(warning) = warning {
                run.warn(warning.clone());
            }
            run.master(Kind::Dark, &set.files, shape, None)?
        }
    };
    let usage = chosen.map(|(_, usage, _)| usage);
    // Flats are short: their dark current does not count, their bias does.
    let flat_offset = bias.as_ref().or(dark.as_ref());
    if bias.is_none() && !flat_files.is_empty() {
        run.warn(if dark.is_some() {
            "no bias frames: the dark is taken off the flats in their place".into()
        } else {
            "neither bias nor dark frames: nothing is taken off the flats".to_owned()
        });
    }
    let flat = run.master(Kind::Flat, &flat_files, shape, flat_offset)?;

    let mut masters = Masters::default();
    if recipe.hot_pixels != HotPixels::Off
        && let Some(dark) = &dark
    {
        let params = DefectParams { threshold_sigma: recipe.hot_sigma as f32 };
        masters.hot = hot_in_dark(dark, cfa, params);
    }
    if let Some(flat) = &flat {
        let correction = flat_correction(flat, cfa).map_err(|e| StackError::Calibration {
            kind: "flat",
            path: flat_files[0].clone(),
            reason: e.to_string(),
        })?;
        masters.inverse_flat = Some(correction.inverse);
        masters.cold = correction.cold;
    }
    let mut dark_scale = vec![0.0; usable.len()];
    match (dark, bias, usage) {
        (Some(dark), Some(bias), Some(DarkUse::Scaled { dark_exposure_secs })) => {
            let mut current = dark;
            for (d, b) in current.pixels_mut().iter_mut().zip(bias.pixels()) {
                *d -= b;
            }
            for (scale, &i) in dark_scale.iter_mut().zip(&usable) {
                let secs = inputs.info(i).exposure_secs.or(exposure).unwrap_or(dark_exposure_secs);
                *scale = (secs / dark_exposure_secs) as f32;
            }
            masters.dark_current = Some(current);
            masters.offset = Some(bias);
        }
        (Some(dark), ..) => masters.offset = Some(dark),
        (None, bias, _) => masters.offset = bias,
    }
    Ok(Prepared { masters, dark_scale })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn open_all(
    run: &Run<'_>,
    kind: Kind,
    files: &[PathBuf],
    shape: Shape,
) -> Result<Vec<FitsSource>, StackError> {
    run.light()
        .map(files.len(), || (), |i, ()| masters::open(kind, &files[i], shape))?
        .into_iter()
        .collect()
}

impl Run<'_> {
    /// The master of `files`: a single file is one already, several are combined; `None` without
    /// files. `offset` is taken off first (flats).
    fn master(
        &mut self,
        kind: Kind,
        files: &[PathBuf],
        shape: Shape,
        offset: Option<&Image<f32>>,
    ) -> Result<Option<Image<f32>>, StackError> {
        if files.is_empty() {
            return Ok(None);
        }
        let sources = open_all(self, kind, files, shape)?;
        if let [only] = sources.as_slice() {
            return Ok(Some(read_master(only, offset)?));
        }
        let key = self.master_key(kind, &sources, offset.is_some());
        let path = self.job.output.join("masters").join(format!("{}.fits", kind.name()));
        if let Some(stored) = self.stages.load::<PathBuf>(&format!("master_{}", kind.name()), key)
            && let Ok(source) = masters::open(kind, &stored, shape)
        {
            return Ok(Some(read_master(&source, None)?));
        }
        let mut spec = MasterSpec {
            kind,
            shape,
            files: files.to_vec(),
            offset: offset.cloned(),
            scales: vec![1.0; files.len()],
            kappa: self.job.recipe.calibration.master_kappa as f32,
            rows: shape.height,
        };
        if kind == Kind::Flat {
            spec.scales = self.flat_scales(&spec, &sources)?;
        }
        let image = self.combine_master(&mut spec, &sources)?;
        self.write_master(&path, kind, files.len(), &image)?;
        self.save_stage(&format!("master_{}", kind.name()), key, &path)?;
        Ok(Some(image))
    }

    /// Factors that bring flats of different brightness to one level.
    fn flat_scales(
        &self,
        spec: &MasterSpec,
        sources: &[FitsSource],
    ) -> Result<Vec<f32>, StackError> {
        let levels = self
            .light()
            .map(
                sources.len(),
                || MasterScratch::new(spec),
                |i, scratch| flat_level(spec, sources, i, scratch),
            )?
            .into_iter()
            .collect::<Result<Vec<f32>, _>>()?;
        for (level, source) in levels.iter().zip(sources) {
            if level.is_nan() || *level <= 0.0 {
                return Err(StackError::Calibration {
                    kind: "flat",
                    path: source.info().path.clone(),
                    reason: format!("its level is {level} after bias, above 0 is needed"),
                });
            }
        }
        let mean = levels.iter().map(|l| f64::from(*l)).sum::<f64>() / levels.len() as f64;
        Ok(levels.iter().map(|l| (mean / f64::from(*l)) as f32).collect())
    }

    fn combine_master(
        &mut self,
        spec: &mut MasterSpec,
        sources: &[FitsSource],
    ) -> Result<Image<f32>, StackError> {
        let width = spec.shape.width;
        let request = requests::master(spec.shape, sources.len());
        let plan = self.plan(&request)?;
        if let PlannedUnit::Rows { rows } = plan.unit {
            spec.rows = rows;
        }
        let spec_file = self.spec_file(&plan, "masters", spec)?;
        let phase = MastersPhase {
            spec,
            sources,
            need: requests::master_need(spec.shape, sources.len(), spec.rows),
            spec_file: spec_file.as_deref(),
        };
        let mut image = Image::filled(spec.shape, 0.0f32);
        self.run_phase(&phase, &plan, |index, result| {
            let band = match result {
                UnitResult::Done(Ok(band)) => band,
                UnitResult::Done(Err(reason)) | UnitResult::Failed(reason) => {
                    return Err(StackError::Unit(reason));
                }
            };
            let start = index * spec.rows * width;
            image.pixels_mut()[start..start + band.len()].copy_from_slice(&band);
            Ok(())
        })?;
        Ok(image)
    }

    fn write_master(
        &self,
        path: &Path,
        kind: Kind,
        frames: usize,
        image: &Image<f32>,
    ) -> Result<(), StackError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| StackError::Output {
                path: folder.to_path_buf(),
                reason: e.to_string(),
            })?;
        }
        let mut header = Header::default();
        header.push_text("IMAGETYP", &format!("Master {}", kind.name()), "clipped mean");
        header.push_integer("NCOMBINE", frames as i64, "frames in this master");
        let mut writer = FitsWriter::create(path, Existing::Replace)?;
        writer.write_image(None, &header, &[image])?;
        writer.finish()?;
        Ok(())
    }
}

fn read_master(source: &FitsSource, offset: Option<&Image<f32>>) -> Result<Image<f32>, StackError> {
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    source.read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default())?;
    if let Some(offset) = offset {
        for (v, o) in pixels.pixels_mut().iter_mut().zip(offset.pixels()) {
            *v -= o;
        }
    }
    Ok(pixels)
}

/// Light frames that are compared to find defects without a dark.
const DEFECT_FRAMES: usize = 9;

/// Rows that are looked at together, and rows beside them that they need.
const DEFECT_BAND: usize = 256;
const DEFECT_HALO: usize = 16;

/// Hot and cold pixels from the lights themselves, where there is no dark to tell them.
///
/// # Errors
/// If the run is cancelled or a frame can no longer be read.
pub(crate) fn defects_from_lights(
    run: &Run<'_>,
    burst: &Burst,
) -> Result<(Vec<u32>, Vec<u32>), StackError> {
    let n = burst.spec.frames.len();
    let k = n.min(DEFECT_FRAMES);
    let chosen: Vec<usize> = (0..k).map(|i| (2 * i + 1) * n / (2 * k)).collect();
    let shape = burst.spec.shape;
    let params = DefectParams { threshold_sigma: run.job.recipe.calibration.hot_sigma as f32 };
    let bands = shape.height.div_ceil(DEFECT_BAND);
    let found = run.light().map(bands, FrameBuffer::new, |band, buffer| {
        let rows = Rect::new(
            0,
            band * DEFECT_BAND,
            shape.width,
            DEFECT_BAND.min(shape.height - band * DEFECT_BAND),
        );
        let mut wide = rows.grown(DEFECT_HALO, shape);
        wide = Rect::new(0, wide.y, shape.width, wide.height);
        let mut lights = Vec::with_capacity(k);
        for &frame in &chosen {
            burst.read(frame, 0, wide, buffer)?;
            lights.push(buffer.pixels.clone());
        }
        let lights: Vec<&Image<f32>> = lights.iter().collect();
        // The halo keeps the band's first row even, as the mosaic needs it.
        let defects = defects_in_lights(&lights, burst.spec.cfa, params);
        let inside = |index: &u32| {
            let (x, y) = (*index as usize % shape.width, *index as usize / shape.width + wide.y);
            (y >= rows.y && y < rows.y_end()).then_some((y * shape.width + x) as u32)
        };
        Ok::<_, StackError>((
            defects.hot.iter().filter_map(inside).collect::<Vec<u32>>(),
            defects.cold.iter().filter_map(inside).collect::<Vec<u32>>(),
        ))
    })?;
    let (mut hot, mut cold) = (Vec::new(), Vec::new());
    for band in found {
        let (h, c) = band?;
        hot.extend(h);
        cold.extend(c);
    }
    Ok((hot, cold))
}
