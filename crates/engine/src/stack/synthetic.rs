//! Phases 7 and 8 of Methodik v4: frames of like state become groups, and the result is the mean of
//! the groups' means ("synthetic frames").
//!
//! Here the groups are of *registered* samples: pass 2 forms the means at each pixel, so that no
//! synthetic frame is ever resampled or stored. Where the original drops the frames of clusters that
//! are too small, they join the nearest large one: light that was measured is not thrown away.

use stillframe_image::{Point, Vec2, math};
use stillframe_kernels::ops::metrics::v4::{GlobalShares, global_weights};

use super::clusters::{
    State, cluster_count, k_means, nearest, new_centres, quantiles, standardised,
};
use super::geometry::Fields;
use super::local_metrics::LocalMetrics;
use super::photometry::Member;
use super::report::{SyntheticGroup, SyntheticReport};
use super::run::Run;
use super::tile_pass::TileRegistration;
use crate::recipe::{AutoSkipRecipe, SyntheticRecipe};

/// What is known of the frames, by member.
pub(super) struct StateSources<'a> {
    pub(super) members: &'a [Member<'a>],
    /// Shares in G.
    pub(super) shares: GlobalShares,
    /// At the nodes of the weights, and L there.
    pub(super) metrics: &'a [LocalMetrics],
    pub(super) local: &'a [Vec<f64>],
    pub(super) nodes: &'a [Point],
    pub(super) tiles: Option<&'a TileRegistration>,
    pub(super) fields: Option<&'a Fields>,
    /// Robust rms of the stars about the registration, pixels.
    pub(super) residual_px: &'a [f64],
}

/// The groups of the members.
#[derive(Debug)]
pub(super) struct Synthetic {
    /// State of each member: G, mean and variance of the local quality, mean correlation, variance
    /// of the displacement over the field, share of the places where it is not registered.
    pub(super) states: Vec<State>,
    /// Group of each member; all 0 if no synthetic frames are made.
    pub(super) group: Vec<usize>,
    pub(super) n_groups: usize,
    pub(super) report: SyntheticReport,
}

/// Whether the recipe wants synthetic frames of `n` frames. Says why if its gate forbids them.
pub(super) fn is_wanted(run: &mut Run<'_>, n: usize) -> bool {
    let recipe = &run.job.recipe;
    if !recipe.synthetic.enabled {
        return false;
    }
    if n < recipe.gates.frames_reduced {
        run.warn(format!(
            "{n} frames are fewer than gates.frames_reduced = {}: no synthetic frames are made",
            recipe.gates.frames_reduced
        ));
        return false;
    }
    true
}

/// Groups the frames. `inputs` are the members' places in the list of inputs, for the report.
pub(super) fn group(run: &mut Run<'_>, sources: &StateSources<'_>, inputs: &[usize]) -> Synthetic {
    let recipe = &run.job.recipe.synthetic;
    let states = states(sources);
    let found = find(&states, recipe);
    if let Some(reason) = &found.report.skipped {
        run.warn(format!("no synthetic frames are made: {reason}"));
    }
    if found.report.by_quantiles {
        run.warn(format!(
            "the frames do not fall into {} clusters: they are grouped by their global weight",
            found.report.clusters
        ));
    }
    let joined: usize = found.report.groups.iter().map(|g| g.joined.len()).sum();
    if joined > 0 {
        run.warn(format!(
            "{joined} frame(s) of clusters smaller than synthetic.frames_min = {} join the nearest \
             larger cluster",
            recipe.frames_min
        ));
    }
    let mut found = Synthetic { states, ..found };
    for list in found.report.groups.iter_mut().flat_map(|g| [&mut g.frames, &mut g.joined]) {
        list.iter_mut().for_each(|k| *k = inputs[*k]);
    }
    found
}

/// Share of each frame in the result, 0 to 1: groups count the same whatever their weight.
pub(super) fn shares(weight: &[f64], group: &[usize]) -> Vec<f64> {
    let n_groups = group.iter().max().map_or(0, |g| g + 1);
    let mut total = vec![0.0; n_groups];
    weight.iter().zip(group).for_each(|(w, &g)| total[g] += w);
    let filled = total.iter().filter(|t| **t > 0.0).count().max(1) as f64;
    let share = |(w, &g): (&f64, &usize)| if total[g] > 0.0 { w / total[g] / filled } else { 0.0 };
    weight.iter().zip(group).map(share).collect()
}

fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n)
}

/// Variance of both axes together.
fn scatter(vectors: &[Vec2]) -> f64 {
    let of =
        |axis: fn(&Vec2) -> f64| mean_and_variance(&vectors.iter().map(axis).collect::<Vec<_>>()).1;
    of(|v| v.dx) + of(|v| v.dy)
}

