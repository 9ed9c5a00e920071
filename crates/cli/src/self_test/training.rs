//! Checks of the training kernels of a GPU: similarities, word maxima, counts of kept cells and gradients
//! against the operator on the CPU in f64, which tests compare with the composed form.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use uard_attention::{Kept, Matcher, WeightRule};
use uard_core::gpu::Gpu;
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

use super::sample::{Sample, batches, matchers};
use super::{Check, Extent, OnCheck, bits, equality, largest_difference};

/// Largest allowed difference in the forward pass: the rounding of sums in f32, amplified by the
/// inverse temperature.
const FORWARD_LIMIT: f64 = 3e-5;

/// Largest allowed difference in the backward pass, whose gradients are of the order of 1.
const BACKWARD_LIMIT: f64 = 2e-4;

/// Checks the training kernels with every rule but scan, which has no kernel.
///
/// # Errors
/// If a kernel cannot run. A wrong number is no error, but a [`Check`] that has not passed.
pub fn check(gpu: &Arc<dyn Gpu>, extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<()> {
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
            let name = format!(
                "train {} {:?}, batch {at}",
                matcher.config().rule,
                matcher.config().sides
            );
            let by_kernels = |sample: &Sample| PassResult::by_kernels(gpu, &matcher, sample);
            let (found, again) = (by_kernels(&sample)?, by_kernels(&sample)?);
            let expected = PassResult::in_f64(&matcher, &sample)?;
            let mut checks = found.compare(&expected, &name);
            checks.push(equality(
                format!("{name}: the same bytes"),
                found.bits() == again.bits(),
            ));
            checks.extend(by_kernels(&broken)?.check_nan_of_first_image(&found, &name));
            checks.into_iter().for_each(&mut *on_check);
        }
    }
    Ok(())
}

/// A copy of the regions in which one number of the first image is NaN.
fn not_finite(regions: &Regions) -> anyhow::Result<Regions> {
    let mut numbers = regions.rows().flatten_all()?.to_vec1::<f32>()?;
    numbers[0] = f32::NAN;
    let rows = Tensor::from_vec(numbers, regions.rows().shape(), &Device::Cpu)?;
    Ok(Regions::normalized(&rows, regions.counts().to_vec())?)
}

/// A seeded gradient of a loss with respect to the similarities. As with hardest negatives, it is 0
/// for some pairs.
fn upstream(pairs: usize) -> Vec<f32> {
    let mut upstream = normal(&mut Draws::new(3).stream("upstream", &[]), 1.0, pairs);
    let zeroed = upstream.iter_mut().skip(1).step_by(3);
    zeroed.for_each(|gradient| *gradient = 0.0);
    upstream
}

/// The results of a forward and a backward pass.
struct PassResult {
    /// Similarities [I, C].
    similarities: Vec<f64>,
    /// The highest relevance of each word in each image [C, W, I].
    word_maxima: Vec<f64>,
    kept: Kept,
    /// Gradients of regions [I, R, D] and of words [C, W, D].
    gradients: [Vec<f64>; 2],
    images: usize,
}

impl PassResult {
    fn by_kernels(gpu: &Arc<dyn Gpu>, matcher: &Matcher, sample: &Sample) -> anyhow::Result<Self> {
        Self::new(sample, DType::F32, |regions, words| {
            matcher.similarities_on(gpu, regions, words, sample.threshold)
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

    fn compare(&self, expected: &Self, name: &str) -> Vec<Check> {
        let near = |tensor: &str, found: &[f64], expected: &[f64], limit| Check {
            name: format!("{name}: {tensor}"),
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
            equality(format!("{name}: counts"), self.kept == expected.kept),
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

    /// Checks that a NaN in the first image makes the similarities of its pairs NaN, and changes no byte
    /// of the other images' results; `unbroken` holds the results without the NaN.
    fn check_nan_of_first_image(&self, unbroken: &Self, name: &str) -> [Check; 2] {
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
            equality(
                format!("{name}: pairs that are not finite"),
                own.iter().all(|similarity| similarity.is_nan()),
            ),
            equality(
                format!("{name}: the pairs beside them"),
                others(self) == others(unbroken),
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

/// All numbers of a tensor in f64, which holds f32 exactly.
fn numbers(tensor: &Tensor) -> anyhow::Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn as_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&number| number as f32).collect()
}
