//! Nearest-neighbour normalization: an image or caption that is similar to everything is ranked lower.

use crate::{Error, Result, SimilarityMatrix};

/// How many of the highest similarities with references are averaged.
const NEIGHBOURS: usize = 16;

/// The similarities of a split with references: captions and images of the training split.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceSimilarities {
    /// Images of the split with reference captions.
    pub captions: SimilarityMatrix,
    /// Reference images with captions of the split.
    pub images: SimilarityMatrix,
}

impl SimilarityMatrix {
    /// Subtracts from each similarity an offset of its image and one of its caption: `weight` times the mean
    /// of the 16 highest similarities with references, or of all where there are fewer.
    ///
    /// ```text
    /// normalized[i, c] = s[i, c] - weight (mean of the highest of references.captions[i, ..]
    ///                                      + mean of the highest of references.images[.., c])
    /// ```
    ///
    /// The offset of an image does not change the order of captions for it, and that of a caption not the
    /// order of images. Results are rounded to f32, so that a file of f32 has the same ranks.
    ///
    /// # Errors
    /// [`Error::ReferenceShape`] when the references are not those of these images and captions,
    /// [`Error::NonFinite`] when a result is too large for f32.
    ///
    /// # Source
    /// Chowdhury et al., *Nearest Neighbor Normalization Improves Multimodal Retrieval*, EMNLP 2024, here
    /// with one weight for both directions.
    ///
    /// ```
    /// use uard_eval::{ReferenceSimilarities, SimilarityMatrix};
    ///
    /// // Image 1 is similar to every caption, also to reference captions.
    /// let matrix = SimilarityMatrix::new(vec![0.5, 0.1, 0.6, 0.7], 2, 2)?;
    /// let references = ReferenceSimilarities {
    ///     captions: SimilarityMatrix::new(vec![0.2, 0.2, 0.6, 0.6], 2, 2)?,
    ///     images: SimilarityMatrix::new(vec![0.0, 0.0], 1, 2)?,
    /// };
    /// let normalized = matrix.normalized(&references, 0.5)?;
    /// assert_eq!(normalized.values(), [0.4f32, 0.0, 0.3, 0.4].map(f64::from));
    /// # Ok::<(), uard_eval::Error>(())
    /// ```
    pub fn normalized(mut self, references: &ReferenceSimilarities, weight: f64) -> Result<Self> {
        let ReferenceSimilarities { captions, images } = references;
        for (axis, expected, found) in [
            ("images", self.images(), captions.images()),
            ("captions", self.captions(), images.captions()),
        ] {
            if expected != found {
                return Err(Error::ReferenceShape {
                    axis,
                    expected,
                    found,
                });
            }
        }
        let of_captions = (0..self.captions())
            .map(|caption| mean_of_highest(images.rows().map(|row| row[caption]).collect()));
        let of_captions: Vec<f64> = of_captions.collect();
        for (row, references) in self
            .values
            .chunks_exact_mut(self.captions)
            .zip(captions.rows())
        {
            let of_image = mean_of_highest(references.to_vec());
            for (similarity, of_caption) in row.iter_mut().zip(&of_captions) {
                let normalized = *similarity - weight * (of_image + of_caption);
                *similarity = f64::from(normalized as f32);
            }
        }
        Ok(Self {
            models: self.models,
            ..Self::new(self.values, self.images, self.captions)?
        })
    }
}

/// The mean of the highest numbers, added from the highest on.
fn mean_of_highest(mut similarities: Vec<f64>) -> f64 {
    similarities.sort_unstable_by(|a, b| b.total_cmp(a));
    similarities.truncate(NEIGHBOURS);
    similarities.iter().sum::<f64>() / similarities.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroundTruth, evaluate};

    fn matrix(values: Vec<f64>, images: usize, captions: usize) -> SimilarityMatrix {
        SimilarityMatrix::new(values, images, captions).unwrap()
    }

    #[test]
    fn only_the_sixteen_highest_similarities_count() {
        let falling: Vec<f64> = (0..100).map(f64::from).rev().collect();
        let expected = (84..100).map(f64::from).sum::<f64>() / 16.0;
        assert_eq!(mean_of_highest(falling), expected);
        assert_eq!(mean_of_highest(vec![1.0, 4.0]), 2.5);
    }

    #[test]
    fn offsets_of_captions_change_the_order_of_captions_alone() {
        let similarities = matrix(vec![0.5, 0.6, 0.1, 0.4], 2, 2);
        let references = ReferenceSimilarities {
            captions: matrix(vec![0.3, 0.3], 2, 1),
            images: matrix(vec![0.0, 0.5], 1, 2),
        };
        let truth = GroundTruth::in_order(2, 2).unwrap();
        let before = evaluate(&similarities, &truth).unwrap();
        let normalized = similarities.normalized(&references, 0.5).unwrap();
        let after = evaluate(&normalized, &truth).unwrap();
        assert_eq!(
            (before.image_to_text.r1, after.image_to_text.r1),
            (50.0, 100.0)
        );
        assert_eq!(before.text_to_image, after.text_to_image);
    }

    #[test]
    fn a_weight_of_zero_changes_nothing() {
        let similarities = matrix(vec![0.5, 0.25, 0.125, 1.0], 2, 2);
        let references = ReferenceSimilarities {
            captions: matrix(vec![0.3, 0.7], 2, 1),
            images: matrix(vec![0.1, 0.5], 1, 2),
        };
        let found = similarities.clone().normalized(&references, 0.0).unwrap();
        assert_eq!(found.values(), similarities.values());
    }

    #[test]
    fn results_beyond_f32_are_refused() {
        let similarities = matrix(vec![1e300], 1, 1);
        let references = ReferenceSimilarities {
            captions: matrix(vec![0.0], 1, 1),
            images: matrix(vec![0.0], 1, 1),
        };
        let refused = similarities.normalized(&references, 0.5).unwrap_err();
        assert!(matches!(refused, Error::NonFinite { .. }), "{refused}");
    }

    #[test]
    fn references_of_other_images_are_refused() {
        let similarities = matrix(vec![0.5; 4], 2, 2);
        let references = ReferenceSimilarities {
            captions: matrix(vec![0.3; 3], 3, 1),
            images: matrix(vec![0.1, 0.5], 1, 2),
        };
        let refused = similarities.normalized(&references, 0.5).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains("3 images, expected 2"), "{message}");
    }
}
