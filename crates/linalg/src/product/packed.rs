//! The sides of many products, packed once and apart from each other.

use std::cell::RefCell;

use half::bf16;
use rayon::prelude::*;

use super::{Matrix, Output, product};
use crate::matmul::Matmul;
use crate::panels::packing::{Block, Side, pack};
use crate::panels::{self, ColumnPanels, Element, Instructions, PANEL, RowPanels, panels_for};
use crate::vector::Number;

/// Panels that are packed by one task; each is on its own, so the cut changes nothing.
const PANELS_IN_A_TASK: usize = 8;

/// Columns that are multiplied at a time: two rounds of the widest tile.
const COLUMNS: usize = 96;

/// A right side [k, n], ready to be multiplied again and again.
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
    form: Form<T>,
    depth: usize,
    columns: usize,
}

/// A left side [m, k], ready to be multiplied again and again.
#[derive(Debug)]
pub struct PackedLeft<T> {
    form: Form<T>,
    rows: usize,
    depth: usize,
}

#[derive(Debug)]
enum Form<T> {
    /// Row-major: f64 has no panels.
    Dense(Vec<T>),
    F32(Vec<Block>),
    Bf16(Vec<Block>),
}

impl<T: Number> Form<T> {
    fn new(matmul: Matmul, matrix: Matrix<T>, side: Side) -> Self {
        match (T::singles(matrix), matmul) {
            (None, _) => Self::Dense(row_major(matrix)),
            (Some(matrix), Matmul::F32) => Self::F32(packed::<f32>(matrix, side)),
            (Some(matrix), Matmul::Bf16) => Self::Bf16(packed::<bf16>(matrix, side)),
        }
    }
}

impl<T: Number> PackedLeft<T> {
    /// Packs [m, k] numbers, rounded if `matmul` says so, over all threads.
    pub fn new(matmul: Matmul, left: Matrix<T>) -> Self {
        Self {
            form: Form::new(matmul, left, Side::Rows),
            rows: left.rows,
            depth: left.columns,
        }
    }
}

