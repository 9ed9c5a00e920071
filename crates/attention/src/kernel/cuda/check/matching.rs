//! Similarities, counts and lists of the matching kernels.

use std::sync::Arc;

use uard_core::gpu::Machine;

use super::judge::{Judge, judged};
use super::{FORWARD_LIMIT, bits, exactly, precisions};
use crate::kernel::check::sample::{Sample, batches, matchers};
use crate::kernel::check::{Check, Extent, OnCheck};
use crate::kernel::cuda::{DeviceRegions, DeviceSearch, DeviceWords};
use crate::search::{Ranked, TopK, offer};
use crate::{Kept, Matcher, Result, WeightRule};

/// How long the lists are that are asked for.
const LISTED: usize = 3;

/// Checks matching: similarities, counts and lists, of every rule, in both precisions.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn matching<M: Machine>(machine: &Arc<M>, extent: Extent, on_check: OnCheck<'_>) -> Result<()> {
    for (at, counts) in batches(extent) {
        let sample = Sample::new(at, &counts)?;
        for &half in precisions(extent) {
            let judge = Judge::new(&sample, half)?;
            let given = Given {
                regions: DeviceRegions::copied(&**machine, &sample.regions, half)?,
                words: DeviceWords::copied(&**machine, &sample.words, half)?,
                threshold: judge.threshold(),
                totals: Kept::of_totals(sample.regions.counts(), sample.words.counts()),
            };
            let mut kept = Vec::new();
            for matcher in matchers(&WeightRule::ALL, extent)? {
                let found = Found::new(machine, &given, &matcher)?;
                if matcher.config().rule.takes_threshold() {
                    kept.push(found.kept);
                }
                let what = format!(
                    "match {} {:?}, batch {at}, {half:?}",
                    matcher.config().rule,
                    matcher.config().sides
                );
                let compared = found.compared(&judge, &given, &matcher, &what);
                compared.into_iter().for_each(&mut *on_check);
            }
            // A relevance depends on its row and its column alone, and so does what it counts for.
            on_check(exactly(
                format!("match counts, batch {at}, {half:?}: the same by all rules and sides"),
                kept.windows(2).all(|pair| pair[0] == pair[1]),
            ));
        }
    }
    Ok(())
}

/// What the kernels are given, and how much of it there is.
struct Given<M: Machine> {
    regions: DeviceRegions<M>,
    words: DeviceWords<M>,
    threshold: f64,
    totals: Kept,
}

/// What the kernels find.
struct Found {
    /// [I, C].
    values: Vec<f32>,
    kept: Kept,
    /// In chunks of two images.
    again: Vec<f32>,
    lists: TopK,
}

impl Found {
    fn new<M: Machine>(machine: &Arc<M>, given: &Given<M>, matcher: &Matcher) -> Result<Self> {
        let sides = (&given.regions, &given.words);
        let captions = given.words.counts().len();
        let search = || DeviceSearch::new(Arc::clone(machine), matcher, given.threshold);
        let mut values = vec![f32::NAN; given.regions.counts().len() * captions];
        let mut again = values.clone();
        let kept = search()?.similarities_into(sides, &mut values, &|_, _| ())?;
        let chunked = search()?.with_pairs_at_once(2 * captions);
        chunked.similarities_into(sides, &mut again, &|_, _| ())?;
        Ok(Self {
            values,
            kept,
            again,
            lists: chunked.top_k(sides, LISTED, &|_, _| ())?,
        })
    }

    fn compared<M: Machine>(
        &self,
        judge: &Judge<'_>,
        given: &Given<M>,
        matcher: &Matcher,
        what: &str,
    ) -> [Check; 4] {
        let config = matcher.config();
        let verdict = judged(&judge.expectations(config, given.threshold), &self.values);
        let captions = given.words.counts().len();
        [
            Check {
                name: format!("{what}: similarities"),
                found: verdict.difference,
                limit: FORWARD_LIMIT,
            },
            exactly(
                format!("{what}: counts"),
                verdict.allows(config, self.kept, given.totals),
            ),
            exactly(
                format!("{what}: the same bytes in chunks"),
                bits(&self.values) == bits(&self.again),
            ),
            exactly(
                format!("{what}: lists"),
                self.lists == listed(&self.values, captions, LISTED, self.kept),
            ),
        ]
    }
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
