//! Robust statistics of slices.

/// `1 / Φ⁻¹(3/4)`: standard deviation of a normal distribution over its median absolute deviation.
pub const SIGMA_PER_MAD: f64 = 1.482_602_218_505_602;

/// Median of `values` (mean of the middle two if their number is even), which are reordered;
/// none if there are none. O(n).
pub fn median(values: &mut [f32]) -> Option<f32> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f32::total_cmp);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f32::total_cmp).unwrap_or(upper);
    Some(((f64::from(lower) + f64::from(upper)) * 0.5) as f32)
}

/// As [`median`], in double precision.
pub fn median_f64(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    Some((lower + upper) * 0.5)
}

/// Median and the standard deviation that the median absolute deviation from it stands for
/// (of a normal distribution); `values` are overwritten. None if there are none. O(n).
pub fn median_and_sigma(values: &mut [f32]) -> Option<(f32, f32)> {
    let centre = median(values)?;
    for v in values.iter_mut() {
        *v = (*v - centre).abs();
    }
    let mad = median(values)?;
    Some((centre, (f64::from(mad) * SIGMA_PER_MAD) as f32))
}

/// Value below which `count` of the `values` (reordered) lie, where equal values are thought to be
/// spread evenly between the middles to their neighbours: whole numbers have a median between the
/// steps. `least` is the lowest possible value. None if there are none. O(n).
fn between_steps(values: &mut [f32], count: f64, least: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let rank = (count as usize).min(last);
    let (below, &mut at, above) = values.select_nth_unstable_by(rank, f32::total_cmp);
    let equal_below = below.iter().filter(|&&v| v == at).count();
    let equal = 1 + equal_below + above.iter().filter(|&&v| v == at).count();
    let largest = |best: f32, &v: &f32| if v < at && v > best { v } else { best };
    let smallest = |best: f32, &v: &f32| if v > at && v < best { v } else { best };
    let lower = below.iter().fold(f32::NEG_INFINITY, largest);
    let upper = above.iter().fold(f32::INFINITY, smallest);
    let at = f64::from(at);
    let to_upper = 0.5 * (f64::from(upper) - at);
    let to_lower = 0.5 * (at - f64::from(lower));
    // at the ends the step is as wide as on its other side, but not beyond what is possible
    let (to_lower, to_upper) = match (to_lower.is_finite(), to_upper.is_finite()) {
        (true, true) => (to_lower, to_upper),
        (true, false) => (to_lower, to_lower),
        (false, true) => (to_upper.min(at - least), to_upper),
        (false, false) => (0.0, 0.0),
    };
    let first = (rank - equal_below) as f64;
    Some(at - to_lower + (to_lower + to_upper) * (count - first) / equal as f64)
}

/// Standard deviation of the normal distribution of which `magnitudes` (reordered) are the
/// absolute values, some of them spoilt: those beyond 3 of the first estimate are left out of the
/// second. Magnitudes may be whole numbers. None if there are none. O(n).
pub fn sigma_of_magnitudes(magnitudes: &mut [f32]) -> Option<f32> {
    let n = magnitudes.len();
    let first = between_steps(magnitudes, 0.5 * n as f64, 0.0)? * SIGMA_PER_MAD;
    let limit = (3.0 * first) as f32;
    let kept = magnitudes.iter().filter(|&&m| m <= limit).count();
    let sigma = between_steps(magnitudes, 0.5 * kept as f64, 0.0)? * SIGMA_PER_MAD;
    Some(sigma as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    fn by_sorting(values: &[f32]) -> Option<f32> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        let n = sorted.len();
        (n > 0).then(|| ((f64::from(sorted[(n - 1) / 2]) + f64::from(sorted[n / 2])) * 0.5) as f32)
    }

    proptest! {
        #[test]
        fn median_is_the_middle_of_the_sorted(values in proptest::collection::vec(-1e6f32..1e6, 0..40)) {
            prop_assert_eq!(median(&mut values.clone()), by_sorting(&values));
            let mut wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            let single = median_f64(&mut wide).map(|v| v as f32);
            prop_assert_eq!(single, by_sorting(&values));
        }
    }

    #[test]
    fn sigma_of_normal_noise_is_one() {
        let mut rng = Rng::new(1, 0, 0);
        let mut values: Vec<f32> = (0..100_001).map(|_| rng.normal() as f32 + 5.0).collect();
        let (centre, sigma) = median_and_sigma(&mut values).unwrap();
        assert!((centre - 5.0).abs() < 0.02 && (sigma - 1.0).abs() < 0.02, "{centre} {sigma}");
    }

    #[test]
    fn spoilt_magnitudes_count_little() {
        let mut rng = Rng::new(2, 0, 0);
        let mut clean: Vec<f32> = (0..20_001).map(|_| rng.normal().abs() as f32).collect();
        let mut spoilt = clean.clone();
        for m in spoilt.iter_mut().take(2000) {
            *m += 50.0;
        }
        let plain = sigma_of_magnitudes(&mut clean).unwrap();
        let got = sigma_of_magnitudes(&mut spoilt).unwrap();
        assert!((plain - 1.0).abs() < 0.02 && (got - 1.0).abs() < 0.03, "{plain} {got}");
        assert_eq!(sigma_of_magnitudes(&mut []), None);
    }

    #[test]
    fn whole_numbers_have_the_sigma_of_what_was_rounded() {
        let mut rng = Rng::new(5, 0, 0);
        for sigma in [0.6, 1.0, 1.5, 2.7, 10.0] {
            let mut rounded: Vec<f32> =
                (0..40_001).map(|_| (sigma * rng.normal()).round().abs() as f32).collect();
            let got = f64::from(sigma_of_magnitudes(&mut rounded).unwrap());
            // rounding itself adds a variance of 1/12; the rest is that steps are thought flat
            let want = (sigma * sigma + 1.0 / 12.0).sqrt();
            assert!((got / want - 1.0).abs() < 0.08, "{sigma}: {got}");
        }
        assert_eq!(sigma_of_magnitudes(&mut [0.0; 9]), Some(0.0));
    }
}
