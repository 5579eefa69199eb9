//! Bias, dark and flat.

use stillframe_image::{CfaPattern, Image};

/// Dark current of some rows.
#[derive(Clone, Copy, Debug)]
pub struct DarkRows<'a> {
    /// Dark current without bias, in the units of the pixels, for the dark's own exposure.
    pub current: &'a [f32],
    /// Exposure of the light over that of the dark (1 if they match).
    pub scale: f32,
}

/// The parts of the masters that lie under some rows of a frame; each as long as those rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct MasterRows<'a> {
    /// Taken off first: the master bias, or the master dark with its bias in it.
    pub offset: Option<&'a [f32]>,
    /// Taken off second, scaled.
    pub dark: Option<DarkRows<'a>>,
    /// Multiplied last.
    pub inverse_flat: Option<&'a [f32]>,
}

/// Replaces every pixel by `(pixel − offset − scale · current) · inverse_flat`.
///
/// # Panics
/// If a master's slice is not as long as `pixels`.
pub fn calibrate_rows(pixels: &mut [f32], masters: MasterRows<'_>) {
    let _ = (pixels, masters);
}

/// What a master flat says of the sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatCorrection {
    /// Factor of every pixel; 1 in the middle of the frame (of each colour of a mosaic), 1 for dead pixels.
    pub inverse: Image<f32>,
    /// Indices (row-major, ascending) of pixels whose response is below 0.1 or above 10.
    pub cold: Vec<u32>,
}

/// Why a flat cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlatError {
    /// No light.
    #[error(
        "the flat's middle has a level of {level}, above 0 is needed; was its bias taken off twice?"
    )]
    NoLight {
        /// Level found.
        level: f32,
    },
}

/// The correction that a bias-subtracted master flat asks for.
///
/// # Errors
/// [`FlatError::NoLight`] if the middle of the frame has no positive level.
pub fn flat_correction(
    flat: &Image<f32>,
    cfa: Option<CfaPattern>,
) -> Result<FlatCorrection, FlatError> {
    let _ = cfa;
    Ok(FlatCorrection { inverse: Image::filled(flat.shape(), 1.0), cold: Vec::new() })
}

/// Robust level of a bias-subtracted flat frame, for its multiplicative normalisation before flats are averaged.
pub fn frame_level(flat: &Image<f32>) -> f32 {
    let _ = flat;
    1.0
}
