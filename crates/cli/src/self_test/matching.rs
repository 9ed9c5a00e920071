//! Checks of every engine, rule and precision: similarities, counts of kept cells and lists of the best
//! against the reference.

use uard_attention::search::{AllPairs, Ranked, Search, SearchRegions, SearchWords, TopK};
use uard_attention::{Engine, Matcher, Precision, Running, WeightRule};

use super::sample::{Sample, batches, batches_of_lists, matchers};
use super::{Check, Extent, OnCheck, bits, equality, largest};

/// Largest allowed difference of similarities on rows that every precision holds exactly: the
/// rounding of sums in f32, amplified by the inverse temperature.
const LIMIT: f64 = 3e-5;

/// Largest allowed difference of similarities on rows that bf16 and f16 round, for pairs whose mask
/// rounding does not change.
const LIMIT_OF_ROUNDING: f64 = 2e-3;

/// Length of the compared lists: recall at 10 needs no longer ones.
const LISTED: usize = 10;

/// The least share of all pairs that must be compared, after pairs with a changed mask are left out.
const LEAST_SHARE: f64 = 0.5;

/// Checks engines against scalar loops in f64 that form the attended vectors: on rows that every
/// precision holds exactly, and, except in the smallest extent, on rows that some precisions round.
/// On rounded rows, pairs with a cell that rounding moves across the threshold are left out.
///
/// # Errors
/// If an engine cannot run. A wrong number is no error, but a [`Check`] that has not passed.
pub fn check(runs: &[Running], extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<()> {
    for (at, shape) in batches(extent) {
        let sample = Sample::exact(at, &shape)?;
        let rules = matchers(&WeightRule::ALL, extent)?;
        check_on(&sample, &rules, runs, on_check)?;
    }
    for (at, shape) in batches_of_lists(extent) {
        let sample = Sample::drawn(at, &shape)?;
        let rules = [
            WeightRule::Masked,
            WeightRule::Nearest,
            WeightRule::Scan,
            WeightRule::MaxSim,
        ];
        check_on(&sample, &matchers(&rules, extent)?, runs, on_check)?;
    }
    Ok(())
}

fn check_on(
    sample: &Sample,
    matchers: &[Matcher],
    runs: &[Running],
    on_check: OnCheck<'_>,
) -> anyhow::Result<()> {
    let engines = runs
        .iter()
        .map(|running| EngineWithSample::new(running, sample));
    let engines = engines.collect::<anyhow::Result<Vec<_>>>()?;
    for matcher in matchers {
        let reference = Search::new(matcher, sample.threshold, Engine::Reference, Precision::F32)?;
        let reference = reference.all_pairs(&sample.regions, &sample.words)?;
        for engine in &engines {
            let name = format!(
                "{} {} {:?}, {}, {}",
                engine.running.engine(),
                matcher.config().rule,
                matcher.config().sides,
                sample.name,
                engine.running.precision()
            );
            let found = engine.run(matcher)?;
            let checks = engine.compare(&found, &reference, matcher, &name);
            checks.into_iter().for_each(&mut *on_check);
        }
    }
    Ok(())
}

/// An engine, and a sample's regions and words in the engine's layout.
struct EngineWithSample<'a> {
    sample: &'a Sample,
    running: &'a Running,
    regions: SearchRegions,
    words: SearchWords,
    /// For each pair [I, C], whether rounding may change its mask.
    mask_moved: Vec<bool>,
}

/// The results of an engine.
struct EngineResults {
    pairs: AllPairs,
    /// The similarities [I, C] computed again, in chunks of two images if the engine computes in chunks.
    again: Vec<f32>,
    lists: TopK,
}

impl<'a> EngineWithSample<'a> {
    fn new(running: &'a Running, sample: &'a Sample) -> anyhow::Result<Self> {
        let search = Search::on(&Matcher::new(Default::default())?, 0.0, running)?;
        let mut regions = search.regions(sample.regions.width())?;
        regions.push(&sample.regions)?;
        let mut words = search.words(sample.words.width())?;
        words.push(&sample.words)?;
        Ok(Self {
            sample,
            running,
            regions: regions.finish()?,
            words: words.finish()?,
            mask_moved: sample.mask_moved(running.precision())?,
        })
    }

