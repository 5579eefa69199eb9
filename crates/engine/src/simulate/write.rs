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

/// One frame to be made.
#[derive(Clone, Debug)]
struct Item {
    kind: Option<CalibrationKind>,
    index: usize,
    path: PathBuf,
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
    for sub in ["lights", "bias", "dark", "flat", "truth"] {
        let path = folder.join(sub);
        std::fs::create_dir_all(&path)
            .map_err(|source| WriteBurstError::Folder { path, source })?;
    }
    let frames = Frames { burst, items: files.items() };
    let request = PhaseRequest {
        shared_bytes: SHARED_BYTES_PER_PIXEL * frames.pixels(),
        n_frames: frames.items.len(),
        executors: vec![ExecutorKind::Sequential, ExecutorKind::Threads],
        ..PhaseRequest::new(
            PhaseKind::new("simulate_burst"),
            UnitRule::Frames {
                count: frames.items.len(),
                work_bytes: frames.need(0).work,
                result_bytes: frames.need(0).result,
            },
        )
    };
    let plan = plan(&request, resources, &Capabilities::detect())?;
    let context = Context { observer, cancel, worker: None, scratch: folder };
    run_phase(&frames, &plan, &context, |index, result| {
        let UnitResult::Done(frame) = result else { return Ok(()) };
        let mut writer = FitsWriter::create(&frames.items[index].path, existing)?;
        writer.write_image(None, &frame.header, &[&frame.image])?;
        writer.finish()
    })
    .map_err(|error| match error {
        RunError::Commit { source, .. } => WriteBurstError::Write(source),
        RunError::Interrupted { .. } => WriteBurstError::Interrupted,
        other => WriteBurstError::Internal(other.to_string()),
    })?;
    let truth = serde_json::to_string_pretty(&burst.truth())
        .map_err(|error| WriteBurstError::Internal(error.to_string()))?;
    write_file(&files.truth, existing, (truth + "\n").as_bytes())?;
    Ok(files)
}

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
        let item =
            |kind, (index, path): (usize, &PathBuf)| Item { kind, index, path: path.clone() };
        lists
            .into_iter()
            .flat_map(|(kind, paths)| paths.iter().enumerate().map(move |entry| item(kind, entry)))
            .collect()
    }
}

/// The phase: a unit is a frame.
struct Frames<'a> {
    burst: &'a SimulatedBurst,
    items: Vec<Item>,
}

impl Frames<'_> {
    fn pixels(&self) -> u64 {
        self.burst.options().shape().len() as u64
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
        "simulate_burst"
    }

    fn units(&self) -> usize {
        self.items.len()
    }

    fn need(&self, _: usize) -> Need {
        Need {
            work: WORK_BYTES_PER_PIXEL * self.pixels(),
            result: RESULT_BYTES_PER_PIXEL * self.pixels(),
        }
    }

    fn scratch(&self) {}

    fn work(&self, index: usize, (): &mut ()) -> SimulatedFrame {
        let item = &self.items[index];
        match item.kind {
            None => self.burst.light(item.index),
            Some(kind) => self.burst.calibration(kind, item.index),
        }
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
        let frames =
            Frames { burst: &burst, items: BurstFiles::below(Path::new("x"), &burst).items() };
        let frame = frames.work(1, &mut ());
        let mut bytes = Vec::new();
        frames.encode(&frame, &mut bytes);
        assert_eq!(frames.decode(&bytes).unwrap(), frame);
        assert!(frames.decode(&bytes[1..]).is_err());
    }
}
