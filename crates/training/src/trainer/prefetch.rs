//! Reads the next batch in a thread of its own while the current one is computed.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use uard_data::dataset::Split;

use super::omission::Omission;
use super::ready::{FeatureReader, LoadedBatch};
use crate::Result;
use crate::batches::Batch;

/// Largest number of batches that are read ahead of the one being computed.
const AHEAD: usize = 1;

/// Reads the captions and features of batches.
pub(super) struct BatchReader<'a> {
    /// The split that is trained on.
    pub(super) split: &'a Split,
    /// Word ids of every caption of the split.
    pub(super) captions: &'a [Vec<u32>],
    pub(super) features: &'a FeatureReader,
    /// The omission for the step of the first batch.
    pub(super) omission: Omission,
}

impl BatchReader<'_> {
    /// Reads the batch that comes `later` batches after the first.
    fn read(&self, batch: Batch, later: usize) -> Result<LoadedBatch> {
        let omission = self.omission.after(later);
        let caption = |&caption: &usize| self.captions[caption].clone();
        let mut captions: Vec<Vec<u32>> = batch.captions.iter().map(caption).collect();
        omission.omit_words(&mut captions);
        let regions = &self.split.regions;
        self.features.read(regions, batch, captions, &omission)
    }
}

/// Starts a thread that reads batches in order.
///
/// The thread ends after the last batch, after the first error, or when the receiver is dropped.
pub(super) fn prefetch<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    reader: BatchReader<'env>,
    batches: Vec<Batch>,
) -> Receiver<Result<LoadedBatch>> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        for (later, batch) in batches.into_iter().enumerate() {
            let loaded = reader.read(batch, later);
            let failed = loaded.is_err();
            if sender.send(loaded).is_err() || failed {
                break;
            }
        }
    });
    receiver
}
