//! The end of an epoch: evaluates on dev, updates the best epoch, writes log line and checkpoint.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Session;
use crate::Result;
use crate::checkpoint::{BestEpoch, EpochSums};
use crate::evaluation::{EvaluationOptions, evaluate};
use crate::schedule::factor_at;
use crate::trainer::observer::{Event, Observer};
use uard_report::record::{EpochRecord, Fit, Hills, LogLine, SplitRecord};

impl Session<'_> {
    pub(super) fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let started = Instant::now();
        let dev = self.evaluate_dev(observer)?;
        self.epoch_seconds += started.elapsed().as_secs_f64();
        let record = self.epoch_record(dev);
        self.state.epochs.push(EpochRecord {
            seconds: 0.0,
            ..record.clone()
        });
        self.choose_best(&record);
        self.state.running = EpochSums::default();
        self.state.epoch += 1;
        self.state.batch = 0;
        self.epoch_seconds = 0.0;
        self.epochs.push(record.clone());
        self.log.append(&LogLine::Epoch(Box::new(record.clone())))?;
        observer.on_event(&Event::Epoch(Box::new(record)));
        self.warn_of_unchanged_threshold(observer);
        self.save(observer)
    }

    fn evaluate_dev(&self, observer: &mut dyn Observer) -> Result<SplitRecord> {
        let threshold = self.run.config.evaluation.threshold;
        let threshold = threshold.resolve(self.learner.learned());
        let split = &self.run.dev.name;
        let observer = Mutex::new(observer);
        let on_progress = |stage, done, total| {
            // The lock is poisoned only if an observer panicked, and that panic is propagated.
            let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
            observer.on_event(&Event::Evaluating {
                split: split.clone(),
                stage,
                done,
                total,
            });
        };
        let precision = self.run.config.evaluation.precision;
        let device = self.model.parameters().device();
        let options = EvaluationOptions::fastest(threshold, precision, device)?;
        let dev = self.run.dev;
        Ok(evaluate(&self.model, dev, &options, &on_progress)?.record)
    }

    fn epoch_record(&self, dev: SplitRecord) -> EpochRecord {
        let config = self.run.config;
        let last_step = self.state.step.saturating_sub(1);
        let factor = factor_at(&config.schedule, last_step, self.scheduled_steps());
        let running = &self.state.running;
        let learner = self.learner.learned();
        let accepted = learner.accepted();
        let fit = |mean, std| Fit { mean, std };
        EpochRecord {
            epoch: self.state.epoch,
            step: self.state.step,
            loss: running.loss / running.steps.max(1) as f64,
            threshold: self.model.matcher().config().threshold(learner.threshold()),
            learning_rate: config.optimizer.learning_rate * factor,
            hills: Hills {
                relevant_fit: accepted.map(|a| fit(a.relevant.mean(), a.relevant.std())),
                irrelevant_fit: accepted.map(|a| fit(a.irrelevant.mean(), a.irrelevant.std())),
                ..running.hills.clone()
            },
            dev,
            seconds: self.epoch_seconds,
        }
    }

    fn choose_best(&mut self, record: &EpochRecord) {
        let rsum = record.dev.retrieval.rsum;
        if self.state.best.is_none_or(|best| rsum > best.rsum) {
            self.state.best = Some(BestEpoch {
                epoch: record.epoch,
                step: record.step,
                rsum,
            });
            self.state.epochs_without_gain = 0;
        } else {
            self.state.epochs_without_gain += 1;
        }
    }

    fn warn_of_unchanged_threshold(&self, observer: &mut dyn Observer) {
        let learner = self.learner.learned();
        if !self.run.config.matcher.rule.takes_threshold() || learner.updates() > 0 {
            return;
        }
        let reasons: Vec<String> = learner
            .kept()
            .iter()
            .map(|(reason, times)| format!("{reason} ({times})"))
            .collect();
        let message = format!(
            "the threshold still has its first value, because no step could update it: {}. With \
             small batches lower threshold.minimum_samples",
            reasons.join(", ")
        );
        observer.on_event(&Event::Warning { message });
    }
}
