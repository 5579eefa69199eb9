//! Overrides of single keys, `key.path=value`.

use serde_json::{Map, Value};

use super::check::check;
use super::keys::{Key, Kind};
use super::problem::{Problem, RecipeError};

/// Puts the override `text` (`key.path=value`) into the recipe `value`, which has the form of a
/// recipe file. `root` is the top of its keys.
///
/// # Errors
/// [`RecipeError::Override`] without `=`; [`RecipeError::Invalid`] if the key is unknown, or the
/// value not of its type and range.
pub(crate) fn apply_set(root: &Key, value: &mut Value, text: &str) -> Result<(), RecipeError> {
    let Some((path, word)) = text.split_once('=') else {
        return Err(RecipeError::Override { found: text.to_owned() });
    };
    let (path, word) = (path.trim(), word.trim());
    let Some(key) = root.find(path) else {
        let nearest = root.nearest_path(path);
        let problem = Problem::UnknownKey { key: path.to_owned(), nearest };
        return Err(RecipeError::Invalid { problems: vec![problem] });
    };
    let new = typed(key, word);
    let mut problems = Vec::new();
    check(key, &new, &mut problems);
    RecipeError::unless_empty(problems)?;
    insert(value, path, new);
    Ok(())
}

/// `word` as the type that `key` has; a string if it does not read as that.
fn typed(key: &Key, word: &str) -> Value {
    let number = |word: &str| {
        let whole =
            word.parse::<u64>().map(Value::from).or_else(|_| word.parse::<i64>().map(Value::from));
        whole.or_else(|_| word.parse::<f64>().map(Value::from)).ok().filter(Value::is_number)
    };
    let read = match &key.kind {
        _ if key.optional && word == "null" => Some(Value::Null),
        Kind::Flag => word.parse::<bool>().ok().map(Value::from),
        Kind::Choice { list: Some(_), .. } if word.contains([',', '[']) => numbers(word, number),
        Kind::List(_) => numbers(word, number),
        Kind::Number(_) | Kind::Choice { or: Some(_), .. } => number(word),
        Kind::Choice { .. } | Kind::Section(_) | Kind::Text => None,
    };
    read.unwrap_or_else(|| Value::from(word))
}

/// Numbers between commas, with or without brackets around them.
fn numbers(word: &str, number: impl Fn(&str) -> Option<Value>) -> Option<Value> {
    let inner = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(word).trim();
    if inner.is_empty() {
        return Some(Value::Array(Vec::new()));
    }
    inner.split(',').map(|w| number(w.trim())).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Sets the value at `path`, making the sections above it where they are missing.
pub(crate) fn insert(value: &mut Value, path: &str, new: Value) {
    let mut place = value;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    *place = new;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recipe::StackRecipe;
    use crate::recipe::file::file_keys;

    fn set(value: &mut Value, text: &str) -> String {
        apply_set(&file_keys::<StackRecipe>(), value, text)
            .map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn values_take_the_type_of_their_key() {
        let mut value = json!({ "rejection": { "low": 5 }, "drizzle": null });
        for text in [
            "rejection.low=3",
            "rejection.high = 2.5",
            "weights.local=false",
            "combination=median",
            "drizzle.scale=2",
            "gauge.reference=12",
            "input.saturation=null",
            "resources.parallel_tiles=4",
        ] {
            assert_eq!(set(&mut value, text), "");
        }
        assert_eq!(
            value,
            json!({
                "rejection": { "low": 3, "high": 2.5 }, "weights": { "local": false },
                "combination": "median", "drizzle": { "scale": 2 }, "gauge": { "reference": 12 },
                "input": { "saturation": null }, "resources": { "parallel_tiles": 4 },
            })
        );
        assert_eq!(set(&mut value, "drizzle=null"), "");
        assert_eq!(value["drizzle"], Value::Null);
    }

    #[test]
    fn faults_name_key_value_and_remedy() {
        let mut value = json!({});
        let nearest = "the recipe has 1 problem:\n  rejection.lwo: unknown key; the nearest known \
                       key is rejection.low";
        assert_eq!(set(&mut value, "rejection.lwo=3"), nearest);
        for (text, want) in [
            ("rejection.low", "not of the form key.path=value"),
            ("rejection.low=x", "rejection.low: found \"x\", needed a number from 0.5 to 50"),
            ("rejection.low=nan", "found \"nan\""),
            ("rejection.low=0.1", "found 0.1, needed a number from 0.5 to 50"),
            ("rejection=median", "rejection: found \"median\", needed a section with keys"),
            ("field.iterations=2.0", "found 2.0, needed a whole number from 1 to 10"),
            ("combination=null", "found \"null\", needed one of mean, median"),
        ] {
            let message = set(&mut value, text);
            assert!(message.contains(want), "{text}: {message}");
        }
        assert_eq!(value, json!({}));
    }
}
