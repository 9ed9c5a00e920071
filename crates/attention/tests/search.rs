//! Tests of searches on packed fragments: equal bits for any threads and batches, lists, evidence.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;
use crate::machine;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::{DType, Tensor};
use data::{every_matcher, side};
use machine::{Packed, runs, search};
use uard_attention::evidence::evidence;
use uard_attention::search::{MatrixOutput, Ranked, Search};
use uard_attention::{
    Engine, Error, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision,
};
use uard_core::{Regions, Words};

const THRESHOLD: f64 = 0.21;

/// More images than a block holds, and more words than a task.
fn large() -> (Regions, Words) {
    let region_counts: Vec<usize> = (0..23).map(|at| 36 - at * 5 % 17).collect();
    let word_counts: Vec<usize> = (0..130).map(|at| 4 + at * 7 % 19).collect();
    let regions = side(1, "regions", &region_counts, 40).regions(DType::F32);
    (
        regions,
        side(1, "words", &word_counts, 40).words(DType::F32),
    )
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().copied().map(f32::to_bits).collect()
}

fn masked() -> Matcher {
    Matcher::new(MatcherConfig::default()).unwrap()
}

#[test]
fn threads_change_no_bit() {
    let (regions, words) = large();
    let packed = Packed::new(&regions, &words);
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    for run in runs() {
        for matcher in every_matcher().into_iter().step_by(6) {
            let search = search(&matcher, THRESHOLD, run);
            let found = [1, 2, 3].map(|threads| {
                pool(threads).install(|| {
                    let lists = search.top_k(&packed.regions, &packed.words, 3);
                    (bits(&packed.similarities(&search)), lists.unwrap())
                })
            });
            assert!(found[0] == found[1] && found[0] == found[2], "{run:?}");
        }
    }
}

#[test]
fn a_pair_alone_equals_the_pair_in_the_whole() {
    let (regions, words) = large();
    let packed = Packed::new(&regions, &words);
    assert!(
        packed.regions.blocks().len() > 2,
        "a single block would test nothing"
    );
    for run in runs() {
        for matcher in every_matcher().into_iter().step_by(6) {
            let search = search(&matcher, THRESHOLD, run);
            let whole = packed.similarities(&search);
            for (image, caption) in [(0, 0), (8, 64), (11, 77), (22, 129), (15, 3)] {
                let alone = Packed::new(
                    &regions.narrow(image, 1).unwrap(),
                    &words.narrow(caption, 1).unwrap(),
                );
                let alone = alone.similarities(&search)[0];
                let together = whole[image * 130 + caption];
                assert_eq!(
                    alone.to_bits(),
                    together.to_bits(),
                    "{run:?}, {image}, {caption}"
                );
            }
        }
    }
}

#[test]
fn lists_are_those_of_the_sorted_matrix() {
    let (regions, words) = large();
    // Every image twice, so that every list of images has ties.
    let twice = Tensor::cat(&[regions.rows(), regions.rows()], 0).unwrap();
    let counts = [regions.counts(), regions.counts()].concat();
    let regions = Regions::normalized(&twice, counts).unwrap();
    let packed = Packed::new(&regions, &words);
    for run in runs() {
        let search = search(&masked(), THRESHOLD, run);
        let values = packed.similarities(&search);
        for k in [0, 1, 5, 46, 1000] {
            let found = search.top_k(&packed.regions, &packed.words, k).unwrap();
            for (image, list) in found.captions_of_images.iter().enumerate() {
                let row = values[image * 130..][..130].iter().copied();
                assert_eq!(*list, sorted(row, k), "{run:?}, image {image}");
            }
            for (caption, list) in found.images_of_captions.iter().enumerate() {
                let column = values[caption..].iter().copied().step_by(130);
                assert_eq!(*list, sorted(column, k), "{run:?}, caption {caption}");
            }
        }
    }
}

/// The `k` most similar, most similar first, ties by the lower index.
fn sorted(similarities: impl Iterator<Item = f32>, k: usize) -> Vec<Ranked> {
    let entries = similarities.enumerate();
    let mut list: Vec<_> = entries
        .map(|(index, similarity)| Ranked { index, similarity })
        .collect();
    list.sort_by(|a, b| {
        b.similarity
            .total_cmp(&a.similarity)
            .then(a.index.cmp(&b.index))
    });
    list.truncate(k);
    list
}

#[test]
fn listed_pairs_equal_the_matrix() {
    let (regions, words) = large();
    let packed = Packed::new(&regions, &words);
    let captions = [129, 0, 1, 1, 64, 3, 77, 76];
    let images = [22, 0, 7, 7, 8, 9];
    for run in runs() {
        for matcher in every_matcher().into_iter().step_by(6) {
            let search = search(&matcher, THRESHOLD, run);
            let values = packed.similarities(&search);
            let (regions, words) = (&packed.regions, &packed.words);
            let found = search
                .captions_for_image(regions, words, 11, &captions)
                .unwrap();
            let expected = captions.map(|caption| values[11 * 130 + caption]);
            assert_eq!(bits(&found), bits(&expected), "{run:?}");
            let found = search
                .images_for_caption(regions, words, 76, &images)
                .unwrap();
            let expected = images.map(|image| values[image * 130 + 76]);
            assert_eq!(bits(&found), bits(&expected), "{run:?}");
            let found = search.captions_for_images(regions, words, &images).unwrap();
            let expected = images.map(|image| &values[image * 130..][..130]);
            assert_eq!(bits(&found), bits(&expected.concat()), "{run:?}");
        }
    }
}

