//! Whatever is in a file, reading it ends with pixels or with an error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use stillframe_image::{Image, Shape};
use stillframe_io::ReadErrorKind as Kind;
use stillframe_io::fits::{FileBuffer, FitsSource, FrameInfo, OpenOptions, ReadScratch};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// Writes `bytes` to a file and reads all of it, by position and from memory.
fn read(bytes: &[u8]) -> Result<FrameInfo, Kind> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.fits");
    std::fs::write(&path, bytes).unwrap();
    read_file(&path)
}

fn read_file(path: &Path) -> Result<FrameInfo, Kind> {
    let options = OpenOptions::default();
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    let (mut again, mut scratch) = (Image::filled(none, 0.0), ReadScratch::default());
    let mut buffer = FileBuffer::default();
    let buffered = FitsSource::open_buffered(path, &options, &mut buffer).map_err(|e| e.kind);
    let source = FitsSource::open(path, &options).map_err(|e| e.kind)?;
    let buffered = buffered?;
    assert_eq!(source.info(), buffered.info());
    for plane in 0..source.info().planes {
        let found = source.read_plane(plane, &mut pixels, &mut mask, &mut scratch);
        let in_memory = buffered.decode_plane(&buffer, plane, &mut again, &mut mask, &mut scratch);
        assert_eq!(found.is_ok(), in_memory.is_ok());
        found.map_err(|e| e.kind)?;
        assert_eq!(pixels, again);
        assert!(pixels.pixels().iter().all(|v| v.is_finite()));
    }
    Ok(source.info().clone())
}

fn header(cards: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = cards.iter().flat_map(|c| format!("{c:<80}").into_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    bytes
}

#[test]
fn each_fault_has_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_file(&folder.path().join("none.fits")), Err(Kind::NotFound)));
    assert!(matches!(read_file(folder.path()), Err(Kind::Unreadable { .. })));
    assert!(matches!(read(b""), Err(Kind::Empty)));
    assert!(matches!(read(b"hello"), Err(Kind::NotFits { .. })));
    assert!(matches!(read(b"\x1f\x8b\x08"), Err(Kind::Truncated { found: 0, .. })));
    let no_deflate = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff";
    assert!(matches!(read(no_deflate), Err(Kind::BadCompression { .. })));

    let whole = golden("u16.fits");
    let data = 2880 + 2 * 11 * 17;
    assert!(read(&whole).is_ok());
    assert!(read(&whole[..data]).is_ok(), "padding may be missing");
    let cut = read(&whole[..data - 1]);
    let (found, needed) = (data as u64 - 1, data as u64);
    assert!(
        matches!(cut, Err(Kind::Truncated { found: f, needed: n }) if (f, n) == (found, needed))
    );
    assert!(matches!(read(&whole[..100]), Err(Kind::Truncated { found: 100, needed: 2880 })));

    let simple = "SIMPLE  =                    T";
    let of = |cards: &[&str]| read(&header(cards));
    assert!(matches!(of(&[simple, "END"]), Err(Kind::BadHeader { .. })));
    assert!(matches!(
        of(&["SIMPLE  =                    F", "BITPIX  = 8", "NAXIS   = 0", "END"]),
        Err(Kind::BadHeader { .. })
    ));
    assert!(matches!(
        of(&[simple, "BITPIX  = 8", "NAXIS   = 0", "END"]),
        Err(Kind::NoImage { .. })
    ));
    let axes = |bitpix: &str, a: &str, b: &str| {
        let (a, b) = (format!("NAXIS1  = {a}"), format!("NAXIS2  = {b}"));
        of(&[simple, &format!("BITPIX  = {bitpix}"), "NAXIS   = 2", &a, &b, "END"])
    };
    assert!(matches!(axes("8", "1000", "1000"), Err(Kind::Truncated { .. })));
    assert!(matches!(axes("12", "10", "10"), Err(Kind::BadHeader { .. })));
    assert!(matches!(axes("8", "-10", "10"), Err(Kind::BadHeader { .. })));
    assert!(matches!(axes("8", "2000000", "10"), Err(Kind::TooLarge { .. })));
    assert!(matches!(axes("8", "1000000", "1000000"), Err(Kind::TooLarge { .. })));
    assert!(matches!(axes("8", "9223372036854775807", "8"), Err(Kind::BadHeader { .. })));
    assert!(matches!(axes("8", "'ten'", "10"), Err(Kind::BadHeader { .. })));
}

#[test]
fn a_packed_frame_that_is_cut_off_or_changed_is_noticed() {
    let packed = golden("whole.fits.gz");
    for keep in [packed.len() / 2, packed.len() - 9, packed.len() - 1] {
        let found = read(&packed[..keep]);
        assert!(
            matches!(found, Err(Kind::Truncated { .. } | Kind::BadCompression { .. })),
            "{keep}: {found:?}"
        );
    }
    let mut changed = packed.clone();
    let crc = changed.len() - 6;
    changed[crc] ^= 1;
    assert!(matches!(read(&changed), Err(Kind::BadCompression { .. })));

    let tiled = golden("rice_1.fits.fz");
    assert!(matches!(read(&tiled[..5800]), Err(Kind::Truncated { .. })));
}

#[test]
fn a_frame_that_changes_under_the_run_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("frame.fits");
    std::fs::write(&path, golden("u16.fits")).unwrap();
    let source = FitsSource::open(&path, &OpenOptions::default()).unwrap();
    let mut longer = golden("u16.fits");
    longer.push(0);
    std::fs::write(&path, longer).unwrap();
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    let mut read = || source.read_plane(0, &mut pixels, &mut mask, &mut ReadScratch::default());
    assert!(matches!(read().unwrap_err().kind, Kind::Changed));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(read().unwrap_err().kind, Kind::NotFound));
}

const FILES: [&str; 9] = [
    "cards.fits",
    "extension.fits",
    "scaled_blank.fits",
    "rgb.fits.fz",
    "whole.fits.gz",
    "rice_1.fits.fz",
    "hcompress_1.fits.fz",
    "plio_1.fits.fz",
    "quantized_2.fits.fz",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_never_panic(
        file in 0..FILES.len(),
        changes in prop::collection::vec((0.0f64..1.0, any::<u8>()), 1..12),
        keep in 0.3f64..1.3,
    ) {
        let mut bytes = golden(FILES[file]);
        for (at, byte) in changes {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
        bytes.truncate((keep * bytes.len() as f64) as usize);
        let _ = read(&bytes);
    }

    #[test]
    fn changed_cards_never_panic(
        file in 0..FILES.len(),
        changes in prop::collection::vec((0usize..120, 0usize..16), 1..4),
    ) {
        let mut bytes = golden(FILES[file]);
        for (card, what) in changes {
            let at = card * 80;
            let Some(record) = bytes.get_mut(at..at + 80) else { continue };
            if what == 15 {
                record.copy_from_slice(format!("{:<80}", "END").as_bytes());
                continue;
            }
            let value = ["0", "-1", "1", "3", "8", "64", "-32", "99999999999", "1e300", "T", "F",
                "'RICE_1'", "'1PB(3)'", "9223372036854775807", ""][what];
            if &record[8..10] == b"= " {
                record[10..].copy_from_slice(format!("{value:<70}").as_bytes());
            }
        }
        let _ = read(&bytes);
    }
}
