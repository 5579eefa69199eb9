use super::*;
use crate::recipe::keys::Kind;
use crate::recipe::{
    BayerInput, FieldMethod, Linearity, RejectionMethod, Strictness, SyntheticWeighting,
    WeightScheme,
};

const SHIPPED: &str = "
v4:
  iterations: 4
  beta: 6.0
  min_valid_tile_fraction: 0.3
  parallel_tiles: 8
  debug_tile_registration: false
  adaptive_tiles: { enabled: true, max_refine_passes: 4, refine_variance_threshold: 0.1,
                    min_tile_size_px: 48, use_warp_probe: true, initial_tile_size: 192 }
  convergence: { enabled: false, epsilon_rel: 0.001 }
  memory_limits: { rss_warn_mb: 16384, rss_abort_mb: 32768 }
registration:
  mode: local_tiles
  local_tiles: { ecc_cc_min: 0.4, min_valid_frames: 3, max_warp_delta_px: 0.3,
                 temporal_smoothing_window: 15, variance_window_sigma: 2.0 }
data: { image_width: 3840, image_height: 2160, frames_min: 50, color_mode: OSC, bayer_pattern: GBRG,
        linear_required: true }
linearity: { enabled: true, max_frames: 6, strictness: moderate }
calibration: { use_dark: true, darks_dir: /somewhere, dark_match_exposure_tolerance_percent: 10.0,
               dark_match_use_temp: true, dark_match_temp_tolerance_c: 3.0 }
assumptions: { frames_min: 50, frames_reduced_threshold: 199, frames_optimal: 200 }
global_metrics: { weights: { background: 0.5, noise: 0.25, gradient: 0.25 }, clamp: [-3, 3] }
tile: { size_factor: 32, min_size: 48, overlap_fraction: 0.25, star_min_count: 3 }
synthetic:
  weighting: tile_weighted
  frames_min: 3
  clustering: { cluster_count_range: [8, 12] }
  auto_skip: { enabled: true }
stacking: { method: rej, sigma_clip: { sigma_low: 2.0, sigma_high: 2.5 } }
";

fn problems(text: &str, cores: usize) -> String {
    import_tile_compile(text, cores).unwrap_err().to_string()
}

#[test]
fn a_shipped_configuration_becomes_its_recipe() {
    let imported = import_tile_compile(SHIPPED, 8).unwrap();
    let recipe = &imported.file.recipe;
    assert_eq!(recipe.field.method, FieldMethod::Tiles);
    assert_eq!(recipe.field.iterations, 4);
    assert_eq!(recipe.field.refine.passes, 4);
    assert_eq!(recipe.field.refine.min_px, 48);
    assert_eq!(recipe.field.tile.max_px, 192);
    assert_eq!(recipe.field.tile.min_px, 48);
    assert_eq!(recipe.field.tile.min_frames, 3);
    assert_eq!(recipe.field.temporal_window, 15);
    assert_eq!(recipe.field.convergence, 0.0);
    assert_eq!(recipe.weights.scheme, WeightScheme::V4);
    assert_eq!(recipe.weights.registration_beta, 6.0);
    assert_eq!(recipe.weights.alpha, 0.5);
    assert_eq!(recipe.input.bayer, BayerInput::Gbrg);
    assert_eq!(recipe.input.linearity, Linearity::Require);
    assert_eq!(recipe.input.min_frames, 50);
    assert_eq!(recipe.gates.frames_reduced, 199);
    assert_eq!(recipe.calibration.exposure_tolerance, 0.1);
    assert_eq!(recipe.calibration.temperature_tolerance_c, 3.0);
    assert_eq!(recipe.synthetic.weighting, SyntheticWeighting::TileWeighted);
    assert_eq!((recipe.synthetic.clusters_min, recipe.synthetic.clusters_max), (8, 12));
    assert_eq!(recipe.rejection.method, RejectionMethod::KappaSigma);
    assert_eq!((recipe.rejection.low, recipe.rejection.high), (2.0, 2.5));
    assert_eq!(imported.file.resources.parallel_tiles, Some(8));
    imported.file.check(8, Strictness::Strict).unwrap();
    assert!(!imported.notes.iter().any(|n| matches!(n, Note::Unknown { .. })));

    let written = imported.file.to_commented_yaml("Imported.");
    let read = RecipeFile::parse(&written, RecipeFormat::Yaml, &[]).unwrap();
    assert_eq!(read, imported.file);
}

