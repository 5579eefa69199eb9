//! Sources that read a rectangle of a frame; sinks that appear whole or not at all.
//!
//! * [`fits::FitsSource`] reads FITS frames (plain, `.gz`, tile-compressed) as physical `f32`
//!   pixels and mask bits; [`fits::FitsWriter`] writes FITS files;
//! * [`recording`] reads and writes series of frames as HDF5, TIFF and MAT;
//! * [`inputs::resolve`] turns folders, patterns and files into an ordered list;
//! * [`OutputFolder`] and [`AtomicFile`] keep results whole and inputs untouched;
//! * [`wcs`] tells where on the sky a pixel lies, and back;
//! * [`spool`] keeps planes in scratch files; [`preview`] makes pictures to look at.
//!
//! No function here panics on bad input: every fault of a file is a [`ReadError`] that says what
//! was found, what was needed, and what to do.
//!
//! ```
//! use stillframe_image::{Header, Image, Rect, Shape};
//! use stillframe_io::Existing;
//! use stillframe_io::fits::{FitsSource, FitsWriter, OpenOptions, ReadScratch};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("light.fits");
//! let mut header = Header::default();
//! header.push_real("EXPTIME", 10.0, "seconds");
//! let image = Image::from_fn(Shape::new(20, 30), |x, y| (x + 100 * y) as u16);
//! let mut writer = FitsWriter::create(&path, Existing::Refuse)?;
//! writer.write_image(None, &header, &[&image])?;
//! writer.finish()?;
//!
//! let frame = FitsSource::open(&path, &OpenOptions::default())?;
//! assert_eq!(frame.info().exposure_secs, Some(10.0));
//! let mut pixels = Image::filled(Shape::new(0, 0), 0.0);
//! let mut mask = Image::filled(Shape::new(0, 0), 0);
//! let mut scratch = ReadScratch::default();
//! frame.read_rect(0, Rect::new(5, 3, 4, 2), &mut pixels, &mut mask, &mut scratch)?;
//! assert_eq!(pixels.row(1), [405.0, 406.0, 407.0, 408.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod error;
pub mod fits;
pub mod inputs;
pub mod limits;
mod positioned;
pub mod preview;
pub mod recording;
pub mod sink;
pub mod spool;
pub mod wcs;

pub use error::{ReadError, ReadErrorKind, WriteError, WriteErrorKind};
pub use sink::{AtomicFile, Existing, OutputFolder, write_file};
