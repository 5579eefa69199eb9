//! Gains and skies of all tiles, solved together from what they share.

use std::collections::HashMap;

use stillframe_image::{Point, math};
use stillframe_io::wcs::PixelMap;
use stillframe_kernels::normalise::overlaps::{
    Correction, MAX_TERMS, OverlapParams, Overlaps, Sighting, Surface, solve,
};

use super::assemble::Tile;
use super::grid::Grid;
use crate::recipe::{PhotometryRecipe, SkyMatch};
use crate::stack::measure::FrameMeasure;

/// Stars fainter than this, in standard errors of their flux, say nothing about gains.
const LEAST_SNR: f32 = 20.0;
/// Relative error of a flux that no photon noise explains: apertures, flat fields.
const FLUX_FLOOR: f64 = 0.01;
/// Stars of two tiles nearer than this on the grid are one.
const SAME_STAR_PX: f64 = 1.5;
/// A component of fewer tiles than this gets no gains: one pair says too little.
const LEAST_TILES_FOR_GAIN: usize = 3;

/// What was solved.
#[derive(Clone, Debug)]
pub(super) struct Photometry {
    /// For each tile and plane.
    pub(super) corrections: Vec<Vec<Correction>>,
    /// Component of each tile by the skies that overlap.
    pub(super) component: Vec<usize>,
    pub(super) n_components: usize,
    /// Sightings of stars and of places that entered.
    pub(super) n_stars: usize,
    pub(super) n_places: usize,
    /// Scatter of a star's logarithmic flux and of a place's sky about the solution, in their errors.
    pub(super) star_scatter: f64,
    pub(super) sky_scatter: f64,
}

/// Solves for gains, then for the skies after the gains.
pub(super) fn photometry(
    grid: &Grid,
    tiles: &[Tile],
    measures: &[FrameMeasure],
    planes: usize,
    recipe: &PhotometryRecipe,
) -> Photometry {
    let stars = if recipe.gain { star_sightings(grid, tiles, measures) } else { Vec::new() };
    let params =
        OverlapParams { surface: Surface::Offset, slope_shrinkage: 0.0, curvature_shrinkage: 0.0 };
    let gains = solve(tiles.len(), &stars, params);
    let gain = gains_of(&gains);
    let surface = match recipe.sky {
        SkyMatch::None => None,
        SkyMatch::Offset => Some(Surface::Offset),
        SkyMatch::Plane => Some(Surface::Plane),
        SkyMatch::Quadratic => Some(Surface::Quadratic),
    };
    let places = place_sightings(grid, tiles, recipe.cell_px);
    let mut corrections = vec![Vec::with_capacity(planes); tiles.len()];
    let mut skies: Option<Overlaps> = None;
    for plane in 0..planes {
        let sightings = sky_sightings(&places, tiles, measures, &gain, plane);
        // without a surface the skies stay, but what overlaps is still worth to know
        let params = OverlapParams {
            surface: surface.unwrap_or(Surface::Offset),
            slope_shrinkage: recipe.slope_shrinkage,
            curvature_shrinkage: recipe.curvature_shrinkage,
        };
        let solved = solve(tiles.len(), &sightings, params);
        for ((all, &gain), c) in corrections.iter_mut().zip(&gain).zip(&solved.coefficients) {
            let surface = if surface.is_some() { *c } else { [0.0; MAX_TERMS] };
            all.push(Correction { gain, surface });
        }
        skies.get_or_insert(solved);
    }
    let skies = skies.expect("an image has at least one plane");
    Photometry {
        corrections,
        component: skies.component,
        n_components: skies.n_components,
        n_stars: gains.n_sightings,
        n_places: skies.n_sightings,
        star_scatter: gains.scatter,
        sky_scatter: skies.scatter,
    }
}

/// Factors on the pixels; 1 in components that are too small.
fn gains_of(solved: &Overlaps) -> Vec<f64> {
    let mut sizes = vec![0; solved.n_components];
    for &k in &solved.component {
        sizes[k] += 1;
    }
    let tiles = solved.coefficients.iter().zip(&solved.component);
    tiles
        .map(|(c, &k)| if sizes[k] < LEAST_TILES_FOR_GAIN { 1.0 } else { math::exp(-c[0]) })
        .collect()
}

