//! What is seen while a model trains? A bar on the terminal, a line for each epoch.

use indicatif::ProgressBar;
use uard_report::record::{EpochRecord, StepRecord};
use uard_training::evaluation::Stage;
use uard_training::trainer::{Event, Observer};

use crate::tables::percent;
use crate::terminal::{bar_with_message, note, print};

const HEADER: &str = "epoch     loss       t  image to text    text to image      rsum   words regions  cells      s";

/// Where the line of an epoch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// To stdout: it is part of the result.
    Result,
    /// To stderr: the result comes later.
    Notes,
}

/// Shows the events of one run.
pub struct Progress {
    name: String,
    lines: Lines,
    bar: ProgressBar,
    epochs: usize,
}

impl Progress {
    /// For a run of this name.
    pub fn new(name: &str, lines: Lines) -> Self {
        Self {
            name: name.to_owned(),
            lines,
            bar: ProgressBar::hidden(),
            epochs: 0,
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, steps: usize, from_step: usize) {
        self.bar = bar_with_message(steps);
        self.bar.set_prefix(self.name.clone());
        self.bar.set_position(from_step as u64);
        self.bar.reset_eta();
    }

    fn say(&self, text: &str) {
        // A table that cannot be printed stops no training; the log has the same numbers.
        self.bar.suspend(|| match self.lines {
            Lines::Result => drop(print(text)),
            Lines::Notes => note(text),
        });
    }

    fn step(&self, record: &StepRecord) {
        self.bar.set_position(record.step as u64);
        self.bar.set_message(format!(
            "epoch {}/{} loss {:.1} t {:.3} lr {:.1e}",
            record.epoch, self.epochs, record.loss, record.threshold, record.learning_rate
        ));
    }
}

impl Observer for Progress {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Started {
                steps,
                steps_per_epoch,
                epochs,
                from_step,
                parameters,
                words,
                word_vectors,
            } => {
                self.epochs = *epochs;
                self.start(*steps, *from_step);
                let begun = match from_step {
                    0 => String::new(),
                    step => format!(", from step {step} on"),
                };
                let vectors = match word_vectors {
                    Some(found) => format!(", {found} of them with a given vector"),
                    None => String::new(),
                };
                self.say(&format!(
                    "\n{}: {epochs} epochs of {steps_per_epoch} steps{begun}; {parameters} \
                     parameters, {words} words{vectors}; recall and what is kept in percent\n\
                     {HEADER}",
                    self.name
                ));
            }
            Event::Step(record) => self.step(record),
            Event::Evaluating {
                split,
                stage,
                done,
                total,
            } => {
                let share = percent(*done as f64 / (*total).max(1) as f64);
                let stage = stage_name(*stage);
                self.bar.set_message(format!("{stage} {split}, {share} %"));
            }
            Event::Epoch(record) => self.say(&epoch_line(record)),
            Event::Warning { message } => {
                self.bar.suspend(|| note(&format!("warning: {message}")));
            }
            _ => {}
        }
    }
}

/// What a bar calls a part of an evaluation.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Encoding => "encoding",
        Stage::Matching => "matching",
    }
}

fn epoch_line(record: &EpochRecord) -> String {
    let retrieval = &record.dev.retrieval;
    let (images, captions) = (&retrieval.image_to_text, &retrieval.text_to_image);
    let kept = &record.dev.kept;
    format!(
        "{:>5} {:>8.2} {:>7.4}  {:>4.1} {:>4.1} {:>4.1}   {:>4.1} {:>4.1} {:>4.1}  {:>8.1}  {:>6} {:>7} {:>6} {:>6.1}",
        record.epoch,
        record.loss,
        record.threshold,
        images.r1,
        images.r5,
        images.r10,
        captions.r1,
        captions.r5,
        captions.r10,
        retrieval.rsum,
        percent(kept.word_queries),
        percent(kept.region_queries),
        percent(kept.cells),
        record.seconds
    )
}
