//! From the files that were given to frames that belong together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stillframe_image::{CfaPattern, Shape};
use stillframe_io::fits::{BayerOverride, FitsSource, FrameInfo, OpenOptions};
use stillframe_io::inputs::Inputs as Found;

use super::error::StackError;
use super::light::LightPhases;
use super::report::FrameOutcome;
use crate::recipe::{BayerInput, InputRecipe};

/// What the frames of one run must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alike {
    /// Size, planes and colour pattern.
    Frames,
    /// Planes and colour pattern.
    Colours,
}

/// A file of the input list.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) info: Option<FrameInfo>,
    pub(crate) needs_spool: bool,
    /// Set as soon as the frame is lost.
    pub(crate) lost: Option<FrameOutcome>,
}

/// The inputs and what the usable ones have in common.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) files: Vec<Input>,
    pub(crate) shape: Shape,
    pub(crate) planes: usize,
    pub(crate) cfa: Option<CfaPattern>,
}

impl Inputs {
    /// Indices of the frames that are not lost.
    pub(crate) fn usable(&self) -> Vec<usize> {
        (0..self.files.len()).filter(|&i| self.files[i].lost.is_none()).collect()
    }

    /// Marks a frame as lost.
    pub(crate) fn lose(&mut self, index: usize, outcome: FrameOutcome) {
        self.files[index].lost = Some(outcome);
    }

    /// Header of a usable frame.
    pub(crate) fn info(&self, index: usize) -> &FrameInfo {
        self.files[index].info.as_ref().expect("a usable frame was opened")
    }

    /// Why the run ends when fewer than `needed` frames are usable.
    pub(super) fn too_few(&self, needed: usize) -> StackError {
        let first = self.files.iter().find_map(|f| match &f.lost {
            Some(FrameOutcome::Failed { reason } | FrameOutcome::Skipped { reason }) => {
                Some(format!("{}: {reason}", f.path.display()))
            }
            _ => None,
        });
        StackError::TooFewFrames {
            usable: self.usable().len(),
            given: self.files.len(),
            needed,
            first_reason: first.unwrap_or_else(|| "no other frame was given".into()),
        }
    }
}

fn bayer(recipe: &InputRecipe) -> BayerOverride {
    match recipe.bayer {
        BayerInput::Auto => BayerOverride::Auto,
        BayerInput::Mono => BayerOverride::Mono,
        BayerInput::Rggb => BayerOverride::Pattern(CfaPattern::Rggb),
        BayerInput::Bggr => BayerOverride::Pattern(CfaPattern::Bggr),
        BayerInput::Grbg => BayerOverride::Pattern(CfaPattern::Grbg),
        BayerInput::Gbrg => BayerOverride::Pattern(CfaPattern::Gbrg),
    }
}

/// Opens the headers of all files. What most of the readable ones agree on (what `alike` names) is
/// the burst; the others are lost with the reason, and so are second names of a file.
///
/// # Errors
/// [`StackError::Inputs`] if no file can be read.
pub(crate) fn open(
    found: Found,
    recipe: &InputRecipe,
    alike: Alike,
    phases: &LightPhases<'_>,
) -> Result<Inputs, StackError> {
    let options = OpenOptions { bayer: bayer(recipe) };
    let paths = found.files;
    let opened = phases.map(
        paths.len(),
        || (),
        |i, ()| {
            FitsSource::open(&paths[i], &options)
                .map(|s| (s.info().clone(), s.needs_spool()))
                .map_err(|e| e.kind.to_string())
        },
    )?;
    type Key = (usize, usize, usize, Option<&'static str>);
    let key = |info: &FrameInfo| -> Key {
        let shape = match alike {
            Alike::Frames => info.shape,
            Alike::Colours => Shape::new(0, 0),
        };
        (shape.height, shape.width, info.planes, info.cfa.map(CfaPattern::name))
    };
    let mut votes: BTreeMap<Key, (usize, usize)> = BTreeMap::new();
    for (i, result) in opened.iter().enumerate() {
        if let Ok((info, _)) = result {
            votes.entry(key(info)).or_insert((0, i)).0 += 1;
        }
    }
    // Among equals the kind that comes first in the list.
    let Some((_, &(_, first))) = votes.iter().max_by_key(|(_, (n, i))| (*n, std::cmp::Reverse(*i)))
    else {
        let reason = opened.first().and_then(|r| r.as_ref().err()).cloned().unwrap_or_default();
        let first = paths.first().map_or_else(String::new, |p| p.display().to_string());
        return Err(StackError::Inputs(format!(
            "none of the {} input file(s) can be read; {first}: {reason}",
            paths.len()
        )));
    };
    let standard = opened[first].as_ref().expect("only readable frames vote").0.clone();
    let describe = |info: &FrameInfo| {
        let colour = match (info.planes, info.cfa) {
            (3, _) => "RGB".to_owned(),
            (_, Some(cfa)) => cfa.name().to_owned(),
            _ => "mono".to_owned(),
        };
        format!("{} {colour}", info.shape)
    };
    let mut files: Vec<Input> = paths
        .into_iter()
        .zip(opened)
        .map(|(path, result)| match result {
            Ok((info, needs_spool)) => {
                let lost = (key(&info) != key(&standard)).then(|| FrameOutcome::Failed {
                    reason: format!(
                        "it is {}, most frames are {}; stack them separately",
                        describe(&info),
                        describe(&standard)
                    ),
                });
                Input { path, info: Some(info), needs_spool, lost }
            }
            Err(reason) => {
                let lost = Some(FrameOutcome::Failed { reason });
                Input { path, info: None, needs_spool: false, lost }
            }
        })
        .collect();
    files.extend(found.duplicates.into_iter().map(|second| {
        let reason = format!("it is {} under another name", second.same_as.display());
        let lost = Some(FrameOutcome::Skipped { reason });
        Input { path: second.path, info: None, needs_spool: false, lost }
    }));
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(Inputs { files, shape: standard.shape, planes: standard.planes, cfa: standard.cfa })
}
