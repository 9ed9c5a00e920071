//! The rank of the best positive of each query.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, GroundTruth, Result, SimilarityMatrix};

/// What the queries are, and what is ranked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalDirection {
    /// The query is an image; captions are ranked.
    ImageToText,
    /// The query is a caption; images are ranked.
    TextToImage,
}

impl RetrievalDirection {
    /// Both directions, image to text first.
    pub const BOTH: [Self; 2] = [Self::ImageToText, Self::TextToImage];
}

impl fmt::Display for RetrievalDirection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ImageToText => "image to text",
            Self::TextToImage => "text to image",
        })
    }
}

/// The rank of the best positive of every query, from 1; `None` where there is no positive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranks {
    /// For each image, the rank of its best caption.
    pub image_to_text: Vec<Option<usize>>,
    /// For each caption, the rank of its best image.
    pub text_to_image: Vec<Option<usize>>,
}

impl Ranks {
    /// The ranks of one direction, in the order of its queries.
    pub fn in_direction(&self, direction: RetrievalDirection) -> &[Option<usize>] {
        match direction {
            RetrievalDirection::ImageToText => &self.image_to_text,
            RetrievalDirection::TextToImage => &self.text_to_image,
        }
    }
}

/// Ranks every query by counting, without sorting: one pass over the matrix for each direction.
///
/// ```text
/// rank = 1 + number of mismatched candidates at least as similar as the most similar positive
/// ```
///
/// Ties count against the system: a mismatched candidate of equal similarity ranks before the
/// positive, so a collapsed model that gives every pair the same similarity ranks positives last,
/// not first. Other positives of the query do not lower its rank.
///
/// # Errors
/// [`Error::TruthShape`] when matrix and ground truth differ in size.
pub fn ranks(matrix: &SimilarityMatrix, truth: &GroundTruth) -> Result<Ranks> {
    check_shape(matrix, truth)?;
    Ok(Ranks {
        image_to_text: ranks_of_images(matrix, truth),
        text_to_image: ranks_of_captions(matrix, truth),
    })
}

/// Fails unless matrix and ground truth have the same numbers of images and captions.
pub(crate) fn check_shape(matrix: &SimilarityMatrix, truth: &GroundTruth) -> Result<()> {
    let axes = [
        ("images", truth.images(), matrix.images()),
        ("captions", truth.captions(), matrix.captions()),
    ];
    match axes
        .into_iter()
        .find(|(_, expected, found)| expected != found)
    {
        None => Ok(()),
        Some((axis, expected, found)) => Err(Error::TruthShape {
            axis,
            expected,
            found,
        }),
    }
}

fn ranks_of_images(matrix: &SimilarityMatrix, truth: &GroundTruth) -> Vec<Option<usize>> {
    let positives = truth.positives(RetrievalDirection::ImageToText);
    matrix
        .rows()
        .zip(positives)
        .map(|(row, positives)| {
            let best = best_positive(positives, |caption| row[caption])?;
            let at_least = row
                .iter()
                .filter(|&&value| value >= best.similarity)
                .count();
            Some(1 + at_least - best.tied)
        })
        .collect()
}

/// Counts row by row instead of column by column, so that memory is read in order.
fn ranks_of_captions(matrix: &SimilarityMatrix, truth: &GroundTruth) -> Vec<Option<usize>> {
    let best: Vec<Option<BestPositive>> = truth
        .positives(RetrievalDirection::TextToImage)
        .iter()
        .enumerate()
        .map(|(caption, positives)| best_positive(positives, |image| matrix.row(image)[caption]))
        .collect();
    // A caption that is no query gets infinity, so that none of its similarities, which are all
    // finite, is counted.
    let best_similarities: Vec<f64> = best
        .iter()
        .map(|best| best.map_or(f64::INFINITY, |best| best.similarity))
        .collect();
    let mut at_least = vec![0_u32; matrix.captions()];
    for row in matrix.rows() {
        for ((count, value), best) in at_least.iter_mut().zip(row).zip(&best_similarities) {
            *count += u32::from(value >= best);
        }
    }
    best.iter()
        .zip(at_least)
        .map(|(best, at_least)| best.map(|best| 1 + at_least as usize - best.tied))
        .collect()
}

/// The most similar positive of a query.
#[derive(Debug, Clone, Copy)]
struct BestPositive {
    similarity: f64,
    /// How many positives have that same similarity; they do not lower the rank.
    tied: usize,
}

