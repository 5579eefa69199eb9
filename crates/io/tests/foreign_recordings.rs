//! Recordings of other programs (made by `data/make_recordings.py`), damaged ones, and ours in the
//! eyes of other programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use stillframe_image::Shape;
use stillframe_io::Existing;
use stillframe_io::recording::{
    OpenOptions, RecordingFormat, RecordingInfo, RecordingSource, SampleType, create, create_stack,
    open, write_npy, write_table,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings").join(name)
}

/// What `make_recordings.py` writes.
fn expected(frames: usize, channels: usize, offset: f32, scale: f32) -> Vec<f32> {
    let mut all = Vec::new();
    for t in 0..frames {
        for c in 0..channels {
            for y in 0..5 {
                for x in 0..7 {
                    let v = (t * 37 + c * 101 + y * 11 + x * 3) % 200;
                    all.push((v as f32 - offset) * scale);
                }
            }
        }
    }
    all
}

fn read_all(source: &dyn RecordingSource) -> Vec<f32> {
    let info = source.info();
    let mut out = vec![f32::NAN; info.frames * info.frame_len()];
    source.read(0..info.frames, &mut out).unwrap();
    out
}

fn none() -> OpenOptions {
    OpenOptions::default()
}

fn ordering(order: [usize; 3]) -> OpenOptions {
    OpenOptions { dimension_ordering: Some(order), ..none() }
}

/// Name, options, channels and number format of each file. The stored format is widened for
/// 8-bit signed and 64-bit whole numbers.
fn files() -> Vec<(&'static str, OpenOptions, usize, SampleType)> {
    use SampleType::{F32, F64, I16, I32, U8, U16, U32};
    let two_pages = OpenOptions { deinterleave: Some(2), ..none() };
    let named = OpenOptions { dataset_names: vec!["a/b/image".into()], ..none() };
    vec![
        ("h5_mov_u16.h5", none(), 1, U16),
        ("h5_ch_i16_gzip.h5", none(), 2, I16),
        ("h5_data_4d_f32.h5", none(), 2, F32),
        ("h5_imaging_u16_big_endian.h5", none(), 1, U16),
        ("h5_latest_f64_lzf.h5", none(), 1, F64),
        ("h5_group_i64.h5", none(), 1, F64),
        ("h5_group_i64.h5", named, 1, F64),
        ("h5_planes_5d_u8.h5", none(), 2, U8),
        ("h5_rows_columns_frames_u16.h5", ordering([0, 1, 2]), 1, U16),
        ("h5_ordering_attribute_u32.h5", none(), 1, U32),
        ("mat5_u16_packed.mat", none(), 2, U16),
        ("mat5_f64.mat", none(), 1, F64),
        ("mat5_i8_packed.mat", none(), 1, I16),
        ("mat5_frames_first_f32_packed.mat", ordering([1, 2, 0]), 1, F32),
        ("mat5_single_frame_u8.mat", none(), 1, U8),
        ("mat73_i16.mat", none(), 2, I16),
        ("tif_pages_u16.tif", none(), 1, U16),
        ("tif_imagej_2ch_u16.tif", none(), 2, U16),
        ("tif_imagej_run_f32.tif", none(), 1, F32),
        ("tif_imagej_2ch_run_u8.tif", none(), 2, U8),
        ("tif_ome_tcyx_u8.ome.tif", none(), 2, U8),
        ("tif_ome_tczyx_i16.ome.tif", none(), 2, I16),
        ("tif_shaped_tcyx_i32.tif", none(), 2, I32),
        ("tif_big_deflate_predictor_u16.tif", none(), 1, U16),
        ("tif_big_endian_f64.tif", none(), 1, F64),
        ("tif_big_endian_predictor_i16.tif", none(), 1, I16),
        ("tif_float_predictor_f32.tif", none(), 1, F32),
        ("tif_tiles_u16.tif", none(), 1, U16),
        ("tif_strips_u16.tif", none(), 1, U16),
        ("tif_rgb_u8.tif", none(), 3, U8),
        ("tif_planar_rgb_u16.tif", none(), 3, U16),
        ("tif_planes_are_frames_u16.tif", none(), 1, U16),
        ("tif_interleaved_u16.tif", two_pages, 2, U16),
        ("tif_scanimage_i16.tif", none(), 2, I16),
        ("tif_lzw_u8.tif", none(), 1, U8),
        ("tif_packbits_u8.tif", none(), 1, U8),
        ("tif_lzw_predictor_rgb_u8.tif", none(), 3, U8),
    ]
}

