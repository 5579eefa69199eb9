//! Recipe files: YAML or TOML, a recipe and, beside it, resources.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::check;
use super::keys::{Key, Kind, inline_schema};
use super::problem::{Problem, RecipeError};
use super::set::apply_set;
use super::stack::StackRecipe;

/// Above this many parallel tiles a strict check fails: disks are saturated long before.
pub const STRICT_PARALLEL_TILES: usize = 16;

/// What a recipe file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecipeFile {
    /// Everything that may change a bit of the result.
    pub recipe: StackRecipe,
    /// What only changes time and memory; never hashed.
    pub resources: FileResources,
}

/// Resources that a recipe file may name. They change time and memory, no bit of the result, and
/// are not part of the recipe's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileResources {
    /// Tiles that are worked on at the same time; `null`: as many as the machine's plan says. 4
    /// for hard disks or small sensors, 8 for NVMe and at least 8 cores, 16 for high-end machines;
    /// never more than the physical cores.
    #[schemars(range(min = 1))]
    pub parallel_tiles: Option<usize>,
}

/// How much a check lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Errors only.
    Normal,
    /// What is allowed but unwise fails too.
    Strict,
}

/// Text format of a recipe file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeFormat {
    /// YAML 1.2: `off`, `no` and `yes` are words, only `true` and `false` are booleans.
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl RecipeFormat {
    /// The format that the ending of `path` names.
    ///
    /// # Errors
    /// [`RecipeError::Ending`] if it is none of `.yaml`, `.yml`, `.toml` (any case).
    pub fn of(path: &Path) -> Result<Self, RecipeError> {
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            _ => Err(RecipeError::Ending { path: path.to_owned() }),
        }
    }

    /// `text` as a tree of values; an empty text is an empty section.
    ///
    /// # Errors
    /// [`RecipeError::Syntax`], also for a key that occurs twice.
    pub(crate) fn parse(self, text: &str) -> Result<Value, RecipeError> {
        let (format, parsed) = match self {
            Self::Yaml => {
                let options = serde_saphyr::options! { strict_booleans: true };
                let parsed = serde_saphyr::from_str_with_options(text, options);
                ("YAML", parsed.map_err(|e| e.to_string()))
            }
            Self::Toml => ("TOML", toml::from_str(text).map_err(|e| e.to_string())),
        };
        match parsed {
            Ok(Value::Null) => Ok(Value::Object(Map::new())),
            Ok(value) => Ok(value),
            Err(message) => Err(RecipeError::Syntax { format, message }),
        }
    }
}

impl RecipeFile {
    /// The recipe of the file `path` (the default recipe without one) with the overrides `sets`
    /// (`key.path=value`) applied in order.
    ///
    /// # Errors
    /// Any [`RecipeError`]; all problems of the values at once.
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self, RecipeError> {
        let Some(path) = path else { return Self::parse("", RecipeFormat::Yaml, sets) };
        let format = RecipeFormat::of(path)?;
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, format, sets)
    }

    /// As [`Self::load`], from a text.
    ///
    /// # Errors
    /// As [`Self::load`], without those of files.
    ///
    /// ```
    /// use stillframe_engine::recipe::{RecipeFile, RecipeFormat};
    /// let sets = ["rejection.low=3.5".to_owned()];
    /// let file = RecipeFile::parse("canvas: union", RecipeFormat::Yaml, &sets)?;
    /// assert_eq!(file.recipe.rejection.low, 3.5);
    /// let error = RecipeFile::parse("canvass: union", RecipeFormat::Yaml, &[]).unwrap_err();
    /// assert!(error.to_string().ends_with("canvass: unknown key; the nearest known key is canvas"));
    /// # Ok::<(), stillframe_engine::recipe::RecipeError>(())
    /// ```
    pub fn parse(text: &str, format: RecipeFormat, sets: &[String]) -> Result<Self, RecipeError> {
        let keys = file_keys();
        let mut value = format.parse(text)?;
        let mut problems = Vec::new();
        check(&keys, &value, &mut problems);
        if !value.is_object() {
            return Err(RecipeError::Invalid { problems });
        }
        for set in sets {
            match apply_set(&keys, &mut value, set) {
                Err(RecipeError::Invalid { problems: more }) => problems.extend(more),
                other => other?,
            }
        }
        RecipeError::unless_empty(problems)?;
        let file = Self::from_checked(value)?;
        file.recipe.validate()?;
        Ok(file)
    }

    fn from_checked(mut value: Value) -> Result<Self, RecipeError> {
        let resources = value
            .as_object_mut()
            .and_then(|map| map.remove("resources"))
            .unwrap_or_else(|| Value::Object(Map::new()));
        Ok(Self { recipe: read_checked(value)?, resources: read_checked(resources)? })
    }

    /// Checks the recipe, and the resources against this machine.
    ///
    /// # Errors
    /// [`RecipeError::Invalid`] if a value is out of range, `parallel_tiles` exceeds
    /// `physical_cores`, or, strictly, [`STRICT_PARALLEL_TILES`].
    pub fn check(&self, physical_cores: usize, strictness: Strictness) -> Result<(), RecipeError> {
        self.recipe.validate()?;
        let tiles = self.resources.parallel_tiles.unwrap_or(1);
        let mut problems = Vec::new();
        let mut refuse = |needed: String| {
            problems.push(Problem::Value {
                key: "resources.parallel_tiles".to_owned(),
                found: tiles.to_string(),
                needed,
            });
        };
        if tiles > physical_cores {
            refuse(format!("at most the {physical_cores} physical cores of this machine"));
        }
        if strictness == Strictness::Strict && tiles > STRICT_PARALLEL_TILES {
            refuse(format!("at most {STRICT_PARALLEL_TILES} in a strict check"));
        }
        RecipeError::unless_empty(problems)
    }
}

