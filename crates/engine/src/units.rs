//! How specifications and results of units travel to worker processes and back.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stillframe_runtime::phase::{DecodeError, Phase};

/// Writes a specification for worker processes.
///
/// # Errors
/// If the scratch folder cannot be written.
pub(crate) fn write_spec<T: Serialize>(path: &Path, spec: &T) -> std::io::Result<()> {
    fs::write(path, postcard::to_stdvec(spec).map_err(std::io::Error::other)?)
}

/// Reads what [`write_spec`] has written.
pub(crate) fn read_spec<T: DeserializeOwned>(path: &Path) -> Result<T, DecodeError> {
    Ok(postcard::from_bytes(&fs::read(path)?)?)
}

/// Appends `value` to `bytes`.
pub(crate) fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let encoded = postcard::to_stdvec(value).expect("results are plain data");
    bytes.extend_from_slice(&encoded);
}

/// Something that can run units of any phase.
pub(crate) trait ServePhase<R> {
    fn serve<P: Phase>(self, phase: &P) -> R;
}
