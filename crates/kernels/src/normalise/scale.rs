//! Transparency of each frame from the fluxes of the stars that the frames share.

/// Flux of one star in one frame.
#[derive(Clone, Copy, Debug)]
pub struct FluxObservation {
    /// Index of the star in the common list.
    pub star: u32,
    /// Its flux in the frame, any unit, above 0.
    pub flux: f32,
    /// Standard error of the flux.
    pub flux_sigma: f32,
}

/// Rounds of the alternation between star fluxes and frame scales; it converges in two or three.
const ROUNDS: usize = 5;

/// Throughput of each frame relative to the mean of all: the flux of any star in frame `i` is
/// about `scales[i]` times its mean flux.
///
/// A frame's scale is the weighted median of its stars' flux over their common flux, a star's
/// common flux the weighted median over the frames: neither variable stars nor clouds over a part
/// of the frames matter. A frame without usable stars gets `None`. The mean of the scales is 1.
pub fn transparency(frames: &[Vec<FluxObservation>], n_stars: usize) -> Vec<Option<f64>> {
    let mut scales = vec![1.0f64; frames.len()];
    let mut usable = vec![true; frames.len()];
    let mut by_star: Vec<Vec<(u32, f64, f64)>> = vec![Vec::new(); n_stars];
    for (frame, observations) in frames.iter().enumerate() {
        for o in observations {
            if o.flux > 0.0 && o.flux_sigma > 0.0 {
                by_star[o.star as usize].push((
                    frame as u32,
                    f64::from(o.flux),
                    f64::from(o.flux / o.flux_sigma),
                ));
            }
        }
    }
    let mut common = vec![None; n_stars];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        for (star, seen) in by_star.iter().enumerate() {
            ratios.clear();
            // A star of one frame says nothing about frames.
            if seen.len() > 1 || frames.len() == 1 {
                ratios.extend(seen.iter().map(|&(f, flux, snr)| (flux / scales[f as usize], snr)));
            }
            common[star] = weighted_median(&mut ratios);
        }
        for (frame, observations) in frames.iter().enumerate() {
            ratios.clear();
            for o in observations {
                if let Some(flux) = common[o.star as usize]
                    && o.flux > 0.0
                    && o.flux_sigma > 0.0
                {
                    // Above SNR 100 model errors, not photons, limit a ratio.
                    let snr = f64::from(o.flux / o.flux_sigma).min(100.0);
                    ratios.push((f64::from(o.flux) / flux, snr * snr));
                }
            }
            match weighted_median(&mut ratios) {
                Some(scale) => scales[frame] = scale,
                None => usable[frame] = false,
            }
        }
        let n = usable.iter().filter(|u| **u).count().max(1) as f64;
        let mean: f64 = scales.iter().zip(&usable).filter(|(_, u)| **u).map(|(s, _)| s / n).sum();
        if mean > 0.0 {
            scales.iter_mut().for_each(|s| *s /= mean);
        }
    }
    scales.iter().zip(usable).map(|(s, u)| u.then_some(*s)).collect()
}

/// The value at half of the total weight of (value, weight) pairs, between two values where the
/// half falls between them.
fn weighted_median(pairs: &mut [(f64, f64)]) -> Option<f64> {
    if pairs.is_empty() {
        return None;
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half: f64 = 0.5 * pairs.iter().map(|p| p.1).sum::<f64>();
    let mut below = 0.0;
    for (i, p) in pairs.iter().enumerate() {
        below += p.1;
        if below > half {
            return Some(p.0);
        }
        if below == half {
            return Some(pairs.get(i + 1).map_or(p.0, |next| 0.5 * (p.0 + next.0)));
        }
    }
    pairs.last().map(|p| p.0)
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn recovers_transparency_with_variable_and_missing_stars() {
        let mut rng = Rng::new(1, 0, 0);
        let truth: Vec<f64> = (0..20).map(|_| rng.range(0.5, 1.0)).collect();
        let mean = truth.iter().sum::<f64>() / 20.0;
        let fluxes: Vec<f64> = (0..300).map(|_| 1000.0 / (rng.uniform() + 0.01)).collect();
        let frames: Vec<Vec<FluxObservation>> = truth
            .iter()
            .map(|t| {
                fluxes
                    .iter()
                    .enumerate()
                    .filter_map(|(star, f)| {
                        let sigma = (f + 1e4).sqrt();
                        let variable = if star % 17 == 0 { rng.range(0.3, 2.0) } else { 1.0 };
                        let flux = f * t * variable + sigma * rng.normal();
                        (rng.uniform() < 0.7 && flux > 0.0).then_some(FluxObservation {
                            star: star as u32,
                            flux: flux as f32,
                            flux_sigma: sigma as f32,
                        })
                    })
                    .collect()
            })
            .collect();
        for (got, want) in transparency(&frames, fluxes.len()).iter().zip(&truth) {
            let ratio = got.unwrap() / (want / mean);
            assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
        }
    }

    #[test]
    fn a_frame_without_stars_has_no_scale() {
        let seen = vec![FluxObservation { star: 0, flux: 10.0, flux_sigma: 1.0 }];
        assert_eq!(
            transparency(&[seen.clone(), Vec::new(), seen], 1),
            [Some(1.0), None, Some(1.0)]
        );
    }
}
