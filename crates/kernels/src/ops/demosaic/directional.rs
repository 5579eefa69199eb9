//! Directional demosaicing.

use multiversion::multiversion;
use stillframe_image::{CfaPattern, Colour, Image, Shape};

/// Border by which the mosaic is continued: green asks two pixels away, gradients two more, their
/// window two more, colour differences one.
const PAD: usize = 8;
/// Keeps the weights of a patch without any gradient equal and finite.
const LEAST_GRADIENT: f32 = 1e-20;

/// Red, green and blue of `mosaic` at full resolution, each `height × width`. O(n), allocates
/// eight images.
///
/// Green is interpolated along rows and along columns with the curvature of the other colour, and
/// the two are mixed: the direction in which colour differences change less weighs more. Red and
/// blue follow as green plus the bilinear interpolation of their difference from it. Samples stay
/// what they are. The result scales and shifts with the input; nothing is clipped. The border
/// is mirrored; of a mosaic of less than two rows or columns each plane is a copy.
///
/// ```
/// use stillframe_image::{CfaPattern, Image, Shape};
/// use stillframe_kernels::ops::demosaic::demosaic;
///
/// let cfa = CfaPattern::Gbrg;
/// let colours = [3000.0f32, 2000.0, 1000.0];
/// let mosaic =
///     Image::from_fn(Shape::new(11, 16), |x, y| colours[cfa.colour_at(x, y).plane()]);
/// let [red, green, blue] = demosaic(&mosaic, cfa);
/// assert_eq!([red.at(5, 5), green.at(5, 5), blue.at(5, 5)], colours);
/// ```
///
/// # Source
/// Menon, Andriani & Calvagno (2007), doi:10.1109/TIP.2006.884928, equations 2 to 6. We differ: the
/// decision is soft (weights inverse to the gradients instead of the better of two), so that
/// noise does not draw mazes; the refinement by filtering is left out, which would correlate
/// noise once more.
pub fn demosaic(mosaic: &Image<f32>, cfa: CfaPattern) -> [Image<f32>; 3] {
    let shape = mosaic.shape();
    if shape.width < 2 || shape.height < 2 {
        return [mosaic.clone(), mosaic.clone(), mosaic.clone()];
    }
    let padded = Padded::of(mosaic, cfa);
    let green = padded.green();
    Colour::ALL.map(|colour| match colour {
        Colour::Green => cropped(&green, shape),
        other => cropped(&padded.plane(other, &green), shape),
    })
}

/// The mosaic continued by [`PAD`] mirrored pixels on every side, which keeps its colours.
struct Padded {
    mosaic: Image<f32>,
    cfa: CfaPattern,
}

fn mirrored(position: i64, n: usize) -> usize {
    let period = 2 * (n as i64 - 1);
    let k = position.rem_euclid(period);
    k.min(period - k) as usize
}

fn cropped(image: &Image<f32>, shape: Shape) -> Image<f32> {
    image.crop(stillframe_image::Rect::new(PAD, PAD, shape.width, shape.height))
}

impl Padded {
    fn of(image: &Image<f32>, cfa: CfaPattern) -> Self {
        let (w, h) = (image.width(), image.height());
        let shape = Shape::new(h + 2 * PAD, w + 2 * PAD);
        let columns: Vec<usize> =
            (0..shape.width).map(|x| mirrored(x as i64 - PAD as i64, w)).collect();
        let mut mosaic = Image::filled(shape, 0.0);
        for y in 0..shape.height {
            let row = image.row(mirrored(y as i64 - PAD as i64, h));
            for (out, &x) in mosaic.row_mut(y).iter_mut().zip(&columns) {
                *out = row[x];
            }
        }
        // PAD is even: the pattern starts as it did
        Self { mosaic, cfa }
    }

    /// First column of row `y` that is not green.
    fn first_other(&self, y: usize) -> usize {
        usize::from(self.cfa.colour_at(0, y) == Colour::Green)
    }

    /// Green everywhere; the outer pixels of the border are not to be used.
    fn green(&self) -> Image<f32> {
        let shape = self.mosaic.shape();
        let mut along_row = self.mosaic.clone();
        let mut along_column = self.mosaic.clone();
        // other colour less green; 0 at green sites
        let mut row_difference = Image::filled(shape, 0.0);
        let mut column_difference = Image::filled(shape, 0.0);
        for y in 2..shape.height - 2 {
            let rows = [0, 1, 2, 3, 4].map(|k| self.mosaic.row(y + k - 2));
            let first = self.first_other(y);
            let (out, difference) = (along_row.row_mut(y), row_difference.row_mut(y));
            interpolate_row(rows[2], first, out, difference);
            let (out, difference) = (along_column.row_mut(y), column_difference.row_mut(y));
            interpolate_column(rows, first, out, difference);
        }
        let row_gradient = gradient_along_rows(&row_difference);
        let column_gradient = gradient_along_columns(&column_difference);
        for y in 4..shape.height - 4 {
            let (a, b) = (
                [0, 1, 2, 3, 4].map(|k| row_gradient.row(y + k - 2)),
                [0, 1, 2, 3, 4].map(|k| column_gradient.row(y + k - 2)),
            );
            mix(a, b, along_column.row(y), along_row.row_mut(y));
        }
        along_row
    }

