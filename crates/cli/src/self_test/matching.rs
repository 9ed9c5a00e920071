//! Similarities, counts and lists of every engine, rule and precision against the reference.

use uard_attention::search::{AllPairs, Ranked, Search, SearchRegions, SearchWords, TopK};
use uard_attention::{Engine, Matcher, Precision, Running, WeightRule};

use super::sample::{Sample, batches, batches_of_lists, matchers};
use super::{Check, Extent, OnCheck, bits, exactly, largest};

/// f32 sums in another order, amplified by the inverse temperature, against f64.
const LIMIT: f64 = 3e-5;

/// Rows that 16 bits do not hold against f64, where both see the same mask.
const LIMIT_OF_ROUNDING: f64 = 2e-3;

/// Length of the lists that are compared: recall at 10 needs no longer ones.
const LISTED: usize = 10;

/// The share of all pairs that must be left to compare once those with a moved mask are left out.
const LEAST_SHARE: f64 = 0.5;

/// Checks engines against scalar loops in f64 that form the attended vectors: on rows that every
/// precision holds exactly, and, but in the smallest extent, on rows that it rounds. Of those, pairs
/// with a cell that rounding moves across the threshold are left out.
///
/// # Errors
/// When an engine fails; a wrong number is a [`Check`] that has not passed.
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
    let given = runs.iter().map(|running| Given::new(running, sample));
    let given = given.collect::<anyhow::Result<Vec<_>>>()?;
    for matcher in matchers {
        let judge = Search::new(matcher, sample.threshold, Engine::Reference, Precision::F32)?;
        let judge = judge.all_pairs(&sample.regions, &sample.words, &|_, _| ())?;
        for given in &given {
            let what = format!(
                "{} {} {:?}, {}, {}",
                given.running.engine(),
                matcher.config().rule,
                matcher.config().sides,
                sample.name,
                given.running.precision()
            );
            let found = given.found(matcher)?;
            let compared = given.compared(&found, &judge, matcher, &what);
            compared.into_iter().for_each(&mut *on_check);
        }
    }
    Ok(())
}

/// An engine, and a sample collected for it.
struct Given<'a> {
    sample: &'a Sample,
    running: &'a Running,
    regions: SearchRegions,
    words: SearchWords,
    /// Pairs [I, C] whose mask rounding changes.
    moved: Vec<bool>,
}

/// What an engine finds.
struct Found {
    pairs: AllPairs,
    /// In chunks of two images, where the engine cuts.
    again: Vec<f32>,
    lists: TopK,
}

impl<'a> Given<'a> {
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
            moved: sample.moved(running.precision())?,
        })
    }

    fn found(&self, matcher: &Matcher) -> anyhow::Result<Found> {
        let (regions, words) = (&self.regions, &self.words);
        let captions = words.captions();
        let search = Search::on(matcher, self.sample.threshold, self.running)?;
        let mut values = vec![f32::NAN; regions.images() * captions];
        let mut again = values.clone();
        let kept = search.similarities_into(regions, words, &mut values, &|_, _| ())?;
        let chunked = search.with_pairs_at_once(2 * captions);
        chunked.similarities_into(regions, words, &mut again, &|_, _| ())?;
        Ok(Found {
            pairs: AllPairs { values, kept },
            again,
            lists: chunked.top_k(regions, words, LISTED, &|_, _| ())?,
        })
    }

    fn compared(
        &self,
        found: &Found,
        judge: &AllPairs,
        matcher: &Matcher,
        what: &str,
    ) -> [Check; 4] {
        let AllPairs { values, kept } = &found.pairs;
        let has_masks = matcher.config().has_masks();
        let is_left = |at: &usize| !(has_masks && self.moved[*at]);
        let left: Vec<usize> = (0..self.moved.len()).filter(is_left).collect();
        let difference = |&at: &usize| f64::from((values[at] - judge.values[at]).abs());
        let rounds = matches!(self.running.precision(), Precision::Bf16 | Precision::F16);
        let captions = self.words.captions();
        let rows = values.chunks(captions).map(|row| best(row.iter()));
        let columns = (0..captions).map(|caption| best(values[caption..].iter().step_by(captions)));
        [
            Check {
                name: format!("{what}: similarities"),
                found: largest(left.iter().map(difference)),
                limit: match rounds && !self.sample.is_exact {
                    true => LIMIT_OF_ROUNDING,
                    false => LIMIT,
                },
            },
            match self.sample.is_exact {
                true => exactly(format!("{what}: counts"), *kept == judge.kept),
                false => exactly(
                    format!("{what}: enough pairs"),
                    left.len() as f64 >= LEAST_SHARE * values.len() as f64,
                ),
            },
            exactly(
                format!("{what}: the same bytes again"),
                bits(values) == bits(&found.again),
            ),
            // Those of the engine's own numbers: of the true ones they differ by pairs that lie nearer
            // than twice the limit.
            exactly(
                format!("{what}: lists"),
                rows.eq(found.lists.captions_of_images.iter().cloned())
                    && columns.eq(found.lists.images_of_captions.iter().cloned()),
            ),
        ]
    }
}

/// The best of a query by the definition of their order.
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
        let given = Given::new(&running, &sample).unwrap();
        let matcher = Matcher::new(Default::default()).unwrap();
        let found = given.found(&matcher).unwrap();
        let judge = found.pairs.clone();
        let passed = |found: &Found| {
            let checks = given.compared(found, &judge, &matcher, "");
            checks.map(|check| check.passed())
        };
        assert_eq!(passed(&found), [true; 4]);
        for pair in 0..judge.values.len() {
            for wrong in [judge.values[pair] + 5e-5, f32::NAN, f32::INFINITY] {
                let mut found = given.found(&matcher).unwrap();
                found.pairs.values[pair] = wrong;
                assert_eq!(passed(&found)[..3], [false, true, false], "{pair}");
            }
        }
        let mut found = given.found(&matcher).unwrap();
        found.pairs.kept.cells += 1;
        assert_eq!(passed(&found), [true, false, true, true]);
        let mut found = given.found(&matcher).unwrap();
        found.lists.images_of_captions[0].swap(0, 1);
        assert_eq!(passed(&found), [true, true, true, false]);
    }
}
