//! The state of a run in memory, and the steps of an epoch: forward, backward, optimizer,
//! threshold, log, checkpoint.

mod beginning;
mod epoch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use uard_core::random::Draws;
use uard_model::{Checkpoint, CheckpointDirectory, Model};
use uard_relevance::{Samples, ThresholdLearner};

use beginning::{first_state, write_text};

use super::observer::{Event, Observer};
use super::omission::Omission;
use super::prefetch::{BatchReader, prefetch};
use super::ready::{FeatureReader, LoadedBatch};
use super::step::{BatchGradients, StepOptions};
use super::{Run, Start, Summary};
use crate::batches::Batches;
use crate::checkpoint::{TrainState, expect_config, optimizer, point_and_prune, save};
use crate::loss::collapsed_value;
use crate::negatives::Negatives;
use crate::optimizer::Optimizer;
use crate::run_log::RunLog;
use crate::schedule::factor_at;
use crate::text::{cut_captions, text_model};
use crate::{Error, Result};
use uard_report::record::{EpochRecord, LogLine, RunRecord, StepRecord};

/// Number of steps in a row near the collapsed loss after which a warning is sent.
const COLLAPSED_STEPS: usize = 50;

/// A loss this near to the collapsed loss, as a fraction of it, counts as collapsed. The loss of a
/// model that has not collapsed differs by more.
const COLLAPSED_NEARNESS: f64 = 0.01;

/// Model, optimizer and state of a run between two steps.
pub(super) struct Session<'a> {
    run: &'a Run<'a>,
    model: Model,
    optimizer: Optimizer,
    learner: ThresholdLearner,
    /// The state as it is written to checkpoints. Its threshold is that of the last checkpoint;
    /// `learner` holds the one in use.
    state: TrainState,
    /// Word ids of every training caption.
    captions: Arc<Vec<Vec<u32>>>,
    features: Arc<FeatureReader>,
    batches: Batches<'a>,
    directory: CheckpointDirectory,
    log: RunLog,
    /// Finished epochs with their seconds; in the state their seconds are zero.
    epochs: Vec<EpochRecord>,
    /// Seconds of the unfinished epoch so far.
    epoch_seconds: f64,
    /// Epoch and batch of the last checkpoint.
    saved_at: Option<(usize, usize)>,
    stopped: bool,
}

impl<'a> Session<'a> {
    pub(super) fn open(run: &'a Run<'a>, start: Start) -> Result<Self> {
        let directory = CheckpointDirectory::of_run(run.directory);
        directory.recover()?;
        match (start, directory.newest()?) {
            (Start::Fresh, Some(_)) => Err(Error::RunExists {
                path: run.directory.to_path_buf(),
            }),
            (Start::Resume, Some(newest)) => {
                Self::resumed(run, &Checkpoint::open(&newest)?, &directory)
            }
            (_, None) => Self::fresh(run),
        }
    }

    fn fresh(run: &'a Run<'a>) -> Result<Self> {
        let captions = run.train.captions.iter().map(String::as_str);
        let text = text_model(run.config, run.hub, captions)?;
        let state = first_state(run, &text)?;
        let path = run.directory.join("config.toml");
        uard_files::write(&path, &state.model.config).map_err(Error::io(&path, "write"))?;
        let draws = Draws::new(run.config.training.seed);
        let width = state.model.features.width;
        let model = Model::new(&run.config.model(), width, text, &draws, run.device)?;
        let optimizer = Optimizer::new(&run.config.optimizer, model.parameters())?;
        let log = RunLog::create(run.directory)?;
        Self::assemble(run, model, optimizer, state, log)
    }

    fn resumed(
        run: &'a Run<'a>,
        checkpoint: &Checkpoint,
        directory: &CheckpointDirectory,
    ) -> Result<Self> {
        expect_config(checkpoint, run.config)?;
        let (trained, given) = (&checkpoint.state().data_hash, run.train.data_hash()?);
        let mend = "give the data directory that the run started with, or start a new run";
        checkpoint.expect("the training data", trained, given, mend)?;
        let state = TrainState::read(checkpoint, train_batches(run)?.per_epoch())?;
        let model = checkpoint.model(run.device)?;
        let optimizer = optimizer(checkpoint, run.config, &model)?;
        point_and_prune(directory, &state, run.config.training.keep_last)?;
        let (log, lines) = RunLog::resume(run.directory, state.step, state.epochs.len())?;
        let mut session = Self::assemble(run, model, optimizer, state, log)?;
        session.saved_at = Some(session.position());
        session.restore_seconds(&lines);
        Ok(session)
    }

