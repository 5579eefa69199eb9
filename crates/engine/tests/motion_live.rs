//! Motion correction frame by frame, against the whole recording at once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use stillframe_engine::image::{Rng, Shape};
use stillframe_engine::motion::{
    Compensated, Compensation, Live, LiveFrame, LiveReference, LiveUpdate, MemoryRecording,
    MotionError, MotionFlag, compensate,
};
use stillframe_engine::recipe::{Alpha, MotionRecipe, QualitySetting};
use stillframe_engine::runtime::{Cancel, Silent};

const SHAPE: Shape = Shape { height: 48, width: 64 };

/// Two channels that move to the right by 0.3 pixels a frame, from 200 to 800, with some noise.
fn frame(t: usize) -> Vec<f32> {
    let mut rng = Rng::new(3, t as u64, 0);
    let at = |i: usize, c: f64| {
        let (x, y) = ((i % SHAPE.width) as f64 - 0.3 * t as f64, (i / SHAPE.width) as f64);
        500.0 + 200.0 * (0.4 * x + c).sin() * (0.3 * y).cos() + 100.0 * (0.2 * x - 0.3 * y).sin()
    };
    (0..2 * SHAPE.len())
        .map(|i| (at(i % SHAPE.len(), (i / SHAPE.len()) as f64) + 5.0 * rng.normal()) as f32)
        .collect()
}

fn recipe() -> MotionRecipe {
    MotionRecipe {
        quality_setting: QualitySetting::Fast,
        alpha: Alpha::Fixed([4.0, 4.0]),
        ..MotionRecipe::default()
    }
}

fn live(recipe: MotionRecipe, reference: LiveReference) -> Live {
    Live::new(recipe, SHAPE, 2, reference).unwrap()
}

fn fed(live: &mut Live, frames: &[Vec<f32>]) -> Vec<LiveFrame> {
    let mut out: Vec<LiveFrame> = frames.iter().flat_map(|f| live.push(f).unwrap()).collect();
    out.extend(live.finish().unwrap());
    out
}

fn batch(recipe: MotionRecipe, frames: &[Vec<f32>], reference: Option<Vec<f32>>) -> Compensated {
    let recording = MemoryRecording::new(SHAPE, 2, frames.concat()).unwrap();
    let options = Compensation { recipe, reference, ..Compensation::default() };
    compensate(recording, options, &Silent, &Cancel::new()).unwrap()
}

#[track_caller]
fn same(got: &[LiveFrame], want: &Compensated) {
    assert_eq!(got.len(), want.fields.len());
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (i, out) in got.iter().enumerate() {
        let n = out.registered.len();
        assert_eq!(out.index, i);
        assert_eq!(bits(&out.registered), bits(&want.registered[i * n..(i + 1) * n]), "frame {i}");
        assert_eq!(bits(out.field.u.pixels()), bits(want.fields[i].u.pixels()), "frame {i}");
        assert_eq!(bits(out.field.v.pixels()), bits(want.fields[i].v.pixels()), "frame {i}");
        assert_eq!(out.record, want.records[i]);
    }
}

#[test]
fn frames_have_the_bits_of_the_batch() {
    let mut frames: Vec<Vec<f32>> = (0..6).map(frame).collect();
    frames[4][700] = f32::NAN;
    let mut given = live(recipe(), LiveReference::Given(frame(0)));
    let got = fed(&mut given, &frames);
    same(&got, &batch(recipe(), &frames, Some(frame(0))));
    assert!(got[4].record.flags.contains(&MotionFlag::MissingPixels));
    assert_eq!(got[4].record.missing_pixels, 1);

    let mut first = live(recipe(), LiveReference::First(3));
    assert!(first.push(&frames[0]).unwrap().is_empty() && first.reference().is_none());
    assert!(first.push(&frames[1]).unwrap().is_empty());
    let mut got = first.push(&frames[2]).unwrap();
    assert_eq!(got.len(), 3);
    got.extend(fed(&mut first, &frames[3..]));
    let from = MotionRecipe { reference_frames: "0..3".into(), ..recipe() };
    same(&got, &batch(from, &frames, None));
}

