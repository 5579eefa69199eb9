//! Options of PyFlowReg and Flow-Registration as recipes of `motion`.

use serde_json::{Map, Value, json};

use super::super::canonical::{Recipe, tree};
use super::super::check::check;
use super::super::file::{FileOf, read_checked};
use super::super::keys::Key;
use super::super::motion::{MotionRecipe, NoResources};
use super::super::nearest::nearest;
use super::super::problem::{Problem, RecipeError};
use super::Note;

/// What became of an options file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedMotion {
    /// The recipe.
    pub file: FileOf<MotionRecipe>,
    /// What happened to each option, in its order, then what was assumed.
    pub notes: Vec<Note>,
}

/// Options whose value is that of the key of the same name.
const SAME: [&str; 17] = [
    "a_smooth",
    "bin_size",
    "buffer_size",
    "cc_initialization",
    "channel_normalization",
    "eta",
    "interpolation_method",
    "iterations",
    "levels",
    "naming_convention",
    "output_format",
    "save_valid_idx",
    "save_w",
    "update_initialization_w",
    "update_lag",
    "update_reference",
    "warping_steps",
];

/// Options that are known and have no effect here, and why.
const IGNORED: [(&str, &str); 17] = [
    ("input_file", "inputs are given on the command line"),
    ("output_path", "give -o on the command line"),
    ("output_file_name", "give -o on the command line"),
    ("channel_idx", "the original never reads it; give the files of the channels"),
    ("cc_up", "shifts are found between the pixels without a factor"),
    ("verbose", "progress is shown anyway; --quiet hides it"),
    ("save_meta_info", "statistics and reference are always written"),
    ("save_valid_mask", "the original never reads it; save_valid_idx writes masks"),
    ("backend_params", "the backend's parameters are in the section dis"),
    ("preproc_funct", "functions are no options"),
    ("get_displacement_impl", "functions are no options"),
    ("get_displacement_factory", "functions are no options"),
    ("min_frames_per_reference", "there is one reference"),
    ("use_gpu", "there is no such backend"),
    ("normalize_ref", "values are brought to the range of the reference"),
    ("output_file_writer", "objects are no options"),
    ("dimension_ordering", "the axes are told by the file"),
];

/// The recipe that `text` stands for: options of PyFlowReg or Flow-Registration as JSON; lines
/// before the first `{` are skipped. Options that are missing have the original's defaults.
///
/// # Errors
/// [`RecipeError::Syntax`], or [`RecipeError::Invalid`] with all problems.
pub fn import_flow_registration(text: &str) -> Result<ImportedMotion, RecipeError> {
    let syntax = |message: String| RecipeError::Syntax { format: "JSON", message };
    let begin = text.find('{').ok_or_else(|| syntax("found no {".to_owned()))?;
    let source: Map<String, Value> =
        serde_json::from_str(&text[begin..]).map_err(|e| syntax(e.to_string()))?;
    let mut import = Import { recipe: defaults(), notes: Vec::new(), problems: Vec::new() };
    for (option, value) in &source {
        import.option(option, value);
    }
    let Import { recipe, mut notes, mut problems } = import;
    RecipeError::unless_empty(std::mem::take(&mut problems))?;
    check(&Key::root::<MotionRecipe>(), &recipe, &mut problems);
    RecipeError::unless_empty(problems)?;
    let recipe: MotionRecipe = read_checked(recipe)?;
    recipe.validate()?;
    notes.push(Note::Warning(
        "the original's smoothness is kept; alpha: auto is usually more accurate and faster"
            .to_owned(),
    ));
    Ok(ImportedMotion { file: FileOf { recipe, resources: NoResources {} }, notes })
}

/// The original's defaults.
fn defaults() -> Value {
    let mut recipe = tree(&MotionRecipe::default());
    recipe["alpha"] = json!(1.5);
    recipe["definition"] = json!("original");
    recipe["update_initialization_w"] = json!(true);
    recipe["reference_frames"] = json!("50..500");
    recipe["output_format"] = json!("MAT");
    recipe
}

