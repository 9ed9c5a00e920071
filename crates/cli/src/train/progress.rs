//! Shows the progress of a training: a bar on the terminal, and a line for each epoch.

use indicatif::ProgressBar;
use uard_report::record::{EpochRecord, StepRecord};
use uard_training::evaluation::Stage;
use uard_training::trainer::{Event, Observer};

use crate::tables::percent;
use crate::terminal::{bar_with_message, note, print};

const HEADER: &str = "epoch     loss       t  image to text    text to image      rsum   words regions  cells      s";

/// The stream that the lines of epochs are printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochLines {
    /// To stdout, if the lines are part of the command's result.
    ToStdout,
    /// To stderr, if the command prints its result at the end.
    ToStderr,
}

/// Shows the events of one run.
pub struct Progress {
    name: String,
    lines: EpochLines,
    bar: ProgressBar,
    epochs: usize,
}

impl Progress {
    /// The progress of a run of this name, before its first event.
    pub fn new(name: &str, lines: EpochLines) -> Self {
        Self {
            name: name.to_owned(),
            lines,
            bar: ProgressBar::hidden(),
            epochs: 0,
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, steps: usize, from_step: usize) {
        self.bar = bar_with_message(steps);
        self.bar.set_prefix(self.name.clone());
        self.bar.set_position(from_step as u64);
        self.bar.reset_eta();
    }

    fn print_line(&self, text: &str) {
        // An error of stdout does not stop the training, because the log has the same numbers.
        self.bar.suspend(|| match self.lines {
            EpochLines::ToStdout => drop(print(text)),
            EpochLines::ToStderr => note(text),
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
                    step => format!(", continued at step {step}"),
                };
                let vectors = match word_vectors {
                    Some(found) => format!(", {found} of them with a given vector"),
                    None => String::new(),
                };
                self.print_line(&format!(
                    "\n{}: {epochs} epochs of {steps_per_epoch} steps{begun}; {parameters} \
                     parameters, {words} words{vectors}; R@1, R@5 and R@10 of dev and the kept words, \
                     regions and cells in percent\n\
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
            Event::Epoch(record) => self.print_line(&epoch_line(record)),
            Event::Warning { message } => {
                self.bar.suspend(|| note(&format!("warning: {message}")));
            }
            _ => {}
        }
    }
}

/// The name of a stage of an evaluation beside its bar.
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
