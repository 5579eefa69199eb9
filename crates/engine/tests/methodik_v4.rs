//! Tile-local registration and Methodik v4 on simulated bursts, judged by the simulator's truth.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use stillframe_engine::image::{DisplacementField, Image, Point, Shape, Transform, Vec2};
use stillframe_engine::io::Existing;
use stillframe_engine::io::fits::{FitsSource, OpenOptions, ReadScratch};
use stillframe_engine::recipe::{FieldMethod, GaugeMethod, Preset, Recipe, StackRecipe};
use stillframe_engine::runtime::observe::Silent;
use stillframe_engine::runtime::{Cancel, Resources};
use stillframe_engine::simulate::{BurstOptions, DetectorKind, SimulatedBurst, write_burst};
use stillframe_engine::stack::{StackError, StackJob, StackOutcome, run};

/// A burst on disk and its truth.
struct Scene {
    folder: tempfile::TempDir,
    burst: SimulatedBurst,
}

/// A quiet, ideal camera on a small field; tests add what they are about.
fn quiet() -> BurstOptions {
    BurstOptions {
        frames: 24,
        width: 288,
        height: 224,
        rotation_deg_per_frame: 0.0,
        dither_px: 0.0,
        distortion_px: 0.0,
        fwhm_min_px: 2.6,
        fwhm_max_px: 3.4,
        cloud_loss: 0.0,
        trail_probability: 0.0,
        cosmics_per_mpx: 0.0,
        hot_fraction: 0.0,
        detector: DetectorKind::Ideal,
        bias_frames: 0,
        dark_frames: 0,
        flat_frames: 0,
        ..BurstOptions::default()
    }
}

impl Scene {
    fn new(options: BurstOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let burst = SimulatedBurst::new(options).unwrap();
        let (resources, cancel) = (Resources::default(), Cancel::new());
        let data = folder.path().join("data");
        write_burst(&burst, &data, Existing::Refuse, &resources, &Silent, &cancel).unwrap();
        Self { folder, burst }
    }

    fn job(&self, recipe: StackRecipe) -> StackJob {
        recipe.validate().unwrap();
        StackJob {
            inputs: vec![self.folder.path().join("data/lights").display().to_string()],
            output: self.folder.path().join("out"),
            bias: Vec::new(),
            dark: Vec::new(),
            flat: Vec::new(),
            recipe,
            resources: Resources::default(),
            block_side: None,
            overwrite: true,
            resume: false,
            worker: None,
        }
    }

    fn stack(&self, recipe: StackRecipe) -> Stacked {
        self.run(&self.job(recipe)).unwrap()
    }

    fn run(&self, job: &StackJob) -> Result<Stacked, StackError> {
        let outcome = run(job, &Silent, &Cancel::new())?;
        let text = std::fs::read_to_string(job.output.join("registration.json")).unwrap();
        let planes = FitsSource::open_all(&job.output.join("stack.fits"), &OpenOptions::default());
        let planes = planes.unwrap().iter().map(read).collect();
        Ok(Stacked { outcome, registration: serde_json::from_str(&text).unwrap(), planes })
    }

    /// Root mean square, per axis, of the distance at which the frames put the same point of the
    /// scene on the canvas: 0 for perfect registration, whatever the canvas.
    fn registration_rms(&self, stacked: &Stacked) -> f64 {
        let frames = stacked.frames();
        let shape = self.burst.options().shape();
        let (mut square, mut n) = (0.0, 0.0);
        for (i, j) in (0..64).map(|k| (k % 8, k / 8)) {
            // A border of a tenth is left out: there frames that drift away have no data.
            let at = |i: usize, n: usize| (0.1 + 0.8 * i as f64 / 7.0) * n as f64;
            let p = Point::new(at(i, shape.width), at(j, shape.height));
            let seen: Vec<Point> = frames
                .iter()
                .map(|f| self.burst.frame_truth(f.index).scene_position(f.source_point(p)))
                .collect();
            let count = seen.len() as f64;
            let mean = seen.iter().fold(Vec2::default(), |s, p| s + (*p - Point::default()))
                * (1.0 / count);
            for p in seen {
                square += ((p - Point::default()) - mean).norm_squared();
                n += 2.0;
            }
        }
        (square / n).sqrt()
    }
}

fn read(source: &FitsSource) -> Image<f32> {
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    source.read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default()).unwrap();
    for (v, m) in pixels.pixels_mut().iter_mut().zip(mask.pixels()) {
        if *m != 0 {
            *v = f32::NAN;
        }
    }
    pixels
}

/// A result and what it says of itself.
struct Stacked {
    outcome: StackOutcome,
    registration: Value,
    /// Value, weight, coverage, rejected.
    planes: Vec<Image<f32>>,
}

/// Where a frame lies.
struct Placed {
    index: usize,
    frame_from_ref: Transform,
    field: Option<DisplacementField>,
}

impl Placed {
    fn source_point(&self, p: Point) -> Point {
        self.frame_from_ref * (p + self.field.as_ref().map_or(Vec2::default(), |f| f.at(p)))
    }
}

impl Stacked {
    fn image(&self) -> &Image<f32> {
        &self.planes[0]
    }

