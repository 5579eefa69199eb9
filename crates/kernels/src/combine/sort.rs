//! Sorting the samples of many pixels at once.

use multiversion::multiversion;

/// Pixels that are sorted side by side.
pub(crate) const LANES: usize = 32;

/// Sorts the columns of `rows` ascending: afterwards `rows[i][lane] <= rows[i + 1][lane]`.
///
/// The order of comparisons is fixed, so all lanes do the same work: O(n log² n) exchanges of
/// whole rows. No value may be NaN.
///
/// # Source
/// Batcher (1968), doi:10.1145/1468075.1468121, in the form of Knuth, The Art of Computer
/// Programming 3, algorithm 5.2.2 M (merge exchange), which serves any number of rows.
pub(crate) fn sort_columns(rows: &mut [[f32; LANES]]) {
    sort_values(rows);
}

/// As [`sort_columns`], for keys of 64 bits.
pub(crate) fn sort_key_columns(rows: &mut [[u64; LANES]]) {
    sort_keys(rows);
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sort_values(rows: &mut [[f32; LANES]]) {
    merge_exchange(rows);
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sort_keys(rows: &mut [[u64; LANES]]) {
    merge_exchange(rows);
}

#[inline(always)]
fn merge_exchange<T: PartialOrd + Copy>(rows: &mut [[T; LANES]]) {
    let n = rows.len();
    if n < 2 {
        return;
    }
    let top = n.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            // all i < n - d with i & p == r
            let mut run = r;
            while run < n - d {
                for i in run..(run + p).min(n - d) {
                    exchange(rows, i, i + d);
                }
                run += 2 * p;
            }
            if q == p {
                break;
            }
            d = q - p;
            q /= 2;
            r = p;
        }
        p /= 2;
    }
}

#[inline(always)]
fn exchange<T: PartialOrd + Copy>(rows: &mut [[T; LANES]], i: usize, j: usize) {
    let (head, tail) = rows.split_at_mut(j);
    let (a, b) = (&mut head[i], &mut tail[0]);
    for lane in 0..LANES {
        let (x, y) = (a[lane], b[lane]);
        // both from one comparison: equal values (0 and -0) stay a permutation
        a[lane] = if x < y { x } else { y };
        b[lane] = if x < y { y } else { x };
    }
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn columns_are_sorted_permutations_for_every_height() {
        for n in (0..70).chain([127, 128, 129, 500, 1000]) {
            let mut rng = Rng::new(5, n as u64, 0);
            let mut rows = vec![[0.0f32; LANES]; n];
            for v in rows.iter_mut().flatten() {
                *v = match rng.below(6) {
                    0 => f32::INFINITY,
                    1 => (rng.normal() * 2.0).round() as f32,
                    2 => -0.0,
                    _ => rng.normal() as f32,
                };
            }
            let before = rows.clone();
            sort_columns(&mut rows);
            for lane in 0..LANES {
                let column = |rows: &[[f32; LANES]]| rows.iter().map(|r| r[lane]).collect();
                let mut want: Vec<f32> = column(&before);
                let got: Vec<f32> = column(&rows);
                assert!(got.is_sorted(), "n = {n}");
                want.sort_by(f32::total_cmp);
                let mut got = got;
                got.sort_by(f32::total_cmp);
                assert_eq!(
                    got.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                    want.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn keys_are_sorted() {
        let mut rng = Rng::new(6, 0, 0);
        let mut rows = vec![[0u64; LANES]; 77];
        rows.iter_mut().flatten().for_each(|v| *v = rng.next_u64());
        sort_key_columns(&mut rows);
        for lane in 0..LANES {
            assert!(rows.windows(2).all(|w| w[0][lane] <= w[1][lane]));
        }
    }
}
