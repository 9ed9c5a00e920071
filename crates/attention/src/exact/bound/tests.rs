//! Tests of the lemmas of `docs/exactness.md`, on random vectors and on relevance at the threshold, next
//! to it, and at the limits of its error.

mod scalar;

use half::bf16;
use proptest::prelude::*;
use uard_core::random::{Draws, Stream, normal, uniform};
use uard_linalg::panels::{
    ColumnPanels, Element, InstructionSet, Instructions, PANEL, RowPanels, padded_depth,
    panels_for, product,
};

use super::*;
use crate::config::{MatcherConfig, Sides, WeightRule};
use crate::kernel::answers::{
    Answers, Bounds, CaptionPairs, ImageColumns, PanelBits, Reach, SLACK, Scratch, Tile,
};
use crate::packed::gram_stride;
use scalar::{Gram, Pair, answer};

/// How the directions of a test's vectors are distributed.
#[derive(Debug, Clone, Copy)]
enum Arrangement {
    /// At random.
    Random,
    /// Around one direction.
    Clustered,
    /// Around one direction and its opposite, in turn.
    Opposite,
    /// All equal.
    Duplicates,
}

fn arrangements() -> impl Strategy<Value = Arrangement> {
    prop_oneof![
        Just(Arrangement::Random),
        Just(Arrangement::Clustered),
        Just(Arrangement::Opposite),
        Just(Arrangement::Duplicates)
    ]
}

fn stream(seed: u64, label: &str) -> Stream {
    Draws::new(seed).stream(label, &[])
}

/// Unit vectors in f32.
fn vectors(
    seed: u64,
    label: &str,
    arrangement: Arrangement,
    count: usize,
    width: usize,
) -> Vec<Vec<f32>> {
    let mut stream = stream(seed, label);
    let first = normal(&mut stream, 1.0, width);
    let mut vectors = Vec::new();
    for at in 0..count {
        let own = normal(&mut stream, 1.0, width);
        let near = |spread: f32| {
            let numbers = first.iter().zip(&own);
            numbers.map(|(f, x)| f + spread * x).collect::<Vec<_>>()
        };
        let vector = match arrangement {
            Arrangement::Random => own,
            Arrangement::Clustered => near(0.3),
            Arrangement::Opposite if at % 2 == 1 => near(0.01).iter().map(|x| -x).collect(),
            Arrangement::Opposite => near(0.01),
            Arrangement::Duplicates => first.clone(),
        };
        vectors.push(unit(&vector));
    }
    vectors
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = exact_dot(vector, vector).sqrt();
    vector
        .iter()
        .map(|&x| (f64::from(x) / length) as f32)
        .collect()
}

fn exact_dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum()
}

fn rounded(vector: &[f32]) -> Vec<f32> {
    vector.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}

fn rounding(vectors: &[Vec<f32>]) -> Rounding {
    let length = |x: f64| (x.sqrt() as f32).next_up();
    let norms: Vec<f32> = vectors.iter().map(|v| length(exact_dot(v, v))).collect();
    let residuals = vectors.iter().map(|v| {
        let lost: Vec<f32> = v.iter().zip(rounded(v)).map(|(x, y)| x - y).collect();
        length(exact_dot(&lost, &lost))
    });
    Rounding::new(&norms, &residuals.collect::<Vec<_>>())
}

/// Relevance of every row with every column by a kernel, row-major [rows, columns].
fn relevance<T: Element>(
    kernel: Instructions,
    rows: &[Vec<f32>],
    columns: &[Vec<f32>],
) -> Vec<f32> {
    let depth = padded_depth(rows[0].len());
    let stride = panels_for(columns.len()) * PANEL;
    let mut left = vec![T::default(); panels_for(rows.len()) * PANEL * depth];
    let mut right = vec![T::default(); stride * depth];
    for (at, row) in rows.iter().enumerate() {
        RowPanels::place(&mut left, depth, at, row);
    }
    for (at, column) in columns.iter().enumerate() {
        ColumnPanels::place(&mut right, depth, at, column);
    }
    let (left, right) = (
        RowPanels::new(&left, depth),
        ColumnPanels::new(&right, depth),
    );
    let mut out = vec![0.0; left.panels() * PANEL * stride];
    product(kernel, left, right, &mut out, stride);
    let rows = out.chunks(stride).take(rows.len());
    rows.flat_map(|row| &row[..columns.len()])
        .copied()
        .collect()
}

