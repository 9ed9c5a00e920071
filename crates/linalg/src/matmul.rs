//! How do operators multiply large matrices? In blocks of rows over all threads, in f32 or on
//! numbers rounded to bf16.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::panels::PANEL;
use crate::product::{Matrix, Output, PackedRight};
use crate::vector::Number;

/// Rows of a block, as far as [`NUMBERS_IN_A_BLOCK`] goes.
const ROWS_IN_A_BLOCK: usize = 64;

/// Numbers of the left side in a block: 256 KB of f32, half of a small second cache.
const NUMBERS_IN_A_BLOCK: usize = 1 << 16;

/// The numbers that large products of training are computed with. Sums are in f32 either way, and
/// f64, which proofs use, stays f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matmul {
    /// As they are.
    #[default]
    F32,
    /// Both sides rounded to bf16, the nearest, ties to even. On CUDA to TF32, which has three more
    /// bits: tensor cores read it from f32 as they multiply.
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
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// `out = lhs · rhs`, or `out += lhs · rhs`, over all threads, in blocks of rows that do not depend
    /// on how many threads there are.
    ///
    /// # Shapes
    /// lhs [m, k], rhs [k, n], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other: the caller cut its buffers wrongly.
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
                let some = at * block..rows.min((at + 1) * block);
                right.product(out, lhs.some_rows(some), output);
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [rows, columns] of small whole numbers, which bf16 holds.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| (at * 7 % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn blocks_equal_the_whole_for_every_layout() {
        let (rows, depth, columns) = (1100, 9, 5);
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
