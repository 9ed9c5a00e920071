//! Checks of a training step on a GPU: each kernel against a plain loop on the host, and three
//! whole steps of a tiny model against the CPU.
//!
//! `uard self-test` runs these on a GPU; the unit tests run the kernels in the PTX interpreter.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Gpu, Numbers};
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{ImageFeatures, Model};

use super::Check;
use crate::Result;
use crate::batches::Batch;
use crate::config::{LossConfig, OptimizerConfig, OptimizerKind, Reduction, TrainConfig};
use crate::kernel::{HingeOptions, on_numbers, sum_count};
use crate::loss::hinge;
use crate::negatives::{Negatives, Pairing};
use crate::optimizer::Optimizer;
use crate::optimizer::update::StepScalars;
use crate::trainer::step::{PreparedBatch, StepOptions, batch_gradients};

/// Largest relative difference between f64 sums taken in two orders.
const SQUARES_LIMIT: f64 = 1e-13;

/// Largest difference of f32 results between two devices after a whole step, relative to the
/// largest number of the tensor.
const STEP_LIMIT: f64 = 1e-3;

const NEGATIVES: [Negatives; 2] = [Negatives::All, Negatives::Hardest];

/// Checks every kernel of a training step.
///
/// # Errors
/// When the GPU fails; a wrong number is a [`Check`] that has not passed.
pub fn kernels(gpu: &dyn Gpu) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for kind in [OptimizerKind::Adam, OptimizerKind::Adamw] {
        for count in [1, 300, 4000] {
            checks.push(adam(gpu, kind, count)?);
        }
    }
    for count in [1, 300, 20_011] {
        checks.push(squares(gpu, count)?);
    }
    checks.push(squares_not_finite(gpu)?);
    for (images, captions) in [(1, 3), (5, 9), (37, 150)] {
        for tied in [false, true] {
            checks.extend(hinges(gpu, images, captions, tied)?);
        }
    }
    Ok(checks)
}

fn draw(label: &str, count: usize) -> Vec<f32> {
    normal(&mut Draws::new(9).stream(label, &[]), 1.0, count)
}

/// How many numbers differ in at least one bit; numbers that one side lacks count as different.
fn count_differing<T: Copy + Into<f64>>(found: &[T], expected: &[T]) -> f64 {
    let bits = |number: &T| -> u64 { Into::<f64>::into(*number).to_bits() };
    let pairs = found.iter().zip(expected);
    let different = pairs.filter(|(found, expected)| bits(found) != bits(expected));
    (different.count() + found.len().abs_diff(expected.len())) as f64
}

/// Checks that after three optimizer steps parameter and moments have the same bits as on the host.
fn adam(gpu: &dyn Gpu, kind: OptimizerKind, count: usize) -> Result<Check> {
    let mut host = ["parameter", "gradient", "first"].map(|label| draw(label, count));
    let mut second: Vec<f32> = draw("second", count).iter().map(|v| v * v).collect();
    let [parameter, gradient, first] = &mut host;
    let device =
        [&*parameter, &*gradient, &*first, &second].map(|numbers| Numbers::copied(gpu, numbers));
    let [p, g, m, v] = device;
    let (p, g, m, v) = (p?, g?, m?, v?);
    let config = OptimizerConfig {
        kind,
        ..OptimizerConfig::default()
    };
    for step in 1..=3 {
        let factors = StepScalars {
            config: &config,
            learning_rate: 0.01,
            weight_decay: 0.1,
            scale: 0.7,
            step,
        }
        .factors();
        on_numbers::adam(gpu, [&p, &g, &m, &v], &factors)?;
        factors.update(parameter, gradient, first, &mut second);
    }
    let found = count_differing(&p.read()?, parameter)
        + count_differing(&m.read()?, first)
        + count_differing(&v.read()?, &second);
    Ok(Check {
        name: format!("training adam of {count} numbers: {kind:?}"),
        found,
        limit: 0.0,
    })
}

