//! Retrieval against judgements that name many positives for a query.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::rank::check_shape;
use crate::{Error, GroundTruth, Result, RetrievalDirection, SimilarityMatrix};

/// The largest K of recall.
const LONGEST: usize = 10;

/// How well images and captions find all that was judged to match them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgementReport {
    /// Number of images that were ranked.
    pub images: usize,
    /// Number of captions that were ranked.
    pub captions: usize,
    /// Images are queries, captions are ranked.
    pub image_to_text: JudgedPercent,
    /// Captions are queries, images are ranked.
    pub text_to_image: JudgedPercent,
}

/// Means over the queries of one direction, in percent. A query has R positives.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct JudgedPercent {
    /// Number of queries: those with a positive.
    pub queries: usize,
    /// mAP@R: the precision at each positive among the first R, added up and divided by R.
    pub map_at_r: f64,
    /// R-precision: how many of the first R are positives.
    pub r_precision: f64,
    /// Queries with a positive in the first place.
    pub r1: f64,
    /// Queries with a positive among the first five.
    pub r5: f64,
    /// Queries with a positive among the first ten.
    pub r10: f64,
}

/// Ranks all captions for every image with a positive, and all images for every such caption.
///
/// ```text
/// mAP@R = mean over queries of  1/R  sum over r = 1..R of  [place r is a positive] · (positives among r) / r
/// ```
///
/// Ties count against the system: a mismatched candidate of equal similarity ranks before a positive.
///
/// # Errors
/// [`Error::TruthShape`] when matrix and judgements differ in size, [`Error::NoQueries`] when a direction has
/// no query with a positive.
///
/// # Source
/// Chun et al., ECCV Caption, 2022; its program `eccv_caption` leaves ties to the caller.
pub fn evaluate_judgements(
    matrix: &SimilarityMatrix,
    truth: &GroundTruth,
) -> Result<JudgementReport> {
    check_shape(matrix, truth)?;
    let image_to_text = judged(truth, RetrievalDirection::ImageToText, |image| {
        matrix.row(image).to_vec()
    })?;
    let text_to_image = judged(truth, RetrievalDirection::TextToImage, |caption| {
        matrix.rows().map(|row| row[caption]).collect()
    })?;
    Ok(JudgementReport {
        images: matrix.images(),
        captions: matrix.captions(),
        image_to_text,
        text_to_image,
    })
}

fn judged(
    truth: &GroundTruth,
    direction: RetrievalDirection,
    similarities: impl Fn(usize) -> Vec<f64>,
) -> Result<JudgedPercent> {
    let mut sum = JudgedPercent::default();
    for (query, positives) in truth.positives(direction).iter().enumerate() {
        if !positives.is_empty() {
            sum.add(
                &first_places(&similarities(query), positives),
                positives.len(),
            );
        }
    }
    match sum.queries {
        0 => Err(Error::NoQueries { direction }),
        _ => Ok(sum.mean()),
    }
}

/// For each of the first places, as many as there are positives and at least ten, whether a positive is there.
fn first_places(similarities: &[f64], positives: &[usize]) -> Vec<bool> {
    let mut is_positive = vec![false; similarities.len()];
    for &positive in positives {
        is_positive[positive] = true;
    }
    let order = |&a: &usize, &b: &usize| -> Ordering {
        let order = similarities[b].total_cmp(&similarities[a]);
        order.then(is_positive[a].cmp(&is_positive[b]))
    };
    let mut candidates: Vec<usize> = (0..similarities.len()).collect();
    let places = positives.len().max(LONGEST).min(candidates.len());
    if places < candidates.len() {
        candidates.select_nth_unstable_by(places, order);
        candidates.truncate(places);
    }
    candidates.sort_unstable_by(order);
    candidates
        .iter()
        .map(|&candidate| is_positive[candidate])
        .collect()
}

impl JudgedPercent {
    fn add(&mut self, places: &[bool], positives: usize) {
        let mut found = 0;
        let mut precisions = 0.0;
        for (place, _) in (1..=positives).zip(places).filter(|(_, hit)| **hit) {
            found += 1;
            precisions += f64::from(found) / place as f64;
        }
        self.queries += 1;
        self.map_at_r += precisions / positives as f64;
        self.r_precision += f64::from(found) / positives as f64;
        let recalls = [(1, &mut self.r1), (5, &mut self.r5), (10, &mut self.r10)];
        for (most, recall) in recalls {
            *recall += f64::from(u8::from(places.iter().take(most).any(|&hit| hit)));
        }
    }

