//! Which relevance values of a batch does the threshold learn from?

use candle_core::{Device, Tensor};
use rand::Rng;
use uard_core::random::Stream;
use uard_relevance::{SamplingRule, sample_pairs};

use super::step::BatchGradients;
use crate::Result;
use crate::negatives::Pairing;

/// Sampled relevance: for each word its maximum over the regions of one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Samples {
    /// Of the word's own image.
    pub(super) relevant: Vec<f32>,
    /// Of mismatched images.
    pub(super) irrelevant: Vec<f32>,
}

/// Samples of a batch: words of the captions whose own image ranks first, `<start>` and `<end>`
/// included.
pub(super) fn draw_samples(
    output: &BatchGradients,
    pairing: &Pairing,
    rule: SamplingRule,
    stream: &mut Stream,
) -> Result<Samples> {
    let images = pairing.images();
    let owners = pairing.image_of_caption();
    let pairs = sample_pairs(&output.similarities, owners, images, rule, &mut |count| {
        stream.random_range(0..count)
    });
    let maxima = Maxima::new(&output.word_maxima)?;
    let mut samples = Samples::default();
    for pair in pairs {
        for word in 0..output.word_counts[pair.caption] {
            let of_image = maxima.row(pair.caption, word);
            samples.relevant.push(of_image[pair.matched_image]);
            samples
                .irrelevant
                .extend(pair.mismatched_images.iter().map(|&image| of_image[image]));
        }
    }
    Ok(samples)
}

/// Highest relevance [C, W, I] in host memory.
struct Maxima {
    values: Vec<f32>,
    words: usize,
    images: usize,
}

impl Maxima {
    fn new(tensor: &Tensor) -> Result<Self> {
        let (_, words, images) = tensor.dims3()?;
        let values = tensor
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        Ok(Self {
            values,
            words,
            images,
        })
    }

    fn row(&self, caption: usize, word: usize) -> &[f32] {
        &self.values[(caption * self.words + word) * self.images..][..self.images]
    }
}
