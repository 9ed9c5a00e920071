//! What does a whole training step cost, on made-up data of Flickr8k's shape?

use candle_core::Device;
use uard_benches::workload::{self, REGIONS};
use uard_core::random::{Draws, normal};
use uard_features::text::vocabulary::Vocabulary;
use uard_training::batches::Batch;
use uard_training::config::TrainConfig;
use uard_training::model::{ImageFeatures, Model};
use uard_training::negatives::{Negatives, Pairing};
use uard_training::optimizer::Optimizer;
use uard_training::trainer::step::{Judgement, Prepared, batch_gradients};

use crate::race::{self, Contestant};
use crate::report::{Race, Row};
use crate::suites::{Found, Setting};

/// The settings of the real run.
const CONFIG: &str = include_str!("../../../../configs/flickr8k.toml");

/// Width of a region's features in Flickr8k's grid of a convolutional network.
const FEATURES: usize = 1280;

/// Words that Flickr8k's captions use four times or more, about.
const VOCABULARY: usize = 3000;

/// Queries, words and regions together, that have an answer.
const KEPT: f64 = 1.0 / 3.0;

/// Times a step of the warm-up, and one after it.
///
/// # Errors
/// When the step fails.
pub fn race(setting: &Setting, found: &mut Found) -> anyhow::Result<()> {
    let kinds = [
        ("step", "hardest negatives", Negatives::Hardest),
        ("step", "all negatives", Negatives::All),
    ];
    let config = TrainConfig::from_toml(CONFIG, "configs/flickr8k.toml")?;
    let batch = config.training.batch;
    let title = format!(
        "training step, {batch} captions and images, {REGIONS} x {FEATURES} features, width {}",
        config.model.joint_width
    );
    let mut steps = Vec::new();
    for _ in kinds {
        steps.push(Step::new(&config)?);
    }
    let mut contestants: Vec<Contestant> = kinds
        .iter()
        .zip(&mut steps)
        .map(|((_, name, negatives), step)| Contestant::new(*name, || step.take(*negatives)))
        .collect();
    let timings = race::run(&title, &mut contestants, setting.arguments.rounds)?;
    drop(contestants);
    let rows = kinds
        .iter()
        .zip(&timings)
        .map(|((name, rule, _), seconds)| {
            Row {
                name: (*name).to_owned(),
                rule: (*rule).to_owned(),
                precision: "f32".to_owned(),
                ours: true,
                threads: setting.threads,
                units: 1.0,
                ..Row::default()
            }
            .timed(seconds)
        });
    let rows: Vec<Row> = rows.collect();
    found.promise(
        "a whole training step of Flickr8k's shape, hardest negatives (made-up features, no reading)",
        "0.2 s; aim 0.1 s",
        format!("{:.3} s", rows[0].median),
    );
    found.races.push(Race { title, rows });
    Ok(())
}

struct Step<'a> {
    config: &'a TrainConfig,
    model: Model,
    optimizer: Optimizer,
    features: ImageFeatures,
    captions: Vec<Vec<u32>>,
    threshold: f64,
    taken: usize,
}

impl<'a> Step<'a> {
    fn new(config: &'a TrainConfig) -> anyhow::Result<Self> {
        let draws = Draws::new(0);
        let batch = config.training.batch;
        let names: Vec<String> = (0..VOCABULARY).map(|word| format!("word{word}")).collect();
        let vocabulary = Vocabulary::build(names.iter().map(String::as_str), 1);
        let model = Model::new(config, FEATURES, &vocabulary, &Device::Cpu)?;
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
        let words = model.encode_captions(&captions)?.detach();
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

    fn take(&mut self, negatives: Negatives) -> anyhow::Result<()> {
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
