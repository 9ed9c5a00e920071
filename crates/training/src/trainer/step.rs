//! The loss of a batch and the gradient of every parameter. The batch is encoded as a whole, or in
//! parts to save memory.

use candle_core::{DType, Device, Tensor, Var};
use uard_attention::Similarities;
use uard_core::random::Draws;
use uard_core::{Regions, Words};
use uard_features::text::Drops;
use uard_model::{ImageFeatures, Model};
use uard_relevance::{ObservedBatch, Samples, SimilarityMatrix, ThresholdLearner};

use crate::batches::Batch;
use crate::config::TrainConfig;
use crate::gradients::Gradients;
use crate::loss::{Hinge, hinge, surrogate, surrogate_with};
use crate::negatives::{Negatives, Pairing};
use crate::{Error, Result};

/// A batch with its features and word ids.
#[derive(Debug)]
pub struct PreparedBatch {
    /// Indices of its captions and images.
    pub batch: Batch,
    /// Features of the batch's images.
    pub features: ImageFeatures,
    /// Word ids of the batch's captions.
    pub captions: Vec<Vec<u32>>,
}

/// What changes from step to step in the loss of a batch.
#[derive(Debug, Clone, Copy)]
pub struct StepOptions<'a> {
    /// Threshold on relevance, a cosine.
    pub threshold: f64,
    /// Which negatives enter the loss.
    pub negatives: Negatives,
    /// Number of the step over the whole run, from 1; random draws depend on it, errors name it.
    pub step: usize,
    /// Chooses the samples of the batch; none where the threshold is not learned.
    pub learner: Option<&'a ThresholdLearner>,
}

/// Loss and gradients of a batch, and the samples that the threshold is learned from.
#[derive(Debug)]
pub struct BatchGradients {
    /// Loss, summed or averaged over the captions.
    pub loss: f64,
    /// Gradient of every parameter.
    pub gradients: Gradients,
    /// Similarities [I, C] row-major.
    pub similarities: Vec<f32>,
    /// The samples that the threshold is learned from; empty where it is not learned.
    pub samples: Samples,
}

/// Loss and gradients of a batch, encoded in `training.accumulation` parts.
///
/// With one part, there is one backward pass from the loss to the parameters. With more, as in
/// gradient checkpointing: each part is encoded without a graph; the loss of the **whole** batch
/// gives the gradient of all fragments; then each part is encoded again and its backward pass
/// starts from the gradient of its fragments. Only the graph of one part is in memory at a time.
/// The hardest negatives are those of the whole batch in both cases, so the gradients agree up to
/// rounding; in an encoder with dropout, each part draws its own numbers to drop.
///
/// # Errors
/// When a number is not finite: names the first such tensor.
pub fn batch_gradients(
    model: &Model,
    prepared: PreparedBatch,
    config: &TrainConfig,
    options: StepOptions<'_>,
) -> Result<BatchGradients> {
    if config.training.accumulation > 1 {
        return in_parts(model, &prepared, config, options);
    }
    BatchLoss {
        model,
        regions: &model.encode_features(prepared.features)?,
        words: &encode_part(model, &prepared.captions, config, options.step, 0)?,
        pairing: &prepared.batch.pairing,
        config,
        options,
    }
    .gradients()
}

