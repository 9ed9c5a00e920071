//! Similarities of every instruction set against the formulas in f64.

use std::ops::Range;

use uard_core::random::{Draws, normal};
use uard_linalg::panels::InstructionSet;

use super::*;
use crate::config::{QuerySide, Sides, WeightRule};
use crate::packed::gram_stride;

/// f32 rounding of sums over a few dozen cells.
const TOLERANCE: f64 = 1e-5;

/// Unit vectors that share a direction, so that some relevance is high.
fn vectors(seed: u64, label: &str, count: usize) -> Vec<Vec<f64>> {
    let mut stream = Draws::new(seed).stream(label, &[]);
    let rows = (0..count).map(|_| {
        let mut row: Vec<f64> = normal(&mut stream, 1.0, 16)
            .into_iter()
            .map(f64::from)
            .collect();
        row[0] += 1.0;
        row
    });
    crate::reference::unit_rows(&rows.collect::<Vec<_>>())
}

fn products(a: &[Vec<f64>], b: &[Vec<f64>], stride: usize) -> Vec<f64> {
    let mut products = vec![0.0; a.len() * stride];
    for (i, row) in crate::reference::relevance(a, b).iter().enumerate() {
        products[i * stride..][..row.len()].copy_from_slice(row);
    }
    products
}

fn as_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

/// One caption and some images.
struct Case {
    words: Vec<Vec<f64>>,
    images: Vec<Vec<Vec<f64>>>,
}

impl Case {
    fn new(seed: u64, words: usize, counts: &[usize]) -> Self {
        let images = counts.iter().enumerate();
        let images = images.map(|(at, &count)| vectors(seed, &format!("image {at}"), count));
        Self {
            words: vectors(seed, "words", words),
            images: images.collect(),
        }
    }

    fn expected(&self, config: &MatcherConfig, threshold: f64) -> Vec<f64> {
        self.images
            .iter()
            .map(|image| by_reference(config, threshold, image, &self.words))
            .collect()
    }

    /// Similarities of some of the images, in a tile that begins with five columns of other images.
    fn found(&self, answers: &Answers, some: Range<usize>) -> (Vec<f32>, Above) {
        let images = &self.images[some];
        let mut start = 5;
        let grams: Vec<Vec<f32>> = images
            .iter()
            .map(|image| as_f32(&products(image, image, gram_stride(image.len()))))
            .collect();
        let columns: Vec<ImageColumns<'_>> = images
            .iter()
            .zip(&grams)
            .map(|(image, gram)| {
                let columns = ImageColumns {
                    start,
                    count: image.len(),
                    gram,
                };
                start += image.len();
                columns
            })
            .collect();
        let stride = start.next_multiple_of(LANES) + SLACK;
        let mut cells = vec![0.9; self.words.len() * stride];
        for (image, columns) in images.iter().zip(&columns) {
            let relevance = as_f32(&products(&self.words, image, image.len()));
            for (row, relevance) in relevance.chunks(image.len()).enumerate() {
                cells[row * stride + columns.start..][..image.len()].copy_from_slice(relevance);
            }
        }
        let pairs = CaptionPairs {
            tile: Tile {
                cells: &cells,
                stride,
                words: self.words.len(),
            },
            word_gram: &as_f32(&products(
                &self.words,
                &self.words,
                gram_stride(self.words.len()),
            )),
            images: &columns,
        };
        let mut out = vec![f32::NAN; images.len()];
        let above = answers.match_caption(&pairs, &mut Scratch::default(), &mut out);
        (out, above)
    }
}

/// The similarity of one pair in f64.
fn by_reference(
    config: &MatcherConfig,
    threshold: f64,
    image: &[Vec<f64>],
    words: &[Vec<f64>],
) -> f64 {
    let [words_ask, regions_ask] =
        [QuerySide::Words, QuerySide::Regions].map(|side| config.attention(side, threshold));
    crate::reference::similarity(image, words, words_ask, regions_ask)
}

/// The instruction sets that this computer has.
fn instruction_sets() -> Vec<Instructions> {
    let sets = InstructionSet::ALL.into_iter();
    sets.filter_map(|set| Instructions::detect(set).ok())
        .collect()
}

