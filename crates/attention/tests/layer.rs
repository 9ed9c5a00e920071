//! Tests of the layer `CrossAttention`: that it attends as the matcher does, its masks and
//! gradients, and a threshold learned from it.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use uard_attention::{
    CrossAttention, CrossAttentionConfig, Masks, Matcher, MatcherConfig, QuerySide, Regions, Words,
};
use uard_relevance::{CaptionRule, LearnerConfig, ThresholdLearner};

use crate::data::{assert_near, numbers, side};

const WIDTH: usize = 6;
const REGIONS: &[usize] = &[3, 5, 2];
const WORDS: &[usize] = &[4, 1, 3];
const THRESHOLD: f64 = 0.21;

/// A layer that projects nothing: every weight is the identity and the bias is zero.
fn identity(queries: QuerySide) -> (CrossAttention, Vec<Var>) {
    let variables: HashMap<String, Var> = ["regions", "words", "values"]
        .map(|name| {
            let identity = Tensor::eye(WIDTH, DType::F64, &Device::Cpu).unwrap();
            (
                format!("{name}.weight"),
                Var::from_tensor(&identity).unwrap(),
            )
        })
        .into_iter()
        .chain([(
            "values.bias".to_owned(),
            Var::zeros(WIDTH, DType::F64, &Device::Cpu).unwrap(),
        )])
        .collect();
    let tensors = variables
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu);
    let config = CrossAttentionConfig {
        region_width: WIDTH,
        word_width: WIDTH,
        joint_width: WIDTH,
        output_width: WIDTH,
        queries,
        matcher: MatcherConfig::default(),
    };
    let layer = CrossAttention::new(config, vb).unwrap();
    (layer, variables.into_values().collect())
}

fn masks() -> Masks {
    Masks::from_counts(REGIONS, 5, WORDS, 4).unwrap()
}

#[test]
fn a_layer_of_identities_attends_as_the_matcher_within_each_entry() {
    let regions = side(1, "regions", REGIONS, WIDTH).raw;
    let words = side(1, "words", WORDS, WIDTH).raw;
    let unit_regions = Regions::normalized(&regions, REGIONS.to_vec()).unwrap();
    let unit_words = Words::normalized(&words, WORDS.to_vec()).unwrap();
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for queries in [QuerySide::Words, QuerySide::Regions] {
        let (layer, _) = identity(queries);
        let found = layer
            .forward(&regions, &words, &masks(), THRESHOLD)
            .unwrap();
        let expected = matcher
            .attend(&unit_regions, &unit_words, queries, THRESHOLD)
            .unwrap();
        let values = match queries {
            QuerySide::Words => &regions,
            QuerySide::Regions => &words,
        };
        for entry in 0..REGIONS.len() {
            let of_pair = |tensor: &Tensor| tensor.get(entry).unwrap().get(entry).unwrap();
            let weights = of_pair(&expected.weights);
            let found_weights = found.weights.get(entry).unwrap();
            assert_near(
                &numbers(&found_weights),
                &numbers(&weights),
                1e-12,
                "weights",
            );
            let answers = found.answers.get(entry).unwrap();
            assert_near(
                &numbers(&answers),
                &numbers(&of_pair(&expected.answers)),
                1e-12,
                "answers",
            );
            // The values are the features themselves, not their unit vectors.
            let vectors = weights.matmul(&values.get(entry).unwrap()).unwrap();
            let found_vectors = found.vectors.get(entry).unwrap();
            assert_near(
                &numbers(&found_vectors),
                &numbers(&vectors),
                1e-12,
                "vectors",
            );
        }
    }
}

#[test]
fn every_parameter_and_both_inputs_have_a_finite_gradient() {
    let regions = Var::from_tensor(&side(1, "regions", REGIONS, WIDTH).raw).unwrap();
    let words = Var::from_tensor(&side(1, "words", WORDS, WIDTH).raw).unwrap();
    for queries in [QuerySide::Words, QuerySide::Regions] {
        let (layer, parameters) = identity(queries);
        let found = layer
            .forward(&regions, &words, &masks(), THRESHOLD)
            .unwrap();
        let loss = found.vectors.sqr().unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        for variable in parameters.iter().chain([&regions, &words]) {
            uard_testkit::assert_finite_nonzero("a variable", gradients.get(variable).unwrap());
        }
    }
}

