//! Keys of tile_compile that mean something only together, and the rules between keys.

use serde_json::{Value, json};

use super::Note;
use super::table::pair;
use crate::recipe::problem::Problem;
use crate::recipe::set::insert;

/// A translation in progress.
struct Translation<'a> {
    source: &'a Value,
    recipe: &'a mut Value,
    notes: &'a mut Vec<Note>,
    problems: &'a mut Vec<Problem>,
}

/// Applies what `Fate::Translated` keys say to `recipe`, and the cross-field rules of
/// tile_compile to `source`.
pub(super) fn all(
    source: &Value,
    recipe: &mut Value,
    notes: &mut Vec<Note>,
    problems: &mut Vec<Problem>,
) {
    let mut t = Translation { source, recipe, notes, problems };
    t.required_sections();
    t.refinement();
    t.older_keys();
    t.colour();
    t.linearity();
    t.calibration();
    t.photometry();
    t.combination();
    t.orders();
    t.sums();
}

impl Translation<'_> {
    fn get(&self, path: &str) -> Option<&Value> {
        let value = self.source.pointer(&format!("/{}", path.replace('.', "/")))?;
        (!value.is_null()).then_some(value)
    }

    fn flag(&self, path: &str) -> Option<bool> {
        self.get(path)?.as_bool()
    }

    fn number(&self, path: &str) -> Option<f64> {
        self.get(path)?.as_f64()
    }

    fn word(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// Sets a key of the recipe because of `from`, if the configuration has it.
    fn set(&mut self, from: &str, to: &str, value: Value) {
        if self.get(from).is_some() {
            let to = format!("{to} = {value}");
            self.notes.push(Note::Mapped { from: from.to_owned(), to });
        }
        insert(self.recipe, to, value);
    }

    fn ignore(&mut self, key: &str, reason: &str) {
        if self.get(key).is_some() {
            self.notes.push(Note::Ignored { key: key.to_owned(), reason: reason.to_owned() });
        }
    }

    fn conflict(&mut self, keys: &str, reason: String) {
        self.problems.push(Problem::Conflict { keys: keys.to_owned(), reason });
    }

    /// Without a `v4` section, or in another registration mode, there is no Methodik v4.
    fn required_sections(&mut self) {
        if !self.source.get("v4").is_some_and(Value::is_object) {
            self.conflict("v4", "the section is missing; a Methodik v4 file has it".to_owned());
        }
    }

    /// Refinement and convergence have switches of their own there; here 0 switches off.
    fn refinement(&mut self) {
        let passes = "v4.adaptive_tiles.max_refine_passes";
        if self.flag("v4.adaptive_tiles.enabled") == Some(true) {
            let found = self.get(passes).cloned().unwrap_or(json!(2));
            self.set("v4.adaptive_tiles.enabled", "field.refine.passes", found.clone());
            self.set(passes, "field.refine.passes", found);
            let size = "v4.adaptive_tiles.initial_tile_size";
            let found = self.get(size).cloned().unwrap_or(json!(256));
            self.set(size, "field.tile.max_px", found);
        } else {
            self.set("v4.adaptive_tiles.enabled", "field.refine.passes", json!(0));
            self.ignore(passes, "v4.adaptive_tiles is not enabled");
            self.ignore("v4.adaptive_tiles.initial_tile_size", "v4.adaptive_tiles is not enabled");
        }
        let epsilon = "v4.convergence.epsilon_rel";
        if self.flag("v4.convergence.enabled") == Some(true) {
            let found = self.get(epsilon).cloned().unwrap_or(json!(1e-3));
            self.set("v4.convergence.enabled", "field.convergence", found.clone());
            self.set(epsilon, "field.convergence", found);
        } else {
            self.set("v4.convergence.enabled", "field.convergence", json!(0.0));
            self.ignore(epsilon, "v4.convergence is not enabled");
        }
    }

    /// Keys of the first drafts of v4 count where the later ones are missing.
    fn older_keys(&mut self) {
        let base = "registration.local_tiles";
        for (old, new, target) in [
            ("max_tile_size", "v4.adaptive_tiles.initial_tile_size", "field.tile.max_px"),
            ("registration_quality_beta", "v4.beta", "weights.registration_beta"),
            ("max_iterations", "v4.iterations", "field.iterations"),
        ] {
            let path = format!("{base}.{old}");
            let Some(value) = self.get(&path).cloned() else { continue };
            let adaptive =
                old != "max_tile_size" || self.flag("v4.adaptive_tiles.enabled") == Some(true);
            if adaptive && self.get(new).is_some() {
                self.ignore(&path, &format!("{new} supersedes it"));
            } else {
                self.set(&path, target, value);
            }
        }
    }

    fn colour(&mut self) {
        let pattern = self.word("data.bayer_pattern").map(str::to_owned);
        match (self.word("data.color_mode"), pattern) {
            (Some("MONO"), _) => {
                self.set("data.color_mode", "input.bayer", json!("mono"));
                self.ignore("data.bayer_pattern", "the frames are mono");
            }
            (_, Some(pattern)) => {
                self.set("data.bayer_pattern", "input.bayer", json!(pattern));
                self.ignore("data.color_mode", "the pattern says it");
            }
            (Some(_), None) => self.set("data.color_mode", "input.bayer", json!("auto")),
            (None, None) => {}
        }
        if self.flag("debayer") == Some(false) {
            self.notes.push(Note::Warning(
                "debayer is false: Bayer frames become three colour planes all the same".to_owned(),
            ));
        } else {
            self.ignore("debayer", "Bayer frames become three colour planes");
        }
    }

    fn linearity(&mut self) {
        let enabled = self.flag("linearity.enabled").unwrap_or(true);
        let word = if enabled { "require" } else { "off" };
        self.set("linearity.enabled", "input.linearity", json!(word));
        if self.flag("data.linear_required") == Some(false) {
            self.conflict("data.linear_required", "found false, needed true".to_owned());
        } else {
            self.ignore("data.linear_required", "it is always required");
        }
    }

    fn calibration(&mut self) {
        let exposure = "calibration.dark_match_exposure_tolerance_percent";
        if let Some(percent) = self.number(exposure) {
            self.set(exposure, "calibration.exposure_tolerance", json!(percent / 100.0));
        }
        let temperature = "calibration.dark_match_temp_tolerance_c";
        let target = "calibration.temperature_tolerance_c";
        if self.flag("calibration.dark_match_use_temp") == Some(true) {
            let found = self.get(temperature).cloned().unwrap_or(json!(2.0));
            self.set("calibration.dark_match_use_temp", target, found.clone());
            self.set(temperature, target, found);
        } else {
            // The widest value that the recipe allows: any temperature fits.
            self.set("calibration.dark_match_use_temp", target, json!(100.0));
            self.ignore(temperature, "calibration.dark_match_use_temp is not set");
        }
    }

    fn photometry(&mut self) {
        if self.flag("normalization.enabled") == Some(false) {
            self.conflict("normalization.enabled", "found false, v4 needs true".to_owned());
        } else {
            self.ignore("normalization.enabled", "normalization.scale is v4");
        }
        for key in ["global_metrics.clamp", "local_metrics.clamp"] {
            match self.get(key).and_then(pair) {
                Some((low, high)) if (low, high) != (-3.0, 3.0) => self.notes.push(Note::Warning(
                    format!("{key} is [{low}, {high}]: scores are clamped to [-3, 3] all the same"),
                )),
                _ => self.ignore(key, "scores are clamped to [-3, 3]"),
            }
        }
        let overlap = "tile.overlap_fraction";
        if let Some(found) = self.number(overlap) {
            if found < 0.25 {
                self.notes.push(Note::Warning(format!(
                    "{overlap} is {found}: v4 needs at least 0.25, which is used"
                )));
            }
            self.set(overlap, "field.tile.overlap", json!(found.max(0.25)));
        }
    }

    /// `rej`, the default there, clips; the sigmas of the schema are 4.
    fn combination(&mut self) {
        let method = match self.word("stacking.method") {
            Some("average") => "none",
            _ => "kappa_sigma",
        };
        self.set("stacking.method", "rejection.method", json!(method));
        for (key, target) in [("sigma_low", "rejection.low"), ("sigma_high", "rejection.high")] {
            if self.get(&format!("stacking.sigma_clip.{key}")).is_none() {
                insert(self.recipe, target, json!(4.0));
            }
        }
        let range = "synthetic.clustering.cluster_count_range";
        if let Some((low, high)) = self.get(range).and_then(pair) {
            let whole = |v: f64| v.fract() == 0.0 && v >= 1.0;
            if whole(low) && whole(high) {
                self.set(range, "synthetic.clusters_min", json!(low as u64));
                self.set(range, "synthetic.clusters_max", json!(high as u64));
            } else {
                let reason = format!("found [{low}, {high}], needed whole numbers of at least 1");
                self.conflict(range, reason);
            }
        }
    }

    /// Values that must be in order; equal ones only where `or_equal`.
    fn orders(&mut self) {
        for (low, low_default, high, high_default, or_equal) in [
            ("assumptions.frames_min", 50.0, "assumptions.frames_reduced_threshold", 200.0, false),
            (
                "assumptions.frames_reduced_threshold",
                200.0,
                "assumptions.frames_optimal",
                800.0,
                false,
            ),
            ("assumptions.elongation_warn", 0.3, "assumptions.elongation_max", 0.4, false),
            ("v4.memory_limits.rss_warn_mb", 4096.0, "v4.memory_limits.rss_abort_mb", 8192.0, true),
        ] {
            let a = self.number(low).unwrap_or(low_default);
            let b = self.number(high).unwrap_or(high_default);
            if a > b || (a == b && !or_equal) {
                let order = if or_equal { "not above" } else { "below" };
                let reason = format!("found {a} and {b}, needed the first {order} the second");
                self.conflict(&format!("{low}, {high}"), reason);
            }
        }
        for key in ["global_metrics.clamp", "local_metrics.clamp"] {
            if let Some((low, high)) = self.get(key).and_then(pair).filter(|(l, h)| l == h) {
                self.conflict(key, format!("found [{low}, {high}], needed low below high"));
            }
        }
        let window = "registration.local_tiles.temporal_smoothing_window";
        if let Some(found) = self.number(window).filter(|w| w % 2.0 == 0.0) {
            self.conflict(window, format!("found {found}, needed an odd number"));
        }
    }

    /// Shares that must sum to 1.
    fn sums(&mut self) {
        for (section, names, defaults) in [
            (
                "global_metrics.weights",
                ["background", "noise", "gradient"].as_slice(),
                [0.4, 0.3, 0.3].as_slice(),
            ),
            (
                "local_metrics.star_mode.weights",
                ["fwhm", "roundness", "contrast"].as_slice(),
                [0.6, 0.2, 0.2].as_slice(),
            ),
            (
                "local_metrics.structure_mode",
                ["background_weight", "metric_weight"].as_slice(),
                [0.3, 0.7].as_slice(),
            ),
        ] {
            let values = names.iter().zip(defaults);
            let sum: f64 = values
                .map(|(name, default)| {
                    self.number(&format!("{section}.{name}")).unwrap_or(*default)
                })
                .sum();
            if (sum - 1.0).abs() > 1e-6 {
                self.conflict(section, format!("found a sum of {sum}, needed 1"));
            }
        }
    }
}
