//! Which relevance values of a batch does the threshold learn from?

use candle_core::{Device, Tensor};
use rand::Rng;
use uard_core::random::Draws;
use uard_core::slices::reading;
use uard_relevance::{SampledPair, sample_pairs};

use crate::Result;
use crate::config::TrainConfig;
use crate::negatives::Pairing;

/// Sampled relevance: for each word its maximum over the regions of one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Of the word's own image.
    pub relevant: Vec<f32>,
    /// Of mismatched images.
    pub irrelevant: Vec<f32>,
}

impl Samples {
    /// Samples of a batch: words of the captions that are sampled, `<start>` and `<end>` included.
    /// From a device only these are copied.
    ///
    /// # Shapes
    /// `similarities` I x C numbers row-major, `word_maxima` [C, W, I].
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn draw(
        (config, step): (&TrainConfig, usize),
        pairing: &Pairing,
        similarities: &[f32],
        (word_maxima, word_counts): (&Tensor, &[usize]),
    ) -> Result<Self> {
        let pairs = drawn_pairs((config, step), pairing, similarities);
        let (_, words, images) = word_maxima.dims3()?;
        let place = |caption: usize, word: usize, image: usize| {
            ((caption * words + word) * images + image) as u32
        };
        let (mut matched, mut mismatched) = (Vec::new(), Vec::new());
        for pair in &pairs {
            for word in 0..word_counts[pair.caption] {
                let place = |&image: &usize| place(pair.caption, word, image);
                matched.push(place(&pair.matched_image));
                mismatched.extend(pair.mismatched_images.iter().map(place));
            }
        }
        let of_own = matched.len();
        matched.extend(mismatched);
        let mut relevant = picked(word_maxima, matched)?;
        let irrelevant = relevant.split_off(of_own);
        Ok(Self {
            relevant,
            irrelevant,
        })
    }
}

/// The sampled pairs of a step, counted from 1.
fn drawn_pairs(
    (config, step): (&TrainConfig, usize),
    pairing: &Pairing,
    similarities: &[f32],
) -> Vec<SampledPair> {
    let draws = Draws::new(config.training.seed);
    let mut stream = draws.stream("mismatched image", &[step.saturating_sub(1) as u64]);
    sample_pairs(
        similarities,
        pairing.image_of_caption(),
        pairing.images(),
        (config.threshold.captions, config.threshold.sampling),
        &mut |count| stream.random_range(0..count),
    )
}

/// The numbers at some places of a tensor; on a device one launch gathers them.
fn picked(tensor: &Tensor, places: Vec<u32>) -> Result<Vec<f32>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let tensor = tensor.contiguous()?;
    if tensor.device().is_cpu() {
        let reading = reading(&tensor);
        let numbers = reading.numbers::<f32>("samples")?;
        return Ok(places.iter().map(|&at| numbers[at as usize]).collect());
    }
    let count = places.len();
    let places = Tensor::from_vec(places, count, tensor.device())?;
    let numbers = tensor.flatten_all()?.index_select(&places, 0)?;
    Ok(numbers.to_device(&Device::Cpu)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use uard_relevance::SamplingRule;

    use super::*;

    /// Two images and three captions, of 2, 1 and 2 words; the last one's own image is not first.
    fn samples(sampling: SamplingRule) -> Samples {
        let mut config = TrainConfig::default();
        config.threshold.sampling = sampling;
        let pairing = Pairing::new(vec![0, 1, 0]);
        let similarities = [0.9, 0.1, 0.2, 0.3, 0.4, 0.8];
        let maxima: Vec<f32> = (0..12).map(|at| at as f32).collect();
        let maxima = Tensor::from_vec(maxima, (3, 2, 2), &Device::Cpu).unwrap();
        let maxima = (&maxima, &[2, 1, 2][..]);
        Samples::draw((&config, 1), &pairing, &similarities, maxima).unwrap()
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
    fn places_are_gathered_in_their_order() {
        let tensor = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        assert_eq!(picked(&tensor, vec![3, 0, 3]).unwrap(), [4.0, 1.0, 4.0]);
        assert!(picked(&tensor, Vec::new()).unwrap().is_empty());
        let turned = tensor.t().unwrap();
        assert_eq!(picked(&turned, vec![1]).unwrap(), [3.0]);
    }
}
