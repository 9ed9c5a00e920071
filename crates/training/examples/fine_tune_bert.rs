//! Compares fine-tuning a published BERT with training only the projection behind it.
//!
//! `cargo run --release -p uard-training --example fine_tune_bert -- MODEL CAPTIONS EPOCHS`, where
//! MODEL is a folder in Hugging Face's format and CAPTIONS holds five lines an image. The first
//! 1,000 captions are trained on, the next 1,000 only evaluated. The loss is contrastive: captions
//! of one image shall be nearer to each other than to those of other images. A caption is
//! represented by the mean of its words.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use candle_core::{D, Device, Tensor};
use uard_core::normalize::unit_rows;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, permutation};
use uard_data::captions::read_captions;
use uard_features::text::gru::{CaptionBatch, TextEncoderConfig};
use uard_features::text::{CaptionEncoder, Drops, TextModel};
use uard_training::config::{GroupConfig, OptimizerConfig};
use uard_training::gradients::Gradients;
use uard_training::optimizer::Optimizer;

/// Number of captions of each image.
const CAPTIONS: usize = 5;
/// Number of images that are trained on, and number of images that are only evaluated.
const IMAGES: usize = 200;
/// Number of images in a step.
const BATCH: usize = 20;
const JOINT_WIDTH: usize = 256;
const LONGEST: usize = 32;
/// Multiplies the similarities of captions before softmax.
const INVERSE_TEMPERATURE: f64 = 10.0;
const LEARNING_RATE: f64 = 2e-4;
/// Factor on the learning rate for the parameters of BERT.
const SCALE: f64 = 0.1;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Token ids of all captions, and the encoder that is trained.
struct Tuning {
    ids: Vec<Vec<u32>>,
    pad: u32,
    parameters: Parameters,
    encoder: CaptionEncoder,
    draws: Draws,
}

impl Tuning {
    fn new(folder: &Path, captions: &[String]) -> Outcome<Self> {
        let text = TextModel::open("bert".parse()?, folder, LONGEST)?;
        let ids = captions.iter().map(|caption| Ok(text.encode(caption)?));
        let draws = Draws::new(1);
        let mut parameters = Parameters::new(&Device::Cpu);
        let sizes = TextEncoderConfig {
            joint_width: JOINT_WIDTH,
            ..TextEncoderConfig::default()
        };
        let encoder = text.encoder(&mut parameters, sizes, &draws)?;
        Ok(Self {
            ids: ids.collect::<Outcome<_>>()?,
            pad: text.pad(),
            parameters,
            encoder,
            draws,
        })
    }

    /// Caption number `which` of each image, encoded as a unit row: [B, D] for B images.
    fn rows(&self, images: &[usize], which: usize, drops: Option<Drops>) -> Outcome<Tensor> {
        let ids = images
            .iter()
            .map(|image| self.ids[image * CAPTIONS + which].clone());
        let ids: Vec<Vec<u32>> = ids.collect();
        let batch = CaptionBatch::pad(&ids, self.pad, &Device::Cpu)?;
        let words = self.encoder.forward(&batch, drops)?;
        Ok(unit_rows(&words.rows().sum(1)?)?)
    }

    /// Cross-entropy of finding an image's `second` caption, given its `first`, among the second
    /// captions of all images. Dropout is on where a step is given.
    fn loss(
        &self,
        images: &[usize],
        first: usize,
        second: usize,
        step: Option<&[u64]>,
    ) -> Outcome<Tensor> {
        let drops = |side: u64| step.map(|step| [step, &[side]].concat());
        let (left, right) = (drops(0), drops(1));
        let encoded = |step: &Option<Vec<u64>>, which| {
            let drops = step.as_deref().map(|step| Drops {
                draws: &self.draws,
                step,
            });
            self.rows(images, which, drops)
        };
        let (left, right) = (encoded(&left, first)?, encoded(&right, second)?);
        let logits = (left.matmul(&right.t()?)? * INVERSE_TEMPERATURE)?;
        let shift = logits.max_keepdim(D::Minus1)?.detach();
        let logits = logits.broadcast_sub(&shift)?;
        let total = logits.exp()?.sum(D::Minus1)?.log()?;
        let own = (&logits * Tensor::eye(images.len(), logits.dtype(), logits.device())?)?;
        Ok((total - own.sum(D::Minus1)?)?.mean_all()?)
    }

    /// The mean loss over batches of images in order, without dropout.
    fn mean_loss(&self, images: std::ops::Range<usize>) -> Outcome<f32> {
        let images: Vec<usize> = images.collect();
        let mut sum = 0.0;
        for batch in images.chunks(BATCH) {
            sum += self.loss(batch, 0, 1, None)?.to_scalar::<f32>()?;
        }
        Ok(sum / (images.len() / BATCH) as f32)
    }

    fn train(&self, epochs: u64, scale: f64) -> Outcome<()> {
        let config = OptimizerConfig {
            learning_rate: LEARNING_RATE,
            groups: vec![GroupConfig {
                prefix: "text.bert.".to_owned(),
                learning_rate_scale: scale,
                weight_decay: 0.0,
            }],
            ..OptimizerConfig::default()
        };
        let mut optimizer = Optimizer::new(&config, &self.parameters)?;
        for epoch in 0..epochs {
            let order = permutation(&mut self.draws.stream("order", &[epoch]), IMAGES);
            for (step, images) in (0u64..).zip(order.chunks(BATCH)) {
                let first = ((epoch + step) % CAPTIONS as u64) as usize;
                let second = (first + 1) % CAPTIONS;
                let loss = self.loss(images, first, second, Some(&[epoch, step]))?;
                let gradients = Gradients::take(&self.parameters, &mut loss.backward()?)?;
                optimizer.step(&self.parameters, &gradients, 1.0)?;
            }
            self.report(epoch + 1)?;
        }
        Ok(())
    }

    fn report(&self, epoch: u64) -> Outcome<()> {
        let (learned, new) = (
            self.mean_loss(0..IMAGES)?,
            self.mean_loss(IMAGES..2 * IMAGES)?,
        );
        println!("  epoch {epoch}: loss {learned:.4} on training captions, {new:.4} on others");
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, captions, epochs] = &arguments[..] else {
        return Err("expected MODEL CAPTIONS EPOCHS".into());
    };
    let captions = read_captions(Path::new(captions))?;
    let captions = captions
        .get(..2 * IMAGES * CAPTIONS)
        .ok_or("expected at least 2,000 captions")?;
    for (name, scale) in [
        ("BERT frozen, only the projection is trained", 0.0),
        ("BERT fine-tuned together with the projection", SCALE),
    ] {
        println!("{name}:");
        let tuning = Tuning::new(Path::new(folder), captions)?;
        tuning.report(0)?;
        tuning.train(epochs.parse()?, scale)?;
    }
    Ok(())
}
