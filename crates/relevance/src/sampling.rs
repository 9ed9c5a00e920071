//! Chooses the pairs of a batch whose relevance is sampled for the two distributions.

use crate::{Error, LearnerConfig, Result};
use serde::{Deserialize, Serialize};

/// Which captions of a batch are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionRule {
    /// Captions whose own image is **strictly** more similar than every other image: with a tie or
    /// a NaN the caption is not sampled.
    #[default]
    RankedFirst,
    /// Every caption.
    All,
}

/// Which mismatched images of a caption give its irrelevant samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingRule {
    /// The image of lowest similarity.
    #[default]
    Easiest,
    /// The image of highest similarity.
    Hardest,
    /// One image drawn at random.
    Random,
    /// Every mismatched image.
    All,
}

/// One caption whose words are sampled, with the images that they are compared to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampledPair {
    /// The caption.
    pub caption: usize,
    /// Its own image: the maxima of the caption's words over this image are relevant samples.
    pub matched_image: usize,
    /// Other images, ascending, never empty: the maxima over each are irrelevant samples.
    pub mismatched_images: Vec<usize>,
}

/// Relevance sampled from a batch: for each word of the sampled captions its highest cosine with
/// the regions of one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// Maxima over the regions of the word's own image.
    pub relevant: Vec<f32>,
    /// Maxima over the regions of mismatched images.
    pub irrelevant: Vec<f32>,
}

/// The similarities of a batch, and which image each caption belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SimilarityMatrix<'a> {
    values: &'a [f32],
    images: usize,
    image_of_caption: &'a [usize],
}

impl<'a> SimilarityMatrix<'a> {
    /// Checks the sizes and the images.
    ///
    /// # Shapes
    /// - `values`: [I, C], row-major
    /// - `image_of_caption`: `[C]`, each below `images`, which is I
    ///
    /// # Errors
    /// When there is not one value for each pair, or a caption belongs to no image of the batch.
    pub fn new(values: &'a [f32], images: usize, image_of_caption: &'a [usize]) -> Result<Self> {
        let captions = image_of_caption.len();
        let expected = images.saturating_mul(captions);
        if values.len() != expected {
            return Err(Error::SimilarityCount {
                images,
                captions,
                expected,
                found: values.len(),
            });
        }
        for (caption, &image) in image_of_caption.iter().enumerate() {
            if image >= images {
                return Err(Error::NoSuchImage {
                    caption,
                    image,
                    images,
                });
            }
        }
        Ok(Self {
            values,
            images,
            image_of_caption,
        })
    }

    fn similarity(&self, image: usize, caption: usize) -> f32 {
        self.values[image * self.image_of_caption.len() + caption]
    }

    fn mismatched_images(&self, caption: usize) -> impl Iterator<Item = usize> + use<> {
        let own = self.image_of_caption[caption];
        (0..self.images).filter(move |&image| image != own)
    }

    fn ranks_first(&self, caption: usize) -> bool {
        let own = self.similarity(self.image_of_caption[caption], caption);
        self.mismatched_images(caption)
            .all(|image| own > self.similarity(image, caption))
    }

    /// The first image that no other one is better than.
    fn first_by(&self, caption: usize, is_better: fn(f32, f32) -> bool) -> Vec<usize> {
        let similarity = |image| self.similarity(image, caption);
        let images = self.mismatched_images(caption);
        let best =
            images.reduce(
                |best, image| match is_better(similarity(image), similarity(best)) {
                    true => image,
                    false => best,
                },
            );
        best.into_iter().collect()
    }
}

