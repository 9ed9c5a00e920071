//! Evaluation in folds, as in the "1K" protocol of MS-COCO: each fold is ranked by itself, then the
//! numbers are averaged.

use std::ops::Range;

use crate::rank::check_shape;
use crate::{
    Error, GroundTruth, Recall, Result, RetrievalDirection, RetrievalReport, SimilarityMatrix,
    evaluate, ranks,
};

/// Checks that the images can be split into equal folds.
///
/// # Errors
/// [`Error::Folds`] when `folds` is zero, exceeds the images or does not divide them.
pub fn expect_folds(images: usize, folds: usize) -> Result<()> {
    if folds == 0 || !images.is_multiple_of(folds) {
        return Err(Error::Folds { images, folds });
    }
    Ok(())
}

/// Evaluates equal folds of the images, in order, and gives the mean of the folds' numbers.
///
/// Each fold ranks its own images and its own captions only. A caption belongs to the fold of its
/// image; with explicit lists, to every fold that holds one of its images, with the positives of
/// that fold; a caption without images belongs to none. Every field is a mean over folds, so
/// `median_rank` is the mean of the medians. One fold is [`evaluate`], and is labelled like it.
///
/// # Errors
/// [`Error::Folds`] when `folds` is zero, exceeds the images or does not divide them,
/// [`Error::FoldWithoutQueries`] when a fold cannot be evaluated, and those of [`evaluate`].
///
/// # Source
/// MS-COCO "1K": five folds of 1,000 images of the 5,000 test images. The summaries printed by
/// SCAN, SGRAF and NAAF mix up columns; these are the means of the R@K lines themselves.
pub fn evaluate_folds(
    matrix: &SimilarityMatrix,
    truth: &GroundTruth,
    folds: usize,
) -> Result<RetrievalReport> {
    check_shape(matrix, truth)?;
    let images = matrix.images();
    expect_folds(images, folds)?;
    if folds == 1 {
        return evaluate(matrix, truth);
    }
    let size = images / folds;
    let recalls = (0..folds)
        .map(|fold| evaluate_fold(matrix, truth, fold, fold * size..(fold + 1) * size))
        .collect::<Result<Vec<_>>>()?;
    let means = [0, 1].map(|direction| mean(&recalls, direction));
    let protocol = format!("mean of {folds} folds of {size} images");
    Ok(RetrievalReport::new(matrix, &protocol, means))
}

/// Recall of both directions in one fold, image to text first.
fn evaluate_fold(
    matrix: &SimilarityMatrix,
    truth: &GroundTruth,
    fold: usize,
    images: Range<usize>,
) -> Result<[Recall; 2]> {
    let without = |direction| Error::FoldWithoutQueries {
        fold,
        first: images.start,
        last: images.end - 1,
        direction,
    };
    let captions = truth.captions_of(&images);
    if captions.is_empty() {
        return Err(without(RetrievalDirection::ImageToText));
    }
    let ranks = ranks(
        &matrix.part(images.clone(), &captions),
        &truth.part(images.clone(), &captions),
    )?;
    let recall = |direction| {
        let recall = Recall::from_ranks(ranks.in_direction(direction));
        recall.ok_or_else(|| without(direction))
    };
    let [image_to_text, text_to_image] = RetrievalDirection::BOTH.map(recall);
    Ok([image_to_text?, text_to_image?])
}

