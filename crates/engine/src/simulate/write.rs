//! Writes a simulated burst as FITS files, frames in parallel within the budget.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillframe_image::{Header, Image, Shape};
use stillframe_io::fits::FitsWriter;
use stillframe_io::{Existing, WriteError, write_file};
use stillframe_runtime::phase::DecodeError;
use stillframe_runtime::{
    Cancel, Capabilities, Context, ExecutorKind, Need, Observer, Phase, PhaseKind, PhaseRequest,
    PlanError, Resources, RunError, UnitResult, UnitRule, plan, run_phase,
};

use super::burst::{SimulatedBurst, SimulatedFrame};
use super::detector::CalibrationKind;
use super::mosaic::SimulatedMosaic;

/// Bytes per pixel of the scene and the sensor, which all frames share.
const SHARED_BYTES_PER_PIXEL: u64 = 16;
/// Bytes per pixel of the light before the sensor.
const WORK_BYTES_PER_PIXEL: u64 = 4;
/// Bytes per pixel of a finished frame.
const RESULT_BYTES_PER_PIXEL: u64 = 2;

/// The files of a burst, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BurstFiles {
    /// Light frames, in the folder `lights`.
    pub lights: Vec<PathBuf>,
    /// Bias frames, in the folder `bias`.
    pub bias: Vec<PathBuf>,
    /// Dark frames, in the folder `dark`.
    pub dark: Vec<PathBuf>,
    /// Flat frames, in the folder `flat`.
    pub flat: Vec<PathBuf>,
    /// Everything that is true of the burst: `truth/truth.json`.
    pub truth: PathBuf,
}

/// Why a burst was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteBurstError {
    /// A folder cannot be made.
    #[error("the folder {path:?} cannot be made: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The frames do not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was cancelled; the files that are there are whole.
    #[error("interrupted; the files that are there are whole")]
    Interrupted,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

/// Writes every frame of `burst`, and the truth, below `folder`. Files are whole or absent; the
/// bytes depend on the burst only.
///
/// # Errors
/// [`WriteBurstError`].
pub fn write_burst(
    burst: &SimulatedBurst,
    folder: &Path,
    existing: Existing,
    resources: &Resources,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BurstFiles, WriteBurstError> {
    let files = BurstFiles::below(folder, burst);
    let items = files.items();
    let frames = Frames {
        name: "simulate_burst",
        pixels: burst.options().shape().len() as u64,
        paths: items.iter().map(|item| item.2.clone()).collect(),
        make: &|index| match items[index] {
            (None, k, _) => burst.light(k),
            (Some(kind), k, _) => burst.calibration(kind, k),
        },
    };
    make_folders(folder, &["lights", "bias", "dark", "flat", "truth"])?;
    frames.write(folder, existing, resources, observer, cancel)?;
    write_truth(&files.truth, existing, &burst.truth())?;
    Ok(files)
}

/// Writes every frame of `mosaic`, the truth, and the header of its grid, below `folder`; as
/// [`write_burst`] does.
///
/// # Errors
/// [`WriteBurstError`].
pub fn write_mosaic(
    mosaic: &SimulatedMosaic,
    folder: &Path,
    existing: Existing,
    resources: &Resources,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<MosaicFiles, WriteBurstError> {
    let path = |name: &str| folder.join("truth").join(name);
    let files = MosaicFiles {
        lights: (0..mosaic.n_frames())
            .map(|i| folder.join("lights").join(mosaic.frame_name(i)))
            .collect(),
        truth: path("truth.json"),
        grid: path("grid.hdr"),
    };
    let frames = Frames {
        name: "simulate_mosaic",
        pixels: mosaic.options().shape().len() as u64,
        paths: files.lights.clone(),
        make: &|index| mosaic.frame(index),
    };
    make_folders(folder, &["lights", "truth"])?;
    frames.write(folder, existing, resources, observer, cancel)?;
    write_truth(&files.truth, existing, &mosaic.truth())?;
    write_file(&files.grid, existing, mosaic.grid_header().as_bytes())?;
    Ok(files)
}

/// The files of a mosaic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MosaicFiles {
    /// Frames, in the folder `lights`.
    pub lights: Vec<PathBuf>,
    /// Everything that is true of the mosaic: `truth/truth.json`.
    pub truth: PathBuf,
    /// Header of the grid that holds all frames: `truth/grid.hdr`.
    pub grid: PathBuf,
}

fn make_folders(folder: &Path, names: &[&str]) -> Result<(), WriteBurstError> {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(&path)
            .map_err(|source| WriteBurstError::Folder { path, source })?;
    }
    Ok(())
}

