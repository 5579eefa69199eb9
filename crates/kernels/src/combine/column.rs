//! The sorted samples of one pixel, with sums over any range of them at once.

/// Sums of deviations over a range of ranks.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    first: f64,
    second: f64,
}

/// Sorted samples of one pixel as deviations from their median.
///
/// Sums run from the middle outwards, so a range that leaves outliers out never has had them in:
/// nothing cancels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    median: f64,
    deviations: Vec<f64>,
    /// `sums[i]` is over the ranks between `i` and the middle.
    sums: Vec<Sums>,
}

impl Column {
    /// Takes `sorted` ascending, finite, not empty.
    pub(crate) fn load(&mut self, sorted: impl ExactSizeIterator<Item = f32>) {
        let n = sorted.len();
        self.deviations.clear();
        self.deviations.extend(sorted.map(f64::from));
        let middle = n / 2;
        self.median = middle_of(&self.deviations);
        for d in &mut self.deviations {
            *d -= self.median;
        }
        self.sums.resize(n + 1, Sums::default());
        self.sums[middle] = Sums::default();
        let mut sum = Sums::default();
        for i in middle..n {
            let d = self.deviations[i];
            sum = Sums { first: sum.first + d, second: sum.second + d * d };
            self.sums[i + 1] = sum;
        }
        let mut sum = Sums::default();
        for i in (0..middle).rev() {
            let d = self.deviations[i];
            sum = Sums { first: sum.first + d, second: sum.second + d * d };
            self.sums[i] = sum;
        }
    }

    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        self.deviations.len()
    }

    /// Median of the samples.
    pub(crate) fn median(&self) -> f64 {
        self.median
    }

    /// The sorted deviations from the median.
    pub(crate) fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// Sum and sum of squares of the deviations of the ranks `range`, which must not end before
    /// the middle or start after it.
    pub(crate) fn sums(&self, range: &Ranks) -> (f64, f64) {
        let (low, high) = (self.sums[range.start], self.sums[range.end]);
        (low.first + high.first, low.second + high.second)
    }

    /// Median of the deviations of the ranks `range`.
    pub(crate) fn centre(&self, range: &Ranks) -> f64 {
        middle_of(&self.deviations[range.start..range.end])
    }

    /// The ranks whose deviations lie in [`low`, `high`] (`low` ≤ 0 ≤ `high`), found outwards or
    /// inwards from `near`.
    pub(crate) fn ranks_within(&self, low: f64, high: f64, near: &Ranks) -> Ranks {
        let d = &self.deviations;
        let middle = d.len() / 2;
        let (mut start, mut end) = (near.start.min(middle), near.end.max(middle));
        while start < middle && d[start] < low {
            start += 1;
        }
        while start > 0 && d[start - 1] >= low {
            start -= 1;
        }
        while end > middle && d[end - 1] > high {
            end -= 1;
        }
        while end < d.len() && d[end] <= high {
            end += 1;
        }
        Ranks { start, end }
    }

    /// Median of the absolute deviations from `centre` of the ranks `range`; `centre` must be the
    /// median of that range.
    pub(crate) fn absolute_deviation(&self, range: &Ranks, centre: f64) -> f64 {
        let d = &self.deviations[range.start..range.end];
        let split = d.len() / 2;
        let (below, above) = d.split_at(split);
        // both ascend away from the centre
        let left = |i: usize| centre - below[below.len() - 1 - i];
        let right = |i: usize| above[i] - centre;
        let kth = |k: usize| {
            // how many of the k smallest lie below: the least that leaves none larger there
            let (mut from, mut to) = (k.saturating_sub(above.len()), below.len().min(k));
            while from < to {
                let i = from.midpoint(to);
                if left(i) < right(k - 1 - i) { from = i + 1 } else { to = i }
            }
            let i = from;
            let from_left = if i < below.len() { left(i) } else { f64::INFINITY };
            let from_right = if k - i < above.len() { right(k - i) } else { f64::INFINITY };
            from_left.min(from_right)
        };
        let n = d.len();
        let upper = kth(n / 2);
        if n % 2 == 1 { upper } else { f64::midpoint(kth(n / 2 - 1), upper) }
    }

    /// Every rank.
    pub(crate) fn all(&self) -> Ranks {
        Ranks { start: 0, end: self.len() }
    }
}

/// Ranks `start..end` of sorted samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranks {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Ranks {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Median of sorted values; the mean of the middle two of an even number.
fn middle_of(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(values: &[f32]) -> Column {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        let mut column = Column::default();
        column.load(sorted.iter().copied());
        column
    }

    proptest! {
        #[test]
        fn median_and_absolute_deviation_are_those_of_plain_sorting(
            values in prop::collection::vec(-20i32..20, 1..40),
            cut in (0usize..10, 0usize..10),
        ) {
            let values: Vec<f32> = values.into_iter().map(|v| v as f32 / 4.0).collect();
            let column = column(&values);
            let n = values.len();
            let range = Ranks { start: cut.0.min(n / 2), end: (n - cut.1.min(n)).max(n / 2 + 1) };
            let d = &column.deviations()[range.start..range.end];
            let centre = column.centre(&range);
            let mut distances: Vec<f64> = d.iter().map(|d| (d - centre).abs()).collect();
            distances.sort_by(f64::total_cmp);
            prop_assert_eq!(column.absolute_deviation(&range, centre), middle_of(&distances));
            let (first, second) = column.sums(&range);
            prop_assert!((first - d.iter().sum::<f64>()).abs() < 1e-9);
            prop_assert!((second - d.iter().map(|d| d * d).sum::<f64>()).abs() < 1e-9);
        }

        #[test]
        fn ranks_within_are_those_of_plain_comparison(
            values in prop::collection::vec(-20i32..20, 1..40),
            low in 0.0f64..6.0, high in 0.0f64..6.0, near in (0usize..40, 0usize..40),
        ) {
            let values: Vec<f32> = values.into_iter().map(|v| v as f32 / 4.0).collect();
            let column = column(&values);
            let n = values.len();
            let near = Ranks { start: near.0.min(n), end: near.1.min(n) };
            let got = column.ranks_within(-low, high, &near);
            for (i, d) in column.deviations().iter().enumerate() {
                let is_within = (-low..=high).contains(d);
                prop_assert_eq!(is_within, i >= got.start && i < got.end, "{} {:?}", d, got);
            }
        }
    }

    #[test]
    fn sums_do_not_remember_outliers() {
        let mut values: Vec<f32> = (0..20).map(|i| i as f32 * 0.001).collect();
        values.extend([1e30, 3e30, -2e30]);
        let column = column(&values);
        let range = Ranks { start: 1, end: 21 };
        let (first, second) = column.sums(&range);
        let d = &column.deviations()[1..21];
        assert!((first - d.iter().sum::<f64>()).abs() < 1e-15);
        assert!((second - d.iter().map(|d| d * d).sum::<f64>()).abs() < 1e-15);
    }
}
