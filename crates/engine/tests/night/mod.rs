//! A night under a simulated sky: bursts on disk, stacks of them, results read back.
#![allow(dead_code, reason = "every test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "what cannot go on fails the test")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stillframe_engine::image::mask::NO_DATA;
use stillframe_engine::image::{Header, Image, Point, Shape};
use stillframe_engine::io::Existing;
use stillframe_engine::io::fits::{FitsSource, FitsWriter, OpenOptions, ReadScratch};
use stillframe_engine::recipe::StackRecipe;
use stillframe_engine::runtime::{Cancel, ExecutorKind, Resources, Silent};
use stillframe_engine::simulate::{BurstFiles, BurstOptions, SimulatedBurst, write_burst};
use stillframe_engine::stack::{StackError, StackJob, StackOutcome, run};
use stillframe_kernels::ops::background::{Background, BackgroundParams, BackgroundScratch};
use stillframe_kernels::ops::stars::{Star, StarParams, StarScratch, detect};

/// A small field that is registered by its stars: 320 × 240 pixels, mono, no calibration frames.
pub(crate) fn small(frames: usize) -> BurstOptions {
    BurstOptions {
        frames,
        width: 320,
        height: 240,
        stars_per_mpx: 8000.0,
        bias_frames: 0,
        dark_frames: 0,
        flat_frames: 0,
        ..BurstOptions::default()
    }
}

/// Air that does nothing: no seeing changes, clouds, gradients, trails, hits or hot pixels, an
/// ideal sensor; frames still shift, turn and bend.
pub(crate) fn calm(frames: usize) -> BurstOptions {
    BurstOptions {
        fwhm_min_px: 3.0,
        fwhm_max_px: 3.0,
        nebula_e: 0.0,
        galaxies_per_mpx: 0.0,
        sky_gradient: 0.0,
        cloud_loss: 0.0,
        trail_probability: 0.0,
        cosmics_per_mpx: 0.0,
        hot_fraction: 0.0,
        detector: stillframe_engine::simulate::DetectorKind::Ideal,
        ..small(frames)
    }
}

/// A simulated burst on disk, removed when it goes out of scope.
pub(crate) struct Night {
    folder: tempfile::TempDir,
    /// The simulator and its truth.
    pub(crate) burst: SimulatedBurst,
    /// Where its frames are.
    pub(crate) files: BurstFiles,
}

impl Night {
    /// Simulates and writes the burst of `options`.
    pub(crate) fn new(options: BurstOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let burst = SimulatedBurst::new(options).unwrap();
        let cancel = Cancel::new();
        let resources = Resources::default();
        let files =
            write_burst(&burst, folder.path(), Existing::Refuse, &resources, &Silent, &cancel);
        Self { folder, burst, files: files.unwrap() }
    }

    /// A path beside the folders of the burst.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The light frames on the defaults, with all calibration frames that there are, into `out`.
    pub(crate) fn job(&self, out: &str) -> StackJob {
        let folder = |name: &str, files: &[PathBuf]| match files {
            [] => Vec::new(),
            _ => vec![text(&self.path(name))],
        };
        StackJob {
            bias: folder("bias", &self.files.bias),
            dark: folder("dark", &self.files.dark),
            flat: folder("flat", &self.files.flat),
            ..job(vec![text(&self.path("lights"))], self.path(out))
        }
    }

    /// The same with changes to the recipe.
    pub(crate) fn job_with(&self, out: &str, change: impl FnOnce(&mut StackRecipe)) -> StackJob {
        let mut job = self.job(out);
        change(&mut job.recipe);
        job
    }
}

/// A stack of `inputs` on the defaults, with one worker.
pub(crate) fn job(inputs: Vec<String>, output: PathBuf) -> StackJob {
    StackJob {
        inputs,
        output,
        bias: Vec::new(),
        dark: Vec::new(),
        flat: Vec::new(),
        recipe: StackRecipe::default(),
        resources: resources(ExecutorKind::Threads, 1, None),
        block_side: None,
        overwrite: false,
        resume: false,
        worker: None,
    }
}

/// Exactly these resources.
pub(crate) fn resources(
    executor: ExecutorKind,
    workers: usize,
    memory_bytes: Option<u64>,
) -> Resources {
    Resources {
        executor: Some(executor),
        workers: NonZeroUsize::new(workers),
        memory_bytes,
        ..Resources::default()
    }
}

/// A path as the command line gives it.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Runs a job that must come to its end.
#[track_caller]
pub(crate) fn stack(job: &StackJob) -> StackOutcome {
    match run(job, &Silent, &Cancel::new()) {
        Ok(outcome) => outcome,
        Err(e) => panic!("no stack: {e}"),
    }
}

/// Runs a job that must use all its frames.
#[track_caller]
pub(crate) fn stack_all(job: &StackJob) -> StackOutcome {
    let outcome = stack(job);
    let lost: Vec<_> = outcome.report.frames.iter().filter(|f| !f.outcome.is_used()).collect();
    assert!(lost.is_empty(), "lost: {lost:#?}");
    outcome
}

/// Runs a job that must end with an error.
#[track_caller]
pub(crate) fn refuse(job: &StackJob) -> StackError {
    match run(job, &Silent, &Cancel::new()) {
        Ok(_) => panic!("a stack was made"),
        Err(e) => e,
    }
}

/// Stacks all frames and reads the result.
#[track_caller]
pub(crate) fn result_of(job: &StackJob) -> (StackOutcome, Stacked) {
    (stack_all(job), Stacked::read(&job.output))
}

