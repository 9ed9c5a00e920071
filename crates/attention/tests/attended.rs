//! Tests of `Matcher::attend`: vectors and weights against the scalar reference, the means of the
//! answers against similarities, gradients against finite differences.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use candle_core::{DType, Tensor, Var};
use uard_attention::reference::{self, Attention};
use uard_attention::{Matcher, MatcherConfig, QuerySide, Regions, Sides, WeightRule, Words};

use crate::data::{SHAPES, assert_near, every_matcher, numbers, side};

const THRESHOLD: f64 = 0.21;
/// f64 sums in another order, amplified by the inverse temperature.
const TOLERANCE: f64 = 1e-12;

fn scalar(config: &MatcherConfig, side: QuerySide) -> Attention {
    let inverse_temperature = config.inverse_temperature(side);
    match config.rule {
        WeightRule::MaxSim => Attention::MaxSim,
        WeightRule::Scan => Attention::Scan {
            inverse_temperature,
        },
        WeightRule::Nearest => Attention::Nearest {
            threshold: THRESHOLD,
            inverse_temperature,
        },
        WeightRule::Masked => Attention::Masked {
            threshold: THRESHOLD,
            inverse_temperature,
        },
        WeightRule::Zero => Attention::Masked {
            threshold: 0.0,
            inverse_temperature,
        },
    }
}

/// The valid rows of each entry.
fn entries(rows: &Tensor, counts: &[usize]) -> Vec<Vec<Vec<f64>>> {
    let rows = rows.to_vec3::<f64>().unwrap();
    let valid = rows
        .iter()
        .zip(counts)
        .map(|(rows, &count)| rows[..count].to_vec());
    valid.collect()
}

/// Vectors and weights of one pair, [Q, D] and [Q, X], are those of the reference.
fn expect_pair(found: [Tensor; 2], queries: &[Vec<f64>], context: &[Vec<f64>], rule: Attention) {
    let [vectors, weights] = found.map(|tensor| tensor.to_vec2::<f64>().unwrap());
    let expected = reference::weights(&reference::relevance(queries, context), rule);
    for (query, expected) in expected.iter().enumerate() {
        let attended = reference::attend(expected, context);
        assert_near(&vectors[query], &attended, TOLERANCE, "vectors");
        let (valid, padding) = weights[query].split_at(context.len());
        assert_near(valid, expected, TOLERANCE, "weights");
        assert!(padding.iter().all(|weight| *weight == 0.0));
    }
    let padding = vectors[queries.len()..].iter().flatten();
    assert!(padding.copied().all(|number| number == 0.0));
}

#[test]
fn vectors_and_weights_are_those_of_the_reference_for_every_rule_side_and_shape() {
    for (at, (region_counts, word_counts, width)) in SHAPES.into_iter().enumerate() {
        let regions = side(at as u64, "regions", region_counts, width).regions(DType::F64);
        let words = side(at as u64, "words", word_counts, width).words(DType::F64);
        let images = entries(regions.rows(), region_counts);
        let captions = entries(words.rows(), word_counts);
        for matcher in every_matcher() {
            for side in [QuerySide::Words, QuerySide::Regions] {
                let found = matcher.attend(&regions, &words, side, THRESHOLD).unwrap();
                let rule = scalar(matcher.config(), side);
                for (i, image) in images.iter().enumerate() {
                    for (c, caption) in captions.iter().enumerate() {
                        let pair = [&found.vectors, &found.weights]
                            .map(|tensor| tensor.get(i).unwrap().get(c).unwrap());
                        match side {
                            QuerySide::Words => expect_pair(pair, caption, image, rule),
                            QuerySide::Regions => expect_pair(pair, image, caption, rule),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_means_of_the_answers_are_the_similarities() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = side(2, "regions", region_counts, width).regions(DType::F64);
    let words = side(2, "words", word_counts, width).words(DType::F64);
    for matcher in every_matcher() {
        let sides: &[QuerySide] = match matcher.config().sides {
            Sides::Both => &[QuerySide::Words, QuerySide::Regions],
            Sides::Words => &[QuerySide::Words],
            Sides::Regions => &[QuerySide::Regions],
        };
        let expected = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
        let mut total = vec![0.0; region_counts.len() * word_counts.len()];
        for &side in sides {
            let found = matcher.attend(&regions, &words, side, THRESHOLD).unwrap();
            let answers = found.answers.to_vec3::<f64>().unwrap();
            for (image, captions) in answers.iter().enumerate() {
                for (caption, answers) in captions.iter().enumerate() {
                    let count = match side {
                        QuerySide::Words => word_counts[caption],
                        QuerySide::Regions => region_counts[image],
                    };
                    let mean = answers.iter().sum::<f64>() / count as f64;
                    total[image * word_counts.len() + caption] += mean;
                }
            }
        }
        let what = format!("{:?}", matcher.config());
        assert_near(&total, &numbers(&expected.values), TOLERANCE, &what);
    }
}

#[test]
fn gradients_of_vectors_and_answers_match_finite_differences() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = Var::from_tensor(&side(2, "regions", region_counts, width).raw).unwrap();
    let words = Var::from_tensor(&side(2, "words", word_counts, width).raw).unwrap();
    let wrap = candle_core::Error::wrap;
    for rule in [WeightRule::Masked, WeightRule::Nearest, WeightRule::Scan] {
        let config = MatcherConfig {
            rule,
            ..MatcherConfig::default()
        };
        let matcher = Matcher::new(config).unwrap();
        uard_testkit::assert_gradients(
            |inputs| {
                let regions =
                    Regions::normalized(&inputs[0], region_counts.to_vec()).map_err(wrap)?;
                let words = Words::normalized(&inputs[1], word_counts.to_vec()).map_err(wrap)?;
                let found = matcher
                    .attend(&regions, &words, QuerySide::Words, THRESHOLD)
                    .map_err(candle_core::Error::wrap)?;
                (found.vectors.sqr()?.sum_all()? + found.answers.sum_all()?)?
                    + (found.weights.sqr()?.sum_all()? * 0.5)?
            },
            &[regions.clone(), words.clone()],
            1e-6,
        );
    }
}
