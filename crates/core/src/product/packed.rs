//! How is one right side multiplied with many left sides? Packed once.

use std::cell::RefCell;

use half::bf16;

use super::rounded::{COLUMNS, vectors_of, write};
use super::{Factor, Matrix, Output, product};
use crate::matmul::Matmul;
use crate::panels::packing::{Block, Side, pack};
use crate::panels::{self, ColumnPanels, Element, Instructions, PANEL, RowPanels, panels_for};

/// A right side [k, n], ready to be multiplied again and again.
///
/// ```
/// use uard_core::matmul::Matmul;
/// use uard_core::product::{Matrix, Output, PackedRight};
/// let a = Matrix::row_major(&[1.0f32, 2.0, 3.0, 4.0], 2, 2);
/// let right = PackedRight::new(Matmul::F32, a.transposed());
/// let mut out = [0.0; 4];
/// right.product(&mut out, a, Output::Overwrite);
/// assert_eq!(out, [5.0, 11.0, 11.0, 25.0]);
/// ```
#[derive(Debug)]
pub struct PackedRight<T> {
    form: Form<T>,
    depth: usize,
    columns: usize,
}

#[derive(Debug)]
enum Form<T> {
    /// Row-major: f64 has no panels.
    Dense(Vec<T>),
    F32(Vec<Block>),
    Bf16(Vec<Block>),
}

impl<T: Factor> PackedRight<T> {
    /// Packs [k, n] numbers, rounded if `matmul` says so.
    pub fn new(matmul: Matmul, right: Matrix<T>) -> Self {
        let (depth, columns) = (right.rows, right.columns);
        let form = match (T::singles(right), matmul) {
            (None, _) => Form::Dense(row_major(right)),
            (Some(right), Matmul::F32) => Form::F32(packed::<f32>(right)),
            (Some(right), Matmul::Bf16) => Form::Bf16(packed::<bf16>(right)),
        };
        Self {
            form,
            depth,
            columns,
        }
    }

    /// `out = lhs · right`, or `out += lhs · right`, on the calling thread.
    ///
    /// # Shapes
    /// lhs [m, k], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other: the caller cut its buffers wrongly.
    pub fn product(&self, out: &mut [T], lhs: Matrix<T>, output: Output) {
        assert_eq!(
            lhs.columns, self.depth,
            "columns of the left are rows of the right"
        );
        assert_eq!(
            out.len(),
            lhs.rows * self.columns,
            "the output holds the product"
        );
        if let Form::Dense(right) = &self.form {
            let right = Matrix::row_major(right, self.depth, self.columns);
            return product(out, lhs, right, output);
        }
        if out.is_empty() {
            return;
        }
        let (Some(lhs), Some(out)) = (T::singles(lhs), T::singles_mut(out)) else {
            unreachable!("panels are made of f32 only");
        };
        match &self.form {
            Form::F32(blocks) => self.on_panels::<f32>(blocks, out, lhs, output),
            Form::Bf16(blocks) => self.on_panels::<bf16>(blocks, out, lhs, output),
            Form::Dense(_) => {}
        }
    }

    fn on_panels<E: Element>(
        &self,
        columns: &[Block],
        out: &mut [f32],
        lhs: Matrix<f32>,
        output: Output,
    ) {
        thread_local! {
            static SPACE: RefCell<(Vec<Block>, Vec<f32>)> =
                const { RefCell::new((Vec::new(), Vec::new())) };
        }
        if self.depth == 0 {
            if output == Output::Overwrite {
                out.fill(0.0);
            }
            return;
        }
        let instructions = Instructions::best();
        let per_panel = Block::per_panel::<E>(self.depth);
        let panels = panels_for(lhs.rows);
        SPACE.with_borrow_mut(|(rows, sums)| {
            rows.resize(rows.len().max(panels * per_panel), Block::ZERO);
            let rows = &mut rows[..panels * per_panel];
            pack::<E>(instructions, vectors_of(lhs), Side::Rows, rows);
            let rows = RowPanels::<E>::new(Block::numbers(rows), per_panel * E::LINE);
            sums.resize(sums.len().max(panels * PANEL * COLUMNS), 0.0);
            let chunks = columns.chunks(COLUMNS / PANEL * per_panel);
            for (at, chunk) in (0..self.columns).step_by(COLUMNS).zip(chunks) {
                let chunk = ColumnPanels::<E>::new(Block::numbers(chunk), rows.depth());
                panels::product(instructions, rows, chunk, sums, COLUMNS);
                let count = COLUMNS.min(self.columns - at);
                for (line, sums) in out.chunks_exact_mut(self.columns).zip(sums.chunks(COLUMNS)) {
                    write(&sums[..count], &mut line[at..at + count], output);
                }
            }
        });
    }
}

fn packed<E: Element>(right: Matrix<f32>) -> Vec<Block> {
    let columns = vectors_of(right.transposed());
    let blocks = panels_for(columns.count) * Block::per_panel::<E>(columns.width);
    let mut packed = vec![Block::ZERO; blocks];
    if blocks > 0 {
        pack::<E>(Instructions::best(), columns, Side::Columns, &mut packed);
    }
    packed
}

fn row_major<T: Factor>(matrix: Matrix<T>) -> Vec<T> {
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
                    packed.product(&mut found, left, Output::Accumulate);
                    assert!(found.iter().zip(&expected).all(|(a, b)| *a == 2.0 * b));
                }
            }
        }
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
        packed.product(&mut [], Matrix::row_major(&[], 0, 1), Output::Overwrite);
    }
}
