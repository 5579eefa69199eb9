//! The command line.

mod session;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use stillframe_engine::image::CfaPattern;
use stillframe_engine::recipe::{Combine, MosaicKernel, Preset, Route};
use stillframe_engine::runtime::{ExecutorKind, parse_bytes};

pub(crate) use self::session::{ConfiguredArgs, SessionArgs, ZAlignArgs};
use self::session::{SESSION_HELP, Z_ALIGN_HELP};
use crate::exit::EXIT_CODES;

/// Turns many moving frames into one still result
#[derive(Debug, Parser)]
#[command(
    name = "stillframe",
    version,
    after_help = EXIT_CODES,
    after_long_help = MAIN_HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const MAIN_HELP: &str = "\
Examples:
  stillframe demo
      Simulate a night, stack it, and show what came out.
  stillframe stack lights -o result
      Stack every FITS file of the folder `lights`.
  stillframe stack lights -o result --bias cal/bias --dark cal/dark --flat cal/flat
      The same with calibration frames.
  stillframe motion recording.tif -o result
      Hold a 2-photon recording still.
  stillframe plan stack lights -o result
      Say what would be done, with how much memory, and do nothing.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  3    done, but more frames were lost than the recipe allows
  130  interrupted; --resume continues";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stack a burst of frames of one field into one deep linear image
    #[command(after_help = EXIT_CODES, after_long_help = STACK_HELP)]
    Stack(Box<StackArgs>),
    /// Register a 2-photon recording: the same recording, held still
    #[command(after_help = EXIT_CODES, after_long_help = MOTION_HELP)]
    Motion(Box<MotionArgs>),
    /// Register many recordings of one field of view, and align them
    #[command(after_help = EXIT_CODES, after_long_help = SESSION_HELP)]
    Session(Box<SessionArgs>),
    /// Find the depth of a recording in a stack of images
    #[command(after_help = EXIT_CODES, after_long_help = Z_ALIGN_HELP)]
    ZAlign(Box<ZAlignArgs>),
    /// Put many overlapping images together on one grid of the sky
    #[command(after_help = EXIT_CODES, after_long_help = MOSAIC_HELP)]
    Mosaic(Box<MosaicArgs>),
    /// Say what a command would do, without doing it
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Make test data whose truth is known
    #[command(subcommand)]
    Simulate(SimulateCommand),
    /// Show the header, the layout and the statistics of a FITS file
    #[command(after_long_help = INSPECT_HELP)]
    Inspect(InspectArgs),
    /// Compare two FITS files pixel by pixel
    #[command(after_long_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Write, check and translate recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Simulate a burst, stack it, and show what came out
    #[command(after_help = EXIT_CODES, after_long_help = DEMO_HELP)]
    Demo(DemoArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Run units of a plan for a parent process
    #[command(hide = true)]
    Worker,
}

const STACK_HELP: &str = "\
Examples:
  stillframe stack lights -o result
      Every FITS file of a folder.
  stillframe stack 'night1/*.fits' 'night2/*.fits' -o result
      Globs; quoted ones are expanded by stillframe, on every system alike.
  stillframe stack lights -o result --bias cal/bias --dark cal/dark --flat cal/flat
      Calibration frames: folders, globs, or one finished master each.
  stillframe stack lights -o result --set rejection.method=none --set resampling.kernel=bilinear
      Change single values of the recipe.
  stillframe stack lights -o result --workers 1 --memory 1GiB
      Less memory, the same bits.
  stillframe stack lights -o result --resume
      Go on where an interrupted run stopped.

OUT gets stack.fits, preview.png, registration.json, report.json and telemetry files. It must be
new or empty, unless --overwrite or --resume is given.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  3    done, but more frames were lost than the recipe allows
  130  interrupted; --resume continues";

/// Inputs, recipe and resources: what `stack` and `plan stack` share.
#[derive(Debug, Args)]
pub(crate) struct StackInputs {
    /// Light frames or images: folders, files or globs
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// Folder for the results
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Bias frames or a master bias: a folder, a file or a glob; may be repeated
    #[arg(long, value_name = "P", help_heading = "Calibration")]
    pub(crate) bias: Vec<String>,
    /// Dark frames or a master dark: a folder, a file or a glob; may be repeated
    #[arg(long, value_name = "P", help_heading = "Calibration")]
    pub(crate) dark: Vec<String>,
    /// Flat frames or a master flat: a folder, a file or a glob; may be repeated
    #[arg(long, value_name = "P", help_heading = "Calibration")]
    pub(crate) flat: Vec<String>,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
}

