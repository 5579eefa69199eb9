//! Robust statistics of slices.

/// Median of `values` (mean of the middle two if their number is even), which are reordered; none if empty.
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
