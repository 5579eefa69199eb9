//! The recordings of a session: which, in which order, and whether they fit together.

use std::path::{Path, PathBuf};

use stillframe_io::inputs::matching;
use stillframe_io::recording::RecordingInfo;

use crate::motion::error::MotionError;
use crate::motion::source::SourceSpec;
use crate::recipe::SessionRecipe;

/// A recording of a session.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) path: PathBuf,
    /// File name.
    pub(super) name: String,
    /// File name without its ending.
    pub(super) stem: String,
    /// Where its results go.
    pub(super) folder: PathBuf,
}

/// All of them, in the order of their names.
#[derive(Clone, Debug)]
pub(super) struct Recordings {
    pub(super) list: Vec<Recording>,
    pub(super) centre: usize,
    pub(super) results: PathBuf,
    pub(super) root: PathBuf,
}

impl Recordings {
    /// Finds them below `root`; only their headers are read.
    ///
    /// # Errors
    /// [`MotionError::Inputs`] if there are none, two have one stem, one has another size or number
    /// of channels than the centre, or the centre is not among them.
    pub(super) fn find(recipe: &SessionRecipe, root: PathBuf) -> Result<Self, MotionError> {
        let found = matching(&root, &recipe.pattern)
            .map_err(|e| MotionError::Inputs(format!("root, pattern: {e}")))?;
        let outputs = root.join(&recipe.output_root);
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let list: Vec<Recording> = found
            .into_iter()
            .map(|path| {
                let (name, stem) = (text(path.file_name()), text(path.file_stem()));
                let folder = outputs.join(&stem);
                Recording { path, name, stem, folder }
            })
            .collect();
        for (i, recording) in list.iter().enumerate() {
            if let Some(twin) = list[..i].iter().find(|r| r.stem == recording.stem) {
                return Err(MotionError::Inputs(format!(
                    "{} and {} would have one output folder, {:?}; rename one or narrow the pattern",
                    twin.path.display(),
                    recording.path.display(),
                    recording.stem
                )));
            }
        }
        let centre = centre(recipe, &root, &list)?;
        let all = Self { list, centre, results: root.join(&recipe.final_results), root };
        all.check_shapes(recipe)?;
        Ok(all)
    }

    /// The recording with this index.
    ///
    /// # Errors
    /// [`MotionError::Recipe`] if there are not so many.
    pub(super) fn get(&self, index: usize) -> Result<&Recording, MotionError> {
        self.list.get(index).ok_or_else(|| {
            MotionError::Recipe(format!(
                "found the index {index}, needed 0..{}: that many recordings match the pattern",
                self.list.len()
            ))
        })
    }

    fn check_shapes(&self, recipe: &SessionRecipe) -> Result<(), MotionError> {
        let info = |r: &Recording| -> Result<RecordingInfo, MotionError> {
            let deinterleave = recipe.motion.deinterleave;
            let spec = SourceSpec { deinterleave, ..SourceSpec::whole(&r.path) };
            Ok(spec.open()?.info().clone())
        };
        let centre = &self.list[self.centre];
        let needed = info(centre)?;
        for recording in &self.list {
            let found = info(recording)?;
            if (found.shape, found.channels) != (needed.shape, needed.channels) {
                return Err(MotionError::Inputs(format!(
                    "{} has {} channels of {}, but the centre {} has {} of {}; recordings of a \
                     session have one size: narrow the pattern or crop them",
                    recording.name,
                    found.channels,
                    found.shape,
                    centre.name,
                    needed.channels,
                    needed.shape
                )));
            }
        }
        Ok(())
    }
}

/// Index of the recording that `center` names; the middle one, of an even number the earlier.
fn centre(recipe: &SessionRecipe, root: &Path, list: &[Recording]) -> Result<usize, MotionError> {
    let Some(name) = &recipe.center else { return Ok(list.len().div_ceil(2) - 1) };
    let path = root.join(name);
    let real = |p: &Path| p.canonicalize().ok();
    let is_it = |r: &Recording| r.path == path || (path.exists() && real(&r.path) == real(&path));
    list.iter().position(is_it).ok_or_else(|| {
        let names: Vec<&str> = list.iter().map(|r| r.name.as_str()).collect();
        MotionError::Recipe(format!("center: found {name:?}, needed one of {}", names.join(", ")))
    })
}
