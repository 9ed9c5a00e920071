//! How are the gradients of fragments summed? A tile of few numbers times rows of the joint space.
//!
//! The gradient of a tile is zero wherever relevance is not above the threshold or a pair has no
//! upstream gradient: a few per cent are left. Each row that is summed stays in registers while
//! the rows it needs stream by; a tile that is full goes to the dense product instead. What is
//! listed already is not looked for again.

use uard_linalg::product::{Matrix, Output, product};
use uard_linalg::vector::{Loops, Simd, Vector, vectorised};

use super::listed::Cell;
use crate::side::Real;

/// From this share of numbers that are not zero on, one in so many, a tile goes to the dense
/// product. An estimate from operation counts; where the border lies has not been measured.
const DENSE_FROM_ONE_IN: usize = 3;

/// Vectors of a row that are summed side by side.
const VECTORS: usize = 4;

/// A matrix of few numbers, its rows `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sparse<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

/// The gradient of a tile or of a Gram matrix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gradient<'a, T> {
    /// Every number.
    Every(Sparse<'a, T>),
    /// Those that are not zero.
    Listed(&'a [Cell<T>]),
}

/// The numbers that are not zero, row by row or column by column; reused from tile to tile.
#[derive(Debug, Default)]
pub(super) struct Lists<T> {
    /// Where each list begins, and the end of the last.
    starts: Vec<usize>,
    /// The other index and the number.
    entries: Vec<(u32, T)>,
}

/// `out += gradient · right`.
///
/// # Shapes
/// `out` [rows, D], `right` [columns, D], D the width.
pub(super) fn add_product<T: Real>(
    out: &mut [T],
    gradient: &Gradient<'_, T>,
    (right, width): (&[T], usize),
    lists: &mut Lists<T>,
) {
    match gradient {
        Gradient::Every(matrix) => {
            if let Some(dense) = matrix.dense() {
                let right = Matrix::row_major(right, matrix.columns, width);
                return product(out, dense, right, Output::Accumulate);
            }
            lists.of_rows(matrix);
        }
        Gradient::Listed(cells) => {
            let entries = cells.iter().map(|cell| (cell.row, cell.column, cell.value));
            lists.of_entries(entries, out.len() / width.max(1));
        }
    }
    lists.add_rows(out, (right, width));
}

/// `out += gradientᵀ · left`.
///
/// # Shapes
/// `out` [columns, D], `left` [rows, D], D the width.
pub(super) fn add_transposed_product<T: Real>(
    out: &mut [T],
    gradient: &Gradient<'_, T>,
    (left, width): (&[T], usize),
    lists: &mut Lists<T>,
) {
    match gradient {
        Gradient::Every(matrix) => {
            if let Some(dense) = matrix.dense() {
                let left = Matrix::row_major(left, matrix.rows, width);
                return product(out, dense.transposed(), left, Output::Accumulate);
            }
            lists.of_columns(matrix);
        }
        Gradient::Listed(cells) => {
            let entries = cells.iter().map(|cell| (cell.column, cell.row, cell.value));
            lists.of_entries(entries, out.len() / width.max(1));
        }
    }
    lists.add_rows(out, (left, width));
}

impl<'a, T: Real> Sparse<'a, T> {
    fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.stride..][..self.columns]
    }

    /// The same for the dense product, if it is full enough and has no gaps between its rows.
    fn dense(&self) -> Option<Matrix<'a, T>> {
        let cells = self.rows * self.columns;
        let gapless = self.stride == self.columns && self.values.len() == cells;
        let count = || vectorised(Count(self.values));
        (gapless && count() * DENSE_FROM_ONE_IN >= cells)
            .then(|| Matrix::row_major(self.values, self.rows, self.columns))
    }
}

impl<T: Real> Lists<T> {
    fn of_rows(&mut self, matrix: &Sparse<'_, T>) {
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        for row in 0..matrix.rows {
            self.entries.resize(end + matrix.columns, (0, T::zero()));
            for (column, &value) in matrix.row(row).iter().enumerate() {
                // Written always, kept when it counts: no branch to guess.
                self.entries[end] = (column as u32, value);
                end += usize::from(value != T::zero());
            }
            self.starts.push(end);
        }
        self.entries.truncate(end);
    }

    fn of_columns(&mut self, matrix: &Sparse<'_, T>) {
        self.of_rows(matrix);
        let (starts, entries) = (
            std::mem::take(&mut self.starts),
            std::mem::take(&mut self.entries),
        );
        let rows = starts.windows(2).enumerate();
        let turned = rows.flat_map(|(row, bounds)| {
            let own = entries[bounds[0]..bounds[1]].iter();
            own.map(move |&(column, value)| (column, row as u32, value))
        });
        self.of_entries(turned, matrix.columns);
    }

    /// Adds to each row of `out` the rows of its list, each times its number.
    fn add_rows(&self, out: &mut [T], (rows, width): (&[T], usize)) {
        vectorised(AddLists {
            out,
            lists: self,
            rows,
            width,
        });
    }

    /// Lists of (list, other index, number), each in the order given.
    fn of_entries(&mut self, entries: impl Iterator<Item = (u32, u32, T)> + Clone, lists: usize) {
        self.starts.clear();
        self.starts.resize(lists + 1, 0);
        for (list, ..) in entries.clone() {
            self.starts[list as usize + 1] += 1;
        }
        for list in 0..lists {
            self.starts[list + 1] += self.starts[list];
        }
        self.entries.clear();
        self.entries.resize(self.starts[lists], (0, T::zero()));
        // Each start moves to its list's end, which is where the next one begins.
        for (list, other, value) in entries {
            let next = &mut self.starts[list as usize];
            self.entries[*next] = (other, value);
            *next += 1;
        }
        self.starts.copy_within(..lists, 1);
        self.starts[0] = 0;
    }
}

