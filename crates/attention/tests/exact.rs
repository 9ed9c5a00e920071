//! Tests that `Precision::Exact` gives the lists and ranks of f32, bit for bit, and recomputes few pairs.

#![allow(clippy::print_stderr, reason = "names skipped kernels")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;

use candle_core::{Device, Tensor};
use data::every_matcher;
use proptest::prelude::*;
use uard_attention::search::{MatrixOutput, Preserve, Ranked, Search, TopK};
use uard_attention::{
    Engine, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision, Sides,
};
use uard_core::random::{Draws, normal, uniform};
use uard_core::{Regions, Words};

/// How the directions of a test's fragments are distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arrangement {
    /// At random: relevance is small, and similarities are far from each other.
    Random,
    /// Around one of four directions with a spread of 1e-4, so that many similarities are nearly equal.
    Clustered,
    /// At random, and every third entry is a copy of the one before, so that similarities are equal.
    Copied,
    /// Around directions and their opposites, so that attended vectors cancel.
    Opposite,
}

/// Raw rows of entries with `counts` fragments.
fn rows(
    seed: u64,
    label: &str,
    arrangement: Arrangement,
    counts: &[usize],
    width: usize,
) -> Tensor {
    let mut stream = Draws::new(seed).stream(label, &[]);
    let mut shared = Draws::new(seed).stream("shared", &[]);
    let directions = normal(&mut shared, 1.0, 4 * width);
    let longest = *counts.iter().max().unwrap();
    let mut values = normal(&mut stream, 1.0, counts.len() * longest * width);
    for (row, numbers) in values.chunks_mut(width).enumerate() {
        let direction = &directions[row % 4 * width..][..width];
        let (spread, sign) = match arrangement {
            Arrangement::Random | Arrangement::Copied => continue,
            Arrangement::Clustered => (1e-4, 1.0),
            Arrangement::Opposite => (0.2, [1.0, -1.0][row / 4 % 2]),
        };
        for (x, shared) in numbers.iter_mut().zip(direction) {
            *x = sign * (shared + spread * *x);
        }
    }
    if arrangement == Arrangement::Copied {
        let entry = longest * width;
        for at in (2..counts.len()).step_by(3) {
            values.copy_within((at - 1) * entry..at * entry, at * entry);
        }
    }
    Tensor::from_vec(values, (counts.len(), longest, width), &Device::Cpu).unwrap()
}

/// Fragments packed for every precision.
struct Data {
    regions: PackedRegions,
    words: PackedWords,
}

fn output(values: &mut [f32]) -> MatrixOutput<'_> {
    MatrixOutput {
        values,
        on_progress: &|_, _| (),
    }
}

impl Data {
    fn new(
        seed: u64,
        arrangement: Arrangement,
        images: &[usize],
        captions: &[usize],
        width: usize,
    ) -> Self {
        let mut captions = captions.to_vec();
        if arrangement == Arrangement::Copied {
            for at in (2..captions.len()).step_by(3) {
                captions[at] = captions[at - 1];
            }
        }
        let regions = rows(seed, "regions", arrangement, images, width);
        let words = rows(seed, "words", arrangement, &captions, width);
        let regions = Regions::normalized(&regions, images.to_vec()).unwrap();
        let words = Words::normalized(&words, captions).unwrap();
        Self {
            regions: PackedRegions::pack(&regions, Precision::Exact).unwrap(),
            words: PackedWords::pack(&words, Precision::Exact).unwrap(),
        }
    }

    /// Images of 1 to 20 regions and captions of 1 to 9 words, the last of 70.
    fn ragged(seed: u64, arrangement: Arrangement, images: usize, captions: usize) -> Self {
        let images: Vec<usize> = (0..images).map(|at| 1 + at * 7 % 20).collect();
        let mut captions: Vec<usize> = (0..captions).map(|at| 1 + at * 5 % 9).collect();
        if let Some(last) = captions.last_mut() {
            *last = 70;
        }
        Self::new(seed, arrangement, &images, &captions, 48)
    }

    fn pairs(&self) -> usize {
        self.regions.images() * self.words.captions()
    }

    fn top(&self, search: &Search, k: usize) -> TopK {
        search.top_k(&self.regions, &self.words, k).unwrap()
    }

