//! Multiplies the gradient of a tile, or of a Gram matrix, with rows of fragments, which gives the
//! gradients of words or of regions.
//!
//! The gradient of a tile is zero where a pair has no upstream gradient and, under the rules
//! `masked` and `zero`, where relevance is not above the threshold; often only a few per cent of
//! its numbers are not zero. These are listed row by row, and each row of the product is summed in
//! registers over its list. A tile with more of them goes to the dense product.

use uard_linalg::product::{Matrix, Output, product};
use uard_linalg::vector::{Loops, Number, Simd, Vector, vectorised};

use super::listed::Cell;

/// A matrix goes to the dense product if at least one number in this many is not zero. An estimate
/// from operation counts, not measured.
const DENSE_FROM_ONE_IN: usize = 3;

/// Vectors of a row that are summed side by side.
const VECTORS: usize = 4;

/// A matrix most of whose numbers may be zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct StridedMatrix<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// From the beginning of a row to that of the next.
    pub stride: usize,
}

/// Fragments, or their gradients: row-major [rows, width].
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub values: &'a [T],
    pub width: usize,
}

/// The gradient of a tile or of a Gram matrix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gradient<'a, T> {
    /// Every number.
    AllCells(StridedMatrix<'a, T>),
    /// The numbers that are not zero.
    Listed(&'a [Cell<T>]),
}

/// The numbers of a matrix that are not zero: a list for each of its rows, or for each of its
/// columns. Reused from tile to tile.
#[derive(Debug, Default)]
pub(super) struct Lists<T> {
    /// Where each list begins, and the end of the last.
    starts: Vec<usize>,
    entries: Vec<ListEntry<T>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ListEntry<T> {
    /// The number's column in lists of rows, its row in lists of columns.
    index: u32,
    value: T,
}

/// `out += gradient · right`.
///
/// # Shapes
/// `out` [rows, D], `right` [columns, D], D the width.
pub(super) fn add_product<T: Number>(
    out: &mut [T],
    gradient: &Gradient<'_, T>,
    right: Rows<'_, T>,
    lists: &mut Lists<T>,
) {
    match gradient {
        Gradient::AllCells(matrix) => {
            if let Some(dense) = matrix.dense() {
                let right = Matrix::row_major(right.values, matrix.columns, right.width);
                return product(out, dense, right, Output::Accumulate);
            }
            lists.list_rows(matrix);
        }
        Gradient::Listed(cells) => {
            lists.list_cells(cells.iter().copied(), out.len() / right.width.max(1));
        }
    }
    lists.add_rows(out, right);
}

/// `out += gradientᵀ · left`.
///
/// # Shapes
/// `out` [columns, D], `left` [rows, D], D the width.
pub(super) fn add_transposed_product<T: Number>(
    out: &mut [T],
    gradient: &Gradient<'_, T>,
    left: Rows<'_, T>,
    lists: &mut Lists<T>,
) {
    match gradient {
        Gradient::AllCells(matrix) => {
            if let Some(dense) = matrix.dense() {
                let left = Matrix::row_major(left.values, matrix.rows, left.width);
                return product(out, dense.transposed(), left, Output::Accumulate);
            }
            lists.list_columns(matrix);
        }
        Gradient::Listed(cells) => {
            let transposed = cells.iter().map(|cell| Cell {
                row: cell.column,
                column: cell.row,
                value: cell.value,
            });
            lists.list_cells(transposed, out.len() / left.width.max(1));
        }
    }
    lists.add_rows(out, left);
}

impl<'a, T: Number> StridedMatrix<'a, T> {
    fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.stride..][..self.columns]
    }

    /// The matrix for the dense product; none if too few numbers are not zero, or if there are gaps
    /// between its rows.
    fn dense(&self) -> Option<Matrix<'a, T>> {
        let cells = self.rows * self.columns;
        let gapless = self.stride == self.columns && self.values.len() == cells;
        let count = || vectorised(CountNonZero(self.values));
        (gapless && count() * DENSE_FROM_ONE_IN >= cells)
            .then(|| Matrix::row_major(self.values, self.rows, self.columns))
    }
}

impl<T: Number> Lists<T> {
    /// Makes a list of each row of the matrix.
    fn list_rows(&mut self, matrix: &StridedMatrix<'_, T>) {
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        for row in 0..matrix.rows {
            self.entries
                .resize(end + matrix.columns, ListEntry::default());
            for (column, &value) in matrix.row(row).iter().enumerate() {
                // Zeros are written too, and then overwritten: that needs no branch.
                self.entries[end] = ListEntry {
                    index: column as u32,
                    value,
                };
                end += usize::from(value != T::zero());
            }
            self.starts.push(end);
        }
        self.entries.truncate(end);
    }

