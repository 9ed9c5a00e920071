//! Trains your own encoders through the matcher, with a learned threshold.
//!
//! ```sh
//! cargo run --release -p uard-attention --example train
//! ```
//!
//! Two linear encoders learn to map made-up regions and words to one joint space. The matcher's similarity
//! is a differentiable tensor: compute any loss from it and call `backward`.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use candle_core::{Device, Result, Tensor, Var};
use uard_attention::{Matcher, MatcherConfig, Regions, WeightRule, Words};
use uard_relevance::{LearnerConfig, ThresholdLearner};

const PAIRS: usize = 24;
const CONCEPTS: usize = 12;
/// Every picture shows this many concepts beside noise, and its caption names them.
const SHOWN: usize = 3;
const REGIONS: usize = 8;
const FEATURES: usize = 20;
const JOINT: usize = 16;
const MARGIN: f64 = 0.2;

/// Runs the example.
pub fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Under this rule a word that finds nothing still has a gradient.
    let matcher = Matcher::new(MatcherConfig {
        rule: WeightRule::Nearest,
        ..MatcherConfig::default()
    })?;
    // A batch of 24 captions of three words gives at most 72 relevant and 72 irrelevant samples.
    let mut learner = ThresholdLearner::new(LearnerConfig {
        minimum_samples: 20,
        ..LearnerConfig::default()
    })?;
    let owners: Vec<usize> = (0..PAIRS).collect();
    let (features, names) = pictures_and_captions()?;
    let encode_regions = Var::from_tensor(&noise(1, &[FEATURES, JOINT])?)?;
    let encode_words = Var::from_tensor(&noise(2, &[CONCEPTS, JOINT])?)?;
    let mut first_and_last = [f64::NAN; 2];
    for step in 0..150 {
        let regions = features
            .matmul(&encode_regions)?
            .reshape((PAIRS, REGIONS, JOINT))?;
        let words = encode_words
            .index_select(&names, 0)?
            .reshape((PAIRS, SHOWN, JOINT))?;
        let regions = Regions::normalized(&regions, vec![REGIONS; PAIRS])?;
        let words = Words::normalized(&words, vec![SHOWN; PAIRS])?;
        let found = matcher.similarities(&regions, &words, learner.threshold())?;
        let loss = hinge(&found.values)?;
        let gradients = loss.backward()?;
        for parameter in [&encode_regions, &encode_words] {
            let gradient = gradients
                .get(parameter)
                .ok_or("the loss reaches every encoder")?;
            parameter.set(&(parameter.as_tensor() - (gradient * 0.02)?)?)?;
        }
        let update = learner.observe(&found, &owners)?;
        let (loss, matched) = (
            f64::from(loss.to_scalar::<f32>()?),
            recall_at_1(&found.values)?,
        );
        first_and_last[usize::from(step > 0)] = loss;
        if step % 30 == 29 || step == 0 {
            let kept = found.kept()?;
            println!(
                "step {:>3}  loss {loss:7.3}  recall@1 {:3.0} %  cells above the threshold {:4.1} %  {update}",
                step + 1,
                100.0 * matched,
                100.0 * kept.cells as f64 / kept.all_cells as f64,
            );
        }
    }
    let [first, last] = first_and_last;
    if last > 0.5 * first || learner.threshold() == 0.0 {
        let threshold = learner.threshold();
        let message = format!("the loss went from {first} to {last}, the threshold to {threshold}");
        return Err(format!("{message}: expected half the loss and a threshold above 0").into());
    }
    Ok(())
}

/// The hinge loss over all negatives: for each mismatched pair, by how much its similarity exceeds
/// the matched one of its row minus the margin, and the same for its column.
fn hinge(similarities: &Tensor) -> Result<Tensor> {
    let device = similarities.device();
    let diagonal = Tensor::eye(PAIRS, similarities.dtype(), device)?;
    let matched = (similarities * &diagonal)?.sum_keepdim(1)?;
    let mismatched = (1.0 - &diagonal)?;
    let too_close = |matched: &Tensor| -> Result<Tensor> {
        let excess = (similarities.broadcast_sub(matched)? + MARGIN)?.relu()?;
        (excess * &mismatched)?.sum_all()
    };
    too_close(&matched)? + too_close(&matched.t()?)?
}

/// The share of pictures whose own caption is the most similar.
fn recall_at_1(similarities: &Tensor) -> Result<f64> {
    let first = similarities.argmax(1)?.to_vec1::<u32>()?;
    let hits = first
        .iter()
        .enumerate()
        .filter(|&(image, &caption)| image == caption as usize);
    Ok(hits.count() as f64 / PAIRS as f64)
}

/// Features [pairs * regions, features], and the concepts that captions name [pairs * shown].
fn pictures_and_captions() -> Result<(Tensor, Tensor)> {
    let looks = noise(3, &[CONCEPTS, FEATURES])?;
    let triples = (0..CONCEPTS as u32).flat_map(|a| {
        (a + 1..CONCEPTS as u32).flat_map(move |b| (b + 1..CONCEPTS as u32).map(move |c| [a, b, c]))
    });
    // Every ninth triple, so that captions differ in more than one concept.
    let names: Vec<u32> = triples.step_by(9).take(PAIRS).flatten().collect();
    let names = Tensor::from_vec(names, PAIRS * SHOWN, &Device::Cpu)?;
    let shown = looks
        .index_select(&names, 0)?
        .reshape((PAIRS, SHOWN, FEATURES))?;
    let clutter = noise(4, &[PAIRS, REGIONS - SHOWN, FEATURES])?;
    let regions = Tensor::cat(&[shown, clutter], 1)?;
    let regions = (regions + (noise(5, &[PAIRS, REGIONS, FEATURES])? * 0.1)?)?;
    Ok((regions.reshape((PAIRS * REGIONS, FEATURES))?, names))
}

/// Pseudo-random numbers from -1 to 1, the same in every run.
fn noise(seed: usize, shape: &[usize]) -> Result<Tensor> {
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