    fn matrix(&self, search: &Search, preserve: &Preserve<'_>) -> (Vec<f32>, u64) {
        let mut out = vec![f32::NAN; self.pairs()];
        let preserved = search
            .similarities_preserving(&self.regions, &self.words, preserve, output(&mut out))
            .unwrap();
        (out, preserved.recomputed)
    }

    /// A relevance in f32, for a threshold that equals a cell: under maxsim with words as queries, the
    /// similarity of a caption of one word is its highest relevance.
    fn relevance_of_a_cell(&self, kernel: Engine) -> f64 {
        let config = MatcherConfig {
            sides: Sides::Words,
            rule: uard_attention::WeightRule::MaxSim,
            ..Default::default()
        };
        let search =
            Search::new(&Matcher::new(config).unwrap(), 0.0, kernel, Precision::F32).unwrap();
        let mut out = vec![0.0; self.pairs()];
        search
            .similarities_into(&self.regions, &self.words, &mut out)
            .unwrap();
        // The first caption has one word.
        f64::from(out[0])
    }
}

fn searches(matcher: &Matcher, threshold: f64, kernel: Engine) -> [Search; 2] {
    [Precision::F32, Precision::Exact]
        .map(|precision| Search::new(matcher, threshold, kernel, precision).unwrap())
}

/// The kernels on packed fragments that this machine can run. Messages name the others.
fn kernels() -> Vec<Engine> {
    let packed = Engine::ALL.into_iter().filter(|kernel| kernel.is_packed());
    let runs = |kernel: &Engine| match kernel.open(None, &Device::Cpu) {
        Ok(running) => match running.fallback() {
            None => true,
            Some(reason) => {
                eprintln!("skipped: {reason}");
                false
            }
        },
        Err(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
    };
    packed.filter(runs).collect()
}

type Bits = Vec<Vec<(usize, u32)>>;

fn bits(lists: &[Vec<Ranked>]) -> Bits {
    let list = |list: &Vec<Ranked>| {
        let held = list.iter();
        held.map(|held| (held.index, held.similarity.to_bits()))
            .collect()
    };
    lists.iter().map(list).collect()
}

#[track_caller]
fn assert_same_lists(data: &Data, matcher: &Matcher, threshold: f64, kernel: Engine, k: usize) {
    let [plain, exact] = searches(matcher, threshold, kernel).map(|search| data.top(&search, k));
    let what = format!(
        "{kernel}, {:?}, threshold {threshold}, k {k}",
        matcher.config()
    );
    let [a, b] = [&plain, &exact].map(|top| bits(&top.captions_of_images));
    assert_eq!(a, b, "captions of images, {what}");
    let [a, b] = [&plain, &exact].map(|top| bits(&top.images_of_captions));
    assert_eq!(a, b, "images of captions, {what}");
}

/// The rank of each image and caption: 1 plus the mismatched ones that are at least as similar as its
/// best match; `None` if nothing matches it.
fn ranks(values: &[f32], captions: usize, matched: &[(usize, usize)]) -> Vec<Option<usize>> {
    let images = values.len() / captions;
    let at = |image: usize, caption: usize| values[image * captions + caption];
    let rank = |matches: Vec<f32>, all: Vec<f32>| {
        let best = matches.iter().copied().reduce(f32::max)?;
        let better = all.iter().filter(|s| **s >= best).count();
        Some(1 + better - matches.iter().filter(|s| **s == best).count())
    };
    let of_images = (0..images).map(|image| {
        let own = matched.iter().filter(|pair| pair.0 == image);
        let all = (0..captions).map(|caption| at(image, caption));
        rank(own.map(|pair| at(pair.0, pair.1)).collect(), all.collect())
    });
    let of_captions = (0..captions).map(|caption| {
        let own = matched.iter().filter(|pair| pair.1 == caption);
        let all = (0..images).map(|image| at(image, caption));
        rank(own.map(|pair| at(pair.0, pair.1)).collect(), all.collect())
    });
    of_images.chain(of_captions).collect()
}

/// The `top` best of each row and column with the bits of their similarity, ties by the lower index.
fn best(values: &[f32], captions: usize, top: usize) -> Bits {
    let images = values.len() / captions;
    let sorted = |mut list: Vec<(usize, f32)>| {
        list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        list.truncate(top);
        list.into_iter().map(|(at, s)| (at, s.to_bits())).collect()
    };
    let rows = values
        .chunks(captions)
        .map(|row| sorted(row.iter().copied().enumerate().collect()));
    let columns = (0..captions).map(|caption| {
        let column = (0..images).map(|image| (image, values[image * captions + caption]));
        sorted(column.collect())
    });
    rows.chain(columns).collect()
}

#[track_caller]
fn assert_preserved(data: &Data, matcher: &Matcher, threshold: f64, kernel: Engine, top: usize) {
    let (images, captions) = (data.regions.images(), data.words.captions());
    // About two captions for each image, and one caption that matches no image.
    let matched: Vec<_> = (0..captions - 1)
        .map(|caption| (caption * 2 % images, caption))
        .collect();
    let preserve = Preserve {
        top,
        matched: &matched,
    };
    let [plain, exact] =
        searches(matcher, threshold, kernel).map(|search| data.matrix(&search, &preserve).0);
    let what = format!(
        "{kernel}, {:?}, threshold {threshold}, top {top}",
        matcher.config()
    );
    for &(image, caption) in &matched {
        let at = image * captions + caption;
        assert_eq!(
            plain[at].to_bits(),
            exact[at].to_bits(),
            "{image} {caption}, {what}"
        );
    }
    assert_eq!(
        ranks(&plain, captions, &matched),
        ranks(&exact, captions, &matched),
        "{what}"
    );
    assert_eq!(
        best(&plain, captions, top),
        best(&exact, captions, top),
        "{what}"
    );
    let apart = plain
        .iter()
        .zip(&exact)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(apart < 2.1, "every number must be written, {what}");
}

#[test]
fn every_rule_and_side_on_every_kernel() {
    for kernel in kernels() {
        for arrangement in [
            Arrangement::Random,
            Arrangement::Clustered,
            Arrangement::Copied,
            Arrangement::Opposite,
        ] {
            let data = Data::ragged(1, arrangement, 23, 31);
            for matcher in every_matcher() {
                assert_same_lists(&data, &matcher, 0.25, kernel, 4);
                assert_preserved(&data, &matcher, 0.25, kernel, 3);
            }
        }
    }
}

#[test]
fn a_threshold_exactly_on_a_cell() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for kernel in kernels() {
        for arrangement in [
            Arrangement::Random,
            Arrangement::Clustered,
            Arrangement::Copied,
        ] {
            let data = Data::ragged(2, arrangement, 17, 40);
            let on = data.relevance_of_a_cell(kernel);
            for threshold in [
                on,
                f64::from((on as f32).next_up()),
                f64::from((on as f32).next_down()),
            ] {
                assert_same_lists(&data, &matcher, threshold, kernel, 5);
                assert_preserved(&data, &matcher, threshold, kernel, 2);
            }
        }
    }
}

