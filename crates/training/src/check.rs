//! Does a training step on a GPU compute what it should? Its kernels against plain loops of the
//! host, and a whole step against the CPU.
//!
//! `uard self-test` runs these on a GPU; tests run the kernels on an interpreter of PTX.

use std::collections::BTreeMap;

use candle_core::Device;
use uard_attention::kernel::check::Check;
use uard_core::gpu::{Machine, Numbers};
use uard_core::random::{Draws, normal};
use uard_features::text::TextModel;
use uard_features::text::vocabulary::Vocabulary;

use crate::batches::Batch;
use crate::config::{LossConfig, OptimizerKind, Reduction, TrainConfig};
use crate::kernel::{HingeForm, on_numbers, sums_of};
use crate::loss::hinge;
use crate::model::{ImageFeatures, Model};
use crate::negatives::{Negatives, Pairing};
use crate::optimizer::Optimizer;
use crate::optimizer::update::Step;
use crate::trainer::step::{BatchGradients, Judgement, Prepared, batch_gradients};
use crate::{Error, Result};

/// Rounding of f64 sums in another order, relative.
const SQUARES_LIMIT: f64 = 1e-13;

/// f32 of two devices through a whole step, relative to the largest number of a tensor.
const STEP_LIMIT: f64 = 1e-3;

const NEGATIVES: [Negatives; 2] = [Negatives::All, Negatives::Hardest];

/// Checks every kernel of a training step.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn kernels<M: Machine>(machine: &M) -> Result<Vec<Check>> {
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

/// How many numbers have other bits.
fn differing(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected);
    let other = pairs.filter(|(found, expected)| found.to_bits() != expected.to_bits());
    (other.count() + found.len().abs_diff(expected.len())) as f64
}

/// Three steps, in which parameter and moments keep the same bits as on the host.
fn adam<M: Machine>(machine: &M, kind: OptimizerKind, count: usize) -> Result<Check> {
    let mut host = ["parameter", "gradient", "first"].map(|label| draw(label, count));
    let mut second: Vec<f32> = draw("second", count).iter().map(|v| v * v).collect();
    let [parameter, gradient, first] = &mut host;
    let device = [&*parameter, &*gradient, &*first, &second]
        .map(|numbers| Numbers::copied(machine, numbers));
    let [p, g, m, v] = device;
    let (p, g, m, v) = (p?, g?, m?, v?);
    for step in 1..=3 {
        let factors = Step {
            kind,
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            scale: 0.7,
            step,
        }
        .factors();
        on_numbers::adam(machine, [&p, &g, &m, &v], &factors)?;
        factors.update(parameter, gradient, first, &mut second);
    }
    let found = differing(&p.read(machine)?, parameter)
        + differing(&m.read(machine)?, first)
        + differing(&v.read(machine)?, &second);
    Ok(Check {
        name: format!("training adam of {count} numbers: {kind:?}"),
        found,
        limit: 0.0,
    })
}

