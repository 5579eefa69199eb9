//! Tiles without hot pixels and holes.

use multiversion::multiversion;
use stillframe_image::{Image, math};

/// Standard deviations of the tile by which a hot pixel stands out.
const HOT_SIGMA: f32 = 4.0;

/// Writes `image` without holes and hot pixels to `out`, and to `valid` 1 where it may count and 0
/// at and beside holes. Returns the number of good pixels.
///
/// A pixel is hot if it stands out of its fourth-brightest neighbour more than a star of `fwhm_px`
/// can, wherever its centre lies; so up to three neighbours may be hot as well, as in the track of
/// a cosmic ray. It gets the value of that neighbour.
pub(super) fn clean(
    image: &Image<f32>,
    mask: Option<&Image<u8>>,
    fwhm_px: f64,
    out: &mut Image<f32>,
    valid: &mut Image<f32>,
) -> usize {
    let shape = image.shape();
    valid.reset(shape, 1.0);
    let mut good: Vec<f32> = Vec::with_capacity(shape.len());
    for (i, (&v, ok)) in image.pixels().iter().zip(valid.pixels_mut()).enumerate() {
        if mask.is_some_and(|m| m.pixels().get(i) != Some(&0)) || !v.is_finite() {
            *ok = 0.0;
        } else {
            good.push(v);
        }
    }
    let found = good.len();
    if found == 0 {
        out.reset(shape, 0.0);
        return 0;
    }
    let (level, sigma) = level_and_scatter(&mut good);
    let mut filled = image.clone();
    if found < shape.len() {
        fill(&mut filled, valid, level);
    }
    // Sharpest for a star at the corner of four pixels: r² of 1/2 and of 5/2. Seeing varies by half.
    let sharpest = math::exp(8.0 * std::f64::consts::LN_2 / (fwhm_px * fwhm_px));
    let ratio = (1.5 * sharpest).min(20.0) as f32;
    // Twice: the first pass takes the outer ones of a clump.
    replace_hot(&filled, level, sigma, ratio, out);
    std::mem::swap(&mut filled, out);
    replace_hot(&filled, level, sigma, ratio, out);
    if found < shape.len() {
        dilate(valid);
    }
    found
}