    fn assemble(
        run: &'a Run<'a>,
        model: Model,
        optimizer: Optimizer,
        state: TrainState,
        log: RunLog,
    ) -> Result<Self> {
        write_text(model.text(), run.directory)?;
        let captions = run.train.captions.iter();
        let captions = captions
            .map(|caption| model.text().encode(caption))
            .collect::<uard_features::Result<_>>()?;
        let learner =
            ThresholdLearner::resume(run.config.threshold.clone(), state.model.threshold.clone())?
                .with_seed(run.config.training.seed);
        Ok(Self {
            run,
            model,
            optimizer,
            learner,
            epochs: state.epochs.clone(),
            state,
            captions: Arc::new(captions),
            features: Arc::new(FeatureReader::new(run.device, run.config)?),
            batches: train_batches(run)?,
            directory: CheckpointDirectory::of_run(run.directory),
            log,
            epoch_seconds: 0.0,
            saved_at: None,
            stopped: false,
        })
    }

    /// Reads the seconds of finished epochs and of the unfinished one from the log; checkpoints hold
    /// no times.
    fn restore_seconds(&mut self, lines: &[LogLine]) {
        for line in lines {
            match line {
                LogLine::Step(record) if record.epoch == self.state.epoch => {
                    self.epoch_seconds += record.seconds;
                }
                LogLine::Epoch(record) => {
                    let known = self
                        .epochs
                        .iter_mut()
                        .find(|known| known.epoch == record.epoch);
                    if let Some(known) = known {
                        known.seconds = record.seconds;
                    }
                }
                LogLine::Step(_) => {}
            }
        }
    }

    pub(super) fn announce(&self, observer: &mut dyn Observer) -> Result<()> {
        observer.on_event(&Event::Started {
            steps: self.total_steps(),
            steps_per_epoch: self.batches.per_epoch(),
            epochs: self.run.config.training.epochs,
            from_step: self.state.step,
            parameters: self.model.parameters().numbers(),
            words: self.model.text().ids(),
            word_vectors: self.model.text().word_vectors(),
        });
        for split in [self.run.train, self.run.dev] {
            if let Some(message) = cut_captions(split, self.model.text())? {
                observer.on_event(&Event::Warning { message });
            }
        }
        Ok(())
    }

    pub(super) fn is_finished(&self) -> bool {
        let patience = self.run.config.training.patience;
        let impatient = patience.is_some_and(|patience| self.state.epochs_without_gain >= patience);
        // Within an epoch (batch > 0) its evaluation has not been done.
        self.state.batch == 0 && (impatient || self.state.step >= self.total_steps())
    }

