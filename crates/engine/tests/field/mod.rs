//! Simulated tissue: blobs in a block, seen through a blur along the axis, moved as one likes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stillframe_engine::image::{Rng, Shape, math};
use stillframe_engine::io::Existing;
use stillframe_engine::io::recording::{
    OpenOptions, RecordingFormat, RecordingInfo, SampleType, create, open,
};
use stillframe_engine::motion::Setting;
use stillframe_engine::runtime::{ExecutorKind, Resources};

/// Blobs: x, y, z, brightness, size.
pub(crate) struct Tissue(Vec<[f64; 5]>);

impl Tissue {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0, 0);
        let (w, h) = (shape.width as f64 + 60.0, shape.height as f64 + 60.0);
        let blob = |_| {
            let [x, y, z, b, s] = [0; 5].map(|_| rng.uniform());
            [x * w - 30.0, y * h - 30.0, 24.0 * z - 4.0, 300.0 + 1500.0 * b, 1.5 + 2.5 * s]
        };
        Self((0..(w * h / 45.0) as usize).map(blob).collect())
    }

    /// What is seen at depth `z` when every position x, y shows x - dx, y - dy.
    pub(crate) fn view(&self, shape: Shape, z: f64, dx: f64, dy: f64) -> Vec<f32> {
        let mut out = vec![200.0f64; shape.len()];
        for &[bx, by, bz, brightness, size] in &self.0 {
            let axial = brightness * math::exp(-0.5 * ((z - bz) / 2.0).powi(2));
            if axial < 0.5 {
                continue;
            }
            let reach = |at: f64, n: usize| {
                let from = (at - 4.0 * size).max(0.0) as usize;
                from..((at + 4.0 * size).max(0.0) as usize + 1).min(n)
            };
            let (bx, by) = (bx + dx, by + dy);
            for y in reach(by, shape.height) {
                for x in reach(bx, shape.width) {
                    let r2 = (x as f64 - bx).powi(2) + (y as f64 - by).powi(2);
                    out[y * shape.width + x] += axial * math::exp(-0.5 * r2 / size.powi(2));
                }
            }
        }
        out.iter().map(|&v| v as f32).collect()
    }
}

/// Adds noise of this standard deviation.
pub(crate) fn noisy(mut frame: Vec<f32>, sigma: f32, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, 1, 0);
    frame.iter_mut().for_each(|v| *v += sigma * rng.normal() as f32);
    frame
}

/// Writes frames as 16-bit numbers to `folder/stem.hdf5`.
pub(crate) fn write(folder: &Path, stem: &str, shape: Shape, channels: usize, frames: &[Vec<f32>]) {
    let info = RecordingInfo { frames: frames.len(), shape, channels, sample: SampleType::U16 };
    let format = RecordingFormat::Hdf5;
    let mut sink = create(folder, stem, format, &info, Existing::Replace).unwrap();
    frames.iter().for_each(|f| sink.append(f).unwrap());
    sink.finish().unwrap();
}

/// All samples of a recording.
pub(crate) fn read(path: &Path, names: &[&str]) -> (RecordingInfo, Vec<f32>) {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    let options = OpenOptions { dataset_names: names, ..OpenOptions::default() };
    let source = open(&[path.to_path_buf()], &options).unwrap();
    let info = source.info().clone();
    let mut samples = vec![0.0; info.frames * info.frame_len()];
    source.read(0..info.frames, &mut samples).unwrap();
    (info, samples)
}

pub(crate) fn setting(base: &Path, executor: ExecutorKind, workers: usize) -> Setting {
    let resources = Resources {
        executor: Some(executor),
        workers: std::num::NonZeroUsize::new(workers),
        ..Resources::default()
    };
    let base = base.to_path_buf();
    Setting { base, resources, overwrite: false, resume: false, worker: None }
}

/// The bytes of all results below `folder`; without logs of times.
pub(crate) fn bytes_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    const TIMES: [&str; 3] = ["telemetry.json", "telemetry.csv", "events.jsonl"];
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !TIMES.iter().any(|t| path.ends_with(t)) && !path.ends_with("status.json") {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}