/// Thresholds with all, many, some, few and no cells above them; inverse temperatures with and
/// without a shared exponential.
fn settings() -> Vec<(MatcherConfig, f64)> {
    let mut settings = Vec::new();
    for rule in WeightRule::ALL {
        for sides in [Sides::Both, Sides::Words, Sides::Regions] {
            for inverse_temperature in [None, Some(3.0), Some(40.0), Some(300.0)] {
                for threshold in [-1.0, 0.03, 0.2, 0.4, 2.0] {
                    let config = MatcherConfig {
                        rule,
                        sides,
                        inverse_temperature,
                    };
                    settings.push((config, threshold));
                }
            }
        }
    }
    settings
}

#[test]
fn every_instruction_set_agrees_with_the_formulas() {
    let shapes: [(usize, &[usize]); 4] = [
        (1, &[1, 2]),
        (12, &[36, 36, 15]),
        (5, &[57, 112, 3]),
        (70, &[100, 16]),
    ];
    for (at, (words, counts)) in shapes.into_iter().enumerate() {
        let case = Case::new(at as u64, words, counts);
        for (config, threshold) in settings() {
            let expected = case.expected(&config, threshold);
            for instructions in instruction_sets() {
                let (found, _) = case.found(
                    &Answers::new(&config, threshold, instructions),
                    0..counts.len(),
                );
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (f64::from(*found) - expected).abs() < TOLERANCE,
                        "{:?} {config:?} {threshold} {words} {counts:?}: {found} {expected}",
                        instructions.set()
                    );
                }
            }
        }
    }
}

#[test]
fn a_similarity_does_not_depend_on_its_place_in_the_tile() {
    let case = Case::new(7, 9, &[36, 20, 61]);
    for (config, threshold) in settings() {
        for instructions in instruction_sets() {
            let answers = Answers::new(&config, threshold, instructions);
            let (together, _) = case.found(&answers, 0..3);
            let (later, _) = case.found(&answers, 1..3);
            assert_eq!(together[1..], later, "{:?} {config:?}", instructions.set());
        }
    }
}

#[test]
fn counts_above_the_threshold_are_those_of_plain_loops() {
    let case = Case::new(8, 9, &[36, 20, 113]);
    for threshold in [-1.0, 0.03, 0.2, 0.4, 2.0] {
        let mut expected = Above::default();
        for image in &case.images {
            let relevance = crate::reference::relevance(&case.words, image);
            let above = |s: &f64| *s > threshold;
            let words = relevance.iter().filter(|row| row.iter().any(above)).count();
            let is_above = |region: &usize| relevance.iter().any(|row| above(&row[*region]));
            let regions = (0..image.len()).filter(is_above).count();
            expected += Above {
                word_queries: words as u64,
                region_queries: regions as u64,
                cells: relevance.iter().flatten().filter(|s| above(s)).count() as u64,
            };
        }
        for instructions in instruction_sets() {
            let answers = Answers::new(&MatcherConfig::default(), threshold, instructions);
            assert_eq!(
                case.found(&answers, 0..3).1,
                expected,
                "{:?}",
                instructions.set()
            );
        }
    }
}

#[test]
fn listed_and_dense_weights_give_the_same_similarities() {
    let case = Case::new(9, 12, &[36, 36, 36]);
    let config = MatcherConfig::default();
    let mut answers = Answers::new(&config, 0.45, Instructions::SCALAR);
    let (listed, above) = case.found(&answers, 0..3);
    assert!(
        (1..=3 * listed::MOST as u64).contains(&above.cells),
        "{above:?}"
    );
    answers.rule.weights = rule::Weights::Masked(Masked {
        threshold: 0.45,
        shift: rule::Shift::Best,
        answers_below: false,
    });
    let (dense, _) = case.found(&answers, 0..3);
    for (a, b) in listed.iter().zip(&dense) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn more_cells_than_one_list_holds_change_no_similarity() {
    let case = Case::new(10, 12, &[20; 24]);
    for instructions in instruction_sets() {
        let answers = Answers::new(&MatcherConfig::default(), 0.42, instructions);
        let (together, above) = case.found(&answers, 0..24);
        assert!(above.cells > listed::ROOM as u64, "{above:?}");
        for (image, similarity) in together.into_iter().enumerate() {
            let (alone, above) = case.found(&answers, image..image + 1);
            assert!(above.cells <= listed::MOST as u64, "{above:?}");
            assert_eq!(
                alone,
                [similarity],
                "{:?}, image {image}",
                instructions.set()
            );
        }
    }
}