/// Logarithms of the fluxes of good stars, matched on the grid. Fluxes are per sky, not per pixel, so
/// that tiles of different scales can be compared.
fn star_sightings(grid: &Grid, tiles: &[Tile], measures: &[FrameMeasure]) -> Vec<Sighting> {
    let mut stars = Stars::default();
    let mut sightings = Vec::new();
    for (t, tile) in tiles.iter().enumerate() {
        let Ok(map) = PixelMap::new(&tile.wcs, &grid.wcs) else { continue };
        let middle = tile.middle();
        let Some(area) = tile.wcs.pixel_area_arcsec2(middle) else { continue };
        let log_area = math::ln(area);
        for star in &measures[tile.frame].stars {
            if !star.is_good() || star.flux <= LEAST_SNR * star.flux_sigma {
                continue;
            }
            let Some(p) = map.at(star.position()) else { continue };
            let relative = f64::from(star.flux_sigma / star.flux);
            let (u, v) = Correction::place(star.position(), tile.shape);
            sightings.push(Sighting {
                tile: t as u32,
                object: stars.find(p, t),
                value: math::ln(f64::from(star.flux)) + log_area,
                sigma: (relative * relative + FLUX_FLOOR * FLUX_FLOOR).sqrt(),
                u,
                v,
            });
        }
    }
    sightings
}

/// Stars by their place on the grid.
#[derive(Default)]
struct Stars {
    /// Stars of each square of four pixels a side; looked up, never walked through.
    squares: HashMap<(i64, i64), Vec<u32>>,
    /// Place of each, and the last tile that has seen it.
    all: Vec<(Point, usize)>,
}

impl Stars {
    /// The star at `p`, a new one if there is none yet or tile `tile` has seen it already.
    fn find(&mut self, p: Point, tile: usize) -> u32 {
        let square = |v: f64| (v / 4.0).floor() as i64;
        let (x, y) = (square(p.x), square(p.y));
        let mut best: Option<(f64, u32)> = None;
        for j in y - 1..=y + 1 {
            for i in x - 1..=x + 1 {
                for &k in self.squares.get(&(i, j)).into_iter().flatten() {
                    let (q, last) = self.all[k as usize];
                    let distance = p.distance(q);
                    let is_nearer = best.is_none_or(|(d, _)| distance < d);
                    if distance <= SAME_STAR_PX && is_nearer && last != tile {
                        best = Some((distance, k));
                    }
                }
            }
        }
        if let Some((_, k)) = best {
            self.all[k as usize].1 = tile;
            return k;
        }
        let k = self.all.len() as u32;
        self.all.push((p, tile));
        self.squares.entry((x, y)).or_default().push(k);
        k
    }
}

/// A place of the grid in a tile.
struct Place {
    tile: u32,
    object: u32,
    at: Point,
}

/// The nodes of a lattice on the grid in every tile that shows them.
fn place_sightings(grid: &Grid, tiles: &[Tile], cell_px: usize) -> Vec<Place> {
    let across = grid.shape.width.div_ceil(cell_px);
    let mut places = Vec::new();
    for (t, tile) in tiles.iter().enumerate() {
        let Ok(map) = PixelMap::new(&grid.wcs, &tile.wcs) else { continue };
        // the sky within half a mesh cell of the border is extrapolated
        let margin = SKY_MARGIN_PX.min(0.1 * tile.shape.width.min(tile.shape.height) as f64);
        let last = |size: usize| size as f64 - 1.0 - margin;
        let bounds = tile.bounds;
        for j in bounds.y / cell_px..=bounds.y_end() / cell_px {
            for i in bounds.x / cell_px..=bounds.x_end() / cell_px {
                let node = Point::new((i * cell_px) as f64, (j * cell_px) as f64);
                let Some(at) = map.at(node) else { continue };
                let is_inside = at.x >= margin
                    && at.y >= margin
                    && at.x <= last(tile.shape.width)
                    && at.y <= last(tile.shape.height);
                if is_inside {
                    places.push(Place {
                        tile: t as u32,
                        object: (j * (across + 1) + i) as u32,
                        at,
                    });
                }
            }
        }
    }
    places
}

/// Nearer to its border than this a tile's sky is not compared, pixels.
const SKY_MARGIN_PX: f64 = 12.0;

/// The skies of all places in plane `plane`, after the gains.
fn sky_sightings(
    places: &[Place],
    tiles: &[Tile],
    measures: &[FrameMeasure],
    gain: &[f64],
    plane: usize,
) -> Vec<Sighting> {
    let of_place = |place: &Place| {
        let t = place.tile as usize;
        let measure = &measures[tiles[t].frame];
        let mesh = &measure.meshes[plane.min(measure.meshes.len() - 1)];
        let (u, v) = Correction::place(place.at, tiles[t].shape);
        let noise = f64::from(measure.metrics.noise).max(f64::MIN_POSITIVE);
        Sighting {
            tile: place.tile,
            object: place.object,
            value: gain[t] * f64::from(mesh.at(place.at)),
            sigma: gain[t] * SKY_ERROR * noise,
            u,
            v,
        }
    };
    places.iter().map(of_place).collect()
}

/// Standard error of a mesh's level over the noise of a pixel (see
/// [`Background`](stillframe_kernels::ops::background::Background)).
const SKY_ERROR: f64 = 0.05;