impl<T: Number> PackedRight<T> {
    /// Packs [k, n] numbers, rounded if `matmul` says so, over all threads.
    pub fn new(matmul: Matmul, right: Matrix<T>) -> Self {
        Self {
            form: Form::new(matmul, right, Side::Columns),
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
    /// When the shapes do not fit each other: the caller cut its buffers wrongly.
    pub fn product(&self, out: &mut [T], lhs: Matrix<T>, output: Output) {
        self.check(out.len(), (lhs.rows, lhs.columns));
        if let Form::Dense(right) = &self.form {
            let right = Matrix::row_major(right, self.depth, self.columns);
            return product(out, lhs, right, output);
        }
        let (Some(lhs), Some(out)) = (T::singles(lhs), T::singles_mut(out)) else {
            unreachable!("panels are made of f32 only");
        };
        match &self.form {
            Form::F32(columns) => self.of_unpacked::<f32>(columns, lhs, out, output),
            Form::Bf16(columns) => self.of_unpacked::<bf16>(columns, lhs, out, output),
            Form::Dense(_) => {}
        }
    }

    /// `out = lhs · right` of two packed sides, on the calling thread.
    ///
    /// # Shapes
    /// lhs [m, k], `out` row-major [m, n].
    ///
    /// # Panics
    /// When the shapes do not fit each other, or the sides were packed for different products: the
    /// caller cut its buffers wrongly.
    pub fn product_of_packed(&self, out: &mut [T], lhs: &PackedLeft<T>) {
        self.check(out.len(), (lhs.rows, lhs.depth));
        let overwrite = Output::Overwrite;
        if let (Form::Dense(left), Form::Dense(right)) = (&lhs.form, &self.form) {
            let left = Matrix::row_major(left, lhs.rows, lhs.depth);
            let right = Matrix::row_major(right, self.depth, self.columns);
            return product(out, left, right, overwrite);
        }
        match (&lhs.form, &self.form, T::singles_mut(out)) {
            (Form::F32(rows), Form::F32(columns), Some(out)) => {
                self.on_panels::<f32>((rows, columns), out, overwrite, &mut Vec::new());
            }
            (Form::Bf16(rows), Form::Bf16(columns), Some(out)) => {
                self.on_panels::<bf16>((rows, columns), out, overwrite, &mut Vec::new());
            }
            _ => unreachable!("both sides are packed for the same product"),
        }
    }

    fn check(&self, out: usize, (rows, depth): (usize, usize)) {
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

    /// Packs the rows into space that the thread keeps.
    fn of_unpacked<E: Element>(
        &self,
        columns: &[Block],
        lhs: Matrix<f32>,
        out: &mut [f32],
        output: Output,
    ) {
        thread_local! {
            static SPACE: RefCell<(Vec<Block>, Vec<f32>)> =
                const { RefCell::new((Vec::new(), Vec::new())) };
        }
        SPACE.with_borrow_mut(|(space, sums)| {
            let blocks = panels_for(lhs.rows) * per_panel::<E>(self.depth);
            space.resize(space.len().max(blocks), Block::ZERO);
            let rows = &mut space[..blocks];
            if blocks > 0 {
                pack::<E>(Instructions::best(), lhs, Side::Rows, rows);
            }
            self.on_panels::<E>((rows, columns), out, output, sums);
        });
    }

    /// A few panels of columns at a time; `sums` is space for their products.
    fn on_panels<E: Element>(
        &self,
        (rows, columns): (&[Block], &[Block]),
        out: &mut [f32],
        output: Output,
        sums: &mut Vec<f32>,
    ) {
        if self.depth == 0 && output == Output::Overwrite {
            out.fill(0.0);
        }
        if self.depth == 0 || out.is_empty() {
            return;
        }
        let per_panel = per_panel::<E>(self.depth);
        let rows = RowPanels::<E>::new(Block::numbers(rows), per_panel * E::LINE);
        sums.resize(sums.len().max(rows.panels() * PANEL * COLUMNS), 0.0);
        let chunks = columns.chunks(COLUMNS / PANEL * per_panel);
        for (at, chunk) in (0..self.columns).step_by(COLUMNS).zip(chunks) {
            let chunk = ColumnPanels::<E>::new(Block::numbers(chunk), rows.depth());
            panels::product(Instructions::best(), rows, chunk, sums, COLUMNS);
            let count = COLUMNS.min(self.columns - at);
            let lines = out.chunks_exact_mut(self.columns);
            for (line, sums) in lines.zip(sums.chunks(COLUMNS)) {
                write(&sums[..count], &mut line[at..at + count], output);
            }
        }
    }
}

/// Blocks of one panel; none where the product has no depth.
fn per_panel<E: Element>(depth: usize) -> usize {
    if depth == 0 {
        0
    } else {
        Block::per_panel::<E>(depth)
    }
}

/// The rows or the columns of a matrix in panels.
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
            let some = vectors.some_rows(first..last);
            pack::<E>(Instructions::best(), some, side, blocks);
        });
    packed
}

/// Puts sums into the output, or adds them.
fn write(sums: &[f32], line: &mut [f32], output: Output) {
    match output {
        Output::Overwrite => line.copy_from_slice(sums),
        Output::Accumulate => line.iter_mut().zip(sums).for_each(|(x, sum)| *x += sum),
    }
}

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

    /// A matrix, row-major or as the transposed of one.
    fn laid(values: &[f32], rows: usize, columns: usize, transposed: usize) -> Matrix<'_, f32> {
        match transposed {
            0 => Matrix::row_major(values, rows, columns),
            _ => Matrix::row_major(values, columns, rows).transposed(),
        }
    }

    fn is_the_product_of_rounded_numbers<E: Element>(matmul: Matmul, [m, k, n]: [usize; 3]) {
        let (left, right) = (draws::numbers(m * k, 1), draws::numbers(k * n, 2));
        for layout in 0..4 {
            let lhs = laid(&left, m, k, layout & 1);
            let rhs = laid(&right, k, n, layout >> 1);
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
                // One rounding an addition, each half a unit of the last place.
                let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                assert!((f64::from(found) - sum).abs() <= bound, "{matmul} {layout}");
                assert_eq!(added, found + 1.0, "accumulating adds the same product");
            }
        }
    }

    #[test]
    fn products_are_those_of_rounded_numbers() {
        // One number, ragged panels, more columns than are multiplied at a time.
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
