//! The one text of a recipe, and its hash.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::stack::StackRecipe;

/// A recipe or a part of one as a tree of values. Numbers that are not finite become `null`.
pub(crate) fn tree<T: Serialize>(recipe: &T) -> Value {
    serde_json::to_value(recipe).expect("every map of a recipe has strings as keys")
}

/// Any recipe as JSON in one line: every key, sorted by name, no blanks.
pub(crate) fn canonical_json<T: Serialize>(recipe: &T) -> String {
    let mut value = tree(recipe);
    value.sort_all_objects();
    value.to_string()
}

/// SHA-256 of [`canonical_json`], 64 hexadecimal digits.
pub(crate) fn sha256<T: Serialize>(recipe: &T) -> String {
    format!("{:x}", Sha256::digest(canonical_json(recipe).as_bytes()))
}

impl StackRecipe {
    /// The recipe as JSON in one line: every key, sorted by name, no blanks. Equal recipes have
    /// equal texts.
    pub fn canonical_json(&self) -> String {
        canonical_json(self)
    }

    /// SHA-256 of [`Self::canonical_json`], 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        sha256(self)
    }

    /// The recipe whose [`Self::canonical_json`] (or any JSON of the same keys) is `text`.
    ///
    /// # Errors
    /// What the JSON reader says.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Value>(text).and_then(serde_json::from_value)
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