struct Import {
    recipe: Value,
    notes: Vec<Note>,
    problems: Vec<Problem>,
}

impl Import {
    fn option(&mut self, option: &str, value: &Value) {
        if let Some((_, reason)) = IGNORED.iter().find(|(name, _)| *name == option) {
            if !is_nothing(value) {
                let (key, reason) = (option.to_owned(), (*reason).to_owned());
                self.notes.push(Note::Ignored { key, reason });
            }
            return;
        }
        if SAME.contains(&option) {
            if !value.is_null() {
                // MATLAB writes true and false as 1 and 0 now and then.
                let is_flag = self.recipe[option].is_boolean();
                let flag = value.as_f64().filter(|_| is_flag).map(|v| json!(v != 0.0));
                self.set(option, option, flag.unwrap_or_else(|| normal(value)));
            }
            return;
        }
        match option {
            "alpha" => self.set(option, "alpha", one_or_more(value)),
            "weight" => self.list(option, "weight", value),
            "a_data" => self.list(option, "a_data", value),
            "gnc_schedule" if !value.is_null() => self.list(option, "gnc_schedule", value),
            "gnc_schedule" => {}
            "sigma" => self.list(option, "sigma", value),
            "cc_hw" => self.cc_side(value),
            "min_level" => {
                if value.as_i64().is_some_and(|v| v >= 0) {
                    self.set(option, "min_level", value.clone());
                }
            }
            "quality_setting" => {
                let is_custom = value == "custom";
                let word = if is_custom { json!("quality") } else { normal(value) };
                self.set(option, "quality_setting", word);
            }
            "constancy_assumption" | "const_assumption" => {
                let word = match value.as_str().unwrap_or("") {
                    "gradient" => json!("gc"),
                    "brightness" => json!("gray"),
                    "census" => json!("cs"),
                    _ => value.clone(),
                };
                self.set(option, "constancy_assumption", word);
            }
            "flow_backend" => self.backend(value),
            "n_references" => {
                if value != 1 {
                    self.refuse(option, value, "1: several references are not supported");
                }
            }
            "output_typename" => self.set(option, "output_typename", normal(value)),
            "reference_frames" => self.reference(value),
            _ => self.unknown(option),
        }
    }

    fn set(&mut self, from: &str, key: &str, value: Value) {
        let to = format!("{key} = {value}");
        self.recipe[key] = value;
        self.notes.push(Note::Mapped { from: from.to_owned(), to });
    }

    /// Numbers in any nesting.
    fn list(&mut self, from: &str, key: &str, value: &Value) {
        let mut flat = Vec::new();
        flatten(value, &mut flat);
        self.set(from, key, Value::Array(flat));
    }

    fn refuse(&mut self, option: &str, value: &Value, needed: &str) {
        self.problems.push(Problem::Value {
            key: option.to_owned(),
            found: value.to_string(),
            needed: needed.to_owned(),
        });
    }

    fn cc_side(&mut self, value: &Value) {
        let mut flat = Vec::new();
        flatten(value, &mut flat);
        let longest = flat.iter().filter_map(Value::as_u64).max();
        if let Some(side) = longest {
            self.set("cc_hw", "cc_hw", json!(side));
        }
    }

    fn backend(&mut self, value: &Value) {
        let name = match value.as_str() {
            Some("flowreg" | "flowreg_torch" | "flowreg_cuda") => "variational",
            Some("diso") => "dis",
            _ => return self.refuse("flow_backend", value, "flowreg or diso"),
        };
        self.set("flow_backend", "flow_backend", json!(name));
    }

