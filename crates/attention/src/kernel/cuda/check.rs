//! Do the kernels of a machine compute what they should? Every kernel on seeded ragged batches,
//! judged by the composed form in f64, and twice for the same bytes.
//!
//! `uard self-test` runs these on a GPU; tests run them on an interpreter of PTX.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use half::{bf16, f16};
use uard_core::gpu::{Machine, Numbers};
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

use super::pairs::{BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape};
use super::{DeviceRegions, DeviceSearch, DeviceWords, Half};
use crate::composed::{self, Batch};
use crate::search::{Ranked, TopK, offer};
use crate::{Kept, Matcher, MatcherConfig, Result, Sides, WeightRule};

/// One thing that was checked: how far it was off, and how far it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The largest difference.
    pub found: f64,
    /// The largest allowed; 0 where bytes must be equal.
    pub limit: f64,
}

impl Check {
    /// Whether it is within the limit; what is not a number is not.
    pub fn passed(&self) -> bool {
        self.found <= self.limit
    }
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Small shapes: for tools that slow everything down.
    Quick,
    /// Those and full tiles.
    Full,
}

/// f32 sums of products of 16 bits, amplified by the inverse temperature, against f64.
const FORWARD_LIMIT: f64 = 3e-5;

/// The same through the backward pass; gradients are of the order of 1.
const BACKWARD_LIMIT: f64 = 2e-4;

/// What is wanted of the threshold; the middle of two cells near it is taken.
const THRESHOLD: f64 = 0.2;

/// Counts of regions, counts of words, width.
type Counts = (Vec<usize>, Vec<usize>, usize);

fn batches(extent: Extent) -> Vec<Counts> {
    let mut batches = vec![
        (vec![1], vec![1], 1),
        (vec![5, 2, 7], vec![4, 1, 6, 3], 8),
        (vec![36, 20, 36, 36, 31], vec![8, 20, 13, 9, 30, 11, 12, 25, 14], 100),
        (vec![150, 9], vec![3, 40], 70),
    ];
    if extent == Extent::Full {
        let cycle = |count: usize, from: usize, to: usize| -> Vec<usize> {
            (0..count).map(|at| from + at * 7 % (to - from)).collect()
        };
        batches.push((vec![36; 67], cycle(131, 4, 30), 1024));
        batches.push((cycle(40, 10, 101), cycle(60, 1, 78), 256));
        batches.push((vec![196; 9], cycle(33, 5, 40), 768));
    }
    batches
}

fn matchers(rules: &[WeightRule]) -> Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    for &rule in rules {
        for sides in [Sides::Both, Sides::Words, Sides::Regions] {
            matchers.push(Matcher::new(MatcherConfig {
                rule,
                sides,
                inverse_temperature: None,
            })?);
        }
    }
    Ok(matchers)
}

/// A seeded batch on the CPU.
struct Sample {
    regions: Regions,
    words: Words,
}

