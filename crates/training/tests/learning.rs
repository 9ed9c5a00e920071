//! Tests of the whole model: every parameter has a gradient, a batch in parts has the gradient of
//! the whole batch, training raises recall.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used)]

use crate::tiny;

use candle_core::Device;
use uard_attention::{Engine, Precision, Sides, WeightRule};
use uard_core::random::Draws;
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{Checkpoint, ImageFeatures, Model};
use uard_relevance::ThresholdLearner;
use uard_training::batches::Batches;
use uard_training::config::TrainConfig;
use uard_training::evaluation::{EvaluationOptions, Normalization, SplitEvaluation, evaluate};
use uard_training::negatives::Negatives;
use uard_training::trainer::step::{BatchGradients, PreparedBatch, StepOptions, batch_gradients};

use tiny::{Data, config, data, train_whole};

/// Relative rounding of f32 sums that are taken in two orders.
const ROUNDING: f64 = 1e-5;

fn gradients(data: &Data, config: &TrainConfig, threshold: f64) -> BatchGradients {
    let vocabulary = Vocabulary::build(data.train.captions.iter().map(String::as_str), 1);
    let width = data.train.regions.width();
    let text = TextModel::from_vocabulary(vocabulary, None, 64);
    let draws = Draws::new(config.training.seed);
    let model = Model::new(&config.model(), width, text, &draws, &Device::Cpu).unwrap();
    let owners = &data.train.image_of_caption;
    let batches = Batches::new(owners, config.training.batch, Draws::new(0), "train").unwrap();
    let batch = batches.epoch(1, 0).remove(0);
    let captions = batch
        .captions
        .iter()
        .map(|&c| model.text().encode(&data.train.captions[c]).unwrap())
        .collect();
    let features = ImageFeatures::read(&data.train.regions, &batch.images).unwrap();
    let prepared = PreparedBatch {
        batch,
        features,
        captions,
    };
    let learner = ThresholdLearner::new(config.threshold.clone()).unwrap();
    let options = StepOptions {
        threshold,
        negatives: Negatives::Hardest,
        step: 1,
        learner: Some(&learner),
    };
    batch_gradients(&model, prepared, config, options).unwrap()
}

#[test]
fn every_parameter_has_a_finite_gradient_under_every_rule() {
    let data = data(3);
    for rule in WeightRule::ALL {
        for sides in [Sides::Both, Sides::Words, Sides::Regions] {
            let mut config = config();
            config.matcher.rule = rule;
            config.matcher.sides = sides;
            let found = gradients(&data, &config, 0.1);
            for (name, gradient) in found.gradients.iter() {
                uard_testkit::assert_finite_nonzero(&format!("{rule} {sides:?} {name}"), gradient);
            }
        }
    }
}

#[test]
fn settings_of_another_text_encoder_are_refused_by_key() {
    for (settings, key) in [
        (&["text.model=folder"][..], "text.model"),
        (&["text.encoder=bert"], "text.model"),
        (
            &["text.encoder=bert", "text.model=f", "text.word_vectors=v"],
            "text.word_vectors",
        ),
    ] {
        let mut config = config();
        let refused = config.apply_sets(settings.iter().copied()).unwrap_err();
        assert!(refused.to_string().starts_with(key), "{refused}");
    }
}

#[test]
fn a_batch_in_parts_has_the_gradient_of_the_whole() {
    let data = data(3);
    let mut config = config();
    config.training.batch = 24;
    let whole = gradients(&data, &config, 0.1);
    for parts in [2, 3, 5] {
        config.training.accumulation = parts;
        let found = gradients(&data, &config, 0.1);
        assert!((found.loss - whole.loss).abs() < ROUNDING * whole.loss);
        for (name, expected) in whole.gradients.iter() {
            let largest = expected
                .abs()
                .unwrap()
                .flatten_all()
                .unwrap()
                .max(0)
                .unwrap();
            let scale = f64::from(largest.to_scalar::<f32>().unwrap());
            let gradient = (found.gradients.get(name).unwrap() / scale).unwrap();
            uard_testkit::assert_close(&gradient, &(expected / scale).unwrap(), ROUNDING);
        }
    }
}

