//! How is the next batch read while this one is computed?

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use uard_data::dataset::Split;

use super::omission::Omission;
use super::ready::{Ready, Target};
use crate::Result;
use crate::batches::Batch;

/// Batches that are ready at most, beside the one being computed.
const READY: usize = 1;

/// Reads batches in a thread of their own, in order; the first error ends them. The omission is
/// that of the first batch's step.
///
/// The thread ends with the last batch, or when the receiver is dropped.
pub(super) fn prefetch<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    (split, captions): (&'env Split, &'env [Vec<u32>]),
    (target, omission): (&'env Target, Omission),
    batches: Vec<Batch>,
) -> Receiver<Result<Ready>> {
    let (sender, receiver) = sync_channel(READY);
    scope.spawn(move || {
        for (later, batch) in batches.into_iter().enumerate() {
            let omission = omission.after(later);
            let caption = |&caption: &usize| captions[caption].clone();
            let mut of_batch: Vec<Vec<u32>> = batch.captions.iter().map(caption).collect();
            omission.omit_words(&mut of_batch);
            let ready = target.read(&split.regions, (batch, of_batch), &omission);
            let failed = ready.is_err();
            if sender.send(ready).is_err() || failed {
                break;
            }
        }
    });
    receiver
}
