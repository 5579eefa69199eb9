//! Before the first frame: executor, reference, smoothness.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillframe_runtime::observe::Event;
use stillframe_runtime::plan::Resources;

use super::alpha::{self, AlphaChoice};
use super::backend::{CUSTOM, CUSTOM_EXECUTORS, Displacement, executors_of};
use super::error::MotionError;
use super::reference::{self, Origin};
use super::spec::FrameSpec;
use crate::recipe::{FlowBackend, MotionRecipe};
use crate::runner::Runner;

/// What was found out before the first frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) spec: FrameSpec,
    pub(super) alpha: Option<AlphaChoice>,
}

/// `resources` with an executor that the backend can use, and the warning if it is another than was
/// asked for.
///
/// # Errors
/// If none can be used.
pub(super) fn resources_for(
    backend: FlowBackend,
    custom: Option<&Arc<dyn Displacement>>,
    resources: &Resources,
) -> Result<(Resources, Option<String>), MotionError> {
    let (name, supported) = match custom {
        Some(_) => (CUSTOM, &CUSTOM_EXECUTORS[..]),
        None => (backend.name(), executors_of(backend)),
    };
    let (executor, warning) = resources.registry.resolve(resources.executor, name, supported)?;
    Ok((Resources { executor: Some(executor), ..resources.clone() }, warning))
}

/// Makes the reference, unless it is `given`, and chooses alpha.
///
/// # Errors
/// If the reference cannot be made, the recipe does not fit the recording, or the run is cancelled.
pub(super) fn prepare(
    runner: &mut Runner<'_>,
    recipe: &MotionRecipe,
    origin: &Origin<'_>,
    given: Option<Vec<f32>>,
) -> Result<Prepared, MotionError> {
    let info = origin.source.info();
    let raw_reference = match given {
        Some(planes) => planes,
        None => reference::resolve(runner, recipe, origin)?,
    };
    let mut spec = FrameSpec::new(recipe, info.shape, info.channels, raw_reference);
    spec.params.validate(info.channels)?;
    let mut alpha = None;
    if recipe.chooses_alpha() && origin.custom.is_none() {
        let choice = alpha::choose(&**origin.source, &spec)?;
        runner.observer.event(&Event::note(choice.explained()));
        spec.params.alpha = choice.alpha;
        alpha = Some(choice);
    }
    Ok(Prepared { spec, alpha })
}
