//! The classic route: frames of one pointing are stacked to a master tile, master tiles are assembled.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillframe_image::Point;
use stillframe_io::wcs::Wcs;
use stillframe_runtime::cancel::Cancel;
use stillframe_runtime::observe::{Event, Observer};

use super::error::MosaicError;
use super::groups::{GroupRule, Pointing, groups};
use super::run::MosaicJob;
use crate::stack::inputs::Inputs;
use crate::stack::{self, FrameOutcome, StackJob};

/// Folder of the master tiles in the output folder.
const FOLDER: &str = "master_tiles";

/// One group of frames and the tile that was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// File of the master tile; none if the frames gave none.
    pub tile: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Every frame of the group and its fate.
    pub frames: Vec<(String, FrameOutcome)>,
}

/// Stacks every group to a master tile. Gives the tiles' files and what became of the frames.
///
/// A group that cannot be stacked is lost with its reason; the others go on.
///
/// # Errors
/// If the run is cancelled, or no group gives a tile.
pub(super) fn master_tiles(
    job: &MosaicJob,
    inputs: &Inputs,
    wcs: &[Option<Wcs>],
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Vec<PathBuf>, Vec<GroupReport>), MosaicError> {
    let usable = inputs.usable();
    let pointings: Vec<Pointing> =
        usable.iter().filter_map(|&i| Some(pointing(inputs, i, wcs[i].as_ref()?))).collect();
    let rule = GroupRule {
        separation_deg: job.recipe.groups.separation * smaller_side_deg(inputs, &usable, wcs),
        turn_deg: job.recipe.groups.max_turn_deg,
    };
    let found = groups(&pointings, rule);
    let (mut tiles, mut reports) = (Vec::new(), Vec::new());
    for (k, group) in found.iter().enumerate() {
        let phase = "mosaic_master_tiles".to_owned();
        observer.event(&Event::PhaseProgress { phase, done: k, total: found.len() });
        let files: Vec<PathBuf> =
            group.iter().map(|&g| inputs.files[usable[g]].path.clone()).collect();
        let output = job.output.join(FOLDER).join(format!("tile_{k:05}"));
        let stack_job = StackJob {
            inputs: files.iter().map(|f| f.display().to_string()).collect(),
            output: output.clone(),
            overwrite: !job.resume,
            recipe: job.recipe.stack.clone(),
            ..job.measuring()
        };
        match stack::run(&stack_job, &Within(observer), cancel) {
            Ok(outcome) => {
                let tile = output.join(stack::output::IMAGE);
                reports.push(GroupReport {
                    tile: Some(tile.display().to_string()),
                    reason: None,
                    frames: outcome
                        .report
                        .frames
                        .into_iter()
                        .map(|frame| (frame.file, frame.outcome))
                        .collect(),
                });
                tiles.push(tile);
            }
            Err(error @ stack::StackError::Interrupted) => return Err(error.into()),
            Err(error) => {
                let reason = error.to_string();
                let fate = FrameOutcome::Failed { reason: format!("no master tile: {reason}") };
                reports.push(GroupReport {
                    tile: None,
                    reason: Some(reason),
                    frames: files.iter().map(|f| (f.display().to_string(), fate.clone())).collect(),
                });
            }
        }
    }
    if tiles.is_empty() {
        let reason = reports.iter().find_map(|r| r.reason.clone()).unwrap_or_default();
        return Err(MosaicError::NoGrid(format!(
            "no group of frames gave a master tile: {reason}"
        )));
    }
    Ok((tiles, reports))
}

/// Passes on what happens within a run that is a part of another: not that it begins and ends.
struct Within<'a>(&'a dyn Observer);

impl Observer for Within<'_> {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::RunStart { .. } | Event::RunEnd { .. } | Event::Frame { .. }) {
            self.0.event(event);
        }
    }
}

fn pointing(inputs: &Inputs, index: usize, wcs: &Wcs) -> Pointing {
    let info = inputs.info(index);
    let middle =
        Point::new(0.5 * (info.shape.width as f64 - 1.0), 0.5 * (info.shape.height as f64 - 1.0));
    let above = Point::new(middle.x, middle.y + 1.0);
    let centre = wcs
        .sky_from_pixel(middle)
        .unwrap_or(stillframe_io::wcs::SkyPoint { lon_deg: 0.0, lat_deg: 0.0 });
    let turn_deg = wcs.sky_from_pixel(above).map_or(0.0, |up| {
        let (a, b) = (centre.to_unit(), up.to_unit());
        // components of the step towards east and north
        let east = [-a[1], a[0], 0.0];
        let north = [-a[2] * a[0], -a[2] * a[1], a[0] * a[0] + a[1] * a[1]];
        let along = |axis: [f64; 3]| (0..3).map(|k| axis[k] * (b[k] - a[k])).sum::<f64>();
        stillframe_image::math::atan2(along(east), along(north)).to_degrees()
    });
    let mount = match info.header.integer("EQMODE") {
        Some(1) => "EQ",
        Some(0) => "ALT_AZ",
        _ => "UNKNOWN",
    };
    Pointing { centre, turn_deg, kind: format!("{mount} {}", info.shape) }
}

/// The smaller side of the smallest frame on the sky.
fn smaller_side_deg(inputs: &Inputs, usable: &[usize], wcs: &[Option<Wcs>]) -> f64 {
    let side = |&i: &usize| {
        let shape = inputs.info(i).shape;
        let middle = Point::new(0.5 * shape.width as f64, 0.5 * shape.height as f64);
        let scale = wcs[i].as_ref()?.scale_arcsec_per_px(middle)?;
        Some(scale * shape.width.min(shape.height) as f64 / 3600.0)
    };
    usable.iter().filter_map(side).fold(f64::INFINITY, f64::min).min(90.0)
}