fn gram(vectors: &[Vec<f32>]) -> Vec<f32> {
    let stride = gram_stride(vectors.len());
    let mut gram = vec![0.0; vectors.len() * stride];
    for (j, row) in gram.chunks_mut(stride).enumerate() {
        for (k, product) in row[..vectors.len()].iter_mut().enumerate() {
            *product = exact_dot(&vectors[j], &vectors[k]) as f32;
        }
    }
    gram
}

fn kernels() -> impl Iterator<Item = Instructions> {
    let sets = InstructionSet::ALL.into_iter();
    sets.filter_map(|set| match Instructions::detect(set) {
        Ok(kernel) => Some(kernel),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    })
}

/// One pair as kernels read it; the image begins at column [`START`] of the tile.
struct Cells {
    cells: Vec<f32>,
    stride: usize,
    /// How many words there are, and their Gram matrix.
    words: (usize, Vec<f32>),
    /// How many regions there are, and their Gram matrix.
    regions: (usize, Vec<f32>),
}

const START: usize = 2;

impl Cells {
    fn new(relevance: &[f32], words: &[Vec<f32>], regions: &[Vec<f32>]) -> Self {
        let stride = (START + regions.len()).next_multiple_of(PANEL) + SLACK;
        let mut cells = vec![0.9; words.len() * stride];
        for (row, own) in cells
            .chunks_mut(stride)
            .zip(relevance.chunks(regions.len()))
        {
            row[START..][..regions.len()].copy_from_slice(own);
        }
        Self {
            cells,
            stride,
            words: (words.len(), gram(words)),
            regions: (regions.len(), gram(regions)),
        }
    }

