//! Turns descriptors into features: standardises each number and multiplies by a seeded random matrix.
//!
//! ```text
//! z_k = clamp((x_k - mean_k) / std_k, -4, 4) * weight_k        feature_f = sum_k A_fk z_k
//! A_fk ~ N(0, 1 / K),  K numbers in a descriptor
//! ```
//!
//! Mean and standard deviation are those of the regions of 32 calibration scenes that belong to no
//! split, so that a feature depends only on its own pixels and the seed. Weights make groups with few
//! numbers (hues, texture, geometry) comparable to those with many.
//!
//! # Source
//! Random projection keeps distances: Johnson and Lindenstrauss, 1984.

use uard_core::random::{Draws, normal};

use super::descriptor::DESCRIPTOR;

/// Width of a region's feature.
pub const FEATURE_WIDTH: usize = 256;

/// The length and the weight of each group of the descriptor.
const WEIGHTS: [(usize, f32); 7] = [
    (48, 1.0),
    (16, 0.7),
    (36, 1.4),
    (96, 0.8),
    (64, 1.0),
    (18, 1.5),
    (24, 1.4),
];

/// The standardisation and the random matrix.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    means: Vec<f32>,
    scales: Vec<f32>,
    /// `[FEATURE_WIDTH, DESCRIPTOR]`, row-major.
    matrix: Vec<f32>,
}

impl Projection {
    /// A projection with the means and standard deviations of these descriptors.
    pub(super) fn calibrated(descriptors: &[Vec<f32>], draws: &Draws) -> Self {
        let count = descriptors.len().max(1) as f64;
        let mut means = Vec::with_capacity(DESCRIPTOR);
        let mut scales = Vec::with_capacity(DESCRIPTOR);
        for (index, weight) in weights().enumerate() {
            let column = || descriptors.iter().map(|values| f64::from(values[index]));
            let mean = column().sum::<f64>() / count;
            let variance = column().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            means.push(mean as f32);
            scales.push(weight / (variance.sqrt() as f32 + 1e-3));
        }
        let std = 1.0 / (DESCRIPTOR as f32).sqrt();
        let mut stream = draws.stream("scene projection", &[]);
        let matrix = normal(&mut stream, std, FEATURE_WIDTH * DESCRIPTOR);
        Self {
            means,
            scales,
            matrix,
        }
    }

    /// The feature of a descriptor.
    ///
    /// # Shapes
    /// `[DESCRIPTOR]` to `[FEATURE_WIDTH]`.
    pub(super) fn project(&self, descriptor: &[f32]) -> Vec<f32> {
        let scores: Vec<f32> = descriptor
            .iter()
            .zip(&self.means)
            .zip(self.scales.iter().zip(weights()))
            .map(|((value, mean), (scale, weight))| {
                ((value - mean) * scale).clamp(-4.0 * weight, 4.0 * weight)
            })
            .collect();
        self.matrix
            .chunks_exact(DESCRIPTOR)
            .map(|row| dot(row, &scores))
            .collect()
    }
}

/// The weight of every number of a descriptor.
fn weights() -> impl Iterator<Item = f32> {
    WEIGHTS
        .into_iter()
        .flat_map(|(numbers, weight)| std::iter::repeat_n(weight, numbers))
}

/// A dot product in eight partial sums of fixed order, which the compiler can vectorise.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left.zip(right) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_descriptor_has_a_weight() {
        assert_eq!(weights().count(), DESCRIPTOR);
    }

    #[test]
    fn mean_descriptor_has_a_zero_feature() {
        let descriptors = vec![vec![1.0; DESCRIPTOR], vec![3.0; DESCRIPTOR]];
        let projection = Projection::calibrated(&descriptors, &Draws::new(0));
        assert!(
            projection
                .project(&[2.0; DESCRIPTOR])
                .iter()
                .all(|value| *value == 0.0)
        );
        let far = projection.project(&[1e9; DESCRIPTOR]);
        assert!(
            far.iter()
                .all(|value| value.is_finite() && value.abs() < 100.0)
        );
    }
}
