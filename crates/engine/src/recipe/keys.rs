//! The keys of a recipe, read from its JSON schema: names, kinds, ranges, defaults, descriptions.
//!
//! The schema comes from the types, so a key exists once; the checks, the overrides, the templates
//! and the nearest-key hints all read it from here.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::nearest::nearest;

/// A key of a recipe.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Names from the top joined by dots; empty for the top itself.
    pub(crate) path: String,
    /// Its doc comment, line breaks inside paragraphs removed.
    pub(crate) description: String,
    /// Its default; `Null` for optional keys.
    pub(crate) default: Value,
    /// Whether `null` is a value.
    pub(crate) optional: bool,
    /// What its value is.
    pub(crate) kind: Kind,
}

/// What the value of a key is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Further keys, in the order of the type.
    Section(Vec<Key>),
    /// `true` or `false`.
    Flag,
    /// A number.
    Number(Range),
    /// Any text.
    Text,
    /// Numbers.
    List(List),
    /// One of these words (each with its description), or, if `or` is given, a number, or, if `list`
    /// is given, numbers.
    Choice { words: Vec<(String, String)>, or: Option<Range>, list: Option<List> },
}

/// Numbers, and how many.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) item: Range,
    pub(crate) min: usize,
    pub(crate) max: Option<usize>,
}

/// Which numbers are allowed.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) whole: bool,
    pub(crate) min: Option<f64>,
    /// Whether `min` itself is excluded.
    pub(crate) above_min: bool,
    pub(crate) max: Option<f64>,
}

/// The JSON schema (draft 2020-12) of `T` without references.
pub(crate) fn inline_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

impl Key {
    /// The top key of `T`.
    pub(crate) fn root<T: JsonSchema>() -> Self {
        Self::from_schema(String::new(), &inline_schema::<T>())
    }

    pub(crate) fn from_schema(path: String, schema: &Value) -> Self {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let kind = if let Some(Value::Object(properties)) = schema.get("properties") {
            Kind::Section(section(&path, properties))
        } else if let Some(Value::Array(choices)) = schema.get("oneOf") {
            choice(choices)
        } else if types.contains(&"boolean") {
            Kind::Flag
        } else if types.contains(&"array") {
            Kind::List(List::from_schema(schema))
        } else if types.contains(&"string") {
            Kind::Text
        } else {
            Kind::Number(Range::from_schema(schema))
        };
        Self {
            description: flowed(schema.get("description").and_then(Value::as_str).unwrap_or("")),
            default: schema.get("default").cloned().unwrap_or(Value::Null),
            optional: types.contains(&"null"),
            path,
            kind,
        }
    }

    /// Name without its sections.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The keys of a section; none for other kinds.
    pub(crate) fn keys(&self) -> &[Self] {
        match &self.kind {
            Kind::Section(keys) => keys,
            _ => &[],
        }
    }

    /// The key with this path below this one.
    pub(crate) fn find(&self, path: &str) -> Option<&Self> {
        self.keys().iter().find_map(|key| {
            if key.path == path {
                return Some(key);
            }
            key.find(path)
        })
    }

    /// Paths of all keys below this one, sections before their keys.
    pub(crate) fn paths(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for key in self.keys() {
            all.push(key.path.as_str());
            all.extend(key.paths());
        }
        all
    }

    /// The known path that is most like `path`.
    pub(crate) fn nearest_path(&self, path: &str) -> String {
        nearest(path, self.paths()).unwrap_or_default().to_owned()
    }

    /// What a value of this key must be, in words.
    pub(crate) fn needed(&self) -> String {
        let mut words = match &self.kind {
            Kind::Section(keys) => {
                let names: Vec<&str> = keys.iter().map(Self::name).collect();
                format!("a section with keys among {}", names.join(", "))
            }
            Kind::Flag => "true or false".to_owned(),
            Kind::Number(range) => range.needed(),
            Kind::Text => "a text".to_owned(),
            Kind::List(list) => list.needed(),
            Kind::Choice { words, or, list } => {
                let mut names: Vec<String> = words.iter().map(|(word, _)| word.clone()).collect();
                names.extend(or.as_ref().map(Range::needed));
                names.extend(list.as_ref().map(List::needed));
                format!("one of {}", names.join(", "))
            }
        };
        if self.optional {
            words.push_str(", or null");
        }
        words
    }
}