/// The sum in f64, and as many partial sums as are said to be there.
fn squares<M: Machine>(machine: &M, count: usize) -> Result<Check> {
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
fn squares_not_finite<M: Machine>(machine: &M) -> Result<Check> {
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
fn hinges<M: Machine>(
    machine: &M,
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
    let expected = Course::run(&Device::Cpu)?;
    let (found, again) = (Course::run(device)?, Course::run(device)?);
    let check = |name: &str, found: f64, limit: f64| Check {
        name: name.to_owned(),
        found,
        limit,
    };
    #[allow(unused_mut, reason = "on CUDA there is one more")]
    let mut checks = vec![
        check("tiny model: loss", found.losses_from(&expected), STEP_LIMIT),
        check(
            "tiny model: gradients",
            farthest(&found.gradients, &expected.gradients),
            STEP_LIMIT,
        ),
        check(
            "tiny model: parameters after three steps",
            farthest(&found.parameters, &expected.parameters),
            STEP_LIMIT,
        ),
        check(
            "tiny model: twice the same",
            found.numbers_unlike(&again),
            0.0,
        ),
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
type Named = BTreeMap<String, Vec<f32>>;

/// What some steps have come to.
#[derive(Debug, PartialEq)]
struct Course {
    losses: Vec<f64>,
    norms: Vec<f64>,
    gradients: Named,
    parameters: Named,
}

impl Course {
    /// One batch with either kind of negatives, and three steps.
    fn run(device: &Device) -> Result<Self> {
        let config = tiny_config()?;
        let (model, captions) = tiny_model(&config, device)?;
        let mut course = Self {
            losses: Vec::new(),
            norms: Vec::new(),
            gradients: Named::new(),
            parameters: Named::new(),
        };
        for negatives in NEGATIVES {
            let output = course.batch(&model, &captions, (&config, negatives))?;
            for (name, gradient) in output.gradients.iter() {
                let numbers = gradient.flatten_all()?.to_vec1()?;
                course
                    .gradients
                    .insert(format!("{name}, {negatives:?}"), numbers);
            }
        }
        let mut optimizer = Optimizer::new(&config.optimizer, model.parameters())?;
        for _ in 0..3 {
            let output = course.batch(&model, &captions, (&config, Negatives::Hardest))?;
            let norm = optimizer.step(model.parameters(), &output.gradients, 1.0)?;
            course.norms.push(norm);
        }
        for (name, var) in model.parameters().iter() {
            let numbers = var.flatten_all()?.to_vec1()?;
            course.parameters.insert(name.to_owned(), numbers);
        }
        Ok(course)
    }

    fn batch(
        &mut self,
        model: &Model,
        captions: &[Vec<u32>],
        (config, negatives): (&TrainConfig, Negatives),
    ) -> Result<BatchGradients> {
        let judgement = Judgement {
            threshold: 0.1,
            negatives,
            step: 1,
        };
        let output = batch_gradients(model, tiny_batch(captions), config, judgement)?;
        self.losses.push(output.loss);
        Ok(output)
    }

    /// How far losses and norms are from others, relative.
    fn losses_from(&self, expected: &Self) -> f64 {
        let found = self.losses.iter().chain(&self.norms);
        let expected = expected.losses.iter().chain(&expected.norms);
        found
            .zip(expected)
            .map(|(found, expected)| (found - expected).abs() / expected.abs())
            .fold(0.0, larger)
    }

    /// How many numbers are others.
    fn numbers_unlike(&self, other: &Self) -> f64 {
        let unlike = |one: &Named, other: &Named| -> f64 {
            let missing = Vec::new();
            one.iter()
                .map(|(name, numbers)| differing(numbers, other.get(name).unwrap_or(&missing)))
                .sum()
        };
        let losses = f64::from(u8::from(
            self.losses != other.losses || self.norms != other.norms,
        ));
        losses
            + unlike(&self.gradients, &other.gradients)
            + unlike(&self.parameters, &other.parameters)
    }
}

/// The largest difference, each relative to the largest number of what is expected.
fn farthest(found: &Named, expected: &Named) -> f64 {
    let distance = |name: &String, expected: &Vec<f32>| {
        let found = found
            .get(name)
            .filter(|found| found.len() == expected.len());
        let Some(found) = found else {
            return f64::INFINITY;
        };
        let scale = expected.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let differences = found
            .iter()
            .zip(expected)
            .map(|(&found, &expected)| f64::from(found - expected).abs());
        differences.fold(0.0, larger) / f64::from(scale.max(f32::MIN_POSITIVE))
    };
    expected
        .iter()
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
    TrainConfig::from_toml(text, "the check of training")
}

/// A model, and the ids of its captions.
fn tiny_model(config: &TrainConfig, device: &Device) -> Result<(Model, Vec<Vec<u32>>)> {
    let texts = CAPTIONS.map(|(text, _)| text);
    let text = TextModel::of_words(Vocabulary::build(texts, 1), None, 20);
    let model = Model::new(config, WIDTH, &text, device)?;
    let captions: std::result::Result<_, _> =
        texts.iter().map(|caption| text.encode(caption)).collect();
    Ok((model, captions.map_err(Error::from)?))
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
        let expected = Course::run(&Device::Cpu).unwrap();
        let mut found = Course::run(&Device::Cpu).unwrap();
        let numbers = found.parameters.values_mut().next().unwrap();
        numbers[0] += 0.1;
        assert!(farthest(&found.parameters, &expected.parameters) > STEP_LIMIT);
        assert_eq!(found.numbers_unlike(&expected), 1.0);
        numbers_are_nan(&mut found.gradients);
        assert!(farthest(&found.gradients, &expected.gradients).is_nan());
    }

    fn numbers_are_nan(named: &mut Named) {
        named.values_mut().next().unwrap()[0] = f32::NAN;
    }
}
