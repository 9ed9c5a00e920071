//! The lemmas of `docs/exactness.md`, each on random and on hostile numbers.

use half::bf16;
use proptest::prelude::*;
use uard_core::panels::{
    ColumnPanels, Element, InstructionSet, Instructions, PANEL, RowPanels, padded_depth,
    panels_for, product,
};
use uard_core::random::{Draws, Stream, normal, uniform};

use super::scalar::Pair;
use super::*;
use crate::QuerySide;
use crate::config::{MatcherConfig, Sides};
use crate::packed::gram_stride;
use crate::side::{Block, Scratch, Side};

/// How the vectors of a test lie.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Anywhere.
    Random,
    /// Around one direction.
    Clustered,
    /// Each beside its opposite.
    Opposite,
    /// The same vector again and again.
    Duplicates,
}

fn lies() -> impl Strategy<Value = Lie> {
    prop_oneof![
        Just(Lie::Random),
        Just(Lie::Clustered),
        Just(Lie::Opposite),
        Just(Lie::Duplicates)
    ]
}

fn stream(seed: u64, label: &str) -> Stream {
    Draws::new(seed).stream(label, &[])
}

/// Unit vectors in f32.
fn vectors(seed: u64, label: &str, lie: Lie, (count, width): (usize, usize)) -> Vec<Vec<f32>> {
    let mut stream = stream(seed, label);
    let first = normal(&mut stream, 1.0, width);
    let mut vectors = Vec::new();
    for at in 0..count {
        let own = normal(&mut stream, 1.0, width);
        let near = |spread: f32| {
            let numbers = first.iter().zip(&own);
            numbers.map(|(f, x)| f + spread * x).collect::<Vec<_>>()
        };
        let vector = match lie {
            Lie::Random => own,
            Lie::Clustered => near(0.3),
            Lie::Opposite if at % 2 == 1 => near(0.01).iter().map(|x| -x).collect(),
            Lie::Opposite => near(0.01),
            Lie::Duplicates => first.clone(),
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
    Rounding::of(&norms, &residuals.collect::<Vec<_>>())
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

/// The masked similarity in f32 of relevance and Gram matrices, by the operator's code.
fn similarity(
    relevance: &[f32],
    (words, word_gram): (usize, &[f32]),
    (regions, region_gram): (usize, &[f32]),
    (config, threshold): (&MatcherConfig, f32),
) -> f32 {
    let mut turned = vec![0.0; relevance.len()];
    for (at, &s) in relevance.iter().enumerate() {
        turned[at % regions * words + at / regions] = s;
    }
    let sides = config.sides.asking().iter().map(|&side| {
        let (relevance, queries, context, gram) = match side {
            QuerySide::Words => (relevance, words, regions, region_gram),
            QuerySide::Regions => (&turned[..], regions, words, word_gram),
        };
        let block = Block {
            relevance,
            queries,
            context,
            gram,
            stride: gram_stride(context),
        };
        let side = Side::<f32>::new(config, side, f64::from(threshold));
        side.forward(&block, &mut Scratch::default()) / queries as f32
    });
    sides.sum()
}

fn configs() -> impl Strategy<Value = MatcherConfig> {
    let sides = prop_oneof![Just(Sides::Both), Just(Sides::Words), Just(Sides::Regions)];
    (sides, 1.0f64..100.0).prop_map(|(sides, inverse_temperature)| MatcherConfig {
        sides,
        inverse_temperature: Some(inverse_temperature),
        ..Default::default()
    })
}

/// Moves numbers to where they hurt: onto the threshold, a step beside it, or a bound beside it.
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
        seed in any::<u64>(), lie in lies(), width in 1usize..200, against_residual in any::<bool>(),
    ) {
        let words = vectors(seed, "words", lie, (5, width));
        let mut regions = vectors(seed, "regions", lie, (7, width));
        if against_residual {
            // The direction in which a word's rounding shows most.
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
    fn nothing_below_the_lower_cut_is_visible(
        threshold in -1.0f32..1.0, bound in 0.0f32..0.01, share in -1.0f32..1.0, draw in 0.0f32..1.0,
    ) {
        let s = towards(threshold, bound, threshold + 0.1 * share, draw);
        for screened in [s - bound, s + bound, s + share * bound] {
            if (f64::from(s) - f64::from(screened)).abs() <= f64::from(bound) && s > threshold {
                prop_assert!(screened > visible_above(threshold, bound));
            }
        }
    }

    /// Lemma 3, for the Gram matrix as it is in f32.
    #[test]
    fn weights_are_no_longer_than_the_stretch_of_the_attended_vector(
        seed in any::<u64>(), lie in lies(), count in 1usize..40, width in 1usize..64,
        seen in 0.0f32..1.0,
    ) {
        let gram = gram(&vectors(seed, "context", lie, (count, width)));
        let stride = gram_stride(count);
        let stretches = stretches(&gram, stride, count);
        let mut stream = stream(seed, "weights");
        let draws = uniform(&mut stream, 0.0, 1.0, 2 * count);
        let weights: Vec<f64> = draws.chunks(2)
            .map(|draw| if draw[0] <= seen { f64::from(draw[1]) } else { 0.0 })
            .collect();
        let visible = weights.iter().filter(|e| **e > 0.0).count();
        let own: f64 = weights.iter().map(|e| e * e).sum();
        let mut squared = 0.0;
        for (j, e) in weights.iter().enumerate() {
            for (k, other) in weights.iter().enumerate() {
                squared += e * other * f64::from(gram[j * stride + k]);
            }
        }
        prop_assert!(stretches.is_sorted());
        let stretch = f64::from(stretches[visible]);
        prop_assert!(stretch.is_infinite() || own <= stretch * stretch * squared, "{own} {squared}");
    }

    /// Theorem 1: relevance moved by the bound at most, towards where it hurts, stays below.
    #[test]
    fn no_similarity_exceeds_its_reach(
        seed in any::<u64>(), lie in lies(), words in 1usize..8, regions in 1usize..12,
        width in 2usize..20, config in configs(), threshold in -0.2f32..0.9, bound in 1e-4f32..0.2,
    ) {
        let all = vectors(seed, "both", lie, (words + regions, width));
        let (u, v) = all.split_at(words);
        let mut stream = stream(seed, "errors");
        let mut draw = || uniform(&mut stream, 0.0, 1.0, 1)[0];
        let (mut exact, mut screened) = (Vec::new(), Vec::new());
        for cell in 0..words * regions {
            let s = exact_dot(&u[cell / regions], &v[cell % regions]) as f32;
            let s = towards(threshold, bound, s, draw());
            let error = [-bound, bound, (2.0 * draw() - 1.0) * bound][(3.0 * draw()) as usize];
            exact.push(s);
            let nearest = s + error;
            let close = (f64::from(nearest) - f64::from(s)).abs() <= f64::from(bound);
            screened.push(if close { nearest } else { s });
        }
        let (word_gram, region_gram) = (gram(u), gram(v));
        let tables = [(&word_gram, words), (&region_gram, regions)]
            .map(|(gram, count)| stretches(gram, gram_stride(count), count));
        let pair = Pair {
            relevance: &screened, stride: regions, words, regions, bound,
            stretches: [&tables[0], &tables[1]],
        };
        let reach = pair.reach(threshold, config.sides.asking());
        for seen in [&exact, &screened] {
            let found = similarity(
                seen, (words, &word_gram), (regions, &region_gram), (&config, threshold),
            );
            prop_assert!(f64::from(found) <= reach, "{found} {reach}");
        }
    }
}

#[test]
fn a_lone_cell_is_answered_by_its_relevance_and_the_bound() {
    let one = stretches(&gram(&[vec![1.0]]), gram_stride(1), 1);
    let reach = |s: f32| {
        let pair = Pair {
            relevance: &[s],
            stride: 1,
            words: 1,
            regions: 1,
            bound: 0.01,
            stretches: [&one, &one],
        };
        pair.reach(0.3, Sides::Both.asking())
    };
    assert_eq!(reach(0.28), 0.0);
    // Two sides, each 0.51, and roundings far below the bound.
    assert!((reach(0.5) - 1.02).abs() < 1e-4, "{}", reach(0.5));
    // Not above the threshold, but within the bound of it.
    assert!((reach(0.295) - 0.61).abs() < 1e-4, "{}", reach(0.295));
}

#[test]
fn vectors_at_right_angles_do_not_stretch() {
    let gram = gram(&[
        vec![1.0, 0.0, 0.0],
        vec![0.0, 1.0, 0.0],
        vec![0.0, 0.0, 1.0],
    ]);
    for stretch in &stretches(&gram, gram_stride(3), 3)[1..] {
        assert!((stretch - 1.0).abs() < 1e-5, "{stretch}");
    }
}

#[test]
fn opposite_vectors_may_cancel() {
    let gram = gram(&[vec![1.0, 0.0], vec![-1.0, 0.0]]);
    let stretches = stretches(&gram, gram_stride(2), 2);
    assert!(stretches[1] < 1.001 && stretches[2].is_infinite());
}

#[test]
fn a_vector_of_length_zero_changes_no_stretch() {
    let with = [vec![1.0, 0.0], vec![0.0, 0.0], vec![0.6, -0.8]];
    let stretches = stretches(&gram(&with), gram_stride(3), 3);
    assert!(stretches[3] < 1.001, "{stretches:?}");
}

#[test]
fn the_bound_of_unit_vectors_of_width_1024_is_below_four_thousandths() {
    let both = ["words", "regions"].map(|label| vectors(1, label, Lie::Random, (20, 1024)));
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
