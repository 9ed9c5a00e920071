//! The matrix of similarities that is ranked, and the mean of the matrices of several models.

use crate::{Error, Result};

/// The similarity of every image with every caption, all finite.
///
/// Infinities are refused like NaN: a cosine or a sum of cosines is finite, so an infinity comes from
/// an overflow, and the mean of an ensemble could turn it into NaN.
///
/// Stored as f64, which holds every f16, f32 and f64 exactly, so that ranks are those of the given
/// numbers.
///
/// # Shapes
/// - values: `[I, C]`, row by row, any unit; larger is more similar.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityMatrix {
    pub(crate) values: Vec<f64>,
    pub(crate) images: usize,
    pub(crate) captions: usize,
    pub(crate) models: usize,
}

impl SimilarityMatrix {
    /// Takes the similarities of one model, row by row: `values[image * captions + caption]`.
    ///
    /// # Errors
    /// [`Error::EmptyMatrix`] without images or captions, [`Error::MatrixLength`] when the number
    /// of values is not `images * captions`, [`Error::NonFinite`] for the first NaN or infinity.
    pub fn new<T: Into<f64>>(values: Vec<T>, images: usize, captions: usize) -> Result<Self> {
        if images == 0 || captions == 0 {
            return Err(Error::EmptyMatrix { images, captions });
        }
        if images.checked_mul(captions) != Some(values.len()) {
            return Err(Error::MatrixLength {
                images,
                captions,
                found: values.len(),
            });
        }
        let values: Vec<f64> = values.into_iter().map(Into::into).collect();
        if let Some(cell) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                image: cell / captions,
                caption: cell % captions,
                value: values[cell],
            });
        }
        Ok(Self {
            values,
            images,
            captions,
            models: 1,
        })
    }

    /// Number of images, the rows.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of captions, the columns.
    pub fn captions(&self) -> usize {
        self.captions
    }

    /// Number of models whose similarities are averaged here; 1 unless made by [`ensemble`].
    pub fn models(&self) -> usize {
        self.models
    }

    /// All similarities, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The similarities of one image with every caption.
    ///
    /// # Panics
    /// When `image` is not below [`images`](Self::images).
    pub fn row(&self, image: usize) -> &[f64] {
        &self.values[image * self.captions..][..self.captions]
    }

    /// The rows in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.captions)
    }

    /// The part of some images and some captions; neither may be empty.
    pub(crate) fn part(
        &self,
        images: impl ExactSizeIterator<Item = usize>,
        captions: &[usize],
    ) -> Self {
        let size = images.len();
        let mut values = Vec::with_capacity(size * captions.len());
        for image in images {
            let row = self.row(image);
            values.extend(captions.iter().map(|&caption| row[caption]));
        }
        Self {
            values,
            images: size,
            captions: captions.len(),
            models: self.models,
        }
    }

    /// The number of models, as text for the protocol.
    pub(crate) fn label(&self) -> String {
        match self.models {
            1 => "single model".to_owned(),
            models => format!("ensemble of {models}"),
        }
    }
}

