//! Sky of each frame relative to the mean sky of the burst.
//!
//! Every frame's background mesh holds nebula and galaxies as well as sky. What all frames share
//! is the object; what differs between them is sky, and smooth: a polynomial surface per frame,
//! solved together with the common surface. Nothing of the object is taken away.

use stillframe_image::{Point, Shape};

/// Order of a frame's sky surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkyOrder {
    /// One number.
    Constant,
    /// A plane.
    Plane,
    /// A quadratic surface.
    Quadratic,
}

impl SkyOrder {
    fn terms(self) -> usize {
        match self {
            Self::Constant => 1,
            Self::Plane => 3,
            Self::Quadratic => 6,
        }
    }
}

/// A polynomial of degree ≤ 2 over the canvas: `Σ c_k · (1, u, v, u², uv, v²)` with
/// `u = (x − centre.x) / scale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SkySurface {
    /// Position where u = v = 0, reference pixels.
    pub centre: Point,
    /// Pixels per unit of u and v.
    pub scale: f64,
    /// Coefficients.
    pub c: [f64; 6],
}

impl SkySurface {
    fn terms_at(&self, p: Point) -> [f64; 6] {
        let (u, v) = ((p.x - self.centre.x) / self.scale, (p.y - self.centre.y) / self.scale);
        [1.0, u, v, u * u, u * v, v * v]
    }

    /// Value at `p`.
    pub fn at(&self, p: Point) -> f64 {
        self.terms_at(p).iter().zip(&self.c).map(|(t, c)| t * c).sum()
    }

    /// Coefficients (a, b, c) such that the value at (x, `y`) is `a + b·x + c·x²`.
    pub fn along_row(&self, y: f64) -> [f64; 3] {
        let (k, s) = (&self.c, 1.0 / self.scale);
        let v = (y - self.centre.y) * s;
        let (a0, a1, a2) = (k[0] + k[2] * v + k[5] * v * v, (k[1] + k[4] * v) * s, k[3] * s * s);
        let x0 = self.centre.x;
        [a0 - a1 * x0 + a2 * x0 * x0, a1 - 2.0 * a2 * x0, a2]
    }
}

/// Rounds of the alternation between the common surface and the frames' surfaces.
const ROUNDS: usize = 8;

/// Residuals beyond this many robust standard deviations are left out of a frame's surface.
const CLIP: f64 = 3.5;

/// The sky of each frame less the mean sky of all.
///
/// `samples[i][k]` is the background of frame `i`, already divided by its transparency, at node `k`
/// of `nodes` (reference pixels; the same for all frames); NaN where the frame does not reach.
/// `canvas` fixes the polynomials' origin. The surfaces sum to 0 over the frames.
pub fn sky_surfaces(
    samples: &[Vec<f32>],
    nodes: &[Point],
    first: Point,
    canvas: Shape,
    order: SkyOrder,
) -> Vec<SkySurface> {
    let blank = SkySurface {
        centre: Point::new(
            first.x + 0.5 * (canvas.width as f64 - 1.0),
            first.y + 0.5 * (canvas.height as f64 - 1.0),
        ),
        scale: 0.5 * canvas.width.max(canvas.height).max(1) as f64,
        c: [0.0; 6],
    };
    let mut surfaces = vec![blank; samples.len()];
    let terms: Vec<[f64; 6]> = nodes.iter().map(|p| blank.terms_at(*p)).collect();
    let mut common = vec![f64::NAN; nodes.len()];
    for round in 0..ROUNDS {
        for (k, value) in common.iter_mut().enumerate() {
            let (mut sum, mut n) = (0.0, 0.0);
            for (frame, surface) in samples.iter().zip(&surfaces) {
                if frame[k].is_finite() {
                    sum += f64::from(frame[k]) - dot(&surface.c, &terms[k]);
                    n += 1.0;
                }
            }
            *value = if n > 0.0 { sum / n } else { f64::NAN };
        }
        // The first rounds fix the levels, so that the slopes start from surfaces that overlap.
        let n_terms = if round == 0 { 1 } else { order.terms() };
        for (frame, surface) in samples.iter().zip(&mut surfaces) {
            surface.c = fit_surface(frame, &common, &terms, n_terms);
        }
        let n = surfaces.len() as f64;
        for k in 0..6 {
            let mean = surfaces.iter().map(|s| s.c[k]).sum::<f64>() / n;
            surfaces.iter_mut().for_each(|s| s.c[k] -= mean);
        }
    }
    surfaces
}

fn dot(c: &[f64; 6], t: &[f64; 6]) -> f64 {
    c.iter().zip(t).map(|(c, t)| c * t).sum()
}

