//! Frames made by astropy (`data/make.py`) are read as astropy reads them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use stillframe_image::mask::{NO_DATA, SATURATED};
use stillframe_image::{CfaPattern, Image, Rect, Shape, Value};
use stillframe_io::fits::{
    BayerOverride, FileBuffer, FitsSource, OpenOptions, ReadScratch, SampleType,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(name: &str) -> FitsSource {
    FitsSource::open(&data(name), &OpenOptions::default()).unwrap()
}

fn empty() -> (Image<f32>, Image<u8>, ReadScratch) {
    let none = Shape::new(0, 0);
    (Image::filled(none, 0.0), Image::filled(none, 0), ReadScratch::default())
}

struct Expected {
    name: String,
    sample: String,
    shape: Shape,
    planes: Vec<Image<f32>>,
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(data("expected.txt")).unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap().to_string();
            let (name, sample) = (word(), word());
            let mut number = || word().parse::<usize>().unwrap();
            let (planes, height, width) = (number(), number(), number());
            let shape = Shape::new(height, width);
            let values: Vec<f32> = words.map(|w| w.parse().unwrap()).collect();
            assert_eq!(values.len(), planes * shape.len(), "{name}");
            let planes =
                values.chunks(shape.len()).map(|v| Image::from_vec(shape, v.to_vec())).collect();
            Expected { name, sample, shape, planes }
        })
        .collect()
}

fn assert_same(name: &str, found: &Image<f32>, mask: &Image<u8>, expected: &Image<f32>) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    for y in 0..found.height() {
        for x in 0..found.width() {
            let (v, m, e) = (found.at(x, y), mask.at(x, y), expected.at(x, y));
            if e.is_nan() {
                assert_eq!((v, m), (0.0, NO_DATA), "{name} {x} {y}");
            } else {
                assert_eq!(v.to_bits(), e.to_bits(), "{name} {x} {y}: {v} for {e}");
                assert_eq!(m & NO_DATA, 0, "{name} {x} {y}");
            }
        }
    }
}

#[test]
fn every_golden_frame_has_the_pixels_that_astropy_reads() {
    let expected = expected();
    assert_eq!(expected.len(), 26);
    let (mut pixels, mut mask, mut scratch) = empty();
    for Expected { name, sample, shape, planes } in expected {
        let source = open(&name);
        let info = source.info();
        assert_eq!((info.shape, info.planes), (shape, planes.len()), "{name}");
        assert_eq!(format!("{:?}", info.sample).to_lowercase(), sample, "{name}");
        assert_eq!(source.needs_spool(), name.ends_with('z'), "{name}");
        for (i, plane) in planes.iter().enumerate() {
            source.read_plane(i, &mut pixels, &mut mask, &mut scratch).unwrap();
            assert_same(&name, &pixels, &mask, plane);
        }
    }
}

#[test]
fn a_rectangle_is_the_crop_of_the_whole() {
    let (mut pixels, mut mask, mut scratch) = empty();
    let (mut part, mut part_mask, _) = empty();
    for Expected { name, shape, planes, .. } in expected() {
        let source = open(&name);
        for plane in 0..planes.len() {
            source.read_plane(plane, &mut pixels, &mut mask, &mut scratch).unwrap();
            for i in 0..40 {
                let (x, y) = (i * 7 % shape.width, i * 5 % shape.height);
                let (w, h) = (i * 3 % (shape.width - x + 1), i * 11 % (shape.height - y + 1));
                let rect = Rect::new(x, y, w, h);
                source.read_rect(plane, rect, &mut part, &mut part_mask, &mut scratch).unwrap();
                assert_eq!(part, pixels.crop(rect), "{name} {rect:?}");
                assert_eq!(part_mask, mask.crop(rect), "{name} {rect:?}");
            }
        }
    }
}

#[test]
fn a_buffered_frame_is_the_same_frame() {
    let (mut pixels, mut mask, mut scratch) = empty();
    let mut buffer = FileBuffer::default();
    for Expected { name, planes, .. } in expected() {
        let options = OpenOptions::default();
        let source = FitsSource::open_buffered(&data(&name), &options, &mut buffer).unwrap();
        assert_eq!(source.info(), open(&name).info());
        assert_eq!(buffer.bytes(), std::fs::read(data(&name)).unwrap());
        for (i, plane) in planes.iter().enumerate() {
            source.decode_plane(&buffer, i, &mut pixels, &mut mask, &mut scratch).unwrap();
            assert_same(&name, &pixels, &mask, plane);
        }
    }
}

