//! The loss of a batch and its gradient, whole or in parts.

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
use crate::loss::{Hinge, hinge, surrogate, surrogate_of};
use crate::negatives::{Negatives, Pairing};
use crate::{Error, Result};

/// A batch with everything that was read for it.
#[derive(Debug)]
pub struct Prepared {
    /// Which captions and images.
    pub batch: Batch,
    /// Features of the batch's images.
    pub features: ImageFeatures,
    /// Word ids of the batch's captions.
    pub captions: Vec<Vec<u32>>,
}

/// How a batch is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judgement<'a> {
    /// Threshold of the attention (a cosine).
    pub threshold: f64,
    /// Which negatives count.
    pub negatives: Negatives,
    /// Step over the whole run, from 1: named in errors.
    pub step: usize,
    /// Chooses the samples of the batch; none where the threshold is not learned.
    pub learner: Option<&'a ThresholdLearner>,
}

/// Loss and gradients of a batch, and what the threshold is learned from.
#[derive(Debug)]
pub struct BatchGradients {
    /// Loss, reduced over the captions.
    pub loss: f64,
    /// Gradient of every parameter.
    pub gradients: Gradients,
    /// Similarities [I, C] row-major.
    pub similarities: Vec<f32>,
    /// What the threshold is learned from; nothing where it is not learned.
    pub samples: Samples,
}

/// Loss and gradients of a batch, encoded in `training.accumulation` parts.
///
/// With one part the graph runs from the loss to the parameters. With more, each part is encoded
/// without a graph; the loss of the **whole** batch gives the gradient of its fragments; then each
/// part is encoded again and receives the gradient of its own fragments. Hardest negatives are
/// those of the whole batch in both cases, so the gradient is the same but for rounding and, in an
/// encoder that drops numbers, for which ones, while only one part's graph is in memory.
///
/// # Errors
/// When something is not finite: names the first such tensor.
pub fn batch_gradients(
    model: &Model,
    prepared: Prepared,
    config: &TrainConfig,
    judgement: Judgement<'_>,
) -> Result<BatchGradients> {
    if config.training.accumulation > 1 {
        return in_parts(model, &prepared, config, judgement);
    }
    let regions = model.encode_features(prepared.features)?;
    let batch = (&prepared.batch, &prepared.captions[..]);
    whole(model, &regions, batch, config, judgement)
}

/// [`batch_gradients`] of a batch whose images are encoded, in one part.
pub(super) fn whole(
    model: &Model,
    regions: &Regions,
    (batch, captions): (&Batch, &[Vec<u32>]),
    config: &TrainConfig,
    judgement: Judgement<'_>,
) -> Result<BatchGradients> {
    let words = words_of_part(model, captions, config, judgement, 0)?;
    let judge = Judge {
        model,
        fragments: (regions, &words),
        pairing: &batch.pairing,
        config,
        judgement,
    };
    let judged = judge.judged()?;
    let mut store = judged.scalar.backward()?;
    let gradients = Gradients::take(model.parameters(), &mut store)?;
    judge.with(judged, gradients)
}

fn in_parts(
    model: &Model,
    prepared: &Prepared,
    config: &TrainConfig,
    judgement: Judgement<'_>,
) -> Result<BatchGradients> {
    // Every part has an image, so that every parameter has a gradient in every part.
    let parts = config.training.accumulation.min(prepared.features.images());
    let images = cuts(prepared.features.images(), parts);
    let captions = cuts(prepared.captions.len(), parts);
    let encoded = |part: usize| {
        let (start, len) = images[part];
        let regions = model.encode_features(prepared.features.slice(start, len))?;
        let (start, len) = captions[part];
        let captions = &prepared.captions[start..start + len];
        let words = words_of_part(model, captions, config, judgement, part)?;
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
    let judge = Judge {
        model,
        fragments: (&regions, &words),
        pairing: &prepared.batch.pairing,
        config,
        judgement,
    };
    let judged = judge.judged()?;
    let store = judged.scalar.backward()?;
    let missing = |name: &str| Error::NoGradient {
        name: name.to_owned(),
    };
    let gradient_of = |leaf: &Leaf, name| {
        let gradient = store.get(&leaf.rows).cloned();
        gradient.ok_or_else(|| missing(name))
    };
    let of_regions = gradient_of(&region_leaf, "regions")?;
    let of_words = gradient_of(&word_leaf, "words")?;
    drop(store);
    let mut total: Option<Gradients> = None;
    for part in 0..parts {
        let (regions, words) = encoded(part)?;
        let into_regions = pulled(regions.rows(), &of_regions, images[part].0)?;
        let into_words = pulled(words.rows(), &of_words, captions[part].0)?;
        let mut store = (into_regions + into_words)?.backward()?;
        let part = Gradients::take(model.parameters(), &mut store)?;
        match &mut total {
            Some(total) => total.add(&part)?,
            None => total = Some(part),
        }
    }
    let gradients = total.ok_or_else(|| missing("batch"))?;
    judge.with(judged, gradients)
}

/// Encodes the captions of a part of a step's batch: what is dropped depends on seed, step and part
/// alone, so that a part that is encoded twice drops the same.
fn words_of_part(
    model: &Model,
    captions: &[Vec<u32>],
    config: &TrainConfig,
    judgement: Judgement<'_>,
    part: usize,
) -> Result<Words> {
    let drops = Drops {
        draws: &Draws::new(config.training.seed),
        step: &[judgement.step as u64, part as u64],
    };
    Ok(model.encode_captions(captions, Some(drops))?)
}

/// A scalar whose gradient with respect to a part's rows is its cut of the whole gradient.
fn pulled(rows: &Tensor, gradient: &Tensor, start: usize) -> Result<Tensor> {
    let (entries, longest, _) = rows.dims3()?;
    let gradient = gradient
        .narrow(0, start, entries)?
        .narrow(1, 0, longest)?
        .detach();
    Ok((rows * gradient)?.sum_all()?)
}

/// The rows of all parts, cut from their graphs, as the start of a new one.
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

/// What a batch is judged with.
struct Judge<'a> {
    model: &'a Model,
    fragments: (&'a Regions, &'a Words),
    pairing: &'a Pairing,
    config: &'a TrainConfig,
    judgement: Judgement<'a>,
}