    pub(super) fn was_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the remaining steps of the epoch and evaluates, or saves when `stop` is set.
    pub(super) fn run_epoch(
        &mut self,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut batches = self.batches.epoch(self.state.epoch, self.state.batch);
        batches.truncate(self.total_steps() - self.state.step);
        let (train, captions) = (self.run.train, Arc::clone(&self.captions));
        let features = Arc::clone(&self.features);
        let reader = BatchReader {
            split: train,
            captions: &captions,
            features: &features,
            omission: Omission::new(&self.run.config.training, self.state.step + 1),
        };
        thread::scope(|scope| {
            let loaded = prefetch(scope, reader, batches);
            self.take_steps(&mut || loaded.recv().ok(), observer, stop)
        })?;
        if self.stopped {
            self.save(observer)
        } else {
            self.end_epoch(observer)
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let state = &self.state;
        let checkpoint = |step| self.directory.path().join(CheckpointDirectory::name(step));
        Summary {
            record: RunRecord {
                name: String::new(),
                config: state.model.config.clone(),
                seed: state.seed,
                device: String::new(),
                data_hash: state.model.data_hash.clone(),
                train_images: self.run.train.images(),
                train_captions: self.run.train.captions.len(),
                parameters: self.model.parameters().numbers(),
                epochs: self.epochs.clone(),
                best_epoch: state.best.map_or(0, |best| best.epoch),
                test: None,
                seconds: self.epochs.iter().map(|epoch| epoch.seconds).sum(),
            },
            step: state.step,
            best: state.best.map(|best| checkpoint(best.step)),
            latest: checkpoint(state.step),
        }
    }

    fn take_steps(
        &mut self,
        next: &mut dyn FnMut() -> Option<Result<LoadedBatch>>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<()> {
        let every = self.run.config.training.checkpoint_every;
        loop {
            if stop.load(Ordering::Relaxed) {
                self.stopped = true;
                return Ok(());
            }
            let started = Instant::now();
            let Some(loaded) = next() else {
                return Ok(());
            };
            self.take_step(loaded?, started, observer)?;
            if every > 0 && self.state.step.is_multiple_of(every) {
                self.save(observer)?;
            }
        }
    }

    fn take_step(
        &mut self,
        loaded: LoadedBatch,
        started: Instant,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let config = self.run.config;
        let captions = loaded.batch.pairing.captions();
        let options = self.step_options();
        let (threshold, negatives) = (options.threshold, options.negatives);
        let output = loaded.gradients(&self.model, config, options)?;
        let factor = factor_at(&config.schedule, self.state.step, self.scheduled_steps());
        let parameters = self.model.parameters();
        let gradient_norm = self.optimizer.step(parameters, &output.gradients, factor)?;
        if config.matcher.rule.takes_threshold() {
            self.learn_threshold(&output.samples);
        }
        self.state.step += 1;
        self.state.batch += 1;
        self.state.running.loss += output.loss;
        self.state.running.steps += 1;
        let record = StepRecord {
            epoch: self.state.epoch,
            step: self.state.step,
            loss: output.loss,
            threshold,
            learning_rate: config.optimizer.learning_rate * factor,
            gradient_norm,
            seconds: started.elapsed().as_secs_f64(),
        };
        self.epoch_seconds += record.seconds;
        self.log.append(&LogLine::Step(record.clone()))?;
        observer.on_event(&Event::Step(record));
        self.warn_of_collapse(&output, captions, negatives, observer);
        Ok(())
    }

    /// The options of the next step.
    fn step_options(&self) -> StepOptions<'_> {
        let warming_up = self.state.epoch <= self.run.config.loss.warm_up_epochs;
        let epochs = self.state.step as f64 / self.batches.per_epoch().max(1) as f64;
        let config = self.run.config;
        let threshold = config.threshold.in_use(self.learner.threshold(), epochs);
        StepOptions {
            threshold: self.model.matcher().config().threshold(threshold),
            negatives: if warming_up {
                Negatives::All
            } else {
                Negatives::Hardest
            },
            step: self.state.step + 1,
            learner: config
                .matcher
                .rule
                .takes_threshold()
                .then_some(&self.learner),
        }
    }

    fn learn_threshold(&mut self, samples: &Samples) {
        // The learner counts the updates that could not change the threshold, by reason. If no
        // update could, a warning at the end of the epoch lists the reasons.
        let _ = self.learner.update(samples);
        let hills = &mut self.state.running.hills;
        hills.relevant.add(&samples.relevant);
        hills.irrelevant.add(&samples.irrelevant);
    }

    /// Counts the steps in a row whose loss is near that of a collapsed model, and warns once.
    fn warn_of_collapse(
        &mut self,
        output: &BatchGradients,
        captions: usize,
        negatives: Negatives,
        observer: &mut dyn Observer,
    ) {
        let collapsed = collapsed_value(&self.run.config.loss, captions);
        let near = (output.loss - collapsed).abs() <= COLLAPSED_NEARNESS * collapsed;
        if negatives == Negatives::All || !near {
            self.state.collapsed_steps = 0;
            return;
        }
        self.state.collapsed_steps += 1;
        if self.state.collapsed_steps == COLLAPSED_STEPS {
            let cause = if output
                .similarities
                .iter()
                .all(|&similarity| similarity == 0.0)
            {
                "no relevance is above the threshold, so all gradients are zero. Raise \
                 threshold.minimum_samples, lengthen"
            } else {
                "all similarities are equal. Lengthen"
            };
            let message = format!(
                "the loss has been within 1 % of {collapsed:.1} (2 x margin x batch, the loss of \
                 equal similarities) for {COLLAPSED_STEPS} steps: {cause} loss.warm_up_epochs or \
                 lower optimizer.learning_rate"
            );
            observer.on_event(&Event::Warning { message });
        }
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.saved_at == Some(self.position()) {
            return Ok(());
        }
        self.log.sync()?;
        let keep_last = self.run.config.training.keep_last;
        self.state.model.threshold = self.learner.learned().clone();
        let (model, optimizer) = (&self.model, &self.optimizer);
        let path = save(&self.directory, model, optimizer, &self.state, keep_last)?;
        self.saved_at = Some(self.position());
        observer.on_event(&Event::Saved { path });
        Ok(())
    }

    /// Epoch and batch of the next step.
    fn position(&self) -> (usize, usize) {
        (self.state.epoch, self.state.batch)
    }

    /// Number of steps of all epochs. The schedule covers these, also where
    /// `training.maximum_steps` ends the run earlier.
    fn scheduled_steps(&self) -> usize {
        self.run.config.training.epochs * self.batches.per_epoch()
    }

    fn total_steps(&self) -> usize {
        let limit = self.run.config.training.maximum_steps.unwrap_or(usize::MAX);
        self.scheduled_steps().min(limit)
    }
}

fn train_batches<'a>(run: &Run<'a>) -> Result<Batches<'a>> {
    let draws = Draws::new(run.config.training.seed);
    let batch = run.config.training.batch;
    Batches::new(&run.train.image_of_caption, batch, draws, &run.train.name)
}
