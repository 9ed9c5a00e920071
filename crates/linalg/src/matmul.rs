//! Products of large matrices for operators: in blocks of rows over all threads, in f32 or on
//! numbers rounded to bf16.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::panels::PANEL;
use crate::product::{Matrix, Output, PackedRight};
use crate::vector::Number;

/// The most rows of a block; of wide rows there are fewer, at most [`NUMBERS_IN_A_BLOCK`] numbers.
const ROWS_IN_A_BLOCK: usize = 64;

/// The most numbers of the left matrix in a block: 256 KB of f32, half of a small L2 cache.
const NUMBERS_IN_A_BLOCK: usize = 1 << 16;

/// What the inputs of large products in training are rounded to. Sums are f32 either way. Products
/// of f64 tensors, which gradient tests use, are not rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matmul {
    /// No rounding.
    #[default]
    F32,
    /// Both matrices are rounded to the nearest bf16, ties to even. On CUDA they are rounded to TF32
    /// instead, which has three more bits: tensor cores round f32 to it as they multiply.
    Bf16,
}

impl std::fmt::Display for Matmul {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl Matmul {
    /// Both roundings.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// `out = lhs · rhs`, or `out += lhs · rhs`, over all threads. The blocks of rows do not depend on
    /// how many threads there are, so neither do the results.
    ///
    /// # Shapes
    /// lhs [m, k], rhs [k, n], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other, a mistake of the caller.
    ///
    /// ```
    /// use uard_linalg::matmul::Matmul;
    /// use uard_linalg::product::{Matrix, Output};
    /// let a = Matrix::row_major(&[1.0f32, 2.0, 3.0, 4.0], 2, 2);
    /// let mut out = [0.0; 4];
    /// Matmul::Bf16.parallel_product(&mut out, a, a.transposed(), Output::Overwrite);
    /// assert_eq!(out, [5.0, 11.0, 11.0, 25.0]);
    /// ```
    pub fn parallel_product<T: Number>(
        self,
        out: &mut [T],
        lhs: Matrix<T>,
        rhs: Matrix<T>,
        output: Output,
    ) {
        let (rows, columns) = (lhs.rows(), rhs.columns());
        assert_eq!(out.len(), rows * columns, "the output holds the product");
        let block = NUMBERS_IN_A_BLOCK / lhs.columns().max(1) / PANEL * PANEL;
        let block = block.clamp(2 * PANEL, ROWS_IN_A_BLOCK);
        let right = PackedRight::new(self, rhs);
        out.par_chunks_mut((block * columns).max(1))
            .enumerate()
            .for_each(|(at, out)| {
                let of_block = at * block..rows.min((at + 1) * block);
                right.product(out, lhs.some_rows(of_block), output);
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, which bf16 represents exactly.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| (at * 7 % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn blocks_equal_the_whole_for_every_layout() {
        let (rows, depth, columns) = (130, 9, 5);
        let (left, right) = (numbers(rows * depth), numbers(depth * columns));
        let right = Matrix::row_major(&right, depth, columns);
        let of_columns = Matrix::row_major(&left, depth, rows).transposed();
        for left in [Matrix::row_major(&left, rows, depth), of_columns] {
            let mut whole = vec![0.0; rows * columns];
            crate::product::product(&mut whole, left, right, Output::Overwrite);
            for matmul in [Matmul::F32, Matmul::Bf16] {
                let mut found = vec![1.0; rows * columns];
                matmul.parallel_product(&mut found, left, right, Output::Overwrite);
                assert_eq!(found, whole);
                matmul.parallel_product(&mut found, left, right, Output::Accumulate);
                assert!(found.iter().zip(&whole).all(|(a, b)| *a == 2.0 * b));
            }
        }
    }

    #[test]
    fn f64_is_not_rounded() {
        let third = [1.0f64 / 3.0];
        let one = Matrix::row_major(&[1.0f64], 1, 1);
        let mut out = [0.0];
        let left = Matrix::row_major(&third, 1, 1);
        Matmul::Bf16.parallel_product(&mut out, left, one, Output::Overwrite);
        assert_eq!(out, third);
    }
}