struct Judged {
    /// Where the backward pass begins.
    scalar: Tensor,
    /// Cut from the graph, on the device that computed them.
    found: Similarities,
    /// Absent where the backward pass begins without waiting for them.
    seen: Option<Seen>,
}

/// Similarities [I, C] on the host, and their loss.
struct Seen {
    similarities: Vec<f32>,
    hinge: Hinge,
}

impl Judge<'_> {
    fn judged(&self) -> Result<Judged> {
        let (regions, words) = self.fragments;
        let matcher = self.model.matcher();
        let found = matcher.similarities(regions, words, self.judgement.threshold)?;
        let (scalar, seen) = match self.gradient_on_device(&found.values)? {
            Some(gradient) => (surrogate_of(&found.values, &gradient)?, None),
            None => {
                let seen = self.see(&found.values)?;
                (surrogate(&found.values, &seen.hinge)?, Some(seen))
            }
        };
        Ok(Judged {
            scalar,
            found: found.detach(),
            seen,
        })
    }

    /// The gradient of similarities, where a kernel computes it.
    #[cfg(feature = "cuda")]
    fn gradient_on_device(&self, values: &Tensor) -> Result<Option<Tensor>> {
        use crate::kernel::{HingeForm, on_tensors};
        if !values.device().is_cuda() || values.dtype() != DType::F32 {
            return Ok(None);
        }
        let form = HingeForm::new(self.pairing, &self.config.loss, self.judgement.negatives);
        Ok(Some(on_tensors::hinge(values, self.pairing, &form)?))
    }

    #[cfg(not(feature = "cuda"))]
    fn gradient_on_device(&self, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Waits for the similarities.
    fn see(&self, values: &Tensor) -> Result<Seen> {
        let similarities = values
            .to_dtype(DType::F32)?
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        if similarities.iter().any(|value| !value.is_finite()) {
            return Err(self.first_not_finite()?);
        }
        let negatives = self.judgement.negatives;
        Ok(Seen {
            hinge: hinge(&similarities, self.pairing, &self.config.loss, negatives)?,
            similarities,
        })
    }

    /// What the batch has come to, with the gradients of its scalar. On CUDA everything was
    /// launched before, and here is where the host waits.
    fn with(&self, judged: Judged, mut gradients: Gradients) -> Result<BatchGradients> {
        gradients.begin_norm()?;
        let seen = match judged.seen {
            Some(seen) => seen,
            None => self.see(&judged.found.values)?,
        };
        Ok(BatchGradients {
            loss: seen.hinge.value,
            gradients,
            samples: self.samples(&seen.similarities, &judged.found)?,
            similarities: seen.similarities,
        })
    }

    /// Read now: later the host would wait for the optimizer too.
    fn samples(&self, similarities: &[f32], found: &Similarities) -> Result<Samples> {
        let Some(learner) = self.judgement.learner else {
            return Ok(Samples::default());
        };
        let (images, owners) = (self.pairing.images(), self.pairing.image_of_caption());
        let matrix = SimilarityMatrix::new(similarities, images, owners)?;
        Ok(found.samples(&learner.sampled_pairs(&matrix))?)
    }

    /// Similarities are not finite: where did it begin?
    fn first_not_finite(&self) -> Result<Error> {
        let step = self.judgement.step;
        let named = |tensor: String| Error::NonFinite { tensor, step };
        for (name, var) in self.model.parameters().iter() {
            if !is_finite(var)? {
                return Ok(named(format!("parameter `{name}`")));
            }
        }
        let (regions, words) = self.fragments;
        for (name, rows) in [("regions", regions.rows()), ("words", words.rows())] {
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

/// Starts and lengths of at most `parts` parts of nearly equal length; none is empty.
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
