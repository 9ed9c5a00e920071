//! The similarities of a batch as the threshold's learner reads them: only the sampled word maxima
//! are copied from a device.

use candle_core::{DType, Device, Tensor};
use uard_core::slices::reading;
use uard_relevance::{ObservedBatch, SampledPair, Samples};

use crate::{Error, Result, Similarities};

/// A learner observes the similarities of each batch:
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_attention::{Matcher, MatcherConfig, Regions, Words};
/// use uard_relevance::{LearnerConfig, ThresholdLearner};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two images of one region, and a caption of two words for each.
/// let regions = Tensor::new(&[[[1f32, 0.0]], [[0.0, 1.0]]], &Device::Cpu)?;
/// let words = Tensor::new(&[[[0.9f32, 0.1], [0.6, 0.5]], [[0.1, 0.9], [0.3, 0.8]]], &Device::Cpu)?;
/// let regions = Regions::normalized(&regions, vec![1, 1])?;
/// let words = Words::normalized(&words, vec![2, 2])?;
/// let config = LearnerConfig { minimum_samples: 4, ..LearnerConfig::default() };
/// let mut learner = ThresholdLearner::new(config)?;
///
/// let found = Matcher::new(MatcherConfig::default())?
///     .similarities(&regions, &words, learner.threshold())?;
/// let update = learner.observe(&found, &[0, 1])?;
/// assert!(learner.threshold() > 0.0, "{update}");
/// # Ok(())
/// # }
/// ```
impl ObservedBatch for Similarities {
    type Error = Error;

    fn images(&self) -> usize {
        self.values.dims().first().copied().unwrap_or(0)
    }

    fn similarities(&self) -> Result<Vec<f32>> {
        let values = self.values.detach().to_dtype(DType::F32)?;
        let values = values.to_device(&Device::Cpu)?.flatten_all()?;
        Ok(values.to_vec1()?)
    }

    fn samples(&self, pairs: &[SampledPair]) -> Result<Samples> {
        let (_, words, images) = self.word_maxima.dims3()?;
        let (mut matched, mut mismatched) = (Vec::new(), Vec::new());
        for pair in pairs {
            for word in 0..self.word_counts[pair.caption] {
                let row = (pair.caption * words + word) * images;
                let offset = |&image: &usize| (row + image) as u32;
                matched.push(offset(&pair.matched_image));
                mismatched.extend(pair.mismatched_images.iter().map(offset));
            }
        }
        let relevant = matched.len();
        matched.append(&mut mismatched);
        let mut numbers = gathered(&self.word_maxima, matched)?;
        let irrelevant = numbers.split_off(relevant);
        Ok(Samples {
            relevant: numbers,
            irrelevant,
        })
    }
}

/// The numbers of a tensor at some offsets into its elements; on a device one launch gathers them.
fn gathered(tensor: &Tensor, offsets: Vec<u32>) -> Result<Vec<f32>> {
    if offsets.is_empty() {
        return Ok(Vec::new());
    }
    let tensor = tensor.contiguous()?;
    if tensor.device().is_cpu() {
        let reading = reading(&tensor);
        let numbers = reading.numbers::<f32>("samples")?;
        return Ok(offsets.iter().map(|&at| numbers[at as usize]).collect());
    }
    let count = offsets.len();
    let offsets = Tensor::from_vec(offsets, count, tensor.device())?;
    let numbers = tensor.flatten_all()?.index_select(&offsets, 0)?;
    Ok(numbers.to_device(&Device::Cpu)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use uard_relevance::{LearnerConfig, SamplingRule, SimilarityMatrix, ThresholdLearner};

    use super::*;
    use crate::Kept;
    use crate::matcher::KeptCount;

    /// Two images and three captions, of 2, 1 and 2 words. To the last caption another
    /// image is more similar than its own.
    fn samples(sampling: SamplingRule) -> Samples {
        let similarities = [0.9f32, 0.1, 0.2, 0.3, 0.4, 0.8];
        let maxima: Vec<f32> = (0..12).map(|at| at as f32).collect();
        let found = Similarities {
            values: Tensor::from_vec(similarities.to_vec(), (2, 3), &Device::Cpu).unwrap(),
            word_maxima: Tensor::from_vec(maxima, (3, 2, 2), &Device::Cpu).unwrap(),
            word_counts: vec![2, 1, 2],
            kept: KeptCount::OnHost(Kept::default()),
        };
        let config = LearnerConfig {
            sampling,
            ..LearnerConfig::default()
        };
        let matrix = SimilarityMatrix::new(&similarities, 2, &[0, 1, 0]).unwrap();
        let pairs = ThresholdLearner::new(config)
            .unwrap()
            .sampled_pairs(&matrix);
        found.samples(&pairs).unwrap()
    }

    #[test]
    fn samples_are_those_of_captions_that_rank_their_image_first() {
        for sampling in [SamplingRule::Easiest, SamplingRule::Random] {
            let found = samples(sampling);
            assert_eq!(found.relevant, [0.0, 2.0, 5.0]);
            assert_eq!(found.irrelevant, [1.0, 3.0, 4.0]);
        }
    }

    #[test]
    fn numbers_are_gathered_in_the_order_of_their_offsets() {
        let tensor = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        assert_eq!(gathered(&tensor, vec![3, 0, 3]).unwrap(), [4.0, 1.0, 4.0]);
        assert!(gathered(&tensor, Vec::new()).unwrap().is_empty());
        let transposed = tensor.t().unwrap();
        assert_eq!(gathered(&transposed, vec![1]).unwrap(), [3.0]);
    }
}