#[test]
fn the_hash_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, b"abc").unwrap();
    let mut buffer = FileBuffer::default();
    let opened = FitsSource::open_buffered(&path, &OpenOptions::default(), &mut buffer);
    assert!(opened.is_err());
    // FIPS 180-2, appendix B.1.
    assert_eq!(buffer.sha256(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn the_top_of_an_integer_type_is_saturated() {
    let (mut pixels, mut mask, mut scratch) = empty();
    for (name, level) in [
        ("u8.fits", 255.0),
        ("i8.fits", 127.0),
        ("i16.fits", 32767.0),
        ("u16.fits", 65535.0),
        ("u32.fits", 4294967295.0f64),
        ("rice_1.fits.fz", 65535.0),
        ("scaled_blank.fits", 12.5 + 0.37 * 32767.0),
    ] {
        let source = open(name);
        assert_eq!(source.info().saturation_level, Some(level as f32), "{name}");
        source.read_plane(0, &mut pixels, &mut mask, &mut scratch).unwrap();
        for (v, m) in pixels.pixels().iter().zip(mask.pixels()) {
            assert_eq!(m & SATURATED != 0, *v >= level as f32, "{name}: {v}");
        }
    }
    // make.py puts the ends of the type into the first two pixels.
    let source = open("u16.fits");
    source.read_plane(0, &mut pixels, &mut mask, &mut scratch).unwrap();
    assert_eq!((mask.at(0, 0), mask.at(1, 0), pixels.at(1, 0)), (0, SATURATED, 65535.0));
    assert_eq!(open("f32.fits").info().saturation_level, None);
}

#[test]
fn every_form_of_card_is_read() {
    let source = open("cards.fits");
    let info = source.info();
    let value = |key: &str| info.header.card(key).map(|c| c.value.clone());
    assert_eq!(value("INT"), Some(Value::Integer(42)));
    assert_eq!(value("NEG"), Some(Value::Integer(-7)));
    assert_eq!(value("REAL"), Some(Value::Real(2.5)));
    assert_eq!(value("SMALL"), Some(Value::Real(1.25e-30)));
    assert_eq!(value("LOGICAL"), Some(Value::Logical(true)));
    assert_eq!(value("UNDEF"), Some(Value::None));
    assert_eq!(value("QUOTE"), Some(Value::Text("it's a 'test'".into())));
    assert_eq!(info.header.card("QUOTE").unwrap().comment, "with quotes");
    let long = "0123456789".repeat(17) + " it's & long";
    assert_eq!(value("LONG"), Some(Value::Text(long)));
    assert_eq!(info.header.card("LONG").unwrap().comment, "a comment");
    assert_eq!(value("ESO DET CHIP GAIN"), Some(Value::Real(0.8)));
    assert_eq!(value("COMPLEX"), Some(Value::Text("(1.0, 2.0)".into())));
    assert_eq!(info.header.card("HISTORY").unwrap().comment, "some history");
    for structural in ["SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "EXTEND", "CHECKSUM", "DATASUM"] {
        assert_eq!(value(structural), None, "{structural}");
    }

    assert_eq!(info.exposure_secs, Some(10.0));
    assert_eq!(info.temperature_c, Some(-9.9));
    assert_eq!(info.gain_e_per_adu, Some(0.8));
    assert_eq!(info.date_obs.as_deref(), Some("2026-01-01T00:02:23.5"));
    assert_eq!(info.start_secs, Some(1767225743.5));
    assert_eq!(info.image_type.as_deref(), Some("Light Frame"));
    assert_eq!(info.saturation_level, Some(200.0));
    // RGGB, one column further on, in 5 rows turned upside down.
    assert_eq!(info.cfa, Some(CfaPattern::Grbg));
}

#[test]
fn the_caller_knows_the_mosaic_better() {
    let cfa = |bayer| {
        let options = OpenOptions { bayer };
        FitsSource::open(&data("cards.fits"), &options).unwrap().info().cfa
    };
    assert_eq!(cfa(BayerOverride::Mono), None);
    assert_eq!(cfa(BayerOverride::Pattern(CfaPattern::Bggr)), Some(CfaPattern::Bggr));
    let options = OpenOptions { bayer: BayerOverride::Pattern(CfaPattern::Bggr) };
    let colour = FitsSource::open(&data("rgb.fits"), &options).unwrap();
    assert_eq!(colour.info().cfa, None);
}

#[test]
fn an_extension_inherits_what_it_lacks() {
    let source = open("extension.fits");
    assert_eq!(source.info().exposure_secs, Some(30.0));
    assert_eq!(source.info().header.text("FILTER"), Some("extension"));
    assert_eq!(source.info().sample, SampleType::U16);
    // A tile-compressed image keeps the header of the image that it was.
    let source = open("rice_1.fits.fz");
    assert_eq!(source.info().exposure_secs, Some(4.0));
    let keys: Vec<&str> = source.info().header.cards.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(keys, ["EXPTIME"]);
}
