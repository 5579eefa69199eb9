//! Calibration masters: given ones are read, folders are combined by a clipped mean, and all
//! together become the offset, dark current and inverse flat that every frame is calibrated with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_image::{Image, Rect, Shape};
use stillframe_io::ReadError;
use stillframe_io::fits::{BayerOverride, FitsSource, OpenOptions, ReadScratch};
use stillframe_kernels::combine::{ClippedMean, Rejection, RejectionMethod};

use super::error::StackError;
use crate::recipe::{CalibrationRecipe, DarkScaling};
use crate::wire;

/// What a calibration frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Bias,
    Dark,
    Flat,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bias => "bias",
            Self::Dark => "dark",
            Self::Flat => "flat",
        }
    }
}

/// Darks that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) exposure_secs: Option<f64>,
    pub(crate) temperature_c: Option<f64>,
}

/// What is to be combined into one master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MasterSpec {
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) files: Vec<PathBuf>,
    /// Subtracted from every frame.
    #[serde(with = "wire::image")]
    pub(crate) offset: Option<Image<f32>>,
    /// Factor on every frame after that.
    #[serde(with = "wire::pod")]
    pub(crate) scales: Vec<f32>,
    pub(crate) kappa: f32,
    /// Rows per unit; scheduling only.
    pub(crate) rows: usize,
}

/// Calibration frames are read as they are: their mosaic is that of the lights.
const AS_STORED: OpenOptions = OpenOptions { bayer: BayerOverride::Mono };

/// Opens a calibration frame and checks that it fits.
pub(crate) fn open(kind: Kind, path: &PathBuf, shape: Shape) -> Result<FitsSource, StackError> {
    let source = FitsSource::open(path, &AS_STORED)?;
    let info = source.info();
    if info.shape != shape || info.planes != 1 {
        return Err(StackError::Calibration {
            kind: kind.name(),
            path: path.clone(),
            reason: format!(
                "it has {} pixels in {} plane(s), the lights have {shape}; calibration frames must \
                 come from the same camera mode",
                info.shape, info.planes
            ),
        });
    }
    Ok(source)
}

/// Buffers of a worker.
#[derive(Debug)]
pub(crate) struct MasterScratch {
    pixels: Image<f32>,
    mask: Image<u8>,
    read: ReadScratch,
    samples: Vec<f32>,
    mean: ClippedMean,
}

impl MasterScratch {
    pub(crate) fn new(spec: &MasterSpec) -> Self {
        let none = Shape::new(0, 0);
        Self {
            pixels: Image::filled(none, 0.0),
            mask: Image::filled(none, 0),
            read: ReadScratch::default(),
            samples: Vec::new(),
            mean: ClippedMean::new(Rejection {
                method: RejectionMethod::KappaSigma,
                low: spec.kappa,
                high: spec.kappa,
                ..Rejection::default()
            })
            .expect("κ was checked with the recipe"),
        }
    }
}

/// Rows `rows` of a calibration frame, less the offset.
fn read_rows(
    source: &FitsSource,
    spec: &MasterSpec,
    rows: Rect,
    scratch: &mut MasterScratch,
) -> Result<(), ReadError> {
    source.read_rect(0, rows, &mut scratch.pixels, &mut scratch.mask, &mut scratch.read)?;
    if let Some(offset) = &spec.offset {
        for row in 0..rows.height {
            let pixels = scratch.pixels.row_mut(row).iter_mut();
            for (v, o) in pixels.zip(&offset.row(rows.y + row)[rows.x..rows.x_end()]) {
                *v -= o;
            }
        }
    }
    Ok(())
}

/// Combined rows of unit `index`.
pub(crate) fn work_master(
    spec: &MasterSpec,
    sources: &[FitsSource],
    index: usize,
    scratch: &mut MasterScratch,
) -> Result<Vec<f32>, String> {
    let y = index * spec.rows;
    let rows = Rect::new(0, y, spec.shape.width, spec.rows.min(spec.shape.height - y));
    let n = rows.shape().len();
    scratch.samples.resize(n * sources.len(), 0.0);
    for (k, source) in sources.iter().enumerate() {
        read_rows(source, spec, rows, scratch).map_err(|e| e.to_string())?;
        scratch.samples[k * n..(k + 1) * n].copy_from_slice(scratch.pixels.pixels());
    }
    let frames: Vec<&[f32]> = scratch.samples.chunks_exact(n.max(1)).collect();
    let mut mean = vec![0.0; n];
    scratch.mean.run(&frames[..sources.len()], &spec.scales, &mut mean);
    Ok(mean)
}

/// Robust level of flat `index` after its offset: flats of different brightness are scaled to one.
pub(crate) fn flat_level(
    spec: &MasterSpec,
    sources: &[FitsSource],
    index: usize,
    scratch: &mut MasterScratch,
) -> Result<f32, ReadError> {
    read_rows(&sources[index], spec, spec.shape.rect(), scratch)?;
    Ok(stillframe_kernels::ops::calibrate::frame_level(&scratch.pixels))
}

