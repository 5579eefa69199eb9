//! Recipes written as YAML that explains itself.

use std::fmt::Write as _;

use serde_json::Value;

use super::canonical::{Recipe, tree};
use super::file::{FileOf, RecipeFile, file_keys};
use super::keys::{Key, Kind};
use super::preset::Preset;

/// Tiles at once in a fresh recipe file, on a machine that has that many cores.
const TEMPLATE_PARALLEL_TILES: usize = 8;
/// Comments are broken at this column.
const COMMENT_WIDTH: usize = 100;

/// The recipe file that `preset` starts from, with every key explained.
///
/// `resources.parallel_tiles` is 8, or `physical_cores` if the machine has fewer.
pub fn template(preset: Preset, physical_cores: usize) -> String {
    let mut file = RecipeFile { recipe: preset.recipe(), ..RecipeFile::default() };
    file.resources.parallel_tiles = Some(TEMPLATE_PARALLEL_TILES.min(physical_cores.max(1)));
    let title = format!("Preset {}: {}.", preset.name(), preset.purpose());
    file.to_commented_yaml(&title)
}

impl<R: Recipe> FileOf<R> {
    /// The file as YAML with every key, its meaning, range and default in comments, under `title`.
    pub fn to_commented_yaml(&self, title: &str) -> String {
        let mut text = String::new();
        comment(&mut text, 0, "", &format!("stillframe {} recipe. {title}", R::PIPELINE));
        let keys = file_keys::<R>();
        comment(&mut text, 0, "", "A key that is left out has its default.");
        let mut value = tree(&self.recipe);
        if keys.find("resources").is_some() {
            let kept =
                "Everything but `resources` may change the result, and is kept in its header.";
            comment(&mut text, 0, "", kept);
            value["resources"] = tree(&self.resources);
        }
        section(&mut text, &keys, &value, 0);
        text
    }
}

/// The keys of one section, indented by `indent` blanks.
fn section(text: &mut String, section_key: &Key, value: &Value, indent: usize) {
    for key in section_key.keys() {
        let Some(value) = value.get(key.name()) else { continue };
        if indent == 0 {
            text.push('\n');
        }
        explain(text, key, indent);
        match &key.kind {
            Kind::Section(_) if value.is_object() => {
                let _ = writeln!(text, "{:indent$}{}:", "", key.name());
                section(text, key, value, indent + 2);
            }
            _ => {
                let _ = writeln!(text, "{:indent$}{}: {}", "", key.name(), scalar(value));
            }
        }
    }
}

/// What the key means, which values it may have, and its default.
fn explain(text: &mut String, key: &Key, indent: usize) {
    let mut words = key.description.clone();
    match &key.kind {
        Kind::Section(keys) if key.optional => {
            let example: Vec<String> =
                keys.iter().map(|k| format!("{}: {}", k.name(), scalar(&k.default))).collect();
            let _ = write!(words, " Otherwise, for example, {{ {} }}.", example.join(", "));
        }
        Kind::Section(_) => {}
        Kind::Number(range) => {
            let or_null = if key.optional { ", or null" } else { "" };
            let needed = capitalised(&range.needed());
            let _ = write!(words, " {needed}{or_null}; default {}.", scalar(&key.default));
        }
        Kind::List(list) => {
            let needed = capitalised(&list.needed());
            let _ = write!(words, " {needed}; default {}.", scalar(&key.default));
        }
        Kind::Flag | Kind::Text | Kind::Choice { .. } => {
            let _ = write!(words, " Default {}.", scalar(&key.default));
        }
    }
    comment(text, indent, "", &words);
    if let Kind::Choice { words, .. } = &key.kind {
        for (word, meaning) in words {
            comment(text, indent, "  ", &format!("{word}: {meaning}"));
        }
    }
}

fn capitalised(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// A value of a key that is no section, as YAML 1.2 reads it back.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(word) if is_plain(word) => word.clone(),
        other => other.to_string(),
    }
}

/// Whether YAML reads `word` as itself without quotes.
fn is_plain(word: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(is_safe)
        && !matches!(word, "true" | "false" | "null")
}

/// Comment lines broken between words; lines after the first are indented by two more blanks
/// when there is a `lead`.
fn comment(text: &mut String, indent: usize, lead: &str, words: &str) {
    let mut line = format!("{:indent$}# {lead}", "");
    let mut length = line.chars().count();
    let mut first = true;
    for word in words.split(' ') {
        let word_length = word.chars().count();
        if !first && length + 1 + word_length > COMMENT_WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            let hang = if lead.is_empty() { "" } else { "  " };
            line = format!("{:indent$}# {lead}{hang}", "");
            length = line.chars().count();
            first = true;
        }
        if !first {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
        first = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{DrizzleRecipe, RecipeFormat, StackRecipe, Strictness};

    #[test]
    fn every_template_loads_as_its_preset() {
        for preset in Preset::ALL {
            let text = template(preset, 4);
            let file = RecipeFile::parse(&text, RecipeFormat::Yaml, &[]).unwrap();
            assert_eq!(file.recipe, preset.recipe(), "{}", preset.name());
            assert_eq!(file.resources.parallel_tiles, Some(4));
            file.check(4, Strictness::Strict).unwrap();
        }
        assert!(template(Preset::V4, 64).contains("parallel_tiles: 8\n"));
    }

    #[test]
    fn every_key_is_written_and_explained() {
        let text = template(Preset::Default, 8);
        for path in file_keys::<StackRecipe>().paths().iter().filter(|p| !p.starts_with("drizzle."))
        {
            let name = path.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{name}:")), "{path}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= COMMENT_WIDTH));
        assert!(text.contains("Fewest clusters: K = clip(⌊N / 10⌋,"));
    }

    #[test]
    fn optional_sections_are_written_when_set() {
        let mut file = RecipeFile::default();
        file.recipe.drizzle = Some(DrizzleRecipe { scale: 1.5, pixfrac: 0.8 });
        let text = file.to_commented_yaml("A test.");
        assert_eq!(RecipeFile::parse(&text, RecipeFormat::Yaml, &[]).unwrap(), file);
    }
}
