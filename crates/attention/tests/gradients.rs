//! Compares the operator's analytic gradient with finite differences and with the composed form.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use candle_core::{DType, Device, Tensor, Var};
use data::{SHAPES, assert_near, every_matcher, numbers, side};
use uard_attention::{Matcher, MatcherConfig, Sides, Similarities, WeightRule};
use uard_core::{Regions, Words};

const THRESHOLD: f64 = 0.21;

/// The error of central differences in f64 with a step of 1e-5 is about 1e-9; under the rule scan the
/// division by norms of cells amplifies it.
const DIFFERENCE_TOLERANCE: f64 = 1e-6;

/// A function of [`Matcher`] that computes similarities.
type SimilarityFunction =
    fn(&Matcher, &Regions, &Words, f64) -> Result<Similarities, uard_attention::Error>;

/// A scalar function of the similarities of raw regions and words, for gradients.
fn weighted_sum(
    run: SimilarityFunction,
    matcher: &Matcher,
    inputs: &[Tensor],
    region_counts: &[usize],
    word_counts: &[usize],
) -> candle_core::Result<Tensor> {
    let wrap = candle_core::Error::wrap;
    let regions = Regions::normalized(&inputs[0], region_counts.to_vec()).map_err(wrap)?;
    let words = Words::normalized(&inputs[1], word_counts.to_vec()).map_err(wrap)?;
    let values = run(matcher, &regions, &words, THRESHOLD)
        .map_err(candle_core::Error::wrap)?
        .values;
    let (i, c) = values.dims2()?;
    // Different weights. Some are zero, because the operator skips pairs whose upstream gradient is.
    let weights: Vec<f64> = (0..i * c).map(|at| (at % 5) as f64 - 1.0).collect();
    let weights = Tensor::from_vec(weights, (i, c), &Device::Cpu)?.to_dtype(values.dtype())?;
    (values * weights)?.sum_all()
}

#[test]
fn operator_gradient_matches_finite_differences() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = Var::from_tensor(&side(2, "regions", region_counts, width).raw).unwrap();
    let words = Var::from_tensor(&side(2, "words", word_counts, width).raw).unwrap();
    for matcher in every_matcher() {
        uard_testkit::assert_gradients(
            |inputs| {
                weighted_sum(
                    Matcher::similarities,
                    &matcher,
                    inputs,
                    region_counts,
                    word_counts,
                )
            },
            &[regions.clone(), words.clone()],
            DIFFERENCE_TOLERANCE,
        );
    }
}

#[test]
fn operator_gradient_equals_the_composed_one() {
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-4)] {
        for (at, (region_counts, word_counts, width)) in SHAPES.into_iter().enumerate() {
            let raw = [
                side(at as u64, "regions", region_counts, width)
                    .raw
                    .to_dtype(dtype)
                    .unwrap(),
                side(at as u64, "words", word_counts, width)
                    .raw
                    .to_dtype(dtype)
                    .unwrap(),
            ];
            for matcher in every_matcher() {
                let gradients = |run: SimilarityFunction| {
                    let vars = raw.each_ref().map(|raw| Var::from_tensor(raw).unwrap());
                    let inputs = vars.each_ref().map(|var| var.as_tensor().clone());
                    let loss = weighted_sum(run, &matcher, &inputs, region_counts, word_counts);
                    let store = loss.unwrap().backward().unwrap();
                    vars.map(|var| numbers(store.get(&var).unwrap()))
                };
                let what = format!("shape {at}, {:?}", matcher.config());
                let operator = gradients(Matcher::similarities);
                let composed = gradients(Matcher::composed_similarities);
                assert_near(&operator[0], &composed[0], tolerance, &what);
                assert_near(&operator[1], &composed[1], tolerance, &what);
            }
        }
    }
}

#[test]
fn padding_gets_no_gradient() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = Var::from_tensor(&side(2, "regions", region_counts, width).raw).unwrap();
    let words = side(2, "words", word_counts, width).raw;
    for matcher in every_matcher() {
        let inputs = [regions.as_tensor().clone(), words.clone()];
        let run = Matcher::similarities;
        let loss = weighted_sum(run, &matcher, &inputs, region_counts, word_counts).unwrap();
        let gradient = loss
            .backward()
            .unwrap()
            .get(&regions)
            .unwrap()
            .to_vec3::<f64>()
            .unwrap();
        for (image, &count) in region_counts.iter().enumerate() {
            assert!(gradient[image][count..].iter().flatten().all(|&g| g == 0.0));
            assert!(gradient[image][..count].iter().flatten().any(|&g| g != 0.0));
        }
    }
}

