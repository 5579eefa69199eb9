//! Gauss-Newton alignment of a moving image to a template, for warps with few parameters.
//!
//! The moving image is modelled as `gain · template + offset`, shifted and deformed; gain and offset
//! are solved for with the deformation, which makes the criterion the correlation coefficient of
//! Evangelidis & Psarakis (2008), doi:10.1109/TPAMI.2008.113. Derivatives are those of the
//! template, the update is composed inversely: Baker & Matthews (2004),
//! doi:10.1023/B:VISI.0000011205.11775.fd.

mod model;
mod sample;

use multiversion::multiversion;
use stillframe_image::{Image, Point, Shape, Transform};

use self::model::{
    corner_shift, deformation, hold, influence, limited, multiply, normal_equations,
};
use self::sample::warp_row;
pub(crate) use self::sample::{TAPS, interpolation};
use super::solve::Normal;

/// Deformation that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warp {
    Translation,
    Similarity,
    Affine,
}

/// The image that stays, with all that does not change from step to step.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) image: Image<f32>,
    pub(crate) gradient_x: Image<f32>,
    pub(crate) gradient_y: Image<f32>,
    /// Weight of each pixel in [0, 1]: window times validity.
    pub(crate) weight: Image<f32>,
}

impl Template {
    /// A template with its gradients by central differences of fourth order; pixels within two of
    /// the border get no weight.
    pub(crate) fn new(image: Image<f32>, mut weight: Image<f32>) -> Self {
        let shape = image.shape();
        let mut gradient_x = Image::filled(shape, 0.0f32);
        let mut gradient_y = Image::filled(shape, 0.0f32);
        let slope = |a: f32, b: f32, c: f32, d: f32| (8.0 * (c - b) - (d - a)) / 12.0;
        for y in 0..shape.height {
            if y < 2 || y + 2 >= shape.height {
                weight.row_mut(y).fill(0.0);
                continue;
            }
            let [above2, above, row, below, below2] = [2, 1, 0, -1, -2].map(|d: isize| {
                // y is at least 2 from both borders.
                image.row(y.wrapping_add_signed(-d))
            });
            let (gx, gy) = (gradient_x.row_mut(y), gradient_y.row_mut(y));
            for x in 2..shape.width.saturating_sub(2) {
                gx[x] = slope(row[x - 2], row[x - 1], row[x + 1], row[x + 2]);
                gy[x] = slope(above2[x], above[x], below[x], below2[x]);
            }
            let edges = weight.row_mut(y);
            let inner = 2.min(edges.len())..edges.len().saturating_sub(2).max(2.min(edges.len()));
            edges[..inner.start].fill(0.0);
            edges[inner.end..].fill(0.0);
        }
        Self { image, gradient_x, gradient_y, weight }
    }

    fn shape(&self) -> Shape {
        self.image.shape()
    }

    fn centre(&self) -> Point {
        Point::new(
            (self.image.width() as f64 - 1.0) / 2.0,
            (self.image.height() as f64 - 1.0) / 2.0,
        )
    }

    /// Half of the longer side, pixels: the unit of the linear parameters.
    fn unit(&self) -> f64 {
        0.5 * self.image.width().max(self.image.height()) as f64
    }
}

/// The image that is moved.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    pub(crate) image: Image<f32>,
    /// 1 where the pixel counts, 0 where it does not.
    pub(crate) valid: Image<f32>,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_iterations: usize,
    /// Largest displacement of a corner by the last step, pixels.
    pub(crate) tolerance_px: f64,
    /// Farthest that the centre may move from the start, pixels.
    pub(crate) max_distance_px: f64,
    /// Expected displacement of the template's edges by the linear part of an affine warp, pixels:
    /// the standard deviation of a prior about 0.
    pub(crate) edge_px: f64,
}

/// Where the iteration ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aligned {
    pub(crate) moving_from_template: Transform,
    /// The moving image is `gain` times the template plus a constant.
    pub(crate) gain: f64,
    /// Weighted correlation coefficient.
    pub(crate) cc: f64,
    pub(crate) iterations: usize,
}

/// Why the iteration failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failure {
    /// Too few pixels in common, or no structure.
    Undetermined,
    /// The images are not alike.
    Unlike,
    /// Farther away than allowed, pixels.
    RanAway(f64),
}