/// `stack.fits`, read back: one image per colour in every map.
pub(crate) struct Stacked {
    /// The combined values; NaN without coverage.
    pub(crate) value: Vec<Image<f32>>,
    /// Sums of the weights.
    pub(crate) weight: Vec<Image<f32>>,
    /// Samples that went in.
    pub(crate) coverage: Vec<Image<f32>>,
    /// Samples that were rejected.
    pub(crate) rejected: Vec<Image<f32>>,
    /// Header of the primary image.
    pub(crate) header: Header,
}

impl Stacked {
    /// Reads the result in this output folder.
    pub(crate) fn read(output: &Path) -> Self {
        let sources =
            FitsSource::open_all(&output.join("stack.fits"), &OpenOptions::default()).unwrap();
        assert_eq!(sources.len(), 4, "value, weight, coverage, rejected");
        let mut maps = sources.iter().map(planes_of);
        let mut next = || maps.next().unwrap();
        Self {
            value: next(),
            weight: next(),
            coverage: next(),
            rejected: next(),
            header: sources[0].info().header.clone(),
        }
    }

    /// Size of the canvas.
    pub(crate) fn shape(&self) -> Shape {
        self.value[0].shape()
    }

    /// The only plane of a mono result.
    pub(crate) fn mono(&self) -> &Image<f32> {
        assert_eq!(self.value.len(), 1, "a mono result");
        &self.value[0]
    }
}

/// Every plane of an image, missing pixels as NaN.
pub(crate) fn planes_of(source: &FitsSource) -> Vec<Image<f32>> {
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    (0..source.info().planes)
        .map(|plane| {
            source.read_plane(plane, &mut pixels, &mut mask, &mut ReadScratch::default()).unwrap();
            for (v, m) in pixels.pixels_mut().iter_mut().zip(mask.pixels()) {
                if m & NO_DATA != 0 {
                    *v = f32::NAN;
                }
            }
            pixels.clone()
        })
        .collect()
}

/// A frame's pixels and header, as they are in the file.
pub(crate) fn read_frame(path: &Path) -> (Image<f32>, Header) {
    let source = FitsSource::open(path, &OpenOptions::default()).unwrap();
    let header = source.info().header.clone();
    (planes_of(&source).remove(0), header)
}

/// Writes a frame with the cards of `header` that say something about the exposure.
pub(crate) fn write_frame(path: &Path, header: &Header, image: &Image<f32>) {
    let structural = ["SIMPLE", "BITPIX", "BZERO", "BSCALE", "EXTEND", "CHECKSUM", "DATASUM"];
    let mut kept = header.clone();
    kept.cards.retain(|c| !structural.contains(&c.key.as_str()) && !c.key.starts_with("NAXIS"));
    let mut writer = FitsWriter::create(path, Existing::Replace).unwrap();
    writer.write_image(None, &kept, &[image]).unwrap();
    writer.finish().unwrap();
}

/// SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Sha256::digest(bytes).iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
}

/// Digests of what a run must always write alike: the image with its maps, the report, the
/// registration.
pub(crate) fn digests(output: &Path) -> [String; 3] {
    ["stack.fits", "report.json", "registration.json"].map(|file| sha256(&output.join(file)))
}

/// Median of finite values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    assert!(!values.is_empty(), "a median of nothing");
    let middle = values.len() / 2;
    if values.len() % 2 == 0 { 0.5 * (values[middle - 1] + values[middle]) } else { values[middle] }
}

/// The clean stars of an image, as the engine finds them.
pub(crate) fn stars_of(image: &Image<f32>) -> Vec<Star> {
    let bits = image.map(|v| if v.is_finite() { 0 } else { NO_DATA });
    let filled = image.map(|v| if v.is_finite() { v } else { 0.0 });
    let params = BackgroundParams::default();
    let background =
        Background::fit(&filled, &bits, &params, &mut BackgroundScratch::default()).unwrap();
    let params = StarParams::default();
    let mut stars = detect(&filled, &bits, &background, &params, &mut StarScratch::default());
    stars.retain(Star::is_clean);
    stars
}

/// For each of `places` the star within `radius` px that is nearest to it.
pub(crate) fn nearest(stars: &[Star], places: &[Point], radius: f64) -> Vec<Option<Star>> {
    let near = |p: &Point| {
        let distance = |s: &Star| s.position.distance(*p);
        let star = stars.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        (distance(star) <= radius).then_some(*star)
    };
    places.iter().map(near).collect()
}

/// Root mean square.
pub(crate) fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// Light within `radius` of `p` above the median of a ring around it; `None` near the border or
/// where pixels are missing.
pub(crate) fn aperture(image: &Image<f32>, p: Point, radius: f64) -> Option<f64> {
    let (inner, outer) = (radius + 3.0, radius + 7.0);
    let (w, h) = (image.width() as f64, image.height() as f64);
    if p.x < outer || p.y < outer || p.x + outer > w - 1.0 || p.y + outer > h - 1.0 {
        return None;
    }
    let (mut light, mut area, mut ring) = (0.0, 0.0, Vec::new());
    let range = |c: f64| (c - outer) as usize..=(c + outer) as usize + 1;
    for y in range(p.y).filter(|y| *y < image.height()) {
        for x in range(p.x).filter(|x| *x < image.width()) {
            let r = p.distance(Point::new(x as f64, y as f64));
            let v = f64::from(image.at(x, y));
            if r < radius + 0.5 {
                // The border pixel counts by how far the circle reaches into it.
                let share = (radius + 0.5 - r).min(1.0);
                light += share * v;
                area += share;
            } else if r > inner && r < outer {
                ring.push(v);
            }
        }
    }
    let flux = light - area * median(ring);
    flux.is_finite().then_some(flux)
}