/// The gradients of raw regions and words, f32, for an upstream gradient of the similarities.
fn gradients_for(
    upstream: &[f32],
    region_counts: &[usize],
    word_counts: &[usize],
) -> [Vec<f64>; 2] {
    let raw = [
        side(9, "regions", region_counts, 48).raw,
        side(9, "words", word_counts, 48).raw,
    ];
    let vars = raw.map(|raw| Var::from_tensor(&raw.to_dtype(DType::F32).unwrap()).unwrap());
    let regions = Regions::normalized(vars[0].as_tensor(), region_counts.to_vec()).unwrap();
    let words = Words::normalized(vars[1].as_tensor(), word_counts.to_vec()).unwrap();
    let matcher = every_matcher()[0];
    let values = matcher
        .similarities(&regions, &words, THRESHOLD)
        .unwrap()
        .values;
    let shape = (region_counts.len(), word_counts.len());
    let upstream = Tensor::from_slice(upstream, shape, &Device::Cpu).unwrap();
    let loss = (values * upstream).unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    vars.map(|var| numbers(store.get(&var).unwrap()))
}

#[test]
fn gradients_of_few_pairs_and_of_the_rest_add_up_to_those_of_all() {
    // Several groups of captions and blocks of images, so that some tiles have none of the few pairs.
    let region_counts: Vec<usize> = (0..21).map(|image| 36 - image % 3).collect();
    let word_counts: Vec<usize> = (0..24).map(|caption| 8 + caption * 5 % 13).collect();
    let pairs = region_counts.len() * word_counts.len();
    let all: Vec<f32> = (0..pairs).map(|at| 0.25 + (at % 7) as f32).collect();
    let is_one_of_few = |at: usize| at % 24 < 6 && at / 24 < 6 && at.is_multiple_of(5);
    let part = |few: bool| -> Vec<f32> {
        let kept = |(at, &all): (usize, &f32)| if is_one_of_few(at) == few { all } else { 0.0 };
        all.iter().enumerate().map(kept).collect()
    };
    let [whole, few, rest] = [all.clone(), part(true), part(false)]
        .map(|upstream| gradients_for(&upstream, &region_counts, &word_counts));
    for at in 0..2 {
        assert!(few[at].iter().any(|&g| g != 0.0));
        let sum: Vec<f64> = few[at].iter().zip(&rest[at]).map(|(a, b)| a + b).collect();
        // The tolerance is for f32 sums over about 100 pairs of gradients near 1.
        assert_near(&sum, &whole[at], 1e-4, "few and rest");
    }
}

#[test]
fn a_second_backward_pass_gives_the_same_bytes() {
    let (region_counts, word_counts, width) = SHAPES[4];
    let regions = Var::from_tensor(&side(4, "regions", region_counts, width).raw).unwrap();
    let words = side(4, "words", word_counts, width).raw;
    for matcher in every_matcher() {
        let inputs = [regions.as_tensor().clone(), words.clone()];
        let run = Matcher::similarities;
        let loss = weighted_sum(run, &matcher, &inputs, region_counts, word_counts).unwrap();
        let [first, second] =
            [(); 2].map(|()| numbers(loss.backward().unwrap().get(&regions).unwrap()));
        assert_eq!(first, second);
    }
}

/// Under nearest the gradient of a query below the threshold goes to its first highest cell, as under
/// maxsim.
#[test]
fn of_equal_fragments_the_first_has_the_gradient_of_the_nearest() {
    // The same fragment twice; its cosine with the fragment of the other side is 0.1.
    let twice = Tensor::new(&[[[1f64, 0.0], [1.0, 0.0]]], &Device::Cpu).unwrap();
    let once = Tensor::new(&[[[0.1f64, 0.99f64.sqrt()]]], &Device::Cpu).unwrap();
    for rule in [WeightRule::Nearest, WeightRule::MaxSim] {
        for (sides, twice_is_query) in [(Sides::Words, false), (Sides::Regions, true)] {
            let config = MatcherConfig {
                rule,
                sides,
                inverse_temperature: None,
            };
            let matcher = Matcher::new(config).unwrap();
            let var = Var::from_tensor(&twice).unwrap();
            let (regions, words) = match twice_is_query {
                false => (var.as_tensor(), &once),
                true => (&once, var.as_tensor()),
            };
            let count = |rows: &Tensor| vec![rows.dims()[1]];
            let regions = Regions::normalized(regions, count(regions)).unwrap();
            let words = Words::normalized(words, count(words)).unwrap();
            let found = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
            assert!((numbers(&found.values)[0] - 0.1).abs() < 1e-12);
            let store = found.values.sum_all().unwrap().backward().unwrap();
            let gradient = numbers(store.get(&var).unwrap());
            assert!(gradient[1].abs() > 0.9, "{rule} {sides:?}: {gradient:?}");
            assert_eq!(gradient[2..], [0.0, 0.0], "{rule} {sides:?}");
        }
    }
}
