//! Arrays for numpy.

use std::path::Path;

use super::RecordingError;
use crate::{Existing, write_file};

/// Writes an array, slowest axis first, as a `.npy` file of little-endian `float64`; whole or not at
/// all.
///
/// # Errors
/// If `values` are not as many as `dims` say, the file exists and may not be replaced, or it cannot
/// be written.
///
/// # Source
/// NEP 1, "A Simple File Format for NumPy Arrays", version 1.0.
pub fn write_npy(
    path: &Path,
    dims: &[usize],
    values: &[f64],
    existing: Existing,
) -> Result<(), RecordingError> {
    let needed: usize = dims.iter().product();
    if values.len() != needed {
        let (found, needed) = (values.len(), needed.to_string());
        return Err(RecordingError::BadBuffer { found, needed });
    }
    let shape: Vec<String> = dims.iter().map(usize::to_string).collect();
    let shape = shape.join(", ");
    // With its last comma a single number is a tuple, too.
    let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape},), }}");
    // Magic, version and length take 10 bytes; with the text and its line end a multiple of 64.
    let text_bytes = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((text_bytes as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = text_bytes - 1).bytes());
    values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    Ok(write_file(path, existing, &bytes)?)
}
