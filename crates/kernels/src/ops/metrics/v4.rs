//! Weights of frames and tiles as Methodik v4 defines them.
//!
//! `z(x) = (x − median) / (1.4826 · MAD)` across frames, then
//!
//! - frames: `Q = α (−z(B)) + β (−z(σ)) + γ z(E)`, `G = exp(clip(Q, ±3))`;
//! - tiles with stars: `Q = 0.6 (−z(ln FWHM)) + 0.2 z(roundness) + 0.2 z(contrast)`;
//! - tiles without: `Q = 0.7 z(E/σ) − 0.3 z(B)`; both `L = exp(clip(Q, ±3))`;
//! - registration: `R = exp(β (cc − 1))`.
//!
//! The weight of a pixel is `W = G · L · R`.

use serde::{Deserialize, Serialize};
use stillframe_image::math;

use super::{FrameMetrics, TileMetrics};
use crate::ops::stats;

/// Scores are clipped to ± this before they become weights.
const CLIP: f64 = 3.0;
/// The factor that v4 writes; MADs below [`LEAST_MAD`] count as 0.
const SIGMA_PER_MAD: f64 = 1.4826;
const LEAST_MAD: f64 = 1e-12;

/// `(x − median) / (1.4826 · MAD)` of every value; all 0 if the MAD is (less than 1e-12).
pub fn robust_z(values: &[f64]) -> Vec<f64> {
    let median = stats::median_f64(&mut values.to_vec()).unwrap_or(0.0);
    let mut deviations: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    let mad = stats::median_f64(&mut deviations).unwrap_or(0.0);
    if mad < LEAST_MAD {
        return vec![0.0; values.len()];
    }
    values.iter().map(|v| (v - median) / (SIGMA_PER_MAD * mad)).collect()
}

/// As [`robust_z`] among the values that exist; 0, which neither helps nor harms, for the others.
fn robust_z_of_known(values: &[Option<f64>]) -> Vec<f64> {
    let known: Vec<f64> = values.iter().copied().flatten().collect();
    let mut scores = robust_z(&known).into_iter();
    values.iter().map(|v| v.and_then(|_| scores.next()).unwrap_or(0.0)).collect()
}

/// Shares of the metrics in the quality of a frame; v4 wants their sum to be 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalShares {
    /// α: of a low background.
    pub background: f64,
    /// β: of low noise.
    pub noise: f64,
    /// γ: of gradient energy.
    pub gradient: f64,
}

impl Default for GlobalShares {
    fn default() -> Self {
        Self { background: 0.4, noise: 0.3, gradient: 0.3 }
    }
}

/// `G_f` of every frame, in [e⁻³, e³].
///
/// The metrics are those of the raw frames: after division by the background all backgrounds are 1.
pub fn global_weights(frames: &[FrameMetrics], shares: GlobalShares) -> Vec<f64> {
    let z = |of: fn(&FrameMetrics) -> f32| {
        robust_z(&frames.iter().map(|f| f64::from(of(f))).collect::<Vec<_>>())
    };
    let (background, noise) = (z(|f| f.background), z(|f| f.noise));
    let gradient = z(|f| f.gradient_energy);
    (0..frames.len())
        .map(|f| {
            weight(
                shares.gradient * gradient[f]
                    - shares.background * background[f]
                    - shares.noise * noise[f],
            )
        })
        .collect()
}

/// What the frames of a tile are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TileKind {
    /// Their stars.
    Star,
    /// Their structure.
    Structure,
}

impl TileKind {
    /// Kind of a tile from its metrics in every frame: `Star` if the median number of its stars
    /// is at least `min_stars`.
    pub fn of(frames: &[TileMetrics], min_stars: usize) -> Self {
        let mut counts: Vec<f64> = frames.iter().map(|f| f.n_stars as f64).collect();
        match stats::median_f64(&mut counts) {
            Some(count) if count >= min_stars as f64 => Self::Star,
            _ => Self::Structure,
        }
    }
}

/// Shares of the metrics in the quality of a frame within a tile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalShares {
    /// Star tiles: of narrow stars.
    pub fwhm: f64,
    /// Star tiles: of round stars.
    pub roundness: f64,
    /// Star tiles: of contrast.
    pub contrast: f64,
    /// Structure tiles: of gradient energy over noise.
    pub structure: f64,
    /// Structure tiles: of a low background.
    pub background: f64,
}

