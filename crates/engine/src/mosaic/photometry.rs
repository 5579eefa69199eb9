//! Gains and skies of all tiles, solved together from what they share.

use std::collections::HashMap;

use stillframe_image::{Point, Rect, Shape, math};
use stillframe_io::wcs::{PixelMap, Wcs};
use stillframe_kernels::normalise::overlaps::{
    Correction, MAX_TERMS, OverlapParams, Overlaps, Sighting, Surface, solve,
};

use super::assemble::Tile;
use super::grid::Grid;
use crate::recipe::{PhotometryRecipe, SkyMatch};
use crate::stack::measure::{FrameMeasure, LevelBoxes};

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

/// Solves for gains, then for the skies after the gains. `place_of` gives the number of each tile in
/// `places`.
pub(super) fn photometry(
    grid: &Grid,
    (places, place_of): (&Places, &[usize]),
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
    let mut corrections = vec![Vec::with_capacity(planes); tiles.len()];
    let mut skies: Option<Overlaps> = None;
    for plane in 0..planes {
        let sightings = sky_sightings(places, place_of, tiles, measures, &gain, plane);
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

/// The places at which skies are compared: nodes of a lattice on the grid that two or more tiles show.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Number and position of the nodes in each tile.
    nodes: Vec<Vec<(u32, Point)>>,
    /// The squares around them.
    pub(super) boxes: LevelBoxes,
}

impl Places {
    /// The places of `tiles` (world coordinates, size, footprint), every `cell_px` pixels of the grid; the
    /// squares are three quarters of that.
    pub(super) fn new(grid: &Grid, tiles: &[(&Wcs, Shape, Rect)], cell_px: usize) -> Self {
        let across = grid.shape.width.div_ceil(cell_px) + 1;
        let middle = |s: Shape| Point::new(0.5 * s.width as f64, 0.5 * s.height as f64);
        let grid_scale = grid.wcs.scale_arcsec_per_px(middle(grid.shape));
        let mut times_seen = vec![0u8; across * (grid.shape.height.div_ceil(cell_px) + 1)];
        let mut places = Self::default();
        for &(wcs, shape, bounds) in tiles {
            let ratio = grid_scale
                .zip(wcs.scale_arcsec_per_px(middle(shape)))
                .map_or(1.0, |(grid, tile)| grid / tile);
            let side = ((0.75 * cell_px as f64 * ratio) as usize)
                .clamp(LEAST_BOX_PX, shape.width.min(shape.height).max(LEAST_BOX_PX));
            places.boxes.side_px.push(side as u32);
            let mut nodes = Vec::new();
            if let Ok(map) = PixelMap::new(&grid.wcs, wcs) {
                for j in bounds.y.div_ceil(cell_px)..=bounds.y_end() / cell_px {
                    for i in bounds.x.div_ceil(cell_px)..=bounds.x_end() / cell_px {
                        let node = Point::new((i * cell_px) as f64, (j * cell_px) as f64);
                        let Some(at) = map.at(node) else { continue };
                        if corner(at, side, shape).is_some() {
                            let k = j * across + i;
                            times_seen[k] = times_seen[k].saturating_add(1);
                            nodes.push((k as u32, at));
                        }
                    }
                }
            }
            places.nodes.push(nodes);
        }
        for (t, nodes) in places.nodes.iter_mut().enumerate() {
            nodes.retain(|(k, _)| times_seen[*k as usize] > 1);
            let side = places.boxes.side_px[t] as usize;
            let corners = nodes.iter().filter_map(|(_, at)| corner(*at, side, tiles[t].1));
            places.boxes.corners.push(corners.collect());
        }
        places
    }
}

/// A smaller square says too little.
const LEAST_BOX_PX: usize = 8;

/// First pixel of the square of side `side` about `at`, if it lies inside the tile.
fn corner(at: Point, side: usize, shape: Shape) -> Option<[u32; 2]> {
    let first = |p: f64, size: usize| {
        let first = (p - 0.5 * (side as f64 - 1.0)).round();
        (first >= 0.0 && first + side as f64 <= size as f64).then_some(first as u32)
    };
    Some([first(at.x, shape.width)?, first(at.y, shape.height)?])
}

/// The skies of all places in plane `plane`, after the gains. `place_of` gives the number of each tile in
/// `places`.
fn sky_sightings(
    places: &Places,
    place_of: &[usize],
    tiles: &[Tile],
    measures: &[FrameMeasure],
    gain: &[f64],
    plane: usize,
) -> Vec<Sighting> {
    let mut sightings = Vec::new();
    for (t, tile) in tiles.iter().enumerate() {
        let measure = &measures[tile.frame];
        let Some(levels) = measure.levels.get(plane) else { continue };
        let side = f64::from(places.boxes.side_px[place_of[t]]);
        let noise = f64::from(measure.metrics.noise).max(f64::MIN_POSITIVE);
        // the median of Gaussian samples is 1.25 times as noisy as their mean
        let sigma = gain[t] * 1.25 * noise / side;
        for ((object, at), level) in places.nodes[place_of[t]].iter().zip(levels) {
            if level.is_nan() {
                continue;
            }
            let (u, v) = Correction::place(*at, tile.shape);
            let value = gain[t] * f64::from(*level);
            sightings.push(Sighting { tile: t as u32, object: *object, value, sigma, u, v });
        }
    }
    sightings
}
