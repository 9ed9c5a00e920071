//! Property tests: the counted ranks equal those of a naive sort, and do not depend on order or
//! scale.

use proptest::prelude::*;
use uard_eval::{
    GroundTruth, Ranks, RetrievalDirection, SimilarityMatrix, ensemble, evaluate, evaluate_folds,
    ranks,
};

/// Rounding of sums of at most a few dozen fractions in f64, added in two orders.
const ROUNDING: f64 = 1e-9;

/// A matrix with many ties, and lists of positives of any length, empty ones too.
#[derive(Debug, Clone)]
struct Case {
    values: Vec<f32>,
    captions_of_image: Vec<Vec<usize>>,
    images_of_caption: Vec<Vec<usize>>,
}

/// The similarities of one query with all candidates, and its positives.
struct Query {
    similarities: Vec<f32>,
    positives: Vec<usize>,
}

impl Case {
    fn matrix(&self) -> SimilarityMatrix {
        let (images, captions) = (self.captions_of_image.len(), self.images_of_caption.len());
        SimilarityMatrix::new(self.values.clone(), images, captions)
            .expect("finite values of the right number")
    }

    fn truth(&self) -> GroundTruth {
        let (images, captions) = (&self.captions_of_image, &self.images_of_caption);
        GroundTruth::from_lists(images.clone(), captions.clone()).expect("indices in range")
    }

    fn queries(&self, direction: RetrievalDirection) -> Vec<Query> {
        let captions = self.images_of_caption.len();
        let query = |(similarities, positives)| Query {
            similarities,
            positives,
        };
        match direction {
            RetrievalDirection::ImageToText => (self.values.chunks(captions).map(<[f32]>::to_vec))
                .zip(self.captions_of_image.clone())
                .map(query)
                .collect(),
            RetrievalDirection::TextToImage => (0..captions)
                .map(|c| self.values.iter().skip(c).step_by(captions).copied())
                .map(Iterator::collect)
                .zip(self.images_of_caption.clone())
                .map(query)
                .collect(),
        }
    }

    /// The case with image `i` renamed to `images[i]` and caption `c` to `captions[c]`.
    fn renumbered(&self, images: &[usize], captions: &[usize]) -> Self {
        let mut other = self.clone();
        for (old_image, &image) in images.iter().enumerate() {
            let list = &self.captions_of_image[old_image];
            other.captions_of_image[image] = list.iter().map(|&c| captions[c]).collect();
            for (old_caption, &caption) in captions.iter().enumerate() {
                other.values[image * captions.len() + caption] =
                    self.values[old_image * captions.len() + old_caption];
            }
        }
        for (old_caption, &caption) in captions.iter().enumerate() {
            let list = &self.images_of_caption[old_caption];
            other.images_of_caption[caption] = list.iter().map(|&i| images[i]).collect();
        }
        other
    }
}

/// Whether each candidate is a positive, the most similar candidate first, a mismatched one before a
/// matched one of equal similarity.
fn naive_ranking(query: &Query) -> Vec<bool> {
    let Query {
        similarities,
        positives,
    } = query;
    let mut order: Vec<usize> = (0..similarities.len()).collect();
    order.sort_by(|&a, &b| {
        let by_similarity = similarities[b].total_cmp(&similarities[a]);
        by_similarity.then(positives.contains(&a).cmp(&positives.contains(&b)))
    });
    order
        .iter()
        .map(|index| positives.contains(index))
        .collect()
}

fn naive_rank(query: &Query) -> Option<usize> {
    let ranking = naive_ranking(query);
    let first = ranking.iter().position(|&hit| hit);
    first.map(|index| index + 1)
}

fn naive_ranks(case: &Case) -> Ranks {
    let [image_to_text, text_to_image] = RetrievalDirection::BOTH
        .map(|direction| case.queries(direction).iter().map(naive_rank).collect());
    Ranks {
        image_to_text,
        text_to_image,
    }
}

fn lists(queries: usize, candidates: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
    let list = prop::collection::vec(0..candidates, 0..=candidates.min(6));
    prop::collection::vec(list, queries)
}