impl Default for LocalShares {
    fn default() -> Self {
        Self { fwhm: 0.6, roundness: 0.2, contrast: 0.2, structure: 0.7, background: 0.3 }
    }
}

/// `L_{f,t}` of every frame in a tile of this kind, in [e⁻³, e³]; scores are clipped to ±3 before
/// and after they are added. A frame without a metric scores 0 in it.
pub fn local_weights(frames: &[TileMetrics], kind: TileKind, shares: LocalShares) -> Vec<f64> {
    let z = |of: &dyn Fn(&TileMetrics) -> Option<f64>| -> Vec<f64> {
        let values: Vec<Option<f64>> = frames.iter().map(of).collect();
        robust_z_of_known(&values).into_iter().map(clip).collect()
    };
    match kind {
        TileKind::Star => {
            let width = z(&|f| f.fwhm_px.filter(|&w| w > 0.0).map(|w| math::ln(f64::from(w))));
            let roundness = z(&|f| f.roundness.map(f64::from));
            let contrast = z(&|f| f.contrast.map(f64::from));
            (0..frames.len())
                .map(|f| {
                    weight(
                        shares.roundness * roundness[f] + shares.contrast * contrast[f]
                            - shares.fwhm * width[f],
                    )
                })
                .collect()
        }
        TileKind::Structure => {
            let structure = z(&|f| {
                let (energy, noise) = (f64::from(f.gradient_energy), f64::from(f.noise));
                (noise > 0.0).then(|| energy / noise)
            });
            let background = z(&|f| Some(f64::from(f.background)));
            (0..frames.len())
                .map(|f| {
                    weight(shares.structure * structure[f] - shares.background * background[f])
                })
                .collect()
        }
    }
}

/// `R = exp(beta · (cc − 1))` of a registration with correlation `cc`: 1 if it is perfect.
pub fn registration_weight(cc: f64, beta: f64) -> f64 {
    math::exp(beta * (cc - 1.0))
}

fn clip(score: f64) -> f64 {
    score.clamp(-CLIP, CLIP)
}

