//! Groups of like frames: standardised state vectors, k-means, quantiles. Nothing is random.

/// State of a frame: six figures that are its own.
pub(super) type State = [f64; 6];

/// A component that varies less than this over the frames says nothing.
const LEAST_SPREAD: f64 = 1e-12;

/// Iterations of k-means (Methodik v4's number).
const ITERATIONS: usize = 20;

/// Every component less its mean over the frames, divided by its standard deviation (by 1 if that is
/// below 1e-12).
pub(super) fn standardised(states: &[State]) -> Vec<State> {
    let n = states.len().max(1) as f64;
    let mut out = states.to_vec();
    for c in 0..states.first().map_or(0, |s| s.len()) {
        let mean = states.iter().map(|s| s[c]).sum::<f64>() / n;
        let variance = states.iter().map(|s| (s[c] - mean) * (s[c] - mean)).sum::<f64>() / n;
        let spread = if variance.sqrt() < LEAST_SPREAD { 1.0 } else { variance.sqrt() };
        for s in &mut out {
            s[c] = (s[c] - mean) / spread;
        }
    }
    out
}

/// K = clip(⌊n / 10⌋, `least`, `most`), and not more than the n frames.
pub(super) fn cluster_count(n: usize, least: usize, most: usize) -> usize {
    (n / 10).max(least).min(most).min(n)
}

/// The cluster, 0 to `k` − 1, of each of the `points`: k-means from centres at `k` equally spaced
/// points. `None` if a cluster stays empty.
pub(super) fn k_means(points: &[State], k: usize) -> Option<Vec<usize>> {
    let n = points.len();
    if k == 0 || k > n {
        return None;
    }
    let spaced = |i: usize| if k == 1 { 0 } else { (2 * i * (n - 1) + k - 1) / (2 * (k - 1)) };
    let mut centres: Vec<State> = (0..k).map(|i| points[spaced(i)]).collect();
    let mut clusters = assign(points, &centres);
    for _ in 0..ITERATIONS {
        centres = new_centres(points, &clusters, &centres);
        let next = assign(points, &centres);
        if next == clusters {
            break;
        }
        clusters = next;
    }
    (0..k).all(|c| clusters.contains(&c)).then_some(clusters)
}

fn assign(points: &[State], centres: &[State]) -> Vec<usize> {
    points.iter().map(|p| nearest(p, centres.iter().enumerate()).unwrap_or(0)).collect()
}

/// Number of the nearest of the numbered `centres`, the first of equally near ones.
pub(super) fn nearest<'a>(
    point: &State,
    centres: impl Iterator<Item = (usize, &'a State)>,
) -> Option<usize> {
    let distance = |c: &State| c.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    centres.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).map(|(i, _)| i)
}

/// Mean of the points of each cluster; a cluster without points stays where it is.
pub(super) fn new_centres(points: &[State], clusters: &[usize], old: &[State]) -> Vec<State> {
    let mut sums = vec![([0.0; 6], 0usize); old.len()];
    for (p, &c) in points.iter().zip(clusters) {
        let (sum, n) = &mut sums[c];
        sum.iter_mut().zip(p).for_each(|(s, v)| *s += v);
        *n += 1;
    }
    sums.iter()
        .zip(old)
        .map(|((sum, n), old)| if *n > 0 { sum.map(|s| s / *n as f64) } else { *old })
        .collect()
}

/// `k` groups of as many frames each (one more or less), by ascending `weight`.
pub(super) fn quantiles(weight: &[f64], k: usize) -> Vec<usize> {
    let n = weight.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| weight[a].total_cmp(&weight[b]).then(a.cmp(&b)));
    let mut groups = vec![0; n];
    for (rank, &i) in order.iter().enumerate() {
        groups[i] = rank * k.clamp(1, n) / n;
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillframe_image::Rng;

    use super::*;

    #[test]
    fn standardised_components_have_no_mean_and_a_spread_of_one() {
        let mut rng = Rng::new(3, 0, 0);
        let states: Vec<State> = (0..50)
            .map(|_| [7.0, 1e6 * rng.normal(), 3.0 + 1e-3 * rng.normal(), 0.0, rng.normal(), 2.0])
            .collect();
        let out = standardised(&states);
        for c in 0..6 {
            let mean = out.iter().map(|s| s[c]).sum::<f64>() / 50.0;
            let square = out.iter().map(|s| s[c] * s[c]).sum::<f64>() / 50.0;
            assert!(mean.abs() < 1e-9);
            let want = if [0, 3, 5].contains(&c) { 0.0 } else { 1.0 };
            assert!((square - want).abs() < 1e-9, "{c}: {square}");
        }
    }

    #[test]
    fn k_follows_the_rule() {
        assert_eq!(cluster_count(200, 15, 30), 20);
        assert_eq!(cluster_count(60, 15, 30), 15);
        assert_eq!(cluster_count(1000, 15, 30), 30);
        assert_eq!(cluster_count(8, 15, 30), 8);
    }

    #[test]
    fn separate_clouds_are_found() {
        let mut rng = Rng::new(4, 0, 0);
        let points: Vec<State> = (0..90)
            .map(|i| {
                std::array::from_fn(|c| f64::from(8 * (i % 3) * (c as i32 + 1)) + rng.normal())
            })
            .collect();
        let clusters = k_means(&points, 3).unwrap();
        for i in 0..90 {
            assert_eq!(clusters[i], clusters[i % 3]);
        }
        assert_eq!(clusters, k_means(&points, 3).unwrap());
    }

    #[test]
    fn points_that_are_all_alike_leave_clusters_empty() {
        assert_eq!(k_means(&[[1.0; 6]; 20], 3), None);
        assert_eq!(k_means(&[[1.0; 6]; 2], 3), None);
        assert_eq!(k_means(&[[1.0; 6]; 2], 1), Some(vec![0, 0]));
    }

    proptest! {
        #[test]
        fn quantile_groups_are_even_and_ordered(n in 1usize..80, k in 1usize..20, seed in 0u64..99) {
            let mut rng = Rng::new(seed, 0, 0);
            let weight: Vec<f64> = (0..n).map(|_| (5.0 * rng.uniform()).floor()).collect();
            let groups = quantiles(&weight, k);
            let k = k.min(n);
            let sizes: Vec<usize> =
                (0..k).map(|g| groups.iter().filter(|x| **x == g).count()).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(*least > 0 && most - least <= 1, "{:?}", sizes);
            for i in 0..n {
                for j in 0..n {
                    prop_assert!(weight[i] >= weight[j] || groups[i] <= groups[j]);
                }
            }
        }
    }
}
