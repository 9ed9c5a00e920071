//! Compares every kernel on packed fragments that this machine can run with the scalar reference.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::data;
use crate::machine;

use candle_core::{DType, Device, Tensor};
use data::{SHAPES, assert_near, every_matcher, side};
use half::bf16;
use machine::{KernelRun, Packed, kernels, runs, search};
use uard_attention::evidence::{PairEvidence, evidence};
use uard_attention::reference::{self, Attention};
use uard_attention::search::{Search, TopK};
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, QuerySide, Sides, WeightRule};
use uard_core::{Regions, Words};

/// f32 rounding of cosines and of sums over a pair's cells, amplified by the inverse temperature.
const F32_TOLERANCE: f64 = 1e-5;

/// The largest error of bf16 on unit vectors, if no cell is above the threshold in one precision only.
const BF16_TOLERANCE: f64 = 2e-3;

/// More than the error of a cell of the batches below in bf16: each number has an error of up to 2^-9,
/// and errors partly cancel over depth.
const BF16_CELL_ERROR: f64 = 4e-4;

/// Thresholds below, amid and above the relevance of the seeded batches.
const THRESHOLDS: [f64; 4] = [-1.0, 0.0, 0.21, 1.1];

type Rows = Vec<Vec<Vec<f64>>>;

/// The shape of a batch.
struct Shape {
    /// How many regions each image has.
    regions: Vec<usize>,
    /// How many words each caption has.
    words: Vec<usize>,
    width: usize,
}

impl Shape {
    fn new(regions: &[usize], words: &[usize], width: usize) -> Self {
        Self {
            regions: regions.to_vec(),
            words: words.to_vec(),
            width,
        }
    }
}

/// The small shapes, and some with more regions and words than a kernel computes at once.
fn shapes() -> Vec<Shape> {
    let small = SHAPES.into_iter();
    let mut shapes: Vec<_> = small
        .map(|(regions, words, width)| Shape::new(regions, words, width))
        .collect();
    shapes.push(Shape::new(&[100, 36, 57, 1], &[12, 70, 1], 72));
    shapes.push(Shape::new(&[100], &[70], 1024));
    shapes
}

fn batch(seed: u64, shape: &Shape) -> (Regions, Words) {
    let regions = side(seed, "regions", &shape.regions, shape.width).regions(DType::F32);
    let words = side(seed, "words", &shape.words, shape.width).words(DType::F32);
    (regions, words)
}