fn best_positive(positives: &[usize], similarity: impl Fn(usize) -> f64) -> Option<BestPositive> {
    let best = positives
        .iter()
        .map(|&candidate| similarity(candidate))
        .reduce(f64::max)?;
    let tied = positives
        .iter()
        .filter(|&&candidate| similarity(candidate) == best)
        .count();
    Some(BestPositive {
        similarity: best,
        tied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks_of(values: &[f64], image_of_caption: &[usize]) -> Ranks {
        let images = values.len() / image_of_caption.len();
        let matrix =
            SimilarityMatrix::new(values.to_vec(), images, image_of_caption.len()).unwrap();
        let truth = GroundTruth::from_image_of_caption(image_of_caption, images).unwrap();
        ranks(&matrix, &truth).unwrap()
    }

    #[test]
    fn hand_written_matrix_has_hand_counted_ranks() {
        let values = [
            0.9, 0.1, 0.4, // image 0: own caption first
            0.8, 0.5, 0.6, // image 1: own caption last
            0.1, 0.7, 0.3, // image 2: own caption second
        ];
        let ranks = ranks_of(&values, &[0, 1, 2]);
        assert_eq!(ranks.image_to_text, [Some(1), Some(3), Some(2)]);
        assert_eq!(ranks.text_to_image, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn best_of_several_positives_gives_the_rank() {
        let values = [
            0.1, 0.9, 0.5, 0.2, // captions 0 and 1 match
            0.3, 0.4, 0.2, 0.1, // captions 2 and 3 match
        ];
        let ranks = ranks_of(&values, &[0, 0, 1, 1]);
        assert_eq!(ranks.image_to_text, [Some(1), Some(3)]);
    }

    #[test]
    fn mismatched_item_of_equal_similarity_ranks_before() {
        let ranks = ranks_of(&[0.5, 0.5, 0.4, 0.6], &[0, 1]);
        assert_eq!(ranks.image_to_text, [Some(2), Some(1)]);
        let ranks = ranks_of(&[0.0, -0.0, -1.0, 1.0], &[0, 1]);
        assert_eq!(ranks.image_to_text, [Some(2), Some(1)]);
    }

    #[test]
    fn numbers_that_are_equal_in_f32_are_ranked_in_f64() {
        let ranks = ranks_of(&[1000.0 + 1e-9, 1000.0, 1000.0, 1000.0 + 2e-9], &[0, 1]);
        assert_eq!(ranks.image_to_text, [Some(1), Some(1)]);
        assert_eq!(ranks.text_to_image, [Some(1), Some(1)]);
    }

    #[test]
    fn tied_positives_do_not_lower_the_rank() {
        let ranks = ranks_of(&[0.5, 0.5, 0.1, 0.1, 0.1, 0.9], &[0, 0, 1]);
        assert_eq!(ranks.image_to_text, [Some(1), Some(1)]);
    }

    #[test]
    fn collapsed_model_ranks_positives_last() {
        let ranks = ranks_of(&[0.0; 3 * 6], &[0, 0, 1, 1, 2, 2]);
        assert_eq!(ranks.image_to_text, [Some(5); 3]);
        assert_eq!(ranks.text_to_image, [Some(3); 6]);
    }

    #[test]
    fn single_pair_ranks_first() {
        let ranks = ranks_of(&[-3.0], &[0]);
        assert_eq!(ranks.image_to_text, [Some(1)]);
        assert_eq!(ranks.text_to_image, [Some(1)]);
    }

    #[test]
    fn image_without_captions_is_no_query_but_a_candidate() {
        let ranks = ranks_of(&[0.1, 0.2, 0.3, 0.1], &[0, 0]);
        assert_eq!(ranks.image_to_text, [Some(1), None]);
        assert_eq!(ranks.text_to_image, [Some(2), Some(1)]);
    }

    #[test]
    fn caption_without_images_is_no_query_but_a_candidate() {
        let matrix = SimilarityMatrix::new(vec![0.1, 0.2], 1, 2).unwrap();
        let truth = GroundTruth::from_lists(vec![vec![0]], vec![vec![0], vec![]]).unwrap();
        let ranks = ranks(&matrix, &truth).unwrap();
        assert_eq!(ranks.image_to_text, [Some(2)]);
        assert_eq!(ranks.text_to_image, [Some(1), None]);
    }

    #[test]
    fn other_sizes_than_the_ground_truth_are_refused() {
        let matrix = SimilarityMatrix::new(vec![0.0; 6], 2, 3).unwrap();
        let truth = GroundTruth::in_order(2, 4).unwrap();
        let text = ranks(&matrix, &truth).unwrap_err().to_string();
        assert!(text.contains("has 3 captions, the ground truth 4"));
        let truth = GroundTruth::in_order(3, 3).unwrap();
        let text = ranks(&matrix, &truth).unwrap_err().to_string();
        assert!(text.contains("has 2 images, the ground truth 3"));
    }
}
