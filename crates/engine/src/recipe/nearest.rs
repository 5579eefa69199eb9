//! The known name that a mistyped one most likely stands for.

/// The candidate most like `path`; the first of equals. `None` without candidates.
///
/// Names after the last dot count three times as much as the sections before it, so that a
/// misspelt name finds its sibling and a misplaced one its section.
pub(crate) fn nearest<'a>(path: &str, candidates: Vec<&'a str>) -> Option<&'a str> {
    let split = |p: &str| -> (Vec<char>, Vec<char>) {
        let p = p.to_ascii_lowercase();
        let (sections, name) = p.rsplit_once('.').unwrap_or(("", &p));
        (sections.chars().collect(), name.chars().collect())
    };
    let (sections, name) = split(path);
    candidates.into_iter().min_by_key(|candidate| {
        let (other_sections, other_name) = split(candidate);
        3 * edit_distance(&name, &other_name) + edit_distance(&sections, &other_sections)
    })
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
///
/// # Source
/// Damerau (1964), doi:10.1145/363958.363994, as the optimal string alignment: no part is edited
/// twice.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &str, b: &str) -> usize {
        edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("kernel", "kernel"), 0);
        assert_eq!(distance("kernle", "kernel"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("sitting", "kitten"), 3);
    }

    #[test]
    fn misspelt_names_find_siblings_and_misplaced_ones_their_section() {
        let known = vec!["seed", "rejection", "rejection.low", "rejection.high", "weights.alpha"];
        let find = |path: &str| nearest(path, known.clone());
        assert_eq!(find("rejection.lwo"), Some("rejection.low"));
        assert_eq!(find("rejektion"), Some("rejection"));
        assert_eq!(find("high"), Some("rejection.high"));
        assert_eq!(find("rejection.alpha"), Some("weights.alpha"));
        assert_eq!(nearest("x", vec![]), None);
    }
}
