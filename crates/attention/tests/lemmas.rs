//! Tests of the lemmas of `docs/method.md`, section 5, on random fragments.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use candle_core::DType;
use data::{numbers, side};
use proptest::prelude::*;
use uard_attention::reference::{self, Attention};
use uard_attention::{Matcher, MatcherConfig, Sides};

/// The error of sums of a few products in f64.
const ROUNDING: f64 = 1e-12;

/// Queries and context as unit rows.
fn pair(seed: u64, queries: usize, context: usize, width: usize) -> [Vec<Vec<f64>>; 2] {
    let rows = |label, count: usize| {
        let words = side(seed, label, &[count], width).words(DType::F64);
        reference::unit_rows(&words.rows().to_vec3::<f64>().unwrap()[0])
    };
    [rows("queries", queries), rows("context", context)]
}

fn masked(threshold: f64, inverse_temperature: f64) -> Attention {
    Attention::Masked {
        threshold,
        inverse_temperature,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Lemma 1: R is 0 exactly if the highest relevance of the query is not above t; otherwise R > t.
    #[test]
    fn the_row_maximum_decides_the_query_mask(
        seed in any::<u64>(), context in 1usize..12, width in 1usize..9,
        threshold in 0.0f64..0.9, inverse_temperature in 0.5f64..40.0,
    ) {
        let [queries, context] = pair(seed, 3, context, width);
        for query in &queries {
            let relevance = reference::relevance(std::slice::from_ref(query), &context);
            let best = relevance[0].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let attention = masked(threshold, inverse_temperature);
            let answer = reference::one_side(std::slice::from_ref(query), &context, attention);
            if best <= threshold {
                prop_assert_eq!(answer, 0.0);
            } else {
                prop_assert!(answer > threshold - ROUNDING, "{answer} {threshold}");
            }
        }
    }

    /// Lemma 6: under the rule nearest R is above t exactly if the highest relevance is, and R does not
    /// jump where a single fragment crosses t.
    #[test]
    fn the_rule_nearest_keeps_the_border(
        seed in any::<u64>(), context in 1usize..12, width in 1usize..9,
        threshold in 0.0f64..0.9, inverse_temperature in 0.5f64..40.0,
    ) {
        let [queries, context] = pair(seed, 1, context, width);
        let answer = |threshold| {
            let attention = Attention::Nearest { threshold, inverse_temperature };
            reference::one_side(&queries, &context, attention)
        };
        let relevance = reference::relevance(&queries, &context).remove(0);
        let best = relevance.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if best <= threshold {
            prop_assert_eq!(answer(threshold), best);
        } else {
            prop_assert!(answer(threshold) > threshold - ROUNDING);
        }
        let lower: Vec<f64> = relevance.iter().copied().filter(|s| *s < best).collect();
        if lower.len() + 1 == relevance.len() {
            let second = lower.into_iter().fold(-1.0, f64::max);
            let single = answer((second + best) / 2.0);
            prop_assert!((single - best).abs() < ROUNDING, "{single} {best}");
        }
    }

    /// Lemma 2: the squared length of the attended vector is at least t squared.
    #[test]
    fn the_attended_vector_is_no_shorter_than_the_threshold(
        seed in any::<u64>(), context in 1usize..12, width in 1usize..9,
        threshold in 0.0f64..0.9, inverse_temperature in 0.5f64..40.0,
    ) {
        let [queries, context] = pair(seed, 1, context, width);
        let relevance = reference::relevance(&queries, &context);
        let weights = reference::weights(&relevance, masked(threshold, inverse_temperature));
        if weights[0].iter().any(|&w| w > 0.0) {
            let attended = reference::attend(&weights[0], &context);
            let squared: f64 = attended.iter().map(|x| x * x).sum();
            prop_assert!(squared >= threshold * threshold - ROUNDING);
        }
    }

    /// Lemma 3: R lies between the weighted mean relevance and the bound by the least Gram entry.
    #[test]
    fn the_answer_lies_in_its_sandwich(
        seed in any::<u64>(), context in 1usize..12, width in 1usize..9,
        threshold in 0.0f64..0.9, inverse_temperature in 0.5f64..40.0,
    ) {
        let [queries, context] = pair(seed, 1, context, width);
        let relevance = reference::relevance(&queries, &context);
        let weights = reference::weights(&relevance, masked(threshold, inverse_temperature));
        let kept: Vec<usize> = (0..context.len()).filter(|&j| weights[0][j] > 0.0).collect();
        prop_assume!(!kept.is_empty());
        let answer =
            reference::one_side(&queries, &context, masked(threshold, inverse_temperature));
        let mean: f64 = kept.iter().map(|&j| weights[0][j] * relevance[0][j]).sum();
        prop_assert!(answer >= mean - ROUNDING);
        let rows: Vec<Vec<f64>> = kept.iter().map(|&j| context[j].clone()).collect();
        let least = reference::relevance(&rows, &rows).into_iter().flatten().fold(1.0, f64::min);
        if least >= 0.0 {
            let best = kept.iter().map(|&j| relevance[0][j]).fold(0.0, f64::max);
            let count = kept.len() as f64;
            let bound = best / (1.0 / count + (1.0 - 1.0 / count) * least).sqrt();
            prop_assert!(answer <= bound.min(1.0) + ROUNDING, "{answer} {bound}");
        }
    }

    /// The Gram form equals the formula that forms the attended vector.
    #[test]
    fn the_gram_form_is_exact(
        seed in any::<u64>(), regions in 1usize..9, words in 1usize..9, width in 1usize..9,
        threshold in 0.0f64..0.9, inverse_temperature in 0.5f64..40.0,
    ) {
        let regions = side(seed, "regions", &[regions], width).regions(DType::F64);
        let words = side(seed, "words", &[words], width).words(DType::F64);
        let config =
            MatcherConfig { inverse_temperature: Some(inverse_temperature), ..Default::default() };
        let found = Matcher::new(config).unwrap().similarities(&regions, &words, threshold).unwrap();
        let attention = Some(masked(threshold, inverse_temperature));
        let rows = |tensor: &candle_core::Tensor| tensor.to_vec3::<f64>().unwrap().remove(0);
        let expected = reference::similarity(
            &rows(regions.rows()), &rows(words.rows()), attention, attention,
        );
        prop_assert!((numbers(&found.values)[0] - expected).abs() < 1e-9);
    }

    /// Lemma 5: a pair without relevance above the threshold has a similarity of exactly zero.
    #[test]
    fn a_pair_with_nothing_above_the_threshold_is_exactly_zero(seed in any::<u64>(), f32 in any::<bool>()) {
        let dtype = if f32 { DType::F32 } else { DType::F64 };
        let regions = side(seed, "regions", &[4, 2], 6).regions(dtype);
        let words = side(seed, "words", &[3, 5], 6).words(dtype);
        let matcher = Matcher::new(MatcherConfig::default()).unwrap();
        let highest = numbers(&matcher.similarities(&regions, &words, 0.0).unwrap().word_maxima)
            .into_iter().fold(0.0, f64::max);
        let found = matcher.similarities(&regions, &words, highest + 1e-6).unwrap();
        prop_assert_eq!(numbers(&found.values), vec![0.0; 4]);
        prop_assert_eq!(found.kept().unwrap().cells, 0);
    }
}

/// Lemma 4, by an example: R over two regions on either side of the word exceeds the relevance of each.
#[test]
fn the_answer_may_exceed_the_best_relevance() {
    let word = vec![1.0, 0.0];
    let regions = [vec![0.6, 0.8], vec![0.6, -0.8]];
    let answer = reference::one_side(&[word], &regions, masked(0.3, 10.0));
    assert!((answer - 1.0).abs() < ROUNDING);
}

/// Maxsim is the limit of the masked rule for an infinite inverse temperature.
#[test]
fn maxsim_is_the_limit_of_the_masked_rule() {
    let [queries, context] = pair(5, 6, 9, 8);
    let limit = reference::one_side(&queries, &context, Attention::MaxSim);
    let sharp = reference::one_side(&queries, &context, masked(-1.0, 1e5));
    assert!((limit - sharp).abs() < 1e-9, "{limit} {sharp}");
}

/// The similarity of both sides is the sum of those of each side.
#[test]
fn both_sides_add_up() {
    let regions = side(7, "regions", &[4, 2], 6).regions(DType::F64);
    let words = side(7, "words", &[3, 5], 6).words(DType::F64);
    let [both, words_ask, regions_ask] = [Sides::Both, Sides::Words, Sides::Regions].map(|sides| {
        let matcher = Matcher::new(MatcherConfig {
            sides,
            ..Default::default()
        })
        .unwrap();
        numbers(&matcher.similarities(&regions, &words, 0.2).unwrap().values)
    });
    for at in 0..4 {
        assert!((both[at] - words_ask[at] - regions_ask[at]).abs() < ROUNDING);
    }
}
