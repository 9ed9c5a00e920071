//! Prints how many milliseconds each part of a training step takes.
//!
//! `cargo run --release -p uard-training --example time_step -- CONFIG DATA STEPS THRESHOLD`,
//! followed by any number of `section.key=value`. `loss.warm_up_epochs=0` selects the hardest
//! negatives.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use uard_core::random::Draws;
use uard_data::dataset::Split;
use uard_hub::Hub;
use uard_model::{ImageFeatures, Model};
use uard_training::batches::{Batch, Batches};
use uard_training::config::TrainConfig;
use uard_training::gradients::Gradients;
use uard_training::loss::{hinge, surrogate};
use uard_training::negatives::Negatives;
use uard_training::optimizer::Optimizer;
use uard_training::text::text_model;

const PARTS: [&str; 7] = [
    "data",
    "image",
    "text",
    "matcher",
    "hinge",
    "backward",
    "optimizer",
];

/// Configuration, data and model of the steps that are timed.
struct Bench {
    config: TrainConfig,
    train: Split,
    model: Model,
    threshold: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, data, steps, threshold, settings @ ..] = arguments.as_slice() else {
        return Err("expected CONFIG DATA STEPS THRESHOLD [section.key=value ...]".into());
    };
    let mut config = TrainConfig::from_toml(&std::fs::read_to_string(config)?, config)?;
    for setting in settings {
        config.apply_set(setting)?;
    }
    let train = Split::open(Path::new(data), "train")?;
    let captions = train.captions.iter().map(String::as_str);
    let text = text_model(&config, &Hub::default(), captions)?;
    let width = train.regions.width();
    let draws = Draws::new(config.training.seed);
    let model = Model::new(&config.model(), width, text, &draws, &Device::Cpu)?;
    let mut optimizer = Optimizer::new(&config.optimizer, model.parameters())?;
    let bench = Bench {
        config,
        train,
        model,
        threshold: threshold.parse()?,
    };
    let owners = &bench.train.image_of_caption;
    let batches = Batches::new(owners, bench.config.training.batch, Draws::new(0), "train")?;
    let mut totals = [0.0; PARTS.len()];
    let (steps, mut last) = (steps.parse::<usize>()?, (0.0, 0.0));
    for (step, batch) in batches.epoch(1, 0).into_iter().take(steps).enumerate() {
        let mut marks = vec![Instant::now()];
        last = bench.step(&batch, &mut optimizer, &mut marks)?;
        // The first step is not counted: it allocates memory and faults its pages in.
        for (total, pair) in totals.iter_mut().zip(marks.windows(2)).filter(|_| step > 0) {
            *total += (pair[1] - pair[0]).as_secs_f64();
        }
    }
    let counted = steps.saturating_sub(1).max(1) as f64;
    for (part, total) in PARTS.iter().zip(totals) {
        println!("{part:10} {:7.1} ms", 1000.0 * total / counted);
    }
    println!(
        "{:10} {:7.1} ms",
        "step",
        1000.0 * totals.iter().sum::<f64>() / counted
    );
    println!("last loss {} and gradient norm {}", last.0, last.1);
    Ok(())
}

impl Bench {
    fn step(
        &self,
        batch: &Batch,
        optimizer: &mut Optimizer,
        marks: &mut Vec<Instant>,
    ) -> Result<(f64, f64), Box<dyn Error>> {
        let mut mark = || marks.push(Instant::now());
        let encode = |&caption: &usize| self.model.text().encode(&self.train.captions[caption]);
        let captions = batch.captions.iter().map(encode);
        let captions = captions.collect::<Result<Vec<_>, _>>()?;
        let features = ImageFeatures::read(&self.train.regions, &batch.images)?;
        mark();
        let regions = self.model.encode_features(features)?;
        mark();
        let words = self.model.encode_captions(&captions, None)?;
        mark();
        let found = self
            .model
            .matcher()
            .similarities(&regions, &words, self.threshold)?;
        mark();
        let values = found.values.flatten_all()?.to_vec1::<f32>()?;
        let negatives = match self.config.loss.warm_up_epochs {
            0 => Negatives::Hardest,
            _ => Negatives::All,
        };
        let loss = hinge(&values, &batch.pairing, &self.config.loss, negatives)?;
        let scalar = surrogate(&found.values, &loss)?;
        mark();
        let mut store = scalar.backward()?;
        mark();
        let gradients = Gradients::take(self.model.parameters(), &mut store)?;
        let norm = optimizer.step(self.model.parameters(), &gradients, 1.0)?;
        mark();
        Ok((loss.value, norm))
    }
}
