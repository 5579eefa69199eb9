//! Pixels that stand out from their neighbours, in a dark or in the lights.

use stillframe_image::{CfaPattern, Image, Shape};

use super::local::{self, PartNoise, RowScratch};
use super::{DefectParams, Defects};
use crate::ops::stats;

/// Reach of the square whose border a member of a cluster must rise above, in sites.
const CLUSTER_REACH: i64 = 2;
/// Share of its neighbour's rise that a member of a cluster has at least.
const CLUSTER_SHARE: f32 = 0.25;
/// Share of a defect's height that its neighbours' median may have. The four nearest neighbours
/// of a star have at least 0.24 (FWHM 1.4 px), a pair of hot pixels none.
const NEIGHBOURS_MONO: f32 = 0.2;
/// The same in a mosaic, where they have other colours: a third for a red star.
const NEIGHBOURS_MOSAIC: f32 = 0.1;
/// What keeps a faint star a star, in σ of a pixel: two standard errors of the neighbours' median.
const NEIGHBOURS_SIGMA: f32 = 1.0;
/// Share of its residual by which a defect stands out from its wider surroundings too. A pixel at
/// the foot of a star lies below its neighbours, but above the sky.
const LEAST_OWN: f32 = 0.5;
/// Reach of the square in which the level about a light's pixel is measured.
const LEVEL_REACH: i64 = 3;
/// Frames that a search uses at most: spread over the session, fifteen say what forty would.
const MOST_LIGHTS: usize = 15;
/// Fewest frames among which a star that moves is told from a pixel that does not.
const FEWEST_LIGHTS: usize = 3;

/// Distance of sites of one colour along a row.
fn pitch(cfa: Option<CfaPattern>) -> usize {
    if cfa.is_some() { 2 } else { 1 }
}

/// Hot pixels of a master `dark`, as row-major indices in ascending order. O(n), allocates an
/// image.
///
/// A pixel is hot that rises above the median of its 3×3 neighbourhood (of its own colour) by
/// `threshold_sigma` times the noise of its part of the sensor; next to a hot one, inside a
/// cluster, the border of its 5×5 neighbourhood is asked instead. Both neighbourhoods are
/// symmetric, so neither the slopes of amplifier glow nor the step where a part of the sensor was
/// read out at bias level are hot.
pub fn hot_in_dark(dark: &Image<f32>, cfa: Option<CfaPattern>, params: DefectParams) -> Vec<u32> {
    let pitch = pitch(cfa);
    let residual = residual_image(dark, pitch);
    let noise = PartNoise::of(&residual);
    let mut is_hot = Image::filled(dark.shape(), false);
    let mut edges: Vec<(usize, usize, f32)> = Vec::new();
    for y in 0..dark.height() {
        for (x, &r) in residual.row(y).iter().enumerate() {
            if r > params.threshold_sigma * noise.at(x, y) {
                is_hot.set(x, y, true);
                edges.push((x, y, r));
            }
        }
    }
    while let Some((x, y, rise)) = edges.pop() {
        let least = CLUSTER_SHARE * rise;
        for (i, j) in around(dark.shape(), x, y, 1, pitch) {
            if is_hot.at(i, j) {
                continue;
            }
            let here = dark.at(i, j) - border_level(dark, i, j, pitch);
            if here > least.max(params.threshold_sigma * noise.at(i, j)) {
                is_hot.set(i, j, true);
                edges.push((i, j, here));
            }
        }
    }
    let hot = is_hot.pixels().iter().enumerate().filter(|(_, hot)| **hot);
    hot.map(|(at, _)| at as u32).collect()
}

/// Hot and cold pixels from calibrated `lights` in sensor coordinates, for when there is no dark.
/// O(n · lights), allocates two images.
///
/// Of each pixel the median over the lights of its residual from its 3×3 neighbourhood (of its
/// own colour) is taken; a pixel is a defect that stands out by `threshold_sigma` times the noise
/// of its part of the sensor and whose four nearest neighbours do not stand out with it. A star
/// wider than 1.4 px lifts those too, so stars are no defects even in frames that were not
/// dithered; a defect under such a star is not seen, nor one in the outermost lines. Nine to fifteen lights spread over the
/// session serve best; more than fifteen are thinned, fewer than three or frames of different
/// shapes find nothing.
pub fn defects_in_lights(
    lights: &[&Image<f32>],
    cfa: Option<CfaPattern>,
    params: DefectParams,
) -> Defects {
    let mut defects = Defects::default();
    let Some(shape) = lights.first().map(|l| l.shape()) else { return defects };
    if lights.len() < FEWEST_LIGHTS || shape.is_empty() || lights.iter().any(|l| l.shape() != shape)
    {
        return defects;
    }
    let n = lights.len().min(MOST_LIGHTS);
    let chosen: Vec<&Image<f32>> = (0..n).map(|k| lights[k * lights.len() / n]).collect();
    let (residual, typical) = medians(&chosen, shape, cfa);
    let noise = PartNoise::of(&residual);
    // at the very edge a star has neighbours on one side only
    let pitch = pitch(cfa);
    for y in pitch..shape.height.saturating_sub(pitch) {
        for x in pitch..shape.width.saturating_sub(pitch) {
            let r = residual.at(x, y);
            let sigma = noise.at(x, y);
            if r.abs() > params.threshold_sigma * sigma
                && stands_alone(&typical, x, y, cfa, r, sigma)
            {
                let at = (y * shape.width + x) as u32;
                if r > 0.0 { defects.hot.push(at) } else { defects.cold.push(at) }
            }
        }
    }
    defects
}