#[test]
fn recordings_of_other_programs_have_their_values() {
    for (name, options, channels, sample) in files() {
        let source = open(&[data(name)], &options).unwrap();
        let frames = if name.contains("single_frame") { 1 } else { 6 };
        let info = RecordingInfo { frames, shape: Shape::new(5, 7), channels, sample };
        assert_eq!(*source.info(), info, "{name}");
        let is_signed = name.contains("_i");
        let is_signed = is_signed && !name.contains("_imag") && !name.contains("_interleaved");
        let offset = if is_signed { 100.0 } else { 0.0 };
        let scale = if name.contains("_f32") || name.contains("_f64") { 0.5 } else { 1.0 };
        let pixels = expected(frames, channels, offset, scale);
        assert!(read_all(&*source) == pixels, "{name}");
        // One by one, from the end.
        let len = info.frame_len();
        let mut out = vec![f32::NAN; len];
        for f in (0..frames).rev() {
            source.read(f..f + 1, &mut out).unwrap();
            assert!(out == pixels[f * len..(f + 1) * len], "{name} frame {f}");
        }
    }
}

#[test]
fn several_files_are_channels_or_frames() {
    let two = [data("tif_pages_u16.tif"), data("h5_mov_u16.h5")];
    let source = open(&two, &none()).unwrap();
    let info = source.info();
    assert_eq!((info.frames, info.channels, info.sample), (6, 2, SampleType::U16));
    let one = expected(6, 1, 0.0, 1.0);
    let both: Vec<f32> = one.chunks(35).flat_map(|f| [f, f].concat()).collect();
    assert!(read_all(&*source) == both);

    let folder = tempfile::tempdir().unwrap();
    for i in 1..=11 {
        let name = format!("scan_Ch2_{i}.mat");
        std::fs::copy(data("mat5_single_frame_u8.mat"), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), b"no recording").unwrap();
    let source = open(&[folder.path().to_path_buf()], &none()).unwrap();
    assert_eq!((source.info().frames, source.info().channels), (11, 1));
    let mut out = vec![0.0; 70];
    source.read(9..11, &mut out).unwrap();
    assert!(out[35..] == expected(1, 1, 0.0, 1.0));

    let differ = [data("tif_pages_u16.tif"), data("mat5_single_frame_u8.mat")];
    let error = open(&differ, &none()).err().unwrap().to_string();
    assert!(error.contains("6 frames") && error.contains("1 frames"), "{error}");
}

#[test]
fn messages_name_what_was_found_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let message = open(&[path], &none()).err().unwrap().to_string();
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(message("a.mdf", b"\xD0\xCF\x11\xE0").contains("Windows"));
    assert!(message("a.tif", b"").contains("0 bytes"));
    assert!(
        message("b.tif", b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull")
    );
    assert!(message("a.fits", b"SIMPLE  =                    T").contains("FITS"));
    assert!(message("a.mat", b"old").contains("-v7"));
    assert!(message("c.tif", &[0; 2000]).contains("zeros"));
    assert!(message("d.txt", b"hello").contains("HDF5, TIFF or MAT"));
    let stray =
        |name: &str, options: &OpenOptions| open(&[data(name)], options).err().unwrap().to_string();
    let pages = OpenOptions { deinterleave: Some(2), ..none() };
    assert!(stray("h5_mov_u16.h5", &pages).contains("deinterleave"));
    assert!(stray("mat5_f64.mat", &pages).contains("deinterleave"));
    assert!(stray("tif_pages_u16.tif", &ordering([1, 2, 0])).contains("dimension_ordering"));
    assert!(stray("h5_data_4d_f32.h5", &ordering([1, 2, 0])).contains("three axes"));
    assert!(stray("h5_mov_u16.h5", &ordering([1, 1, 0])).contains("each once"));
    let named = OpenOptions { dataset_names: vec!["ch1".into()], ..none() };
    assert!(stray("tif_pages_u16.tif", &named).contains("dataset_names"));
    let nothing = open(&[], &none()).err().unwrap().to_string();
    assert!(nothing.contains("no recording is named"));
    let empty = open(&[folder.path().join("none")], &none()).err().unwrap().to_string();
    assert!(empty.contains("no such file"));
    let folder = tempfile::tempdir().unwrap();
    let empty = open(&[folder.path().to_path_buf()], &none()).err().unwrap().to_string();
    assert!(empty.contains(".h5"), "{empty}");
}

/// Opens and reads at most some megabytes; errors are welcome, panics are not.
fn try_all(path: &Path, options: &OpenOptions) {
    let Ok(source) = open(&[path.to_path_buf()], options) else { return };
    let info = source.info();
    let n = info.frames.min((16 << 20) / info.frame_len());
    let _ = source.read(0..n, &mut vec![0.0; n * info.frame_len()]);
}