/// Everything that may change the result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe (may change the result)")]
pub(crate) struct RecipeArgs {
    /// Recipe in YAML or TOML, told by the file's ending
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    /// Change one value of the recipe, as in rejection.method=none; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Everything that may only change time and memory.
#[derive(Debug, Args)]
#[command(next_help_heading = "Resources (never change the result)")]
pub(crate) struct ResourceArgs {
    /// Where the work runs: threads (if not given), processes or sequential
    #[arg(long, value_name = "NAME")]
    pub(crate) executor: Option<ExecutorKind>,
    /// Number of workers; if not given, most of the cores
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Memory to stay within, as in 2GiB; if not given, 75 % of what is free
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Progress")]
pub(crate) struct ProgressArgs {
    /// Show warnings and errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write events to standard output, one JSON object a line
    #[arg(long)]
    pub(crate) json_events: bool,
}

/// `stack`.
#[derive(Debug, Args)]
pub(crate) struct StackArgs {
    #[command(flatten)]
    pub(crate) inputs: StackInputs,
    /// Replace results that are already in OUT
    #[arg(long, help_heading = "Output", conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Go on where an interrupted run in OUT stopped; finished passes are not repeated
    #[arg(long, help_heading = "Output")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

const MOTION_HELP: &str = "\
Examples:
  stillframe motion recording.tif -o result
      Register every frame to the mean of frames 50 to 149, themselves registered to each other.
  stillframe motion recording.h5 -o result --quality fast --format TIFF
      Fast, to a TIFF file.
  stillframe motion ch1.tif ch2.tif -o result --reference 200..300 --save-w --save-valid
      A file per channel; displacements and masks too.
  stillframe motion recording.tif -o result --reference mean.tif --set alpha=8
      A reference from a file; one value of the recipe changed.
  stillframe motion recording.tif -o result --resume
      Go on where an interrupted run stopped.

OUT gets compensated.*, reference_frame.tiff, statistics.h5, report.json, preview.png and telemetry
files, and on request w.h5 and idx.h5. It must hold no other result, unless --overwrite or --resume
is given.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  130  interrupted; --resume continues";

/// `motion`.
#[derive(Debug, Args)]
pub(crate) struct MotionArgs {
    /// The recording: a TIFF, HDF5 or MAT file, or a folder or list with one file per channel
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Folder for the results
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) choices: MotionChoices,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    /// Replace results that are already in OUT
    #[arg(long, help_heading = "Output", conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Go on where an interrupted run in OUT stopped; finished batches are not repeated
    #[arg(long, help_heading = "Output")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// Short forms of keys of the recipe.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Recipe (may change the result)")]
pub(crate) struct MotionChoices {
    /// fast, balanced or quality: quality_setting of the recipe
    #[arg(long, value_name = "NAME")]
    pub(crate) quality: Option<String>,
    /// variational, dis, rigid or reference: flow_backend of the recipe
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// What frames are registered to: frames A up to but without B, or a file
    #[arg(long, value_name = "FILE|A..B")]
    pub(crate) reference: Option<String>,
    /// Frames per batch: buffer_size of the recipe
    #[arg(long, value_name = "N")]
    pub(crate) buffer_size: Option<NonZeroUsize>,
    /// HDF5, TIFF, MAT, SUITE2P_TIFF, CAIMAN_HDF5 or MULTIFILE_...: output_format of the recipe
    #[arg(long, value_name = "NAME")]
    pub(crate) format: Option<String>,
    /// Write the displacements to w.h5
    #[arg(long)]
    pub(crate) save_w: bool,
    /// Write masks of the pixels that come from inside the frame to idx.h5
    #[arg(long)]
    pub(crate) save_valid: bool,
}

/// `plan`.
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Print what `stack` would do: frames, passes, units, memory, bytes to read
    #[command(after_help = EXIT_CODES)]
    Stack(Box<PlanStackArgs>),
    /// Print what `mosaic` would do: images, grid, passes, units, memory
    #[command(after_help = EXIT_CODES)]
    Mosaic(Box<PlanMosaicArgs>),
}

/// `plan stack`.
#[derive(Debug, Args)]
pub(crate) struct PlanStackArgs {
    #[command(flatten)]
    pub(crate) inputs: StackInputs,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const MOSAIC_HELP: &str = "\
Examples:
  stillframe mosaic lights -o result
      Every FITS file of a folder; each must have world coordinates (WCS) in its header.
  stillframe mosaic tiles -o result --route tiles --grid grid.hdr
      Finished tiles, onto the grid of a header in text.
  stillframe mosaic lights -o result --combine median --interpolation bilinear
      Another way to combine and to interpolate.
  stillframe mosaic lights -o result --set photometry.sky=offset --set weights.feather_px=64
      Change single values of the recipe.

OUT gets mosaic_science.fits, mosaic_coverage.fits, preview.png, report.json, recipe.json and telemetry
files. It must be new or empty, unless --overwrite or --resume is given.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  3    done, but more images were lost than the recipe allows
  130  interrupted; --resume continues";

/// Inputs, recipe and resources: what `mosaic` and `plan mosaic` share.
#[derive(Debug, Args)]
pub(crate) struct MosaicInputs {
    #[command(flatten)]
    pub(crate) common: StackInputs,
    /// Header of the output grid in plain text (NAXIS1, NAXIS2, WCS), as SWarp and Montage read it
    #[arg(long, value_name = "HEADER")]
    pub(crate) grid: Option<PathBuf>,
    /// The way from frames to the mosaic
    #[arg(long, value_name = "NAME", value_parser = route(), help_heading = "Recipe (may change the result)")]
    pub(crate) route: Option<Route>,
    /// Rejection and combination in one word
    #[arg(long, value_name = "NAME", value_parser = combine(), help_heading = "Recipe (may change the result)")]
    pub(crate) combine: Option<Combine>,
    /// How values between pixels are found
    #[arg(long, value_name = "NAME", value_parser = interpolation(), help_heading = "Recipe (may change the result)")]
    pub(crate) interpolation: Option<MosaicKernel>,
}

/// A parser of one of `names`, each of which stands for a value.
fn named<T: Copy + Send + Sync + 'static>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|(name, _)| PossibleValue::new(*name))).map(
        move |found| {
            let of_name = names.iter().find(|(name, _)| *name == found);
            of_name.expect("the parser lets only these names pass").1
        },
    )
}

fn route() -> impl TypedValueParser<Value = Route> {
    named(&[
        ("mosaic-first", Route::MosaicFirst),
        ("classic", Route::Classic),
        ("tiles", Route::Tiles),
    ])
}

fn combine() -> impl TypedValueParser<Value = Combine> {
    named(&[
        ("mean", Combine::Mean),
        ("median", Combine::Median),
        ("kappa-sigma", Combine::KappaSigma),
        ("winsorized", Combine::Winsorized),
    ])
}

fn interpolation() -> impl TypedValueParser<Value = MosaicKernel> {
    named(&[
        ("nearest", MosaicKernel::Nearest),
        ("bilinear", MosaicKernel::Bilinear),
        ("bicubic", MosaicKernel::Bicubic),
        ("lanczos3", MosaicKernel::Lanczos3),
        ("exact", MosaicKernel::Exact),
    ])
}

/// `mosaic`.
#[derive(Debug, Args)]
pub(crate) struct MosaicArgs {
    #[command(flatten)]
    pub(crate) inputs: MosaicInputs,
    /// Replace results that are already in OUT
    #[arg(long, help_heading = "Output", conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Go on where an interrupted run in OUT stopped; finished passes are not repeated
    #[arg(long, help_heading = "Output")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// `plan mosaic`.
#[derive(Debug, Args)]
pub(crate) struct PlanMosaicArgs {
    #[command(flatten)]
    pub(crate) inputs: MosaicInputs,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const INSPECT_HELP: &str = "\
Examples:
  stillframe inspect result/stack.fits
  stillframe inspect lights/frame_0001.fits.fz --json";

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// FITS file (.fits, .fit, .fts; .gz and .fz too)
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const COMPARE_HELP: &str = "\
Examples:
  stillframe compare run1/stack.fits run2/stack.fits

Image by image and plane by plane: identical, or the largest difference and where it is, the
root mean square of the differences, and the PSNR over the range of A. Pixels that are missing
(NaN) in both are equal; pixels that are missing in one are counted.

Exit codes:
  0    identical
  1    different, or one of the files cannot be read
  2    wrong usage";

/// `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// First file
    pub(crate) a: PathBuf,
    /// Second file
    pub(crate) b: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `recipe`.
#[derive(Debug, Subcommand)]
pub(crate) enum RecipeCommand {
    /// Write a recipe with every key, its default and its meaning
    #[command(after_long_help = RECIPE_INIT_HELP)]
    Init(RecipeInitArgs),
    /// Read a recipe and say what is wrong with it
    Check(RecipeCheckArgs),
    /// Print the JSON schema of recipes
    Schema(RecipeSchemaArgs),
    /// Translate a tile_compile configuration (Methodik v4), or options of PyFlowReg
    #[command(after_long_help = RECIPE_IMPORT_HELP)]
    Import(RecipeImportArgs),
}

const RECIPE_INIT_HELP: &str = "\
Examples:
  stillframe recipe init
      Print a recipe with every key explained.
  stillframe recipe init my.yaml --preset seestar
      Write one to start from.

Recipes may be written in TOML as well; stillframe tells them apart by the file's ending.";

fn presets() -> impl TypedValueParser<Value = Preset> {
    let names = Preset::ALL.map(|p| PossibleValue::new(p.name()).help(p.purpose()));
    PossibleValuesParser::new(names)
        .map(|name| Preset::parse(&name).expect("only names of presets are possible"))
}

/// The pipeline that a recipe is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pipeline {
    /// Bursts of frames of the sky
    #[default]
    Stack,
    /// Overlapping frames on one grid of the sky
    Mosaic,
    /// Recordings under the microscope
    Motion,
    /// Many recordings of one field of view
    Session,
    /// Depth of a recording in a stack
    ZAlign,
}

/// `recipe schema`.
#[derive(Debug, Args)]
pub(crate) struct RecipeSchemaArgs {
    /// The command that the recipe is for
    #[arg(long = "for", value_name = "COMMAND", default_value = "stack")]
    pub(crate) pipeline: Pipeline,
}

/// `recipe init`.
#[derive(Debug, Args)]
pub(crate) struct RecipeInitArgs {
    /// File to write, ending in .yaml or .yml; standard output if not given
    pub(crate) file: Option<PathBuf>,
    /// The command that the recipe is for
    #[arg(long = "for", value_name = "COMMAND", default_value = "stack")]
    pub(crate) pipeline: Pipeline,
    /// What the values are meant for
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = presets())]
    pub(crate) preset: Preset,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `recipe check`.
#[derive(Debug, Args)]
pub(crate) struct RecipeCheckArgs {
    /// Recipe in YAML or TOML
    pub(crate) file: PathBuf,
    /// The command that the recipe is for
    #[arg(long = "for", value_name = "COMMAND", default_value = "stack")]
    pub(crate) pipeline: Pipeline,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
}

const RECIPE_IMPORT_HELP: &str = "\
Examples:
  stillframe recipe import tile_compile.yaml -o stack.yaml
  stillframe recipe import options.json -o motion.yaml

JSON files are read as options of PyFlowReg or Flow-Registration, others as tile_compile's. Keys that have a counterpart are translated; every other key is named on the error stream.";

/// `recipe import`.
#[derive(Debug, Args)]
pub(crate) struct RecipeImportArgs {
    /// tile_compile configuration in YAML, or PyFlowReg options in JSON
    pub(crate) file: PathBuf,
    /// File to write, ending in .yaml or .yml; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `simulate`.
#[derive(Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// A burst of frames of one star field, with calibration frames and the truth
    #[command(after_long_help = SIMULATE_HELP)]
    Burst(SimulateBurstArgs),
    /// Overlapping panels with gains, skies and seeing of their own, and the truth
    #[command(after_long_help = SIMULATE_MOSAIC_HELP)]
    Mosaic(SimulateMosaicArgs),
}

const SIMULATE_MOSAIC_HELP: &str = "\
Examples:
  stillframe simulate mosaic -o panels
  stillframe mosaic panels/lights -o result --grid panels/truth/grid.hdr

OUT gets the folders lights and truth. The same seed gives the same bytes.";

/// `simulate mosaic`.
#[derive(Debug, Args)]
pub(crate) struct SimulateMosaicArgs {
    /// Folder for the data, new or empty
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Panels across
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) columns: NonZeroUsize,
    /// Panels down
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) rows: NonZeroUsize,
    /// Frames of each panel
    #[arg(long, value_name = "N", default_value = "4")]
    pub(crate) frames: NonZeroUsize,
    /// Columns of a frame
    #[arg(long, value_name = "PIXELS", default_value = "640")]
    pub(crate) width: NonZeroUsize,
    /// Rows of a frame
    #[arg(long, value_name = "PIXELS", default_value = "480")]
    pub(crate) height: NonZeroUsize,
    /// Share of its sides that a panel has in common with its neighbour
    #[arg(long, value_name = "SHARE", default_value = "0.2")]
    pub(crate) overlap: f64,
    /// Seed of every random number
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