    /// The plane of red or blue: green plus the interpolated difference.
    fn plane(&self, colour: Colour, green: &Image<f32>) -> Image<f32> {
        let shape = self.mosaic.shape();
        let is_own_row = |y: usize| (0..2).any(|x| self.cfa.colour_at(x, y) == colour);
        let own = usize::from(!is_own_row(0));
        let first = usize::from(self.cfa.colour_at(0, own) != colour);
        let mut difference = Image::filled(shape, 0.0);
        for y in (own..shape.height).step_by(2) {
            let out = difference.row_mut(y);
            less(self.mosaic.row(y), green.row(y), out);
            between_columns(out, first);
        }
        let mut plane = Image::filled(shape, 0.0);
        for y in 1..shape.height - 1 {
            let out = plane.row_mut(y);
            if y % 2 == own {
                add(green.row(y), difference.row(y), out);
                // samples are what they are, not what rounding makes of them
                for x in (first..shape.width).step_by(2) {
                    out[x] = self.mosaic.at(x, y);
                }
            } else {
                add_mean(green.row(y), difference.row(y - 1), difference.row(y + 1), out);
            }
        }
        plane
    }
}

/// Where `(x − first)` is even, writes green as interpolated along the row, and the sample less
/// it; elsewhere the difference stays 0.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn interpolate_row(row: &[f32], first: usize, out: &mut [f32], difference: &mut [f32]) {
    let n = row.len() - 4;
    let (a, b, c, d, e) = (&row[..n], &row[1..=n], &row[2..], &row[3..], &row[4..]);
    let (out, difference) = (&mut out[2..n + 2], &mut difference[2..n + 2]);
    for i in 0..n {
        let green = 0.5 * (b[i] + d[i]) + 0.25 * (2.0 * c[i] - a[i] - e[i]);
        let is_other = (i ^ first) & 1 == 0;
        out[i] = if is_other { green } else { c[i] };
        difference[i] = if is_other { c[i] - green } else { 0.0 };
    }
}

/// As [`interpolate_row`], along the column; `rows` are the five about it.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn interpolate_column(rows: [&[f32]; 5], first: usize, out: &mut [f32], difference: &mut [f32]) {
    let n = out.len();
    let [a, b, c, d, e] = rows.map(|row| &row[..n]);
    let difference = &mut difference[..n];
    for i in 0..n {
        let green = 0.5 * (b[i] + d[i]) + 0.25 * (2.0 * c[i] - a[i] - e[i]);
        let is_other = (i ^ first) & 1 == 0;
        out[i] = if is_other { green } else { c[i] };
        difference[i] = if is_other { c[i] - green } else { 0.0 };
    }
}

/// `|d(x + 2) − d(x)|`.
fn gradient_along_rows(difference: &Image<f32>) -> Image<f32> {
    let mut out = Image::filled(difference.shape(), 0.0);
    for y in 0..difference.height() {
        let row = difference.row(y);
        absolute_difference(row, &row[2..], out.row_mut(y));
    }
    out
}

/// `|d(y + 2) − d(y)|`.
fn gradient_along_columns(difference: &Image<f32>) -> Image<f32> {
    let mut out = Image::filled(difference.shape(), 0.0);
    for y in 0..difference.height() - 2 {
        absolute_difference(difference.row(y), difference.row(y + 2), out.row_mut(y));
    }
    out
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn absolute_difference(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = (b - a).abs();
    }
}

