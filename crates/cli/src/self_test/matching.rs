//! Similarities, counts and lists of every engine, rule and precision against the reference, on rows
//! that every precision holds exactly.

use uard_attention::search::{AllPairs, Ranked, Search, SearchRegions, SearchWords, TopK};
use uard_attention::{Engine, Matcher, Precision, Running, WeightRule};

use super::sample::{Sample, batches, matchers};
use super::{Check, Extent, OnCheck, bits, exactly, largest_difference};

/// f32 sums in another order, amplified by the inverse temperature, against f64.
const LIMIT: f64 = 3e-5;

/// How long the lists are that are asked for.
const LISTED: usize = 3;

/// Checks engines against scalar loops in f64 that form the attended vectors.
///
/// # Errors
/// When an engine fails; a wrong number is a [`Check`] that has not passed.
pub fn check(runs: &[Running], extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<()> {
    for (at, shape) in batches(extent) {
        let sample = Sample::exact(at, &shape)?;
        let given = runs
            .iter()
            .map(|running| Given::new(running, &sample))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for matcher in matchers(&WeightRule::ALL, extent)? {
            let judge = Search::new(
                &matcher,
                sample.threshold,
                Engine::Reference,
                Precision::F32,
            )?;
            let judge = judge.all_pairs(&sample.regions, &sample.words, &|_, _| ())?;
            for given in &given {
                let found = given.found(&matcher, sample.threshold)?;
                let what = format!(
                    "{} {} {:?}, batch {at}, {}",
                    given.running.engine(),
                    matcher.config().rule,
                    matcher.config().sides,
                    given.running.precision()
                );
                let compared = found.compared(&judge, shape.words.len(), &what);
                compared.into_iter().for_each(&mut *on_check);
            }
        }
    }
    Ok(())
}

/// An engine, and the sample as it reads it.
struct Given<'a> {
    running: &'a Running,
    regions: SearchRegions,
    words: SearchWords,
}

/// What an engine finds.
struct Found {
    pairs: AllPairs,
    /// In chunks of two images, where the engine cuts.
    again: Vec<f32>,
    lists: TopK,
}

impl<'a> Given<'a> {
    fn new(running: &'a Running, sample: &Sample) -> anyhow::Result<Self> {
        let search = Search::on(&Matcher::new(Default::default())?, 0.0, running)?;
        let mut regions = search.regions(sample.regions.width())?;
        regions.push(&sample.regions)?;
        let mut words = search.words(sample.words.width())?;
        words.push(&sample.words)?;
        Ok(Self {
            running,
            regions: regions.finish()?,
            words: words.finish()?,
        })
    }

    fn found(&self, matcher: &Matcher, threshold: f64) -> anyhow::Result<Found> {
        let (regions, words) = (&self.regions, &self.words);
        let captions = words.captions();
        let search = Search::on(matcher, threshold, self.running)?;
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
}

impl Found {
    fn compared(&self, judge: &AllPairs, captions: usize, what: &str) -> [Check; 4] {
        let expected: Vec<f64> = judge.values.iter().copied().map(f64::from).collect();
        let values = &self.pairs.values;
        let rows = values.chunks(captions).map(|row| best(row.iter()));
        let columns = (0..captions).map(|caption| best(values[caption..].iter().step_by(captions)));
        [
            Check {
                name: format!("{what}: similarities"),
                found: largest_difference(values, &expected),
                limit: LIMIT,
            },
            exactly(format!("{what}: counts"), self.pairs.kept == judge.kept),
            exactly(
                format!("{what}: the same bytes again"),
                bits(values) == bits(&self.again),
            ),
            exactly(
                format!("{what}: lists"),
                self.lists.kept == judge.kept
                    && rows.eq(self.lists.captions_of_images.iter().cloned())
                    && columns.eq(self.lists.images_of_captions.iter().cloned()),
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
