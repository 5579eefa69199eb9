//! The heavy phases of a stack, as units that any executor can run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_runtime::ordered::Need;
use stillframe_runtime::phase::{DecodeError, Phase};

use super::burst::{Burst, BurstSpec};
use super::combine::{Block, BlockScratch, CombineSpec, work_block};
use super::local_metrics::{LocalMetrics, LocalScratch, LocalSpec, work_local};
use super::masters::{self, MasterScratch, MasterSpec, work_master};
use super::measure::{FrameMeasure, MeasureScratch, MeasureSpec, measure};
use super::reconstruct::{self, ReconstructTile};
use super::tiles::{TileResult, TileScratch, TilesSpec, work_tile};
use crate::runner::{encode_into, read_spec};
use crate::worker::{self, ServePhase};
use stillframe_image::Rect;
use stillframe_io::fits::FitsSource;

/// What a worker process is told: where the specifications are that the run has written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Masters { spec: PathBuf },
    Measure { burst: PathBuf, spec: PathBuf },
    Tiles { burst: PathBuf, spec: PathBuf },
    Local { burst: PathBuf, spec: PathBuf },
    Combine { burst: PathBuf, spec: PathBuf },
    Reconstruct { burst: PathBuf, combine: PathBuf, tiles: PathBuf },
}

fn job_bytes(job: Job) -> Option<Vec<u8>> {
    worker::Job::Stack(job).bytes()
}

/// Calibration frames to one master: units are bands of rows.
pub(super) struct MastersPhase<'a> {
    pub(super) spec: &'a MasterSpec,
    pub(super) sources: &'a [FitsSource],
    pub(super) need: Need,
    pub(super) spec_file: Option<&'a Path>,
}

