//! What f64 expects of each pair of a sample, and whether what a kernel found agrees with it.
//!
//! A kernel adds in f32, so a cell whose relevance lies within rounding of the threshold may fall on
//! either side of it. A pair with such cells has one expectation for each way in which they can fall,
//! and what was found must agree with one of them; every other pair has one expectation. Nothing is
//! left out of the comparison, so a wrong number is an error wherever it stands.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{FORWARD_LIMIT, rounded};
use crate::composed::Batch;
use crate::config::QuerySide;
use crate::exact::bound::{Rounding, relevance_bound};
use crate::kernel::check::sample::Sample;
use crate::kernel::cuda::Half;
use crate::side::{Block, SMALLEST_SQUARED_LENGTH, Scratch, Side};
use crate::{Kept, MatcherConfig, Result};

/// What is wanted of the threshold; the middle of two cells near it is taken.
const THRESHOLD: f64 = 0.2;

/// The share of cells above the threshold where many lie near that one: less than a learned one
/// leaves, so that few lie near it.
const KEPT_CELLS: f64 = 0.01;

/// The length of a unit row whose numbers were rounded to 16 bits, at most.
const LONGEST_ROW: f32 = 1.01;

/// Cells of a pair within rounding of the threshold, at most: each doubles the expectations. A pair
/// with more has none, and fails.
const MOST_UNDECIDED: usize = 12;

impl Sample {
    /// Relevance of rows as `round` leaves them and Gram matrices, in f64.
    pub(super) fn batch(&self, round: impl Fn(f32) -> f64) -> Result<Batch> {
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
        let relevance = rounded(self.words.rows())?.matmul(&rounded(self.regions.rows())?.t()?)?;
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

/// The middle of the two cells between which the wanted threshold lies: the widest of some gaps
/// around it.
pub(super) fn threshold_between(relevance: &[f64]) -> f64 {
    let mut cells = relevance.to_vec();
    cells.par_sort_unstable_by(f64::total_cmp);
    let at = cells.partition_point(|&cell| cell <= THRESHOLD);
    let gaps = at.saturating_sub(8).max(1)..(at + 8).min(cells.len());
    let widest =
        gaps.max_by(|&a, &b| (cells[a] - cells[a - 1]).total_cmp(&(cells[b] - cells[b - 1])));
    widest.map_or(THRESHOLD, |at| (cells[at] + cells[at - 1]) / 2.0)
}

/// The threshold that leaves a share of the cells, padding among those below it.
pub(super) fn threshold_keeping(share: f64, relevance: &[f64]) -> f64 {
    let mut cells = relevance.to_vec();
    let at = ((1.0 - share) * cells.len() as f64) as usize;
    let at = at.min(cells.len() - 1);
    *cells.select_nth_unstable_by(at, f64::total_cmp).1
}

/// What a kernel may find of one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expectation {
    pub similarity: f64,
    /// Word queries, region queries and cells above the threshold.
    pub above: [u64; 3],
}

/// How far what was found is from what is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// The largest distance of a similarity from the nearest of its pair's expectations.
    pub difference: f64,
    /// The fewest and the most word queries, region queries and cells above the threshold, over the
    /// expectations that agree with the similarities.
    pub above: [[u64; 3]; 2],
}

/// The expectations of a sample in one precision.
pub(super) struct Judge<'a> {
    sample: &'a Sample,
    /// [C, W, I, R].
    relevance: Vec<f64>,
    /// [I, R, R].
    region_grams: Vec<f64>,
    /// [C, W, W].
    word_grams: Vec<f64>,
    /// A relevance in f32 is no farther from that in f64.
    bound: f64,
}

impl<'a> Judge<'a> {
    pub fn new(sample: &'a Sample, half: Half) -> Result<Self> {
        let batch = sample.batch(rounded(half))?;
        let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        // Rows are rounded on both sides of the comparison: what is left of lemma 1 of
        // docs/exactness.md are its sums, three roundings for each product. Tensor cores, which
        // truncate all of a few products and their sum to the exponent of the largest, stay below.
        let row = Rounding {
            norm: LONGEST_ROW,
            residual: 0.0,
        };
        let width = sample.words.rows().dims3()?.2;
        Ok(Self {
            sample,
            relevance: numbers(&batch.relevance)?,
            region_grams: numbers(&batch.region_gram)?,
            word_grams: numbers(&batch.word_gram)?,
            bound: f64::from(relevance_bound(row, row, width)),
        })
    }

