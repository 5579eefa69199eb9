//! From what the user names to an ordered list of files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};

/// The frames of a run, in the order that is their identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The files, sorted by the bytes of their paths.
    pub files: Vec<PathBuf>,
    /// Names that lead to a file that is in `files` already.
    pub duplicates: Vec<Duplicate>,
}

/// A second name of the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The name that is left out.
    pub path: PathBuf,
    /// The name that is used.
    pub same_as: PathBuf,
}

/// An input that leads to no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Nothing was named.
    #[error("no input is named; give folders, files or patterns such as \"lights/*.fits\"")]
    Nothing,
    /// There is no such thing.
    #[error("{input:?}: no such file or folder")]
    NotFound {
        /// What the user named.
        input: String,
    },
    /// A folder without a frame.
    #[error(
        "{input:?}: no FITS file among {n_entries} entries of the folder (.fits, .fit, .fts, with \
         or without .gz or .fz); folders inside it are not searched"
    )]
    EmptyFolder {
        /// What the user named.
        input: String,
        /// Entries of the folder.
        n_entries: usize,
    },
    /// A pattern without a frame.
    #[error("{input:?}: no FITS file among {n_matches} matches of the pattern")]
    NoMatch {
        /// What the user named.
        input: String,
        /// Matches with other names.
        n_matches: usize,
    },
    /// A pattern without any file.
    #[error("{pattern:?}: no file matches")]
    NothingMatches {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that cannot be understood.
    #[error("{input:?}: {reason}")]
    BadPattern {
        /// What the user named.
        input: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A folder that may not be listed.
    #[error("{input:?} cannot be listed: {source}")]
    Unreadable {
        /// What the user named.
        input: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The files that `inputs` name: folders (their FITS files, not those of folders inside), patterns
/// with `*`, `?` and `[…]` (FITS files only), and files (of any name). Hidden files are found only
/// by their names.
///
/// The list is sorted and each file is in it once, whatever the order of `inputs`.
///
/// # Errors
/// If any of `inputs` leads to no file.
pub fn resolve(inputs: &[String]) -> Result<Inputs, InputError> {
    if inputs.is_empty() {
        return Err(InputError::Nothing);
    }
    let mut paths = Vec::new();
    for input in inputs {
        paths.extend(files_of(input)?);
    }
    paths.sort_by(|a, b| bytes(a).cmp(bytes(b)));
    // The same name twice is no second name.
    paths.dedup();
    let mut first_names: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut resolved = Inputs::default();
    for path in paths {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if let Some(same_as) = first_names.get(&real) {
            resolved.duplicates.push(Duplicate { path, same_as: same_as.clone() });
        } else {
            first_names.insert(real, path.clone());
            resolved.files.push(path);
        }
    }
    Ok(resolved)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn files_of(input: &str) -> Result<Vec<PathBuf>, InputError> {
    let path = Path::new(input);
    if path.is_dir() {
        return files_in(path, input);
    }
    // A file whose name looks like a pattern is that file.
    if path.symlink_metadata().is_ok() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !input.contains(['*', '?', '[']) {
        return Err(InputError::NotFound { input: input.into() });
    }
    let matches = visible(input)?;
    let n_matches = matches.len();
    let files: Vec<PathBuf> =
        matches.into_iter().filter(|p| is_fits_name(p) && !p.is_dir()).collect();
    if files.is_empty() {
        return Err(InputError::NoMatch { input: input.into(), n_matches });
    }
    Ok(files)
}

/// The files of any name below `folder` that `pattern` matches with `*`, `?` and `[…]`, sorted by the
/// bytes of their paths. Hidden files are found only by their names.
///
/// # Errors
/// If the pattern cannot be understood or matches no file.
pub fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, InputError> {
    let folder = PathBuf::from(glob::Pattern::escape(&folder.to_string_lossy()));
    let pattern = folder.join(pattern).to_string_lossy().into_owned();
    let mut files = visible(&pattern)?;
    files.retain(|p| p.is_file());
    files.sort_by(|a, b| bytes(a).cmp(bytes(b)));
    if files.is_empty() {
        return Err(InputError::NothingMatches { pattern });
    }
    Ok(files)
}

/// Everything that `pattern` matches, hidden things only by their names.
fn visible(pattern: &str) -> Result<Vec<PathBuf>, InputError> {
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let matches = glob_with(pattern, options)
        .map_err(|e| InputError::BadPattern { input: pattern.into(), reason: e.msg })?;
    // A folder on the way that may not be listed holds nothing that we could read.
    Ok(matches.filter_map(Result::ok).collect())
}

fn files_in(folder: &Path, input: &str) -> Result<Vec<PathBuf>, InputError> {
    let unreadable = |source| InputError::Unreadable { input: input.into(), source };
    let mut files = Vec::new();
    let mut n_entries = 0;
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        n_entries += 1;
        if is_fits_name(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(InputError::EmptyFolder { input: input.into(), n_entries });
    }
    Ok(files)
}

/// Whether a file has a name as FITS files have: `.fits`, `.fit` or `.fts` in any case, packed
/// (`.gz`, `.fz`) or not, or only `.fz`; not hidden.
fn is_fits_name(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let name = name.to_string_lossy().to_ascii_lowercase();
    let ends_with = |name: &str, ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".fz")).unwrap_or(&name);
    let is_fits = ends_with(bare, &[".fits", ".fit", ".fts"]) || ends_with(&name, &[".fz"]);
    is_fits && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        folder
    }

    /// The file names that `inputs`, relative to `folder`, lead to.
    fn names(folder: &Path, inputs: &[&str]) -> Result<Vec<String>, InputError> {
        let inputs: Vec<String> =
            inputs.iter().map(|i| folder.join(i).to_string_lossy().into_owned()).collect();
        let relative = |p: PathBuf| p.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        Ok(resolve(&inputs)?.files.into_iter().map(relative).collect())
    }

    #[test]
    fn a_pattern_of_any_files_gives_them_in_order_without_folders() {
        let folder = folder_with(&["b.tif", "a.tif", ".c.tif", "d.h5", "e.tif/f.tif"]);
        let names = matching(folder.path(), "*.tif").unwrap();
        let names: Vec<_> = names.iter().map(|p| p.file_name().unwrap()).collect();
        assert_eq!(names, ["a.tif", "b.tif"]);
        let error = matching(folder.path(), "*.mat").unwrap_err();
        assert!(error.to_string().contains("no file matches"));
    }

    #[test]
    fn a_folder_gives_its_fits_files_in_order() {
        let folder = folder_with(&[
            "b.fits",
            "a10.fit",
            "a9.FIT",
            "c.fts.gz",
            "d.FITS.FZ",
            "e.fz",
            "f.jpg",
            "g.gz",
            ".h.fits",
            "sub/i.fits",
            "fits",
            "j.fits.txt",
        ]);
        let all = ["a10.fit", "a9.FIT", "b.fits", "c.fts.gz", "d.FITS.FZ", "e.fz"];
        assert_eq!(names(folder.path(), &[""]).unwrap(), all);
    }

    #[test]
    fn patterns_and_files_are_found() {
        let folder = folder_with(&["a1.fits", "a2.fits", "b1.fits", "[x].fits", "x.fits", "n.txt"]);
        let of = |inputs: &[&str]| names(folder.path(), inputs).unwrap();
        assert_eq!(of(&["a*.fits"]), ["a1.fits", "a2.fits"]);
        assert_eq!(of(&["?1.*"]), ["a1.fits", "b1.fits"]);
        assert_eq!(of(&["[ab]1.fits"]), ["a1.fits", "b1.fits"]);
        assert_eq!(of(&["[x].fits"]), ["[x].fits"], "a file of this name goes first");
        assert_eq!(of(&["n.txt"]), ["n.txt"], "a file that is named is taken");
        assert_eq!(of(&["b1.fits", "a*.fits", "a1.fits"]), ["a1.fits", "a2.fits", "b1.fits"]);
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        let folder = folder_with(&["n.txt", "sub/a.fits"]);
        let of = |input| names(folder.path(), &[input]).unwrap_err();
        assert!(matches!(of("none.fits"), InputError::NotFound { .. }));
        assert!(matches!(of(""), InputError::EmptyFolder { n_entries: 2, .. }));
        assert!(matches!(of("*"), InputError::NoMatch { n_matches: 2, .. }));
        assert!(matches!(of("[a"), InputError::BadPattern { .. }));
        assert!(matches!(resolve(&[]), Err(InputError::Nothing)));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_two_names_is_one_frame() {
        let folder = folder_with(&["a.fits"]);
        let (a, link) = (folder.path().join("a.fits"), folder.path().join("b.fits"));
        std::os::unix::fs::symlink(&a, &link).unwrap();
        let input = folder.path().to_string_lossy().into_owned();
        let found = resolve(&[input]).unwrap();
        assert_eq!(found.files, std::slice::from_ref(&a));
        assert_eq!(found.duplicates, [Duplicate { path: link, same_as: a }]);
    }
}
