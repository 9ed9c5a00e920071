//! Similarities, maxima, counts and gradients of the training kernels of a GPU against the operator of
//! the CPU in f64, which tests hold to the composed form.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use uard_attention::{Kept, Matcher, WeightRule};
use uard_core::gpu::Machine;
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

use super::sample::{Sample, batches, matchers};
use super::{Check, Extent, OnCheck, bits, exactly, largest_difference};

/// f32 sums, amplified by the inverse temperature, against f64.
const FORWARD_LIMIT: f64 = 3e-5;

/// The same through the backward pass; gradients are of the order of 1.
const BACKWARD_LIMIT: f64 = 2e-4;

/// Checks the training kernels: similarities, maxima, counts and the gradients of regions and words,
/// without the scan rule, which has no kernel.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn check(
    machine: &Arc<dyn Machine>,
    extent: Extent,
    on_check: OnCheck<'_>,
) -> anyhow::Result<()> {
    let rules = [
        WeightRule::Masked,
        WeightRule::Nearest,
        WeightRule::Zero,
        WeightRule::MaxSim,
    ];
    for (at, shape) in batches(extent) {
        let sample = Sample::exact(at, &shape)?;
        let mut broken = Sample::exact(at, &shape)?;
        broken.regions = not_finite(&broken.regions)?;
        for matcher in matchers(&rules, extent)? {
            let what = format!(
                "train {} {:?}, batch {at}",
                matcher.config().rule,
                matcher.config().sides
            );
            let by_kernels = |sample: &Sample| Passes::by_kernels(machine, &matcher, sample);
            let (found, again) = (by_kernels(&sample)?, by_kernels(&sample)?);
            let expected = Passes::in_f64(&matcher, &sample)?;
            let mut checks = found.compared(&expected, &what);
            checks.push(exactly(
                format!("{what}: the same bytes"),
                found.bits() == again.bits(),
            ));
            checks.extend(by_kernels(&broken)?.names_its_pairs(&found, &what));
            checks.into_iter().for_each(&mut *on_check);
        }
    }
    Ok(())
}

/// The same regions, but one number of the first image is none.
fn not_finite(regions: &Regions) -> anyhow::Result<Regions> {
    let mut numbers = regions.rows().flatten_all()?.to_vec1::<f32>()?;
    numbers[0] = f32::NAN;
    let rows = Tensor::from_vec(numbers, regions.rows().shape(), &Device::Cpu)?;
    Ok(Regions::normalized(&rows, regions.counts().to_vec())?)
}

/// A gradient of similarities. As with hardest negatives, some pairs have none.
fn upstream(pairs: usize) -> Vec<f32> {
    let mut upstream = normal(&mut Draws::new(3).stream("upstream", &[]), 1.0, pairs);
    let without = upstream.iter_mut().skip(1).step_by(3);
    without.for_each(|gradient| *gradient = 0.0);
    upstream
}

/// What a forward and a backward pass give.
struct Passes {
    /// [I, C].
    similarities: Vec<f64>,
    /// [C, W, I].
    word_maxima: Vec<f64>,
    kept: Kept,
    /// Of regions and of words.
    gradients: [Vec<f64>; 2],
    images: usize,
}

impl Passes {
    fn by_kernels(
        machine: &Arc<dyn Machine>,
        matcher: &Matcher,
        sample: &Sample,
    ) -> anyhow::Result<Self> {
        Self::new(sample, DType::F32, |regions, words| {
            matcher.similarities_on(machine, regions, words, sample.threshold)
        })
    }

    fn in_f64(matcher: &Matcher, sample: &Sample) -> anyhow::Result<Self> {
        Self::new(sample, DType::F64, |regions, words| {
            matcher.similarities(regions, words, sample.threshold)
        })
    }

    fn new(
        sample: &Sample,
        dtype: DType,
        run: impl Fn(&Regions, &Words) -> Result<uard_attention::Similarities, uard_attention::Error>,
    ) -> anyhow::Result<Self> {
        let rows = [sample.regions.rows(), sample.words.rows()];
        let [regions, words] = rows.map(|rows| Var::from_tensor(&rows.to_dtype(dtype)?));
        let (regions, words) = (regions?, words?);
        let found = run(
            &Regions::normalized(&regions, sample.regions.counts().to_vec())?,
            &Words::normalized(&words, sample.words.counts().to_vec())?,
        )?;
        let images = sample.regions.images();
        let upstream = upstream(images * sample.words.captions());
        let upstream = Tensor::from_vec(upstream, found.values.shape(), &Device::Cpu)?;
        let loss = (&found.values * upstream.to_dtype(dtype)?)?.sum_all()?;
        let gradients = loss.backward()?;
        let gradient = |var: &Var| match gradients.get(var) {
            Some(gradient) => numbers(gradient),
            None => Ok(vec![0.0; var.elem_count()]),
        };
        Ok(Self {
            similarities: numbers(&found.values)?,
            word_maxima: numbers(&found.word_maxima)?,
            kept: found.kept()?,
            gradients: [gradient(&regions)?, gradient(&words)?],
            images,
        })
    }

    fn compared(&self, expected: &Self, what: &str) -> Vec<Check> {
        let near = |name: &str, found: &[f64], expected: &[f64], limit| Check {
            name: format!("{what}: {name}"),
            found: largest_difference(&as_f32(found), expected),
            limit,
        };
        vec![
            near(
                "similarities",
                &self.similarities,
                &expected.similarities,
                FORWARD_LIMIT,
            ),
            near(
                "word maxima",
                &self.word_maxima,
                &expected.word_maxima,
                FORWARD_LIMIT,
            ),
            exactly(format!("{what}: counts"), self.kept == expected.kept),
            near(
                "gradient of regions",
                &self.gradients[0],
                &expected.gradients[0],
                BACKWARD_LIMIT,
            ),
            near(
                "gradient of words",
                &self.gradients[1],
                &expected.gradients[1],
                BACKWARD_LIMIT,
            ),
        ]
    }

    /// A region that is not a number makes the similarity of its image's pairs so, and changes no byte
    /// of the others.
    fn names_its_pairs(&self, right: &Self, what: &str) -> [Check; 2] {
        let captions = self.similarities.len() / self.images;
        let others = |found: &Self| {
            let maxima = found.word_maxima.iter().enumerate();
            let maxima = maxima.filter(|(at, _)| at % found.images > 0);
            let numbers = found.similarities[captions..].iter();
            let numbers = numbers.chain(maxima.map(|(_, number)| number));
            let regions = &found.gradients[0];
            let numbers = numbers.chain(&regions[regions.len() / found.images..]);
            bits(&as_f32(&numbers.copied().collect::<Vec<_>>()))
        };
        let own = &self.similarities[..captions];
        [
            exactly(
                format!("{what}: pairs that are not finite"),
                own.iter().all(|similarity| similarity.is_nan()),
            ),
            exactly(
                format!("{what}: the pairs beside them"),
                others(self) == others(right),
            ),
        ]
    }

    fn bits(&self) -> Vec<u32> {
        let [regions, words] = &self.gradients;
        let all = [&self.similarities, &self.word_maxima, regions, words];
        all.into_iter()
            .flat_map(|numbers| bits(&as_f32(numbers)))
            .collect()
    }
}

/// All numbers of a tensor; those of f32 lose nothing.
fn numbers(tensor: &Tensor) -> anyhow::Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn as_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&number| number as f32).collect()
}
