//! From the command line to a job of the engine.

use stillframe_engine::mosaic::MosaicJob;
use stillframe_engine::recipe::{FileOf, MosaicRecipe, RecipeFile, Strictness};
use stillframe_engine::runtime::{Capabilities, Registry, Resources, WorkerCommand};
use stillframe_engine::stack::StackJob;

use crate::args::{MosaicInputs, RecipeArgs, ResourceArgs, StackInputs};
use crate::exit::Failure;

/// The job that `inputs` describe, which neither overwrites nor resumes.
///
/// # Errors
/// A recipe that cannot be read or is wrong: exit code 2.
pub(super) fn stack_job(inputs: StackInputs) -> Result<StackJob, Failure> {
    let file = recipe(&inputs.recipe)?;
    let mut resources = resources(&inputs.resources);
    resources.workers = resources
        .workers
        .or_else(|| file.resources.parallel_tiles.and_then(std::num::NonZeroUsize::new));
    Ok(StackJob {
        inputs: inputs.inputs,
        output: inputs.output,
        bias: inputs.bias,
        dark: inputs.dark,
        flat: inputs.flat,
        recipe: file.recipe,
        resources,
        block_side: None,
        overwrite: false,
        resume: false,
        worker: worker_command(),
    })
}

/// The mosaic that `inputs` describe, which neither overwrites nor resumes.
///
/// # Errors
/// A recipe that cannot be read or is wrong: exit code 2.
pub(super) fn mosaic_job(inputs: MosaicInputs) -> Result<MosaicJob, Failure> {
    let MosaicInputs { common, grid, route, combine, interpolation } = inputs;
    let file = FileOf::<MosaicRecipe>::load(common.recipe.recipe.as_deref(), &common.recipe.set)
        .map_err(Failure::usage)?;
    let mut recipe = file.recipe;
    if let Some(route) = route {
        recipe.route = route;
    }
    if let Some(combine) = combine {
        recipe.set_combine(combine);
    }
    if let Some(kernel) = interpolation {
        recipe.resampling.kernel = kernel;
    }
    Ok(MosaicJob {
        inputs: common.inputs,
        output: common.output,
        bias: common.bias,
        dark: common.dark,
        flat: common.flat,
        grid,
        recipe,
        resources: resources(&common.resources),
        block_side: None,
        overwrite: false,
        resume: false,
        worker: worker_command(),
    })
}

fn recipe(args: &RecipeArgs) -> Result<RecipeFile, Failure> {
    let file = RecipeFile::load(args.recipe.as_deref(), &args.set).map_err(Failure::usage)?;
    let cores = Capabilities::detect().physical_cores;
    file.check(cores, Strictness::Normal).map_err(Failure::usage)?;
    Ok(file)
}

/// What may be used, on a program that can start itself as a worker.
pub(super) fn resources(args: &ResourceArgs) -> Resources {
    let registry =
        if worker_command().is_some() { Registry::all() } else { Registry::in_process() };
    Resources {
        executor: args.executor,
        workers: args.workers,
        memory_bytes: args.memory,
        registry,
        ..Resources::default()
    }
}

/// This program as a worker; `None` if it cannot tell where it is.
pub(super) fn worker_command() -> Option<WorkerCommand> {
    let program = std::env::current_exe().ok()?;
    Some(WorkerCommand { program, args: vec!["worker".into()] })
}
