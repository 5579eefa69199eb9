//! Laws of written recordings: what is written comes back, from a killed run as well, and a resumed
//! run leaves the same file as one that was not interrupted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use stillframe_image::Shape;
use stillframe_io::Existing;
use stillframe_io::recording::{
    OpenOptions, RecordingError, RecordingFormat, RecordingInfo, RecordingSource, SampleType,
    create, create_stack, open, resume, resume_stack, write_table,
};

const FORMATS: [RecordingFormat; 8] = [
    RecordingFormat::Hdf5,
    RecordingFormat::Tiff,
    RecordingFormat::Mat,
    RecordingFormat::Suite2pTiff,
    RecordingFormat::CaimanHdf5,
    RecordingFormat::MultifileHdf5,
    RecordingFormat::MultifileTiff,
    RecordingFormat::MultifileMat,
];

fn info(frames: usize, channels: usize, sample: SampleType) -> RecordingInfo {
    RecordingInfo { frames, shape: Shape::new(5, 7), channels, sample }
}

/// Values that each number format holds, all over its range.
fn pixels(info: &RecordingInfo) -> Vec<f32> {
    let (low, high) = (*info.sample.range().start(), *info.sample.range().end());
    let value = |i: usize| {
        let whole = (i * 7919 % 251) as f32;
        match (info.sample, i % 5) {
            (SampleType::F32 | SampleType::F64, _) => whole * 0.37 - 20.0,
            (SampleType::I32 | SampleType::U32, _) => (whole - 100.0).clamp(low as f32, 150.0),
            (_, 0) => low as f32,
            (_, 1) => high as f32,
            _ => whole,
        }
    };
    (0..info.frames * info.frame_len()).map(value).collect()
}

fn paths(folder: &Path, format: RecordingFormat, channels: usize) -> Vec<PathBuf> {
    format.file_names("out", channels).iter().map(|name| folder.join(name)).collect()
}

fn reopen(
    folder: &Path,
    format: RecordingFormat,
    channels: usize,
) -> Result<Box<dyn RecordingSource>, RecordingError> {
    let is_interleaved = format == RecordingFormat::Suite2pTiff;
    let deinterleave = is_interleaved.then_some(channels);
    open(&paths(folder, format, channels), &OpenOptions { deinterleave, ..OpenOptions::default() })
}

fn read_all(source: &dyn RecordingSource) -> Vec<f32> {
    let info = source.info();
    let mut out = vec![f32::NAN; info.frames * info.frame_len()];
    source.read(0..info.frames, &mut out).unwrap();
    out
}