#[test]
fn damaged_recordings_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1_u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for (name, options, ..) in files() {
        let bytes = std::fs::read(data(name)).unwrap();
        let path = folder.path().join(name);
        for _ in 0..40 {
            std::fs::write(&path, &bytes[..random(bytes.len())]).unwrap();
            try_all(&path, &options);
            let mut changed = bytes.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len().min(4096));
                changed[at] = [0, 0xFF, 0x7F, changed[at] ^ 1][random(4)];
            }
            std::fs::write(&path, &changed).unwrap();
            try_all(&path, &options);
        }
    }
    // A file that ends in its last frame is found out, before or while that frame is read.
    for (name, options, ..) in files() {
        let bytes = std::fs::read(data(name)).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let read = open(&[path], &options).and_then(|source| {
            let info = source.info();
            source.read(0..info.frames, &mut vec![0.0; info.frames * info.frame_len()])
        });
        assert!(read.is_err(), "{name}");
    }
}

fn shared(folder: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("STILLFRAME_SHARED") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let folder = root.join("data").join(folder);
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn odd_files_of_other_suites_never_panic() {
    for folder in ["bad/hdf5_hdfgroup", "bad/tiff_libtiff"] {
        let Some(folder) = shared(folder) else { continue };
        let mut files = Vec::new();
        files_below(&folder, &mut files);
        for path in files {
            try_all(&path, &none());
        }
    }
}

#[test]
fn real_recordings_open() {
    let Some(folder) = shared("motion") else { return };
    let info = |path: &str, options: &OpenOptions| {
        let source = open(&[folder.join(path)], options).unwrap();
        let info = source.info().clone();
        let mut out = vec![f32::NAN; info.frames * info.frame_len()];
        source.read(0..info.frames, &mut out).unwrap();
        assert!(out.iter().all(|v| v.is_finite()) && out.iter().any(|&v| v > 0.0), "{path}");
        (info.frames, info.shape, info.channels, info.sample, out)
    };
    let mouse = info("optinist_mouse2p/setup_conda_mouse2p_image.tiff", &none());
    assert_eq!((mouse.0, mouse.1, mouse.2), (200, Shape::new(128, 128), 1));
    let fly = info("twophoton_toolbox_fly", &none());
    assert_eq!((fly.0, fly.1, fly.2, fly.3), (53, Shape::new(260, 348), 1, SampleType::U16));
    let tiff = info("sima_examples/example.tif", &none());
    assert_eq!((tiff.0, tiff.1, tiff.2), (20, Shape::new(128, 256), 1));
    // The same recording with frames last.
    let hdf5 = info("sima_examples/example.h5", &ordering([0, 1, 2]));
    assert_eq!((hdf5.0, hdf5.1, hdf5.2), (20, Shape::new(128, 256), 1));
    assert!(hdf5.4 == tiff.4, "both files hold the same recording");
    let volume = info("sima_examples/example-volume.h5", &none());
    assert_eq!((volume.0, volume.1, volume.2), (30, Shape::new(64, 64), 2));
    let fish = info("thunder_fish/time001.tif", &none());
    assert_eq!((fish.0, fish.1), (2, Shape::new(76, 87)));
}

/// A Python that has what is needed: the system's, or one in an environment of our own.
fn python() -> Option<PathBuf> {
    let works = |python: &Path| {
        let run = Command::new(python).args(["-c", "import h5py, tifffile, scipy"]).output();
        run.is_ok_and(|o| o.status.success())
    };
    let system = PathBuf::from("python3");
    if works(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let own = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if works(&own) {
        return Some(own);
    }
    let run = |program: &Path, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
    };
    let install = ["-m", "pip", "install", "-q", "--retries", "1", "h5py", "tifffile", "scipy"];
    let made = run(&system, &["-m", "venv", &folder.to_string_lossy()]) && run(&own, &install);
    (made && works(&own)).then_some(own)
}

const CHECK: &str = r#"
import sys, h5py, numpy, scipy.io, tifffile
folder = sys.argv[1]
i = numpy.indices((6, 2, 5, 7))
v = ((i[0] * 37 + i[1] * 101 + i[2] * 11 + i[3] * 3) % 200)
for name in ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]:
    def same(a, b, what):
        assert a.dtype == name, (what, a.dtype, name)
        assert a.shape == b.shape and (a == b).all(), (what, a.shape, b.shape)
    stem = f"{folder}/{name}"
    with h5py.File(stem + "_Hdf5.hdf5") as f:
        assert f.attrs["n_channels"] == 2 and f.attrs["frame_count"] == 6, dict(f.attrs)
        assert (f.attrs["height"], f.attrs["width"]) == (5, 7), dict(f.attrs)
        assert list(f["ch1"].attrs["dimension_ordering"]) == [1, 2, 0]
        assert list(f["ch1"].attrs["original_shape_THWC"]) == [6, 5, 7, 2]
        assert f["ch1"].chunks == (1, 5, 7) and f["ch1"].maxshape == (None, 5, 7)
        assert f["ch1"].id.get_num_chunks() == 6
        for c in range(2):
            same(f[f"ch{c + 1}"][()], v[:, c], "hdf5")
    for c in range(2):
        with h5py.File(f"{stem}_CaimanHdf5_ch{c + 1}.hdf5") as f:
            same(f["mov"][()], v[:, c], "caiman")
        same(tifffile.imread(f"{stem}_MultifileTiff_ch{c + 1}.tiff"), v[:, c], "multifile tiff")
        m = scipy.io.loadmat(f"{stem}_MultifileMat_ch{c + 1}.mat")
        same(m["ch1"].transpose(2, 0, 1), v[:, c], "multifile mat")
    same(tifffile.imread(stem + "_Tiff.tiff"), v.transpose(0, 2, 3, 1), "tiff")
    same(tifffile.imread(stem + "_Suite2pTiff.tiff"), v.reshape(12, 5, 7), "suite2p")
    m = scipy.io.loadmat(stem + "_Mat.mat")
    same(m["ch1"].transpose(2, 0, 1), v[:, 0], "mat")
    same(m["ch2"].transpose(2, 0, 1), v[:, 1], "mat")
