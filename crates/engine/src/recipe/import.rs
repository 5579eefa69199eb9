//! tile_compile configurations (Methodik v4) as recipes.
//!
//! The recipe starts from [`Preset::V4`], the literal method, except that the star gauge stays on:
//! without it frames that are not aligned already are lost.

mod flow_registration;
mod table;
mod translate;

use serde_json::Value;

use super::canonical::{Recipe, tree};
use super::file::{FileResources, RecipeFile, RecipeFormat, STRICT_PARALLEL_TILES, read_checked};
use super::geometry::GaugeMethod;
use super::keys::Key;
use super::preset::Preset;
use super::problem::{Problem, RecipeError};
use super::set::insert;
use super::stack::StackRecipe;

pub use flow_registration::{ImportedMotion, import_flow_registration};
use table::{Fate, KEYS, check_value, later_version};

/// What became of a tile_compile configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The recipe, and the workers as its resources.
    pub file: RecipeFile,
    /// What happened to each key of the configuration, in its order, then what was assumed.
    pub notes: Vec<Note>,
}

/// What happened to a key, or what the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The key has the same meaning here.
    Mapped {
        /// Path in the configuration.
        from: String,
        /// Paths and values in the recipe: `field.iterations = 4`.
        to: String,
    },
    /// The key is known and has no effect here.
    Ignored {
        /// Path in the configuration.
        key: String,
        /// Why, or what to do instead.
        reason: String,
    },
    /// tile_compile has no such key.
    Unknown {
        /// Path in the configuration.
        key: String,
        /// The known path that is most like it.
        nearest: String,
    },
    /// Something the user should look at.
    Warning(String),
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mapped { from, to } => write!(f, "{from} -> {to}"),
            Self::Ignored { key, reason } => write!(f, "{key}: ignored, {reason}"),
            Self::Unknown { key, nearest } => {
                write!(f, "{key}: unknown key; the nearest known key is {nearest}")
            }
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// The recipe that the tile_compile configuration `text` (YAML) stands for, on a machine with
/// `physical_cores`.
///
/// # Errors
/// [`RecipeError::Syntax`], or [`RecipeError::Invalid`] with all problems: no `v4` section,
/// `registration.mode` other than `local_tiles`, a value of the wrong type or out of the range that
/// tile_compile documents, values that exclude each other, `v4.parallel_tiles` above
/// `physical_cores`.
pub fn import_tile_compile(text: &str, physical_cores: usize) -> Result<Imported, RecipeError> {
    let source = RecipeFormat::Yaml.parse(text)?;
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut leaves = Vec::new();
    collect_leaves("", &source, &mut leaves);
    let mut recipe = tree(&base());

    for (path, value) in &leaves {
        let Some(known) = KEYS.iter().find(|known| known.path == *path) else {
            notes.push(unknown(path));
            continue;
        };
        if let Some(problem) = check_value(known, value) {
            problems.push(problem);
            continue;
        }
        match known.fate {
            Fate::To(target) => {
                insert(&mut recipe, target, (*value).clone());
                let to = format!("{target} = {value}");
                notes.push(Note::Mapped { from: path.clone(), to });
            }
            Fate::Ignored(reason) => {
                notes.push(Note::Ignored { key: path.clone(), reason: reason.to_owned() });
            }
            Fate::Translated => {}
        }
    }
    translate::all(&source, &mut recipe, &mut notes, &mut problems);
    let resources = parallel_tiles(&source, physical_cores, &mut notes, &mut problems);
    RecipeError::unless_empty(std::mem::take(&mut problems))?;

    super::check::check(&Key::root::<StackRecipe>(), &recipe, &mut problems);
    RecipeError::unless_empty(problems)?;
    let recipe: StackRecipe = read_checked(recipe)?;
    recipe.validate()?;
    notes.push(Note::Warning(
        "gauge.method is stars, which v4 did not have; set it to none for frames that are aligned \
         already"
            .to_owned(),
    ));
    Ok(Imported { file: RecipeFile { recipe, resources }, notes })
}

fn base() -> StackRecipe {
    let mut recipe = Preset::V4.recipe();
    recipe.gauge.method = GaugeMethod::Stars;
    recipe
}

/// Paths and values of everything that is neither a section nor empty, in file order.
fn collect_leaves<'a>(path: &str, value: &'a Value, leaves: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                collect_leaves(&format!("{path}{dot}{name}"), value, leaves);
            }
        }
        Value::Null => {}
        _ => leaves.push((path.to_owned(), value)),
    }
}

fn unknown(path: &str) -> Note {
    if later_version(path) {
        let reason = "a key of later versions, which left Methodik v4".to_owned();
        return Note::Ignored { key: path.to_owned(), reason };
    }
    let nearest = super::nearest::nearest(path, KEYS.iter().map(|k| k.path).collect());
    Note::Unknown { key: path.to_owned(), nearest: nearest.unwrap_or_default().to_owned() }
}

/// The rule of `v4.parallel_tiles`: missing is 1 and a warning, more than the physical cores an
/// error, more than 16 unwise.
fn parallel_tiles(
    source: &Value,
    physical_cores: usize,
    notes: &mut Vec<Note>,
    problems: &mut Vec<Problem>,
) -> FileResources {
    let key = "v4.parallel_tiles";
    let found = source.pointer("/v4/parallel_tiles").and_then(Value::as_u64);
    let tiles = found.unwrap_or(1) as usize;
    if found.is_none() {
        notes.push(Note::Warning(format!("{key} is missing: 1 tile at a time")));
    } else {
        let to = format!("resources.parallel_tiles = {tiles}");
        notes.push(Note::Mapped { from: key.to_owned(), to });
    }
    if tiles > physical_cores {
        problems.push(Problem::Value {
            key: key.to_owned(),
            found: tiles.to_string(),
            needed: format!("at most the {physical_cores} physical cores of this machine"),
        });
    } else if tiles > STRICT_PARALLEL_TILES {
        notes.push(Note::Warning(format!(
            "{key} is {tiles}: disks are saturated above {STRICT_PARALLEL_TILES}, and a strict \
             check fails"
        )));
    }
    FileResources { parallel_tiles: Some(tiles) }
}

#[cfg(test)]
mod tests;
