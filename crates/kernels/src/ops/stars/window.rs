//! Moments under a Gaussian window.

use stillframe_image::{Image, Point, math};

/// Half width of the window in standard deviations.
const REACH: f64 = 4.0;

/// Rounds of the centroid; four to six do, a dozen near a neighbour.
const ROUNDS: usize = 24;
/// First moment, in pixels, at which the centroid has settled: far below any star's error.
const SETTLED: f64 = 1e-4;

/// Moments of pixel values under a window `exp(−r² / 2σ²)` about a centre.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    /// Sum.
    pub(super) sum: f64,
    /// First moments over the sum.
    pub(super) dx: f64,
    pub(super) dy: f64,
    /// Second moments over the sum.
    pub(super) xx: f64,
    pub(super) xy: f64,
    pub(super) yy: f64,
}

/// A round Gaussian window on the pixel grid.
#[derive(Clone, Debug)]
pub(super) struct Window {
    sigma: f64,
    /// `exp(−k² / 2σ²)` for k = 0, 1, …
    table: Vec<f64>,
    columns: Vec<f64>,
    rows: Vec<f64>,
}

impl Window {
    pub(super) fn new(sigma: f64) -> Self {
        let mut window = Self { sigma, table: Vec::new(), columns: Vec::new(), rows: Vec::new() };
        window.adapt(sigma);
        window
    }

    /// Gives the window another width.
    pub(super) fn adapt(&mut self, sigma: f64) {
        let reach = (REACH * sigma).ceil() as usize + 1;
        self.sigma = sigma;
        self.table.clear();
        self.table.extend((0..=reach).map(|k| math::exp(-0.5 * (k as f64 / sigma).powi(2))));
        self.columns.resize(2 * reach + 1, 0.0);
        self.rows.resize(2 * reach + 1, 0.0);
    }

    /// Pixels that the window reaches to each side of the nearest pixel.
    pub(super) fn reach(&self) -> usize {
        self.table.len() - 1
    }

    /// Weights at distances `k − fraction`, k = −reach..=reach:
    /// `exp(−(k − f)² / 2σ²) = exp(−k² / 2σ²) · exp(f / σ²)^k · exp(−f² / 2σ²)`.
    fn weigh(table: &[f64], sigma: f64, fraction: f64, weights: &mut [f64]) {
        let reach = table.len() - 1;
        let up = math::exp(fraction / (sigma * sigma));
        let down = 1.0 / up;
        let at_zero = math::exp(-0.5 * (fraction / sigma).powi(2));
        weights[reach] = at_zero;
        let (mut right, mut left) = (at_zero, at_zero);
        for k in 1..=reach {
            right *= up;
            left *= down;
            weights[reach + k] = right * table[k];
            weights[reach - k] = left * table[k];
        }
    }

    /// Moments of `image − level` about `centre`; the part of the window outside the image is
    /// left out. None if the centre is outside.
    pub(super) fn moments(
        &mut self,
        image: &Image<f32>,
        centre: Point,
        level: f64,
    ) -> Option<Moments> {
        let (w, h) = (image.width() as i64, image.height() as i64);
        let (cx, cy) = (centre.x.round() as i64, centre.y.round() as i64);
        if cx < 0 || cy < 0 || cx >= w || cy >= h {
            return None;
        }
        let reach = self.reach() as i64;
        let (fx, fy) = (centre.x - cx as f64, centre.y - cy as f64);
        Self::weigh(&self.table, self.sigma, fx, &mut self.columns);
        Self::weigh(&self.table, self.sigma, fy, &mut self.rows);
        let (x0, x1) = ((cx - reach).max(0), (cx + reach).min(w - 1));
        let (y0, y1) = ((cy - reach).max(0), (cy + reach).min(h - 1));
        let columns = &self.columns[(x0 - cx + reach) as usize..=(x1 - cx + reach) as usize];
        let first_dx = (x0 - cx) as f64 - fx;
        let mut m = Moments::default();
        for y in y0..=y1 {
            let pixels = &image.row(y as usize)[x0 as usize..=x1 as usize];
            let (mut s, mut sx, mut sxx) = (0.0, 0.0, 0.0);
            for (k, (&v, &weight)) in pixels.iter().zip(columns).enumerate() {
                let dx = first_dx + k as f64;
                let part = weight * (f64::from(v) - level);
                s += part;
                sx += part * dx;
                sxx += part * dx * dx;
            }
            let dy = (y - cy) as f64 - fy;
            let weight = self.rows[(y - cy + reach) as usize];
            m.sum += weight * s;
            m.dx += weight * sx;
            m.dy += weight * s * dy;
            m.xx += weight * sxx;
            m.xy += weight * sx * dy;
            m.yy += weight * s * dy * dy;
        }
        if m.sum <= 0.0 {
            return None;
        }
        for moment in [&mut m.dx, &mut m.dy, &mut m.xx, &mut m.xy, &mut m.yy] {
            *moment /= m.sum;
        }
        Some(m)
    }

    /// Where the first moments under the window vanish, from `start` on, and the moments there;
    /// none if the search leaves its neighbourhood or does not settle.
    ///
    /// # Source
    /// SExtractor's XWIN_IMAGE: the step is twice the first moment, which is Newton's step for a
    /// Gaussian star of the window's width.
    pub(super) fn centroid(
        &mut self,
        image: &Image<f32>,
        start: Point,
        level: f64,
    ) -> Option<(Point, Moments)> {
        let mut centre = start;
        for _ in 0..ROUNDS {
            let m = self.moments(image, centre, level)?;
            if m.dx.abs().max(m.dy.abs()) < SETTLED {
                return Some((centre, m));
            }
            centre = Point::new(centre.x + 2.0 * m.dx, centre.y + 2.0 * m.dy);
            if centre.distance(start) > 1.0 + self.sigma {
                return None;
            }
        }
        None
    }
}