/// Buffers, and what the last step left for the estimate of errors.
#[derive(Clone, Debug, Default)]
pub(crate) struct EccScratch {
    /// The moving image at the places of the template's pixels.
    pub(crate) warped: Vec<f32>,
    /// Validity of the moving image there times the template's weight.
    pub(crate) valid: Vec<f32>,
    /// The same times the robust weight.
    weights: Vec<f32>,
    /// What the model does not explain.
    pub(crate) residuals: Vec<f32>,
    /// For dx, dy and the gain: what a unit of residual in each pixel adds to the result, in units
    /// of pixels and of the gain.
    pub(crate) influence: [Vec<f32>; 3],
    row: Vec<f32>,
    regressors: Vec<f32>,
    weighted: Vec<f32>,
    sorted: Vec<f32>,
}

/// Residuals count in full up to this many standard deviations of the sky (Huber 1964,
/// doi:10.1214/aoms/1177703732), plus this part of the template: a star is noisier than the sky and
/// never quite its model, a cosmic ray is where no star is.
const HUBER: f64 = 3.0;
const HUBER_RELATIVE: f32 = 0.3;
/// Longest step, pixels: the linearisation holds for about the radius of a star.
const MAX_STEP_PX: f64 = 1.5;
/// Smallest share of the template's weight that must find valid pixels.
const MIN_SHARE: f64 = 0.2;

/// Moves `moving` onto `template`, from `start` (`moving_from_template`).
pub(crate) fn align(
    template: &Template,
    moving: &Moving,
    start: Transform,
    warp: Warp,
    limits: &Limits,
    scratch: &mut EccScratch,
) -> Result<Aligned, Failure> {
    // Two parameters more: gain and offset.
    match warp {
        Warp::Translation => iterate::<4>(template, moving, start, limits, scratch),
        Warp::Similarity => iterate::<6>(template, moving, start, limits, scratch),
        Warp::Affine => iterate::<8>(template, moving, start, limits, scratch),
    }
}

fn iterate<const N: usize>(
    template: &Template,
    moving: &Moving,
    start: Transform,
    limits: &Limits,
    scratch: &mut EccScratch,
) -> Result<Aligned, Failure> {
    let (centre, unit) = (template.centre(), template.unit());
    let total: f64 = stillframe_image::sum_fixed(template.weight.pixels());
    let mut transform = start;
    let mut gain_offset = None;
    let mut iterations = 0;
    loop {
        let found = warp_all(template, moving, &transform, scratch);
        if found < MIN_SHARE * total || found < 16.0 {
            return Err(Failure::Undetermined);
        }
        let (gain, offset) = match gain_offset {
            Some(known) => known,
            None => first_regression(template, scratch).ok_or(Failure::Undetermined)?,
        };
        let sigma = reweight(template, gain, offset, scratch);
        let mut normal = normal_equations::<N>(template, scratch, centre, unit);
        if N == 8 {
            hold(&mut normal, &transform, gain, unit, sigma / limits.edge_px);
        }
        let solution = normal.solve().ok_or(Failure::Undetermined)?;
        let (gain, offset) = (solution[N - 2], solution[N - 1]);
        if gain <= 0.0 {
            return Err(Failure::Unlike);
        }
        gain_offset = Some((gain, offset));
        let step = limited::<N>(&solution, gain);
        let is_done = corner_shift::<N>(&step) < limits.tolerance_px;
        if is_done || iterations >= limits.max_iterations {
            let inverse = normal.inverse().ok_or(Failure::Undetermined)?;
            influence::<N>(template, scratch, centre, unit, &inverse, gain);
            let cc = correlation(template, scratch);
            return Ok(Aligned { moving_from_template: transform, gain, cc, iterations });
        }
        iterations += 1;
        let inverse = deformation::<N>(&step, centre, unit).inverse();
        transform = transform * inverse.ok_or(Failure::Undetermined)?;
        let distance = (transform * centre).distance(start * centre);
        if distance.is_nan() || distance > limits.max_distance_px {
            return Err(Failure::RanAway(distance));
        }
    }
}