fn section(path: &str, properties: &Map<String, Value>) -> Vec<Key> {
    properties
        .iter()
        .map(|(name, schema)| {
            let dot = if path.is_empty() { "" } else { "." };
            Key::from_schema(format!("{path}{dot}{name}"), schema)
        })
        .collect()
}

fn choice(choices: &[Value]) -> Kind {
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(flowed);
    Kind::Choice {
        words: choices
            .iter()
            .filter_map(|c| Some((text(c, "const")?, text(c, "description").unwrap_or_default())))
            .collect(),
        or: choices.iter().find(|c| is_of(c, &["number", "integer"])).map(Range::from_schema),
        list: choices.iter().find(|c| is_of(c, &["array"])).map(List::from_schema),
    }
}

/// Whether the schema is of one of these types.
fn is_of(schema: &Value, types: &[&str]) -> bool {
    schema.get("type").and_then(Value::as_str).is_some_and(|t| types.contains(&t))
}

impl List {
    fn from_schema(schema: &Value) -> Self {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).map(|n| n as usize);
        Self {
            item: Range::from_schema(&schema["items"]),
            min: count("minItems").unwrap_or(0),
            max: count("maxItems"),
        }
    }

    pub(crate) fn needed(&self) -> String {
        let item = self.item.needed();
        let count = match (self.min, self.max) {
            (min, Some(max)) if min == max => format!("{min} values"),
            (0, None) => "any number of values".to_owned(),
            (min, None) => format!("at least {min} values"),
            (min, Some(max)) => format!("{min} to {max} values"),
        };
        format!("a list of {count}, each {item}")
    }
}

impl Range {
    fn from_schema(schema: &Value) -> Self {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let above = number("exclusiveMinimum");
        let whole = match schema.get("type") {
            Some(Value::String(name)) => name == "integer",
            Some(Value::Array(names)) => names.iter().any(|n| n == "integer"),
            _ => false,
        };
        Self {
            whole,
            min: above.or(number("minimum")),
            above_min: above.is_some(),
            max: number("maximum"),
        }
    }

    /// Whether `v` is within the limits.
    pub(crate) fn holds(&self, v: f64) -> bool {
        self.min.is_none_or(|min| v > min || (v == min && !self.above_min))
            && self.max.is_none_or(|max| v <= max)
    }

    /// The allowed numbers in words.
    pub(crate) fn needed(&self) -> String {
        let what = if self.whole { "a whole number" } else { "a number" };
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => format!("{what}, {min}"),
            (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
            (Some(min), None) if self.above_min => format!("{what} above {min}"),
            (Some(min), None) => format!("{what} of at least {min}"),
            (None, Some(max)) => format!("{what} up to {max}"),
            (None, None) => what.to_owned(),
        }
    }
}

/// Doc comments are broken at the width of the source; their lines are joined again.
fn flowed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::StackRecipe;

    #[test]
    fn every_key_of_the_recipe_is_described_and_has_its_default() {
        let root = Key::root::<StackRecipe>();
        let recipe = serde_json::to_value(StackRecipe::default()).unwrap();
        for path in root.paths() {
            let key = root.find(path).unwrap();
            assert!(key.description.len() > 8, "{path} has no description");
            if let Kind::Choice { words, or, .. } = &key.kind {
                assert!(words.len() + usize::from(or.is_some()) > 1, "{path}");
                assert!(words.iter().all(|(_, d)| !d.is_empty()), "{path}");
            }
            let pointer = format!("/{}", path.replace('.', "/"));
            if let Some(value) = recipe.pointer(&pointer) {
                assert_eq!(*value, key.default, "{path}");
            } else {
                assert!(path.starts_with("drizzle."), "{path} is not in the recipe");
            }
        }
    }

    #[test]
    fn ranges_say_what_they_hold() {
        let range = Range { whole: false, min: Some(0.0), above_min: true, max: Some(2.0) };
        assert!(!range.holds(0.0) && range.holds(1e-9) && range.holds(2.0) && !range.holds(2.1));
        assert_eq!(range.needed(), "a number from 0 to 2");
        assert!(!range.holds(f64::NAN));
    }
}