    fn mean(self) -> Self {
        let percent = |sum: f64| 100.0 * sum / self.queries as f64;
        Self {
            queries: self.queries,
            map_at_r: percent(self.map_at_r),
            r_precision: percent(self.r_precision),
            r1: percent(self.r1),
            r5: percent(self.r5),
            r10: percent(self.r10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate;

    /// Numbers that a program in any language can repeat; all different.
    fn matrix(images: usize, captions: usize) -> SimilarityMatrix {
        let value = |at: usize| ((at * 7919) % 10_007) as f64;
        let values: Vec<f64> = (0..images * captions).map(value).collect();
        SimilarityMatrix::new(values, images, captions).unwrap()
    }

    /// Positives of some queries; others have none.
    fn judgements(images: usize, captions: usize) -> GroundTruth {
        let lists = |queries: usize, candidates: usize| {
            let list = |query: usize| {
                let count = if query % 4 == 3 { 0 } else { 1 + query % 13 };
                (0..count)
                    .map(|at| (query * 31 + at * 17) % candidates)
                    .collect()
            };
            (0..queries).map(list).collect()
        };
        GroundTruth::from_lists(lists(images, captions), lists(captions, images)).unwrap()
    }

    #[test]
    fn the_numbers_are_those_of_eccv_caption() {
        let report = evaluate_judgements(&matrix(30, 90), &judgements(30, 90)).unwrap();
        // compute_eccv_metrics and compute_r_at_k of the package eccv_caption 0.1.0.
        let expected = [
            [
                0.023_385_099_200_316_59,
                0.065_370_499_066_151_24,
                0.043_478_260_869_565_216,
                0.434_782_608_695_652_1,
                0.652_173_913_043_478_3,
            ],
            [
                0.173_716_470_059_098_02,
                0.256_282_361_429_420_3,
                0.264_705_882_352_941_2,
                0.602_941_176_470_588_2,
                0.735_294_117_647_058_8,
            ],
        ];
        for (found, expected) in [report.image_to_text, report.text_to_image]
            .iter()
            .zip(expected)
        {
            let JudgedPercent {
                map_at_r,
                r_precision,
                r1,
                r5,
                r10,
                ..
            } = *found;
            for (found, expected) in [map_at_r, r_precision, r1, r5, r10].iter().zip(expected) {
                assert!(
                    (found - 100.0 * expected).abs() < 1e-9,
                    "{found} {expected}"
                );
            }
        }
    }

    #[test]
    fn recall_is_that_of_the_best_positive_with_ties_too() {
        let truth = judgements(30, 90);
        let values: Vec<f64> = (0..2700).map(|at| f64::from((at * 7919) % 6)).collect();
        for matrix in [
            matrix(30, 90),
            SimilarityMatrix::new(values, 30, 90).unwrap(),
        ] {
            let report = evaluate_judgements(&matrix, &truth).unwrap();
            let expected = evaluate(&matrix, &truth).unwrap();
            for (found, expected) in [
                (report.image_to_text, expected.image_to_text),
                (report.text_to_image, expected.text_to_image),
            ] {
                let found = [found.r1, found.r5, found.r10];
                for (found, expected) in found.iter().zip([expected.r1, expected.r5, expected.r10])
                {
                    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_constant_matrix_finds_nothing_and_a_perfect_one_everything() {
        let truth = judgements(30, 90);
        let constant = SimilarityMatrix::new(vec![0.5; 2700], 30, 90).unwrap();
        let nothing = evaluate_judgements(&constant, &truth).unwrap();
        assert_eq!(nothing.image_to_text.map_at_r, 0.0);
        assert_eq!(nothing.text_to_image.r_precision, 0.0);
        let mut values = vec![0.0; 2700];
        for (image, captions) in truth
            .positives(RetrievalDirection::ImageToText)
            .iter()
            .enumerate()
        {
            captions
                .iter()
                .for_each(|&caption| values[image * 90 + caption] = 1.0);
        }
        let perfect = SimilarityMatrix::new(values, 30, 90).unwrap();
        let found = evaluate_judgements(&perfect, &truth).unwrap().image_to_text;
        assert_eq!(
            (found.map_at_r, found.r_precision, found.r10),
            (100.0, 100.0, 100.0)
        );
        assert_eq!(found.queries, 23);
        let none = GroundTruth::from_lists(vec![vec![]; 30], vec![vec![]; 90]).unwrap();
        assert!(evaluate_judgements(&perfect, &none).is_err());
    }
}