fn bytes_of(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Writes all in two batches and returns the folder.
fn write(format: RecordingFormat, info: &RecordingInfo, pixels: &[f32]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = create(folder.path(), "out", format, info, Existing::Refuse).unwrap();
    let (a, b) = pixels.split_at(info.frames / 2 * info.frame_len());
    for batch in [a, b] {
        sink.append(batch).unwrap();
        sink.sync().unwrap();
    }
    sink.finish().unwrap();
    folder
}

#[test]
fn what_is_written_comes_back() {
    for format in FORMATS {
        for sample in SampleType::ALL {
            for (channels, frames) in [(1, 1), (1, 7), (2, 3), (3, 2), (4, 1), (6, 2)] {
                let info = info(frames, channels, sample);
                let pixels = pixels(&info);
                let folder = write(format, &info, &pixels);
                let source = reopen(folder.path(), format, channels).unwrap();
                assert_eq!(*source.info(), info, "{format:?}");
                assert!(read_all(&*source) == pixels, "{format:?} {info:?}");
            }
        }
    }
}

#[test]
fn any_range_is_the_same_part() {
    for format in FORMATS {
        let info = info(9, 2, SampleType::U16);
        let pixels = pixels(&info);
        let folder = write(format, &info, &pixels);
        let source = reopen(folder.path(), format, 2).unwrap();
        // Backwards too: some readers keep their place.
        for (start, end) in [(4, 9), (0, 1), (3, 3), (2, 7), (8, 9), (0, 9)] {
            let mut out = vec![f32::NAN; (end - start) * info.frame_len()];
            source.read(start..end, &mut out).unwrap();
            let part = &pixels[start * info.frame_len()..end * info.frame_len()];
            assert!(out == part, "{format:?} {start}..{end}");
        }
        let beyond = source.read(8..10, &mut vec![0.0; 2 * info.frame_len()]).unwrap_err();
        assert!(matches!(beyond, RecordingError::OutOfRange { found: 9, .. }));
        let short = source.read(0..1, &mut [0.0]).unwrap_err();
        assert!(matches!(short, RecordingError::BadBuffer { found: 1, .. }));
    }
}

#[test]
fn a_killed_run_leaves_what_was_synced_and_goes_on() {
    for format in FORMATS {
        for (sample, frames) in [(SampleType::U16, 200), (SampleType::F32, 9)] {
            let info = info(frames, 2, sample);
            let (pixels, frame) = (pixels(&info), info.frame_len());
            let whole = write(format, &info, &pixels);

            let folder = tempfile::tempdir().unwrap();
            let mut sink = create(folder.path(), "out", format, &info, Existing::Refuse).unwrap();
            sink.append(&pixels[..4 * frame]).unwrap();
            sink.sync().unwrap();
            sink.append(&pixels[4 * frame..7 * frame]).unwrap();
            // Nothing happens when a sink goes: this is what a kill leaves.
            drop(sink);
            let source = reopen(folder.path(), format, 2).unwrap();
            assert!(source.info().frames >= 4, "{format:?}");
            let mut out = vec![f32::NAN; 4 * frame];
            source.read(0..4, &mut out).unwrap();
            assert!(out == pixels[..4 * frame], "{format:?}");
            drop(source);

            for done in [4, 2, 0] {
                let mut sink = resume(folder.path(), "out", format, &info, done).unwrap();
                sink.append(&pixels[done * frame..]).unwrap();
                sink.finish().unwrap();
                let (a, b) = (paths(folder.path(), format, 2), paths(whole.path(), format, 2));
                assert!(bytes_of(&a) == bytes_of(&b), "{format:?} after {done}");
            }
        }
    }
}

#[test]
fn recordings_of_unknown_length_grow() {
    let known = info(3000, 2, SampleType::U8);
    let unknown = RecordingInfo { frames: 0, ..known.clone() };
    let (pixels, frame) = (pixels(&known), known.frame_len());
    for format in [RecordingFormat::Hdf5, RecordingFormat::Tiff, RecordingFormat::Mat] {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = create(folder.path(), "out", format, &unknown, Existing::Refuse).unwrap();
        for batch in pixels[..2500 * frame].chunks(700 * frame) {
            sink.append(batch).unwrap();
            sink.sync().unwrap();
        }
        drop(sink);
        let mut sink = resume(folder.path(), "out", format, &unknown, 2400).unwrap();
        sink.append(&pixels[2400 * frame..]).unwrap();
        sink.finish().unwrap();
        let source = reopen(folder.path(), format, 2).unwrap();
        assert_eq!(*source.info(), known, "{format:?}");
        assert!(read_all(&*source) == pixels, "{format:?}");
    }
}

#[test]
fn fewer_frames_than_announced_are_kept() {
    let announced = info(9, 3, SampleType::U8);
    let pixels = pixels(&announced);
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = create(folder.path(), "out", format, &announced, Existing::Refuse).unwrap();
        sink.append(&pixels[..5 * announced.frame_len()]).unwrap();
        sink.finish().unwrap();
        let source = reopen(folder.path(), format, 3).unwrap();
        assert_eq!(source.info().frames, 5, "{format:?}");
        assert!(read_all(&*source) == pixels[..5 * announced.frame_len()], "{format:?}");
    }
}

#[test]
fn others_files_are_not_continued() {
    let mine = info(5, 2, SampleType::U16);
    let pixels = pixels(&mine);
    for format in FORMATS {
        let folder = write(format, &mine, &pixels);
        let fail = |info: &RecordingInfo, done| {
            matches!(
                resume(folder.path(), "out", format, info, done).err(),
                Some(RecordingError::NotResumable { .. })
            )
        };
        assert!(fail(&RecordingInfo { shape: Shape::new(7, 5), ..mine.clone() }, 2), "{format:?}");
        assert!(fail(&RecordingInfo { sample: SampleType::I16, ..mine.clone() }, 2), "{format:?}");
        assert!(fail(&mine, 6), "{format:?}: more frames than there are");
        let other = resume(folder.path(), "none", format, &mine, 0).err();
        assert!(matches!(other, Some(RecordingError::NotResumable { .. })), "{format:?}");
        let again = create(folder.path(), "out", format, &mine, Existing::Refuse).err();
        assert!(matches!(again, Some(RecordingError::Write(_))), "{format:?}");
        create(folder.path(), "out", format, &mine, Existing::Replace).unwrap();
    }
}