/// The recipe of the file `path` (the defaults without one) with the overrides `sets` applied in order,
/// for recipes that have no resources beside them; `root` is the top of its keys.
///
/// # Errors
/// Any [`RecipeError`]; all problems of the values at once.
pub(crate) fn load_tree<T: DeserializeOwned>(
    root: &Key,
    path: Option<&Path>,
    sets: &[String],
) -> Result<T, RecipeError> {
    let mut value = match path {
        None => Value::Object(Map::new()),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
            RecipeFormat::of(path)?.parse(&text)?
        }
    };
    let mut problems = Vec::new();
    check(root, &value, &mut problems);
    if !value.is_object() {
        return Err(RecipeError::Invalid { problems });
    }
    for set in sets {
        match apply_set(root, &mut value, set) {
            Err(RecipeError::Invalid { problems: more }) => problems.extend(more),
            other => other?,
        }
    }
    RecipeError::unless_empty(problems)?;
    read_checked(value)
}

/// `value`, which has passed the check of its keys, as its type.
pub(crate) fn read_checked<T: DeserializeOwned>(value: Value) -> Result<T, RecipeError> {
    serde_json::from_value(value).map_err(|e| RecipeError::Invalid {
        problems: vec![Problem::Conflict { keys: "recipe".to_owned(), reason: e.to_string() }],
    })
}

/// The keys of a recipe file: those of the recipe, then `resources`.
pub(crate) fn file_keys() -> Key {
    let mut root = Key::root::<StackRecipe>();
    if let Kind::Section(keys) = &mut root.kind {
        keys.push(Key::from_schema("resources".to_owned(), &inline_schema::<FileResources>()));
    }
    root
}