fn weight(quality: f64) -> f64 {
    math::exp(clip(quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    fn frame(background: f32, noise: f32, gradient_energy: f32) -> FrameMetrics {
        FrameMetrics {
            background,
            noise,
            gradient_energy,
            fwhm_px: None,
            roundness: None,
            n_stars: 0,
        }
    }

    fn tile(
        fwhm: f32,
        roundness: f32,
        contrast: f32,
        energy: f32,
        noise: f32,
        b: f32,
    ) -> TileMetrics {
        TileMetrics {
            background: b,
            noise,
            gradient_energy: energy,
            n_stars: 12,
            fwhm_px: Some(fwhm),
            roundness: Some(roundness),
            contrast: Some(contrast),
        }
    }

    #[test]
    fn z_scores_are_those_computed_by_hand() {
        // median 3, deviations 2 1 0 1 7, MAD 1
        near(
            &robust_z(&[1.0, 2.0, 3.0, 4.0, 10.0]),
            &[-1.348_981_519, -0.674_490_760, 0.0, 0.674_490_760, 4.721_435_317],
        );
        // median 2.5, deviations 1.5 0.5 0.5 1.5, MAD 1
        near(
            &robust_z(&[1.0, 2.0, 3.0, 4.0]),
            &[-1.011_736_139, -0.337_245_380, 0.337_245_380, 1.011_736_139],
        );
    }

    #[test]
    fn no_spread_is_no_score() {
        near(&robust_z(&[5.0, 5.0, 5.0, 9.0]), &[0.0; 4]);
        near(&robust_z(&[7.0]), &[0.0]);
        assert!(robust_z(&[]).is_empty());
        let same = vec![frame(500.0, 20.0, 3.0); 4];
        near(&global_weights(&same, GlobalShares::default()), &[1.0; 4]);
        let same = vec![tile(3.0, 0.9, 0.5, 8.0, 2.0, 100.0); 4];
        near(&local_weights(&same, TileKind::Star, LocalShares::default()), &[1.0; 4]);
        near(&local_weights(&same, TileKind::Structure, LocalShares::default()), &[1.0; 4]);
    }

    #[test]
    fn global_weights_are_those_computed_by_hand() {
        // B: z = −1.348982 −0.674491 0 0.674491 4.721435; σ: the same reversed; E: all scores 0
        let frames = [
            frame(1.0, 10.0, 2.0),
            frame(2.0, 4.0, 2.0),
            frame(3.0, 3.0, 2.0),
            frame(4.0, 2.0, 2.0),
            frame(10.0, 1.0, 9.0),
        ];
        // Q = 0.4 · 1.348982 − 0.3 · 4.721435 = −0.876838, …, −0.4 · 4.721435 + 0.3 · 1.348982
        near(
            &global_weights(&frames, GlobalShares::default()),
            &[0.416_096_536, 1.069_775_781, 1.0, 0.934_775_322, 0.226_756_240],
        );
    }

    #[test]
    fn quality_is_clipped_at_three() {
        let mut frames = vec![frame(1.0, 1.0, 1.0), frame(2.0, 1.0, 1.0), frame(3.0, 1.0, 1.0)];
        frames.push(frame(1e6, 1.0, 1.0));
        frames.push(frame(-1e6, 1.0, 1.0));
        let g = global_weights(&frames, GlobalShares::default());
        near(&g[3..], &[0.049_787_068, 20.085_536_923]);
    }

    #[test]
    fn star_tiles_are_those_computed_by_hand() {
        // ln FWHM of 1, e, e², e³, e^10: the z-scores above, the last clipped to 3
        let e = std::f32::consts::E;
        let frames: Vec<TileMetrics> = [0, 1, 2, 3, 10]
            .iter()
            .zip([0.1f32, 0.2, 0.3, 0.4, 1.0])
            .map(|(&k, r)| tile(e.powi(k), r, 0.5, 1.0, 1.0, 1.0))
            .collect();
        assert_eq!(TileKind::of(&frames, 10), TileKind::Star);
        assert_eq!(TileKind::of(&frames, 13), TileKind::Structure);
        // Q = −0.6 z + 0.2 z: z is the same for FWHM (median 2, MAD 1) and roundness (0.3, 0.1)
        let got = local_weights(&frames, TileKind::Star, LocalShares::default());
        let want = [1.715_307_916, 1.309_697_643, 1.0, 0.763_535_008, 0.301_194_212];
        near(&got, &want);
    }

    #[test]
    fn structure_tiles_are_those_computed_by_hand() {
        // E/σ = 1 2 3 4 10, B = 4 3 2 1 −5: z(B) = −z(E/σ), so Q = z, its last clipped to 3
        let frames: Vec<TileMetrics> =
            [(2.0, 2.0, 4.0), (2.0, 1.0, 3.0), (6.0, 2.0, 2.0), (4.0, 1.0, 1.0), (5.0, 0.5, -5.0)]
                .iter()
                .map(|&(energy, noise, b)| tile(3.0, 1.0, 0.5, energy, noise, b))
                .collect();
        near(
            &local_weights(&frames, TileKind::Structure, LocalShares::default()),
            &[0.259_504_391, 0.509_415_737, 1.0, 1.963_033_347, 20.085_536_923],
        );
    }

    #[test]
    fn a_frame_without_stars_is_neither_helped_nor_harmed() {
        let mut frames: Vec<TileMetrics> =
            (0..5).map(|k| tile(2.0 + k as f32, 0.9, 0.5, 1.0, 1.0, 1.0)).collect();
        let with_all = local_weights(&frames, TileKind::Star, LocalShares::default());
        frames.push(TileMetrics { fwhm_px: None, roundness: None, contrast: None, ..frames[0] });
        let got = local_weights(&frames, TileKind::Star, LocalShares::default());
        near(&got[..5], &with_all);
        assert_eq!(got[5], 1.0);
    }

    #[test]
    fn registration_weight_is_that_of_the_document() {
        near(
            &[(0.95, 6.0), (0.9, 6.0), (0.8, 6.0), (0.0, 5.0), (1.0, 9.0)]
                .map(|(cc, beta)| registration_weight(cc, beta)),
            &[0.740_818_221, 0.548_811_636, 0.301_194_212, 0.006_737_947, 1.0],
        );
    }
}
