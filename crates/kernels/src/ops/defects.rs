//! Hot and cold pixels: where they are, and what to put in their place.

use stillframe_image::{CfaPattern, Image, Rect, Shape, mask};

mod find;
mod local;

pub use find::{defects_in_lights, hot_in_dark};

/// Good neighbours that a defect is made of, if so many are near.
const ENOUGH_NEIGHBOURS: usize = 4;
/// Farthest neighbours that are asked, in units of the distance of sites of one colour.
const FARTHEST: usize = 3;

/// How far a pixel must stand out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefectParams {
    /// In standard deviations of the noise of its part of the sensor.
    pub threshold_sigma: f32,
}

impl Default for DefectParams {
    /// 8 σ: a warm pixel below it is corrected by the dark well enough.
    fn default() -> Self {
        Self { threshold_sigma: 8.0 }
    }
}

/// Pixels that are not to be trusted, as row-major indices in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    /// With excess signal.
    pub hot: Vec<u32>,
    /// With too little.
    pub cold: Vec<u32>,
}

/// A defect and where its neighbours lie in the map's list.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Replacement {
    pixel: u32,
    bit: u8,
    first: u32,
    end: u32,
}

/// The defects of a sensor with their neighbours looked up, ready for frame after frame.
#[derive(Clone, Debug, PartialEq)]
pub struct DefectMap {
    shape: Shape,
    replacements: Vec<Replacement>,
    neighbours: Vec<(u32, f32)>,
}

impl DefectMap {
    /// Farthest neighbour of a defect, pixels.
    pub const REACH: usize = 2 * FARTHEST;

    /// The map of `defects` on a sensor of `shape`; indices outside it are ignored. In a mosaic
    /// neighbours have the defect's own colour. Allocates about 50 bytes a defect.
    ///
    /// Neighbours are the good pixels of the smallest square about the defect that holds at least
    /// four, up to three sites away, weighted by the inverse of their squared distance.
    pub fn new(shape: Shape, defects: &Defects, cfa: Option<CfaPattern>) -> Self {
        let inside = |&pixel: &u32| (pixel as usize) < shape.len();
        let hot = defects.hot.iter().filter(|p| inside(p)).map(|&p| (p, mask::HOT));
        let cold = defects.cold.iter().filter(|p| inside(p)).map(|&p| (p, mask::COLD));
        let mut all: Vec<(u32, u8)> = hot.chain(cold).collect();
        all.sort_unstable();
        // hot in the dark and cold in the flat: one defect with both bits
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 |= next.1;
            }
            same
        });
        let is_bad = |pixel: usize| all.binary_search_by_key(&(pixel as u32), |d| d.0).is_ok();
        let mut map = Self { shape, replacements: Vec::new(), neighbours: Vec::new() };
        for &(pixel, bit) in &all {
            let first = map.neighbours.len() as u32;
            map.neighbours.extend(neighbours(shape, pixel as usize, cfa, is_bad));
            let end = map.neighbours.len() as u32;
            map.replacements.push(Replacement { pixel, bit, first, end });
        }
        map
    }

    /// Number of defects.
    pub fn len(&self) -> usize {
        self.replacements.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.replacements.is_empty()
    }

    /// Replaces every defect by the weighted mean of its neighbours and sets its bit of `mask`:
    /// `HOT`, `COLD`, and `SATURATED` if a neighbour is. One whose neighbours are all without data
    /// becomes 0 with the bit `NO_DATA`. O(number of defects).
    ///
    /// # Panics
    /// If the image or the mask has another shape than the map.
    pub fn replace(&self, image: &mut Image<f32>, mask: &mut Image<u8>) {
        assert_eq!(image.shape(), self.shape, "the image is not of this sensor");
        self.replace_in(self.shape.rect(), image, mask);
    }

    /// As [`Self::replace`], of the pixels of `rect` alone, which `image` and `mask` hold.
    ///
    /// A defect nearer to a border of `rect` than [`Self::REACH`] may lack neighbours that the whole
    /// frame has: what is needed exactly must lie deeper inside, unless that is the frame's border.
    ///
    /// # Panics
    /// If the image or the mask has another shape than `rect`.
    pub fn replace_in(&self, rect: Rect, image: &mut Image<f32>, mask: &mut Image<u8>) {
        assert_eq!(image.shape(), rect.shape(), "the image is not of this rectangle");
        assert_eq!(mask.shape(), rect.shape(), "the mask is not of this rectangle");
        let width = self.shape.width;
        let (pixels, bits) = (image.pixels_mut(), mask.pixels_mut());
        let inside = |index: u32| {
            let (x, y) = (index as usize % width, index as usize / width);
            let is_in = x >= rect.x && x < rect.x_end() && y >= rect.y && y < rect.y_end();
            is_in.then(|| (y - rect.y) * rect.width + x - rect.x)
        };
        let before =
            |row: usize| self.replacements.partition_point(|r| (r.pixel as usize) < row * width);
        for r in &self.replacements[before(rect.y)..before(rect.y_end())] {
            let Some(pixel) = inside(r.pixel) else { continue };
            let (mut sum, mut weights, mut shared) = (0.0f64, 0.0f64, 0u8);
            for &(neighbour, weight) in &self.neighbours[r.first as usize..r.end as usize] {
                let Some(at) = inside(neighbour) else { continue };
                if bits[at] & mask::NO_DATA == 0 {
                    sum += f64::from(weight) * f64::from(pixels[at]);
                    weights += f64::from(weight);
                    shared |= bits[at] & mask::SATURATED;
                }
            }
            // its own saturation is that of the defect, not of the light
            let kept = bits[pixel] & !mask::SATURATED;
            if weights > 0.0 && kept & mask::NO_DATA == 0 {
                pixels[pixel] = (sum / weights) as f32;
                bits[pixel] = kept | r.bit | shared;
            } else {
                pixels[pixel] = 0.0;
                bits[pixel] = kept | r.bit | mask::NO_DATA;
            }
        }
    }
}

