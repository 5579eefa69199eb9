use stillframe_image::Rng;

use super::*;

/// A grid of `nx` × `ny` tiles of 20 cells with 4 cells overlap, whose surfaces are known.
fn grid(
    nx: usize,
    ny: usize,
    terms_used: usize,
    noise: f64,
) -> (Vec<[f64; MAX_TERMS]>, Vec<Sighting>) {
    let mut rng = Rng::new(7, 0, 0);
    let truth: Vec<[f64; MAX_TERMS]> = (0..nx * ny)
        .map(|_| {
            let mut c = [0.0; MAX_TERMS];
            c[..terms_used].iter_mut().for_each(|c| *c = 20.0 * rng.normal());
            c
        })
        .collect();
    let mut sightings = Vec::new();
    for (t, c) in truth.iter().enumerate() {
        let (x0, y0) = (16 * (t % nx), 16 * (t / nx));
        for j in 0..20 {
            for i in 0..20 {
                let (u, v) = (i as f64 / 9.5 - 1.0, j as f64 / 9.5 - 1.0);
                let surface: f64 = c.iter().zip(terms(u, v)).map(|(c, t)| c * t).sum();
                let object = ((y0 + j) * 1000 + x0 + i) as u32;
                let sky = 50.0 * (f64::from(object) * 0.37).sin();
                let value = sky + surface + noise * rng.normal();
                sightings.push(Sighting {
                    tile: t as u32,
                    object,
                    value,
                    sigma: if noise > 0.0 { noise } else { 1.0 },
                    u,
                    v,
                });
            }
        }
    }
    (truth, sightings)
}

const EXACT: f64 = 0.0;

fn params(surface: Surface, shrinkage: f64) -> OverlapParams {
    OverlapParams { surface, slope_shrinkage: shrinkage, curvature_shrinkage: shrinkage }
}

/// The step across every border: difference of the corrected values of every object.
fn steps(sightings: &[Sighting], found: &Overlaps) -> f64 {
    let shared = Shared::new(sightings);
    let left = |s: &Sighting| {
        let c = &found.coefficients[s.tile as usize];
        s.value - c.iter().zip(terms(s.u, s.v)).map(|(c, t)| c * t).sum::<f64>()
    };
    let mut sum = 0.0;
    for range in shared.objects() {
        let values: Vec<f64> = shared.sightings[range].iter().map(left).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        sum += values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    }
    (sum / shared.sightings.len() as f64).sqrt()
}

#[test]
fn offsets_of_a_connected_grid_are_found_to_the_mean() {
    let (truth, sightings) = grid(4, 3, 1, 0.0);
    let found = solve(12, &sightings, params(Surface::Offset, EXACT));
    let mean = truth.iter().map(|c| c[0]).sum::<f64>() / 12.0;
    for (got, want) in found.coefficients.iter().zip(&truth) {
        assert!((got[0] - (want[0] - mean)).abs() < 1e-5, "{got:?} {want:?}");
    }
    assert_eq!(found.n_components, 1);
    assert_eq!(found.n_sightings, 2 * 4 * 20 * (3 * 3 + 4 * 2) - 4 * 16 * 6);
}

#[test]
fn surfaces_leave_no_steps_whatever_their_degree() {
    for (surface, used) in [(Surface::Plane, 3), (Surface::Quadratic, 6)] {
        let (_, sightings) = grid(4, 3, used, 0.0);
        let found = solve(12, &sightings, params(surface, 1e-6));
        let left = steps(&sightings, &found);
        assert!(left < 0.02, "{surface:?}: {left}");
    }
}