/// How the master dark is applied to a light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DarkUse {
    /// As it is: it holds bias and dark current of the light's exposure.
    Matched,
    /// Dark current times light exposure over dark exposure; the bias is known.
    Scaled { dark_exposure_secs: f64 },
}

/// The set of darks that suits lights of this exposure and temperature best, how it is to be used,
/// and a warning if it does not really suit.
pub(crate) fn choose_dark<'a>(
    darks: &'a [Set],
    exposure_secs: Option<f64>,
    temperature_c: Option<f64>,
    has_bias: bool,
    recipe: &CalibrationRecipe,
) -> Option<(&'a Set, DarkUse, Option<String>)> {
    // Unknown exposures are taken to match: the user gave these darks for these lights.
    let exposure_off = |set: &Set| match (set.exposure_secs, exposure_secs) {
        (Some(d), Some(l)) if l > 0.0 => (d - l).abs() / l,
        _ => 0.0,
    };
    let temperature_off = |set: &Set| match (set.temperature_c, temperature_c) {
        (Some(d), Some(l)) => (d - l).abs(),
        _ => 0.0,
    };
    let rank = |set: &Set| {
        let warm = temperature_off(set) > recipe.temperature_tolerance_c;
        let long = exposure_off(set) > recipe.exposure_tolerance;
        (u8::from(warm) + u8::from(long), exposure_off(set) + 0.01 * temperature_off(set))
    };
    let best = darks.iter().min_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    })?;
    let mut warnings = Vec::new();
    if temperature_off(best) > recipe.temperature_tolerance_c {
        warnings.push(format!(
            "the nearest darks were taken {:.1} °C away from the lights (recipe: at most {:.1})",
            temperature_off(best),
            recipe.temperature_tolerance_c
        ));
    }
    let matches = exposure_off(best) <= recipe.exposure_tolerance;
    let can_scale =
        has_bias && best.exposure_secs.is_some_and(|d| d > 0.0) && exposure_secs.is_some();
    let wants_scaling = match recipe.dark_scaling {
        DarkScaling::None => false,
        DarkScaling::Exposure => true,
        DarkScaling::Auto => !matches,
    };
    let usage = if wants_scaling && can_scale {
        DarkUse::Scaled { dark_exposure_secs: best.exposure_secs.unwrap_or(1.0) }
    } else {
        if !matches {
            warnings.push(format!(
                "the darks were exposed {} s, the lights {} s, and they are used unscaled{}",
                best.exposure_secs.unwrap_or(0.0),
                exposure_secs.unwrap_or(0.0),
                if has_bias { "" } else { ": scaling needs bias frames (--bias)" }
            ));
        }
        DarkUse::Matched
    };
    Some((best, usage, (!warnings.is_empty()).then(|| warnings.join("; "))))
}

/// Groups darks by exposure and temperature, in order of first appearance.
pub(crate) fn group_darks(
    sources: &[FitsSource],
    exposure_tolerance: f64,
    temperature_tolerance_c: f64,
) -> Vec<Set> {
    let close = |a: Option<f64>, b: Option<f64>, tolerance: f64| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance,
        (None, None) => true,
        _ => false,
    };
    let mut sets: Vec<Set> = Vec::new();
    for source in sources {
        let info = source.info();
        let tolerance = exposure_tolerance * info.exposure_secs.unwrap_or(0.0);
        let found = sets.iter_mut().find(|s| {
            close(s.exposure_secs, info.exposure_secs, tolerance)
                && close(s.temperature_c, info.temperature_c, temperature_tolerance_c)
        });
        match found {
            Some(set) => set.files.push(info.path.clone()),
            None => sets.push(Set {
                files: vec![info.path.clone()],
                exposure_secs: info.exposure_secs,
                temperature_c: info.temperature_c,
            }),
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(exposure: f64, temperature: f64) -> Set {
        Set { files: Vec::new(), exposure_secs: Some(exposure), temperature_c: Some(temperature) }
    }

    #[test]
    fn matching_darks_are_used_as_they_are() {
        let darks = [dark(30.0, -10.0), dark(10.0, 0.0), dark(10.0, -10.0)];
        let recipe = CalibrationRecipe::default();
        let (set, usage, warning) =
            choose_dark(&darks, Some(10.0), Some(-9.5), true, &recipe).unwrap();
        assert_eq!((set.exposure_secs, set.temperature_c), (Some(10.0), Some(-10.0)));
        assert_eq!((usage, warning), (DarkUse::Matched, None));
    }

    #[test]
    fn other_exposures_are_scaled_with_a_bias_and_warned_about_without() {
        let darks = [dark(30.0, -10.0)];
        let recipe = CalibrationRecipe::default();
        let with = choose_dark(&darks, Some(10.0), Some(-10.0), true, &recipe).unwrap();
        assert_eq!(with.1, DarkUse::Scaled { dark_exposure_secs: 30.0 });
        let without = choose_dark(&darks, Some(10.0), Some(-10.0), false, &recipe).unwrap();
        assert_eq!(without.1, DarkUse::Matched);
        assert!(without.2.unwrap().contains("--bias"));
        assert!(choose_dark(&[], Some(10.0), None, true, &recipe).is_none());
    }
}