/// Good pixels about `pixel` of its colour, and their weights, in reading order.
fn neighbours(
    shape: Shape,
    pixel: usize,
    cfa: Option<CfaPattern>,
    is_bad: impl Fn(usize) -> bool,
) -> Vec<(u32, f32)> {
    let (px, py) = (pixel % shape.width, pixel / shape.width);
    let pitch = if cfa.is_some() { 2 } else { 1 };
    let mut found = Vec::new();
    for ring in 1..=FARTHEST {
        let reach = ring * pitch;
        found.clear();
        for y in py.saturating_sub(reach)..(py + reach + 1).min(shape.height) {
            for x in px.saturating_sub(reach)..(px + reach + 1).min(shape.width) {
                let same = cfa.is_none_or(|c| c.colour_at(x, y) == c.colour_at(px, py));
                let at = y * shape.width + x;
                if at != pixel && same && !is_bad(at) {
                    let squared = x.abs_diff(px).pow(2) + y.abs_diff(py).pow(2);
                    found.push((at as u32, 1.0 / squared as f32));
                }
            }
        }
        if found.len() >= ENOUGH_NEIGHBOURS {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    fn replaced(
        image: &Image<f32>,
        defects: &Defects,
        cfa: Option<CfaPattern>,
    ) -> (Image<f32>, Image<u8>) {
        let (mut image, mut bits) = (image.clone(), Image::filled(image.shape(), 0u8));
        DefectMap::new(image.shape(), defects, cfa).replace(&mut image, &mut bits);
        (image, bits)
    }

    proptest! {
        #[test]
        fn only_defects_change_and_a_flat_mosaic_is_restored(
            h in 3usize..20, w in 3usize..20, seed in 0u64..500, pattern in 0usize..5
        ) {
            let cfa = CfaPattern::ALL.get(pattern).copied();
            let shape = Shape::new(h, w);
            let truth = Image::from_fn(shape, |x, y| {
                cfa.map_or(50.0, |c| 100.0 * (1.0 + c.colour_at(x, y).plane() as f32))
            });
            let mut rng = Rng::new(seed, 0, 0);
            let mut defects = Defects::default();
            let mut spoilt = truth.clone();
            for pixel in 0..shape.len() as u32 {
                if rng.uniform() < 0.15 {
                    spoilt.pixels_mut()[pixel as usize] = 9e4;
                    if rng.uniform() < 0.5 { defects.hot.push(pixel) } else { defects.cold.push(pixel) }
                }
            }
            let (image, bits) = replaced(&spoilt, &defects, cfa);
            for (pixel, (&v, &m)) in image.pixels().iter().zip(bits.pixels()).enumerate() {
                let is = |list: &[u32]| list.contains(&(pixel as u32));
                prop_assert_eq!(m & mask::HOT != 0, is(&defects.hot));
                prop_assert_eq!(m & mask::COLD != 0, is(&defects.cold));
                let want = if m & mask::NO_DATA != 0 { 0.0 } else { truth.pixels()[pixel] };
                prop_assert!((v - want).abs() < 1e-3, "{}: {} for {}", pixel, v, want);
            }
        }
    }

    #[test]
    fn big_clusters_reach_out_and_hopeless_ones_lose_their_data() {
        let shape = Shape::new(9, 9);
        let image = Image::from_fn(shape, |x, _| 10.0 * x as f32);
        let square = |reach: usize| Defects {
            hot: (0..81u32)
                .filter(|p| {
                    (p % 9).abs_diff(4) as usize <= reach && (p / 9).abs_diff(4) as usize <= reach
                })
                .collect(),
            cold: Vec::new(),
        };
        let (out, bits) = replaced(&image, &square(2), None);
        assert!((out.at(4, 4) - 40.0).abs() < 1e-4);
        assert_eq!(bits.at(4, 4), mask::HOT);
        let (out, bits) = replaced(&image, &square(3), None);
        assert_eq!((out.at(4, 4), bits.at(4, 4)), (0.0, mask::HOT | mask::NO_DATA));
        assert_eq!(bits.at(2, 4), mask::HOT);
    }

    #[test]
    fn neighbours_without_data_are_not_asked_and_saturation_is_passed_on() {
        let shape = Shape::new(3, 5);
        let mut image = Image::from_fn(shape, |x, _| x as f32);
        let mut bits = Image::filled(shape, 0u8);
        for y in 0..3 {
            bits.set(0, y, mask::NO_DATA);
            image.set(2, y, 60_000.0);
            bits.set(2, y, mask::SATURATED);
        }
        bits.set(1, 1, mask::SATURATED);
        let defects = Defects { hot: vec![6], cold: vec![6, 999] };
        let map = DefectMap::new(shape, &defects, None);
        assert_eq!(map.len(), 1);
        map.replace(&mut image, &mut bits);
        assert_eq!(bits.at(1, 1), mask::HOT | mask::COLD | mask::SATURATED);
        // one above, one below at weight 1; right ones at 1, 1/2, 1/2
        assert!((image.at(1, 1) - (2.0 + 2.0 * 60_000.0) / 4.0).abs() < 0.1);
    }

    #[test]
    fn a_rectangle_is_mended_as_the_whole_frame_is() {
        let shape = Shape::new(60, 80);
        let mut rng = stillframe_image::Rng::new(11, 0, 0);
        let pixel = |rng: &mut stillframe_image::Rng| rng.below(shape.len()) as u32;
        let mut hot: Vec<u32> = (0..200).map(|_| pixel(&mut rng)).collect();
        hot.sort_unstable();
        hot.dedup();
        let frame = Image::from_fn(shape, |_, _| rng.normal() as f32);
        for cfa in [None, Some(CfaPattern::Grbg)] {
            let map = DefectMap::new(shape, &Defects { hot: hot.clone(), cold: vec![] }, cfa);
            let (mut whole, mut bits) = (frame.clone(), Image::filled(shape, 0u8));
            map.replace(&mut whole, &mut bits);
            let rect = Rect::new(13, 10, 50, 40);
            let (mut part, mut part_bits) = (frame.crop(rect), Image::filled(rect.shape(), 0u8));
            map.replace_in(rect, &mut part, &mut part_bits);
            let r = DefectMap::REACH;
            let deep = Rect::new(r, r, rect.width - 2 * r, rect.height - 2 * r);
            let same = Rect::new(rect.x + r, rect.y + r, deep.width, deep.height);
            assert_eq!(part.crop(deep), whole.crop(same));
            assert_eq!(part_bits.crop(deep), bits.crop(same));
        }
    }
}