/// The mean over folds of each number of one direction; there is at least one fold.
fn mean(folds: &[[Recall; 2]], direction: usize) -> Recall {
    let mean = |field: fn(&Recall) -> f64| {
        let sum: f64 = folds.iter().map(|both| field(&both[direction])).sum();
        sum / folds.len() as f64
    };
    Recall {
        r1: mean(|recall| recall.r1),
        r5: mean(|recall| recall.r5),
        r10: mean(|recall| recall.r10),
        median_rank: mean(|recall| recall.median_rank),
        mean_rank: mean(|recall| recall.mean_rank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble;

    /// Four images of one caption each. Inside the folds {0, 1} and {2, 3} only image 3 ranks
    /// another caption first; over all images, image 0 does too.
    fn four() -> (SimilarityMatrix, GroundTruth) {
        let values = vec![
            0.8, 0.1, 0.2, 0.9, //
            0.1, 0.8, 0.2, 0.3, //
            0.1, 0.2, 0.8, 0.3, //
            0.1, 0.2, 0.7, 0.6,
        ];
        let matrix = SimilarityMatrix::new(values, 4, 4).unwrap();
        (matrix, GroundTruth::in_order(4, 4).unwrap())
    }

    #[test]
    fn folds_rank_their_own_images_and_captions_only() {
        let (matrix, truth) = four();
        let report = evaluate_folds(&matrix, &truth, 2).unwrap();
        assert_eq!(report.image_to_text.r1, 75.0);
        assert_eq!(report.image_to_text.median_rank, 1.25);
        assert_eq!(report.image_to_text.mean_rank, 1.25);
        assert_eq!(report.text_to_image.r1, 100.0);
        assert_eq!(report.rsum, 575.0);
        assert_eq!((report.images, report.captions), (4, 4));
        assert_eq!(evaluate(&matrix, &truth).unwrap().image_to_text.r1, 50.0);
    }

    #[test]
    fn protocol_names_folds_and_models() {
        let (matrix, truth) = four();
        let report = evaluate_folds(&matrix, &truth, 2).unwrap();
        let expected = "mean of 2 folds of 2 images, single model";
        assert_eq!(report.protocol, expected);
        let both = ensemble(&[matrix.clone(), matrix]).unwrap();
        let report = evaluate_folds(&both, &truth, 4).unwrap();
        let expected = "mean of 4 folds of 1 images, ensemble of 2";
        assert_eq!(report.protocol, expected);
    }

    #[test]
    fn one_fold_is_everything_at_once() {
        let (matrix, truth) = four();
        let folded = evaluate_folds(&matrix, &truth, 1).unwrap();
        assert_eq!(folded, evaluate(&matrix, &truth).unwrap());
    }

    #[test]
    fn captions_out_of_order_follow_their_image() {
        let (matrix, truth) = four();
        let turned: Vec<f64> = matrix
            .rows()
            .flat_map(|row| row.iter().rev().copied())
            .collect();
        let turned = SimilarityMatrix::new(turned, 4, 4).unwrap();
        let turned_truth = GroundTruth::from_image_of_caption(&[3, 2, 1, 0], 4).unwrap();
        let report = evaluate_folds(&turned, &turned_truth, 2).unwrap();
        assert_eq!(report, evaluate_folds(&matrix, &truth, 2).unwrap());
    }

    #[test]
    fn caption_of_images_in_two_folds_is_a_query_in_both() {
        let matrix = SimilarityMatrix::new(vec![0.9, 0.1, 0.9, 0.1], 2, 2).unwrap();
        let lists = vec![vec![0], vec![0, 1]];
        let truth = GroundTruth::from_lists(lists, vec![vec![0, 1], vec![1]]).unwrap();
        let report = evaluate_folds(&matrix, &truth, 2).unwrap();
        assert_eq!(report.rsum, 600.0);
    }

    #[test]
    fn folds_that_do_not_divide_are_refused() {
        let (matrix, truth) = four();
        for folds in [0, 3, 5, 8] {
            let error = evaluate_folds(&matrix, &truth, folds).unwrap_err();
            assert_eq!(error, Error::Folds { images: 4, folds });
        }
    }

    #[test]
    fn fold_without_captions_is_named() {
        let (matrix, _) = four();
        let truth = GroundTruth::from_image_of_caption(&[0, 0, 1, 1], 4).unwrap();
        let text = evaluate_folds(&matrix, &truth, 2).unwrap_err().to_string();
        assert!(text.contains("inside fold 1 (images 2 to 3)"), "{text}");
    }
}