/// Samples the moving image; returns the weight that found valid pixels.
fn warp_all(
    template: &Template,
    moving: &Moving,
    transform: &Transform,
    scratch: &mut EccScratch,
) -> f64 {
    let shape = template.shape();
    scratch.warped.resize(shape.len(), 0.0);
    scratch.valid.resize(shape.len(), 0.0);
    for y in 0..shape.height {
        let range = y * shape.width..(y + 1) * shape.width;
        let (values, valid) = (&mut scratch.warped[range.clone()], &mut scratch.valid[range]);
        warp_row(moving, transform, y, values, valid, &mut scratch.row);
        multiply(valid, template.weight.row(y));
    }
    stillframe_image::sum_fixed(&scratch.valid)
}

/// Gain and offset without deformation. The first guess is 0, so that a bright cosmic ray counts no
/// more than a star before it is known to be none.
fn first_regression(template: &Template, scratch: &mut EccScratch) -> Option<(f64, f64)> {
    const ROUNDS: usize = 4;
    let (mut gain, mut offset) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        reweight(template, gain, offset, scratch);
        let mut sums = Normal::<2>::new();
        let pixels = template.image.pixels().iter().zip(&scratch.warped).zip(&scratch.weights);
        for ((t, m), w) in pixels {
            sums.add(&[f64::from(*t), 1.0], f64::from(*m), f64::from(*w));
        }
        [gain, offset] = sums.solve()?;
    }
    Some((gain, offset))
}

/// Residuals of the model and Huber weights; returns the standard deviation of the sky's residuals.
fn reweight(template: &Template, gain: f64, offset: f64, scratch: &mut EccScratch) -> f64 {
    /// Residuals from which their scale is taken.
    const SAMPLES: usize = 4096;
    let n = scratch.warped.len();
    scratch.residuals.resize(n, 0.0);
    scratch.weights.resize(n, 0.0);
    residuals(
        &scratch.warped,
        template.image.pixels(),
        gain as f32,
        offset as f32,
        &mut scratch.residuals,
    );
    let stride = n.div_ceil(SAMPLES).max(1);
    scratch.sorted.clear();
    let sampled = scratch.residuals.iter().zip(&scratch.valid).step_by(stride);
    scratch.sorted.extend(sampled.filter(|(_, v)| **v > 0.0).map(|(r, _)| r.abs()));
    let middle = scratch.sorted.len() / 2;
    let scale = if scratch.sorted.is_empty() {
        0.0
    } else {
        1.4826 * f64::from(*scratch.sorted.select_nth_unstable_by(middle, f32::total_cmp).1)
    };
    let limit = (HUBER * scale) as f32;
    huber(
        [&scratch.residuals, &scratch.valid, template.image.pixels()],
        [limit, HUBER_RELATIVE * gain as f32],
        &mut scratch.weights,
    );
    scale
}

