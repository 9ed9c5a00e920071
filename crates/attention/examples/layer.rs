//! Puts the layer `CrossAttention` into a small model and trains it with a learned threshold.
//!
//! ```sh
//! cargo run --release -p uard-attention --features nn --example layer
//! ```
//!
//! Made-up pictures show three of twelve concepts among noise, and a caption names them. The model
//! says whether a caption describes a picture, from the vectors that the caption's words attend to.

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::loss::binary_cross_entropy_with_logit;
use candle_nn::{Linear, Module, Optimizer, SGD, VarBuilder, linear, linear_no_bias};
use uard_attention::{CrossAttention, CrossAttentionConfig, Masks, MatcherConfig, WeightRule};
use uard_relevance::{CaptionRule, LearnerConfig, ThresholdLearner};

const PAIRS: usize = 24;
const CONCEPTS: usize = 12;
const SHOWN: usize = 3;
const REGIONS: usize = 8;
const FEATURES: usize = 20;
const WIDTH: usize = 16;
const STEPS: usize = 150;

/// A model that uses the layer: a linear score of each word's attended vector (times the word's
/// embedding) and of what the word adds to the similarity, averaged over words.
struct Model {
    attention: CrossAttention,
    of_word: Linear,
    score: Linear,
}

impl Model {
    fn new(vb: &VarBuilder<'_>) -> Result<Self, Box<dyn std::error::Error>> {
        let config = CrossAttentionConfig {
            // Under this rule a word that finds nothing still has a gradient.
            matcher: MatcherConfig {
                rule: WeightRule::Nearest,
                ..MatcherConfig::default()
            },
            ..CrossAttentionConfig::new(FEATURES, CONCEPTS, WIDTH)
        };
        Ok(Self {
            attention: CrossAttention::new(config, vb.pp("attention"))?,
            of_word: linear_no_bias(CONCEPTS, WIDTH, vb.pp("of_word"))?,
            score: linear(WIDTH + 1, 1, vb.pp("score"))?,
        })
    }

    /// A logit for each entry: does caption b describe picture b?
    fn forward(
        &self,
        pictures: &Tensor,
        captions: &Tensor,
        threshold: f64,
    ) -> Result<Tensor, Box<dyn std::error::Error>> {
        let found = self
            .attention
            .forward(pictures, captions, &Masks::default(), threshold)?;
        let joined = (found.vectors * self.of_word.forward(captions)?)?;
        let inputs = Tensor::cat(&[joined, found.answers.unsqueeze(2)?], 2)?;
        Ok(self.score.forward(&inputs)?.squeeze(2)?.mean(1)?)
    }
}

/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parameters = parameters()?;
    let tensors = parameters
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
    let model = Model::new(&vb)?;
    let mut optimizer = SGD::new(parameters.into_values().collect(), 2.0)?;
    // A batch of 24 captions of three words gives 72 relevant and 72 irrelevant samples. All
    // captions are sampled, because this model does not rank pictures by their similarity.
    let mut learner = ThresholdLearner::new(LearnerConfig {
        captions: CaptionRule::All,
        minimum_samples: 20,
        ..LearnerConfig::default()
    })?;
    let (pictures, captions) = pictures_and_captions()?;
    let others = captions.narrow(0, 1, PAIRS - 1)?;
    let others = Tensor::cat(&[&others, &captions.narrow(0, 0, 1)?], 0)?;
    let (describes, does_not) = (
        Tensor::ones(PAIRS, DType::F32, &Device::Cpu)?,
        Tensor::zeros(PAIRS, DType::F32, &Device::Cpu)?,
    );
    let targets = Tensor::cat(&[&describes, &does_not], 0)?;
    let mut right = 0.0;
    for step in 1..=STEPS {
        let threshold = learner.threshold();
        let matched = model.forward(&pictures, &captions, threshold)?;
        let mismatched = model.forward(&pictures, &others, threshold)?;
        let logits = Tensor::cat(&[&matched, &mismatched], 0)?;
        let loss = binary_cross_entropy_with_logit(&logits, &targets)?;
        optimizer.backward_step(&loss)?;
        let update =
            model
                .attention
                .observe(&pictures, &captions, &Masks::default(), &mut learner)?;
        right = share_of_right(&matched, &mismatched)?;
        if step % 30 == 0 || step == 1 {
            let loss = loss.to_scalar::<f32>()?;
            println!(
                "step {step:>3}  loss {loss:.3}  right {:3.0} %  {update}",
                100.0 * right
            );
        }
    }
    if right < 0.9 || learner.threshold() == 0.0 {
        let threshold = learner.threshold();
        return Err(format!("{right} right and the threshold {threshold}: not learned").into());
    }
    Ok(())
}

/// Seeded variables, in place of the unseeded ones of a `VarMap`.
fn parameters() -> candle_core::Result<HashMap<String, Var>> {
    let shapes: [(&str, &[usize]); 7] = [
        ("attention.regions.weight", &[WIDTH, FEATURES]),
        ("attention.words.weight", &[WIDTH, CONCEPTS]),
        ("attention.values.weight", &[WIDTH, FEATURES]),
        ("attention.values.bias", &[WIDTH]),
        ("of_word.weight", &[WIDTH, CONCEPTS]),
        ("score.weight", &[1, WIDTH + 1]),
        ("score.bias", &[1]),
    ];
    let variables = shapes.into_iter().enumerate().map(|(at, (name, shape))| {
        Ok((name.to_owned(), Var::from_tensor(&noise(10 + at, shape)?)?))
    });
    variables.collect()
}

/// Features [pairs, regions, features], and one-hot words [pairs, shown, concepts].
fn pictures_and_captions() -> candle_core::Result<(Tensor, Tensor)> {
    let looks = noise(3, &[CONCEPTS, FEATURES])?;
    let named: Vec<u32> = (0..PAIRS as u32)
        .flat_map(|pair| {
            [
                pair % 12,
                (pair * 5 + 1 + pair / 12) % 12,
                (pair * 7 + 2) % 12,
            ]
        })
        .collect();
    let named = Tensor::from_vec(named, PAIRS * SHOWN, &Device::Cpu)?;
    let shown = looks.index_select(&named, 0)?;
    let shown = shown.reshape((PAIRS, SHOWN, FEATURES))?;
    let clutter = noise(4, &[PAIRS, REGIONS - SHOWN, FEATURES])?;
    let one_hot = Tensor::eye(CONCEPTS, DType::F32, &Device::Cpu)?;
    let captions = one_hot.index_select(&named, 0)?;
    Ok((
        Tensor::cat(&[shown, clutter], 1)?,
        captions.reshape((PAIRS, SHOWN, CONCEPTS))?,
    ))
}

/// The share of matched and mismatched pairs whose logit has the right sign.
fn share_of_right(matched: &Tensor, mismatched: &Tensor) -> candle_core::Result<f64> {
    let matched = matched.to_vec1::<f32>()?;
    let mismatched = mismatched.to_vec1::<f32>()?;
    let right = matched.iter().filter(|&&logit| logit > 0.0).count()
        + mismatched.iter().filter(|&&logit| logit < 0.0).count();
    Ok(right as f64 / (2 * PAIRS) as f64)
}

/// Pseudo-random numbers from -1 to 1, the same in every run.
fn noise(seed: usize, shape: &[usize]) -> candle_core::Result<Tensor> {
    let count: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..count)
        .map(|at| {
            let mixed = ((at + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (seed as u64) << 32;
            let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}
