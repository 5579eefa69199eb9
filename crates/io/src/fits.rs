//! FITS: Flexible Image Transport System.
//!
//! # Source
//! FITS Standard 4.0 (2018), <https://fits.gsfc.nasa.gov/fits_standard.html>. Its 1-based pixel
//! positions do not appear here: rows and columns count from 0.

mod buffer;
mod card;
mod checksum;
mod decode;
mod gzip;
mod info;
mod layout;
mod sink;
mod sniff;
mod source;
mod text;
mod tiled;

pub use buffer::FileBuffer;
pub use info::{BayerOverride, FrameInfo, OpenOptions, SampleType};
pub use sink::{FitsPixel, FitsWriter, ImageWriter};
pub use source::{FitsSource, ReadScratch};
pub use text::header_from_text;

/// Bytes of a FITS block: headers and data fill whole blocks.
pub(crate) const BLOCK: u64 = 2880;
