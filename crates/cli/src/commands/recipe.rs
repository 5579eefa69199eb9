//! `stillframe recipe`.

use std::path::Path;

use anyhow::{Context, anyhow};
use stillframe_engine::io::{Existing, write_file};
use stillframe_engine::recipe::{
    Note, Recipe, RecipeFile, RecipeFormat, StackRecipe, Strictness, import_tile_compile, schema,
    template,
};
use stillframe_engine::runtime::Capabilities;

use crate::args::{RecipeCheckArgs, RecipeCommand, RecipeImportArgs, RecipeInitArgs};
use crate::exit::{CommandResult, ExitStatus, Failure};
use crate::output;

pub(super) fn run(command: RecipeCommand) -> CommandResult {
    match command {
        RecipeCommand::Init(args) => init(&args),
        RecipeCommand::Check(args) => check(&args),
        RecipeCommand::Schema => print_schema(),
        RecipeCommand::Import(args) => import(&args),
    }
}

fn init(args: &RecipeInitArgs) -> CommandResult {
    let text = template(args.preset, Capabilities::detect().physical_cores);
    save(args.file.as_deref(), args.overwrite, &text)
}

fn check(args: &RecipeCheckArgs) -> CommandResult {
    let strictness = if args.strict { Strictness::Strict } else { Strictness::Normal };
    let cores = Capabilities::detect().physical_cores;
    let file = RecipeFile::load(Some(&args.file), &[])
        .and_then(|file| file.check(cores, strictness).map(|()| file))
        .with_context(|| format!("{} is not a valid recipe", args.file.display()))
        .map_err(Failure::usage)?;
    output::print(&format!(
        "{}: valid; recipe SHA-256 {}\n",
        args.file.display(),
        file.recipe.sha256()
    ))?;
    Ok(ExitStatus::Done)
}

fn print_schema() -> CommandResult {
    let text = serde_json::to_string_pretty(&schema::<StackRecipe>())?;
    output::print(&(text + "\n"))?;
    Ok(ExitStatus::Done)
}

fn import(args: &RecipeImportArgs) -> CommandResult {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))
        .map_err(Failure::usage)?;
    let imported = import_tile_compile(&text, Capabilities::detect().physical_cores)
        .with_context(|| format!("{} cannot be translated", args.file.display()))
        .map_err(Failure::usage)?;
    for note in &imported.notes {
        if !matches!(note, Note::Mapped { .. }) {
            output::tell(&note.to_string());
        }
    }
    let title = format!("Translated from {}.", args.file.display());
    save(args.output.as_deref(), args.overwrite, &imported.file.to_commented_yaml(&title))
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
