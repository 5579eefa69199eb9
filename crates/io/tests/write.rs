//! What is written is read again; what fails leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use stillframe_image::mask::NO_DATA;
use stillframe_image::{Header, Image, Rect, Rng, Shape, Value};
use stillframe_io::fits::{FitsPixel, FitsSource, FitsWriter, OpenOptions, ReadScratch};
use stillframe_io::{AtomicFile, Existing, OutputFolder, WriteErrorKind, write_file};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn write<T: FitsPixel>(path: &Path, header: &Header, planes: &[&Image<T>]) {
    let mut writer = FitsWriter::create(path, Existing::Replace).unwrap();
    writer.write_image(None, header, planes).unwrap();
    writer.finish().unwrap();
}

/// Writes an image of random bits, reads a rectangle of it, and compares it with what was meant.
fn check<T: FitsPixel>(
    shape: Shape,
    planes: usize,
    rect: Rect,
    seed: u64,
    from_bits: fn(u64) -> T,
    physical: fn(T) -> f32,
) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.fits");
    let mut rng = Rng::new(seed, 0, 0);
    let images: Vec<Image<T>> =
        (0..planes).map(|_| Image::from_fn(shape, |_, _| from_bits(rng.next_u64()))).collect();
    let mut header = Header::default();
    header.push_real("EXPTIME", 2.5, "");
    write(&path, &header, &images.iter().collect::<Vec<_>>());
    let source = FitsSource::open(&path, &OpenOptions::default()).unwrap();
    prop_assert_eq!((source.info().shape, source.info().planes), (shape, planes));
    prop_assert_eq!(&source.info().header, &header);
    let none = Shape::new(0, 0);
    let (mut pixels, mut mask) = (Image::filled(none, 0.0), Image::filled(none, 0));
    for (i, image) in images.iter().enumerate() {
        source.read_rect(i, rect, &mut pixels, &mut mask, &mut ReadScratch::default()).unwrap();
        let meant = image.crop(rect).map(physical);
        for ((v, m), e) in pixels.pixels().iter().zip(mask.pixels()).zip(meant.pixels()) {
            prop_assert_eq!(v.to_bits(), if e.is_finite() { e.to_bits() } else { 0 });
            prop_assert_eq!(m & NO_DATA != 0, !e.is_finite());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_rectangle_of_what_is_written_is_read_again(
        height in 1usize..40, width in prop_oneof![8 => 1usize..40, 1 => Just(9001usize)], colour: bool, seed: u64,
        x in 0.0f64..1.0, y in 0.0f64..1.0, w in 0.0f64..1.0, h in 0.0f64..1.0,
    ) {
        let shape = Shape::new(height, width);
        let planes = if colour { 3 } else { 1 };
        let (x, y) = ((x * width as f64) as usize, (y * height as f64) as usize);
        let size = |f: f64, room: usize| (f * (room + 1) as f64) as usize;
        let rect = Rect::new(x, y, size(w, width - x), size(h, height - y));
        check(shape, planes, rect, seed, |b| b as u8, f32::from)?;
        check(shape, planes, rect, seed, |b| b as i16, f32::from)?;
        check(shape, planes, rect, seed, |b| b as u16, f32::from)?;
        check(shape, planes, rect, seed, |b| b as i32, |v| v as f32)?;
        check(shape, planes, rect, seed, |b| f32::from_bits(b as u32), |v| v)?;
    }

    #[test]
    fn the_parts_in_which_pixels_come_do_not_matter(
        parts in prop::collection::vec(1usize..400_000, 1..6)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parted) = (folder.path().join("whole"), folder.path().join("parted"));
        let shape = Shape::new(401, 701);
        let image = Image::from_fn(shape, |x, y| (x * y) as f32);
        write(&whole, &Header::default(), &[&image]);
        let mut writer = FitsWriter::create(&parted, Existing::Refuse).unwrap();
        let mut sink = writer.begin_image::<f32>(None, &Header::default(), shape, 1).unwrap();
        let mut rest = image.pixels();
        for part in parts.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(part.min(rest.len()));
            sink.push(now).unwrap();
            rest = later;
        }
        sink.finish().unwrap();
        writer.finish().unwrap();
        prop_assert!(std::fs::read(whole).unwrap() == std::fs::read(parted).unwrap());
    }
}

#[test]
fn structural_cards_are_made_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.fits");
    let mut header = Header::default();
    for key in ["SIMPLE", "NAXIS1", "BZERO", "BLANK", "DATASUM", "END", "ZIMAGE", "EXTNAME"] {
        header.push_integer(key, 77, "");
    }
    header.push_integer("KEPT", 1, "");
    write(&path, &header, &[&Image::filled(Shape::new(4, 4), 1u16)]);
    let source = FitsSource::open(&path, &OpenOptions::default()).unwrap();
    let keys: Vec<&str> = source.info().header.cards.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(keys, ["KEPT"]);
}