fn states(sources: &StateSources<'_>) -> Vec<State> {
    let metrics: Vec<_> = sources.members.iter().map(|m| m.measure.metrics).collect();
    let global = global_weights(&metrics, sources.shares);
    // Tiles say nothing if none of them could be registered.
    let tiles = sources.tiles.filter(|t| t.motions.iter().any(Option::is_some));
    (0..global.len())
        .map(|f| {
            let reached = sources.metrics[f].iter().zip(&sources.local[f]);
            let quality: Vec<f64> =
                reached.filter(|(m, _)| m.is_some()).map(|(_, l)| math::ln(*l)).collect();
            let (mean, variance) = mean_and_variance(&quality);
            let [cc, motion, invalid] = match tiles {
                Some(tiles) => registered(tiles, f),
                None => by_stars(sources, f),
            };
            [global[f], mean, variance, cc, motion, invalid]
        })
        .collect()
}

/// Mean correlation, variance of the shift and share of invalid tiles of frame `f`.
fn registered(tiles: &TileRegistration, f: usize) -> State3 {
    let valid: Vec<_> = tiles.motions.iter().flatten().collect();
    let cc: Vec<f64> = valid.iter().filter_map(|m| m.cc[f]).collect();
    let shifts: Vec<Vec2> = valid.iter().filter_map(|m| m.shifts[f]).collect();
    let invalid = 1.0 - cc.len() as f64 / valid.len().max(1) as f64;
    [mean_and_variance(&cc).0, scatter(&shifts), invalid]
}

type State3 = [f64; 3];

/// The same where stars have registered the frame: the correlation that two of its stars have at
/// the distance of its residuals, the variance of its field, and the share of the canvas that it
/// does not reach.
fn by_stars(sources: &StateSources<'_>, f: usize) -> State3 {
    let fwhm = f64::from(sources.members[f].measure.metrics.fwhm_px.unwrap_or(3.0)).max(0.5);
    let residual = sources.residual_px[f];
    let sigma = fwhm / 2.355;
    let cc = math::exp(-residual * residual / (2.0 * sigma * sigma));
    let motion = match sources.fields {
        Some(fields) => {
            let at: Vec<Vec2> = sources.nodes.iter().map(|p| fields.fields[f].at(*p)).collect();
            scatter(&at)
        }
        None => 2.0 * residual * residual,
    };
    let metrics = &sources.metrics[f];
    let missing = metrics.iter().filter(|m| m.is_none()).count();
    [cc, motion, missing as f64 / metrics.len().max(1) as f64]
}

/// The groups of frames with these states; the report's frames are numbered as the states are.
fn find(states: &[State], recipe: &SyntheticRecipe) -> Synthetic {
    let n = states.len();
    let k = cluster_count(n, recipe.clusters_min, recipe.clusters_max).min(recipe.frames_max);
    let points = standardised(states);
    let global: Vec<f64> = states.iter().map(|s| s[0]).collect();
    let by_means = k_means(&points, k);
    let by_quantiles = by_means.is_none();
    let clusters = by_means
        .unwrap_or_else(|| quantiles(&global, recipe.fallback_quantiles.min(recipe.frames_max)));
    let n_clusters = clusters.iter().max().map_or(0, |c| c + 1);
    let size = |c: usize| clusters.iter().filter(|x| **x == c).count();
    let large: Vec<usize> = (0..n_clusters).filter(|&c| size(c) >= recipe.frames_min).collect();
    let skipped = reason_to_skip(&large, &clusters, states, recipe);
    let mut report = SyntheticReport {
        clusters: if by_quantiles { n_clusters } else { k },
        by_quantiles,
        skipped,
        groups: Vec::new(),
        effective_frames_without: 0.0,
    };
    if report.skipped.is_some() {
        return Synthetic { states: Vec::new(), group: vec![0; n], n_groups: 1, report };
    }
    let centres = new_centres(&points, &clusters, &vec![[0.0; 6]; n_clusters]);
    let to_large = |p: &State| nearest(p, large.iter().enumerate().map(|(g, &c)| (g, &centres[c])));
    let group: Vec<usize> = (0..n)
        .map(|i| match large.iter().position(|&c| c == clusters[i]) {
            Some(g) => g,
            None => to_large(&points[i]).unwrap_or(0),
        })
        .collect();
    report.groups = large
        .iter()
        .enumerate()
        .map(|(g, &cluster)| {
            let frames: Vec<usize> = (0..n).filter(|&i| group[i] == g).collect();
            let mean = |c: usize| {
                mean_and_variance(&frames.iter().map(|&i| states[i][c]).collect::<Vec<_>>()).0
            };
            SyntheticGroup {
                mean_global_weight: mean(0),
                mean_local_quality: mean(1),
                joined: frames.iter().copied().filter(|&i| clusters[i] != cluster).collect(),
                frames,
            }
        })
        .collect();
    Synthetic { states: Vec::new(), group, n_groups: large.len(), report }
}