    /// Between two cells near 0.2; where they lie so densely that rounding decides some, the one that
    /// few lie near.
    pub fn threshold(&self) -> f64 {
        let between = threshold_between(&self.relevance);
        let is_near = |&cell: &f64| (cell - between).abs() <= self.bound;
        match self.relevance.par_iter().any(is_near) {
            false => between,
            true => threshold_keeping(KEPT_CELLS, &self.relevance),
        }
    }

    /// Of each pair [I, C].
    pub fn expectations(&self, config: &MatcherConfig, threshold: f64) -> Vec<Vec<Expectation>> {
        let (images, captions) = (self.sample.regions.images(), self.sample.words.captions());
        (0..images * captions)
            .into_par_iter()
            .map(|pair| {
                self.pair(pair / captions, pair % captions)
                    .expectations(config, threshold, self.bound)
            })
            .collect()
    }

    fn pair(&self, image: usize, caption: usize) -> Pair<'_> {
        let (regions, words) = (&self.sample.regions, &self.sample.words);
        let (longest_image, longest_caption) = (regions.longest(), words.longest());
        let counts = [words.counts()[caption], regions.counts()[image]];
        let row = |word: usize| {
            let at = (caption * longest_caption + word) * regions.images() + image;
            &self.relevance[at * longest_image..][..counts[1]]
        };
        let words_ask: Vec<f64> = (0..counts[0]).flat_map(row).copied().collect();
        let columns = (0..counts[1]).flat_map(|region| (0..counts[0]).map(move |w| (w, region)));
        let regions_ask = columns.map(|(word, region)| row(word)[region]).collect();
        Pair {
            counts,
            relevance: [words_ask, regions_ask],
            grams: [
                &self.region_grams[image * longest_image * longest_image..],
                &self.word_grams[caption * longest_caption * longest_caption..],
            ],
            strides: [longest_image, longest_caption],
        }
    }
}

/// One pair, as words ask and as regions ask.
struct Pair<'a> {
    /// Words and regions.
    counts: [usize; 2],
    /// [queries, context].
    relevance: [Vec<f64>; 2],
    /// Of the context.
    grams: [&'a [f64]; 2],
    strides: [usize; 2],
}

impl Pair<'_> {
    fn expectations(&self, config: &MatcherConfig, threshold: f64, bound: f64) -> Vec<Expectation> {
        let threshold = config.threshold(threshold);
        let cells = &self.relevance[0];
        let mut above: Vec<bool> = cells.iter().map(|&cell| cell > threshold).collect();
        let undecided: Vec<usize> = (0..cells.len())
            .filter(|&at| config.has_masks() && (cells[at] - threshold).abs() <= bound)
            .collect();
        if undecided.len() > MOST_UNDECIDED {
            return Vec::new();
        }
        let falls = 0..1usize << undecided.len();
        falls
            .map(|fall| {
                for (bit, &at) in undecided.iter().enumerate() {
                    above[at] = fall >> bit & 1 == 1;
                }
                Expectation {
                    similarity: self.similarity(config, &above),
                    above: self.counts_of(&above),
                }
            })
            .collect()
    }

    /// Where a cell that a query looks at stands in [words, regions].
    fn cell(&self, side: QuerySide, query: usize, at: usize) -> usize {
        match side {
            QuerySide::Words => query * self.counts[1] + at,
            QuerySide::Regions => at * self.counts[1] + query,
        }
    }

    fn block(&self, side: QuerySide) -> Block<'_, f64> {
        let [words, regions] = self.counts;
        let (at, queries, context) = match side {
            QuerySide::Words => (0, words, regions),
            QuerySide::Regions => (1, regions, words),
        };
        Block {
            relevance: &self.relevance[at],
            queries,
            context,
            gram: self.grams[at],
            stride: self.strides[at],
        }
    }

    /// With those cells [words, regions] seen that are `above` the threshold.
    fn similarity(&self, config: &MatcherConfig, above: &[bool]) -> f64 {
        let means = config.sides.asking().iter().map(|&side| {
            let block = self.block(side);
            let sum = match Side::new(config, side) {
                Some(unmasked) => unmasked.forward(&block, &mut Scratch::default()),
                None => (0..block.queries)
                    .map(|query| {
                        let is_seen = |at: &usize| above[self.cell(side, query, *at)];
                        let seen: Vec<usize> = (0..block.context).filter(is_seen).collect();
                        match (seen.is_empty(), config.rule.answers_below()) {
                            (true, true) => block.best(query).1,
                            (true, false) => 0.0,
                            _ => attended(&block, query, &seen, config.inverse_temperature(side)),
                        }
                    })
                    .sum(),
            };
            sum / block.queries as f64
        });
        means.sum()
    }

    fn counts_of(&self, above: &[bool]) -> [u64; 3] {
        let asking = |side| {
            let block = self.block(side);
            let is_kept =
                |&query: &usize| (0..block.context).any(|at| above[self.cell(side, query, at)]);
            (0..block.queries).filter(is_kept).count() as u64
        };
        let cells = above.iter().filter(|above| **above).count() as u64;
        [asking(QuerySide::Words), asking(QuerySide::Regions), cells]
    }
}