/// Numbers that are not zero.
struct Count<'a, T>(&'a [T]);

impl<T: Real> Loops for Count<'_, T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
        let square_above = |x| T::where_greater(simd, (T::times(simd, x, x), zero), one, zero);
        let (vectors, rest) = T::vectors(simd, self.0);
        let mut counts = square_above(T::load(simd, rest));
        for &x in vectors {
            counts = T::plus(simd, counts, square_above(x));
        }
        T::total(simd, counts).to_f64() as usize
    }
}

/// Adds to each row of `out` the rows of its list, each times its number.
struct AddLists<'a, T> {
    out: &'a mut [T],
    lists: &'a Lists<T>,
    rows: &'a [T],
    width: usize,
}

impl<T: Real> Loops for AddLists<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.width.max(1);
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
                add_vectors::<T, S, VECTORS>(simd, out, list, (self.rows, at * lanes, width));
                at += VECTORS;
            }
            for at in at..out.len() {
                let out = &mut out[at..=at];
                add_vectors::<T, S, 1>(simd, out, list, (self.rows, at * lanes, width));
            }
            if !rest.is_empty() {
                add_rest(simd, rest, list, (self.rows, width));
            }
        }
    }
}

/// N neighbouring vectors of a sum; those of the rows begin at `column`.
#[inline(always)]
fn add_vectors<T: Real, S: Simd, const N: usize>(
    simd: S,
    out: &mut [Vector<T, S>],
    list: &[(u32, T)],
    (rows, column, width): (&[T], usize, usize),
) {
    let mut sums = [T::splat(simd, T::zero()); N];
    sums.copy_from_slice(out);
    for &(row, factor) in list {
        let row = &T::vectors(simd, &rows[row as usize * width + column..]).0[..N];
        let factor = T::splat(simd, factor);
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum = T::times_plus(simd, factor, x, *sum);
        }
    }
    out.copy_from_slice(&sums);
}

/// The last numbers of a sum, fewer than a vector.
#[inline(always)]
fn add_rest<T: Real, S: Simd>(
    simd: S,
    out: &mut [T],
    list: &[(u32, T)],
    (rows, width): (&[T], usize),
) {
    let mut sum = T::load(simd, out);
    for &(row, factor) in list {
        let end = (row as usize + 1) * width;
        let row = T::load(simd, &rows[end - out.len()..end]);
        sum = T::times_plus(simd, T::splat(simd, factor), row, sum);
    }
    T::store(simd, out, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 x 7 numbers of which one in `each` is not zero.
    fn matrix(each: usize) -> Vec<f64> {
        let value = |at: usize| (at as f64 * 0.37).sin();
        (0..35)
            .map(|at| if at % each == 0 { value(at) + 2.0 } else { 0.0 })
            .collect()
    }

    #[test]
    fn sparse_and_dense_products_equal_the_sum() {
        // 2 is denser than the border, 4 is not; the widths have whole vectors and rests.
        for (each, width) in [(2, 70), (4, 70), (4, 3), (4, 150), (40, 64)] {
            let values = matrix(each);
            let sparse = Sparse {
                values: &values,
                rows: 5,
                columns: 7,
                stride: 7,
            };
            let right: Vec<f64> = (0..7 * width).map(|at| (at as f64).cos()).collect();
            let left: Vec<f64> = (0..5 * width).map(|at| (at as f64).cos()).collect();
            let mut lists = Lists::default();
            let mut out = vec![1.0; 5 * width];
            add_product(
                &mut out,
                &Gradient::Every(sparse),
                (&right, width),
                &mut lists,
            );
            let mut turned = vec![1.0; 7 * width];
            add_transposed_product(
                &mut turned,
                &Gradient::Every(sparse),
                (&left, width),
                &mut lists,
            );
            for column in 0..width {
                for row in 0..5 {
                    let terms = (0..7).map(|k| values[row * 7 + k] * right[k * width + column]);
                    let expected = 1.0 + terms.sum::<f64>();
                    assert!((out[row * width + column] - expected).abs() < 1e-12);
                }
                for row in 0..7 {
                    let terms = (0..5).map(|k| values[k * 7 + row] * left[k * width + column]);
                    let expected = 1.0 + terms.sum::<f64>();
                    assert!((turned[row * width + column] - expected).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn listed_products_equal_those_of_the_matrix() {
        let values = matrix(4);
        let sparse = Sparse {
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
        let (every, listed) = (Gradient::Every(sparse), Gradient::Listed(&cells));
        let mut lists = Lists::default();
        let (mut expected, mut found) = (vec![1.0; 5 * 70], vec![1.0; 5 * 70]);
        add_product(&mut expected, &every, (&right, 70), &mut lists);
        add_product(&mut found, &listed, (&right, 70), &mut lists);
        assert_eq!(found, expected);
        let (mut expected, mut found) = (vec![1.0; 7 * 70], vec![1.0; 7 * 70]);
        add_transposed_product(&mut expected, &every, (&left, 70), &mut lists);
        add_transposed_product(&mut found, &listed, (&left, 70), &mut lists);
        assert_eq!(found, expected);
    }

    #[test]
    fn gaps_between_rows_are_not_read() {
        let values = [1.0, 0.0, f64::NAN, 0.0, 2.0];
        let sparse = Sparse {
            values: &values,
            rows: 2,
            columns: 2,
            stride: 3,
        };
        let mut out = [0.0; 2];
        add_product(
            &mut out,
            &Gradient::Every(sparse),
            (&[10.0, 20.0], 1),
            &mut Lists::default(),
        );
        assert_eq!(out, [10.0, 40.0]);
    }
}