const SIMULATE_HELP: &str = "\
Examples:
  stillframe simulate burst -o night
  stillframe simulate burst -o night --frames 20 --bayer RGGB --seed 7

OUT gets the folders lights, bias, dark, flat and truth. The same seed gives the same bytes.";

/// `simulate burst`.
#[derive(Debug, Args)]
pub(crate) struct SimulateBurstArgs {
    /// Folder for the data, new or empty
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Number of light frames
    #[arg(long, value_name = "N", default_value = "30")]
    pub(crate) frames: NonZeroUsize,
    /// Number of bias, of dark and of flat frames
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) calibration: usize,
    /// Columns of a frame
    #[arg(long, value_name = "PIXELS", default_value = "960")]
    pub(crate) width: NonZeroUsize,
    /// Rows of a frame
    #[arg(long, value_name = "PIXELS", default_value = "640")]
    pub(crate) height: NonZeroUsize,
    /// Bayer mosaic instead of a monochrome camera
    #[arg(long, value_name = "PATTERN", ignore_case = true)]
    pub(crate) bayer: Option<BayerPattern>,
    /// Seed of every random number
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// Which colour sits where in the 2×2 cell at the first pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum BayerPattern {
    /// Red first
    Rggb,
    /// Blue first
    Bggr,
    /// Green first, red to its right
    Grbg,
    /// Green first, blue to its right
    Gbrg,
}