    /// Makes a list of each column of the matrix.
    fn list_columns(&mut self, matrix: &StridedMatrix<'_, T>) {
        self.list_rows(matrix);
        let (starts, entries) = (
            std::mem::take(&mut self.starts),
            std::mem::take(&mut self.entries),
        );
        let rows = starts.windows(2).enumerate();
        let transposed = rows.flat_map(|(row, bounds)| {
            let own = entries[bounds[0]..bounds[1]].iter();
            own.map(move |entry| Cell {
                row: entry.index,
                column: row as u32,
                value: entry.value,
            })
        });
        self.list_cells(transposed, matrix.columns);
    }

    /// Adds to each row of `out` the rows that its list names, each times its number in the list.
    fn add_rows(&self, out: &mut [T], rows: Rows<'_, T>) {
        vectorised(AddLists {
            out,
            lists: self,
            rows,
        });
    }

    /// Makes a list of the cells of each row, for `rows` rows. Cells of a row stay in their order.
    fn list_cells(&mut self, cells: impl Iterator<Item = Cell<T>> + Clone, rows: usize) {
        self.starts.clear();
        self.starts.resize(rows + 1, 0);
        for cell in cells.clone() {
            self.starts[cell.row as usize + 1] += 1;
        }
        for row in 0..rows {
            self.starts[row + 1] += self.starts[row];
        }
        self.entries.clear();
        self.entries.resize(self.starts[rows], ListEntry::default());
        // Each start moves to the end of its list, which is where the next list begins.
        for cell in cells {
            let next = &mut self.starts[cell.row as usize];
            self.entries[*next] = ListEntry {
                index: cell.column,
                value: cell.value,
            };
            *next += 1;
        }
        self.starts.copy_within(..rows, 1);
        self.starts[0] = 0;
    }
}

/// Counts the numbers that are not zero.
struct CountNonZero<'a, T>(&'a [T]);

impl<T: Number> Loops for CountNonZero<'_, T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
        let square_above = |x| T::where_greater(simd, T::times(simd, x, x), zero, one, zero);
        let (vectors, rest) = T::vectors(simd, self.0);
        let mut counts = square_above(T::load(simd, rest));
        for &x in vectors {
            counts = T::plus(simd, counts, square_above(x));
        }
        T::total(simd, counts).to_f64() as usize
    }
}

/// Adds to each row of `out` the rows that its list names, each times its number in the list.
struct AddLists<'a, T> {
    out: &'a mut [T],
    lists: &'a Lists<T>,
    rows: Rows<'a, T>,
}

impl<T: Number> Loops for AddLists<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.rows.width.max(1);
        let lists = self.lists.starts.windows(2);
        for (out, bounds) in self.out.chunks_exact_mut(width).zip(lists) {
            let list = &self.lists.entries[bounds[0]..bounds[1]];
            if list.is_empty() {
                continue;
            }
            let (out, rest) = T::vectors_mut(simd, out);
            let lanes = (width - rest.len()) / out.len().max(1);
            let mut at = 0;
            while at + VECTORS <= out.len() {
                let out = &mut out[at..at + VECTORS];
                add_vectors::<T, S, VECTORS>(simd, out, list, self.rows, at * lanes);
                at += VECTORS;
            }
            for at in at..out.len() {
                let out = &mut out[at..=at];
                add_vectors::<T, S, 1>(simd, out, list, self.rows, at * lanes);
            }
            if !rest.is_empty() {
                add_rest(simd, rest, list, self.rows);
            }
        }
    }
}

/// Adds to N neighbouring vectors of a row of the product, from `column` on, the same columns of
/// the listed rows, each times its number.
#[inline(always)]
fn add_vectors<T: Number, S: Simd, const N: usize>(
    simd: S,
    out: &mut [Vector<T, S>],
    list: &[ListEntry<T>],
    rows: Rows<'_, T>,
    column: usize,
) {
    let mut sums = [T::splat(simd, T::zero()); N];
    sums.copy_from_slice(out);
    for entry in list {
        let start = entry.index as usize * rows.width + column;
        let row = &T::vectors(simd, &rows.values[start..]).0[..N];
        let factor = T::splat(simd, entry.value);
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum = T::times_plus(simd, factor, x, *sum);
        }
    }
    out.copy_from_slice(&sums);
}