with h5py.File(folder + "/w.h5") as f:
    assert sorted(f) == ["u", "v"] and f["u"].dtype == "float32" and f["u"].chunks == (1, 5, 7)
    assert (f["u"][()] == v[:, 0]).all() and (f["v"][()] == v[:, 1]).all()
with h5py.File(folder + "/unfinished.hdf5") as f:
    assert (f["ch2"][:4] == v[:4, 1]).all() and f["ch2"].shape[0] == 4
with h5py.File(folder + "/unknown_v73.mat") as f:
    assert f.userblock_size == 512 and f["ch1"].attrs["MATLAB_class"] == b"uint16"
    assert (f["ch2"][()].transpose(0, 2, 1) == v[:, 1]).all()
with h5py.File(folder + "/statistics.h5") as f:
    assert list(f["mean_disp"][()]) == [1.5, 2.5] and f["none"].shape == (0,)
reference = numpy.load(folder + "/reference_frame.npy")
assert reference.dtype == "float64" and (reference == numpy.arange(6).reshape(3, 2) / 2).all()
# What libhdf5 finds well formed it can also go on with.
with h5py.File(folder + "/uint16_Hdf5.hdf5", "r+") as f:
    f["ch1"].resize(200, 0)
    f["ch1"][199] = 7
    f["more"] = [1, 2]
with h5py.File(folder + "/uint16_Hdf5.hdf5") as f:
    assert (f["ch1"][:6] == v[:, 0]).all() and (f["ch1"][199] == 7).all()
    assert (f["ch2"][()] == v[:, 1]).all() and list(f["more"]) == [1, 2]
print("fine")
"#;

#[test]
fn other_programs_read_what_we_write() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no python3 with h5py, tifffile and scipy, and none could be installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let pixels = expected(6, 2, 0.0, 1.0);
    let info =
        |frames, sample| RecordingInfo { frames, shape: Shape::new(5, 7), channels: 2, sample };
    use RecordingFormat as F;
    for sample in SampleType::ALL {
        for format in [
            F::Hdf5,
            F::Tiff,
            F::Mat,
            F::Suite2pTiff,
            F::CaimanHdf5,
            F::MultifileTiff,
            F::MultifileMat,
        ] {
            let stem = format!("{sample}_{format:?}");
            let mut sink =
                create(folder.path(), &stem, format, &info(6, sample), Existing::Refuse).unwrap();
            sink.append(&pixels).unwrap();
            sink.finish().unwrap();
        }
    }
    let path = |name: &str| folder.path().join(name);
    let fields = info(6, SampleType::F32);
    let mut sink = create_stack(&path("w.h5"), &["u", "v"], &fields, Existing::Refuse).unwrap();
    sink.append(&pixels).unwrap();
    sink.finish().unwrap();
    let unknown = info(0, SampleType::U16);
    for (stem, format) in [("unfinished", F::Hdf5), ("unknown_v73", F::Mat)] {
        let mut sink = create(folder.path(), stem, format, &unknown, Existing::Refuse).unwrap();
        sink.append(&pixels[..4 * 70]).unwrap();
        sink.sync().unwrap();
        sink.append(&pixels[4 * 70..]).unwrap();
        if format == F::Mat {
            sink.finish().unwrap();
        }
    }
    let columns: [(&str, &[f64]); 2] = [("mean_disp", &[1.5, 2.5]), ("none", &[])];
    write_table(&path("statistics.h5"), &columns, Existing::Refuse).unwrap();
    let reference = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
    write_npy(&path("reference_frame.npy"), &[3, 2], &reference, Existing::Refuse).unwrap();
    let output = Command::new(python).args(["-c", CHECK]).arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
