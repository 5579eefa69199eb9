//! `mosaic`: many overlapping images to one image on one grid of the sky.
//!
//! Pass 1 measures every image on its own, as [`crate::stack`] does. Then gains and skies of all are
//! solved together from what they see in common; pass 2 takes blocks of the grid, resamples what lies
//! under each from every image once, rejects and combines. Memory holds a few rows of blocks, however many
//! images there are and however large the grid.

mod assemble;
mod classic;
mod error;
mod footprint;
mod grid;
mod groups;
mod output;
mod phases;
mod photometry;
mod pipeline;
mod plan;
mod report;
mod run;
mod sink;

pub use classic::GroupReport;
pub use error::MosaicError;
pub use grid::Grid;
pub(crate) use phases::{Job, with_job};
pub use pipeline::{MosaicOutcome, run};
pub use plan::{MosaicPlan, plan};
pub use report::{MosaicFigures, MosaicReport, TileReport};
pub use run::MosaicJob;