impl Sample {
    fn new(seed: u64, (regions, words, width): &Counts) -> Result<Self> {
        let raw = |label: &str, counts: &[usize]| -> Result<Tensor> {
            let longest = counts.iter().copied().max().unwrap_or(1);
            let mut stream = Draws::new(seed).stream(label, &[]);
            let mut numbers = normal(&mut stream, 1.0, counts.len() * longest * width);
            // A direction that all share, so that relevance lies on both sides of the threshold.
            numbers
                .chunks_mut(*width)
                .for_each(|row| row[0] += 0.5 * (*width as f32).sqrt());
            let shape = (counts.len(), longest, *width);
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        Ok(Self {
            regions: Regions::normalized(&raw("regions", regions)?, regions.clone())?,
            words: Words::normalized(&raw("words", words)?, words.clone())?,
        })
    }

    /// Relevance of rows as `round` leaves them and Gram matrices, in f64.
    fn batch(&self, round: impl Fn(f32) -> f64) -> Result<Batch> {
        let rounded = |rows: &Tensor| -> Result<Tensor> {
            let numbers = rows.flatten_all()?.to_vec1::<f32>()?;
            let numbers: Vec<f64> = numbers.into_iter().map(&round).collect();
            let (entries, longest, width) = rows.dims3()?;
            Ok(Tensor::from_vec(
                numbers,
                (entries * longest, width),
                &Device::Cpu,
            )?)
        };
        let (i, r, _) = self.regions.rows().dims3()?;
        let (c, w, _) = self.words.rows().dims3()?;
        let relevance =
            rounded(self.words.rows())?.matmul(&rounded(self.regions.rows())?.t()?)?;
        let gram = |rows: &Tensor| -> Result<Tensor> {
            let rows = rows.to_dtype(DType::F64)?;
            Ok(rows.matmul(&rows.t()?)?)
        };
        Ok(Batch {
            relevance: relevance.reshape((c, w, i, r))?,
            region_gram: gram(self.regions.rows())?,
            word_gram: gram(self.words.rows())?,
            region_validity: self.regions.validity()?.to_dtype(DType::F64)?,
            word_validity: self.words.validity()?.to_dtype(DType::F64)?,
        })
    }
}

/// The middle of the two cells between which the wanted threshold lies: no rounding moves a cell
/// over it.
fn threshold_between(batch: &Batch) -> Result<f64> {
    let mut cells = batch.relevance.flatten_all()?.to_vec1::<f64>()?;
    cells.sort_by(f64::total_cmp);
    let at = cells.partition_point(|&cell| cell <= THRESHOLD);
    // The widest of some gaps around it.
    let gaps = at.saturating_sub(8).max(1)..(at + 8).min(cells.len());
    let widest = gaps.max_by(|&a, &b| {
        (cells[a] - cells[a - 1]).total_cmp(&(cells[b] - cells[b - 1]))
    });
    Ok(widest.map_or(THRESHOLD, |at| (cells[at] + cells[at - 1]) / 2.0))
}

/// Checks matching: similarities, counts and lists, of every rule, in both precisions.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn matching<M: Machine>(machine: &Arc<M>, extent: Extent) -> Result<Vec<Check>> {
    let rules = [
        WeightRule::Masked,
        WeightRule::Zero,
        WeightRule::Scan,
        WeightRule::MaxSim,
    ];
    let mut checks = Vec::new();
    for (at, counts) in batches(extent).iter().enumerate() {
        let sample = Sample::new(at as u64, counts)?;
        for half in [Half::Bf16, Half::F16] {
            let batch = sample.batch(|x| match half {
                Half::Bf16 => bf16::from_f32(x).to_f64(),
                Half::F16 => f16::from_f32(x).to_f64(),
            })?;
            for matcher in matchers(&rules)? {
                let what = format!(
                    "match {} {:?}, batch {at}, {half:?}",
                    matcher.config().rule,
                    matcher.config().sides
                );
                checks.extend(one_matching(machine, &matcher, (&sample, &batch, half), &what)?);
            }
        }
    }
    Ok(checks)
}

fn one_matching<M: Machine>(
    machine: &Arc<M>,
    matcher: &Matcher,
    (sample, batch, half): (&Sample, &Batch, Half),
    what: &str,
) -> Result<Vec<Check>> {
    // The zero rule has its own threshold, which a cell of 1e-9 might cross; none is that near.
    let threshold = threshold_between(batch)?;
    let expected = composed::similarities(batch, matcher.config(), threshold)?;
    let expected = expected.flatten_all()?.to_vec1::<f64>()?;
    let regions = DeviceRegions::copied(&**machine, &sample.regions, half)?;
    let words = DeviceWords::copied(&**machine, &sample.words, half)?;
    let search = DeviceSearch::new(Arc::clone(machine), matcher, threshold)?;
    let sides = (&regions, &words);
    let mut values = vec![f32::NAN; expected.len()];
    let kept = search.similarities_into(sides, &mut values, &|_, _| ())?;
    let captions = sample.words.captions();
    let chunked = DeviceSearch::new(Arc::clone(machine), matcher, threshold)?
        .with_pairs_at_once(2 * captions);
    let mut again = vec![f32::NAN; expected.len()];
    chunked.similarities_into(sides, &mut again, &|_, _| ())?;
    let lists = chunked.top_k(sides, 3, &|_, _| ())?;
    Ok(vec![
        Check {
            name: format!("{what}: similarities"),
            found: largest_difference(&values, &expected),
            limit: FORWARD_LIMIT,
        },
        exactly(format!("{what}: counts"), kept == counted(batch, matcher, (sample, threshold))?),
        exactly(
            format!("{what}: the same bytes in chunks"),
            bits(&values) == bits(&again),
        ),
        exactly(
            format!("{what}: lists"),
            lists == listed(&values, captions, 3, kept),
        ),
    ])
}

/// What must be equal to the last bit.
fn exactly(name: String, is_equal: bool) -> Check {
    Check {
        name,
        found: if is_equal { 0.0 } else { 1.0 },
        limit: 0.0,
    }
}

fn counted(batch: &Batch, matcher: &Matcher, (sample, threshold): (&Sample, f64)) -> Result<Kept> {
    let totals = Kept::of_totals(sample.regions.counts(), sample.words.counts());
    if !matcher.config().has_masks() {
        return Ok(totals.everything());
    }
    let threshold = matcher.config().threshold(threshold);
    let [word_queries, region_queries, cells] = batch.count_above(threshold)?;
    Ok(Kept {
        word_queries,
        region_queries,
        cells,
        ..totals
    })
}