#[test]
fn wrong_batches_are_refused() {
    let info = info(5, 2, SampleType::U16);
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = create(folder.path(), "out", format, &info, Existing::Refuse).unwrap();
        let error = sink.append(&[0.0; 35]).unwrap_err();
        assert!(matches!(error, RecordingError::BadBuffer { found: 35, .. }), "{format:?}");
    }
}

#[test]
fn stacks_and_tables_are_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.h5");
    let info = info(6, 2, SampleType::F32);
    let (pixels, frame) = (pixels(&info), info.frame_len());
    let mut sink = create_stack(&path, &["u", "v"], &info, Existing::Refuse).unwrap();
    sink.append(&pixels[..3 * frame]).unwrap();
    sink.sync().unwrap();
    drop(sink);
    let mut sink = resume_stack(&path, &["u", "v"], &info, 2).unwrap();
    sink.append(&pixels[2 * frame..]).unwrap();
    sink.finish().unwrap();
    let options =
        OpenOptions { dataset_names: vec!["v".into(), "u".into()], ..OpenOptions::default() };
    let source = open(std::slice::from_ref(&path), &options).unwrap();
    let swapped: Vec<f32> = pixels
        .chunks_exact(frame)
        .flat_map(|f| f[frame / 2..].iter().chain(&f[..frame / 2]).copied())
        .collect();
    assert!(read_all(&*source) == swapped);

    let table = folder.path().join("statistics.h5");
    write_table(&table, &[("mean_disp", &[1.5, 2.5]), ("none", &[])], Existing::Refuse).unwrap();
    let bytes = std::fs::read(&table).unwrap();
    assert!(bytes.windows(9).any(|w| w == b"mean_disp"));
    assert!(bytes.ends_with(&2.5_f64.to_le_bytes()));
}

#[test]
fn whoever_looks_at_a_growing_file_sees_what_was_synced() {
    for format in [RecordingFormat::Hdf5, RecordingFormat::Tiff, RecordingFormat::Mat] {
        let info = info(600, 2, SampleType::U16);
        let (pixels, frame) = (pixels(&info), info.frame_len());
        let folder = tempfile::tempdir().unwrap();
        let mut sink = create(folder.path(), "out", format, &info, Existing::Refuse).unwrap();
        sink.append(&pixels[..frame]).unwrap();
        sink.sync().unwrap();
        let (synced, looks) = (AtomicUsize::new(1), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while synced.load(Ordering::SeqCst) < 600 {
                    let known = synced.load(Ordering::SeqCst);
                    // Between two reads of a header the writer may have gone on: an error is right.
                    let Ok(source) = reopen(folder.path(), format, 2) else { continue };
                    let mut out = vec![f32::NAN; known * frame];
                    source.read(0..known, &mut out).unwrap();
                    assert!(out == pixels[..known * frame], "{format:?} after {known}");
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            });
            for done in 1..600 {
                sink.append(&pixels[done * frame..(done + 1) * frame]).unwrap();
                sink.sync().unwrap();
                synced.store(done + 1, Ordering::SeqCst);
                while done == 300 && looks.load(Ordering::SeqCst) == 0 && !reader.is_finished() {
                    std::thread::yield_now();
                }
            }
            sink.finish().unwrap();
        });
        assert!(looks.load(Ordering::SeqCst) > 0, "{format:?}");
    }
}

#[test]
fn threads_read_side_by_side() {
    for format in FORMATS {
        let info = info(64, 2, SampleType::U16);
        let pixels = pixels(&info);
        let folder = write(format, &info, &pixels);
        let source = reopen(folder.path(), format, 2).unwrap();
        std::thread::scope(|scope| {
            for k in 0..4 {
                let (source, pixels) = (&source, &pixels);
                scope.spawn(move || {
                    for i in 0..32 {
                        let f = (i * 29 + k * 17) % 64;
                        let mut out = vec![f32::NAN; info_len(&**source)];
                        source.read(f..f + 1, &mut out).unwrap();
                        assert!(out == pixels[f * out.len()..(f + 1) * out.len()]);
                    }
                });
            }
        });
    }
}

fn info_len(source: &dyn RecordingSource) -> usize {
    source.info().frame_len()
}
