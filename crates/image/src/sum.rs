//! Sums of fixed shape: one result whatever the machine or the number of threads.

const LANES: usize = 8;
const BLOCK: usize = 4096;

/// Sum of `values` in double precision: 8 fixed lanes per block of 4096, lanes folded pairwise,
/// blocks in order. 0 for an empty slice.
pub fn sum_fixed(values: &[f32]) -> f64 {
    let mut total = 0.0;
    for block in values.chunks(BLOCK) {
        let mut lanes = [0.0f64; LANES];
        let mut chunks = block.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (lane, &v) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(v);
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += f64::from(v);
        }
        total += fold(lanes);
    }
    total
}

/// As [`sum_fixed`], of double-precision values.
pub fn sum_fixed_f64(values: &[f64]) -> f64 {
    let mut total = 0.0;
    for block in values.chunks(BLOCK) {
        let mut lanes = [0.0f64; LANES];
        for chunk in block.chunks(LANES) {
            for (lane, &v) in lanes.iter_mut().zip(chunk) {
                *lane += v;
            }
        }
        total += fold(lanes);
    }
    total
}

fn fold(l: [f64; LANES]) -> f64 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_sum_exactly() {
        let values: Vec<f32> = (0..10_001).map(|i| i as f32).collect();
        assert_eq!(sum_fixed(&values), 50_005_000.0);
        let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        assert_eq!(sum_fixed_f64(&values), 50_005_000.0);
        assert_eq!(sum_fixed(&[]), 0.0);
    }
}