impl From<BayerPattern> for CfaPattern {
    fn from(pattern: BayerPattern) -> Self {
        match pattern {
            BayerPattern::Rggb => Self::Rggb,
            BayerPattern::Bggr => Self::Bggr,
            BayerPattern::Grbg => Self::Grbg,
            BayerPattern::Gbrg => Self::Gbrg,
        }
    }
}

const DEMO_HELP: &str = "\
Examples:
  stillframe demo
  stillframe demo -o my-demo --seed 7";

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder for the simulated data and the results
    #[arg(short, long, value_name = "OUT", default_value = "stillframe-demo")]
    pub(crate) output: PathBuf,
    /// Seed of the simulation
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  stillframe completions bash > ~/.local/share/bash-completion/completions/stillframe
  stillframe completions zsh > ~/.zfunc/_stillframe
  stillframe completions fish > ~/.config/fish/completions/stillframe.fish";

/// `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete for
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn stack_takes_several_inputs_and_repeated_values() {
        let line =
            "stillframe stack a b -o out --bias x --bias y --set k=1 --set l=2 --memory 2GiB";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Stack(stack) = cli.command else { panic!("not stack") };
        assert_eq!(stack.inputs.inputs, ["a", "b"]);
        assert_eq!(stack.inputs.bias, ["x", "y"]);
        assert_eq!(stack.inputs.recipe.set, ["k=1", "l=2"]);
        assert_eq!(stack.inputs.resources.memory, Some(2 << 30));
        assert!(!stack.overwrite && !stack.resume && !stack.progress.quiet);
    }

    #[test]
    fn no_worker_is_refused() {
        let line = "stillframe stack a -o out --workers 0";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }
}