/// The JSON schema (draft 2020-12) of recipe files, for editors and other programs.
pub fn schema() -> Value {
    let mut schema = inline_schema::<StackRecipe>();
    let mut resources = inline_schema::<FileResources>();
    if let Some(map) = resources.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
    }
    schema["title"] = Value::from("stillframe stack recipe");
    schema["properties"]["resources"] = resources;
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::keys::Range;
    use crate::recipe::{FieldMethod, Linearity};

    fn parse(text: &str) -> Result<RecipeFile, RecipeError> {
        RecipeFile::parse(text, RecipeFormat::Yaml, &[])
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(parse("").unwrap(), RecipeFile::default());
        assert_eq!(parse("# nothing\n").unwrap(), RecipeFile::default());
        assert_eq!(RecipeFile::load(None, &[]).unwrap(), RecipeFile::default());
    }

    #[test]
    fn yaml_and_toml_say_the_same() {
        let yaml = "field: { method: off, tile: { max_px: 200 } }\ninput:\n  linearity: off\n\
                    drizzle:\n  scale: 1.5\nresources: { parallel_tiles: 2 }\n";
        let toml = "[field]\nmethod = 'off'\n[field.tile]\nmax_px = 200\n[input]\n\
                    linearity = 'off'\n[drizzle]\nscale = 1.5\n[resources]\nparallel_tiles = 2\n";
        let file = parse(yaml).unwrap();
        assert_eq!(file, RecipeFile::parse(toml, RecipeFormat::Toml, &[]).unwrap());
        assert_eq!(file.recipe.field.method, FieldMethod::Off);
        assert_eq!(file.recipe.input.linearity, Linearity::Off);
        assert_eq!(file.recipe.field.tile.max_px, 200);
        assert_eq!(file.resources.parallel_tiles, Some(2));
    }

    #[test]
    fn faults_of_file_and_overrides_come_together() {
        let sets = ["sed=3".to_owned(), "canvas=all".to_owned()];
        let error =
            RecipeFile::parse("rejektion: 3\nworkers: 4\n", RecipeFormat::Yaml, &sets).unwrap_err();
        let text = error.to_string();
        for part in ["4 problems", "rejektion", "workers", "seed", "canvas: found \"all\""] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_is_no_recipe_is_an_error() {
        assert!(matches!(parse("a: [1\nb: 2"), Err(RecipeError::Syntax { format: "YAML", .. })));
        assert!(matches!(parse("seed: 1\nseed: 2"), Err(RecipeError::Syntax { .. })));
        assert!(matches!(parse("- 1\n- 2\n"), Err(RecipeError::Invalid { .. })));
        assert!(matches!(parse("rejection: { low: .nan }"), Err(RecipeError::Syntax { .. })));
        let missing = RecipeFile::load(Some(Path::new("no/such.yaml")), &[]).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read the recipe no/such.yaml"));
        let ending = RecipeFile::load(Some(Path::new("recipe.json")), &[]).unwrap_err();
        assert!(ending.to_string().contains(".yaml, .yml or .toml"));
        assert!(parse("version: 2").unwrap_err().to_string().contains("found 2, needed"));
    }

    #[test]
    fn parallel_tiles_are_checked_against_the_machine() {
        let file = parse("resources: { parallel_tiles: 20 }").unwrap();
        file.check(32, Strictness::Normal).unwrap();
        let strict = file.check(32, Strictness::Strict).unwrap_err().to_string();
        assert!(strict.contains("found 20, needed at most 16 in a strict check"), "{strict}");
        let small = file.check(8, Strictness::Normal).unwrap_err().to_string();
        assert!(small.contains("at most the 8 physical cores"), "{small}");
        RecipeFile::default().check(1, Strictness::Strict).unwrap();
        assert!(parse("resources: { parallel_tiles: 0 }").is_err());
    }

    /// A value of `key` that is not its default, as an override writes it.
    fn other_value(key: &Key) -> Option<String> {
        let number = |range: &Range| {
            let (low, high) = (range.min.unwrap_or(0.0), range.max.unwrap_or(1e9));
            let default = key.default.as_f64();
            let candidates = [low, low + 1.0, low + 0.5 * (high - low), high];
            candidates.into_iter().find(|v| {
                range.holds(*v) && Some(*v) != default && (!range.whole || v.fract() == 0.0)
            })
        };
        match &key.kind {
            Kind::Section(_) => None,
            Kind::Flag => Some((key.default != true).to_string()),
            Kind::Number(range) => number(range).map(|v| v.to_string()),
            Kind::Choice { or: Some(range), .. } => number(range).map(|v| v.to_string()),
            Kind::Choice { words, .. } => {
                words.iter().map(|(word, _)| word.clone()).find(|word| key.default != *word)
            }
        }
    }

    #[test]
    fn every_key_can_be_set_changes_the_hash_and_survives_writing() {
        let keys = file_keys();
        let mut set = 0;
        for path in keys.paths() {
            let key = keys.find(path).unwrap();
            let Some(word) = other_value(key) else {
                assert!(matches!(key.kind, Kind::Section(_)) || path == "version", "{path}");
                continue;
            };
            let mut value = Value::Object(Map::new());
            apply_set(&keys, &mut value, &format!("{path}={word}")).unwrap();
            let file = RecipeFile::from_checked(value).unwrap();
            let is_resource = path.starts_with("resources.");
            let hash_is_same = file.recipe.sha256() == StackRecipe::default().sha256();
            assert_eq!(hash_is_same, is_resource, "{path}={word}");
            let written = RecipeFormat::Yaml.parse(&file.to_commented_yaml("A test.")).unwrap();
            assert_eq!(RecipeFile::from_checked(written).unwrap(), file, "{path}={word}");
            set += 1;
        }
        assert!(set > 70, "{set}");
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = schema();
        for key in file_keys().keys() {
            assert!(schema["properties"][key.name()].is_object(), "{}", key.path);
        }
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        assert_eq!(schema["properties"]["rejection"]["properties"]["low"]["maximum"], 50.0);
    }
}