fn as_f64(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// Covers the whole path in f32: layout, product, rule, means, counts.
#[test]
fn f32_agrees_with_the_reference() {
    for (at, shape) in shapes().iter().enumerate() {
        let (regions, words) = batch(at as u64, shape);
        let packed = Packed::new(&regions, &words);
        for matcher in every_matcher() {
            for threshold in THRESHOLDS {
                let expected = Search::new(&matcher, threshold, Engine::Reference, Precision::F32)
                    .unwrap()
                    .all_pairs(&regions, &words)
                    .unwrap();
                for kernel in kernels() {
                    let what = format!("{kernel}, shape {at}, {threshold}, {:?}", matcher.config());
                    let search =
                        search(&matcher, threshold, KernelRun::new(kernel, Precision::F32));
                    let mut found = vec![f32::NAN; packed.pairs()];
                    let (regions, words) = (&packed.regions, &packed.words);
                    let kept = search.similarities_into(regions, words, &mut found);
                    assert_near(
                        &as_f64(&found),
                        &as_f64(&expected.values),
                        F32_TOLERANCE,
                        &what,
                    );
                    assert_eq!(kept.unwrap(), expected.kept, "{what}");
                }
            }
        }
    }
}

/// Compares bf16 with f64 on rounded fragments: only the rounding of fragments may differ from f32.
#[test]
fn bf16_agrees_with_f64_on_rounded_fragments() {
    for (at, shape) in shapes().iter().enumerate() {
        let (regions, words) = batch(at as u64, shape);
        let packed = Packed::new(&regions, &words);
        let fragments = InF64::new(&regions, &words);
        for matcher in every_matcher() {
            for threshold in THRESHOLDS {
                let expected = fragments.similarities(matcher.config(), threshold);
                for kernel in kernels() {
                    let what = format!("{kernel}, shape {at}, {threshold}, {:?}", matcher.config());
                    let search =
                        search(&matcher, threshold, KernelRun::new(kernel, Precision::Bf16));
                    let found = as_f64(&packed.similarities(&search));
                    assert_near(&found, &expected, F32_TOLERANCE, &what);
                }
            }
        }
    }
}

/// The similarities of bf16 are those of the fragments before rounding, to three digits.
#[test]
fn bf16_is_near_the_reference_where_no_cell_is_near_the_threshold() {
    let shape = Shape::new(&[36, 20, 36], &[12, 8, 20], 1024);
    let (regions, words) = batch(9, &shape);
    let packed = Packed::new(&regions, &words);
    let fragments = InF64::new(&regions, &words);
    for wanted in [-1.0, 0.0, 0.05, 0.09] {
        let threshold = fragments.gap_above(wanted);
        for matcher in every_matcher() {
            if matcher.config().rule == WeightRule::Zero {
                continue;
            }
            let expected = Search::new(&matcher, threshold, Engine::Reference, Precision::F32)
                .unwrap()
                .all_pairs(&regions, &words)
                .unwrap();
            for kernel in kernels() {
                let what = format!("{kernel}, {threshold}, {:?}", matcher.config());
                let search = search(&matcher, threshold, KernelRun::new(kernel, Precision::Bf16));
                let mut found = vec![f32::NAN; packed.pairs()];
                let kept = search.similarities_into(&packed.regions, &packed.words, &mut found);
                assert_near(
                    &as_f64(&found),
                    &as_f64(&expected.values),
                    BF16_TOLERANCE,
                    &what,
                );
                assert_eq!(kept.unwrap(), expected.kept, "{what}");
            }
        }
    }
}

/// Fragments in f64, without rounding and with every number rounded to bf16.
struct InF64 {
    regions: Rows,
    words: Rows,
    rounded_regions: Rows,
    rounded_words: Rows,
}

impl InF64 {
    fn new(regions: &Regions, words: &Words) -> Self {
        let (regions, words) = (
            rows(regions.rows(), regions.counts()),
            rows(words.rows(), words.counts()),
        );
        Self {
            rounded_regions: rounded(&regions),
            rounded_words: rounded(&words),
            regions,
            words,
        }
    }

    /// Similarities by the relevance of rounded fragments and the Gram matrices of unrounded ones.
    fn similarities(&self, config: &MatcherConfig, threshold: f64) -> Vec<f64> {
        let mut similarities = Vec::new();
        for (image, rounded_image) in self.regions.iter().zip(&self.rounded_regions) {
            for (caption, rounded_caption) in self.words.iter().zip(&self.rounded_words) {
                let attention = |side| config.attention(side, threshold);
                let words = attention(QuerySide::Words)
                    .map(|attention| one_side(rounded_caption, rounded_image, image, attention));
                let regions = attention(QuerySide::Regions)
                    .map(|attention| one_side(rounded_image, rounded_caption, caption, attention));
                similarities.push(words.unwrap_or(0.0) + regions.unwrap_or(0.0));
            }
        }
        similarities
    }

    /// The lowest threshold from `wanted` on that is far enough from every cell for bf16.
    fn gap_above(&self, wanted: f64) -> f64 {
        let pairs = self
            .regions
            .iter()
            .flat_map(|image| self.words.iter().map(move |c| (image, c)));
        let cells = pairs.flat_map(|(image, caption)| reference::relevance(caption, image));
        let mut cells: Vec<f64> = cells.flatten().filter(|s| *s > wanted).collect();
        cells.push(wanted);
        cells.sort_by(f64::total_cmp);
        let gap = cells
            .windows(2)
            .find(|pair| pair[1] - pair[0] > 2.0 * BF16_CELL_ERROR);
        gap.map_or(1.0, |pair| (pair[0] + pair[1]) / 2.0)
    }
}

fn rows(rows: &Tensor, counts: &[usize]) -> Rows {
    let mut rows = rows.to_dtype(DType::F64).unwrap().to_vec3::<f64>().unwrap();
    for (rows, &count) in rows.iter_mut().zip(counts) {
        rows.truncate(count);
    }
    rows
}

fn rounded(rows: &Rows) -> Rows {
    let mut rows = rows.clone();
    for number in rows.iter_mut().flatten().flatten() {
        *number = bf16::from_f64(*number).to_f64();
    }
    rows
}

/// The mean of `sum w s / sqrt(w^T G w)` over the queries, with G of the unrounded context.
fn one_side(
    queries: &[Vec<f64>],
    context: &[Vec<f64>],
    unrounded_context: &[Vec<f64>],
    attention: Attention,
) -> f64 {
    let relevance = reference::relevance(queries, context);
    let weights = reference::weights(&relevance, attention);
    let gram = reference::relevance(unrounded_context, unrounded_context);
    let answers = relevance.iter().zip(&weights).map(|(relevance, weights)| {
        let dot: f64 = relevance.iter().zip(weights).map(|(s, w)| s * w).sum();
        let products = reference::relevance(&gram, std::slice::from_ref(weights));
        let squared: f64 = products.iter().zip(weights).map(|(p, w)| p[0] * w).sum();
        let best = relevance.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match attention {
            Attention::Nearest { threshold, .. } if best <= threshold => best,
            _ if squared > 0.0 => dot / squared.max(1e-12).sqrt(),
            _ => 0.0,
        }
    });
    answers.sum::<f64>() / queries.len() as f64
}

/// Lemma 1: a word adds zero exactly if its highest relevance is not above t; otherwise it adds more than
/// t. Under the rule nearest, a word with nothing above t adds its highest relevance, bit for bit.
#[test]
fn the_best_relevance_decides_whether_a_word_answers() {
    let shape = Shape::new(&[36, 9, 1], &[1; 40], 64);
    let (regions, words) = batch(11, &shape);
    let packed = Packed::new(&regions, &words);
    let by_words = |rule| {
        let config = MatcherConfig {
            rule,
            sides: Sides::Words,
            ..Default::default()
        };
        Matcher::new(config).unwrap()
    };
    for run in runs() {
        for threshold in [0.0, 0.1, 0.3, 0.5] {
            let best = search(&by_words(WeightRule::MaxSim), threshold, run);
            let masked = search(&by_words(WeightRule::Masked), threshold, run);
            let nearest = search(&by_words(WeightRule::Nearest), threshold, run);
            let [best, masked, nearest] =
                [best, masked, nearest].map(|search| packed.similarities(&search));
            let skipped = masked.iter().filter(|answer| **answer == 0.0).count();
            assert!(skipped > 0 || threshold == 0.0, "{run:?}, {threshold}");
            for ((best, masked), nearest) in best.into_iter().zip(masked).zip(nearest) {
                if best <= threshold as f32 {
                    assert_eq!(masked.to_bits(), 0, "{run:?}, {threshold}");
                    assert_eq!(nearest, best, "{run:?}, {threshold}");
                } else {
                    assert_eq!(nearest, masked, "{run:?}, {threshold}");
                    assert!(
                        masked > threshold as f32 - 1e-6,
                        "{run:?}, {threshold}: {masked}"
                    );
                }
            }
        }
    }
}

/// Lemma 5, for all pairs and for some of them.
#[test]
fn a_pair_with_nothing_above_the_threshold_is_exactly_zero() {
    let (regions, words) = batch(12, &Shape::new(&[20, 36, 7, 30], &[12, 3, 9], 64));
    let packed = Packed::new(&regions, &words);
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for run in runs() {
        let found = packed.similarities(&search(&matcher, 0.42, run));
        let zeros = found
            .iter()
            .filter(|similarity| similarity.to_bits() == 0)
            .count();
        assert!((1..found.len()).contains(&zeros), "{run:?}: {found:?}");
        let nothing = search(&matcher, 1.001, run);
        let mut found = vec![f32::NAN; packed.pairs()];
        let kept = nothing
            .similarities_into(&packed.regions, &packed.words, &mut found)
            .unwrap();
        assert!(
            found.iter().all(|similarity| similarity.to_bits() == 0),
            "{run:?}"
        );
        assert_eq!(
            (kept.word_queries, kept.region_queries, kept.cells),
            (0, 0, 0)
        );
    }
}

/// The relevance of a fragment to itself is 1, up to rounding.
#[test]
fn equal_fragments_match_with_similarity_two() {
    let raw = side(13, "both", &[5], 48);
    let packed = Packed::new(&raw.regions(DType::F32), &raw.words(DType::F32));
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    for run in runs() {
        let found = packed.similarities(&search(&matcher, 0.97, run))[0];
        assert!((found - 2.0).abs() < 4e-3, "{run:?}: {found}");
    }
}

#[test]
fn zero_vectors_and_cancelling_regions_stay_finite() {
    let regions = Tensor::new(&[[[1f32, 0.0], [-1.0, 0.0], [0.0, 0.0]]], &Device::Cpu);
    let words = Tensor::new(&[[[0f32, 1.0], [0.0, 0.0]]], &Device::Cpu);
    let regions = Regions::normalized(&regions.unwrap(), vec![3]).unwrap();
    let words = Words::normalized(&words.unwrap(), vec![2]).unwrap();
    let packed = Packed::new(&regions, &words);
    for matcher in every_matcher() {
        for run in runs() {
            for threshold in [-1.0, 0.0] {
                let found = packed.similarities(&search(&matcher, threshold, run))[0];
                assert_eq!(found, 0.0, "{run:?}, {threshold}, {:?}", matcher.config());
            }
        }
    }
}

#[test]
fn names_are_known_and_others_are_refused() {
    for kernel in Engine::ALL {
        assert_eq!(kernel.to_string().parse::<Engine>().unwrap(), kernel);
    }
    let message = "sse".parse::<Engine>().unwrap_err().to_string();
    let known = "auto, reference, tensor, scalar, avx2, avx512, amx or cuda";
    assert_eq!(message, format!("unknown kernel `sse`: expected {known}"));
}

#[test]
fn auto_and_amx_always_run_and_a_bad_threshold_is_refused() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let new = |kernel| Search::new(&matcher, 0.0, kernel, Precision::Bf16);
    assert!(new(Engine::Auto).unwrap().running().fallback().is_none());
    let search = new(Engine::Amx).unwrap();
    let amx = search.running();
    assert_eq!(amx.fallback().is_none(), amx.engine() == Engine::Amx);
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(Search::new(&matcher, bad, Engine::Auto, Precision::F32).is_err());
    }
}