#[test]
fn thresholds_beyond_every_relevance_and_lists_beyond_the_collection() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let data = Data::ragged(3, Arrangement::Random, 9, 14);
    for threshold in [-3.0, -1.0, -0.3, 0.0, 1e-9, 0.999, 5.0] {
        for k in [0, 1, 8, 9, 14, 100] {
            assert_same_lists(&data, &matcher, threshold, Engine::Auto, k);
            assert_preserved(&data, &matcher, threshold, Engine::Auto, k);
        }
    }
}

#[test]
fn one_of_everything() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for width in [1, 2, 33] {
        let data = Data::new(4, Arrangement::Random, &[1], &[1], width);
        assert_same_lists(&data, &matcher, 0.2, Engine::Auto, 1);
        let [plain, exact] = searches(&matcher, 0.2, Engine::Auto).map(|search| {
            data.matrix(
                &search,
                &Preserve {
                    top: 1,
                    matched: &[(0, 0)],
                },
            )
            .0
        });
        assert_eq!(plain, exact);
    }
}

#[test]
fn fragments_of_length_zero() {
    let zero = |count: usize, label| {
        let mut stream = Draws::new(5).stream(label, &[]);
        let mut values = normal(&mut stream, 1.0, count * 3 * 8);
        values[8..16].fill(0.0);
        Tensor::from_vec(values, (count, 3, 8), &Device::Cpu).unwrap()
    };
    let regions = Regions::normalized(&zero(6, "regions"), vec![3; 6]).unwrap();
    let words = Words::normalized(&zero(7, "words"), vec![3; 7]).unwrap();
    let data = Data {
        regions: PackedRegions::pack(&regions, Precision::Exact).unwrap(),
        words: PackedWords::pack(&words, Precision::Exact).unwrap(),
    };
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for threshold in [-0.1, 0.0, 0.001, 0.4] {
        assert_same_lists(&data, &matcher, threshold, Engine::Auto, 3);
        assert_preserved(&data, &matcher, threshold, Engine::Auto, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn lists_and_ranks_are_those_of_f32(
        seed in any::<u64>(), images in 1usize..20, captions in 2usize..40, k in 1usize..12,
        arrangement in prop_oneof![
            Just(Arrangement::Random), Just(Arrangement::Clustered), Just(Arrangement::Copied), Just(Arrangement::Opposite)
        ],
        threshold in 0.0f64..0.6, inverse_temperature in 1.0f64..100.0,
    ) {
        let data = Data::ragged(seed, arrangement, images, captions);
        let config =
            MatcherConfig { inverse_temperature: Some(inverse_temperature), ..Default::default() };
        let matcher = Matcher::new(config).unwrap();
        assert_same_lists(&data, &matcher, threshold, Engine::Auto, k);
        assert_preserved(&data, &matcher, threshold, Engine::Auto, k);
    }
}

/// There are more pairs than a round of captions has.
#[test]
fn lists_do_not_depend_on_rounds() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let images: Vec<usize> = (0..1100).map(|at| 1 + at % 3).collect();
    let captions: Vec<usize> = (0..2100).map(|at| 1 + at % 2).collect();
    let data = Data::new(6, Arrangement::Copied, &images, &captions, 32);
    assert_same_lists(&data, &matcher, 0.35, Engine::Auto, 10);
}

/// Where similarities are far apart, few pairs are computed in f32.
#[test]
fn few_pairs_of_random_data_are_recomputed() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let data = Data::new(7, Arrangement::Random, &[12; 150], &[6; 300], 64);
    let threshold = 0.3;
    let [_, exact] = searches(&matcher, threshold, Engine::Auto);
    let top = data.top(&exact, 3);
    let share = top.recomputed as f64 / data.pairs() as f64;
    assert!(share > 0.0 && share < 0.15, "lists: {share}");
    assert!(
        top.kept.word_queries > top.kept.all_word_queries / 20,
        "{:?}",
        top.kept
    );
}