/// The lists of a matrix [I, C] by the definition of their order.
fn listed(values: &[f32], captions: usize, k: usize, kept: Kept) -> TopK {
    let mut lists = TopK {
        captions_of_images: vec![Vec::new(); values.len() / captions],
        images_of_captions: vec![Vec::new(); captions],
        kept,
        recomputed: 0,
    };
    for (at, &similarity) in values.iter().enumerate() {
        let (image, caption) = (at / captions, at % captions);
        let ranked = |index| Ranked { index, similarity };
        offer(&mut lists.captions_of_images[image], k, ranked(caption));
        offer(&mut lists.images_of_captions[caption], k, ranked(image));
    }
    lists
}

/// Checks the training kernels: similarities, maxima, counts and all gradients, without the scan
/// rule, which has no kernel.
///
/// # Errors
/// As [`matching`].
pub fn training<M: Machine>(machine: &M, extent: Extent) -> Result<Vec<Check>> {
    let rules = [WeightRule::Masked, WeightRule::Zero, WeightRule::MaxSim];
    let mut checks = Vec::new();
    for (at, counts) in batches(extent).iter().enumerate() {
        let sample = Sample::new(at as u64, counts)?;
        let batch = sample.batch(f64::from)?;
        for matcher in matchers(&rules)? {
            let what = format!(
                "train {} {:?}, batch {at}",
                matcher.config().rule,
                matcher.config().sides
            );
            let expected = Expected::new(&sample, &batch, &matcher)?;
            let found = Found::new(machine, &sample, &batch, (&matcher, &expected))?;
            let again = Found::new(machine, &sample, &batch, (&matcher, &expected))?;
            checks.extend(found.compared(&expected, &what));
            checks.push(exactly(format!("{what}: the same bytes"), found.bits() == again.bits()));
        }
    }
    Ok(checks)
}

/// The composed form in f64.
struct Expected {
    threshold: f64,
    upstream: Vec<f32>,
    similarities: Vec<f64>,
    word_maxima: Vec<f64>,
    kept: Kept,
    /// Of relevance, of the Gram matrices of regions and of those of words.
    gradients: [Vec<f64>; 3],
}

impl Expected {
    fn new(sample: &Sample, batch: &Batch, matcher: &Matcher) -> Result<Self> {
        let threshold = threshold_between(batch)?;
        let vars = [&batch.relevance, &batch.region_gram, &batch.word_gram]
            .map(Var::from_tensor);
        let [relevance, region_gram, word_gram] = vars;
        let (relevance, region_gram, word_gram) = (relevance?, region_gram?, word_gram?);
        let of_vars = Batch {
            relevance: relevance.as_tensor().clone(),
            region_gram: region_gram.as_tensor().clone(),
            word_gram: word_gram.as_tensor().clone(),
            region_validity: batch.region_validity.clone(),
            word_validity: batch.word_validity.clone(),
        };
        let values = composed::similarities(&of_vars, matcher.config(), threshold)?;
        let pairs = values.elem_count();
        let mut upstream = normal(&mut Draws::new(3).stream("upstream", &[]), 1.0, pairs);
        // As with hardest negatives: most pairs have none.
        upstream
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| at % 3 == 1)
            .for_each(|(_, x)| *x = 0.0);
        let weights = Tensor::from_slice(&upstream, values.shape(), &Device::Cpu)?;
        let loss = (&values * weights.to_dtype(DType::F64)?)?.sum_all()?;
        let store = loss.backward()?;
        let gradient = |var: &Var| -> Result<Vec<f64>> {
            Ok(match store.get(var) {
                Some(gradient) => gradient.flatten_all()?.to_vec1()?,
                None => vec![0.0; var.elem_count()],
            })
        };
        Ok(Self {
            threshold,
            upstream,
            similarities: values.flatten_all()?.to_vec1()?,
            word_maxima: batch
                .word_maxima()?
                .to_dtype(DType::F64)?
                .flatten_all()?
                .to_vec1()?,
            kept: counted(batch, matcher, (sample, threshold))?,
            gradients: [
                gradient(&relevance)?,
                gradient(&region_gram)?,
                gradient(&word_gram)?,
            ],
        })
    }
}

/// What the kernels give.
struct Found {
    similarities: Vec<f32>,
    word_maxima: Vec<f32>,
    counts: Vec<u64>,
    has_masks: bool,
    gradients: [Vec<f32>; 3],
}

