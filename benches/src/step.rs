//! What does a step of the real run work on? Made-up features and captions of Flickr8k's shape.

use candle_core::Device;
use uard_core::random::{Draws, normal};
use uard_features::text::encoder::TextStart;
use uard_features::text::tokenizer::CaptionTokenizer;
use uard_features::text::vocabulary::Vocabulary;
use uard_training::batches::Batch;
use uard_training::config::TrainConfig;
use uard_training::model::{ImageFeatures, Model};
use uard_training::negatives::{Negatives, Pairing};
use uard_training::optimizer::Optimizer;
use uard_training::trainer::step::{Judgement, Prepared, batch_gradients};

use crate::workload::{self, REGIONS};

const CONFIG: &str = include_str!("../../configs/flickr8k.toml");

/// Width of a region's features in Flickr8k's grid of a convolutional network.
pub const FEATURES: usize = 1280;

/// Words that Flickr8k's captions use four times or more, about.
pub const VOCABULARY: usize = 3000;

/// Queries, words and regions together, that have an answer.
const KEPT: f64 = 1.0 / 3.0;

/// The settings of the real run, `configs/flickr8k.toml`.
///
/// # Errors
/// When they are not understood.
pub fn config() -> anyhow::Result<TrainConfig> {
    Ok(TrainConfig::from_toml(CONFIG, "configs/flickr8k.toml")?)
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
    taken: usize,
}

impl<'a> Step<'a> {
    /// A fresh model on a device, and a threshold that leaves a third of the batch's queries.
    ///
    /// # Errors
    /// When candle refuses a tensor.
    pub fn new(config: &'a TrainConfig, device: &Device) -> anyhow::Result<Self> {
        let draws = Draws::new(0);
        let batch = config.training.batch;
        let names: Vec<String> = (0..VOCABULARY).map(|word| format!("word{word}")).collect();
        let vocabulary = Vocabulary::build(names.iter().map(String::as_str), 1);
        let tokenizer = CaptionTokenizer::Vocabulary(vocabulary);
        let text = (&tokenizer, &TextStart::Drawn);
        let model = Model::new(config, FEATURES, text, device)?;
        let features = ImageFeatures {
            values: normal(
                &mut draws.stream("features", &[]),
                1.0,
                batch * REGIONS * FEATURES,
            ),
            counts: vec![REGIONS; batch],
            regions: REGIONS,
            width: FEATURES,
        };
        let captions = workload::word_ids(batch, VOCABULARY, &draws);
        let regions = model.encode_features(features.clone())?.detach();
        let words = model.encode_captions(&captions, None)?.detach();
        Ok(Self {
            config,
            optimizer: Optimizer::new(&config.optimizer, model.parameters())?,
            threshold: workload::threshold_keeping(KEPT, &regions, &words)?,
            model,
            features,
            captions,
            taken: 0,
        })
    }

    /// Waits until the device has done what it was asked for.
    ///
    /// # Errors
    /// When it failed.
    pub fn wait(&self) -> anyhow::Result<()> {
        Ok(self.model.parameters().device().synchronize()?)
    }

    /// Takes a step, all but the reading: encoders, matcher, loss, backward, Adam.
    ///
    /// # Errors
    /// When something is not finite.
    pub fn take(&mut self, negatives: Negatives) -> anyhow::Result<()> {
        self.taken += 1;
        let entries: Vec<usize> = (0..self.captions.len()).collect();
        let prepared = Prepared {
            batch: Batch {
                captions: entries.clone(),
                images: entries.clone(),
                pairing: Pairing::new(entries),
            },
            features: self.features.clone(),
            captions: self.captions.clone(),
        };
        let judgement = Judgement {
            threshold: self.threshold,
            negatives,
            step: self.taken,
        };
        let found = batch_gradients(&self.model, prepared, self.config, judgement)?;
        let parameters = self.model.parameters();
        self.optimizer.step(parameters, &found.gradients, 1.0)?;
        Ok(())
    }
}
