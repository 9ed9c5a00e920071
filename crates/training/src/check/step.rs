//! Does a training step on a GPU compute what it should? Its kernels against plain loops of the
//! host, and a whole step against the CPU.
//!
//! `uard self-test` runs these on a GPU; tests run the kernels on an interpreter of PTX.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use uard_core::gpu::{Machine, Numbers};
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;
use uard_model::{ImageFeatures, Model};

use super::Check;
use crate::Result;
use crate::batches::Batch;
use crate::config::{LossConfig, OptimizerConfig, OptimizerKind, Reduction, TrainConfig};
use crate::kernel::{HingeForm, on_numbers, sums_of};
use crate::loss::hinge;
use crate::negatives::{Negatives, Pairing};
use crate::optimizer::Optimizer;
use crate::optimizer::update::Step;
use crate::trainer::step::{Judgement, Prepared, batch_gradients};

/// Rounding of f64 sums in another order, relative.
const SQUARES_LIMIT: f64 = 1e-13;

/// f32 of two devices through a whole step, relative to the largest number of a tensor.
const STEP_LIMIT: f64 = 1e-3;

const NEGATIVES: [Negatives; 2] = [Negatives::All, Negatives::Hardest];

/// Checks every kernel of a training step.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn kernels(machine: &dyn Machine) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for kind in [OptimizerKind::Adam, OptimizerKind::Adamw] {
        for count in [1, 300, 4000] {
            checks.push(adam(machine, kind, count)?);
        }
    }
    for count in [1, 300, 20_011] {
        checks.push(squares(machine, count)?);
    }
    checks.push(squares_not_finite(machine)?);
    for (images, captions) in [(1, 3), (5, 9), (37, 150)] {
        for tied in [false, true] {
            checks.extend(hinges(machine, (images, captions), tied)?);
        }
    }
    Ok(checks)
}

fn draw(label: &str, count: usize) -> Vec<f32> {
    normal(&mut Draws::new(9).stream(label, &[]), 1.0, count)
}

/// How many numbers are others, to the last bit.
fn differing<T: Copy + Into<f64>>(found: &[T], expected: &[T]) -> f64 {
    let bits = |number: &T| -> u64 { Into::<f64>::into(*number).to_bits() };
    let pairs = found.iter().zip(expected);
    let other = pairs.filter(|(found, expected)| bits(found) != bits(expected));
    (other.count() + found.len().abs_diff(expected.len())) as f64
}

/// Three steps, in which parameter and moments keep the same bits as on the host.
fn adam(machine: &dyn Machine, kind: OptimizerKind, count: usize) -> Result<Check> {
    let mut host = ["parameter", "gradient", "first"].map(|label| draw(label, count));
    let mut second: Vec<f32> = draw("second", count).iter().map(|v| v * v).collect();
    let [parameter, gradient, first] = &mut host;
    let device = [&*parameter, &*gradient, &*first, &second]
        .map(|numbers| Numbers::copied(machine, numbers));
    let [p, g, m, v] = device;
    let (p, g, m, v) = (p?, g?, m?, v?);
    let config = OptimizerConfig {
        kind,
        ..OptimizerConfig::default()
    };
    for step in 1..=3 {
        let factors = Step {
            config: &config,
            learning_rate: 0.01,
            weight_decay: 0.1,
            scale: 0.7,
            step,
        }
        .factors();
        on_numbers::adam(machine, [&p, &g, &m, &v], &factors)?;
        factors.update(parameter, gradient, first, &mut second);
    }
    let found = differing(&p.read()?, parameter)
        + differing(&m.read()?, first)
        + differing(&v.read()?, &second);
    Ok(Check {
        name: format!("training adam of {count} numbers: {kind:?}"),
        found,
        limit: 0.0,
    })
}

/// The sum in f64, and as many partial sums as are said to be there.
fn squares(machine: &dyn Machine, count: usize) -> Result<Check> {
    let gradient = draw("squares", count);
    let sums = on_numbers::squares(machine, &Numbers::copied(machine, &gradient)?)?;
    let again = on_numbers::squares(machine, &Numbers::copied(machine, &gradient)?)?;
    let expected: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let same = sums.len() == sums_of(count) && sums == again;
    let relative = (sums.iter().sum::<f64>() - expected).abs() / expected;
    Ok(Check {
        name: format!("training squares of {count} numbers"),
        found: if same { relative } else { f64::INFINITY },
        limit: SQUARES_LIMIT,
    })
}