#[multiversion(targets("x86_64+avx2"))]
fn residuals(warped: &[f32], template: &[f32], gain: f32, offset: f32, out: &mut [f32]) {
    for ((o, m), t) in out.iter_mut().zip(warped).zip(template) {
        *o = m - (gain * t + offset);
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn huber(
    [residuals, valid, template]: [&[f32]; 3],
    [sky, relative]: [f32; 2],
    weights: &mut [f32],
) {
    for (((w, r), v), t) in weights.iter_mut().zip(residuals).zip(valid).zip(template) {
        let size = r.abs();
        let limit = sky + (relative * t).abs();
        *w = if size > limit { v * (limit / size) } else { *v };
    }
}

/// Weighted correlation coefficient of the template and the moved image.
fn correlation(template: &Template, scratch: &EccScratch) -> f64 {
    let (mut w, mut t, mut m) = (0.0, 0.0, 0.0);
    let triples = || {
        let pixels = template.image.pixels().iter().zip(&scratch.warped).zip(&scratch.weights);
        pixels.map(|((t, m), w)| (f64::from(*t), f64::from(*m), f64::from(*w)))
    };
    for (a, b, weight) in triples() {
        w += weight;
        t += weight * a;
        m += weight * b;
    }
    let (mean_t, mean_m) = (t / w, m / w);
    let (mut tt, mut mm, mut tm) = (0.0, 0.0, 0.0);
    for (a, b, weight) in triples() {
        tt += weight * (a - mean_t) * (a - mean_t);
        mm += weight * (b - mean_m) * (b - mean_m);
        tm += weight * (a - mean_t) * (b - mean_m);
    }
    if tt > 0.0 && mm > 0.0 { tm / (tt * mm).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use stillframe_image::{Rng, Vec2, math};

    use super::*;

    /// Gaussians at random places, seen through `scene_from_image`.
    fn blobs(shape: Shape, scene_from_image: &Transform, seed: u64) -> Image<f32> {
        let mut rng = Rng::new(seed, 0, 0);
        let blobs: Vec<(Point, f64)> = (0..40)
            .map(|_| {
                let p = Point::new(rng.range(-20.0, 120.0), rng.range(-20.0, 120.0));
                (p, rng.range(0.2, 1.0))
            })
            .collect();
        Image::from_fn(shape, |x, y| {
            let p = *scene_from_image * Point::new(x as f64, y as f64);
            let sum: f64 = blobs
                .iter()
                .map(|(c, f)| f * math::exp(-0.5 * (p - *c).norm_squared() / 4.0))
                .sum();
            sum as f32
        })
    }

    #[test]
    fn known_warps_are_found() {
        let limits =
            Limits { max_iterations: 50, tolerance_px: 1e-4, max_distance_px: 5.0, edge_px: 10.0 };
        let mut scratch = EccScratch::default();
        let centre = Point::new(49.5, 44.5);
        let about_centre = |t: Transform| {
            let c = centre - Point::default();
            Transform::translation(c) * t * Transform::translation(-c)
        };
        for seed in 0..10 {
            let shape = Shape::new(90, 100);
            let shift = Transform::translation(Vec2::new(0.7, -1.1));
            let turn = about_centre(Transform::similarity(1.01, 0.02, Vec2::new(0.4, 0.3)));
            let shear = about_centre(Transform::affine(1.01, 0.015, -0.3, -0.01, 0.99, 0.6));
            for (warp, truth) in
                [(Warp::Translation, shift), (Warp::Similarity, turn), (Warp::Affine, shear)]
            {
                let template = Template::new(
                    blobs(shape, &Transform::IDENTITY, seed),
                    Image::filled(shape, 1.0),
                );
                // The moving image shows at `truth · p` what the template shows at p.
                let image = blobs(shape, &truth.inverse().unwrap(), seed).map(|v| 3.0 * v + 7.0);
                let moving = Moving { image, valid: Image::filled(shape, 1.0) };
                let found =
                    align(&template, &moving, Transform::IDENTITY, warp, &limits, &mut scratch)
                        .unwrap();
                for p in [Point::new(5.0, 5.0), Point::new(95.0, 80.0), centre] {
                    let error = (found.moving_from_template * p).distance(truth * p);
                    assert!(error < 0.02, "{warp:?} seed {seed}: {error}");
                }
                assert!((found.gain - 3.0).abs() < 0.05 && found.cc > 0.999, "{found:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_aligned_is_refused() {
        let shape = Shape::new(40, 40);
        let limits =
            Limits { max_iterations: 20, tolerance_px: 1e-3, max_distance_px: 3.0, edge_px: 10.0 };
        let mut scratch = EccScratch::default();
        let blobs = blobs(shape, &Transform::IDENTITY, 1);
        let mut run = |template: Image<f32>, moving: Image<f32>, valid: f32| {
            let shape = template.shape();
            let template = Template::new(template, Image::filled(shape, 1.0));
            let valid = Image::filled(moving.shape(), valid);
            let moving = Moving { image: moving, valid };
            let start = Transform::IDENTITY;
            align(&template, &moving, start, Warp::Translation, &limits, &mut scratch).map(|_| ())
        };
        let flat = Image::filled(shape, 1.0);
        assert_eq!(run(flat.clone(), blobs.clone(), 1.0), Err(Failure::Undetermined));
        assert_eq!(run(blobs.clone(), flat, 1.0), Err(Failure::Unlike));
        assert_eq!(run(blobs.clone(), blobs.clone(), 0.0), Err(Failure::Undetermined));
        assert_eq!(run(blobs.clone(), blobs.map(|v| -v), 1.0), Err(Failure::Unlike));
        let small = Image::filled(Shape::new(3, 1), 1.0);
        assert_eq!(run(small.clone(), small, 1.0), Err(Failure::Undetermined));
    }
}
