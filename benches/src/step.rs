//! A training step on random features and captions with the sizes of a real run.

use std::time::Instant;

use candle_core::Device;
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{ImageFeatures, Model};
use uard_relevance::ThresholdLearner;
use uard_training::batches::Batch;
use uard_training::config::TrainConfig;
use uard_training::negatives::{Negatives, Pairing};
use uard_training::optimizer::Optimizer;
use uard_training::trainer::step::{PreparedBatch, StepOptions, batch_gradients};

use crate::workload::{self, REGIONS};

/// The share of queries, words and regions together, that have a cell above the threshold.
const KEPT: f64 = 1.0 / 3.0;

/// The configuration of a real run, and the sizes of its data.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A configuration of this repository, with the attention of the peers.
    pub config: TrainConfig,
    /// Width of a region's features.
    pub features: usize,
    /// The approximate number of words in the vocabulary.
    pub vocabulary: usize,
}

impl Setup {
    /// `configs/flickr8k.toml`, with features of a convolutional network's grid.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn flickr8k() -> anyhow::Result<Self> {
        let text = include_str!("../../configs/flickr8k.toml");
        Ok(Self {
            config: as_peers_train(text, "configs/flickr8k.toml")?,
            features: 1280,
            vocabulary: 3000,
        })
    }

    /// `configs/flickr30k.toml`, with bottom-up features and the size of SCAN's vocabulary.
    ///
    /// # Errors
    /// If the configuration is invalid.
    #[cfg(any(feature = "cuda", test))]
    pub fn flickr30k() -> anyhow::Result<Self> {
        let text = include_str!("../../configs/flickr30k.toml");
        Ok(Self {
            config: as_peers_train(text, "configs/flickr30k.toml")?,
            features: 2048,
            vocabulary: 8481,
        })
    }
}

/// Reads a configuration and sets the attention that the peers have: UARDA's rule (`masked`) with inverse
/// temperature 10. No words or regions are left out in training.
fn as_peers_train(text: &str, origin: &str) -> anyhow::Result<TrainConfig> {
    let mut config = TrainConfig::from_toml(text, origin)?;
    config.apply_sets([
        "matcher.rule=masked",
        "matcher.inverse_temperature=10",
        "training.omit_words=0",
        "training.omit_regions=0",
    ])?;
    Ok(config)
}

/// A model, its optimizer, and one batch.
#[derive(Debug)]
pub struct Step<'a> {
    config: &'a TrainConfig,
    model: Model,
    optimizer: Optimizer,
    features: ImageFeatures,
    captions: Vec<Vec<u32>>,
    threshold: f64,
    learner: ThresholdLearner,
    taken: usize,
}

impl<'a> Step<'a> {
    /// A new model on a device, and a threshold that keeps a third of the batch's queries.
    ///
    /// # Errors
    /// If candle fails.
    pub fn new(setup: &'a Setup, device: &Device) -> anyhow::Result<Self> {
        let Setup {
            config,
            features: width,
            vocabulary: words,
        } = setup;
        let (width, words) = (*width, *words);
        let draws = Draws::new(0);
        let batch = config.training.batch;
        let names: Vec<String> = (0..words).map(|word| format!("word{word}")).collect();
        let vocabulary = Vocabulary::build(names.iter().map(String::as_str), 1);
        let text = TextModel::from_vocabulary(vocabulary, None, 64);
        let model = Model::new(&config.model(), width, text, &draws, device)?;
        let features = ImageFeatures {
            values: normal(
                &mut draws.stream("features", &[]),
                1.0,
                batch * REGIONS * width,
            ),
            counts: vec![REGIONS; batch],
            regions: REGIONS,
            width,
        };
        let captions = workload::word_ids(batch, words, &draws);
        let regions = model.encode_features(features.clone())?.detach();
        let words = model.encode_captions(&captions, None)?.detach();
        Ok(Self {
            config,
            optimizer: Optimizer::new(&config.optimizer, model.parameters())?,
            threshold: workload::threshold_keeping(KEPT, &regions, &words)?,
            learner: ThresholdLearner::new(config.threshold.clone())?,
            model,
            features,
            captions,
            taken: 0,
        })
    }

    /// Waits until the device has finished.
    fn wait(&self) -> anyhow::Result<()> {
        Ok(self.model.parameters().device().synchronize()?)
    }

    /// A copy of the batch, in the form in which the trainer reads it. The copy is not timed.
    fn prepared(&self) -> PreparedBatch {
        let entries: Vec<usize> = (0..self.captions.len()).collect();
        PreparedBatch {
            batch: Batch {
                captions: entries.clone(),
                images: entries.clone(),
                pairing: Pairing::new(entries),
            },
            features: self.features.clone(),
            captions: self.captions.clone(),
        }
    }

    /// Takes a step without reading: encoders, matcher, loss, backward, Adam. Returns its seconds, until
    /// the device has finished.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite.
    pub fn take(&mut self, negatives: Negatives) -> anyhow::Result<f64> {
        self.taken += 1;
        let prepared = self.prepared();
        let options = StepOptions {
            threshold: self.threshold,
            negatives,
            step: self.taken,
            learner: Some(&self.learner),
        };
        self.wait()?;
        let begun = Instant::now();
        let found = batch_gradients(&self.model, prepared, self.config, options)?;
        let parameters = self.model.parameters();
        self.optimizer.step(parameters, &found.gradients, 1.0)?;
        self.wait()?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_sizes_of_its_setup_and_returns_its_seconds() {
        let mut setup = Setup::flickr30k().unwrap();
        assert_eq!(setup.config.training.batch, 128);
        assert_eq!(setup.config.model.joint_width, 1024);
        setup.config.training.batch = 3;
        setup.config.model.joint_width = 8;
        setup.config.text.word_width = 4;
        setup.features = 6;
        setup.vocabulary = 20;
        let mut step = Step::new(&setup, &Device::Cpu).unwrap();
        assert_eq!(step.prepared().features.values.len(), 3 * REGIONS * 6);
        assert!(step.take(Negatives::Hardest).unwrap() > 0.0);
    }
}
