//! Images that a matrix repeats: rows that are equal, and one row for each image instead.
//!
//! Arrays of SCAN hold each image five times, once for each of its captions. Ranked as they are, the
//! copies tie with each other, and ties count against the model.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{Error, Result, SimilarityMatrix};

/// How far the rows of one image lie apart in one matrix, by the rounding of another batch or GPU,
/// measured by what lies between a row's extremes: cosines of f32 differ by 1e-6.
const ROUNDING: f64 = 1e-5;

/// How far they may lie apart where a person says that they show one image: f16 rounds to 1e-3.
const SAID: f64 = 1e-2;

impl SimilarityMatrix {
    /// Images whose row is that of an earlier image, each with the first such image.
    ///
    /// Rows that differ by rounding count as equal where they are neighbours.
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

    /// The first of each `times` rows: a matrix of images that are repeated one after the other, as
    /// SCAN's evaluation reads it.
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
            !are_near(self.row(first), self.row(row), SAID)
        };
        if let Some(row) = (0..images).find(differs) {
            let first = row - row % times;
            return Err(Error::NotRepeated { first, row, times });
        }
        let captions: Vec<usize> = (0..self.captions()).collect();
        Ok(self.part((0..images).step_by(times), &captions))
    }
}

/// Whether no two numbers differ by more than a share of what lies between the first row's extremes.
fn are_near(row: &[f64], other: &[f64], share: f64) -> bool {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = row.iter().copied().fold(f64::INFINITY, f64::min);
    let border = share * (highest - lowest);
    row.iter().zip(other).all(|(a, b)| (a - b).abs() <= border)
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
        // Little in the row's magnitude, much between its extremes.
        let far = A.map(|value| 1000.0 + 1e-6 * value);
        let other = B.map(|value| 1000.0 + 1e-6 * value);
        assert!(matrix(&[far, other]).repeated_images().is_empty());
    }

    #[test]
    fn the_first_of_each_run_stays() {
        let merged = matrix(&[A, A.map(|value| value + 1e-4), B, B]);
        assert_eq!(merged.without_repeated(2).unwrap(), matrix(&[A, B]));
        assert_eq!(
            matrix(&[A, B]).without_repeated(1).unwrap(),
            matrix(&[A, B])
        );
    }

    #[test]
    fn runs_that_are_none_are_refused() {
        let matrix = matrix(&[A, A, B, A]);
        let message = matrix.without_repeated(2).unwrap_err().to_string();
        assert!(message.contains("rows 2 and 3 differ, expected 2 rows"));
        for times in [0, 3] {
            let message = matrix.without_repeated(times).unwrap_err().to_string();
            assert!(message.contains("choose a number that divides 4"));
        }
    }
}
