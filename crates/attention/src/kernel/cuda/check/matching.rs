//! Similarities, counts and lists of the matching kernels.

use std::sync::Arc;

use uard_core::gpu::Machine;

use super::judge::{counted, threshold_between};
use super::{FORWARD_LIMIT, bits, exactly, rounded};
use crate::composed::{self, Batch};
use crate::kernel::check::sample::{Sample, batches, matchers};
use crate::kernel::check::{Check, Extent, largest_difference};
use crate::kernel::cuda::{DeviceRegions, DeviceSearch, DeviceWords, Half};
use crate::search::{Ranked, TopK, offer};
use crate::{Kept, Matcher, Result, WeightRule};

/// Checks matching: similarities, counts and lists, of every rule, in both precisions.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn matching<M: Machine>(machine: &Arc<M>, extent: Extent) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (at, counts) in batches(extent).iter().enumerate() {
        let sample = Sample::new(at as u64, counts)?;
        for half in [Half::Bf16, Half::F16] {
            let batch = sample.batch(rounded(half))?;
            for matcher in matchers(&WeightRule::ALL)? {
                let what = format!(
                    "match {} {:?}, batch {at}, {half:?}",
                    matcher.config().rule,
                    matcher.config().sides
                );
                checks.extend(one_matching(
                    machine,
                    &matcher,
                    (&sample, &batch, half),
                    &what,
                )?);
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
        exactly(
            format!("{what}: counts"),
            kept == counted(batch, matcher, (sample, threshold))?,
        ),
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