/// R = N / sqrt(Q) of one query over the cells that it sees.
fn attended(block: &Block<'_, f64>, query: usize, seen: &[usize], inverse_temperature: f64) -> f64 {
    let row = &block.relevance[query * block.context..][..block.context];
    let best = block.best(query).1;
    let weights: Vec<f64> = seen
        .iter()
        .map(|&at| (inverse_temperature * (row[at] - best)).exp())
        .collect();
    let (mut dot, mut squared) = (0.0, 0.0);
    for (&at, weight) in seen.iter().zip(&weights) {
        dot += weight * row[at];
        let gram = &block.gram[at * block.stride..][..block.context];
        let product: f64 = seen.iter().zip(&weights).map(|(&k, e)| e * gram[k]).sum();
        squared += weight * product;
    }
    dot / squared.max(SMALLEST_SQUARED_LENGTH).sqrt()
}

/// Compares similarities [I, C] with the expectations of their pairs.
pub(super) fn judged(expected: &[Vec<Expectation>], found: &[f32]) -> Verdict {
    let mut verdict = Verdict {
        difference: 0.0,
        above: [[0; 3]; 2],
    };
    if expected.len() != found.len() {
        verdict.difference = f64::INFINITY;
    }
    for (expectations, &found) in expected.iter().zip(found) {
        let distance =
            |expectation: &Expectation| (f64::from(found) - expectation.similarity).abs();
        // What is not a number is near nothing.
        let nearest = expectations
            .iter()
            .map(distance)
            .fold(f64::INFINITY, f64::min);
        verdict.difference = verdict.difference.max(nearest);
        let agreeing = expectations
            .iter()
            .filter(|expectation| distance(expectation) <= FORWARD_LIMIT.max(nearest));
        for at in 0..3 {
            let counts = agreeing.clone().map(|expectation| expectation.above[at]);
            verdict.above[0][at] += counts.clone().min().unwrap_or(0);
            verdict.above[1][at] += counts.max().unwrap_or(0);
        }
    }
    verdict
}

