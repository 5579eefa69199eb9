//! Hot and cold pixels: where they are, and what to put in their place.

use stillframe_image::{CfaPattern, Image, Shape};

/// How far a pixel must stand out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefectParams {
    /// In standard deviations of the local noise.
    pub threshold_sigma: f32,
}

impl Default for DefectParams {
    fn default() -> Self {
        Self { threshold_sigma: 8.0 }
    }
}

/// Pixels that stand out, as row-major indices in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// Too bright.
    pub hot: Vec<u32>,
    /// Too dark.
    pub cold: Vec<u32>,
}

/// Hot pixels of a master dark.
pub fn hot_in_dark(dark: &Image<f32>, cfa: Option<CfaPattern>, params: DefectParams) -> Vec<u32> {
    let _ = (dark, cfa, params);
    Vec::new()
}

/// Hot and cold pixels from calibrated frames in sensor coordinates, for when there is no dark.
pub fn defects_in_lights(
    lights: &[&Image<f32>],
    cfa: Option<CfaPattern>,
    params: DefectParams,
) -> Defects {
    let _ = (lights, cfa, params);
    Defects::default()
}

/// The defects of a sensor, ready to be replaced in frame after frame.
#[derive(Clone, Debug, PartialEq)]
pub struct DefectMap {
    shape: Shape,
    defects: Defects,
}

impl DefectMap {
    /// The map of `defects` on a sensor of `shape`; neighbours have the same colour of `cfa`.
    pub fn new(shape: Shape, defects: Defects, cfa: Option<CfaPattern>) -> Self {
        let _ = cfa;
        Self { shape, defects }
    }

    /// The pixels that are replaced.
    pub fn defects(&self) -> &Defects {
        &self.defects
    }

    /// Replaces every defect and sets its bit; one without good neighbours becomes `NO_DATA`.
    ///
    /// # Panics
    /// If the image or the mask has another shape than the map.
    pub fn replace(&self, image: &mut Image<f32>, mask: &mut Image<u8>) {
        assert!(image.shape() == self.shape && mask.shape() == self.shape);
    }
}