    fn with_pairs<T>(&self, compute: impl FnOnce(&CaptionPairs<'_>) -> T) -> T {
        compute(&CaptionPairs {
            tile: Tile {
                cells: &self.cells,
                stride: self.stride,
                words: self.words.0,
            },
            word_gram: &self.words.1,
            images: &[ImageColumns {
                start: START,
                count: self.regions.0,
                gram: &self.regions.1,
            }],
        })
    }

    /// The reach by the scalar form.
    fn scalar_reach(&self, bounds: &Bounds<'_>, threshold: f32, config: &MatcherConfig) -> f64 {
        let rows = self.cells.chunks(self.stride);
        let relevance: Vec<f32> = rows
            .flat_map(|row| &row[START..][..self.regions.0])
            .copied()
            .collect();
        let grams = [&self.words, &self.regions].map(|(count, products)| Gram {
            products,
            stride: gram_stride(*count),
            count: *count,
        });
        let pair = Pair {
            relevance: &relevance,
            bound: bounds.relevance,
            grams,
            gram_error: bounds.gram_error,
        };
        let answers_below = config.rule == WeightRule::Nearest;
        pair.reach(threshold, config.sides.asking(), answers_below)
    }

    fn similarity(&self, answers: &Answers) -> f32 {
        let mut out = [f32::NAN];
        self.with_pairs(|pairs| answers.match_caption(pairs, &mut Scratch::default(), &mut out));
        out[0]
    }

    fn reach(&self, answers: &Answers, bounds: &Bounds<'_>) -> Reach {
        let mut out = [Reach::UNKNOWN];
        self.with_pairs(|pairs| {
            answers.bound_caption(pairs, bounds, &mut Scratch::default(), &mut out)
        });
        out[0]
    }
}

fn configs() -> impl Strategy<Value = MatcherConfig> {
    let sides = prop_oneof![Just(Sides::Both), Just(Sides::Words), Just(Sides::Regions)];
    let rule = prop_oneof![Just(WeightRule::Masked), Just(WeightRule::Nearest)];
    (rule, sides, 1.0f64..100.0).prop_map(|(rule, sides, inverse_temperature)| MatcherConfig {
        rule,
        sides,
        inverse_temperature: Some(inverse_temperature),
    })
}

/// Moves half of the relevances s, by a random `draw` from 0 to 1, to the threshold, the f32 next
/// to it, or the threshold plus or minus the bound.
fn towards(threshold: f32, bound: f32, s: f32, draw: f32) -> f32 {
    match (draw * 10.0) as u32 {
        0 => threshold,
        1 => threshold.next_up(),
        2 => threshold.next_down(),
        3 => threshold + bound,
        4 => threshold - bound,
        _ => s,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// Lemma 1, on every kernel of this machine.
    #[test]
    fn relevance_in_bf16_is_within_its_bound(
        seed in any::<u64>(), arrangement in arrangements(), width in 1usize..200, against_residual in any::<bool>(),
    ) {
        let words = vectors(seed, "words", arrangement, 5, width);
        let mut regions = vectors(seed, "regions", arrangement, 7, width);
        if against_residual {
            // The direction in which the rounding of a word changes relevance most.
            let lost: Vec<f32> =
                words[0].iter().zip(rounded(&words[0])).map(|(x, y)| x - y).collect();
            if lost.iter().any(|x| *x != 0.0) {
                regions[0] = unit(&lost);
            }
        }
        let bound = relevance_bound(rounding(&words), rounding(&regions), padded_depth(width));
        prop_assert!(bound < 0.009, "{bound}");
        for kernel in kernels() {
            let exact = relevance::<f32>(kernel, &words, &regions);
            let screened = relevance::<bf16>(kernel, &words, &regions);
            for (s, t) in exact.iter().zip(&screened) {
                let apart = (f64::from(*s) - f64::from(*t)).abs();
                prop_assert!(apart <= f64::from(bound), "{}: {s} {t} {bound}", kernel.set());
            }
        }
    }

    /// Lemma 2.
    #[test]
    fn what_is_above_the_threshold_is_above_the_lower_cut(
        threshold in -1.0f32..1.0, bound in 0.0f32..0.01, share in -1.0f32..1.0, draw in 0.0f32..1.0,
    ) {
        let s = towards(threshold, bound, threshold + 0.1 * share, draw);
        for screened in [s - bound, s + bound, s + share * bound] {
            if (f64::from(s) - f64::from(screened)).abs() <= f64::from(bound) && s > threshold {
                prop_assert!(screened > visible_above(threshold, bound));
            }
        }
    }

    /// Lemma 3: for any weights, with exact sums and a stored Gram matrix.
    #[test]
    fn no_weights_answer_more_than_the_bound(
        seed in any::<u64>(), arrangement in arrangements(), count in 1usize..20, width in 1usize..40,
        steep in 0.0f64..200.0,
    ) {
        let context = vectors(seed, "context", arrangement, count, width);
        let products = gram(&context);
        let gram = Gram { products: &products, stride: gram_stride(count), count };
        let mut stream = stream(seed, "weights");
        let draws = uniform(&mut stream, 0.0, 1.0, 2 * count);
        let cells: Vec<(usize, f64)> =
            (0..count).map(|j| (j, 0.05 + 0.9 * f64::from(draws[j]))).collect();
        let highest = answer(&cells, gram, f64::from(gram_error(width, count)));
        // Zero or a random factor times an exponential of the relevance, of random steepness.
        let weights: Vec<f64> = cells.iter().map(|(j, x)| match draws[count + j] {
            draw if draw < 0.3 => 0.0,
            draw => f64::from(draw) * (steep * (x - 1.0)).exp(),
        }).collect();
        let dot: f64 = cells.iter().zip(&weights).map(|((_, x), e)| x * e).sum();
        let attended: Vec<f64> = (0..width)
            .map(|k| context.iter().zip(&weights).map(|(v, e)| e * f64::from(v[k])).sum())
            .collect();
        let length = attended.iter().map(|x: &f64| x * x).sum::<f64>().sqrt();
        prop_assert!(dot <= highest * length * (1.0 + 1e-12) || dot == 0.0, "{dot} {highest} {length}");
    }

    /// Theorem 1: relevance that differs by at most the bound, also near the threshold, does not give a
    /// similarity above the reach.
    #[test]
    fn no_similarity_exceeds_its_reach(
        seed in any::<u64>(), arrangement in arrangements(), words in 1usize..8, regions in 1usize..40,
        width in 2usize..20, config in configs(), threshold in -0.1f32..0.9, bound in 1e-4f32..0.2,
    ) {
        let all = vectors(seed, "both", arrangement, words + regions, width);
        let (u, v) = all.split_at(words);
        let mut stream = stream(seed, "errors");
        let mut draw = || uniform(&mut stream, 0.0, 1.0, 1)[0];
        let (mut exact_cells, mut screened) = (Vec::new(), Vec::new());
        for cell in 0..words * regions {
            let s = exact_dot(&u[cell / regions], &v[cell % regions]) as f32;
            let s = towards(threshold, bound, s, draw());
            let error = [-bound, bound, (2.0 * draw() - 1.0) * bound][(3.0 * draw()) as usize];
            exact_cells.push(s);
            let nearest = s + error;
            let close = (f64::from(nearest) - f64::from(s)).abs() <= f64::from(bound);
            screened.push(if close { nearest } else { s });
        }
        let [exact, screened] = [&exact_cells, &screened].map(|cells| Cells::new(cells, u, v));
        let gram_error = gram_error(width, words.max(regions));
        let [word_alone, region_alone] = [u, v].map(|fragments| {
            alone(fragments.iter().map(|v| exact_dot(v, v) as f32), gram_error)
        });
        let bounds = Bounds {
            relevance: bound, gram_error, word_alone, region_alone: &[region_alone],
        };
        let by_scalar = screened.scalar_reach(&bounds, threshold, &config);
        for kernel in kernels() {
            let answers = Answers::new(&config, f64::from(threshold), kernel);
            let reach = screened.reach(&answers, &bounds);
            for found in [exact.similarity(&answers), screened.similarity(&answers)] {
                prop_assert!(found <= reach.similarity, "{found} {reach:?}");
            }
            let expected = by_scalar as f32;
            // R is s over the root of the Gram form, so the form is about (s / R)². The rounding of f32
            // relative to it grows with R², and the error of R with R³. Cosines of real vectors keep R
            // near 1; the random cells of this test do not.
            let rounding = 1e-6 * expected.powi(3);
            // Under nearest the fast form adds the bound to the mean of each side, the scalar form only to
            // the queries that need it.
            let loose = match config.rule {
                WeightRule::Nearest => 2.1 * bound + 1e-4,
                _ => 1e-4 * expected,
            };
            prop_assert!(
                reach.similarity == expected
                    || (reach.similarity >= expected - rounding.max(1e-4)
                        && reach.similarity - expected < loose.max(rounding)),
                "{reach:?} {by_scalar}"
            );
            let columns = ImageColumns {
                start: START,
                count: regions,
                gram: &[],
            };
            let cut = PanelBits::new(words, &columns);
            for (cell, s) in exact_cells.iter().enumerate() {
                let panel = (START + cell % regions) / PANEL;
                prop_assert!(*s <= threshold || reach.visible.contains(&cut, cell / regions, panel));
            }
        }
    }
}

/// The largest answer of one query with this relevance to these vectors.
fn highest(relevance: &[f64], vectors: &[Vec<f32>]) -> f64 {
    let products = gram(vectors);
    let count = vectors.len();
    let gram = Gram {
        products: &products,
        stride: gram_stride(count),
        count,
    };
    let cells: Vec<(usize, f64)> = relevance.iter().copied().enumerate().collect();
    answer(&cells, gram, f64::from(gram_error(2, count)))
}

#[test]
fn a_single_cell_is_answered_by_its_relevance_and_the_bound() {
    let one = gram(&[vec![1.0]]);
    let gram = Gram {
        products: &one,
        stride: gram_stride(1),
        count: 1,
    };
    let reach = |s: f32| {
        let pair = Pair {
            relevance: &[s],
            bound: 0.01,
            grams: [gram, gram],
            gram_error: gram_error(1, 1),
        };
        pair.reach(0.3, Sides::Both.asking(), false)
    };
    assert_eq!(reach(0.28), 0.0);
    // Each of two sides is 0.51; roundings are far smaller than the bound.
    assert!((reach(0.5) - 1.02).abs() < 1e-4, "{}", reach(0.5));
    // Below the threshold, by less than the bound.
    assert!((reach(0.295) - 0.61).abs() < 1e-4, "{}", reach(0.295));
}

#[test]
fn vectors_at_right_angles_answer_with_the_root_of_their_squares() {
    let found = highest(&[0.3, 0.4], &[vec![1.0, 0.0], vec![0.0, 1.0]]);
    assert!((found - 0.5).abs() < 1e-4, "{found}");
}

#[test]
fn the_same_vector_twice_answers_once() {
    let found = highest(&[0.4, 0.4], &[vec![0.6, 0.8], vec![0.6, 0.8]]);
    assert!((found - 0.4).abs() < 1e-4, "{found}");
}

#[test]
fn vectors_that_cancel_may_answer_anything() {
    let found = highest(&[0.4, 0.4], &[vec![1.0, 0.0], vec![-1.0, 0.0]]);
    assert!(found.is_infinite(), "{found}");
}

#[test]
fn the_bound_of_unit_vectors_of_width_1024_is_below_four_thousandths() {
    let both = ["words", "regions"].map(|label| vectors(1, label, Arrangement::Random, 20, 1024));
    let bound = relevance_bound(rounding(&both[0]), rounding(&both[1]), 1024);
    assert!((0.003..0.004).contains(&bound), "{bound}");
}

#[test]
fn what_is_no_unit_vector_is_not_screened() {
    let unit = Rounding {
        norm: 1.0,
        residual: 0.002,
    };
    let long = Rounding {
        norm: 2.0,
        residual: 0.002,
    };
    assert!(relevance_bound(unit, unit, 1024).is_finite());
    assert!(relevance_bound(long, unit, 1024).is_infinite());
    assert!(relevance_bound(unit, unit, 1 << 22).is_infinite());
}