#[test]
fn training_raises_recall_and_moves_the_threshold() {
    let data = data(4);
    let run = tempfile::tempdir().unwrap();
    let mut config = config();
    config.training.epochs = 16;
    config.training.batch = 10;
    config.loss.warm_up_epochs = 10;
    config.optimizer.learning_rate = 3e-3;
    config.threshold.minimum_samples = 20;
    let outcome = train_whole(&data, &config, run.path());
    let epochs = &outcome.summary().record.epochs;
    let best = &epochs[outcome.summary().record.best_epoch - 1];
    let first = epochs[0].dev.retrieval.rsum;
    assert!(
        best.dev.retrieval.rsum > first.max(300.0),
        "{first} {}",
        best.dev.retrieval.rsum
    );
    assert!(epochs[15].threshold > 0.05, "{}", epochs[15].threshold);
    assert!(epochs[15].hills.relevant.counts.iter().sum::<u64>() > 0);
    // Evaluating the checkpoint gives what the epoch recorded.
    let checkpoint = Checkpoint::open(run.path()).unwrap();
    let model = checkpoint.model(&Device::Cpu).unwrap();
    let threshold = checkpoint.threshold(None);
    let options = EvaluationOptions::fastest(threshold, Precision::F32, &Device::Cpu).unwrap();
    let found = evaluate(&model, &data.dev, &options, &|_, _, _| ()).unwrap();
    assert_eq!(found.record, best.dev);
    every_engine_evaluates_alike(&model, &data, threshold);
    normalization_subtracts_an_offset_of_each_image_and_caption(&model, &data, threshold);
}

fn normalization_subtracts_an_offset_of_each_image_and_caption(
    model: &Model,
    data: &Data,
    threshold: f64,
) {
    let evaluate = |normalization, precision| {
        let options = EvaluationOptions::fastest(threshold, precision, &Device::Cpu).unwrap();
        let options = EvaluationOptions {
            normalization,
            ..options
        };
        evaluate(model, &data.dev, &options, &|_, _, _| ()).unwrap()
    };
    let with = |weight, train| Some(Normalization { weight, train });
    let plain = evaluate(None, Precision::F32);
    let protocol = &plain.record.retrieval.protocol;
    assert!(protocol.ends_with("single model"), "{protocol}");
    let normalized = evaluate(with(0.5, &data.train), Precision::F32);
    let protocol = &normalized.record.retrieval.protocol;
    assert!(
        protocol.ends_with("normalization of weight 0.5"),
        "{protocol}"
    );
    assert_eq!(normalized.record.kept, plain.record.kept);
    let captions = plain.similarities.captions();
    let subtracted = |normalized: &SplitEvaluation| -> Vec<f64> {
        let pairs = plain.similarities.values().iter();
        let pairs = pairs.zip(normalized.similarities.values());
        pairs
            .map(|(plain, normalized)| plain - normalized)
            .collect()
    };
    let offsets = subtracted(&normalized);
    let twice = subtracted(&evaluate(with(1.0, &data.train), Precision::F32));
    for (half, whole) in offsets.iter().zip(&twice) {
        assert!((2.0 * half - whole).abs() < 1e-5, "{half} {whole}");
    }
    let of_others = subtracted(&evaluate(with(0.5, &data.dev), Precision::F32));
    assert!(
        (offsets[0] - of_others[0]).abs() > 1e-3,
        "other references, other offsets"
    );
    for (image, row) in offsets.chunks(captions).enumerate() {
        for (caption, offset) in row.iter().enumerate() {
            let expected = row[0] + offsets[caption] - offsets[0];
            assert!(
                (offset - expected).abs() < 1e-5,
                "{image} {caption}: {offset} {expected}"
            );
        }
    }
    // The offsets of images and those of captions differ.
    let spread = |offsets: &mut dyn Iterator<Item = f64>| {
        let (least, most) = offsets.fold((f64::MAX, f64::MIN), |(least, most), offset| {
            (least.min(offset), most.max(offset))
        });
        most - least
    };
    assert!(spread(&mut offsets[..captions].iter().copied()) > 1e-3);
    assert!(spread(&mut offsets.iter().step_by(captions).copied()) > 1e-3);
    let exact = evaluate(with(0.5, &data.train), Precision::Exact);
    assert_eq!(exact.similarities, normalized.similarities);
}

fn every_engine_evaluates_alike(model: &Model, data: &Data, threshold: f64) {
    let evaluate = |engine: Engine, precision| {
        let options = EvaluationOptions {
            threshold,
            running: engine.open(Some(precision), &Device::Cpu).unwrap(),
            normalization: None,
        };
        evaluate(model, &data.dev, &options, &|_, _, _| ()).unwrap()
    };
    let reference = evaluate(Engine::Reference, Precision::F32);
    for engine in [Engine::Tensor, Engine::Scalar, Engine::Auto] {
        let found = evaluate(engine, Precision::F32);
        let pairs = found
            .similarities
            .values()
            .iter()
            .zip(reference.similarities.values());
        for (found, expected) in pairs {
            assert!(
                (found - expected).abs() < 1e-5,
                "{engine}: {found} {expected}"
            );
        }
        assert_eq!(found.record.alignment, reference.record.alignment);
    }
    // Precision `exact` gives the ranks of f32, and therefore the same recall.
    for engine in [Engine::Scalar, Engine::Auto] {
        let (f32, exact) = (
            evaluate(engine, Precision::F32),
            evaluate(engine, Precision::Exact),
        );
        assert_eq!(exact.record.retrieval, f32.record.retrieval, "{engine}");
    }
}