impl Phase for MastersPhase<'_> {
    type Output = Result<Vec<f32>, String>;
    type Scratch = MasterScratch;

    fn name(&self) -> &str {
        match self.spec.kind {
            masters::Kind::Bias => "stack_master_bias",
            masters::Kind::Dark => "stack_master_dark",
            masters::Kind::Flat => "stack_master_flat",
        }
    }

    fn units(&self) -> usize {
        self.spec.shape.height.div_ceil(self.spec.rows)
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> MasterScratch {
        MasterScratch::new(self.spec)
    }

    fn work(&self, index: usize, scratch: &mut MasterScratch) -> Self::Output {
        work_master(self.spec, self.sources, index, scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        job_bytes(Job::Masters { spec: self.spec_file?.to_path_buf() })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// Pass 1: units are frames.
pub(super) struct MeasurePhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a MeasureSpec,
    pub(super) need: Need,
    pub(super) files: Option<(&'a Path, &'a Path)>,
}

impl Phase for MeasurePhase<'_> {
    type Output = Result<FrameMeasure, String>;
    type Scratch = MeasureScratch;

    fn name(&self) -> &str {
        "stack_measure"
    }

    fn units(&self) -> usize {
        self.burst.spec.frames.len()
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> MeasureScratch {
        MeasureScratch::new()
    }

    fn work(&self, index: usize, scratch: &mut MeasureScratch) -> Self::Output {
        measure(self.burst, self.spec, index, scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let (burst, spec) = self.files?;
        job_bytes(Job::Measure { burst: burst.to_path_buf(), spec: spec.to_path_buf() })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// Tile-local registration: units are tiles.
pub(super) struct TilesPhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a TilesSpec,
    pub(super) need: Need,
    pub(super) files: Option<(&'a Path, &'a Path)>,
}

impl Phase for TilesPhase<'_> {
    type Output = Result<TileResult, String>;
    type Scratch = TileScratch;

    fn name(&self) -> &str {
        "stack_tiles"
    }

    fn units(&self) -> usize {
        self.spec.tiles.len()
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> TileScratch {
        TileScratch::new(self.spec)
    }

    fn work(&self, index: usize, scratch: &mut TileScratch) -> Self::Output {
        work_tile(self.burst, self.spec, index, scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let (burst, spec) = self.files?;
        job_bytes(Job::Tiles { burst: burst.to_path_buf(), spec: spec.to_path_buf() })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// Local metrics of Methodik v4: units are frames.
pub(super) struct LocalPhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a LocalSpec,
    pub(super) need: Need,
    pub(super) files: Option<(&'a Path, &'a Path)>,
}

impl Phase for LocalPhase<'_> {
    type Output = Result<LocalMetrics, String>;
    type Scratch = LocalScratch;

    fn name(&self) -> &str {
        "stack_local"
    }

    fn units(&self) -> usize {
        self.spec.n_frames()
    }

    fn need(&self, _: usize) -> Need {
        self.need
    }

    fn scratch(&self) -> LocalScratch {
        LocalScratch::new()
    }

    fn work(&self, index: usize, scratch: &mut LocalScratch) -> Self::Output {
        work_local(self.burst, self.spec, index, scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let (burst, spec) = self.files?;
        job_bytes(Job::Local { burst: burst.to_path_buf(), spec: spec.to_path_buf() })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// Pass 2: units are blocks of the canvas.
pub(super) struct CombinePhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a CombineSpec,
    pub(super) blocks: &'a [Rect],
    pub(super) files: Option<(&'a Path, &'a Path)>,
}

impl Phase for CombinePhase<'_> {
    type Output = Result<Block, String>;
    type Scratch = BlockScratch;

    fn name(&self) -> &str {
        "stack_combine"
    }

    fn units(&self) -> usize {
        self.blocks.len()
    }

    fn need(&self, index: usize) -> Need {
        let cost = self.spec.cost();
        let pixels = self.blocks[index].shape().len() as u64;
        Need {
            work: cost.work_per_pixel * pixels + cost.overhead,
            result: cost.result_per_pixel * pixels,
        }
    }

    fn scratch(&self) -> BlockScratch {
        BlockScratch::new(self.spec)
    }

    fn work(&self, index: usize, scratch: &mut BlockScratch) -> Self::Output {
        work_block(self.burst, self.spec, self.blocks[index], scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let (burst, spec) = self.files?;
        job_bytes(Job::Combine { burst: burst.to_path_buf(), spec: spec.to_path_buf() })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// Pass 2 of literal Methodik v4: units are tiles.
pub(super) struct ReconstructPhase<'a> {
    pub(super) burst: &'a Burst,
    pub(super) spec: &'a CombineSpec,
    pub(super) tiles: &'a [ReconstructTile],
    /// Specifications of the burst, the combination and the tiles.
    pub(super) files: Option<[&'a Path; 3]>,
}

impl Phase for ReconstructPhase<'_> {
    type Output = Result<Block, String>;
    type Scratch = BlockScratch;

    fn name(&self) -> &str {
        "stack_reconstruct"
    }

    fn units(&self) -> usize {
        self.tiles.len()
    }

    fn need(&self, index: usize) -> Need {
        reconstruct::need(self.spec, &self.tiles[index])
    }

    fn scratch(&self) -> BlockScratch {
        BlockScratch::new(self.spec)
    }

    fn work(&self, index: usize, scratch: &mut BlockScratch) -> Self::Output {
        reconstruct::work_tile(self.burst, self.spec, &self.tiles[index], scratch)
    }

    fn job(&self) -> Option<Vec<u8>> {
        let [burst, combine, tiles] = self.files?.map(Path::to_path_buf);
        job_bytes(Job::Reconstruct { burst, combine, tiles })
    }

    fn encode(&self, output: &Self::Output, bytes: &mut Vec<u8>) {
        encode_into(output, bytes);
    }

    fn decode(&self, bytes: &[u8]) -> Result<Self::Output, DecodeError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

/// The other side of [`Phase::job`]: builds the phase in a worker process and hands it to `serve`.
///
/// # Errors
/// If the specifications cannot be read; the run then repeats the unit or ends with that reason.
pub(crate) fn with_job<R>(job: Job, serve: impl ServePhase<R>) -> Result<R, DecodeError> {
    let need = Need::default();
    match job {
        Job::Masters { spec } => {
            let spec: MasterSpec = read_spec(&spec)?;
            let sources = spec
                .files
                .iter()
                .map(|f| masters::open(spec.kind, f, spec.shape))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(serve.serve(&MastersPhase { spec: &spec, sources: &sources, need, spec_file: None }))
        }
        Job::Measure { burst, spec } => {
            let (burst, spec): (BurstSpec, MeasureSpec) = (read_spec(&burst)?, read_spec(&spec)?);
            let burst = Burst::new(burst);
            Ok(serve.serve(&MeasurePhase { burst: &burst, spec: &spec, need, files: None }))
        }
        Job::Tiles { burst, spec } => {
            let (burst, spec): (BurstSpec, TilesSpec) = (read_spec(&burst)?, read_spec(&spec)?);
            let burst = Burst::open(burst)?;
            Ok(serve.serve(&TilesPhase { burst: &burst, spec: &spec, need, files: None }))
        }
        Job::Local { burst, spec } => {
            let (burst, spec): (BurstSpec, LocalSpec) = (read_spec(&burst)?, read_spec(&spec)?);
            let burst = Burst::open(burst)?;
            Ok(serve.serve(&LocalPhase { burst: &burst, spec: &spec, need, files: None }))
        }
        Job::Combine { burst, spec } => {
            let (burst, spec): (BurstSpec, CombineSpec) = (read_spec(&burst)?, read_spec(&spec)?);
            let burst = Burst::open(burst)?;
            let blocks = spec.blocks();
            Ok(serve.serve(&CombinePhase {
                burst: &burst,
                spec: &spec,
                blocks: &blocks,
                files: None,
            }))
        }
        Job::Reconstruct { burst, combine, tiles } => {
            let (burst, spec): (BurstSpec, CombineSpec) =
                (read_spec(&burst)?, read_spec(&combine)?);
            let tiles: Vec<ReconstructTile> = read_spec(&tiles)?;
            let burst = Burst::open(burst)?;
            let phase = ReconstructPhase { burst: &burst, spec: &spec, tiles: &tiles, files: None };
            Ok(serve.serve(&phase))
        }
    }
}
