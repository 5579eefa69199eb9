//! What a mosaic says of itself. Nothing here depends on the machine, the executor or the time.

use serde::{Deserialize, Serialize};
use stillframe_kernels::normalise::overlaps::Correction;

use super::classic::GroupReport;
use crate::stack::FrameOutcome;

/// One image and its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileReport {
    /// Place in the sorted list of inputs.
    pub index: usize,
    /// File as given.
    pub file: String,
    /// Outcome and, where there is one, the reason.
    #[serde(flatten)]
    pub outcome: FrameOutcome,
    /// SHA-256 of the file, hexadecimal, if it could be read.
    pub sha256: Option<String>,
    /// Where it lies on the grid: first column and row, columns and rows.
    pub bounds: Option<[usize; 4]>,
    /// What was done to its samples, of each plane.
    pub corrections: Vec<Correction>,
    /// Component of tiles whose skies overlap.
    pub component: Option<usize>,
    /// Its weight as a whole.
    pub weight: Option<f32>,
    /// Noise of a pixel of empty sky after calibration, the file's unit.
    pub noise: Option<f32>,
    /// Median full width at half maximum of its stars, pixels.
    pub fwhm_px: Option<f32>,
    /// Samples of it in the mosaic.
    pub samples: u64,
    /// Samples of it that were rejected.
    pub rejected: u64,
}

/// Figures of the mosaic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MosaicFigures {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Colour planes: 1 or 3.
    pub planes: usize,
    /// Share of the grid that has data.
    pub covered_fraction: f64,
    /// Share of the samples that were rejected.
    pub rejected_fraction: f64,
    /// Groups of tiles that nothing connects.
    pub components: usize,
    /// Sightings of shared stars that the gains were solved from.
    pub star_sightings: usize,
    /// Scatter of the stars' fluxes about the solution, in their standard errors.
    pub star_scatter: f64,
    /// Sightings of shared places that the skies were solved from.
    pub sky_sightings: usize,
    /// Scatter of the skies about the solution, in their standard errors.
    pub sky_scatter: f64,
    /// Sky of the mosaic in each plane.
    pub levels: Vec<f32>,
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MosaicReport {
    /// Program and version.
    pub software: String,
    /// SHA-256 of the canonical recipe, hexadecimal.
    pub recipe_sha256: String,
    /// What was done differently from what was asked, and why.
    pub warnings: Vec<String>,
    /// Every image that was assembled or should have been; of the classic route the master tiles.
    pub tiles: Vec<TileReport>,
    /// Of the classic route: groups of frames, their tiles, and the fate of every frame.
    pub groups: Vec<GroupReport>,
    /// The mosaic.
    pub result: MosaicFigures,
}

impl MosaicReport {
    /// Number of images in the mosaic.
    pub fn used(&self) -> usize {
        self.tiles.iter().filter(|t| t.outcome.is_used()).count()
    }

    /// Share of the inputs that are not in the mosaic.
    pub fn lost_fraction(&self) -> f64 {
        if self.tiles.is_empty() {
            return 0.0;
        }
        1.0 - self.used() as f64 / self.tiles.len() as f64
    }
}