/// Checks the sum of squares in f64, the number of partial sums, and that a second launch gives the
/// same sums.
fn squares(gpu: &dyn Gpu, count: usize) -> Result<Check> {
    let gradient = draw("squares", count);
    let sums = on_numbers::squares(gpu, &Numbers::copied(gpu, &gradient)?)?;
    let again = on_numbers::squares(gpu, &Numbers::copied(gpu, &gradient)?)?;
    let expected: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let same = sums.len() == sum_count(count) && sums == again;
    let relative = (sums.iter().sum::<f64>() - expected).abs() / expected;
    Ok(Check {
        name: format!("training squares of {count} numbers"),
        found: if same { relative } else { f64::INFINITY },
        limit: SQUARES_LIMIT,
    })
}

/// Checks that the sum is not finite if one number is NaN or infinite, but finite with the largest
/// f32.
fn squares_not_finite(gpu: &dyn Gpu) -> Result<Check> {
    let mut wrong = 0;
    for (number, finite) in [(f32::MAX, true), (f32::INFINITY, false), (f32::NAN, false)] {
        let mut gradient = draw("squares", 300);
        gradient[299] = number;
        let sums = on_numbers::squares(gpu, &Numbers::copied(gpu, &gradient)?)?;
        wrong += usize::from(sums.iter().sum::<f64>().is_finite() != finite);
    }
    Ok(Check {
        name: "training squares of 300 numbers: not finite".to_owned(),
        found: wrong as f64,
        limit: 0.0,
    })
}

/// Checks that the gradients of the hinge have the same bits as on the host. Where `tied`,
/// similarities are rounded to multiples of 0.25, so that costs are often equal, and often exactly
/// zero.
fn hinges(gpu: &dyn Gpu, images: usize, captions: usize, tied: bool) -> Result<Vec<Check>> {
    let pairing = Pairing::new((0..captions).map(|caption| caption * 7 % images).collect());
    let mut similarities = draw("similarities", images * captions);
    for similarity in &mut similarities {
        *similarity *= 0.3;
        if tied {
            *similarity = (*similarity * 4.0).round() / 4.0;
        }
    }
    let mut checks = Vec::new();
    for negatives in NEGATIVES {
        for reduction in [Reduction::Sum, Reduction::Mean] {
            let config = LossConfig {
                margin: if tied { 0.25 } else { 0.2 },
                reduction,
                ..LossConfig::default()
            };
            let options = HingeOptions::new(&pairing, &config, negatives);
            let found = on_numbers::hinge(gpu, &similarities, &pairing, &options)?;
            let expected = hinge(&similarities, &pairing, &config, negatives)?;
            let tied = if tied { "tied" } else { "random" };
            checks.push(Check {
                name: format!(
                    "training hinge of {images} x {captions} {tied} similarities, \
                     {reduction:?}: {negatives:?}"
                ),
                found: count_differing(&found, &expected.gradient),
                limit: 0.0,
            });
        }
    }
    Ok(checks)
}

/// Checks a batch of a tiny model, and three optimizer steps, against the CPU: the loss, every
/// gradient and every parameter, each difference relative to the largest number of its tensor. Also
/// checks that the device computes the same bits twice, and on CUDA that numbers uploaded during
/// the computation arrive.
///
/// # Errors
/// When the device fails; a wrong number is a [`Check`] that has not passed.
pub fn on_device(device: &Device) -> Result<Vec<Check>> {
    let expected = train_tiny_model(&Device::Cpu)?;
    let (found, again) = (train_tiny_model(device)?, train_tiny_model(device)?);
    let near = |what: &str| Check {
        name: format!("tiny model: {what}"),
        found: largest_difference(&found, &expected, what),
        limit: STEP_LIMIT,
    };
    #[allow(
        unused_mut,
        reason = "changed on CUDA only, where there is one more check"
    )]
    let mut checks = vec![
        near("loss"),
        near("gradients"),
        near("parameters after three steps"),
        Check {
            name: "tiny model: twice the same".to_owned(),
            found: count_all_differing(&found, &again),
            limit: 0.0,
        },
    ];
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        checks.push(uploads(device)?);
    }
    Ok(checks)
}

