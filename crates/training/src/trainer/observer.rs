//! The events of a training run, and the trait that receives them.

use std::path::PathBuf;

use crate::evaluation::Stage;
use uard_report::record::{EpochRecord, StepRecord};

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The first step is about to be taken.
    Started {
        /// Number of steps of the whole run.
        steps: usize,
        /// Number of steps of an epoch.
        steps_per_epoch: usize,
        /// Number of epochs of the whole run.
        epochs: usize,
        /// Number of steps taken before a resumed run.
        from_step: usize,
        /// Number of trained numbers in all parameters.
        parameters: usize,
        /// Size of the vocabulary.
        words: usize,
        /// How many words have a vector in `text.word_vectors`, where that is given.
        word_vectors: Option<usize>,
    },
    /// A step was taken.
    Step(StepRecord),
    /// An evaluation has made progress.
    Evaluating {
        /// Name of the split.
        split: String,
        /// The stage of the evaluation.
        stage: Stage,
        /// Number of images and captions, or of pairs, that are done.
        done: usize,
        /// Total number of images and captions, or of pairs.
        total: usize,
    },
    /// An epoch has ended.
    Epoch(Box<EpochRecord>),
    /// A checkpoint was written.
    Saved {
        /// Directory of the checkpoint.
        path: PathBuf,
    },
    /// Something looks wrong; the run continues.
    Warning {
        /// What looks wrong, and what to do about it.
        message: String,
    },
}

/// Receives the events of a run. Events of an evaluation come from any of its threads, one at a
/// time.
pub trait Observer: Send {
    /// Called with each event when it happens.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}
