//! `stillframe recipe`.

use std::path::Path;

use anyhow::{Context, anyhow};
use stillframe_engine::io::{Existing, write_file};
use stillframe_engine::recipe::{
    FileOf, MosaicRecipe, MotionRecipe, Note, Preset, Recipe, RecipeError, RecipeFile,
    RecipeFormat, SessionRecipe, StackRecipe, Strictness, ZAlignRecipe, import_flow_registration,
    import_tile_compile, schema, template,
};
use stillframe_engine::runtime::Capabilities;

use crate::args::{Pipeline, RecipeCheckArgs, RecipeCommand, RecipeImportArgs, RecipeInitArgs};
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::output;

pub(super) fn run(command: RecipeCommand) -> CommandResult {
    match command {
        RecipeCommand::Init(args) => init(&args),
        RecipeCommand::Check(args) => check(&args),
        RecipeCommand::Schema(args) => print_schema(args.pipeline),
        RecipeCommand::Import(args) => import(&args),
    }
}

fn init(args: &RecipeInitArgs) -> CommandResult {
    if args.pipeline != Pipeline::Stack && args.preset != Preset::Default {
        return Err(Failure::usage(anyhow!("presets are for stack; motion has quality_setting")));
    }
    let text = match args.pipeline {
        Pipeline::Stack => template(args.preset, Capabilities::detect().physical_cores),
        Pipeline::Motion => defaults::<MotionRecipe>(),
        Pipeline::Mosaic => defaults::<MosaicRecipe>(),
        Pipeline::Session => defaults::<SessionRecipe>(),
        Pipeline::ZAlign => defaults::<ZAlignRecipe>(),
    };
    save(args.file.as_deref(), args.overwrite, &text)
}

fn defaults<R: Recipe>() -> String {
    FileOf::<R>::default().to_commented_yaml("The defaults.")
}

fn check(args: &RecipeCheckArgs) -> CommandResult {
    let strictness = if args.strict { Strictness::Strict } else { Strictness::Normal };
    let cores = Capabilities::detect().physical_cores;
    let hash = match args.pipeline {
        Pipeline::Stack => RecipeFile::load(Some(&args.file), &[])
            .and_then(|file| file.check(cores, strictness).map(|()| file.recipe.sha256())),
        Pipeline::Motion => hash_of::<MotionRecipe>(&args.file),
        Pipeline::Mosaic => hash_of::<MosaicRecipe>(&args.file),
        Pipeline::Session => hash_of::<SessionRecipe>(&args.file),
        Pipeline::ZAlign => hash_of::<ZAlignRecipe>(&args.file),
    };
    let hash = hash
        .with_context(|| format!("{} is not a valid recipe", args.file.display()))
        .map_err(Failure::usage)?;
    output::print(&format!("{}: valid; recipe SHA-256 {hash}\n", args.file.display()))?;
    Ok(ExitStatus::Done)
}

fn hash_of<R: Recipe>(file: &Path) -> Result<String, RecipeError> {
    FileOf::<R>::load(Some(file), &[]).map(|file| file.recipe.sha256())
}

fn print_schema(pipeline: Pipeline) -> CommandResult {
    let schema = match pipeline {
        Pipeline::Stack => schema::<StackRecipe>(),
        Pipeline::Motion => schema::<MotionRecipe>(),
        Pipeline::Mosaic => schema::<MosaicRecipe>(),
        Pipeline::Session => schema::<SessionRecipe>(),
        Pipeline::ZAlign => schema::<ZAlignRecipe>(),
    };
    let text = serde_json::to_string_pretty(&schema)?;
    output::print(&(text + "\n"))?;
    Ok(ExitStatus::Done)
}

fn import(args: &RecipeImportArgs) -> CommandResult {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))
        .map_err(Failure::usage)?;
    let title = format!("Translated from {}.", args.file.display());
    let is_json = args.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let translated = if is_json {
        import_flow_registration(&text)
            .map(|imported| (imported.file.to_commented_yaml(&title), imported.notes))
    } else {
        import_tile_compile(&text, Capabilities::detect().physical_cores)
            .map(|imported| (imported.file.to_commented_yaml(&title), imported.notes))
    };
    let (text, notes) = translated
        .with_context(|| format!("{} cannot be translated", args.file.display()))
        .map_err(Failure::usage)?;
    for note in notes.iter().filter(|note| !matches!(note, Note::Mapped { .. })) {
        output::tell(&note.to_string());
    }
    save(args.output.as_deref(), args.overwrite, &text)
}

/// Writes a recipe in YAML to `file`, or to standard output without one.
fn save(file: Option<&Path>, overwrite: bool, text: &str) -> CommandResult {
    let Some(file) = file else {
        output::print(text)?;
        return Ok(ExitStatus::Done);
    };
    if !RecipeFormat::of(file).is_ok_and(|format| format == RecipeFormat::Yaml) {
        return Err(Failure::usage(anyhow!(
            "recipes are written in YAML: {} must end in .yaml or .yml",
            file.display()
        )));
    }
    let existing = if overwrite { Existing::Replace } else { Existing::Refuse };
    write_file(file, existing, text.as_bytes())?;
    Ok(ExitStatus::Done)
}
