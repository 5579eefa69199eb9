//! All faults of a recipe at once.

use serde_json::Value;

use super::geometry::Temporal;
use super::keys::{Key, Kind, List, Range};
use super::problem::Problem;
use super::stack::StackRecipe;

/// Adds what is wrong with `value` as the value of `key`: unknown keys, wrong types, values out of
/// range.
pub(crate) fn check(key: &Key, value: &Value, problems: &mut Vec<Problem>) {
    walk(key, key, value, problems);
}

fn walk(root: &Key, key: &Key, value: &Value, problems: &mut Vec<Problem>) {
    match (&key.kind, value) {
        (_, Value::Null) if key.optional => {}
        (Kind::Section(keys), Value::Object(map)) => {
            for (name, value) in map {
                if let Some(key) = keys.iter().find(|key| key.name() == name) {
                    walk(root, key, value, problems);
                } else {
                    let dot = if key.path.is_empty() { "" } else { "." };
                    let path = format!("{}{dot}{name}", key.path);
                    let nearest = root.nearest_path(&path);
                    problems.push(Problem::UnknownKey { key: path, nearest });
                }
            }
        }
        _ if fits(&key.kind, value) => {}
        _ => problems.push(Problem::Value {
            key: if key.path.is_empty() { "recipe".to_owned() } else { key.path.clone() },
            found: value.to_string(),
            needed: key.needed(),
        }),
    }
}

fn fits(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Flag, Value::Bool(_)) => true,
        (Kind::Choice { words, .. }, Value::String(word)) => words.iter().any(|(w, _)| w == word),
        (Kind::Number(range) | Kind::Choice { or: Some(range), .. }, Value::Number(_)) => {
            number_fits(range, value)
        }
        (Kind::List(list) | Kind::Choice { list: Some(list), .. }, Value::Array(items)) => {
            list_fits(list, items)
        }
        (Kind::Text, Value::String(_)) => true,
        _ => false,
    }
}

fn list_fits(list: &List, items: &[Value]) -> bool {
    let number = |item: &Value| item.is_number() && number_fits(&list.item, item);
    items.len() >= list.min
        && list.max.is_none_or(|max| items.len() <= max)
        && items.iter().all(number)
}

fn number_fits(range: &Range, value: &Value) -> bool {
    let whole = value.is_i64() || value.is_u64();
    (whole || !range.whole) && value.as_f64().is_some_and(|v| range.holds(v))
}

/// Adds the values of `recipe` that exclude each other.
pub(super) fn conflicts(recipe: &StackRecipe, problems: &mut Vec<Problem>) {
    let mut unless = |holds: bool, keys: &str, reason: String| {
        if !holds {
            problems.push(Problem::Conflict { keys: keys.to_owned(), reason });
        }
    };
    let gates = &recipe.gates;
    unless(
        gates.frames_reduced == 0 || gates.frames_min <= gates.frames_reduced,
        "gates.frames_min, gates.frames_reduced",
        format!(
            "found {} and {}, needed the first not above the second",
            gates.frames_min, gates.frames_reduced
        ),
    );
    let field = &recipe.field;
    unless(
        field.tile.min_px <= field.tile.max_px,
        "field.tile.min_px, field.tile.max_px",
        format!(
            "found {} and {}, needed the first not above the second",
            field.tile.min_px, field.tile.max_px
        ),
    );
    unless(
        field.temporal_window % 2 == 1,
        "field.temporal_window",
        format!("found {}, needed an odd number", field.temporal_window),
    );
    unless(
        field.temporal != Temporal::SavitzkyGolay || field.temporal_window >= 5,
        "field.temporal, field.temporal_window",
        format!("found {}, savitzky_golay of order 3 needs at least 5", field.temporal_window),
    );
    let weights = &recipe.weights;
    let sum = weights.alpha + weights.beta + weights.gamma;
    unless(
        (sum - 1.0).abs() <= 1e-6,
        "weights.alpha, weights.beta, weights.gamma",
        format!("found a sum of {sum}, needed 1"),
    );
    let synthetic = &recipe.synthetic;
    unless(
        synthetic.clusters_min <= synthetic.clusters_max,
        "synthetic.clusters_min, synthetic.clusters_max",
        format!(
            "found {} and {}, needed the first not above the second",
            synthetic.clusters_min, synthetic.clusters_max
        ),
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recipe::{Recipe, RecipeError};

    fn problems(value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        check(&Key::root::<StackRecipe>(), value, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_is_valid() {
        StackRecipe::default().validate().unwrap();
    }

    #[test]
    fn all_problems_are_found_at_once_with_their_paths() {
        let value = json!({
            "seed": -1,
            "rejektion": { "low": 3 },
            "rejection": { "lwo": 3, "low": 0.1, "high": "3", "method": "sigma", "iterations": 2.5 },
            "weights": { "local": "yes" },
            "drizzle": { "scale": 4 },
            "gauge": { "reference": "best" },
            "field": 3,
        });
        assert_eq!(
            problems(&value),
            [
                "seed: found -1, needed a whole number of at least 0",
                "rejektion: unknown key; the nearest known key is rejection",
                "rejection.lwo: unknown key; the nearest known key is rejection.low",
                "rejection.low: found 0.1, needed a number from 0.5 to 50",
                "rejection.high: found \"3\", needed a number from 0.5 to 50",
                "rejection.method: found \"sigma\", needed one of none, kappa_sigma, \
                 winsorized_sigma, linear_fit, median",
                "rejection.iterations: found 2.5, needed a whole number from 1 to 20",
                "weights.local: found \"yes\", needed true or false",
                "drizzle.scale: found 4, needed a number from 1 to 3",
                "gauge.reference: found \"best\", needed one of auto, a whole number of at least 0",
                "field: found 3, needed a section with keys among method, min_burst_frames, \
                 spacing_px, max_sigma_px, tile, iterations, convergence, min_correlation, \
                 max_delta_px, temporal, temporal_window, refine",
            ]
        );
    }

    #[test]
    fn what_passes_can_be_read() {
        let value = json!({
            "gauge": { "reference": 7 }, "drizzle": {}, "input": { "saturation": 60000 },
            "field": { "spacing_px": null },
        });
        assert!(problems(&value).is_empty());
        let recipe: StackRecipe = serde_json::from_value(value).unwrap();
        assert_eq!(recipe.gauge.reference, crate::recipe::ReferenceFrame::Frame(7));
        assert_eq!(recipe.drizzle, Some(crate::recipe::DrizzleRecipe::default()));
    }

    #[test]
    fn values_that_exclude_each_other_are_named() {
        let mut recipe = StackRecipe::default();
        recipe.gates.frames_min = 300;
        recipe.gates.frames_reduced = 200;
        recipe.field.tile.min_px = 512;
        recipe.field.temporal_window = 10;
        recipe.weights.alpha = 0.5;
        recipe.synthetic.clusters_min = 31;
        recipe.rejection.low = f64::NAN;
        let Err(RecipeError::Invalid { problems }) = recipe.validate() else { panic!("valid") };
        assert_eq!(problems.len(), 6, "{problems:?}");
        assert_eq!(
            problems[0].to_string(),
            "rejection.low: found null, needed a number from 0.5 to 50"
        );
    }
}