fn in_parts(
    model: &Model,
    prepared: &PreparedBatch,
    config: &TrainConfig,
    options: StepOptions<'_>,
) -> Result<BatchGradients> {
    // Each part has at least one image, so that every parameter has a gradient in each part.
    let parts = config.training.accumulation.min(prepared.features.images());
    let images = cuts(prepared.features.images(), parts);
    let captions = cuts(prepared.captions.len(), parts);
    let encoded = |part: usize| {
        let (start, len) = images[part];
        let regions = model.encode_features(prepared.features.slice(start, len))?;
        let (start, len) = captions[part];
        let captions = &prepared.captions[start..start + len];
        let words = encode_part(model, captions, config, options.step, part)?;
        Result::Ok((regions, words))
    };
    let mut without_graph = Vec::new();
    for part in 0..parts {
        let (regions, words) = encoded(part)?;
        without_graph.push((regions.detach(), words.detach()));
    }
    let rows = without_graph.iter();
    let region_leaf = Leaf::new(rows.clone().map(|(part, _)| (part.rows(), part.counts())))?;
    let word_leaf = Leaf::new(rows.map(|(_, part)| (part.rows(), part.counts())))?;
    drop(without_graph);
    let regions = Regions::normalized(region_leaf.rows.as_tensor(), region_leaf.counts.clone())?;
    let words = Words::normalized(word_leaf.rows.as_tensor(), word_leaf.counts.clone())?;
    let loss = BatchLoss {
        model,
        regions: &regions,
        words: &words,
        pairing: &prepared.batch.pairing,
        config,
        options,
    };
    let forward = loss.forward()?;
    let store = forward.scalar.backward()?;
    let missing = |name: &str| Error::NoGradient {
        name: name.to_owned(),
    };
    let gradient_of = |leaf: &Leaf, name| {
        let gradient = store.get(&leaf.rows).cloned();
        gradient.ok_or_else(|| missing(name))
    };
    let region_gradient = gradient_of(&region_leaf, "regions")?;
    let word_gradient = gradient_of(&word_leaf, "words")?;
    drop(store);
    let mut total: Option<Gradients> = None;
    for part in 0..parts {
        let (regions, words) = encoded(part)?;
        let of_regions = part_surrogate(regions.rows(), &region_gradient, images[part].0)?;
        let of_words = part_surrogate(words.rows(), &word_gradient, captions[part].0)?;
        let mut store = (of_regions + of_words)?.backward()?;
        let part = Gradients::take(model.parameters(), &mut store)?;
        match &mut total {
            Some(total) => total.add(&part)?,
            None => total = Some(part),
        }
    }
    let gradients = total.ok_or_else(|| missing("batch"))?;
    loss.finish(forward, gradients)
}

/// Encodes the captions of one part of a batch. Dropout depends on seed, step and part only, so that
/// a part that is encoded twice drops the same numbers.
pub(super) fn encode_part(
    model: &Model,
    captions: &[Vec<u32>],
    config: &TrainConfig,
    step: usize,
    part: usize,
) -> Result<Words> {
    let drops = Drops {
        draws: &Draws::new(config.training.seed),
        step: &[step as u64, part as u64],
    };
    Ok(model.encode_captions(captions, Some(drops))?)
}

/// A scalar whose gradient with respect to a part's rows is the same part of `gradient`, which
/// holds the gradient of all rows; the part begins at entry `start`.
fn part_surrogate(rows: &Tensor, gradient: &Tensor, start: usize) -> Result<Tensor> {
    let (entries, longest, _) = rows.dims3()?;
    let gradient = gradient
        .narrow(0, start, entries)?
        .narrow(1, 0, longest)?
        .detach();
    Ok((rows * gradient)?.sum_all()?)
}

/// The rows of all parts, detached and joined, as a leaf of a new graph.
struct Leaf {
    rows: Var,
    counts: Vec<usize>,
}

impl Leaf {
    fn new<'a>(parts: impl Iterator<Item = (&'a Tensor, &'a [usize])> + Clone) -> Result<Self> {
        let longest = parts
            .clone()
            .map(|(rows, _)| rows.dims()[1])
            .max()
            .unwrap_or(0);
        let mut padded = Vec::new();
        let mut all_counts = Vec::new();
        for (rows, counts) in parts {
            padded.push(rows.pad_with_zeros(1, 0, longest - rows.dim(1)?)?);
            all_counts.extend_from_slice(counts);
        }
        Ok(Self {
            rows: Var::from_tensor(&Tensor::cat(&padded, 0)?)?,
            counts: all_counts,
        })
    }
}

/// An encoded batch, with the model, configuration and options from which its loss is computed.
pub(super) struct BatchLoss<'a> {
    pub(super) model: &'a Model,
    pub(super) regions: &'a Regions,
    pub(super) words: &'a Words,
    pub(super) pairing: &'a Pairing,
    pub(super) config: &'a TrainConfig,
    pub(super) options: StepOptions<'a>,
}

/// The result of the forward pass.
struct Forward {
    /// The scalar that the backward pass starts from.
    scalar: Tensor,
    /// Similarities and word maxima on the device, detached.
    found: Similarities,
    /// Similarities and loss on the host; `None` if a kernel computed the gradient, because the
    /// similarities have not been copied then.
    on_host: Option<HostLoss>,
}

/// Similarities [I, C] on the host, and their loss.
struct HostLoss {
    similarities: Vec<f32>,
    hinge: Hinge,
}

