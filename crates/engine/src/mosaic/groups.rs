//! Frames that point at the same patch of sky.

use stillframe_io::wcs::SkyPoint;

/// What grouping knows of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pointing {
    /// Place of its middle on the sky.
    pub(super) centre: SkyPoint,
    /// Direction of its columns on the sky, degrees.
    pub(super) turn_deg: f64,
    /// Frames of different kinds (size, mount) never share a group.
    pub(super) kind: String,
}

/// Which frames share a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GroupRule {
    /// Frames nearer than this share a group as a rule; farther than twice this never, degrees.
    pub(super) separation_deg: f64,
    /// Frames that are turned by more than this against the group's first never share it, degrees.
    pub(super) turn_deg: f64,
}

/// Groups of indices of `frames`, each ascending, in the order of their first members.
///
/// Again and again the frame with the most ungrouped frames within the separation is the heart of a group
/// of all of them; among equals the southernmost, then the westernmost. So no chain of frames can tie far
/// ones together, and the groups do not depend on the order of the frames. O(n²).
pub(super) fn groups(frames: &[Pointing], rule: GroupRule) -> Vec<Vec<usize>> {
    let n = frames.len();
    let directions: Vec<[f64; 3]> = frames.iter().map(|f| f.centre.to_unit()).collect();
    // chord of the separation: exact for any angle
    let reach = 2.0 * stillframe_image::math::sin(0.5 * rule.separation_deg.to_radians());
    let is_near = |a: usize, b: usize| {
        let d2: f64 = (0..3).map(|k| (directions[a][k] - directions[b][k]).powi(2)).sum();
        let turn = (frames[a].turn_deg - frames[b].turn_deg).rem_euclid(360.0);
        let turn = turn.min(360.0 - turn);
        d2 <= reach * reach && turn <= rule.turn_deg && frames[a].kind == frames[b].kind
    };
    let mut near: Vec<Vec<usize>> =
        (0..n).map(|a| (0..n).filter(|&b| is_near(a, b)).collect()).collect();
    let mut counts: Vec<usize> = near.iter().map(Vec::len).collect();
    let mut is_free = vec![true; n];
    let mut found = Vec::new();
    let place = |i: usize| (frames[i].centre.lat_deg, frames[i].centre.lon_deg, frames[i].turn_deg);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (place(a), place(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
    });
    // the first of equals in the order of places
    while let Some(&heart) = order.iter().filter(|&&i| is_free[i]).rev().max_by_key(|&&i| counts[i])
    {
        let members: Vec<usize> = near[heart].iter().copied().filter(|&i| is_free[i]).collect();
        for &m in &members {
            is_free[m] = false;
            for k in std::mem::take(&mut near[m]) {
                counts[k] = counts[k].saturating_sub(1);
            }
        }
        found.push(members);
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use stillframe_image::Rng;

    use super::*;

    const RULE: GroupRule = GroupRule { separation_deg: 0.1, turn_deg: 10.0 };

    fn at(lon_deg: f64, lat_deg: f64) -> Pointing {
        Pointing { centre: SkyPoint { lon_deg, lat_deg }, turn_deg: 0.0, kind: String::new() }
    }

    #[test]
    fn panels_are_groups_whatever_the_order_and_across_the_wrap() {
        let mut rng = Rng::new(3, 0, 0);
        let mut frames = Vec::new();
        for panel in 0..5 {
            for _ in 0..7 {
                let lon = 359.6 + 0.3 * f64::from(panel) + 0.01 * rng.normal();
                frames.push((panel, at(lon.rem_euclid(360.0), 1.0 + 0.01 * rng.normal())));
            }
        }
        let list: Vec<Pointing> = frames.iter().map(|f| f.1.clone()).collect();
        let want = groups(&list, RULE);
        assert_eq!(want.len(), 5);
        for group in &want {
            assert_eq!(group.len(), 7);
            assert!(group.iter().all(|&i| frames[i].0 == frames[group[0]].0));
        }
        // reversed: the same frames together
        let reversed: Vec<Pointing> = list.iter().rev().cloned().collect();
        let mut back: Vec<Vec<usize>> = groups(&reversed, RULE)
            .into_iter()
            .map(|g| {
                let mut g: Vec<usize> = g.into_iter().map(|i| list.len() - 1 - i).collect();
                g.sort_unstable();
                g
            })
            .collect();
        back.sort();
        assert_eq!(back, want);
    }

    #[test]
    fn no_chain_ties_far_frames_together() {
        let frames: Vec<Pointing> = (0..30).map(|i| at(10.0 + 0.05 * f64::from(i), 0.0)).collect();
        let found = groups(&frames, RULE);
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 30);
        for group in &found {
            let (first, last) = (&frames[group[0]], &frames[group[group.len() - 1]]);
            assert!(first.centre.distance_deg(last.centre) <= 0.2 + 1e-9);
        }
    }

    #[test]
    fn turned_frames_and_other_kinds_stay_apart() {
        let mut frames = vec![at(10.0, 5.0); 4];
        frames[1].turn_deg = 355.0;
        frames[2].turn_deg = 90.0;
        frames[3].kind = "ALT_AZ".into();
        assert_eq!(groups(&frames, RULE), [vec![0, 1], vec![2], vec![3]]);
        assert!(groups(&[], RULE).is_empty());
    }
}