#[test]
fn a_precision_that_an_engine_lacks_is_refused_with_those_that_it_has() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let lacking = [
        (
            Engine::Reference,
            Precision::Bf16,
            "reference computes in f32, not in bf16",
        ),
        (
            Engine::Tensor,
            Precision::Exact,
            "tensor computes in f32, not in exact",
        ),
        (
            Engine::Scalar,
            Precision::F16,
            "scalar computes in f32 or bf16 or exact, not in f16",
        ),
        (
            Engine::Auto,
            Precision::F16,
            "auto computes in f32 or bf16 or exact, not in f16",
        ),
        (
            Engine::Cuda,
            Precision::F32,
            "cuda computes in f16 or bf16, not in f32",
        ),
    ];
    for (engine, precision, expected) in lacking {
        let message = Search::new(&matcher, 0.2, engine, precision)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    for engine in Engine::ALL
        .into_iter()
        .filter(|engine| *engine != Engine::Cuda)
    {
        if let Ok(running) = engine.open(None, &Device::Cpu) {
            assert_eq!(running.precision(), Precision::F32);
            assert!(
                engine == Engine::Auto
                    || running.fallback().is_some()
                    || running.engine() == engine
            );
        }
    }
}

/// Calls each kind of engine on the CPU with regions and words of two batches each.
#[test]
fn every_engine_gives_the_same_results() {
    let (regions, words) = batch(2, &shapes()[2]);
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let new = |engine| Search::new(&matcher, 0.21, engine, Precision::F32).unwrap();
    let expected = new(Engine::Reference).all_pairs(&regions, &words).unwrap();
    let evidence = evidence(
        &matcher,
        &regions.narrow(1, 1).unwrap(),
        &words.narrow(2, 1).unwrap(),
        0.21,
    );
    let evidence = evidence.unwrap();
    for engine in [Engine::Reference, Engine::Tensor, Engine::Auto] {
        let search = new(engine);
        let mut images = search.regions(regions.width()).unwrap();
        images.push(&regions.narrow(0, 1).unwrap()).unwrap();
        images.push(&regions.narrow(1, 2).unwrap()).unwrap();
        let mut captions = search.words(words.width()).unwrap();
        captions.push(&words.narrow(0, 3).unwrap()).unwrap();
        captions.push(&words.narrow(3, 1).unwrap()).unwrap();
        let (images, captions) = (images.finish().unwrap(), captions.finish().unwrap());
        assert_eq!((images.counts(), captions.captions()), (&[5, 2, 7][..], 4));
        let mut found = vec![f32::NAN; 12];
        let kept = search.similarities_into(&images, &captions, &mut found);
        assert_eq!(kept.unwrap(), expected.kept, "{engine}");
        assert_near(
            &as_f64(&found),
            &as_f64(&expected.values),
            F32_TOLERANCE,
            engine.name(),
        );
        let listed = search
            .captions_for_image(&images, &captions, 1, &[3, 0])
            .unwrap();
        assert_near(
            &as_f64(&listed),
            &as_f64(&[found[7], found[4]]),
            F32_TOLERANCE,
            "listed",
        );
        let lists = search.top_k(&images, &captions, 1).unwrap();
        assert_best(&lists, &found, engine);
        let of_pair = search.evidence(&images, &captions, 1, 2).unwrap();
        assert!((of_pair.similarity - f64::from(found[6])).abs() < F32_TOLERANCE);
        let answered = |evidence: &PairEvidence| -> Vec<_> {
            evidence
                .words
                .iter()
                .map(|word| (word.best_region, word.answered))
                .collect()
        };
        assert_eq!(answered(&of_pair), answered(&evidence), "{engine}");
    }
}

/// Compares the first of each list with the maximum of its row or column of a matrix [3, 4].
fn assert_best(lists: &TopK, values: &[f32], engine: Engine) {
    let best = |values: &mut dyn Iterator<Item = f32>| values.fold(f32::MIN, f32::max);
    for (image, list) in lists.captions_of_images.iter().enumerate() {
        let row = best(&mut values[4 * image..][..4].iter().copied());
        assert_eq!(list[0].similarity, row, "{engine}");
    }
    for (caption, list) in lists.images_of_captions.iter().enumerate() {
        let column = best(&mut values[caption..].iter().copied().step_by(4));
        assert_eq!(list[0].similarity, column, "{engine}");
    }
}

#[test]
fn fragments_collected_for_another_engine_are_refused() {
    let matcher = Matcher::new(MatcherConfig::default()).unwrap();
    let new = |engine| Search::new(&matcher, 0.2, engine, Precision::F32).unwrap();
    let images = new(Engine::Tensor).regions(8).unwrap().finish().unwrap();
    let captions = new(Engine::Tensor).words(8).unwrap().finish().unwrap();
    let refused = new(Engine::Auto).top_k(&images, &captions, 1);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("were not collected for"), "{message}");
}
