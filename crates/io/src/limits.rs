//! Hard limits on what is read, each with its reason. A file beyond one is refused before anything
//! of that size is allocated.

/// Longest side of an image in pixels. The widest sky mosaics in use have about 100 000; a larger
/// number comes from a damaged header.
pub const MAX_SIDE: u64 = 1 << 20;

/// Most pixels in one plane: 4 GiB as `f32`. The largest single detectors have 150 million.
pub const MAX_PIXELS: u64 = 1 << 30;

/// Most header-data units that are looked through for an image. Multi-detector files have some
/// hundred.
pub const MAX_HDUS: usize = 4096;

/// Most bytes of one header: 100 000 cards. Headers with a long processing history have some
/// thousand.
pub const MAX_HEADER_BYTES: u64 = 80 * 100_000;

/// Largest tile-compressed image that is read; it is held in memory while it is unpacked.
pub const MAX_COMPRESSED_BYTES: u64 = 8 << 30;

/// Largest file that is read whole into memory. A plane of [`MAX_PIXELS`] 32-bit samples with its
/// header fits.
pub const MAX_BUFFERED_BYTES: u64 = 8 << 30;