impl BatchLoss<'_> {
    /// Runs the forward and the backward pass.
    pub(super) fn gradients(&self) -> Result<BatchGradients> {
        let forward = self.forward()?;
        let mut store = forward.scalar.backward()?;
        let gradients = Gradients::take(self.model.parameters(), &mut store)?;
        self.finish(forward, gradients)
    }

    fn forward(&self) -> Result<Forward> {
        let matcher = self.model.matcher();
        let found = matcher.similarities(self.regions, self.words, self.options.threshold)?;
        let values = &found.values;
        let (scalar, on_host) = match self.gradient_on_device(values)? {
            Some(gradient) => (surrogate_with(values, &gradient)?, None),
            None => {
                let on_host = self.loss_on_host(values)?;
                (surrogate(values, &on_host.hinge)?, Some(on_host))
            }
        };
        Ok(Forward {
            scalar,
            found: found.detach(),
            on_host,
        })
    }

    /// The gradient of the similarities [I, C] by the CUDA kernel; `None` on other devices.
    #[cfg(feature = "cuda")]
    fn gradient_on_device(&self, values: &Tensor) -> Result<Option<Tensor>> {
        use crate::kernel::{HingeOptions, on_tensors};
        if !values.device().is_cuda() || values.dtype() != DType::F32 {
            return Ok(None);
        }
        let options = HingeOptions::new(self.pairing, &self.config.loss, self.options.negatives);
        Ok(Some(on_tensors::hinge(values, self.pairing, &options)?))
    }

    #[cfg(not(feature = "cuda"))]
    fn gradient_on_device(&self, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Copies the similarities to the host, waiting for the device, and computes their loss.
    fn loss_on_host(&self, values: &Tensor) -> Result<HostLoss> {
        let similarities = values
            .to_dtype(DType::F32)?
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        if similarities.iter().any(|value| !value.is_finite()) {
            return Err(self.first_not_finite()?);
        }
        let negatives = self.options.negatives;
        Ok(HostLoss {
            hinge: hinge(&similarities, self.pairing, &self.config.loss, negatives)?,
            similarities,
        })
    }

    /// Computes loss and samples after the backward pass. On CUDA all kernels of both passes were
    /// launched before, and the host waits for them here.
    fn finish(&self, forward: Forward, mut gradients: Gradients) -> Result<BatchGradients> {
        gradients.begin_norm()?;
        let on_host = match forward.on_host {
            Some(on_host) => on_host,
            None => self.loss_on_host(&forward.found.values)?,
        };
        Ok(BatchGradients {
            loss: on_host.hinge.value,
            gradients,
            samples: self.samples(&on_host.similarities, &forward.found)?,
            similarities: on_host.similarities,
        })
    }

    /// The samples of this step. They are copied before the optimizer's kernels are launched, so
    /// that the host does not wait for those kernels.
    fn samples(&self, similarities: &[f32], found: &Similarities) -> Result<Samples> {
        let Some(learner) = self.options.learner else {
            return Ok(Samples::default());
        };
        let (images, owners) = (self.pairing.images(), self.pairing.image_of_caption());
        let matrix = SimilarityMatrix::new(similarities, images, owners)?;
        Ok(found.samples(&learner.sampled_pairs(&matrix))?)
    }

    /// The error for similarities that are not finite: names the first parameter, or else the
    /// fragments, in which a number is not finite.
    fn first_not_finite(&self) -> Result<Error> {
        let step = self.options.step;
        let named = |tensor: String| Error::NonFinite { tensor, step };
        for (name, var) in self.model.parameters().iter() {
            if !is_finite(var)? {
                return Ok(named(format!("parameter `{name}`")));
            }
        }
        let (regions, words) = (self.regions.rows(), self.words.rows());
        for (name, rows) in [("regions", regions), ("words", words)] {
            if !is_finite(rows)? {
                return Ok(named(format!("the encoded {name}")));
            }
        }
        Ok(named("the similarities".to_owned()))
    }
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    let numbers = tensor
        .to_device(&Device::Cpu)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    Ok(numbers.iter().all(|number| number.is_finite()))
}

/// Start and length of each of at most `parts` parts of nearly equal length; none is empty.
fn cuts(entries: usize, parts: usize) -> Vec<(usize, usize)> {
    let parts = parts.clamp(1, entries.max(1));
    (0..parts)
        .map(|part| {
            let start = entries * part / parts;
            (start, entries * (part + 1) / parts - start)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_everything_once() {
        assert_eq!(cuts(5, 2), [(0, 2), (2, 3)]);
        assert_eq!(cuts(2, 4), [(0, 1), (1, 1)]);
        assert_eq!(cuts(3, 1), [(0, 3)]);
    }
}