/// Mixes two greens; `rows` and `columns` hold the gradients along rows and columns in the five
/// rows about this one. A gradient at (x, y) lies between it and the pixel two further on.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn mix(rows: [&[f32]; 5], columns: [&[f32]; 5], by_column: &[f32], by_row: &mut [f32]) {
    let n = by_row.len() - 4;
    // [row][k]: shifted by k − 2 columns
    let r = rows.map(|row| [0, 1, 2, 3, 4].map(|k| &row[k..k + n]));
    let c = columns.map(|row| [0, 1, 2, 3, 4].map(|k| &row[k..k + n]));
    let (by_row, by_column) = (&mut by_row[2..n + 2], &by_column[2..n + 2]);
    for i in 0..n {
        let along_row = 3.0 * (r[2][2][i] + r[2][0][i])
            + (r[0][2][i] + r[0][0][i])
            + (r[4][2][i] + r[4][0][i])
            + (r[1][1][i] + r[3][1][i]);
        let along_column = 3.0 * (c[2][2][i] + c[0][2][i])
            + (c[2][0][i] + c[0][0][i])
            + (c[2][4][i] + c[0][4][i])
            + (c[1][1][i] + c[1][3][i]);
        let (a, b) = (along_row + LEAST_GRADIENT, along_column + LEAST_GRADIENT);
        // equal where both are the sample: it stays what it is
        by_row[i] += (by_column[i] - by_row[i]) * (a / (a + b));
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn less(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = a - b;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn add_mean(a: &[f32], b: &[f32], c: &[f32], out: &mut [f32]) {
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = a + 0.5 * (b + c);
    }
}

/// Fills the columns between those of the parity of `first` with the mean of their neighbours.
fn between_columns(row: &mut [f32], first: usize) {
    for x in (first + 1..row.len() - 1).step_by(2) {
        row[x] = 0.5 * (row[x - 1] + row[x + 1]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::{Point, Rng, math};

    use super::*;
    use crate::ops::demosaic::green_plane;

    fn mosaic_of(planes: &[Image<f32>; 3], cfa: CfaPattern) -> Image<f32> {
        Image::from_fn(planes[0].shape(), |x, y| planes[cfa.colour_at(x, y).plane()].at(x, y))
    }

    /// The same interpolation pixel by pixel.
    fn plain(mosaic: &Image<f32>, cfa: CfaPattern, colour: Colour, x: i64, y: i64) -> f64 {
        let (w, h) = (mosaic.width(), mosaic.height());
        let colour_at = |x: i64, y: i64| cfa.colour_at((x & 1) as usize, (y & 1) as usize);
        let at = |x: i64, y: i64| f64::from(mosaic.at(mirrored(x, w), mirrored(y, h)));
        let is_green = |x: i64, y: i64| colour_at(x, y) == Colour::Green;
        let along = |x: i64, y: i64, dx: i64, dy: i64| {
            let two = at(x - 2 * dx, y - 2 * dy) + at(x + 2 * dx, y + 2 * dy);
            0.5 * (at(x - dx, y - dy) + at(x + dx, y + dy)) + 0.25 * (2.0 * at(x, y) - two)
        };
        let difference = |x: i64, y: i64, dx: i64, dy: i64| {
            if is_green(x, y) { 0.0 } else { at(x, y) - along(x, y, dx, dy) }
        };
        let gradient = |x: i64, y: i64, dx: i64, dy: i64| {
            (difference(x + 2 * dx, y + 2 * dy, dx, dy) - difference(x, y, dx, dy)).abs()
        };
        // u along the direction, v across it
        let window = |x: i64, y: i64, dx: i64, dy: i64| {
            let g = |u: i64, v: i64| gradient(x + u * dx + v * dy, y + u * dy + v * dx, dx, dy);
            3.0 * (g(0, 0) + g(-2, 0))
                + (g(0, -2) + g(-2, -2) + g(0, 2) + g(-2, 2))
                + (g(-1, -1) + g(-1, 1))
        };
        let green = |x: i64, y: i64| {
            if is_green(x, y) {
                return at(x, y);
            }
            let (a, b) = (window(x, y, 1, 0) + 1e-20, window(x, y, 0, 1) + 1e-20);
            (b * along(x, y, 1, 0) + a * along(x, y, 0, 1)) / (a + b)
        };
        if colour == Colour::Green {
            return green(x, y);
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (dx, dy) in (0..9).map(|k| (k % 3 - 1, k / 3 - 1)) {
            if colour_at(x + dx, y + dy) == colour {
                let weight = f64::from(2 - dx.abs() as i32) * f64::from(2 - dy.abs() as i32);
                sum += weight * (at(x + dx, y + dy) - green(x + dx, y + dy));
                weights += weight;
            }
        }
        green(x, y) + sum / weights
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn planes_are_those_of_the_definition(
            h in 4usize..12, w in 4usize..14, pattern in 0usize..4, seed in 0u64..99
        ) {
            let mut rng = Rng::new(seed, 0, 0);
            let mosaic = Image::from_fn(Shape::new(h, w), |_, _| 9.0 * rng.normal() as f32);
            let cfa = CfaPattern::ALL[pattern];
            let planes = demosaic(&mosaic, cfa);
            for colour in Colour::ALL {
                for y in 0..h {
                    for x in 0..w {
                        let got = f64::from(planes[colour.plane()].at(x, y));
                        let want = plain(&mosaic, cfa, colour, x as i64, y as i64);
                        prop_assert!((got - want).abs() < 1e-3, "{:?} {} {}: {} {}", colour, x, y, got, want);
                    }
                }
            }
        }

        #[test]
        fn flat_colours_come_back_in_the_right_planes(
            h in 2usize..20, w in 2usize..20, pattern in 0usize..4,
            r in -9.0f32..3000.0, g in -9.0f32..3000.0, b in -9.0f32..3000.0
        ) {
            let shape = Shape::new(h, w);
            let truth = [r, g, b].map(|v| Image::filled(shape, v));
            let cfa = CfaPattern::ALL[pattern];
            let planes = demosaic(&mosaic_of(&truth, cfa), cfa);
            for (plane, truth) in planes.iter().zip(&truth) {
                for (got, want) in plane.pixels().iter().zip(truth.pixels()) {
                    prop_assert!((got - want).abs() < 1e-3, "{} {}", got, want);
                }
            }
        }
    }

    #[test]
    fn samples_stay_what_they_are() {
        let mut rng = Rng::new(4, 0, 0);
        let mosaic = Image::from_fn(Shape::new(21, 34), |_, _| 100.0 * rng.normal() as f32);
        for cfa in CfaPattern::ALL {
            let planes = demosaic(&mosaic, cfa);
            for y in 0..21 {
                for x in 0..34 {
                    let plane = &planes[cfa.colour_at(x, y).plane()];
                    assert_eq!(plane.at(x, y), mosaic.at(x, y));
                }
            }
        }
    }

    /// Windowed centroid of a plane near `at`, its own sky taken off.
    fn centroid(plane: &Image<f32>, at: Point, sigma: f64) -> Point {
        let mut centre = at;
        for _ in 0..30 {
            let (mut s, mut sx, mut sy) = (0.0, 0.0, 0.0);
            for y in at.y as usize - 10..at.y as usize + 11 {
                for x in at.x as usize - 10..at.x as usize + 11 {
                    let (dx, dy) = (x as f64 - centre.x, y as f64 - centre.y);
                    let weight = math::exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma));
                    let v = weight * f64::from(plane.at(x, y));
                    s += v;
                    sx += v * dx;
                    sy += v * dy;
                }
            }
            centre = Point::new(centre.x + 2.0 * sx / s, centre.y + 2.0 * sy / s);
        }
        centre
    }

    /// Largest distances of star centroids from the truth: of green for registration, and of the
    /// demosaiced planes.
    fn worst_offsets(fwhm: f64, colours: [f64; 3], cfa: CfaPattern) -> (f64, [f64; 3]) {
        let a = 4.0 * (math::pow(2.0, 1.0 / 3.2) - 1.0) / (fwhm * fwhm);
        let mut rng = Rng::new(6, 0, 0);
        let shape = Shape::new(25, 26);
        let (mut worst_green, mut worst) = (0.0f64, [0.0f64; 3]);
        for _ in 0..60 {
            let at = Point::new(12.0 + rng.uniform(), 12.0 + rng.uniform());
            let star = Image::from_fn(shape, |x, y| {
                // mean over 2×2 Gauss points of the pixel
                let part = |k: usize| {
                    let shift = |one: usize| if one == 0 { -0.288_675 } else { 0.288_675 };
                    let p = Point::new(x as f64 + shift(k & 1), y as f64 + shift(k >> 1));
                    math::pow(1.0 + a * (p - at).norm_squared(), -3.2)
                };
                (250.0 * (part(0) + part(1) + part(2) + part(3))) as f32
            });
            let planes = colours.map(|c| star.map(|v| v * c as f32));
            let mosaic = mosaic_of(&planes, cfa);
            let sigma = fwhm / 2.1;
            let truth = centroid(&star, at, sigma);
            let mut green = Image::filled(shape, 0.0);
            green_plane(&mosaic, cfa, &mut green);
            worst_green = worst_green.max(centroid(&green, at, sigma).distance(truth));
            for (worst, plane) in worst.iter_mut().zip(&demosaic(&mosaic, cfa)) {
                *worst = worst.max(centroid(plane, at, sigma).distance(truth));
            }
        }
        (worst_green, worst)
    }

    #[test]
    fn stars_stay_where_they_are() {
        for cfa in CfaPattern::ALL {
            for (fwhm, green_limit, limit) in [(2.5, 0.02, 0.055), (3.0, 0.005, 0.03)] {
                for colours in [[1.0, 1.0, 1.0], [1.3, 1.0, 0.75], [0.75, 1.0, 1.3]] {
                    let (green, planes) = worst_offsets(fwhm, colours, cfa);
                    assert!(green < green_limit, "{cfa:?} {fwhm} {colours:?}: green {green}");
                    assert!(planes.iter().all(|&p| p < limit), "{cfa:?} {fwhm} {planes:?}");
                }
            }
        }
    }
}