/// Median and scatter (from the median absolute deviation).
fn level_and_scatter(values: &mut [f32]) -> (f32, f32) {
    let middle = values.len() / 2;
    let level = *values.select_nth_unstable_by(middle, f32::total_cmp).1;
    for v in values.iter_mut() {
        *v = (*v - level).abs();
    }
    (level, 1.4826 * *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// Gives holes the mean of the good pixels within two, or `level` where there are none.
fn fill(image: &mut Image<f32>, valid: &Image<f32>, level: f32) {
    let shape = image.shape();
    let source = image.clone();
    for y in 0..shape.height {
        for x in 0..shape.width {
            if valid.at(x, y) > 0.0 {
                continue;
            }
            let (mut sum, mut n) = (0.0f64, 0.0f64);
            for v in y.saturating_sub(2)..(y + 3).min(shape.height) {
                for u in x.saturating_sub(2)..(x + 3).min(shape.width) {
                    if valid.at(u, v) > 0.0 {
                        sum += f64::from(source.at(u, v));
                        n += 1.0;
                    }
                }
            }
            image.set(x, y, if n > 0.0 { (sum / n) as f32 } else { level });
        }
    }
}

/// Takes the validity of the pixels beside holes: the filter smears what was filled in.
fn dilate(valid: &mut Image<f32>) {
    let source = valid.clone();
    let shape = source.shape();
    for y in 0..shape.height {
        for x in 0..shape.width {
            for v in y.saturating_sub(1)..(y + 2).min(shape.height) {
                for u in x.saturating_sub(1)..(x + 2).min(shape.width) {
                    if source.at(u, v) == 0.0 {
                        valid.set(x, y, 0.0);
                    }
                }
            }
        }
    }
}

fn replace_hot(image: &Image<f32>, level: f32, sigma: f32, ratio: f32, out: &mut Image<f32>) {
    let shape = image.shape();
    let width = shape.width;
    out.reset(shape, 0.0);
    let mut padded = vec![0.0f32; 3 * (width + 2)];
    for y in 0..shape.height {
        let sources = [y.saturating_sub(1), y, (y + 1).min(shape.height - 1)];
        for (row, source) in padded.chunks_exact_mut(width + 2).zip(sources) {
            let source = image.row(source);
            row[0] = source[0];
            row[1..=width].copy_from_slice(source);
            row[width + 1] = source[width - 1];
        }
        let (above, rest) = padded.split_at(width + 2);
        let (here, below) = rest.split_at(width + 2);
        clean_row([above, here, below], [level, sigma, ratio], out.row_mut(y));
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn clean_row(rows: [&[f32]; 3], [level, sigma, ratio]: [f32; 3], out: &mut [f32]) {
    let n = out.len();
    let [a, b, c] = rows;
    let neighbours =
        [&a[..n], &a[1..=n], &a[2..n + 2], &b[..n], &b[2..n + 2], &c[..n], &c[1..=n], &c[2..n + 2]];
    let own = &b[1..=n];
    for x in 0..n {
        let mut top = [f32::MIN; 4];
        for row in neighbours {
            let mut v = row[x];
            for t in &mut top {
                let lower = if v < *t { v } else { *t };
                *t = if v > *t { v } else { *t };
                v = lower;
            }
        }
        let fourth = top[3];
        let beside = fourth - level;
        let beside = if beside > sigma { beside } else { sigma };
        let height = own[x] - level;
        let is_hot = height > ratio * beside && own[x] - fourth > HOT_SIGMA * sigma;
        out[x] = if is_hot { fourth } else { own[x] };
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Point, Rng, Shape};

    use super::*;

    #[test]
    fn hot_pixels_go_and_stars_stay() {
        let shape = Shape::new(64, 64);
        for fwhm in [1.8, 2.5, 4.0] {
            let mut rng = Rng::new(1, 0, 0);
            let star = |p: Point, x: usize, y: usize| {
                let d = (Point::new(x as f64, y as f64) - p).norm_squared();
                800.0 * math::exp(-4.0 * std::f64::consts::LN_2 * d / (fwhm * fwhm))
            };
            let stars: Vec<Point> = (0..8)
                .map(|_| Point::new(rng.range(4.0, 60.0), rng.range(4.0, 60.0)))
                .chain([Point::new(30.0, 12.0)])
                .collect();
            let sky = Image::from_fn(shape, |x, y| {
                let light: f64 = stars.iter().map(|&p| star(p, x, y)).sum();
                (100.0 + light + 5.0 * rng.normal()) as f32
            });
            let mut dirty = sky.clone();
            for _ in 0..40 {
                dirty.set(rng.below(64), rng.below(64), rng.range(300.0, 3000.0) as f32);
            }
            let (mut out, mut valid) = (sky.clone(), sky.clone());
            assert_eq!(clean(&sky, None, fwhm, &mut out, &mut valid), 64 * 64);
            let touched = sky.pixels().iter().zip(out.pixels()).filter(|(a, b)| a != b).count();
            assert_eq!(touched, 0, "fwhm {fwhm}");
            clean(&dirty, None, fwhm, &mut out, &mut valid);
            let left = |p: (&f32, &f32)| p.1 - p.0 > 150.0;
            let hot = sky.pixels().iter().zip(out.pixels()).filter(|p| left(*p)).count();
            assert!(hot <= 2, "fwhm {fwhm}: {hot} of 40 left");
        }
    }

    #[test]
    fn holes_are_filled_and_do_not_count() {
        let shape = Shape::new(20, 20);
        let mut image = Image::from_fn(shape, |x, _| x as f32);
        image.set(10, 10, f32::NAN);
        let mut mask = Image::filled(shape, 0u8);
        mask.set(4, 4, 1);
        let (mut out, mut valid) = (image.clone(), image.clone());
        assert_eq!(clean(&image, Some(&mask), 3.0, &mut out, &mut valid), 398);
        assert_eq!((out.at(10, 10), out.at(4, 4)), (10.0, 4.0));
        assert_eq!(valid.pixels().iter().filter(|v| **v == 0.0).count(), 18);
        mask.pixels_mut().fill(1);
        assert_eq!(clean(&image, Some(&mask), 3.0, &mut out, &mut valid), 0);
    }
}