/// One number that is not finite makes the sum so; the largest that is does not.
fn squares_not_finite(machine: &dyn Machine) -> Result<Check> {
    let mut wrong = 0;
    for (number, finite) in [(f32::MAX, true), (f32::INFINITY, false), (f32::NAN, false)] {
        let mut gradient = draw("squares", 300);
        gradient[299] = number;
        let sums = on_numbers::squares(machine, &Numbers::copied(machine, &gradient)?)?;
        wrong += usize::from(sums.iter().sum::<f64>().is_finite() != finite);
    }
    Ok(Check {
        name: "training squares of 300 numbers: not finite".to_owned(),
        found: wrong as f64,
        limit: 0.0,
    })
}

/// Gradients of the hinge with the same bits as the host's; `tied` similarities are a few values, whose
/// costs are often equal, and often exactly zero.
fn hinges(
    machine: &dyn Machine,
    (images, captions): (usize, usize),
    tied: bool,
) -> Result<Vec<Check>> {
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
            let form = HingeForm::new(&pairing, &config, negatives);
            let found = on_numbers::hinge(machine, &similarities, &pairing, &form)?;
            let expected = hinge(&similarities, &pairing, &config, negatives)?;
            let tied = if tied { "tied" } else { "random" };
            checks.push(Check {
                name: format!(
                    "training hinge of {images} x {captions} {tied} similarities, \
                     {reduction:?}: {negatives:?}"
                ),
                found: differing(&found, &expected.gradient),
                limit: 0.0,
            });
        }
    }
    Ok(checks)
}

/// Checks a batch of a tiny model, and three steps of its optimizer, against the CPU: loss, the
/// gradient and the number of every parameter, relative to its largest; that the device computes the
/// same bytes twice; and on CUDA that what is uploaded beside the computation arrives.
///
/// # Errors
/// When the device fails; a wrong number is a [`Check`] that has not passed.
pub fn on_device(device: &Device) -> Result<Vec<Check>> {
    let expected = course(&Device::Cpu)?;
    let (found, again) = (course(device)?, course(device)?);
    let near = |what: &str| Check {
        name: format!("tiny model: {what}"),
        found: farthest(&found, &expected, what),
        limit: STEP_LIMIT,
    };
    #[allow(unused_mut, reason = "on CUDA there is one more")]
    let mut checks = vec![
        near("loss"),
        near("gradients"),
        near("parameters after three steps"),
        Check {
            name: "tiny model: twice the same".to_owned(),
            found: unlike(&found, &again),
            limit: 0.0,
        },
    ];
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        checks.push(uploads(device)?);
    }
    Ok(checks)
}

/// Batches of different sizes that are filled while the one before is on its way and the one before
/// that is computed with: every number arrives.
#[cfg(feature = "cuda")]
fn uploads(device: &Device) -> Result<Check> {
    let uploads = uard_core::gpu::upload::Uploads::new(device)?;
    let count = |round: usize| (4 << 20) - 1000 * (round % 3);
    let numbers = |round: usize| (0..count(round)).map(move |at| (at * 7 + round) as f32);
    let (mut sent, mut wrong) = (None, 0.0);
    for round in 0..9 {
        let mut room = uploads.room(count(round))?;
        let given = room.numbers()?.iter_mut().zip(numbers(round));
        given.for_each(|(to, number)| *to = number);
        let Some(upload) = sent.replace(room.send()?) else {
            continue;
        };
        let tensor = upload.tensor(count(round - 1))?;
        // Something to wait for, behind which the next copies are launched.
        let doubled = (&tensor + &tensor)?.to_vec1::<f32>()?;
        let expected: Vec<f32> = numbers(round - 1).map(|number| 2.0 * number).collect();
        wrong += differing(&doubled, &expected);
    }
    Ok(Check {
        name: "training uploads beside the computation".to_owned(),
        found: wrong,
        limit: 0.0,
    })
}

