//! Products of matrices in plain slices by the crate `gemm`, on the calling thread, with checked
//! shapes.
//!
//! candle's products need tensors. An operator that multiplies parts of one buffer uses these. Their
//! results do not depend on how many threads there are.

mod packed;

use gemm::Parallelism;

pub use packed::{PackedLeft, PackedRight};

use crate::vector::Number;

/// Whether a product replaces the numbers in the output or is added to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The product replaces them; they are never read.
    Overwrite,
    /// The product is added to them.
    Accumulate,
}

/// A matrix that borrows its numbers from a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row-major values.
    ///
    /// # Shapes
    /// `values` holds rows x columns numbers.
    ///
    /// # Panics
    /// When the slice has another length, a mistake of the caller.
    pub fn row_major(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(
            Some(values.len()),
            rows.checked_mul(columns),
            "a {rows} x {columns} matrix fills its slice"
        );
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix of these rows alone, without a copy.
    ///
    /// # Panics
    /// When the range ends after the last row, a mistake of the caller.
    pub fn some_rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "a range of the matrix's rows"
        );
        Self {
            values: &self.values[rows.start * self.row_stride..],
            rows: rows.len(),
            ..self
        }
    }

    /// The transposed matrix, without a copy.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = lhs · rhs`, or `out += lhs · rhs`.
///
/// # Shapes
/// lhs [m, k], rhs [k, n], `out` row-major [m, n]. With k = 0 the product is zero.
///
/// # Panics
/// When the shapes do not fit each other, a mistake of the caller.
///
/// ```
/// use uard_linalg::product::{Matrix, Output, product};
/// let a = Matrix::row_major(&[1.0f32, 2.0, 3.0, 4.0], 2, 2);
/// let mut out = [0.0; 4];
/// product(&mut out, a, a.transposed(), Output::Overwrite);
/// assert_eq!(out, [5.0, 11.0, 11.0, 25.0]);
/// ```
pub fn product<T: Number>(out: &mut [T], lhs: Matrix<T>, rhs: Matrix<T>, output: Output) {
    let (m, k, n) = (lhs.rows, lhs.columns, rhs.columns);
    assert_eq!(rhs.rows, k, "columns of the left are rows of the right");
    assert_eq!(
        Some(out.len()),
        m.checked_mul(n),
        "the output holds {m} x {n} numbers"
    );
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if output == Output::Overwrite {
            out.fill(T::ZERO);
        }
        return;
    }
    // SAFETY: gemm needs three things.
    // - Every entry of the three matrices lies in its slice. `Matrix::row_major` compares the slice
    //   with rows x columns, and `transposed` and `some_rows` keep every entry inside; the assertion
    //   above compares `out` with m x n. Both multiply without overflow. As m, k and n are above
    //   zero, no stride is longer than its slice, so each fits an isize.
    // - `out` overlaps neither input: it is a unique borrow.
    // - `T` is a type that gemm supports: `Number` is sealed, so it is f32 or f64.
    // The first bool says whether gemm reads `out`; it is false for `Overwrite`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            output == Output::Accumulate,
            lhs.values.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_is_the_sum_over_the_inner_axis_for_every_layout() {
        let a: Vec<f64> = (0..15).map(|i| f64::from(i) - 6.0).collect();
        let b: Vec<f64> = (0..10).map(|i| 0.5 * f64::from(i)).collect();
        let mut out = vec![1.0; 6];
        let lhs = Matrix::row_major(&a, 5, 3).transposed();
        product(
            &mut out,
            lhs,
            Matrix::row_major(&b, 5, 2),
            Output::Accumulate,
        );
        for (place, found) in out.iter().enumerate() {
            let (row, column) = (place / 2, place % 2);
            let sum: f64 = (0..5).map(|k| a[k * 3 + row] * b[k * 2 + column]).sum();
            assert!((found - 1.0 - sum).abs() < 1e-12, "{found} {sum}");
        }
    }

    #[test]
    fn empty_inner_axis_gives_zero() {
        let mut out = [7.0f32; 2];
        let (lhs, rhs) = (Matrix::row_major(&[], 2, 0), Matrix::row_major(&[], 0, 1));
        product(&mut out, lhs, rhs, Output::Accumulate);
        assert_eq!(out, [7.0; 2]);
        product(&mut out, lhs, rhs, Output::Overwrite);
        assert_eq!(out, [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "fills its slice")]
    fn a_matrix_whose_size_wraps_is_refused() {
        Matrix::<f32>::row_major(&[], 1 << 33, 1 << 31);
    }

    #[test]
    #[should_panic(expected = "the output holds")]
    fn an_output_whose_size_wraps_is_refused() {
        let (lhs, rhs) = (
            Matrix::row_major(&[], 1 << 33, 0),
            Matrix::row_major(&[], 0, 1 << 33),
        );
        product::<f32>(&mut [], lhs, rhs, Output::Overwrite);
    }

    #[test]
    fn overwriting_ignores_what_was_there() {
        let mut out = [f32::NAN];
        let one = Matrix::row_major(&[2.0], 1, 1);
        product(&mut out, one, one, Output::Overwrite);
        assert_eq!(out, [4.0]);
    }
}
