//! The report of a retrieval evaluation, with the protocol it was made under.

use serde::{Deserialize, Serialize};

use crate::{GroundTruth, Recall, Result, RetrievalDirection, SimilarityMatrix, ranks};

/// The result of a retrieval evaluation.
///
/// In JSON the fields have these names, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// How the numbers were made, always with the number of models:
    /// `all 1000 images at once, single model`, `mean of 5 folds of 1000 images, ensemble of 2`.
    pub protocol: String,
    /// Number of images evaluated, over all folds.
    pub images: usize,
    /// Number of captions evaluated, over all folds.
    pub captions: usize,
    /// Images are queries, captions are ranked.
    pub image_to_text: RecallPercent,
    /// Captions are queries, images are ranked.
    pub text_to_image: RecallPercent,
    /// Sum of the six percentages, 0 to 600.
    pub rsum: f64,
}

/// Recall and ranks of one direction; recall in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecallPercent {
    /// Queries whose best positive is first, in percent.
    pub r1: f64,
    /// Queries whose best positive is among the first five, in percent.
    pub r5: f64,
    /// Queries whose best positive is among the first ten, in percent.
    pub r10: f64,
    /// Median rank, from 1; the mean of the middle two for an even number of queries.
    pub median_rank: f64,
    /// Mean rank, from 1.
    pub mean_rank: f64,
}

impl RecallPercent {
    /// R@1 + R@5 + R@10, in percent, 0 to 300.
    pub fn sum(&self) -> f64 {
        self.r1 + self.r5 + self.r10
    }
}

impl From<Recall> for RecallPercent {
    fn from(recall: Recall) -> Self {
        Self {
            r1: 100.0 * recall.r1,
            r5: 100.0 * recall.r5,
            r10: 100.0 * recall.r10,
            median_rank: recall.median_rank,
            mean_rank: recall.mean_rank,
        }
    }
}

impl RetrievalReport {
    /// `candidates` states, for the protocol, which images were ranked together.
    pub(crate) fn new(matrix: &SimilarityMatrix, candidates: &str, recalls: [Recall; 2]) -> Self {
        let [image_to_text, text_to_image] = recalls.map(RecallPercent::from);
        Self {
            protocol: format!("{candidates}, {}", matrix.label()),
            images: matrix.images(),
            captions: matrix.captions(),
            rsum: image_to_text.sum() + text_to_image.sum(),
            image_to_text,
            text_to_image,
        }
    }
}

/// Ranks all captions for every image and all images for every caption.
///
/// ```text
/// rsum = 100 * (R@1 + R@5 + R@10, image to text  +  R@1 + R@5 + R@10, text to image)
/// ```
///
/// # Errors
/// [`Error::TruthShape`](crate::Error::TruthShape) when matrix and ground truth differ in size,
/// [`Error::NoQueries`](crate::Error::NoQueries) when a direction has no query with a positive.
pub fn evaluate(matrix: &SimilarityMatrix, truth: &GroundTruth) -> Result<RetrievalReport> {
    let ranks = ranks(matrix, truth)?;
    let recalls = [
        Recall::in_direction(&ranks, RetrievalDirection::ImageToText)?,
        Recall::in_direction(&ranks, RetrievalDirection::TextToImage)?,
    ];
    let candidates = format!("all {} images at once", matrix.images());
    Ok(RetrievalReport::new(matrix, &candidates, recalls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ensemble};

    /// Twelve images of one caption each; every image but the first ranks its caption first.
    fn almost_perfect() -> (SimilarityMatrix, GroundTruth) {
        let mut values = vec![0.0; 144];
        for image in 1..12 {
            values[image * 12 + image] = 1.0;
        }
        let matrix = SimilarityMatrix::new(values, 12, 12).unwrap();
        (matrix, GroundTruth::in_order(12, 12).unwrap())
    }

    #[test]
    fn report_states_percent_ranks_and_their_sum() {
        let (matrix, truth) = almost_perfect();
        let report = evaluate(&matrix, &truth).unwrap();
        let hits = 100.0 * (11.0 / 12.0);
        assert_eq!(report.image_to_text.r1, hits);
        assert_eq!(report.image_to_text.r10, hits);
        assert_eq!(report.text_to_image.median_rank, 1.0);
        assert_eq!(report.text_to_image.mean_rank, 23.0 / 12.0);
        assert_eq!(report.rsum, 6.0 * hits);
        assert_eq!((report.images, report.captions), (12, 12));
    }

    #[test]
    fn protocol_names_single_model_and_ensemble() {
        let (matrix, truth) = almost_perfect();
        let report = evaluate(&matrix, &truth).unwrap();
        assert_eq!(report.protocol, "all 12 images at once, single model");
        let both = ensemble(&[matrix.clone(), matrix]).unwrap();
        let report = evaluate(&both, &truth).unwrap();
        assert_eq!(report.protocol, "all 12 images at once, ensemble of 2");
    }

    #[test]
    fn json_has_the_documented_fields_and_reads_back() {
        let (matrix, truth) = almost_perfect();
        let report = evaluate(&matrix, &truth).unwrap();
        let text = serde_json::to_string(&report).unwrap();
        let order = [
            "protocol",
            "images",
            "captions",
            "image_to_text",
            "r1",
            "r5",
            "r10",
            "median_rank",
            "mean_rank",
            "text_to_image",
            "rsum",
        ];
        let positions = order.map(|name| text.find(&format!("\"{name}\":")).unwrap());
        assert!(positions.is_sorted(), "{text}");
        let back: RetrievalReport = serde_json::from_str(&text).unwrap();
        assert_eq!(back.protocol, report.protocol);
        assert_eq!(back, report);
    }

    #[test]
    fn direction_without_queries_is_an_error() {
        let matrix = SimilarityMatrix::new(vec![0.0], 1, 1).unwrap();
        let truth = GroundTruth::from_lists(vec![vec![0]], vec![vec![]]).unwrap();
        let direction = RetrievalDirection::TextToImage;
        let error = evaluate(&matrix, &truth).unwrap_err();
        assert_eq!(error, Error::NoQueries { direction });
    }
}
