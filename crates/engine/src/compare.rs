//! Whether two FITS files hold the same pixels, and if not, how far apart they are.

mod difference;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Serialize;
use stillframe_image::{Card, Image, Shape};
use stillframe_io::fits::{FitsSource, FrameInfo, OpenOptions, ReadScratch, SampleType};
use stillframe_io::{ReadError, ReadErrorKind};

pub use difference::{PixelPosition, PlaneDifference};

/// Two files held against each other, image by image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Whether the files are equal byte for byte.
    pub same_bytes: bool,
    /// The images that both files have: those of the same name, or of the same place if unnamed.
    pub images: Vec<ImageComparison>,
    /// Images that only the first file has.
    pub only_in_a: Vec<String>,
    /// Images that only the second file has.
    pub only_in_b: Vec<String>,
}

/// Two images held against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageComparison {
    /// Its `EXTNAME`, or `primary`, or its place in the file.
    pub name: String,
    /// Size and number format of the first.
    pub a: ImageLayout,
    /// Size and number format of the second.
    pub b: ImageLayout,
    /// The differences of the planes, in order; none if the sizes differ.
    pub planes: Vec<PlaneDifference>,
    /// Keywords of cards that are not the same in both headers.
    pub cards: Vec<String>,
}

/// Size and number format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImageLayout {
    /// Size of a plane.
    pub shape: Shape,
    /// 1, or 3 for red, green and blue.
    pub planes: usize,
    /// Number format in the file.
    pub sample: SampleType,
}

impl Comparison {
    /// Whether both files have the same images with the same pixels. Headers do not count.
    pub fn is_identical(&self) -> bool {
        self.same_bytes
            || (self.only_in_a.is_empty()
                && self.only_in_b.is_empty()
                && self.images.iter().all(ImageComparison::is_identical))
    }
}

impl ImageComparison {
    /// Whether size, number format and every pixel are the same.
    pub fn is_identical(&self) -> bool {
        self.a == self.b && self.planes.iter().all(PlaneDifference::is_identical)
    }

    /// Whether values may have been rounded to single precision before they were compared.
    fn is_rounded(&self) -> bool {
        use SampleType::{F64, I32, I64, U32, U64};
        [self.a.sample, self.b.sample].iter().any(|s| matches!(s, F64 | I32 | I64 | U32 | U64))
    }
}

/// Holds the files `a` and `b` against each other. Values are compared in single precision; two
/// planes are in memory at a time.
///
/// # Errors
/// If a file cannot be read or holds no image.
pub fn compare(a: &Path, b: &Path) -> Result<Comparison, ReadError> {
    let open = |path| FitsSource::open_all(path, &OpenOptions::default());
    let (in_a, mut in_b) = (labelled(open(a)?), labelled(open(b)?));
    let mut comparison = Comparison {
        same_bytes: same_bytes(a, b)?,
        images: Vec::new(),
        only_in_a: Vec::new(),
        only_in_b: Vec::new(),
    };
    for (name, source) in in_a {
        match in_b.iter().position(|(other, _)| *other == name) {
            Some(at) => {
                let (_, other) = in_b.remove(at);
                comparison.images.push(compare_images(name, &source, &other)?);
            }
            None => comparison.only_in_a.push(name),
        }
    }
    comparison.only_in_b = in_b.into_iter().map(|(name, _)| name).collect();
    Ok(comparison)
}

/// The images with what they are called, each name once.
fn labelled(sources: Vec<FitsSource>) -> Vec<(String, FitsSource)> {
    let mut labelled: Vec<(String, FitsSource)> = Vec::new();
    for (index, source) in sources.into_iter().enumerate() {
        let place = || if index == 0 { "primary".into() } else { format!("image {}", index + 1) };
        let name = source.info().extension_name.clone().unwrap_or_else(place);
        let is_taken = labelled.iter().any(|(other, _)| *other == name);
        labelled.push((if is_taken { place() } else { name }, source));
    }
    labelled
}