#[test]
fn an_unfinished_file_is_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.fits");
    let shape = Shape::new(8, 8);
    let header = Header::default();

    let mut writer = FitsWriter::create(&path, Existing::Refuse).unwrap();
    writer.write_image(None, &header, &[&Image::filled(shape, 1.0f32)]).unwrap();
    assert!(!path.exists());
    drop(writer);
    assert_eq!(names(folder.path()), [""; 0]);

    let mut writer = FitsWriter::create(&path, Existing::Refuse).unwrap();
    let mut image = writer.begin_image::<f32>(None, &header, shape, 1).unwrap();
    image.push(&[0.0; 63]).unwrap();
    assert!(matches!(
        image.push(&[0.0; 2]).unwrap_err().kind,
        WriteErrorKind::Incomplete { found: 65, needed: 64 }
    ));
    assert!(matches!(
        image.finish().unwrap_err().kind,
        WriteErrorKind::Incomplete { found: 63, needed: 64 }
    ));
    assert!(writer.finish().is_err());
    assert_eq!(names(folder.path()), [""; 0]);

    let empty = FitsWriter::create(&path, Existing::Refuse).unwrap();
    assert!(matches!(empty.finish().unwrap_err().kind, WriteErrorKind::BadPlanes { .. }));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_fits_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = FitsWriter::create(&folder.path().join("a.fits"), Existing::Refuse).unwrap();
    let (a, b) = (Image::filled(Shape::new(4, 4), 0u8), Image::filled(Shape::new(4, 5), 0u8));
    let none = Header::default();
    for planes in [&[][..], &[&a, &a], &[&a, &a, &b]] {
        let kind = writer.write_image(None, &none, planes).unwrap_err().kind;
        assert!(matches!(kind, WriteErrorKind::BadPlanes { .. }), "{kind}");
    }
    let mut header = Header::default();
    header.push("NO=KEY", Value::Integer(1), "");
    let error = writer.write_image(None, &header, &[&a]).unwrap_err();
    assert!(matches!(&error.kind, WriteErrorKind::BadCard { key, .. } if key == "NO=KEY"));
    assert_eq!(error.to_string().matches("a.fits").count(), 1);
}

#[test]
fn existing_files_stay_unless_they_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    write_file(&path, Existing::Refuse, b"one").unwrap();
    let error = write_file(&path, Existing::Refuse, b"two").unwrap_err();
    assert!(matches!(error.kind, WriteErrorKind::Exists));
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    write_file(&path, Existing::Replace, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");

    // One that appears while another is being written is not lost either.
    let other = folder.path().join("other.json");
    let mut slow = AtomicFile::create(&other, Existing::Refuse).unwrap();
    slow.write_all(b"slow").unwrap();
    std::fs::write(&other, b"fast").unwrap();
    assert!(slow.commit().is_err());
    assert_eq!(std::fs::read(&other).unwrap(), b"fast");
    assert_eq!(names(folder.path()), ["other.json", "report.json"]);
}

#[test]
fn the_reason_why_a_file_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |path: &Path| write_file(path, Existing::Refuse, b"").unwrap_err().kind;
    assert!(matches!(kind(&folder.path().join("no/such/file")), WriteErrorKind::NoFolder));
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(kind(&file.join("below")), WriteErrorKind::NotAFolder));
}

#[cfg(unix)]
#[test]
fn a_result_is_as_readable_as_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    write_file(&ours, Existing::Refuse, b"").unwrap();
    std::fs::write(&theirs, b"").unwrap();
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&theirs));
}

/// `/dev/full` is a disk without space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_so() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = (&full).write_all(b"x").unwrap_err();
    assert!(matches!(WriteErrorKind::from(error), WriteErrorKind::DiskFull));
}

#[test]
fn results_never_land_on_inputs_or_older_results() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("new/out");
    let results = ["stack.fits", "report.json"];
    let create = |existing, inputs: &[std::path::PathBuf]| {
        OutputFolder::create(&out, existing, &results, inputs)
    };
    let folder = create(Existing::Refuse, &[]).unwrap();
    assert_eq!(names(&out), [""; 0], "nothing is left of the trial");
    assert!(folder.require_space(1).is_ok());
    let error = folder.require_space(u64::MAX).unwrap_err();
    assert!(matches!(error.kind, WriteErrorKind::NotEnoughSpace { .. }));
    folder.write("report.json", b"one").unwrap();

    let error = create(Existing::Refuse, &[]).unwrap_err();
    assert!(matches!(error.kind, WriteErrorKind::Exists));
    assert_eq!(error.path, folder.path_of("report.json"));
    create(Existing::Replace, &[]).unwrap().write("report.json", b"two").unwrap();
    assert_eq!(std::fs::read(folder.path_of("report.json")).unwrap(), b"two");

    // Not even with permission to overwrite, and whatever way leads to it.
    let input = root.path().join("new/../new/out/report.json");
    let error = create(Existing::Replace, &[input]).unwrap_err();
    assert!(matches!(error.kind, WriteErrorKind::IsInput));

    let file = root.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = OutputFolder::create(&file, Existing::Refuse, &results, &[]).unwrap_err();
    assert!(matches!(error.kind, WriteErrorKind::NotAFolder), "{error}");
}

#[test]
fn what_a_killed_run_left_half_written_is_removed() {
    let root = tempfile::tempdir().unwrap();
    for name in [".stack.fits.aB3dE9.part", ".other.fits.aB3dE9.part", "stack.part"] {
        std::fs::write(root.path().join(name), b"half").unwrap();
    }
    let alive = AtomicFile::create(&root.path().join("stack.fits"), Existing::Refuse).unwrap();
    OutputFolder::create(root.path(), Existing::Refuse, &["stack.fits"], &[]).unwrap();
    assert_eq!(names(root.path()).len(), 3, "{:?}", names(root.path()));
    alive.commit().unwrap();
    assert_eq!(names(root.path()), [".other.fits.aB3dE9.part", "stack.fits", "stack.part"]);
}
