//! Similarities, maxima, counts and gradients of the training kernels.

use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;
use uard_core::gpu::{Machine, Numbers};
use uard_core::random::{Draws, normal};

use super::judge::threshold_between;
use super::{FORWARD_LIMIT, bits, exactly};
use crate::composed::{self, Batch};
use crate::kernel::check::sample::{Sample, batches, matchers};
use crate::kernel::check::{Check, Extent, OnCheck, largest_difference};
use crate::kernel::cuda::pairs::{
    BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape,
};
use crate::{Matcher, MatcherConfig, Result, WeightRule};

/// The same through the backward pass; gradients are of the order of 1.
const BACKWARD_LIMIT: f64 = 2e-4;

/// Checks the training kernels: similarities, maxima, counts and all gradients, without the scan
/// rule, which has no kernel.
///
/// # Errors
/// As [`matching`](super::matching).
pub fn training<M: Machine>(machine: &M, extent: Extent, on_check: OnCheck<'_>) -> Result<()> {
    let rules = [
        WeightRule::Masked,
        WeightRule::Nearest,
        WeightRule::Zero,
        WeightRule::MaxSim,
    ];
    for (at, counts) in batches(extent) {
        let sample = Sample::new(at, &counts)?;
        let batch = sample.batch(f64::from)?;
        let not_finite = not_finite(&batch)?;
        let threshold = threshold_between(&batch.relevance.flatten_all()?.to_vec1()?);
        for matcher in matchers(&rules, extent)? {
            let what = format!(
                "train {} {:?}, batch {at}",
                matcher.config().rule,
                matcher.config().sides
            );
            let expected = Expected::new(&batch, &matcher, threshold)?;
            let found = Found::new(machine, &sample, &batch, (&matcher, &expected))?;
            let again = Found::new(machine, &sample, &batch, (&matcher, &expected))?;
            let wrong = Found::new(machine, &sample, &not_finite, (&matcher, &expected))?;
            let mut checks = found.compared(&expected, &what);
            checks.push(exactly(
                format!("{what}: the same bytes"),
                found.bits() == again.bits(),
            ));
            checks.extend(wrong.names_its_pair(&found, &expected, &what));
            checks.into_iter().for_each(&mut *on_check);
        }
    }
    Ok(())
}

/// The first word and the first region of the first pair, and no others, have relevance that is not a
/// number.
fn not_finite(batch: &Batch) -> Result<Batch> {
    let shape = batch.relevance.shape();
    let (_, words, images, regions) = shape.dims4()?;
    let mut cells = batch.relevance.flatten_all()?.to_vec1::<f64>()?;
    for word in 0..words {
        cells[word * images * regions] = f64::NAN;
    }
    cells[..regions].fill(f64::NAN);
    Ok(Batch {
        relevance: Tensor::from_vec(cells, shape, &Device::Cpu)?,
        region_gram: batch.region_gram.clone(),
        word_gram: batch.word_gram.clone(),
        region_validity: batch.region_validity.clone(),
        word_validity: batch.word_validity.clone(),
    })
}

/// The composed form in f64.
struct Expected {
    shape: BatchShape,
    threshold: f64,
    /// [I, C].
    upstream: Vec<f32>,
    /// [I, C].
    similarities: Vec<f64>,
    /// [C, W, I].
    word_maxima: Vec<f64>,
    /// Word queries, region queries and cells above the threshold.
    above: [u64; 3],
    /// Of relevance, of the Gram matrices of regions and of those of words.
    gradients: [Vec<f64>; 3],
}

impl Expected {
    /// Images by themselves, on all cores.
    fn new(batch: &Batch, matcher: &Matcher, threshold: f64) -> Result<Self> {
        let (captions, words, images, regions) = batch.relevance.dims4()?;
        let upstream = upstream(images * captions);
        let of_images = upstream.par_chunks(captions).enumerate();
        let of_images: Vec<OfImage> = of_images
            .map(|(image, upstream)| {
                let batch = one_image(batch, image)?;
                OfImage::new(&batch, matcher.config(), threshold, upstream)
            })
            .collect::<Result<_>>()?;
        let rows = |numbers: fn(&OfImage) -> &[f64]| -> Vec<f64> {
            let rows = of_images.iter().map(numbers);
            rows.flatten().copied().collect()
        };
        // Image by image within each word.
        let within_words = |numbers: fn(&OfImage) -> &[f64], row: usize| -> Vec<f64> {
            let rows = (0..captions * words).flat_map(|word| {
                let of_word = move |image| &numbers(image)[word * row..][..row];
                of_images.iter().map(of_word)
            });
            rows.flatten().copied().collect()
        };
        let sum = |at: usize| of_images.iter().map(|image| image.gradients[2][at]).sum();
        Ok(Self {
            shape: BatchShape {
                images,
                regions,
                captions,
                words,
            },
            threshold,
            similarities: rows(|image| &image.similarities),
            word_maxima: within_words(|image| &image.word_maxima, 1),
            above: [0, 1, 2].map(|at| of_images.iter().map(|image| image.above[at]).sum()),
            gradients: [
                within_words(|image| &image.gradients[0], regions),
                rows(|image| &image.gradients[1]),
                (0..captions * words * words).map(sum).collect(),
            ],
            upstream,
        })
    }
}