/// Adds to the last numbers of a row of the product, fewer than a vector, the last numbers of the
/// listed rows, each row times its number.
#[inline(always)]
fn add_rest<T: Number, S: Simd>(simd: S, out: &mut [T], list: &[ListEntry<T>], rows: Rows<'_, T>) {
    let mut sum = T::load(simd, out);
    for entry in list {
        let end = (entry.index as usize + 1) * rows.width;
        let row = T::load(simd, &rows.values[end - out.len()..end]);
        sum = T::times_plus(simd, T::splat(simd, entry.value), row, sum);
    }
    T::store(simd, out, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 x 7 numbers of which one in `each` is not zero.
    fn numbers(each: usize) -> Vec<f64> {
        let value = |at: usize| (at as f64 * 0.37).sin();
        (0..35)
            .map(|at| if at % each == 0 { value(at) + 2.0 } else { 0.0 })
            .collect()
    }

    fn rows(values: &[f64], width: usize) -> Rows<'_, f64> {
        Rows { values, width }
    }

    #[test]
    fn sparse_and_dense_products_equal_the_sum() {
        // One number in 2 goes to the dense product, one in 4 to lists; the widths are whole
        // vectors, with and without a rest.
        for (each, width) in [(2, 70), (4, 70), (4, 3), (4, 150), (40, 64)] {
            let values = numbers(each);
            let matrix = StridedMatrix {
                values: &values,
                rows: 5,
                columns: 7,
                stride: 7,
            };
            let right: Vec<f64> = (0..7 * width).map(|at| (at as f64).cos()).collect();
            let left: Vec<f64> = (0..5 * width).map(|at| (at as f64).cos()).collect();
            let mut lists = Lists::default();
            let mut out = vec![1.0; 5 * width];
            let gradient = Gradient::AllCells(matrix);
            add_product(&mut out, &gradient, rows(&right, width), &mut lists);
            let mut transposed = vec![1.0; 7 * width];
            add_transposed_product(&mut transposed, &gradient, rows(&left, width), &mut lists);
            for column in 0..width {
                for row in 0..5 {
                    let terms = (0..7).map(|k| values[row * 7 + k] * right[k * width + column]);
                    let expected = 1.0 + terms.sum::<f64>();
                    assert!((out[row * width + column] - expected).abs() < 1e-12);
                }
                for row in 0..7 {
                    let terms = (0..5).map(|k| values[k * 7 + row] * left[k * width + column]);
                    let expected = 1.0 + terms.sum::<f64>();
                    assert!((transposed[row * width + column] - expected).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn listed_products_equal_those_of_the_matrix() {
        let values = numbers(4);
        let matrix = StridedMatrix {
            values: &values,
            rows: 5,
            columns: 7,
            stride: 7,
        };
        let at = |at: usize| Cell {
            row: (at / 7) as u32,
            column: (at % 7) as u32,
            value: values[at],
        };
        let cells: Vec<Cell<f64>> = (0..35).filter(|&i| values[i] != 0.0).map(at).collect();
        let (right, left) = (vec![0.5; 7 * 70], vec![0.25; 5 * 70]);
        let (all, listed) = (Gradient::AllCells(matrix), Gradient::Listed(&cells));
        let mut lists = Lists::default();
        let (mut expected, mut found) = (vec![1.0; 5 * 70], vec![1.0; 5 * 70]);
        add_product(&mut expected, &all, rows(&right, 70), &mut lists);
        add_product(&mut found, &listed, rows(&right, 70), &mut lists);
        assert_eq!(found, expected);
        let (mut expected, mut found) = (vec![1.0; 7 * 70], vec![1.0; 7 * 70]);
        add_transposed_product(&mut expected, &all, rows(&left, 70), &mut lists);
        add_transposed_product(&mut found, &listed, rows(&left, 70), &mut lists);
        assert_eq!(found, expected);
    }

    #[test]
    fn gaps_between_rows_are_not_read() {
        let values = [1.0, 0.0, f64::NAN, 0.0, 2.0];
        let matrix = StridedMatrix {
            values: &values,
            rows: 2,
            columns: 2,
            stride: 3,
        };
        let mut out = [0.0; 2];
        add_product(
            &mut out,
            &Gradient::AllCells(matrix),
            rows(&[10.0, 20.0], 1),
            &mut Lists::default(),
        );
        assert_eq!(out, [10.0, 40.0]);
    }
}