#[test]
fn every_key_of_the_file_is_named_in_a_note() {
    let imported = import_tile_compile(SHIPPED, 8).unwrap();
    let lines: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    let source = RecipeFormat::Yaml.parse(SHIPPED).unwrap();
    let mut leaves = Vec::new();
    collect_leaves("", &source, &mut leaves);
    for (path, _) in leaves {
        let named = |line: &String| {
            line.starts_with(&format!("{path} ")) || line.starts_with(&format!("{path}:"))
        };
        assert!(lines.iter().any(named), "{path} in {lines:#?}");
    }
    assert!(lines.contains(&"v4.beta -> weights.registration_beta = 6.0".to_owned()));
}

#[test]
fn every_target_is_a_key_of_the_recipe() {
    let root = Key::root::<StackRecipe>();
    for known in KEYS {
        if let Fate::To(target) = known.fate {
            let key = root.find(target).unwrap_or_else(|| panic!("{target}"));
            assert!(!matches!(key.kind, Kind::Section(_)), "{target}");
        }
        assert!(!later_version(known.path), "{}", known.path);
    }
    let mut paths: Vec<&str> = KEYS.iter().map(|k| k.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), KEYS.len());
}

#[test]
fn unknown_keys_are_named_and_later_ones_told_apart() {
    let text = "v4: { iteratons: 3, parallel_tiles: 1 }\nbge: { enabled: true }\n";
    let notes = import_tile_compile(text, 4).unwrap().notes;
    assert!(notes.contains(&Note::Unknown {
        key: "v4.iteratons".to_owned(),
        nearest: "v4.iterations".to_owned()
    }));
    let later =
        notes.iter().any(|n| matches!(n, Note::Ignored { key, .. } if key == "bge.enabled"));
    assert!(later);
}

#[test]
fn parallel_tiles_follow_their_rule() {
    let missing = import_tile_compile("v4: {}\n", 4).unwrap();
    assert_eq!(missing.file.resources.parallel_tiles, Some(1));
    let warning = Note::Warning("v4.parallel_tiles is missing: 1 tile at a time".to_owned());
    assert!(missing.notes.contains(&warning));

    let text = "v4: { parallel_tiles: 20 }\n";
    assert!(problems(text, 8).contains("found 20, needed at most the 8 physical cores"));
    let many = import_tile_compile(text, 32).unwrap();
    assert!(many.notes.iter().any(|n| matches!(n, Note::Warning(w) if w.contains("strict"))));
    assert!(many.file.check(32, Strictness::Normal).is_ok());
    assert!(many.file.check(32, Strictness::Strict).is_err());
    assert!(problems("v4: { parallel_tiles: 0 }\n", 8).contains("a whole number of at least 1"));
}

#[test]
fn what_v4_forbids_is_refused_all_at_once() {
    assert!(problems("tile: { min_size: 64 }\n", 4).contains("v4: the section is missing"));
    let text = "
v4: { iterations: 11, memory_limits: { rss_warn_mb: 9000, rss_abort_mb: 8000 } }
registration: { mode: global, local_tiles: { temporal_smoothing_window: 8 } }
assumptions: { frames_min: 200, elongation_warn: 0.5 }
global_metrics: { weights: { noise: 0.5 }, clamp: [3, 3] }
local_metrics: { clamp: [3, -3], structure_mode: { metric_weight: 0.9 } }
data: { linear_required: false }
normalization: { enabled: false }
";
    let message = problems(text, 4);
    for part in [
        "v4.iterations: found 11, needed a whole number from 1 to 10",
        "v4.memory_limits.rss_warn_mb, v4.memory_limits.rss_abort_mb: found 9000 and 8000",
        "registration.mode: found \"global\", needed one of local_tiles",
        "registration.local_tiles.temporal_smoothing_window: found 8, needed an odd number",
        "assumptions.frames_min, assumptions.frames_reduced_threshold: found 200 and 200",
        "assumptions.elongation_warn, assumptions.elongation_max: found 0.5 and 0.4",
        "global_metrics.weights: found a sum of 1.2",
        "global_metrics.clamp: found [3, 3]",
        "local_metrics.clamp: found [3,-3], needed [low, high]",
        "local_metrics.structure_mode: found a sum of 1.2",
        "data.linear_required: found false",
        "normalization.enabled: found false",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(message.contains("12 problems"), "{message}");
}

#[test]
fn older_keys_count_where_the_later_ones_are_missing() {
    let text = "v4: { parallel_tiles: 1, beta: 4.0 }\nregistration: { local_tiles: { \
                max_tile_size: 100, max_iterations: 2, registration_quality_beta: 9 } }\n";
    let imported = import_tile_compile(text, 4).unwrap();
    assert_eq!(imported.file.recipe.field.tile.max_px, 100);
    assert_eq!(imported.file.recipe.field.iterations, 2);
    assert_eq!(imported.file.recipe.weights.registration_beta, 4.0);
}