#[test]
fn a_learner_that_observes_the_layer_moves_between_matched_and_mismatched() {
    let (layer, _) = identity(QuerySide::Words);
    // Entry b has one direction; words are close to the regions of their own entry.
    let directions = Tensor::eye(WIDTH, DType::F64, &Device::Cpu).unwrap();
    let noise = side(3, "noise", &[2; WIDTH], WIDTH).raw;
    let rows = |scale: f64| {
        let rows = directions.unsqueeze(1).unwrap();
        rows.broadcast_add(&(&noise * scale).unwrap()).unwrap()
    };
    let mut learner = ThresholdLearner::new(LearnerConfig {
        minimum_samples: 2 * WIDTH,
        captions: CaptionRule::All,
        ..LearnerConfig::default()
    })
    .unwrap();
    let update = layer
        .observe(&rows(0.05), &rows(0.1), &Masks::default(), &mut learner)
        .unwrap();
    let threshold = learner.threshold();
    assert!(threshold > 0.1 && threshold < 0.9, "{update}");
}

#[test]
fn masks_that_do_not_fit_and_entries_without_rows_are_refused_by_name() {
    let (layer, _) = identity(QuerySide::Words);
    let regions = side(1, "regions", REGIONS, WIDTH).raw;
    let words = side(1, "words", WORDS, WIDTH).raw;
    let refusal = |masks: Masks| {
        let refused = layer.forward(&regions, &words, &masks, THRESHOLD);
        refused.unwrap_err().to_string()
    };
    let short = Masks {
        words: Masks::from_counts(&[3; 3], 5, &[3, 1, 3], 3).unwrap().words,
        ..masks()
    };
    assert!(refusal(short).contains("mask of words: expected 4 along rows, found 3"));
    let empty = Masks {
        regions: Masks::from_counts(&[3, 0, 2], 5, WORDS, 4).unwrap().regions,
        ..masks()
    };
    assert!(refusal(empty).contains("regions: entry 1 counts 0 fragments"));
    let additive = Masks {
        words: Some((Tensor::ones((3, 4), DType::F32, &Device::Cpu).unwrap() * -10.0).unwrap()),
        ..masks()
    };
    assert!(refusal(additive).contains("`masks` is -10 for words, entry 0, expected 1 for"));
    assert!(Masks::from_counts(&[6], 5, &[1], 1).is_err());
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    let (layer, _) = identity(QuerySide::Words);
    let regions = side(1, "regions", REGIONS, WIDTH).raw;
    let words = side(1, "words", WORDS, WIDTH).raw;
    let refusal = |regions: &Tensor, words: &Tensor| {
        let refused = layer.forward(regions, words, &Masks::default(), THRESHOLD);
        refused.unwrap_err().to_string()
    };
    let two = words.narrow(0, 0, 2).unwrap();
    assert!(refusal(&regions, &two).contains("words: expected 3 along entries, found 2"));
    let mut learner = ThresholdLearner::new(LearnerConfig::default()).unwrap();
    let observed = layer.observe(&regions, &two, &Masks::default(), &mut learner);
    assert!(observed.is_err());
    let narrow = regions.narrow(2, 0, 5).unwrap();
    assert!(refusal(&narrow, &words).contains("regions: expected 6 along width, found 5"));
    let half = regions.to_dtype(DType::F16).unwrap();
    assert!(refusal(&half, &words).contains("regions: expected f64, found f16"));
    let flat = regions.get(0).unwrap();
    assert!(refusal(&flat, &words).contains("regions: expected rank 3"));
}

#[test]
fn padding_may_hold_nan() {
    let regions = side(1, "regions", REGIONS, WIDTH).raw;
    let words = side(1, "words", WORDS, WIDTH).raw;
    let spoiled = |rows: &Tensor, mask: &Tensor| {
        let kept = mask
            .unsqueeze(2)
            .unwrap()
            .broadcast_as(rows.shape())
            .unwrap();
        let nan = (rows.zeros_like().unwrap() / 0.0).unwrap();
        Var::from_tensor(&kept.where_cond(rows, &nan).unwrap()).unwrap()
    };
    let masks = masks();
    let spoiled_regions = spoiled(&regions, masks.regions.as_ref().unwrap());
    let spoiled_words = spoiled(&words, masks.words.as_ref().unwrap());
    for queries in [QuerySide::Words, QuerySide::Regions] {
        let (layer, parameters) = identity(queries);
        let expected = layer.forward(&regions, &words, &masks, THRESHOLD).unwrap();
        let found = layer
            .forward(&spoiled_regions, &spoiled_words, &masks, THRESHOLD)
            .unwrap();
        assert_eq!(numbers(&found.vectors), numbers(&expected.vectors));
        let loss = found.vectors.sqr().unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        for variable in &parameters {
            uard_testkit::assert_finite_nonzero("a parameter", gradients.get(variable).unwrap());
        }
    }
}
