//! Matrices that are packed into panels once and then multiplied many times: [`PackedLeft`] and
//! [`PackedRight`].

use std::cell::RefCell;

use half::bf16;
use rayon::prelude::*;

use super::{Matrix, Output, product};
use crate::matmul::Matmul;
use crate::panels::packing::{Block, Side, pack};
use crate::panels::{self, ColumnPanels, Element, Instructions, PANEL, RowPanels, panels_for};
use crate::vector::Number;

/// Panels that one task packs. Panels do not depend on each other, so this number changes no result.
const PANELS_IN_A_TASK: usize = 8;

/// Columns of the right matrix that are multiplied at a time: twice the columns of the widest tile.
const COLUMNS: usize = 96;

thread_local! {
    /// The buffer into which a thread packs rows of a left matrix that was passed unpacked.
    static PACKED_ROWS: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    /// Products of the rows with [`COLUMNS`] columns, padding of panels included.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A right matrix [k, n] in packed panels.
///
/// ```
/// use uard_linalg::matmul::Matmul;
/// use uard_linalg::product::{Matrix, Output, PackedRight};
/// let a = Matrix::row_major(&[1.0f32, 2.0, 3.0, 4.0], 2, 2);
/// let right = PackedRight::new(Matmul::F32, a.transposed());
/// let mut out = [0.0; 4];
/// right.product(&mut out, a, Output::Overwrite);
/// assert_eq!(out, [5.0, 11.0, 11.0, 25.0]);
/// ```
#[derive(Debug)]
pub struct PackedRight<T> {
    numbers: PackedNumbers<T>,
    depth: usize,
    columns: usize,
}

/// A left matrix [m, k] in packed panels.
#[derive(Debug)]
pub struct PackedLeft<T> {
    numbers: PackedNumbers<T>,
    rows: usize,
    depth: usize,
}

/// The numbers of a packed matrix.
#[derive(Debug)]
enum PackedNumbers<T> {
    /// Row-major and not packed: there are no panels of f64.
    Dense(Vec<T>),
    F32(Vec<Block>),
    Bf16(Vec<Block>),
}

impl<T: Number> PackedNumbers<T> {
    fn new(matmul: Matmul, matrix: Matrix<T>, side: Side) -> Self {
        match (T::singles(matrix), matmul) {
            (None, _) => Self::Dense(row_major(matrix)),
            (Some(matrix), Matmul::F32) => Self::F32(packed::<f32>(matrix, side)),
            (Some(matrix), Matmul::Bf16) => Self::Bf16(packed::<bf16>(matrix, side)),
        }
    }
}

impl<T: Number> PackedLeft<T> {
    /// Packs a matrix [m, k] over all threads, rounded as `matmul` says.
    pub fn new(matmul: Matmul, left: Matrix<T>) -> Self {
        Self {
            numbers: PackedNumbers::new(matmul, left, Side::Rows),
            rows: left.rows,
            depth: left.columns,
        }
    }
}

impl<T: Number> PackedRight<T> {
    /// Packs a matrix [k, n] over all threads, rounded as `matmul` says.
    pub fn new(matmul: Matmul, right: Matrix<T>) -> Self {
        Self {
            numbers: PackedNumbers::new(matmul, right, Side::Columns),
            depth: right.rows,
            columns: right.columns,
        }
    }

    /// `out = lhs · right`, or `out += lhs · right`, on the calling thread.
    ///
    /// # Shapes
    /// lhs [m, k], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other, a mistake of the caller.
    pub fn product(&self, out: &mut [T], lhs: Matrix<T>, output: Output) {
        self.check(out.len(), lhs.rows, lhs.columns);
        if let PackedNumbers::Dense(right) = &self.numbers {
            let right = Matrix::row_major(right, self.depth, self.columns);
            return product(out, lhs, right, output);
        }
        let (Some(lhs), Some(out)) = (T::singles(lhs), T::singles_mut(out)) else {
            unreachable!("only f32 matrices are packed into panels");
        };
        match &self.numbers {
            PackedNumbers::F32(columns) => self.multiply_rows::<f32>(columns, lhs, out, output),
            PackedNumbers::Bf16(columns) => self.multiply_rows::<bf16>(columns, lhs, out, output),
            PackedNumbers::Dense(_) => {}
        }
    }

    /// `out = lhs · right` of two packed matrices, on the calling thread.
    ///
    /// # Shapes
    /// lhs [m, k], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other, or the matrices were packed with different `matmul`s;
    /// both are mistakes of the caller.
    pub fn product_of_packed(&self, out: &mut [T], lhs: &PackedLeft<T>) {
        self.check(out.len(), lhs.rows, lhs.depth);
        let overwrite = Output::Overwrite;
        if let (PackedNumbers::Dense(left), PackedNumbers::Dense(right)) =
            (&lhs.numbers, &self.numbers)
        {
            let left = Matrix::row_major(left, lhs.rows, lhs.depth);
            let right = Matrix::row_major(right, self.depth, self.columns);
            return product(out, left, right, overwrite);
        }
        match (&lhs.numbers, &self.numbers, T::singles_mut(out)) {
            (PackedNumbers::F32(rows), PackedNumbers::F32(columns), Some(out)) => {
                self.multiply_panels::<f32>(rows, columns, out, overwrite);
            }
            (PackedNumbers::Bf16(rows), PackedNumbers::Bf16(columns), Some(out)) => {
                self.multiply_panels::<bf16>(rows, columns, out, overwrite);
            }
            _ => unreachable!("both matrices are packed with the same `matmul`"),
        }
    }

    /// Compares the shape of a left matrix and the length of an output with this matrix.
    fn check(&self, out: usize, rows: usize, depth: usize) {
        assert_eq!(
            depth, self.depth,
            "columns of the left are rows of the right"
        );
        assert_eq!(
            Some(out),
            rows.checked_mul(self.columns),
            "the output holds the product"
        );
    }

    /// Packs the rows of `lhs` and multiplies them; the thread keeps the memory for the next call.
    fn multiply_rows<E: Element>(
        &self,
        columns: &[Block],
        lhs: Matrix<f32>,
        out: &mut [f32],
        output: Output,
    ) {
        PACKED_ROWS.with_borrow_mut(|kept| {
            let blocks = panels_for(lhs.rows) * per_panel::<E>(self.depth);
            kept.resize(kept.len().max(blocks), Block::ZERO);
            let rows = &mut kept[..blocks];
            if blocks > 0 {
                pack::<E>(Instructions::best(), lhs, Side::Rows, rows);
            }
            self.multiply_panels::<E>(rows, columns, out, output);
        });
    }

    /// Multiplies packed rows with [`COLUMNS`] packed columns at a time.
    fn multiply_panels<E: Element>(
        &self,
        rows: &[Block],
        columns: &[Block],
        out: &mut [f32],
        output: Output,
    ) {
        if self.depth == 0 && output == Output::Overwrite {
            out.fill(0.0);
        }
        if self.depth == 0 || out.is_empty() {
            return;
        }
        let per_panel = per_panel::<E>(self.depth);
        let rows = RowPanels::<E>::new(Block::numbers(rows), per_panel * E::LINE);
        let rows = rows.first(out.len() / self.columns);
        let chunks = columns.chunks(COLUMNS / PANEL * per_panel);
        SUMS.with_borrow_mut(|sums| {
            sums.resize(sums.len().max(rows.panels() * PANEL * COLUMNS), 0.0);
            for (at, chunk) in (0..self.columns).step_by(COLUMNS).zip(chunks) {
                let chunk = ColumnPanels::<E>::new(Block::numbers(chunk), rows.depth());
                panels::product(Instructions::best(), rows, chunk, sums, COLUMNS);
                let count = COLUMNS.min(self.columns - at);
                let lines = out.chunks_exact_mut(self.columns);
                for (line, sums) in lines.zip(sums.chunks(COLUMNS)) {
                    write(&sums[..count], &mut line[at..at + count], output);
                }
            }
        });
    }
}

/// How many blocks make a panel: none when the vectors have no numbers.
fn per_panel<E: Element>(depth: usize) -> usize {
    if depth == 0 {
        0
    } else {
        Block::per_panel::<E>(depth)
    }
}

/// Packs the rows or the columns of a matrix into panels.
fn packed<E: Element>(matrix: Matrix<f32>, side: Side) -> Vec<Block> {
    let vectors = match side {
        Side::Rows => matrix,
        Side::Columns => matrix.transposed(),
    };
    let per_panel = per_panel::<E>(vectors.columns);
    let mut packed = vec![Block::ZERO; panels_for(vectors.rows) * per_panel];
    packed
        .par_chunks_mut((PANELS_IN_A_TASK * per_panel).max(1))
        .enumerate()
        .for_each(|(task, blocks)| {
            let first = task * PANELS_IN_A_TASK * PANEL;
            let last = vectors.rows.min(first + PANELS_IN_A_TASK * PANEL);
            let of_task = vectors.some_rows(first..last);
            pack::<E>(Instructions::best(), of_task, side, blocks);
        });
    packed
}

/// Writes sums to a part of an output row, or adds them to it.
fn write(sums: &[f32], line: &mut [f32], output: Output) {
    match output {
        Output::Overwrite => line.copy_from_slice(sums),
        Output::Accumulate => line.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum),
    }
}

