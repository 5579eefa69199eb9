//! Real and damaged files, where they are at hand: in the folder that `STILLFRAME_SHARED` names,
//! else in `shared` beside the repository. Skipped, with a line that says so, where they are not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stillframe_image::{CfaPattern, Image, Shape};
use stillframe_io::ReadError;
use stillframe_io::fits::{FileBuffer, FitsSource, FrameInfo, OpenOptions, ReadScratch};

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

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Everything that can be read, from the file and from memory.
fn read_all(path: &Path) -> Result<FrameInfo, ReadError> {
    let options = OpenOptions::default();
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    let (mut again, mut scratch) = (Image::filled(none, 0.0), ReadScratch::default());
    let mut buffer = FileBuffer::default();
    let buffered = FitsSource::open_buffered(path, &options, &mut buffer);
    let source = FitsSource::open(path, &options)?;
    let buffered = buffered?;
    for plane in 0..source.info().planes {
        source.read_plane(plane, &mut pixels, &mut mask, &mut scratch)?;
        buffered.decode_plane(&buffer, plane, &mut again, &mut mask, &mut scratch)?;
        assert_eq!(pixels, again, "{}", path.display());
        assert!(pixels.pixels().iter().all(|v| v.is_finite()));
    }
    Ok(source.info().clone())
}

/// What is found in the files where that is known.
const KINDS: [(&str, &str); 12] = [
    ("fits_lfs_pointers/EUVE.fits", "not_fits"),
    ("fits_truncated_asi178/Flat/Flat_ASIImg_frame0007.fit", "truncated"),
    ("fits_astropy/io/fits/tests/data/arange.fits", "unsupported_layout"),
    ("fits_astropy/io/fits/tests/data/btable.fits", "no_image"),
    ("fits_astropy/io/fits/tests/data/group.fits", "no_image"),
    ("fits_astropy/io/fits/tests/data/zerowidth.fits", "no_image"),
    ("fits_astropy/io/fits/tests/data/lzw.fits.Z", "not_fits"),
    ("fits_astropy/io/fits/tests/data/fixed-1890.fits", "read"),
    ("fits_astropy/io/fits/tests/data/double_ext.fits", "read"),
    ("fits_astropy/io/fits/tests/data/comp.fits", "read"),
    ("fits_astropy/io/fits/hdu/compressed/tests/data/m13_hcomp.fits", "read"),
    ("tiff_libtiff/rgb-3c-8b.tiff", "not_fits"),
];

#[test]
fn damaged_files_are_refused_with_a_reason() {
    let Some(folder) = shared("bad") else { return };
    let mut kinds = BTreeMap::new();
    for path in files_below(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_string_lossy().replace('\\', "/");
        let kind = match read_all(&path) {
            Ok(_) => "read",
            Err(e) => {
                assert_eq!(e.to_string().matches(&name).count(), 1, "{e}");
                e.kind.name()
            }
        };
        let alien = name.starts_with("hdf5") || name.starts_with("tiff");
        assert!(!alien || kind == "not_fits" || kind == "empty", "{name}: {kind}");
        kinds.insert(name, kind);
    }
    for (name, kind) in KINDS {
        assert_eq!(kinds.get(name), Some(&kind), "{name}");
    }
}

#[test]
fn real_frames_are_read() {
    let Some(folder) = shared("stack") else { return };
    let files = files_below(&folder);
    let frames = files.iter().filter(|p| {
        p.extension().is_some_and(|e| e.to_string_lossy().to_ascii_lowercase().starts_with("fit"))
    });
    let mut n_frames = 0;
    for path in frames {
        let info = read_all(path).unwrap();
        assert!(info.start_secs.is_some() && info.exposure_secs.is_some(), "{}", path.display());
        let name = path.to_string_lossy();
        if name.contains("seestar") {
            assert_eq!(info.cfa, Some(CfaPattern::Grbg));
        }
        // Its header writes 0.000064 s with a decimal comma.
        if name.contains("Bias_ASIImg_frame0003") {
            assert_eq!(info.exposure_secs, Some(6.4e-5));
        }
        n_frames += 1;
    }
    assert!(n_frames > 20);
}