fn write_truth(
    path: &Path,
    existing: Existing,
    truth: &impl Serialize,
) -> Result<(), WriteBurstError> {
    let text = serde_json::to_string_pretty(truth)
        .map_err(|error| WriteBurstError::Internal(error.to_string()))?;
    Ok(write_file(path, existing, (text + "\n").as_bytes())?)
}

/// One frame to be made: light or kind of calibration frame, its index, its file.
type Item = (Option<CalibrationKind>, usize, PathBuf);

impl BurstFiles {
    fn below(folder: &Path, burst: &SimulatedBurst) -> Self {
        let list = |sub: &str, name: &str, n: usize| -> Vec<PathBuf> {
            let folder = folder.join(sub);
            (0..n).map(|i| folder.join(format!("{name}_{:05}.fits", i + 1))).collect()
        };
        let calibration =
            |sub: &str, kind: CalibrationKind| list(sub, sub, burst.calibration_frames(kind));
        Self {
            lights: list("lights", "light", burst.options().frames),
            bias: calibration("bias", CalibrationKind::Bias),
            dark: calibration("dark", CalibrationKind::Dark),
            flat: calibration("flat", CalibrationKind::Flat),
            truth: folder.join("truth").join("truth.json"),
        }
    }

    fn items(&self) -> Vec<Item> {
        let lists = [
            (None, &self.lights),
            (Some(CalibrationKind::Bias), &self.bias),
            (Some(CalibrationKind::Dark), &self.dark),
            (Some(CalibrationKind::Flat), &self.flat),
        ];
        let item = |kind, (index, path): (usize, &PathBuf)| (kind, index, path.clone());
        lists
            .into_iter()
            .flat_map(|(kind, paths)| paths.iter().enumerate().map(move |entry| item(kind, entry)))
            .collect()
    }
}

/// The phase: a unit is a frame.
struct Frames<'a> {
    name: &'static str,
    /// Pixels of a frame.
    pixels: u64,
    paths: Vec<PathBuf>,
    make: &'a (dyn Fn(usize) -> SimulatedFrame + Sync),
}

impl Frames<'_> {
    fn write(
        &self,
        folder: &Path,
        existing: Existing,
        resources: &Resources,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), WriteBurstError> {
        let need = self.need(0);
        let units = UnitRule::Frames {
            count: self.paths.len(),
            work_bytes: need.work,
            result_bytes: need.result,
        };
        let request = PhaseRequest {
            shared_bytes: SHARED_BYTES_PER_PIXEL * self.pixels,
            n_frames: self.paths.len(),
            executors: vec![ExecutorKind::Sequential, ExecutorKind::Threads],
            ..PhaseRequest::new(PhaseKind::new(self.name), units)
        };
        let plan = plan(&request, resources, &Capabilities::detect())?;
        let context = Context { observer, cancel, worker: None, scratch: folder };
        run_phase(self, &plan, &context, |index, result| {
            let UnitResult::Done(frame) = result else { return Ok(()) };
            let mut writer = FitsWriter::create(&self.paths[index], existing)?;
            writer.write_image(None, &frame.header, &[&frame.image])?;
            writer.finish()
        })
        .map_err(|error| match error {
            RunError::Commit { source, .. } => WriteBurstError::Write(source),
            RunError::Interrupted { .. } => WriteBurstError::Interrupted,
            other => WriteBurstError::Internal(other.to_string()),
        })?;
        Ok(())
    }
}

