//! Events of a run, and the trait of what is told about them.

use std::path::PathBuf;

use crate::evaluation::Stage;
use uard_report::record::{EpochRecord, StepRecord};

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The first step is about to be taken.
    Started {
        /// Steps of the whole run.
        steps: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Epochs of the whole run.
        epochs: usize,
        /// Steps taken before, in a run that continues.
        from_step: usize,
        /// Trained numbers.
        parameters: usize,
        /// Words of the vocabulary.
        words: usize,
        /// How many of them have a vector in `text.word_vectors`, where that is given.
        word_vectors: Option<usize>,
    },
    /// A step was taken.
    Step(StepRecord),
    /// Part of an evaluation is done.
    Evaluating {
        /// The split.
        split: String,
        /// Which part.
        stage: Stage,
        /// Images and captions, or pairs, done.
        done: usize,
        /// All of them.
        total: usize,
    },
    /// An epoch has ended.
    Epoch(Box<EpochRecord>),
    /// A checkpoint was written.
    Saved {
        /// Where.
        path: PathBuf,
    },
    /// Something looks wrong; the run goes on.
    Warning {
        /// What, and what to do about it.
        message: String,
    },
}

/// Watches a run. An evaluation tells it from any of its threads, one at a time.
pub trait Observer: Send {
    /// Is told each event as it happens.
    fn on_event(&mut self, event: &Event);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&mut self, _event: &Event) {}
}

impl<F: FnMut(&Event) + Send> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}