/// Numbers by what they are.
type Named = BTreeMap<String, Vec<f64>>;

/// One batch with either kind of negatives, and three steps: losses and gradient norms, gradients, and
/// parameters.
fn course(device: &Device) -> Result<Named> {
    let config = tiny_config()?;
    let (model, captions) = tiny_model(&config, device)?;
    let batch = |negatives| {
        let judgement = Judgement {
            threshold: 0.1,
            negatives,
            step: 1,
            learner: None,
        };
        batch_gradients(&model, tiny_batch(&captions), &config, judgement)
    };
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let mut course = Named::new();
    for negatives in NEGATIVES {
        let output = batch(negatives)?;
        course.insert(format!("loss: {negatives:?}"), vec![output.loss]);
        for (name, gradient) in output.gradients.iter() {
            let name = format!("gradients: {name}, {negatives:?}");
            course.insert(name, numbers(gradient)?);
        }
    }
    let mut optimizer = Optimizer::new(&config.optimizer, model.parameters())?;
    for step in 0..3 {
        let output = batch(Negatives::Hardest)?;
        let norm = optimizer.step(model.parameters(), &output.gradients, 1.0)?;
        course.insert(format!("loss: step {step}"), vec![output.loss]);
        course.insert(format!("loss: norm of step {step}"), vec![norm]);
    }
    for (name, var) in model.parameters().iter() {
        let name = format!("parameters after three steps: {name}");
        course.insert(name, numbers(var)?);
    }
    Ok(course)
}

/// How many numbers are others.
fn unlike(one: &Named, other: &Named) -> f64 {
    let missing = Vec::new();
    one.iter()
        .map(|(name, numbers)| differing(numbers, other.get(name).unwrap_or(&missing)))
        .sum()
}

/// The largest difference of one kind, each relative to the largest number of what is expected.
fn farthest(found: &Named, expected: &Named, kind: &str) -> f64 {
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

/// The larger of two, and NaN if one is.
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

/// Two captions an image but for the last.
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
    // A large epsilon, so that a gradient near zero moves its parameter by next to nothing.
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
    let text = TextModel::of_words(Vocabulary::build(texts, 1), None, 20);
    let captions: uard_features::Result<_> =
        texts.iter().map(|caption| text.encode(caption)).collect();
    let draws = Draws::new(config.training.seed);
    let model = Model::new(&config.model(), WIDTH, text, &draws, device)?;
    Ok((model, captions?))
}

/// Images with different numbers of regions.
fn tiny_batch(captions: &[Vec<u32>]) -> Prepared {
    Prepared {
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
        let Some(machine) = Interpreter::where_possible(80, required) else {
            return;
        };
        assert_passed(&kernels(&machine).unwrap());
    }

    /// The CPU against itself: the checks find nothing to say against the same numbers.
    #[test]
    fn the_course_of_a_device_is_its_own() {
        assert_passed(&on_device(&Device::Cpu).unwrap());
    }

    #[test]
    fn a_course_that_is_another_does_not_pass() {
        let expected = course(&Device::Cpu).unwrap();
        let mut found = expected.clone();
        let kinds = ["loss", "gradients", "parameters after three steps"];
        assert!(expected.keys().all(|name| {
            let of = kinds.iter().filter(|kind| name.starts_with(**kind));
            of.count() == 1
        }));
        for kind in kinds {
            assert_eq!(farthest(&found, &expected, kind), 0.0);
            let numbers = found.iter_mut().find(|(name, _)| name.starts_with(kind));
            let numbers = numbers.unwrap().1;
            numbers[0] += 0.1 * numbers[0].abs().max(1.0);
            assert!(farthest(&found, &expected, kind) > STEP_LIMIT);
            assert_eq!(unlike(&found, &expected), 1.0);
            let numbers = found.iter_mut().find(|(name, _)| name.starts_with(kind));
            numbers.unwrap().1[0] = f64::NAN;
            assert!(farthest(&found, &expected, kind).is_nan());
            found = expected.clone();
        }
    }
}