/// Clipped least squares of `frame − common` on the first `n` terms; falls back to fewer terms
/// where the nodes do not determine them.
fn fit_surface(frame: &[f32], common: &[f64], terms: &[[f64; 6]], n: usize) -> [f64; 6] {
    let difference = |k: usize| f64::from(frame[k]) - common[k];
    let mut keep: Vec<usize> = (0..frame.len()).filter(|&k| difference(k).is_finite()).collect();
    let mut c = [0.0; 6];
    for _ in 0..3 {
        let mut n_now = if keep.len() < 4 * n { 1 } else { n };
        c = loop {
            match least_squares(&keep, &difference, terms, n_now) {
                Some(c) => break c,
                None if n_now > 1 => n_now = if n_now > 3 { 3 } else { 1 },
                None => return [0.0; 6],
            }
        };
        let mut deviations: Vec<f64> =
            keep.iter().map(|&k| (difference(k) - dot(&c, &terms[k])).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let limit = CLIP * 1.4826 * deviations[deviations.len() / 2];
        let before = keep.len();
        keep.retain(|&k| (difference(k) - dot(&c, &terms[k])).abs() <= limit);
        if keep.len() == before || keep.is_empty() {
            break;
        }
    }
    c
}

/// Normal equations by Cholesky; `None` if they are (nearly) singular.
fn least_squares(
    keep: &[usize],
    value: &impl Fn(usize) -> f64,
    terms: &[[f64; 6]],
    n: usize,
) -> Option<[f64; 6]> {
    let (mut a, mut b) = ([[0.0f64; 6]; 6], [0.0f64; 6]);
    for &k in keep {
        let (t, v) = (&terms[k], value(k));
        for i in 0..n {
            b[i] += t[i] * v;
            for j in 0..=i {
                a[i][j] += t[i] * t[j];
            }
        }
    }
    for i in 0..n {
        let scale = a[i][i];
        for j in 0..=i {
            let s: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let v = a[i][j] - s;
            if i == j {
                if v.is_nan() || v <= 1e-9 * scale {
                    return None;
                }
                a[i][i] = v.sqrt();
            } else {
                a[i][j] = v / a[j][j];
            }
        }
    }
    for i in 0..n {
        let s: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - s) / a[i][i];
    }
    for i in (0..n).rev() {
        let s: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - s) / a[i][i];
    }
    b[n..].fill(0.0);
    b.iter().all(|v| v.is_finite()).then_some(b)
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    const CANVAS: Shape = Shape::new(1000, 1600);

    fn nodes() -> Vec<Point> {
        (0..16)
            .flat_map(|y| {
                (0..26).map(move |x| Point::new(64.0 * f64::from(x), 64.0 * f64::from(y)))
            })
            .collect()
    }

    #[test]
    fn gradients_come_back_and_the_nebula_stays() {
        let nodes = nodes();
        let mut rng = Rng::new(4, 0, 0);
        let nebula =
            |p: Point| 300.0 * (-((p.x - 700.0).powi(2) + (p.y - 400.0).powi(2)) / 4e4).exp();
        let (mut truth, mut samples) = (Vec::new(), Vec::new());
        for i in 0..30 {
            let c = [
                300.0 + 40.0 * rng.normal(),
                30.0 * rng.normal(),
                20.0 * rng.normal(),
                5.0 * rng.normal(),
                5.0 * rng.normal(),
                5.0 * rng.normal(),
            ];
            let s = SkySurface { centre: Point::new(799.5, 499.5), scale: 800.0, c };
            samples.push(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(k, &p)| {
                        if k % 30 == i % 7 {
                            return f32::NAN;
                        }
                        (nebula(p) + s.at(p) + 0.4 * rng.normal()) as f32
                    })
                    .collect::<Vec<_>>(),
            );
            truth.push(s);
        }
        let got = sky_surfaces(&samples, &nodes, Point::default(), CANVAS, SkyOrder::Quadratic);
        for (g, t) in got.iter().zip(&truth) {
            let error = |p: &Point| {
                let mean = truth.iter().map(|s| s.at(*p)).sum::<f64>() / 30.0;
                (g.at(*p) - (t.at(*p) - mean)).powi(2)
            };
            let rms = (nodes.iter().map(error).sum::<f64>() / nodes.len() as f64).sqrt();
            // 0.4 of noise at 416 nodes leaves 0.4·√(6/416) = 0.05.
            assert!(rms < 0.1, "{rms}");
        }
    }

    #[test]
    fn along_row_is_the_surface() {
        let s = SkySurface {
            centre: Point::new(3.0, 5.0),
            scale: 70.0,
            c: [1.0, -2.0, 3.0, 4.0, -5.0, 6.0],
        };
        let [a, b, c] = s.along_row(17.0);
        for x in [-4.0, 0.0, 91.5] {
            assert!((a + b * x + c * x * x - s.at(Point::new(x, 17.0))).abs() < 1e-9);
        }
    }

    #[test]
    fn one_frame_is_its_own_mean() {
        let nodes = nodes();
        let samples = vec![nodes.iter().map(|p| p.x as f32).collect::<Vec<_>>()];
        let got = sky_surfaces(&samples, &nodes, Point::default(), CANVAS, SkyOrder::Quadratic);
        assert!(got[0].c.iter().all(|c| c.abs() < 1e-9));
    }
}