/// A gradient of similarities. As with hardest negatives, some pairs have none.
fn upstream(pairs: usize) -> Vec<f32> {
    let mut upstream = normal(&mut Draws::new(3).stream("upstream", &[]), 1.0, pairs);
    upstream
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| at % 3 == 1)
        .for_each(|(_, x)| *x = 0.0);
    upstream
}

/// What of a batch is one image's.
fn one_image(batch: &Batch, image: usize) -> Result<Batch> {
    Ok(Batch {
        relevance: batch.relevance.narrow(2, image, 1)?.contiguous()?,
        region_gram: batch.region_gram.narrow(0, image, 1)?.contiguous()?,
        word_gram: batch.word_gram.clone(),
        region_validity: batch.region_validity.narrow(0, image, 1)?.contiguous()?,
        word_validity: batch.word_validity.clone(),
    })
}

/// [`Expected`] of one image.
struct OfImage {
    similarities: Vec<f64>,
    word_maxima: Vec<f64>,
    above: [u64; 3],
    gradients: [Vec<f64>; 3],
}

impl OfImage {
    fn new(
        batch: &Batch,
        config: &MatcherConfig,
        threshold: f64,
        upstream: &[f32],
    ) -> Result<Self> {
        let vars = [&batch.relevance, &batch.region_gram, &batch.word_gram].map(Var::from_tensor);
        let [relevance, region_gram, word_gram] = vars;
        let (relevance, region_gram, word_gram) = (relevance?, region_gram?, word_gram?);
        let of_vars = Batch {
            relevance: relevance.as_tensor().clone(),
            region_gram: region_gram.as_tensor().clone(),
            word_gram: word_gram.as_tensor().clone(),
            region_validity: batch.region_validity.clone(),
            word_validity: batch.word_validity.clone(),
        };
        let values = composed::similarities(&of_vars, config, threshold)?;
        let weights = Tensor::from_slice(upstream, values.shape(), &Device::Cpu)?;
        let loss = (&values * weights.to_dtype(DType::F64)?)?.sum_all()?;
        let store = loss.backward()?;
        let gradient = |var: &Var| -> Result<Vec<f64>> {
            Ok(match store.get(var) {
                Some(gradient) => gradient.flatten_all()?.to_vec1()?,
                None => vec![0.0; var.elem_count()],
            })
        };
        let word_maxima = batch.word_maxima()?.to_dtype(DType::F64)?;
        Ok(Self {
            similarities: values.flatten_all()?.to_vec1()?,
            word_maxima: word_maxima.flatten_all()?.to_vec1()?,
            above: batch.count_above(config.threshold(threshold))?,
            gradients: [
                gradient(&relevance)?,
                gradient(&region_gram)?,
                gradient(&word_gram)?,
            ],
        })
    }
}

/// What the kernels are given, in the machine's memory.
struct Given<M: Machine> {
    /// Relevance and the Gram matrices of regions and words.
    numbers: [Numbers<M, f32>; 3],
    /// Of regions and of words.
    counts: [Numbers<M, u32>; 2],
}

impl<M: Machine> Given<M> {
    fn new(machine: &M, sample: &Sample, batch: &Batch) -> Result<Self> {
        let numbers = |tensor: &Tensor| -> Result<Numbers<M, f32>> {
            let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?;
            Ok(Numbers::copied(machine, &numbers.to_vec1::<f32>()?)?)
        };
        let counts = |counts: &[usize]| -> Result<Numbers<M, u32>> {
            let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
            Ok(Numbers::copied(machine, &counts)?)
        };
        Ok(Self {
            numbers: [
                numbers(&batch.relevance)?,
                numbers(&batch.region_gram)?,
                numbers(&batch.word_gram)?,
            ],
            counts: [
                counts(sample.regions.counts())?,
                counts(sample.words.counts())?,
            ],
        })
    }

    fn inputs(&self) -> BatchInputs {
        let [relevance, region_grams, word_grams] = self.numbers.each_ref().map(Numbers::argument);
        let [region_counts, word_counts] = self.counts.each_ref().map(Numbers::argument);
        BatchInputs {
            relevance,
            region_grams,
            word_grams,
            region_counts,
            word_counts,
        }
    }
}

