//! Which numbers of a transformer does a training step leave out? Each place has its own stream of
//! draws.

use uard_core::random::{Draws, Stream};

/// The draws of one training step.
///
/// They depend on the seed, the step and the place in the batch: a resumed run drops the same.
#[derive(Debug, Clone, Copy)]
pub struct Drops<'a> {
    /// The draws of the run.
    pub draws: &'a Draws,
    /// What tells this step from all others, as epoch and step.
    pub step: &'a [u64],
}

impl Drops<'_> {
    /// The stream of one of a model's places.
    pub(crate) fn stream(self, label: &'static str, place: u64) -> Stream {
        let indices: Vec<u64> = self.step.iter().copied().chain([place]).collect();
        self.draws.stream(label, &indices)
    }
}
