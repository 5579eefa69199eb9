//! Which datasets or variables of a file are the channels of the recording.
//!
//! The first rule that finds something wins:
//!
//! 1. names that end in `ch`, `channel` or `chan` and a number (`ch1`, `Channel_2`, `raw.ch03`),
//!    grouped by what stands before and by shape: the largest group, sorted by number;
//! 2. a name `mov`, `data` or `dataset`;
//! 3. all arrays of three to five axes that share the largest shape, in the order of their names.

use std::collections::BTreeMap;
use std::path::Path;

use super::RecordingError;

/// A dataset or variable that could be a channel.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its name, with the groups it lies in: `group/ch1`.
    pub(super) name: String,
    /// Its axes as they are stored.
    pub(super) dims: Vec<usize>,
}

/// Positions in `candidates` of the channels, in order: those that are `wanted` by name, or what
/// the rules find.
pub(super) fn channels(
    path: &Path,
    candidates: &[Candidate],
    wanted: &[String],
) -> Result<Vec<usize>, RecordingError> {
    if wanted.is_empty() {
        let found = numbered(path, candidates)?
            .or_else(|| by_name(candidates))
            .or_else(|| largest(candidates));
        return found.ok_or_else(|| {
            let found = format!("a file with {}", list(candidates));
            RecordingError::unsupported(
                path,
                found,
                "a numeric array of frames × rows × columns is needed; name it with dataset_names",
            )
        });
    }
    let position = |name: &String| {
        let same = |c: &Candidate| c.name.trim_matches('/') == name.trim_matches('/');
        candidates.iter().position(same).ok_or_else(|| {
            let found = format!("dataset_names has {name:?}, which");
            let needed = format!("the file has {}", list(candidates));
            RecordingError::unsupported(path, found, needed)
        })
    };
    wanted.iter().map(position).collect()
}

/// What is there, for messages.
fn list(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return "no numeric array of two to five axes".into();
    }
    let mut names: Vec<String> =
        candidates.iter().take(10).map(|c| format!("{} {:?}", c.name, c.dims)).collect();
    if candidates.len() > names.len() {
        names.push(format!("{} more", candidates.len() - names.len()));
    }
    names.join(", ")
}

/// What stands before `ch`, and the number after it.
pub(super) fn channel_number(name: &str) -> Option<(String, u64)> {
    let name = name.to_lowercase();
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[head.len()..].parse().ok()?;
    let head = head.trim_end_matches(['_', '.', ' ']);
    let prefix = ["channel", "chan", "ch"].iter().find_map(|end| head.strip_suffix(end))?;
    Some((prefix.into(), number))
}

/// The channels by number. Frames are the first axis: channels that differ in nothing else are no
/// reason to leave some out in silence.
fn numbered(path: &Path, candidates: &[Candidate]) -> Result<Option<Vec<usize>>, RecordingError> {
    // Number and position of the members of each prefix and shape.
    let mut groups = BTreeMap::<_, Vec<(u64, usize)>>::new();
    for (i, candidate) in candidates.iter().enumerate() {
        if let Some((prefix, number)) = channel_number(&candidate.name) {
            groups.entry((prefix, candidate.dims.as_slice())).or_default().push((number, i));
        }
    }
    // The first of equals: `max_by_key` would take the last.
    let Some(((prefix, dims), members)) = groups.iter().rev().max_by_key(|(_, m)| m.len()) else {
        return Ok(None);
    };
    let is_longer_or_shorter =
        |(p, d): &&(String, &[usize])| p == prefix && d != dims && d.get(1..) == dims.get(1..);
    if let Some((_, other)) = groups.keys().find(is_longer_or_shorter) {
        return Err(RecordingError::unsupported(
            path,
            format!("a file with channels of {dims:?} and of {other:?}"),
            "equal lengths are needed: read it again if it is being written, or choose channels with \
             dataset_names",
        ));
    }
    let mut members = members.clone();
    members.sort_unstable();
    Ok(Some(members.into_iter().map(|(_, i)| i).collect()))
}

fn by_name(candidates: &[Candidate]) -> Option<Vec<usize>> {
    let last = |c: &Candidate| c.name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let find = |name: &str| candidates.iter().position(|c| last(c) == name);
    ["mov", "data", "dataset"].into_iter().find_map(find).map(|i| vec![i])
}

fn largest(candidates: &[Candidate]) -> Option<Vec<usize>> {
    let size = |c: &Candidate| c.dims.iter().map(|&d| d as u128).product::<u128>();
    let has_frames = |c: &&Candidate| (3..=5).contains(&c.dims.len());
    let pool: Vec<&Candidate> = match candidates.iter().filter(has_frames).count() {
        0 => candidates.iter().collect(),
        _ => candidates.iter().filter(has_frames).collect(),
    };
    let first = pool.iter().rev().max_by_key(|c| size(c))?;
    let mut found: Vec<usize> =
        (0..candidates.len()).filter(|&i| candidates[i].dims == first.dims).collect();
    found.sort_by(|&a, &b| candidates[a].name.cmp(&candidates[b].name));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[(&str, &[usize])], wanted: &[&str]) -> Result<Vec<usize>, RecordingError> {
        let candidates: Vec<Candidate> =
            names.iter().map(|&(n, d)| Candidate { name: n.into(), dims: d.to_vec() }).collect();
        let wanted: Vec<String> = wanted.iter().map(|&w| w.into()).collect();
        channels(Path::new("a.h5"), &candidates, &wanted)
    }

    #[test]
    fn numbered_names_come_first_and_in_order() {
        let d: &[usize] = &[9, 4, 5];
        let small: &[usize] = &[2, 2, 2];
        let all = [("mov", d), ("ch10", d), ("ch2", d), ("x_Channel 1", d), ("ch1", small)];
        assert_eq!(found(&all, &[]).unwrap(), [2, 1]);
        assert_eq!(found(&[("a/data", d), ("epoch", d)], &[]).unwrap(), [0]);
        assert_eq!(found(&[("b", d), ("a", d), ("c", small)], &[]).unwrap(), [1, 0]);
        assert_eq!(found(&[("imaging", d), ("mask", &[400, 500])], &[]).unwrap(), [0]);
        let unequal = found(&[("ch1", d), ("ch2", &[8, 4, 5])], &[]).unwrap_err().to_string();
        assert!(unequal.contains("[8, 4, 5]"), "{unequal}");
        assert_eq!(channel_number("Stack.Chan_03"), Some(("stack.".into(), 3)));
        assert_eq!(channel_number("frame12"), None);
    }

    #[test]
    fn wanted_names_win_and_are_missed_by_name() {
        let d: &[usize] = &[9, 4, 5];
        assert_eq!(found(&[("ch1", d), ("/x/y", d)], &["x/y"]).unwrap(), [1]);
        let error = found(&[("ch1", d)], &["mov"]).unwrap_err().to_string();
        assert!(error.contains("\"mov\"") && error.contains("ch1 [9, 4, 5]"), "{error}");
        assert!(found(&[], &[]).unwrap_err().to_string().contains("no numeric array"));
    }
}