/// Median over the lights of each pixel's residual, and of its value above its frame's level.
fn medians(
    lights: &[&Image<f32>],
    shape: Shape,
    cfa: Option<CfaPattern>,
) -> (Image<f32>, Image<f32>) {
    let levels: Vec<f32> = lights.iter().map(|l| level(l)).collect();
    let mut residual = Image::filled(shape, 0.0);
    let mut typical = Image::filled(shape, 0.0);
    let mut rows = vec![vec![0.0f32; shape.width]; lights.len()];
    let mut scratch = RowScratch::default();
    for y in 0..shape.height {
        for (row, light) in rows.iter_mut().zip(lights) {
            local::residual_row(light, y, pitch(cfa), row, &mut scratch);
        }
        local::median_down(&mut rows, residual.row_mut(y));
        for ((row, light), &level) in rows.iter_mut().zip(lights).zip(&levels) {
            for (out, &v) in row.iter_mut().zip(light.row(y)) {
                *out = v - level;
            }
        }
        local::median_down(&mut rows, typical.row_mut(y));
    }
    (residual, typical)
}

/// Median of a frame, thinned by an odd step.
fn level(image: &Image<f32>) -> f32 {
    let step = (image.shape().len() / 30_000) | 1;
    let mut samples: Vec<f32> = image.pixels().iter().copied().step_by(step).collect();
    stats::median(&mut samples).unwrap_or(0.0)
}

/// Whether a pixel rises (or falls) from its wider surroundings and its four nearest neighbours
/// do not with it.
fn stands_alone(
    typical: &Image<f32>,
    x: usize,
    y: usize,
    cfa: Option<CfaPattern>,
    residual: f32,
    sigma: f32,
) -> bool {
    let sign = residual.signum();
    // between bright stars the median lies high: a cold pixel lies below nearly everything
    let floor = if sign > 0.0 { 0.5 } else { 0.15 };
    let own = (typical.at(x, y) - colour_level(typical, x, y, cfa, floor)) * sign;
    if own < LEAST_OWN * residual.abs() {
        return false;
    }
    let sky = if sign > 0.0 { 0.25 } else { 0.75 };
    let share = if cfa.is_some() { NEIGHBOURS_MOSAIC } else { NEIGHBOURS_MONO };
    let nearest = [(1, 0), (-1, 0), (0, 1), (0, -1)];
    let mut rises: Vec<f32> = nearest
        .iter()
        .filter_map(|&(dx, dy)| offset(typical.shape(), x, y, dx, dy))
        .map(|(i, j)| (typical.at(i, j) - colour_level(typical, i, j, cfa, sky)) * sign)
        .collect();
    let together = stats::median(&mut rises).unwrap_or(0.0);
    together < share * residual.abs() - NEIGHBOURS_SIGMA * sigma
}

/// Quantile of the pixels of one colour about a pixel.
fn colour_level(
    image: &Image<f32>,
    x: usize,
    y: usize,
    cfa: Option<CfaPattern>,
    quantile: f64,
) -> f32 {
    let same = |i: usize, j: usize| cfa.is_none_or(|c| c.colour_at(i, j) == c.colour_at(x, y));
    let mut values = Vec::with_capacity(49);
    for dy in -LEVEL_REACH..=LEVEL_REACH {
        for dx in -LEVEL_REACH..=LEVEL_REACH {
            let inside = offset(image.shape(), x, y, dx, dy).filter(|&(i, j)| same(i, j));
            values.extend(inside.map(|(i, j)| image.at(i, j)));
        }
    }
    values.sort_unstable_by(f32::total_cmp);
    values.get((values.len() as f64 * quantile) as usize).copied().unwrap_or(0.0)
}