/// Other precisions have no lists to preserve and recompute nothing.
#[test]
fn without_exact_preserving_is_similarities_into() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let data = Data::ragged(8, Arrangement::Random, 5, 6);
    for precision in [Precision::F32, Precision::Bf16] {
        let search = Search::new(&matcher, 0.2, Engine::Auto, precision).unwrap();
        let mut expected = vec![0.0; data.pairs()];
        search
            .similarities_into(&data.regions, &data.words, &mut expected)
            .unwrap();
        let (found, recomputed) = data.matrix(&search, &Preserve::default());
        assert_eq!((found, recomputed), (expected, 0));
    }
}

#[test]
fn a_matched_pair_out_of_range_is_an_error() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let data = Data::ragged(9, Arrangement::Random, 3, 4);
    let search = Search::new(&matcher, 0.2, Engine::Auto, Precision::Exact).unwrap();
    let preserve = Preserve {
        top: 0,
        matched: &[(0, 0), (3, 0)],
    };
    let mut out = vec![0.0; data.pairs()];
    let error = search
        .similarities_preserving(&data.regions, &data.words, &preserve, output(&mut out))
        .unwrap_err();
    assert!(error.to_string().contains('3'), "{error}");
}

/// Recomputed pairs and results are the same for any number of threads.
#[test]
fn threads_change_nothing() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let data = Data::ragged(10, Arrangement::Random, 60, 80);
    let [_, exact] = searches(&matcher, 0.3, Engine::Auto);
    let matched: Vec<_> = uniform(&mut Draws::new(1).stream("m", &[]), 0.0, 60.0, 80)
        .iter()
        .enumerate()
        .map(|(caption, image)| (*image as usize, caption))
        .collect();
    let runs = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let top = data.top(&exact, 3);
            let matrix = data.matrix(
                &exact,
                &Preserve {
                    top: 3,
                    matched: &matched,
                },
            );
            (bits(&top.captions_of_images), top.recomputed, matrix)
        })
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}
