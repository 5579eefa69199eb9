//! TIFF and BigTIFF: a page per frame and channel, or channels as the samples of a pixel.
//!
//! Read are strips and tiles, plain, LZW, Deflate and PackBits, with all predictors, in both byte
//! orders; the metadata of ImageJ, OME, ScanImage and tifffile say which page is which. Written are
//! BigTIFF files whose pages are linked one by one, so that they are whole after each append.
//!
//! # Source
//! TIFF Revision 6.0 (Adobe, 1992); TIFF Technical Note 3 (floating-point predictor);
//! BigTIFF: <https://www.awaresystems.be/imaging/tiff/bigtiff.html>.

mod arrangement;
mod decode;
mod directory;
mod page;
mod sink;
mod source;

pub(super) use sink::TiffSink;
pub(super) use source::TiffSource;