#[test]
fn evidence_of_packed_fragments_is_that_of_the_tensors() {
    let (regions, words) = large();
    let packed = Packed::new(&regions, &words);
    let matcher = masked();
    let (image, caption) = (11, 77);
    let one = (
        regions.narrow(image, 1).unwrap(),
        words.narrow(caption, 1).unwrap(),
    );
    let expected = evidence(&matcher, &one.0, &one.1, THRESHOLD).unwrap();
    assert!(expected.words.iter().any(|word| word.answered));
    for run in runs()
        .into_iter()
        .filter(|run| run.precision == Precision::F32)
    {
        let search = search(&matcher, THRESHOLD, run);
        let found = search
            .evidence(&packed.regions, &packed.words, image, caption)
            .unwrap();
        let similarity = packed.similarities(&search)[image * 130 + caption];
        assert_eq!(found.similarity, f64::from(similarity));
        assert_eq!(found.words.len(), expected.words.len());
        for (found, expected) in found.words.iter().zip(&expected.words) {
            assert_eq!(found.best_region, expected.best_region);
            assert_eq!(found.answered, expected.answered);
            let regions = |word: &uard_attention::evidence::WordEvidence| {
                word.regions
                    .iter()
                    .map(|region| region.region)
                    .collect::<Vec<_>>()
            };
            assert_eq!(regions(found), regions(expected));
            for (found, expected) in found.regions.iter().zip(&expected.regions) {
                assert!((found.weight - expected.weight).abs() < 1e-5);
                assert!((found.relevance - expected.relevance).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn progress_ends_with_all_pairs() {
    let (regions, words) = large();
    let packed = Packed::new(&regions, &words);
    let search = Search::new(&masked(), THRESHOLD, Engine::Auto, Precision::F32).unwrap();
    let (most, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let on_progress = |done: usize, all: usize| {
        assert!(done <= all && all == packed.pairs());
        most.fetch_max(done, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let mut values = vec![0.0; packed.pairs()];
    let out = MatrixOutput {
        values: &mut values,
        on_progress: &on_progress,
    };
    search
        .similarities_into(&packed.regions, &packed.words, out)
        .unwrap();
    assert_eq!(most.into_inner(), packed.pairs());
    assert!(calls.into_inner() > 1);
}

#[test]
fn a_search_that_another_thread_stops_ends_with_an_error() {
    let (regions, words) = large();
    for precision in [Precision::F32, Precision::Bf16, Precision::Exact] {
        let stop = Arc::new(AtomicBool::new(false));
        let search = Search::new(&masked(), THRESHOLD, Engine::Scalar, precision).unwrap();
        let search = search.stopped_by(Arc::clone(&stop));
        let regions = search.collect_regions(&regions).unwrap();
        let words = search.collect_words(&words).unwrap();
        assert!(search.top_k(&regions, &words, 3).is_ok());
        stop.store(true, Ordering::Relaxed);
        let mut values = vec![0.0; regions.images() * words.captions()];
        for stopped in [
            search.top_k(&regions, &words, 3).map(drop),
            search
                .similarities_into(&regions, &words, &mut values)
                .map(drop),
            search
                .captions_for_image(&regions, &words, 0, &[0, 129])
                .map(drop),
        ] {
            assert!(matches!(stopped, Err(Error::Stopped)), "{precision}");
        }
        assert_eq!(values, vec![0.0; values.len()], "nothing was computed");
    }
}

#[test]
fn other_widths_precisions_lengths_and_indices_are_refused() {
    let (regions, words) = large();
    let narrow = side(1, "words", &[3], 7).words(DType::F32);
    let narrow = PackedWords::pack(&narrow, Precision::F32).unwrap();
    let regions = PackedRegions::pack(&regions, Precision::F32).unwrap();
    let words = PackedWords::pack(&words, Precision::F32).unwrap();
    let search = |precision| Search::new(&masked(), THRESHOLD, Engine::Auto, precision).unwrap();
    let f32 = search(Precision::F32);
    let top = |search: &Search, words| search.top_k(&regions, words, 1);
    let message = top(&f32, &narrow).unwrap_err().to_string();
    assert!(
        message.contains("regions have width 40 and words 7"),
        "{message}"
    );
    for precision in [Precision::Bf16, Precision::Exact] {
        let message = top(&search(precision), &words).unwrap_err().to_string();
        let expected = format!("regions are packed for f32, and the search asks for {precision}");
        assert!(message.contains(&expected), "{message}");
    }
    let mut short = vec![0.0; 5];
    let message = f32.similarities_into(&regions, &words, &mut short);
    assert!(message.unwrap_err().to_string().contains("expected 2990"));
    let message = f32
        .captions_for_image(&regions, &words, 23, &[0])
        .unwrap_err();
    assert!(
        message
            .to_string()
            .contains("image 23 is out of range: there are 23")
    );
    assert!(f32.evidence(&regions, &words, 0, 130).is_err());
}