    fn frames(&self) -> Vec<Placed> {
        let one = |f: &Value| {
            let m = serde_json::from_value(f["ref_from_frame"].clone()).unwrap();
            let field = &f["field"];
            Placed {
                index: f["index"].as_u64().unwrap() as usize,
                frame_from_ref: Transform { m }.inverse().unwrap(),
                field: (!field.is_null()).then(|| {
                    serde_json::from_value(serde_json::json!({
                        "origin": field["first_node"],
                        "spacing": field["spacing_px"],
                        "nodes": field["nodes"],
                        "coefficients": field["bspline_coefficients_px"],
                    }))
                    .unwrap()
                }),
            }
        };
        self.registration["frames"].as_array().unwrap().iter().map(one).collect()
    }

    /// The first warning that holds `text`.
    fn warning(&self, text: &str) -> Option<&str> {
        let warnings = &self.outcome.report.warnings;
        warnings.iter().map(String::as_str).find(|w| w.contains(text))
    }

    fn fwhm_out_px(&self) -> f64 {
        self.outcome.report.result.as_ref().unwrap().fwhm_out_px.unwrap()
    }
}

/// A nebula with structure and hardly a star.
fn star_poor() -> BurstOptions {
    BurstOptions {
        stars_per_mpx: 200.0,
        faintest_star_e: 1000.0,
        nebula_e: 1500.0,
        dither_px: 6.0,
        rotation_deg_per_frame: 0.1,
        distortion_px: 0.8,
        ..quiet()
    }
}

#[test]
fn where_stars_are_few_tiles_find_the_local_distortion() {
    let scene = Scene::new(star_poor());
    let rms = |method: FieldMethod| {
        let mut recipe = StackRecipe::default();
        recipe.field.method = method;
        // Stars leave about 0.15 px here; at the default limit they would suffice.
        recipe.field.max_sigma_px = 0.1;
        let stacked = scene.stack(recipe);
        eprintln!(
            "{method:?} {} {:?}",
            stacked.outcome.report.used(),
            stacked.outcome.report.warnings
        );
        scene.registration_rms(&stacked)
    };
    let (gauge, stars) = (rms(FieldMethod::Off), rms(FieldMethod::Stars));
    let (auto, tiles) = (rms(FieldMethod::Auto), rms(FieldMethod::Tiles));
    eprintln!("gauge {gauge:.3} stars {stars:.3} auto {auto:.3} tiles {tiles:.3}");
    assert!(
        tiles < 0.75 * gauge && auto < 0.6 * gauge && auto < stars,
        "gauge {gauge}, stars {stars}, tiles {tiles}, auto {auto}"
    );
}

#[test]
fn more_rounds_do_not_worsen_the_registration() {
    let scene = Scene::new(star_poor());
    let rms = |iterations: usize| {
        let mut recipe = StackRecipe::default();
        recipe.field.method = FieldMethod::Tiles;
        recipe.field.iterations = iterations;
        recipe.field.convergence = 0.0;
        scene.registration_rms(&scene.stack(recipe))
    };
    let (one, four) = (rms(1), rms(4));
    assert!(four < 1.05 * one, "{one} px after one round, {four} px after four");
}

/// Frames that drift and jump by a few pixels.
fn drifting() -> BurstOptions {
    BurstOptions { dither_px: 4.0, distortion_px: 0.5, ..quiet() }
}

#[test]
fn without_a_gauge_tiles_follow_the_drift() {
    let scene = Scene::new(drifting());
    let mut recipe = StackRecipe::default();
    recipe.gauge.method = GaugeMethod::None;
    recipe.field.method = FieldMethod::Tiles;
    let none = scene.stack(recipe.clone());
    recipe.gauge.method = GaugeMethod::Stars;
    recipe.field.method = FieldMethod::Stars;
    let stars = scene.stack(recipe);
    let (none_rms, stars_rms) = (scene.registration_rms(&none), scene.registration_rms(&stars));
    eprintln!("none {none_rms:.3} stars {stars_rms:.3}");
    assert_eq!(none.outcome.report.used(), 24);
    assert!(none_rms < 0.2, "{none_rms}");
    assert!(none.fwhm_out_px() < 1.05 * stars.fwhm_out_px());
}

/// The preset, and that it reached the tiles.
fn v4(scene: &Scene) -> Stacked {
    scene.stack(Preset::V4.recipe())
}

#[test]
fn preset_v4_stacks_aligned_frames() {
    let scene = Scene::new(BurstOptions { frames: 51, ..quiet() });
    let stacked = v4(&scene);
    eprintln!("{:?}", stacked.outcome.report.warnings);
    let result = stacked.outcome.report.result.as_ref().unwrap();
    assert_eq!(stacked.outcome.report.used(), 51);
    eprintln!("{result:?}");
    assert_eq!(result.covered_fraction, 1.0);
    assert!(stacked.warning("gates.frames_reduced").is_some());
    assert!(stacked.image().pixels().iter().all(|v| v.is_finite()));
}

#[test]
fn preset_v4_stacks_drifting_frames() {
    let scene = Scene::new(BurstOptions { frames: 51, ..drifting() });
    let stacked = v4(&scene);
    eprintln!("{:?}", stacked.outcome.report.warnings);
    let result = stacked.outcome.report.result.as_ref().unwrap();
    eprintln!("{result:?}");
    eprintln!("rms {}", scene.registration_rms(&stacked));
}
