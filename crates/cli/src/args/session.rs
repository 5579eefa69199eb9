//! `session` and `z-align`.

use std::path::PathBuf;

use clap::Args;

use super::{ProgressArgs, ResourceArgs};

pub(crate) const SESSION_HELP: &str = "\
Examples:
  stillframe recipe init session.yaml --for session
      Write a configuration with every key explained.
  stillframe session session.yaml
      Register each recording, find how they lie to each other, align them all.
  stillframe session session.yaml --stage 1 --index 3
      Register the fourth recording only: a task of an array of jobs.
  stillframe session session.yaml --stage 1 --array
      The same, with the index from the scheduler (SLURM, SGE, PBS; tasks count from 1).
  stillframe session session.yaml --resume
      Do what is not done yet.

Stages: 1 registers each recording to itself, 2 finds the displacement of each mean against that of
the centre, 3 writes all recordings in the frame of the centre.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  130  interrupted; --resume continues";

/// `session`.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub(crate) job: ConfiguredArgs,
    /// Do one stage only; those before it must be finished
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) stage: Option<u8>,
    /// Stage 1 of one recording only, counted from 0 in the order of the names
    #[arg(long, short, value_name = "I", conflicts_with = "array")]
    pub(crate) index: Option<usize>,
    /// Stage 1 of the recording that the scheduler's array task stands for
    #[arg(long)]
    pub(crate) array: bool,
}

pub(crate) const Z_ALIGN_HELP: &str = "\
Examples:
  stillframe recipe init z.yaml --for z-align
      Write a configuration with every key explained.
  stillframe z-align z.yaml
      Find the depth of a recording in a stack; write the depths, the recording as if at one depth,
      and what the stack shows at the depths.
  stillframe z-align z.yaml --resume
      Do what is not done yet.

Exit codes:
  0    done
  1    failed
  2    wrong usage or recipe; nothing was done
  130  interrupted; --resume continues";

/// A configuration and how it is worked on: what `session` and `z-align` share.
#[derive(Debug, Args)]
pub(crate) struct ConfiguredArgs {
    /// Configuration in YAML or TOML; its paths are relative to its folder
    pub(crate) config: PathBuf,
    /// Change one value of the configuration, as in between.alpha=10; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Recipe (may change the result)")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    /// Replace results that are there already
    #[arg(long, help_heading = "Output", conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Keep finished steps, and finished batches of an interrupted one
    #[arg(long, help_heading = "Output")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// `z-align`.
#[derive(Debug, Args)]
pub(crate) struct ZAlignArgs {
    #[command(flatten)]
    pub(crate) job: ConfiguredArgs,
}
