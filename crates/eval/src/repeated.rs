//! Finds and removes repeated rows of a similarity matrix.
//!
//! The arrays of SCAN hold each image five times, once for each of its captions. Without removing
//! them, the copies tie with each other, and ties count against the model.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{Error, Result, SimilarityMatrix};

/// Largest difference of two rows that count as the same image, as a fraction of a row's range
/// (maximum minus minimum). Computing the same cosine in another batch or on another GPU changes it
/// by 1e-6 in f32.
const ROUNDING: f64 = 1e-5;

/// The largest difference of two rows that show one image as the user states. It is larger than
/// [`ROUNDING`], because f16 rounds to 1e-3.
const STATED: f64 = 1e-2;

impl SimilarityMatrix {
    /// Each image whose row equals that of an earlier image, with the first such image.
    ///
    /// Neighbouring rows that differ by rounding count as equal.
    pub fn repeated_images(&self) -> Vec<(usize, usize)> {
        let mut first_of = HashMap::new();
        let mut repeated = Vec::new();
        let mut first = 0;
        for (image, row) in self.rows().enumerate() {
            if image > 0 && are_near(self.row(first), row, ROUNDING) {
                repeated.push((image, first));
                continue;
            }
            let found = *first_of.entry(hash(row)).or_insert(image);
            first = image;
            if found < image && self.row(found) == row {
                first = found;
                repeated.push((image, found));
            }
        }
        repeated
    }

    /// The first of each `times` rows, for a matrix that repeats each image `times` times in
    /// succession, as in SCAN's evaluation.
    ///
    /// # Errors
    /// [`Error::RepeatedImages`] when `times` does not divide the images, [`Error::NotRepeated`] when
    /// rows that should show one image differ by more than rounding.
    pub fn without_repeated(&self, times: usize) -> Result<Self> {
        let images = self.images();
        if times == 0 || !images.is_multiple_of(times) {
            return Err(Error::RepeatedImages { images, times });
        }
        let differs = |&row: &usize| {
            let first = row - row % times;
            !are_near(self.row(first), self.row(row), STATED)
        };
        if let Some(row) = (0..images).find(differs) {
            let first = row - row % times;
            return Err(Error::NotRepeated { first, row, times });
        }
        let captions: Vec<usize> = (0..self.captions()).collect();
        Ok(self.part((0..images).step_by(times), &captions))
    }
}

/// Whether no number of two rows differs by more than `fraction` times the range of the first row.
fn are_near(row: &[f64], other: &[f64], fraction: f64) -> bool {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = row.iter().copied().fold(f64::INFINITY, f64::min);
    let limit = fraction * (highest - lowest);
    row.iter().zip(other).all(|(a, b)| (a - b).abs() <= limit)
}

fn hash(row: &[f64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.iter()
        .for_each(|value| value.to_bits().hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: &[[f64; 3]]) -> SimilarityMatrix {
        SimilarityMatrix::new(rows.concat(), rows.len(), 3).unwrap()
    }

    const A: [f64; 3] = [0.1, 0.9, 0.3];
    const B: [f64; 3] = [0.4, 0.2, 0.8];

    #[test]
    fn equal_rows_are_found_wherever_they_are() {
        let found = matrix(&[A, B, A, A, [0.0; 3], B]).repeated_images();
        assert_eq!(found, [(2, 0), (3, 0), (5, 1)]);
        assert!(matrix(&[A, B]).repeated_images().is_empty());
        assert_eq!(matrix(&[[0.5; 3]; 3]).repeated_images(), [(1, 0), (2, 0)]);
    }

    #[test]
    fn neighbours_that_differ_by_rounding_are_one_image() {
        let rounded = A.map(|value| value + 1e-7);
        assert_eq!(matrix(&[A, rounded]).repeated_images(), [(1, 0)]);
        // The difference is small relative to the values but not to the range of the row.
        let far = A.map(|value| 1000.0 + 1e-6 * value);
        let other = B.map(|value| 1000.0 + 1e-6 * value);
        assert!(matrix(&[far, other]).repeated_images().is_empty());
    }

    #[test]
    fn the_first_of_each_repeated_rows_is_kept() {
        let merged = matrix(&[A, A.map(|value| value + 1e-4), B, B]);
        assert_eq!(merged.without_repeated(2).unwrap(), matrix(&[A, B]));
        assert_eq!(
            matrix(&[A, B]).without_repeated(1).unwrap(),
            matrix(&[A, B])
        );
    }

    #[test]
    fn rows_that_are_not_repeated_are_refused() {
        let matrix = matrix(&[A, A, B, A]);
        let message = matrix.without_repeated(2).unwrap_err().to_string();
        assert!(message.contains("rows 2 and 3 differ, expected 2 equal rows"));
        for times in [0, 3] {
            let message = matrix.without_repeated(times).unwrap_err().to_string();
            assert!(message.contains("choose a number that divides 4"));
        }
    }
}