/// What the kernels give.
struct Found {
    similarities: Vec<f32>,
    word_maxima: Vec<f32>,
    counts: Vec<u64>,
    has_masks: bool,
    gradients: [Vec<f32>; 3],
}

impl Found {
    fn new<M: Machine>(
        machine: &M,
        sample: &Sample,
        batch: &Batch,
        (matcher, expected): (&Matcher, &Expected),
    ) -> Result<Self> {
        let shape = expected.shape;
        let shared = machine.shared_bytes();
        let pairs = BatchPairs::new(matcher.config(), expected.threshold, shape, shared)?;
        let given = Given::new(machine, sample, batch)?;
        let inputs = given.inputs();
        let similarities = Numbers::<M, f32>::unset(machine, shape.images * shape.captions)?;
        let maxima = shape.captions * shape.words * shape.images;
        let word_maxima = Numbers::<M, f32>::unset(machine, maxima)?;
        let above = Numbers::<M, u64>::zeros(machine, 3)?;
        let answers = BatchAnswers {
            similarities: similarities.argument(),
            word_maxima: word_maxima.argument(),
            counts: above.argument(),
        };
        let upstream = Numbers::copied(machine, &expected.upstream)?;
        let to = given
            .numbers
            .each_ref()
            .map(|numbers| Numbers::<M, f32>::zeros(machine, numbers.len()));
        let [to_relevance, to_region_grams, to_word_grams] = to;
        let to = [to_relevance?, to_region_grams?, to_word_grams?];
        let gradients = BatchGradients {
            relevance: to[0].argument(),
            region_grams: to[1].argument(),
            word_grams: to[2].argument(),
        };
        // SAFETY: all buffers have the sizes of the shape and live until they are read below.
        unsafe {
            pairs.forward(machine, &inputs, &answers)?;
            pairs.backward(machine, &inputs, upstream.argument(), &gradients)?;
        }
        Ok(Self {
            similarities: similarities.read(machine)?,
            word_maxima: word_maxima.read(machine)?,
            counts: above.read(machine)?,
            has_masks: matcher.config().has_masks(),
            gradients: [
                to[0].read(machine)?,
                to[1].read(machine)?,
                to[2].read(machine)?,
            ],
        })
    }

    fn compared(&self, expected: &Expected, what: &str) -> Vec<Check> {
        let near = |name: &str, found: &[f32], expected: &[f64], limit| Check {
            name: format!("{what}: {name}"),
            found: largest_difference(found, expected),
            limit,
        };
        let [relevance, region_grams, word_grams] = &self.gradients;
        let gradients = &expected.gradients;
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
            exactly(
                format!("{what}: counts"),
                !self.has_masks || self.counts == expected.above,
            ),
            near(
                "gradient of relevance",
                relevance,
                &gradients[0],
                BACKWARD_LIMIT,
            ),
            near(
                "gradient of region grams",
                region_grams,
                &gradients[1],
                BACKWARD_LIMIT,
            ),
            near(
                "gradient of word grams",
                word_grams,
                &gradients[2],
                BACKWARD_LIMIT,
            ),
        ]
    }

    /// Relevance that is not a number makes the similarity of its pair so, and changes no byte of the
    /// others.
    fn names_its_pair(&self, right: &Self, expected: &Expected, what: &str) -> Vec<Check> {
        let shape = expected.shape;
        let cells = shape.images * shape.regions;
        let others = |found: &Self| {
            let maxima = found.word_maxima.iter().enumerate();
            let relevance = found.gradients[0].iter().enumerate();
            let of_words = shape.words * shape.images;
            let of_cells = shape.words * cells;
            let maxima = maxima.filter(|(at, _)| *at >= of_words || at % shape.images > 0);
            let relevance =
                relevance.filter(|(at, _)| *at >= of_cells || at % cells >= shape.regions);
            let similarities = found.similarities[1..].iter();
            similarities
                .chain(maxima.map(|(_, number)| number))
                .chain(relevance.map(|(_, number)| number))
                .map(|number| number.to_bits())
                .collect::<Vec<_>>()
        };
        vec![
            exactly(
                format!("{what}: a pair that is not finite"),
                self.similarities[0].is_nan(),
            ),
            exactly(
                format!("{what}: the pairs beside it"),
                others(self) == others(right),
            ),
        ]
    }

    fn bits(&self) -> Vec<u32> {
        let [relevance, region_grams, word_grams] = &self.gradients;
        [
            &self.similarities,
            &self.word_maxima,
            relevance,
            region_grams,
            word_grams,
        ]
        .into_iter()
        .flat_map(|numbers| bits(numbers))
        .collect()
    }
}