/// A copy of the matrix, row-major.
fn row_major<T: Number>(matrix: Matrix<T>) -> Vec<T> {
    let number = |row: usize, column: usize| {
        matrix.values[row * matrix.row_stride + column * matrix.column_stride]
    };
    let rows = 0..matrix.rows;
    rows.flat_map(|row| (0..matrix.columns).map(move |column| number(row, column)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| (at * 7 % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn packed_equals_unpacked_for_every_layout_and_number() {
        for (rows, depth, columns) in [(1, 1, 1), (5, 40, 205), (35, 64, 96), (64, 33, 17)] {
            let (left, right) = (numbers(rows * depth), numbers(depth * columns));
            let left = Matrix::row_major(&left, rows, depth);
            let of_columns = Matrix::row_major(&right, columns, depth).transposed();
            for right in [Matrix::row_major(&right, depth, columns), of_columns] {
                let mut expected = vec![0.0; rows * columns];
                product(&mut expected, left, right, Output::Overwrite);
                for matmul in [Matmul::F32, Matmul::Bf16] {
                    let packed = PackedRight::new(matmul, right);
                    let mut found = vec![f32::NAN; rows * columns];
                    packed.product(&mut found, left, Output::Overwrite);
                    assert_eq!(found, expected);
                    let packed_left = PackedLeft::new(matmul, left);
                    packed.product_of_packed(&mut found, &packed_left);
                    assert_eq!(found, expected);
                    packed.product(&mut found, left, Output::Accumulate);
                    assert!(found.iter().zip(&expected).all(|(a, b)| *a == 2.0 * b));
                }
            }
        }
    }

    /// A matrix [rows, columns] over row-major values, or, when `transposed` is 1, over column-major
    /// ones.
    fn laid_out(values: &[f32], rows: usize, columns: usize, transposed: usize) -> Matrix<'_, f32> {
        match transposed {
            0 => Matrix::row_major(values, rows, columns),
            _ => Matrix::row_major(values, columns, rows).transposed(),
        }
    }

    fn is_the_product_of_rounded_numbers<E: Element>(matmul: Matmul, [m, k, n]: [usize; 3]) {
        let (left, right) = (draws::numbers(m * k, 1), draws::numbers(k * n, 2));
        for layout in 0..4 {
            let lhs = laid_out(&left, m, k, layout & 1);
            let rhs = laid_out(&right, k, n, layout >> 1);
            let packed = PackedRight::new(matmul, rhs);
            let mut out = vec![f32::NAN; m * n];
            packed.product(&mut out, lhs, Output::Overwrite);
            let mut sums = vec![1.0; m * n];
            packed.product(&mut sums, lhs, Output::Accumulate);
            for (place, (&found, &added)) in out.iter().zip(&sums).enumerate() {
                let (i, j) = (place / n, place % n);
                let factor = |at: usize| {
                    let a = lhs.values[i * lhs.row_stride + at * lhs.column_stride];
                    let b = rhs.values[at * rhs.row_stride + j * rhs.column_stride];
                    f64::from(E::from_f32(a).to_f32()) * f64::from(E::from_f32(b).to_f32())
                };
                let sum: f64 = (0..k).map(factor).sum();
                let size: f64 = (0..k).map(|at| factor(at).abs()).sum();
                // Each addition rounds once, by at most half a unit in the last place.
                let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                assert!((f64::from(found) - sum).abs() <= bound, "{matmul} {layout}");
                assert_eq!(added, found + 1.0, "accumulating adds the same product");
            }
        }
    }

    #[test]
    fn products_are_those_of_rounded_numbers() {
        // One number, panels that are not full, more columns than are multiplied at a time.
        let shapes = [
            [1, 1, 1],
            [16, 32, 96],
            [17, 33, 205],
            [35, 2100, 17],
            [5, 64, 16],
        ];
        for shape in shapes.into_iter().take(if cfg!(miri) { 1 } else { 5 }) {
            is_the_product_of_rounded_numbers::<f32>(Matmul::F32, shape);
            is_the_product_of_rounded_numbers::<bf16>(Matmul::Bf16, shape);
        }
    }

    #[test]
    fn empty_inner_axis_gives_zero() {
        let mut out = [7.0f32; 2];
        let (lhs, rhs) = (Matrix::row_major(&[], 2, 0), Matrix::row_major(&[], 0, 1));
        let packed = PackedRight::new(Matmul::Bf16, rhs);
        packed.product(&mut out, lhs, Output::Accumulate);
        assert_eq!(out, [7.0; 2]);
        packed.product(&mut out, lhs, Output::Overwrite);
        assert_eq!(out, [0.0; 2]);
    }

    #[test]
    fn f64_is_not_rounded_and_no_rows_are_no_product() {
        let right = [1.0 / 3.0, 2.0];
        let packed = PackedRight::new(Matmul::Bf16, Matrix::row_major(&right, 1, 2));
        let mut out = [0.0; 2];
        packed.product(
            &mut out,
            Matrix::row_major(&[1.0f64], 1, 1),
            Output::Overwrite,
        );
        assert_eq!(out, right);
        let left = PackedLeft::new(Matmul::Bf16, Matrix::row_major(&[1.0f64], 1, 1));
        packed.product_of_packed(&mut out, &left);
        assert_eq!(out, right);
        packed.product(&mut [], Matrix::row_major(&[], 0, 1), Output::Overwrite);
    }
}