/// Why groups are not worth making.
fn reason_to_skip(
    large: &[usize],
    clusters: &[usize],
    states: &[State],
    recipe: &SyntheticRecipe,
) -> Option<String> {
    let &AutoSkipRecipe { enabled, min_clusters, min_weight_spread, min_quality_spread } =
        &recipe.auto_skip;
    // One group is the stack itself.
    let needed = if enabled { min_clusters.max(2) } else { 2 };
    if large.len() < needed {
        return Some(format!(
            "{} cluster(s) have synthetic.frames_min = {} frames, {needed} are needed",
            large.len(),
            recipe.frames_min
        ));
    }
    if !enabled {
        return None;
    }
    let overall = mean_and_variance(&states.iter().map(|s| s[0]).collect::<Vec<_>>()).0;
    let spread = |c: usize| {
        let means = large.iter().map(|l| {
            let of = states.iter().zip(clusters).filter(|(_, x)| *x == l).map(|(s, _)| s[c]);
            mean_and_variance(&of.collect::<Vec<_>>()).0
        });
        let (low, high) =
            means.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), m| (l.min(m), h.max(m)));
        high - low
    };
    let (weight, quality) = (spread(0) / overall.max(f64::MIN_POSITIVE), spread(1));
    (weight < min_weight_spread && quality < min_quality_spread).then(|| {
        format!(
            "the clusters differ by {weight:.3} in weight and {quality:.3} in quality, less than \
             synthetic.auto_skip asks for"
        )
    })
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    /// Frames of three kinds, of which the last is rare.
    fn kinds(n: usize, rare: usize) -> Vec<State> {
        let mut rng = Rng::new(8, 0, 0);
        (0..n)
            .map(|i| {
                let kind = if i < rare { 2.0 } else { f64::from(u8::from(i % 2 == 0)) };
                let mut near = || kind + 0.02 * rng.normal();
                [1.0 + near(), near(), near(), near(), near(), near()]
            })
            .collect()
    }

    fn recipe(k: usize, frames_min: usize) -> SyntheticRecipe {
        SyntheticRecipe {
            enabled: true,
            frames_min,
            clusters_min: k,
            clusters_max: k,
            ..SyntheticRecipe::default()
        }
    }

    #[test]
    fn frames_of_like_state_are_a_group() {
        let found = find(&kinds(60, 9), &recipe(3, 5));
        assert_eq!((found.n_groups, found.report.by_quantiles), (3, false));
        assert!(found.report.skipped.is_none());
        let members: usize = found.report.groups.iter().map(|g| g.frames.len()).sum();
        assert_eq!(members, 60);
        assert!((0..9).all(|i| found.group[i] == found.group[0]));
        assert!((9..60).all(|i| found.group[i] == found.group[9 + (i + 1) % 2]));
        assert_ne!(found.group[9], found.group[10]);
    }

    #[test]
    fn small_clusters_join_the_nearest_large_one() {
        let found = find(&kinds(60, 3), &recipe(3, 5));
        assert_eq!(found.n_groups, 2);
        // The rare frames have 2 where the even ones have 1 and the odd ones 0.
        let even = found.group[4];
        assert!((0..3).all(|i| found.group[i] == even));
        let joined: Vec<&[usize]> =
            found.report.groups.iter().map(|g| g.joined.as_slice()).collect();
        assert!(joined.contains(&[0, 1, 2].as_slice()) && joined.iter().any(|j| j.is_empty()));
    }

    #[test]
    fn like_frames_fall_back_to_quantiles_of_the_global_weight() {
        let states: Vec<State> =
            (0..40).map(|i| [if i == 7 { 2.0 } else { 1.0 }, 0.0, 0.0, 0.0, 0.0, 0.0]).collect();
        let quantiles = SyntheticRecipe { fallback_quantiles: 4, ..recipe(6, 5) };
        let found = find(&states, &quantiles);
        assert_eq!((found.n_groups, found.report.by_quantiles), (4, true));
        assert!(found.report.groups.iter().all(|g| g.frames.len() == 10));
        assert_eq!(found.group[7], 3);
    }

    #[test]
    fn too_few_large_clusters_and_too_like_ones_are_skipped() {
        let none = find(&kinds(12, 0), &recipe(6, 5));
        assert!(none.report.skipped.is_some() && none.n_groups == 1);
        assert!(none.group.iter().all(|g| *g == 0) && none.report.groups.is_empty());
        let mut alike = recipe(2, 5);
        alike.auto_skip.enabled = true;
        assert!(find(&kinds(60, 0), &alike).report.skipped.is_none());
        alike.auto_skip.min_weight_spread = 10.0;
        assert!(find(&kinds(60, 0), &alike).report.skipped.is_none());
        alike.auto_skip.min_quality_spread = 10.0;
        assert!(find(&kinds(60, 0), &alike).report.skipped.is_some());
    }

    #[test]
    fn there_are_never_more_groups_than_allowed() {
        let most = SyntheticRecipe { frames_max: 2, ..recipe(3, 1) };
        assert_eq!(find(&kinds(60, 9), &most).n_groups, 2);
    }

    #[test]
    fn groups_share_alike() {
        let share = shares(&[1.0, 3.0, 5.0, 0.0], &[0, 0, 1, 2]);
        assert_eq!(share, [0.125, 0.375, 0.5, 0.0]);
        assert_eq!(shares(&[1.0, 3.0], &[0, 0]), [0.25, 0.75]);
    }
}