/// The mean of the similarities of several models.
///
/// ```text
/// mean[i, c] = sum_k n_k * matrix_k[i, c] / sum_k n_k
/// ```
///
/// n_k is [`SimilarityMatrix::models`] of matrix k, so an ensemble within an ensemble is weighted by
/// its number of models: "ensemble of 3" is the mean of three models, however they were grouped.
/// Sums are in the given order. The ensemble of one single model is that model.
///
/// # Errors
/// [`Error::EmptyEnsemble`] for no matrix, [`Error::EnsembleShape`] when sizes differ,
/// [`Error::NonFinite`] when a sum overflows.
pub fn ensemble(matrices: &[SimilarityMatrix]) -> Result<SimilarityMatrix> {
    let first = matrices.first().ok_or(Error::EmptyEnsemble)?;
    for (position, matrix) in matrices.iter().enumerate() {
        let axes = [
            ("images", first.images, matrix.images),
            ("captions", first.captions, matrix.captions),
        ];
        for (axis, expected, found) in axes {
            if expected != found {
                return Err(Error::EnsembleShape {
                    position,
                    axis,
                    expected,
                    found,
                });
            }
        }
    }
    let models: usize = matrices.iter().map(|matrix| matrix.models).sum();
    let mean = |cell: usize| {
        let terms = matrices.iter();
        let sum: f64 = terms
            .map(|matrix| matrix.models as f64 * matrix.values[cell])
            .sum();
        sum / models as f64
    };
    let values: Vec<f64> = (0..first.values.len()).map(mean).collect();
    let mean = SimilarityMatrix::new(values, first.images, first.captions)?;
    Ok(SimilarityMatrix { models, ..mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: &[f64]) -> SimilarityMatrix {
        SimilarityMatrix::new(values.to_vec(), 2, values.len() / 2).unwrap()
    }

    #[test]
    fn nan_is_refused_with_its_row_and_column() {
        let error = SimilarityMatrix::new(vec![0.0, 0.0, 0.0, 0.0, f64::NAN, 0.0], 2, 3);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("image 1 (row) and caption 1 (column) is NaN"));
    }

    #[test]
    fn both_infinities_are_refused() {
        for value in [f64::INFINITY, f64::NEG_INFINITY] {
            let error = SimilarityMatrix::new(vec![0.0, value], 1, 2).unwrap_err();
            let expected = Error::NonFinite {
                image: 0,
                caption: 1,
                value,
            };
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn wrong_length_is_refused_with_what_was_found() {
        let error = SimilarityMatrix::new(vec![0.0; 5], 2, 3).unwrap_err();
        assert!(error.to_string().contains("2 images x 3 captions, found 5"));
        assert!(SimilarityMatrix::new(Vec::<f64>::new(), usize::MAX, 2).is_err());
    }

    #[test]
    fn matrix_without_images_or_captions_is_refused() {
        for (images, captions) in [(0, 3), (3, 0), (0, 0)] {
            let error = SimilarityMatrix::new(Vec::<f64>::new(), images, captions).unwrap_err();
            assert_eq!(error, Error::EmptyMatrix { images, captions });
        }
    }

    #[test]
    fn ensemble_of_two_is_their_mean_and_is_labelled_so() {
        let both = ensemble(&[matrix(&[0.0, 1.0]), matrix(&[1.0, -2.0])]).unwrap();
        assert_eq!(both.values(), [0.5, -0.5]);
        assert_eq!(both.label(), "ensemble of 2");
    }

    #[test]
    fn ensemble_of_one_is_a_single_model() {
        let one = ensemble(&[matrix(&[0.25, 1.0])]).unwrap();
        assert_eq!(one, matrix(&[0.25, 1.0]));
        assert_eq!(one.label(), "single model");
    }

    #[test]
    fn grouping_does_not_change_an_ensemble() {
        let [a, b, c] = [[0.0, 3.0], [3.0, 3.0], [6.0, -6.0]].map(|values| matrix(&values));
        let flat = ensemble(&[a.clone(), b.clone(), c.clone()]).unwrap();
        let nested = ensemble(&[ensemble(&[a, b]).unwrap(), c]).unwrap();
        assert_eq!(flat.values(), [3.0, 0.0]);
        assert_eq!(nested, flat);
    }

    #[test]
    fn an_ensemble_that_overflows_is_refused_and_largest_f32_do_not_overflow() {
        let large = matrix(&[f32::MAX.into(), f32::MIN.into()]);
        let mean = ensemble(&[large.clone(), large.clone()]).unwrap();
        assert_eq!(mean.values(), large.values());
        let large = matrix(&[0.0, f64::MAX]);
        let error = ensemble(&[large.clone(), large]).unwrap_err();
        assert!(error.to_string().contains("caption 0 (column) is inf"));
    }

    #[test]
    fn ensemble_of_nothing_or_of_other_shapes_is_refused() {
        assert_eq!(ensemble(&[]).unwrap_err(), Error::EmptyEnsemble);
        let error = ensemble(&[matrix(&[0.0; 2]), matrix(&[0.0; 4])]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("matrix 1 of the ensemble has 2 captions, the first one 1"));
    }
}