    fn run(&self, matcher: &Matcher) -> anyhow::Result<EngineResults> {
        let (regions, words) = (&self.regions, &self.words);
        let captions = words.captions();
        let search = Search::on(matcher, self.sample.threshold, self.running)?;
        let mut values = vec![f32::NAN; regions.images() * captions];
        let mut again = values.clone();
        let kept = search.similarities_into(regions, words, &mut values)?;
        let chunked = search.with_pairs_at_once(2 * captions);
        chunked.similarities_into(regions, words, &mut again)?;
        Ok(EngineResults {
            pairs: AllPairs { values, kept },
            again,
            lists: chunked.top_k(regions, words, LISTED)?,
        })
    }

    fn compare(
        &self,
        found: &EngineResults,
        reference: &AllPairs,
        matcher: &Matcher,
        name: &str,
    ) -> [Check; 4] {
        let AllPairs { values, kept } = &found.pairs;
        let has_masks = matcher.config().has_masks();
        let is_compared = |pair: &usize| !(has_masks && self.mask_moved[*pair]);
        let compared: Vec<usize> = (0..values.len()).filter(is_compared).collect();
        let difference = |&pair: &usize| f64::from((values[pair] - reference.values[pair]).abs());
        let rounds = matches!(self.running.precision(), Precision::Bf16 | Precision::F16);
        let captions = self.words.captions();
        let rows = values.chunks(captions).map(|row| best(row.iter()));
        let columns = (0..captions).map(|caption| best(values[caption..].iter().step_by(captions)));
        [
            Check {
                name: format!("{name}: similarities"),
                found: largest(compared.iter().map(difference)),
                limit: match rounds && !self.sample.is_exact {
                    true => LIMIT_OF_ROUNDING,
                    false => LIMIT,
                },
            },
            match self.sample.is_exact {
                true => equality(format!("{name}: counts"), *kept == reference.kept),
                false => equality(
                    format!("{name}: enough pairs"),
                    compared.len() as f64 >= LEAST_SHARE * values.len() as f64,
                ),
            },
            equality(
                format!("{name}: the same bytes again"),
                bits(values) == bits(&found.again),
            ),
            // Lists are compared with those of the engine's own similarities: the reference orders pairs
            // differently whose similarities differ by less than twice the limit.
            equality(
                format!("{name}: lists"),
                rows.eq(found.lists.captions_of_images.iter().cloned())
                    && columns.eq(found.lists.images_of_captions.iter().cloned()),
            ),
        ]
    }
}

/// The list of a query, by sorting all candidates: highest similarity first, ties to the lower index.
fn best<'a>(similarities: impl Iterator<Item = &'a f32>) -> Vec<Ranked> {
    let ranked = similarities.enumerate();
    let ranked = ranked.map(|(index, &similarity)| Ranked { index, similarity });
    let mut list: Vec<Ranked> = ranked.collect();
    list.sort_by(|a, b| {
        let order = b.similarity.total_cmp(&a.similarity);
        order.then(a.index.cmp(&b.index))
    });
    list.truncate(LISTED);
    list
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_wrong_number_count_or_list_is_an_error() {
        let shape = &batches(Extent::Quick)[1].1;
        let sample = Sample::exact(1, shape).unwrap();
        let running = Engine::Scalar.open(None, &Device::Cpu).unwrap();
        let engine = EngineWithSample::new(&running, &sample).unwrap();
        let matcher = Matcher::new(Default::default()).unwrap();
        let found = engine.run(&matcher).unwrap();
        let reference = found.pairs.clone();
        let passed = |found: &EngineResults| {
            let checks = engine.compare(found, &reference, &matcher, "");
            checks.map(|check| check.passed())
        };
        assert_eq!(passed(&found), [true; 4]);
        for pair in 0..reference.values.len() {
            for wrong in [reference.values[pair] + 5e-5, f32::NAN, f32::INFINITY] {
                let mut found = engine.run(&matcher).unwrap();
                found.pairs.values[pair] = wrong;
                assert_eq!(passed(&found)[..3], [false, true, false], "{pair}");
            }
        }
        let mut found = engine.run(&matcher).unwrap();
        found.pairs.kept.cells += 1;
        assert_eq!(passed(&found), [true, false, true, true]);
        let mut found = engine.run(&matcher).unwrap();
        found.lists.images_of_captions[0].swap(0, 1);
        assert_eq!(passed(&found), [true, true, true, false]);
    }
}
