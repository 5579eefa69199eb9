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

/// Largest compressed file that is read; it is held in memory while it is unpacked.
pub const MAX_COMPRESSED_BYTES: u64 = 8 << 30;

/// Most bytes that one byte of a gzip stream can unpack to (the DEFLATE format's own bound is
/// 1032, RFC 1951): a header that asks for more is wrong.
pub const MAX_GZIP_EXPANSION: u64 = 1032;
