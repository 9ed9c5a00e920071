//! Compares operator, composed form, tiles and packed kernels with the scalar reference, at several
//! thresholds and where a number is not finite.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor, Var};
use data::{SHAPES, Side, assert_near, every_matcher, numbers, side};
use uard_attention::evidence::evidence;
use uard_attention::search::{MatrixOutput, Search};
use uard_attention::{Engine, Matcher, Precision, Regions, Similarities, Words};

/// The error of similarities in f32: rounding of short sums, amplified by the inverse temperature.
const F32_TOLERANCE: f64 = 1e-5;
/// The same in f64.
const F64_TOLERANCE: f64 = 1e-12;
/// A threshold near the middle of the relevance of the seeded batches.
const THRESHOLD: f64 = 0.21;

fn check_against_reference(dtype: DType, tolerance: f64) {
    for (at, (region_counts, word_counts, width)) in SHAPES.into_iter().enumerate() {
        let regions = side(at as u64, "regions", region_counts, width).regions(dtype);
        let words = side(at as u64, "words", word_counts, width).words(dtype);
        for matcher in every_matcher() {
            let what = format!("shape {at}, {:?}", matcher.config());
            let by_reference = Search::new(&matcher, THRESHOLD, Engine::Reference, Precision::F32)
                .unwrap()
                .all_pairs(&regions, &words)
                .unwrap();
            let expected: Vec<f64> = by_reference.values.iter().copied().map(f64::from).collect();
            let operator = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
            // The reference returns f32, whose rounding is the least error that f64 can have here.
            let bound = tolerance.max(2e-7);
            assert_near(&numbers(&operator.values), &expected, bound, &what);
            assert_eq!(operator.kept().unwrap(), by_reference.kept, "{what}");
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

/// The similarity of every pair by a kernel, as f64.
fn by_kernel(
    kernel: Engine,
    matcher: &Matcher,
    regions: &Regions,
    words: &Words,
    threshold: f64,
) -> Vec<f64> {
    let search = Search::new(matcher, threshold, kernel, Precision::F32).unwrap();
    let found = search.all_pairs(regions, words).unwrap();
    found.values.iter().copied().map(f64::from).collect()
}

#[test]
fn every_path_agrees_at_every_threshold() {
    for (region_counts, word_counts, width) in &SHAPES[2..4] {
        let regions = side(2, "regions", region_counts, *width).regions(DType::F32);
        let words = side(2, "words", word_counts, *width).words(DType::F32);
        for matcher in every_matcher().into_iter().step_by(2) {
            for threshold in [-5.0, -1.0, -0.5, 0.0, 1.01] {
                let what = format!("{:?} at {threshold}", matcher.config());
                let by_kernel = |kernel| by_kernel(kernel, &matcher, &regions, &words, threshold);
                let expected = by_kernel(Engine::Reference);
                let near = |found: &[f64]| assert_near(found, &expected, F32_TOLERANCE, &what);
                for run in [Matcher::similarities, Matcher::composed_similarities] {
                    near(&numbers(
                        &run(&matcher, &regions, &words, threshold).unwrap().values,
                    ));
                }
                for kernel in [Engine::Scalar, Engine::Auto] {
                    near(&by_kernel(kernel));
                }
            }
        }
    }
}

#[test]
fn a_threshold_that_is_not_finite_is_refused_on_every_path() {
    let regions = side(0, "regions", &[2], 4).regions(DType::F32);
    let words = side(0, "words", &[2], 4).words(DType::F32);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for matcher in every_matcher() {
            let mut refused = Vec::new();
            for run in [Matcher::similarities, Matcher::composed_similarities] {
                refused.push(run(&matcher, &regions, &words, bad).err());
            }
            for kernel in [Engine::Reference, Engine::Tensor, Engine::Scalar] {
                refused.push(Search::new(&matcher, bad, kernel, Precision::F32).err());
            }
            for precision in [Precision::F32, Precision::Bf16, Precision::Exact] {
                refused.push(Search::new(&matcher, bad, Engine::Auto, precision).err());
            }
            refused.push(evidence(&matcher, &regions, &words, bad).err());
            for error in refused {
                let message = error.map(|error| error.to_string()).unwrap_or_default();
                let expected = format!("`threshold` is {bad}, expected a finite number");
                assert!(message.contains(&expected), "{message}");
            }
        }
    }
}

/// A forward pass over raw fragments and a backward pass from the sum of the similarities.
struct Passes {
    found: Similarities,
    /// The gradients of regions and of words.
    gradients: [Vec<f64>; 2],
}

impl Passes {
    fn new(
        run: impl Fn(&Regions, &Words) -> Result<Similarities, uard_attention::Error>,
        [regions, words]: [&Side; 2],
    ) -> Self {
        let [u, v] = [regions, words].map(|side| Var::from_tensor(&side.raw).unwrap());
        let found = run(
            &Regions::normalized(&u, regions.counts.clone()).unwrap(),
            &Words::normalized(&v, words.counts.clone()).unwrap(),
        )
        .unwrap();
        let gradients = found.values.sum_all().unwrap().backward().unwrap();
        let gradients = [&u, &v].map(|var| numbers(gradients.get(var).unwrap()));
        Self { found, gradients }
    }
}

/// The same fragments, with one number of the second fragment of the first entry replaced.
fn with(side: &Side, number: f64) -> Side {
    let mut rows = side.raw.to_vec3::<f64>().unwrap();
    rows[0][1][2] = number;
    Side {
        raw: Tensor::new(rows, &Device::Cpu).unwrap(),
        counts: side.counts.clone(),
    }
}

#[test]
fn fragments_that_are_not_finite_give_nan() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = side(3, "regions", region_counts, width);
    let words = side(3, "words", word_counts, width);
    let captions = word_counts.len();
    for (bad, of_image) in [(f64::NAN, true), (f64::INFINITY, true), (f64::NAN, false)] {
        let (broken_regions, broken_words) = match of_image {
            true => (with(&regions, bad), words.clone()),
            false => (regions.clone(), with(&words, bad)),
        };
        for matcher in every_matcher() {
            for run in [Matcher::similarities, Matcher::composed_similarities] {
                let run = |u: &Regions, v: &Words| run(&matcher, u, v, THRESHOLD);
                let whole = Passes::new(run, [&regions, &words]);
                let broken = Passes::new(run, [&broken_regions, &broken_words]);
                let what = format!("{:?}", matcher.config());
                let pairs = numbers(&broken.found.values);
                for (pair, (found, expected)) in
                    pairs.iter().zip(numbers(&whole.found.values)).enumerate()
                {
                    let is_broken = match of_image {
                        true => pair / captions == 0,
                        false => pair % captions == 0,
                    };
                    let as_expected = match is_broken {
                        true => found.is_nan(),
                        false => (found - expected).abs() < F64_TOLERANCE,
                    };
                    assert!(as_expected, "{what}, pair {pair}: {found} {expected}");
                }
                assert_maxima(&broken, &whole, of_image);
                assert_gradients(&broken, &whole, of_image);
            }
            let regions = broken_regions.regions(DType::F64);
            let words = broken_words.words(DType::F64);
            let reference = by_kernel(Engine::Reference, &matcher, &regions, &words, THRESHOLD);
            let image = &reference[..captions];
            assert!(image[0].is_nan() && (of_image == image[1].is_nan()));
            let search = Search::new(&matcher, THRESHOLD, Engine::Auto, Precision::F32).unwrap();
            assert!(search.all_pairs(&regions, &words).is_err());
        }
    }
}

/// Maxima of a word that is not finite, or over an image that is not, are NaN. Others do not change.
fn assert_maxima(broken: &Passes, whole: &Passes, of_image: bool) {
    let images = whole.found.word_maxima.dim(2).unwrap();
    let maxima = numbers(&broken.found.word_maxima);
    let expected = numbers(&whole.found.word_maxima);
    for (at, (found, expected)) in maxima.iter().zip(expected).enumerate() {
        let is_broken = match of_image {
            true => at % images == 0 && expected != 0.0,
            false => at / images == 1,
        };
        let as_expected = match is_broken {
            true => found.is_nan(),
            false => (found - expected).abs() < 1e-6,
        };
        assert!(as_expected, "maximum {at}: {found} {expected}");
    }
}

/// Asserts that after a number in the first image (or caption) is made not finite, the gradients of
/// that entry and of the whole other side are NaN wherever they were not zero before (as they are
/// for padding), and that all other gradients are unchanged.
fn assert_gradients(broken: &Passes, whole: &Passes, of_image: bool) {
    let images = whole.found.values.dim(0).unwrap();
    let (_, captions) = whole.found.values.dims2().unwrap();
    for (at, entries) in [images, captions].into_iter().enumerate() {
        let of_entry = whole.gradients[at].len() / entries;
        let found = broken.gradients[at].chunks(of_entry);
        for (entry, (found, before)) in found.zip(whole.gradients[at].chunks(of_entry)).enumerate()
        {
            // The first entry is not finite, so neither is any gradient of the other side.
            let is_broken = entry == 0 || (at == 0) != of_image;
            for (found, before) in found.iter().zip(before) {
                let as_expected = match is_broken {
                    true => found.is_nan() || *before == 0.0,
                    false => (found - before).abs() < F64_TOLERANCE,
                };
                assert!(as_expected, "side {at}, entry {entry}: {found} {before}");
            }
        }
    }
}

#[test]
fn a_threshold_of_minus_one_attends_everything() {
    let (region_counts, word_counts, width) = SHAPES[4];
    let regions = side(4, "regions", region_counts, width).regions(DType::F32);
    let words = side(4, "words", word_counts, width).words(DType::F32);
    let matcher = every_matcher()[0];
    let by_reference = Search::new(&matcher, -1.0, Engine::Reference, Precision::F32)
        .unwrap()
        .all_pairs(&regions, &words)
        .unwrap();
    let expected: Vec<f64> = by_reference.values.iter().copied().map(f64::from).collect();
    for run in [Matcher::similarities, Matcher::composed_similarities] {
        let found = run(&matcher, &regions, &words, -1.0).unwrap();
        assert_near(&numbers(&found.values), &expected, F32_TOLERANCE, "dense");
        let kept = found.kept().unwrap();
        assert_eq!(kept.cells, kept.all_cells);
    }
}

#[test]
fn tiles_equal_the_whole() {
    // 60 x 60 pairs of up to 36 x 70 cells are more than one tile.
    let region_counts: Vec<usize> = (0..60).map(|i| 36 - i % 5).collect();
    let word_counts: Vec<usize> = (0..60).map(|i| 70 - i % 9).collect();
    let regions = side(1, "regions", &region_counts, 8).regions(DType::F32);
    let words = side(1, "words", &word_counts, 8).words(DType::F32);
    // Each rule once, with default sides and inverse temperature.
    for matcher in every_matcher().into_iter().step_by(6) {
        let tiles = AtomicUsize::new(0);
        let count = |_, _| {
            tiles.fetch_add(1, Ordering::Relaxed);
        };
        let search = Search::new(&matcher, THRESHOLD, Engine::Tensor, Precision::F32).unwrap();
        let mut values = vec![0.0; 60 * 60];
        let out = MatrixOutput {
            values: &mut values,
            on_progress: &count,
        };
        let images = search.collect_regions(&regions).unwrap();
        let captions = search.collect_words(&words).unwrap();
        let kept = search.similarities_into(images, captions, out).unwrap();
        assert!(tiles.into_inner() > 1, "a single tile would test nothing");
        let whole = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
        let tiled_values: Vec<f64> = values.iter().copied().map(f64::from).collect();
        assert_near(
            &tiled_values,
            &numbers(&whole.values),
            F32_TOLERANCE,
            "tiled",
        );
        assert_eq!(kept, whole.kept().unwrap());
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
