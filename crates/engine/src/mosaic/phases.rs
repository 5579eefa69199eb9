//! The heavy phases of a mosaic, as units that any executor can run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::Rect;
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::{DecodeError, Phase};

use super::assemble::{AssembleSpec, Block, BlockScratch, work_block};
use crate::runner::{encode_into, read_spec};
use crate::stack::burst::{Burst, BurstSpec};
use crate::worker::{self, ServePhase};

/// What a worker process is told: where the specifications are that the run has written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// [`AssemblePhase`].
    Assemble { burst: PathBuf, spec: PathBuf },
}

/// Pass 2: units are blocks of the grid.
pub(super) struct AssemblePhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a AssembleSpec,
    pub(super) blocks: &'a [Rect],
    pub(super) files: Option<(&'a Path, &'a Path)>,
}

impl Phase for AssemblePhase<'_> {
    type Output = Result<Block, String>;
    type Scratch = BlockScratch;

    fn name(&self) -> &str {
        "mosaic_combine"
    }

    fn units(&self) -> usize {
        self.blocks.len()
    }

    fn need(&self, index: usize) -> Need {
        let (work, result) = self.spec.need(self.blocks[index]);
        Need { work, result }
    }

    fn scratch(&self) -> BlockScratch {
        BlockScratch::new(self.spec)
    }

    fn work(&self, index: usize, scratch: &mut BlockScratch) -> Self::Output {
        work_block(self.burst, self.spec, self.blocks[index], scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let (burst, spec) = self.files?;
        let job = Job::Assemble { burst: burst.to_path_buf(), spec: spec.to_path_buf() };
        worker::Job::Mosaic(job).bytes()
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// The other side of [`Phase::job`].
///
/// # Errors
/// If the specifications cannot be read; the run then repeats the unit or ends with that reason.
pub(crate) fn with_job<R>(job: Job, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    match job {
        Job::Assemble { burst, spec } => {
            let (burst, spec): (BurstSpec, AssembleSpec) = (read_spec(&burst)?, read_spec(&spec)?);
            let burst = Burst::open(burst)?;
            let blocks = spec.blocks();
            let phase = AssemblePhase { burst: &burst, spec: &spec, blocks: &blocks, files: None };
            Ok(serve.serve(&phase))
        }
    }
}