#[test]
fn noise_is_averaged_and_outliers_do_not_count() {
    let (truth, mut sightings) = grid(4, 3, 1, 1.0);
    let mean = truth.iter().map(|c| c[0]).sum::<f64>() / 12.0;
    let mut rng = Rng::new(9, 0, 0);
    for s in &mut sightings {
        if rng.below(20) == 0 {
            s.value += 500.0;
        }
    }
    let found = solve(12, &sightings, params(Surface::Offset, EXACT));
    for (got, want) in found.coefficients.iter().zip(&truth) {
        assert!((got[0] - (want[0] - mean)).abs() < 0.5, "{got:?} {want:?}");
    }
    assert!((0.8..1.4).contains(&found.scatter), "{}", found.scatter);
    assert!((0.03..0.2).contains(&found.outlier_fraction), "{}", found.outlier_fraction);
}

#[test]
fn parts_that_do_not_touch_are_components_with_a_mean_of_their_own() {
    let (_, mut sightings) = grid(4, 1, 1, 0.0);
    // tiles 2 and 3 see another sky
    sightings.iter_mut().filter(|s| s.tile >= 2).for_each(|s| s.object += 1_000_000);
    let found = solve(5, &sightings, params(Surface::Offset, EXACT));
    assert_eq!(found.component, [0, 0, 1, 1, 2]);
    assert_eq!(found.n_components, 3);
    assert_eq!(found.coefficients[4], [0.0; MAX_TERMS]);
    for pair in [0, 2] {
        let sum = found.coefficients[pair][0] + found.coefficients[pair + 1][0];
        assert!(sum.abs() < 1e-9);
    }
}

#[test]
fn a_long_chain_is_solved_to_its_ends() {
    let n = 150;
    let (truth, sightings) = grid(n, 1, 1, 0.0);
    let found = solve(n, &sightings, params(Surface::Offset, EXACT));
    let (first, last) = (found.coefficients[0][0], found.coefficients[n - 1][0]);
    assert!(((last - first) - (truth[n - 1][0] - truth[0][0])).abs() < 1e-3);
}

#[test]
fn nothing_shared_is_nothing_corrected() {
    let s = Sighting { tile: 0, object: 3, value: 5.0, sigma: 1.0, u: 0.0, v: 0.0 };
    // twice in one tile says nothing about two
    let found = solve(2, &[s, s], params(Surface::Quadratic, 1e-3));
    assert_eq!(found.coefficients, [[0.0; MAX_TERMS]; 2]);
    assert_eq!((found.n_components, found.n_sightings), (2, 0));
    assert_eq!(solve(0, &[], params(Surface::Offset, 0.0)).n_components, 0);
}

/// Steps of conjugate gradients for a square of pointings, `frames` at each, a few cells apart.
fn steps_of_square(side: usize, frames: usize) -> usize {
    let (_, once) = grid(side, side, 6, 1.0);
    let n = side * side;
    let repeated = (0..frames).flat_map(|f| {
        once.iter().map(move |s| Sighting {
            tile: s.tile + (f * n) as u32,
            object: s.object + f as u32,
            ..*s
        })
    });
    let sightings: Vec<Sighting> = repeated.collect();
    let shared = Shared::new(&sightings);
    let (pointing_of, n_pointings) = pointings(n * frames, &shared);
    assert_eq!(n_pointings, n);
    let terms: Vec<Terms> = shared.sightings.iter().map(|s| terms(s.u, s.v)).collect();
    let params = params(Surface::Quadratic, 1e-4);
    let normal = Normal {
        weights: &vec![1.0; terms.len()],
        shared: &shared,
        terms: &terms,
        n_tiles: n * frames,
        params: &params,
    };
    let coarse = Coarse::new(&normal, &pointing_of, n_pointings);
    let mut x = vec![[0.0; MAX_TERMS]; n * frames];
    solve_normal(&normal, &coarse, &mut x)
}

#[test]
fn steps_do_not_grow_with_the_width() {
    for frames in [1, 3] {
        let (narrow, wide) = (steps_of_square(4, frames), steps_of_square(12, frames));
        println!("{frames} frames: {narrow} and {wide} steps");
        assert!(wide <= 60 && wide <= narrow + 15, "{frames} frames: {narrow} and {wide}");
    }
}