impl Found {
    fn new<M: Machine>(
        machine: &M,
        sample: &Sample,
        batch: &Batch,
        (matcher, expected): (&Matcher, &Expected),
    ) -> Result<Self> {
        let shape = BatchShape {
            images: sample.regions.images(),
            regions: sample.regions.longest(),
            captions: sample.words.captions(),
            words: sample.words.longest(),
        };
        let shared = machine.shared_bytes();
        let pairs = BatchPairs::new(matcher.config(), expected.threshold, shape, shared)?;
        let numbers = |tensor: &Tensor| -> Result<Numbers<M, f32>> {
            let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            Ok(Numbers::copied(machine, &numbers)?)
        };
        let counts = |counts: &[usize]| -> Result<Numbers<M, u32>> {
            let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
            Ok(Numbers::copied(machine, &counts)?)
        };
        let given = [&batch.relevance, &batch.region_gram, &batch.word_gram];
        let [relevance, region_grams, word_grams] = given.map(numbers);
        let (relevance, region_grams, word_grams) = (relevance?, region_grams?, word_grams?);
        let (region_counts, word_counts) = (
            counts(sample.regions.counts())?,
            counts(sample.words.counts())?,
        );
        let inputs = BatchInputs {
            relevance: relevance.argument(),
            region_grams: region_grams.argument(),
            word_grams: word_grams.argument(),
            region_counts: region_counts.argument(),
            word_counts: word_counts.argument(),
        };
        let similarities = Numbers::<M, f32>::unset(machine, shape.images * shape.captions)?;
        let maxima = shape.captions * shape.words * shape.images;
        let word_maxima = Numbers::<M, f32>::unset(machine, maxima)?;
        let above = Numbers::<M, u64>::zeros(machine, 3)?;
        let answers = BatchAnswers {
            similarities: similarities.argument(),
            word_maxima: word_maxima.argument(),
            counts: above.argument(),
        };
        let upstream = Numbers::copied(machine, &expected.upstream)?;
        let to = [&relevance, &region_grams, &word_grams]
            .map(|numbers| Numbers::<M, f32>::zeros(machine, numbers.len()));
        let [to_relevance, to_region_grams, to_word_grams] = to;
        let to = [to_relevance?, to_region_grams?, to_word_grams?];
        let gradients = BatchGradients {
            relevance: to[0].argument(),
            region_grams: to[1].argument(),
            word_grams: to[2].argument(),
        };
        // SAFETY: all buffers have the sizes of the shape and live until they are read below.
        unsafe {
            pairs.forward(machine, &inputs, &answers)?;
            pairs.backward(machine, &inputs, upstream.argument(), &gradients)?;
        }
        Ok(Self {
            similarities: similarities.read(machine)?,
            word_maxima: word_maxima.read(machine)?,
            counts: above.read(machine)?,
            has_masks: matcher.config().has_masks(),
            gradients: [to[0].read(machine)?, to[1].read(machine)?, to[2].read(machine)?],
        })
    }

    fn compared(&self, expected: &Expected, what: &str) -> Vec<Check> {
        let near = |name: &str, found: &[f32], expected: &[f64], limit| Check {
            name: format!("{what}: {name}"),
            found: largest_difference(found, expected),
            limit,
        };
        let kept = &expected.kept;
        let above = [kept.word_queries, kept.region_queries, kept.cells];
        let [relevance, region_grams, word_grams] = &self.gradients;
        let gradients = &expected.gradients;
        vec![
            near("similarities", &self.similarities, &expected.similarities, FORWARD_LIMIT),
            near("word maxima", &self.word_maxima, &expected.word_maxima, FORWARD_LIMIT),
            exactly(
                format!("{what}: counts"),
                !self.has_masks || self.counts == above,
            ),
            near("gradient of relevance", relevance, &gradients[0], BACKWARD_LIMIT),
            near("gradient of region grams", region_grams, &gradients[1], BACKWARD_LIMIT),
            near("gradient of word grams", word_grams, &gradients[2], BACKWARD_LIMIT),
        ]
    }

    fn bits(&self) -> Vec<u32> {
        let [relevance, region_grams, word_grams] = &self.gradients;
        [&self.similarities, &self.word_maxima, relevance, region_grams, word_grams]
            .into_iter()
            .flat_map(|numbers| bits(numbers))
            .collect()
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// NaN where the lengths differ or a number is not one.
fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    let differences = found
        .iter()
        .zip(expected)
        .map(|(&found, &expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, |largest, difference| match difference.is_nan() {
        true => f64::NAN,
        false if difference > largest => difference,
        false => largest,
    })
}
