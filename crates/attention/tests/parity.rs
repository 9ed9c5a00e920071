//! Do operator, composed form and tiles agree with the scalar reference?

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod data;

use candle_core::DType;
use data::{SHAPES, assert_near, every_matcher, numbers, side};
use uard_attention::Matcher;
use uard_attention::kernel::Kernel;
use uard_attention::search::all_pairs;

/// f32 rounding of cosines over short sums, amplified by the inverse temperature.
const F32_TOLERANCE: f64 = 1e-5;
/// f64 rounding of the same.
const F64_TOLERANCE: f64 = 1e-12;
/// A cut in the middle of the relevance of the seeded batches.
const THRESHOLD: f64 = 0.21;

fn check_against_reference(dtype: DType, tolerance: f64) {
    for (at, (region_counts, word_counts, width)) in SHAPES.into_iter().enumerate() {
        let regions = side(at as u64, "regions", region_counts, width).regions(dtype);
        let words = side(at as u64, "words", word_counts, width).words(dtype);
        for matcher in every_matcher() {
            let what = format!("shape {at}, {:?}", matcher.config());
            let judge = Kernel::Reference
                .all_pairs(&matcher, (&regions, &words), THRESHOLD, &|_, _| ())
                .unwrap();
            let expected: Vec<f64> = judge.values.iter().copied().map(f64::from).collect();
            let operator = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
            // The reference returns f32: its own rounding bounds what can be asked of f64.
            let bound = tolerance.max(2e-7);
            assert_near(&numbers(&operator.values), &expected, bound, &what);
            assert_eq!(operator.kept().unwrap(), judge.kept, "{what}");
            let composed = matcher
                .composed_similarities(&regions, &words, THRESHOLD)
                .unwrap();
            assert_near(
                &numbers(&composed.values),
                &numbers(&operator.values),
                tolerance,
                &what,
            );
            assert_near(
                &numbers(&composed.word_maxima),
                &numbers(&operator.word_maxima),
                1e-6,
                &what,
            );
            assert_eq!(composed.kept().unwrap(), operator.kept().unwrap(), "{what}");
        }
    }
}

#[test]
fn f32_agrees_with_the_reference_for_every_rule_side_and_shape() {
    check_against_reference(DType::F32, F32_TOLERANCE);
}

#[test]
fn f64_agrees_with_the_reference_for_every_rule_side_and_shape() {
    check_against_reference(DType::F64, F64_TOLERANCE);
}

#[test]
fn a_threshold_of_minus_one_attends_everything() {
    let (region_counts, word_counts, width) = SHAPES[4];
    let regions = side(4, "regions", region_counts, width).regions(DType::F32);
    let words = side(4, "words", word_counts, width).words(DType::F32);
    let matcher = every_matcher()[0];
    let judge = Kernel::Reference
        .all_pairs(&matcher, (&regions, &words), -1.0, &|_, _| ())
        .unwrap();
    let expected: Vec<f64> = judge.values.iter().copied().map(f64::from).collect();
    for run in [Matcher::similarities, Matcher::composed_similarities] {
        let found = run(&matcher, &regions, &words, -1.0).unwrap();
        assert_near(&numbers(&found.values), &expected, F32_TOLERANCE, "dense");
        let kept = found.kept().unwrap();
        assert_eq!(kept.cells, kept.all_cells);
    }
}

#[test]
fn tiles_equal_the_whole() {
    // 60 x 60 pairs of 36 x 70 cells: more than one tile.
    let region_counts: Vec<usize> = (0..60).map(|i| 36 - i % 5).collect();
    let word_counts: Vec<usize> = (0..60).map(|i| 70 - i % 9).collect();
    let regions = side(1, "regions", &region_counts, 8).regions(DType::F32);
    let words = side(1, "words", &word_counts, 8).words(DType::F32);
    // Each rule once, with its defaults.
    for matcher in every_matcher().into_iter().step_by(6) {
        let mut tiles = 0;
        let tiled = all_pairs(&matcher, &regions, &words, THRESHOLD, &mut |_, _| {
            tiles += 1
        })
        .unwrap();
        assert!(tiles > 1, "one tile tests nothing");
        let whole = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
        let tiled_values: Vec<f64> = tiled.values.iter().copied().map(f64::from).collect();
        assert_near(
            &tiled_values,
            &numbers(&whole.values),
            F32_TOLERANCE,
            "tiled",
        );
        assert_eq!(tiled.kept, whole.kept().unwrap());
    }
}

#[test]
fn widths_that_differ_are_refused() {
    let regions = side(0, "regions", &[2], 4).regions(DType::F32);
    let words = side(0, "words", &[2], 5).words(DType::F32);
    let message = every_matcher()[0]
        .similarities(&regions, &words, 0.0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "regions have width 4 and words 5: encode both into one joint space"
    );
}