impl Verdict {
    /// Whether counts are among those that are left open; `totals` are those of the sample.
    pub fn allows(&self, config: &MatcherConfig, kept: Kept, totals: Kept) -> bool {
        if !config.has_masks() {
            return kept == totals.everything();
        }
        let [fewest, most] = &self.above;
        let found = [kept.word_queries, kept.region_queries, kept.cells];
        let nothing_kept = Kept {
            word_queries: 0,
            region_queries: 0,
            cells: 0,
            ..kept
        };
        nothing_kept == totals && (0..3).all(|at| (fewest[at]..=most[at]).contains(&found[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::check::Extent;
    use crate::kernel::check::sample::{batches, matchers};
    use crate::{Sides, WeightRule, composed};

    /// 45 pairs, and a threshold within rounding of cells of some of them.
    fn sample() -> Sample {
        Sample::new(2, &batches(Extent::Smallest)[0].1).unwrap()
    }

    fn threshold_on_a_cell(judge: &Judge<'_>) -> f64 {
        threshold_keeping(0.025, &judge.relevance) + 1e-7
    }

    fn config(rule: WeightRule) -> MatcherConfig {
        MatcherConfig {
            rule,
            sides: Sides::Both,
            inverse_temperature: None,
        }
    }

    /// What a kernel finds that decides as `choose` does.
    fn found(
        expected: &[Vec<Expectation>],
        choose: fn(&[Expectation]) -> Option<&Expectation>,
        totals: Kept,
    ) -> (Vec<f32>, Kept) {
        let chosen: Vec<&Expectation> = expected.iter().filter_map(|pair| choose(pair)).collect();
        let sum = |at: usize| chosen.iter().map(|expectation| expectation.above[at]).sum();
        let kept = Kept {
            word_queries: sum(0),
            region_queries: sum(1),
            cells: sum(2),
            ..totals
        };
        let values = chosen
            .iter()
            .map(|expectation| expectation.similarity as f32);
        (values.collect(), kept)
    }

    #[test]
    fn expectations_are_those_of_the_composed_form() {
        let sample = sample();
        let judge = Judge::new(&sample, Half::Bf16).unwrap();
        let batch = sample.batch(rounded(Half::Bf16)).unwrap();
        let threshold = judge.threshold();
        let totals = Kept::of_totals(sample.regions.counts(), sample.words.counts());
        for matcher in matchers(&WeightRule::ALL, Extent::Quick).unwrap() {
            let config = matcher.config();
            let composed = composed::similarities(&batch, config, threshold).unwrap();
            let composed = composed.to_dtype(DType::F32).unwrap();
            let composed = composed.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let verdict = judged(&judge.expectations(config, threshold), &composed);
            assert!(verdict.difference < 1e-7, "{config:?}: {verdict:?}");
            let [word_queries, region_queries, cells] =
                batch.count_above(config.threshold(threshold)).unwrap();
            let kept = match config.has_masks() {
                true => Kept {
                    word_queries,
                    region_queries,
                    cells,
                    ..totals
                },
                false => totals.everything(),
            };
            assert!(
                verdict.allows(config, kept, totals),
                "{config:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_cell_within_rounding_of_the_threshold_may_fall_on_either_side() {
        let sample = sample();
        let judge = Judge::new(&sample, Half::Bf16).unwrap();
        let totals = Kept::of_totals(sample.regions.counts(), sample.words.counts());
        let config = config(WeightRule::Masked);
        let expected = judge.expectations(&config, threshold_on_a_cell(&judge));
        let undecided = expected.iter().filter(|pair| pair.len() > 1).count();
        assert!((1..expected.len() / 2).contains(&undecided), "{undecided}");
        let (below, few) = found(&expected, <[Expectation]>::first, totals);
        let (above, many) = found(&expected, <[Expectation]>::last, totals);
        assert!(few.cells < many.cells);
        for (values, kept, other) in [(below, few, many), (above, many, few)] {
            let verdict = judged(&expected, &values);
            assert!(verdict.difference < 1e-6, "{verdict:?}");
            assert!(verdict.allows(&config, kept, totals));
            assert!(!verdict.allows(&config, other, totals), "{verdict:?}");
        }
    }

    #[test]
    fn a_wrong_similarity_is_an_error_in_every_pair() {
        let sample = sample();
        let judge = Judge::new(&sample, Half::F16).unwrap();
        for rule in WeightRule::ALL {
            let expected = judge.expectations(&config(rule), threshold_on_a_cell(&judge));
            let (right, _) = found(&expected, <[Expectation]>::first, Kept::default());
            for pair in 0..right.len() {
                for wrong in [right[pair] + 5e-5, f32::NAN, f32::INFINITY] {
                    let mut values = right.clone();
                    values[pair] = wrong;
                    let verdict = judged(&expected, &values);
                    assert!(
                        verdict.difference > FORWARD_LIMIT,
                        "{rule} {pair}: {verdict:?}"
                    );
                }
            }
            assert!(judged(&expected, &right[1..]).difference > FORWARD_LIMIT);
        }
    }

    #[test]
    fn a_wrong_count_is_an_error() {
        let sample = sample();
        let judge = Judge::new(&sample, Half::Bf16).unwrap();
        let totals = Kept::of_totals(sample.regions.counts(), sample.words.counts());
        let config = config(WeightRule::Masked);
        let expected = judge.expectations(&config, threshold_on_a_cell(&judge));
        let (values, kept) = found(&expected, <[Expectation]>::last, totals);
        let verdict = judged(&expected, &values);
        let wrong: [fn(&mut Kept); 5] = [
            |kept| kept.word_queries += 1,
            |kept| kept.region_queries -= 1,
            |kept| kept.cells += 1,
            |kept| kept.cells -= 1,
            |kept| kept.all_cells += 1,
        ];
        for change in wrong {
            let mut wrong = kept;
            change(&mut wrong);
            assert!(!verdict.allows(&config, wrong, totals), "{wrong:?}");
        }
    }

    #[test]
    fn a_pair_with_too_many_undecided_cells_fails() {
        let expected = [Vec::new()];
        assert!(judged(&expected, &[0.0]).difference > FORWARD_LIMIT);
    }
}
