//! Tests that padding, order, other pairs of the batch and threads do not change a similarity.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use candle_core::{DType, Device, Tensor};
use data::{SHAPES, assert_near, every_matcher, numbers, side};
use uard_attention::evidence::evidence;
use uard_attention::{Matcher, MatcherConfig};
use uard_core::{Regions, Words};

const THRESHOLD: f64 = 0.21;
const ROUNDING: f64 = 1e-12;

#[test]
fn a_pair_alone_equals_the_pair_in_a_batch() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = side(3, "regions", region_counts, width).regions(DType::F64);
    let words = side(3, "words", word_counts, width).words(DType::F64);
    for matcher in every_matcher() {
        let batch = matcher.similarities(&regions, &words, THRESHOLD).unwrap();
        let batch = batch.values.to_vec2::<f64>().unwrap();
        for (image, row) in batch.iter().enumerate() {
            for (caption, &together) in row.iter().enumerate() {
                let alone = matcher
                    .similarities(
                        &regions.narrow(image, 1).unwrap(),
                        &words.narrow(caption, 1).unwrap(),
                        THRESHOLD,
                    )
                    .unwrap();
                let alone = numbers(&alone.values)[0];
                assert!(
                    (alone - together).abs() < ROUNDING,
                    "{:?}",
                    matcher.config()
                );
            }
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let (region_counts, word_counts, width) = SHAPES[2];
    let regions = side(3, "regions", region_counts, width);
    let words = side(3, "words", word_counts, width);
    let longer = |raw: &Tensor| {
        let (entries, _, width) = raw.dims3().unwrap();
        let noise = Tensor::full(7.0f64, (entries, 3, width), &Device::Cpu).unwrap();
        Tensor::cat(&[raw, &noise], 1).unwrap()
    };
    let padded_regions =
        Regions::normalized(&longer(&regions.raw), region_counts.to_vec()).unwrap();
    let padded_words = Words::normalized(&longer(&words.raw), word_counts.to_vec()).unwrap();
    for matcher in every_matcher() {
        let plain = matcher
            .similarities(
                &regions.regions(DType::F64),
                &words.words(DType::F64),
                THRESHOLD,
            )
            .unwrap();
        for run in [Matcher::similarities, Matcher::composed_similarities] {
            let padded = run(&matcher, &padded_regions, &padded_words, THRESHOLD).unwrap();
            assert_near(
                &numbers(&padded.values),
                &numbers(&plain.values),
                ROUNDING,
                "padded",
            );
            assert_eq!(padded.kept().unwrap(), plain.kept().unwrap());
        }
    }
}

#[test]
fn the_order_of_fragments_changes_nothing() {
    let regions = side(4, "regions", &[5], 8);
    let words = side(4, "words", &[4], 8);
    let turned = |raw: &Tensor| {
        let count = raw.dims()[1] as u32;
        let order: Vec<u32> = (0..count).rev().collect();
        let order = Tensor::new(order, &Device::Cpu).unwrap();
        raw.index_select(&order, 1).unwrap()
    };
    for matcher in every_matcher() {
        let plain = matcher
            .similarities(
                &regions.regions(DType::F64),
                &words.words(DType::F64),
                THRESHOLD,
            )
            .unwrap();
        let turned = matcher
            .similarities(
                &Regions::normalized(&turned(&regions.raw), vec![5]).unwrap(),
                &Words::normalized(&turned(&words.raw), vec![4]).unwrap(),
                THRESHOLD,
            )
            .unwrap();
        assert_near(
            &numbers(&turned.values),
            &numbers(&plain.values),
            ROUNDING,
            "turned",
        );
    }
}

#[test]
fn threads_change_no_byte() {
    let region_counts: Vec<usize> = (0..17).map(|i| 20 - i % 7).collect();
    let word_counts: Vec<usize> = (0..23).map(|i| 15 - i % 6).collect();
    let run = || {
        let raw_regions = side(5, "regions", &region_counts, 64)
            .raw
            .to_dtype(DType::F32)
            .unwrap();
        let raw_words = side(5, "words", &word_counts, 64)
            .raw
            .to_dtype(DType::F32)
            .unwrap();
        let raw_regions = candle_core::Var::from_tensor(&raw_regions).unwrap();
        let raw_words = candle_core::Var::from_tensor(&raw_words).unwrap();
        let regions = Regions::normalized(&raw_regions, region_counts.clone()).unwrap();
        let words = Words::normalized(&raw_words, word_counts.clone()).unwrap();
        let mut bits = Vec::new();
        for matcher in every_matcher() {
            let values = matcher
                .similarities(&regions, &words, THRESHOLD)
                .unwrap()
                .values;
            let store = values.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            for tensor in [
                &values,
                store.get(&raw_regions).unwrap(),
                store.get(&raw_words).unwrap(),
            ] {
                let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                bits.extend(numbers.into_iter().map(f32::to_bits));
            }
        }
        bits
    };
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let one = pool(1).install(run);
    assert!(one == pool(2).install(run) && one == pool(5).install(run));
}

#[test]
fn evidence_names_the_region_and_the_unanswered_word() {
    let regions = Tensor::new(&[[[1f32, 0.0, 0.0], [0.8, 0.6, 0.0]]], &Device::Cpu).unwrap();
    let words = Tensor::new(&[[[1f32, 0.0, 0.0], [0.0, 0.0, 1.0]]], &Device::Cpu).unwrap();
    let regions = Regions::normalized(&regions, vec![2]).unwrap();
    let words = Words::normalized(&words, vec![2]).unwrap();
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let found = evidence(&matcher, &regions, &words, 0.3).unwrap();
    let similarity = numbers(&matcher.similarities(&regions, &words, 0.3).unwrap().values)[0];
    assert!((found.similarity - similarity).abs() < 1e-6);
    let [first, second] = &found.words[..] else {
        panic!("two words, {found:?}")
    };
    assert_eq!((first.best_region, first.answered), (0, true));
    assert_eq!(first.regions.len(), 2);
    let weights: f32 = first.regions.iter().map(|region| region.weight).sum();
    assert!((weights - 1.0).abs() < 1e-6);
    assert!(!second.answered && second.regions.is_empty());
}

#[test]
fn evidence_of_a_batch_is_refused() {
    let regions = side(0, "regions", &[2, 2], 4).regions(DType::F32);
    let words = side(0, "words", &[2], 4).words(DType::F32);
    let message = evidence(&every_matcher()[0], &regions, &words, 0.0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "evidence is for one image and one caption, found 2 and 1"
    );
}
