//! Reading inside a gzip stream.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::BLOCK;
use super::layout::ReadAt;
use crate::error::ReadErrorKind as Kind;

/// First bytes of a gzip stream.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The unpacked bytes of a gzip stream, which can be read forwards only; what is passed over is
/// unpacked and dropped, so that no more memory is used than the reader's buffer.
pub(super) struct GzipBytes<R> {
    decoder: MultiGzDecoder<R>,
    position: u64,
}

impl<R: Read> GzipBytes<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { decoder: MultiGzDecoder::new(packed), position: 0 }
    }

    /// Fills as much of `buffer` as the stream has; one that is cut off just ends.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.decoder.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e),
            }
        }
        self.position += done as u64;
        Ok(done)
    }

    /// Unpacks the padding after the image: if that is the end of the stream, the decoder compares
    /// its checksum.
    pub(super) fn check_end(mut self) -> Result<(), Kind> {
        let mut rest = [0u8; BLOCK as usize];
        let mut done = 0;
        while done < rest.len() {
            match self.decoder.read(&mut rest[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                // What follows the stream is no gzip: gzip itself ignores it too.
                Err(e) if e.to_string().contains("invalid gzip header") => break,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    let reason = "the file ends before its checksum".into();
                    return Err(Kind::BadCompression { reason });
                }
                Err(e) => return Err(damage(e)),
            }
        }
        Ok(())
    }
}

impl<R: Read> ReadAt for GzipBytes<R> {
    fn read_up_to(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Kind> {
        let mut to_skip = offset.checked_sub(self.position).ok_or_else(|| {
            Kind::BadCompression { reason: "a packed stream is read forwards only".into() }
        })?;
        let mut dropped = [0u8; 16 * 1024];
        while to_skip > 0 {
            let part = to_skip.min(dropped.len() as u64) as usize;
            let n = self.fill(&mut dropped[..part]).map_err(damage)?;
            if n == 0 {
                return Ok(0);
            }
            to_skip -= n as u64;
        }
        self.fill(buffer).map_err(damage)
    }

    fn end(&mut self) -> Result<u64, Kind> {
        Ok(self.position)
    }
}

/// Errors of the decoder are about the data, those of the file below it are not.
fn damage(error: io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Kind::BadCompression { reason: error.to_string() }
        }
        _ => error.into(),
    }
}
