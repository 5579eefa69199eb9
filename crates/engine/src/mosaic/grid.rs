//! The output grid: given, or made to hold all images.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stillframe_image::{Point, Shape};
use stillframe_io::wcs::{PixelMap, SkyPoint, Wcs, grid_from_text};

use super::error::MosaicError;
use super::footprint::border;
use crate::recipe::{GridRecipe, ScaleFrom};

/// The pixels of the output and their places on the sky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// World coordinates.
    pub wcs: Wcs,
    /// Size.
    pub shape: Shape,
}

impl Grid {
    /// The grid of a header in plain text.
    ///
    /// # Errors
    /// [`MosaicError::GridFile`], [`MosaicError::Grid`], [`MosaicError::NoGrid`].
    pub(super) fn read(path: &Path, recipe: &GridRecipe) -> Result<Self, MosaicError> {
        let path = path.to_path_buf();
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) => return Err(MosaicError::GridFile { path, reason: e.to_string() }),
        };
        let (wcs, shape) =
            grid_from_text(&text).map_err(|source| MosaicError::Grid { path, source })?;
        Self { wcs, shape }.checked(recipe)
    }

    /// The smallest grid that holds all images: gnomonic about their middle, north up, in the system of
    /// the first, with the scale that the recipe asks for.
    ///
    /// # Errors
    /// [`MosaicError::NoGrid`] if they span more than a gnomonic map shows, or the grid is too large.
    pub(super) fn around(
        images: &[(&Wcs, Shape)],
        recipe: &GridRecipe,
    ) -> Result<Self, MosaicError> {
        let Some((first, _)) = images.first() else {
            return Err(MosaicError::NoGrid("no image has world coordinates".into()));
        };
        let no_sky = || {
            MosaicError::NoGrid(
                "the images span more of the sky than a gnomonic map shows; give a grid (--grid)"
                    .into(),
            )
        };
        let mut sum = [0.0; 3];
        let mut scales = Vec::new();
        for (wcs, shape) in images {
            let to_first = PixelMap::new(wcs, first)
                .map_err(|e| MosaicError::NoGrid(format!("{e}; give a grid (--grid)")))?;
            let (width, height) = (shape.width as f64, shape.height as f64);
            let middle = Point::new(0.5 * (width - 1.0), 0.5 * (height - 1.0));
            let direction = to_first.sky(middle).ok_or_else(no_sky)?.to_unit();
            for (s, d) in sum.iter_mut().zip(direction) {
                *s += d;
            }
            scales.push(wcs.scale_arcsec_per_px(middle).ok_or_else(no_sky)?);
        }
        scales.sort_by(f64::total_cmp);
        let scale = recipe.scale_arcsec_per_px.unwrap_or(match recipe.scale_from {
            ScaleFrom::Finest => scales[0],
            ScaleFrom::Median => scales[scales.len() / 2],
            ScaleFrom::Coarsest => scales[scales.len() - 1],
        });
        let centre = SkyPoint::from_unit(sum);
        let wide = Wcs::tangent(centre, first.frame(), Point::new(0.0, 0.0), scale, 0.0);
        let mut low = Point::new(f64::INFINITY, f64::INFINITY);
        let mut high = Point::new(f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (wcs, shape) in images {
            let map = PixelMap::new(wcs, &wide).map_err(|e| MosaicError::NoGrid(e.to_string()))?;
            for p in border(shape.width as f64, shape.height as f64) {
                let q = map.at(p).ok_or_else(no_sky)?;
                low = Point::new(low.x.min(q.x), low.y.min(q.y));
                high = Point::new(high.x.max(q.x), high.y.max(q.y));
            }
        }
        let padding = |low: f64, high: f64| recipe.padding * (high - low);
        let (px, py) = (padding(low.x, high.x), padding(low.y, high.y));
        let corner = Point::new((low.x - px).floor(), (low.y - py).floor());
        let size = |low: f64, high: f64, pad: f64| ((high + pad).ceil() - low + 1.0).max(1.0);
        let (width, height) = (size(corner.x, high.x, px), size(corner.y, high.y, py));
        let pixels = width * height;
        if !pixels.is_finite() || pixels > recipe.max_megapixels as f64 * 1e6 {
            return Err(too_large(width, height, recipe));
        }
        Self { wcs: wide.cropped(corner), shape: Shape::new(height as usize, width as usize) }
            .checked(recipe)
    }

    fn checked(self, recipe: &GridRecipe) -> Result<Self, MosaicError> {
        let (width, height) = (self.shape.width as f64, self.shape.height as f64);
        if width * height > recipe.max_megapixels as f64 * 1e6 {
            return Err(too_large(width, height, recipe));
        }
        Ok(self)
    }
}

fn too_large(width: f64, height: f64, recipe: &GridRecipe) -> MosaicError {
    MosaicError::NoGrid(format!(
        "the grid would have {width:.0}×{height:.0} pixels, more than grid.max_megapixels = {}; are all \
         images of one place? A coarser grid.scale_arcsec_per_px makes it smaller",
        recipe.max_megapixels
    ))
}

#[cfg(test)]
mod tests {
    use stillframe_io::wcs::SkyFrame;

    use super::*;

    fn tile(lon_deg: f64, lat_deg: f64) -> Wcs {
        let centre = SkyPoint { lon_deg, lat_deg };
        Wcs::tangent(centre, &SkyFrame::Icrs, Point::new(49.5, 39.5), 60.0, 0.0)
    }

    #[test]
    fn all_corners_lie_inside_whatever_the_declination_and_across_the_wrap() {
        let shape = Shape::new(80, 100);
        for lat in [0.0, 60.0, 85.0, -89.5] {
            let tiles = [tile(359.0, lat), tile(0.5, lat + 0.3), tile(1.9, lat)];
            let images: Vec<(&Wcs, Shape)> = tiles.iter().map(|t| (t, shape)).collect();
            let grid = Grid::around(&images, &GridRecipe::default()).unwrap();
            for t in &tiles {
                let map = PixelMap::new(t, &grid.wcs).unwrap();
                for p in border(100.0, 80.0) {
                    let q = map.at(p).unwrap();
                    assert!(q.x > -0.5 && q.x < grid.shape.width as f64 - 0.5, "{lat} {q:?}");
                    assert!(q.y > -0.5 && q.y < grid.shape.height as f64 - 0.5, "{lat} {q:?}");
                }
            }
            let middle = Point::new(0.5 * grid.shape.width as f64, 0.5 * grid.shape.height as f64);
            assert!((grid.wcs.scale_arcsec_per_px(middle).unwrap() - 60.0).abs() < 0.1);
            // three degrees of right ascension shrink with the cosine of the declination
            let expected = 100.0 + 2.9 * 60.0 * lat.to_radians().cos();
            assert!((grid.shape.width as f64 - expected).abs() < 12.0, "{lat}: {}", grid.shape);
        }
    }

    #[test]
    fn what_cannot_be_shown_or_held_is_refused_before_any_work() {
        let shape = Shape::new(80, 100);
        let (a, b) = (tile(0.0, 0.0), tile(179.0, 0.0));
        let far = Grid::around(&[(&a, shape), (&b, shape)], &GridRecipe::default()).unwrap_err();
        assert!(far.to_string().contains("--grid"), "{far}");
        let recipe = GridRecipe { scale_arcsec_per_px: Some(0.01), ..GridRecipe::default() };
        let large = Grid::around(&[(&a, shape)], &recipe).unwrap_err();
        assert!(large.to_string().contains("max_megapixels"), "{large}");
        assert!(Grid::around(&[], &GridRecipe::default()).is_err());
    }
}
