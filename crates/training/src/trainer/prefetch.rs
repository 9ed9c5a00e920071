//! How is the next batch read while this one is computed?

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use uard_features::dataset::Split;

use super::step::Prepared;
use crate::Result;
use crate::batches::Batch;
use crate::model::ImageFeatures;

/// Batches that are ready at most, beside the one being computed.
const READY: usize = 1;

/// Reads batches in a thread of their own, in order; the first error ends them.
///
/// The thread ends with the last batch, or when the receiver is dropped.
pub(super) fn prefetch<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    split: &'env Split,
    captions: &'env [Vec<u32>],
    batches: Vec<Batch>,
) -> Receiver<Result<Prepared>> {
    let (sender, receiver) = sync_channel(READY);
    scope.spawn(move || {
        for batch in batches {
            let prepared = prepare(split, captions, batch);
            let failed = prepared.is_err();
            if sender.send(prepared).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// Reads everything that a batch needs.
fn prepare(split: &Split, captions: &[Vec<u32>], batch: Batch) -> Result<Prepared> {
    let features = ImageFeatures::read(&split.regions, &batch.images)?;
    let captions = batch
        .captions
        .iter()
        .map(|&caption| captions[caption].clone())
        .collect();
    Ok(Prepared {
        batch,
        features,
        captions,
    })
}