fn compare_images(
    name: String,
    a: &FitsSource,
    b: &FitsSource,
) -> Result<ImageComparison, ReadError> {
    let layout = |i: &FrameInfo| ImageLayout { shape: i.shape, planes: i.planes, sample: i.sample };
    let mut comparison = ImageComparison {
        name,
        a: layout(a.info()),
        b: layout(b.info()),
        planes: Vec::new(),
        cards: differing_cards(&a.info().header.cards, &b.info().header.cards),
    };
    let same_size = comparison.a.shape == comparison.b.shape;
    if !same_size || comparison.a.planes != comparison.b.planes {
        return Ok(comparison);
    }
    let mut scratch = ReadScratch::default();
    let [mut plane_a, mut plane_b] = [(); 2].map(|()| empty_plane());
    for plane in 0..comparison.a.planes {
        a.read_plane(plane, &mut plane_a.0, &mut plane_a.1, &mut scratch)?;
        b.read_plane(plane, &mut plane_b.0, &mut plane_b.1, &mut scratch)?;
        let (a, b) = ((&plane_a.0, &plane_a.1), (&plane_b.0, &plane_b.1));
        comparison.planes.push(PlaneDifference::of(a, b));
    }
    Ok(comparison)
}

/// A plane and its mask, for a source to fill.
fn empty_plane() -> (Image<f32>, Image<u8>) {
    let none = Shape::new(0, 0);
    (Image::filled(none, 0.0), Image::filled(none, 0))
}

/// Keywords of the cards whose values are in one list only, in alphabetical order.
fn differing_cards(a: &[Card], b: &[Card]) -> Vec<String> {
    let lacks = |cards: &[Card], card: &Card| {
        // Text without a value (HISTORY, COMMENT) is in the comment.
        let is_same = |other: &Card| {
            let same_text = other.comment == card.comment;
            let is_text_only = card.value == stillframe_image::Value::None;
            other.key == card.key && other.value == card.value && (same_text || !is_text_only)
        };
        !cards.iter().any(is_same)
    };
    let missing_in_b = a.iter().filter(|card| lacks(b, card));
    let missing_in_a = b.iter().filter(|card| lacks(a, card));
    let keys: BTreeSet<&str> = missing_in_b.chain(missing_in_a).map(|c| c.key.as_str()).collect();
    keys.into_iter().map(str::to_owned).collect()
}

/// Whether two files hold the same bytes.
fn same_bytes(a: &Path, b: &Path) -> Result<bool, ReadError> {
    let open = |path: &Path| -> Result<BufReader<File>, ReadError> {
        Ok(BufReader::with_capacity(1 << 18, File::open(path).map_err(|e| at(path, e))?))
    };
    let (mut read_a, mut read_b) = (open(a)?, open(b)?);
    let (mut block_a, mut block_b) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let n_a = fill(&mut read_a, &mut block_a).map_err(|e| at(a, e))?;
        let n_b = fill(&mut read_b, &mut block_b).map_err(|e| at(b, e))?;
        if block_a[..n_a] != block_b[..n_b] {
            return Ok(false);
        }
        if n_a == 0 {
            return Ok(true);
        }
    }
}

fn at(path: &Path, error: io::Error) -> ReadError {
    ReadError { path: path.to_owned(), kind: ReadErrorKind::from(error) }
}

/// Reads until `block` is full or the file ends; the number of bytes.
fn fill(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl fmt::Display for ImageLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.planes == 1 { "" } else { "s" };
        write!(f, "{}, {} plane{s}, {:?}", self.shape, self.planes, self.sample)
    }
}

impl fmt::Display for PlaneDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.first_at else { return f.write_str("identical") };
        let n_pixels = self.n_common + self.n_only_in_a + self.n_only_in_b;
        write!(f, "{} of {n_pixels} pixels differ", self.n_different)?;
        if let Some(at) = self.max_at {
            write!(f, ", max {:.6e} at ({}, {})", self.max_abs, at.x, at.y)?;
            write!(f, ", rms {:.6e}, mean {:.6e}", self.rms, self.mean)?;
        }
        if let Some(psnr) = self.psnr_db {
            write!(f, ", PSNR {psnr:.2} dB")?;
        }
        for (n, which) in [(self.n_only_in_a, "second"), (self.n_only_in_b, "first")] {
            if n > 0 {
                write!(f, ", {n} missing in the {which} only")?;
            }
        }
        write!(f, "; first at ({}, {})", first.x, first.y)
    }
}