/// The captions that give samples, ascending, with the images that their words are compared to.
///
/// Every image but its own is mismatched to a caption, however many captions share that image. A
/// batch of one image has no mismatched images, so nothing is sampled. Of mismatched images with
/// equal similarity the one of lowest index is taken.
///
/// `draw(n)` gives a number below `n`. It is called under [`SamplingRule::Random`] only, once for
/// every sampled caption, in the order of captions.
///
/// # Source
/// Zhang et al., *UARDA*, IEEE TMM 2022, does not say which captions and mismatched images are
/// sampled; the defaults are ours.
pub(crate) fn sample_pairs(
    matrix: &SimilarityMatrix<'_>,
    config: &LearnerConfig,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Vec<SampledPair> {
    if matrix.images < 2 {
        return Vec::new();
    }
    let captions = 0..matrix.image_of_caption.len();
    let sampled = captions.filter(|&caption| match config.captions {
        CaptionRule::RankedFirst => matrix.ranks_first(caption),
        CaptionRule::All => true,
    });
    sampled
        .map(|caption| SampledPair {
            caption,
            matched_image: matrix.image_of_caption[caption],
            mismatched_images: match config.sampling {
                SamplingRule::Easiest => matrix.first_by(caption, |other, best| other < best),
                SamplingRule::Hardest => matrix.first_by(caption, |other, best| other > best),
                SamplingRule::All => matrix.mismatched_images(caption).collect(),
                SamplingRule::Random => {
                    let drawn = draw(matrix.images - 1);
                    matrix
                        .mismatched_images(caption)
                        .skip(drawn)
                        .take(1)
                        .collect()
                }
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images, one caption, which belongs to image 1.
    const COLUMN: [f32; 4] = [0.3, 0.9, 0.1, 0.5];

    fn config(captions: CaptionRule, sampling: SamplingRule) -> LearnerConfig {
        LearnerConfig {
            captions,
            sampling,
            ..LearnerConfig::default()
        }
    }

    fn sample(column: &[f32], own: usize, rule: SamplingRule) -> Vec<SampledPair> {
        let owners = [own];
        let matrix = SimilarityMatrix::new(column, column.len(), &owners).unwrap();
        let config = config(CaptionRule::RankedFirst, rule);
        sample_pairs(&matrix, &config, &mut |count| count - 1)
    }

    #[test]
    fn each_rule_chooses_its_mismatched_images() {
        let chosen = |rule| sample(&COLUMN, 1, rule)[0].mismatched_images.clone();
        assert_eq!(chosen(SamplingRule::Easiest), [2]);
        assert_eq!(chosen(SamplingRule::Hardest), [3]);
        assert_eq!(chosen(SamplingRule::All), [0, 2, 3]);
        assert_eq!(chosen(SamplingRule::Random), [3]);
    }

    #[test]
    fn own_image_must_rank_first() {
        assert!(sample(&COLUMN, 3, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn tie_with_another_image_counts_against_the_caption() {
        assert!(sample(&[0.5, 0.5], 0, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn nan_counts_against_the_caption() {
        assert!(sample(&[f32::NAN, 0.5], 0, SamplingRule::Easiest).is_empty());
        assert!(sample(&[0.5, f32::NAN], 0, SamplingRule::Easiest).is_empty());
    }

    #[test]
    fn the_rule_all_samples_captions_wherever_their_own_image_ranks() {
        let config = config(CaptionRule::All, SamplingRule::Hardest);
        for column in [COLUMN, [0.5; 4], [f32::NAN; 4]] {
            let matrix = SimilarityMatrix::new(&column, 4, &[3]).unwrap();
            let pairs = sample_pairs(&matrix, &config, &mut |_| 0);
            assert_eq!(pairs.len(), 1, "{column:?}");
            assert_eq!(pairs[0].matched_image, 3);
        }
        let matrix = SimilarityMatrix::new(&COLUMN, 4, &[3]).unwrap();
        let pairs = sample_pairs(&matrix, &config, &mut |_| 0);
        assert_eq!(pairs[0].mismatched_images, [1]);
    }

    #[test]
    fn equal_mismatched_images_give_the_lowest_index() {
        let chosen = |rule| {
            sample(&[0.2, 0.9, 0.2, 0.2], 1, rule)[0]
                .mismatched_images
                .clone()
        };
        assert_eq!(chosen(SamplingRule::Easiest), [0]);
        assert_eq!(chosen(SamplingRule::Hardest), [0]);
    }

    #[test]
    fn batches_without_a_mismatched_image_give_nothing() {
        for captions in [CaptionRule::RankedFirst, CaptionRule::All] {
            let config = config(captions, SamplingRule::All);
            for (values, images, owners) in [
                (&[0.9, 0.8][..], 1, &[0, 0][..]),
                (&[], 0, &[]),
                (&[], 3, &[]),
            ] {
                let matrix = SimilarityMatrix::new(values, images, owners).unwrap();
                assert!(sample_pairs(&matrix, &config, &mut |_| 0).is_empty());
            }
        }
    }

    #[test]
    fn only_random_draws_and_only_for_sampled_captions() {
        let similarities = [0.9, 0.1, 0.1, 0.2, 0.3, 0.3];
        let matrix = SimilarityMatrix::new(&similarities, 3, &[0, 0]).unwrap();
        use SamplingRule::{All, Easiest, Hardest, Random};
        for rule in [Easiest, Hardest, Random, All] {
            let mut drawn_below = Vec::new();
            let config = config(CaptionRule::RankedFirst, rule);
            let pairs = sample_pairs(&matrix, &config, &mut |count| {
                drawn_below.push(count);
                0
            });
            assert_eq!(pairs.len(), 1);
            let expected: &[usize] = if rule == Random { &[2] } else { &[] };
            assert_eq!(drawn_below, expected);
        }
    }

    #[test]
    fn sizes_and_images_that_do_not_fit_are_refused() {
        let error = SimilarityMatrix::new(&[0.1; 5], 2, &[0, 1, 0]).unwrap_err();
        assert!(
            error.to_string().contains("5 similarities, expected 6"),
            "{error}"
        );
        let error = SimilarityMatrix::new(&[0.1; 4], 2, &[0, 2]).unwrap_err();
        assert!(
            error.to_string().contains("caption 1 belongs to image 2"),
            "{error}"
        );
    }
}