fn cases() -> impl Strategy<Value = Case> {
    (1..=9_usize, 1..=14_usize).prop_flat_map(|(images, captions)| {
        let value = (-4..=4_i8).prop_map(|step| f32::from(step) / 4.0);
        let values = prop::collection::vec(value, images * captions);
        (values, lists(images, captions), lists(captions, images)).prop_map(
            |(values, captions_of_image, images_of_caption)| Case {
                values,
                captions_of_image,
                images_of_caption,
            },
        )
    })
}

fn cases_with_orders() -> impl Strategy<Value = (Case, Vec<usize>, Vec<usize>)> {
    cases().prop_flat_map(|case| {
        let images: Vec<usize> = (0..case.captions_of_image.len()).collect();
        let captions: Vec<usize> = (0..case.images_of_caption.len()).collect();
        let orders = (Just(images).prop_shuffle(), Just(captions).prop_shuffle());
        (Just(case), orders).prop_map(|(case, (images, captions))| (case, images, captions))
    })
}

proptest! {
    #[test]
    fn counted_ranks_equal_sorted_ranks(case in cases()) {
        prop_assert_eq!(ranks(&case.matrix(), &case.truth()).unwrap(), naive_ranks(&case));
    }

    #[test]
    fn order_of_images_and_captions_changes_no_report(
        (case, images, captions) in cases_with_orders()
    ) {
        let other = case.renumbered(&images, &captions);
        let before = ranks(&case.matrix(), &case.truth()).unwrap();
        let after = ranks(&other.matrix(), &other.truth()).unwrap();
        for (old, &new) in images.iter().enumerate() {
            prop_assert_eq!(before.image_to_text[old], after.image_to_text[new]);
        }
        for (old, &new) in captions.iter().enumerate() {
            prop_assert_eq!(before.text_to_image[old], after.text_to_image[new]);
        }
        prop_assert_eq!(
            evaluate(&case.matrix(), &case.truth()),
            evaluate(&other.matrix(), &other.truth())
        );
    }

    #[test]
    fn growing_scale_changes_no_rank(case in cases()) {
        let mut scaled = case.clone();
        for value in &mut scaled.values {
            *value = value.exp() * 3.0 - 7.0;
        }
        prop_assert_eq!(
            ranks(&case.matrix(), &case.truth()).unwrap(),
            ranks(&scaled.matrix(), &scaled.truth()).unwrap()
        );
    }

    #[test]
    fn ensemble_of_a_model_with_itself_changes_only_the_label(case in cases()) {
        let both = ensemble(&[case.matrix(), case.matrix()]).unwrap();
        prop_assert_eq!(
            ranks(&case.matrix(), &case.truth()).unwrap(),
            ranks(&both, &case.truth()).unwrap()
        );
    }

    #[test]
    fn folds_equal_the_mean_of_separate_evaluations(
        (folds, size, k) in (2..=4_usize, 1..=4_usize, 1..=3_usize),
        steps in prop::collection::vec(-9..=9_i8, 16 * 48)
    ) {
        let (images, captions) = (folds * size, folds * size * k);
        let value = |i: usize, c: usize| f32::from(steps[i * captions + c]);
        let values: Vec<f32> =
            (0..images * captions).map(|cell| f32::from(steps[cell])).collect();
        let matrix = SimilarityMatrix::new(values, images, captions).unwrap();
        let whole = evaluate_folds(&matrix, &GroundTruth::in_order(images, captions).unwrap(), folds);
        let truth = GroundTruth::in_order(size, size * k).unwrap();
        let rsum = |fold: usize| {
            let block: Vec<f32> = (fold * size..(fold + 1) * size)
                .flat_map(|i| (fold * size * k..(fold + 1) * size * k).map(move |c| value(i, c)))
                .collect();
            let block = SimilarityMatrix::new(block, size, size * k).unwrap();
            evaluate(&block, &truth).unwrap().rsum
        };
        let mean = (0..folds).map(rsum).sum::<f64>() / folds as f64;
        prop_assert!((whole.unwrap().rsum - mean).abs() < ROUNDING);
    }
}
