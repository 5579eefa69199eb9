//! What every recipe can do; its one text, and its hash.

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::check::{check, conflicts};
use super::file::FileResources;
use super::keys::Key;
use super::problem::{Problem, RecipeError};
use super::stack::StackRecipe;

/// A recipe or a part of one as a tree of values. Numbers that are not finite become `null`.
pub(crate) fn tree<T: Serialize>(recipe: &T) -> Value {
    serde_json::to_value(recipe).expect("every map of a recipe has strings as keys")
}

/// The recipe of a pipeline: everything that may change a bit of its result, and the rules that its
/// type alone does not say.
pub trait Recipe:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema
{
    /// What a recipe file of this pipeline may hold beside the recipe; never hashed.
    type Resources: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema;

    /// Name of the pipeline.
    const PIPELINE: &'static str;

    /// Adds the values that exclude each other to `problems`.
    fn conflicts(&self, problems: &mut Vec<Problem>);

    /// Checks every value against its range, and the values against each other.
    ///
    /// # Errors
    /// [`RecipeError::Invalid`] with all problems.
    fn validate(&self) -> Result<(), RecipeError> {
        let mut problems = Vec::new();
        check(&Key::root::<Self>(), &tree(self), &mut problems);
        self.conflicts(&mut problems);
        RecipeError::unless_empty(problems)
    }

    /// The recipe as JSON in one line: every key, sorted by name, no blanks. Equal recipes have
    /// equal texts.
    fn canonical_json(&self) -> String {
        let mut value = tree(self);
        value.sort_all_objects();
        value.to_string()
    }

    /// SHA-256 of [`Self::canonical_json`], 64 hexadecimal digits.
    fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(self.canonical_json().as_bytes()))
    }

    /// The recipe whose [`Self::canonical_json`] (or any JSON of the same keys) is `text`.
    ///
    /// # Errors
    /// What the JSON reader says.
    fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Value>(text).and_then(serde_json::from_value)
    }
}

impl Recipe for StackRecipe {
    type Resources = FileResources;

    const PIPELINE: &'static str = "stack";

    fn conflicts(&self, problems: &mut Vec<Problem>) {
        conflicts(self, problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{RecipeFile, RecipeFormat};

    #[test]
    fn text_and_recipe_are_equivalent() {
        let mut recipe = StackRecipe::default();
        recipe.rejection.low = 0.1 + 0.2 + 0.5;
        recipe.drizzle = Some(crate::recipe::DrizzleRecipe::default());
        recipe.gauge.reference = crate::recipe::ReferenceFrame::Frame(3);
        let text = recipe.canonical_json();
        assert_eq!(StackRecipe::from_json(&text).unwrap(), recipe);
        assert!(text.starts_with("{\"calibration\":{\"dark_scaling\":\"auto\","), "{text}");
    }

    #[test]
    fn the_hash_knows_values_and_not_how_they_were_written() {
        let hash =
            |text: &str| RecipeFile::parse(text, RecipeFormat::Yaml, &[]).unwrap().recipe.sha256();
        assert_eq!(hash(""), StackRecipe::default().sha256());
        assert_eq!(hash("rejection: { low: 4 }"), hash("rejection: { low: 4.0 }"));
        assert_eq!(hash("resources: { parallel_tiles: 3 }"), hash(""));
        assert_ne!(hash("seed: 2"), hash(""));
        assert_eq!(hash("").len(), 64);
    }
}
