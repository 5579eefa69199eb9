//! `stack`: a burst of short exposures of one field to one deep image.
//!
//! Two passes over the files and little between them: pass 1 measures every frame on its own
//! (background, noise, stars); then the geometry of all frames, their photometry and weights are
//! solved together; pass 2 takes blocks of the canvas, resamples what lies under each from every
//! frame once, rejects and combines.

pub(crate) mod burst;
pub(crate) mod calibration;
mod canvas;
pub(crate) mod choices;
mod clusters;
mod combine;
pub(crate) mod error;
mod gauge;
mod geometry;
pub(crate) mod inputs;
pub(crate) mod light;
mod local_metrics;
pub(crate) mod masters;
pub(crate) mod measure;
pub(crate) mod measuring;
pub(crate) mod output;
mod phases;
mod photometry;
pub(crate) mod pipeline;
mod plan;
mod reconstruct;
mod registration;
pub(crate) mod report;
pub(crate) mod requests;
pub(crate) mod run;
mod solve;
mod synthetic;
mod tile_gauge;
mod tile_pass;
mod tile_series;
mod tiles;
mod v4_weights;
mod wcs_cards;
mod weighing;
mod weights;

pub use crate::runner::PhaseRecord;
pub use error::StackError;
pub(crate) use phases::{Job, with_job};
pub use pipeline::{StackOutcome, run};
pub use plan::{StackPlan, plan};
pub use report::{
    FrameFigures, FrameGeometry, FrameOutcome, FrameReport, ResultFigures, StackReport,
    SyntheticGroup, SyntheticReport,
};
pub use run::StackJob;