#[test]
fn fewer_frames_than_the_reference_needs_are_kept() {
    let mut one = live(recipe(), LiveReference::First(50));
    let got = fed(&mut one, &[frame(0)]);
    assert_eq!(got.len(), 1);
    assert!(got[0].record.max_disp < 1e-3, "{:?}", got[0].record);
    assert!(one.finish().unwrap().is_empty());
    assert!(live(recipe(), LiveReference::First(5)).finish().unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_refused_and_forgotten() {
    let refused =
        |reference| matches!(Live::new(recipe(), SHAPE, 2, reference), Err(MotionError::Inputs(_)));
    assert!(refused(LiveReference::First(0)));
    assert!(refused(LiveReference::Given(vec![1.0; 7])));
    assert!(refused(LiveReference::Given([vec![f32::NAN], frame(0)[1..].to_vec()].concat())));
    let update = LiveUpdate { interval: 0, weight: 0.2 };
    assert!(live(recipe(), LiveReference::First(1)).with_update(update).is_err());

    let mut with_error = live(recipe(), LiveReference::Given(frame(0)));
    with_error.push(&frame(1)).unwrap();
    let error = with_error.push(&frame(1)[1..]).unwrap_err().to_string();
    assert!(error.contains("6143") && error.contains("6144"), "{error}");
    let got = with_error.push(&frame(2)).unwrap();
    let want = batch(recipe(), &[frame(1), frame(2)], Some(frame(0)));
    assert_eq!(got[0].index, 1);
    assert!(got[0].field == want.fields[1]);

    let nothing = with_error.push(&vec![f32::NAN; 2 * SHAPE.len()]).unwrap();
    assert_eq!(nothing[0].record.missing_pixels, 2 * SHAPE.len());
    assert!(nothing[0].registered.iter().all(|v| v.is_finite()));
}

#[test]
fn the_reference_follows_when_asked() {
    let frames: Vec<Vec<f32>> = (0..5).map(frame).collect();
    let follows = MotionRecipe { update_reference: true, ..recipe() };
    let update = LiveUpdate { interval: 2, weight: 0.25 };
    let mut following = live(follows, LiveReference::Given(frame(0))).with_update(update).unwrap();
    let got = fed(&mut following, &frames);
    let mut want = frame(0);
    for out in [&got[1], &got[3]] {
        want.iter_mut().zip(&out.registered).for_each(|(r, f)| *r = 0.75 * *r + 0.25 * f);
    }
    assert_eq!(following.reference().unwrap(), want);
    let still = batch(recipe(), &frames, Some(frame(0)));
    assert!(got[1].field == still.fields[1] && got[2].field != still.fields[2]);
}

#[test]
fn only_the_past_is_filtered_and_units_do_not_count() {
    let smooth = || MotionRecipe { sigma: vec![1.0, 1.0, 1.0], ..recipe() };
    let frames: Vec<Vec<f32>> = (0..7).map(frame).collect();
    let scaled: Vec<Vec<f32>> =
        frames.iter().map(|f| f.iter().map(|v| 4096.0 * v).collect()).collect();
    let got = fed(&mut live(smooth(), LiveReference::Given(frames[0].clone())), &frames);
    let other = fed(&mut live(smooth(), LiveReference::Given(scaled[0].clone())), &scaled);
    let alone = batch(recipe(), &frames[..1], Some(frames[0].clone()));
    assert!(got[0].field == alone.fields[0], "the first frame has no past");
    for (a, b) in got.iter().zip(&other) {
        let pairs = a.field.u.pixels().iter().zip(b.field.u.pixels());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-2, "frame {}: {worst}", a.index);
    }
    let moved = got[6].field.u.at(32, 24);
    assert!((0.5..2.2).contains(&moved), "the past lags behind 1.8 px: {moved}");
}