fn residual_image(image: &Image<f32>, pitch: usize) -> Image<f32> {
    let mut residual = Image::filled(image.shape(), 0.0);
    let mut scratch = RowScratch::default();
    for y in 0..image.height() {
        local::residual_row(image, y, pitch, residual.row_mut(y), &mut scratch);
    }
    residual
}

/// Median of the border of the square about a pixel that holds a cluster. At the edge of the
/// sensor only points whose opposite exists count (if there are any), so that a slope cancels.
fn border_level(image: &Image<f32>, x: usize, y: usize, pitch: usize) -> f32 {
    let shape = image.shape();
    let border = || around(shape, x, y, CLUSTER_REACH, pitch);
    let has_opposite = |&(i, j): &(usize, usize)| {
        let (dx, dy) = (x as i64 - i as i64, y as i64 - j as i64);
        offset(shape, x, y, dx, dy).is_some()
    };
    let mut values: Vec<f32> = border().filter(has_opposite).map(|(i, j)| image.at(i, j)).collect();
    if values.is_empty() {
        values.extend(border().map(|(i, j)| image.at(i, j)));
    }
    stats::median(&mut values).unwrap_or(f32::INFINITY)
}

/// Sites on the border of the square of `reach` sites about a pixel that lie in the image.
fn around(
    shape: Shape,
    x: usize,
    y: usize,
    reach: i64,
    pitch: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let square = (-reach..=reach).flat_map(move |dy| (-reach..=reach).map(move |dx| (dx, dy)));
    square
        .filter(move |&(dx, dy)| dx.abs().max(dy.abs()) == reach)
        .filter_map(move |(dx, dy)| offset(shape, x, y, dx * pitch as i64, dy * pitch as i64))
}