impl fmt::Display for ImageComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.a == self.b {
            writeln!(f, "{} ({})", self.name, self.a)?;
        } else {
            writeln!(f, "{}: {} in the first, {} in the second", self.name, self.a, self.b)?;
        }
        for (index, plane) in self.planes.iter().enumerate() {
            let colour = ["red", "green", "blue"].get(index).copied();
            let title = colour.filter(|_| self.planes.len() == 3).unwrap_or("pixels");
            writeln!(f, "  {title}: {plane}")?;
        }
        if self.is_rounded() {
            writeln!(f, "  compared in single precision (24 bits)")?;
        }
        if !self.cards.is_empty() {
            writeln!(f, "  header cards that differ: {}", self.cards.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.same_bytes {
            return f.write_str("identical, byte for byte\n");
        }
        for image in &self.images {
            write!(f, "{image}")?;
        }
        for (names, which) in [(&self.only_in_a, "first"), (&self.only_in_b, "second")] {
            for name in names {
                writeln!(f, "{name}: in the {which} file only")?;
            }
        }
        f.write_str(if self.is_identical() { "identical pixels\n" } else { "different\n" })
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Header, Value};
    use stillframe_io::Existing;
    use stillframe_io::fits::FitsWriter;

    use super::*;

    fn write(path: &Path, value: f32, exposure: f64, names: &[Option<&str>]) {
        let image = Image::from_fn(Shape::new(6, 5), |x, y| (x + 10 * y) as f32 * value);
        let mut header = Header::default();
        header.push_real("EXPTIME", exposure, "");
        let mut writer = FitsWriter::create(path, Existing::Replace).unwrap();
        for name in names {
            writer.write_image(*name, &header, &[&image]).unwrap();
        }
        writer.finish().unwrap();
    }

    fn files() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.fits"), folder.path().join("b.fits"));
        (folder, a, b)
    }

    #[test]
    fn headers_do_not_make_pixels_different() {
        let (_folder, a, b) = files();
        write(&a, 1.0, 10.0, &[None, Some("WEIGHT")]);
        write(&b, 1.0, 10.0, &[None, Some("WEIGHT")]);
        assert_eq!(compare(&a, &b).unwrap().to_string(), "identical, byte for byte\n");
        write(&b, 1.0, 20.0, &[None, Some("WEIGHT")]);
        let comparison = compare(&a, &b).unwrap();
        assert!(comparison.is_identical() && !comparison.same_bytes);
        assert_eq!(comparison.images[1].cards, ["EXPTIME"]);
        assert!(comparison.to_string().ends_with("identical pixels\n"));
    }

    #[test]
    fn the_place_of_the_largest_difference_is_told() {
        let (_folder, a, b) = files();
        write(&a, 1.0, 10.0, &[None]);
        write(&b, 2.0, 10.0, &[None]);
        let comparison = compare(&a, &b).unwrap();
        assert!(!comparison.is_identical());
        let plane = &comparison.images[0].planes[0];
        assert_eq!((plane.max_abs, plane.max_at), (54.0, Some(PixelPosition { x: 4, y: 5 })));
        assert!(comparison.to_string().contains("29 of 30 pixels differ, max 5.4"));
    }

    #[test]
    fn images_are_matched_by_name_and_missing_ones_named() {
        let (_folder, a, b) = files();
        write(&a, 1.0, 10.0, &[None, Some("WEIGHT"), Some("COVERAGE")]);
        write(&b, 1.0, 10.0, &[None, Some("COVERAGE"), Some("REJECTED")]);
        let comparison = compare(&a, &b).unwrap();
        let names: Vec<_> = comparison.images.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["primary", "COVERAGE"]);
        assert_eq!(comparison.only_in_a, ["WEIGHT"]);
        assert_eq!(comparison.only_in_b, ["REJECTED"]);
        assert!(!comparison.is_identical());
    }

    #[test]
    fn text_cards_are_compared_by_their_text() {
        let card = |key: &str, value: Value, comment: &str| Card {
            key: key.into(),
            value,
            comment: comment.into(),
        };
        let a = [card("HISTORY", Value::None, "one"), card("GAIN", Value::Integer(1), "a")];
        let b = [card("HISTORY", Value::None, "two"), card("GAIN", Value::Integer(1), "b")];
        assert_eq!(differing_cards(&a, &b), ["HISTORY"]);
        assert_eq!(differing_cards(&a, &a), Vec::<String>::new());
    }
}