/// A frame as bytes.
#[derive(Serialize, Deserialize)]
struct Wire {
    shape: Shape,
    pixels: Vec<u16>,
    /// JSON: header values have no tag of their own.
    header: String,
}

impl Phase for Frames<'_> {
    type Output = SimulatedFrame;
    type Scratch = ();

    fn name(&self) -> &'static str {
        self.name
    }

    fn units(&self) -> usize {
        self.paths.len()
    }

    fn need(&self, _: usize) -> Need {
        Need {
            work: WORK_BYTES_PER_PIXEL * self.pixels,
            result: RESULT_BYTES_PER_PIXEL * self.pixels,
        }
    }

    fn scratch(&self) {}

    fn work(&self, index: usize, (): &mut ()) -> SimulatedFrame {
        (self.make)(index)
    }

    fn encode(&self, output: &SimulatedFrame, bytes: &mut Vec<u8>) {
        let wire = Wire {
            shape: output.image.shape(),
            pixels: output.image.pixels().to_vec(),
            header: serde_json::to_string(&output.header).expect("headers are plain data"),
        };
        let encoded = postcard::to_stdvec(&wire).expect("frames are plain data");
        bytes.extend_from_slice(&encoded);
    }

    fn decode(&self, bytes: &[u8]) -> Result<SimulatedFrame, DecodeError> {
        let Wire { shape, pixels, header } = postcard::from_bytes(bytes)?;
        if pixels.len() != shape.len() {
            return Err(format!("{} pixels for a frame of {shape}", pixels.len()).into());
        }
        let header: Header = serde_json::from_str(&header)?;
        Ok(SimulatedFrame { image: Image::from_vec(shape, pixels), header })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use stillframe_io::fits::{FitsSource, OpenOptions};
    use stillframe_runtime::Silent;

    use super::*;
    use crate::simulate::BurstOptions;

    fn burst() -> SimulatedBurst {
        let options = BurstOptions {
            frames: 3,
            width: 64,
            height: 48,
            bias_frames: 2,
            dark_frames: 1,
            flat_frames: 0,
            ..BurstOptions::default()
        };
        SimulatedBurst::new(options).unwrap()
    }

    #[test]
    fn same_bytes_for_any_number_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        for workers in [1, 3] {
            let resources =
                Resources { workers: NonZeroUsize::new(workers), ..Resources::default() };
            let folder = folder.path().join(workers.to_string());
            let cancel = Cancel::new();
            let files =
                write_burst(&burst(), &folder, Existing::Refuse, &resources, &Silent, &cancel)
                    .unwrap();
            assert_eq!((files.lights.len(), files.bias.len(), files.flat.len()), (3, 2, 0));
            let all = [&files.lights, &files.bias, &files.dark, &vec![files.truth.clone()]];
            let bytes: Vec<_> =
                all.into_iter().flatten().map(|path| std::fs::read(path).unwrap()).collect();
            let source = FitsSource::open(&files.lights[2], &OpenOptions::default()).unwrap();
            assert_eq!(source.info().shape, Shape::new(48, 64));
            written.push(bytes);
        }
        assert_eq!(written[0].len(), 7);
        assert!(written[0] == written[1]);
    }

    #[test]
    fn a_frame_survives_the_wire() {
        let burst = burst();
        let frames = Frames {
            name: "simulate_burst",
            pixels: 64 * 48,
            paths: vec![PathBuf::from("x"); 3],
            make: &|index| burst.light(index),
        };
        let frame = frames.work(1, &mut ());
        let mut bytes = Vec::new();
        frames.encode(&frame, &mut bytes);
        assert_eq!(frames.decode(&bytes).unwrap(), frame);
        assert!(frames.decode(&bytes[1..]).is_err());
    }
}
