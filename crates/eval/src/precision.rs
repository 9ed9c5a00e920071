//! mAP@R and R-Precision, for queries with many positives.

use serde::{Deserialize, Serialize};

use crate::rank::check_shape;
use crate::{Error, GroundTruth, Result, RetrievalDirection, SimilarityMatrix};

/// mAP@R and R-Precision of one direction, fractions in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrecisionAtR {
    /// Mean over the queries of the average precision among the first R.
    pub map_at_r: f64,
    /// Mean over the queries of the fraction of positives among the first R.
    pub r_precision: f64,
    /// Number of queries, those with at least one positive.
    pub queries: usize,
}

/// Computes mAP@R and R-Precision of one direction; R is the number of positives of a query.
///
/// ```text
/// R-Precision = 1/R |{ positives with rank <= R }|
/// AP@R        = 1/R sum_{k=1..R} [candidate k is positive] * (positives among the first k) / k
/// ```
///
/// Both are averaged over the queries that have a positive. Ties count against the system, as
/// in [`ranks`](crate::ranks). With one positive each, both are R@1.
///
/// # Errors
/// [`Error::TruthShape`] when matrix and ground truth differ in size, [`Error::NoQueries`] when
/// no query has a positive.
///
/// # Source
/// Musgrave et al., *A Metric Learning Reality Check*, 2020; for image and text Chun et al.,
/// *ECCV Caption*, 2022.
///
/// ```
/// use uard_eval::{GroundTruth, RetrievalDirection, SimilarityMatrix, precision_at_r};
///
/// let matrix = SimilarityMatrix::new(vec![0.9, 0.8, 0.7], 1, 3)?;
/// let truth = GroundTruth::from_lists(vec![vec![0, 2]], vec![vec![0]; 3])?;
/// let precision = precision_at_r(&matrix, &truth, RetrievalDirection::ImageToText)?;
/// assert_eq!(precision.r_precision, 0.5);
/// assert_eq!(precision.map_at_r, 0.5);
/// # Ok::<(), uard_eval::Error>(())
/// ```
pub fn precision_at_r(
    matrix: &SimilarityMatrix,
    truth: &GroundTruth,
    direction: RetrievalDirection,
) -> Result<PrecisionAtR> {
    check_shape(matrix, truth)?;
    let (mut map_at_r, mut r_precision, mut queries) = (0.0, 0.0, 0);
    let mut similarities = Vec::new();
    for (query, positives) in truth.positives(direction).iter().enumerate() {
        if positives.is_empty() {
            continue;
        }
        similarities.clear();
        match direction {
            RetrievalDirection::ImageToText => similarities.extend_from_slice(matrix.row(query)),
            RetrievalDirection::TextToImage => similarities.extend(matrix.column(query)),
        }
        let ranks = ranks_of_positives(&similarities, positives);
        map_at_r += average_precision_at_r(&ranks);
        r_precision += precision_of_first_r(&ranks);
        queries += 1;
    }
    if queries == 0 {
        return Err(Error::NoQueries { direction });
    }
    Ok(PrecisionAtR {
        map_at_r: map_at_r / queries as f64,
        r_precision: r_precision / queries as f64,
        queries,
    })
}

/// The ranks of all positives, ascending, from 1; of equal similarities the mismatched candidate
/// ranks first.
///
/// The candidates are not sorted: a binary search finds the position of each among the few sorted
/// positives.
fn ranks_of_positives(similarities: &[f64], positives: &[usize]) -> Vec<usize> {
    let mut sorted: Vec<f64> = positives.iter().map(|&index| similarities[index]).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(&least) = sorted.last() else {
        return Vec::new();
    };
    // The first positive that a candidate ranks before; it ranks before all later ones too.
    let first_after = |value: f64| sorted.partition_point(|&positive| positive > value);
    // Number of mismatched candidates directly before each positive.
    let mut mismatched = vec![0_usize; sorted.len()];
    for &value in similarities.iter().filter(|&&value| value >= least) {
        mismatched[first_after(value)] += 1;
    }
    for &value in &sorted {
        mismatched[first_after(value)] -= 1;
    }
    let mut mismatched_before = 0;
    mismatched
        .iter()
        .enumerate()
        .map(|(positives_before, mismatched)| {
            mismatched_before += mismatched;
            1 + positives_before + mismatched_before
        })
        .collect()
}

