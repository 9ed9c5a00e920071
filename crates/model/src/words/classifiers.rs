//! Linear classifiers of whole photos: for each word, whether the mean of a photo's regions speaks for it.

use nalgebra::DMatrix;

/// The penalty on the weights, as a share of the number of images and for numbers of variance 1.
///
/// # Source
/// docs/decisions/0037-a-word-is-judged-alone.md
const PENALTY: f64 = 1.0 / 6.0;

/// Ridge regressions on the same photos, one for each word.
pub(super) struct Classifiers {
    /// The weights of each word: a column of [D, V].
    weights: DMatrix<f64>,
    /// The mean of all photos [D], for which a classifier gives 0.
    mean: Vec<f64>,
    /// What the classifier of each word [images, V] gives for each image, with weights that were learned from
    /// all other images, and the constant of all.
    held_out: DMatrix<f64>,
}

impl Classifiers {
    /// Learns from `photos` [images, D] which images have which words: `has_word` [images, V] of 0 and 1. None if a
    /// number is not finite.
    ///
    /// # Source
    /// Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", 3.4.1 and, for the leave-one-out
    /// predictions, 7.10.
    pub(super) fn fit(mut photos: DMatrix<f64>, has_word: DMatrix<f64>) -> Option<Self> {
        let mean: Vec<f64> = photos.column_iter().map(|column| column.mean()).collect();
        for (mut column, mean) in photos.column_iter_mut().zip(&mean) {
            column.add_scalar_mut(-mean);
        }
        let mut labels = has_word;
        for mut column in labels.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        let (images, width) = photos.shape();
        let transposed = photos.transpose();
        let mut gram = &transposed * &photos;
        let variance = photos.norm_squared() / (images * width) as f64;
        // Of equal photos every weight is 0, whatever the penalty.
        let penalty = PENALTY * images as f64 * if variance > 0.0 { variance } else { 1.0 };
        for at in 0..width {
            gram[(at, at)] += penalty;
        }
        let inverse = gram.cholesky()?.inverse();
        let weights = &inverse * (transposed * &labels);
        let mut held_out = &photos * &weights;
        let projected = &photos * inverse;
        for image in 0..images {
            let leverage = projected.row(image).dot(&photos.row(image));
            for (given, label) in held_out
                .row_mut(image)
                .iter_mut()
                .zip(labels.row(image).iter())
            {
                *given = label - (label - *given) / (1.0 - leverage);
            }
        }
        Some(Self {
            weights,
            mean,
            held_out,
        })
    }

    /// What the classifier of a word gives for each image, with weights learned from all other images.
    pub(super) fn held_out(&self, word: usize) -> Vec<f32> {
        let given = self.held_out.column(word);
        given.iter().map(|&given| given as f32).collect()
    }

    /// The D weights of a word and the constant that is added to their product with a photo, all times `scale`.
    pub(super) fn weights(&self, word: usize, scale: f64) -> Vec<f32> {
        let weights = self.weights.column(word);
        let of_mean = weights.iter().zip(&self.mean);
        let of_mean: f64 = of_mean.map(|(weight, mean)| weight * mean).sum();
        let numbers = weights.iter().copied().chain([-of_mean]);
        numbers.map(|number| (scale * number) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Photos of two numbers, of which the first says whether they have the word.
    fn fitted(images: usize) -> (DMatrix<f64>, DMatrix<f64>, Classifiers) {
        let photos = DMatrix::from_fn(images, 2, |image, column| match column {
            0 => f64::from(u8::from(image % 3 == 0)) + 0.1 * (image % 7) as f64,
            _ => (image * image % 5) as f64,
        });
        let has_word = DMatrix::from_fn(images, 1, |image, _| f64::from(u8::from(image % 3 == 0)));
        let classifiers = Classifiers::fit(photos.clone(), has_word.clone()).unwrap();
        (photos, has_word, classifiers)
    }

    #[test]
    fn held_out_values_are_those_of_weights_that_were_learned_without_the_image() {
        let (photos, has_word, all) = fitted(12);
        let mean = photos.row_mean();
        let centred = DMatrix::from_fn(12, 2, |row, column| photos[(row, column)] - mean[column]);
        let labels = has_word.add_scalar(-has_word.mean());
        let penalty = PENALTY * 12.0 * centred.norm_squared() / 24.0;
        for (image, &held_out) in all.held_out(0).iter().enumerate() {
            let others = centred.clone().remove_row(image);
            let gram = others.transpose() * &others + DMatrix::identity(2, 2) * penalty;
            let of_others = labels.clone().remove_row(image);
            let weights = gram.try_inverse().unwrap() * others.transpose() * of_others;
            let expected = (centred.row(image) * weights)[0];
            assert!((f64::from(held_out) - expected).abs() < 1e-6, "{image}");
        }
    }

    #[test]
    fn weights_and_constant_separate_photos_with_the_word() {
        let (photos, has_word, all) = fitted(30);
        let row = all.weights(0, 2.0);
        assert_eq!(row.len(), 3);
        let given = |image: usize| {
            let numbers = photos.row(image);
            f64::from(row[0]) * numbers[0] + f64::from(row[1]) * numbers[1] + f64::from(row[2])
        };
        let (with, without): (Vec<usize>, Vec<usize>) =
            (0..30).partition(|&image| has_word[image] > 0.5);
        let least = with.into_iter().map(given).fold(f64::INFINITY, f64::min);
        let most = without
            .into_iter()
            .map(given)
            .fold(f64::NEG_INFINITY, f64::max);
        assert!(least > most, "{least} {most}");
        // Twice what the classifier gives: 0 for the mean photo.
        let sum: f64 = (0..30).map(given).sum();
        assert!(sum.abs() < 1e-4, "{sum}");
    }

    #[test]
    fn equal_photos_say_nothing_and_numbers_that_are_not_finite_are_refused() {
        let has_word = DMatrix::from_fn(4, 1, |image, _| f64::from(u8::from(image < 2)));
        let equal = Classifiers::fit(DMatrix::from_element(4, 2, 0.5), has_word.clone()).unwrap();
        assert!(equal.weights(0, 1.0).iter().all(|&number| number == 0.0));
        assert!(Classifiers::fit(DMatrix::from_element(4, 2, f64::NAN), has_word).is_none());
    }
}