    fn reference(&mut self, value: &Value) {
        let text = match value {
            Value::String(path) => path.clone(),
            Value::Array(_) => {
                let mut flat = Vec::new();
                flatten(value, &mut flat);
                let Some(indices) = flat.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()
                else {
                    return self.refuse("reference_frames", value, "indices or a file");
                };
                ranges(&indices)
            }
            Value::Number(_) => value.to_string(),
            _ => return self.refuse("reference_frames", value, "indices or a file"),
        };
        self.set("reference_frames", "reference_frames", json!(text));
    }

    fn unknown(&mut self, option: &str) {
        let known = tree(&MotionRecipe::default());
        let names = known.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let candidates = names.chain(IGNORED.iter().map(|(name, _)| *name)).collect();
        let nearest = nearest(option, candidates).unwrap_or_default().to_owned();
        self.notes.push(Note::Unknown { key: option.to_owned(), nearest });
    }
}

/// Nothing was said: an option that no one has set.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Words in the case of the recipe.
fn normal(value: &Value) -> Value {
    match value.as_str() {
        Some(word) if word.chars().any(char::is_lowercase) => json!(word.to_ascii_lowercase()),
        _ => value.clone(),
    }
}

/// A list of one as a number.
fn one_or_more(value: &Value) -> Value {
    match value.as_array().map(Vec::as_slice) {
        Some([one]) => one.clone(),
        _ => value.clone(),
    }
}

fn flatten(value: &Value, out: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, out)),
        other => out.push(other.clone()),
    }
}

/// Indices as ranges without the last.
fn ranges(indices: &[u64]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for &i in indices {
        match parts.last_mut() {
            Some((_, end)) if *end == i => *end += 1,
            _ => parts.push((i, i + 1)),
        }
    }
    let text = |(from, to): &(u64, u64)| {
        if from + 1 == *to { from.to_string() } else { format!("{from}..{to}") }
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Alpha, DefinitionChoice, FlowBackend, OutputFormat, QualitySetting};

    #[test]
    fn options_of_the_original_become_a_recipe() {
        let text = r#"Compensation options 2026-01-01 12:00:00
            {"alpha": [4.0, 4.0], "sigma": [[1, 1, 0.1], [2, 2, 0.1]], "quality_setting": "fast",
             "reference_frames": [50, 51, 52, 60], "flow_backend": "diso", "min_level": -1,
             "output_format": "CAIMAN_HDF5", "verbose": false, "weight": [0.7, 0.3],
             "a_data": 0.45, "cc_hw": [128, 256], "gnc_schedule": null, "levls": 3,
             "channel_idx": null, "backend_params": {}, "constancy_assumption": "gradient"}"#;
        let imported = import_flow_registration(text).unwrap();
        let recipe = imported.file.recipe;
        assert_eq!(recipe.alpha, Alpha::Fixed([4.0; 2]));
        assert_eq!(recipe.sigma, [1.0, 1.0, 0.1, 2.0, 2.0, 0.1]);
        assert_eq!(recipe.quality_setting, QualitySetting::Fast);
        assert_eq!(recipe.reference_frames, "50..53,60");
        assert_eq!(recipe.flow_backend, FlowBackend::Dis);
        assert_eq!(recipe.output_format, OutputFormat::CaimanHdf5);
        assert_eq!(recipe.cc_hw, 256);
        assert!(recipe.update_initialization_w);
        assert_eq!(recipe.definition, DefinitionChoice::Original);
        let told: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|n| n.starts_with("levls: unknown key")), "{told:?}");
        assert!(told.iter().any(|n| n.starts_with("verbose: ignored")), "{told:?}");
        assert!(!told.iter().any(|n| n.starts_with("channel_idx")), "{told:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, key) in [
            (r#"{"n_references": 2}"#, "n_references"),
            (r#"{"interpolation_method": "nearest"}"#, "interpolation_method"),
            (r#"{"flow_backend": "mine"}"#, "flow_backend"),
            (r#"{"eta": 2}"#, "eta"),
            ("no options", "{"),
        ] {
            let message = import_flow_registration(text).unwrap_err().to_string();
            assert!(message.contains(key), "{text}: {message}");
        }
    }
}