fn average_precision_at_r(ranks: &[usize]) -> f64 {
    let precisions = ranks.iter().enumerate().map(|(before, &rank)| {
        if rank <= ranks.len() {
            (before + 1) as f64 / rank as f64
        } else {
            0.0
        }
    });
    precisions.sum::<f64>() / ranks.len() as f64
}

fn precision_of_first_r(ranks: &[usize]) -> f64 {
    let hits = ranks.iter().filter(|&&rank| rank <= ranks.len()).count();
    hits as f64 / ranks.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetrievalDirection::{ImageToText, TextToImage};

    /// Rounding of sums of a few fractions in f64.
    const ROUNDING: f64 = 1e-12;

    fn one_image(similarities: &[f64], positives: &[usize]) -> PrecisionAtR {
        let captions = similarities.len();
        let matrix = SimilarityMatrix::new(similarities.to_vec(), 1, captions).unwrap();
        let truth =
            GroundTruth::from_lists(vec![positives.to_vec()], vec![vec![]; captions]).unwrap();
        precision_at_r(&matrix, &truth, ImageToText).unwrap()
    }

    #[test]
    fn hand_written_ranking_has_hand_computed_precision() {
        // Ranking: + - + - +, R = 3, so only ranks 1 to 3 count.
        let precision = one_image(&[0.9, 0.8, 0.7, 0.6, 0.5], &[0, 2, 4]);
        assert!((precision.r_precision - 2.0 / 3.0).abs() < ROUNDING);
        assert!((precision.map_at_r - (1.0 + 2.0 / 3.0) / 3.0).abs() < ROUNDING);
    }

    #[test]
    fn positives_on_top_give_one_and_at_the_end_zero() {
        let best = one_image(&[0.9, 0.8, 0.1, 0.2], &[0, 1]);
        assert_eq!((best.map_at_r, best.r_precision), (1.0, 1.0));
        let worst = one_image(&[0.9, 0.8, 0.1, 0.2], &[2, 3]);
        assert_eq!((worst.map_at_r, worst.r_precision), (0.0, 0.0));
    }

    #[test]
    fn ties_count_against_the_system() {
        let tied = one_image(&[0.5, 0.5, 0.5, 0.5], &[0, 1]);
        assert_eq!((tied.map_at_r, tied.r_precision), (0.0, 0.0));
        assert_eq!(ranks_of_positives(&[0.5, 0.5, 0.9, 0.5], &[0, 2]), [1, 4]);
        assert_eq!(ranks_of_positives(&[0.0, -0.0, 0.0], &[0, 1]), [2, 3]);
    }

    #[test]
    fn everything_positive_gives_one_even_when_tied() {
        assert_eq!(one_image(&[0.5, 0.5], &[0, 1]).map_at_r, 1.0);
    }

    #[test]
    fn directions_use_their_own_lists() {
        let matrix = SimilarityMatrix::new(vec![0.9, 0.1, 0.2, 0.8], 2, 2).unwrap();
        let truth = GroundTruth::from_lists(vec![vec![0], vec![]], vec![vec![1], vec![1]]).unwrap();
        let images = precision_at_r(&matrix, &truth, ImageToText).unwrap();
        assert_eq!((images.map_at_r, images.queries), (1.0, 1));
        let captions = precision_at_r(&matrix, &truth, TextToImage).unwrap();
        assert_eq!((captions.map_at_r, captions.queries), (0.5, 2));
    }

    #[test]
    fn no_queries_are_an_error() {
        let matrix = SimilarityMatrix::new(vec![0.9], 1, 1).unwrap();
        let truth = GroundTruth::from_lists(vec![vec![]], vec![vec![0]]).unwrap();
        let error = precision_at_r(&matrix, &truth, ImageToText).unwrap_err();
        let direction = ImageToText;
        assert_eq!(error, Error::NoQueries { direction });
    }
}