/// Checks that every number arrives in nine uploads of different sizes. Each buffer is filled while
/// the previous one is being copied, and the one before is used in a computation.
#[cfg(feature = "cuda")]
fn uploads(device: &Device) -> Result<Check> {
    let uploads = uard_core::gpu::upload::Uploads::new(device)?;
    let count = |round: usize| (4 << 20) - 1000 * (round % 3);
    let numbers = |round: usize| (0..count(round)).map(move |at| (at * 7 + round) as f32);
    let (mut sent, mut wrong) = (None, 0.0);
    for round in 0..9 {
        let mut room = uploads.buffer(count(round))?;
        let given = room.numbers()?.iter_mut().zip(numbers(round));
        given.for_each(|(to, number)| *to = number);
        let Some(upload) = sent.replace(room.send()?) else {
            continue;
        };
        let tensor = upload.tensor(count(round - 1))?;
        // Reading the result waits for the device, so that the next copy starts after it.
        let doubled = (&tensor + &tensor)?.to_vec1::<f32>()?;
        let expected: Vec<f32> = numbers(round - 1).map(|number| 2.0 * number).collect();
        wrong += count_differing(&doubled, &expected);
    }
    Ok(Check {
        name: "training uploads beside the computation".to_owned(),
        found: wrong,
        limit: 0.0,
    })
}

/// The numbers of losses, gradients and parameters, by name.
type NamedNumbers = BTreeMap<String, Vec<f64>>;

/// Computes one batch with either kind of negatives, then takes three optimizer steps; gives all
/// losses, gradient norms, gradients, and the parameters at the end.
fn train_tiny_model(device: &Device) -> Result<NamedNumbers> {
    let config = tiny_config()?;
    let (model, captions) = tiny_model(&config, device)?;
    let batch = |negatives| {
        let options = StepOptions {
            threshold: 0.1,
            negatives,
            step: 1,
            learner: None,
        };
        batch_gradients(&model, tiny_batch(&captions), &config, options)
    };
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let mut results = NamedNumbers::new();
    for negatives in NEGATIVES {
        let output = batch(negatives)?;
        results.insert(format!("loss: {negatives:?}"), vec![output.loss]);
        for (name, gradient) in output.gradients.iter() {
            let name = format!("gradients: {name}, {negatives:?}");
            results.insert(name, numbers(gradient)?);
        }
    }
    let mut optimizer = Optimizer::new(&config.optimizer, model.parameters())?;
    for step in 0..3 {
        let output = batch(Negatives::Hardest)?;
        let norm = optimizer.step(model.parameters(), &output.gradients, 1.0)?;
        results.insert(format!("loss: step {step}"), vec![output.loss]);
        results.insert(format!("loss: norm of step {step}"), vec![norm]);
    }
    for (name, var) in model.parameters().iter() {
        let name = format!("parameters after three steps: {name}");
        results.insert(name, numbers(var)?);
    }
    Ok(results)
}

/// The sum of [`count_differing`] over all names.
fn count_all_differing(one: &NamedNumbers, other: &NamedNumbers) -> f64 {
    let missing = Vec::new();
    one.iter()
        .map(|(name, numbers)| count_differing(numbers, other.get(name).unwrap_or(&missing)))
        .sum()
}

/// The largest difference among names that begin with `kind`, each relative to the largest number
/// expected under that name; infinite where numbers are missing.
fn largest_difference(found: &NamedNumbers, expected: &NamedNumbers, kind: &str) -> f64 {
    let distance = |name: &String, expected: &Vec<f64>| {
        let found = found.get(name);
        let Some(found) = found.filter(|found| found.len() == expected.len()) else {
            return f64::INFINITY;
        };
        let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let differences = found.iter().zip(expected);
        let differences = differences.map(|(found, expected)| (found - expected).abs());
        differences.fold(0.0, larger) / scale.max(f64::from(f32::MIN_POSITIVE))
    };
    let of_kind = expected.iter().filter(|(name, _)| name.starts_with(kind));
    of_kind
        .map(|(name, numbers)| distance(name, numbers))
        .fold(0.0, larger)
}

/// The larger of two numbers; NaN if either is NaN.
fn larger(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other {
        one
    } else {
        other
    }
}