fn offset(shape: Shape, x: usize, y: usize, dx: i64, dy: i64) -> Option<(usize, usize)> {
    let i = usize::try_from(x as i64 + dx).ok().filter(|&i| i < shape.width)?;
    let j = usize::try_from(y as i64 + dy).ok().filter(|&j| j < shape.height)?;
    Some((i, j))
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, math};

    use super::*;

    const SHAPE: Shape = Shape::new(260, 300);

    fn hot_places(n: usize, shape: Shape) -> Vec<u32> {
        let mut rng = Rng::new(8, 8, 0);
        let mut places: Vec<u32> = (0..n).map(|_| rng.below(shape.len()) as u32).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    #[test]
    fn hot_pixels_are_found_on_glow_and_across_a_step_and_glow_is_not_hot() {
        for cfa in [None, Some(CfaPattern::Grbg)] {
            let mut rng = Rng::new(1, 0, 0);
            let mut dark = Image::from_fn(SHAPE, |x, y| {
                if y >= 200 {
                    return (2336.0 + 2.0 * rng.normal()) as f32;
                }
                let r2 = ((300 - x) * (300 - x) + y * y) as f64;
                let glow = 4000.0 * math::exp(-r2 / 2000.0);
                (3056.0 + glow + 6.0 * rng.normal()) as f32
            });
            let places = hot_places(60, SHAPE);
            for &at in &places {
                dark.pixels_mut()[at as usize] += 150.0;
            }
            let found = hot_in_dark(&dark, cfa, DefectParams::default());
            let missed = places.iter().filter(|p| !found.contains(p)).count();
            let false_ones = found.iter().filter(|p| !places.contains(p)).count();
            assert!(missed <= 1 && false_ones == 0, "{cfa:?}: {missed} missed, {false_ones} false");
        }
    }

    #[test]
    fn clusters_are_found_to_their_last_pixel() {
        let mut rng = Rng::new(2, 0, 0);
        let mut dark = Image::from_fn(SHAPE, |_, _| (100.0 + rng.normal()) as f32);
        let mut places = Vec::new();
        for (x0, y0, side) in [(20, 20, 2), (50, 20, 3), (0, 0, 2), (297, 100, 3)] {
            for y in y0..y0 + side {
                for x in x0..x0 + side {
                    dark.set(x, y, 5000.0);
                    places.push((y * SHAPE.width + x) as u32);
                }
            }
        }
        places.sort_unstable();
        assert_eq!(hot_in_dark(&dark, None, DefectParams::default()), places);
    }

    #[test]
    fn a_dark_without_noise_has_no_hot_pixels_but_the_hot() {
        let mut dark = Image::filled(Shape::new(50, 50), 7.0f32);
        assert!(hot_in_dark(&dark, None, DefectParams::default()).is_empty());
        dark.set(3, 4, 8.0);
        assert_eq!(hot_in_dark(&dark, None, DefectParams::default()), vec![203]);
    }

    /// Lights with stars of this FWHM that move by `drift` pixels from frame to frame.
    fn lights(
        fwhm: f64,
        drift: f64,
        cfa: Option<CfaPattern>,
        colours: [f64; 3],
    ) -> Vec<Image<f32>> {
        let mut rng = Rng::new(3, 0, 0);
        let stars: Vec<(f64, f64, f64)> = (0..150)
            .map(|_| {
                let peak = 100.0 * math::exp(1.5 * rng.exponential());
                (rng.range(0.0, 300.0), rng.range(0.0, 260.0), peak.min(40_000.0))
            })
            .collect();
        let a = 4.0 * std::f64::consts::LN_2 / (fwhm * fwhm);
        (0..9)
            .map(|k| {
                let sky = 300.0 + 20.0 * f64::from(k);
                let mut image = Image::from_fn(SHAPE, |x, y| {
                    let gradient = 0.1 * x as f64 - 0.05 * y as f64;
                    (sky + gradient + 15.0 * rng.normal()) as f32
                });
                for &(sx, sy, peak) in &stars {
                    let (cx, cy) = (sx + drift * f64::from(k), sy + 0.7 * drift * f64::from(k));
                    for y in (cy as i64 - 9).max(0)..(cy as i64 + 10).min(260) {
                        for x in (cx as i64 - 9).max(0)..(cx as i64 + 10).min(300) {
                            let r2 = (x as f64 - cx).powi(2) + (y as f64 - cy).powi(2);
                            let (x, y) = (x as usize, y as usize);
                            let share = cfa.map_or(1.0, |c| colours[c.colour_at(x, y).plane()]);
                            let v = image.at(x, y) + (share * peak * math::exp(-a * r2)) as f32;
                            image.set(x, y, v);
                        }
                    }
                }
                image
            })
            .collect()
    }

    fn search(frames: &[Image<f32>], cfa: Option<CfaPattern>) -> Defects {
        let frames: Vec<&Image<f32>> = frames.iter().collect();
        defects_in_lights(&frames, cfa, DefectParams::default())
    }

    #[test]
    fn stars_are_never_defects_even_if_they_never_move() {
        for fwhm in [1.5, 1.8, 2.2, 3.0] {
            let found = search(&lights(fwhm, 0.0, None, [1.0; 3]), None);
            assert_eq!(found, Defects::default(), "FWHM {fwhm}");
        }
        for cfa in CfaPattern::ALL {
            for colours in [[1.0, 1.0, 1.0], [1.0, 0.4, 0.2], [0.3, 0.6, 1.0]] {
                let found = search(&lights(2.2, 0.0, Some(cfa), colours), Some(cfa));
                assert_eq!(found, Defects::default(), "{cfa:?} {colours:?}");
            }
        }
    }

    #[test]
    fn hot_and_cold_pixels_are_found_in_lights() {
        for cfa in [None, Some(CfaPattern::Rggb)] {
            let mut frames = lights(2.4, 1.7, cfa, [0.7, 1.0, 0.6]);
            let edge = |p: &u32| p % 300 < 2 || p % 300 > 297 || p / 300 < 2 || p / 300 > 257;
            let mut places = hot_places(80, SHAPE);
            places.retain(|p| !edge(p));
            for (k, &at) in places.iter().enumerate() {
                for frame in &mut frames {
                    let v = &mut frame.pixels_mut()[at as usize];
                    *v = if k % 2 == 0 { *v + 170.0 } else { *v * 0.2 };
                }
            }
            let found = search(&frames, cfa);
            let all: Vec<u32> = found.hot.iter().chain(&found.cold).copied().collect();
            let missed = places.iter().filter(|p| !all.contains(p)).count();
            let false_ones = all.iter().filter(|p| !places.contains(p)).count();
            assert!(missed <= 4 && false_ones == 0, "{cfa:?}: {missed} missed, {false_ones} false");
            assert!(found.hot.iter().all(|p| places.iter().step_by(2).any(|q| q == p)));
        }
    }

    #[test]
    fn too_few_or_unlike_lights_find_nothing() {
        let frames = lights(2.4, 1.0, None, [1.0; 3]);
        let small = Image::filled(Shape::new(5, 5), 0.0);
        assert_eq!(search(&frames[..2], None), Defects::default());
        let mixed = [&frames[0], &frames[1], &frames[2], &small];
        assert_eq!(defects_in_lights(&mixed, None, DefectParams::default()), Defects::default());
        assert_eq!(defects_in_lights(&[], None, DefectParams::default()), Defects::default());
    }
}