const IMAGES: usize = 5;
const REGIONS: usize = 6;
const WIDTH: usize = 16;

/// Captions with the index of their image: two for each image, but one for the last.
const CAPTIONS: [(&str, usize); 9] = [
    ("a dog and a ball near a tree", 0),
    ("the tree with the dog", 0),
    ("a red car", 1),
    ("a car and a child near the house", 1),
    ("a bird over a boat", 2),
    ("the boat", 2),
    ("a kite and a bench near a child", 3),
    ("the bench with a bird , a ball", 3),
    ("a house near a tree with a kite and a dog", 4),
];

fn tiny_config() -> Result<TrainConfig> {
    // A large epsilon: Adam divides by it, so rounding of a gradient near zero hardly moves its
    // parameter.
    let text = "
        data.minimum_word_count = 1
        model = { joint_width = 24 }
        text = { word_width = 12 }
        optimizer = { learning_rate = 0.02, epsilon = 1e-2, weight_decay = 1e-3 }
        training = { batch = 9, seed = 5 }
    ";
    Ok(TrainConfig::from_toml(text, "the check of training")?)
}

/// A model, and the ids of its captions.
fn tiny_model(config: &TrainConfig, device: &Device) -> Result<(Model, Vec<Vec<u32>>)> {
    let texts = CAPTIONS.map(|(text, _)| text);
    let text = TextModel::from_vocabulary(Vocabulary::build(texts, 1), None, 20);
    let captions: uard_features::Result<_> =
        texts.iter().map(|caption| text.encode(caption)).collect();
    let draws = Draws::new(config.training.seed);
    let model = Model::new(&config.model(), WIDTH, text, &draws, device)?;
    Ok((model, captions?))
}

/// Images with different numbers of regions.
fn tiny_batch(captions: &[Vec<u32>]) -> PreparedBatch {
    PreparedBatch {
        batch: Batch {
            captions: (0..CAPTIONS.len()).collect(),
            images: (0..IMAGES).collect(),
            pairing: Pairing::new(CAPTIONS.map(|(_, image)| image).to_vec()),
        },
        features: ImageFeatures {
            values: draw("features", IMAGES * REGIONS * WIDTH),
            counts: (0..IMAGES).map(|image| REGIONS - image % 3).collect(),
            regions: REGIONS,
            width: WIDTH,
        },
        captions: captions.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use uard_ptx::Interpreter;

    use super::*;

    fn assert_passed(checks: &[Check]) {
        assert!(!checks.is_empty());
        for check in checks {
            assert!(check.passed(), "{check:?}");
        }
    }

    #[test]
    fn every_kernel_of_a_step_computes_what_the_host_does() {
        let required = std::env::var_os("UARD_NVRTC").is_some();
        let Some(gpu) = Interpreter::where_possible(80, required) else {
            return;
        };
        assert_passed(&kernels(&gpu).unwrap());
    }

    #[test]
    fn the_cpu_passes_the_checks_against_itself() {
        assert_passed(&on_device(&Device::Cpu).unwrap());
    }

    #[test]
    fn a_changed_number_is_found_in_every_kind_of_result() {
        let expected = train_tiny_model(&Device::Cpu).unwrap();
        let mut found = expected.clone();
        let kinds = ["loss", "gradients", "parameters after three steps"];
        assert!(expected.keys().all(|name| {
            let matching = kinds.iter().filter(|kind| name.starts_with(**kind));
            matching.count() == 1
        }));
        for kind in kinds {
            assert_eq!(largest_difference(&found, &expected, kind), 0.0);
            let numbers = found.iter_mut().find(|(name, _)| name.starts_with(kind));
            let numbers = numbers.unwrap().1;
            numbers[0] += 0.1 * numbers[0].abs().max(1.0);
            assert!(largest_difference(&found, &expected, kind) > STEP_LIMIT);
            assert_eq!(count_all_differing(&found, &expected), 1.0);
            let numbers = found.iter_mut().find(|(name, _)| name.starts_with(kind));
            numbers.unwrap().1[0] = f64::NAN;
            assert!(largest_difference(&found, &expected, kind).is_nan());
            found = expected.clone();
        }
    }
}
